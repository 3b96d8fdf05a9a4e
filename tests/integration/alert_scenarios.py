"""
Scenarios for the alerts in config/: the values that collectd and nginx report, and the alerts that fire in each minute,
for "promtool test rules". No other alert may fire, so each scenario tests all alerts.
"""

import dataclasses
import json

from harness import ROOT

RULES = ROOT / "config/prometheus-aisearch.rules.yml"

# The objects that series and alerts describe: two instances and the account in collectd, and the account in nginx.
# NOBODY is for series and alerts without these labels.
A, B, ACCOUNT, NGINX, NOBODY = "docs-a", "docs-b@support", "docs", "nginx", ""

_LABELS = {
    A: 'aisearch="docs-a", account="docs", index="a", namespace="default"',
    B: 'aisearch="docs-b@support", account="docs", index="b", namespace="support"',
    ACCOUNT: 'aisearch="docs", account="docs"',
    NGINX: 'account="docs"',
    NOBODY: "",
}

# The metric for each of collectd's types. A series below is named by its object, its type and its type instance.
_METRICS = {"gauge": "collectd_aisearch_gauge", "count": "collectd_aisearch_count",
            "duration": "collectd_aisearch_duration_seconds", "operations": "collectd_aisearch_operations_total",
            "errors": "collectd_aisearch_errors_total", "http_requests": "collectd_aisearch_http_requests_total"}

_ALL_IS_WELL = {
    **{f"{who} {name}": values for who in (A, B) for name, values in {
        "gauge-failed": "0", "gauge-stalled": "0", "gauge-overdue": "0", "gauge-instance_error": "0",
        "gauge-state": "2", "duration-job": "600", "duration-since_success": "60+60", "duration-since_read": "250",
        "operations-succeeded": "4", "operations-failed": "0", "count-items_error": "0", "count-items_outdated": "0",
    }.items()},
    **{f"docs {name}": values for name, values in {
        "gauge-credential": "0", "gauge-unreachable": "0", "gauge-refused": "0", "gauge-rate_limited": "0",
        "gauge-budget_stretch": "1", "count-instances": "2", "count-unread": "0", "http_requests": "0+6",
        "errors-connect": "0", "errors-tls": "0", "errors-timeout": "0", "errors-credential": "0",
        "errors-rate_limited": "0", "errors-server": "0", "errors-body": "0", "errors-refused": "0",
    }.items()},
    "up": "1",
    "nginx up": "1",
    "nginx hit": "0+9",
    "nginx miss": "0+9",
    "nginx stale": "0",
    "nginx credential_refused": "0",
}


@dataclasses.dataclass
class Scenario:
    """
    series: the series that differ from _ALL_IS_WELL, with new values from a minute on, in promtool's notation ("7",
    "0+3", "_" for none). fires: the first and the last minute of each alert, by its name and its object. hosts: the
    hosts on which collectd runs; all of them report the same values. down: the minutes in which a host does not report.
    open: minutes that are not checked because a value is exactly five minutes old; Prometheus 3 drops such a value,
    earlier versions do not.
    """

    title: str
    series: dict[str, dict[int, str]]
    fires: dict[tuple[str, ...], tuple[int, int]]
    minutes: int = 60
    hosts: tuple[str, ...] = ("h", "g")
    down: dict[str, tuple[int, int]] = dataclasses.field(default_factory=dict)
    open: tuple[int, ...] = ()


STANDS = 59  # the alert fires until the end


def outage(first: int, last: int, requests: int = 3) -> dict[str, dict[int, str]]:
    """
    The series during an outage: one lookup per minute that fails, the conditions of the account, and the values of jobs
    until they are too old.
    """
    gone = {first + 15: "_", last + 1: "2"}
    before, during = 6 * first, requests * (last - first)
    return {
        "docs gauge-unreachable": {first + 1: "1", last + 1: "0"},
        "docs count-unread": {first + 15: "2", last + 1: "0"},
        "docs errors-server": {first: "1+1", last + 1: f"{last - first + 1}"},
        "docs http_requests": {first: f"{before}+{requests}", last + 1: f"{before + during}+6"},
        **{f"{who} duration-since_read": {first: "310+60", last + 1: "10"} for who in (A, B)},
        **{f"{who} gauge-state": gone for who in (A, B)},
        **{f"{who} duration-job": gone for who in (A, B)},
    }


def standing() -> dict[str, dict[int, str]]:
    """Each condition of instances, starting before the outage."""
    return {
        f"{A} gauge-failed": {2: "1"},
        f"{A} operations-failed": {2: "1", 3: "2", 4: "3"},
        f"{A} gauge-overdue": {5: "1"},
        f"{A} count-items_outdated": {0: "23"},
        f"{B} gauge-stalled": {2: "1"},
        f"{B} gauge-instance_error": {3: "1"},
    }


STANDING = {
    ("AisearchJobFailed", A): (2, STANDS),
    ("AisearchJobsKeepFailing", A): (4, STANDS),
    ("AisearchOverdue", A): (5, STANDS),
    ("AisearchJobStalled", B): (2, STANDS),
    ("AisearchInstanceError", B): (3, STANDS),
}


SCENARIOS = [
    Scenario("all is well", {}, {}),

    # ---- lookups

    Scenario("each lookup fails with a 5xx, as do its two retries", outage(10, 59), {
        ("AisearchUnreachable", ACCOUNT): (12, STANDS),
        ("AisearchNotRead", ACCOUNT): (30, STANDS),
    }),
    Scenario("every second lookup fails with a 5xx, as do its two retries", {
        "docs http_requests": {10: "60+8"},
        "docs errors-server": {10: "0+2"},
    }, {("AisearchLookupsFail", ACCOUNT): (28, STANDS)}),
    Scenario("every third lookup times out", {
        "docs errors-timeout": {10: "0+2"},
    }, {("AisearchLookupsFail", ACCOUNT): (27, STANDS)}),
    Scenario("one lookup in ten fails, and its retry succeeds", {
        "docs errors-connect": {10: "0+0.6"},
    }, {}),
    Scenario("some instances do not exist", {
        "docs errors-refused": {10: "0+3"},
        "docs count-unread": {25: "1"},
    }, {("AisearchNotRead", ACCOUNT): (30, STANDS)}),
    Scenario("the API rejects all requests", {
        "docs errors-refused": {10: "0+6"},
        "docs gauge-refused": {11: "1"},
        "docs count-unread": {25: "2"},
    }, {("AisearchAccountRefused", ACCOUNT): (13, STANDS), ("AisearchNotRead", ACCOUNT): (30, STANDS)}),

    # ---- outages

    Scenario("an outage of 30 minutes while other alerts are firing", {**outage(20, 49), **standing()}, {
        **STANDING,
        ("AisearchUnreachable", ACCOUNT): (22, 49),
        ("AisearchNotRead", ACCOUNT): (40, 49),
    }),
    Scenario("collectd is restarted during an outage", {**outage(20, 49), **standing()}, {
        **STANDING,
        ("AisearchUnreachable", ACCOUNT): (22, 49),
        ("AisearchNotRead", ACCOUNT): (40, 49),
    }, hosts=("h",), down={"h": (30, 31)}),
    Scenario("items are not indexed for half a day, with half an hour without values", {
        f"{A} count-items_outdated": {0: "23", 700: "_", 735: "23"},
    }, {("AisearchItemsNotIndexed", A): (720, 779)}, minutes=780),
    Scenario("connections fail, with one call per minute", {
        **outage(10, 59, requests=1), "docs errors-server": {0: "0"}, "docs errors-connect": {10: "1+1"},
    }, {("AisearchUnreachable", ACCOUNT): (12, STANDS), ("AisearchNotRead", ACCOUNT): (30, STANDS)}),

    # ---- jobs

    Scenario("a job fails, and the next one succeeds", {
        f"{A} gauge-failed": {10: "1", 40: "0"},
        f"{A} gauge-state": {10: "3", 20: "1", 40: "2"},
        f"{A} operations-failed": {10: "1"},
        f"{A} operations-succeeded": {40: "5"},
    }, {("AisearchJobFailed", A): (10, 39)}),
    Scenario("another job is queued after a stalled one", {
        f"{A} gauge-state": {10: "1", 30: "0"},
        f"{A} gauge-stalled": {25: "1"},
        f"{A} duration-job": {10: "0+60", 30: "0"},
        f"{A} duration-last_seen": {0: "_", 10: "0+60", 30: "_"},
    }, {("AisearchJobStalled", A): (25, STANDS)}),
    Scenario("a job is queued for too long", {
        f"{A} gauge-state": {10: "0"},
        f"{A} gauge-stalled": {25: "1"},
        f"{A} duration-job": {10: "0"},
    }, {("AisearchJobStalled", A): (25, STANDS)}),
    Scenario("a stalled job never had a last_seen_at", {
        f"{A} gauge-state": {10: "1"},
        f"{A} gauge-stalled": {25: "1", 50: "0"},
        f"{A} duration-job": {10: "0+60"},
    }, {("AisearchJobStalled", A): (25, 49)}),
    Scenario("a long job keeps giving signs of life", {
        f"{A} gauge-state": {10: "1"},
        f"{A} duration-job": {10: "0+60"},
        f"{A} duration-last_seen": {0: "_", 10: "5"},
    }, {}),
    Scenario("no job has ever succeeded", {
        f"{A} duration-since_success": {0: "_"},
        f"{A} gauge-overdue": {10: "1"},
    }, {("AisearchOverdue", A): (10, STANDS)}),
    Scenario("paused instances have had no success for a long time", {
        f"{A} duration-since_success": {0: "1000000+60"},
        f"{A} duration-sync_interval": {0: "21600", 10: "_"},
        f"{B} duration-since_success": {0: "_"},
    }, {}),
    Scenario("three jobs fail, and others succeed in between", {
        f"{A} gauge-failed": {10: "1", 12: "0", 20: "1", 22: "0", 30: "1", 32: "0"},
        f"{A} operations-failed": {10: "1", 20: "2", 30: "3"},
    }, {("AisearchJobFailed", A): (10, 11), ("AisearchJobFailed", A, "again"): (20, 21),
        ("AisearchJobFailed", A, "and again"): (30, 31), ("AisearchJobsKeepFailing", A): (30, STANDS)}),
    Scenario("an instance is removed, and its conditions end", {
        f"{A} gauge-failed": {10: "1", 30: "0", 31: "_"},
        f"{A} gauge-overdue": {10: "1", 30: "0", 31: "_"},
        f"{A} gauge-state": {10: "3", 30: "_"},
    }, {("AisearchJobFailed", A): (10, 29), ("AisearchOverdue", A): (10, 29)}),
    Scenario("items are not indexed for more than half a day", {
        f"{A} count-items_error": {5: "2"},
        f"{B} count-items_outdated": {5: "3", 700: "0"},
    }, {("AisearchItemsNotIndexed", A): (725, 779)}, minutes=780),

    # ---- the account

    Scenario("a rotation: one 401, and the new token", {
        "docs errors-credential": {20: "1", 21: "2"},
        "docs gauge-credential": {20: "1", 21: "0"},
        "nginx credential_refused": {20: "1", 21: "0"},
    }, {}),
    Scenario("a token is revoked", {
        "docs errors-credential": {20: "0+6"},
        "docs gauge-credential": {21: "1"},
        "docs count-unread": {35: "2"},
        "nginx credential_refused": {20: "1"},
    }, {
        ("AisearchCredentialRefused", ACCOUNT): (23, STANDS),
        ("AisearchNginxCredentialRefused", NGINX): (22, STANDS),
        ("AisearchNotRead", ACCOUNT): (40, STANDS),
    }),
    Scenario("one 429, followed by five minutes without calls", {
        "docs errors-rate_limited": {20: "1"},
        "docs gauge-rate_limited": {20: "1", 26: "0"},
    }, {}),
    Scenario("several 429 responses in a row", {
        "docs errors-rate_limited": {20: "1", 25: "2", 30: "3", 35: "4"},
        "docs gauge-rate_limited": {20: "1", 45: "0"},
        "docs count-unread": {35: "2", 45: "0"},
    }, {("AisearchRateLimited", ACCOUNT): (30, 44), ("AisearchNotRead", ACCOUNT): (40, 44)}),
    Scenario("the budget is too small", {
        "docs gauge-budget_stretch": {5: "3", 10: "1", 20: "2.5"},
    }, {("AisearchBudgetShort", ACCOUNT): (50, STANDS)}),

    # ---- collectd and nginx

    Scenario("collectd is down on one of two hosts", {**standing(), "docs count-unread": {25: "1"}}, {
        **STANDING,
        ("AisearchNotRead", ACCOUNT): (30, STANDS),
        ("AisearchNotMonitored", NOBODY): (23, STANDS),
    }, down={"g": (20, 59)}),
    Scenario("collectd is down until its last values are too old", {f"{A} gauge-failed": {10: "1"}}, {
        ("AisearchJobFailed", A): (10, 34),
        ("AisearchNotMonitored", NOBODY): (33, 44),
        ("AisearchJobFailed", A, "again"): (45, STANDS),
    }, hosts=("h",), down={"h": (30, 44)}, open=(34,)),
    Scenario("collectd is restarted", {f"{A} gauge-failed": {10: "1"}}, {
        ("AisearchJobFailed", A): (10, STANDS),
    }, hosts=("h",), down={"h": (30, 31)}),
    Scenario("collectd runs without the plugin", {
        name: {0: "_"} for name in _ALL_IS_WELL if name.startswith((A, B, f"{ACCOUNT} "))
    }, {("AisearchNotMonitored", NOBODY): (3, STANDS)}),
    Scenario("nginx is down", {
        "nginx up": {20: "0"},
        **{f"nginx {name}": {20: "_"} for name in ("hit", "miss", "stale", "credential_refused")},
    }, {("AisearchNginxNotMonitored", NOBODY): (23, STANDS)}),
    Scenario("nginx serves stale responses", {
        "nginx stale": {20: "0+3", 40: "60"},
    }, {("AisearchCacheStale", NGINX): (31, 44)}, open=(44,)),
]


def promtool_file(scenario: Scenario) -> str:
    """Returns the input file of promtool for a scenario. It is JSON, which is valid YAML."""
    names = _ALL_IS_WELL | dict.fromkeys(scenario.series)
    series = [{"series": _series(name, host), "values": _values(name, scenario, host)}
              for name in names for host in (("",) if name.startswith(NGINX) else scenario.hosts)]
    checks = [{"expr": 'count by (alertname, aisearch, account, index, namespace) (ALERTS{alertstate="firing"})',
               "eval_time": f"{minute}m", "exp_samples": _firing(scenario, minute)}
              for minute in range(scenario.minutes) if minute not in scenario.open]
    group = {"interval": "1m", "input_series": series, "promql_expr_test": checks}
    return json.dumps({"rule_files": [str(RULES)], "evaluation_interval": "1m", "tests": [group]})


def _series(name: str, host: str) -> str:
    who, _, what = name.partition(" ")
    if who == "up":
        return f'up{{job="collectd", instance="{host}:9103"}}'
    if who == NGINX:
        target = 'job="aisearch-nginx", instance="h:8088"'
        return {"up": f"up{{{target}}}",
                "credential_refused": f"aisearch_credential_refused{{{target}, {_LABELS[NGINX]}}}",
                }.get(what, f'aisearch_lookups_total{{{target}, {_LABELS[NGINX]}, status="{what}"}}')
    metric, _, type_instance = what.partition("-")
    labels = _LABELS[who] + (f', type="{type_instance}"' if type_instance else "")
    return f'{_METRICS[metric]}{{job="collectd", instance="{host}", {labels}}}'


def _values(name: str, scenario: Scenario, host: str) -> str:
    """Returns the values for all minutes, in promtool's notation."""
    steps = {0: _ALL_IS_WELL.get(name, "_"), **scenario.series.get(name, {})}
    if host in scenario.down:
        steps = _interrupted(steps, *scenario.down[host], "0" if name == "up" else "_")
    begun = sorted(minute for minute in steps if minute < scenario.minutes)
    ended = [*begun[1:], scenario.minutes]
    return " ".join(_run(steps[first], last - first) for first, last in zip(begun, ended, strict=True))


def _interrupted(steps: dict[int, str], first: int, last: int, down: str) -> dict[int, str]:
    """Replaces the values of these minutes; the others stay the same."""
    begun = max(minute for minute in steps if minute <= last + 1)
    start, plus, slope = steps[begun].partition("+")
    resumed = f"{int(start) + int(slope) * (last + 1 - begun)}+{slope}" if plus else start
    kept = {minute: values for minute, values in steps.items() if not first <= minute <= last}
    return {**kept, first: down, last + 1: resumed}


def _run(values: str, minutes: int) -> str:
    if values == "_":
        return f"_x{minutes}"
    start, _, slope = values.partition("+")
    return f"{start}+{slope or 0}x{minutes - 1}"


def _firing(scenario: Scenario, minute: int) -> list[dict]:
    firing = {(alert, who) for (alert, who, *_), (first, last) in scenario.fires.items() if first <= minute <= last}
    return [{"labels": f'{{alertname="{alert}", {_LABELS[who]}}}', "value": 1} for alert, who in sorted(firing)]
