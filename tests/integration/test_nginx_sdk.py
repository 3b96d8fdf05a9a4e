"""The official TypeScript SDK, with nginx as its base URL, works as it does with the API."""

import json
import pathlib
import subprocess

import pytest

from clients import DUMMY_TOKEN, api_url, assert_only_our_token, environment, gateway, packages, wrong_token
from gateway import ACCOUNT, direct
from harness import SLOWNESS

CALLS = pathlib.Path(__file__).with_name("sdk") / "calls.js"

INSTANCES = "aiSearch.instances"
JOBS = "aiSearch.instances.jobs"
NAMESPACES = "aiSearch.namespaces"
NAMESPACED = "aiSearch.namespaces.instances"
NAMESPACED_JOBS = "aiSearch.namespaces.instances.jobs"

# Seconds: the SDK's own two retries must not delay its caller if they are pointless.
PATIENCE = 2 * SLOWNESS

# One of each status and kind; test_nginx_api.py checks all of them without the SDK.
REFUSALS = ("401", "403_10000", "403_9109", "400_9106", "400_6003_6111")


@pytest.fixture(scope="session")
def sdk():
    """Installs the SDK once for all runs; returns a function that makes calls with it."""
    home = packages("sdk", "the official SDK")

    def make_calls(base_url: str, *calls: dict) -> list[dict]:
        run = subprocess.run(["node", CALLS, base_url, DUMMY_TOKEN], input=json.dumps(calls).encode(), check=False,
                             capture_output=True, timeout=60 * SLOWNESS,
                             env=environment(NODE_PATH=str(home / "node_modules")))
        assert run.returncode == 0, run.stderr.decode()
        return json.loads(run.stdout)

    return make_calls


def call(api: str, method: str, *args, iterate: bool = False) -> dict:
    return {"api": api, "method": method, "args": args, "iterate": iterate}


def where(**more) -> dict:
    return {"account_id": ACCOUNT, **more}


@pytest.fixture
def gateway_url(nginx, simulator):
    return api_url(gateway(nginx, simulator))


def upstream(simulator, path: str):
    """The API's own response, in the form in which the SDK returns it."""
    return direct(simulator, path).json()["result"]


def test_get_a_job_and_its_logs(sdk, gateway_url, simulator):
    simulator.freeze()
    for instance in ("instances/docs", "namespaces/team/instances/docs"):
        simulator.job(instance, "a", state="failed", description=instance)
    job, logs, namespaced, namespaced_logs = sdk(
        gateway_url,
        call(JOBS, "get", "a", where(id="docs")),
        call(JOBS, "logs", "a", where(id="docs", page=1, per_page=2)),
        call(NAMESPACED_JOBS, "get", "a", where(name="team", id="docs")),
        call(NAMESPACED_JOBS, "logs", "a", where(name="team", id="docs")))

    def of_job(*args, query=""):
        return upstream(simulator, simulator.path(*args) + query)

    assert job["value"] == of_job("instances/docs", "a")
    assert job["value"]["end_reason"] == "error: could not read the source"
    assert logs["value"] == of_job("instances/docs", "a", True, query="?page=1&per_page=2")
    assert len(logs["value"]) == 2
    assert namespaced["value"] == of_job("namespaces/team/instances/docs", "a")
    assert namespaced_logs["value"] == of_job("namespaces/team/instances/docs", "a", True)
    assert_only_our_token(simulator)


def test_500_log_entries_in_one_call(sdk, gateway_url, simulator):
    entries = [{"id": n, "created_at": 1763902700 + n, "message": f"entry {n}", "message_type": 0} for n in range(700)]
    for instance in ("instances/docs", "namespaces/team/instances/docs"):
        simulator.job(instance, "a", state="running", logs=entries)
    results = sdk(gateway_url,
                  call(JOBS, "logs", "a", where(id="docs", page=2, per_page=500)),
                  call(NAMESPACED_JOBS, "logs", "a", where(name="team", id="docs", per_page=500)))
    assert [result["value"] for result in results] == [entries[500:], entries[:500]]


def test_instances_and_their_stats(sdk, gateway_url, simulator):
    simulator.freeze()
    simulator.instance("instances/docs", stats={"completed": 7, "outdated": 23, "queued": 0})
    simulator.instance("namespaces/team/instances/docs", type="web-crawler", sync_interval=900)
    results = sdk(gateway_url,
                  call(INSTANCES, "read", "docs", where()),
                  call(INSTANCES, "stats", "docs", where()),
                  call(NAMESPACED, "read", "docs", where(name="team")),
                  call(NAMESPACED, "stats", "docs", where(name="team")))
    names = ("instances/docs", "instances/docs/stats", "namespaces/team/instances/docs",
             "namespaces/team/instances/docs/stats")
    assert [result["value"] for result in results] == [upstream(simulator, simulator.resource(name)) for name in names]
    assert results[1]["value"]["outdated"] == 23
    assert (results[2]["value"]["type"], results[2]["value"]["sync_interval"]) == ("web-crawler", 900)
    assert_only_our_token(simulator)


def test_namespaces(sdk, gateway_url, simulator):
    for name in ("team", "tests", "other"):
        simulator.namespace(name, f"of {name}")
    every, found, one = sdk(gateway_url,
                            call(NAMESPACES, "list", where(), iterate=True),
                            call(NAMESPACES, "list", where(search="te"), iterate=True),
                            call(NAMESPACES, "read", "team", where()))
    assert every["value"] == upstream(simulator, simulator.resource("namespaces"))
    assert sorted(namespace["name"] for namespace in found["value"]) == ["team", "tests"]
    assert one["value"] == upstream(simulator, simulator.resource("namespaces/team"))
    assert one["value"]["description"] == "of team"
    assert_only_our_token(simulator)


def test_lists_of_instances_with_filters(sdk, gateway_url, simulator):
    for name in ("docs", "docs-old", "blog"):
        simulator.instance(f"instances/{name}", type="web-crawler", source=f"{name}.example.com")
        simulator.instance(f"namespaces/team/instances/{name}", type="web-crawler", source=f"{name}.example.com")
    filters = (
        {"search": "docs"},
        {"hostname": "blog.example.com"},
        {"order_by": "created_at", "order_by_direction": "desc", "per_page": 2},
        {"namespace": "team", "search": "docs"},
    )
    results = sdk(gateway_url,
                  *[call(INSTANCES, "list", where(**asked), iterate=True) for asked in filters],
                  *[call(NAMESPACED, "list", "team", where(**asked), iterate=True) for asked in filters[:3]])

    def told(listing, asked):
        query = "&".join(f"{key}={value}" for key, value in asked.items() if key != "per_page")
        return upstream(simulator, f"{listing}?{query}")

    assert [result["value"] for result in results] == [
        *[told(simulator.listing(), asked) for asked in filters],
        *[told(simulator.listing("team"), asked) for asked in filters[:3]]]
    assert [len(result["value"]) for result in results] == [4, 2, 6, 2, 2, 1, 3]
    assert_only_our_token(simulator)


def test_a_missing_resource_is_a_not_found_error(sdk, gateway_url, simulator):
    simulator.instance("instances/docs")
    results = sdk(gateway_url,
                  call(JOBS, "get", "a", where(id="docs")),
                  call(JOBS, "get", "a", where(id="docs")),
                  call(NAMESPACED_JOBS, "get", "a", where(name="nowhere", id="docs")),
                  call(JOBS, "list", "other", where(), iterate=True))
    assert [(result["error"], result["status"]) for result in results] == [("NotFoundError", 404)] * 4
    assert [result["errors"][0]["code"] for result in results] == [7021, 7021, 7063, 7002]
    assert simulator.count() == 3
    assert_only_our_token(simulator)


@pytest.mark.parametrize("per_page, pages", [(None, 6), (50, 3)])
def test_a_list_of_120_jobs_over_all_pages(sdk, gateway_url, simulator, per_page, pages):
    jobs = [f"job-{n}" for n in range(120)]
    for instance in ("instances/docs", "namespaces/team/instances/docs"):
        simulator.instance(instance, [{"id": job} for job in jobs])
    page = {} if per_page is None else {"per_page": per_page}
    results = sdk(gateway_url,
                  call(JOBS, "list", "docs", where(**page), iterate=True),
                  call(NAMESPACED_JOBS, "list", "docs", where(name="team", **page), iterate=True))
    for result in results:
        assert sorted(job["id"] for job in result["value"]) == sorted(jobs)
    assert simulator.count() == 2 * (pages + 1)  # the SDK continues until a page is empty
    assert_only_our_token(simulator)


def test_writes_and_failures_are_errors_of_the_sdk(sdk, gateway_url, simulator):
    simulator.job("instances/docs", "a")
    simulator.fault("/jobs/limited$", status=429, headers=[["Retry-After", "60"]])
    results = sdk(
        gateway_url,
        call(JOBS, "create", "docs", where()),
        call(NAMESPACED_JOBS, "update", "a", where(name="default", id="docs", action="cancel")),
        call(JOBS, "get", "limited", where(id="docs")),
        call(JOBS, "get", "a", where(id="DOCS")))
    create, cancel, limited, nonsense = results
    assert [(result["error"], result["status"], result["errors"][0]["code"]) for result in (create, cancel)] == [
        ("APIError", 405, 405)] * 2
    assert (limited["error"], limited["status"]) == ("InternalServerError", 503)
    assert (nonsense["error"], nonsense["status"]) == ("BadRequestError", 400)
    assert max(result["took"] for result in results) < PATIENCE
    assert {request.method for request in simulator.requests()} == {"GET"}


@pytest.mark.parametrize("form", REFUSALS)
def test_a_rejected_credential_is_an_immediate_server_error(sdk, nginx, simulator, tmp, form):
    simulator.refusal(form)
    server = gateway(nginx, simulator, credential=wrong_token(tmp))
    results = sdk(api_url(server),
                  call(JOBS, "get", "a", where(id="docs")),
                  call(JOBS, "get", "a", where(id="docs")),
                  call(NAMESPACED, "stats", "docs", where(name="team")))
    assert [(result["error"], result["status"]) for result in results] == [("InternalServerError", 502)] * 3
    assert max(result["took"] for result in results) < PATIENCE
    assert simulator.count() == 1


def test_a_spent_budget_is_an_immediate_server_error(sdk, nginx, simulator):
    simulator.instance("instances/docs", [{"id": "a"}, {"id": "b"}])
    server = gateway(nginx, simulator, "budget 1 300s;")
    first, *others = sdk(api_url(server),
                         call(JOBS, "get", "a", where(id="docs")),
                         call(JOBS, "get", "b", where(id="docs")),
                         call(JOBS, "get", "b", where(id="docs")))
    assert first["value"]["id"] == "a"
    assert [(result["error"], result["status"]) for result in others] == [("InternalServerError", 503)] * 2
    assert max(result["took"] for result in others) < PATIENCE
    assert simulator.count() == 1


def test_the_sdk_retries_after_a_short_failure(sdk, nginx, simulator):
    simulator.job("instances/docs", "a")
    simulator.fault("/jobs/a$", times=1, status=502, body="<html>bad gateway</html>")
    server = gateway(nginx, simulator, "retries 0;", location="aisearch_valid error 1s;")
    [mended] = sdk(api_url(server), call(JOBS, "get", "a", where(id="docs")))
    assert mended["value"]["id"] == "a"
    assert simulator.count() == 2


@pytest.mark.parametrize("status, body", [
    (429, ""), (502, "<html>bad gateway</html>"), (503, '{"success":false,"errors":[{"code":7017,"message":"no"}]}')])
@pytest.mark.parametrize("seconds, should_retry", [(5, None), (60, "false")])
def test_pointless_retries_are_discouraged(nginx, simulator, status, body, seconds,
                                                                   should_retry):
    simulator.fault("/jobs/a$", status=status, headers=[["Retry-After", f"{seconds}"]], body=body)
    server = gateway(nginx, simulator)
    for _ in range(2):
        answer = server.get("/client/v4/instances/docs/jobs/a")
        assert answer.status in (502, 503)
        assert answer.header("X-Should-Retry") == should_retry
    assert simulator.count() == 1
