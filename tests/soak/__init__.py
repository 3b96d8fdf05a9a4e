"""
Runs a real nginx in front of the simulated API for as long as you like, with clients of all kinds, reloads, killed
workers, a failing API and rotated credentials, all at random from a seed; and a judge that checks each response:

    python3 -m soak --time 600 --seed 1

world: the jobs, and their states at any time. clients: the requests. trouble: what fails, and when. judge: what must
hold nevertheless.
"""
