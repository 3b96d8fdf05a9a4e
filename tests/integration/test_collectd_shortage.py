"""
Memory that runs out in collectd: every allocation of the plugin in a round of lookups and its reports fails once, alone
and with all that follow. collectd goes on, nothing leaks, and what could not be read is read in one of the next rounds.
"""

import time

import pytest

from harness import SLOWNESS, VALGRIND, net, temp_dir
from harness.collectd import Collectd, Config
from harness.shortage import Kind, Library, Shortage
from harness.simulator import ACCOUNT

pytestmark = pytest.mark.skipif(VALGRIND, reason="valgrind has a malloc of its own")

INTERVAL = 0.1 * SLOWNESS ** 0.5

# Two instances, and a job of its own; each is looked at once per interval.
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

# A connection may be there, or not: some fifteen of them.
SLACK = 16

# More than any number of allocations.
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
    """Everything is read, from now on."""
    collectd.next_report("docs", lambda report: all(name in report for name in VALUES), timeout=10)


def wait_reports(collectd: Collectd, count: int) -> None:
    """So many more, whatever is in them; the last one that is there may not be whole."""
    began = time.time()
    net.wait_until(lambda: sum(when > began for when, _ in collectd.reports("docs")) >= count, 10, "reports",
                   every=INTERVAL / 4)


def count_allocations(collectd: Collectd, shortage: Shortage) -> int:
    """Of two rounds and their reports, one of which is whole, whenever it begins."""
    shortage.begin(Kind.MODULE, NEVER, lasts=False)
    wait_reports(collectd, 2)
    shortage.stop()
    return shortage.count


def settled(collectd: Collectd, shortage: Shortage) -> int:
    """The blocks that there are between two rounds."""
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
    assert left <= SLACK, "blocks were left behind"
