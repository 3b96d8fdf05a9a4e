"""
Instructions per request, measured by callgrind: nginx in a single process answers N requests on one connection, and in
another run 2 N. The difference excludes everything that happens once, and is repeatable to a few instructions.
"""

import collections
import contextlib
import pathlib
import re
import signal
import tempfile

from harness import net, process
from harness.nginx import BINARY, Config, Ports

Profile = dict[str, int]  # instructions by function, excluding its callees


def per_request(tmp: pathlib.Path, config: Config, target: str, requests: int) -> dict[str, float]:
    """Instructions of one request, by function."""
    once, twice = (run(tmp, config, target, count) for count in (requests, 2 * requests))
    names = once.keys() | twice.keys()
    profile = {name: (twice.get(name, 0) - once.get(name, 0)) / requests for name in names}
    return dict(sorted(profile.items(), key=lambda item: -item[1]))


def run(tmp: pathlib.Path, config: Config, target: str, requests: int) -> Profile:
    prefix = pathlib.Path(tempfile.mkdtemp(prefix="callgrind-", dir=tmp))
    with Valgrind(prefix, config, "--tool=callgrind", f"--callgrind-out-file={prefix}/out") as nginx:
        nginx.ask(target, requests)
    return _parse(prefix / "out")


class Valgrind:
    """nginx in a single process, under a valgrind tool."""

    def __init__(self, prefix: pathlib.Path, config: Config, *options: str) -> None:
        self._prefix = prefix
        self._config = config
        self._options = options

    def __enter__(self) -> "Valgrind":
        self._ports = Ports()
        conf = self._prefix / "nginx.conf"
        text = self._config.text(self._prefix, self._ports)
        conf.write_text(text.replace("master_process on;", "master_process off;"))
        self._process = process.start(["valgrind", "--quiet", *self._options, BINARY, "-p", self._prefix,
                                       "-e", self._prefix / "error.log", "-c", conf])
        self._connection = net.wait_until(self._connect, 60, "nginx to start under valgrind", every=0.1)
        return self

    def _connect(self) -> net.Connection | None:
        assert self._process.poll() is None, (self._prefix / "error.log").read_text("utf-8", "replace")
        try:
            return net.Connection(("127.0.0.1", self._ports[""]), 60)
        except ConnectionRefusedError:
            return None

    def ask(self, target: str, requests: int) -> net.Response:
        """Sends requests one by one; returns the last response."""
        for _ in range(requests):
            response = self._connection.request(target)
            assert response.status == 200, response
        return response

    def __exit__(self, *_exc) -> None:
        self._connection.close()
        self._process.send_signal(signal.SIGQUIT)
        with contextlib.suppress(AssertionError):
            net.wait_until(self._gone, 60, every=0.1)
        process.stop(self._process, timeout=1)

    def _gone(self) -> bool:
        """
        A single process only checks for signals between two events: if one arrives just before it sleeps, another is
        needed.
        """
        if self._process.poll() is None:
            with contextlib.suppress(ConnectionError):
                net.Connection(("127.0.0.1", self._ports[""]), 60).close()
        return self._process.poll() is not None


def _parse(out: pathlib.Path) -> Profile:
    """Parses a callgrind file (see its manual, "Callgrind Format Specification") for the cost of each function."""
    names: dict[str, str] = {}
    profile: Profile = collections.Counter()
    function, called = "", False
    for line in out.read_text("utf-8", "replace").splitlines():
        if match := re.match(r"c?fn=\((\d+)\)(?: (.*))?$", line):
            if match[2]:
                names[match[1]] = match[2]
            if line.startswith("fn="):
                function = names[match[1]]
        elif line.startswith("calls="):
            called = True  # the next line is the inclusive cost of the call
        elif line[:1] in ("+", "-", "*") or line[:1].isdigit():
            if not called:
                profile[function] += int(line.split()[1])
            called = False
    return profile
