"""Upstreams and proxies that send without end: neither the worker nor its memory is theirs."""

import signal
import threading
import time

import pytest

import gateway
from harness import PRELOAD, SLOWNESS, net, stall
from harness.simulator import ACCOUNT

TIMEOUT = 3.0
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
    """Answers each request with the script."""

    def __init__(self, script: list[dict]) -> None:
        def serve(connection: stall.Connection) -> None:
            while connection.read_head():
                if not connection.play(script):
                    break

        super().__init__(serve)


class Others:
    """What others get meanwhile, from the same worker: how long each waits, in seconds."""

    def __init__(self, server) -> None:
        self._server = server
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self.times: list[float] = []

    def __enter__(self) -> "Others":
        self._thread.start()
        return self

    def __exit__(self, *_exc) -> None:
        self._over.set()
        self._thread.join()

    def _run(self) -> None:
        with self._server.connect(30) as connection:
            while not self._over.wait(0.005):
                begin = time.monotonic()
                assert connection.request("/pid").status == 200
                self.times.append(time.monotonic() - begin)


def check(server, jobs: int = 5) -> None:
    """Look-ups one after the other, each of another job, beside others who want nothing of the API."""
    [worker] = server.workers()
    for number in range(3):
        server.get(f"/client/v4/instances/docs/jobs/warm-{number}", timeout=30)
    before = net.rss(worker)
    with Others(server) as others:
        for number in range(jobs):
            begin = time.monotonic()
            response = server.get(f"/client/v4/instances/docs/jobs/job-{number}", timeout=30)
            assert response.status in (502, 504)
            assert time.monotonic() - begin < (TIMEOUT + 0.1) * SLOWNESS
        net.wait_until(lambda: len(others.times) >= 20)
    if not PRELOAD:  # sanitizers take time and memory of their own
        assert sorted(others.times)[int(len(others.times) * 0.99)] < 0.06 * SLOWNESS
        assert net.rss(worker) - before < 4 << 20
    server.signal(signal.SIGTERM)
    net.wait_until(lambda: not server.workers(), 3, "the worker to leave")


def start(nginx, tmp, api_url: str, *directives: str):
    token = tmp / "flood.token"
    token.write_text("of-no-value\n")
    token.chmod(0o600)
    return nginx(http=f"aisearch_account docs {{ account_id {ACCOUNT}; token_file {token}; api_url {api_url}; "
                      f"timeout {int(TIMEOUT * SLOWNESS * 1000)}ms; retries 0; {' '.join(directives)} }}",
                 server="location /client/v4/ { aisearch_pass docs; }" + gateway.WORKERS)


@pytest.mark.parametrize("name", FLOODS)
def test_an_answer_without_end(nginx, tmp, name):
    with Flood(FLOODS[name]) as (host, port):
        check(start(nginx, tmp, f"http://{host}:{port}/client/v4"))


@pytest.mark.parametrize("name", PROXY_FLOODS)
def test_a_proxy_without_end(nginx, tmp, name):
    """It answers CONNECT, which libcurl reads byte by byte and without coming back."""
    with Flood(PROXY_FLOODS[name]) as (host, port):
        server = start(nginx, tmp, "https://api.invalid/client/v4", f"proxy http://{host}:{port};")
        check(server)
        assert "connect fault" in server.error_log()
