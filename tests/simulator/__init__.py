"""
A simulator of the read side of the AI Search jobs API.

    PYTHONPATH=tests python3 -m simulator --scenario demo --token-file FILE

It serves jobs, lists and logs for all three generations of the API, and instances, their stats and namespaces. It
checks credentials, enforces the rate limit, and lets jobs run on a clock that tests can freeze, advance or speed up. A
second listener takes orders that set data, clock, faults and response forms, and read counters; see control.py. A third
listener handles thousands of lookups per second; see lean.py. When the simulator is ready, it prints the addresses as a
line of JSON on standard output.
"""
