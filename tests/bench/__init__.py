"""
The benchmark: what the module costs and saves compared with the alternatives, all measured in one run.

    make bench                                   all rows, about half an hour
    make bench BENCH="--quick instructions"      some rows, with fewer repetitions

    report        a line of the table, the table, the JSON
    tools         load generators and servers in C: client.c, watchers.c, upstream.c; wrk; CPU pinning
    contenders    nginx as aisearch, return 200, proxy_cache and lua
    callgrind     instructions by function
    watched       nginx with many watchers of one job, and nchan
    hits, waits, watching, footprint, memory, polling, budget, trouble, fleet, outlets      the rows
"""
