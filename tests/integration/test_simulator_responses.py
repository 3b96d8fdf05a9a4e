"""The simulator's responses: they match the API reference, or deviate from it as configured."""

import pytest

from harness import net
from harness.simulator import ACCOUNT
from simulator import schema
from simulator_requests import AUTORAG, GENERATIONS, NAMESPACED, PLAIN, answer_of, error, get, read, result


# Schema.


@pytest.mark.parametrize("instance", GENERATIONS)
@pytest.mark.parametrize("missing", ["null", "absent"])
@pytest.mark.parametrize("times", ["rfc3339", "fraction", "offset", "plain", "zoneless"])
def test_responses_follow_the_schema(simulator, instance, missing, times):
    states = ("queued", "running", "succeeded", "failed", "cancelled", "superseded")
    details = {"missing": missing, "times": times, "source": "schedule"}
    simulator.instance(instance, [{"id": state, "state": state, **details} for state in states])
    for state in states:
        assert schema.violations(schema.JOB, get(simulator, instance, state).json()) == []
        assert schema.violations(schema.LOGS, get(simulator, instance, state, logs=True).json()) == []
    assert schema.violations(schema.LIST, get(simulator, instance).json()) == []


@pytest.mark.parametrize("invalid", [
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
def test_schema_rejects_invalid_jobs(invalid):
    assert schema.violations(schema.JOB, {"success": True, "result": {"id": "a", "source": "user"}}) == []
    assert schema.violations(schema.JOB, invalid) != []


def test_schema_accepts_missing_but_not_invalid_result_info():
    for info in ({}, {"result_info": {}}, {"result_info": {"count": 0, "per_page": 50}}):
        assert schema.violations(schema.LIST, {"success": True, "result": [], **info}) == []
    assert schema.violations(schema.LIST, {"success": True, "result": [], "result_info": {"count": "0"}}) != []


@pytest.mark.parametrize("invalid", [
    {"created_at": None}, {"type": "s3"}, {"sync_interval": 60}, {"enable": 1}, {"paused": None}, {"status": None},
    {"namespace": "team_blue"}, {"namespace": "-team"}, {"last_activity": 5},
])
def test_schema_rejects_invalid_instances(invalid):
    instance = {"id": "a", "created_at": "2026-05-01 08:00:00", "modified_at": "2026-05-01 08:00:00",
                "namespace": "team--blue", "type": None}
    assert schema.violations(schema.INSTANCE, {"success": True, "result": instance}) == []
    assert schema.violations(schema.INSTANCE, {"success": True, "result": {**instance, **invalid}}) != []


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


def test_extra_fields_are_included(simulator):
    simulator.job(PLAIN, "a", extra={"new_field": {"x": [1]}, "source": "cron"})
    assert result(simulator, PLAIN, "a")["new_field"] == {"x": [1]}
    assert result(simulator, PLAIN, "a")["source"] == "cron"


def test_plain_paths_mean_the_default_namespace(simulator):
    simulator.job(PLAIN, "a")
    assert result(simulator, f"namespaces/default/{PLAIN}", "a")["id"] == "a"


def test_head_returns_only_headers(simulator):
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


def test_only_reads_are_supported(simulator):
    simulator.job(PLAIN, "a")
    response = get(simulator, PLAIN, method="POST")
    assert error(response)[0] == 405
    assert response.header("Allow") == "GET, HEAD"


# A server that supports only one form of paths.


@pytest.mark.parametrize("form", ["400_7003", "404_7000"])
def test_server_with_one_form_of_paths(simulator, form):
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


# Deviations.


def test_partial_and_missing_result_info(simulator):
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


def test_lists_can_ignore_the_page_number(simulator):
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
