"""How long clients wait for a response that must be fetched."""

import contextlib
import statistics

from harness.nginx import Nginx

from . import contenders
from .contenders import TARGET, Setting, spread
from .report import AISEARCH, RETURN, Line
from .tools import Upstream, client

DELAY = 0.1
CLIENTS = 1000
NO_CACHE = "proxy_pass"


def burst(bench) -> list[Line]:
    """
    All clients request the same new entry at once. The connections are already open and distributed among the workers.
    """
    rounds = bench.scale(5, 2)
    slowest: dict[str, list[float]] = {}
    middle: dict[str, list[float]] = {}
    calls: dict[str, list[int]] = {}
    with Upstream(DELAY) as upstream, contextlib.ExitStack() as stack:
        setting = Setting(bench.tmp, upstream)
        servers = {name: stack.enter_context(Nginx(bench.tmp, spread(make(setting), 4)))
                   for name, make in contenders.available().items()}
        for n in range(rounds):
            for name, server in servers.items():
                upstream.forget()
                outcome = client(server.ports["SPREAD"], TARGET, "-c", CLIENTS, "-f", n, "-w", "/pid")
                assert outcome.failed == 0, outcome
                slowest.setdefault(name, []).append(outcome.latency["max"])
                middle.setdefault(name, []).append(outcome.latency["p50"])
                calls.setdefault(name, []).append(upstream.count())

    def line(what: str, unit: str, values: dict[str, list], **more) -> Line:
        return Line("burst", f"{CLIENTS} clients, cold entry: {what}", unit,
                    {name: statistics.median(found) for name, found in values.items()}, **more)

    most, last = max(calls[AISEARCH]), statistics.median(slowest[AISEARCH])
    return [
        line("upstream requests", "", calls, compared=f"at most {most}", bar="= 1", met=most == 1),
        line("median", "ms", middle),
        line("slowest", "ms", slowest, compared=f"{last:.1f} ms", bar="< 120", met=last < 120),
    ]


def cold(bench) -> list[Line]:
    """
    One request after the other, each for a new entry; the contenders take turns, so that noise affects both equally.
    """
    requests, rounds = bench.scale(1000, 200), bench.scale(11, 3)
    found: dict[str, list[float]] = {}
    with Upstream() as upstream, contextlib.ExitStack() as stack:
        setting = Setting(bench.tmp, upstream, size="64m")
        makers = {AISEARCH: contenders.aisearch, NO_CACHE: contenders.proxy_only, **{
            name: make for name, make in contenders.available().items() if name not in (AISEARCH, RETURN)}}
        servers = {name: stack.enter_context(Nginx(bench.tmp, make(setting))) for name, make in makers.items()}
        for n in range(rounds):
            for name, server in servers.items():
                outcome = client(server.port, TARGET, "-n", requests, "-j", requests, "-f", n * requests, "-o")
                assert outcome.failed == 0, outcome
                found.setdefault(name, []).append(outcome.latency["p50"])
        assert upstream.count() == requests * rounds * len(servers)
    values = {name: statistics.median(latencies) for name, latencies in found.items()}
    more = values[AISEARCH] - values[NO_CACHE]
    # The comparison here has no cache at all; it is listed in the column of the nginx without one.
    values[RETURN] = values.pop(NO_CACHE)
    return [Line("cold", f"cold lookup, p50 ({RETURN}: {NO_CACHE}, no cache)", "ms", values,
                 f"{more:+.3f} ms", "<= 0.2", more <= 0.2)]


