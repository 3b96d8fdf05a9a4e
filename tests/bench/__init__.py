"""
The bench: what the module costs and what it saves, beside what an operator would use instead, in one run.

    make bench                                   all rows, about half an hour
    make bench BENCH="--quick instructions"      some rows, and less of each

    report        a line of the table, the table, the JSON
    tools         the programs in C that load and are loaded: client.c, watchers.c, upstream.c; wrk; pinning
    contenders    nginx as aisearch, return 200, proxy_cache and lua
    callgrind     instructions, function by function
    watched       nginx with many who watch one job, and nchan
    hits, waits, watching, footprint, memory, polling, budget, trouble, fleet, outlets      the rows
"""
