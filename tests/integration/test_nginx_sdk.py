"""The official TypeScript SDK, with its base URL set to nginx: it does not notice that it is not the API."""

import fcntl
import json
import os
import pathlib
import shutil
import subprocess

import pytest

from gateway import ACCOUNT, account
from harness import ROOT, SLOWNESS, net

SOURCE = pathlib.Path(__file__).with_name("sdk")
HOME = ROOT / "build" / "sdk"  # of all variants of the build
PACKAGE_FILES = ("package.json", "package-lock.json")

INSTANCE = "aiSearch.instances.jobs"
NAMESPACED = "aiSearch.namespaces.instances.jobs"


def installed() -> bool:
    return (HOME / "node_modules").is_dir() and all(
        (HOME / name).exists() and (HOME / name).read_bytes() == (SOURCE / name).read_bytes() for name in PACKAGE_FILES)


def install() -> None:
    """Into the build directory, npm's cache and logs too, which are of no more use then."""
    shutil.rmtree(HOME, ignore_errors=True)
    trial, cache = HOME.with_suffix(".new"), HOME.with_suffix(".cache")
    try:
        trial.mkdir()
        for name in PACKAGE_FILES:
            shutil.copy(SOURCE / name, trial)
        subprocess.run(["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--no-update-notifier",
                        "--logs-max=0", "--fetch-retries=0", "--fetch-timeout=60000", f"--cache={cache}"],
                       cwd=trial, check=True, capture_output=True, timeout=180)
        trial.rename(HOME)
    finally:
        for directory in (trial, cache):
            shutil.rmtree(directory, ignore_errors=True)


@pytest.fixture(scope="session")
def sdk():
    """Installs the SDK, once for all runs; gives a function that makes calls with it."""
    if not (shutil.which("npm") and shutil.which("node")):
        pytest.skip("npm and node are not there to run the official SDK with")
    HOME.parent.mkdir(parents=True, exist_ok=True)
    with open(HOME.with_suffix(".lock"), "w", encoding="ascii") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        try:
            if not installed():
                install()
        except (subprocess.SubprocessError, OSError) as error:
            pytest.skip(f"npm cannot install the official SDK: {type(error).__name__}")
    return make_calls


def make_calls(base_url: str, *calls: dict) -> list[dict]:
    env = {name: value for name, value in os.environ.items() if not name.startswith(("CLOUDFLARE_", "npm_"))}
    env["NODE_PATH"] = str(HOME / "node_modules")
    run = subprocess.run(["node", SOURCE / "calls.js", base_url], input=json.dumps(calls).encode(), check=False,
                         capture_output=True, timeout=60 * SLOWNESS, env=env)
    assert run.returncode == 0, run.stderr.decode()
    return json.loads(run.stdout)


def call(api: str, method: str, *args, iterate: bool = False) -> dict:
    return {"api": api, "method": method, "args": args, "iterate": iterate}


def where(**more) -> dict:
    return {"account_id": ACCOUNT, **more}


@pytest.fixture
def gateway_url(nginx, simulator):
    server = nginx(http=account(simulator), server="location /client/v4/ { aisearch_pass docs; }")
    return server.url + "/client/v4"


def assert_only_our_token(simulator):
    assert simulator.count() > 0
    for request in simulator.requests():
        assert request.header("Authorization") == f"Bearer {simulator.token}"
        assert not any("dummy" in value for _, value in request.headers)


def test_get_a_job_and_its_logs(sdk, gateway_url, simulator):
    simulator.freeze()
    for instance in ("instances/docs", "namespaces/team/instances/docs"):
        simulator.job(instance, "a", state="failed", description=instance)
    job, logs, namespaced, namespaced_logs = sdk(
        gateway_url,
        call(INSTANCE, "get", "a", where(id="docs")),
        call(INSTANCE, "logs", "a", where(id="docs", page=1, per_page=2)),
        call(NAMESPACED, "get", "a", where(name="team", id="docs")),
        call(NAMESPACED, "logs", "a", where(name="team", id="docs")))

    def upstream(*args, query=""):
        target = simulator.path(*args) + query
        return net.request(simulator.address, target, simulator.credential_headers).json()["result"]

    assert job["value"] == upstream("instances/docs", "a")
    assert job["value"]["end_reason"] == "error: could not read the source"
    assert logs["value"] == upstream("instances/docs", "a", True, query="?page=1&per_page=2")
    assert len(logs["value"]) == 2
    assert namespaced["value"] == upstream("namespaces/team/instances/docs", "a")
    assert namespaced_logs["value"] == upstream("namespaces/team/instances/docs", "a", True)
    assert_only_our_token(simulator)


def test_what_is_missing_is_its_not_found_error(sdk, gateway_url, simulator):
    simulator.instance("instances/docs")
    results = sdk(gateway_url,
                  call(INSTANCE, "get", "a", where(id="docs")),
                  call(INSTANCE, "get", "a", where(id="docs")),
                  call(NAMESPACED, "get", "a", where(name="nowhere", id="docs")),
                  call(INSTANCE, "list", "other", where(), iterate=True))
    assert [(result["error"], result["status"]) for result in results] == [("NotFoundError", 404)] * 4
    assert [result["errors"][0]["code"] for result in results] == [7021, 7021, 7063, 7002]
    assert simulator.count() == 3
    assert_only_our_token(simulator)


@pytest.mark.parametrize("per_page, pages", [(None, 6), (50, 3)])
def test_a_list_of_120_jobs_to_the_end(sdk, gateway_url, simulator, per_page, pages):
    jobs = [f"job-{n}" for n in range(120)]
    for instance in ("instances/docs", "namespaces/team/instances/docs"):
        simulator.instance(instance, [{"id": job} for job in jobs])
    page = {} if per_page is None else {"per_page": per_page}
    results = sdk(gateway_url,
                  call(INSTANCE, "list", "docs", where(**page), iterate=True),
                  call(NAMESPACED, "list", "docs", where(name="team", **page), iterate=True))
    for result in results:
        assert sorted(job["id"] for job in result["value"]) == sorted(jobs)
    assert simulator.count() == 2 * (pages + 1)  # it asks until a page is empty
    assert_only_our_token(simulator)


def test_writes_and_failures_are_its_own_errors(sdk, gateway_url, simulator):
    simulator.job("instances/docs", "a")
    simulator.fault("/jobs/limited$", status=429, headers=[["Retry-After", "60"]])
    create, cancel, limited, nonsense = sdk(
        gateway_url,
        call(INSTANCE, "create", "docs", where()),
        call(NAMESPACED, "update", "a", where(name="default", id="docs", action="cancel")),
        call(INSTANCE, "get", "limited", where(id="docs")),
        call(INSTANCE, "get", "a", where(id="DOCS")))
    assert [(result["error"], result["status"], result["errors"][0]["code"]) for result in (create, cancel)] == [
        ("APIError", 405, 405)] * 2
    assert (limited["error"], limited["status"]) == ("InternalServerError", 503)
    assert (nonsense["error"], nonsense["status"]) == ("BadRequestError", 400)
    assert {request.method for request in simulator.requests()} == {"GET"}


def test_credential_that_the_api_refuses_is_the_servers_error(sdk, gateway_url, simulator):
    simulator.fault("/jobs/", status=403, body='{"success":false,"errors":[{"code":10000,"message":"no"}]}')
    [refused] = sdk(gateway_url, call(INSTANCE, "get", "a", where(id="docs")))
    assert (refused["error"], refused["status"]) == ("InternalServerError", 502)
