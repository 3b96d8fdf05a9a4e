"""Lookups through nginx: which resource a request names, the headers of the response, and rejected requests."""

import os
import re

import pytest

import gateway
from gateway import ACCOUNT, GENERATIONS, SERVER, account, error_of, job_target, max_age, resource, start

HEADERS = {"server", "date", "content-type", "content-length", "connection"}  # nginx's own
OTHER_ACCOUNT = "0123456789abcdef0123456789abcdef"


# Resources.


@pytest.mark.parametrize("instance", GENERATIONS)
def test_all_forms_of_a_resource_share_one_entry(nginx, simulator, instance):
    simulator.freeze()
    simulator.instance(instance, [{"id": "a", "state": "running"}, {"id": "b", "state": "failed"}])
    server = start(nginx, simulator, server="""
        location /client/v4/ { aisearch_pass docs; }
        location /jobs { aisearch_pass docs; }
        location / { aisearch_pass docs; }
        location ~ ^/variable/(?<resource>.+)$ { aisearch_pass docs $resource; }
    """)
    generation = "autorag" if instance.startswith("rags/") else "ai-search"

    for job, logs in [(None, False), ("a", False), ("a", True)]:
        expected = gateway.direct(simulator, simulator.path(instance, job, logs))
        short = resource(instance, job, logs)
        simulator.forget()
        for location in ("/client/v4/", "/jobs/", "/", "/variable/"):
            for prefix in ("", f"{generation}/", f"accounts/{ACCOUNT}/{generation}/", f"accounts/{ACCOUNT}/"):
                response = server.get(location + prefix + short)
                assert (response.status, response.body) == (200, expected.body), location + prefix
        [request] = simulator.requests()
        page = "?per_page=20" if job is None or logs else ""  # the API's default
        assert (request.method, request.target) == ("GET", simulator.path(instance, job, logs) + page)


def test_resource_as_an_argument_of_aisearch_pass(nginx, simulator):
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
def test_many_fetches_use_one_connection(nginx, simulator, url):
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


def test_lists_of_instances_are_cached(nginx, simulator):
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


def test_instances_are_not_listed_with_an_allow_list(nginx, simulator):
    """Not even those in the allow-list: the API's response would reveal others."""
    simulator.instance("instances/docs", [{"id": "a"}])
    simulator.instance("namespaces/team/instances/handbook", [{"id": "a"}])
    server = start(nginx, simulator, "instance docs team/handbook;")

    for target in ("instances", "instances?per_page=100", "namespaces/team/instances", "namespaces/default/instances",
                   f"accounts/{ACCOUNT}/ai-search/instances", "namespaces", "namespaces/team"):
        response = server.get("/client/v4/" + target)
        assert response.status == 403
        assert error_of(response) == {"code": 403,
                                      "message": "lists of instances and namespaces are not available here"}
    assert simulator.requests() == []
    assert server.get(job_target()).status == 200


def test_invalid_list_of_instances_is_not_passed_on(nginx, simulator):
    simulator.instance("instances/docs", extra={"id": None})
    server = start(nginx, simulator)
    assert error_of(server.get("/client/v4/instances"))["code"] == 502

    # Clients have to handle an invalid name.
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


# Headers.


def test_response_for_a_job_has_only_these_headers(nginx, simulator):
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


def test_head_returns_the_headers_of_get_and_is_never_passed_on(nginx, simulator):
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


def test_etag_changes_with_the_body(nginx, simulator):
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


def test_writes_are_405_and_keep_the_connection_usable(nginx, simulator):
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
def test_allow_list(nginx, simulator, target, allowed):
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
