"""
A real nginx in front of the simulated API for as long as you like, with clients of all kinds, reloads, killed workers,
a failing API and rotated credentials, all at random from a seed; and a judge who knows what every answer may be:

    python3 -m soak --time 600 --seed 1

world: the jobs, and their states at any time. clients: who asks for them. trouble: what goes wrong, and when. judge:
what has to hold all the same.
"""
