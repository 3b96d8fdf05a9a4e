"""The simulator, which the other tests rely on: it responds as the API reference says, and as tests configure it."""

import base64
import datetime
import email.utils
import json
import os
import signal
import subprocess
import sys
import time

import pytest

from harness import TESTS, fleet, net
from harness.simulator import ACCOUNT, Simulator
from simulator import refusals, schema

PLAIN = "instances/my-ai-search"
NAMESPACED = "namespaces/support/instances/tickets"
AUTORAG = "rags/old-docs"
GENERATIONS = (PLAIN, NAMESPACED, AUTORAG)
MANY = "00000000000000000000000000000000"


def get(simulator, instance, job=None, logs=False, query="", headers=None, account=ACCOUNT, **options):
    target = simulator.path(instance, job, logs, account) + query
    headers = simulator.credential_headers if headers is None else headers
    return net.request(simulator.address, target, headers, **options)


def result(simulator, instance, job=None, **options):
    response = get(simulator, instance, job, **options)
    assert response.status == 200, response
    return response.json()["result"]


def error(response):
    """Returns status, code and message of a refusal, after checking its envelope."""
    assert schema.violations(schema.ERROR, response.json()) == []
    assert response.header("Content-Type").startswith("application/json")
    first = response.json()["errors"][0]
    return response.status, first["code"], first["message"]


# Form.


@pytest.mark.parametrize("instance", GENERATIONS)
@pytest.mark.parametrize("missing", ["null", "absent"])
@pytest.mark.parametrize("times", ["rfc3339", "fraction", "offset", "plain", "zoneless"])
def test_answers_follow_the_schema(simulator, instance, missing, times):
    states = ("queued", "running", "succeeded", "failed", "cancelled", "superseded")
    look = {"missing": missing, "times": times, "source": "schedule"}
    simulator.instance(instance, [{"id": state, "state": state, **look} for state in states])
    for state in states:
        assert schema.violations(schema.JOB, get(simulator, instance, state).json()) == []
        assert schema.violations(schema.LOGS, get(simulator, instance, state, logs=True).json()) == []
    assert schema.violations(schema.LIST, get(simulator, instance).json()) == []


@pytest.mark.parametrize("spoilt", [
    {"success": True},
    {"success": False, "result": {"id": "a", "source": "user"}},
    {"success": 1, "result": {"id": "a", "source": "user"}},
    {"success": True, "result": []},
    {"success": True, "result": {"id": "a"}},
    {"success": True, "result": {"id": 1, "source": "user"}},
    {"success": True, "result": {"id": "a", "source": "cron"}},
    {"success": True, "result": {"id": "a", "source": "user", "ended_at": 5}},
    {"success": True, "result": {"id": "a", "source": "user", "ended_at": "yesterday"}},
    {"success": True, "result": {"id": "a", "source": "user"}, "errors": [{}]},
])
def test_the_schema_refuses_what_is_not_a_job(spoilt):
    assert schema.violations(schema.JOB, {"success": True, "result": {"id": "a", "source": "user"}}) == []
    assert schema.violations(schema.JOB, spoilt) != []


def test_the_schema_wants_no_result_info_but_no_nonsense_either():
    for info in ({}, {"result_info": {}}, {"result_info": {"count": 0, "per_page": 50}}):
        assert schema.violations(schema.LIST, {"success": True, "result": [], **info}) == []
    assert schema.violations(schema.LIST, {"success": True, "result": [], "result_info": {"count": "0"}}) != []


@pytest.mark.parametrize("spoilt", [
    {"created_at": None}, {"type": "s3"}, {"sync_interval": 60}, {"enable": 1}, {"paused": None}, {"status": None},
    {"namespace": "team_blue"}, {"namespace": "-team"}, {"last_activity": 5},
])
def test_the_schema_refuses_what_is_not_an_instance(spoilt):
    instance = {"id": "a", "created_at": "2026-05-01 08:00:00", "modified_at": "2026-05-01 08:00:00",
                "namespace": "team--blue", "type": None}
    assert schema.violations(schema.INSTANCE, {"success": True, "result": instance}) == []
    assert schema.violations(schema.INSTANCE, {"success": True, "result": {**instance, **spoilt}}) != []


def test_null_and_absent_fields(simulator):
    simulator.job(PLAIN, "null", state="queued")
    simulator.job(PLAIN, "absent", state="queued", missing="absent")
    assert result(simulator, PLAIN, "null") == {
        "id": "null", "source": "user", "description": None, "end_reason": None, "ended_at": None, "last_seen_at": None,
        "started_at": None}
    assert result(simulator, PLAIN, "absent") == {"id": "absent", "source": "user"}


def test_autorag_has_no_description(simulator):
    for instance in GENERATIONS:
        simulator.job(instance, "a", description="words")
    assert [result(simulator, instance, "a").get("description") for instance in GENERATIONS] == ["words", "words", None]
    assert "description" not in result(simulator, AUTORAG, "a")


def test_extra_fields_travel_along(simulator):
    simulator.job(PLAIN, "a", extra={"new_field": {"x": [1]}, "source": "cron"})
    assert result(simulator, PLAIN, "a")["new_field"] == {"x": [1]}
    assert result(simulator, PLAIN, "a")["source"] == "cron"


def test_plain_instances_are_those_of_the_default_namespace(simulator):
    simulator.job(PLAIN, "a")
    assert result(simulator, f"namespaces/default/{PLAIN}", "a")["id"] == "a"


def test_head_has_the_headers_alone(simulator):
    simulator.job(PLAIN, "a")
    head = get(simulator, PLAIN, "a", method="HEAD")
    assert (head.status, head.body) == (200, b"")
    assert head.header("Content-Length") == get(simulator, PLAIN, "a").header("Content-Length")


# Resources that do not exist.


@pytest.mark.parametrize("instance, job, refusal", [
    ("instances/other", "a", (404, 7002, "ai_search_not_found")),
    ("instances/other", None, (404, 7002, "ai_search_not_found")),
    ("rags/my-ai-search", "a", (404, 7002, "ai_search_not_found")),
    ("namespaces/support/instances/my-ai-search", "a", (404, 7002, "ai_search_not_found")),
    ("namespaces/other/instances/my-ai-search", "a", (404, 7063, "namespace_not_found")),
    (PLAIN, "b", (404, 7021, "job_not_found")),
    (NAMESPACED, "b", (404, 7021, "job_not_found")),
    (AUTORAG, "b", (404, 7021, "job_not_found")),
])
def test_not_found(simulator, instance, job, refusal):
    for existing in GENERATIONS:
        simulator.job(existing, "a")
    assert error(get(simulator, instance, job)) == refusal
    if job is not None:
        assert error(get(simulator, instance, job, logs=True)) == refusal


@pytest.mark.parametrize("target", ["/", "/client/v4", "/client/v4/accounts", "/accounts/{}/ai-search/instances/i/jobs",
                                    "/client/v4/accounts/{}/ai-search/instances/i/jobs/", "/client/v4//accounts/{}",
                                    "/client/v4/accounts/{}/ai-search/instances/i/jobs/a/logs/b",
                                    "/client/v4/accounts/{}/instances/i/jobs/a"])
def test_no_route(simulator, target):
    response = net.request(simulator.address, target.format(ACCOUNT), simulator.credential_headers)
    assert error(response)[:2] == (404, 7000)


def test_the_read_side_alone(simulator):
    simulator.job(PLAIN, "a")
    response = get(simulator, PLAIN, method="POST")
    assert error(response)[0] == 405
    assert response.header("Allow") == "GET, HEAD"


# Credentials.


def test_both_schemes_are_accepted(simulator):
    simulator.job(PLAIN, "a")
    both = [[("Authorization", f"Bearer {simulator.token}")],
            [("X-Auth-Email", simulator.email), ("X-Auth-Key", simulator.key)]]
    assert [get(simulator, PLAIN, "a", headers=headers).status for headers in both] == [200, 200]


@pytest.mark.parametrize("headers", [
    [],
    [("Authorization", "Bearer")],
    [("Authorization", "Bearer wrong")],
    [("Authorization", "Basic {token}")],
    [("Authorization", "Bearer {token}x")],
    [("X-Auth-Email", "{email}")],
    [("X-Auth-Key", "{key}")],
    [("X-Auth-Email", "{email}"), ("X-Auth-Key", "wrong")],
    [("X-Auth-Email", "other@example.com"), ("X-Auth-Key", "{key}")],
])
def test_other_credentials_are_refused(simulator, headers):
    simulator.job(PLAIN, "a")
    known = {"token": simulator.token, "email": simulator.email, "key": simulator.key}
    sent = [(name, value.format(**known)) for name, value in headers]
    assert error(get(simulator, PLAIN, "a", headers=sent)) == (401, 10000, "Authentication error")


def test_schemes_do_not_mix(simulator):
    simulator.job(PLAIN, "a")
    twice = simulator.credential_headers * 2
    mixed = simulator.credential_headers + [("X-Auth-Email", simulator.email), ("X-Auth-Key", simulator.key)]
    assert [error(get(simulator, PLAIN, "a", headers=headers))[0] for headers in (twice, mixed)] == [400, 400]


def test_a_credential_is_good_for_its_accounts_alone(simulator):
    simulator.account(MANY, tokens=["another"], keys=[])
    simulator.instance(PLAIN, [{"id": "a"}], account=MANY)
    assert get(simulator, PLAIN, "a", account=MANY, headers=[("Authorization", "Bearer another")]).status == 200
    assert error(get(simulator, PLAIN, "a", account=MANY)) == (403, 10000, "Authentication error")
    assert error(get(simulator, PLAIN, "a", account="f" * 32))[:2] == (403, 10000)
    assert error(get(simulator, PLAIN, "a", account="f" * 32, headers=[]))[:2] == (401, 10000)


ALL_FORMS = (refusals.CREDENTIAL_FORMS + refusals.RESOURCE_FORMS + refusals.CLIENT_FORMS + refusals.MISSING_FORMS
             + refusals.LIMIT_FORMS + refusals.SERVER_FORMS)


def answer_of(form):
    """Returns the status, and the body in the API's own format."""
    refusal = refusals.refusal(form)
    return refusal.status, json.dumps(refusal.body, separators=(",", ":")).encode()


@pytest.mark.parametrize("form", ALL_FORMS)
def test_forms_of_refusals(simulator, form):
    """Each form matches its name, and can be selected for unknown credentials and as a fault."""
    simulator.job(PLAIN, "a")
    simulator.refusal(form)
    answer = get(simulator, PLAIN, "a", headers=[("Authorization", "Bearer wrong")])
    assert (answer.status, answer.body) == answer_of(form)
    assert schema.violations(schema.ERROR, answer.json()) == []
    numbers = [int(part) for part in form.split("_") if part.isdigit()]
    [one] = answer.json()["errors"]
    told = [one.get("code"), *(link["code"] for link in one.get("error_chain", []))]
    assert numbers[0] == answer.status and (len(numbers) == 1 or numbers[1:] == told)
    assert get(simulator, PLAIN, "a").status == 200

    fault = simulator.refuse(form, "/jobs/a$", times=1)
    faulty = get(simulator, PLAIN, "a")
    assert (faulty.status, faulty.json()) == (answer.status, answer.json())
    assert (get(simulator, PLAIN, "a").status, simulator.fault_hits(fault)) == (200, 1)


def test_a_refusal_has_its_headers_or_others(simulator):
    simulator.refuse("429_10429", times=1)
    answer = get(simulator, PLAIN)
    assert (answer.header("Retry-After"), answer.header("Ratelimit")) == ("47", '"default";r=0;t=47')
    simulator.refuse("429_971", headers=[["Retry-After", "3"]])
    answer = get(simulator, PLAIN)
    assert (answer.header("Retry-After"), answer.header("Ratelimit")) == ("3", None)


def test_a_credential_of_another_account_is_refused_as_ever(simulator):
    simulator.account(MANY, tokens=["another"], keys=[])
    simulator.refusal("400_6003_6111")
    assert error(get(simulator, PLAIN, "a", account=MANY))[:2] == (403, 10000)
    assert error(get(simulator, PLAIN, "a", headers=[]))[:2] == (400, 6003)
    simulator.refusal()
    assert error(get(simulator, PLAIN, "a", headers=[]))[:2] == (401, 10000)


def test_credentials_can_be_replaced(simulator):
    simulator.job(PLAIN, "a")
    simulator.account(tokens=["next"], keys=[])
    assert get(simulator, PLAIN, "a").status == 401
    assert get(simulator, PLAIN, "a", headers=[("Authorization", "Bearer next")]).status == 200


# Pages.


def pages(simulator, instance, per_page, job=None, logs=False):
    """Requests pages until one is empty, as the official SDKs do."""
    page = 1
    while True:
        response = get(simulator, instance, job, logs, f"?page={page}&per_page={per_page}")
        yield response.json()
        if not response.json()["result"]:
            return
        page += 1


@pytest.mark.parametrize("instance", GENERATIONS)
@pytest.mark.parametrize("per_page", [1, 7, 40, 50])
def test_a_list_to_its_end(simulator, instance, per_page):
    ids = [f"job-{n:03}" for n in range(120)]
    simulator.instance(instance, [{"id": job_id} for job_id in ids])
    seen = []
    for number, page in enumerate(pages(simulator, instance, per_page), 1):
        assert schema.violations(schema.LIST, page) == []
        assert page["result_info"] == {"count": len(page["result"]), "page": number, "per_page": per_page,
                                       "total_count": 120}
        seen += [job["id"] for job in page["result"]]
    assert sorted(seen) == ids
    assert seen != ids and seen[::-1] != ids, "a list that happens to be sorted hides who relies on it"


def test_page_and_per_page_have_defaults(simulator):
    simulator.instance(PLAIN, [{"id": f"{n}"} for n in range(30)])
    first = get(simulator, PLAIN).json()
    assert first["result_info"] == {"count": 20, "page": 1, "per_page": 20, "total_count": 30}
    assert get(simulator, PLAIN, query="?page=2").json()["result_info"]["count"] == 10
    assert get(simulator, PLAIN, query="?per_page=0").json()["result"] == []
    assert get(simulator, PLAIN, query="?page=999").json()["result"] == []


@pytest.mark.parametrize("query", ["page=0", "page=-1", "page=x", "page=", "page=1.5", "page=%2B1", "per_page=51",
                                   "per_page=-1", "per_page=ten", "per_page="])
def test_bad_pages(simulator, query):
    simulator.job(PLAIN, "a")
    name = query.partition("=")[0]
    assert bad_query(get(simulator, PLAIN, query=f"?{query}")) == name
    if query != "per_page=51":
        assert bad_query(get(simulator, PLAIN, "a", logs=True, query=f"?{query}")) == name


@pytest.mark.parametrize("resource, least, most", [
    (f"{PLAIN}/jobs", 0, 50), (f"{PLAIN}/jobs/a/logs", 0, 500), ("instances", 1, 100),
    ("namespaces/default/instances", 1, 100), ("namespaces", 1, 100)])
def test_per_page_has_limits(simulator, resource, least, most):
    simulator.job(PLAIN, "a", state="running")
    for per_page in (least, most):
        page = read(simulator, resource, query=f"?per_page={per_page}").json()
        assert page["result_info"]["per_page"] == per_page
    for per_page in (least - 1, most + 1):
        assert bad_query(read(simulator, resource, query=f"?per_page={per_page}")) == "per_page"
    assert read(simulator, resource).json()["result_info"]["per_page"] == 20


def read(simulator, resource, query=""):
    """The response for resources outside of instances."""
    return net.request(simulator.address, simulator.resource(resource) + query, simulator.credential_headers)


def bad_query(response):
    """Returns the argument that a refusal without a code names."""
    assert schema.violations(schema.ERROR, response.json()) == []
    assert response.status == 400
    [one] = response.json()["errors"]
    assert set(one) == {"message", "path"} and one["path"][0] == "query"
    return one["path"][1]


def listing(simulator, namespace=None, query=""):
    return net.request(simulator.address, simulator.listing(namespace) + query, simulator.credential_headers)


def test_instances_to_their_end(simulator):
    names = [f"docs-{n:03}" for n in range(230)]
    for name in names:
        simulator.instance(f"instances/{name}")
    seen = []
    for number in range(1, 5):
        page = listing(simulator, query=f"?page={number}&per_page=100").json()
        assert schema.violations(schema.INSTANCES, page) == []
        count = (100, 100, 30, 0)[number - 1]
        assert page["result_info"] == {"count": count, "page": number, "per_page": 100, "total_count": 230}
        seen += [instance["id"] for instance in page["result"]]
    assert sorted(seen) == names and seen != names
    assert listing(simulator).json()["result_info"]["per_page"] == 20


def test_instances_of_all_namespaces_and_of_one(simulator):
    for name in ("instances/a", "namespaces/team/instances/a", "namespaces/team/instances/b", "rags/c"):
        simulator.instance(name)

    def found(namespace=None):
        return {(one["namespace"], one["id"]) for one in listing(simulator, namespace).json()["result"]}

    assert found() == {("default", "a"), ("team", "a"), ("team", "b")}
    assert found("default") == {("default", "a")}
    assert found("team") == {("team", "a"), ("team", "b")}
    assert error(listing(simulator, "nowhere")) == (404, 7063, "namespace_not_found")


def test_instances_come_change_and_go(simulator):
    simulator.freeze()
    simulator.instance("instances/a", [{"id": "1"}])
    simulator.advance(60)
    simulator.instance("instances/a", paused=True, status="indexing")
    [instance] = listing(simulator).json()["result"]
    assert (instance["paused"], instance["status"]) == (True, "indexing")
    assert instance["created_at"] < instance["modified_at"]
    simulator.instance("instances/a", extra={"paused": "yes", "more": 1})
    [instance] = listing(simulator).json()["result"]
    assert (instance["paused"], instance["more"]) == ("yes", 1)
    simulator.remove_instances("instances/a", "instances/never-was")
    assert listing(simulator).json()["result"] == []
    assert error(get(simulator, "instances/a")) == (404, 7002, "ai_search_not_found")


def test_an_instance_and_what_it_is_set_to(simulator):
    simulator.freeze()
    simulator.set_clock(1_800_000_000)
    made = "2027-01-15T08:00:00Z"
    simulator.instance("namespaces/team/instances/a")
    usual = {"id": "a", "namespace": "team", "created_at": made, "modified_at": made, "type": "r2", "source": "bucket",
             "sync_interval": 21600, "enable": True, "paused": False, "status": "waiting", "last_activity": None}
    assert listing(simulator, "team").json()["result"] == [usual]
    assert read(simulator, "namespaces/team/instances/a").json()["result"] == usual

    settings = {"type": "web-crawler", "source": "docs.example.org", "sync_interval": 900, "enable": False,
                "paused": True, "status": "error", "last_activity": "2027-01-15 07:00:00"}
    simulator.instance("namespaces/team/instances/a", **settings)
    answer = read(simulator, "namespaces/team/instances/a").json()
    assert answer["result"] == usual | settings
    assert schema.violations(schema.INSTANCE, answer) == []
    for kind, source in ((None, None), ("web-crawler", "example.org"), ("r2", "bucket")):
        simulator.instance("namespaces/team/instances/a", type=kind)
        answer = read(simulator, "namespaces/team/instances/a").json()
        assert (answer["result"]["type"], answer["result"]["source"]) == (kind, source)
        assert schema.violations(schema.INSTANCE, answer) == []


def test_a_plain_instance_is_the_same_in_the_default_namespace(simulator):
    simulator.instance("instances/a", status="indexing")
    for what in ("", "/stats", "/jobs"):
        plain, namespaced = [read(simulator, f"{form}instances/a{what}") for form in ("", "namespaces/default/")]
        assert plain.status == 200 and plain.body == namespaced.body


def test_what_is_indexed(simulator):
    nothing = {"queued": 0, "running": 0, "completed": 0, "error": 0, "skipped": 0, "outdated": 0,
               "file_embed_errors": {}, "index_source_errors": {}}
    simulator.instance("instances/a")
    answer = read(simulator, "instances/a/stats").json()
    assert schema.violations(schema.STATS, answer) == []
    assert answer["result"].pop("last_activity") and answer["result"] == nothing

    for stats in ({"degraded": True}, {**nothing, "outdated": 23, "last_activity": "2026-10-02 09:00:00",
                                       "file_embed_errors": {"workers_ai_out_of_capacity_error": 23}}):
        simulator.instance("instances/a", stats=stats)
        answer = read(simulator, "instances/a/stats").json()
        assert schema.violations(schema.STATS, answer) == []
        assert answer["result"] == stats


def test_instances_and_stats_that_are_not_there(simulator):
    simulator.instance("rags/a")
    for what in ("", "/stats"):
        assert error(read(simulator, f"instances/a{what}")) == (404, 7002, "ai_search_not_found")
        assert error(read(simulator, f"namespaces/nowhere/instances/a{what}")) == (404, 7063, "namespace_not_found")
        autorag = net.request(simulator.address, simulator.path("rags/a").removesuffix("/jobs") + what,
                              simulator.credential_headers)
        assert error(autorag)[:2] == (404, 7000)


def test_filters_of_instances(simulator):
    simulator.freeze()
    for name, settings in (("instances/web-1", {"type": "web-crawler", "source": "example.org"}),
                           ("instances/docs", {}), ("namespaces/team/instances/web-2", {}),
                           ("namespaces/team/instances/old", {"type": "web-crawler", "source": "old.example.org"})):
        simulator.instance(name, **settings)
        simulator.advance(60)

    def found(query, namespace=None):
        return [instance["id"] for instance in listing(simulator, namespace, query).json()["result"]]

    assert sorted(found("?search=web")) == ["web-1", "web-2"]
    assert found("?search=web", "team") == ["web-2"]
    assert found("?search=Web") == []
    assert found("?hostname=example.org") == ["web-1"]
    assert sorted(found("?namespace=team")) == ["old", "web-2"]
    assert found("?namespace=nowhere") == []
    assert sorted(found("?namespace=default", "team")) == ["old", "web-2"]  # the path has one already
    oldest_first = ["web-1", "docs", "web-2", "old"]
    assert found("?order_by=created_at") == found("?order_by_direction=asc") == oldest_first
    assert found("?order_by=created_at&order_by_direction=desc") == oldest_first[::-1]
    assert found("?order_by=created_at&search=web&per_page=1&page=2") == ["web-2"]
    for query, name in (("order_by=id", "order_by"), ("order_by=", "order_by"),
                        ("order_by_direction=up", "order_by_direction"), ("per_page=0", "per_page"),
                        ("page=0", "page")):
        assert bad_query(listing(simulator, query=f"?{query}")) == name


# Namespaces.


def test_namespaces_to_their_end(simulator):
    names = [f"team--{n:02}" for n in range(24)]
    for name in names:
        simulator.namespace(name)
    seen = []
    for number, count in enumerate((10, 10, 5, 0), 1):
        page = read(simulator, "namespaces", f"?page={number}&per_page=10").json()
        assert schema.violations(schema.NAMESPACES, page) == []
        assert page["result_info"] == {"count": count, "page": number, "per_page": 10, "total_count": 25}
        seen += [namespace["name"] for namespace in page["result"]]
    assert sorted(seen) == sorted(["default", *names]) and seen != sorted(seen)
    found = read(simulator, "namespaces", "?search=m--1&per_page=100").json()["result"]
    assert sorted(namespace["name"] for namespace in found) == names[10:20]


def test_a_namespace(simulator):
    simulator.freeze()
    simulator.set_clock(1_800_000_000)
    simulator.namespace("team", "Ours")
    answer = read(simulator, "namespaces/team").json()
    assert schema.violations(schema.NAMESPACE, answer) == []
    assert answer["result"] == {"name": "team", "created_at": "2027-01-15T08:00:00Z", "description": "Ours"}
    simulator.advance(60)
    simulator.namespace("team", "Theirs")
    assert read(simulator, "namespaces/team").json()["result"] == answer["result"] | {"description": "Theirs"}
    assert read(simulator, "namespaces/default").json()["result"]["description"] is None

    simulator.instance("namespaces/team/instances/a")
    simulator.instance("namespaces/other/instances/a")
    assert read(simulator, "namespaces/other").status == 200
    simulator.remove_namespaces("team", "never-was")
    assert error(read(simulator, "namespaces/team")) == (404, 7063, "namespace_not_found")
    assert [instance["namespace"] for instance in listing(simulator).json()["result"]] == ["other"]


@pytest.mark.parametrize("name, good", [
    ("a", True), ("0", True), ("team--blue", True), ("x" * 28, True), ("x" * 29, False), ("team_blue", False),
    ("-a", False), ("a-", False), ("A", False), ("", False)])
def test_names_of_namespaces(simulator, name, good):
    for make in (lambda: simulator.namespace(name), lambda: simulator.instance(f"namespaces/{name}/instances/a")):
        if good:
            make()
            assert read(simulator, f"namespaces/{name}").status == 200
        else:
            with pytest.raises(ValueError):
                make()


# A server that supports only one form of paths.


@pytest.mark.parametrize("form", ["400_7003", "404_7000"])
def test_one_form_of_paths_alone(simulator, form):
    simulator.job(PLAIN, "a")
    simulator.job(AUTORAG, "a")
    plain = [f"{PLAIN}/jobs/a", f"{PLAIN}/jobs", f"{PLAIN}/jobs/a/logs", PLAIN, f"{PLAIN}/stats", "instances"]
    namespaced = [f"namespaces/default/{resource}" for resource in plain] + ["namespaces", "namespaces/default"]

    def refused(resources):
        answers = [read(simulator, resource) for resource in resources]
        assert {answer.body for answer in answers if answer.status != 200} <= {answer_of(form)[1]}
        return {answer.status for answer in answers}

    assert refused(plain) == refused(namespaced) == {200}
    simulator.forms(plain=False, refusal=form)
    assert (refused(plain), refused(namespaced)) == ({answer_of(form)[0]}, {200})
    simulator.forms(namespaced=False, refusal=form)
    assert (refused(plain), refused(namespaced)) == ({200}, {answer_of(form)[0]})
    assert get(simulator, AUTORAG, "a").status == 200
    simulator.forms()
    assert refused(plain) == refused(namespaced) == {200}


def test_logs_to_their_end(simulator):
    simulator.job(PLAIN, "a", starts_in=-600, ends_in=-1)
    entries = [entry for page in pages(simulator, PLAIN, 7, "a", logs=True) for entry in page["result"]]
    assert [entry["id"] for entry in entries] == list(range(1, len(entries) + 1))
    assert len(entries) == 1 + 599 // 15 + 1
    assert entries == sorted(entries, key=lambda entry: entry["created_at"])


def test_a_long_log_in_few_pages(simulator):
    log = [{"id": n, "created_at": 1763902700 + n / 4, "message": "m", "message_type": 0} for n in range(1, 1101)]
    simulator.job(PLAIN, "a", logs=log)
    found = list(pages(simulator, PLAIN, 500, "a", logs=True))
    assert [len(page["result"]) for page in found] == [500, 500, 100, 0]
    assert [entry for page in found for entry in page["result"]] == log
    assert [schema.violations(schema.LOGS, page) for page in found] == [[]] * 4


# Odd answers.


def test_parts_of_result_info(simulator):
    simulator.instance(PLAIN, [{"id": f"{n}", "state": "running"} for n in range(3)])
    for resource, pattern in ((f"{PLAIN}/jobs", schema.LIST), (f"{PLAIN}/jobs/1/logs", schema.LOGS),
                              ("instances", schema.INSTANCES), ("namespaces", schema.NAMESPACES)):
        simulator.oddity()
        full = read(simulator, resource).json()
        simulator.oddity(result_info="partial")
        partial = read(simulator, resource).json()
        assert partial.pop("result_info") == {name: full["result_info"][name] for name in ("count", "per_page")}
        simulator.oddity(result_info="none")
        none = read(simulator, resource).json()
        assert none == partial == {name: value for name, value in full.items() if name != "result_info"}
        assert schema.violations(pattern, none) == []


def test_a_list_that_knows_no_pages(simulator):
    simulator.instance(PLAIN, [{"id": f"{n}"} for n in range(7)])
    simulator.oddity(ignore_page=True, result_info="none")
    first = get(simulator, PLAIN, query="?per_page=3").json()
    assert len(first["result"]) == 3 and "result_info" not in first
    for page in ("2", "999", "x"):
        assert get(simulator, PLAIN, query=f"?per_page=3&page={page}").json() == first
    assert read(simulator, "instances", "?page=2").json()["result"] != []


def test_errors_without_a_code(simulator):
    simulator.oddity(error_codes=False)
    answer = get(simulator, PLAIN)
    assert (answer.status, answer.json()["errors"]) == (404, [{"message": "ai_search_not_found"}])
    assert schema.violations(schema.ERROR, answer.json()) == []
    simulator.oddity()
    assert error(get(simulator, PLAIN))[1] == 7002


def test_messages_in_the_envelope(simulator):
    simulator.job(PLAIN, "a")
    messages = [{"code": 10000, "message": "a note", "type": None}, {"x": [1]}]
    simulator.oddity(messages=messages)
    for job, pattern in (("a", schema.JOB), (None, schema.LIST), ("b", schema.ERROR)):
        answer = get(simulator, PLAIN, job).json()
        assert answer["messages"] == messages
        assert schema.violations(pattern, answer) == []


def test_a_reset_ends_what_is_odd(simulator):
    simulator.oddity(result_info="none", ignore_page=True, error_codes=False, messages=[{}])
    simulator.forms(plain=False)
    simulator.refusal("400_9106")
    simulator.limit_headers([["X-Odd", "1"]])
    simulator.limit(10, headers="both")
    simulator.reset()
    simulator.job(PLAIN, "a")
    answer = get(simulator, PLAIN)
    assert (answer.status, answer.json()["messages"], "result_info" in answer.json()) == (200, [], True)
    assert not {"x-odd", "ratelimit", "x-ratelimit-limit"} & {name.lower() for name, _ in answer.headers}
    assert error(get(simulator, PLAIN, "a", headers=[]))[:2] == (401, 10000)


# Time.


def parsed(text):
    return datetime.datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp()


@pytest.mark.parametrize("end_reason", [None, "", "completed", "cancelled by user", "error: no memory", 'Ωmega "x"'])
def test_a_life(simulator, end_reason):
    simulator.freeze()
    simulator.set_clock(1_800_000_000)
    simulator.job(PLAIN, "a", starts_in=10, ends_in=100, end_reason=end_reason)

    def told():
        fields = result(simulator, PLAIN, "a")
        return [fields[name] for name in ("started_at", "last_seen_at", "ended_at", "end_reason")]

    assert told() == [None, None, None, None]
    simulator.advance(9.5)
    assert told() == [None, None, None, None]
    simulator.advance(0.5)
    assert told() == ["2027-01-15T08:00:10Z", "2027-01-15T08:00:10Z", None, None]
    simulator.advance(9)
    assert told() == ["2027-01-15T08:00:10Z", "2027-01-15T08:00:10Z", None, None]
    simulator.advance(1)
    assert told() == ["2027-01-15T08:00:10Z", "2027-01-15T08:00:20Z", None, None]
    simulator.advance(80)
    assert told() == ["2027-01-15T08:00:10Z", "2027-01-15T08:01:40Z", "2027-01-15T08:01:40Z", end_reason]
    simulator.advance(86400)
    assert told() == ["2027-01-15T08:00:10Z", "2027-01-15T08:01:40Z", "2027-01-15T08:01:40Z", end_reason]


@pytest.mark.parametrize("times, text", [
    ("rfc3339", "2027-01-15T08:00:00Z"),
    ("fraction", "2027-01-15T08:00:00.500000Z"),
    ("offset", "2027-01-15T10:00:00+02:00"),
    ("plain", "2027-01-15 08:00:00"),
    ("zoneless", "2027-01-15T08:00:00"),
    ("number", 1_800_000_000),
])
def test_forms_of_time(simulator, times, text):
    simulator.freeze()
    simulator.set_clock(1_800_000_000.5)
    simulator.job(PLAIN, "a", starts_in=0, times=times)
    assert result(simulator, PLAIN, "a")["started_at"] == text
    created_at = result(simulator, PLAIN, "a", logs=True)[0]["created_at"]
    assert created_at == (1_800_000_000.5 if times == "fraction" else 1_800_000_000)


def test_a_stalled_job_is_not_seen_any_more(simulator):
    simulator.freeze()
    simulator.job(PLAIN, "a", starts_in=-100, silent_in=-50, last_seen_every=1)
    before = result(simulator, PLAIN, "a")["last_seen_at"]
    simulator.advance(1000)
    assert result(simulator, PLAIN, "a")["last_seen_at"] == before
    assert result(simulator, PLAIN, "a")["ended_at"] is None


def test_real_time_by_default(simulator):
    simulator.job(PLAIN, "a", starts_in=0, last_seen_every=0.05, times="fraction")
    assert abs(parsed(result(simulator, PLAIN, "a")["started_at"]) - time.time()) < 5
    before = result(simulator, PLAIN, "a")["last_seen_at"]
    net.wait_until(lambda: result(simulator, PLAIN, "a")["last_seen_at"] != before, what="last_seen_at to go on")


def test_a_frozen_clock_stands_and_a_thawed_one_goes_on(simulator):
    simulator.freeze()
    frozen = simulator.now()
    simulator.advance(3600)
    assert simulator.now() == frozen + 3600
    simulator.thaw()
    net.wait_until(lambda: simulator.now() > frozen + 3600, what="the clock to go")
    assert simulator.now() < frozen + 3660


def test_a_clock_can_run_faster(simulator):
    simulator.run(3600)
    asked = time.monotonic()
    before, answered = simulator.now(), time.monotonic()
    net.wait_until(lambda: simulator.now() >= before + 3600, what="an hour")
    assert time.monotonic() - answered > 0.9
    simulator.run(1)
    assert simulator.now() < before + 3600 * (time.monotonic() - asked) + 1
    with pytest.raises(ValueError):
        simulator.run(0)


def test_the_limit_keeps_pace_with_a_clock_that_runs_faster(simulator):
    simulator.job(PLAIN, "a")
    simulator.limit(1, 600)
    assert [get(simulator, PLAIN, "a").status for _ in range(2)] == [200, 429]
    simulator.run(3600)
    net.wait_until(lambda: get(simulator, PLAIN, "a").status == 200, what="ten minutes")


def test_a_job_that_is_still_to_come(simulator):
    simulator.freeze()
    simulator.job(PLAIN, "a", appears_in=10, starts_in=20, ends_in=30)
    assert result(simulator, PLAIN) == []
    assert error(get(simulator, PLAIN, "a")) == error(get(simulator, PLAIN, "a", logs=True)) == (
        404, 7021, "job_not_found")
    simulator.advance(10)
    assert [job["started_at"] for job in result(simulator, PLAIN)] == [None]
    simulator.advance(10)
    assert result(simulator, PLAIN, "a")["started_at"] is not None


def test_a_census(simulator):
    simulator.freeze()
    began = simulator.now()
    for n, reason in enumerate((None, "Done", "error: x", "user cancelled", "unsuccessful")):
        simulator.job(PLAIN, f"{n}", appears_in=10, starts_in=20, ends_in=30 + n, end_reason=reason)
    simulator.job(NAMESPACED, "a", state="succeeded")
    simulator.job("namespaces/default/instances/b", "a", state="queued")
    simulator.instance(AUTORAG)
    nothing = {"queued": 0, "running": 0, "succeeded": 0, "failed": 0, "cancelled": 0}

    assert simulator.census() == {PLAIN: nothing, NAMESPACED: nothing | {"succeeded": 1},
                                  "instances/b": nothing | {"queued": 1}, AUTORAG: nothing}
    assert simulator.census(since=began)[NAMESPACED] == nothing
    simulator.advance(10)
    assert simulator.census()[PLAIN] == nothing | {"queued": 5}
    simulator.advance(20)
    assert simulator.census()[PLAIN] == nothing | {"running": 4, "succeeded": 1}
    simulator.advance(10)
    assert simulator.census()[PLAIN] == nothing | {"succeeded": 2, "failed": 2, "cancelled": 1}
    assert simulator.census(since=began + 31)[PLAIN] == nothing | {"failed": 2, "cancelled": 1}


def test_a_job_ends_the_one_that_runs(simulator):
    simulator.freeze()
    simulator.instance(PLAIN, [{"id": "ended", "state": "succeeded"}, {"id": "queued", "state": "queued"},
                               {"id": "first", "starts_in": -10, "ends_in": 100, "end_reason": "completed"}])
    untouched = result(simulator, PLAIN, "ended"), result(simulator, PLAIN, "queued")
    simulator.advance(30)
    simulator.start_job(PLAIN, "second", source="schedule")
    first, second = result(simulator, PLAIN, "first"), result(simulator, PLAIN, "second")
    assert first["end_reason"] == "new_job_has_started"
    assert first["ended_at"] == first["last_seen_at"] == second["started_at"]
    assert (second["source"], second["ended_at"]) == ("schedule", None)
    assert (result(simulator, PLAIN, "ended"), result(simulator, PLAIN, "queued")) == untouched
    simulator.start_job(PLAIN, "ended", ends_in=5)
    assert simulator.census()[PLAIN] == {"queued": 1, "running": 1, "succeeded": 0, "failed": 0, "cancelled": 2}
    simulator.advance(5)
    assert simulator.census()[PLAIN]["succeeded"] == 1
    simulator.start_job(NAMESPACED, "alone")
    assert result(simulator, NAMESPACED, "alone")["ended_at"] is None


@pytest.mark.parametrize("reason", ["new_job_has_started", "New_Job_Has_Started", "job superseded by another"])
def test_a_superseded_job_counts_as_cancelled(simulator, reason):
    simulator.job(PLAIN, "a", state="superseded")
    assert result(simulator, PLAIN, "a")["end_reason"] == "new_job_has_started"
    simulator.job(PLAIN, "a", end_reason=reason)
    assert simulator.census()[PLAIN]["cancelled"] == 1


def test_a_job_can_be_changed_ended_and_removed(simulator):
    simulator.job(PLAIN, "a", state="running", description="kept")
    simulator.job(PLAIN, "a", ends_in=0, end_reason="cancelled")
    job = result(simulator, PLAIN, "a")
    assert (job["end_reason"], job["description"], job["ended_at"] is None) == ("cancelled", "kept", False)
    simulator.instance(PLAIN, remove=["a"])
    assert get(simulator, PLAIN, "a").status == 404
    assert result(simulator, PLAIN) == []


def test_an_instance_can_be_replaced(simulator):
    simulator.instance(PLAIN, [{"id": "a"}, {"id": "b"}])
    simulator.instance(PLAIN, [{"id": "c"}], replace=True)
    assert [job["id"] for job in result(simulator, PLAIN)] == ["c"]


def test_logs_grow(simulator):
    simulator.freeze()
    simulator.job(PLAIN, "a", starts_in=10, ends_in=100)
    lengths = []
    for _ in range(4):
        lengths.append(len(result(simulator, PLAIN, "a", logs=True)))
        simulator.advance(30)
    assert lengths == [0, 2, 4, 6]
    simulator.job(PLAIN, "a", logs=[{"id": 5, "created_at": 1, "message": "m", "message_type": 2}])
    assert result(simulator, PLAIN, "a", logs=True) == [{"id": 5, "created_at": 1, "message": "m", "message_type": 2}]


def test_orders_that_make_no_sense_are_refused(simulator):
    for order in ({"id": "a", "state": "lost"}, {"id": "a", "begins_in": 5}, {"state": "queued"},
                  {"id": "a", "times": "x"}, {"id": "a", "missing": "x"}, {"id": "a", "last_seen_every": 0}):
        with pytest.raises(ValueError):
            simulator.instance(PLAIN, [order])
    for name in ("my-ai-search", "instances/a/b", "rags/", ""):
        with pytest.raises(ValueError):
            simulator.instance(name)
    for settings in ({"halted": True}, {"type": "s3"}, {"sync_interval": 60}, {"start": {"state": "running"}}):
        with pytest.raises(ValueError):
            simulator.instance(PLAIN, **settings)
    for order in ({"result_info": "some"}, {"surprise": True}):
        with pytest.raises(ValueError):
            simulator.oddity(**order)
    for order in (lambda: simulator.refusal("401_1"), lambda: simulator.refuse("401_1"),
                  lambda: simulator.forms(refusal="401_1"), lambda: simulator.limit(1, headers="newest")):
        with pytest.raises(ValueError):
            order()
    for fault in ({"path": "("}, {"script": [{"dance": 1}]}, {"when": 1}):
        with pytest.raises(ValueError):
            simulator.fault(**fault)
    with pytest.raises(ValueError):
        simulator.advance(-1)


# The limit.


def limit_headers(response):
    """Returns limit, remaining calls and seconds until the reset, from either form of headers."""
    told = {}
    for name in ("Ratelimit", "Ratelimit-Policy"):
        if response.header(name) is not None:
            policy, *parameters = response.header(name).split(";")
            assert policy == '"default"'
            told.update(parameter.split("=") for parameter in parameters)
    return [told.get("q"), told.get("r"), told.get("t")]


def old_limit_headers(response):
    return [response.header(f"x-ratelimit-{name}") for name in ("limit", "remaining")]


def test_no_limit_headers_without_a_limit(simulator):
    simulator.job(PLAIN, "a")
    assert limit_headers(get(simulator, PLAIN, "a")) == [None, None, None]


def test_every_answer_tells_of_the_limit(simulator):
    """A call that is refused before it counts shows the remaining calls to users of the account."""
    simulator.job(PLAIN, "a")
    simulator.limit(1200, 300)
    answers = [get(simulator, PLAIN, "a"), get(simulator, PLAIN, "b"), get(simulator, PLAIN, query="?page=0"),
               get(simulator, PLAIN, headers=[]), get(simulator, PLAIN, method="DELETE"),
               net.request(simulator.address, f"/client/v4/accounts/{ACCOUNT}"),
               net.request(simulator.address, "/nowhere")]
    assert [answer.status for answer in answers] == [200, 404, 400, 401, 405, 404, 404]
    assert [limit_headers(answer)[1] for answer in answers] == ["1199", "1198", "1197", "1197", "1197", "1197", "1200"]
    assert {answer.header("Ratelimit-Policy") for answer in answers} == {'"default";q=1200;w=300'}
    assert [290 < int(limit_headers(answer)[2]) <= 300 for answer in answers] == [True] * 7


def test_the_seconds_until_the_reset_are_rounded_up(simulator):
    simulator.job(PLAIN, "a")
    simulator.limit(10, 0.5)
    assert get(simulator, PLAIN, "a").header("Ratelimit") == '"default";r=9;t=1'
    assert get(simulator, PLAIN, "a").header("Ratelimit-Policy") == '"default";q=10;w=1'


@pytest.mark.parametrize("form, new, old", [("new", "2", None), ("old", None, "2"), ("both", "2", "2"),
                                            ("none", None, None)])
def test_forms_of_limit_headers(simulator, form, new, old):
    simulator.job(PLAIN, "a")
    simulator.limit(3, 300, headers=form)
    answer = get(simulator, PLAIN, "a")
    assert (limit_headers(answer)[1], old_limit_headers(answer)[1]) == (new, old)
    assert old_limit_headers(answer)[0] == (old and "3")
    refused = [get(simulator, PLAIN, "a") for _ in range(3)][-1]
    assert (refused.status, refused.header("Retry-After")) == (429, "300")


def test_limit_headers_that_are_laid_over_every_answer(simulator):
    simulator.job(PLAIN, "a")
    simulator.limit(3)
    several = '"default";r=1100;t=200, "burst";r=3;t=1'
    simulator.limit_headers([["ratelimit", several], ["Retry-After", "9"], ["X-Two", "1"], ["X-Two", "2"]])
    for job, headers in (("a", None), ("b", None), ("a", [])):
        answer = get(simulator, PLAIN, job, headers=headers)
        assert [answer.all(name) for name in ("Ratelimit", "Retry-After", "X-Two")] == [[several], ["9"], ["1", "2"]]
        assert answer.header("Ratelimit-Policy") == '"default";q=3;w=300'
    simulator.limit_headers(None)
    assert limit_headers(get(simulator, PLAIN, "a"))[:2] == ["3", "0"]


def test_the_limit_closes_for_a_whole_period(simulator):
    simulator.job(PLAIN, "a")
    simulator.limit(3, 300)
    answers = [get(simulator, PLAIN, "a") for _ in range(3)]
    assert [limit_headers(answer)[:2] for answer in answers] == [["3", "2"], ["3", "1"], ["3", "0"]]
    assert [290 < int(limit_headers(answer)[2]) <= 300 for answer in answers] == [True] * 3

    refused = get(simulator, PLAIN, "a")
    assert error(refused)[0] == 429 and error(refused)[2] == "Too Many Requests"
    assert 290 < int(refused.header("Retry-After")) <= 300
    assert limit_headers(refused)[:2] == ["3", "0"]
    assert refused.all("Retry-After") == [limit_headers(refused)[2]]

    simulator.advance(200)
    assert 90 < int(get(simulator, PLAIN, "a").header("Retry-After")) <= 100
    simulator.advance(100)
    assert limit_headers(get(simulator, PLAIN, "a"))[:2] == ["3", "2"]


def test_the_old_headers_tell_a_date(simulator):
    simulator.job(PLAIN, "a")
    simulator.limit(3, 300, headers="old")
    answer = get(simulator, PLAIN, "a")
    reset = email.utils.parsedate_to_datetime(answer.header("x-ratelimit-reset")).timestamp()
    assert 290 < reset - time.time() <= 301


def test_the_limit_rolls(simulator):
    simulator.job(PLAIN, "a")
    simulator.limit(2, 300)
    assert get(simulator, PLAIN, "a").status == 200
    simulator.advance(200)
    assert get(simulator, PLAIN, "a").status == 200
    simulator.advance(101)  # the first call has left the window, the second has not
    assert get(simulator, PLAIN, "a").status == 200
    assert get(simulator, PLAIN, "a").status == 429


def test_the_limit_is_the_users_not_the_accounts(simulator):
    simulator.account(MANY, tokens=["many"], user=ACCOUNT)
    simulator.instance(PLAIN, [{"id": "a"}], account=MANY)
    simulator.job(PLAIN, "a")
    simulator.limit(1)
    assert get(simulator, PLAIN, "a").status == 200
    assert get(simulator, PLAIN, "a", account=MANY, headers=[("Authorization", "Bearer many")]).status == 429


def test_the_default_limit(tmp):
    with Simulator(tmp, limit=1200) as simulator:
        simulator.job(PLAIN, "a")
        assert limit_headers(get(simulator, PLAIN, "a")) == ["1200", "1199", "300"]


# Faults.


def test_a_fault_befalls_its_path_so_many_times(simulator):
    simulator.instance(PLAIN, [{"id": "a"}, {"id": "b"}])
    fault = simulator.fault("/jobs/a$", times=2, status=503, body="down", headers=[["Retry-After", "7"], ["X-Two", "1"],
                                                                                  ["X-Two", "2"]])
    assert [get(simulator, PLAIN, job).status for job in "abaabba"] == [503, 200, 503, 200, 200, 200, 200]
    assert simulator.fault_hits(fault) == 2


def test_a_fault_has_any_status_headers_and_body(simulator):
    body = bytes(range(256))
    simulator.fault("^/client/v4/", status=520, body=body,
                    headers=[["Content-Type", "text/html"], ["X-Two", "1"], ["X-Two", "2"]])
    response = get(simulator, PLAIN, "a")
    assert (response.status, response.body, response.all("X-Two")) == (520, body, ["1", "2"])
    assert response.header("Content-Type") == "text/html"
    simulator.clear_faults()
    assert get(simulator, PLAIN, "a").status == 404


def test_the_first_fault_that_fits_wins(simulator):
    simulator.job(PLAIN, "a")
    simulator.control("POST", "/faults", {"prefix": simulator.path(PLAIN), "times": 1, "status": 500})
    second = simulator.fault("", status=502)
    assert [get(simulator, PLAIN, "a").status for _ in range(3)] == [500, 502, 502]
    simulator.clear_fault(second)
    assert get(simulator, PLAIN, "a").status == 200


def test_latency_before_the_headers(simulator):
    simulator.job(PLAIN, "a")
    simulator.fault("", delay=0.3, times=1)
    with net.Connection(simulator.address) as connection:
        slow, quick = [connection.request(simulator.path(PLAIN, "a"), simulator.credential_headers) for _ in range(2)]
    assert slow.status == quick.status == 200
    assert slow.elapsed >= 0.3 > quick.elapsed


def test_latency_does_not_hold_others_up(simulator):
    simulator.instance(PLAIN, [{"id": "a"}, {"id": "b"}])
    simulator.fault("/a$", delay=0.5)
    slow, quick = net.concurrent_gets(simulator.address, [simulator.path(PLAIN, job) for job in "ab"],
                                      simulator.credential_headers)
    assert slow.elapsed >= 0.5 > quick.elapsed


def test_latency_between_headers_and_body(simulator):
    simulator.job(PLAIN, "a")
    simulator.fault("", body_delay=0.3)
    with net.Connection(simulator.unix) as connection:
        connection.send(net.format_request(simulator.path(PLAIN, "a"), simulator.credential_headers))
        began = time.monotonic()
        head = connection.sock.recv(4096)
        assert time.monotonic() - began < 0.3
        assert head.startswith(b"HTTP/1.1 200") and head.endswith(b"\r\n\r\n")
        body = connection.sock.recv(4096)
        assert time.monotonic() - began >= 0.3
        assert f"Content-Length: {len(body)}\r\n".encode() in head


def test_a_script_says_exactly_its_bytes(simulator):
    raw = bytes(range(256))
    simulator.fault("", times=1, script=[{"send": "HTTP/1.1 200 OK\r\n"}, {"sleep": 0.05},
                                         {"send_b64": base64.b64encode(raw).decode()},
                                         {"repeat": 3, "every": 0.01, "send": "x"}, {"close": True}])
    with net.Connection(simulator.address) as connection:
        connection.send(net.format_request("/client/v4"))
        received = b""
        while data := connection.sock.recv(4096):
            received += data
    assert received == b"HTTP/1.1 200 OK\r\n" + raw + b"xxx"


def test_a_script_that_does_not_close_leaves_the_connection_usable(simulator):
    simulator.job(PLAIN, "a")
    simulator.fault("", times=1, script=[{"send": "HTTP/1.1 200 Fine\r\nContent-Length: 2\r\n\r\nhi"}])
    with net.Connection(simulator.address) as connection:
        first, second = [connection.request(simulator.path(PLAIN, "a"), simulator.credential_headers) for _ in range(2)]
    assert (first.reason, first.body) == ("Fine", b"hi")
    assert second.json()["result"]["id"] == "a"


def test_a_script_can_end_with_the_real_answer(simulator):
    simulator.job(PLAIN, "a")
    simulator.fault("", script=[{"send": "HTTP/1.1 103 Early Hints\r\n\r\n"}, {"answer": True}])
    response = get(simulator, PLAIN, "a")
    assert (response.interim, response.status, response.json()["result"]["id"]) == ([103], 200, "a")


def test_resets(simulator):
    simulator.fault("", times=1, script=[{"reset": True}])
    with pytest.raises(ConnectionResetError):
        get(simulator, PLAIN)


def test_an_endless_body_ends_with_its_reader(simulator):
    simulator.fault("", script=[{"send": "HTTP/1.1 200 OK\r\n\r\n"}, {"repeat": None, "send": "x" * 10000}])
    with net.Connection(simulator.address) as connection:
        connection.send(net.format_request("/client/v4"))
        received = 0
        while received < 5_000_000:
            received += len(connection.sock.recv(1 << 20))
        assert simulator.counters()["in_flight"] == 1
    net.wait_until(lambda: simulator.counters()["in_flight"] == 0, what="the simulator to notice")


def test_a_fault_of_reused_connections_spares_new_ones(simulator):
    simulator.job(PLAIN, "a")
    simulator.fault("", reused=True, script=[{"close": True}])
    with net.Connection(simulator.address) as connection:
        assert connection.request(simulator.path(PLAIN, "a"), simulator.credential_headers).status == 200
        with pytest.raises(net.Closed):
            connection.request(simulator.path(PLAIN, "a"), simulator.credential_headers)
    assert get(simulator, PLAIN, "a").status == 200


@pytest.mark.parametrize("reset", [False, True])
def test_all_connections_can_be_dropped(simulator, reset):
    simulator.job(PLAIN, "a")
    with net.Connection(simulator.address) as connection:
        assert connection.request(simulator.path(PLAIN, "a"), simulator.credential_headers).status == 200
        simulator.drop_connections(reset)
        assert connection.at_eof()


# Counters.


def test_requests_are_recorded_as_they_came(simulator):
    simulator.job(PLAIN, "a")
    target = simulator.path(PLAIN, "a") + "?x=%2F%00&page=2"
    headers = [("Host", "here"), ("x-ODD-case", "1"), ("X-Odd-Case", "2"), *simulator.credential_headers]
    before = time.monotonic()
    with net.Connection(simulator.address) as first, net.Connection(simulator.unix) as second:
        first.request(target, headers)
        second.request(target, headers)
        first.request(target, headers, method="DELETE", body=b"xyz")
    after = time.monotonic()

    seen = simulator.requests()
    assert [(request.method, request.target, request.status, request.has_body) for request in seen] == [
        ("GET", target, 200, False), ("GET", target, 200, False), ("DELETE", target, 405, True)]
    assert [tuple(header) for header in seen[0].headers] == headers
    assert seen[0].connection == seen[2].connection != seen[1].connection
    moments = [moment for request in seen for moment in (request.began, request.ended)]
    assert [before, *moments, after] == sorted([before, *moments, after])


def test_counters(simulator):
    simulator.job(PLAIN, "a")
    simulator.forget()
    simulator.fault(r"/a\?", delay=0.2)
    net.concurrent_gets(simulator.address, [simulator.path(PLAIN, "a") + f"?{n}" for n in range(10)],
                        simulator.credential_headers)
    get(simulator, PLAIN, "b")
    net.wait_until(lambda: simulator.counters()["connections_open"] == 0, what="connections to close")
    assert simulator.counters() == {
        "total": 11, "by_path": {simulator.path(PLAIN, "a"): 10, simulator.path(PLAIN, "b"): 1},
        "by_status": {"200": 10, "404": 1}, "malformed": 0, "connections": 11, "connections_open": 0,
        "connections_max": 10, "in_flight": 0, "in_flight_max": 10}
    assert simulator.count("/jobs/a") == 10

    simulator.forget()
    assert simulator.counters()["total"] == simulator.counters()["in_flight_max"] == simulator.count() == 0


def test_what_was_under_way_does_not_count_after_a_reset(simulator):
    simulator.fault("", delay=3600)
    with net.Connection(simulator.address) as connection:
        connection.send(net.format_request("/client/v4"))
        net.wait_until(lambda: simulator.counters()["in_flight"] == 1, what="the request to arrive")
        simulator.reset()
        assert connection.at_eof()
    assert simulator.counters() == {
        "total": 0, "by_path": {}, "by_status": {}, "malformed": 0, "connections": 0, "connections_open": 0,
        "connections_max": 0, "in_flight": 0, "in_flight_max": 0}


def test_what_is_no_http_is_counted(simulator):
    with net.Connection(simulator.address) as connection:
        connection.send(b"NOT HTTP\r\n\r\n")
        assert connection.read_response().status == 400
    assert (simulator.counters()["malformed"], simulator.counters()["total"]) == (1, 0)


def test_the_record_has_a_cap_and_the_counters_have_none(tmp):
    with Simulator(tmp, record=5) as simulator:
        for _ in range(8):
            get(simulator, PLAIN)
        assert simulator.counters()["total"] == 8
        seen = simulator.control("GET", "/requests")
        assert (seen["forgotten"], len(seen["requests"])) == (3, 5)
        with pytest.raises(AssertionError, match="more requests"):
            simulator.count()


@pytest.mark.parametrize("most_active", [60, 10])
def test_a_day_of_a_fleet_goes_by_as_planned(simulator, most_active):
    orders = fleet.day(300, most_active=most_active, seconds=6 * 3600)
    assert orders == fleet.day(300, most_active=most_active, seconds=6 * 3600)
    assert fleet.most_active(orders) == most_active or fleet.most_active(orders) < 60 == most_active
    jobs = [job for order in orders for job in order["jobs"]]
    assert len({job["id"] for job in jobs}) == len(jobs) > 300
    assert all(job["appears_in"] <= job["starts_in"] < job["ends_in"] for job in jobs)

    simulator.freeze()
    began = simulator.now()
    simulator.instances(orders)
    for at in range(0, 7 * 3600, 1800):
        simulator.set_clock(began + at)
        counts = simulator.census().values()
        for state, planned in {
            "queued": sum(job["appears_in"] <= at < job["starts_in"] for job in jobs),
            "running": sum(job["starts_in"] <= at < job["ends_in"] for job in jobs),
            "failed": sum(job["ends_in"] <= at and job["end_reason"].startswith("error") for job in jobs),
        }.items():
            assert sum(count[state] for count in counts) == planned


def test_a_fleet_that_starts_at_once(simulator):
    orders = fleet.at_once(300, at=60)
    assert fleet.most_active(orders) == 300
    simulator.freeze()
    simulator.instances(orders)
    assert sum(sum(count.values()) for count in simulator.census().values()) == 0
    simulator.advance(95)
    assert sum(count["running"] for count in simulator.census().values()) == 300
    assert len({instance["id"] for page in (1, 2, 3)
                for instance in listing(simulator, query=f"?page={page}&per_page=100").json()["result"]}) == 300


# The lean listener.


def test_the_lean_listener_is_the_same_api(simulator):
    simulator.freeze()
    simulator.job(PLAIN, "a", state="running", description="größer")
    for headers in (simulator.credential_headers, [], [("Authorization", "Bearer wrong")]):
        for target in (simulator.path(PLAIN, "a"), simulator.path(PLAIN) + "?per_page=50", simulator.path(PLAIN, "b"),
                       simulator.listing(), simulator.resource("namespaces"),
                       simulator.resource(f"{PLAIN}/stats"), "/nowhere"):
            for method in ("GET", "HEAD", "DELETE"):
                expected = net.request(simulator.address, target, headers, method)
                answered = net.request(simulator.lean_unix, target, headers, method)
                assert (answered.status, answered.body) == (expected.status, expected.body), target
    assert len(simulator.requests()) == simulator.counters()["total"] == 2 * 3 * 7 * 3


def test_the_lean_listener_keeps_connections_and_the_limit(simulator):
    simulator.job(PLAIN, "a")
    simulator.limit(3)
    with net.Connection(simulator.lean_unix) as connection:
        connection.send(net.format_request(simulator.path(PLAIN, "a"), simulator.credential_headers) * 4)
        responses = [connection.read_response() for _ in range(4)]
    assert [response.status for response in responses] == [200, 200, 200, 429]
    assert [limit_headers(response)[1] for response in responses] == ["2", "1", "0", "0"]
    assert responses[3].header("Retry-After") == "300"
    assert len({request.connection for request in simulator.requests()}) == 1


def test_its_delay_does_not_hold_others_up(simulator):
    simulator.job(PLAIN, "a")
    simulator.delay(0.5)
    targets = [simulator.path(PLAIN, "a")] * 200
    began = time.monotonic()
    responses = net.concurrent_gets(simulator.lean_unix, targets, simulator.credential_headers)
    assert 0.5 <= time.monotonic() - began < 20
    assert [response.status for response in responses] == [200] * 200
    assert simulator.counters()["in_flight_max"] > 10


def test_what_it_does_not_understand_it_cuts_off(simulator):
    for nonsense in (b"NOT HTTP AT ALL\r\n\r\n", b"GET / HTTP/1.1\r\nContent-Length: 1\r\n\r\nx", b"x" * 20000):
        with net.Connection(simulator.lean_unix) as connection:
            connection.send(nonsense)
            with pytest.raises(ConnectionError):
                connection.read_response()
    assert (simulator.counters()["malformed"], simulator.counters()["total"]) == (3, 0)


def test_those_who_do_not_wait_for_it(simulator):
    simulator.delay(3600)
    with net.Connection(simulator.lean_unix) as connection:
        connection.send(net.format_request(simulator.path(PLAIN), simulator.credential_headers))
        net.wait_until(lambda: simulator.counters()["in_flight"] == 1, what="the request to arrive")
    net.wait_until(lambda: simulator.counters()["in_flight"] == 0, what="the end of the connection to be seen")
    assert simulator.requests()[0].status is None


# The demo, and the process.


def test_the_demo_has_everything(tmp):
    with Simulator(tmp, scenario="demo") as simulator:
        states = set()
        for instance in (PLAIN, "instances/handbook", NAMESPACED, AUTORAG):
            listed = get(simulator, instance).json()
            assert schema.violations(schema.LIST, listed) == []
            states |= {state_of(job) for job in listed["result"]}
        assert states == {"queued", "running", "succeeded", "cancelled", "failed"}
        listed = listing(simulator).json()
        assert schema.violations(schema.INSTANCES, listed) == []
        assert {instance["type"] for instance in listed["result"]} == {"r2", "web-crawler", None}
        assert {instance["paused"] for instance in listed["result"]} == {True, False}
        for instance in listed["result"]:
            name = f"namespaces/{instance['namespace']}/instances/{instance['id']}"
            assert read(simulator, name).json()["result"] == instance
            assert schema.violations(schema.STATS, read(simulator, f"{name}/stats").json()) == []

        before = {job["id"]: state_of(job) for job in result(simulator, PLAIN)}
        simulator.advance(60)
        after = {job["id"]: state_of(job) for job in result(simulator, PLAIN)}
        changes = {(before[job_id], after[job_id]) for job_id in before if before[job_id] != after[job_id]}
        assert changes == {("running", "succeeded"), ("queued", "succeeded")}


def state_of(job):
    if job.get("ended_at") is None:
        return "running" if job.get("started_at") else "queued"
    reason = (job.get("end_reason") or "completed").lower()
    return "cancelled" if "cancel" in reason else "succeeded" if reason in ("completed", "finished") else "failed"


def test_it_comes_back_at_the_same_place(tmp):
    with Simulator(tmp) as simulator:
        port = simulator.port
        simulator.stop()
        with pytest.raises(ConnectionRefusedError):
            net.request(("127.0.0.1", port), "/")
        simulator.start(port)
        assert simulator.port == port
        assert error(get(simulator, PLAIN))[:2] == (404, 7002)


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT])
def test_it_leaves_when_told_whatever_is_under_way(tmp, signum):
    with Simulator(tmp) as simulator:
        simulator.fault("", delay=3600)
        with net.Connection(simulator.address) as busy, net.Connection(simulator.unix):
            busy.send(net.format_request("/client/v4"))
            net.wait_until(lambda: simulator.counters()["in_flight"] == 1, what="the request to arrive")
            os.kill(simulator.pid, signum)
            net.wait_until(lambda: not net.alive(simulator.pid), 5, "the simulator to leave")
    assert not os.path.exists(simulator.unix)


def test_it_leaves_with_whoever_started_it(tmp):
    orphan = (f"import sys, pathlib; sys.path.insert(0, {str(TESTS)!r})\n"
              "from harness.simulator import Simulator\n"
              f"simulator = Simulator(pathlib.Path({str(tmp)!r})); simulator.start()\n"
              "print(simulator.pid, flush=True); sys.stdin.read()")
    with subprocess.Popen([sys.executable, "-c", orphan], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as parent:
        pid = int(parent.stdout.readline())
        assert net.alive(pid)
        parent.kill()
    net.wait_until(lambda: not net.alive(pid), 5, "the simulator to leave")


def test_unix_sockets_alone(tmp):
    argv = [sys.executable, "-m", "simulator", "--no-tcp", "--unix", tmp / "a", "--control-unix", tmp / "c", "--leash"]
    with subprocess.Popen(argv, cwd=TESTS, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        ready = json.loads(child.stdout.readline())
        assert (ready["api"], ready["control"]) == ({"unix": str(tmp / "a")}, {"unix": str(tmp / "c")})
        assert net.request(str(tmp / "a"), "/client/v4").status == 404
        assert net.request(str(tmp / "c"), "/counters").json()["total"] == 1
        child.stdin.close()
        assert child.wait(10) == 0


def test_secrets_are_not_on_the_command_line(tmp):
    with Simulator(tmp) as simulator:
        seen = net.cmdline(simulator.pid) + net.environ(simulator.pid)
        assert simulator.token.encode() not in seen and simulator.key.encode() not in seen
