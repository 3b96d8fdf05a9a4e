"""When the collectd plugin sends requests: its intervals, and its budget of calls."""

import itertools
import re
import time

import pytest

from harness import SLOWNESS, net
from harness.collectd import INTERVAL
from reports import (
    AT_LEISURE, PACE, account, asked, check_no_gaps, check_rolling, errors, has, many, of_instance, of_lists, steps)


# ---- intervals ------------------------------------------------------------------------------------------------------

def test_interval_is_kept(simulator, collectd):
    simulator.instance("instances/handbook", [{"id": "a", "state": "queued"}])
    daemon = collectd(account(simulator, 'Instance "handbook"'))
    net.wait_until(lambda: len(daemon.reports("docs")) > 8)
    daemon.stop()
    reports = [when for when, report in daemon.reports("docs") if "docs-handbook/gauge-state" in report]
    assert steps(reports) == pytest.approx([INTERVAL] * (len(reports) - 1), abs=0.5 * INTERVAL)
    asked = [request.began for request in simulator.requests("/jobs")][1:]
    assert steps(asked) == pytest.approx([INTERVAL] * (len(asked) - 1), abs=0.5 * INTERVAL)


def test_requests_are_sent_concurrently(simulator, collectd):
    """After the first response, a round takes as long as one response, however many instances there are."""
    jobs = [f"j{n}" for n in range(30)]
    simulator.instance("instances/handbook", [{"id": job, "state": "queued"} for job in jobs])
    simulator.fault(delay=INTERVAL)
    lines = "\n".join(f'Job "{job}"' for job in jobs)
    collectd(account(simulator, f'<Instance "handbook">\n{lines}\n</Instance>'), interval=12 * INTERVAL)
    net.wait_until(lambda: simulator.counters()["by_status"].get("200") == len(jobs), what="a round")
    first, *others = simulator.requests("/jobs")
    assert simulator.counters()["in_flight_max"] == len(others)
    assert max(request.began for request in others) < min(request.ended for request in others)
    assert first.ended < min(request.began for request in others)


def test_slow_lookups_are_not_repeated(simulator, collectd):
    """The plugin waits up to Timeout for a slow response before it repeats the request."""
    simulator.instance("instances/handbook")
    simulator.fault(delay=0.7 * INTERVAL)
    daemon = collectd(account(simulator, 'Instance "handbook"'))
    daemon.wait_report("docs", lambda r: r["docs/http_requests"] >= 5)
    requests = simulator.requests("/jobs")
    assert all(later.began > earlier.ended for earlier, later in itertools.pairwise(requests[:-1]))


def test_number_of_concurrent_requests_is_limited(simulator, collectd):
    jobs = [f"j{n}" for n in range(50)]
    simulator.instance("instances/handbook", [{"id": job, "state": "queued"} for job in jobs])
    simulator.fault(delay=0.3 * INTERVAL)
    lines = "\n".join(f'Job "{job}"' for job in jobs)
    collectd(account(simulator, f'<Instance "handbook">\n{lines}\n</Instance>'), interval=12 * INTERVAL)
    net.wait_until(lambda: simulator.counters()["by_status"].get("200") == len(jobs), what="a round")
    assert simulator.counters()["in_flight_max"] == 32


def asked_about(simulator, name: str) -> list[float]:
    return sorted(request.began for request in simulator.requests(f"/{name}/"))


def test_active_instances_are_polled_more_often(simulator, collectd):
    """Idle instances are looked up at growing intervals, and at short ones again after a change."""
    for name, state in (("busy", "running"), ("idle", "succeeded")):
        simulator.instance(f"instances/{name}", [{"id": "a", "state": state}])
    daemon = collectd(account(simulator, 'Instance "busy"', 'Instance "idle"',
                              pacing=f"ActiveInterval @INTERVAL@\nIdleInterval {6 * INTERVAL}"))
    net.wait_until(lambda: len(asked_about(simulator, "idle")) >= 3, timeout=40 * INTERVAL)
    idle = asked_about(simulator, "idle")
    assert steps(idle)[1] == pytest.approx(6 * INTERVAL, abs=INTERVAL)
    assert len([when for when in asked_about(simulator, "busy") if idle[1] < when < idle[2]]) in range(4, 8)
    check_no_gaps(daemon, "busy", "idle")

    simulator.instance("instances/idle", [{"id": "b", "state": "running"}])
    simulator.instance("instances/busy", [{"id": "a", "ends_in": 0, "end_reason": None}])
    daemon.next_report("docs", lambda r: r["docs-idle/gauge-state"] == 1, timeout=20 * INTERVAL)
    daemon.next_report("docs", lambda r: r["docs-busy/gauge-state"] == 2)
    net.wait_until(lambda: steps(asked_about(simulator, "busy"))[-1] > 5 * INTERVAL, timeout=40 * INTERVAL)
    rare = steps(asked_about(simulator, "busy"))[-4:]
    assert rare == sorted(rare), "the intervals grow"
    assert max(steps(asked_about(simulator, "idle"))[-3:]) < 3 * INTERVAL * SLOWNESS


def test_ended_jobs_are_requested_once(simulator, collectd):
    """Ended jobs never change: their values are still reported, without further requests."""
    simulator.instance("instances/handbook", [{"id": "e", "state": "failed"}, {"id": "r", "state": "running"}])
    daemon = collectd(account(simulator, '<Instance "handbook">\nJob "e"\nJob "r"\n</Instance>'))
    net.wait_until(lambda: simulator.count("/jobs/r$") >= 5)
    assert simulator.count("/jobs/e$") == 1
    report = daemon.next_report("docs")
    assert of_instance(report, "docs-handbook")["gauge-state-e"] == 3
    simulator.job("instances/handbook", "r", ends_in=0)
    daemon.next_report("docs", lambda r: r["docs-handbook/gauge-state-r"] == 2)
    before = simulator.count()
    daemon.next_report("docs")
    daemon.next_report("docs")
    assert simulator.count() == before
    assert check_no_gaps(daemon, "handbook", value="gauge-state-e") is None


# ---- the budget -----------------------------------------------------------------------------------------------------

def test_budget_that_is_too_small(simulator, collectd):
    """Six lookups, but one call per interval: all intervals are stretched equally; no values are missing."""
    names = many(simulator, 6)
    seconds = max(1, 5 * INTERVAL)
    daemon = collectd(account(simulator, *of_lists(*names), budget=f"Budget 5 {seconds}"))
    report = daemon.wait_report("docs", lambda r: r["docs/http_requests"] >= 30, timeout=20 * seconds)
    daemon.stop()

    times = asked(simulator)
    check_rolling(times, 5, seconds)
    assert sorted(steps(times))[len(times) // 2] == pytest.approx(seconds / 5, rel=0.4), "calls are spread evenly"
    seen = [re.search(r"/instances/(\w+)/", request.target)[1] for request in simulator.requests("/jobs")]
    assert set(seen[:16]) == set(names), "new instances wait, but not forever"
    assert set(seen[-8:]) == set(names), "later, each instance is looked up in each round"

    wanted, pace = 6 / round(INTERVAL, 3), 5 / seconds
    assert report["docs/gauge-budget_stretch"] == pytest.approx(wanted / pace, rel=0.1)
    assert report["docs/gauge-budget_left"] <= 1
    check_no_gaps(daemon, *names)
    ages = [report[f"docs-{name}/duration-since_read"] for name in names]
    assert 3 / pace < max(ages) < 11 / pace * SLOWNESS
    assert set(errors(report)) <= {"timeout"}
    assert [line.partition("] ")[2] for line in daemon.log_lines("warning. aisearch plugin.*due, but")] == [
        '[warning] aisearch plugin: Account "docs": '
        f"{60 * wanted:.3g} lookups per minute are due, but the budget allows only {60 * pace:.3g}, so all intervals are "
        "stretched and values get older. Use a longer ActiveInterval or IdleInterval, fewer instances, or a larger "
        "Budget."]


def test_budget_that_is_sufficient(simulator, collectd):
    names = many(simulator, 5)
    daemon = collectd(account(simulator, *of_lists(*names), budget="Budget 1000 60", pacing=AT_LEISURE))
    for _ in range(3):
        report = daemon.next_report("docs")
        assert report["docs/gauge-budget_stretch"] == 1
        assert report["docs/gauge-budget_left"] + report["docs/http_requests"] in range(990, 1001)
    assert daemon.log_lines("aisearch plugin: Account") == []


def test_all_limits_hold(simulator, collectd):
    """Lookups that exceed a short limit begin as soon as it allows them."""
    names = many(simulator, 5)
    daemon = collectd(account(simulator, *of_lists(*names), budget="Budget 2 1\nBudget 100 60"), interval=4)
    net.wait_until(lambda: len(simulator.requests()) >= 10, timeout=15, what="two lookups of each instance")
    daemon.stop()
    times = asked(simulator)
    check_rolling(times, 2, 1)
    assert times[9] - times[0] < 9
    assert daemon.log_lines("aisearch plugin: Account") == []


def test_default_budget(simulator, collectd):
    names = many(simulator, 4)
    daemon = collectd(account(simulator, *of_lists(*names), budget=""))
    line = daemon.wait_log("but the budget allows")
    wanted, allowed = re.search(r" (\S+) lookups per minute are due, but the budget allows only (\S+),", line).groups()
    assert float(wanted) == pytest.approx(240 / INTERVAL, rel=0.01)
    assert float(allowed) == pytest.approx(60 * 38 / 39, rel=0.01)
    daemon.wait_report("docs", has(*(f"docs-{name}/gauge-state" for name in names)), timeout=10)


def test_accounts_of_one_credential_share_their_budgets(simulator, collectd):
    """The limits of all accounts with this credential apply, but not those of other credentials."""
    names = many(simulator, 3)
    by_key = f'Email "{simulator.email}"\nKeyFile "{simulator.key_file}"\nAPIURL "{simulator.url}"'
    seconds = 5 * INTERVAL
    daemon = collectd(
        account(simulator, *of_lists(*names), budget=f"Budget 4 {seconds}"),
        account(simulator, *of_lists(*names), name="more", budget="Budget 100000 1"),
        account(simulator, *of_lists(*names), name="by_key", options=by_key))
    for name in ("docs", "more", "by_key"):
        daemon.wait_report(name, has(*(f"{name}-{instance}/gauge-state" for instance in names)), timeout=90 * INTERVAL)
    daemon.stop()

    requests = simulator.requests()
    shared = [request.began for request in requests if "authorization" in request.header_names()]
    check_rolling(shared, 4, seconds)
    assert len(requests) - len(shared) > 1.5 * len(shared), "the other credential has its own budget"
    assert [line.partition('Account "')[2].partition(":")[0] for line in daemon.log_lines("but the budget allows")] == [
        'docs"']


def test_retries_use_the_budget(simulator, collectd):
    """If no calls are left for other lookups, these wait, and do not fail."""
    names = many(simulator, 4)
    simulator.fault("/i0/", status=500, body="no")
    seconds = 5 * INTERVAL
    daemon = collectd(account(simulator, *of_lists(*names), budget=f"Budget 8 {seconds}"))
    daemon.wait_report("docs", lambda r: r["docs/http_requests"] > 20, timeout=60 * INTERVAL)
    daemon.stop()
    check_rolling(asked(simulator), 8, seconds)
    check_no_gaps(daemon, *names[1:])
    assert not daemon.log_lines('"i[123]": cannot be read: (?!timeout)')
    assert len(daemon.log_lines('"i0": cannot be read: (?!timeout)')) <= 1 + len(daemon.log_lines("read: timeout"))


@pytest.mark.parametrize("status", (429, 503))
def test_retry_after_stops_all_lookups(simulator, collectd, status):
    """The values of instances that did not fail are still reported."""
    names = many(simulator, 3)
    wait = max(3, round(2 * PACE))
    daemon = collectd(account(simulator, *of_lists(*names), pacing=f"ActiveInterval {PACE}\nIdleInterval {wait}"))
    values = [f"docs-{name}/gauge-state" for name in names]
    daemon.wait_report("docs", has(*values))

    simulator.fault("/i1/", status=status, headers=[["Retry-After", str(wait)]], times=1)
    daemon.wait_log(r'"i1": cannot be read')
    daemon.wait_log(r'"i1": can be read again', timeout=wait + 5)
    daemon.stop()

    refused = next(request for request in simulator.requests() if request.status == status)
    times = asked(simulator)
    others = [when for when in times if refused.began < when < refused.ended + wait]
    assert len(others) <= 2, "only requests of the same round"
    assert max(times) > refused.ended + wait
    check_no_gaps(daemon, *names)
    assert len(daemon.log_lines(rf'"i1": cannot be read: .*; no calls for the next {wait} s$')) == 1


def test_limit_headers_of_the_api_are_obeyed(simulator, collectd):
    """The API's limit is below the budget: the plugin obeys it before exceeding it."""
    names = many(simulator, 3)
    simulator.limit(10, 60)
    daemon = collectd(account(simulator, *of_lists(*names)))
    daemon.wait_log("lookups per minute are due, but the budget allows only", timeout=10)
    report = daemon.wait_report("docs", since=time.time() + 4 * INTERVAL)
    assert report["docs/gauge-budget_stretch"] > 15, "the remaining calls must last for a minute"
    daemon.stop()
    statuses = [request.status for request in simulator.requests()]
    assert set(statuses) == {200} and 3 <= len(statuses) <= 10
    check_no_gaps(daemon, *names)
