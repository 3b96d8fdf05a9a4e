"""Lookups of the collectd plugin that fail: the counters, the log, and the values that end."""

import re
import time

from harness import net, stall
from harness.collectd import INTERVAL
from reports import AT_LEISURE, OF_JOBS, PACE, account, errors, has, many, of_instance, of_lists

# A fault of a lookup, the counter that it increments, and the message in the log.
FAILURES = {
    "server error": (dict(status=500, body="<html>oops</html>"), "server", "server: .*500"),
    "redirect": (dict(status=301, headers=[["Location", "http://elsewhere.example/"]]), "server", "server: .*301"),
    "HTML instead of JSON": (dict(status=200, body="<html>hello</html>"), "body", "body: "),
    "an object instead of a list": (dict(status=200, body='{"success":true,"result":{}}'), "body", "body: "),
    "cut short": (dict(script=stall.truncated()), "body", "body: "),
    "no headers": (dict(script=stall.no_headers()), "timeout", "timeout: "),
    "no body": (dict(script=stall.no_body()), "timeout", "timeout: "),
    "connection reset": (dict(script=stall.reset_before_headers()), "connect", "connect: "),
    "rate limit": (dict(status=429, headers=[["Retry-After", "0"]], body='{"success":false,"errors":[{"code":1,"message":"slow down"}]}'),
                   "rate_limited", "rate_limited: "),
    "not found": (dict(status=404, body='{"success":false,"errors":[{"code":7002,"message":"gone\\nfar"}]}'),
                  "refused", r"the API returns 404: gone far \(code 7002\)"),
    "refused": (dict(status=400, body='{"success":false,"errors":[{"code":1,"message":"nonsense"}]}'),
                "refused", r"the API returns 400: nonsense \(code 1\)"),
}


def test_failing_instances(simulator, collectd):
    """Values of jobs end once they are too old; a failure is logged once, and counted; other instances are not affected."""
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


def test_each_change_of_a_fault_is_logged_once(simulator, collectd):
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

    net.wait_until(lambda: named() + more() >= 49, timeout=30 * INTERVAL, what="all failures in the log")
    assert more() > 0
    simulator.clear_faults()
    net.wait_until(lambda: len(daemon.log_lines("can be read again")) >= named(), timeout=30 * INTERVAL)


def test_missing_job_does_not_affect_others(simulator, collectd):
    simulator.instance("instances/handbook", [{"id": "a", "state": "running"}])
    daemon = collectd(account(simulator, '<Instance "handbook">\nJob "a"\nJob "b"\n</Instance>'))
    report = daemon.wait_report("docs", has("docs-handbook/gauge-state-a"))
    assert {name for name in report if name.endswith("-b")} == {"docs-handbook/duration-since_read-b"}
    daemon.wait_log(r'Job "b": cannot be read: the API returns 404: job_not_found \(code 7021\)$')


def test_response_for_another_job_is_rejected(simulator, collectd):
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
        assert "docs/response_time-api" not in report, "no response was received"
