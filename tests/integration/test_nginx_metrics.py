"""`aisearch_metrics on`: lookups as Prometheus metrics of jobs, instances and items."""

import concurrent.futures
import gzip
import pathlib
import re
import subprocess
import time

import pytest

from gateway import ACCESS_LOG, account, lookups
from harness import ROOT, SLOWNESS, net
from harness.examples import NGINX_HANDBOOK, config_text
from harness.prometheus import PROMTOOL, Prometheus

RULES = ROOT / "config/prometheus-aisearch-nginx.rules.yml"
RULES_OF_COLLECTD = ROOT / "config/prometheus-aisearch.rules.yml"
SCRAPES = ROOT / "config/prometheus-nginx.yml"

LIST = "/jobs?target=docs"
INSTANCE = "/instance?target=docs"
STATS = "/stats?target=docs"
SERVER = """
    aisearch_metrics on;
    location = /jobs { aisearch_pass docs namespaces/default/instances/$arg_target/jobs; }
    location = /instance { aisearch_pass docs instances/$arg_target; }
    location = /stats { aisearch_pass docs instances/$arg_target/stats; }
    location = /old { aisearch_pass docs rags/$arg_target/jobs; }
    location /all/ { aisearch_pass docs; }
    location /json/ { aisearch_pass docs; aisearch_metrics off; }
"""
TYPE = "text/plain; version=0.0.4; charset=utf-8"
STATES = ["queued", "running", "succeeded", "failed", "cancelled"]
SOON = 0.8 * SLOWNESS  # seconds for an immediate response


def start(nginx, simulator, server=SERVER, http="", directives=(), **parts):
    return nginx(http=account(simulator, "budget 100000 1s;", *directives) + ACCESS_LOG + http, server=server, **parts)


def metrics(response) -> dict[str, float]:
    """
    Returns the value of each sample by its name and, in braces, its state. Checks that all have LIST's labels and a
    TYPE.
    """
    assert response.status == 200, response.body
    assert response.header("Content-Type") == TYPE
    promtool_check(response.body)
    found = {}
    for line in response.body.decode().splitlines():
        if line.startswith("#"):
            continue
        name, labels, state, value = re.fullmatch(r'(\w+)\{(.*?)(?:,state="(\w+)")?\} (\S+)', line).groups()
        assert labels == 'account="docs",namespace="default",index="docs"'
        assert f"# TYPE {name} gauge\n" in response.body.decode()
        found[f"{name}{{{state}}}" if state else name] = float(value)
    return found


def promtool(*arguments: object, text: bytes = b"") -> str:
    run = subprocess.run([PROMTOOL, *map(str, arguments)], input=text, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                         check=False)
    assert run.returncode == 0, run.stdout.decode()
    return run.stdout.decode()


def promtool_check(text: bytes) -> None:
    assert promtool("check", "metrics", text=text) == ""


def states(values: dict, name: str) -> dict[str, float]:
    return {state: values[f"{name}{{{state}}}"] for state in STATES if f"{name}{{{state}}}" in values}


def one(state: str) -> dict[str, float]:
    return {name: float(name == state) for name in STATES}


# Metrics of each resource.


def test_a_list_of_jobs(nginx, simulator):
    now = simulator.now()
    simulator.instance("instances/docs", [
        {"id": "a", "appears_in": -900, "starts_in": -800, "ends_in": -700},
        {"id": "b", "appears_in": -600, "starts_in": -500, "ends_in": -400},
        {"id": "c", "appears_in": -300, "starts_in": -200, "ends_in": -100, "end_reason": "error: no such bucket"}])
    server = start(nginx, simulator)
    values = metrics(server.get(LIST))
    assert values["aisearch_up"] == 1
    assert states(values, "aisearch_job_state") == one("failed")
    assert states(values, "aisearch_listed_jobs") == one("failed") | {"succeeded": 2}
    # the API's times are whole seconds
    assert values["aisearch_job_started_timestamp_seconds"] == pytest.approx(now - 200, abs=2)
    assert values["aisearch_job_ended_timestamp_seconds"] == pytest.approx(now - 100, abs=2)
    assert values["aisearch_last_success_timestamp_seconds"] == pytest.approx(now - 400, abs=2)
    assert values["aisearch_answer_timestamp_seconds"] == pytest.approx(time.time(), abs=2 * SOON)
    assert len(values) == 2 + 5 + 5 + 3

    simulator.job("instances/docs", "d", state="queued")
    simulator.job("instances/docs", "e", state="running")
    server = start(nginx, simulator)
    values = metrics(server.get(LIST))
    assert states(values, "aisearch_job_state") == one("queued")
    assert states(values, "aisearch_listed_jobs") == {
        "queued": 1, "running": 1, "succeeded": 2, "failed": 1, "cancelled": 0}
    assert "aisearch_job_started_timestamp_seconds" not in values
    assert "aisearch_job_ended_timestamp_seconds" not in values
    assert "aisearch_last_success_timestamp_seconds" in values


def test_a_list_without_jobs(nginx, simulator):
    simulator.instance("instances/docs")
    values = metrics(start(nginx, simulator).get(LIST))
    assert states(values, "aisearch_listed_jobs") == dict.fromkeys(STATES, 0)
    assert set(values) == {"aisearch_up", "aisearch_answer_timestamp_seconds"} | {
        f"aisearch_listed_jobs{{{state}}}" for state in STATES}


def test_only_the_requested_page_counts(nginx, simulator):
    simulator.instance("instances/docs", [{"id": name, "state": "succeeded"} for name in "abc"])
    values = metrics(start(nginx, simulator).get(f"{LIST}&per_page=2"))
    assert values["aisearch_listed_jobs{succeeded}"] == 2


def test_an_instance(nginx, simulator):
    simulator.instance("instances/docs", paused=True)
    values = metrics(start(nginx, simulator).get(INSTANCE))
    assert values.pop("aisearch_answer_timestamp_seconds") > 0
    assert values == {"aisearch_up": 1, "aisearch_instance_paused": 1, "aisearch_instance_error": 0}

    simulator.instance("instances/docs", paused=False, status="error")
    values = metrics(start(nginx, simulator).get(INSTANCE))
    assert (values["aisearch_instance_paused"], values["aisearch_instance_error"]) == (0, 1)


def test_items(nginx, simulator):
    simulator.instance("instances/docs", stats={"completed": 40, "error": 2, "queued": 0})
    values = metrics(start(nginx, simulator).get(STATS))
    assert values["aisearch_items{completed}"] == 40
    assert values["aisearch_items{error}"] == 2
    assert values["aisearch_items{queued}"] == 0


@pytest.mark.parametrize("target, labels", [
    ("/old?target=docs", 'account="docs",namespace="default",index="docs"'),
    ("/all/namespaces/team/instances/docs/jobs", 'account="docs",namespace="team",index="docs"'),
])
def test_labels(nginx, simulator, target, labels):
    simulator.instance("rags/docs", [{"id": "a", "state": "running"}])
    simulator.instance("namespaces/team/instances/docs", [{"id": "a", "state": "running"}])
    response = start(nginx, simulator).get(target)
    promtool_check(response.body)
    assert f'aisearch_job_state{{{labels},state="running"}} 1\n' in response.body.decode()


# The cache.


def test_metrics_share_the_cache_entry(nginx, simulator):
    """
    Metrics need no fetch or entry of their own: JSON and metrics are created from the same entry, in either order.
    """
    simulator.instance("instances/docs", [{"id": "a", "state": "succeeded"}])
    server = start(nginx, simulator)
    first = server.get("/json/instances/docs/jobs")
    assert first.header("Content-Type") == "application/json"
    response = server.get(LIST)
    assert response.header("X-Aisearch-Cache") == "HIT"
    assert metrics(response)["aisearch_up"] == 1
    assert server.get("/json/instances/docs/jobs").body == first.body
    server.get(STATS)
    assert server.get("/json/instances/docs/stats").header("X-Aisearch-Cache") == "HIT"
    assert simulator.count() == 2
    assert [line["cache_status"] for line in lookups(server, 5)] == ["MISS", "HIT", "HIT", "MISS", "HIT"]


def test_timestamps_are_absolute(nginx, simulator):
    simulator.instance("instances/docs", [{"id": "a", "state": "running"}])
    server = start(nginx, simulator)
    first = metrics(server.get(LIST))
    time.sleep(1.2)
    response = server.get(LIST)
    assert response.header("X-Aisearch-Cache") == "HIT"
    second = metrics(response)
    name = "aisearch_answer_timestamp_seconds"
    assert second.pop(name) == pytest.approx(first.pop(name), abs=0.1)
    assert second == first


# Failures.


@pytest.mark.parametrize("target, status", [
    ("/jobs", 400),  # no target
    ("/jobs?target=Not%20a%20name", 400),
    ("/jobs?target=docs/jobs/a", 400),
    ("/all/instances/docs/jobs/a", 400),  # jobs have no metrics
    ("/all/instances/docs/jobs/a/logs", 400),
    ("/all/instances", 400),
    ("/all/namespaces", 400),
    ("/all/namespaces/default", 400),
    ("/jobs?target=other", 403),
    ("/jobs?target=gone", 404),
    ("/instance?target=gone", 404),
])
def test_a_wrong_target_is_a_failed_scrape(nginx, simulator, target, status):
    simulator.instance("instances/docs", [{"id": "a", "state": "running"}])
    server = start(nginx, simulator, directives=["instance docs;", "instance gone;"] if "all" not in target else [])
    response = server.get(target)
    assert response.status == status
    assert response.header("Content-Type") == "application/json"
    assert response.json()["errors"]
    if status != 404:
        assert simulator.count() == 0


def test_another_method_is_405(nginx, simulator):
    response = net.request(start(nginx, simulator).address, LIST, method="POST")
    assert (response.status, response.header("Allow")) == (405, "GET, HEAD")


@pytest.mark.parametrize("fault", [
    {"status": 500}, {"status": 502}, {"status": 503}, {"status": 429}, {"refusal": "401"},
    {"status": 200, "body": b"nonsense"},
    {"status": 500, "body": b'{"success":false,"errors":[{"code":1,"message":"x"}],"messages":[],"result":null}'}],
    ids=str)
def test_a_failing_api_is_a_metric(nginx, simulator, fault):
    server = start(nginx, simulator, directives=["retries 0;"])
    simulator.fault(**fault)
    response = server.get(LIST)
    assert metrics(response) == {"aisearch_up": 0}
    assert response.header("Retry-After") is None
    assert lookups(server, 1)[0]["error"] not in ("", "-", "none")


def test_a_stale_entry_is_exposed_as_long_as_allowed(nginx, simulator):
    simulator.instance("instances/docs", [{"id": "a", "state": "succeeded"}])
    server = start(nginx, simulator, http="aisearch_valid list 200ms; aisearch_valid error 100ms;"
                   "aisearch_use_stale error=3s;", directives=["retries 0;"])
    before = metrics(server.get(LIST))
    simulator.fault(status=500)
    time.sleep(0.4)
    response = server.get(LIST)
    assert response.header("X-Aisearch-Cache") == "STALE"
    after = metrics(response)
    assert after.pop("aisearch_up") == 0 and before.pop("aisearch_up") == 1
    name = "aisearch_answer_timestamp_seconds"
    assert after.pop(name) == pytest.approx(before.pop(name), abs=0.1)
    assert after == before

    time.sleep(3)
    assert metrics(server.get(LIST)) == {"aisearch_up": 0}
    simulator.clear_faults()
    net.wait_until(lambda: metrics(server.get(LIST))["aisearch_up"] == 1, 20, "the API to be up again", every=0.3)


def test_up_is_1_during_a_refresh(nginx, simulator):
    simulator.instance("instances/docs", [{"id": "a", "state": "succeeded"}])
    server = start(nginx, simulator, http="aisearch_valid list 100ms;")
    server.get(LIST)
    time.sleep(0.3)
    response = server.get(LIST)
    assert response.header("X-Aisearch-Cache") == "UPDATING"
    assert metrics(response)["aisearch_up"] == 1


# Timeouts.


@pytest.mark.parametrize("header, least, most", [
    ("1.5", 1, 1.5), ("0.2", 0, 0.5), (None, 5, 6), ("60", 5, 6), ("nonsense", 5, 6)])
def test_how_long_a_scrape_waits(nginx, simulator, header, least, most):
    """After the timeout, the scrape gets what is cached, in this case nothing, and the fetch continues."""
    simulator.instance("instances/docs", [{"id": "a", "state": "succeeded"}])
    server = start(nginx, simulator, directives=["timeout 20s;"])
    fault = simulator.fault(delay=least + 2)
    headers = [("X-Prometheus-Scrape-Timeout-Seconds", header)] if header else []
    began = time.monotonic()
    response = server.get(LIST, headers)
    assert least - 0.05 <= time.monotonic() - began < most + SOON
    assert metrics(response) == {"aisearch_up": 0}
    assert lookups(server, 1)[0]["error"] == "timeout"
    simulator.clear_fault(fault)
    response = server.get(LIST)  # waits for the same fetch
    assert response.header("X-Aisearch-Cache") == "COALESCED"
    assert metrics(response)["aisearch_up"] == 1
    assert simulator.count() == 1


def test_a_late_scrape_gets_a_stale_entry(nginx, simulator):
    simulator.instance("instances/docs", [{"id": "a", "state": "running"}])
    server = start(nginx, simulator, http="aisearch_valid list 100ms; aisearch_valid active 100ms;"
                   "aisearch_use_stale error=1h;", directives=["timeout 20s;"])
    before = metrics(server.get(LIST))
    time.sleep(0.3)
    simulator.fault(delay=3)
    with concurrent.futures.ThreadPoolExecutor() as pool:
        patient = pool.submit(server.get, "/json/instances/docs/jobs")
        response = server.get(LIST, [("X-Prometheus-Scrape-Timeout-Seconds", "1")])
        assert not patient.done()
        after = metrics(response)
        assert (after["aisearch_up"], response.header("X-Aisearch-Cache")) == (0, "STALE")
        assert states(after, "aisearch_job_state") == states(before, "aisearch_job_state") == one("running")
        # only scrapes have a short timeout
        assert patient.result().header("X-Aisearch-Cache") in ("EXPIRED", "COALESCED")
    assert simulator.count() == 2


def test_late_scrapes_of_other_workers(nginx, simulator):
    simulator.instance("instances/docs", [{"id": "a", "state": "succeeded"}])
    server = start(nginx, simulator, workers=2, directives=["timeout 20s;"])
    simulator.fault(delay=3)
    with concurrent.futures.ThreadPoolExecutor(12) as pool:
        header = ("X-Prometheus-Scrape-Timeout-Seconds", "1")
        began = time.monotonic()
        responses = list(pool.map(lambda _: server.get(LIST, [header]), range(12)))
    assert 0.45 < time.monotonic() - began < 0.5 + 2 * SOON
    assert [metrics(response) for response in responses] == [{"aisearch_up": 0}] * 12
    net.wait_until(lambda: metrics(server.get(LIST))["aisearch_up"] == 1, 10, "the response")
    assert simulator.count() == 1


def test_a_client_that_disconnects_before_the_timeout(nginx, simulator):
    simulator.instance("instances/docs", [{"id": "a", "state": "succeeded"}])
    server = start(nginx, simulator, directives=["timeout 20s;"])
    simulator.fault(delay=2.5)
    connection = server.connect()
    connection.send(f"GET {LIST} HTTP/1.1\r\nHost: x\r\nX-Prometheus-Scrape-Timeout-Seconds: 1.5\r\n\r\n".encode())
    net.wait_until(lambda: simulator.count() == 1, what="the fetch")
    connection.close()
    assert lookups(server, 1)[0]["status"] == "499"
    time.sleep(1.2)  # the rest of its timeout
    assert metrics(server.get(LIST))["aisearch_up"] == 1
    assert simulator.count() == 1


# HTTP.


@pytest.mark.parametrize("headers", [
    [("Accept", "application/json")], [("Accept", "text/event-stream")], [("Prefer", "wait=20")],
    [("If-None-Match", "*")], [("If-None-Match", '"x"')], [("If-Match", '"x"')],
    [("If-Modified-Since", "Mon, 23 Nov 2026 12:00:00 GMT")],
    [("If-Unmodified-Since", "Mon, 23 Nov 2015 12:00:00 GMT")],
], ids=str)
def test_request_headers_do_not_change_the_format(nginx, simulator, headers):
    simulator.instance("instances/docs", [{"id": "a", "state": "running"}])
    server = start(nginx, simulator, http="aisearch_wait 30s; aisearch_events on;")
    began = time.monotonic()
    response = server.get(LIST, headers)
    assert time.monotonic() - began < SOON
    assert metrics(response)["aisearch_up"] == 1
    assert response.header("Cache-Control") == "no-store"
    for name in "ETag", "Age", "Vary", "Preference-Applied", "X-Aisearch-State", "Last-Modified":
        assert response.header(name) is None
    # the nested location still supports waits
    assert server.get("/json/instances/docs/jobs").header("Vary") == "Accept, Prefer"


def test_head(nginx, simulator):
    simulator.instance("instances/docs", [{"id": "a", "state": "running"}])
    server = start(nginx, simulator)
    length = len(server.get(LIST).body)
    response = net.request(server.address, LIST, method="HEAD")
    assert (response.status, response.header("Content-Type")) == (200, TYPE)
    assert (int(response.header("Content-Length")), response.body) == (length, b"")


def test_gzip(nginx, simulator):
    """"gzip_types text/plain" matches, in spite of the parameters of the type."""
    simulator.instance("instances/docs", [{"id": "a", "state": "running"}])
    server = start(nginx, simulator, http="gzip on; gzip_types text/plain; gzip_min_length 1; charset koi8-r;")
    response = server.get(LIST, [("Accept-Encoding", "gzip")])
    assert response.header("Content-Encoding") == "gzip"
    assert response.header("Content-Type") == TYPE
    assert b"aisearch_up" in gzip.decompress(response.body)


def test_error_pages(nginx, simulator):
    """They are for errors; a failure of the API is a metric instead."""
    server = start(nginx, simulator, server="aisearch_intercept_errors on; error_page 404 502 503 504 = /page;"
                   "location = /page { return 418; }" + SERVER)
    assert server.get("/jobs?target=gone").status == 418
    simulator.fault(status=502)
    assert metrics(server.get(LIST)) == {"aisearch_up": 0}


def test_a_subrequest(nginx, simulator):
    simulator.instance("instances/docs", [{"id": "a", "state": "running"}])
    server = start(nginx, simulator, server=SERVER + """
        location = /guarded { auth_request /instance?target=docs; return 204; }
        location = /page { default_type text/html; ssi on; aisearch_metrics off; root @PREFIX@; }
    """)
    (server.prefix / "page").write_text(f'<!--#include virtual="{LIST}" -->')
    response = server.get("/page")
    promtool_check(response.body)
    assert 'state="running"} 1\n' in response.body.decode()


def test_client_limits_apply(nginx, simulator):
    simulator.instance("instances/docs", [{"id": "a", "state": "running"}])
    simulator.instance("instances/more", [{"id": "a", "state": "running"}])
    server = start(nginx, simulator, http="aisearch_limit_fetches $remote_addr rate=1r/m;")
    assert metrics(server.get(LIST))["aisearch_up"] == 1
    assert server.get("/jobs?target=more").status == 429
    assert metrics(server.get(LIST))["aisearch_up"] == 1


# Prometheus.


def prometheus_config(nginx, count: int) -> str:
    targets = ", ".join(f"fleet-{n}" for n in range(count))
    return f"""
global: {{scrape_interval: 1s, scrape_timeout: 1s}}
scrape_configs:
  - job_name: aisearch
    metrics_path: /jobs
    static_configs: [{{targets: [{targets}]}}]
    relabel_configs:
      - {{source_labels: [__address__], target_label: __param_target}}
      - {{source_labels: [__param_target], target_label: instance}}
      - {{target_label: __address__, replacement: "127.0.0.1:{nginx.port}"}}
"""


def test_prometheus_causes_no_more_calls_than_the_lifetime_allows(nginx, simulator, tmp):
    """
    Fifty targets, each scraped once a second, with a lifetime of five seconds: at most one scrape in five causes a
    call.
    """
    count, seconds = 50, 12
    simulator.instances([{"name": f"instances/fleet-{n}", "jobs": [{"id": "a", "state": "succeeded"}]}
                         for n in range(count)])
    server = start(nginx, simulator, http="aisearch_valid list 5s;")
    with Prometheus(tmp, prometheus_config(server, count)) as prometheus:
        net.wait_until(lambda: len(prometheus.query("aisearch_up == 1")) == count, 20, "all targets", every=0.2)
        began = time.monotonic()
        before = simulator.count()
        time.sleep(seconds)
        calls, took = simulator.count() - before, time.monotonic() - began
        scrapes = sum(sample.value for sample in prometheus.query(f"count_over_time(up[{seconds}s])"))
        assert [sample.value for sample in prometheus.query("up")] == [1] * count
        assert len(prometheus.query('aisearch_job_state{state="succeeded"} == 1')) == count
        [sample] = prometheus.query('aisearch_listed_jobs{instance="fleet-7", state="succeeded"}')
        assert {name: sample.labels[name] for name in ("account", "namespace", "index", "instance")} == {
            "account": "docs", "namespace": "default", "index": "fleet-7", "instance": "fleet-7"}
    assert scrapes >= count * seconds * 0.5
    assert calls <= count * (took / 5 + 1)


# The files in config/.


def test_promtool_finds_no_fault():
    promtool("check", "config", SCRAPES)
    promtool("check", "rules", RULES)


def test_the_rules():
    promtool("test", "rules", pathlib.Path(__file__).with_name("prometheus-aisearch-nginx.rules.test.yml"))


def alerts(rules: pathlib.Path) -> dict[str, str]:
    found = re.split(r"\n +- (?=record:|alert:)", rules.read_text())[1:]
    return {rule.split()[1]: rule.strip() for rule in found if rule.startswith("alert:")}


def test_alerts_match_those_with_collectd():
    """
    Each has the same severity and page as the alert of that name for collectd; the rules about nginx are identical.
    """
    ours, theirs = alerts(RULES), alerts(RULES_OF_COLLECTD)
    assert len(ours) >= 10
    for name, rule in ours.items():
        for pattern in r"severity: (\w+)", r"runbook_url: (\S+)":
            assert re.findall(pattern, rule) == re.findall(pattern, theirs[name]), name
        if "Nginx" in name or name == "AisearchCacheStale":
            assert rule == theirs[name]
    chapter = (ROOT / "docs/alerts.md").read_text().partition("\n## Without collectd\n")[2]
    told = set(re.findall(r"`(\w+)`", "".join(re.findall(r"^\| (`.*?) \| ", chapter, re.MULTILINE))))
    assert told == {name for name in theirs if ours.get(name) != theirs[name]}


def test_the_shipped_configuration(nginx, simulator, tmp):
    """nginx.conf, the scrape configuration and the rules, with only their addresses, paths and times replaced."""
    simulator.instance("instances/my-ai-search", [{"id": "a", "state": "succeeded"}], stats={"completed": 7})
    simulator.instance("instances/handbook", [{"id": "b", "state": "failed"}], paused=True, stats={"error": 2})
    http = config_text("nginx.conf", NGINX_HANDBOOK, ("/etc/aisearch/docs.token;", f"{simulator.token_file};"),
                       ("https://api.cloudflare.com/client/v4;", f"{simulator.url};"),
                       ("127.0.0.1:8088", "127.0.0.1:@PORT_SITE@"), ("/run/aisearch/nginx.sock", "@PREFIX@/site.sock"),
                       ("/var/log/nginx/", "@PREFIX@/"))
    server = nginx(http=http)
    config = re.sub(r"(scrape|evaluation)_(interval|timeout): \w+", r"\1_\2: 1s", SCRAPES.read_text())
    config = config.replace("localhost:8088", f"127.0.0.1:{server.ports['SITE']}")
    with Prometheus(tmp, config, {RULES.name: RULES.read_text()}) as prometheus:
        def alert() -> list:
            return prometheus.query('ALERTS{alertstate="firing"}')

        net.wait_until(alert, 20, "an alert", every=0.3)
        net.wait_until(lambda: len(prometheus.query("up == 1")) == 7, 20, "all targets", every=0.3)
        assert [(sample.labels["alertname"], sample.labels["index"]) for sample in alert()] == [
            ("AisearchJobFailed", "handbook")]
        values = {(sample.labels["index"], sample.labels["__name__"]): sample.value for sample in prometheus.query(
            '{__name__=~"aisearch_up|aisearch_instance_paused|aisearch_items", state=~"|completed|error"} != 0')}
        assert values == {
            ("handbook", "aisearch_up"): 1, ("handbook", "aisearch_instance_paused"): 1,
            ("handbook", "aisearch_items"): 2,
            ("my-ai-search", "aisearch_up"): 1, ("my-ai-search", "aisearch_items"): 7}
        assert [rule for rule in prometheus.rules() if rule["health"] != "ok"] == []
