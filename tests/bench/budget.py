"""The budget, as seen by the API."""

import time
from bisect import bisect_left

from harness.nginx import Nginx

from . import contenders
from .contenders import TARGET, Setting
from .report import AISEARCH, Line
from .tools import Upstream, client

CALLS, INTERVAL = 100, 10


def budget(bench) -> list[Line]:
    """Many more distinct cold lookups than the budget allows, with two workers."""
    seconds = bench.scale(60, 25)
    lookups = int(10_000 * seconds / 60)
    with Upstream() as upstream:
        config = contenders.aisearch(Setting(bench.tmp, upstream, budget=f"{CALLS} {INTERVAL}s reserve=0"))
        config.workers = 2
        with Nginx(bench.tmp, config) as server:
            began = time.monotonic()
            outcome = client(server.port, TARGET, "-c", 50, "-n", lookups, "-j", lookups, "-o", "-r", lookups / seconds)
            ended = time.monotonic()
        times = upstream.times()
    answered, refused = outcome.statuses.get("200", 0), outcome.statuses.get("503", 0)
    fullest, emptiest = windows(times, began, ended)
    proper = answered + refused == lookups and outcome.retry_after == refused
    what = f"{lookups} cold lookups, {CALLS} per {INTERVAL} s"
    return [
        Line("budget", f"{what}: fullest interval", "", {AISEARCH: fullest}, f"{fullest}", f"<= {CALLS}",
             fullest <= CALLS),
        Line("budget", f"{what}: emptiest", "", {AISEARCH: emptiest}, f"{emptiest}", ">= 85", emptiest >= 85),
        Line("budget", f"{what}: answered", "", {AISEARCH: answered}),
        Line("budget", f"{what}: 503 with Retry-After", "", {AISEARCH: outcome.retry_after},
             f"{lookups - answered - outcome.retry_after} others", "0 others", proper),
    ]


def windows(times: list[float], began: float, ended: float) -> tuple[int, int]:
    """The largest and smallest number of calls in any rolling interval between began and ended."""
    def calls(start: float) -> int:
        return bisect_left(times, start + INTERVAL) - bisect_left(times, start)

    # The number only changes when a call enters or leaves the interval.
    starts = [began, ended - INTERVAL, *times, *(t + 1e-6 for t in times), *(t - INTERVAL + 1e-6 for t in times)]
    counts = [calls(start) for start in starts if began <= start <= ended - INTERVAL]
    return max(counts), min(counts)
