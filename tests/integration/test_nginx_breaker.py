"""During an outage of the API, nginx does not send fetches: one probe at a time detects its end."""

import json
import re
import threading
import time

import pytest

import gateway
from gateway import account
from harness import SLOWNESS, net, stall
from harness.illness import Counted, Illness, Upstream
from harness.nginx import Nginx

SERVER = """
    location /client/v4/ { aisearch_pass docs; }
    location = /aisearch_status { aisearch_status; }
""" + gateway.WORKERS

# Every lookup of a cached entry is a call, if calls are left.
EAGER = "aisearch_shared_zone zone=aisearch:1m; aisearch_valid ended 0; aisearch_use_stale updating=1h error=1h;"

TIMES = ("connect_timeout 500ms;", "timeout 1s;", "budget 100000 1s;")

FAULTS = 5
AT_ONCE, FIRST = 16, 3

ILLNESSES = {
    "connect": Illness(listens="no"),
    "timeout": Illness(listens="full"),
    "tls": Illness(tls="expired"),
    "server": Illness(answers=lambda job: [stall.response(503, "<html>")]),
}


def an_ended_job(job: str) -> str:
    return json.dumps({"success": True, "errors": [], "messages": [], "result": {
        "id": job, "source": "schedule", "started_at": "2026-01-01 00:00:00", "ended_at": "2026-01-01 00:10:00",
        "end_reason": "completed"}})


@pytest.fixture(params=list(ILLNESSES))
def ill(request, certificates):
    api = Counted(an_ended_job, FIRST)
    with Upstream(ILLNESSES[request.param], certificates, api) as upstream:
        upstream.api, upstream.fault = api, request.param
        yield upstream


def start(nginx, simulator, certificates, upstream: Upstream, **parts) -> Nginx:
    block = account(simulator, f"trusted_certificate {certificates.ca_file};", *TIMES,
                    api_url=upstream.url("localhost"))
    return nginx(http=block + EAGER, server=SERVER, **parts)


def target(job: object) -> str:
    return f"/client/v4/instances/docs/jobs/{job}"


def status(server: Nginx) -> dict:
    return server.get("/aisearch_status").json()["accounts"]["docs"]


def state(server: Nginx) -> str:
    return status(server)["breaker"]["state"]


def fetches(server: Nginx) -> int:
    return sum(status(server)["fetches"].values())


def get_all(server: Nginx, jobs: list, threads: int = 20) -> list[net.Response]:
    """Requests on keepalive connections, in sequence on each."""
    answers: list[net.Response] = []

    def ask(n: int) -> None:
        with server.connect(30 * SLOWNESS) as connection:
            for job in jobs[n::threads]:
                answers.append(connection.request(target(job)))

    net.concurrently(threads, ask)
    return answers


def break_it(server: Nginx) -> None:
    """Looks up jobs that are not requested otherwise."""
    for n in range(10 * FAULTS):
        if state(server) == "open":
            return
        server.get(target(f"breaking-{n}"))
    raise AssertionError("it did not open")


def test_an_outage(nginx, simulator, certificates, ill):
    """Cached entries are always served, whatever else is requested, and the API gets only probes."""
    server = start(nginx, simulator, certificates, ill)
    cached = [f"cached-{n}" for n in range(200)]
    assert {answer.status for answer in get_all(server, cached)} == {200}
    ill.fall_ill()
    began, before = time.monotonic(), fetches(server)
    over = threading.Event()
    kept: list[net.Response] = []

    def keep_asking() -> None:
        while not over.is_set():
            kept.extend(get_all(server, cached, 4))

    thread = threading.Thread(target=keep_asking)
    thread.start()
    try:
        others = get_all(server, list(range(6000)))
    finally:
        over.set()
        thread.join()
    took = time.monotonic() - began

    assert len(kept) >= 200 and {(answer.status, answer.header("x-aisearch-cache")) for answer in kept} == {
        (200, "STALE")}
    assert {answer.status for answer in others} == {504 if ill.fault == "timeout" else 502}
    assert {int(answer.header("retry-after")) for answer in others} <= {1, 2}
    # the first ones, and then one at a time, with a pause of at least 0.75 s
    assert fetches(server) - before <= FAULTS + 24 + took / 0.75 + 1
    assert state(server) == "open" and status(server)["breaker"]["fault"] == ill.fault
    assert status(server)["breaker"]["held"] >= 5000
    assert server.get("/aisearch_status").json()["zone"]["evictions"] == 0
    lines = [line for line in server.error_log().splitlines() if f"{FAULTS} faults in a row" in line]
    assert len(lines) == 1 and "[error]" in lines[0] and f"{ill.fault} fault" in lines[0]
    assert "the API responds again after" not in server.error_log()


def test_the_recovery(nginx, simulator, certificates, ill):
    """The recovery is quick, without a burst of fetches."""
    server = start(nginx, simulator, certificates, ill)
    ill.fall_ill()
    break_it(server)
    ill.api.delay = 0.3
    over = threading.Event()
    answers: list[net.Response] = []

    def keep_asking(n: int) -> None:
        with server.connect(30 * SLOWNESS) as connection:
            for number in range(1_000_000):
                if over.wait(0.02):
                    return
                answers.append(connection.request(target(f"{n}-{number}")))

    threads = [threading.Thread(target=keep_asking, args=(n,)) for n in range(60)]
    for thread in threads:
        thread.start()
    try:
        time.sleep(1)
        ill.recover()
        began = time.monotonic()
        net.wait_until(lambda: any(answer.status == 200 for answer in list(answers)), 10, "a response")
        took = time.monotonic() - began
        net.wait_until(lambda: state(server) == "closed", 10, "the breaker to close")
    finally:
        over.set()
        for thread in threads:
            thread.join()
    assert took <= 2.5 * SLOWNESS
    assert ill.api.most <= AT_ONCE
    assert {answer.status for answer in get_all(server, list(range(50)), 50)} == {200}
    lines = [line for line in server.error_log().splitlines() if "the API responds again after" in line]
    assert len(lines) == 1 and "[notice]" in lines[0] and re.search(r"after \d+ms", lines[0])


def test_one_resource_that_always_fails(nginx, simulator):
    """As long as other fetches succeed, none is blocked."""
    server = nginx(http=account(simulator, *TIMES, "retries 0;") + EAGER + "aisearch_valid error 0;", server=SERVER)
    simulator.instance("instances/docs", [{"id": f"job-{n}", "state": "succeeded"} for n in range(20)])
    simulator.fault("jobs/bad", status=500, body="<html>")
    for n in range(20):
        assert [server.get(target("bad")).status for _ in range(FAULTS - 1)] == [502] * (FAULTS - 1)
        assert server.get(target(f"job-{n}")).status == 200
    assert state(server) == "closed"
    assert status(server)["breaker"]["held"] == 0
    assert "faults in a row" not in server.error_log()


@pytest.mark.parametrize("order, opens", [
    ({"status": 503, "body": "<html>"}, True), ({"refusal": "503_7017"}, True), ({"status": 500, "body": ""}, True),
    ({"refusal": "500_7001"}, False), ({"refusal": "403_9109_resource"}, False), ({"refusal": "404_job"}, False),
    ({"refusal": "403_10000"}, False), ({"status": 200, "body": "<html>"}, False)])
def test_failures_that_open_it(nginx, simulator, order, opens):
    server = nginx(http=account(simulator, *TIMES, "retries 0;") + EAGER, server=SERVER)
    simulator.fault("jobs/", **order)
    for n in range(3 * FAULTS):
        server.get(target(n))
    assert (state(server) == "open") == opens
    assert (simulator.count("jobs/") <= FAULTS + 3 * SLOWNESS) or not opens


def test_a_spent_budget(nginx, simulator):
    """A fetch that fails counts as a failure even if no call is left for a retry."""
    server = nginx(http=account(simulator, "timeout 5s;", "budget 20 1s;") + EAGER, server=SERVER)
    fault = simulator.fault("jobs/", status=503, body="<html>")

    def has_opened() -> bool:
        get_all(server, list(range(60)), 60)
        return state(server) == "open"

    net.wait_until(has_opened, 20, "it to open")
    assert simulator.fault_hits(fault) <= 60
    assert status(server)["breaker"]["fault"] == "server"


def test_a_probe_whose_worker_is_killed(nginx, simulator):
    """A probe is considered lost one second after it should have ended."""
    server = nginx(http=account(simulator, "timeout 5s;", "budget 100000 1s;", "retries 0;") + EAGER, server=SERVER,
                   workers=2)
    simulator.job("instances/docs", "a")
    fault = simulator.fault("jobs/", status=503, body="<html>")
    break_it(server)
    simulator.clear_fault(fault)
    simulator.fault("jobs/stuck", delay=3600)
    with gateway.connections(server) as connections:
        [one, other] = connections
        net.wait_until(lambda: _is_stuck(simulator, connections[one]), 10, "a probe")
        server.kill_worker(one)
        began = time.monotonic()
        net.wait_until(lambda: connections[other].request(target("a")).status == 200, 10, "another probe")
        assert time.monotonic() - began <= 3 * SLOWNESS
    server.allow_log("exited on signal 9|open socket")


def _is_stuck(simulator, connection: net.Connection) -> bool:
    """Sends a request, and waits for the response unless it is a probe."""
    before = simulator.count("jobs/stuck")
    connection.send(net.format_request(target("stuck")))
    time.sleep(0.2)
    if simulator.count("jobs/stuck") > before:
        return True
    connection.read_response()
    return False


def test_a_reload(nginx, simulator):
    """The outage is remembered, but does not affect another API."""
    block = account(simulator, *TIMES, "retries 0;")
    parts = {"http": block + EAGER, "server": SERVER}
    server = nginx(**parts)
    simulator.job("instances/docs", "a")
    simulator.fault("jobs/", status=503, body="<html>")
    break_it(server)
    server.reload()
    assert state(server) == "open"
    server.config.http = block.replace("127.0.0.1", "localhost") + EAGER
    server.reload(server.config)
    assert state(server) == "closed"


def test_the_status(nginx, simulator):
    server = nginx(http=account(simulator, *TIMES, "retries 0;") + EAGER, server=SERVER)
    breaker = status(server)["breaker"]
    assert breaker == {"state": "closed", "fault": "none", "wait_milliseconds": 0, "held": 0}
    simulator.fault("jobs/", status=503, body="<html>")
    break_it(server)
    server.get(target("held"))
    breaker = status(server)["breaker"]
    assert breaker["state"] == "open" and breaker["fault"] == "server"
    assert 0 <= breaker["wait_milliseconds"] <= 1000
    text = server.get("/aisearch_status?format=prometheus").body.decode()
    assert 'aisearch_breaker_state{account="docs"} 1\n' in text
    assert 'aisearch_breaker_wait_seconds{account="docs"} 0.' in text
    assert re.search(r'aisearch_breaker_held_total\{account="docs"\} \d+\n', text)
