"""
The counters and notifications of the collectd plugin, and its state after a restart. Notifications are read from the log
of collectd's logfile plugin.
"""

import getpass
import re
import time

import pytest

from harness import SLOWNESS, net
from harness.collectd import INTERVAL, Collectd
from harness.simulator import ACCOUNT
from reports import needs_nginx, through_nginx

OFTEN = "ActiveInterval @INTERVAL@\nIdleInterval @INTERVAL@"
PLENTY = "Budget 100000 1"
LIST = "instances/handbook"


def wait_notifications(daemon: Collectd, *expected: tuple[str, str, str]) -> None:
    """Waits for exactly these notifications: (severity, identity, regular expression of the message)."""
    net.wait_until(lambda: len(daemon.notifications()) >= len(expected), 10, f"{len(expected)} notifications")
    told = daemon.notifications()
    assert [(n.severity, n.identity) for n in told] == [pair[:2] for pair in expected], told
    for notification, (_, _, message) in zip(told, expected):
        assert re.fullmatch(message, notification.message)


def account(simulator, *lines: str, options: str = "", name: str = "docs") -> str:
    options = options or f'TokenFile "{simulator.token_file}"\nAPIURL "{simulator.url}"'
    body = "\n".join(lines or ('Instance "handbook"',))
    budget = "" if "Budget" in body else PLENTY
    return (f'<Account "{name}">\nAccountID "{ACCOUNT}"\n{options}\n{OFTEN}\n{budget}\nReportDetails true\n'
            f"{body}\n</Account>")


def known(daemon: Collectd, *, instance: str = "docs-handbook", **values: float) -> dict[str, float]:
    """Waits for a report in which the instance was read and has these counters."""
    names = {f"{instance}/operations-{name}": value for name, value in values.items()}

    def is_known(report) -> bool:
        return (any(name.startswith((f"{instance}/count-running", f"{instance}/gauge-state")) for name in report)
                and all(report.get(name) == value for name, value in names.items()))

    return daemon.next_report(instance.partition("-")[0], is_known, timeout=10, what=f"counters {values}")


def ended(job_id: str, state: str, ago: float = 0, **fields) -> dict:
    return {"id": job_id, "state": state, "starts_in": -ago - 20, "ends_in": -ago, **fields}


# ---- counters -------------------------------------------------------------------------------------------------------

def test_counters_start_at_0_and_count_each_job_once(simulator, collectd):
    simulator.instance(LIST, [ended("a", "succeeded", 100), ended("b", "failed", 50), {"id": "r", "state": "running"}])
    daemon = collectd(account(simulator))
    known(daemon, succeeded=0, failed=0, cancelled=0)

    simulator.job(LIST, "r", state="succeeded", ends_in=0)
    known(daemon, succeeded=1, failed=0, cancelled=0)

    # jobs that start and end between two lookups
    simulator.instance(LIST, [ended("c", "failed"), ended("d", "cancelled"), ended("e", "failed"), ended("f", "succeeded")])
    known(daemon, succeeded=2, failed=2, cancelled=1)
    daemon.wait_reads(3)
    known(daemon, succeeded=2, failed=2, cancelled=1)


def test_more_jobs_than_fit_on_a_page(simulator, collectd):
    """The list is read until a known job appears. All jobs of the first lookup are known."""
    simulator.instance(LIST, [ended(f"old-{n}", "failed", 1000 + n) for n in range(70)])
    daemon = collectd(account(simulator))
    known(daemon, succeeded=0, failed=0, cancelled=0)

    simulator.instance(LIST, [ended(f"new-{n}", "cancelled" if n % 3 else "succeeded", 500 - n) for n in range(120)])
    known(daemon, succeeded=40, failed=0, cancelled=80)
    assert simulator.count(r"\?page=3&") == 1
    daemon.wait_reads(3)
    known(daemon, succeeded=40, failed=0, cancelled=80)
    assert simulator.count(r"\?page=4&") == 0


def test_pinned_jobs_are_counted_when_they_end(simulator, collectd):
    simulator.instance(LIST, [ended("a", "failed"), {"id": "b", "state": "running"}, {"id": "c", "state": "running"}])
    daemon = collectd(account(simulator, '<Instance "handbook">\nJob "a"\nJob "b"\nJob "c"\n</Instance>'))
    daemon.next_report("docs", lambda report: report.get("docs-handbook/gauge-state-c") == 1)

    simulator.job(LIST, "b", state="failed", ends_in=0)
    known(daemon, succeeded=0, failed=1, cancelled=0)
    wait_notifications(daemon, ("FAILURE", "docs-handbook/failed", r"Job b .*"))


def test_since_change(simulator, collectd):
    simulator.instance(LIST, [ended("a", "succeeded", 100)])
    daemon = collectd(account(simulator))
    name = "docs-handbook/duration-since_change"
    report = daemon.wait_report("docs", lambda report: name in report)
    assert report[name] == pytest.approx(100, abs=5 * SLOWNESS)

    simulator.instance(LIST, [{"id": "b", "state": "running", "starts_in": -1}])
    report = daemon.next_report("docs", lambda report: report["docs-handbook/gauge-state"] == 1)
    assert report[name] == pytest.approx(1, abs=3 * SLOWNESS)


def test_values_are_kept_through_a_fault(simulator, collectd):
    """Values of jobs are reported until they are too old. Counters, conditions and the age are always reported."""
    simulator.instance(LIST, [{"id": "a", "state": "running"}])
    daemon = collectd(account(simulator).replace(OFTEN, f"ActiveInterval @INTERVAL@\nIdleInterval {2 * INTERVAL}"))
    known(daemon, succeeded=0)
    simulator.job(LIST, "a", state="failed", ends_in=0)
    known(daemon, failed=1)
    simulator.fault("/handbook/", status=500)
    daemon.wait_log("cannot be read: server")
    report = daemon.next_report("docs")
    if report["docs-handbook/duration-since_read"] < 5 * INTERVAL:
        assert report["docs-handbook/gauge-state"] == 3
    report = daemon.next_report("docs", lambda report: "docs-handbook/gauge-state" not in report, 10)
    assert report["docs-handbook/duration-since_read"] > 5 * INTERVAL
    assert report["docs-handbook/gauge-failed"] == 1 and report["docs-handbook/operations-failed"] == 1
    assert report["docs/count-unread"] == report["docs/count-instances"] == 1


def test_conditions_are_values(simulator, collectd):
    """
    A condition is reported from its start to its end, regardless of the age of the response, and also after a restart
    during an outage.
    """
    simulator.instance(LIST, [{"id": "a", "state": "running"}])
    daemon = collectd(account(simulator, "DiscoverInstances true"))
    report = known(daemon, succeeded=0)
    assert all(report[f"docs-handbook/gauge-{name}"] == 0 for name in ("failed", "stalled", "overdue", "instance_error"))
    assert all(report[f"docs/gauge-{name}"] == 0 for name in ("credential", "unreachable", "refused", "rate_limited"))
    simulator.job(LIST, "a", state="failed", ends_in=0)
    daemon.next_report("docs", lambda report: report["docs-handbook/gauge-failed"] == 1)
    wait_notifications(daemon, ("FAILURE", "docs-handbook/failed", ".*"))

    simulator.fault(status=502, body="<html>")
    daemon.next_report("docs", lambda report: report["docs/gauge-unreachable"] == 1, 10)
    daemon.stop()
    since = time.time()
    daemon.start()
    _, first = next((when, report) for when, report in net.wait_until(
        lambda: [one for one in daemon.reports("docs") if one[0] > since], 10, "a report"))
    assert first["docs-handbook/gauge-failed"] == first["docs/gauge-unreachable"] == 1
    assert first["docs-handbook/operations-failed"] == 1
    assert first["docs-handbook/duration-since_read"] > INTERVAL, "the age includes the time before the restart"
    assert "docs-handbook/gauge-state" not in first

    simulator.clear_faults()
    simulator.instance(LIST, [ended("b", "succeeded")])
    daemon.next_report("docs", lambda report: report["docs-handbook/gauge-failed"] == report["docs/gauge-unreachable"] == 0, 20)


# ---- notifications --------------------------------------------------------------------------------------------------

def test_failed(simulator, collectd):
    simulator.instance(LIST, [ended("old", "failed", 100), {"id": "a", "state": "running"}])
    daemon = collectd(account(simulator))
    daemon.wait_report("docs", lambda report: report.get("docs-handbook/gauge-state") == 1)

    simulator.job(LIST, "a", starts_in=-60, ends_in=0, end_reason="no disk\nat all", source="schedule")
    failed = ("FAILURE", "docs-handbook/failed", r"Job a \(schedule\) has failed after \d+ s: no disk at all")
    wait_notifications(daemon, failed)
    daemon.wait_reads(3)
    simulator.instance(LIST, [ended("b", "cancelled")])
    known(daemon, failed=1, cancelled=1)
    wait_notifications(daemon, failed)

    simulator.instance(LIST, [ended("c", "failed", end_reason="x" * 500)])
    again = ("FAILURE", "docs-handbook/failed", r"Job c \(user\) has failed after 20 s: x+\.\.\.")
    wait_notifications(daemon, failed, again)
    assert len(daemon.notifications()[1].message) == 255

    simulator.instance(LIST, [ended("d", "succeeded")])
    okay = ("OKAY", "docs-handbook/failed", r"Job d \(user\) has succeeded after 20 s")
    wait_notifications(daemon, failed, again, okay)
    daemon.wait_reads(3)
    wait_notifications(daemon, failed, again, okay)


def test_metadata_of_a_notification(simulator, collectd, tmp):
    """The exec plugin passes the metadata to a script. (It does not run programs as root.)"""
    user = getpass.getuser()
    told = tmp / "told"
    told.touch()
    told.chmod(0o666)
    simulator.instance(LIST, [{"id": "a", "state": "running"}])
    daemon = collectd(account(simulator), extra=f"""
        LoadPlugin exec
        <Plugin exec>
          NotificationExec "{'nobody' if user == 'root' else user}" "/bin/sh" "-c" "cat >>{told}"
        </Plugin>""")
    daemon.wait_report("docs", lambda report: report.get("docs-handbook/gauge-state") == 1)
    simulator.job(LIST, "a", starts_in=-61, ends_in=-1, end_reason="no disk")

    net.wait_until(lambda: "no disk" in told.read_text(), 10, "the script")
    head, _, message = told.read_text().partition("\n\n")
    fields = dict(line.split(": ", 1) for line in head.splitlines())
    assert (fields["Severity"], fields["Host"], fields["Plugin"], fields["PluginInstance"], fields["Type"],
            fields["TypeInstance"]) == ("FAILURE", "test", "aisearch", "docs-handbook", "gauge", "failed")
    assert (fields["job"], fields["source"], fields["end_reason"]) == ("a", "user", "no disk")
    assert float(fields["duration"]) == pytest.approx(60, abs=1)
    assert message.strip() == "Job a (user) has failed after 60 s: no disk"


def test_stalled(simulator, collectd):
    simulator.instance(LIST, [{"id": "a", "starts_in": -1000, "silent_in": -950}])
    daemon = collectd(account(simulator))
    stalled = ("WARNING", "docs-handbook/stalled", r"Job a \(user\) has shown no activity for 1[56] min")
    wait_notifications(daemon, stalled)
    daemon.wait_reads(3)
    wait_notifications(daemon, stalled)

    simulator.job(LIST, "a", silent_in=None)
    wait_notifications(daemon, stalled, ("OKAY", "docs-handbook/stalled", "No job is stalled anymore"))


def test_queued_for_too_long(simulator, collectd):
    simulator.instance(LIST, [{"id": "q", "state": "queued"}])
    daemon = collectd(account(simulator, "StalledAfter 2", 'Instance "handbook"'))
    stalled = ("WARNING", "docs-handbook/stalled", r"Job q \(user\) has been queued for \d s")
    wait_notifications(daemon, stalled)
    simulator.job(LIST, "q", starts_in=0, last_seen_every=0.1)
    wait_notifications(daemon, stalled, ("OKAY", "docs-handbook/stalled", ".*"))


def test_overdue(simulator, collectd):
    simulator.instance(LIST, [ended("old", "succeeded", 1000)])
    daemon = collectd(account(simulator, f"OverdueAfter {3 * SLOWNESS}", 'Instance "handbook"'))
    overdue = ("WARNING", "docs-handbook/overdue", r"No job has succeeded since the instance was created, \d+ (s|min) ago")
    wait_notifications(daemon, overdue)
    daemon.wait_reads(3)
    simulator.instance(LIST, [ended("a", "succeeded")])
    wait_notifications(daemon, overdue, ("OKAY", "docs-handbook/overdue", "A job has succeeded"))


def test_credential(simulator, collectd):
    """A notification is sent when the credential is rejected, and another one when a new credential is accepted."""
    simulator.instance(LIST)
    daemon = collectd(account(simulator))
    known(daemon, succeeded=0)

    simulator.account(tokens=["another-token"])
    refused = ("FAILURE", "docs/credential", "The API rejects the credential")
    wait_notifications(daemon, refused)
    daemon.wait_reads(5)
    token = simulator.token_file.read_text()
    try:
        simulator.token_file.write_text("another-token\n")
        wait_notifications(daemon, refused, ("OKAY", "docs/credential", "The API accepts the credential"))
    finally:
        simulator.token_file.write_text(token)


def test_unreachable(simulator, collectd):
    simulator.instance(LIST)
    simulator.instance("instances/wiki")
    daemon = collectd(account(simulator, 'Instance "handbook"', 'Instance "wiki"'))
    known(daemon, succeeded=0)

    # the API is reachable as long as one instance can be read
    fault = simulator.fault("/handbook/", status=502, body="<html>")
    daemon.next_report("docs", lambda report: "docs-handbook/count-running" not in report)
    daemon.wait_reads(4)
    wait_notifications(daemon)

    both = simulator.fault("/jobs", status=502, body="<html>")
    unreachable = ("WARNING", "docs/unreachable", "The API cannot be reached: all lookups fail")
    wait_notifications(daemon, unreachable)
    daemon.wait_reads(4)
    simulator.clear_fault(both)
    simulator.clear_fault(fault)
    wait_notifications(daemon, unreachable, ("OKAY", "docs/unreachable", "The API responds again"))


def test_rate_limited(simulator, collectd):
    simulator.instance(LIST)
    daemon = collectd(account(simulator))
    known(daemon, succeeded=0)
    simulator.fault("/handbook/", times=1, status=429, headers=[["Retry-After", "2"]])
    limited = ("WARNING", "docs/rate_limited", r"The rate limit of the API has been reached \(429\)")
    wait_notifications(daemon, limited)
    wait_notifications(daemon, limited, ("OKAY", "docs/rate_limited", "The API accepts calls again"))


def test_many_notifications_at_once(simulator, collectd):
    """Each report sends up to twenty notifications. Each condition ends with the identity with which it started."""
    names = [f"i{n}" for n in range(30)]
    for name in names:
        simulator.instance(f"instances/{name}")
    interval = max(1.0, 2 * INTERVAL)
    daemon = collectd(account(simulator, *(f'Instance "{name}"' for name in names)), interval=interval)
    daemon.wait_report("docs", lambda report: all(f"docs-{name}/count-running" in report for name in names), 10)

    simulator.freeze()  # so that all jobs end at the same time
    for job, state, severity in (("a", "failed", "FAILURE"), ("b", "succeeded", "OKAY")):
        before = daemon.notifications()
        simulator.control("POST", "/world", {"accounts": [{"id": ACCOUNT, "instances": [
            {"name": f"instances/{name}", "jobs": [ended(job, state)]} for name in names]}]})
        net.wait_until(lambda: len(daemon.notifications()) > len(before), 10, "the first notifications")
        assert len(daemon.notifications()) - len(before) <= 20
        net.wait_until(lambda: len(daemon.notifications()) >= len(before) + 30, 10, "all notifications")
        daemon.wait_reads(2)
        told = daemon.notifications()[len(before):]
        assert {n.severity for n in told} == {severity}
        assert sorted(n.identity for n in told) == sorted(f"docs-{name}/failed" for name in names)
    simulator.thaw()


# ---- restarts -------------------------------------------------------------------------------------------------------

def test_restart(simulator, collectd, tmp):
    """
    After a restart, no notification is repeated, counters continue, jobs that ended in the meantime are counted, and
    conditions that started before the restart end.
    """
    simulator.instance(LIST, [{"id": "a", "state": "running"}, ended("old", "succeeded", 500)])
    daemon = collectd(account(simulator))
    daemon.wait_report("docs", lambda report: report.get("docs-handbook/gauge-state") == 1)
    simulator.instance(LIST, [ended("b", "failed"), {"id": "a", "silent_in": -5000, "starts_in": -6000}])
    known(daemon, failed=1)
    failed = ("FAILURE", "docs-handbook/failed", "Job b .*")
    stalled = ("WARNING", "docs-handbook/stalled", "Job a .*")
    net.wait_until(lambda: len(daemon.notifications()) == 2, 10, "two notifications")
    wait_notifications(daemon, *((failed, stalled) if daemon.notifications()[0].severity == "FAILURE"
                                 else (stalled, failed)))
    before = daemon.notifications()
    daemon.stop()

    state = daemon.prefix / "aisearch.state"
    assert state.stat().st_mode & 0o7777 == 0o600
    text = state.read_text()
    assert text.startswith("aisearch-state 1\n")
    assert re.search(r"^instance docs-handbook \S+ .*failed=1/0/0", text, re.MULTILINE)
    assert re.search(r"^told docs-handbook \S+ failed,stalled$", text, re.MULTILINE)
    assert re.search(r"^budget docs \S+ spent=", text, re.MULTILINE)

    simulator.instance(LIST, [ended("c", "cancelled"), ended("d", "failed")])
    daemon.start()
    known(daemon, succeeded=0, failed=2, cancelled=1)
    daemon.wait_reads(3)
    assert [(n.severity, n.message[:6]) for n in daemon.notifications()[len(before):]] == [("FAILURE", "Job d ")]

    simulator.instance(LIST, [ended("e", "succeeded")])
    simulator.job(LIST, "a", state="succeeded", ends_in=0)
    known(daemon, succeeded=2)
    net.wait_until(lambda: len(daemon.notifications()) >= len(before) + 3, 10, "the notifications with OKAY")
    assert sorted((n.severity, n.identity) for n in daemon.notifications()[len(before) + 1:]) == [
        ("OKAY", "docs-handbook/failed"), ("OKAY", "docs-handbook/stalled")]


def test_pending_notifications_are_sent_after_a_restart(simulator, collectd):
    """
    If collectd stops between a lookup and the next report, a pending notification is sent once, after the next start.
    """
    simulator.instance(LIST, [{"id": "a", "state": "running"}])
    interval = max(2.0, 4 * INTERVAL)
    daemon = collectd(account(simulator).replace(OFTEN, f"ActiveInterval {interval}\nIdleInterval {interval}"),
                      interval=interval)
    daemon.wait_report("docs", lambda report: report.get("docs-handbook/gauge-state") == 1, 5 * interval)
    simulator.job(LIST, "a", starts_in=-60, ends_in=0, end_reason="no disk; 100 %")
    state = daemon.prefix / "aisearch.state"
    net.wait_until(lambda: "failed=1/0/0" in state.read_text(), 3 * interval, "a lookup")
    daemon.stop()
    assert daemon.notifications() == []
    assert re.search(r"^budget notice!docs\.0!name=docs-handbook;.*job=a;.*end_reason=no%20disk%3b%20100%20%25;duration=60",
                     state.read_text(), re.MULTILINE)

    daemon.start()
    failed = ("FAILURE", "docs-handbook/failed", r"Job a \(user\) has failed after 60 s: no disk; 100 %")
    wait_notifications(daemon, failed)
    net.wait_until(lambda: "notice!" not in state.read_text(), 5, "the state file without the notification")
    daemon.stop()
    daemon.start()
    daemon.wait_reads(1)
    wait_notifications(daemon, failed)


def test_instance_is_removed_and_added_again(simulator, collectd):
    """Its conditions end when it is removed. Its counters continue when it is added again."""
    jobs = [{"id": "a", "state": "running"}]
    simulator.instance(LIST, jobs)
    simulator.instance("instances/wiki")
    daemon = collectd(account(simulator, "DiscoverInstances true", "DiscoveryInterval @INTERVAL@"))
    daemon.wait_report("docs", lambda report: report.get("docs-handbook/gauge-state") == 1, 10)
    jobs = [ended("a", "failed")]
    simulator.instance(LIST, jobs)
    failed = ("FAILURE", "docs-handbook/failed", "Job a .*")
    wait_notifications(daemon, failed)

    simulator.control("POST", "/world", {"accounts": [{"id": ACCOUNT, "remove_instances": [LIST]}]})
    gone = ("OKAY", "docs-handbook/failed", "The instance no longer exists")
    wait_notifications(daemon, failed, gone)
    net.wait_until(lambda: daemon.series("docs-handbook/gauge-failed")[-1][1] == 0, 5, "a last value of 0 for its conditions")
    simulator.instance(LIST, [*jobs, ended("b", "failed")])
    known(daemon, failed=2)
    wait_notifications(daemon, failed, gone, ("FAILURE", "docs-handbook/failed", "Job b .*"))


def test_budget_is_kept_across_a_restart(simulator, collectd):
    for n in range(6):
        simulator.instance(f"instances/i{n}")
    daemon = collectd(account(simulator, *(f'Instance "i{n}"' for n in range(6)), "Budget 15 300"))
    net.wait_until(lambda: simulator.count() >= 6, 10, "the first lookups")
    daemon.wait_reads(2)
    for _ in range(2):
        daemon.stop()
        daemon.start()
        daemon.wait_reads(2)
    assert 6 <= simulator.count() <= 15


def test_instance_that_is_removed_from_the_configuration(simulator, collectd):
    """Its conditions end after the restart, because nothing else would end them."""
    simulator.instance(LIST, [{"id": "a", "state": "running"}])
    simulator.instance("instances/wiki")
    daemon = collectd(account(simulator, 'Instance "handbook"', 'Instance "wiki"'))
    daemon.wait_report("docs", lambda report: report.get("docs-handbook/gauge-state") == 1)
    simulator.job(LIST, "a", state="failed", ends_in=0)
    failed = ("FAILURE", "docs-handbook/failed", "Job a .*")
    wait_notifications(daemon, failed)
    daemon.stop()

    daemon.config.aisearch = daemon.config.aisearch.replace('Instance "handbook"\n', "")
    daemon.start()
    over = ("OKAY", "docs-handbook/failed", "The instance no longer exists")
    wait_notifications(daemon, failed, over)
    daemon.wait_reads(2)
    wait_notifications(daemon, failed, over)


def test_kill(simulator, collectd):
    """Notifications that were sent before collectd was killed are not repeated."""
    simulator.instance(LIST, [{"id": "a", "state": "running"}])
    daemon = collectd(account(simulator))
    daemon.wait_report("docs", lambda report: report.get("docs-handbook/gauge-state") == 1)
    simulator.job(LIST, "a", state="failed", ends_in=0)
    wait_notifications(daemon, ("FAILURE", "docs-handbook/failed", "Job a .*"))
    state = daemon.prefix / "aisearch.state"
    net.wait_until(lambda: "failed=1/0/0" in state.read_text(), 5, "the state file")
    net.wait_until(lambda: "told docs-handbook" in state.read_text(), 5, "the state file")
    net.wait_until(lambda: "notice!" not in state.read_text(), 5, "the state file without pending notifications")
    daemon.kill()

    daemon.start()
    known(daemon, failed=1)
    daemon.wait_reads(3)
    wait_notifications(daemon, ("FAILURE", "docs-handbook/failed", "Job a .*"))


@pytest.mark.parametrize("damage", ["empty", "garbage"])
def test_damaged_state(simulator, collectd, damage):
    simulator.instance(LIST, [ended("a", "failed")])
    daemon = collectd(account(simulator))
    known(daemon, failed=0)
    daemon.stop()
    state = daemon.prefix / "aisearch.state"
    damaged = {"empty": b"", "garbage": b"\x00\xff" * 1000}[damage]
    state.write_bytes(damaged)

    daemon.start()
    known(daemon, failed=0)
    assert daemon.log_lines(r"\[warning\] aisearch plugin: StateFile: aisearch\.state is damaged.*aisearch\.state\.damaged")
    assert (daemon.prefix / "aisearch.state.damaged").read_bytes() == damaged
    wait_notifications(daemon)
    daemon.stop()
    assert state.read_text().startswith("aisearch-state 1\n")


def test_invalid_lines_in_the_state_file_are_ignored(simulator, collectd):
    for name in ("handbook", "wiki"):
        simulator.instance(f"instances/{name}", [{"id": "a", "state": "running"}])
    daemon = collectd(account(simulator, 'Instance "handbook"', 'Instance "wiki"'))
    for name in ("handbook", "wiki"):
        known(daemon, instance=f"docs-{name}", failed=0)
        simulator.job(f"instances/{name}", "a", state="failed", ends_in=0)
        known(daemon, instance=f"docs-{name}", failed=1)
    net.wait_until(lambda: len(daemon.notifications()) == 2, 10, "both notifications")
    daemon.stop()
    state = daemon.prefix / "aisearch.state"
    text = re.sub(r"^told docs-wiki .*", "told docs-wiki 2026-11-23T12:00:00Z failed,invented", state.read_text(),
                  flags=re.MULTILINE)
    assert "invented" in text
    state.write_text(re.sub(r"^end .*\n", "more what 2026-11-23T12:00:00Z x\nand rubbish\n", text, flags=re.MULTILINE))

    daemon.start()
    report = known(daemon, instance="docs-handbook", failed=1)
    assert (report["docs-handbook/gauge-failed"], report["docs-wiki/gauge-failed"]) == (1, 0)
    known(daemon, instance="docs-wiki", failed=1)
    assert len(daemon.log_lines(r"\[warning\] .*StateFile: 3 lines of aisearch\.state are invalid")) == 1


def test_state_file_of_the_previous_release(simulator, collectd):
    """Its counters per source are added up, its summaries are treated as sent, and its budgets apply."""
    simulator.instance(LIST, [ended("a", "succeeded", 100)])
    daemon = collectd(account(simulator, "Budget 100 3000", 'Instance "handbook"'))
    known(daemon, succeeded=0)
    daemon.stop()
    now = time.time()
    (daemon.prefix / "aisearch.state").write_text(
        "aisearch-state 1\n"
        f"told docs 2026-11-23T12:00:00Z rate_limited\nbudget docs 2026-11-23T12:00:00Z spent=60@{now:.3f} left=9@{now:.3f}\n"
        f"instance docs-handbook 2026-11-23T12:00:00Z seen=1795435200.000 listed=1 succeeded=1/2/3 failed=0/2/0\n"
        "told docs-handbook 2026-11-23T12:00:00Z failed+\nend 4\n")
    daemon.start()
    report = daemon.next_report("docs", lambda report: report.get("docs-handbook/operations-succeeded", 0) >= 6)
    assert report["docs-handbook/operations-failed"] == 2
    assert report["docs/gauge-budget_left"] <= 40
    assert daemon.log_lines("StateFile") == []


# The lines that the previous release accepts. It treats a file with any other line as damaged.
OLD_TOLD = "(failed|stalled|overdue|instance_error|credential|unreachable|rate_limited|refused)[+]?"
OLD_LINE = rf"(budget|instance) \S+ \S+Z .*|told \S+ \S+Z {OLD_TOLD}(,{OLD_TOLD})*|end \d+"


def values_since(daemon: Collectd, since: float, names: set[str]) -> dict[str, float] | None:
    """Returns the last value of each of these series, or None if a series has no value since then."""
    last = {name: row for name in names for row in daemon.series(name)[-1:] if row[0] >= since}
    return {name: value for name, (_, value) in last.items()} if len(last) == len(names) else None


def test_fifty_instances_in_a_state_file_of_the_previous_release(simulator, collectd):
    """
    After an upgrade, identities, counters and conditions are the same, and no notification is repeated. The new state
    file is valid for the previous release, so that a downgrade is possible.
    """
    names = [f"docs-i{n:02}" for n in range(50)]
    simulator.instances([{"name": f"instances/{name.removeprefix('docs-')}", "jobs": []} for name in names])
    counted = {name: {"succeeded": n % 3, "failed": n % 2, "cancelled": n % 5} for n, name in enumerate(names)}
    now, date = time.time(), "2026-11-23T12:00:00Z"
    lines = [f"budget docs {date} spent=9@{now:.3f}"]
    for n, name in enumerate(names):
        ends = " ".join(f"{end}={count}/0/{n % 4}" for end, count in counted[name].items())
        lines.append(f"instance {name} {date} seen={now - 60:.3f} changed={now - 50:.3f} listed=1 {ends}")
        if counted[name]["failed"]:
            lines.append(f"told {name} {date} {'overdue,' if n % 3 == 0 else ''}failed{'+' if n % 4 == 1 else ''}")
    begun = {name for name in names if counted[name]["failed"]}
    wanted = {f"{name}/operations-{end}": count + n % 4
              for n, name in enumerate(names) for end, count in counted[name].items()}
    conditions = {f"{name}/gauge-failed" for name in names}

    daemon = collectd(account(simulator, "DiscoverInstances true"))
    daemon.stop()
    state = daemon.prefix / "aisearch.state"
    state.write_text("\n".join(["aisearch-state 1", *lines, f"end {len(lines)}", ""]))
    for _ in range(2):
        since = time.time()
        daemon.start()
        reported = net.wait_until(lambda: values_since(daemon, since, {*wanted, *conditions}), 20, "all values", every=0.2)
        assert {name: reported[name] for name in wanted} == wanted
        assert {name.partition("/")[0] for name in conditions if reported[name]} == begun
        daemon.wait_reads(3)
        daemon.stop()
        assert [n for n in daemon.notifications() if n.severity != "OKAY"] == []
        written = state.read_text().splitlines()[1:]
        assert [line for line in written if not re.fullmatch(OLD_LINE, line)] == []
        assert {line.split()[1] for line in written if re.match("told .*failed", line)} == begun
        assert {f"{line.split()[1]}/operations-{end}": sum(map(int, count.split("/"))) for line in written
                if line.startswith("instance ") for end, count in re.findall(r"(\w+ed)=([\d/]+)(?: |$)", line)
                if end in ("succeeded", "failed", "cancelled")} == {name: value for name, value in wanted.items() if value}
    assert daemon.log_lines("StateFile") == []


def test_state_file_somewhere_else(simulator, collectd, tmp):
    simulator.instance(LIST)
    path = tmp / "some.state"
    daemon = collectd(f'StateFile "{path}"\n' + account(simulator))
    known(daemon, failed=0)
    net.wait_until(path.exists, 5, "the state file")
    daemon.stop()
    assert not (daemon.prefix / "aisearch.state").exists()
    assert [left.name for left in tmp.glob("some.state*")] == ["some.state"], "a temporary file is left"


def test_state_file_that_cannot_be_used(simulator, collectd, tmp):
    """An error is logged, and the default file is used."""
    simulator.instance(LIST)
    (tmp / "a-directory").mkdir()
    for n, path in enumerate((f"{tmp}/nowhere/some.state", f"{tmp}/a-directory")):
        daemon = collectd(f'StateFile "{path}"\n' + account(simulator))
        known(daemon, failed=0)
        assert len(daemon.log_lines(rf"\[error\] aisearch plugin: StateFile: {path} cannot be .*aisearch\.state is used")) == 1
        daemon.stop()
        assert (daemon.prefix / "aisearch.state").read_text().startswith("aisearch-state 1\n")
    assert [left.name for left in tmp.glob("*a-directory*")] == ["a-directory"]


def test_state_file_that_cannot_be_written(simulator, collectd, tmp):
    """An error is logged, and notifications are sent nevertheless."""
    simulator.instance(LIST, [{"id": "a", "state": "running"}])
    (tmp / "here").mkdir()
    daemon = collectd(f'StateFile "{tmp}/here/some.state"\n' + account(simulator))
    known(daemon, failed=0)
    daemon.wait_reads(1)
    (tmp / "here").rename(tmp / "there")
    simulator.job(LIST, "a", state="failed", ends_in=0)
    daemon.wait_log(r"\[error\] aisearch plugin: StateFile: .*here/some.state cannot be written: No such file")
    wait_notifications(daemon, ("FAILURE", "docs-handbook/failed", "Job a .*"))
    known(daemon, failed=1)
    daemon.wait_reads(3)
    assert len(daemon.log_lines("StateFile")) == 1
    (tmp / "there").rename(tmp / "here")
    daemon.wait_log(r"\[info\] aisearch plugin: StateFile: can be written again")
    daemon.stop()
    assert [left.name for left in (tmp / "here").iterdir()] == ["some.state"]


# ---- no false alarms ------------------------------------------------------------------------------------------------

def test_no_notifications_without_a_failure(simulator, collectd):
    """Old failures, a start, jobs that succeed or are cancelled, and a rotated token do not cause notifications."""
    simulator.instance(LIST, [ended("a", "failed", 100), ended("b", "failed", 50), ended("c", "cancelled", 20)])
    simulator.instance("instances/wiki")
    daemon = collectd(account(simulator, 'Instance "handbook"', 'Instance "wiki"'))
    known(daemon, failed=0)

    token = simulator.token_file.read_text()
    try:
        simulator.token_file.write_text("next-token\n")
        simulator.account(tokens=["next-token"])
        simulator.instance("instances/wiki", [ended("d", "succeeded"), ended("e", "cancelled")])
        known(daemon, instance="docs-wiki", succeeded=1, cancelled=1)
        daemon.wait_reads(5)
    finally:
        simulator.token_file.write_text(token)
    wait_notifications(daemon)


# ---- through nginx --------------------------------------------------------------------------------------------------

@needs_nginx
def test_stale_responses_are_failures(simulator, nginx, collectd):
    """An outage of the API is reported although nginx still serves stale responses."""
    simulator.instance(LIST, [ended("a", "succeeded")])
    proxy, options = through_nginx(nginx, simulator, "retries 0; budget 100000 1s;",
                                   location="aisearch_valid list 0; aisearch_use_stale error=1h;")
    daemon = collectd(account(simulator, options=options))
    known(daemon, succeeded=0)

    proxy.allow_log(".*")
    fault = simulator.fault("/handbook/", status=502, body="<html>")
    unreachable = ("WARNING", "docs/unreachable", ".*")
    wait_notifications(daemon, unreachable)
    report = daemon.next_report("docs", lambda report: "docs-handbook/count-running" not in report)
    assert report["docs-handbook/duration-since_read"] > 2 * INTERVAL
    assert report["docs/errors-server"] >= 3
    assert daemon.log_lines("cannot be read: server: nginx has only a stale response")

    simulator.clear_fault(fault)
    wait_notifications(daemon, unreachable, ("OKAY", "docs/unreachable", ".*"))


@needs_nginx
def test_nginx_restarts(simulator, nginx, collectd):
    """A restart of nginx does not cause any notifications."""
    simulator.instance(LIST, [{"id": "a", "state": "running"}])
    proxy, options = through_nginx(nginx, simulator, "retries 0; budget 100000 1s;")
    daemon = collectd(account(simulator, options=options), interval=max(1.0, 2 * INTERVAL))
    daemon.wait_report("docs", lambda report: report.get("docs-handbook/gauge-state") == 1, 10)
    proxy.stop()
    proxy.start()
    simulator.job(LIST, "a", state="succeeded", ends_in=0)
    known(daemon, succeeded=1)
    wait_notifications(daemon)
