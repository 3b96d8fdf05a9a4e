"""How fast a change reaches all watchers, how it affects other clients, and what it costs."""

import contextlib
import dataclasses
import statistics
import time
from collections.abc import Callable

from .contenders import TARGET
from .report import Line
from .tools import Client, Upstream, Watchers, client
from .watched import COLUMNS, EVENTS, FRESH, NCHAN, POLLS, WAITS, News, Server, serving

EVERY = 5.0  # s, between two changes


@dataclasses.dataclass
class Phase:
    """The measurements of one contender in some rounds."""

    news: list[News] = dataclasses.field(default_factory=list)
    hits: list[float] = dataclasses.field(default_factory=list)  # p99 of each phase, in ms
    calls: float = 0  # the maximum number of API calls per interval in which a response is fresh

    def last(self) -> float:
        return statistics.median(news.last for news in self.news)


def fanout(bench) -> list[Line]:
    """The contenders take turns, so that noise affects all equally."""
    count, turns, rounds = bench.scale(9_500, 500), bench.scale(3, 1), bench.scale(6, 2)
    every = bench.scale(EVERY, 2)
    kinds = (EVENTS, WAITS, NCHAN)
    phases = {kind: Phase() for kind in kinds}
    with contextlib.ExitStack() as stack:
        servers = {kind: stack.enter_context(serving(bench, kind)) for kind in kinds}
        watchers = {kind: stack.enter_context(servers[kind].watchers(count)) for kind in kinds}
        time.sleep(2)
        for _ in range(turns):
            for kind in kinds:
                _phase(phases[kind], servers[kind], watchers[kind], rounds, every)

    def line(what: str, value: Callable[[Phase], float], **more) -> Line:
        return Line("fanout", f"{count} watchers of one job: {what}", "ms",
                    {kind: value(phase) for kind, phase in phases.items()}, columns=COLUMNS, **more)

    events, waits, nchan = (phases[kind].last() for kind in kinds)
    hits = max(statistics.median(phases[kind].hits) for kind in (EVENTS, WAITS))
    calls = {kind: phases[kind].calls for kind in (EVENTS, WAITS)}
    events_bar, waits_bar = max(150, nchan), max(250, 1.5 * events)
    return [
        Line("fanout", f"{count} watchers of one job: calls to the API per interval", "", calls,
             f"at most {max(calls.values()):.3f}", "<= 1", round(max(calls.values()), 2) <= 1, columns=COLUMNS),
        line("half of them notified after", lambda phase: statistics.median(news.median for news in phase.news)),
        line("the last notified after", Phase.last, compared=f"events: {events:.1f} ms", bar=f"<= {events_bar:.0f}",
             met=bench.judge(events <= events_bar)),
        line("the last notified after, the worst", lambda phase: max(news.last for news in phase.news),
             compared=f"waits: {waits:.1f} ms", bar=f"<= {waits_bar:.0f} at the median",
             met=bench.judge(waits <= waits_bar)),
        line(f"p99 of others' hits, a change every {every:g} s", lambda phase: statistics.median(phase.hits),
             compared=f"at most {hits:.1f} ms", bar="< 10 (return 200 at nchan's)", met=bench.judge(hits < 10)),
    ]


def _phase(phase: Phase, server: Server, watchers: Watchers, rounds: int, every: float) -> None:
    assert client(server.port, TARGET, "-n", 10, "-j", 10, "-o").failed == 0
    with Client(server.port, TARGET, "-c", 50, "-j", 10, "-r", 1000, "-s", rounds * every - 1) as hits:
        if server.upstream:
            server.upstream.forget()
        began = time.monotonic()
        for n in range(rounds):
            time.sleep(max(began + n * every + 0.5 - time.monotonic(), 0))
            phase.news.append(server.change_and_tell(watchers))
        outcome = hits.outcome()
        assert outcome.failed == 0, outcome
        phase.hits.append(outcome.latency["p99"])
        if server.upstream:
            phase.calls = max(phase.calls, _calls(server.upstream))


def _calls(upstream: Upstream) -> float:
    """For one job, between the first and the last change."""
    times = upstream.times()
    return (len(times) - 1) / (times[-1] - times[0]) * FRESH


def watching(bench) -> list[Line]:
    """All at the same time, so that noise affects all equally."""
    count, seconds = bench.scale(9_500, 500), bench.scale(60, 6)
    every, period = bench.scale(EVERY, 3), 2
    with contextlib.ExitStack() as stack:
        servers = {kind: stack.enter_context(serving(bench, kind)) for kind in COLUMNS}
        watchers = {kind: stack.enter_context(server.watchers(count)) for kind, server in servers.items()}
        time.sleep(2)
        for watcher in watchers.values():
            watcher.forget()
        before = {kind: server.cpu_seconds() for kind, server in servers.items()}
        began = time.monotonic()
        for n in range(int(seconds / every)):
            for server in servers.values():
                server.change()
            time.sleep(max(began + (n + 1) * every - time.monotonic(), 0))
        spent = {kind: server.cpu_seconds() - before[kind] for kind, server in servers.items()}
        counted = {kind: watcher.counted() for kind, watcher in watchers.items()}
    for kind in (EVENTS, WAITS, NCHAN):
        assert counted[kind].least >= int(seconds / every) - 1, counted[kind]
    assert counted[POLLS].count >= 0.9 * count * seconds / period, counted[POLLS]
    polls, nchan = spent[EVENTS] / spent[POLLS], spent[EVENTS] / spent[NCHAN]
    what = f"{count} watchers for {seconds} s, a change every {every:g} s, polls every {period} s: CPU time of workers"
    line = Line("watching", what, "s", spent, columns=COLUMNS)
    return [
        dataclasses.replace(line, compared=f"events: {polls:.3f} x polls", bar="<= 0.167",
                            met=bench.judge(polls <= 1 / 6)),
        dataclasses.replace(line, compared=f"events: {nchan:.3f} x nchan", bar="<= 1", met=bench.judge(nchan <= 1)),
        Line("watching", "the same: events or responses", "", {kind: told.count for kind, told in counted.items()},
             columns=COLUMNS),
    ]
