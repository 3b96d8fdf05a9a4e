"""
A simulator of the read side of the AI Search jobs API.

    PYTHONPATH=tests python3 -m simulator --scenario demo --token-file FILE

It answers look-ups of jobs, lists and logs for all three generations of the API, and of instances, their stats and
namespaces, checks credentials, keeps the rate limit, and lets jobs live on a clock that tests can freeze and advance,
or let run faster. A second listener takes orders: data, clock, faults, forms of answers, counters (control.py says
which). A third one is for thousands of look-ups a second (lean.py). One line of JSON on standard output tells the
addresses when it is ready.
"""
