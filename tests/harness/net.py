"""A raw HTTP/1.1 client, waiting with timeouts, and the kernel's data about processes."""

import concurrent.futures
import contextlib
import dataclasses
import http.server
import json
import os
import selectors
import socket
import threading
import time
from collections.abc import Callable, Iterable, Iterator

from . import SLOWNESS, canary

# A TCP address, or the path of a Unix socket.
Address = tuple[str, int] | str


def wait_until(condition: Callable[[], object], timeout: float = 5, what: str = "the condition",
               every: float = 0.01) -> object:
    """Polls until condition() is true and returns its result. Fails after timeout seconds."""
    deadline = time.monotonic() + timeout * SLOWNESS
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            raise AssertionError(f"waited {timeout * SLOWNESS} s in vain for {what}")
        time.sleep(every)


def free_port() -> int:
    """Returns a port that was free a moment ago. Prefer port 0 if a server can bind to it."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return sock.getsockname()[1]


@contextlib.contextmanager
def http_server(answer: Callable[[bytes], bytes], content_type: str = "text/plain") -> Iterator[int]:
    """
    Runs a server and yields its port. answer() converts the body of each GET or POST request into the response's body.
    """
    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            body = answer(self.rfile.read(int(self.headers.get("Content-Length", 0))))
            self.send_response(200)
            self.send_header("Content-Type", content_type)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_POST = do_GET

        def log_message(self, *_arguments) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield server.server_port
        finally:
            server.shutdown()
            thread.join()


@dataclasses.dataclass
class Response:
    status: int
    reason: str
    headers: list[tuple[str, str]]  # as received, in order
    body: bytes
    interim: list[int] = dataclasses.field(default_factory=list)  # status codes of preceding 1xx responses
    elapsed: float = 0.0  # seconds, if measured by the client

    def all(self, name: str) -> list[str]:
        return [value for key, value in self.headers if key.lower() == name.lower()]

    def header(self, name: str, default: str | None = None) -> str | None:
        """Returns the value of a header. Fails if there are several."""
        values = self.all(name)
        assert len(values) <= 1, f"{name} came {len(values)} times: {values}"
        return values[0] if values else default

    def json(self):
        return json.loads(self.body)


class Closed(ConnectionError):
    """The peer closed the connection before a complete response."""


class Connection:
    """A persistent connection: send any bytes, read responses one by one."""

    def __init__(self, address: Address, timeout: float = 10) -> None:
        family = socket.AF_UNIX if isinstance(address, str) else socket.AF_INET
        self.sock = socket.socket(family, socket.SOCK_STREAM)
        self.sock.settimeout(timeout * SLOWNESS)
        try:
            self.sock.connect(address)
        except BaseException:
            self.sock.close()
            raise
        self._buffer = b""
        self._ended = False

    def __enter__(self) -> "Connection":
        return self

    def __exit__(self, *_exc) -> None:
        self.close()

    def close(self) -> None:
        self.sock.close()

    def send(self, data: bytes) -> None:
        self.sock.sendall(data)

    def request(self, target: str | bytes, headers: Iterable[tuple[str, str]] = (), method: str = "GET",
                body: bytes = b"") -> Response:
        """Sends the target unchanged, whatever bytes it contains. Adds a Host header if there is none."""
        began = time.monotonic()
        self.send(format_request(target, headers, method, body))
        response = self.read_response(method)
        response.elapsed = time.monotonic() - began
        return response

    def read_response(self, method: str = "GET") -> Response:
        while (response := self.take_response(method)) is None:
            self.receive()
        return response

    def receive(self) -> None:
        data = self.sock.recv(262144)
        self._ended = not data
        self._buffer += data
        canary.check(self._buffer[-len(data) - len(canary.MARK):], "an answer")

    def take_response(self, method: str = "GET") -> Response | None:
        """Returns a response from the received data, or None if it is incomplete."""
        parsed = parse_response(self._buffer, method, self._ended)
        if parsed is None:
            if self._ended:
                raise Closed("the connection ended early")
            return None
        response, self._buffer = parsed
        return response

    def at_eof(self) -> bool:
        """Waits, and returns whether the peer closes the connection without sending another byte."""
        try:
            return self._buffer == b"" and self.sock.recv(1) == b""
        except ConnectionResetError:
            return True


def parse_response(data: bytes, method: str, ended: bool) -> tuple[Response, bytes] | None:
    """
    Returns the first response in data and the data after it, or None if it is incomplete. ended: no more data will
    arrive.
    """
    interim = []
    while True:
        head, separator, rest = data.partition(b"\r\n\r\n")
        if not separator:
            return None
        response = _parse_head(head)
        response.interim = interim
        if response.status >= 200 or response.status == 101:
            break
        interim.append(response.status)
        data = rest

    if method == "HEAD" or response.status in (101, 204, 304):
        return response, rest
    if (response.header("Transfer-Encoding") or "").lower() == "chunked":
        return _parse_chunks(response, rest)
    length = response.header("Content-Length")
    if length is None:
        response.body = rest
        return (response, b"") if ended else None
    response.body = rest[:int(length)]
    return (response, rest[int(length):]) if len(rest) >= int(length) else None


def _parse_head(head: bytes) -> Response:
    status_line, *lines = head.decode("latin-1").split("\r\n")
    _, status, *reason = status_line.split(" ", 2)
    headers = [(name, value.strip()) for name, _, value in (line.partition(":") for line in lines)]
    return Response(int(status), " ".join(reason), headers, b"")


def _parse_chunks(response: Response, data: bytes) -> tuple[Response, bytes] | None:
    while True:
        line, separator, data = data.partition(b"\r\n")
        if not separator:
            return None
        size = int(line.split(b";")[0], 16)
        if size == 0:
            break
        if len(data) < size + 2:
            return None
        response.body += data[:size]
        data = data[size + 2:]
    trailer, separator, rest = data.partition(b"\r\n")
    while trailer:
        trailer, separator, rest = rest.partition(b"\r\n")
    return (response, rest) if separator else None


def format_request(target: str | bytes, headers: Iterable[tuple[str, str]] = (), method: str = "GET",
                   body: bytes = b"") -> bytes:
    headers = list(headers)
    names = {name.lower() for name, _ in headers}
    if "host" not in names:
        headers.insert(0, ("Host", "localhost"))
    if body and "content-length" not in names:
        headers.append(("Content-Length", str(len(body))))
    target = target.encode() if isinstance(target, str) else target
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers).encode("latin-1")
    return method.encode() + b" " + target + b" HTTP/1.1\r\n" + lines + b"\r\n" + body


def request(address: Address, target: str | bytes, headers: Iterable[tuple[str, str]] = (), method: str = "GET",
            body: bytes = b"", timeout: float = 10) -> Response:
    """Sends one request on a new connection."""
    with Connection(address, timeout) as connection:
        return connection.request(target, [*headers, ("Connection", "close")], method, body)


class InThreads:
    """
    Calls run() with each of these arguments in its own thread. Leaving the block sets over, which ends the threads.
    """

    def __init__(self, run: Callable[..., None], arguments: Iterable[tuple]) -> None:
        self.over = threading.Event()
        self._threads = [threading.Thread(target=run, args=each) for each in arguments]

    def __enter__(self):
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_exc) -> None:
        self.over.set()
        for thread in self._threads:
            thread.join()


def concurrently(count: int, job: Callable[[int], object]) -> list:
    """Runs job(0) to job(count - 1) at once, each in a thread; returns their results, or raises the first exception."""
    with concurrent.futures.ThreadPoolExecutor(count) as pool:
        return list(pool.map(job, range(count)))


def concurrent_gets(address: Address, targets: Iterable[str], headers: Iterable[tuple[str, str]] = (),
                    timeout: float = 10) -> list[Response]:
    """
    Sends one GET for each target, all at once: all connections are opened before the first request is sent, and one
    thread waits for all responses, so that `elapsed` is the server's time even for a thousand requests.
    """
    targets, headers = list(targets), list(headers)
    connections: list[Connection] = []
    try:
        for _ in targets:
            connections.append(Connection(address, timeout))
        return _exchange(connections, [format_request(target, headers) for target in targets], timeout)
    finally:
        for connection in connections:
            connection.close()


def _exchange(connections: list[Connection], requests: list[bytes], timeout: float) -> list[Response]:
    responses: list = [None] * len(connections)
    began = []
    with selectors.DefaultSelector() as selector:
        for n, (connection, data) in enumerate(zip(connections, requests)):
            selector.register(connection.sock, selectors.EVENT_READ, n)
            began.append(time.monotonic())
            connection.send(data)
        deadline = time.monotonic() + timeout * SLOWNESS
        while selector.get_map():
            ready = selector.select(max(deadline - time.monotonic(), 0))
            if not ready:
                raise TimeoutError(f"{len(selector.get_map())} of {len(connections)} without an answer")
            for key, _ in ready:
                connections[key.data].receive()
                response = connections[key.data].take_response()
                if response is not None:
                    response.elapsed = time.monotonic() - began[key.data]
                    responses[key.data] = response
                    selector.unregister(key.fileobj)
    return responses


def alive(pid: int) -> bool:
    """Whether the process is running; a zombie is not."""
    return _stat(pid)[:1] not in ([], ["Z"], ["X"])


def children(pid: int) -> list[int]:
    """The direct children of a process, in order."""
    return sorted(int(name) for name in os.listdir("/proc") if name.isdigit() and _stat(int(name))[1:2] == [str(pid)])


def _stat(pid: int) -> list[str]:
    """
    Parent, state and so on: the fields of /proc/pid/stat after the name (see proc(5)). Empty if there is no such
    process.
    """
    try:
        with open(f"/proc/{pid}/stat", encoding="latin-1") as file:
            return file.read().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return []


def cmdline(pid: int) -> bytes:
    return _read(f"/proc/{pid}/cmdline")


def environ(pid: int) -> bytes:
    return _read(f"/proc/{pid}/environ")


def _read(path: str) -> bytes:
    try:
        with open(path, "rb") as file:
            return file.read()
    except (FileNotFoundError, ProcessLookupError):
        return b""


def open_fds(pid: int) -> dict[int, str]:
    """The target of each descriptor of a process."""
    fds = {}
    for name in os.listdir(f"/proc/{pid}/fd"):
        try:
            fds[int(name)] = os.readlink(f"/proc/{pid}/fd/{name}")
        except FileNotFoundError:
            pass
    return fds


def uid(pid: int) -> int:
    """The user that a process runs as."""
    return int(_status(pid, "Uid").split()[1])


def rss(pid: int) -> int:
    """The resident memory of a process, in bytes."""
    return int(_status(pid, "VmRSS").split()[0]) * 1024


def _status(pid: int, name: str) -> str:
    """A line of /proc/pid/status."""
    for line in _read(f"/proc/{pid}/status").decode().splitlines():
        if line.startswith(name + ":"):
            return line.partition(":")[2]
    raise ProcessLookupError(f"no {name} of process {pid}")


def cpu_seconds(pid: int) -> float:
    """The user and system time of a process."""
    fields = _stat(pid)
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK") if fields else 0.0


def run_seconds(pid: int) -> float:
    """Like cpu_seconds(), but with nanosecond resolution, and only for a process with one thread."""
    fields = _read(f"/proc/{pid}/schedstat").split()
    return int(fields[0]) / 1e9 if fields else 0.0


def queued_seconds(pid: int) -> float:
    """How long a process or thread was runnable but had no CPU."""
    fields = _read(f"/proc/{pid}/schedstat").split()
    return int(fields[1]) / 1e9 if fields else 0.0
