"""Connections to the API: which ones lookups reuse, over HTTP/1.1 and HTTP/2, and which ones they abandon after failures."""

import collections
import contextlib
import itertools
import ssl
import threading
from collections.abc import Callable, Iterator

import pytest

import gateway
from gateway import ACCESS_LOG, PLENTY, SERVER, account, error_of, job_target, start
from harness import http2 as h2
from harness import PRELOAD, VALGRIND, net, stall

BUSY = '{"success":false,"errors":[{"code":7000,"message":"busy"}],"messages":[],"result":null}'

HTTP_1_MAX = 8  # as in ais_fetch.c

Request = collections.namedtuple("Request", "connection protocol job")


class Api:
    """
    An API that can fail over HTTP/2 in any way, and on some of its connections only.

        with Api(certificates, frames) as api:   # frames(connection, stream, job) is a script, or None: a valid response
            api.url                              # https://localhost:PORT/client/v4
            api.requests                         # received, in order
    """

    def __init__(self, certificates, frames: Callable[[int, int, str], list | None],
                 answers: Callable[[int, str], list | None] = lambda connection, job: None,
                 protocols: tuple[str, ...] = ("h2", "http/1.1")) -> None:
        """answers(connection, job) does the same for HTTP/1.1. Connections are numbered from 1."""
        self.requests: list[Request] = []
        self._frames = frames
        self._answers = answers
        self._tls = stall.server_context(certificates.certificate("good"), certificates.key("good"))
        self._tls.set_alpn_protocols(list(protocols))
        self._numbers = itertools.count(1)
        self._lock = threading.Lock()
        self._server = stall.Server(self._serve)

    def __enter__(self) -> "Api":
        _, port = self._server.__enter__()
        self.url = f"https://localhost:{port}/client/v4"
        return self

    def __exit__(self, *exc) -> None:
        self._server.__exit__(*exc)

    def by(self, connection: int) -> list[str]:
        return [request.job for request in self.requests if request.connection == connection]

    def of(self, job: str) -> list[Request]:
        return [request for request in self.requests if request.job == job]

    def connections(self) -> int:
        return len(self._server.connections)

    def connections_by(self, protocol: str) -> set[int]:
        return {request.connection for request in self.requests if request.protocol == protocol}

    def _serve(self, connection: stall.Connection) -> None:
        with contextlib.suppress(ssl.SSLError):
            connection.handshake(self._tls)
            number = next(self._numbers)
            if connection.sock.selected_alpn_protocol() == "h2":
                h2.serve(connection, lambda stream, fields: self._stream(number, stream, fields), lambda: False)
                return
            while head := connection.read_head():
                job = self._note(number, "HTTP/1.1", head.decode("latin-1").split(" ")[1])
                if not connection.play(self._answers(number, job) or [stall.response(body=stall.a_job(job))]):
                    return

    def _stream(self, number: int, stream: int, fields: dict[str, str]) -> list:
        job = self._note(number, "HTTP/2", fields[":path"])
        script = self._frames(number, stream, job)
        return [h2.raw(h2.answer(stream, stall.a_job(job)))] if script is None else script

    def _note(self, number: int, protocol: str, path: str) -> str:
        job = path.rpartition("/")[2]
        with self._lock:
            self.requests.append(Request(number, protocol, job))
        return job


def sick(number: int, script: Callable[[int], bytes | list]) -> Callable[[int, int, str], list | None]:
    """One connection on which every request fails."""
    return lambda connection, stream, _: wrap(script(stream)) if connection == number else None


def always(script: Callable[[int], bytes | list]) -> Callable[[int, int, str], list | None]:
    return lambda connection, stream, _: wrap(script(stream))


def wrap(script: bytes | list) -> list:
    return [h2.raw(script)] if isinstance(script, bytes) else script


@pytest.fixture
def gate(nginx, simulator, certificates) -> Iterator[Callable]:
    """gate(api, *directives): an nginx that uses this API."""
    return lambda api, *directives: nginx(
        http=ACCESS_LOG + account(simulator, PLENTY, f"trusted_certificate {certificates.ca_file};", *directives,
                                  api_url=api.url), server=SERVER)


def statuses(server, jobs) -> list[int]:
    return [server.get(job_target(job)).status for job in jobs]


HELD = f"GET {job_target('held')} HTTP/1.1\r\nHost: x\r\n\r\n".encode()
JOBS = ["a", "b", "c", "d", "e"]

FAULTS = {
    "421": lambda stream: h2.answer(stream, "{}", 421),
    "500": lambda stream: h2.answer(stream, BUSY, 500),
    "503": lambda stream: h2.answer(stream, BUSY, 503),
    "RST_STREAM": lambda stream: h2.rst_stream(stream, h2.INTERNAL_ERROR),
    "REFUSED_STREAM": lambda stream: h2.rst_stream(stream, h2.REFUSED_STREAM),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_failing_connection_is_used_once(gate, certificates, fault):
    with Api(certificates, sick(1, FAULTS[fault])) as api:
        server = gate(api)
        assert statuses(server, JOBS) == [200] * len(JOBS)
        assert api.by(1) == ["a"]
        assert api.by(2) == JOBS and len(api.requests) == 1 + len(JOBS)


@pytest.mark.parametrize("status", [421, 500, 503])
def test_a_failing_connection_is_used_once_over_http_1(gate, certificates, status):
    with Api(certificates, None, lambda connection, _: [stall.response(status, BUSY)] if connection == 1 else None,
             protocols=("http/1.1",)) as api:
        server = gate(api)
        assert statuses(server, JOBS) == [200] * len(JOBS)
        assert api.by(1) == ["a"]
        assert api.by(2) == JOBS and len(api.requests) == 1 + len(JOBS)


@pytest.mark.parametrize("protocol", ["HTTP/1.1", "HTTP/2"])
def test_repeated_421_is_a_failure_of_the_api(gate, certificates, protocol):
    with Api(certificates, always(FAULTS["421"]), lambda *_: [stall.response(421, BUSY)],
             protocols=("h2", "http/1.1") if protocol == "HTTP/2" else ("http/1.1",)) as api:
        server = gate(api)
        response = server.get(job_target())
        assert (response.status, error_of(response)["message"]) == (502, "the API failed")
        assert gateway.lookups(server, 1)[0]["error"] == "server"
        assert [request.connection for request in api.requests] == [1, 2, 3]
        assert {request.protocol for request in api.requests} == {protocol}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_connection_that_only_fails_is_left_while_others_use_it(gate, certificates, fault):
    """One lookup receives no response: as long as it waits, libcurl offers the connection to all others."""
    def frames(connection: int, stream: int, job: str) -> list | None:
        if job == "held":
            return []
        return wrap(FAULTS[fault](stream)) if connection == 1 else None

    with Api(certificates, frames) as api:
        server = gate(api, "timeout 5s;")
        with server.connect() as waiting:
            waiting.send(HELD)
            net.wait_until(lambda: api.by(1) == ["held"], what="the first lookup")
            assert statuses(server, JOBS) == [200] * len(JOBS)
            assert api.by(1)[:2] == ["held", "a"] and len(api.by(1)) <= 4
            assert api.connections() <= 3
            assert statuses(server, "xyz") == [200] * 3
            assert len(api.by(1)) <= 4 and api.connections() <= 3


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("held", [False, True])
def test_lookups_that_fail_together_share_the_next_connection(gate, certificates, fault, held):
    jobs = [f"job-{n}" for n in range(60)]

    def frames(connection: int, stream: int, job: str) -> list | None:
        if job == "held":
            return []
        return wrap(FAULTS[fault](stream)) if connection == 1 and job != "first" else None

    with Api(certificates, frames) as api, contextlib.ExitStack() as stack:
        server = gate(api, "timeout 5s;")
        assert statuses(server, ["first"]) == [200]
        if held:
            stack.enter_context(server.connect()).send(HELD)
            net.wait_until(lambda: "held" in api.by(1), what="the waiting lookup")
        responses = net.concurrent_gets(server.address, [job_target(job) for job in jobs])
        assert [response.status for response in responses] == [200] * len(jobs)
        assert api.connections() <= 4
        assert len(api.requests) <= 2 * len(jobs) + 2


@pytest.mark.parametrize("retries, requests", [(0, 2), (1, 3), (2, 4), (3, 5)])
def test_libcurl_repeats_a_refused_stream_once(gate, certificates, retries, requests):
    with Api(certificates, always(FAULTS["REFUSED_STREAM"]), lambda *_: [{"close": True}]) as api:
        server = gate(api, f"retries {retries};")
        response = server.get(job_target())
        assert (response.status, error_of(response)["message"]) == (502, "the API cannot be reached")
        assert gateway.lookups(server, 1)[0]["error"] == "connect"
        assert len(api.requests) <= requests
        assert len({request.connection for request in api.requests}) == len(api.requests)


def goaway(stream: int) -> bytes:
    return h2.goaway(0, HTTP_1_1_REQUIRED)


HTTP_1_1_REQUIRED = 13

AT_ONCE = "RST_STREAM with HTTP_1_1_REQUIRED"  # libcurl itself then uses HTTP/1.1

HTTP2_FAULTS = {
    "GOAWAY with HTTP_1_1_REQUIRED": goaway,
    "GOAWAY with HTTP_1_1_REQUIRED, and FIN": lambda stream: [h2.raw(goaway(stream)), {"close": True}],
    AT_ONCE: lambda stream: h2.rst_stream(stream, HTTP_1_1_REQUIRED),
    "RST_STREAM with INTERNAL_ERROR": FAULTS["RST_STREAM"],
    "REFUSED_STREAM": FAULTS["REFUSED_STREAM"],
    "FIN": lambda _: [{"close": True}],
    "RST": lambda _: [{"reset": True}],
    "nonsense": lambda _: b"\xff" * 100,
}


@pytest.mark.parametrize("fault", HTTP2_FAULTS)
@pytest.mark.parametrize("retries", [1, 2])
def test_the_last_retry_after_an_http_2_failure_uses_http_1(gate, certificates, fault, retries):
    with Api(certificates, always(HTTP2_FAULTS[fault])) as api:
        server = gate(api, f"retries {retries};")
        for job in JOBS[:3]:
            assert server.get(job_target(job)).status == 200
            protocols = [request.protocol for request in api.of(job)]
            assert protocols[-1] == "HTTP/1.1" and len(protocols) <= retries + 2
            if fault != AT_ONCE:
                assert set(protocols[:-1]) == {"HTTP/2"}
        assert len(api.connections_by("HTTP/1.1")) == 1 or fault == AT_ONCE


@pytest.mark.parametrize("fault", HTTP2_FAULTS)
def test_many_simultaneous_retries_over_http_1(gate, certificates, fault):
    jobs = [f"job-{n}" for n in range(60)]
    with Api(certificates, always(HTTP2_FAULTS[fault])) as api:
        server = gate(api, "timeout 10s;")
        responses = net.concurrent_gets(server.address, [job_target(job) for job in jobs])
        assert [response.status for response in responses] == [200] * len(jobs)
        assert [response.json()["result"]["id"] for response in responses] == jobs


def test_concurrent_retries_over_http_1_are_limited(gate, certificates):
    jobs = [f"job-{n}" for n in range(60)]
    with Api(certificates, always(FAULTS["RST_STREAM"])) as api:
        server = gate(api, "retries 1;", "timeout 10s;")
        responses = net.concurrent_gets(server.address, [job_target(job) for job in jobs])
        assert [response.status for response in responses] == [200] * len(jobs)
        assert len(api.requests) == 2 * len(jobs)
        assert len(api.connections_by("HTTP/1.1")) <= HTTP_1_MAX


@pytest.mark.parametrize("status", [500, 503])
def test_the_error_of_a_failing_api_is_passed_on(gate, certificates, status):
    jobs = [f"job-{n}" for n in range(60)]
    with Api(certificates, always(lambda stream: h2.answer(stream, BUSY, status))) as api:
        server = gate(api, "timeout 10s;")
        responses = net.concurrent_gets(server.address, [job_target(job) for job in jobs])
        assert {response.status for response in responses} == {status}
        assert {response.body for response in responses} == {BUSY.encode()}
        assert len(api.requests) == 3 * len(jobs)
        assert api.connections() <= 2 * len(jobs)


def test_many_lookups_use_one_http_2_connection_over_tls(edge, nginx, simulator, certificates):
    jobs = [f"job-{n}" for n in range(30)]
    simulator.instance("instances/docs", [{"id": job} for job in jobs])
    server = nginx(http=account(simulator, f"trusted_certificate {certificates.ca_file};", api_url=edge.url()),
                   server=SERVER)
    assert server.get(job_target(jobs[0])).status == 200
    responses = net.concurrent_gets(server.address, [job_target(job) for job in jobs])
    assert [response.json()["result"]["id"] for response in responses] == jobs
    seen = net.wait_until(lambda: len(found := edge.requests()) == len(jobs) and found, what="the edge's log")
    assert {request["protocol"] for request in seen} == {"HTTP/2.0"}
    assert len({request["connection"] for request in seen}) == 1


def test_connection_that_died_while_idle_is_replaced(nginx, simulator):
    jobs = [f"job-{n}" for n in range(4)]
    simulator.instance("instances/docs", [{"id": job} for job in jobs])
    server = start(nginx, simulator, "retries 0;")
    assert server.get(job_target(jobs[0])).status == 200
    for job, reset in zip(jobs[1:3], (False, True)):
        simulator.drop_connections(reset)
        assert server.get(job_target(job)).status == 200
    simulator.fault("/jobs/", reused=True, times=1, script=stall.close_at_once())
    assert server.get(job_target(jobs[3])).status == 200
    assert gateway.reported(server) == []


def test_thousands_of_fetches_leak_nothing(nginx, simulator):
    simulator.job("instances/docs", "a", state="failed")
    simulator.fault("/jobs/broken$", status=404, body="<html>")
    server = start(nginx, simulator, http="aisearch_valid ended 0; aisearch_valid not_found 0; aisearch_valid error 0;",
                   level="alert")
    [worker] = server.workers()

    def fetch(rounds):
        for _ in range(rounds):
            with server.connect() as connection:
                for job in ("a", "missing", "broken") * 100:
                    connection.request(job_target(job))
        return net.rss(worker)

    memory = fetch(2)
    sockets = len(gateway.open_sockets(worker))
    grown = fetch(4) - memory
    assert simulator.count() == 1800
    if not (PRELOAD or VALGRIND):  # these keep freed memory, to detect its use
        assert grown < 500_000
    net.wait_until(lambda: len(gateway.open_sockets(worker)) <= sockets, what="the connections to be closed")
