"""
A tour: a simulated API, a real nginx and a real collectd in front of it, on loopback, for as long as it takes. With
--once it ends after the tour. Whatever it shows it checks as well, and fails where something is not as it should be.
"""

import argparse
import contextlib
import grp
import itertools
import json
import os
import pathlib
import signal
import subprocess
import sys
import textwrap
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "tests"))

from harness import net, page, temp_dir
from harness.collectd import Collectd, Config as CollectdConfig
from harness.nginx import Config as NginxConfig, Nginx
from harness.simulator import ACCOUNT, Simulator

JOB = "3f1e2d4c-5b6a-4789-8abc-000000000005"  # of the scenario: runs when the tour begins, and ends 20 s later

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
  <Instance "my-ai-search">
  </Instance>
  <Instance "handbook">
  </Instance>
</Account>
<Account "direct">
  AccountID "@ACCOUNT@"
  APIURL "@API_URL@"
  TokenFile "@TOKEN_FILE@"
  <Instance "tickets">
    Namespace "support"
  </Instance>
  <Instance "old-docs">
    Generation "autorag"
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
    """Something that was shown is not as it should be."""


class Stopped(BaseException):
    """By a signal."""

    def __init__(self, signum: int) -> None:
        super().__init__()
        self.signum = signum


def expect(what: str, got: object, wanted: object) -> None:
    if got != wanted:
        raise Wrong(f"{what} is {got!r}, and should be {wanted!r}")


# ---- what it prints -------------------------------------------------------------------------------------------------

_steps = 0


def step(text: str) -> None:
    global _steps
    _steps += 1
    print(f"\n{_steps}. {text}\n", flush=True)


def show(text: str) -> None:
    print(textwrap.indent(text.rstrip("\n"), "    "), flush=True)


def fill(template: str, **values: object) -> str:
    for name, value in values.items():
        template = template.replace(f"@{name}@", str(value))
    return template


# ---- what it asks ---------------------------------------------------------------------------------------------------


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


def show_curl(url: str, *options: str) -> Answer:
    words = [f"'{word}'" if set(word) & set(" ?&") else word for word in (*options, url)]
    show(f"$ curl -si {' '.join(words)}")
    answer = curl(url, *options)
    show(answer.status_line)
    for name in ("Allow", "Cache-Control", "Age", "ETag", "X-Aisearch-State", "X-Aisearch-Cache"):
        if answer.header(name) is not None:
            show(f"{name}: {answer.header(name)}")
    body = answer.body
    show(body if len(body) <= 400 else f"{body[:400]}... ({len(body)} bytes)")
    print()
    return answer


# ---- the tour -------------------------------------------------------------------------------------------------------


def tour_nginx(nginx: Nginx, simulator: Simulator) -> None:
    job = f"{nginx.url}/jobs/my-ai-search/{JOB}"
    instance = f"{nginx.url}/client/v4/accounts/{ACCOUNT}/ai-search/instances/my-ai-search"

    step("A job. The client has no credential; nginx has it, and asks the API.")
    answer = show_curl(job)
    expect("the status", answer.status, 200)
    expect("the job", answer.json()["result"]["id"], JOB)
    expect("X-Aisearch-State", answer.header("X-Aisearch-State"), "running")
    expect("X-Aisearch-Cache", answer.header("X-Aisearch-Cache"), "MISS")

    step("The same job by the API's own path, as the official SDKs ask for it: from the cache, for it is the same job.")
    answer = show_curl(f"{instance}/jobs/{JOB}", "-H", "Authorization: Bearer what-ever-the-client-says")
    expect("the status", answer.status, 200)
    expect("X-Aisearch-Cache", answer.header("X-Aisearch-Cache"), "HIT")

    step("The list of an instance's jobs, and a job's log.")
    answer = show_curl(f"{instance}/jobs?per_page=3")
    expect("the status", answer.status, 200)
    expect("the number of jobs", len(answer.json()["result"]), 3)
    answer = show_curl(f"{instance}/jobs/{JOB}/logs")
    expect("the status", answer.status, 200)
    expect("success", answer.json()["success"], True)

    step("A job that does not exist; a write; an instance that is not in the account's list.")
    answer = show_curl(f"{nginx.url}/jobs/my-ai-search/no-such-job")
    expect("the status", answer.status, 404)
    expect("the error", answer.json()["errors"][0]["message"], "job_not_found")
    answer = show_curl(f"{instance}/jobs", "-X", "POST")
    expect("the status", answer.status, 405)
    answer = show_curl(f"{nginx.url}/jobs/payroll/{JOB}")
    expect("the status", answer.status, 403)

    step("What the API saw of all this, and what nginx counted.")
    seen = simulator.requests()
    for request in seen:
        ours = request.header("Authorization") == f"Bearer {simulator.token}"
        credential = "nginx's token" if ours else "another one"
        target = request.target.removeprefix(simulator.base)
        show(f"{request.method} {target}  {request.status}  credential: {credential}")
        expect("the credential of a request", credential, "nginx's token")
        expect("the method of a request", request.method, "GET")
    expect("the number of requests", len(seen), 4)
    print()
    answer = show_curl(f"{nginx.url}/aisearch_status")
    expect("the number of calls that nginx counted", answer.json()["accounts"]["docs"]["calls"], 4)


def tour_collectd(collectd: Collectd) -> None:
    step("What collectd reports: by way of nginx (docs, without a credential), and straight from the API (direct).")
    wanted = {"docs": ("docs-my-ai-search", "docs-handbook"), "direct": ("direct-tickets@support", "direct-old-docs")}

    def complete(account: str) -> dict[str, float] | None:
        _, report = collectd.last_report(account)
        return report if all(f"{instance}/gauge-state" in report for instance in wanted[account]) else None

    reports = {account: net.wait_until(lambda: complete(account), 15, "collectd to report all instances", every=0.2)
               for account in wanted}
    for account, report in reports.items():
        errors = {name: value for name, value in report.items() if name.startswith(f"{account}/errors-")}
        expect("the errors", [name for name, value in errors.items() if value != 0], [])
    expect("a queued job", reports["docs"]["docs-my-ai-search/gauge-state"], 0)
    show_values(reports["docs"], "docs-my-ai-search/")
    show_values(reports["docs"], "docs/")
    show("... the same of docs-handbook, and of the other account:")
    show_values(reports["direct"], "direct-tickets@support/gauge-state")
    show_values(reports["direct"], "direct-old-docs/gauge-state")


def show_values(values: dict[str, float], prefix: str) -> None:
    for name, value in sorted(values.items()):
        if name.startswith(prefix) and "/errors-" not in name:
            show(f"aisearch-{name:55} {value:.6g}")


def tour_end(nginx: Nginx, collectd: Collectd) -> None:
    url = f"{nginx.url}/jobs/my-ai-search/{JOB}"
    step("The job runs to its end. A client asks each second and never waits: nginx asks the API in between.")
    show(f"$ while sleep 1; do curl -si {url}; done")

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

    step("collectd has noticed: one more has succeeded. The newest job of the instance is the next one already, which\n"
         "   waits behind others of the instance (gauge-state 0: queued).")
    prefix = "docs-my-ai-search/"

    def noticed() -> dict[str, float] | None:
        _, report = collectd.last_report("docs")
        return report if report.get(f"{prefix}duration-since_success", 3600) < 60 else None

    values = net.wait_until(noticed, 20, "collectd to notice", every=0.2)
    expect("the number of jobs that have succeeded", values[f"{prefix}operations-succeeded"], 1)
    show_values(values, prefix)


def tour_page(nginx: Nginx) -> None:
    step(f"A page for people, to be opened in a browser: {nginx.url}{page.PATH}")
    answer = show_curl(f"{nginx.url}{page.PATH}")
    expect("the status", answer.status, 200)
    expect("the page", "<title>AI Search jobs</title>" in answer.body, True)


def live(simulator: Simulator) -> None:
    """A job that runs and ends, one that fails, and a queue: over again each minute, for those who look at the page."""
    for number in itertools.count(100):
        simulator.job("instances/my-ai-search", f"{JOB[:-3]}{number}", source="user", description="Runs, and ends well",
                      starts_in=2, ends_in=40, end_reason="completed")
        simulator.job("instances/my-ai-search", f"{JOB[:-4]}1{number}", source="schedule", starts_in=40, ends_in=55)
        simulator.job("namespaces/support/instances/tickets", f"{JOB[:-3]}{number}", source="user", description="Fails",
                      starts_in=10, ends_in=30, end_reason="error: source not reachable")
        time.sleep(60)


def stay(nginx: Nginx, simulator: Simulator, socket_path: pathlib.Path) -> None:
    print("\nAll of it stays up until Ctrl-C. The page, on which jobs come and go:\n")
    show(f"{nginx.url}{page.PATH}")
    print("\nand what else there is:\n")
    show(f"curl -si {nginx.url}/jobs/my-ai-search/{JOB}\n"
         f"curl -si {nginx.url}/client/v4/accounts/{ACCOUNT}/ai-search/instances/handbook/jobs\n"
         f"curl -s '{nginx.url}/aisearch_status?format=prometheus'\n"
         f"collectdctl -s {socket_path} listval        (Debian: collectd-utils)\n"
         f"{nginx.prefix}/nginx.conf, {nginx.prefix}/error.log")
    try:
        live(simulator)
    except Stopped as stopped:
        if stopped.signum != signal.SIGINT:
            raise
        print("\nStopping.", flush=True)


# ---- and what it takes ----------------------------------------------------------------------------------------------


def start_and_tour(stack: contextlib.ExitStack, tmp: pathlib.Path, once: bool) -> None:
    simulator = stack.enter_context(Simulator(tmp, "demo", limit=1200))
    places = {"ACCOUNT": ACCOUNT, "TOKEN_FILE": simulator.token_file, "API_URL": simulator.url}

    http = fill(NGINX_HTTP, **places)
    print("A simulated API, a real nginx and a real collectd, on loopback. nginx's configuration:\n")
    show(f"{http}\n{NGINX_SERVER}")
    server = NGINX_SERVER + page.location(tmp)
    print("\nand a location for the page at " + page.PATH + ", as config/nginx.conf has it.")
    nginx = stack.enter_context(Nginx(tmp, NginxConfig(http=http, server=server, workers=2)))

    plugin = fill(COLLECTD, NGINX_SOCKET=nginx.socket, **places)
    print("\nand collectd's:\n")
    show(f"<Plugin aisearch>\n{textwrap.indent(plugin, '  ')}</Plugin>")

    tour_nginx(nginx, simulator)
    socket_path = tmp / "collectd.sock"
    extra = fill(UNIXSOCK, SOCKET=socket_path, GROUP=grp.getgrgid(os.getegid()).gr_name)
    collectd = stack.enter_context(Collectd(tmp, CollectdConfig(aisearch=plugin, extra=extra, interval=1)))
    tour_collectd(collectd)
    tour_end(nginx, collectd)
    tour_page(nginx)
    print("\nAll of this is as it should be.", flush=True)

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
    parser.add_argument("--once", action="store_true", help="end after the tour")
    arguments = parser.parse_args()
    signals = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

    def leave(signum: int, _frame) -> None:
        for other in signals:  # once is enough: cleaning up takes a moment
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
