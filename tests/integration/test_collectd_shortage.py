"""
Out of memory in collectd: each allocation of the plugin during a round of lookups and reports fails once, either alone or
with all that follow. collectd continues, nothing leaks, and all instances are read in one of the next rounds.
"""

import time

import pytest

from harness import SLOWNESS, VALGRIND, net, temp_dir
from harness.collectd import Collectd, Config
from harness.shortage import Kind, Library, Shortage
from harness.simulator import ACCOUNT

pytestmark = pytest.mark.skipif(VALGRIND, reason="valgrind replaces malloc()")

INTERVAL = 0.1 * SLOWNESS ** 0.5

# Two instances, one of them with a pinned job. Each is looked up once per interval.
PLUGIN = """
<Account "docs">
  AccountID "{account}"
  TokenFile "{token_file}"
  APIURL "{url}"
  Budget 1000000 1
  ActiveInterval @INTERVAL@
  IdleInterval @INTERVAL@
  Instance "handbook"
  <Instance "docs">
    Job "pinned"
  </Instance>
</Account>
"""
VALUES = ("docs-handbook/gauge-state", "docs-docs/gauge-state-pinned")

# The number of blocks may differ by those of an open connection, which are about fifteen.
SLACK = 16

# Greater than any number of allocations.
NEVER = 1 << 40


@pytest.fixture(scope="module")
def library():
    with temp_dir() as path:
        library = Library(path)
        library.plugin()
        yield library


@pytest.fixture
def shortage(tmp):
    return Shortage(tmp)


@pytest.fixture
def collectd(tmp, simulator, library, shortage):
    simulator.instance("instances/handbook", [{"id": f"j{n}", "state": "running"} for n in range(20)])
    simulator.instance("instances/docs", [{"id": "pinned", "state": "running"}])
    extra = f'PluginDir "{library.preload.parent}"\n<LoadPlugin aisearch>\n  Interval {INTERVAL}\n</LoadPlugin>'
    config = Config(PLUGIN.format(account=ACCOUNT, token_file=simulator.token_file, url=simulator.url), INTERVAL, extra)
    with Collectd(tmp, config, env=shortage.env, preload=[library.preload]) as daemon:
        shortage.watch(daemon.pid)
        yield daemon


def works(collectd: Collectd) -> None:
    """Waits for a new report with all values."""
    collectd.next_report("docs", lambda report: all(name in report for name in VALUES), timeout=10)


def wait_reports(collectd: Collectd, count: int) -> None:
    """Waits for this many new reports, with any values. The last one may be incomplete."""
    began = time.time()
    net.wait_until(lambda: sum(when > began for when, _ in collectd.reports("docs")) >= count, 10, "reports",
                   every=INTERVAL / 4)


def count_allocations(collectd: Collectd, shortage: Shortage) -> int:
    """The number of allocations in two rounds and their reports; at least one of them is complete."""
    shortage.begin(Kind.MODULE, NEVER, lasts=False)
    wait_reports(collectd, 2)
    shortage.stop()
    return shortage.count


def settled(collectd: Collectd, shortage: Shortage) -> int:
    """The number of allocated blocks between two rounds."""
    began = time.time()
    least = NEVER
    while sum(when > began for when, _ in collectd.reports("docs")) < 3:
        least = min(least, shortage.live)
        time.sleep(INTERVAL / 20)
    return least


@pytest.mark.parametrize("lasts", [False, True], ids=["once", "lasting"])
def test_rounds(collectd, shortage, lasts):
    works(collectd)
    allocations = count_allocations(collectd, shortage)
    assert allocations >= 10
    before = settled(collectd, shortage)

    for nth in range(1, allocations + 1):
        shortage.begin(Kind.MODULE, nth, lasts)
        net.wait_until(lambda: shortage.failed > 0, 10, "an allocation", every=INTERVAL / 10)
        if lasts:
            wait_reports(collectd, 1)
        shortage.stop()
        works(collectd)

    left = settled(collectd, shortage) - before
    print(f"{allocations} allocations, {left} blocks more")
    assert left <= SLACK, "blocks were leaked"
