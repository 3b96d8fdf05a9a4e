"""Lookups through nginx: responses, their origin and lifetime, and failures of the API."""

import contextlib
import json
import os
import re
import statistics
import time

import pytest

import gateway
from gateway import ACCESS_LOG, ACCOUNT, GENERATIONS, WORKERS, account, resource
from harness import PRELOAD, SLOWNESS, VALGRIND, net, stall

PLENTY = "budget 1000000 1s;"
SERVER = "location /client/v4/ { aisearch_pass docs; }" + WORKERS
HEADERS = {"server", "date", "content-type", "content-length", "connection"}  # nginx's own
OTHER_ACCOUNT = "0123456789abcdef0123456789abcdef"


def start(nginx, simulator, *directives, server=SERVER, http="", **parts):
    """nginx with one account, "docs", without a practical limit, and a location /client/v4/."""
    return nginx(http=account(simulator, PLENTY, *directives) + ACCESS_LOG + http, server=server, **parts)


def job_target(job="a", instance="instances/docs"):
    return "/client/v4/" + resource(instance, job)


def error_of(response):
    """Returns the only error in an envelope from the gateway itself."""
    assert response.header("Content-Type") == "application/json"
    envelope = response.json()
    assert envelope["success"] is False and envelope["messages"] == [] and envelope["result"] is None
    [error] = envelope["errors"]
    return error


def max_age(response):
    return int(re.fullmatch(r"private, max-age=(\d+)", response.header("Cache-Control"))[1])


# Resources.


@pytest.mark.parametrize("instance", GENERATIONS)
def test_all_forms_of_a_resource_share_one_entry(nginx, simulator, instance):
    simulator.freeze()
    simulator.instance(instance, [{"id": "a", "state": "running"}, {"id": "b", "state": "failed"}])
    server = start(nginx, simulator, server="""
        location /client/v4/ { aisearch_pass docs; }
        location /jobs { aisearch_pass docs; }
        location / { aisearch_pass docs; }
        location ~ ^/say/(?<what>.+)$ { aisearch_pass docs $what; }
    """)
    generation = "autorag" if instance.startswith("rags/") else "ai-search"

    for job, logs in [(None, False), ("a", False), ("a", True)]:
        expected = gateway.direct(simulator, simulator.path(instance, job, logs))
        short = resource(instance, job, logs)
        simulator.forget()
        for location in ("/client/v4/", "/jobs/", "/", "/say/"):
            for prefix in ("", f"{generation}/", f"accounts/{ACCOUNT}/{generation}/", f"accounts/{ACCOUNT}/"):
                response = server.get(location + prefix + short)
                assert (response.status, response.body) == (200, expected.body), location + prefix
        [request] = simulator.requests()
        page = "?per_page=20" if job is None or logs else ""  # the API's default
        assert (request.method, request.target) == ("GET", simulator.path(instance, job, logs) + page)


def test_a_literal_resource(nginx, simulator):
    simulator.instance("instances/docs", [{"id": "a"}])
    server = start(nginx, simulator, server="location = /job { aisearch_pass docs instances/docs/jobs/a; }")
    assert server.get("/job?page=3").json()["result"]["id"] == "a"


def test_email_and_key(nginx, simulator):
    simulator.instance("instances/docs", [{"id": "a"}])
    credential = f"email {simulator.email}; key_file {simulator.key_file};"
    server = nginx(http=account(simulator, credential=credential), server=SERVER)
    assert server.get(job_target()).status == 200
    [request] = simulator.requests()
    assert (request.header("X-Auth-Email"), request.header("X-Auth-Key")) == (simulator.email, simulator.key)
    assert request.header("Authorization") is None


@pytest.mark.parametrize("url", ["url", "unix_url"])
def test_one_api_connection_for_many_fetches_over_tcp_and_unix_sockets(nginx, simulator, url):
    jobs = [f"job-{n}" for n in range(20)]
    simulator.instance("instances/docs", [{"id": job} for job in jobs])
    if url == "unix_url":
        os.chmod(os.path.dirname(simulator.unix), 0o755)
    server = nginx(http=account(simulator, api_url=getattr(simulator, url)), server=SERVER)
    assert all(server.get(job_target(job)).status == 200 for job in jobs)
    assert len({request.connection for request in simulator.requests()}) == 1


def test_only_page_and_per_page_are_passed_on(nginx, simulator):
    simulator.instance("instances/docs", [{"id": f"job-{n}"} for n in range(7)])
    server = start(nginx, simulator)
    base = simulator.path("instances/docs")

    for query, upstream in [
        ("?page=2&per_page=3", "?page=2&per_page=3"),
        ("?per_page=3&page=2", "?page=2&per_page=3"),
        ("?x=1&page=2&y=a%20b&per_page=3&page_size=9", "?page=2&per_page=3"),
        ("?page=00002&per_page=03", "?page=2&per_page=3"),
        ("?per_page=0", "?per_page=0"),
        ("?page=3", "?page=3&per_page=20"),
        ("?page=1&per_page=5", "?per_page=5"),
        ("?token=secret&cursor=abc", "?per_page=20"),
        ("?", "?per_page=20"),
    ]:
        expected = gateway.direct(simulator, base + upstream)
        simulator.forget()
        assert server.get("/client/v4/instances/docs/jobs" + query).body == expected.body, query
        assert {request.target for request in simulator.requests()} <= {base + upstream}, query

    simulator.forget()
    server.get("/client/v4/instances/docs/jobs/job-1/logs?page=1&per_page=2&x=y")
    server.get("/client/v4/instances/docs/jobs/job-1?page=1&per_page=nonsense")
    assert [request.target for request in simulator.requests()] == [
        simulator.path("instances/docs", "job-1", logs=True) + "?per_page=2",
        simulator.path("instances/docs", "job-1"),
    ]


def test_instances_are_listed_through_the_cache(nginx, simulator):
    simulator.instance("instances/docs", paused=True)
    simulator.instance("namespaces/team/instances/handbook", [{"id": "a", "state": "running"}])
    server = start(nginx, simulator, http="aisearch_valid list 100s;")

    for namespace, names in [(None, {"docs", "handbook"}), ("team", {"handbook"}), ("default", {"docs"})]:
        path = simulator.listing(namespace)
        expected = gateway.direct(simulator, path + "?per_page=100")
        assert {instance["id"] for instance in expected.json()["result"]} == names
        simulator.forget()
        for target in (path, path.replace(f"/accounts/{ACCOUNT}/ai-search", "")):
            for query in ("?per_page=100", "?x=1&per_page=000100"):
                response = server.get(target + query)
                assert (response.status, response.body) == (200, expected.body)
                assert (max_age(response), response.header("X-Aisearch-State")) == (100, None)
        assert [request.target for request in simulator.requests()] == [path + "?per_page=100"]

    assert server.get("/client/v4/instances?page=2").json()["result"] == []
    assert error_of(server.get("/client/v4/instances?per_page=101"))["code"] == 400
    assert server.get("/client/v4/namespaces/nowhere/instances").json()["errors"][0]["code"] == 7063
    assert server.get("/client/v4/rags").status == 400


def test_an_allow_list_forbids_lists_of_instances(nginx, simulator):
    """Not even instances in the allow-list can be listed: the API's response would reveal others."""
    simulator.instance("instances/docs", [{"id": "a"}])
    simulator.instance("namespaces/team/instances/handbook", [{"id": "a"}])
    server = start(nginx, simulator, "instance docs team/handbook;")

    for target in ("instances", "instances?per_page=100", "namespaces/team/instances", "namespaces/default/instances",
                   f"accounts/{ACCOUNT}/ai-search/instances", "namespaces", "namespaces/team"):
        response = server.get("/client/v4/" + target)
        assert response.status == 403
        assert error_of(response) == {"code": 403,
                                      "message": "instances and namespaces are not listed here"}
    assert simulator.requests() == []
    assert server.get(job_target()).status == 200


def test_an_invalid_list_of_instances_is_not_passed_on(nginx, simulator):
    simulator.instance("instances/docs", extra={"id": None})
    server = start(nginx, simulator)
    assert error_of(server.get("/client/v4/instances"))["code"] == 502

    # an invalid name is an error for the client
    simulator.instance("instances/docs", extra={"id": "Docs"})
    assert server.get("/client/v4/namespaces/default/instances").json()["result"][0]["id"] == "Docs"


def test_a_large_list_is_passed_on_unchanged(nginx, simulator):
    simulator.freeze()
    words = "größer as one block of the zone, \u4e2d\u6587, \U0001f600 and \\\"quoted\\\" " * 30
    simulator.instance("instances/docs", [{"id": f"job-{n}", "description": words} for n in range(50)])
    server = start(nginx, simulator)
    expected = gateway.direct(simulator, simulator.path("instances/docs") + "?per_page=50")
    assert len(expected.body) > 100_000
    for status in ("MISS", "HIT"):
        response = server.get("/client/v4/instances/docs/jobs?per_page=50")
        assert (response.body, response.header("X-Aisearch-Cache")) == (expected.body, status)


def test_unknown_fields_are_passed_through(nginx, simulator):
    simulator.job("instances/docs", "a", state="running", extra={"progress": 0.5, "nested": {"a": [1, None, "x"]}})
    result = start(nginx, simulator).get(job_target()).json()["result"]
    assert (result["progress"], result["nested"]) == (0.5, {"a": [1, None, "x"]})


# Headers.


def test_headers_of_a_job(nginx, simulator):
    simulator.job("instances/docs", "a", state="running")
    body = gateway.direct(simulator, simulator.path("instances/docs", "a")).body
    simulator.forget()
    foreign = [("Set-Cookie", "__cf_bm=secret"), ("Server", "cloudflare"), ("x-ratelimit-limit", "1200"),
               ("x-ratelimit-remaining", "17"), ("Ratelimit", '"default";r=17;t=30'),
               ("Ratelimit-Policy", '"default";q=1200;w=300'), ("CF-Ray", "abc"), ("Age", "0"), ("ETag", '"theirs"'),
               ("Cache-Control", "public, max-age=99999"), ("Expires", "Thu, 01 Jan 2099 00:00:00 GMT"),
               ("Vary", "Origin"), ("Last-Modified", "Mon, 23 Nov 2020 00:00:00 GMT"), ("Link", "</x>; rel=next"),
               ("Content-Type", "application/json; charset=UTF-8"), ("X-Aisearch-State", "failed"),
               ("Access-Control-Allow-Origin", "*"), ("Location", "http://elsewhere/"), ("X-Accel-Redirect", "/pid"),
               ("Content-Disposition", "attachment"), ("WWW-Authenticate", "Basic"), ("Accept-Ranges", "bytes")]
    simulator.fault("/jobs/a$", status=200, headers=foreign, body=body)
    server = start(nginx, simulator)

    for cache in ("MISS", "HIT"):
        response = server.get(job_target())
        assert (response.status, response.body) == (200, body)
        assert {name.lower() for name, _ in response.headers} == HEADERS | {
            "etag", "age", "cache-control", "x-aisearch-state", "x-aisearch-cache"}
        assert response.header("Server").startswith("nginx")
        assert response.header("Content-Type") == "application/json"
        assert response.header("X-Aisearch-State") == "running"
        assert response.header("X-Aisearch-Cache") == cache
        assert re.fullmatch(r'"[0-9a-f]{16}"', response.header("ETag"))
        assert response.header("Age") == "0"
        assert max_age(response) == 4


def test_only_jobs_have_a_state(nginx, simulator):
    states = ["queued", "running", "succeeded", "failed", "cancelled"]
    simulator.instance("instances/docs", [{"id": state, "state": state} for state in states])
    server = start(nginx, simulator)
    for state in states:
        assert server.get(job_target(state)).header("X-Aisearch-State") == state
    assert server.get("/client/v4/instances/docs/jobs").all("X-Aisearch-State") == []
    assert server.get("/client/v4/instances/docs/jobs/failed/logs").all("X-Aisearch-State") == []
    assert server.get(job_target("missing")).all("X-Aisearch-State") == []

    logged = gateway.lookups(server, 8)
    assert [entry["job_state"] for entry in logged] == states + ["", "", ""]
    assert [entry["job_id"] for entry in logged] == states + ["", "failed", "missing"]
    assert [entry["end_reason"] for entry in logged] == [
        "", "", "", "error: could not read the source", "cancelled by user", "", "", ""]


def test_head_is_answered_like_get_and_never_passed_on(nginx, simulator):
    simulator.job("instances/docs", "a", state="succeeded")
    server = start(nginx, simulator)
    with server.connect() as connection:
        cold = connection.request(job_target(), method="HEAD")
        warm = connection.request(job_target(), method="HEAD")
        whole = connection.request(job_target())
        missing = connection.request(job_target("nope"), method="HEAD")
        refused = connection.request("/client/v4/x", method="HEAD")
    assert (cold.status, missing.status, refused.status) == (200, 404, 400)

    def comparable(response):
        return [header for header in response.headers if header[0] not in ("Date", "Age", "X-Aisearch-Cache")]

    assert comparable(cold) == comparable(warm) == comparable(whole)
    assert int(cold.header("Content-Length")) == len(whole.body) > 0
    assert [request.method for request in simulator.requests()] == ["GET", "GET"]


def test_conditional_requests(nginx, simulator):
    simulator.instance("instances/docs", [{"id": "a", "state": "running"}, {"id": "b", "state": "running"}])
    server = start(nginx, simulator)

    def get(job, *headers, method="GET"):
        with server.connect() as connection:
            return connection.request(job_target(job), headers, method)

    first = get("a")
    tag = first.header("ETag")
    for condition in (tag, f"W/{tag}", f'"x", {tag}', "*"):
        response = get("a", ("If-None-Match", condition))
        assert (response.status, response.body) == (304, b""), condition
        assert response.header("ETag") == tag
        assert response.header("Cache-Control") == first.header("Cache-Control")
        assert response.header("X-Aisearch-State") == "running"
        assert response.all("Content-Length") == response.all("Content-Type") == []
    assert get("a", ("If-None-Match", tag), method="HEAD").status == 304

    for condition in (("If-None-Match", '"0123456789abcdef"'), ("If-None-Match", tag.strip('"')),
                      ("If-Modified-Since", "Thu, 01 Jan 2099 00:00:00 GMT"), ("Range", "bytes=0-9"),
                      ("If-Match", tag)):
        response = get("a", condition)
        assert (response.status, response.body) == (200, first.body), condition
    assert get("a", ("If-Match", '"other"')).status == 412
    logged = gateway.lookups(server, 12)[-1]
    assert (logged["status"], logged["cache_status"], logged["job_state"]) == ("412", "HIT", "running")

    cold = get("b", ("If-None-Match", "*"))
    assert (cold.status, cold.header("X-Aisearch-Cache")) == (304, "MISS")
    assert get("b").header("ETag") != tag
    missing = get("nope", ("If-None-Match", "*"))
    assert (missing.status, missing.all("ETag")) == (404, [])


def test_the_etag_depends_on_the_body(nginx, simulator):
    simulator.freeze()
    simulator.job("instances/docs", "a", state="running")
    server = start(nginx, simulator, server="location / { aisearch_pass docs; aisearch_valid active 0; }")
    target = "/instances/docs/jobs/a"
    first, same = server.get(target), server.get(target)
    simulator.job("instances/docs", "a", description="changed")
    changed = server.get(target, [("If-None-Match", first.header("ETag"))])
    assert first.header("ETag") == same.header("ETag") != changed.header("ETag")
    assert (changed.status, changed.json()["result"]["description"]) == (200, "changed")
    assert simulator.count() == 3


def test_age_grows_while_max_age_remains(nginx, simulator):
    simulator.job("instances/docs", "a", state="succeeded")
    server = start(nginx, simulator)
    first = server.get(job_target())

    def aged():
        response = server.get(job_target())
        return int(response.header("Age")) >= 1 and response

    later = net.wait_until(aged, what="the Age to grow", every=0.1)
    assert first.header("Age") == "0"
    assert max_age(first) == max_age(later) == 86400
    assert simulator.count() == 1
    assert gateway.lookups(server, 2)[-1]["age"] == later.header("Age")


# The cache.


def test_miss_hit_and_expired(nginx, simulator):
    simulator.job("instances/docs", "a", state="running")
    server = start(nginx, simulator, server="location / { aisearch_pass docs; aisearch_valid active 1s; "
                   "aisearch_use_stale off; }")
    target = "/instances/docs/jobs/a"
    assert server.get(target).header("X-Aisearch-Cache") == "MISS"
    assert server.get(target).header("X-Aisearch-Cache") == "HIT"
    assert simulator.count() == 1

    def expired():
        response = server.get(target)
        return response.header("X-Aisearch-Cache") == "EXPIRED" and response

    began = time.monotonic()
    assert net.wait_until(expired, every=0.1).header("Age") == "0"
    assert time.monotonic() - began > 0.5
    assert simulator.count() == 2
    assert server.get(target).header("X-Aisearch-Cache") == "HIT"

    logged = gateway.lookups(server, 4)
    assert [entry["cache_status"] for entry in logged[:2]] == ["MISS", "HIT"]
    assert float(logged[0]["fetch_time"]) >= 0 and logged[1]["fetch_time"] == ""
    assert [entry["cache_status"] for entry in logged[2:] if entry["cache_status"] != "HIT"] == ["EXPIRED"]


def test_requests_for_one_entry_wait_for_one_fetch(nginx, simulator):
    simulator.job("instances/docs", "a", state="running")
    server = start(nginx, simulator, workers=2)
    with gateway.connections(server) as workers:
        with gateway.held(simulator):
            for count, connection in enumerate(workers.values(), 1):
                connection.send(net.format_request(job_target()))
                gateway.wait_for_requests(server, count)
        first, second = [connection.read_response() for connection in workers.values()]
    assert (first.header("X-Aisearch-Cache"), second.header("X-Aisearch-Cache")) == ("MISS", "COALESCED")
    assert first.body == second.body
    assert simulator.count() == 1
    logged = gateway.lookups(server, 2)
    assert {entry["pid"]: entry["cache_status"] for entry in logged} == {
        str(pid): status for pid, status in zip(workers, ["MISS", "COALESCED"])}
    assert all(float(entry["fetch_time"]) >= 0 for entry in logged)


def test_a_fetch_that_outlasts_its_lease_is_not_repeated(nginx, simulator):
    simulator.job("instances/docs", "a", state="running")
    simulator.fault("/jobs/a$", times=1, delay=2.7)
    server = start(nginx, simulator, workers=2)
    with gateway.connections(server) as workers:
        for count, connection in enumerate(workers.values(), 1):
            connection.send(net.format_request(job_target()))
            gateway.wait_for_requests(server, count)
        responses = [connection.read_response() for connection in workers.values()]
    assert [response.status for response in responses] == [200, 200]
    assert simulator.count() == 1


def test_a_response_wakes_clients_of_other_workers(nginx, simulator):
    jobs = [f"job-{n}" for n in range(15)]
    simulator.instance("instances/docs", [{"id": job, "state": "failed"} for job in jobs])
    server = start(nginx, simulator, workers=2)
    late = []
    with gateway.connections(server) as workers:
        leader, follower = workers.values()
        for job in jobs:
            with gateway.held(simulator):
                leader.send(net.format_request(job_target(job)))
                gateway.wait_for_requests(server, 1)
                follower.send(net.format_request(job_target(job)))
                gateway.wait_for_requests(server, 2)
            assert leader.read_response().status == 200
            answered = time.monotonic()
            assert follower.read_response().status == 200
            late.append(time.monotonic() - answered)
    assert simulator.count() == len(jobs)
    assert statistics.median(late) < 0.01 * SLOWNESS


@pytest.mark.parametrize("valid", ["aisearch_valid active 1h;", "aisearch_valid active 0;"])
def test_many_cold_requests_over_four_workers_cost_one_call(nginx, simulator, valid):
    simulator.job("instances/docs", "a", state="running")
    server = start(nginx, simulator, http=valid, workers=4)
    clients = [server.connect(30) for _ in range(400)]
    try:
        with gateway.held(simulator):
            for client in clients:
                client.send(net.format_request(job_target()))
            gateway.wait_for_requests(server, len(clients))
        responses = [client.read_response() for client in clients]
    finally:
        for client in clients:
            client.close()

    assert simulator.count() == 1
    assert {(response.status, response.body) for response in responses} == {(200, responses[0].body)}
    assert sorted({response.header("X-Aisearch-Cache") for response in responses}) == ["COALESCED", "MISS"]
    assert [response.header("X-Aisearch-Cache") for response in responses].count("MISS") == 1
    assert len({entry["pid"] for entry in gateway.lookups(server, len(clients))}) > 1


def test_many_requests_for_many_entries_cost_one_call_each(nginx, simulator):
    jobs = [f"job-{n}" for n in range(60)]
    simulator.instance("instances/docs", [{"id": job, "state": "succeeded"} for job in jobs])
    server = start(nginx, simulator, workers=4)
    responses = net.concurrent_gets(server.address, [job_target(job) for job in jobs * 5], timeout=30)
    assert [response.json()["result"]["id"] for response in responses] == jobs * 5
    assert sorted(request.target for request in simulator.requests()) == sorted(
        simulator.path("instances/docs", job) for job in jobs)


@gateway.needs_njs
def test_an_entry_newer_than_the_clock_of_a_busy_worker_is_fresh(nginx, simulator, tmp):
    """A worker reads the clock once per event loop iteration, so an entry's timestamp may be in its future."""
    simulator.job("instances/docs", "a", state="succeeded")
    script = tmp / "busy.js"
    script.write_text("""
        function busy(r) {
            const begin = Date.now();
            while (Date.now() - begin < 300) {}
            r.internalRedirect("/client/v4/instances/docs/jobs/a");
        }
        export default { busy };
    """)
    server = start(nginx, simulator, http=f"js_import busy from {script};", workers=2,
                   server=SERVER + "location = /busy { js_content busy.busy; }", modules=(gateway.NJS,))
    with gateway.connections(server) as workers:
        late, early = workers.values()
        late.send(net.format_request("/busy"))
        fetched = early.request(job_target())
        response = late.read_response()
    assert fetched.elapsed < 0.25 * SLOWNESS
    assert (response.status, response.header("X-Aisearch-Cache"), response.header("Age")) == (200, "HIT", "0")
    assert simulator.count() == 1


@pytest.mark.parametrize("code, message, target", [
    (7021, "job_not_found", "instances/docs/jobs/nope"),
    (7021, "job_not_found", "instances/docs/jobs/nope/logs"),
    (7002, "ai_search_not_found", "instances/other/jobs"),
    (7063, "namespace_not_found", "namespaces/nowhere/instances/docs/jobs/a"),
])
def test_not_found_is_cached(nginx, simulator, code, message, target):
    simulator.instance("instances/docs")
    server = start(nginx, simulator)
    for cache in ("MISS", "HIT"):
        response = server.get("/client/v4/" + target)
        assert (response.status, response.json()["errors"]) == (404, [{"code": code, "message": message}])
        assert (response.header("X-Aisearch-Cache"), max_age(response)) == (cache, 10)
    assert simulator.count() == 1
    assert [entry["error"] for entry in gateway.lookups(server, 2)] == ["", ""]
    assert gateway.reported(server) == []


def test_accounts_share_no_entries(nginx, simulator):
    token = simulator.token_file.with_name("other.token")
    token.write_text("another-token\n", encoding="ascii")
    simulator.account(OTHER_ACCOUNT, tokens=["another-token"])
    for account_id, words in ((ACCOUNT, "ours"), (OTHER_ACCOUNT, "theirs")):
        simulator.job("instances/docs", "a", account_id, description=words)
    other = f"aisearch_account other {{ account_id {OTHER_ACCOUNT}; token_file {token}; api_url {simulator.url}; }}"
    server = start(nginx, simulator, http=other, server="""
        location /docs/ { aisearch_pass docs; }
        location /other/ { aisearch_pass other; }
    """)
    for _ in range(2):
        assert server.get("/docs/instances/docs/jobs/a").json()["result"]["description"] == "ours"
        assert server.get("/other/instances/docs/jobs/a").json()["result"]["description"] == "theirs"
        assert server.get(f"/docs/accounts/{OTHER_ACCOUNT}/instances/docs/jobs/a").status == 403
    assert simulator.count() == 2


# Lifetimes.

EVERY_CLASS = ["instances/docs/jobs/running", "instances/docs/jobs/ended", "instances/docs/jobs?per_page=0",
               "instances/docs/jobs/unseen/logs", "instances/docs/jobs/missing"]


def lifetimes(server, location):
    return [max_age(server.get(location + target)) for target in EVERY_CLASS]


def test_each_location_has_its_own_lifetimes_for_shared_entries(nginx, simulator):
    simulator.instance("instances/docs", [{"id": "running", "state": "queued"}, {"id": "ended", "state": "failed"},
                                          {"id": "unseen", "state": "failed"}])
    server = start(nginx, simulator, http="""
        aisearch_valid active 101s;
        aisearch_valid ended 102s;
        server {
            listen unix:@PREFIX@/own.sock;
            aisearch_valid list 201s;
            aisearch_valid not_found 202s;
            location / { aisearch_pass docs; }
            location /own/ { aisearch_pass docs; aisearch_valid logs 2h; aisearch_valid active 1m 1h; }
        }
    """, server="""
        location /http/ { aisearch_pass docs; }
        location /all/ {
            aisearch_pass docs;
            aisearch_valid active 11s;
            aisearch_valid ended 12s;
            aisearch_valid list 13s;
            aisearch_valid logs 14s;
            aisearch_valid not_found 15s;
            aisearch_valid error 16s;
            location /all/nested/ { aisearch_pass docs; }
        }
    """)
    own = server.prefix / "own.sock"

    # A level that sets any of them replaces all: the others get their defaults.
    assert lifetimes(server, "/http/") == [101, 102, 10, 10, 10]
    assert lifetimes(server, "/all/") == lifetimes(server, "/all/nested/") == [11, 12, 13, 14, 15]
    for location, expected in (("/", [4, 86400, 201, 10, 202]), ("/own/", [60, 86400, 10, 7200, 10])):
        assert [max_age(net.request(str(own), location + target)) for target in EVERY_CLASS] == expected
    assert simulator.count() == len(EVERY_CLASS)


def test_lifetime_of_an_active_job_grows_with_its_age(nginx, simulator):
    simulator.instance("instances/docs", [
        {"id": "queued", "state": "queued"}, {"id": "young", "starts_in": -5}, {"id": "old", "starts_in": -1000},
        {"id": "ancient", "starts_in": -10**6}, {"id": "future", "starts_in": -1, "extra": {
            "started_at": "2099-01-01T00:00:00Z"}}, {"id": "odd", "extra": {"started_at": "yesterday"}}])
    simulator.instance("instances/old", [{"id": "old", "starts_in": -1200}, {"id": "done", "state": "failed"}])
    server = start(nginx, simulator, server="""
        location /default/ { aisearch_pass docs; }
        location /max/ { aisearch_pass docs; aisearch_valid active 5s 5m; aisearch_valid list 1h; }
        location /one/ { aisearch_pass docs; aisearch_valid active 10s; aisearch_valid list 15s; }
    """)

    def ages(location):
        jobs = ["queued", "young", "old", "ancient", "future", "odd"]
        return [max_age(server.get(f"{location}instances/docs/jobs/{job}")) for job in jobs]

    # One hundredth of the age, within the limits.
    assert ages("/default/") == [4, 4, 10, 30, 4, 4]
    assert ages("/max/") == [5, 5, 10, 300, 5, 5]
    assert ages("/one/") == [10, 10, 10, 10, 10, 10]

    # A list is as fresh as its most active job.
    assert [max_age(server.get(f"{location}instances/docs/jobs")) for location in ("/default/", "/max/", "/one/")] == [
        4, 5, 10]
    assert [max_age(server.get(f"{location}instances/old/jobs")) for location in ("/default/", "/max/", "/one/")] == [
        10, 12, 10]


def test_a_lifetime_of_zero_fetches_each_time(nginx, simulator):
    simulator.job("instances/docs", "a", state="failed")
    server = start(nginx, simulator, server="""
        location / { aisearch_pass docs; aisearch_valid ended 0; aisearch_valid not_found 0; }
    """)
    for target, count in [("/instances/docs/jobs/a", 3), ("/instances/docs/jobs/nope", 3)]:
        simulator.forget()
        statuses = [server.get(target).header("X-Aisearch-Cache") for _ in range(count)]
        assert (statuses, simulator.count()) == (["MISS", "EXPIRED", "EXPIRED"], count)


# When the API fails.

HTML = "<html><head><title>502 Bad Gateway</title></head><body><h1>cloudflare-secret-detail</h1></body></html>"


def envelope(code, message="Internal Error"):
    error = {"code": code, "message": message}
    return json.dumps({"success": False, "errors": [error], "messages": [], "result": None})


def faulty(status, body=HTML, *headers, content_type="application/json"):
    return {"status": status, "body": body, "headers": [["Content-Type", content_type], *headers]}


FAILURES = {
    # fault, status for the client, $aisearch_error, calls with "retries 2"
    "401": (faulty(401, envelope(10000, "Authentication error")), 502, "credential", 1),
    "401 with HTML": (faulty(401), 502, "credential", 1),
    "403 of a credential": (faulty(403, envelope(10000, "Authentication error")), 502, "credential", 1),
    "429": (faulty(429, envelope(10429, "Too Many Requests")), 503, "rate_limited", 1),
    "429 with HTML": (faulty(429), 503, "rate_limited", 1),
    "500 with HTML": (faulty(500), 502, "server", 3),
    "502 with HTML": (faulty(502, content_type="text/html"), 502, "server", 3),
    "520 with HTML": (faulty(520), 502, "server", 3),
    "530 with HTML": (faulty(530), 502, "server", 3),
    "503 with Retry-After": (faulty(503, HTML, ["Retry-After", "7"]), 502, "server", 1),
    "301": (faulty(301, "", ["Location", "http://127.0.0.1:1/"]), 502, "server", 1),
    "302 to itself": (faulty(302, "", ["Location", "/client/v4/x"]), 502, "server", 1),
    "204": (faulty(204, ""), 502, "server", 1),
    "200 with HTML": (faulty(200), 502, "body", 1),
    "200 without a body": (faulty(200, ""), 502, "body", 1),
    "200 with another job": (faulty(200, stall.a_job("another")), 502, "body", 1),
    "200 with a list": (faulty(200, '{"success":true,"result":[]}'), 502, "body", 1),
    "200 without success": (faulty(200, envelope(7021)), 502, "body", 1),
    "200 with half a job": (faulty(200, '{"success":true,"result":{"source":"user"}}'), 502, "body", 1),
    "200 and trailing garbage": (faulty(200, stall.a_job() + "x"), 502, "body", 1),
    "200 with a wrong type": (faulty(200, '{"success":true,"result":{"id":7,"source":"user"}}'), 502, "body", 1),
    "404 with HTML": (faulty(404), 502, "body", 1),
    "404 with success": (faulty(404, stall.a_job()), 502, "body", 1),
    "larger than 1 MiB": (faulty(200, stall.a_job() + " " * (1 << 20)), 502, "body", 1),
    "closed before a response": ({"script": stall.close_at_once()}, 502, "connect", 3),
    "reset before a response": ({"script": stall.reset_before_headers()}, 502, "connect", 3),
    "cut short": ({"script": stall.truncated()}, 502, "body", 1),
    "reset in the body": ({"script": stall.reset_in_body()}, 502, "body", 1),
    "bad chunks": ({"script": stall.bad_chunks()}, 502, "body", 1),
    "not HTTP": ({"script": stall.not_http()}, 502, "server", 1),
}


@pytest.mark.parametrize("name", FAILURES)
def test_a_failure_is_an_envelope_logged_once_and_cached_briefly(nginx, simulator, name):
    fault, status, error, calls = FAILURES[name]
    simulator.job("instances/docs", "a")
    simulator.fault("/jobs/a$", **fault)
    server = start(nginx, simulator, "retries 2;", http="aisearch_valid error 1m;")

    first, second = server.get(job_target()), server.get(job_target())
    assert (first.status, first.header("X-Aisearch-Cache")) == (status, "MISS")
    # (a rejected credential is remembered for all lookups)
    again = "MISS" if error == "credential" else "HIT"
    assert (second.status, second.header("X-Aisearch-Cache")) == (status, again)
    assert first.body == second.body and error_of(first)["code"] == status
    assert b"secret" not in first.body and b"<" not in first.body
    assert first.header("Cache-Control") == "no-store"
    assert first.all("Age") == first.all("ETag") == first.all("X-Aisearch-State") == first.all("Location") == []
    assert 0 < int(first.header("Retry-After")) <= (300 if error == "rate_limited" else 60)
    assert simulator.count() == calls

    assert [(entry["error"], entry["job_state"]) for entry in gateway.lookups(server, 2)] == [(error, "")] * 2
    [line] = gateway.reported(server)
    assert f'account "docs": {error} fault: ' in line and 'client: 127.0.0.1' in line
    assert f"calls: {calls}" in line or error == "credential"
    assert "secret" not in line and simulator.token not in line


@pytest.mark.parametrize("status, body, calls", [
    (500, envelope(7001), 3),
    (500, envelope(7068), 3),
    (503, envelope(7017, "unable_to_connect_to_ai_search"), 3),
    (505, envelope(7001), 1),
])
def test_a_failure_with_an_envelope_is_passed_on(nginx, simulator, status, body, calls):
    simulator.fault("/jobs/a$", **faulty(status, body))
    server = start(nginx, simulator, http="aisearch_valid error 1m;")
    for cache in ("MISS", "HIT"):
        response = server.get(job_target())
        assert (response.status, response.body) == (status, body.encode())
        assert (response.header("X-Aisearch-Cache"), response.header("Cache-Control")) == (cache, "no-store")
        assert (response.header("Retry-After") is not None) == (status in (502, 503, 504))
    assert simulator.count() == calls
    assert [entry["error"] for entry in gateway.lookups(server, 2)] == ["server", "server"]
    assert len(gateway.reported(server)) == 1


@pytest.mark.parametrize("status, code", [(400, 7400), (403, 9110), (409, 7021), (422, 7004)])
def test_a_refusal_of_the_api_is_passed_on_and_cached_briefly(nginx, simulator, status, code):
    body = envelope(code, "no")
    simulator.fault("/jobs/a$", **faulty(status, body))
    server = start(nginx, simulator, http="aisearch_valid error 1m;")
    for cache in ("MISS", "HIT"):
        response = server.get(job_target())
        assert (response.status, response.body) == (status, body.encode())
        assert (response.header("X-Aisearch-Cache"), response.header("Cache-Control")) == (cache, "no-store")
        assert response.all("Retry-After") == []
    assert simulator.count() == 1
    assert [entry["error"] for entry in gateway.lookups(server, 2)] == ["refused", "refused"]
    assert gateway.reported(server) == []


def test_a_wrong_token_is_502(nginx, simulator):
    wrong = simulator.token_file.with_name("wrong.token")
    wrong.write_text("wrong-token\n", encoding="ascii")
    server = nginx(http=account(simulator, credential=f"token_file {wrong};") + ACCESS_LOG, server=SERVER)
    response = server.get(job_target())
    assert (response.status, response.all("WWW-Authenticate")) == (502, [])
    assert "credential" in error_of(response)["message"]
    assert gateway.lookups(server, 1)[0]["error"] == "credential"


def test_after_429_there_are_no_calls_until_retry_after(nginx, simulator):
    simulator.instance("instances/docs", [{"id": "a"}])
    simulator.fault("/jobs/a$", **faulty(429, envelope(10429), ["Retry-After", "120"]))
    server = start(nginx, simulator)
    for _ in range(3):
        response = server.get(job_target())
        assert response.status == 503
        assert 118 <= int(response.header("Retry-After")) <= 120
    assert simulator.count() == 1


def test_only_the_last_attempt_counts(nginx, simulator):
    simulator.job("instances/docs", "a", state="running")
    simulator.fault("/jobs/a$", times=2, **faulty(503))
    server = start(nginx, simulator, "retries 2;")
    response = server.get(job_target())
    assert (response.status, response.header("X-Aisearch-State"), simulator.count()) == (200, "running", 3)
    assert gateway.reported(server) == []
    assert gateway.lookups(server, 1)[0]["error"] == ""


def test_retries_can_be_disabled(nginx, simulator):
    simulator.fault("/jobs/a$", **faulty(503))
    server = start(nginx, simulator, "retries 0;")
    assert (server.get(job_target()).status, simulator.count()) == (502, 1)


@pytest.mark.parametrize("fault", [{"delay": 60}, {"body_delay": 60}, {"script": stall.half_headers()}])
def test_a_timeout_is_504(nginx, simulator, fault):
    simulator.job("instances/docs", "a")
    simulator.fault("/jobs/a$", **fault)
    server = start(nginx, simulator, "timeout 700ms;")
    response = server.get(job_target())
    assert (response.status, error_of(response)["code"], simulator.count()) == (504, 504, 1)
    assert 0.6 < response.elapsed < 1.5 * SLOWNESS
    [line] = gateway.reported(server)
    assert "timeout fault: " in line
    assert gateway.lookups(server, 1)[0]["error"] == "timeout"


def test_connection_refused(nginx, simulator):
    with stall.refusing() as (host, port):
        server = nginx(http=account(simulator, "retries 1;", api_url=f"http://{host}:{port}/client/v4") + ACCESS_LOG,
                       server=SERVER)
        response = server.get(job_target())
    assert (response.status, gateway.lookups(server, 1)[0]["error"]) == (502, "connect")
    assert len(gateway.reported(server)) == 1


def test_a_failure_is_forgotten_after_its_lifetime(nginx, simulator):
    simulator.job("instances/docs", "a", state="running")
    simulator.fault("/jobs/a$", times=1, **faulty(404))
    server = start(nginx, simulator, http="aisearch_valid error 1s;")
    assert server.get(job_target()).status == 502
    recovered = net.wait_until(lambda: (r := server.get(job_target())).status == 200 and r, every=0.1)
    assert recovered.header("X-Aisearch-Cache") == "EXPIRED"
    assert simulator.count() == 2


# Rejected requests.


def test_invalid_resources_are_400(nginx, simulator):
    server = start(nginx, simulator, server=SERVER + "location ~ ^/x/(?<x>.*)$ { aisearch_pass docs instances/$x; }")
    for target in ("/client/v4/", "/client/v4/jobs", "/client/v4/instances/DOCS/jobs",
                   "/client/v4/instances/docs/jobs/", "/client/v4/instances/docs/jobs/a/logs/x",
                   "/client/v4/instances/docs/jobs?page=0", "/client/v4/instances/docs/jobs?per_page=51",
                   "/client/v4/instances/docs/jobs?page=1&page=2",
                   "/client/v4/zones/a/purge_cache", "/x/docs/jobs/a%3Fpage=2", "/x/"):
        response = server.get(target)
        assert (response.status, error_of(response)["code"]) == (400, 400), target
        assert {name.lower() for name, _ in response.headers} == HEADERS
    assert simulator.count() == 0
    assert {entry["error"] for entry in gateway.lookups(server, 11)} == {"refused"}
    assert gateway.reported(server) == []


WRITES = ("POST", "PUT", "PATCH", "DELETE", "OPTIONS", "MKCOL", "PROPFIND")


def test_writes_are_405_and_keep_the_connection(nginx, simulator):
    simulator.job("instances/docs", "a")
    server = start(nginx, simulator)
    with server.connect() as connection:
        for method in WRITES:
            for body in (b"", b'{"action":"cancel"}', b"x" * 100_000):
                response = connection.request(job_target(), method=method, body=body)
                assert (response.status, error_of(response)["code"]) == (405, 405), method
                assert response.header("Allow") == "GET, HEAD"
        chunks = connection.request(job_target(), [("Transfer-Encoding", "chunked")], "POST")
        connection.send(b"5\r\nhello\r\n0\r\n\r\n")
        assert chunks.status == 405
        expecting = connection.request(job_target(), [("Expect", "100-continue"), ("Content-Length", "5")], "POST")
        assert expecting.status == 405
    with server.connect() as connection:
        assert connection.request(job_target(), method="GET", body=b"a body without meaning").status == 200
        assert connection.request(job_target()).status == 200
    assert [request.method for request in simulator.requests()] == ["GET"]
    assert not any(request.has_body for request in simulator.requests())


ALLOWED = "instance plain team/secret default/also;"


@pytest.mark.parametrize("target, allowed", [
    ("instances/plain/jobs/a", True),
    ("namespaces/default/instances/plain/jobs/a", True),
    ("rags/plain/jobs/a", True),
    ("instances/also/jobs", True),
    ("namespaces/default/instances/also/jobs/a/logs", True),
    ("rags/also/jobs/a", True),
    ("namespaces/team/instances/secret/jobs/a", True),
    ("namespaces/team/instances/plain/jobs/a", False),
    ("namespaces/default/instances/secret/jobs/a", False),
    ("instances/secret/jobs/a", False),
    ("rags/secret/jobs/a", False),
    ("instances/team/jobs/a", False),
    ("instances/plai/jobs/a", False),
    ("instances/plain2/jobs/a", False),
    ("namespaces/tea/instances/msecret/jobs/a", False),
    ("namespaces/teams/instances/ecret/jobs/a", False),
    ("namespaces/plain/instances/plain/jobs/a", False),
])
def test_the_allow_list(nginx, simulator, target, allowed):
    instance = target.partition("/jobs")[0]
    simulator.job(instance, "a", state="failed")
    server = start(nginx, simulator, ALLOWED, "instance more;")
    response = server.get("/client/v4/" + target)
    if allowed:
        assert response.status == 200
    else:
        assert (response.status, error_of(response)["code"]) == (403, 403)
        assert {name.lower() for name, _ in response.headers} == HEADERS
    assert simulator.count() == (1 if allowed else 0)


# Clients and workers that disappear.


def test_a_client_that_goes_away_neither_cancels_the_fetch_nor_leaks(nginx, simulator):
    simulator.instance("instances/docs", [{"id": "a", "state": "failed"}, {"id": "b", "state": "failed"}])
    server = start(nginx, simulator)
    [worker] = server.workers()
    assert server.get(job_target("b")).status == 200
    before = len(gateway.open_sockets(worker))

    with gateway.held(simulator):
        clients = [server.connect() for _ in range(100)]
        for client in clients:
            client.send(net.format_request(job_target()))
        gateway.wait_for_requests(server, len(clients))
        for client in clients:
            client.close()
        assert all(entry["status"] == "499" for entry in gateway.lookups(server, 101)[1:])

    net.wait_until(lambda: server.get(job_target()).header("X-Aisearch-Cache") == "HIT", what="the fetch to end")
    assert simulator.count("/jobs/a$") == 1
    net.wait_until(lambda: len(gateway.open_sockets(worker)) <= before, what="the sockets to be closed")


def test_remaining_clients_get_a_response_when_the_first_goes_away(nginx, simulator):
    simulator.job("instances/docs", "a", state="failed")
    server = start(nginx, simulator, workers=2)
    with gateway.connections(server) as workers, server.connect() as third:
        first, second = workers.values()
        with gateway.held(simulator):
            for count, connection in enumerate((first, second, third), 1):
                connection.send(net.format_request(job_target()))
                gateway.wait_for_requests(server, count)
            first.close()
            gateway.lookups(server, 1)
        assert [connection.read_response().status for connection in (second, third)] == [200, 200]
    assert simulator.count() == 1


def test_a_killed_leader_is_succeeded_by_another_worker(nginx, simulator):
    simulator.job("instances/docs", "a", state="failed")
    simulator.fault("/jobs/a$", times=1, delay=60)
    server = start(nginx, simulator, workers=3)
    with gateway.connections(server) as workers:
        connections = list(workers.items())
        leader, _ = connections[0]
        for count, (_, connection) in enumerate(connections, 1):
            connection.send(net.format_request(job_target()))
            gateway.wait_for_requests(server, count)
        net.wait_until(lambda: simulator.count() == 1, what="the first fetch")
        server.kill_worker(leader)
        killed = time.monotonic()
        responses = [connection.read_response() for _, connection in connections[1:]]
        assert time.monotonic() - killed < 3 * SLOWNESS
    assert [response.status for response in responses] == [200, 200]
    assert responses[0].body == responses[1].body
    assert simulator.count() == 2
    net.wait_until(lambda: len(server.workers()) == 3, what="a new worker")
    assert server.get(job_target()).header("X-Aisearch-Cache") == "HIT"


# Exhausted resources.


def test_an_idle_api_connection_that_died_is_replaced(nginx, simulator):
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


def test_a_request_body_that_arrives_after_the_response(nginx, simulator):
    simulator.instance("instances/docs", [{"id": "a"}, {"id": "b"}])
    server = start(nginx, simulator)
    with server.connect() as connection:
        with gateway.held(simulator):
            connection.send(net.format_request(job_target("a"), [("Content-Length", "10")]) + b"12345")
            gateway.wait_for_requests(server, 1)
            connection.send(b"67")
        assert connection.read_response().json()["result"]["id"] == "a"
        connection.send(b"890" + net.format_request(job_target("b")))
        assert connection.read_response().json()["result"]["id"] == "b"


def test_without_free_connections_some_lookups_fail_but_none_hangs(nginx, simulator):
    jobs = [f"job-{n}" for n in range(12)]
    simulator.instance("instances/docs", [{"id": job, "state": "failed"} for job in jobs])
    simulator.fault("/jobs/", times=len(jobs), delay=1)
    server = start(nginx, simulator, server=SERVER + "location /there { return 204; }", connections=20)
    server.allow_log("worker_connections are not enough")

    with contextlib.ExitStack() as stack:
        clients = [stack.enter_context(server.connect()) for _ in jobs]
        for client, job in zip(clients, jobs):  # none is idle, so nginx does not close any to reuse it
            client.send(f"GET {job_target(job)} HTTP/1.1\r\nHost: localhost\r\n".encode())
        assert server.get("/there").status == 204  # and all requests have been read
        for client in clients:
            client.send(b"\r\n")
        answered = [client.read_response() for client in clients]
    failed = [response for response in answered if response.status != 200]
    assert 0 < len(failed) < len(answered)
    for response in failed:
        assert (response.status, error_of(response)["code"], response.header("Retry-After")) == (503, 503, "2")
    logged = gateway.lookups(server, len(answered))
    assert [entry["error"] for entry in logged].count("internal") == len(failed)
    assert [server.get(job_target(job)).status for job in jobs] == [200] * len(jobs)


def test_a_small_zone_evicts_the_least_recently_used_entry(nginx, simulator):
    simulator.freeze()
    jobs = [f"job-{n}" for n in range(300)]
    simulator.instance("instances/docs", [{"id": job, "state": "failed", "description": job * (n % 70)}
                                          for n, job in enumerate(jobs)])
    expected = {job: gateway.direct(simulator, simulator.path("instances/docs", job)).body for job in jobs}
    simulator.forget()
    server = start(nginx, simulator, http="aisearch_shared_zone zone=small:64k;", workers=2)
    with server.connect() as connection:
        for job in jobs + jobs[::-1] + jobs[::7]:
            response = connection.request(job_target(job))
            assert (response.status, response.body) == (200, expected[job])
        assert connection.request(job_target(jobs[0])).header("X-Aisearch-Cache") == "HIT"
    calls = simulator.count()
    assert len(jobs) * 1.2 < calls < len(jobs) * 2.2

    too_large = server.get("/client/v4/instances/docs/jobs?per_page=50")
    again = server.get("/client/v4/instances/docs/jobs?per_page=50")
    assert len(too_large.body) > 16384 and too_large.body == again.body
    assert simulator.count() == calls + 2
    assert any("[warn]" in line and "make the zone larger" in line for line in server.error_log().splitlines())


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


# TLS and HTTP/2.


def test_many_lookups_on_one_http_2_connection_over_tls(edge, nginx, simulator, certificates):
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


@pytest.mark.parametrize("kind", ["wrong_host", "expired", "self_signed", "old_tls"])
def test_an_api_that_cannot_be_verified_gets_no_request(nginx, simulator, edge, certificates, kind):
    server = nginx(http=ACCESS_LOG + account(simulator, f"trusted_certificate {certificates.ca_file};",
                                             api_url=edge.url(kind)), server=SERVER)
    response = server.get(job_target())
    assert (response.status, error_of(response)["message"]) == (502, "the API cannot be reached securely")
    assert gateway.lookups(server, 1)[0]["error"] == "tls"
    assert edge.requests() == [] and simulator.count() == 0
