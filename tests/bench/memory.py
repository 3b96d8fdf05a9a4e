"""How much fits into a zone, and whether anything grows."""

import contextlib
import dataclasses
import pathlib
import tempfile

from harness import memory, net
from harness.nginx import Config, Nginx

from . import callgrind, contenders
from .contenders import ACTIVE_TARGET, TARGET, Setting, job_target, spread
from .report import AISEARCH, LUA, Line
from .tools import Upstream, client

STEP = 128
SIZES = (200, 300, 500, 1000, 1500)


def density(bench) -> list[Line]:
    """Asks for more jobs than fit, and counts those that stayed."""
    lines, mib = [], bench.scale(4, 1)
    for size in bench.scale(SIZES, SIZES[:2]):
        values = {}
        with Upstream(size=size) as upstream, contextlib.ExitStack() as stack:
            setting = Setting(bench.tmp, upstream, size=f"{mib}m")
            for name, make in contenders.available().items():
                if name in (AISEARCH, LUA):
                    server = stack.enter_context(Nginx(bench.tmp, make(setting)))
                    values[name] = _held(server, upstream, 2 * (mib << 20) // size) / mib
        line = Line("density", f"jobs of {size} bytes per MiB of zone", "jobs", values)
        if size == 300:
            line.compared, line.bar, line.met = f"{values[AISEARCH]:.0f}", ">= 1500", values[AISEARCH] >= 1500
        lines.append(line)
    return lines


def _held(server: Nginx, upstream: Upstream, jobs: int) -> int:
    """Of more jobs than fit, asks for them again from the newest on, until one is no hit any more."""
    filled = client(server.port, TARGET, "-c", 16, "-n", jobs, "-j", jobs, "-o")
    assert filled.failed == 0, filled
    upstream.forget()
    for first in range(jobs - STEP, -1, -STEP):
        assert client(server.port, TARGET, "-n", STEP, "-j", STEP, "-f", first, "-o").failed == 0
        if misses := upstream.count():
            return jobs - first - misses
    raise AssertionError("everything fits: nothing was measured")


def leaks(bench) -> list[Line]:
    """What only hits cost over time; and a sample of everything under valgrind's memcheck."""
    hits, parts = bench.scale(2_000_000, 40_000), 4
    with Upstream() as upstream:
        config = contenders.aisearch(Setting(bench.tmp, upstream))
        config.level = "warn"
        with Nginx(bench.tmp, config) as server:
            seen = []
            for _ in range(parts):
                assert client(server.port, TARGET, "-c", 64, "-n", hits // parts, "-j", 1000).failed == 0
                seen.append((sum(map(net.rss, server.workers())), server.get("/aisearch_status").json()["zone"]))
        faults = _memcheck(bench, config)
    (rss_before, zone_before), (rss, zone) = seen[0], seen[-1]
    growth, used = (rss - rss_before) / 1024, (zone["bytes_used"] - zone_before["bytes_used"]) / 1024
    return [
        Line("leaks", f"{hits} hits: RSS and zone grew, KiB", "", {AISEARCH: growth + used},
             f"{growth:.0f} and {used:.0f} KiB", "<= 256", bench.judge(growth + used <= 256)),
        Line("leaks", "faults that valgrind finds in a sample", "", {AISEARCH: faults}, f"{faults}", "none",
             faults == 0),
    ]


def _memcheck(bench, config: Config) -> int:
    """Hits, misses, stale answers and refusals."""
    prefix = pathlib.Path(tempfile.mkdtemp(prefix="memcheck-", dir=bench.tmp))
    config = dataclasses.replace(config, http=config.http + "aisearch_valid active 1s;")
    log = prefix / "log"
    with callgrind.Valgrind(prefix, config, "--leak-check=full", "--show-leak-kinds=definite,indirect",
                            "--keep-debuginfo=yes", f"--log-file={log}") as nginx:
        for n in range(bench.scale(20, 2)):
            nginx.ask(job_target(n), bench.scale(500, 50))
            nginx.ask(job_target(n % 5, ACTIVE_TARGET), 20)
    return len(memory.valgrind_faults(log.read_text("utf-8", "replace")))


def churn(bench) -> list[Line]:
    """Far more jobs than the zone has room for, so that each look-up evicts somebody."""
    lookups, jobs = bench.scale(1_000_000, 40_000), bench.scale(200_000, 20_000)
    parts, mib = 4, 4
    failed, seen = 0, []
    with Upstream() as upstream:
        config = spread(contenders.aisearch(Setting(bench.tmp, upstream, size=f"{mib}m")), 2)
        with Nginx(bench.tmp, config) as server:
            for _ in range(parts):
                failed += client(server.ports["SPREAD"], TARGET, "-c", 64, "-n", lookups // parts, "-j", jobs).failed
                seen.append((sum(map(net.rss, server.workers())), server.get("/aisearch_status").json()["zone"]))
            warnings = len(server.warnings())
    # The first quarter fills pools, arenas and the zone. After it a worker may yet get more of the connections at once
    # than ever before, which takes some memory, but not for each look-up.
    (rss_before, zone_before), (rss, zone) = seen[0], seen[-1]
    growth = (rss - rss_before) / 1024
    used = (zone["bytes_used"] - zone_before["bytes_used"]) / 1024
    what = f"{lookups} look-ups of {jobs} jobs, {mib} MiB"
    return [
        Line("churn", f"{what}: failed", "", {AISEARCH: failed}, f"{failed} failed, {warnings} warnings", "none",
             failed == 0 and warnings == 0),
        Line("churn", f"{what}: evicted", "entries", {AISEARCH: zone["evictions"]}),
        Line("churn", f"{what}: zone grew", "KiB", {AISEARCH: used}, f"{used:.0f} KiB", "<= 64", used <= 64),
        Line("churn", f"{what}: RSS grew", "KiB", {AISEARCH: growth}, f"{growth:.0f} KiB", "<= 1024",
             bench.judge(growth <= 1024)),
    ]
