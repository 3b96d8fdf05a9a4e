"""The cache: one fetch for all clients, no unnecessary waiting, and a zone that is full or recreated."""

import json
import random
import re
import threading
import time

import pytest

import gateway
from gateway import ACCESS_LOG, WORKERS, account
from harness import SLOWNESS, net, stall
from harness.nginx import Config
from harness.simulator import Simulator

STATUS = "location = /aisearch_status { aisearch_status; }"
SERVER = "keepalive_requests 1000000; location /client/v4/ { aisearch_pass docs; }" + WORKERS + STATUS
PLENTY = "budget 100000 1s;"  # for tests that are not about the budget


def start(nginx, simulator, *directives, server=SERVER, http="", **parts):
    """nginx with one account, "docs", and a location /client/v4/."""
    return nginx(http=account(simulator, PLENTY, *directives) + ACCESS_LOG + http, server=server, **parts)


def target(job="a", location="/client/v4/"):
    return f"{location}instances/docs/jobs/{job}"


def cache(response):
    return response.header("X-Aisearch-Cache")


def max_age(response):
    return int(re.fullmatch(r"private, max-age=(\d+)", response.header("Cache-Control"))[1])


def description(response):
    return response.json()["result"]["description"]


def until(server, path, status, **options):
    """Returns the first response with this cache status."""
    def look():
        response = server.get(path, **options)
        return cache(response) == status and response

    return net.wait_until(look, what=f"{status} of {path}", every=0.02)


def zone(server):
    return server.get("/aisearch_status").json()["zone"]


# One fetch for all.


def test_many_clients_of_a_cold_entry_wait_no_longer_than_the_fetch(nginx, simulator):
    simulator.job("instances/docs", "a", state="running")
    simulator.fault("/jobs/a$", delay=0.1)
    server = start(nginx, simulator, workers=4)
    responses = net.concurrent_gets(server.address, [target()] * 300, timeout=30)
    assert simulator.count() == 1
    assert {response.status for response in responses} == {200}
    assert max(response.elapsed for response in responses) < 0.1 + 0.3 * SLOWNESS
    waited = [cache(response) for response in responses].count("COALESCED")
    assert server.get("/aisearch_status").json()["accounts"]["docs"]["waiters_woken"] == waited > 200


def test_clients_waiting_for_a_killed_leader(nginx, simulator):
    simulator.job("instances/docs", "a", state="failed")
    simulator.fault("/jobs/a$", times=1, delay=60)
    server = start(nginx, simulator, workers=4)
    leader, *others = server.workers()
    waiters = []
    try:
        with gateway.stopped([leader]):
            for _ in range(200):
                waiters.append(server.connect(30))
                assert waiters[-1].request("/pid").body != str(leader).encode()
        with gateway.stopped(others):
            waiters.append(server.connect(30))
            assert waiters[-1].request("/pid").body == str(leader).encode()
        first = waiters.pop()
        first.send(net.format_request(target()))
        net.wait_until(simulator.count, what="the first fetch")
        for waiter in waiters:
            waiter.send(net.format_request(target()))
        gateway.wait_for_requests(server, len(waiters) + 1)
        server.kill_worker(leader)
        killed = time.monotonic()
        responses = [waiter.read_response() for waiter in waiters]
        assert time.monotonic() - killed < 3 * SLOWNESS
        first.close()
    finally:
        for waiter in waiters:
            waiter.close()
    assert {(response.status, response.body) for response in responses} == {(200, responses[0].body)}
    assert simulator.count() == 2


def test_a_stuck_leader_loses_its_lease(nginx, simulator):
    simulator.job("instances/docs", "a", state="failed")
    simulator.fault("/jobs/a$", times=1, delay=60)
    server = start(nginx, simulator, "timeout 4s;", workers=2)
    with gateway.connections(server) as workers:
        (stuck, first), (_, second) = workers.items()
        first.send(net.format_request(target()))
        net.wait_until(simulator.count, what="the first fetch")
        second.send(net.format_request(target()))
        gateway.wait_for_requests(server, 2)
        with gateway.stopped([stuck]):
            began = time.monotonic()
            assert second.read_response().status == 200
            assert time.monotonic() - began < 3 * SLOWNESS
        # The worker continues, and its own fetch fails; its client gets the entry that has been cached in the meantime.
        assert first.read_response().status == 200
    assert simulator.count() == 2


@pytest.mark.parametrize("late", ["a response", "a failure"])
def test_a_late_leader_does_not_replace_a_newer_entry(nginx, simulator, late):
    simulator.job("instances/docs", "a", state="running")
    simulator.fault("/jobs/a$", times=1, delay=0.3 if late == "a response" else 60)
    server = start(nginx, simulator, "timeout 2s; retries 0;", workers=2)
    with gateway.connections(server) as workers:
        (stuck, first), (_, second) = workers.items()
        first.send(net.format_request(target()))
        net.wait_until(simulator.count, what="the first fetch")
        with gateway.stopped([stuck]):
            time.sleep(0.5)  # so that the response arrives as far as it can
            simulator.job("instances/docs", "a", state="succeeded")
            assert second.request(target()).header("X-Aisearch-State") == "succeeded"
        assert first.read_response().status == 200
        response = server.get(target())
        assert (cache(response), response.header("X-Aisearch-State")) == ("HIT", "succeeded")
    assert simulator.count() == 2


# Freshness.


def test_max_age_and_age_are_exact_to_the_second(nginx, simulator):
    simulator.job("instances/docs", "a", state="running")
    server = start(nginx, simulator, http="aisearch_valid active 3s; aisearch_use_stale off;")
    first = server.get(target())
    fetched = time.monotonic()
    tag = first.header("ETag")
    assert (cache(first), first.header("Age"), max_age(first)) == ("MISS", "0", 3)

    def expired():
        response = server.get(target())
        if cache(response) == "EXPIRED":
            return response
        asked = time.monotonic() - fetched
        assert (cache(response), max_age(response)) == ("HIT", 3)
        assert int(response.header("Age")) in (int(max(asked - 0.3 * SLOWNESS, 0)), int(asked + 0.1))
        assert int(response.header("Age")) < 3
        same = server.get(target(), [("If-None-Match", tag)])
        if cache(same) == "EXPIRED":
            return same
        assert (cache(same), same.status, same.body, max_age(same)) == ("HIT", 304, b"", 3)
        assert int(same.header("Age")) - int(response.header("Age")) in (0, 1)
        return None

    response = net.wait_until(expired, 6, "the entry to expire", every=0.05)
    assert 2.9 < time.monotonic() - fetched < 3.6 * SLOWNESS
    assert response.header("Age") == "0"


def test_logs_are_as_fresh_as_their_cached_job(nginx, simulator):
    simulator.instance("instances/docs", [{"id": "failed", "state": "failed"}, {"id": "young", "state": "running"},
                                          {"id": "unseen", "state": "failed"}])
    server = start(nginx, simulator, http="aisearch_valid logs 20s;")
    for job in ("failed", "young"):
        assert server.get(target(job)).status == 200
    assert [max_age(server.get(target(f"{job}/logs"))) for job in ("failed", "young", "unseen")] == [86400, 4, 20]
    assert max_age(server.get(target("failed/logs?page=1&per_page=5"))) == 86400


def test_logs_that_may_be_incomplete_are_not_kept_long(nginx, simulator):
    simulator.job("instances/docs", "a", state="running")
    simulator.fault(r"/logs\?", body_delay=1)
    server = start(nginx, simulator, http="aisearch_valid logs 20s;")
    with server.connect() as logs:
        logs.send(net.format_request(target("a/logs")))
        net.wait_until(simulator.count, what="the fetch of the logs")
        simulator.job("instances/docs", "a", state="succeeded")
        assert server.get(target()).header("X-Aisearch-State") == "succeeded"
        assert max_age(logs.read_response()) == 20


# Stale responses.

LIFE = 0.2  # seconds


def warm(server, simulator, *jobs):
    """Makes cached entries with the description "old", and an API that returns "new"."""
    simulator.instance("instances/docs", [{"id": job, "state": "running", "description": "old"} for job in jobs])
    for job in jobs:
        assert description(server.get(target(job))) == "old"
    simulator.instance("instances/docs", [{"id": job, "description": "new"} for job in jobs])
    time.sleep(LIFE + 0.02)
    simulator.forget()


def test_nobody_waits_for_a_refresh(nginx, simulator):
    server = start(nginx, simulator, http="aisearch_valid active 200ms;", workers=2)
    warm(server, simulator, "a")
    simulator.fault("/jobs/a$", delay=1)
    responses = net.concurrent_gets(server.address, [target()] * 50)
    assert {(cache(response), description(response)) for response in responses} == {("UPDATING", "old")}
    assert max(response.elapsed for response in responses) < 0.5 * SLOWNESS
    assert {max_age(response) for response in responses} == {0}
    assert all(int(response.header("Age")) <= 1 * SLOWNESS for response in responses)
    net.wait_until(simulator.count, what="the refresh")
    assert simulator.count() == 1
    net.wait_until(lambda: description(server.get(target())) == "new", what="the new response")
    assert {entry["cache_status"] for entry in gateway.lookups(server, 50)} >= {"UPDATING"}


def test_updating_ends_after_its_time(nginx, simulator):
    server = start(nginx, simulator, http="aisearch_valid active 200ms; aisearch_use_stale updating=300ms;")
    warm(server, simulator, "a")
    time.sleep(0.4)
    response = server.get(target())
    assert (cache(response), description(response), response.header("Age")) == ("EXPIRED", "new", "0")


def test_without_stale_responses_clients_wait(nginx, simulator):
    server = start(nginx, simulator, http="aisearch_valid active 200ms; aisearch_use_stale off;")
    warm(server, simulator, "a")
    response = server.get(target())
    assert (cache(response), description(response)) == ("EXPIRED", "new")
    time.sleep(LIFE + 0.05)
    simulator.fault("/jobs/a$", status=503, body="down")
    assert server.get(target()).status == 502


ENVELOPE = json.dumps({"success": False, "errors": [{"code": 7001, "message": "Internal Error"}], "result": None})
AUTHENTICATION = ENVELOPE.replace("7001", "10000")

FAILURES = {
    "500 with an envelope": ({"status": 500, "body": ENVELOPE}, "server"),
    "502 with HTML": ({"status": 502, "body": "<html>"}, "server"),
    "200 with HTML": ({"status": 200, "body": "<html>"}, "body"),
    "429": ({"status": 429, "body": ENVELOPE, "headers": [["Retry-After", "60"]]}, "rate_limited"),
    "401": ({"status": 401, "body": AUTHENTICATION}, "credential"),
    "reset": ({"script": stall.reset_before_headers()}, "connect"),
    "timeout": ({"delay": 60}, "timeout"),
}


@pytest.mark.parametrize("name", FAILURES)
def test_a_stale_response_hides_a_failure_of_the_api(nginx, simulator, name):
    fault, error = FAILURES[name]
    server = start(nginx, simulator, "retries 0;", "timeout 500ms;", http="""
        aisearch_valid active 200ms;
        aisearch_use_stale error=1h;
    """)
    warm(server, simulator, "a")
    simulator.fault("/jobs/a$", **fault)
    waited, at_once = server.get(target()), server.get(target())
    for response in (waited, at_once):
        assert (response.status, cache(response), description(response)) == (200, "STALE", "old")
        assert (max_age(response), response.header("X-Aisearch-State")) == (0, "running")
    # (libcurl itself repeats a GET if a reused connection breaks)
    assert simulator.count() == (2 if name == "reset" else 1)
    assert [entry["error"] for entry in gateway.lookups(server, 3)[1:]] == [error, error]
    [line] = gateway.reported(server)
    assert f"{error} fault" in line


def test_a_stale_response_hides_an_error_for_a_limited_time(nginx, simulator):
    server = start(nginx, simulator, "retries 0;", http="""
        aisearch_valid active 200ms;
        aisearch_valid error 100ms;
        aisearch_use_stale error=1s;
    """)
    warm(server, simulator, "a")
    simulator.fault("/jobs/a$", status=503, body="down")
    assert cache(server.get(target())) == "STALE"
    net.wait_until(lambda: server.get(target()).status == 502, what="the error", every=0.05)
    simulator.clear_faults()
    net.wait_until(lambda: server.get(target()).status == 200, what="the new response", every=0.05)
    assert description(server.get(target())) == "new"


def test_a_failing_api_is_retried_in_the_background(nginx, simulator):
    server = start(nginx, simulator, "retries 0;", http="""
        aisearch_valid active 200ms;
        aisearch_valid error 200ms;
        aisearch_use_stale error=1h;
    """)
    warm(server, simulator, "a")
    simulator.fault("/jobs/a$", times=1, status=503, body="down")
    assert cache(server.get(target())) == "STALE"
    simulator.fault("/jobs/a$", delay=0.5)
    time.sleep(0.25)
    response = server.get(target())
    assert (cache(response), description(response)) == ("STALE", "old")
    assert response.elapsed < 0.4 * SLOWNESS
    net.wait_until(lambda: description(server.get(target())) == "new", what="the new response", every=0.05)


def test_each_location_has_its_own_setting(nginx, simulator):
    server = start(nginx, simulator, "retries 0;", http="""
        aisearch_valid active 200ms;
        aisearch_use_stale off;
    """, server="""
        location /client/v4/ { aisearch_pass docs; }
        location /error/ {
            aisearch_pass docs;
            aisearch_use_stale error=1h;
            location /error/nested/ { aisearch_pass docs; }
            location /error/off/ { aisearch_pass docs; aisearch_use_stale off; }
        }
        location /updating/ { aisearch_pass docs; aisearch_use_stale updating=1h; }
    """)
    warm(server, simulator, "a")
    simulator.fault("/jobs/a$", status=503, body="down")
    assert cache(server.get(target("a", "/updating/"))) == "UPDATING"
    # From here on, the failure of the API is known.
    net.wait_until(simulator.count, what="the fetch")
    net.wait_until(lambda: server.get(target("a", "/updating/")).status == 502, what="the failure", every=0.02)
    for location, status in (("/client/v4/", 502), ("/error/", 200), ("/error/nested/", 200), ("/error/off/", 502)):
        response = server.get(target("a", location))
        assert (location, response.status) == (location, status)
        assert cache(response) == ("STALE" if status == 200 else "HIT")
    assert simulator.count() == 1


def test_by_default_both_are_enabled(nginx, simulator):
    server = start(nginx, simulator, "retries 0;", http="aisearch_valid active 200ms;")
    warm(server, simulator, "a")
    simulator.fault("/jobs/a$", status=503, body="down")
    assert cache(server.get(target())) == "UPDATING"
    assert until(server, target(), "STALE").status == 200


def test_not_found_is_never_served_stale(nginx, simulator):
    """The job may exist by now, and a new job must be visible."""
    simulator.instance("instances/docs")
    server = start(nginx, simulator, http="aisearch_valid not_found 200ms;")
    assert server.get(target("new")).status == 404
    simulator.job("instances/docs", "new", state="queued")
    time.sleep(0.25)
    response = server.get(target("new"))
    assert (response.status, cache(response)) == (200, "EXPIRED")


def test_nobody_sees_an_error_while_the_api_is_down(nginx, tmp):
    jobs = [(f"{state}-{n}", state) for n in range(20) for state in ("running", "failed")]
    with Simulator(tmp) as own:
        own.instance("instances/docs", [{"id": job, "state": state} for job, state in jobs])
        server = start(nginx, own, http="aisearch_valid active 500ms; aisearch_valid error 500ms;", workers=2)
        for job, _ in jobs:
            assert server.get(target(job)).status == 200
        over = threading.Event()

        def client(n):
            seen = set()
            with server.connect() as connection:
                while not over.is_set():
                    for job, _ in jobs[n::4]:
                        response = connection.request(target(job))
                        seen.add((response.status, cache(response)))
                    time.sleep(0.01)
            return seen

        timer = threading.Timer(4, over.set)
        own.stop()
        timer.start()
        seen = set().union(*net.concurrently(4, client))
        assert {status for status, _ in seen} == {200}
        assert {"HIT", "STALE"} <= {how for _, how in seen}

        own.start(own.port)
        own.instance("instances/docs", [{"id": job, "state": "failed"} for job, _ in jobs])
        net.wait_until(lambda: server.get(target("running-1")).header("X-Aisearch-State") == "failed",
                       what="another call to the API", every=0.1)


# Bypass.


def test_bypass(nginx, simulator):
    simulator.job("instances/docs", "a", state="failed", description="old")
    server = start(nginx, simulator, server="""
        location / {
            aisearch_pass docs;
            aisearch_cache_bypass $arg_fresh $http_x_fresh;
            location /never/ { aisearch_pass docs; aisearch_cache_bypass ""; }
            location /inherits/ { aisearch_pass docs; }
        }
    """)
    path = target("a", "/")
    assert cache(server.get(path)) == "MISS"
    simulator.job("instances/docs", "a", description="new")
    for suffix in ("", "?fresh=", "?fresh=0"):
        assert (cache(server.get(path + suffix)), description(server.get(path))) == ("HIT", "old")
    assert cache(server.get(target("a", "/never/") + "?fresh=1")) == "HIT"

    response = server.get(path + "?fresh=1")
    assert (cache(response), description(response), response.header("Age")) == ("BYPASS", "new", "0")
    assert (cache(server.get(path)), description(server.get(path))) == ("HIT", "new")
    assert cache(server.get(path, [("X-Fresh", "yes")])) == "BYPASS"
    assert cache(server.get(target("a", "/inherits/") + "?fresh=1")) == "BYPASS"
    assert cache(server.get(target("b", "/") + "?fresh=1")) == "BYPASS"
    assert simulator.count("/jobs/a$") == 4


def test_many_simultaneous_bypasses_cost_one_call(nginx, simulator):
    simulator.job("instances/docs", "a", state="failed", description="old")
    server = start(nginx, simulator, workers=2, http="aisearch_cache_bypass $arg_fresh;")
    assert server.get(target()).status == 200
    simulator.job("instances/docs", "a", description="new")
    simulator.forget()
    clients = [server.connect(30) for _ in range(30)]
    try:
        with gateway.held(simulator):
            for client in clients:
                client.send(net.format_request(target() + "?fresh=1"))
            gateway.wait_for_requests(server, len(clients))
        responses = [client.read_response() for client in clients]
    finally:
        for client in clients:
            client.close()
    assert {(cache(response), description(response)) for response in responses} == {("BYPASS", "new")}
    assert simulator.count() == 1


def test_a_failed_bypass_gets_the_cached_entry(nginx, simulator):
    simulator.job("instances/docs", "a", state="failed")
    server = start(nginx, simulator, "retries 0;", http="aisearch_cache_bypass $arg_fresh;")
    assert server.get(target()).status == 200
    simulator.fault("/jobs/a$", status=503, body="down")
    response = server.get(target() + "?fresh=1")
    assert (response.status, cache(response)) == (200, "STALE")
    assert cache(server.get(target())) == "HIT"


# The zone.


def test_a_bypass_respects_retry_after(nginx, simulator):
    simulator.job("instances/docs", "cold", state="running")
    server = start(nginx, simulator, "retries 0;",
                   server=SERVER.replace("aisearch_pass docs;", "aisearch_pass docs; aisearch_cache_bypass $arg_fresh;"))
    warm(server, simulator, "warm")
    calls = simulator.count()
    simulator.fault("/jobs/", status=503, body="down", headers=[["Retry-After", "60"]])
    for _ in range(3):
        response = server.get(target("warm") + "?fresh=1")
        assert (response.status, cache(response)) == (200, "STALE")
    for _ in range(3):
        response = server.get(target("cold") + "?fresh=1")
        assert response.status == 503 and 55 <= int(response.header("Retry-After")) <= 60
    assert simulator.count() == calls + 1


def test_a_full_zone_still_serves_and_warns_once(nginx, simulator):
    """Entries that are being fetched are not evicted."""
    jobs = [f"job-{n}" for n in range(250)]
    simulator.instance("instances/docs", [{"id": job, "state": "failed"} for job in jobs])
    server = start(nginx, simulator, http="aisearch_shared_zone zone=small:32k;", workers=2)
    clients = [server.connect(30) for _ in jobs]
    try:
        with gateway.held(simulator):
            for client, job in zip(clients, jobs):
                client.send(net.format_request(target(job)))
            gateway.wait_for_requests(server, len(clients))
        responses = [client.read_response() for client in clients]
    finally:
        for client in clients:
            client.close()
    assert [response.json()["result"]["id"] for response in responses] == jobs
    assert {cache(response) for response in responses} == {"MISS"}
    warnings = server.warnings()
    assert 1 <= len(warnings) <= 2 and all('in aisearch zone "small"' in line for line in warnings), warnings
    assert len({line.split("#")[0] for line in warnings}) == len(warnings), "a worker warned twice"

    # The cache works again.
    assert server.get(target("job-1")).status == 200
    assert cache(server.get(target("job-1"))) == "HIT"


def test_a_response_too_large_for_the_zone_passes_through(nginx, simulator):
    simulator.instance("instances/docs", [{"id": "small", "state": "failed"},
                                          {"id": "large", "state": "failed", "description": "x" * 60_000}])
    server = start(nginx, simulator, http="aisearch_shared_zone zone=aisearch:96k;")
    assert cache(server.get(target("small"))) == "MISS"
    expected = gateway.direct(simulator, simulator.path("instances/docs", "large")).body
    simulator.forget()
    for _ in range(3):
        response = server.get(target("large"))
        assert (response.status, cache(response)) == (200, "MISS")
        assert response.body == expected
    assert simulator.count() == 3
    assert cache(server.get(target("small"))) == "HIT"
    assert len(server.warnings()) <= 1


def test_the_least_recently_used_entries_are_evicted(nginx, simulator):
    jobs = [f"job-{n}" for n in range(600)]
    simulator.instance("instances/docs", [{"id": job, "state": "failed"} for job in ["first", "loved", *jobs]])
    server = start(nginx, simulator, http="aisearch_shared_zone zone=aisearch:128k;")
    size = 128 * 1024
    with server.connect() as connection:
        for job in ("first", "loved"):
            connection.request(target(job))
        for job in jobs:
            assert connection.request(target(job)).status == 200
            assert cache(connection.request(target("loved"))) == "HIT"
        state = zone(server)
        assert cache(connection.request(target(jobs[-1]))) == "HIT"
        assert cache(connection.request(target("first"))) == "MISS"
        assert cache(connection.request(target(jobs[0]))) == "MISS"
    assert state["entries"] + state["evictions"] == len(jobs) + 2
    assert state["evictions"] > 100 and state["entries"] > 100
    assert state["bytes_used"] + state["bytes_free"] <= size
    assert len(server.warnings()) == 0


def test_a_response_of_another_size_evicts_few_entries(nginx, simulator):
    jobs = [f"j{n:04}" for n in range(3000)]
    simulator.instance("instances/docs", [{"id": job, "state": "failed", "description": "x" * 120} for job in jobs])
    server = start(nginx, simulator, http="aisearch_shared_zone zone=aisearch:1m;")
    with server.connect(30) as connection:
        for job in jobs:
            assert connection.request(target(job)).status == 200
        for job in random.Random(1).choices(jobs[-2000:], k=3000):  # so that pages and their use are not correlated
            connection.request(target(job))
        before = zone(server)["evictions"]
        assert before > 0
        listing = "/client/v4/instances/docs/jobs?per_page=50"
        assert [cache(connection.request(listing)) for _ in range(2)] == ["MISS", "HIT"]
        assert zone(server)["evictions"] - before < 100


def test_a_reload_keeps_the_cache_unless_the_size_changes(nginx, simulator):
    simulator.job("instances/docs", "a", state="failed")

    def config(size):
        return Config(http=account(simulator, PLENTY) + f"aisearch_shared_zone zone=aisearch:{size};", server=SERVER)

    server = nginx(**vars(config("1m")))
    assert cache(server.get(target())) == "MISS"
    server.reload(config("1m"))
    assert cache(server.get(target())) == "HIT"
    assert zone(server)["entries"] == 1
    server.reload(config("2m"))
    assert zone(server)["entries"] == 0
    assert cache(server.get(target())) == "MISS"
    assert simulator.count() == 2


def test_a_full_zone_has_room_for_the_accounts_of_a_reload(nginx, simulator):
    jobs = [f"job-{n:03}" for n in range(300)]
    simulator.instance("instances/docs", [{"id": job, "state": "failed", "description": "x" * 300} for job in jobs])

    def config(*others):
        accounts = "".join(account(simulator, PLENTY, name=name) for name in ("docs", *others))
        return Config(http=accounts + "aisearch_shared_zone zone=aisearch:64k;", server=SERVER)

    server = nginx(**vars(config()))
    with server.connect() as connection:
        for job in jobs:
            assert connection.request(target(job)).status == 200
    assert zone(server)["evictions"] > 0
    server.reload(config(*(f"other{n}" for n in range(40))))
    assert cache(server.get(target(jobs[-1]))) == "HIT"


@pytest.mark.parametrize("status, code, client, again", [(401, 10000, 502, "MISS"), (403, 10000, 403, "HIT"),
                                                         (403, 9110, 403, "HIT")])
def test_a_refusal_does_not_outlive_a_reload(nginx, simulator, status, code, client, again):
    simulator.instance("instances/docs", [{"id": "a", "state": "failed"}, {"id": "b", "state": "failed"}])
    server = start(nginx, simulator, http="aisearch_valid error 1h;")
    assert server.get(target("b")).status == 200
    simulator.fault("/jobs/a$", times=1, status=status, body=ENVELOPE.replace("7001", str(code)))
    for how in ("MISS", again):
        response = server.get(target())
        assert (response.status, cache(response)) == (client, how)
    assert simulator.count("/jobs/a$") == 1
    server.reload()
    response = server.get(target())
    assert (response.status, cache(response)) == (200, "EXPIRED" if again == "HIT" else "MISS")
    assert cache(server.get(target("b"))) == "HIT"


def test_a_refusal_does_not_return_after_a_reload_when_the_api_fails(nginx, simulator):
    simulator.fault("/jobs/a$", times=1, status=403, body=ENVELOPE.replace("7001", "9110"))
    simulator.fault("/jobs/a$", status=502, body="down")
    server = start(nginx, simulator, "retries 0;", http="aisearch_valid error 1h;")
    assert server.get(target()).status == 403
    server.reload()
    assert [server.get(target()).status for _ in range(2)] == [502, 502]


def test_an_error_body_does_not_return_with_another_failure(nginx, simulator):
    simulator.fault("/jobs/a$", times=1, status=500, body=ENVELOPE)
    simulator.fault("/jobs/a$", status=502, body="down")
    server = start(nginx, simulator, "retries 0;", http="aisearch_valid error 1s;")
    assert server.get(target()).body == ENVELOPE.encode()
    net.wait_until(lambda: server.get(target()).status == 502, what="the second failure")
    assert server.get(target()).status == 502


def test_a_new_token_is_used_after_a_reload(nginx, simulator, tmp):
    simulator.job("instances/docs", "a", state="failed")
    token = tmp / "other.token"
    token.write_text("wrong\n", encoding="ascii")
    server = nginx(http=account(simulator, credential=f"token_file {token};") + "aisearch_valid error 1h;",
                   server=SERVER)
    assert server.get(target()).status == 502
    token.write_text(simulator.token + "\n", encoding="ascii")
    assert server.get(target()).status == 502
    server.reload()
    assert server.get(target()).status == 200
