"""A long outage of the API, while clients continue to request cached jobs and many that are not cached."""

import contextlib
import itertools
import os
import time

from harness import net, stall
from harness.edge import Certificates
from harness.illness import Counted, Illness, Upstream
from harness.nginx import Nginx
from harness.pace import Pace, quantile

from . import contenders
from .contenders import TARGET, Setting
from .report import AISEARCH, Line
from .tools import Client, client

CACHED, OTHERS = 500, 50_000
AT_ONCE, FIRST = 16, 3

ILLNESSES = {
    "refused": Illness(listens="no"),
    "blackholed": Illness(listens="full"),
    "TLS fault": Illness(tls="expired"),
    "503": Illness(answers=lambda job: [stall.response(503, "<html>")]),
}

_NUMBER_FROM = 100_000  # numbers of jobs that are not cached


def outage(bench) -> list[Line]:
    """AIS_OUTAGE_TIME: the duration of each in seconds."""
    seconds = float(os.environ.get("AIS_OUTAGE_TIME", bench.scale(60, 6)))
    certificates = Certificates(bench.tmp)
    return [line for name, illness in ILLNESSES.items()
            for line in _endure(bench, name, illness, certificates, seconds)]


def _endure(bench, name: str, illness: Illness, certificates: Certificates, seconds: float) -> list[Line]:
    api = Counted(stall.a_job, FIRST, delay=0.02)
    with Upstream(illness, certificates, api) as upstream, contextlib.ExitStack() as stack:
        config = contenders.aisearch(Setting(bench.tmp, upstream, budget="100000 5m",
                                             account=f"budget 100 1s; trusted_certificate {certificates.ca_file};",
                                             http="aisearch_valid ended 1s; aisearch_use_stale updating=1h error=1h;",
                                             api_url=upstream.url("localhost")))
        server = stack.enter_context(Nginx(bench.tmp, config))
        assert _warm(server.port)
        [worker] = server.workers()
        before = net.rss(worker)
        upstream.fall_ill()
        api.forget()
        pace = stack.enter_context(Pace(server.address, "/pid", rate=200))
        pace.begin()
        loads = {
            "cached": Client(server.port, TARGET, "-c", 50, "-s", seconds, "-r", 200, "-j", CACHED),
            "others": Client(server.port, TARGET, "-c", 2000, "-s", seconds, "-r", 1000, "-j", OTHERS,
                             "-f", _NUMBER_FROM),
        }
        growth = _watch(worker, before, seconds)
        outcomes = {key: stack.enter_context(load).outcome() for key, load in loads.items()}
        stalls = pace.end()
        recovery = _recover(server, upstream)
    cached, others = outcomes["cached"], outcomes["others"]
    what = f"API {name} for {seconds:g} s"
    return [
        Line("outage", f"{what}: {cached.answers} lookups of {CACHED} cached: failed", "", {AISEARCH: cached.failed},
             f"{cached.failed}", "= 0", cached.failed == 0),
        Line("outage", f"{what}: {others.answers} of {OTHERS} others: unanswered", "", {AISEARCH: others.unanswered},
             f"{others.unanswered}", "= 0", others.unanswered == 0),
        Line("outage", f"{what}: memory", "MiB", {AISEARCH: growth / 2**20}, f"{growth / 2**20:.1f} MiB", "< 8",
             growth < 8 * 2**20),
        Line("outage", f"{what}: p99 of other requests", "ms", {AISEARCH: 1000 * quantile(stalls, 0.99)},
             f"at most {1000 * max(stalls):.1f} ms", "< 20", 1000 * quantile(stalls, 0.99) < 20),
        Line("outage", f"{what}: back after", "s", {AISEARCH: recovery}, f"{recovery:.2f} s", "<= 2", recovery <= 2),
        Line("outage", f"{what}: calls at once when it is back", "", {AISEARCH: api.most}, f"{api.most}",
             f"<= {AT_ONCE}", api.most <= AT_ONCE),
    ]


def _warm(port: int) -> bool:
    """Fills the cache slowly, because of the budget."""
    return client(port, TARGET, "-n", CACHED, "-r", 30, "-c", 20, "-j", CACHED, "-o").failed == 0


def _watch(worker: int, before: int, seconds: float) -> int:
    most, until = before, time.monotonic() + seconds
    while time.monotonic() < until:
        most = max(most, net.rss(worker))
        time.sleep(0.1)
    return most - before


def _recover(server: Nginx, upstream: Upstream) -> float:
    """Returns how long it takes until a new lookup is answered, while clients request other jobs."""
    with Client(server.port, TARGET, "-c", 500, "-s", 20, "-r", 1000, "-j", OTHERS, "-f", _NUMBER_FROM):
        time.sleep(1)
        upstream.recover()
        back = time.monotonic()
        for number in itertools.count(10 * OTHERS):
            if server.get(TARGET.replace("{}", f"{number:012d}"), timeout=20).status == 200:
                break
            time.sleep(0.01)
        took = time.monotonic() - back
        time.sleep(1)
    return took
