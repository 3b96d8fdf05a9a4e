"""A worker continues to serve other requests while lookups stall, and while it makes TLS connections."""

import contextlib
import os
import pathlib
import time
from collections.abc import Callable

import pytest

from harness import SLOWNESS, net, stall
from harness.edge import Edge
from harness.nginx import Nginx
from harness.pace import PRIORITY, Pace, quantile
from harness.simulator import ACCOUNT

pytestmark = pytest.mark.alone

RATE = 500 / SLOWNESS
LIMIT = 0.020 * SLOWNESS  # for the 99th percentile
STALL = 5.0

SYSTEM_CA = pathlib.Path("/etc/ssl/certs/ca-certificates.crt")

MOODS = {
    "patient": "timeout 15s; connect_timeout 6s; retries 0;",
    "hasty": "timeout 15s; connect_timeout 1s; retries 0;",
}

# See harness.pace.
MAIN = f"worker_priority {PRIORITY};" if os.geteuid() == 0 else ""


def account(name: str, simulator, url: str, options: str) -> str:
    return (f"aisearch_account {name} {{ account_id {ACCOUNT}; token_file {simulator.token_file}; api_url {url};"
            f" budget 1000000 1s; {options} }}\n")


def location(name: str) -> str:
    return f"location /{name}/ {{ aisearch_pass {name}; }}\n"


PLAIN = 'keepalive_requests 1000000;\nlocation = /plain { return 200 "as ever"; }\n'


def steady(nginx: Nginx, during: Callable[[], object], attempts: int = 3) -> object:
    """
    Checks that the latency of other requests to the worker does not rise during the call; returns the result of the
    call. One success is enough, because other processes use the machine too, while a real delay would occur in each
    attempt.
    """
    for attempt in range(1, attempts + 1):
        if attempt > 1:
            nginx.reload()  # so that the new worker has no connections yet
        with Pace(nginx.address, "/plain", RATE) as pace:
            pace.begin()
            time.sleep(0.5)
            baseline = pace.end()

            pace.begin()
            result = during()
            latencies = pace.end()

        report = (f"{len(latencies)} requests: p50 {quantile(latencies, 0.5) * 1000:.2f} ms, "
                  f"p99 {quantile(latencies, 0.99) * 1000:.2f} ms, max {max(latencies) * 1000:.2f} ms; "
                  f"before: p99 {quantile(baseline, 0.99) * 1000:.2f} ms")
        print(report)
        if quantile(latencies, 0.99) < LIMIT:
            return result
    raise AssertionError(f"after {attempts} attempts: {report}")


# Stalls.


class Stalled:
    """Upstreams that stall in each phase, and an nginx with a patient and a hasty account for each."""

    PHASES = ("dns", "connect", "tls", "headers", "body")

    def __init__(self, stack: contextlib.ExitStack, tmp: pathlib.Path, simulator, edge, nginx, ca_file) -> None:
        http, server = "", PLAIN
        for mood, times in MOODS.items():
            _, connect = stack.enter_context(stall.black_hole())
            _, tls = stack.enter_context(stall.silent())
            urls = {
                "dns": edge.url("good", host=f"{mood}.slow.test"),
                "connect": f"http://127.0.0.1:{connect}/client/v4",
                "tls": f"https://127.0.0.1:{tls}/client/v4",
                "headers": simulator.url,
                "body": simulator.url,
            }
            for phase, url in urls.items():
                name = f"{mood}_{phase}"
                http += account(name, simulator, url, f"trusted_certificate {ca_file}; {times}")
                server += location(name)
        simulator.fault("/instances/headers/", delay=STALL)
        simulator.fault("/instances/body/", body_delay=STALL)
        self.nginx = nginx(main=MAIN, http=http, server=server, preload=[stall.slow_dns(tmp)],
                           env={"AIS_SLOW_DNS": str(STALL)}, stop_timeout=15)

    def look_up(self, mood: str, phase: str, job: str) -> net.Response:
        return net.request(self.nginx.address, f"/{mood}_{phase}/instances/{phase}/jobs/{job}", timeout=20)


def test_worker_continues_while_lookups_stall(tmp, simulator, edge, nginx, certificates):
    """Lookups stall simultaneously, for five seconds, in all phases: DNS, connect, TLS handshake, headers, body."""
    attempt = 0
    with contextlib.ExitStack() as stack:
        stalled = Stalled(stack, tmp, simulator, edge, nginx, certificates.ca_file)
        asked = [(mood, phase) for mood in MOODS for phase in Stalled.PHASES]

        def look_up_all() -> dict[tuple[str, str], net.Response]:
            nonlocal attempt
            attempt += 1  # a new job, since the others are cached
            for phase in Stalled.PHASES:
                simulator.job(f"instances/{phase}", f"a{attempt}")
            answers = net.concurrently(len(asked), lambda n: stalled.look_up(*asked[n], f"a{attempt}"))
            return dict(zip(asked, answers))

        answers = steady(stalled.nginx, look_up_all)

    # The patient accounts wait until the end, which never comes without a connection.
    for phase in ("dns", "headers", "body"):
        assert answers["patient", phase].status == 200, phase
        assert STALL - 0.1 < answers["patient", phase].elapsed < STALL + 2 * SLOWNESS, phase
    for phase in ("connect", "tls"):
        assert answers["patient", phase].status == 504, phase
        assert 6 - 0.1 < answers["patient", phase].elapsed < 6 + 2 * SLOWNESS, phase

    # The hasty accounts have a short timeout for the connection, but not for the response.
    for phase in ("dns", "connect", "tls"):
        assert answers["hasty", phase].status == 504, phase
        assert 1 - 0.1 < answers["hasty", phase].elapsed < 1 + 2 * SLOWNESS, phase
    for phase in ("headers", "body"):
        assert answers["hasty", phase].status == 200, phase


def test_worker_exits_at_once_while_dns_stalls(tmp, simulator, edge, nginx, certificates):
    """libcurl's resolver thread outlasts the lookup, but neither the worker nor its signals wait for it."""
    with contextlib.ExitStack() as stack:
        stalled = Stalled(stack, tmp, simulator, edge, nginx, certificates.ca_file)
        assert stalled.look_up("hasty", "dns", "a").status == 504
        began = time.monotonic()
        stalled.nginx.stop()
        assert time.monotonic() - began < 1 * SLOWNESS


# Certificates.


@pytest.fixture
def tls_edge(tmp, simulator, certificates):
    """An edge that requires a new connection and a full handshake for every request."""
    with Edge(tmp, certificates, simulator.unix, http2=False,
              server="keepalive_timeout 0; ssl_session_cache off; ssl_session_tickets off;") as edge:
        yield edge


@pytest.mark.parametrize("trusted, status", [("with the test's", 200), ("by default", 502)])
def test_worker_continues_while_making_tls_connections(tmp, simulator, tls_edge, nginx, certificates, trusted, status):
    """
    Twenty connections in two seconds, with hundreds of CA certificates of the system, which take tens of milliseconds
    to parse. By default, only those are trusted, so the edge's certificate is rejected after they were used, and soon
    few connections are made.
    """
    option = "retries 0;"
    if trusted != "by default":
        ca_file = tmp / "all.pem"
        ca_file.write_bytes(SYSTEM_CA.read_bytes() + certificates.ca_file.read_bytes())
        option += f" trusted_certificate {ca_file};"
    server = nginx(main=MAIN, http=account("docs", simulator, tls_edge.url(), option), server=location("docs") + PLAIN)
    simulator.instance("instances/docs", [{"id": f"{n}"} for n in range(100)])
    asked = 0

    def look_up_twenty() -> list[net.Response]:
        nonlocal asked
        responses = []
        for _ in range(20):
            asked += 1
            began = time.monotonic()
            responses.append(server.get(f"/docs/instances/docs/jobs/{asked}"))
            time.sleep(max(0, began + 0.1 * SLOWNESS - time.monotonic()))
        return responses

    assert [response.status for response in steady(server, look_up_twenty)] == [status] * 20

    if status == 200:
        net.wait_until(lambda: len(tls_edge.requests()) == asked, 5, "the edge's log")
        requests = tls_edge.requests()
        assert len({request["connection"] for request in requests}) == asked
        assert {request["resumed"] for request in requests} == {"."}
    else:
        # After five failures in a row, there is about one connection per second.
        assert 5 <= server.error_log().count("tls fault") <= asked
