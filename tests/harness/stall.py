"""
Upstreams on loopback that fail below HTTP or within a response, and a slow resolver.

    with stall.refusing() as address: ...       connections are refused
    with stall.black_hole() as address: ...     a connect gets no response
    with stall.silent() as address: ...         accepts, but never sends anything: no TLS handshake, no headers
    with stall.speaking(script) as address: ... reads a request and sends what the script contains

A script is a list of steps, as in the simulator's faults; the functions below return some. Here there is an additional
step {"hear": true}: wait until the other side sends something.
"""

import base64
import contextlib
import itertools
import json
import pathlib
import socket
import ssl
import struct
import subprocess
import threading
from collections.abc import Iterator

from . import TESTS, net

HOUR = 3600

# Scripts.


def response(status: int = 200, body: str = "", headers: list[tuple[str, str]] = (), length: int | None = None) -> dict:
    """A step: a complete response, whose Content-Length may be wrong."""
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers)
    length = len(body.encode()) if length is None else length
    return {"send": f"HTTP/1.1 {status} Whatever\r\nContent-Type: application/json\r\n"
                    f"Content-Length: {length}\r\n{lines}\r\n{body}"}


def a_job(job_id: str = "a") -> str:
    """The body of a well-formed response."""
    return json.dumps({"success": True, "result": {"id": job_id, "source": "user"}})


def no_headers() -> list[dict]:
    return [{"sleep": HOUR}]


def half_headers() -> list[dict]:
    return [{"send": "HTTP/1.1 200 OK\r\nContent-Type: applic"}, {"sleep": HOUR}]


def no_body() -> list[dict]:
    return [response(length=200), {"sleep": HOUR}]


def slow_body(every: float = 1.0) -> list[dict]:
    return [response(length=100000), {"repeat": None, "every": every, "send": " "}]


def endless_body() -> list[dict]:
    head = {"send": "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"}
    return [head, {"repeat": None, "send": "10000\r\n" + " " * 0x10000 + "\r\n"}]


def endless_headers() -> list[dict]:
    return [{"send": "HTTP/1.1 200 OK\r\n"}, {"repeat": None, "send": "X-More: " + "x" * 1000 + "\r\n"}]


def truncated() -> list[dict]:
    """Closes within the body."""
    body = a_job()
    return [response(body=body[:20], length=len(body)), {"close": True}]


def reset_before_headers() -> list[dict]:
    return [{"reset": True}]


def reset_in_body() -> list[dict]:
    body = a_job()
    return [response(body=body[:20], length=len(body)), {"reset": True}]


def close_at_once() -> list[dict]:
    return [{"close": True}]


def bad_chunks() -> list[dict]:
    return [{"send": "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nnonsense\r\n"}, {"close": True}]


def not_http() -> list[dict]:
    return [{"send": "220 mail.example ESMTP\r\n"}, {"close": True}]


# Servers.


@contextlib.contextmanager
def refusing() -> Iterator[tuple[str, int]]:
    """The port is reserved, but nobody listens on it."""
    with _bound() as sock:
        yield sock.getsockname()


@contextlib.contextmanager
def black_hole() -> Iterator[tuple[str, int]]:
    """The queue of the listening socket is full and never drained, so the kernel drops all further SYNs."""
    with _bound() as sock, _full_queue(sock):
        yield sock.getsockname()


@contextlib.contextmanager
def silent() -> Iterator[tuple[str, int]]:
    with Server(lambda connection: connection.sleep(HOUR)) as address:
        yield address


@contextlib.contextmanager
def speaking(script: list[dict], tls: ssl.SSLContext | None = None) -> Iterator[tuple[str, int]]:
    """Runs the script once for each request head; the connection stays open until the script closes it."""

    def serve(connection: Connection) -> None:
        connection.handshake(tls)
        while connection.read_head() and connection.play(script):
            pass

    with Server(serve) as address:
        yield address


def server_context(certificate: pathlib.Path, key: pathlib.Path) -> ssl.SSLContext:
    """For speaking(): TLS with this certificate, HTTP/1.1 only."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    return context


def _bound() -> socket.socket:
    sock = socket.socket()
    sock.bind(("127.0.0.1", 0))
    return sock


@contextlib.contextmanager
def _full_queue(sock: socket.socket) -> Iterator[None]:
    sock.listen(0)
    with contextlib.ExitStack() as stack:
        for _ in range(16):
            filler = stack.enter_context(socket.socket())
            filler.settimeout(0.1)
            try:
                filler.connect(sock.getsockname())
            except TimeoutError:
                break
        else:
            raise AssertionError("the kernel accepts more connections than a full queue has room for")
        yield


class Stopped(Exception):
    pass


class Connection:
    def __init__(self, sock: socket.socket, stop: threading.Event) -> None:
        self.sock = sock
        self.idle = False  # between two requests
        self.well = False  # with the fields that harness.illness expects
        self._stop = stop

    def handshake(self, tls: ssl.SSLContext | None) -> None:
        if tls is not None:
            self.sock = tls.wrap_socket(self.sock, server_side=True, do_handshake_on_connect=False)
            self.sock.do_handshake()

    def sleep(self, seconds: float) -> None:
        if self._stop.wait(seconds):
            raise Stopped

    def read_head(self) -> bytes:
        """Returns the head of the next request; empty at the end."""
        head = b""
        while b"\r\n\r\n" not in head:
            self.idle = not head
            data = self.sock.recv(65536)
            self.idle = False
            if not data:
                return b""
            head += data
        return head

    def read_exactly(self, length: int) -> bytes:
        data = b""
        while len(data) < length:
            self.idle = not data
            more = self.sock.recv(length - len(data))
            self.idle = False
            if not more:
                raise ConnectionError("the peer closed the connection")
            data += more
        return data

    def play(self, script: list[dict]) -> bool:
        """Returns whether the connection is still open."""
        for step in script:
            if "repeat" in step:
                for _ in itertools.count() if step["repeat"] is None else range(step["repeat"]):
                    self._send(step)
                    self.sleep(step.get("every", 0))
            elif "sleep" in step:
                self.sleep(step["sleep"])
            elif "hear" in step:
                self.sock.recv(65536)
            elif "reset" in step:
                self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                return False
            elif "close" in step:
                return False
            else:
                self._send(step)
        return True

    def _send(self, step: dict) -> None:
        self.sock.sendall(base64.b64decode(step["send_b64"]) if "send_b64" in step else step["send"].encode("latin-1"))

    def shut(self) -> None:
        _shut(self.sock)


class Server:
    """
    A thread that accepts connections, and a thread for each connection. At the end, all threads have ended and all
    sockets are closed.
    """

    def __init__(self, serve) -> None:
        self.connections: list[Connection] = []
        self._serve = serve
        self._stop = threading.Event()
        self._acceptor: threading.Thread | None = None
        self._threads: list[threading.Thread] = []

    def __enter__(self) -> tuple[str, int]:
        self._listener = _bound_for_good()
        self.listen()
        return self._listener.getsockname()

    def __exit__(self, *_exc) -> None:
        self._stop.set()
        self.refuse()
        for connection in self.connections:
            connection.shut()
        for thread in self._threads:
            thread.join()
        self._listener.close()

    def listen(self) -> None:
        self._listener.listen(1024)
        self._acceptor = self._start(self._accept)

    def refuse(self) -> None:
        """Refuses connections until it listens again."""
        _shut(self._listener)
        if self._acceptor is not None:
            self._acceptor.join()

    @contextlib.contextmanager
    def black_hole(self) -> Iterator[None]:
        """Connects get no response until the end of the block; then they are refused."""
        self.refuse()
        with _full_queue(self._listener):
            yield
        self.refuse()

    def _start(self, target, *arguments) -> threading.Thread:
        thread = threading.Thread(target=target, args=arguments, daemon=True)
        thread.start()
        return thread

    def _accept(self) -> None:
        while not self._stop.is_set():
            try:
                sock, _ = self._listener.accept()
            except OSError:
                return
            connection = Connection(sock, self._stop)
            self.connections.append(connection)
            self._threads.append(self._start(self._run, connection))

    def _run(self, connection: Connection) -> None:
        with contextlib.suppress(OSError, Stopped):
            self._serve(connection)
        connection.sock.close()


def _bound_for_good() -> socket.socket:
    """A port chosen by the kernel is released when listening ends; a port that was requested remains bound."""
    for _ in range(10):
        sock = socket.socket()
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # to listen again in spite of TIME_WAIT
        try:
            sock.bind(("127.0.0.1", net.free_port()))
            return sock
        except OSError:
            sock.close()
    raise AssertionError("no free port found")


def _shut(sock: socket.socket) -> None:
    """Wakes any thread that blocks on the socket; also with TLS, whose own shutdown is not meant for this."""
    with contextlib.suppress(OSError):
        socket.socket.shutdown(sock, socket.SHUT_RDWR)


# Names.


def slow_dns(tmp: pathlib.Path) -> pathlib.Path:
    """
    Builds a library for LD_PRELOAD (Nginx's preload): names below .test become 127.0.0.1; those below .slow.test do so
    after the number of seconds in the environment variable AIS_SLOW_DNS.
    """
    library = tmp / "slow_dns.so"
    if not library.exists():
        subprocess.run(["cc", "-shared", "-fPIC", "-O1", "-Wall", "-Wextra", "-o", library,
                        TESTS / "harness" / "slow_dns.c", "-ldl"], check=True)
    return library
