"""
A tour of a simulated API, with a real nginx and a real collectd in front of it, on loopback. They keep running after
the tour, unless --once is given. Everything that is shown is also checked, and unexpected results are errors.
"""

import argparse
import contextlib
import grp
import itertools
import json
import os
import pathlib
import shlex
import signal
import string
import subprocess
import sys
import textwrap
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "tests"))

from harness import net, page, temp_dir
from harness.collectd import Collectd, Config as CollectdConfig
from harness.nginx import Config as NginxConfig, Nginx
from harness.simulator import ACCOUNT, Simulator

JOB = "3f1e2d4c-5b6a-4789-8abc-000000000005"  # from the scenario: running when the tour begins, and ends 20 s later

NGINX_HTTP = """\
aisearch_account docs {
    account_id  @ACCOUNT@;
    token_file  @TOKEN_FILE@;
    api_url     @API_URL@;
    instance    my-ai-search handbook support/tickets;
}
"""

NGINX_SERVER = """\
aisearch_valid active 5s;
location /client/v4/ {
    aisearch_pass docs;
    aisearch_events on;
    aisearch_valid active 5s;
    aisearch_valid list 4s;
}
location ~ ^/jobs/(?<inst>[^/]+)/(?<job>[^/]+)$ {
    aisearch_pass docs instances/$inst/jobs/$job;
}
location = /aisearch_status {
    aisearch_status;
}
"""

COLLECTD = """\
<Account "docs">
  AccountID "@ACCOUNT@"
  APIURL "http://unix:@NGINX_SOCKET@:/client/v4"
  ActiveInterval 2
  Instance "my-ai-search"
  Instance "handbook"
</Account>
<Account "direct">
  AccountID "@ACCOUNT@"
  APIURL "@API_URL@"
  TokenFile "@TOKEN_FILE@"
  <Instance "tickets">
    Namespace "support"
  </Instance>
</Account>
"""

UNIXSOCK = """\
LoadPlugin unixsock
<Plugin unixsock>
  SocketFile "@SOCKET@"
  SocketGroup "@GROUP@"
  SocketPerms "0600"
</Plugin>
"""


class Wrong(Exception):
    """An unexpected result."""


class Stopped(BaseException):
    """The demo was stopped by a signal."""

    def __init__(self, signum: int) -> None:
        super().__init__()
        self.signum = signum


def expect(what: str, got: object, wanted: object) -> None:
    if got != wanted:
        raise Wrong(f"{what} is {got!r}, and should be {wanted!r}")


# ---- output ---------------------------------------------------------------------------------------------------------

# The output of each step must fit on a screen.
LINES, COLUMNS = 24, 100
INDENT = "    "

_steps = 0
_lines = 0


def step(text: str) -> None:
    global _steps, _lines
    _steps, _lines = _steps + 1, 1
    print(f"\n{_steps}. {text}\n", flush=True)


def show(text: str) -> None:
    global _lines
    lines = text.rstrip("\n").split("\n")
    _lines += len(lines)
    if _lines > LINES or max(map(len, lines)) > COLUMNS - len(INDENT):
        raise Wrong(f"a step is too large for a screen of {LINES} lines and {COLUMNS} columns:\n{text}")
    print(textwrap.indent(text.rstrip("\n"), INDENT), flush=True)


def shorten(text: str, length: int) -> str:
    return text if len(text) <= length else f"{text[:length]}... ({len(text)} bytes)"


def fill(template: str, **values: object) -> str:
    for name, value in values.items():
        template = template.replace(f"@{name}@", str(value))
    return template


# ---- requests -------------------------------------------------------------------------------------------------------


class Answer:
    def __init__(self, raw: str) -> None:
        head, _, self.body = raw.partition("\n\n")
        status, *lines = head.splitlines()
        self.status = int(status.split()[1])
        self.status_line = status
        self.headers = dict(line.split(": ", 1) for line in lines)

    def header(self, name: str) -> str | None:
        return next((value for key, value in self.headers.items() if key.lower() == name.lower()), None)

    def json(self):
        return json.loads(self.body)


def curl(url: str, *options: str) -> Answer:
    run = subprocess.run(["curl", "-si", "--noproxy", "*", "--max-time", "20", *options, url], capture_output=True,
                         check=False, text=True)
    if run.returncode != 0:
        raise Wrong(f"curl {url} ended with {run.returncode}")
    return Answer(run.stdout.replace("\r\n", "\n"))


SHOWN = ("Allow", "Cache-Control", "Age", "X-Aisearch-State", "X-Aisearch-Cache")


def show_curl(command: str, variables: dict[str, str], *options: str) -> Answer:
    """Shows and runs the command as typed in a shell with these variables."""
    show(f"$ curl -si {' '.join((*map(shlex.quote, options), command))}")
    answer = curl(string.Template(command.strip('"')).substitute(variables), *options)
    show(answer.status_line)
    for name in SHOWN:
        if answer.header(name) is not None:
            show(f"{name}: {answer.header(name)}")
    show("\n".join(textwrap.wrap(shorten(answer.body.strip(), 150), COLUMNS - len(INDENT), break_on_hyphens=False)))
    return answer


# ---- the tour -------------------------------------------------------------------------------------------------------


def tour_nginx(nginx: Nginx, simulator: Simulator) -> None:
    variables = {"url": nginx.url, "api": f"{nginx.url}/client/v4/accounts/{ACCOUNT}/ai-search", "job": JOB}

    step("A job. The client has no credential; nginx adds one and requests the job from the API.")
    show(f"$ url={variables['url']} job={variables['job']}")
    answer = show_curl("$url/jobs/my-ai-search/$job", variables)
    expect("the status", answer.status, 200)
    expect("the job", answer.json()["result"]["id"], JOB)
    expect("X-Aisearch-State", answer.header("X-Aisearch-State"), "running")
    expect("X-Aisearch-Cache", answer.header("X-Aisearch-Cache"), "MISS")

    step("The same job under the API's own path, which the official SDKs use. It comes from the cache.")
    show(f"$ api={variables['api']}")
    answer = show_curl("$api/instances/my-ai-search/jobs/$job", variables, "-H", "Authorization: Bearer anything")
    expect("the status", answer.status, 200)
    expect("X-Aisearch-Cache", answer.header("X-Aisearch-Cache"), "HIT")

    step("The list of an instance's jobs, and a job's log.")
    answer = show_curl('"$api/instances/my-ai-search/jobs?per_page=3"', variables)
    expect("the status", answer.status, 200)
    expect("the number of jobs", len(answer.json()["result"]), 3)
    show("")
    answer = show_curl("$api/instances/my-ai-search/jobs/$job/logs", variables)
    expect("the status", answer.status, 200)
    expect("success", answer.json()["success"], True)

    step("Errors: a job that does not exist, a write, and an instance that nginx does not allow.")
    answer = show_curl("$url/jobs/my-ai-search/no-such-job", variables)
    expect("the status", answer.status, 404)
    expect("the error", answer.json()["errors"][0]["message"], "job_not_found")
    show("")
    answer = show_curl("$api/instances/my-ai-search/jobs", variables, "-X", "POST")
    expect("the status", answer.status, 405)
    show("")
    answer = show_curl("$url/jobs/payroll/$job", variables)
    expect("the status", answer.status, 403)

    step("The requests that the API received, each with nginx's token, and the number that nginx counted.")
    seen = simulator.requests()
    for request in seen:
        expect("the credential of a request", request.header("Authorization"), f"Bearer {simulator.token}")
        expect("the method of a request", request.method, "GET")
        show(f"{request.method} ...{request.target.partition('/instances')[2]}  {request.status}")
    expect("the number of requests", len(seen), 4)
    calls = curl(f"{nginx.url}/aisearch_status").json()["accounts"]["docs"]["calls"]
    show(f"\n$ curl -s $url/aisearch_status | jq .accounts.docs.calls\n{calls}")
    expect("the number of calls that nginx counted", calls, 4)


def tour_collectd(collectd: Collectd, plugin: str) -> None:
    step("collectd sends lookups without a credential to nginx (docs), or with one to the API itself (direct).")
    show(f"<Plugin aisearch>\n{textwrap.indent(plugin, '  ')}</Plugin>")

    step("Some of the values that collectd reports. gauge-state is the state of the newest job.")
    wanted = {"docs": ("docs-my-ai-search", "docs-handbook"), "direct": ("direct-tickets@support",)}

    def complete(account: str) -> dict[str, float] | None:
        _, report = collectd.last_report(account)
        return report if all(f"{instance}/gauge-state" in report for instance in wanted[account]) else None

    reports = {account: net.wait_until(lambda: complete(account), 15, "collectd to report all instances", every=0.2)
               for account in wanted}
    for account, report in reports.items():
        errors = {name: value for name, value in report.items() if name.startswith(f"{account}/errors-")}
        expect("the errors", [name for name, value in errors.items() if value != 0], [])
    docs, direct = reports["docs"], reports["direct"]
    expect("the state of a queued job", docs["docs-my-ai-search/gauge-state"], 0)
    expect("the state of a running job", docs["docs-handbook/gauge-state"], 1)
    expect("the state of another running job", direct["direct-tickets@support/gauge-state"], 1)
    expect("whether a job is stalled", direct["direct-tickets@support/gauge-stalled"], 1)
    show_values(docs, {
        "docs-my-ai-search/gauge-state": "queued behind the running job",
        "docs-my-ai-search/operations-succeeded": "jobs",
        "docs-my-ai-search/operations-failed": "jobs",
        "docs-my-ai-search/duration-since_success": "seconds",
        "docs-my-ai-search/duration-since_read": "seconds: how old this is",
        "docs-handbook/gauge-state": "running",
        "docs-handbook/duration-job": "seconds",
        "docs/http_requests": "requests to nginx",
        "docs/percent-budget_left": "percent"})
    show_values(direct, {
        "direct-tickets@support/gauge-state": "running",
        "direct-tickets@support/gauge-stalled": "yes: another job has been silent"})


def show_values(values: dict[str, float], meanings: dict[str, str]) -> None:
    for name, meaning in meanings.items():
        show(f"aisearch-{name:40} {values[name]:7.0f}  {meaning}")


def tour_end(nginx: Nginx, collectd: Collectd) -> None:
    url = f"{nginx.url}/jobs/my-ai-search/{JOB}"
    step("The job ends. A client requests it every second and never waits: nginx refreshes it in the background.")
    show("$ while sleep 1; do curl -si $url/jobs/my-ai-search/$job; done")

    deadline = time.monotonic() + 60
    before = None
    while True:
        answer = curl(url)
        expect("the status", answer.status, 200)
        state, cache = answer.header("X-Aisearch-State"), answer.header("X-Aisearch-Cache")
        if (state, cache) != before:
            show(f"{time.strftime('%T')}  {state:9}  {cache:8}  Age: {answer.header('Age')}  "
                 f"Cache-Control: {answer.header('Cache-Control')}")
        before = state, cache
        if state != "running":
            break
        if time.monotonic() > deadline:
            raise Wrong("the job never ended")
        time.sleep(1)
    expect("the state", state, "succeeded")
    expect("Cache-Control of a job that has ended", answer.header("Cache-Control"), "private, max-age=86400")

    step("collectd has noticed that the job has succeeded.")
    since = "docs-my-ai-search/duration-since_success"

    def noticed() -> dict[str, float] | None:
        _, report = collectd.last_report("docs")
        return report if report.get(since, 3600) < 60 else None

    values = net.wait_until(noticed, 20, "collectd to notice", every=0.2)
    expect("the number of jobs that have succeeded", values["docs-my-ai-search/operations-succeeded"], 1)
    show_values(values, {"docs-my-ai-search/operations-succeeded": "jobs", since: "seconds"})


def tour_page(nginx: Nginx) -> None:
    step("A page for users. Open it in a browser:")
    answer = curl(f"{nginx.url}{page.PATH}")
    expect("the status", answer.status, 200)
    expect("the page", "<title>AI Search jobs</title>" in answer.body, True)
    show(f"{nginx.url}{page.PATH}")


def live(simulator: Simulator) -> None:
    """Adds a job that succeeds, one that fails and a queued one each minute, so that the page shows changes."""
    for number in itertools.count(100):
        simulator.job("instances/my-ai-search", f"{JOB[:-3]}{number}", source="user", description="Runs, and ends well",
                      starts_in=2, ends_in=40, end_reason="completed")
        simulator.job("instances/my-ai-search", f"{JOB[:-4]}1{number}", source="schedule", starts_in=40, ends_in=55)
        simulator.job("namespaces/support/instances/tickets", f"{JOB[:-3]}{number}", source="user", description="Fails",
                      starts_in=10, ends_in=30, end_reason="error: source not reachable")
        time.sleep(60)


def stay(nginx: Nginx, simulator: Simulator, socket_path: pathlib.Path) -> None:
    step("Everything keeps running until Ctrl-C, and the page shows new jobs. More to try:")
    show(f"curl -si {nginx.url}/jobs/my-ai-search/{JOB}\n"
         f"curl -s '{nginx.url}/aisearch_status?format=prometheus'\n"
         f"collectdctl -s {socket_path} listval        (Debian: collectd-utils)\n"
         f"{nginx.prefix}/nginx.conf, {nginx.prefix}/error.log")
    try:
        live(simulator)
    except Stopped as stopped:
        if stopped.signum != signal.SIGINT:
            raise
        print("\nStopping.", flush=True)


# ---- main -----------------------------------------------------------------------------------------------------------


def start_and_tour(stack: contextlib.ExitStack, tmp: pathlib.Path, once: bool) -> None:
    simulator = stack.enter_context(Simulator(tmp, "demo", limit=1200))
    places = {"ACCOUNT": ACCOUNT, "TOKEN_FILE": simulator.token_file, "API_URL": simulator.url}

    http = fill(NGINX_HTTP, **places)
    print("A simulated API, a real nginx and a real collectd, on loopback. nginx's configuration, without\n"
          f"the location {page.PATH}, which is the one in config/nginx.conf:\n")
    show(f"{http}\n{NGINX_SERVER}")
    nginx = stack.enter_context(Nginx(tmp, NginxConfig(http=http, server=NGINX_SERVER + page.location(tmp), workers=2)))
    plugin = fill(COLLECTD, NGINX_SOCKET=nginx.socket, **places)

    tour_nginx(nginx, simulator)
    socket_path = tmp / "collectd.sock"
    extra = fill(UNIXSOCK, SOCKET=socket_path, GROUP=grp.getgrgid(os.getegid()).gr_name)
    collectd = stack.enter_context(Collectd(tmp, CollectdConfig(aisearch=plugin, extra=extra, interval=1)))
    tour_collectd(collectd, plugin)
    tour_end(nginx, collectd)
    tour_page(nginx)
    print("\nAll results are as expected.", flush=True)

    if not once:
        stay(nginx, simulator, socket_path)


def run(once: bool) -> int:
    with temp_dir() as tmp, contextlib.ExitStack() as stack:
        try:
            start_and_tour(stack, tmp, once)
        except Stopped as stopped:
            print("\nStopping.", flush=True)
            return 128 + stopped.signum
    return 0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--once", action="store_true", help="exit after the tour")
    arguments = parser.parse_args()
    signals = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

    def leave(signum: int, _frame) -> None:
        for other in signals:  # ignored from now on: cleaning up takes a moment
            signal.signal(other, signal.SIG_IGN)
        raise Stopped(signum)

    for signum in signals:
        signal.signal(signum, leave)
    try:
        return run(arguments.once)
    except (Wrong, AssertionError, OSError) as error:
        print(f"\nWRONG: {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
