"""Upstreams and proxies that send endless data exhaust neither the worker's time nor its memory."""

import contextlib
import itertools
import signal
import threading
import time

import pytest

import gateway
from harness import PRELOAD, SLOWNESS, flood, net, stall
from harness.simulator import ACCOUNT

pytestmark = pytest.mark.alone

TIMEOUT = 3.0
SLACK = 0.5
PATIENCE = 0.06 * SLOWNESS
PIECE = "x" * 65536


def chunk(text: str) -> str:
    return f"{len(text):x}\r\n{text}\r\n"


def without_end(head: str, piece: str) -> list[dict]:
    return [{"send": head}, {"repeat": None, "send": piece, "every": 0}]


FLOODS = {
    "a header": without_end("HTTP/1.1 200 OK\r\n", "X-More: " + "m" * 1000 + "\r\n"),
    "interim answers": without_end("", "HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n" * 100),
    "trailers": without_end("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + chunk("{}") + "0\r\n",
                            ("X-More: " + "m" * 1000 + "\r\n") * 60),
    "a body": without_end("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", chunk(PIECE)),
}

PROXY_FLOODS = {
    "a header": without_end("HTTP/1.1 407 No\r\n", "X-More: m\r\n" * 5000),
    "chunks": without_end("HTTP/1.1 407 No\r\nTransfer-Encoding: chunked\r\n\r\n", chunk(PIECE)),
    "a length": without_end("HTTP/1.1 407 No\r\nContent-Length: 999999999999\r\n\r\n", PIECE),
    "bytes": without_end("HTTP/1.1 407 No\r\n\r\n", PIECE),
}


class Flood(stall.Server):
    """Plays the script in response to each request."""

    def __init__(self, script: list[dict]) -> None:
        def serve(connection: stall.Connection) -> None:
            while connection.read_head():
                if not connection.play(script):
                    break

        super().__init__(serve)


class Askers(net.InThreads):
    """
    Clients that look up one job after the other, whatever the result; each sends 50 requests a second, since otherwise
    the breaker's immediate responses would keep the worker busy.
    """

    def __init__(self, server, count: int) -> None:
        super().__init__(self._run, [(number,) for number in range(count)])
        self._server = server
        self.answers = 0

    def _run(self, number: int) -> None:
        for turn in itertools.count():
            if self.over.is_set():
                return
            with contextlib.suppress(OSError):
                self._server.get(f"/client/v4/instances/docs/jobs/{number}-{turn}", timeout=30)
                self.answers += 1
            time.sleep(0.02)


class Others(net.InThreads):
    """
    Measures how long other requests to the same worker take, in seconds. Time during which the worker or the client
    waits for a CPU is not counted, since it depends on other processes on the machine.
    """

    def __init__(self, server) -> None:
        super().__init__(self._run, [()])
        self._server = server
        [self._worker] = server.workers()
        self.times: list[float] = []

    def quantile(self, q: float) -> float:
        return sorted(self.times)[int(len(self.times) * q)]

    def _run(self) -> None:
        with self._server.connect(30) as connection:
            while not self.over.wait(0.005):
                begin = time.monotonic() - self._queued()
                assert connection.request("/pid").status == 200
                self.times.append(time.monotonic() - self._queued() - begin)

    def _queued(self) -> float:
        return net.queued_seconds(self._worker) + net.queued_seconds(threading.get_native_id())


def look_up(server, name: str, jobs: int) -> float:
    """
    Looks up one job after the other while others send requests that do not need the API. Returns the 99th percentile of
    the latter's latency.
    """
    with Others(server) as others:
        for number in range(jobs):
            begin = time.monotonic()
            response = server.get(f"/client/v4/instances/docs/jobs/{name}-{number}", timeout=30)
            assert response.status in (502, 504)
            assert time.monotonic() - begin < (TIMEOUT + SLACK) * SLOWNESS
        net.wait_until(lambda: len(others.times) >= 20)
    return others.quantile(0.99)


def check(server, jobs: int = 5) -> None:
    [worker] = server.workers()
    for number in range(3):
        server.get(f"/client/v4/instances/docs/jobs/warm-{number}", timeout=30)
    before = net.rss(worker)
    if not PRELOAD:  # sanitizers need additional time and memory
        # (one success in three attempts is enough, since other processes use the machine too, and the flood affects
        # each attempt)
        assert any(look_up(server, f"attempt-{attempt}", jobs) < PATIENCE for attempt in range(3))
        assert net.rss(worker) - before < 4 << 20
    else:
        look_up(server, "job", jobs)
    server.signal(signal.SIGTERM)
    net.wait_until(lambda: not server.workers(), 3, "the worker to exit")


def share_of(server, worker: int, seconds: float) -> tuple[float, float]:
    """Measures the share of its time that the worker spends, and how long other requests take."""
    with Others(server) as others:
        before = net.cpu_seconds(worker)
        begin = time.monotonic()
        net.wait_until(lambda: time.monotonic() - begin >= seconds and len(others.times) >= 20, seconds + 10)
        return (net.cpu_seconds(worker) - before) / (time.monotonic() - begin), others.quantile(0.99)


def check_share(server, signum: int) -> None:
    """Many simultaneous lookups, again and again. The worker still exits when it gets the signal."""
    [worker] = server.workers()
    with Askers(server, 8) as askers:
        net.wait_until(lambda: askers.answers, 30, "a first response")
        for _ in range(3):
            share, waited = share_of(server, worker, 2)
            print(f"{share:.1%} of the time, {askers.answers} answers; others wait {waited * 1000:.1f} ms")
            if share < 0.1 and waited < PATIENCE:
                break
        else:
            assert PRELOAD
        server.signal(signum)
        net.wait_until(lambda: worker not in server.workers(), TIMEOUT + 1, "the worker to exit")


def start(nginx, tmp, api_url: str, *directives: str):
    token = tmp / "flood.token"
    token.write_text("of-no-value\n")
    token.chmod(0o600)
    return nginx(http=f"aisearch_account docs {{ account_id {ACCOUNT}; token_file {token}; api_url {api_url}; "
                      f"timeout {int(TIMEOUT * SLOWNESS * 1000)}ms; retries 0; {' '.join(directives)} }}",
                 server="location /client/v4/ { aisearch_pass docs; }" + gateway.WORKERS)


@pytest.mark.parametrize("name", FLOODS)
def test_an_endless_response(nginx, tmp, name):
    with Flood(FLOODS[name]) as (host, port):
        check(start(nginx, tmp, f"http://{host}:{port}/client/v4"))


@pytest.mark.parametrize("name", PROXY_FLOODS)
def test_an_endless_proxy_response(nginx, tmp, name):
    """The proxy sends an endless response to CONNECT, which libcurl reads byte by byte without returning."""
    with Flood(PROXY_FLOODS[name]) as (host, port):
        server = start(nginx, tmp, "https://api.invalid/client/v4", f"proxy http://{host}:{port};")
        check(server)
        assert "connect fault" in server.error_log()


@pytest.mark.parametrize("name", flood.WAYS)
def test_a_flood(nginx, tmp, certificates, name):
    with flood.Flood(tmp, certificates, name) as url:
        check(start(nginx, tmp, url, f"trusted_certificate {certificates.ca_file};"))


@pytest.mark.parametrize("name, signum", [
    ("empty DATA", signal.SIGTERM), ("GOAWAY", signal.SIGQUIT), ("records of one byte", signal.SIGTERM),
    ("chunk extension", signal.SIGQUIT), ("HelloRequest", signal.SIGTERM), ("interim answers", signal.SIGQUIT),
    ("chunk extension without TLS", signal.SIGTERM)])
def test_repeated_floods(nginx, tmp, certificates, name, signum):
    with flood.Flood(tmp, certificates, name) as url:
        check_share(start(nginx, tmp, url, f"trusted_certificate {certificates.ca_file};", "budget 100000 1s;"), signum)


def test_log_messages_during_a_flood(nginx, tmp, certificates):
    with flood.Flood(tmp, certificates, "PING") as url:
        server = start(nginx, tmp, url, f"trusted_certificate {certificates.ca_file};")
        assert server.get("/client/v4/instances/docs/jobs/a", timeout=30).status == 502
        assert "connect fault: the connection was flooded: " in server.error_log()
