"""
Upstreams that each fail in one way for as long as a test wants, and respond properly before and after that.

    with Upstream(Illness(answers=lambda job: stall.truncated()), certificates) as upstream:
        upstream.url()           # http://127.0.0.1:PORT/client/v4
        upstream.fall_ill()
        ...
        upstream.recover()
        upstream.heads           # of all requests it has received
"""

import contextlib
import dataclasses
import ssl
import threading
import time
import warnings
from collections.abc import Callable

from . import http2, net, stall
from .edge import Certificates

Script = list[dict]  # see harness.stall

BASE = "/client/v4"


@dataclasses.dataclass(frozen=True)
class Illness:
    """What fails. The upstream is one without TLS, with TLS, or with HTTP/2 over TLS."""

    listens: str = "yes"  # or "no": connections are refused; "full": connects get no response
    greets: Script | None = None  # sent at once on each connection, instead of everything else
    answers: Callable[[str], Script] | None = None  # the response for a job with this id
    tls: str | None = None  # a kind of certificate; "old": TLS 1.1 at most; "client": requires a client certificate
    frames: Callable[[int, str], Script] | None = None  # HTTP/2: the response on a stream, for a job
    spares: str | None = None  # requests with this text in their head get proper responses


class Counted:
    """
    Proper responses, body(job) after a delay in seconds; counts how many of the first requests were in progress at
    once.
    """

    def __init__(self, body: Callable[[str], str], first: int, delay: float = 0.0) -> None:
        self._body = body
        self._first = first
        self.delay = delay
        self._lock = threading.Lock()
        self._under_way = 0
        self.forget()

    def forget(self) -> None:
        self.most = self._answered = 0

    def __call__(self, job: str, _version: int) -> str:
        with self._lock:
            self._under_way += 1
            if self._answered < self._first:
                self.most = max(self.most, self._under_way)
        time.sleep(self.delay)
        with self._lock:
            self._under_way -= 1
            self._answered += 1
        return self._body(job)


class Upstream:
    def __init__(self, illness: Illness, certificates: Certificates, well: Callable[[str, int], str]) -> None:
        """well(job, version) returns the body of a proper response; the version is incremented by each recovery."""
        self.heads: list[str] = []
        self.version = 1
        self._illness = illness
        self._well = well
        self.ill = False
        self._gate = threading.Event()
        self._gate.set()
        if illness.tls is not None:
            alpn = ["http/1.1"] if illness.frames is None else ["h2"]
            self._tls_well = _context(certificates, "good", alpn)
            self._tls_ill = _context(certificates, illness.tls, alpn)
        self._server = stall.Server(self._serve)
        self._hole = contextlib.ExitStack()

    def __enter__(self) -> "Upstream":
        _, self._port = self._server.__enter__()
        return self

    def __exit__(self, *exc) -> None:
        self._gate.set()
        self._hole.close()
        self._server.__exit__(*exc)

    def url(self, host: str = "127.0.0.1") -> str:
        """With TLS, the server is also reachable as localhost."""
        return f"{'https' if self._illness.tls else 'http'}://{host}:{self._port}{BASE}"

    def fall_ill(self) -> None:
        """
        From now on new requests and connections fail; idle connections are closed. Waits first until all connections are
        idle: on a busy machine the peer may have its response before this end waits for the next request.
        """
        with contextlib.suppress(AssertionError):
            net.wait_until(self._rests, 2)
        self.ill = True
        if self._illness.listens == "no":
            self._server.refuse()
        elif self._illness.listens == "full":
            self._hole.enter_context(self._server.black_hole())
        for connection in self._server.connections:
            if connection.idle:
                connection.shut()

    def _rests(self) -> bool:
        return all(connection.idle for connection in self._server.connections
                   if connection.well and connection.sock.fileno() != -1)

    def recover(self) -> None:
        self.ill = False
        self.version += 1
        if self._illness.listens != "yes":
            self._hole.close()
            self._server.listen()

    def hold(self) -> None:
        """Requests and connections get no response of any kind until release()."""
        self._gate.clear()

    def release(self) -> None:
        self._gate.set()

    def _serve(self, connection: stall.Connection) -> None:
        self._gate.wait()
        born_ill = self.ill
        connection.well = not born_ill
        if born_ill and self._illness.greets is not None:
            connection.play(self._illness.greets)
            return
        if self._illness.tls is not None:
            connection.handshake(self._tls_ill if born_ill else self._tls_well)
        if self._illness.frames is not None:
            http2.serve(connection, self._answer_stream, lambda: self._is_over(connection, born_ill))
            return
        while not self._is_over(connection, born_ill):
            head = connection.read_head()
            if not head or not connection.play(self._answer(head.decode("latin-1"))):
                break

    def _is_over(self, connection: stall.Connection, born_ill: bool) -> bool:
        """
        Detects that the upstream has fallen ill, unless fall_ill() has detected first that the connection is idle.
        """
        connection.idle = True
        return self.ill and not born_ill

    def _answer(self, head: str) -> Script:
        job = head.split(" ")[1].rpartition("/")[2]
        if self._is_ill(head) and self._illness.answers is not None:
            return self._illness.answers(job)
        return [stall.response(body=self._well(job, self.version))]

    def _answer_stream(self, stream: int, fields: dict[str, str]) -> Script:
        job = fields[":path"].rpartition("/")[2]
        if self._is_ill("\r\n".join(f"{name}: {value}" for name, value in fields.items())):
            return self._illness.frames(stream, job)
        return [http2.raw(http2.answer(stream, self._well(job, self.version)))]

    def _is_ill(self, head: str) -> bool:
        self.heads.append(head)
        self._gate.wait()
        return self.ill and (self._illness.spares is None or self._illness.spares not in head)


def _context(certificates: Certificates, kind: str, alpn: list[str]) -> ssl.SSLContext:
    name = kind if kind in Certificates.KINDS else "good"
    context = stall.server_context(certificates.certificate(name), certificates.key(name))
    context.set_alpn_protocols(alpn)
    if kind == "old":
        context.set_ciphers("DEFAULT@SECLEVEL=0")
        with warnings.catch_warnings():  # expected: the response is incomplete on purpose
            warnings.simplefilter("ignore", DeprecationWarning)
            context.minimum_version = ssl.TLSVersion.TLSv1
            context.maximum_version = ssl.TLSVersion.TLSv1_1
    elif kind == "client":
        context.load_verify_locations(certificates.ca_file)
        context.verify_mode = ssl.CERT_REQUIRED
    return context
