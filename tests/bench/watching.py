"""
Ten thousand clients that want to know when one job changes: by a stream of events, by waits, by polls. Beside them
nchan, whose subscribers are told what somebody publishes.
"""

import contextlib
import dataclasses
import json
import statistics
import time
from collections.abc import Callable, Iterator
from typing import NamedTuple

from harness import net
from harness.nginx import Config, Nginx

from . import contenders
from .contenders import ACTIVE_TARGET, TARGET, Setting, job_target, spread
from .report import Line
from .tools import Client, Told, Upstream, Watchers, client

EVENTS, WAITS, POLLS, NCHAN = COLUMNS = ("events", "waits", "polls", "nchan")
JOB = job_target(1, ACTIVE_TARGET)
FRESH = 1.0  # s, that a running job is: no more often is it refreshed for those who watch it
EVERY = 5.0  # s, between two changes


class Server(NamedTuple):
    """nginx, and one job, or channel, in it that changes when it is told to."""

    nginx: Nginx
    kind: str  # of watchers
    port: int
    target: str
    upstream: Upstream | None

    def watchers(self, count: int) -> Watchers:
        return Watchers(self.kind, self.port, self.target, count)

    def change(self) -> None:
        if self.upstream:
            self.upstream.change()
        else:
            _publish(self.nginx)

    def change_and_tell(self, watchers: Watchers) -> "News":
        watchers.forget()
        made = time.monotonic()
        self.change()
        told = watchers.told()
        return News(self.upstream.served() if self.upstream else made, told)

    def cpu_seconds(self) -> float:
        return sum(map(net.cpu_seconds, self.nginx.workers()))

    def rss(self) -> int:
        return sum(map(net.rss, self.nginx.workers()))


class News(NamedTuple):
    """A change that has been told; milliseconds since the API first answered with it, or since it was published."""

    made: float  # on time.monotonic()'s clock
    told: Told

    @property
    def last(self) -> float:
        return (self.told.last - self.made) * 1000

    @property
    def median(self) -> float:
        return (self.told.median - self.made) * 1000


def _many(config: Config, workers: int) -> Config:
    """Each of the workers has room for all of them."""
    config.main = "worker_rlimit_nofile 20000;"
    config.connections = 19_500
    return spread(config, workers)


def _aisearch(setting: Setting, workers: int) -> Config:
    config = contenders.aisearch(setting)
    config.http += f"aisearch_valid active {FRESH:g}s; aisearch_events on; aisearch_wait 60s;"
    return _many(config, workers)


_NCHAN = """
    nchan_channel_id job;
    nchan_message_buffer_length 1;
"""


def _nchan(workers: int) -> Config:
    """It keeps one message, which a subscriber gets at once, as ours get what is known. Others ask for return 200."""
    config = Config(aisearch=False, modules=("ngx_nchan_module.so",), server=f"""
        access_log off;
        keepalive_requests 1000000000;
        location = /watch {{ nchan_subscriber eventsource; {_NCHAN} }}
        location = /publish {{ nchan_publisher; {_NCHAN} }}
        location /client/v4/ {{ default_type application/json; return 200 '{_body()}'; }}
    """)
    return _many(config, workers)


def _body() -> str:
    return json.dumps({"success": True, "result": {"id": "x", "changed": time.monotonic(), "description": ""}}).replace(
        '""', f'"{"x" * 200}"')


def _publish(nginx: Nginx) -> None:
    response = nginx.get("/publish", method="POST", body=_body().encode())
    assert response.status in (201, 202), response


@contextlib.contextmanager
def serving(bench, kind: str, workers: int = 2) -> Iterator[Server]:
    """An nginx of its own for each."""
    with contextlib.ExitStack() as stack:
        if kind == NCHAN:
            nginx = stack.enter_context(Nginx(bench.tmp, _nchan(workers)))
            _publish(nginx)
            yield Server(nginx, EVENTS, nginx.ports["SPREAD"], "/watch", None)
        else:
            upstream = stack.enter_context(Upstream())
            nginx = stack.enter_context(Nginx(bench.tmp, _aisearch(Setting(bench.tmp, upstream), workers)))
            yield Server(nginx, kind, nginx.ports["SPREAD"], JOB, upstream)


# How fast a change reaches all of them, and what others feel of it.


@dataclasses.dataclass
class Phase:
    """What was measured of one of them in some rounds."""

    news: list[News] = dataclasses.field(default_factory=list)
    hits: list[float] = dataclasses.field(default_factory=list)  # p99 of each phase, ms
    calls: float = 0  # of the API, for each interval in which an answer is fresh, at most

    def last(self) -> float:
        return statistics.median(news.last for news in self.news)


def fanout(bench) -> list[Line]:
    """By turns, so that noise befalls all alike."""
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
        Line("fanout", f"{count} watchers of one job: calls of the API in an interval", "", calls,
             f"at most {max(calls.values()):.3f}", "<= 1", round(max(calls.values()), 2) <= 1, columns=COLUMNS),
        line("half of them told after", lambda phase: statistics.median(news.median for news in phase.news)),
        line("the last told after", Phase.last, compared=f"events: {events:.1f} ms", bar=f"<= {events_bar:.0f}",
             met=bench.judge(events <= events_bar)),
        line("the last told after, the worst", lambda phase: max(news.last for news in phase.news),
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
    """Of the one job, between the first and the last one."""
    times = upstream.times()
    return (len(times) - 1) / (times[-1] - times[0]) * FRESH


# Memory.


def footprint(bench) -> list[Line]:
    """More than nobody who watches."""
    count = bench.scale(9_500, 500)
    each = {}
    for kind in (EVENTS, WAITS, NCHAN):
        with serving(bench, kind) as server:
            with server.watchers(100):
                pass
            time.sleep(0.5)
            before = server.rss()
            with server.watchers(count) as watchers:
                server.change_and_tell(watchers)
                time.sleep(0.5)
                each[kind] = (server.rss() - before) / 1024 / count
    most = max(each[EVENTS], each[WAITS])
    bar = min(12, each[NCHAN])
    return [Line("footprint", f"{count} idle watchers: RSS of the workers for each", "KiB", each, f"{most:.2f} KiB",
                 f"<= {bar:.3g}", bench.judge(most <= bar), columns=COLUMNS)]


def growth(bench) -> list[Line]:
    """Whether events, or those who come and go, leave anything behind."""
    return [*_many_events(bench), *_many_aborts(bench)]


def _many_events(bench) -> list[Line]:
    """Somebody else's look-ups are never answered from the cache, so that each of them brings a change."""
    first, events = 1_000, bench.scale(100_000, 3_000)
    with Upstream() as upstream:
        config = contenders.aisearch(Setting(bench.tmp, upstream))
        config.http += "aisearch_valid active 0; aisearch_events on;"
        upstream.changing()
        with Nginx(bench.tmp, config) as nginx, Watchers(EVENTS, nginx.port, JOB, 1) as watcher:
            def tell(until: int) -> int:
                with Client(nginx.port, ACTIVE_TARGET, "-c", 1, "-f", 1, "-s", 600) as client:
                    net.wait_until(lambda: watcher.counted().count >= until, 600, f"{until} events", every=0.1)
                return sum(map(net.rss, nginx.workers()))

            before, after = tell(first), tell(events)
    grown = (after - before) / 1024
    return [Line("growth", f"{events} events to one watcher: RSS grew after the first {first}", "KiB", {EVENTS: grown},
                 f"{grown:.0f} KiB", "<= 64", bench.judge(grown <= 64), columns=COLUMNS)]


def _many_aborts(bench) -> list[Line]:
    """With one worker, since of two it is chance which gets how many."""
    count = bench.scale(10_000, 500)
    grown = {}
    for kind in (EVENTS, WAITS):
        with serving(bench, kind, 1) as server:
            def come_and_go() -> int:
                with server.watchers(count):
                    pass
                net.wait_until(lambda: _watching(server) == 0, 10, "all to be gone")
                time.sleep(0.5)
                return server.rss()

            before, after = come_and_go(), come_and_go()
        grown[kind] = (after - before) / 1024
    most = max(grown.values())
    return [Line("growth", f"the second {count} connect and abort: RSS grew", "KiB", grown, f"{most:.0f} KiB", "<= 64",
                 bench.judge(most <= 64), columns=COLUMNS)]


def _watching(server: Server) -> int:
    account = server.nginx.get("/aisearch_status").json()["accounts"]["docs"]
    return account["watchers"] + account["waits"]


# CPU time.


def watching(bench) -> list[Line]:
    """All at the same time, so that noise befalls all alike."""
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
        Line("watching", "the same: events, or answers", "", {kind: told.count for kind, told in counted.items()},
             columns=COLUMNS),
    ]
