"""
A malicious client in its own process, as fast as possible:

    with Hostile(nginx.address, "abandons"):
        ...                                     # check the effect on others

WAYS lists the ways. They request resources below PREFIX, of an instance with the jobs "slow" (a lookup takes long) and
"done" (it is cached), and with a log of "done" that is too large for a socket's buffers.
"""

import contextlib
import itertools
import json
import os
import random
import select
import socket
import struct
import subprocess
import sys
import time

from . import TESTS, http2, net, process

PREFIX = "/client/v4/instances/docs"

_CONNECTIONS = 100  # concurrent ones; no more than a web server should allow anyone
_ROUND = 0.05  # seconds between the rounds of clients that only hold connections


class Hostile:
    """address is the server's; for the ways that begin with h2, one with HTTP/2."""

    def __init__(self, address: net.Address, way: str) -> None:
        self._order = {"address": address, "way": way}

    def __enter__(self) -> "Hostile":
        env = {**os.environ, "PYTHONPATH": str(TESTS), "PYTHONDONTWRITEBYTECODE": "1"}
        self._process = process.start([sys.executable, "-m", "harness.hostile", json.dumps(self._order)], env=env,
                                      stdin=subprocess.DEVNULL, stdout=subprocess.PIPE)
        readable, _, _ = select.select([self._process.stdout], [], [], 20)
        assert readable and self._process.stdout.readline() == b"at work\n", "the hostile client did not start"
        return self

    def __exit__(self, *_exc) -> None:
        assert self._process.poll() is None, "the hostile client failed"
        process.stop(self._process)
        self._process.stdout.close()


# Each is a generator that does a bit of harm per step.


def _connect(address: net.Address) -> socket.socket:
    sock = socket.create_connection(tuple(address), timeout=5)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return sock


def _reset(sock: socket.socket) -> None:
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.close()


def _get(path: str, *headers: tuple[str, str]) -> bytes:
    return net.format_request(PREFIX + path, headers)


def _hold(address: net.Address, data: bytes, more: bytes = b""):
    """Holds as many connections as allowed, each with this request, and sends more of it in each round."""
    held: list[socket.socket] = []
    while True:
        while len(held) < _CONNECTIONS:
            held.append(_connect(address))
            held[-1].sendall(data)
        yield
        for sock in list(held):
            if not _lives(sock, more):
                held.remove(sock)
                sock.close()
        time.sleep(_ROUND)


def _lives(sock: socket.socket, more: bytes) -> bool:
    """Whether to keep the connection. A response is not read, unless there are several requests."""
    try:
        sock.sendall(more)
        return not more or not _has_something(sock)
    except OSError:
        return False


def _has_something(sock: socket.socket) -> bool:
    """A response or the end of the connection."""
    return select.select([sock], [], [], 0)[0] != []


def _waits(address):
    """Many connections that request the same slow resource."""
    return _hold(address, _get("/jobs/slow"))


def _half_closes(address):
    """The same, but half-closes after each request: more and more requests, since connections are not held."""
    held: list[socket.socket] = []
    while True:
        held.append(_connect(address))
        held[-1].sendall(_get("/jobs/slow"))
        held[-1].shutdown(socket.SHUT_WR)
        if len(held) > 10 * _CONNECTIONS:
            held.pop(0).close()
        yield


def _abandons(address):
    """Connects, sends a request and disconnects."""
    while True:
        sock = _connect(address)
        sock.sendall(_get("/jobs/slow"))
        _reset(sock)
        yield


def _reads_nothing(address):
    return _hold(address, _get("/jobs/done/logs?per_page=500"))


def _sends_slowly(address):
    """A header that never ends."""
    return _hold(address, _get("/jobs/done")[:-2] + b"X-Slow: ", more=b"x")


def _sends_large_headers(address):
    data = _get("/jobs/done", *((f"X-Large-{n}", "x" * 4000) for n in range(7)))
    while True:
        with _connect(address) as sock:
            sock.sendall(data)
            sock.recv(65536)
        yield


def _sends_bodies(address):
    """Bodies of requests that are rejected."""
    with contextlib.ExitStack() as stack:
        while True:
            sock = stack.enter_context(_connect(address))
            with contextlib.suppress(ConnectionError):
                sock.sendall(net.format_request(PREFIX + "/jobs/done", method="POST", body=b"x" * 1_000_000))
                sock.recv(65536)
            stack.close()
            yield


def _pipelines(address):
    """Pipelines hits and some misses, and reads the responses."""
    data = (_get("/jobs/done") * 20 + _get("/jobs/slow") + _get("/jobs/done?page=0")) * 10
    while True:
        with _connect(address) as sock:
            sock.settimeout(0.2)
            with contextlib.suppress(OSError):
                sock.sendall(data)
                while sock.recv(1 << 20):
                    yield
        yield


def _is_refused(address):
    """Invalid requests, as often as possible, with all possible errors."""
    data = b"".join(map(_get, ("/jobs/done?page=0", "/jobs/a%2f", "/nonsense", "/jobs/done/logs?per_page=501")))
    data += net.format_request("/client/v4/instances/foreign/jobs/a") + net.format_request("/client/v4/" + "x" * 3000)
    while True:
        with _connect(address) as sock, contextlib.suppress(OSError):
            sock.sendall(data)
            while sock.recv(1 << 20):
                sock.sendall(data)
                yield
        yield


def _h2(address, requests):
    """HTTP/2 connections; each step sends the frames that requests(stream) returns."""
    while True:
        with _connect(address) as sock, contextlib.suppress(OSError):
            sock.sendall(http2.PREFACE + http2.frame(http2.SETTINGS, 0, 0))
            for stream in itertools.count(1, 2):
                sock.sendall(requests(stream))
                if _has_something(sock) and not sock.recv(1 << 20):
                    break
                yield
        yield


def _h2_headers(stream: int, path: str) -> bytes:
    block = http2.block([(":method", "GET"), (":scheme", "http"), (":authority", "x"), (":path", PREFIX + path)])
    return http2.frame(http2.HEADERS, http2.END_HEADERS | http2.END_STREAM, stream, block)


def _h2_resets(address):
    """Requests slow resources and resets the streams at once."""
    return _h2(address, lambda stream: _h2_headers(stream, "/jobs/slow") + http2.rst_stream(stream, http2.CANCEL))


def _h2_asks(address):
    """Requests hits and misses without waiting for responses."""
    return _h2(address, lambda stream: _h2_headers(stream, "/jobs/slow" if stream % 8 == 1 else "/jobs/done"))


def _asks(address, targets):
    """Requests one target after the other on one connection."""
    connection = None
    for target, headers in targets:
        try:
            connection = connection or net.Connection(tuple(address))
            connection.request(target, headers)
        except (ConnectionError, TimeoutError):
            connection = None
        yield


def _scans_jobs(address):
    """Jobs that do not exist."""
    return _asks(address, ((f"{PREFIX}/jobs/{random.randrange(1 << 60):x}", ()) for _ in itertools.count()))


def _scans_lists(address):
    """Each combination of page and per_page is a separate entry."""
    return _asks(address, ((f"{PREFIX}/jobs?page={page}&per_page={size}", ())
                           for page in itertools.count(1) for size in range(1, 51)))


def _bypasses(address):
    """One URL that costs a call of the API each time."""
    return _asks(address, itertools.repeat((f"{PREFIX}/jobs/done", [("Pragma", "no-cache")])))


WAYS = {way.__name__[1:]: way for way in (
    _waits, _half_closes, _abandons, _reads_nothing, _sends_slowly, _sends_large_headers, _sends_bodies, _pipelines,
    _is_refused, _h2_resets, _h2_asks, _scans_jobs, _scans_lists, _bypasses)}


def _run(order: dict) -> None:
    way = WAYS[order["way"]](order["address"])
    next(way)
    print("at work", flush=True)
    for _ in way:
        pass


if __name__ == "__main__":
    _run(json.loads(sys.argv[1]))
