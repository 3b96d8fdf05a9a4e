"""
A client in its own process that sends requests at a steady rate, to detect when a server stalls.

    with Pace(nginx.address, "/plain", rate=500) as pace:
        pace.begin()
        ...
        latencies = pace.end()      # of all requests that were due since begin()

Latencies count from the time at which a request was due, so they include requests that a stall has delayed.
"""

import contextlib
import json
import math
import os
import socket
import subprocess
import sys
import tempfile
import time

from . import SLOWNESS, TESTS, net, process

# The client's priority if we are root, so that other load on the machine is not mistaken for a stall of the server.
# Give nginx the same worker_priority.
PRIORITY = -15


class Pace:
    def __init__(self, address: net.Address, target: str, rate: float) -> None:
        self._order = {"address": address, "target": target, "rate": rate}
        self._process: subprocess.Popen | None = None
        self._began = 0.0

    def __enter__(self) -> "Pace":
        env = {**os.environ, "PYTHONPATH": str(TESTS), "PYTHONDONTWRITEBYTECODE": "1"}
        self._report = tempfile.TemporaryFile()  # a pipe would fill up and block the process
        self._process = process.start([sys.executable, "-m", "harness.pace", json.dumps(self._order)], env=env,
                                      stdin=subprocess.DEVNULL, stdout=self._report)
        net.wait_until(self._lines, 10, "a paced client to begin")
        return self

    def __exit__(self, *_exc) -> None:
        process.stop(self._process)
        self._report.close()

    def begin(self) -> None:
        self._began = time.monotonic()

    def end(self) -> list[float]:
        """In seconds. Waits for the responses to all requests that are due."""
        now = time.monotonic()
        net.wait_until(lambda: self._lines()[-1][0] > now, 10, "the answers to a paced client")
        return [latency for due, latency in self._lines() if self._began <= due <= now]

    def _lines(self) -> list[tuple[float, float]]:
        text = os.pread(self._report.fileno(), 1 << 30, 0).decode()
        lines = (line.split() for line in text[:text.rfind("\n") + 1].splitlines())
        return [(float(due), float(latency)) for due, latency in lines]


def quantile(values: list[float], q: float) -> float:
    return sorted(values)[math.ceil(len(values) * q) - 1]


def _run(order: dict) -> None:
    """Writes a line for each request: when it was due, and its latency."""
    with contextlib.suppress(PermissionError):
        os.setpriority(os.PRIO_PROCESS, 0, PRIORITY)
    address = order["address"]
    data = net.format_request(order["target"])
    with net.Connection(address if isinstance(address, str) else tuple(address), 60 * SLOWNESS) as connection:
        if connection.sock.family == socket.AF_INET:
            connection.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        due = time.monotonic()
        while True:
            connection.send(data)
            assert connection.read_response().status == 200
            now = time.monotonic()
            print(f"{due:.6f} {now - due:.6f}", flush=True)
            due += 1 / order["rate"]
            time.sleep(max(0.0, due - now))


if __name__ == "__main__":
    _run(json.loads(sys.argv[1]))
