"""aisearch_status: counters and gauges as JSON and in the Prometheus format."""

import re
import shutil
import subprocess
import time

import pytest

import gateway
from gateway import ACCOUNT, account
from harness import net
from harness.nginx import Config

SERVER = """
    location /client/v4/ { aisearch_pass docs; aisearch_cache_bypass $arg_fresh; }
    location /quick/ { aisearch_pass docs; aisearch_valid active 0; aisearch_use_stale off; }
    location = /status { aisearch_status; }
    location = /inside { internal; aisearch_status; }
    location = /by-redirect { rewrite ^ /inside last; }
"""
PROMETHEUS = "/status?format=prometheus"


def start(nginx, simulator, *directives, **parts):
    parts.setdefault("server", SERVER)
    http = parts.pop("http", "")
    return nginx(http=account(simulator, *directives) + http, **parts)


def target(job, location="/client/v4/"):
    return f"{location}instances/docs/jobs/{job}"


def docs(server):
    return server.get("/status").json()["accounts"]["docs"]


# A parser for the text format 0.0.4, which also checks it.

_SAMPLE = re.compile(r'([a-z_]+)(?:\{((?:[a-z_]+="(?:[^"\\]|\\.)*",?)*)\})? (-?[0-9.]+(?:e[+-]?\d+)?|[+-]Inf|NaN)')


def parse(text):
    """Returns the values by name and labels."""
    assert text.endswith("\n")
    values, types, told = {}, {}, set()
    for line in text.splitlines():
        if match := re.fullmatch(r"# (HELP|TYPE) ([a-z_]+) (.+)", line):
            assert (match[1], match[2]) not in told, f"duplicate: {line}"
            told.add((match[1], match[2]))
            if match[1] == "TYPE":
                types[match[2]] = match[3]
            continue
        match = _SAMPLE.fullmatch(line)
        assert match, f"not a sample: {line}"
        family = match[1] if match[1] in types else re.sub(r"_(bucket|sum|count)$", "", match[1])
        assert types[family] in ("counter", "gauge", "histogram") and ("HELP", family) in told
        assert types[family] != "counter" or family.endswith("_total")
        labels = tuple(sorted(re.findall(r'([a-z_]+)="((?:[^"\\]|\\.)*)"', match[2] or "")))
        assert (match[1], labels) not in values, f"duplicate: {line}"
        values[match[1], labels] = float(match[3])
    return values


def labelled(values, name, **labels):
    return values[name, tuple(sorted(labels.items()))]


# Counters.


def test_lookups_by_cache_status_and_fetches_by_outcome(nginx, simulator):
    simulator.instance("instances/docs", [{"id": "a", "state": "running"}, {"id": "b", "state": "failed"}])
    server = start(nginx, simulator, "retries 0;", workers=2)
    for path in (target("a"), target("a"), target("b"), target("b") + "?fresh=1", target("a", "/quick/"),
                 target("nope"), "/client/v4/nonsense"):
        server.get(path)
    simulator.fault("/jobs/", times=1, status=503, body="down")
    assert server.get(target("c")).status == 502

    seen = docs(server)
    assert seen["lookups"] == {"hit": 1, "miss": 4, "expired": 1, "updating": 0, "stale": 0, "coalesced": 0,
                               "bypass": 1, "waited": 0, "stream": 0, "refused": 1}
    assert {outcome: count for outcome, count in seen["fetches"].items() if count} == {"ok": 5, "server": 1}
    assert set(seen["fetches"]) == {"ok", "connect", "tls", "timeout", "credential", "rate_limited", "server", "body",
                                    "refused", "budget", "internal"}
    assert seen["calls"] == simulator.count() == 6
    assert seen["fetch_milliseconds"]["count"] == seen["fetch_milliseconds"]["buckets"]["+Inf"] == 6
    assert seen["waiters_woken"] == 0


def test_the_latency_of_fetches_is_a_cumulative_histogram(nginx, simulator):
    simulator.instance("instances/docs", [{"id": "slow", "state": "failed"}, {"id": "fast", "state": "failed"}])
    simulator.fault("/slow$", delay=0.3)
    server = start(nginx, simulator)
    for job in ("slow", "fast"):
        assert server.get(target(job)).status == 200
    found = docs(server)["fetch_milliseconds"]
    counts = list(found["buckets"].values())
    assert counts == sorted(counts) and counts[-1] == found["count"] == 2
    assert found["buckets"]["250"] == 1 <= found["buckets"]["500"]
    assert 300 <= found["sum"] < 3000
    bounds = [int(bound) for bound in found["buckets"] if bound != "+Inf"]
    assert bounds == sorted(bounds) and len(bounds) >= 8


def test_the_zone(nginx, simulator):
    simulator.instance("instances/docs", [{"id": f"job-{n}", "state": "failed"} for n in range(300)])
    server = start(nginx, simulator, "budget 10000 1s;", http="aisearch_shared_zone zone=small:64k;")
    empty = server.get("/status").json()["zone"]
    assert (empty["name"], empty["entries"], empty["evictions"]) == ("small", 0, 0)
    with server.connect() as connection:
        for n in range(10):
            connection.request(target(f"job-{n}"))
        some = server.get("/status").json()["zone"]
        assert (some["entries"], some["evictions"]) == (10, 0)
        assert some["bytes_used"] > empty["bytes_used"] and some["bytes_free"] < empty["bytes_free"]
        for n in range(10, 300):
            connection.request(target(f"job-{n}"))
    full = server.get("/status").json()["zone"]
    assert full["evictions"] > 0 and full["entries"] + full["evictions"] == 300
    for state in (empty, some, full):
        assert 32 * 1024 < state["bytes_used"] + state["bytes_free"] <= 64 * 1024


def test_counters_outlive_a_reload_and_a_change_of_the_zone_size(nginx, simulator):
    simulator.job("instances/docs", "a", state="failed")
    server = start(nginx, simulator)
    for _ in range(3):
        server.get(target("a"))
    before = docs(server)
    server.reload()
    assert docs(server) == before
    server.reload(Config(http=account(simulator) + "aisearch_shared_zone zone=aisearch:1m;", server=SERVER))
    assert docs(server)["lookups"] == before["lookups"]
    server.get(target("a"))
    assert docs(server)["lookups"]["miss"] == 2


def test_each_account_has_its_own_counters(nginx, simulator):
    simulator.job("instances/docs", "a", state="failed")
    server = start(nginx, simulator, http=account(simulator, name="other"),
                   server=SERVER + "location /other/ { aisearch_pass other; }")
    server.get(target("a"))
    server.get(target("a", "/other/"))
    server.get(target("a", "/other/"))
    accounts = server.get("/status").json()["accounts"]
    assert list(accounts) == ["docs", "other"]
    assert [accounts[name]["lookups"]["hit"] for name in accounts] == [0, 1]
    values = parse(server.get(PROMETHEUS).body.decode())
    assert labelled(values, "aisearch_lookups_total", account="other", status="hit") == 1
    assert labelled(values, "aisearch_lookups_total", account="docs", status="hit") == 0


def test_counts_are_exact_under_concurrency(nginx, simulator):
    simulator.job("instances/docs", "a", state="failed")
    server = start(nginx, simulator, workers=4)
    assert server.get(target("a")).status == 200

    def client(_n):
        with server.connect() as connection:
            for _ in range(300):
                assert connection.request(target("a")).status == 200

    net.concurrently(8, client)
    assert docs(server)["lookups"]["hit"] == 8 * 300


# Formats.


def test_prometheus_shows_the_same_values(nginx, simulator, tmp):
    simulator.instance("instances/docs", [{"id": "a", "state": "running"}, {"id": "b", "state": "failed"}])
    server = start(nginx, simulator, "budget 50 1h;")
    for job in ("a", "b", "b", "nope"):
        server.get(target(job))
    seen = docs(server)
    text = server.get(PROMETHEUS).body.decode()
    values = parse(text)

    for status, count in seen["lookups"].items():
        assert labelled(values, "aisearch_lookups_total", account="docs", status=status) == count
    for outcome, count in seen["fetches"].items():
        assert labelled(values, "aisearch_fetches_total", account="docs", outcome=outcome) == count
    for bound, count in seen["fetch_milliseconds"]["buckets"].items():
        buckets = {labels: value for (name, labels), value in values.items()
                   if name == "aisearch_fetch_duration_seconds_bucket"}
        seconds = float("inf") if bound == "+Inf" else int(bound) / 1000
        [value] = [value for labels, value in buckets.items() if float(dict(labels)["le"]) == seconds]
        assert value == count
    assert labelled(values, "aisearch_fetch_duration_seconds_count", account="docs") == 3
    assert labelled(values, "aisearch_calls_total", account="docs") == 3
    assert labelled(values, "aisearch_budget_left", account="docs") == 47
    assert labelled(values, "aisearch_budget_newcomers", account="docs") == seen["budget"]["newcomers"] == 22
    assert labelled(values, "aisearch_budget_closed_seconds", account="docs") == 0
    assert labelled(values, "aisearch_zone_entries", zone="aisearch") == 3

    promtool = shutil.which("promtool")
    if promtool:  # in Debian's package "prometheus"
        run = subprocess.run([promtool, "check", "metrics"], input=text.encode(), capture_output=True, check=False)
        assert run.returncode == 0 and not run.stderr and not run.stdout, run.stderr.decode() + run.stdout.decode()


@pytest.mark.parametrize("path, accept, prometheus", [
    ("/status", None, False),
    ("/status", "*/*", False),
    ("/status", "application/json", False),
    ("/status", "text/plain", True),
    # the header of Prometheus
    ("/status", "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,"
                "text/plain;version=0.0.4;q=0.5,*/*;q=0.1", True),
    ("/status?format=json", "text/plain", False),
    ("/status?format=prometheus", "application/json", True),
    ("/by-redirect?format=prometheus", None, True),
])
def test_the_choice_of_the_format(nginx, simulator, path, accept, prometheus):
    server = start(nginx, simulator)
    response = server.get(path, [("Accept", accept)] if accept else [])
    assert response.status == 200
    assert response.header("Cache-Control") == "no-store"
    if prometheus:
        assert response.header("Content-Type").startswith("text/plain; version=0.0.4")
        parse(response.body.decode())
    else:
        assert response.header("Content-Type") == "application/json"
        assert set(response.json()) == {"version", "loaded", "accounts", "zone"}


def test_the_running_version(nginx, simulator):
    server = start(nginx, simulator)
    version = server.get("/status").json()["version"]
    assert labelled(parse(server.get(PROMETHEUS).body.decode()), "aisearch_info", version=version) == 1
    assert re.search(rf"\[notice\] .* aisearch-jobs/{re.escape(version)}, libcurl/\d", server.error_log())


def test_invalid_methods_and_formats(nginx, simulator):
    server = start(nginx, simulator)
    assert server.get("/status?format=xml").status == 400
    with server.connect() as connection:
        assert connection.request("/status", method="POST", body=b"x").status == 405
        whole = connection.request("/status")
        head = connection.request("/status", method="HEAD")
    assert (head.status, head.header("Content-Length")) == (200, whole.header("Content-Length"))


def test_without_accounts(nginx):
    server = nginx(server="location = /status { aisearch_status; }")
    assert server.get("/status").json()["accounts"] == {}
    assert server.get(PROMETHEUS).status == 200


def test_many_accounts_with_long_names(nginx, simulator):
    names = [f"account-{'x' * 110}-{n}" for n in range(30)]  # more than fits into the first buffer
    http = "".join(account(simulator, name=name) for name in names)
    server = nginx(http=http, server="".join(f"location /{name}/ {{ aisearch_pass {name}; }}" for name in names) +
                   "location = /status { aisearch_status; }")
    assert list(server.get("/status").json()["accounts"]) == names
    values = parse(server.get(PROMETHEUS).body.decode())
    assert all(("aisearch_calls_total", (("account", name),)) in values for name in names)


def test_no_secret_is_shown(nginx, simulator):
    simulator.job("instances/docs", "a", state="failed")
    key = f"email {simulator.email}; key_file {simulator.key_file};"
    server = start(nginx, simulator, http=account(simulator, name="other", credential=key),
                   server=SERVER + "location /other/ { aisearch_pass other; }")
    server.get(target("a"))
    server.get(target("a", "/other/"))
    for path in ("/status", PROMETHEUS):
        text = server.get(path).body.decode()
        for secret in (simulator.token, simulator.key, simulator.email, ACCOUNT, str(simulator.token_file),
                       str(simulator.port)):
            assert secret not in text


def test_woken_waiters(nginx, simulator):
    simulator.job("instances/docs", "a", state="failed")
    server = start(nginx, simulator, server=SERVER.replace("/status ", "/aisearch_status ") + gateway.WORKERS)
    clients = [server.connect(20) for _ in range(5)]
    with gateway.held(simulator):
        for client in clients:
            client.send(net.format_request(target("a")))
        gateway.wait_for_requests(server, len(clients))
    for client in clients:
        assert client.read_response().status == 200
        client.close()
    seen = server.get("/aisearch_status").json()["accounts"]["docs"]
    assert (seen["lookups"]["miss"], seen["lookups"]["coalesced"], seen["waiters_woken"]) == (1, 4, 4)


# Information for the status page.

PLACES = """
    location /client/v4/ { aisearch_pass docs; location /client/v4/nested/ { aisearch_pass docs; } }
    location "/a \\"quoted\\" one/" { aisearch_pass other; }
    location /inside/ { internal; aisearch_pass docs; }
    location /one { aisearch_pass docs instances/docs; }
    location = /status { aisearch_status; }
"""


def test_instances_and_locations_of_an_account(nginx, simulator):
    http = account(simulator, "instance handbook docs;", "instance team/docs;", name="more")
    http += account(simulator, name="other") + account(simulator, name="last")
    http += "server { listen unix:@PREFIX@/other.sock; location /elsewhere/ { aisearch_pass more; } " \
            "location = /status { aisearch_status; } }"
    server = start(nginx, simulator, http=http, server=PLACES)
    accounts = server.get("/status").json()["accounts"]
    assert {name: (found["instances"], found["locations"]) for name, found in accounts.items()} == {
        "docs": (None, ["/client/v4/", "/client/v4/nested/"]),
        "more": (["handbook", "docs", "team/docs"], []),
        "other": (None, ['/a "quoted" one/']),
        "last": (None, []),
    }
    there = net.request(str(server.prefix / "other.sock"), "/status").json()["accounts"]
    assert {name: found["locations"] for name, found in there.items() if found["locations"]} == {"more": ["/elsewhere/"]}


def test_thousands_of_instances(nginx, simulator):
    names = [f"{'x' * 50}-{n}" for n in range(3000)]
    server = start(nginx, simulator, *(f"instance team/{name};" for name in names))
    assert docs(server)["instances"] == [f"team/{name}" for name in names]


def test_the_allowance(nginx, simulator):
    server = start(nginx, simulator, "budget 50 1s reserve=20;", "budget 1000 1h;", http=account(simulator, name="other"))
    accounts = server.get("/status").json()["accounts"]
    # (both accounts have the same credential, and therefore share a budget)
    assert accounts["docs"]["budget"]["allowance"] == accounts["other"]["budget"]["allowance"]
    told = [(one["calls"], one["window_milliseconds"], one["reserve_percent"])
            for one in accounts["docs"]["budget"]["allowance"]]
    assert (50, 1000, 50) in told and (1000, 3600_000, 50) in told


def test_the_time_of_the_last_reload(nginx, simulator):
    began = time.time()
    server = start(nginx, simulator)
    loaded = server.get("/status").json()["loaded"]
    assert began - 1 <= loaded <= time.time()
    time.sleep(1.1)
    server.reload()
    assert loaded < server.get("/status").json()["loaded"] <= time.time()
