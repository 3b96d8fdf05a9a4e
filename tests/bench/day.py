"""
A day of a collectd that watches 300 instances of the simulator, whose clock is accelerated by the same factor as
collectd's intervals are shortened. tests/unit/test_scenario_fleet.c simulates the same day on a fake clock.
"""

import pathlib
import random
import re

from harness import net
from harness.collectd import Collectd, Config
from harness.simulator import ACCOUNT, Simulator

from .report import AISEARCH, Line

INSTANCES = 300
ACTIVE_MAX = 60
CALLS, PERIOD = 1200, 300
MINUTE, HOUR = 60, 3600

SPEED = 240
ENDS = (None, "completed", "error: no space", "cancelled")
STATES = ("succeeded", "failed", "cancelled")


def day(bench) -> list[Line]:
    hours = bench.scale(24, 1)
    fixed = int(hours * 60 * INSTANCES)
    with Simulator(bench.tmp, record=fixed) as simulator:
        # The simulator has no limit, which would be in real seconds, and no job of the day is in collectd's future.
        simulator.limit(None)
        simulator.set_clock(simulator.now() - 2 * 24 * HOUR)
        simulator.freeze()
        since = simulator.now()
        planned = _plan(simulator, hours)
        counted = _watch(bench.tmp, simulator, hours)
        census = simulator.census(since)
        asked = sorted(request.began for request in simulator.requests())

    ends = {name: [census[f"instances/{name}"][state] for state in STATES] for name in planned}
    missed = sum(counted.get(name) != ends[name] for name in planned)
    most = _fullest(asked, PERIOD / SPEED)
    what = f"{hours:g} hours of {INSTANCES} instances"

    def line(of: str, value: float, compared: str, bar: str, met: bool) -> Line:
        return Line("day", f"{what}: {of}", "", {AISEARCH: value}, compared, bar, met)

    return [
        line("jobs that ended", sum(map(sum, ends.values())), f"{missed} instances miscounted", "0 miscounted",
             missed == 0),
        line("calls", len(asked), f"{len(asked) / fixed:.3f} x one a minute", "< 0.5",
             bench.judge(len(asked) < fixed / 2)),
        line(f"fullest {PERIOD} s, calls", most, f"{most}", f"<= {CALLS}", most <= CALLS),
    ]


def _fullest(times: list[float], interval: float) -> int:
    """The largest number in any interval."""
    most = first = 0
    for n, when in enumerate(times):
        while times[first] <= when - interval:
            first += 1
        most = max(most, n - first + 1)
    return most


def _plan(simulator: Simulator, hours: float) -> list[str]:
    """
    One job of each instance every six hours, all within one hour, and others at random times; at most 60 at once.
    Returns the names of the instances.
    """
    chance = random.Random(1)
    jobs: list[list[dict]] = [[] for _ in range(INSTANCES)]
    rounds = [0] * INSTANCES
    for at in range(20 * MINUTE, int((hours - 0.5) * HOUR), 10):
        active = sum(bool(mine) and mine[-1]["ends_in"] > at for mine in jobs)
        for n, mine in enumerate(jobs):
            turn = rounds[n] * 6 * HOUR + n * HOUR / INSTANCES
            if active >= ACTIVE_MAX or (mine and mine[-1]["ends_in"] > at):
                continue
            if turn > at and chance.random() > 1e-4:
                continue
            rounds[n] += turn <= at
            active += 1
            starts = at + chance.randint(1, 10)
            mine.append({"id": f"{n}-{len(mine)}", "appears_in": at, "starts_in": starts,
                         "ends_in": starts + chance.randint(2 * MINUTE, 20 * MINUTE),
                         "end_reason": chance.choice(ENDS)})
    for n, mine in enumerate(jobs):
        simulator.instance(f"instances/{_name(n)}", mine)
    return [_name(n) for n in range(INSTANCES)]


def _name(n: int) -> str:
    return f"instance-{n:03d}"


def _watch(tmp: pathlib.Path, simulator: Simulator, hours: float) -> dict[str, list[int]]:
    """Returns how many jobs of each instance have succeeded, failed and been cancelled, as counted by collectd."""
    state = tmp / "day.state"
    with Collectd(tmp, Config(_config(simulator, state), interval=20 / SPEED, csv=False), stop_timeout=10):
        net.wait_until(lambda: simulator.counters()["total"] >= INSTANCES, what="the first look at all")
        end = simulator.now() + hours * HOUR
        simulator.run(SPEED)
        simulator.thaw()
        net.wait_until(lambda: simulator.now() >= end, hours * HOUR / SPEED + 60, "the end of the day", every=0.5)
        simulator.freeze()
    return _counted(state)


def _counted(state: pathlib.Path) -> dict[str, list[int]]:
    """Counters are listed by source, unless they are 0."""
    counted = {}
    for line in state.read_text(encoding="utf-8").splitlines():
        if match := re.match(r"instance docs-(\S+) ", line):
            words = dict(re.findall(r"(\w+)=(\S+)", line))
            counted[match[1]] = [sum(map(int, words.get(name, "0").split("/"))) for name in STATES]
    return counted


def _config(simulator: Simulator, state: pathlib.Path) -> str:
    instances = "\n".join(f'Instance "{_name(n)}"' for n in range(INSTANCES))
    return f"""
        StateFile "{state}"
        <Account "docs">
          AccountID "{ACCOUNT}"
          TokenFile "{simulator.token_file}"
          APIURL "http://localhost{simulator.base}"
          UnixSocket "{simulator.lean_unix}"
          ActiveInterval {20 / SPEED}
          IdleInterval {300 / SPEED}
          Budget {CALLS} {PERIOD / SPEED}
          {instances}
        </Account>
    """
