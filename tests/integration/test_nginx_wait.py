"""Requests that wait for a change: `Prefer: wait=N` (RFC 7240, section 4.3)."""

import concurrent.futures
import contextlib
import time

import pytest

from gateway import ACCESS_LOG, WORKERS, account, lookups
from harness import SLOWNESS, net

STATUS = "location = /aisearch_status { aisearch_status; access_log off; }"
SERVER = "location /client/v4/ { aisearch_pass docs; aisearch_wait 30s; }" + WORKERS + STATUS
JOB = "/client/v4/instances/docs/jobs/a"
LIST = "/client/v4/instances/docs/jobs"
SOON = 0.8 * SLOWNESS  # seconds for an immediate response


def start(nginx, simulator, server=SERVER, http="", directives=(), **parts):
    """Responses are fresh for one second, which is also the interval of refreshes of watched entries."""
    valid = "aisearch_valid active 1s; aisearch_valid list 1s; aisearch_valid logs 1s; aisearch_valid error 200ms;"
    return nginx(http=account(simulator, "budget 100000 1s;", *directives) + ACCESS_LOG + valid + http, server=server,
                 **parts)


def wait(seconds):
    return ("Prefer", f"wait={seconds}")


def applied(response):
    return response.header("Preference-Applied")


@contextlib.contextmanager
def getting(server, *requests):
    """Sends these requests, (target, headers...), at the same time; returns the futures of their responses."""
    with concurrent.futures.ThreadPoolExecutor(len(requests)) as pool:
        yield [pool.submit(net.request, server.address, target, headers, timeout=40) for target, *headers in requests]


def waiting(server, count):
    net.wait_until(lambda: server.get("/aisearch_status").json()["accounts"]["docs"]["waits"] == count, 10,
                   f"{count} waiting requests")


def etag(server, path=JOB):
    return ("If-None-Match", server.get(path).header("ETag"))


def test_a_running_job_is_answered_at_its_end(nginx, simulator):
    simulator.job("instances/docs", "a", state="running")
    server = start(nginx, simulator)
    with getting(server, (JOB, wait(20))) as [future]:
        waiting(server, 1)
        simulator.job("instances/docs", "a", state="succeeded")
        response = future.result()
    assert response.status == 200
    assert response.json()["result"]["ended_at"] is not None
    assert applied(response) == "wait=20"
    assert response.header("X-Aisearch-Cache") == "WAITED"
    assert response.header("X-Aisearch-State") == "succeeded"
    assert response.header("Vary") == "Prefer"
    waiting(server, 0)
    line = lookups(server, 1)[0]
    assert (line["cache_status"], line["job_state"]) == ("WAITED", "succeeded")


def test_time_is_up(nginx, simulator):
    simulator.job("instances/docs", "a", state="running")
    server = start(nginx, simulator)
    began = time.monotonic()
    with getting(server, (JOB, wait(2)), (JOB, wait(2), etag(server))) as futures:
        job, same = (future.result() for future in futures)
    assert 1.9 < time.monotonic() - began < 2 + 2 * SOON
    assert (job.status, job.header("X-Aisearch-State")) == (200, "running")
    assert same.status == 304
    assert applied(job) == applied(same) == "wait=2"


def test_a_change_ends_a_wait_for_an_etag(nginx, simulator):
    simulator.job("instances/docs", "a", state="running", description="old")
    server = start(nginx, simulator)
    weak = ("If-None-Match", f'"x,y", W/{etag(server)[1]}')
    with getting(server, (JOB, wait(20), etag(server)), (JOB, wait(20), weak)) as futures:
        waiting(server, 2)
        simulator.job("instances/docs", "a", description="new")
        responses = [future.result() for future in futures]
    assert [response.status for response in responses] == [200, 200]
    assert {response.json()["result"]["description"] for response in responses} == {"new"}


@pytest.mark.parametrize("headers", [
    [("Prefer", "wait=0")],
    [wait(20), ("If-None-Match", "*")],
    [wait(20), ("If-None-Match", '"another"')],
])
def test_immediate_responses(nginx, simulator, headers):
    simulator.job("instances/docs", "a", state="running")
    server = start(nginx, simulator)
    began = time.monotonic()
    response = server.get(JOB, headers)
    assert time.monotonic() - began < SOON
    assert response.status == (304 if headers[-1][1] == "*" else 200)
    assert applied(response) == headers[0][1]


def test_a_list_waits_only_with_an_etag(nginx, simulator):
    simulator.job("instances/docs", "a", state="running")
    server = start(nginx, simulator)
    for path in LIST, f"{JOB}/logs":
        began = time.monotonic()
        first = server.get(path, [wait(20)])
        assert first.status == 200 and time.monotonic() - began < SOON
        assert applied(first) == "wait=20"
    with getting(server, (LIST, wait(20), etag(server, LIST))) as [future]:
        waiting(server, 1)
        simulator.job("instances/docs", "b", state="queued")
        response = future.result()
    assert response.status == 200
    assert {job["id"] for job in response.json()["result"]} == {"a", "b"}


@pytest.mark.parametrize("seconds, delay", [(4, 2), (1, 2)])
def test_the_first_fetch_is_part_of_the_time(nginx, simulator, seconds, delay):
    simulator.job("instances/docs", "a", state="running")
    simulator.fault(delay=delay)
    server = start(nginx, simulator)
    began = time.monotonic()
    response = server.get(JOB, [wait(seconds)])
    assert max(seconds, delay) - 0.1 < time.monotonic() - began < max(seconds, delay) + SOON
    assert (response.status, applied(response)) == (200, f"wait={seconds}")


def test_an_error_is_sent_at_once(nginx, simulator):
    server = start(nginx, simulator, directives=["instance docs;"])
    began = time.monotonic()
    response = server.get(JOB, [wait(20)])
    assert (response.status, applied(response)) == (404, "wait=20")
    simulator.fault(status=500)
    response = server.get("/client/v4/instances/docs/jobs/b", [wait(20)])
    assert (response.status, applied(response)) == (502, "wait=20")
    for path, status in ("/client/v4/nonsense", 400), ("/client/v4/instances/other/jobs/a", 403):
        response = server.get(path, [wait(20)])
        assert (response.status, applied(response)) == (status, "wait=20")
    assert time.monotonic() - began < 3 * SOON


def test_an_error_page_applies_its_own_wait(nginx, simulator):
    simulator.job("instances/docs", "a", state="succeeded")
    server = start(nginx, simulator, server="""
        location / { aisearch_pass docs; aisearch_wait 30s; aisearch_intercept_errors on; error_page 404 = @other; }
        location @other { aisearch_pass docs instances/docs/jobs/a; aisearch_wait 10s; }
    """)
    response = server.get("/instances/docs/jobs/missing", [wait(20)])
    assert response.status == 200
    assert [value for name, value in response.headers if name == "Preference-Applied"] == ["wait=10"]


def test_a_failure_does_not_end_a_wait(nginx, simulator):
    simulator.job("instances/docs", "a", state="running")
    server = start(nginx, simulator)
    server.get(JOB)
    with getting(server, (JOB, wait(3)), (JOB, wait(20))) as [short, long]:
        waiting(server, 2)
        fault = simulator.fault(status=500)
        response = short.result()
        assert (response.status, response.header("X-Aisearch-Cache")) == (200, "STALE")
        simulator.clear_fault(fault)
        simulator.job("instances/docs", "a", state="failed")
        assert long.result().header("X-Aisearch-State") == "failed"


def test_only_the_main_request_of_a_get_waits(nginx, simulator):
    simulator.job("instances/docs", "a", state="running")
    guard = """
        location /guarded { auth_request /guard; return 204; }
        location = /guard { internal; aisearch_pass docs instances/docs/jobs/a; aisearch_wait 30s; }
        location /rewritten { rewrite ^ /client/v4/instances/docs/jobs/a last; }
    """
    server = start(nginx, simulator, server=SERVER + guard)
    began = time.monotonic()
    assert server.get("/guarded", [wait(20)]).status == 204
    assert server.get(JOB, [wait(20)], method="HEAD").status == 200
    assert time.monotonic() - began < SOON
    with getting(server, ("/rewritten", wait(20))) as [future]:
        waiting(server, 1)
        simulator.job("instances/docs", "a", state="cancelled")
        assert future.result().header("X-Aisearch-State") == "cancelled"


def test_watchers_of_all_workers_cause_one_call_each_interval(nginx, simulator):
    simulator.job("instances/docs", "a", state="running")
    server = start(nginx, simulator, workers=2)
    server.get(JOB)
    simulator.forget()
    with getting(server, *[(JOB, wait(6))] * 40) as futures:
        waiting(server, 40)
        responses = [future.result() for future in futures]
    assert {response.status for response in responses} == {200}
    assert 4 <= simulator.count() <= 8
    simulator.forget()
    time.sleep(2)
    assert simulator.count() == 0  # nobody watches any more


def test_a_client_that_disconnects_is_forgotten(nginx, simulator):
    simulator.job("instances/docs", "a", state="running")
    server = start(nginx, simulator)
    with server.connect() as connection:
        connection.send(net.format_request(JOB, [wait(20)]))
        waiting(server, 1)
    waiting(server, 0)


def test_a_worker_that_quits_sends_pending_responses(nginx, simulator):
    simulator.job("instances/docs", "a", state="running")
    server = start(nginx, simulator)
    with getting(server, (JOB, wait(20)), (JOB, wait(20), etag(server))) as [job, same]:
        waiting(server, 2)
        began = time.monotonic()
        server.reload()
        assert (job.result().status, job.result().header("X-Aisearch-State")) == (200, "running")
        assert same.result().status == 304
        assert time.monotonic() - began < 3 * SLOWNESS


def test_the_location_limits_the_wait(nginx, simulator):
    simulator.job("instances/docs", "a", state="running")
    server = start(nginx, simulator, server=SERVER.replace("30s", "2s"))
    response = server.get(JOB, [wait(600)])
    assert (response.status, applied(response)) == (200, "wait=2")
    assert 1.8 < response.elapsed < 2 + SOON


def test_it_is_off_by_default(nginx, simulator):
    simulator.job("instances/docs", "a", state="running")
    server = start(nginx, simulator, server="location /client/v4/ { aisearch_pass docs; }")
    response = server.get(JOB, [wait(20), ("Accept", "text/event-stream")])
    assert (response.status, response.header("Content-Type")) == (200, "application/json")
    assert applied(response) is None and response.header("Vary") is None
