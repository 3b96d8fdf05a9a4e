"""The collectd plugin's values: of jobs in each state, of instances and of accounts, and their identifiers."""

import pytest

from harness import SLOWNESS, net
from harness.collectd import INTERVAL
from reports import AT_LEISURE, FAULTS, PACE, account, errors, has, many, near, of_instance, of_lists, steps


# ---- jobs -----------------------------------------------------------------------------------------------------------

BUDGET = {"gauge-budget_left", "gauge-budget_stretch", "percent-budget_left", "count-instances"}
CONDITIONS = {f"gauge-{name}" for name in ("credential", "unreachable", "rate_limited", "refused")}
OF_ACCOUNT = {f"errors-{fault}" for fault in FAULTS} | {"http_requests", "response_time-api",
                                                        "count-unread"} | BUDGET | CONDITIONS
ENDS = {f"operations-{state}": 0.0 for state in ("succeeded", "failed", "cancelled")}


def of_jobs(report: dict[str, float], plugin_instance: str) -> dict[str, float]:
    """Returns the values of jobs, without those of the instance, which may be one report later. Checks the conditions."""
    values = of_instance(report, plugin_instance)
    assert [values.pop(f"gauge-{name}") for name in ("failed", "stalled", "overdue", "instance_error")] == [0, 0, 0, 0]
    assert values.pop("duration-sync_interval", 21600) == 21600
    return values


# The values of the newest job, or of a pinned one, in each of the simulator's states.
BY_STATE = {
    "queued": {"gauge-state": 0, "duration-job": 0},
    "running": {"gauge-state": 1, "duration-job": near(60), "duration-last_seen": near(5, 8)},
    "succeeded": {"gauge-state": 2, "duration-job": 300, "duration-since_success": near(300)},
    "failed": {"gauge-state": 3, "duration-job": 300},
    "cancelled": {"gauge-state": 4, "duration-job": 300},
}

# A queued job has no date.
SINCE_CHANGE = {state: {} if state == "queued" else {"duration-since_change": near(60 if state == "running" else 300)}
                for state in BY_STATE}


def test_newest_job_of_a_list_in_each_state(simulator, collectd):
    for state in BY_STATE:
        simulator.instance(f"instances/{state}", [{"id": "a", "state": state}])
    daemon = collectd(account(simulator, *(f'Instance "{state}"' for state in BY_STATE)))
    report = daemon.wait_report("docs", has(*(f"docs-{state}/gauge-state" for state in BY_STATE)))

    for state, values in BY_STATE.items():
        values = {**values, **ENDS, **SINCE_CHANGE[state], "count-running": float(state == "running"),
                  "duration-since_read": near(INTERVAL, 1)}
        assert of_jobs(report, f"docs-{state}") == values, state
    assert set(of_instance(report, "docs")) == OF_ACCOUNT


def test_ten_series_by_default(simulator, collectd):
    simulator.instance("instances/handbook", [{"id": "s", "state": "succeeded"}, {"id": "r", "state": "running"}])
    daemon = collectd(account(simulator, "ReportDetails false", 'Instance "handbook"'))
    report = of_instance(daemon.wait_report("docs", has("docs-handbook/gauge-state")), "docs-handbook")
    assert set(report) == {"operations-succeeded", "operations-failed", "gauge-state", "duration-job",
                           "duration-since_success", "duration-since_read", "gauge-failed", "gauge-stalled",
                           "gauge-overdue", "gauge-instance_error"}


def test_pinned_job_in_each_state(simulator, collectd):
    simulator.instance("instances/handbook", [{"id": f"id-{state}", "state": state} for state in BY_STATE])
    jobs = "\n".join(f'Job "id-{state}"' for state in BY_STATE)
    daemon = collectd(account(simulator, f'<Instance "handbook">\n{jobs}\n</Instance>'))
    report = daemon.wait_report("docs", has(*(f"docs-handbook/gauge-state-id-{state}" for state in BY_STATE)))

    expected = {f"{name}-id-{state}": value for state, values in BY_STATE.items()
                for name, value in {**values, "duration-since_read": near(INTERVAL, 1)}.items()}
    assert of_jobs(report, "docs-handbook") == {**expected, **ENDS, **SINCE_CHANGE["running"]}
    assert simulator.count(r"/jobs(\?|$)") == 0, "pinned jobs need no list"


def test_counts_and_newest_job_of_a_list(simulator, collectd):
    """The newest job is the one that started last, whatever the order of the list."""
    old = [{"id": f"s{n}", "state": "succeeded", "starts_in": -1000 - n, "ends_in": -500 - n} for n in range(20)]
    failed = [{"id": f"f{n}", "state": "failed", "starts_in": -5000, "ends_in": -4000} for n in range(7)]
    cancelled = [{"id": f"c{n}", "state": "cancelled", "starts_in": -5000, "ends_in": -4000} for n in range(3)]
    running = [{"id": "r0", "state": "running", "starts_in": -100}, {"id": "r1", "state": "running", "starts_in": -40}]
    simulator.instance("instances/handbook", old + failed + cancelled + running)
    daemon = collectd(account(simulator, 'Instance "handbook"'))
    report = of_instance(daemon.wait_report("docs", has("docs-handbook/gauge-state")), "docs-handbook")

    assert report["count-running"] == 2
    assert (report["gauge-state"], report["duration-job"]) == (1, near(40))
    assert report["duration-since_success"] == near(500)

    simulator.job("instances/handbook", "q", state="queued")
    report = of_instance(daemon.next_report("docs", lambda r: r["docs-handbook/gauge-state"] == 0), "docs-handbook")
    assert (report["gauge-state"], report["duration-job"]) == (0, 0), "a queued job is newer than started ones"


def test_empty_list(simulator, collectd):
    simulator.instance("instances/handbook")
    daemon = collectd(account(simulator, 'Instance "handbook"'))
    report = of_jobs(daemon.wait_report("docs", has("docs-handbook/count-running")), "docs-handbook")
    assert report == {**ENDS, "count-running": 0, "duration-since_read": near(INTERVAL, 1)}


def test_one_page_of_fifty(simulator, collectd):
    simulator.instance("instances/handbook", [{"id": f"j{n}", "state": "succeeded"} for n in range(120)])
    daemon = collectd(account(simulator, 'Instance "handbook"'))
    daemon.wait_report("docs", has("docs-handbook/gauge-state"))
    assert {request.target for request in simulator.requests("/jobs")} == {
        simulator.path("instances/handbook") + "?per_page=50"}


def test_life_of_a_job(simulator, collectd):
    simulator.instance("instances/handbook", [{"id": "a", "state": "queued"}])
    daemon = collectd(account(simulator, 'Instance "handbook"', '<Instance "handbook2">\nJob "a"\n</Instance>'))
    daemon.wait_report("docs", lambda r: r.get("docs-handbook/gauge-state") == 0)

    simulator.job("instances/handbook", "a", starts_in=0)
    daemon.next_report("docs", lambda r: r["docs-handbook/gauge-state"] == 1)
    report = daemon.next_report("docs", lambda r: r["docs-handbook/duration-job"] > 0)
    assert report["docs-handbook/duration-job"] < 10 * SLOWNESS

    simulator.job("instances/handbook", "a", ends_in=0, end_reason="error: no space")
    daemon.next_report("docs", lambda r: r["docs-handbook/gauge-state"] == 3)
    assert not has("docs-handbook/duration-since_success")(daemon.next_report("docs")), "no job has succeeded yet"


def test_time_formats(simulator, collectd):
    forms = ("rfc3339", "fraction", "offset", "plain")
    simulator.instance("instances/handbook", [
        {"id": form, "state": "succeeded", "starts_in": -700, "ends_in": -600, "times": form} for form in forms])
    jobs = "\n".join(f'Job "{form}"' for form in forms)
    daemon = collectd(account(simulator, f'<Instance "handbook">\n{jobs}\n</Instance>'))
    report = daemon.wait_report("docs", has(*(f"docs-handbook/gauge-state-{form}" for form in forms)))
    for form in forms:
        assert report[f"docs-handbook/duration-job-{form}"] == near(100, 1)
        assert report[f"docs-handbook/duration-since_success-{form}"] == near(600)


def test_success_is_remembered(simulator, collectd):
    simulator.instance("instances/handbook", [{"id": "s", "state": "succeeded"}])
    daemon = collectd(account(simulator, 'Instance "handbook"'))
    daemon.wait_report("docs", has("docs-handbook/duration-since_success"))

    simulator.instance("instances/handbook", [{"id": "f", "state": "failed"}], replace=True)
    report = daemon.next_report("docs", lambda r: r["docs-handbook/gauge-state"] == 3)
    assert report["docs-handbook/duration-since_success"] == near(300)


def test_durations_are_never_negative(simulator, collectd):
    """The API's clock is ahead of collectd's."""
    simulator.advance(3600)
    simulator.instance("instances/handbook", [
        {"id": "r", "state": "running", "starts_in": -1},
        {"id": "s", "state": "succeeded", "starts_in": -2, "ends_in": -1}])
    daemon = collectd(account(simulator, '<Instance "handbook">\nJob "r"\nJob "s"\n</Instance>'))
    report = daemon.wait_report("docs", has("docs-handbook/gauge-state-r", "docs-handbook/gauge-state-s"))
    assert report["docs-handbook/duration-job-r"] == 0
    assert report["docs-handbook/duration-last_seen-r"] == 0
    assert report["docs-handbook/duration-since_success-s"] == 0


# ---- accounts -------------------------------------------------------------------------------------------------------

def test_counters_begin_at_zero(simulator, collectd):
    """A rate needs two values, so the first one is reported before any event."""
    simulator.instance("instances/handbook")
    simulator.fault(delay=0.3 * INTERVAL)
    daemon = collectd(account(simulator, 'Instance "handbook"'))
    _, first = net.wait_until(lambda: daemon.reports("docs"))[0]
    assert set(of_instance(first, "docs")) == OF_ACCOUNT - {"response_time-api"}
    assert set(of_instance(first, "docs")[name] for name in OF_ACCOUNT - BUDGET - {"response_time-api"}) == {0}


def test_http_requests_and_response_time(simulator, collectd):
    delay = 0.2 * PACE
    for name in ("handbook", "guide"):
        simulator.instance(f"instances/{name}")
    simulator.fault(delay=delay)
    daemon = collectd(account(simulator, 'Instance "handbook"', 'Instance "guide"', pacing=AT_LEISURE))
    report = daemon.wait_report("docs", lambda r: r["docs/http_requests"] >= 6 and "docs/response_time-api" in r)
    assert delay <= report["docs/response_time-api"] < 0.9 * PACE, "a later response would be a timeout"
    daemon.stop()
    _, last = daemon.reports("docs")[-1]
    assert last["docs/http_requests"] in range(simulator.count() - 6, simulator.count() + 1)


def test_retries_are_counted(simulator, collectd):
    """Server errors are retried within the lookup: two requests, no error."""
    simulator.instance("instances/handbook", [{"id": "a", "state": "queued"}])
    simulator.fault(status=503, times=1)
    slowly = f"ActiveInterval {25 * INTERVAL}\nIdleInterval {25 * INTERVAL}"
    daemon = collectd(account(simulator, 'Instance "handbook"', pacing=slowly))
    report = daemon.wait_report("docs", has("docs-handbook/gauge-state"))
    assert (report["docs/http_requests"], errors(report)) == (2, {})


# ---- identifiers ----------------------------------------------------------------------------------------------------

def test_generations_and_namespaces(simulator, collectd):
    names = ("instances/handbook", "namespaces/default/instances/plain", "namespaces/support/instances/handbook",
             "rags/old-docs")
    for name in names:
        simulator.instance(name, [{"id": "a", "state": "succeeded"}])
    daemon = collectd(account(
        simulator,
        'Instance "handbook"',
        '<Instance "plain">\nNamespace "default"\n</Instance>',
        '<Instance "handbook">\nNamespace "support"\nGeneration "instance"\n</Instance>',
        '<Instance "old-docs">\nGeneration "autorag"\n</Instance>'))
    instances = {"docs-handbook", "docs-plain", "docs-handbook@support", "docs-old-docs"}
    report = daemon.wait_report("docs", has(*(f"{instance}/gauge-state" for instance in instances)))

    assert {name.partition("/")[0] for name in report} == instances | {"docs"}
    net.wait_until(lambda: simulator.count(r"/instances\?") == 2, what="the lists of two namespaces")
    assert {request.target.partition("?")[0] for request in simulator.requests()} == {
        *map(simulator.path, names), *map(simulator.listing, ("default", "support"))}


def test_longest_names(simulator, collectd):
    """All of them fit into collectd's identifiers."""
    name, instance, namespace, job = "A" * 28, "i" * 64, "n" * 28, "J" * 64
    simulator.instance(f"namespaces/{namespace}/instances/{instance}", [{"id": job, "state": "running"}])
    daemon = collectd(account(simulator, f'<Instance "{instance}">\nNamespace "{namespace}"\nJob "{job}"\n</Instance>',
                              name=name))
    report = daemon.wait_report(name, has(f"{name}-{instance}@{namespace}/gauge-state-{job}"))
    assert report[f"{name}-{instance}@{namespace}/duration-last_seen-{job}"] == near(5, 8)


def test_accounts_are_independent(simulator, collectd):
    """Each account has its own credential, counters and report interval."""
    simulator.instance("instances/handbook", [{"id": "a", "state": "succeeded"}])
    by_key = f'Email "{simulator.email}"\nKeyFile "{simulator.key_file}"\nAPIURL "{simulator.url}/"'
    daemon = collectd(account(simulator, 'Instance "handbook"'),
                      account(simulator, 'Instance "handbook"', 'Instance "none"', name="by_key", options=by_key))
    assert daemon.wait_report("docs", has("docs-handbook/gauge-state"))["docs-handbook/gauge-state"] == 2
    assert daemon.wait_report("by_key", has("by_key-handbook/gauge-state"))["by_key-handbook/gauge-state"] == 2

    schemes = {frozenset(request.header_names() & {"authorization", "x-auth-email", "x-auth-key"})
               for request in simulator.requests()}
    assert schemes == {frozenset({"authorization"}), frozenset({"x-auth-email", "x-auth-key"})}


# ---- report times ---------------------------------------------------------------------------------------------------

def test_reports_of_many_instances_are_spread_over_the_interval(simulator, collectd):
    """Each instance is reported at the same time within every interval, and all values have the plugin's interval."""
    names = many(simulator, 160)
    interval = 8 * max(0.1, INTERVAL / 4)
    daemon = collectd(account(simulator, *of_lists(*names), pacing="ActiveInterval 300"), interval=interval)
    net.wait_until(lambda: len(daemon.series("docs-i159/gauge-state")) >= 3, timeout=30 * interval)
    daemon.stop()
    series = {name: [when for when, _ in daemon.series(f"docs-{name}/gauge-state")] for name in names}
    last = [times[-1] for times in series.values()]
    assert max(map(last.count, last)) == 40, "in four slices"
    assert max(last) - min(last) > 0.5 * interval
    if not daemon.log_lines("Not sleeping because the next interval"):
        for times in series.values():
            assert steps(times) == pytest.approx([interval] * (len(times) - 1), abs=0.5 * interval * SLOWNESS)
