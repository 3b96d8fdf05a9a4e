"""The load generators and servers, and the CPUs that they run on."""

import contextlib
import dataclasses
import json
import os
import pathlib
import re
import shutil
import subprocess
from typing import NamedTuple

from harness import BUILD, process
from harness.nginx import DEBIAN_MODULES

CLIENT = BUILD / "bench" / "client"
UPSTREAM = BUILD / "bench" / "upstream"
WATCHERS = BUILD / "bench" / "watchers"

CPUS = sorted(os.sched_getaffinity(0))


def cpus(*wanted: int) -> list[str]:
    """Returns a command prefix that pins a command to these of our CPUs, or to the last one if there are fewer."""
    chosen = sorted({CPUS[min(n, len(CPUS) - 1)] for n in wanted})
    return ["taskset", "-c", ",".join(map(str, chosen))]


class Upstream:
    """upstream.c: an API that is never the bottleneck."""

    def __init__(self, delay: float = 0, size: int = 300) -> None:
        self._delay = delay
        self._size = size
        self.port = 0

    def __enter__(self) -> "Upstream":
        self.start()
        return self

    def __exit__(self, *_exc) -> None:
        self.stop()

    def start(self) -> None:
        """Also restarts it on the same port after stop()."""
        self._process = process.start([*cpus(*range(len(CPUS))), UPSTREAM, self.port, self._delay * 1000, self._size],
                                      stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self.port = int(self._process.stdout.readline())

    def stop(self) -> None:
        self._process.stdin.close()
        self._process.wait(10)
        self._process.stdout.close()

    def _order(self, order: str) -> str:
        self._process.stdin.write(order.encode() + b"\n")
        self._process.stdin.flush()
        return self._process.stdout.readline().decode().strip()

    def delay(self, seconds: float) -> None:
        """Applies from the next request on."""
        self._delay = seconds
        self._order(f"delay {seconds * 1000}")

    def size(self, size: int) -> None:
        self._size = size
        self._order(f"size {size}")

    def change(self) -> None:
        """Changes all jobs from the next response on."""
        self._order("change")

    def changing(self) -> None:
        """Makes each response different from the previous one."""
        self._order("changing")

    def served(self) -> float:
        """When the first response since change() was sent, by time.monotonic(); 0: none yet."""
        return float(self._order("served"))

    def count(self) -> int:
        return int(self._order("count"))

    def forget(self) -> None:
        self._order("forget")

    def times(self) -> list[float]:
        """When each request arrived, by time.monotonic()."""
        return [float(self._process.stdout.readline()) for _ in range(int(self._order("times")))]

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"


@dataclasses.dataclass
class Outcome:
    """The results of a client's requests; latencies are in milliseconds."""

    seconds: float
    answers: int
    statuses: dict[str, int]
    caches: dict[str, int]
    retry_after: int
    connect_errors: int
    kept_closed: int
    cut_short: int
    timeouts: int
    latency: dict[str, float]

    @property
    def failed(self) -> int:
        """All requests without a 200 response."""
        return self.answers - self.statuses.get("200", 0) + self.unanswered

    @property
    def unanswered(self) -> int:
        return self.connect_errors + self.kept_closed + self.cut_short + self.timeouts


class Client:
    """Runs client.c in the background. Takes its options."""

    def __init__(self, port: int, target: str, *options: object, on: tuple[int, ...] | None = None) -> None:
        where = cpus(*(range(len(CPUS)) if on is None else on))
        self._process = process.start([*where, CLIENT, *options, port, target], stdin=subprocess.PIPE,
                                      stdout=subprocess.PIPE)

    def __enter__(self) -> "Client":
        return self

    def __exit__(self, *_exc) -> None:
        with contextlib.suppress(AssertionError):
            process.stop(self._process, timeout=1)
        self._process.stdin.close()
        self._process.stdout.close()

    def ready(self) -> None:
        """For -g: waits until all connections are open."""
        assert self._process.stdout.readline() == b"ready\n", "the client did not get its connections"

    def go(self) -> None:
        self._process.stdin.write(b"\n")
        self._process.stdin.flush()

    def outcome(self) -> Outcome:
        text = self._process.stdout.read()
        assert self._process.wait() == 0 and text, "the client failed; see its message on standard error"
        return Outcome(**json.loads(text))


def client(port: int, target: str, *options: object, on: tuple[int, ...] | None = None) -> Outcome:
    with Client(port, target, *options, on=on) as running:
        return running.outcome()


@dataclasses.dataclass
class Told:
    """What watchers have received; times are by time.monotonic(), for the first message of each watcher."""

    told: int  # watchers
    count: int  # messages to all watchers
    least: int  # the smallest number for one watcher
    most: int
    failed: int
    first: float
    median: float
    last: float


class Watchers:
    """Runs watchers.c in the background. Takes its options."""

    def __init__(self, kind: str, port: int, target: str, count: int, *options: object) -> None:
        self.count = count
        self._process = process.start([*cpus(*range(len(CPUS))), WATCHERS, "-c", count, *options, kind, port, target],
                                      stdin=subprocess.PIPE, stdout=subprocess.PIPE)

    def __enter__(self) -> "Watchers":
        assert self._answer() == b"ready", "the watchers failed; see their message on standard error"
        return self

    def __exit__(self, *_exc) -> None:
        self._process.stdin.close()
        self._process.wait(10)
        self._process.stdout.close()

    def _order(self, order: str) -> bytes:
        self._process.stdin.write(order.encode() + b"\n")
        self._process.stdin.flush()
        return self._answer()

    def _answer(self) -> bytes:
        return self._process.stdout.readline().strip()

    def forget(self) -> None:
        """Resets the counters."""
        self._order("forget")

    def counted(self) -> Told:
        """Counts since forget()."""
        return Told(**json.loads(self._order("count")))

    def told(self, timeout: float = 10) -> Told:
        """Returns the same counts once every watcher has received something."""
        told = Told(**json.loads(self._order(f"told {timeout}")))
        assert told.told == self.count and told.failed == 0, told
        return told


_WRK_SCRIPT = """\
local requests = {}
function init(args)
    math.randomseed(1)
    for n = 1, %(jobs)d do
        requests[n] = ("GET %(target)s HTTP/1.1\\r\\nHost: localhost\\r\\n\\r\\n"):format(n - 1)
    end
end
function request()
    return requests[math.random(%(jobs)d)]
end
"""


class Load(NamedTuple):
    answers: int
    rate: float  # per second


def wrk(tmp: pathlib.Path, port: int, target: str, jobs: int, connections: int, seconds: float,
        on: tuple[int, ...]) -> Load:
    """All responses must be 200."""
    script = tmp / "wrk.lua"
    script.write_text(_WRK_SCRIPT % {"jobs": jobs, "target": target.replace("{}", "%012d")})
    run = subprocess.run([*cpus(*on), "wrk", "-t", str(len(set(on))), "-c", str(connections), "-d", f"{seconds:g}s",
                          "--timeout", "30s", "-s", script, f"http://127.0.0.1:{port}/"], stdout=subprocess.PIPE,
                         check=True)
    text = run.stdout.decode()
    assert "Non-2xx" not in text and "Socket errors" not in text, text
    return Load(int(re.search(r"(\d+) requests in", text)[1]), float(re.search(r"Requests/sec:\s+([\d.]+)", text)[1]))


def missing(programs: set[str]) -> list[str]:
    """What must be installed or built first, including nginx modules."""
    return [name for name in sorted({"taskset", *programs})
            if shutil.which(name) is None and not (DEBIAN_MODULES / name).exists()] + [
        str(path) for path in (CLIENT, UPSTREAM, WATCHERS) if not path.exists()]
