"""How much fits into a zone, and whether anything grows."""

import contextlib

from harness import net
from harness.nginx import Nginx

from . import contenders
from .contenders import TARGET, Setting
from .report import AISEARCH, LUA, Line
from .tools import Upstream, client

MIB = 4
STEP = 128
SIZES = (200, 300, 500, 1000, 1500)


def density(bench) -> list[Line]:
    """Asks for more jobs than fit, and counts those that stayed."""
    lines = []
    for size in bench.scale(SIZES, SIZES[:2]):
        values = {}
        with Upstream(size=size) as upstream, contextlib.ExitStack() as stack:
            setting = Setting(bench.tmp, upstream, size=f"{MIB}m")
            for name, make in contenders.available().items():
                if name in (AISEARCH, LUA):
                    server = stack.enter_context(Nginx(bench.tmp, make(setting)))
                    values[name] = _held(server, upstream, size) / MIB
        line = Line("density", f"jobs of {size} bytes per MiB of zone", "jobs", values)
        if size == 300:
            line.compared, line.bar, line.met = f"{values[AISEARCH]:.0f}", ">= 1500", values[AISEARCH] >= 1500
        lines.append(line)
    return lines


def _held(server: Nginx, upstream: Upstream, size: int) -> int:
    """Of more jobs than fit, asks for them again from the newest on, until one is no hit any more."""
    jobs = 2 * MIB * (1 << 20) // size
    filled = client(server.port, TARGET, "-c", 16, "-n", jobs, "-j", jobs, "-o")
    assert filled.failed == 0, filled
    upstream.forget()
    for first in range(jobs - STEP, -1, -STEP):
        assert client(server.port, TARGET, "-n", STEP, "-j", STEP, "-f", first, "-o").failed == 0
        if misses := upstream.count():
            return jobs - first - misses
    raise AssertionError("everything fits: nothing was measured")


def churn(bench) -> list[Line]:
    """Far more jobs than the zone has room for, so that each look-up evicts somebody."""
    lookups, jobs = bench.scale(1_000_000, 40_000), bench.scale(200_000, 20_000)
    parts = 4
    failed, seen = 0, []
    with Upstream() as upstream:
        config = contenders.aisearch(Setting(bench.tmp, upstream, size=f"{MIB}m"))
        config.workers = 2
        config.level = "warn"
        with Nginx(bench.tmp, config) as server:
            for _ in range(parts):
                failed += client(server.port, TARGET, "-c", 64, "-n", lookups // parts, "-j", jobs).failed
                seen.append((sum(map(net.rss, server.workers())), server.get("/aisearch_status").json()["zone"]))
            warnings = server.error_log().count("[warn]")
    # The first quarter fills pools, arenas and the zone; from then on nothing may grow, but for a page here and there.
    (rss_before, zone_before), (rss, zone) = seen[0], seen[-1]
    growth = (rss - rss_before) / 1024
    used = (zone["bytes_used"] - zone_before["bytes_used"]) / 1024
    what = f"{lookups} look-ups of {jobs} jobs, {MIB} MiB"
    return [
        Line("churn", f"{what}: failed", "", {AISEARCH: failed}, f"{failed} failed, {warnings} warnings", "none",
             failed == 0 and warnings == 0),
        Line("churn", f"{what}: evicted", "entries", {AISEARCH: zone["evictions"]}),
        Line("churn", f"{what}: zone grew", "KiB", {AISEARCH: used}, f"{used:.0f} KiB",
             "<= 64", used <= 64),
        Line("churn", f"{what}: RSS grew", "KiB", {AISEARCH: growth},
             f"{growth:.0f} KiB", "<= 512", growth <= 512),
    ]
