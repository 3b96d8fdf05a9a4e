"""
collectd under all kinds of failures: python3 -m soak.collectd --time SECONDS [--seed N] [--seeds N]. There are
instances whose jobs start and end at random, an API with faults, and a collectd that is repeatedly stopped or killed;
each seed is run with stops only, and with kills too. At the end, each ended job must have been counted once. There must
be a notification of each failed job: exactly one or, if collectd was killed, at least one, plus at most one for each
time that the notification was in the state file at a kill.
"""

import argparse
import collections
import pathlib
import random
import re
import sys
import time

from harness import net, temp_dir
from harness.collectd import Collectd, Config
from harness.simulator import ACCOUNT, Simulator

INSTANCES = 50
INTERVAL = 0.5
ENDS = ("succeeded", "failed", "cancelled")

# The seconds between interruptions, in a long run and in a short one.
LONG, SHORT = (10, 30), (3, 8)

_CONFIG = """
<Account "docs">
  AccountID "{account}"
  TokenFile "{token}"
  APIURL "{url}"
  Budget 100000 1
  Timeout 400
  ActiveInterval {interval}
  IdleInterval {interval}
  ReportDetails true
  DiscoverInstances true
  DiscoveryInterval 2
</Account>
"""

_FAULTS = ({"status": 500, "body": "<html>"}, {"status": 503, "body": "{}"}, {"delay": 1},
           {"status": 429, "headers": [["Retry-After", "1"]]}, {"status": 200, "body": "{"},
           {"status": 404, "body": '{"success":false,"errors":[{"code":7002,"message":"no"}]}'})


class World:
    """The truth: the jobs of each instance, and how each has ended."""

    def __init__(self, simulator: Simulator, rng: random.Random) -> None:
        self._simulator = simulator
        self._rng = rng
        self._names = [f"i{n}" for n in range(INSTANCES)]
        self._running: dict[str, str] = {}
        self._jobs = 0
        self.ended: collections.Counter[tuple[str, str]] = collections.Counter()
        self.failed: list[str] = []
        for name in self._names:
            simulator.instance(f"instances/{name}")

    def step(self) -> None:
        """Starts or ends a job, or does both between two lookups."""
        name = self._rng.choice(self._names)
        if name not in self._running:
            self._jobs += 1
            self._running[name] = f"job{self._jobs}"
            self._simulator.job(f"instances/{name}", self._running[name], starts_in=-1)
            if self._rng.random() < 0.5:
                return
        job, end = self._running.pop(name), self._rng.choice(ENDS)
        reason = {"succeeded": None, "failed": f"no disk for {job}", "cancelled": "cancelled"}[end]
        self._simulator.job(f"instances/{name}", job, ends_in=0, end_reason=reason)
        self.ended[name, end] += 1
        if end == "failed":
            self.failed.append(job)

    def names(self) -> list[str]:
        return self._names


def counters(daemon: Collectd, name: str, end: str) -> list[float]:
    return [value for _, value in daemon.series(f"docs-{name}/operations-{end}")]


def pending(daemon: Collectd) -> list[str]:
    """The jobs whose failure notifications are pending in the state file."""
    text = (daemon.prefix / "aisearch.state").read_text() if (daemon.prefix / "aisearch.state").exists() else ""
    return re.findall(r"^budget notice!\S*message=Job%20(job\d+)%20\S*has%20failed", text, re.MULTILINE)


def run(tmp: pathlib.Path, seconds: float, seed: int, kills: bool, pause: tuple[float, float]) -> list[str]:
    """Returns the violations."""
    rng = random.Random(seed)
    with Simulator(tmp) as simulator:
        world = World(simulator, rng)
        config = Config(_CONFIG.format(account=ACCOUNT, token=simulator.token_file, url=simulator.url, interval=INTERVAL),
                        interval=INTERVAL)
        daemon = Collectd(tmp, config)
        daemon.start()
        net.wait_until(lambda: all(counters(daemon, name, "failed") and daemon.series(f"docs-{name}/count-running")
                                   for name in world.names()), 30, "all instances", every=0.5)
        again: collections.Counter[str] = collections.Counter()
        stops = _trouble(daemon, simulator, world, rng, seconds, kills, pause, again)
        simulator.clear_faults()
        net.wait_until(lambda: not _uncounted(daemon, world), 60, "all ends to be counted", every=0.5)
        net.wait_until(lambda: not pending(daemon), 60, "the last notifications", every=0.2)
        daemon.wait_reads(3)
        daemon.stop()
        print(f"{sum(world.ended.values())} jobs ended, {len(world.failed)} failed; {stops} stops", flush=True)
        return _judge(daemon, world, again)


def _trouble(daemon, simulator, world, rng, seconds, kills, pause, again) -> int:
    stops = 0
    end = time.monotonic() + seconds
    stop_at = time.monotonic() + rng.uniform(*pause)
    while time.monotonic() < end:
        world.step()
        if rng.random() < 0.03:
            simulator.clear_faults()
            simulator.fault(rng.choice(("", "/jobs", "i1", r"/instances\?")), times=rng.randint(1, 40), **rng.choice(_FAULTS))
        if rng.random() < 0.01:
            simulator.drop_connections(reset=rng.random() < 0.5)
        if time.monotonic() > stop_at:
            stops += 1
            if kills and rng.random() < 0.5:
                daemon.kill()
                again.update(pending(daemon))
            else:
                daemon.stop()
            daemon.start()
            stop_at = time.monotonic() + rng.uniform(*pause)
        time.sleep(rng.uniform(0, 0.1))
    return stops


def _uncounted(daemon: Collectd, world: World) -> list:
    return [(name, end, values[-1:], world.ended[name, end]) for name in world.names() for end in ENDS
            for values in (counters(daemon, name, end),) if values[-1:] != [world.ended[name, end]]]


def _judge(daemon: Collectd, world: World, again: collections.Counter[str]) -> list[str]:
    wrong = [f"{name} {end}: counted {values[-1]:g} times, {world.ended[name, end]} have ended"
             for name, end, values, _ in _uncounted(daemon, world)]
    for name in world.names():
        for end in ENDS:
            values = counters(daemon, name, end)
            wrong += [f"{name} {end} fell from {a:g} to {b:g}" for a, b in zip(values, values[1:]) if b < a]
    told = collections.Counter(re.search(r"Job (job\d+) ", notification.message)[1]
                               for notification in daemon.notifications() if notification.severity == "FAILURE"
                               and notification.identity.endswith("/failed"))
    wrong += [f"{job} was reported {told[job]} times, of which {again[job]} may be repetitions"
              for job in world.failed if not 1 <= told[job] <= 1 + again[job]]
    wrong += [f"{job} was reported, but has not failed" for job in told if job not in world.failed]
    return wrong


def main() -> int:
    parser = argparse.ArgumentParser(prog="soak.collectd", description=__doc__)
    parser.add_argument("--time", type=float, default=300, help="duration of each run in seconds")
    parser.add_argument("--seed", type=int, help="the seed of an earlier run")
    parser.add_argument("--seeds", type=int, default=3, help="the number of random seeds if none is given")
    arguments = parser.parse_args()
    chosen = arguments.seed is not None
    seeds = [arguments.seed] if chosen else [random.randrange(1 << 32) for _ in range(arguments.seeds)]
    pause = LONG if arguments.time >= 10 * LONG[1] else SHORT
    violations = 0
    for seed in seeds:
        for kills in (False, True):
            print(f"soak: collectd, {arguments.time:g} s, seed {seed}{', with kills' if kills else ''}", flush=True)
            with temp_dir() as tmp:
                wrong = run(tmp, arguments.time, seed, kills, pause)
            print(*wrong, sep="\n", end="\n" if wrong else "")
            print(f"soak: {len(wrong)} violations{f'; to repeat: make soak SEED={seed}' if wrong else ''}", flush=True)
            violations += len(wrong)
    return 1 if violations else 0


if __name__ == "__main__":
    sys.exit(main())
