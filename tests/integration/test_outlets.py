"""
The files in config/ for Prometheus, Grafana, threshold, unixsock and csv, with the real daemons. Only paths, addresses and
intervals are replaced.
"""

import contextlib
import dataclasses
import grp
import json
import math
import os
import pathlib
import re
import subprocess
import time

import alert_scenarios
import pytest

from harness import ROOT, net, temp_dir
from harness.collectd import Collectd, Config as CollectdConfig
from harness.examples import COLLECTD_HANDBOOK, CONFIG, NGINX_HANDBOOK, RULES, config_text
from harness.nginx import Config as NginxConfig, Nginx
from harness.prometheus import PROMTOOL, Prometheus
from harness.simulator import ACCOUNT, Simulator
from harness.unixsock import UnixSock
from soak import outage

DASHBOARD = json.loads((CONFIG / "grafana-aisearch.json").read_text())

WELL, ILL = "docs-my-ai-search", "docs-handbook"

# The conditions of an instance and of an account.
OF_INSTANCE = ["failed", "stalled", "overdue", "instance_error"]
OF_ACCOUNT = ["credential", "unreachable", "refused", "rate_limited"]

JOBS = {
    "instances/my-ai-search": [{"id": "a", "state": "succeeded"}, {"id": "b", "starts_in": -5}],
    "instances/handbook": [{"id": "c", "state": "succeeded"}, {"id": "d", "starts_in": -5}],
}

# A threshold without "Interesting false", which the example sets: the end of a value is an alarm.
CONTROL = f"""
<Plugin threshold>
  <Plugin "aisearch">
    Instance "{ILL}"
    <Type "duration">
      Instance "last_seen"
      WarningMax 900
    </Type>
  </Plugin>
</Plugin>
"""


@dataclasses.dataclass
class Site:
    tmp: pathlib.Path
    collectd: Collectd
    port: int  # of write_prometheus
    unixsock: UnixSock
    prometheus: Prometheus

    def alarms(self, type_instance: str) -> list[str]:
        """Notifications about these values except for OKAY, for example "FAILURE docs-handbook"."""
        lines = self.collectd.log_lines(rf"Notification: .* type_instance = {type_instance},")
        fields = (re.search(r"severity = (\w+), .* plugin_instance = ([^,]+),", line) for line in lines)
        return [f"{match[1]} {match[2]}" for match in fields if match[1] != "OKAY"]


@pytest.fixture(scope="module")
def site():
    with temp_dir() as tmp, contextlib.ExitStack() as stack:
        simulator = stack.enter_context(Simulator(tmp))
        for name, jobs in JOBS.items():
            simulator.instance(name, jobs)
        nginx = stack.enter_context(Nginx(tmp, nginx_config(simulator)))
        collectd, port = start_collectd(stack, tmp, nginx)
        prometheus = stack.enter_context(prometheus_for(tmp, port, nginx.ports["SITE"]))
        site = Site(tmp, collectd, port, UnixSock(tmp / "unixsock"), prometheus)
        see_jobs_end(site, simulator)
        yield site


def start_collectd(stack: contextlib.ExitStack, tmp: pathlib.Path, nginx: Nginx) -> tuple[Collectd, int]:
    """Starts collectd and returns the port of write_prometheus. Tries another port if the first one is in use."""
    for _ in range(5):
        port = net.free_port()
        collectd = Collectd(tmp, collectd_config(tmp, nginx, port))
        collectd.start()
        stack.callback(collectd.stop)
        if collectd.log_lines("write_prometheus plugin: Listening"):
            return collectd, port
        collectd.stop()
    raise AssertionError("no free port found for write_prometheus")


def see_jobs_end(site: Site, simulator: Simulator) -> None:
    """Waits until Prometheus has seen both jobs running. Then one of them succeeds, and the other one fails."""
    net.wait_until(lambda: len(site.prometheus.query("aisearch:state == 1")) == 2, 20, "the jobs to run", every=0.1)
    simulator.job("instances/my-ai-search", "b", ends_in=0)
    simulator.job("instances/handbook", "d", ends_in=0, end_reason="error: no such bucket")


def nginx_config(simulator: Simulator) -> NginxConfig:
    return NginxConfig(http=config_text(
        "nginx.conf", NGINX_HANDBOOK,
        ("/etc/aisearch/docs.token;", f"{simulator.token_file};"),
        ("https://api.cloudflare.com/client/v4;", f"{simulator.url};"),
        ("127.0.0.1:8088", "127.0.0.1:@PORT_SITE@"),
        ("/run/aisearch/nginx.sock", "@PREFIX@/aisearch.sock"),
        ("/var/log/nginx/", "@PREFIX@/")))


def collectd_config(tmp: pathlib.Path, nginx: Nginx, port: int) -> CollectdConfig:
    plugin = config_text("collectd.conf", COLLECTD_HANDBOOK,
                         ("/run/aisearch/nginx.sock", nginx.prefix / "aisearch.sock"),
                         ('<Account "docs">', '<Account "docs">\nActiveInterval 1\nIdleInterval 10\n'
                                             'ReportDetails true\nReportItems true'))
    outlets = config_text(
        "collectd-outlets.conf",
        ("Port 9103", f"Port {port}"),
        ("/run/collectd-unixsock", tmp / "unixsock"),
        ('"adm"', f'"{grp.getgrgid(os.getegid()).gr_name}"'),
        ("/var/lib/collectd/csv", tmp / "csv"))
    threshold = config_text("collectd-threshold.conf")
    block = re.search(r"<Plugin aisearch>\n(.*)</Plugin>", plugin, re.DOTALL)[1]
    return CollectdConfig(block, interval=1, extra=outlets + threshold + CONTROL, csv=False)


def prometheus_for(tmp: pathlib.Path, collectd_port: int, nginx_port: int) -> Prometheus:
    config = config_text("prometheus.yml", ("interval: 15s", "interval: 1s"),
                         ("localhost:9103", f"127.0.0.1:{collectd_port}"),
                         ("localhost:8088", f"127.0.0.1:{nginx_port}"))
    return Prometheus(tmp, config, {RULES: config_text(RULES)})


# ---- Prometheus ---------------------------------------------------------------------------------------------------


def promtool(*arguments: object) -> None:
    run = subprocess.run([PROMTOOL, *map(str, arguments)], stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                         timeout=120, check=False)
    assert run.returncode == 0, run.stdout.decode()


def test_promtool_accepts_the_files():
    promtool("check", "config", CONFIG / "prometheus.yml")
    promtool("check", "rules", CONFIG / RULES)


def test_recording_rules_and_texts_of_alerts():
    promtool("test", "rules", pathlib.Path(__file__).with_name("prometheus-aisearch.rules.test.yml"))


@pytest.mark.parametrize("scenario", alert_scenarios.SCENARIOS, ids=lambda scenario: scenario.title)
def test_alerts(scenario, tmp):
    (tmp / "scenario.yml").write_text(alert_scenarios.promtool_file(scenario))
    promtool("test", "rules", tmp / "scenario.yml")


def alert_texts() -> dict[str, str]:
    """The rule of each alert, as text."""
    rules = re.split(r"\n +- (?=record:|alert:)", config_text(RULES))[1:]
    return {rule.split()[1]: rule for rule in rules if rule.startswith("alert:")}


def test_each_alert_fires_in_a_scenario():
    fired = {alert for scenario in alert_scenarios.SCENARIOS for alert, *_ in scenario.fires}
    assert fired == set(alert_texts())


def test_each_alert_is_documented():
    """docs/alerts.md describes exactly the existing alerts. Each alert has a severity, texts, and a link to its section."""
    [address] = re.findall(r"^Source: (.*)", (ROOT / "debian/copyright").read_text(), re.MULTILINE)
    page = (ROOT / "docs/alerts.md").read_text()
    assert re.findall(r"^### (.*)", page, re.MULTILINE) == list(alert_texts())
    for alert, text in alert_texts().items():
        assert re.search(r"^ +severity: (warning|critical)$", text, re.MULTILINE), alert
        assert re.search(r"^ +summary: .*\n +description: ", text.replace(">-\n", ""), re.MULTILINE), alert
        assert f"runbook_url: {address}/docs/alerts.md#{alert.lower()}\n" in text + "\n"
    assert address in {link["url"].partition("/docs/")[0] for link in DASHBOARD["links"]}


def selectors(expression: str) -> list[str]:
    """The selectors in an expression: metrics with their matchers."""
    return re.findall(r"\b(?:up|collectd_\w+|aisearch[_:][\w:]+)\b(?:\{[^}]*\})?", expression)


def panels() -> list[dict]:
    return [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]


def dashboard_queries() -> list[str]:
    """All queries of the dashboard, with the value "All" for variables."""
    expressions = [target["expr"] for panel in panels() for target in panel["targets"]]
    for variable, value in (("$host", ".*"), ("$account", ".*"), ("$aisearch", ".*"), ("$__rate_interval", "10s"),
                            ("$__interval", "10s"), ("$__range", "5m")):
        expressions = [expression.replace(variable, value) for expression in expressions]
    assert not [expression for expression in expressions if "$" in expression]
    return expressions


def rule_expressions(prometheus: Prometheus) -> list[str]:
    """The expressions of recording rules, and the selectors of alerts, whose expressions usually have no result."""
    return [expression for rule in prometheus.rules()
            for expression in ([rule["query"]] if rule["type"] == "recording" else selectors(rule["query"]))]


def test_all_queries_and_rules_have_data(site):
    left = set(dashboard_queries() + rule_expressions(site.prometheus))

    def answered() -> bool:
        for expression in list(left):
            samples = site.prometheus.query(expression)
            if samples and not any(math.isnan(sample.value) for sample in samples):
                left.remove(expression)
        return not left

    try:
        net.wait_until(answered, 30, "data", every=0.3)
    except AssertionError:
        raise AssertionError("no data for:\n" + "\n".join(sorted(left))) from None


def test_rules_in_prometheus(site):
    """All rules can be evaluated, and only the alert about the failed job fires."""
    net.wait_until(lambda: site.prometheus.firing(), 20, "an alert", every=0.3)
    assert site.prometheus.firing() == {("AisearchJobFailed", ILL)}
    rules = site.prometheus.rules()
    assert len(rules) > 20
    assert [rule for rule in rules if rule["health"] != "ok"] == []


def test_conditions_are_values(site):
    """There are series for all conditions of instances and of the account from the start, with labels for their object."""
    def standing() -> dict[tuple[str, str], float]:
        samples = site.prometheus.query(f'collectd_aisearch_gauge{{type=~"{"|".join(OF_INSTANCE + OF_ACCOUNT)}"}}')
        return {(sample.labels["aisearch"], sample.labels["type"]): sample.value for sample in samples}

    wanted = {**{(aisearch, name): float((aisearch, name) == (ILL, "failed"))
                 for aisearch in (WELL, ILL) for name in OF_INSTANCE}, **{("docs", name): 0.0 for name in OF_ACCOUNT}}
    net.wait_until(lambda: standing().get((ILL, "failed")) == 1, 20, "a failed job", every=0.3)
    assert standing() == wanted


def test_names_follow_the_conventions_of_prometheus(site):
    """There are two exceptions, which are due to collectd's types."""
    page = net.request(("127.0.0.1", site.port), "/metrics").body
    ours = re.sub(rb"^(?!(# \w+ )?collectd_aisearch_).*\n", b"", page, flags=re.MULTILINE)
    run = subprocess.run([PROMTOOL, "check", "metrics"], input=ours, capture_output=True, timeout=60, check=False)
    assert sorted(run.stderr.decode().splitlines()) == [
        'collectd_aisearch_count non-histogram and non-summary metrics should not have "_count" suffix',
        "collectd_aisearch_gauge metric name should not include type 'gauge'"]


LABELS = {
    "docs": {"account": "docs"},
    "docs_2-hand_book": {"account": "docs_2", "index": "hand_book", "namespace": "default"},
    "docs-my-ai-search": {"account": "docs", "index": "my-ai-search", "namespace": "default"},
    "docs-my-ai-search@support-2": {"account": "docs", "index": "my-ai-search", "namespace": "support-2"},
}


def test_labels_of_series(tmp):
    """prometheus.yml adds account, index and namespace, keeps aisearch, and does not change the series of other plugins."""
    page = "".join(f'collectd_aisearch_gauge{{aisearch="{name}",type="x",instance="h"}} 1\n' for name in LABELS)
    page += 'collectd_cpu_total{cpu="0",instance="h"} 1\n'
    with net.http_server(lambda _: page.encode(), "text/plain; version=0.0.4") as port, \
         prometheus_for(tmp, port, port) as prometheus:
        samples = net.wait_until(lambda: prometheus.query('{job="collectd", __name__=~"collectd_.*"}'), 15, "series")
    got = {sample.labels.get("aisearch"): sample.labels for sample in samples}
    assert got.pop(None) == {"__name__": "collectd_cpu_total", "job": "collectd", "instance": "h", "cpu": "0"}
    base = {"__name__": "collectd_aisearch_gauge", "job": "collectd", "instance": "h", "type": "x"}
    assert got == {name: {**base, "aisearch": name, **labels} for name, labels in LABELS.items()}


def test_series_keep_their_host(site):
    """With honor_labels, the label "instance" is the host in collectd's values."""
    samples = net.wait_until(lambda: site.prometheus.query('collectd_aisearch_gauge{type="state"}'), 10, "a series")
    assert {sample.labels["instance"] for sample in samples} == {"test"}
    assert {sample.labels["aisearch"] for sample in samples} == {WELL, ILL}


def test_cache_hits_are_a_ratio(site):
    [sample] = net.wait_until(lambda: site.prometheus.query("aisearch:cache_hits:ratio_rate5m >= 0"), 15, "a ratio")
    assert sample.labels["account"] == "docs"
    assert 0 <= sample.value <= 1


def test_chain_that_drops_series(simulator, tmp):
    """The filter chain in docs/collectd.md keeps only conditions and the counter of failed jobs for each instance."""
    simulator.instance("instances/handbook", [{"id": "a", "state": "succeeded"}, {"id": "b", "state": "running"}])
    text = (ROOT / "docs/collectd.md").read_text()
    chain = re.search(r"```\n(LoadPlugin match_regex\n.*?)```", text, re.DOTALL)[1]
    account = f"""
        <Account "docs">
          AccountID "{ACCOUNT}"
          APIURL "{simulator.url}"
          TokenFile "{simulator.token_file}"
          Instance "handbook"
        </Account>
    """
    with Collectd(tmp, CollectdConfig(account, extra=chain)) as collectd:
        report = collectd.wait_report("docs", lambda report: "docs/count-unread" in report)
    of_instance = {name.partition("/")[2] for name in report if name.startswith("docs-handbook/")}
    assert of_instance == {"operations-failed", *(f"gauge-{name}" for name in OF_INSTANCE)}
    assert {f"docs/gauge-{name}" for name in OF_ACCOUNT} < set(report)


# ---- an outage (tests/soak/outage.py, which make soak runs) -------------------------------------------------------


@pytest.mark.parametrize("firing, complaint", [
    (outage.STANDING - {("AisearchOverdue", "docs-late")}, "{('AisearchOverdue', 'docs-late')} disappeared"),
    ({*outage.STANDING, ("AisearchNotMonitored", "")}, "{('AisearchNotMonitored', '')} appeared"),
], ids=["missing alert", "unexpected alert"])
def test_wrong_alerts_in_an_outage_are_noticed(firing, complaint):
    answers = iter([outage.STANDING, {*outage.STANDING, outage.UNREACHABLE}, firing])
    pace = outage.Pace(seconds=0.1)
    with pytest.raises(AssertionError, match=re.escape(complaint)):
        outage.watch(lambda: next(answers), outage.STANDING, pace, time.monotonic(), until=math.inf)


def test_times_of_the_outage_are_scaled():
    assert outage.Pace(60).text("for: 5m\nrate(x[1d]) interval: 15s # 2m3") == \
        "for: 10000ms\nrate(x[2880000ms]) interval: 500ms # 2m3"
    assert outage.Pace(1800).text("for: 5m") == "for: 300000ms"


# ---- the dashboard ------------------------------------------------------------------------------------------------


def test_panels_do_not_overlap():
    cells = [(panel["gridPos"]["x"] + x, panel["gridPos"]["y"] + y) for panel in DASHBOARD["panels"]
             for x in range(panel["gridPos"]["w"]) for y in range(panel["gridPos"]["h"])]
    assert len(cells) == len(set(cells)) and max(x for x, _ in cells) < 24
    ids = [panel["id"] for panel in DASHBOARD["panels"]]
    assert len(ids) == len(set(ids)) > 20


def test_panels_use_the_variables():
    names = [variable["name"] for variable in DASHBOARD["templating"]["list"]]
    assert names == ["datasource", "host", "account", "aisearch"]
    for panel in panels():
        for target in panel["targets"]:
            assert target["datasource"]["uid"] == "${datasource}"
            assert "$account" in target["expr"] or "aisearch_zone_" in target["expr"], panel["title"]
            assert "$host" in target["expr"] or "ALERTS" in target["expr"], panel["title"]
            assert "$aisearch" in target["expr"] or "aisearch)" not in target["expr"], panel["title"]


def test_panels_limit_the_number_of_lines():
    """Panels with one line per instance limit their number, and rates have a minimum interval."""
    for panel in panels():
        for target in panel["targets"]:
            if "{{aisearch}}" in target["legendFormat"]:
                assert "topk(" in target["expr"], panel["title"]
            if "_interval]" in target["expr"]:
                assert target["interval"] in ("1m", "5m"), panel["title"]


def test_names_and_colors_of_states():
    """All panels use the same names and colors for states."""
    [timeline] = [panel for panel in panels() if panel["title"] == "State of the newest job"]
    [mapping] = timeline["fieldConfig"]["defaults"]["mappings"]
    states = {option["text"]: option["color"] for option in mapping["options"].values()}
    assert list(states) == ["queued", "running", "succeeded", "failed", "cancelled"]
    for panel in panels():
        for override in panel["fieldConfig"]["overrides"]:
            name = override["matcher"]["options"]
            if name in states:
                assert override["properties"][0]["value"]["fixedColor"] == states[name], panel["title"]
    [counts] = [panel for panel in panels() if panel["title"] == "Instances by the state of their newest job"]
    assert [target["legendFormat"] for target in counts["targets"]] == list(states)


# ---- threshold ----------------------------------------------------------------------------------------------------


def test_threshold_only_reports_the_failure(site):
    net.wait_until(lambda: site.alarms("state"), 20, "an alarm")
    # By then, last_seen of both jobs has expired in collectd's cache. The control shows when that causes an alarm.
    net.wait_until(lambda: site.alarms("last_seen"), 20, "the alarm of the control")
    net.wait_until(lambda: not [n for n in site.unixsock.names() if n.endswith("duration-last_seen")], 10, "the end")
    assert site.alarms("state") == [f"FAILURE {ILL}"]
    assert site.alarms("last_seen") == [f"FAILURE {ILL}"]
    assert site.alarms("since_read") == site.alarms("job") == []


# ---- documentation ------------------------------------------------------------------------------------------------


def test_reported_values_are_documented(site):
    """The man page describes exactly the reported values, and docs/collectd.md describes all of them."""
    wanted = {name for line in re.findall(r"^=item (.*)", section("METRICS"), re.MULTILINE)
              for name in re.findall(r"B<([\w-]+)>", line)}

    def reported() -> set[str]:
        paths = (site.tmp / "csv" / "test").glob("aisearch-*/*")
        return {path.name[:-len("-2026-11-23")] for path in paths}

    net.wait_until(lambda: reported() >= wanted, 10, "all documented values")
    assert reported() == wanted
    manual = (ROOT / "docs/collectd.md").read_text()
    assert [name for name in wanted if f"`{name}`" not in manual] == []


def section(title: str) -> str:
    """A section of the man page, including its subsections."""
    text = (ROOT / "collectd-plugin/collectd-aisearch.pod").read_text()
    return re.search(rf"^=head1 {title}\n(.*?)(?=^=head1)", text, re.DOTALL | re.MULTILINE)[1]


# ---- unixsock, csv ------------------------------------------------------------------------------------------------


def test_values_of_unixsock(site):
    prefix = f"test/aisearch-{WELL}/"
    wanted = {f"{prefix}gauge-state": 2, f"{prefix}count-running": 0, f"{prefix}gauge-failed": 0}
    net.wait_until(lambda: wanted.items() <= site.unixsock.values(prefix).items(), 20, "the end of a job")
    assert site.unixsock.value(f"{prefix}duration-job") > 5


def test_values_of_csv(site):
    def rows(name: str) -> list[list[str]]:
        [path] = (site.tmp / "csv" / "test").glob(f"aisearch-{ILL}/{name}-????-??-??")
        header, *lines = path.read_text().splitlines()
        assert header.startswith("epoch,")
        return [line.split(",") for line in lines]

    net.wait_until(lambda: float(rows("gauge-state")[-1][1]) == 3, 20, "the end of a job")
    states = [float(value) for _, value in rows("gauge-state")]
    assert states == sorted(states) and states[0] == 1  # running, and then failed
    times = [float(time) for time, _ in rows("duration-since_read")]
    assert times == sorted(set(times))
