"""The collectd plugin in a real collectd: its reports, its requests, and its error handling."""

import itertools
import re
import time

import pytest

from harness import SLOWNESS, VALGRIND, net, stall
from harness import nginx as nginx_harness
from harness.collectd import INTERVAL, BackgroundCollectd, Collectd, Config, refusal
from harness.proxy import ForwardProxy
from harness.simulator import ACCOUNT

FAULTS = ("body", "connect", "credential", "rate_limited", "refused", "server", "timeout", "tls")

BUDGET = {"gauge-budget_left", "gauge-budget_stretch", "percent-budget_left", "count-instances"}
CONDITIONS = {f"gauge-{name}" for name in ("credential", "unreachable", "rate_limited", "refused")}
OF_ACCOUNT = {f"errors-{fault}" for fault in FAULTS} | {"http_requests", "response_time-api",
                                                        "count-unread"} | BUDGET | CONDITIONS
ENDS = {f"operations-{state}": 0.0 for state in ("succeeded", "failed", "cancelled")}


# Look up everything once per interval, whatever the result.
EVERY_INTERVAL = "ActiveInterval @INTERVAL@\nIdleInterval @INTERVAL@"

# Or less often, if a late lookup would matter: a lookup may take nine tenths of the interval, which is enough even on a
# busy machine.
PACE = 3 * INTERVAL
AT_LEISURE = f"ActiveInterval {PACE}\nIdleInterval {PACE}"


def account(simulator, *instances: str, name: str = "docs", options: str = "", budget: str = "Budget 100000 1",
            pacing: str = EVERY_INTERVAL) -> str:
    """
    Returns an Account block. instances are lines of configuration, as are options, which replace the credential and the
    URL. The default budget and pacing are not suitable for intervals as short as in tests.
    """
    options = options or f'TokenFile "{simulator.token_file}"\nAPIURL "{simulator.url}"'
    body = "\n".join(instances)
    more = "" if "ReportDetails" in body else "ReportDetails true"
    return f'<Account "{name}">\nAccountID "{ACCOUNT}"\n{options}\n{budget}\n{pacing}\n{more}\n{body}\n</Account>'


def of_instance(report: dict[str, float], plugin_instance: str) -> dict[str, float]:
    """Returns the values of one plugin instance, by "TYPE[-TYPE_INSTANCE]"."""
    return {name.partition("/")[2]: value for name, value in report.items()
            if name.partition("/")[0] == plugin_instance}


def of_jobs(report: dict[str, float], plugin_instance: str) -> dict[str, float]:
    """Returns the values from jobs: those of the instance itself may be one report later. No condition has begun."""
    values = of_instance(report, plugin_instance)
    assert [values.pop(f"gauge-{name}") for name in ("failed", "stalled", "overdue", "instance_error")] == [0, 0, 0, 0]
    assert values.pop("duration-sync_interval", 21600) == 21600
    return values


def errors(report: dict[str, float], name: str = "docs") -> dict[str, float]:
    """Returns the error counters that are not 0."""
    values = of_instance(report, name)
    return {fault: values[f"errors-{fault}"] for fault in FAULTS if values[f"errors-{fault}"] != 0}


# The values from a response, which are no longer reported once the response is too old.
OF_JOBS = {"gauge-state", "duration-job", "duration-last_seen", "count-running"}


def has(*names: str):
    """For wait_report(): all these values are present. A report may come before the end of the first round."""
    return lambda report: all(name in report for name in names)


def near(value: float, slack: float = 3.0):
    return pytest.approx(value, abs=slack * SLOWNESS)


# ---- values ---------------------------------------------------------------------------------------------------------

# What is reported about the newest job, or a pinned one, in each of the simulator's states.
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


def test_list_counts_and_finds_the_newest(simulator, collectd):
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
    assert (report["gauge-state"], report["duration-job"]) == (0, 0), "a job that waits is newer than all that started"


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
    assert not has("docs-handbook/duration-since_success")(daemon.next_report("docs")), "there was none yet"


def test_both_forms_of_time(simulator, collectd):
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
    """The API's clock is ahead of ours."""
    simulator.advance(3600)
    simulator.instance("instances/handbook", [
        {"id": "r", "state": "running", "starts_in": -1},
        {"id": "s", "state": "succeeded", "starts_in": -2, "ends_in": -1}])
    daemon = collectd(account(simulator, '<Instance "handbook">\nJob "r"\nJob "s"\n</Instance>'))
    report = daemon.wait_report("docs", has("docs-handbook/gauge-state-r", "docs-handbook/gauge-state-s"))
    assert report["docs-handbook/duration-job-r"] == 0
    assert report["docs-handbook/duration-last_seen-r"] == 0
    assert report["docs-handbook/duration-since_success-s"] == 0


# ---- identities, generations, credentials ----------------------------------------------------------------------------

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


def test_accounts_are_apart(simulator, collectd):
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


def test_request_carries_what_it_needs(simulator, collectd):
    simulator.instance("instances/handbook", [{"id": "a", "state": "succeeded"}])
    daemon = collectd(account(simulator, 'Instance "handbook"'))
    daemon.wait_report("docs", has("docs-handbook/gauge-state"))
    request = simulator.requests()[0]
    assert request.method == "GET" and not request.has_body
    assert request.header_names() == {"host", "accept", "user-agent", "authorization"}
    assert request.header("authorization") == f"Bearer {simulator.token}"
    assert re.fullmatch(r"aisearch-jobs/[0-9.]+", request.header("user-agent"))


def test_no_credential_needed_over_a_unix_socket(simulator, collectd):
    """As through nginx on this host; here no credential is added, so the API refuses the request."""
    simulator.instance("instances/handbook", [{"id": "a", "state": "succeeded"}])
    options = f'APIURL "http://localhost{simulator.base}"\nUnixSocket "{simulator.unix}"'
    daemon = collectd(account(simulator, 'Instance "handbook"', options=options))
    daemon.wait_report("docs", lambda r: r["docs/errors-credential"] > 0)
    request = simulator.requests()[0]
    assert request.header("host") == "localhost"
    assert request.header_names() == {"host", "accept", "user-agent"}

    options += f'\nTokenFile "{simulator.token_file}"'
    daemon = collectd(account(simulator, 'Instance "handbook"', name="with_token", options=options))
    assert daemon.wait_report("with_token", has("with_token-handbook/gauge-state"))["with_token-handbook/gauge-state"] == 2


# ---- failures ---------------------------------------------------------------------------------------------------------

# A fault of a lookup, the counter that it increments, and the message in the log.
FAILURES = {
    "server error": (dict(status=500, body="<html>oops</html>"), "server", "server: .*500"),
    "redirect": (dict(status=301, headers=[["Location", "http://elsewhere.example/"]]), "server", "server: .*301"),
    "HTML instead of JSON": (dict(status=200, body="<html>hello</html>"), "body", "body: "),
    "a list that is none": (dict(status=200, body='{"success":true,"result":{}}'), "body", "body: "),
    "cut short": (dict(script=stall.truncated()), "body", "body: "),
    "no headers": (dict(script=stall.no_headers()), "timeout", "timeout: "),
    "no body": (dict(script=stall.no_body()), "timeout", "timeout: "),
    "connection reset": (dict(script=stall.reset_before_headers()), "connect", "connect: "),
    "rate limit": (dict(status=429, headers=[["Retry-After", "0"]], body='{"success":false,"errors":[{"code":1,"message":"slow down"}]}'),
                   "rate_limited", "rate_limited: "),
    "not found": (dict(status=404, body='{"success":false,"errors":[{"code":7002,"message":"gone\\nfar"}]}'),
                  "refused", r"the API answers 404: gone far \(code 7002\)"),
    "refused": (dict(status=400, body='{"success":false,"errors":[{"code":1,"message":"nonsense"}]}'),
                "refused", r"the API answers 400: nonsense \(code 1\)"),
}


def test_failing_instances(simulator, collectd):
    """Values of its jobs end once they are too old; it logs once, counts errors and recovers; others are not affected."""
    simulator.instance("instances/good", [{"id": "a", "state": "running"}])
    accounts = {f"a{n}": (f"bad{n}", *failure) for n, failure in enumerate(FAILURES.values())}
    for bad, *_ in accounts.values():
        simulator.instance(f"instances/{bad}", [{"id": "a", "state": "running"}])
    daemon = collectd(*(account(simulator, f'Instance "{bad}"', 'Instance "good"', name=name, pacing=AT_LEISURE)
                        for name, (bad, *_) in accounts.items()))
    for name, (bad, *_) in accounts.items():
        report = daemon.wait_report(name, has(f"{name}-{bad}/gauge-state"))
        assert errors(report, name) == {}

    for bad, order, _, _ in accounts.values():
        simulator.fault(f"/{bad}/", **order)
    since = time.time()
    for name, (bad, _, counted, _) in accounts.items():
        gap = daemon.wait_report(name, lambda r: f"{name}-{bad}/gauge-state" not in r, since=since, what="a gap")
        later = daemon.wait_report(name, lambda r: r[f"{name}-{bad}/duration-since_read"] > 3 * PACE
                                   and errors(r, name).get(counted, 0) > 1, since=since)
        for report in (gap, later):
            assert set(of_instance(report, f"{name}-{bad}")) & OF_JOBS == set()
            assert report[f"{name}-good/gauge-state"] == 1
            assert set(errors(report, name)) == {counted}

    simulator.clear_faults()
    since = time.time()
    for name, (bad, _, _, message) in accounts.items():
        daemon.wait_report(name, has(f"{name}-{bad}/gauge-state"), since=since, what="the recovery")
        lines = daemon.log_lines(f'"{name}", ')
        assert len(lines) == 2, lines
        what = f'aisearch plugin: Account "{name}", Instance "{bad}": '
        assert re.search(rf"\[error\] {what}cannot be read: {message}", lines[0])
        assert lines[1].endswith(f"[info] {what}can be read again.")


def test_log_tells_each_change_of_a_fault_once(simulator, collectd):
    simulator.instance("instances/handbook", [{"id": "a", "state": "running"}])
    daemon = collectd(account(simulator, '<Instance "handbook">\nJob "a"\n</Instance>', pacing=AT_LEISURE))
    report = daemon.wait_report("docs", has("docs/errors-server"))
    for status, fault in ((500, "server"), (429, "rate_limited"), (500, "server")):
        simulator.clear_faults()
        simulator.fault("/jobs/a$", status=status, headers=[["Retry-After", "0"]])
        enough = report[f"docs/errors-{fault}"] + 2
        report = daemon.next_report("docs", lambda r: r[f"docs/errors-{fault}"] >= enough)
    lines = daemon.log_lines("cannot be read")
    assert [re.search(r'Job "a": cannot be read: (\w+): ', line)[1] for line in lines] == [
        "server", "rate_limited", "server"]


def test_log_of_an_outage_is_short(simulator, collectd):
    """If many fail at once, the log names twenty in each interval, and the number of the others."""
    names = many(simulator, 49)
    daemon = collectd(account(simulator, *of_lists(*names)), interval=3 * INTERVAL)
    daemon.wait_report("docs", has(*(f"docs-{name}/gauge-state" for name in names)), timeout=30 * INTERVAL)
    simulator.fault(status=404, body='{"success":false,"errors":[{"code":7002,"message":"gone"}]}')

    def more() -> int:
        return sum(int(re.search(r"(\d+) more", line)[1]) for line in daemon.log_lines("more cannot be read"))

    def named() -> int:
        return len(daemon.log_lines(r'"i\d+": cannot be read: '))

    net.wait_until(lambda: named() + more() >= 49, timeout=30 * INTERVAL, what="all of them")
    assert more() > 0
    simulator.clear_faults()
    net.wait_until(lambda: len(daemon.log_lines("can be read again")) >= named(), timeout=30 * INTERVAL)


def test_missing_job_is_not_another_ones_affair(simulator, collectd):
    simulator.instance("instances/handbook", [{"id": "a", "state": "running"}])
    daemon = collectd(account(simulator, '<Instance "handbook">\nJob "a"\nJob "b"\n</Instance>'))
    report = daemon.wait_report("docs", has("docs-handbook/gauge-state-a"))
    assert {name for name in report if name.endswith("-b")} == {"docs-handbook/duration-since_read-b"}
    daemon.wait_log(r'Job "b": cannot be read: the API answers 404: job_not_found \(code 7021\)$')


def test_answer_about_another_job_is_refused(simulator, collectd):
    simulator.instance("instances/handbook", [{"id": "a", "state": "running", "extra": {"id": "b"}}])
    daemon = collectd(account(simulator, '<Instance "handbook">\nJob "a"\n</Instance>'))
    report = daemon.wait_report("docs", lambda r: r["docs/errors-body"] > 0)
    assert not set(of_instance(report, "docs-handbook")) & {f"{name}-a" for name in OF_JOBS}


def test_connection_refused(simulator, collectd):
    with stall.refusing() as (host, port):
        options = f'TokenFile "{simulator.token_file}"\nAPIURL "http://{host}:{port}"'
        daemon = collectd(account(simulator, 'Instance "handbook"', options=options))
        report = daemon.wait_report("docs", lambda r: r["docs/errors-connect"] > 0)
        assert set(errors(report)) == {"connect"}
        assert "docs/response_time-api" not in report, "nothing has answered"


def test_an_account_id_that_was_not_copied_whole(simulator, collectd):
    daemon = collectd(account(simulator, 'Instance "handbook"').replace(ACCOUNT, ACCOUNT[:-1]))
    daemon.wait_log(r'Account "docs": AccountID ".*" has 31 digits instead of 32, so the API will refuse it\. Copy')


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
    assert delay <= report["docs/response_time-api"] < 0.9 * PACE, "what comes later is no answer"
    daemon.stop()
    _, last = daemon.reports("docs")[-1]
    assert last["docs/http_requests"] in range(simulator.count() - 6, simulator.count() + 1)


def test_repeats_are_counted(simulator, collectd):
    """Server errors are retried within the lookup: two requests, no error."""
    simulator.instance("instances/handbook", [{"id": "a", "state": "queued"}])
    simulator.fault(status=503, times=1)
    slowly = f"ActiveInterval {25 * INTERVAL}\nIdleInterval {25 * INTERVAL}"
    daemon = collectd(account(simulator, 'Instance "handbook"', pacing=slowly))
    report = daemon.wait_report("docs", has("docs-handbook/gauge-state"))
    assert (report["docs/http_requests"], errors(report)) == (2, {})


def test_all_in_flight_together(simulator, collectd):
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


def test_look_ups_are_not_doubled(simulator, collectd):
    """The plugin waits up to Timeout for a slow response before it repeats the request."""
    simulator.instance("instances/handbook")
    simulator.fault(delay=0.7 * INTERVAL)
    daemon = collectd(account(simulator, 'Instance "handbook"'))
    daemon.wait_report("docs", lambda r: r["docs/http_requests"] >= 5)
    requests = simulator.requests("/jobs")
    assert all(later.began > earlier.ended for earlier, later in itertools.pairwise(requests[:-1]))


def test_interval_is_kept(simulator, collectd):
    simulator.instance("instances/handbook", [{"id": "a", "state": "queued"}])
    daemon = collectd(account(simulator, 'Instance "handbook"'))
    net.wait_until(lambda: len(daemon.reports("docs")) > 8)
    daemon.stop()
    reports = [when for when, report in daemon.reports("docs") if "docs-handbook/gauge-state" in report]
    assert steps(reports) == pytest.approx([INTERVAL] * (len(reports) - 1), abs=0.5 * INTERVAL)
    asked = [request.began for request in simulator.requests("/jobs")][1:]
    assert steps(asked) == pytest.approx([INTERVAL] * (len(asked) - 1), abs=0.5 * INTERVAL)


def steps(times: list[float]) -> list[float]:
    return [later - earlier for earlier, later in itertools.pairwise(times)]


# ---- intervals of lookups ----------------------------------------------------------------------------------------------

def asked_about(simulator, name: str) -> list[float]:
    return sorted(request.began for request in simulator.requests(f"/{name}/"))


def test_active_ones_are_looked_at_more_often(simulator, collectd):
    """Idle instances are looked up less and less often, and more often again after a change."""
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
    assert rare == sorted(rare), "more and more rarely"
    assert max(steps(asked_about(simulator, "idle"))[-3:]) < 3 * INTERVAL * SLOWNESS


def test_ended_jobs_are_asked_for_once(simulator, collectd):
    """They never change again: their values are still reported, without any request."""
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


def test_no_more_under_way_than_connections(simulator, collectd):
    jobs = [f"j{n}" for n in range(50)]
    simulator.instance("instances/handbook", [{"id": job, "state": "queued"} for job in jobs])
    simulator.fault(delay=0.3 * INTERVAL)
    lines = "\n".join(f'Job "{job}"' for job in jobs)
    collectd(account(simulator, f'<Instance "handbook">\n{lines}\n</Instance>'), interval=12 * INTERVAL)
    net.wait_until(lambda: simulator.counters()["by_status"].get("200") == len(jobs), what="all of them")
    assert simulator.counters()["in_flight_max"] == 32


def test_options_that_are_gone(simulator, collectd):
    """Each option is accepted, with one warning that it has no effect."""
    simulator.instance("instances/handbook")
    gone = ("MaxStreams 7", "ReportJobs true", "ReportSource true")
    daemon = collectd(account(simulator, *gone, 'Instance "handbook"'))
    daemon.wait_report("docs", has("docs-handbook/count-running"))
    for option in gone:
        assert len(daemon.log_lines(rf'\[warning\] .*"docs": {option.split()[0]} has no effect any more\. Remove it')) == 1


def test_values_of_many_are_spread_over_the_interval(simulator, collectd):
    """Each report has its place in every interval, and all values have the plugin's interval."""
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


# ---- the budget --------------------------------------------------------------------------------------------------------

def asked(simulator, path: str = "") -> list[float]:
    """Returns the times of the requests to the API, in order."""
    return sorted(request.began for request in simulator.requests(path))


def check_rolling(times: list[float], calls: int, interval: float) -> None:
    """Checks that any calls + 1 requests span more than the interval."""
    apart = [late - early for early, late in zip(times, times[calls:])]
    assert not apart or min(apart) > interval, f"{calls + 1} calls within {min(apart):.3f} s"


def of_lists(*names: str) -> list[str]:
    return [f'Instance "{name}"' for name in names]


def many(simulator, count: int) -> list[str]:
    names = [f"i{n}" for n in range(count)]
    for name in names:
        simulator.instance(f"instances/{name}", [{"id": "a", "state": "running"}])
    return names


def gaps(daemon, name: str, value: str) -> list[float]:
    """Returns the times of the account's reports without this value, after the first one with it."""
    has_it = [(when, value in report) for when, report in daemon.reports(name)]
    return [when for when, there in itertools.dropwhile(lambda one: not one[1], has_it) if not there]


def check_no_gaps(daemon, *names: str, value: str = "gauge-state") -> None:
    """Except for gaps caused by a busy machine: collectd logs these, or a lookup is late."""
    for name in names:
        assert gaps(daemon, "docs", f"docs-{name}/{value}") == [] or daemon.log_lines(
            rf'Not sleeping because the next interval|"{name}".*: cannot be read: timeout'), name


def test_budget_that_is_too_small(simulator, collectd):
    """Six lookups, one call per interval: never one too many, all stretched equally, and no gap."""
    names = many(simulator, 6)
    seconds = max(1, 5 * INTERVAL)
    daemon = collectd(account(simulator, *of_lists(*names), budget=f"Budget 5 {seconds}"))
    report = daemon.wait_report("docs", lambda r: r["docs/http_requests"] >= 30, timeout=20 * seconds)
    daemon.stop()

    times = asked(simulator)
    check_rolling(times, 5, seconds)
    assert sorted(steps(times))[len(times) // 2] == pytest.approx(seconds / 5, rel=0.4), "evenly"
    seen = [re.search(r"/instances/(\w+)/", request.target)[1] for request in simulator.requests("/jobs")]
    assert set(seen[:16]) == set(names), "the new ones have to wait, but not for ever"
    assert set(seen[-8:]) == set(names), "then everybody has a turn in each round"

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
    net.wait_until(lambda: len(simulator.requests()) >= 10, timeout=15, what="all of them twice")
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
    """All limits of all accounts apply, and no others."""
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
    assert len(requests) - len(shared) > 1.5 * len(shared), "the other credential has its own"
    assert [line.partition('Account "')[2].partition(":")[0] for line in daemon.log_lines("but the budget allows")] == [
        'docs"']


def test_repeats_spend_the_budget(simulator, collectd):
    """Even if no calls are left for others: lookups without a call wait, and do not fail."""
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
def test_api_that_wants_no_calls(simulator, collectd, status):
    """Retry-After stops all lookups of the account; those that did not fail are still reported."""
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
    assert len(others) <= 2, "those of the same round"
    assert max(times) > refused.ended + wait
    check_no_gaps(daemon, *names)
    assert len(daemon.log_lines(rf'"i1": cannot be read: .*; no calls for the next {wait} s$')) == 1


def test_api_that_says_what_is_left(simulator, collectd):
    """The API's limit is below the budget: the plugin obeys it before exceeding it."""
    names = many(simulator, 3)
    simulator.limit(10, 60)
    daemon = collectd(account(simulator, *of_lists(*names)))
    daemon.wait_log("lookups per minute are due, but the budget allows only", timeout=10)
    report = daemon.wait_report("docs", since=time.time() + 4 * INTERVAL)
    assert report["docs/gauge-budget_stretch"] > 15, "what is left has to last for a minute"
    daemon.stop()
    statuses = [request.status for request in simulator.requests()]
    assert set(statuses) == {200} and 3 <= len(statuses) <= 10
    check_no_gaps(daemon, *names)


# ---- TLS --------------------------------------------------------------------------------------------------------------

@pytest.mark.skipif(VALGRIND, reason="so many handshakes take longer there than a round")
def test_tls(simulator, edge, certificates, collectd):
    """HTTP/2 over one connection; a peer that cannot be verified receives no request."""
    jobs = "abcd"
    simulator.instance("instances/handbook", [{"id": job, "state": "queued"} for job in jobs])
    bad = ("wrong_host", "expired", "self_signed", "old_tls")
    instances = {"good": '<Instance "handbook">\n' + "\n".join(f'Job "{job}"' for job in jobs) + "\n</Instance>",
                 **dict.fromkeys(bad, 'Instance "handbook"')}
    options = f'TokenFile "{simulator.token_file}"\nCACert "{certificates.ca_file}"\n'
    daemon = collectd(*(account(simulator, lines, name=kind, options=options + f'APIURL "{edge.url(kind)}"')
                        for kind, lines in instances.items()), interval=max(1, SLOWNESS / 2))

    report = daemon.wait_report("good", has(*(f"good-handbook/gauge-state-{job}" for job in jobs)))
    assert errors(report, "good") == {}
    for kind in bad:
        report = daemon.wait_report(kind, lambda r: r[f"{kind}/errors-tls"] > 0)
        assert set(errors(report, kind)) == {"tls"}
        assert not set(of_instance(report, f"{kind}-handbook")) & OF_JOBS

    seen = edge.requests()
    assert {request["server"] for request in seen} == {"good"}
    assert {request["protocol"] for request in seen} == {"HTTP/2.0"}
    assert len({request["connection"] for request in seen}) == 1


def test_certificates_that_are_not_there_yet(simulator, edge, certificates, collectd, tmp):
    """An error, and no lookup succeeds until the file exists."""
    simulator.instance("instances/handbook", [{"id": "a", "state": "queued"}])
    path = tmp / "ca.pem"
    daemon = collectd(account(simulator, 'Instance "handbook"',
                              options=f'TokenFile "{simulator.token_file}"\nCACert "{path}"\nAPIURL "{edge.url("good")}"'))
    daemon.wait_log(rf'\[error\] .*"docs": CACert: .*"{path}": No such file')
    report = daemon.wait_report("docs", lambda r: r["docs/errors-tls"] > 0)
    assert set(errors(report)) == {"tls"}
    path.write_bytes(certificates.ca_file.read_bytes())
    daemon.next_report("docs", has("docs-handbook/gauge-state"), 20)


def test_tls_without_verification(simulator, edge, certificates, collectd):
    simulator.instance("instances/handbook", [{"id": "a", "state": "queued"}])
    options = {
        "peer": f'APIURL "{edge.url("self_signed")}"\nVerifyPeer false\nVerifyHost false',
        "host": f'APIURL "{edge.url("wrong_host")}"\nVerifyHost false\nCACert "{certificates.ca_file}"',
    }
    daemon = collectd(*(account(simulator, 'Instance "handbook"', name=name,
                                options=f'TokenFile "{simulator.token_file}"\n{lines}')
                        for name, lines in options.items()))
    for name in options:
        daemon.wait_report(name, has(f"{name}-handbook/gauge-state"))
        assert daemon.log_lines(rf'\[warning\] aisearch plugin: Account "{name}": Without VerifyPeer and VerifyHost')


def test_through_a_forward_proxy(simulator, edge, certificates, collectd):
    """A tunnel: the proxy sees its destination, but no credential."""
    simulator.instance("instances/handbook", [{"id": "a", "state": "queued"}])
    with ForwardProxy() as proxy:
        options = (f'TokenFile "{simulator.token_file}"\nAPIURL "{edge.url()}"\nCACert "{certificates.ca_file}"\n'
                   f'Proxy "{proxy.url}"')
        daemon = collectd(account(simulator, 'Instance "handbook"', options=options), interval=2.5 * INTERVAL)
        daemon.wait_report("docs", has("docs-handbook/gauge-state"))
        assert {(request.method, request.target) for request in proxy.requests} == {
            ("CONNECT", f"localhost:{edge.port()}")}
        assert simulator.token not in repr(proxy.requests)
        daemon.stop()


def test_plain_http_behind_https(simulator, collectd):
    """The peer does not use TLS."""
    options = f'TokenFile "{simulator.token_file}"\nAPIURL "https://127.0.0.1:{simulator.port}"'
    daemon = collectd(account(simulator, 'Instance "handbook"', options=options))
    report = daemon.wait_report("docs", lambda r: r["docs/errors-tls"] > 0)
    assert set(errors(report)) == {"tls"}
    assert simulator.count() == 0


# ---- wrong configurations ----------------------------------------------------------------------------------------------

def block(lines: str, name: str = "docs") -> str:
    return f'<Account "{name}">\n{lines}\n</Account>'


BASIC = f'AccountID "{ACCOUNT}"\nTokenFile "@TOKEN@"\n'
VALID = BASIC + 'Instance "handbook"\n'
THROUGH = f'AccountID "{ACCOUNT}"\nInstance "handbook"\n'  # without credential and URL

# A configuration and its message, with the error and the remedy. @TOKEN@ is a token's file, @EMPTY@ an
# empty one, @TWO@ one of two lines, @TMP@ a directory, @NOCERT@ a file without a certificate.
WRONG = {
    "nothing": ("", r"No account.*Add a <Plugin aisearch> block"),
    "StateFile twice": ('StateFile "a"\nStateFile "b"', r"`StateFile' is given twice"),
    "StateFile in two blocks": ('StateFile "a"\n</Plugin>\n<Plugin aisearch>\nStateFile "b"', r"`StateFile' is given twice"),
    "StateFile without a name": ('StateFile "/tmp/"', r"StateFile \"/tmp/\" is not a file in a directory that exists"),
    "unknown option": ('Acount "docs"', r"`Acount' is not known in a `Plugin' block: did you mean \"Account\"\?"),
    "unknown account option": (block(VALID + 'Colour 300'),
                               r"`Colour'.*`Account'.*use one of AccountID, TokenFile,.*Timeout, Budget,.* Instance"),
    "unknown instance option": (block(BASIC + '<Instance "x">\nColour "a"\n</Instance>'),
                                r"`Colour'.*`Instance'.*use one of Namespace, Generation, Job"),
    "option twice": (block(VALID + 'Timeout 1\ntimeout 2'), r"`timeout' is given twice.*Keep one"),
    "no name": (f"<Account>\n{VALID}\n</Account>", r"Account takes one string, in quotes"),
    "number for a name": (f"<Account 7>\n{VALID}\n</Account>", r"Account takes one string, in quotes"),
    "dash in a name": (block(VALID, "my-docs"), r'Account "my-docs" is not a valid name\. Use 1 to 28 of A-Z, a-z, 0-9 and _\.'),
    "name too long": (block(VALID, "a" * 29), r'Account "a{29}" is not a valid name\. Use 1 to 28'),
    "empty name": (block(VALID, ""), r'Account "" is not a valid name\. Use 1 to 28'),
    "name twice": (block(VALID) + "\n" + block(VALID, "DOCS"), r'"DOCS": Two Account blocks.*Rename one'),
    "no AccountID": (block('TokenFile "@TOKEN@"\nInstance "x"'), r'"docs": AccountID is missing. Add'),
    "bad AccountID": (block(VALID.replace(ACCOUNT, ACCOUNT.upper())), r"AccountID .*Use the 32 digits of 0-9 and a-f"),
    "AccountID with a slash": (block(VALID.replace(ACCOUNT, "../x")), r'AccountID "../x".*Use the 32 digits'),
    "no credential": (block(THROUGH), r"credential is missing. Add TokenFile, or Email and KeyFile; or APIURL"),
    "both schemes": (block(VALID + 'Email "u@example.com"\nKeyFile "@TOKEN@"'), r"TokenFile alone, or Email and KeyFile"),
    "KeyFile alone": (block(THROUGH + 'KeyFile "@TOKEN@"'), r"Email is missing"),
    "Email alone": (block(THROUGH + 'Email "u@example.com"'), r"KeyFile is missing"),
    "bad Email": (block(THROUGH + 'Email "nobody"\nKeyFile "@TOKEN@"'), r"KeyFile: .*email address; give"),
    "no such token file": (block(THROUGH + 'TokenFile "@TMP@/none"'), r'TokenFile: .*"@TMP@/none": No such file.*; '),
    "directory for a token file": (block(THROUGH + 'TokenFile "@TMP@"'), r"TokenFile: .*not a regular file; write"),
    "empty token file": (block(THROUGH + 'TokenFile "@EMPTY@"'), r"TokenFile: .*empty; write"),
    "two lines in a token file": (block(THROUGH + 'TokenFile "@TWO@"'), r"TokenFile: .*line break.*; write"),
    "two lines in a key file": (block(THROUGH + 'Email "u@example.com"\nKeyFile "@TWO@"'),
                                r"KeyFile: .*line break.*; write"),
    "relative token file": (block(THROUGH + 'TokenFile "token"'), r"TokenFile has to be an absolute path"),
    "number for a token file": (block(THROUGH + "TokenFile 7"), r"TokenFile takes one string, in quotes"),
    "relative key file": (block(THROUGH + 'Email "u@example.com"\nKeyFile "key"'), r"KeyFile has to be an absolute"),
    "bad APIURL": (block(VALID + 'APIURL "ftp://example.com/"'), r"APIURL: .*http"),
    "APIURL with a user": (block(VALID + 'APIURL "https://u:p@example.com/"'), r"APIURL: "),
    "APIURL with a query": (block(VALID + 'APIURL "https://example.com/?a=b"'), r"APIURL: "),
    "plain http to another host": (block(VALID + 'APIURL "http://192.0.2.1/client/v4"'),
                                   r"APIURL would send the credential over plain http.*Use https"),
    "plain http through a proxy": (
        block(VALID + 'APIURL "http://127.0.0.1/client/v4"\nProxy "http://192.0.2.1:3128"'),
        r"APIURL would send the credential over plain http.*Use https"),
    "UnixSocket without APIURL": (block(VALID + 'UnixSocket "/run/x.sock"'), r"UnixSocket cannot be used\. Use APIURL"),
    "UnixSocket with https": (block(VALID + 'APIURL "https://localhost"\nUnixSocket "/run/x.sock"'),
                              r"UnixSocket cannot be used\. Use APIURL"),
    "UnixSocket twice": (block(VALID + 'APIURL "http://unix:/run/y.sock:/client/v4"\nUnixSocket "/run/x.sock"'),
                         r"UnixSocket cannot be used\. Use APIURL"),
    "UnixSocket and Proxy": (
        block(VALID + 'APIURL "http://localhost"\nUnixSocket "/run/x.sock"\nProxy "http://192.0.2.1:3128"'),
        r"Proxy has no effect on a Unix socket. Remove it"),
    "relative UnixSocket": (block(VALID + 'APIURL "http://localhost"\nUnixSocket "x.sock"'), r"UnixSocket cannot be used\. Use APIURL"),
    "long UnixSocket": (block(VALID + f'APIURL "http://localhost"\nUnixSocket "/{"x" * 108}"'),
                        r"UnixSocket cannot be used\. Use APIURL"),
    "no such CACert": (block(VALID + 'CACert "@TMP@/none.pem"'), r'CACert: .*"@TMP@/none.pem": No such file'),
    "CACert without a certificate": (block(VALID + 'CACert "@NOCERT@"'), r"CACert: .*PEM"),
    "relative CACert": (block(VALID + 'CACert "ca.pem"'), r"CACert has to be an absolute path"),
    "VerifyPeer is no boolean": (block(VALID + "VerifyPeer 7"), r"VerifyPeer takes true or false"),
    "VerifyHost is no boolean": (block(VALID + 'VerifyHost "maybe"'), r"VerifyHost takes true or false"),
    "bad Proxy": (block(VALID + 'Proxy "socks5://192.0.2.1"'), r"Proxy: "),
    "Timeout of 0": (block(VALID + "Timeout 0"), r"Timeout 0 is out of range. Use 1 to 3600000\."),
    "negative Timeout": (block(VALID + "Timeout -5"), r"Timeout -5 is out of range. Use 1 to"),
    "endless Timeout": (block(VALID + "Timeout 99999999999999999999"), r"Timeout 1e\+20 is out of range. Use 1 to"),
    "Timeout is no number": (block(VALID + 'Timeout "5s"'), r"Timeout takes one number .*, without quotes and unit"),
    **{f"Budget {name}": (block(VALID + f"Budget {numbers}"),
                          r'"docs": Budget takes a whole number of calls from 1 to 1000000, and 1 to 86400 seconds, such as: Budget 3')
       for name, numbers in (("without a time", "300"), ("with a unit", '300 "5m"'), ("of three", "300 300 1"),
                             ("of 0 calls", "0 300"), ("of less", "-1 300"), ("of half a call", "1.5 300"),
                             ("of too many calls", "1000001 300"), ("of no time", "300 0"),
                             ("of two days", "300 172800"), ("without numbers", '"300" "300"'))},
    "five Budgets": (block(VALID + "\n".join(f"Budget 10 {n}" for n in range(1, 6))),
                     r"There are more than 4 Budget options. Keep those"),
    "five Budgets for one credential": (
        block(VALID + "Budget 1 1\nBudget 2 2\nBudget 3 3") + "\n" + block(VALID + "Budget 4 4\nBudget 5 5", "more"),
        r'"more": Its credential is that of Account "docs" too, and together.*more than 4 .*Give both the same'),
    "StalledAfter below 0": (block(VALID + "StalledAfter -1"),
                             r"StalledAfter -1 is out of range. Use 1 to 31536000, or 0 for never"),
    "OverdueAfter is no number": (block(VALID + 'OverdueAfter "12h"'),
                                  r"OverdueAfter takes one number .*, without quotes and unit"),
    "OverdueAfter of two years": (block(VALID + "OverdueAfter 63072000"), r"OverdueAfter 63072000 is out of range"),
    "ReportItems is no boolean": (block(VALID + "ReportItems 1"), r"ReportItems takes true or false"),
    "ReportDetails twice": (block(VALID + "ReportDetails true\nReportDetails false"), r"`ReportDetails' is given twice"),
    "ActiveInterval of 0": (block(VALID + "ActiveInterval 0"), r"ActiveInterval 0 is out of range. Use 0\.001 to 86400"),
    "ActiveInterval is no number": (block(VALID + 'ActiveInterval "20s"'), r"ActiveInterval takes one number .*, without quotes and unit"),
    "endless IdleInterval": (block(VALID + "IdleInterval 1000000000"), r"IdleInterval 1000000000 is out of range. Use 0\.001 to 864"),
    "IdleInterval below ActiveInterval": (block(VALID + "ActiveInterval 60\nIdleInterval 30"),
                                          r"IdleInterval 30 is below ActiveInterval, 60. Use at least that"),
    "DiscoverInstances maybe": (block(BASIC + 'DiscoverInstances 7'), r"DiscoverInstances takes true or false"),
    "DiscoverInstance of nothing": (block(BASIC + 'DiscoverInstance ""'),
                                    r'DiscoverInstance "" cannot be used: no instance can have this name. Use .*such as "/\^docs-/"'),
    "DiscoverInstance is no expression": (block(BASIC + 'DiscoverInstance "/a(b/"'),
                                          r'DiscoverInstance "/a\(b/" cannot be used: Unmatched \( or .*Use an instance'),
    **{f"DiscoverInstance {name}": (block(BASIC + f'DiscoverInstance "{name}"'),
                                    r'DiscoverInstance ".*" cannot be used: no instance can have this name. Use an instance.s')
       for name in ("docs-*", "^docs-", "/^docs-", "Docs", "docs handbook")},
    "DiscoverInstance is no string": (block(BASIC + "DiscoverInstance 1"), r"DiscoverInstance takes one string, in quotes"),
    "bad DiscoverNamespace": (block(BASIC + 'DiscoverNamespace "a@b"'),
                              r'DiscoverNamespace "a@b" is not a namespace.s name. Use 1 to 28 of a-z, 0-9 and -, '),
    "DiscoverNamespace twice": (block(BASIC + 'DiscoverNamespace "a"\nDiscoverNamespace "b"\nDiscoverNamespace "a"'),
                                r'DiscoverNamespace "a" is given twice\.'),
    "IgnoreSelected twice": (block(VALID + "IgnoreSelected true\nIgnoreSelected true"), r"`IgnoreSelected' is given twice"),
    "DiscoveryInterval of 0": (block(VALID + "DiscoveryInterval 0"), r"DiscoveryInterval 0 is out of range. Use 0\.001 to 86400"),
    "endless DiscoveryInterval": (block(VALID + "DiscoveryInterval 1000000000"), r"DiscoveryInterval 1000000000 is out of range"),
    "DiscoverInstances false": (block(BASIC + 'DiscoverInstances false\nDiscoverInstance "a"'), r"Nothing to look at"),
    "no Instance": (block(BASIC), r'"docs": Nothing to look at. Add an <Instance> block, or DiscoverInstances true'),
    "Instance without a name": (block(BASIC + '<Instance>\nJob "a"\n</Instance>'), r"Instance takes one string, in quotes"),
    "bad Instance": (block(BASIC + 'Instance "Hand-Book"'), r'Instance "Hand-Book": This is not an instance.s name\. Use 1 to 64 of a-z'),
    "long Instance": (block(BASIC + f'Instance "{"i" * 65}"'), r"is not an instance's name. Use 1 to 64"),
    "long autorag": (block(BASIC + f'<Instance "{"i" * 33}">\nGeneration "autorag"\n</Instance>'), r"Use 1 to 32 of a-z"),
    "Instance with a slash": (block(BASIC + 'Instance "a/../b"'), r'Instance "a/../b": This is not an instance.s name\. Use 1 to 64'),
    **{f"Namespace {name}": (block(BASIC + f'<Instance "x">\nNamespace "{name}"\n</Instance>'),
                             rf'Instance "x": Namespace "{name}" is not a namespace.s name\. Use 1 to 28 of a-z, 0-9 and -, '
                             r"neither the first nor the last a -\.") for name in ("a@b", "team_blue", "n" * 29, "-a")},
    "bad Generation": (block(BASIC + '<Instance "x">\nGeneration "rag"\n</Instance>'),
                       r'Generation "rag" is not known. Use "instance" or "autorag"'),
    "autorag in a namespace": (block(BASIC + '<Instance "x">\nGeneration "autorag"\nNamespace "n"\n</Instance>'),
                               r"AutoRAG has no namespaces. Remove Namespace or Generation"),
    "bad Job": (block(BASIC + '<Instance "x">\nJob "a b"\n</Instance>'), r'Job "a b" is not.*Use 1 to 64 of A-Z'),
    "long Job": (block(BASIC + f'<Instance "x">\nJob "{"j" * 65}"\n</Instance>'), r"is not a job's id. Use 1 to 64"),
    "Job twice": (block(BASIC + '<Instance "x">\nJob "a"\nJob "b"\nJob "a"\n</Instance>'),
                  r'Job "a" is given twice\.'),
    "Instance twice": (block(VALID + 'Instance "handbook"'), r'both report as "docs-handbook". Put all Job options'),
    "default namespace": (block(VALID + '<Instance "handbook">\nNamespace "default"\n</Instance>'),
                          r'both report as "docs-handbook"'),
    "autorag of the same name": (block(VALID + '<Instance "handbook">\nGeneration "autorag"\n</Instance>'),
                                 r'both report as "docs-handbook".*two Account blocks'),
}


@pytest.mark.parametrize("wrong", WRONG)
def test_wrong_configuration(tmp, wrong):
    """collectd -T logs the reason and fails. Without -T, collectd starts."""
    aisearch, message = WRONG[wrong]
    files = {"TOKEN": "s3cret-token", "EMPTY": "", "TWO": "s3cret-token\nline", "NOCERT": "no certificate"}
    for name, content in files.items():
        (tmp / name.lower()).write_text(content)
    for name in files:
        aisearch = aisearch.replace(f"@{name}@", str(tmp / name.lower()))
    refused = refusal(Config(aisearch.replace("@TMP@", str(tmp))), tmp)

    assert refused.status == 1
    assert "Initialization complete" not in refused.log
    assert re.search("aisearch plugin: .*" + message.replace("@TMP@", str(tmp)), refused.log), refused.log
    assert "s3cret" not in refused.log


def test_a_wrong_block_costs_that_block_alone(simulator, collectd):
    """If two conflict, the first is used. Conditions of a refused one do not end by that."""
    for name in ("handbook", "wiki"):
        simulator.instance(f"instances/{name}", [{"id": "a", "state": "running"}])
    daemon = collectd(account(simulator, 'Instance "handbook"', 'Instance "wiki"'),
                      account(simulator, 'Instance "handbook"', name="more"))
    for name in ("docs-handbook", "docs-wiki", "more-handbook"):
        daemon.wait_report(name.partition("-")[0], lambda r: r.get(f"{name}/gauge-state") == 1)
    for name in ("handbook", "wiki"):
        simulator.job(f"instances/{name}", "a", state="failed", ends_in=0)
    net.wait_until(lambda: len(daemon.notifications()) == 3, 10, "three failures")
    daemon.stop()

    right = daemon.config.aisearch
    wrong = right.replace('Instance "wiki"', '<Instance "wiki">\nJobs "a"\n</Instance>\nInstance "handbook"')
    wrong = wrong.replace('<Account "more">', '<Account "more">\nBugdet 300 300')
    daemon.config.aisearch = f"Acount 7\n{wrong}\n" + account(simulator, 'Instance "other"')
    since = time.time()
    daemon.start()
    report = daemon.wait_report("docs", has("docs-handbook/gauge-state"), since=since)
    assert {name.partition("/")[0] for name in report} == {"docs", "docs-handbook"}
    assert report["docs-handbook/gauge-failed"] == 1
    for message in ("`Acount' is not known", "`Jobs' is not known", 'both report as "docs-handbook"',
                    "`Bugdet' is not known", "Two Account blocks have this name"):
        assert len(daemon.log_lines(rf"\[error\] aisearch plugin: .*{message}")) == 1, message
    daemon.wait_reads(3)
    assert len(daemon.notifications()) == 3
    daemon.stop()

    daemon.config.aisearch = right
    since = time.time()
    daemon.start()
    for name in ("docs-handbook", "docs-wiki", "more-handbook"):
        report = daemon.wait_report(name.partition("-")[0], has(f"{name}/gauge-failed"), since=since)
        assert report[f"{name}/gauge-failed"] == report[f"{name}/operations-failed"] == 1
    assert len(daemon.notifications()) == 3


def test_all_that_is_wrong_in_a_block_is_said(tmp):
    """All errors are logged, not only the first, and each message names its block."""
    wrong = block('Bugdet 300 300\nTimeout 0\nTimeout 1\n<Instance "x">\nJob "a b"\nJobs "a"\n</Instance>\nCACert "ca.pem"')
    refused = refusal(Config(wrong), tmp)
    assert refused.status == 1
    for message in (": The option `Bugdet' is not known", ": Timeout 0 is out of range", ": The option `Timeout' is given twice",
                    ': Instance "x": Job "a b" is not a job.s id', ': Instance "x": The option `Jobs\' is not known',
                    ": CACert has to be an absolute path"):
        assert len(re.findall(rf'aisearch plugin: Account "docs"{message}', refused.log)) == 1, message


def test_nothing_that_is_right(simulator, collectd):
    """Without any valid account, collectd continues with its other plugins."""
    daemon = collectd(block(VALID.replace("TokenFile", "TokenFiel")), extra="LoadPlugin uptime")
    assert daemon.log_lines("`TokenFiel' is not known") and daemon.log_lines("No account is left")
    net.wait_until(lambda: len(daemon.series("uptime", "uptime")) >= 2, 10)


def test_token_in_the_place_of_its_file(tmp):
    refused = refusal(Config(block(THROUGH + 'TokenFile "s3cret-token"')), tmp)
    assert refused.status == 1
    assert "TokenFile has to be an absolute path" in refused.log and "s3cret" not in refused.log


def test_no_configuration_at_all(tmp):
    """With only LoadPlugin, collectd continues without the plugin, as with others, and logs that."""
    with Collectd(tmp, Config(None)) as daemon:
        line = daemon.wait_log("No account is configured")
        assert "[error] aisearch plugin:" in line and "Add a <Plugin aisearch> block" in line


def test_two_plugin_blocks(simulator, collectd):
    simulator.instance("instances/handbook", [{"id": "a", "state": "queued"}])
    daemon = collectd(account(simulator, 'Instance "handbook"') + "\n</Plugin>\n<Plugin aisearch>",
                      account(simulator, 'Instance "handbook"', name="more"))
    daemon.wait_report("docs", has("docs-handbook/gauge-state"))
    daemon.wait_report("more", has("more-handbook/gauge-state"))


def test_timeout_that_outlives_the_interval(simulator, collectd):
    simulator.instance("instances/handbook")
    simulator.fault(delay=10 * INTERVAL)
    options = f'TokenFile "{simulator.token_file}"\nAPIURL "{simulator.url}"\nTimeout 60000'
    daemon = collectd(account(simulator, 'Instance "handbook"', options=options))
    assert daemon.log_lines(r'\[warning\] aisearch plugin: Account "docs": Timeout 60000 is too long for an ActiveInterval')
    report = daemon.wait_report("docs", lambda r: r["docs/errors-timeout"] >= 3)
    assert report["docs/http_requests"] in range(3, 6), "one lookup for each interval"


def test_active_interval_below_the_interval(simulator, collectd):
    simulator.instance("instances/handbook", [{"id": "a", "state": "running"}])
    daemon = collectd(account(simulator, 'Instance "handbook"', pacing=f"ActiveInterval {INTERVAL / 10}"))
    assert daemon.log_lines(r'\[warning\] aisearch plugin: Account "docs": ActiveInterval .* is below the Interval of')
    net.wait_until(lambda: simulator.count("/jobs") >= 5)
    assert min(steps(asked(simulator, "/jobs"))[1:]) > 0.5 * INTERVAL


# ---- the daemon around it ----------------------------------------------------------------------------------------------

@pytest.mark.parametrize("intervals", (1.25, 25), ids=("they time out", "they are under way"))
def test_silent_apis_hold_up_nobody(simulator, tmp, collectd, intervals):
    """Five accounts whose API never responds: other plugins keep their interval, and collectd stops at once on SIGTERM."""
    simulator.instance("instances/handbook")
    simulator.fault(script=stall.no_body())
    with stall.black_hole() as hole, stall.silent() as silent:
        urls = {
            "dns": "https://api.slow.test",
            "connect": f"http://{hole[0]}:{hole[1]}",
            "handshake": f"https://{silent[0]}:{silent[1]}",
            "headers": f"http://{silent[0]}:{silent[1]}",
            "body": simulator.url,
        }
        accounts = [account(simulator, 'Instance "handbook"', name=name,
                            options=f'TokenFile "{simulator.token_file}"\nAPIURL "{url}"\nTimeout 9000')
                    for name, url in urls.items()]
        others = "\n".join(f"<LoadPlugin {name}>\nInterval 0.5\n</LoadPlugin>" for name in ("uptime", "load"))
        daemon = collectd(*accounts, interval=intervals * INTERVAL, extra=others, stop_timeout=2,
                          preload=[stall.slow_dns(tmp)], env={"AIS_SLOW_DNS": "30"})
        for plugin in ("uptime", "load"):
            net.wait_until(lambda: len(daemon.series(plugin, plugin)) > 6, 10)
        for plugin in ("uptime", "load"):
            assert max(steps([when for when, _ in daemon.series(plugin, plugin)])) < 0.5 + 0.3 * SLOWNESS

        if intervals < 2:
            for name in urls:
                report = daemon.wait_report(name, lambda r: r[f"{name}/errors-timeout"] > 1, timeout=10)
                assert set(errors(report, name)) == {"timeout"}
        assert daemon.stop() < 2 * SLOWNESS
        assert not daemon.log_lines("above its read interval")


def test_stop_in_the_middle_of_a_round(simulator, collectd):
    simulator.instance("instances/handbook")
    simulator.fault(delay=3600)
    daemon = collectd(account(simulator, 'Instance "handbook"'), interval=25 * INTERVAL)
    net.wait_until(lambda: simulator.counters()["in_flight"] == 1)
    assert daemon.stop() < 1 * SLOWNESS
    net.wait_until(lambda: simulator.counters()["connections_open"] == 0, what="its connection to be closed")


def test_in_the_background(simulator, tmp):
    """collectd forks after it has read its configuration."""
    simulator.instance("instances/handbook", [{"id": "a", "state": "queued"}])
    with BackgroundCollectd(tmp, Config(account(simulator, 'Instance "handbook"'))) as daemon:
        daemon.wait_report("docs", has("docs-handbook/gauge-state"))


def test_read_once(simulator, tmp):
    """collectd -T sends a few requests, logs the results, and exits: no state, no notification."""
    for n in range(5):
        simulator.instance(f"instances/i{n}")
    daemon = Collectd(tmp, Config(account(simulator, *of_lists(*(f"i{n}" for n in range(5))))))
    assert daemon.read_once() == 0, daemon.log()
    assert daemon.log_lines(r'aisearch plugin: Account "docs": OK\.')
    assert simulator.count() == 3
    assert not (daemon.prefix / "aisearch.state").exists() and daemon.notifications() == []


def test_read_once_with_a_fault(simulator, tmp):
    """It waits for all accounts at once; the state file of a running collectd is not changed."""
    simulator.instance("instances/handbook")
    with stall.silent() as (host, port):
        accounts = [account(simulator, 'Instance "handbook"', name=f"silent{n}", pacing="",
                            options=f'TokenFile "{simulator.token_file}"\nAPIURL "http://{host}:{port}"\nTimeout 1000')
                    for n in range(3)]
        accounts += [account(simulator, 'Instance "handbook"'), account(simulator, 'Instance "none"', name="refused")]
        daemon = Collectd(tmp, Config("\n".join(accounts)))
        (daemon.prefix / "aisearch.state").write_text("aisearch-state 1\nend 0\n")
        began = time.monotonic()
        assert daemon.read_once() == 1
        assert time.monotonic() - began < 3 * SLOWNESS
    for n in range(3):
        assert daemon.log_lines(rf'\[error\] .*Account "silent{n}": cannot be read: .*(timeout|Timeout)')
    assert daemon.log_lines('Account "docs": OK') and daemon.log_lines(r'Account "refused": cannot be read: .*')
    assert (daemon.prefix / "aisearch.state").read_text() == "aisearch-state 1\nend 0\n"
    assert daemon.notifications() == []


def test_nothing_is_left_open(simulator, collectd):
    """The open descriptors stay the same in each round, failed or not."""
    simulator.instance("instances/handbook", [{"id": "a", "state": "queued"}])
    daemon = collectd(account(simulator, 'Instance "handbook"', 'Instance "none"'))
    daemon.wait_report("docs", has("docs-handbook/gauge-state"))
    before = len(net.open_fds(daemon.pid))
    for fault in (dict(script=stall.truncated()), dict(script=stall.reset_before_headers()), dict(delay=INTERVAL)):
        simulator.clear_faults()
        simulator.fault("/handbook/", **fault)
        daemon.next_report("docs", lambda r: "docs-handbook/gauge-state" not in r)
    simulator.clear_faults()
    daemon.next_report("docs", has("docs-handbook/gauge-state"))
    net.wait_until(lambda: len(net.open_fds(daemon.pid)) <= before + 1, what="descriptors to be closed")


def test_secrets_stay_secret(simulator, collectd):
    """The token and the key are in the requests, but not in anything that collectd writes or shows."""
    simulator.instance("instances/handbook", [{"id": "a", "state": "queued"}])
    by_key = f'Email "{simulator.email}"\nKeyFile "{simulator.key_file}"\nAPIURL "{simulator.url}"'
    daemon = collectd(account(simulator, 'Instance "handbook"', 'Instance "none"'),
                      account(simulator, 'Instance "handbook"', name="by_key", options=by_key))
    daemon.wait_report("by_key", has("by_key-handbook/gauge-state"))
    for order in (dict(status=401), dict(status=500, body="no"), dict(script=stall.truncated())):
        simulator.clear_faults()
        simulator.fault(**order)
        daemon.next_report("docs", lambda r: "docs-handbook/gauge-state" not in r)

    requests = simulator.requests()
    shown = [net.cmdline(daemon.pid), net.environ(daemon.pid), daemon.log().encode(), daemon.stderr().encode()]
    shown += [path.read_bytes() + str(path).encode() for path in daemon.prefix.rglob("*") if path.is_file()]
    for secret in (simulator.token, simulator.key):
        assert any(secret in value for request in requests for _, value in request.headers)
        assert not any(secret.encode() in text for text in shown)


# ---- through nginx -----------------------------------------------------------------------------------------------------

@pytest.mark.skipif(not nginx_harness.MODULE.exists(), reason="the nginx module is not built")
def test_through_nginx(simulator, nginx, collectd):
    """nginx has the credential and the cache; the age of a cached response is the age of the reading."""
    simulator.instance("instances/handbook", [{"id": "a", "state": "succeeded"}, {"id": "r", "state": "running"}])
    proxy = nginx(
        http=f"""aisearch_account docs {{
            account_id {ACCOUNT}; token_file {simulator.token_file}; api_url {simulator.unix_url};
        }}""",
        server="location /client/v4/ { aisearch_pass docs; aisearch_valid active 1h 1h; aisearch_valid list 1h; }")
    options = f'APIURL "http://localhost/client/v4"\nUnixSocket "{proxy.socket}"'
    daemon = collectd(account(simulator, 'Instance "handbook"', '<Instance "none">\nJob "a"\n</Instance>',
                              options=options, pacing="ActiveInterval @INTERVAL@\nIdleInterval 5"))
    report = daemon.wait_report("docs", lambda r: r.get("docs-handbook/duration-since_read", 0) > 2)
    values = of_instance(report, "docs-handbook")
    assert (values["gauge-state"], values["count-running"]) == (1, 1)
    assert values["duration-job"] == near(60), "as of the time of the answer, not of the reading"
    assert simulator.count("/handbook/jobs") == 1
    assert simulator.requests()[0].header("authorization") == f"Bearer {simulator.token}"
    assert set(errors(report)) == {"refused"}
    assert daemon.log_lines('Instance "none", Job "a": cannot be read: the API answers 404')


@pytest.mark.skipif(not nginx_harness.MODULE.exists(), reason="the nginx module is not built")
def test_hits_of_nginx_do_not_count(simulator, nginx, collectd):
    """Cached responses are read in every interval; only responses that nginx must fetch count."""
    interval = 2 * INTERVAL
    names = many(simulator, 6)
    proxy = nginx(
        http=f"""aisearch_account docs {{
            account_id {ACCOUNT}; token_file {simulator.token_file}; api_url {simulator.unix_url};
        }}""",
        server="location /client/v4/ { aisearch_pass docs; aisearch_valid active 1h 1h; aisearch_valid list 1h; }")
    options = f'APIURL "http://localhost/client/v4"\nUnixSocket "{proxy.socket}"'
    seconds = 5 * interval
    daemon = collectd(account(simulator, *of_lists(*names), options=options, budget=f"Budget 5 {seconds}"),
                      interval=interval)
    daemon.wait_report("docs", has(*(f"docs-{name}/gauge-state" for name in names)), timeout=60 * interval)
    daemon.wait_log("lookups per minute are due, but the budget allows only")
    check_rolling(asked(simulator), 5, seconds)

    report = daemon.next_report("docs", lambda r: r["docs/gauge-budget_stretch"] == 1, timeout=40 * interval)
    enough = report["docs/http_requests"] + 60
    began = time.monotonic()
    daemon.next_report("docs", lambda r: r["docs/http_requests"] >= enough, timeout=30 * interval)
    assert time.monotonic() - began < 16 * interval * SLOWNESS, "six in an interval, rather than one"
    assert simulator.count("/jobs") == 6
    daemon.wait_log("The budget allows all lookups that are due again", timeout=20)


@pytest.mark.skipif(not nginx_harness.MODULE.exists(), reason="the nginx module is not built")
def test_through_nginx_that_is_gone(simulator, nginx, collectd):
    simulator.instance("instances/handbook", [{"id": "a", "state": "succeeded"}])
    proxy = nginx(
        http=f"""aisearch_account docs {{
            account_id {ACCOUNT}; token_file {simulator.token_file}; api_url {simulator.unix_url};
        }}""",
        server="location /client/v4/ { aisearch_pass docs; }")
    options = f'APIURL "http://localhost/client/v4"\nUnixSocket "{proxy.socket}"'
    daemon = collectd(account(simulator, 'Instance "handbook"', options=options))
    before = errors(daemon.wait_report("docs", has("docs-handbook/gauge-state")))
    proxy.stop()
    report = daemon.next_report("docs", lambda r: "docs-handbook/gauge-state" not in r and r["docs/errors-connect"] > 0, 10)
    assert {fault for fault, count in errors(report).items() if count > before.get(fault, 0)} == {"connect"}
