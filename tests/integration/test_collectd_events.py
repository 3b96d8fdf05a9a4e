"""
The collectd plugin's counters and notifications, and what it knows after a restart. Notifications are read where
collectd's own logfile plugin writes them: in its log.
"""

import getpass
import re

import pytest

from harness import SLOWNESS, net
from harness import nginx as nginx_harness
from harness.collectd import INTERVAL, Collectd
from harness.simulator import ACCOUNT

OFTEN = "ActiveInterval @INTERVAL@\nIdleInterval @INTERVAL@"
PLENTY = "Budget 100000 1"
LIST = "instances/handbook"


def wait_notifications(daemon: Collectd, *expected: tuple[str, str, str]) -> None:
    """Waits until there are these, (severity, identity, regular expression of the message), and no others."""
    net.wait_until(lambda: len(daemon.notifications()) >= len(expected), 10, f"{len(expected)} notifications")
    told = daemon.notifications()
    assert [(n.severity, n.identity) for n in told] == [pair[:2] for pair in expected], told
    for notification, (_, _, message) in zip(told, expected):
        assert re.fullmatch(message, notification.message)


def account(simulator, *lines: str, options: str = "", name: str = "docs") -> str:
    options = options or f'TokenFile "{simulator.token_file}"\nAPIURL "{simulator.url}"'
    body = "\n".join(lines or ('Instance "handbook"',))
    budget = "" if "Budget" in body else PLENTY
    return f'<Account "{name}">\nAccountID "{ACCOUNT}"\n{options}\n{OFTEN}\n{budget}\n{body}\n</Account>'


def known(daemon: Collectd, *, instance: str = "docs-handbook", **values: float) -> dict[str, float]:
    """Waits for a report where the instance's counters are these."""
    names = {f"{instance}/operations-{name}": value for name, value in values.items()}
    return daemon.next_report(instance.partition("-")[0], what=f"counters {values}", timeout=10,
                              condition=lambda report: all(report.get(name) == value for name, value in names.items()))


def ended(job_id: str, state: str, ago: float = 0, **fields) -> dict:
    return {"id": job_id, "state": state, "starts_in": -ago - 20, "ends_in": -ago, **fields}


# ---- counters -------------------------------------------------------------------------------------------------------

def test_counters_begin_with_0_and_count_each_end_once(simulator, collectd):
    simulator.instance(LIST, [ended("a", "succeeded", 100), ended("b", "failed", 50), {"id": "r", "state": "running"}])
    daemon = collectd(account(simulator))
    known(daemon, succeeded=0, failed=0, cancelled=0)

    simulator.job(LIST, "r", state="succeeded", ends_in=0)
    known(daemon, succeeded=1, failed=0, cancelled=0)

    # between two looks
    simulator.instance(LIST, [ended("c", "failed"), ended("d", "cancelled"), ended("e", "failed"), ended("f", "succeeded")])
    known(daemon, succeeded=2, failed=2, cancelled=1)
    daemon.wait_reads(3)
    known(daemon, succeeded=2, failed=2, cancelled=1)


def test_more_ends_than_a_page_has(simulator, collectd):
    """The list is read on to where it is known; what was there at first sight is."""
    simulator.instance(LIST, [ended(f"old-{n}", "failed", 1000 + n) for n in range(70)])
    daemon = collectd(account(simulator))
    known(daemon, succeeded=0, failed=0, cancelled=0)

    simulator.instance(LIST, [ended(f"new-{n}", "cancelled" if n % 3 else "succeeded", 500 - n) for n in range(120)])
    known(daemon, succeeded=40, failed=0, cancelled=80)
    assert simulator.count(r"\?page=3&") == 1
    daemon.wait_reads(3)
    known(daemon, succeeded=40, failed=0, cancelled=80)
    assert simulator.count(r"\?page=4&") == 0


def test_counters_by_source(simulator, collectd):
    simulator.instance(LIST)
    daemon = collectd(account(simulator, "ReportSource true", 'Instance "handbook"'))
    known(daemon, succeeded=0, **{"succeeded-user": 0, "failed-schedule": 0, "cancelled-other": 0})

    simulator.instance(LIST, [ended("a", "succeeded"), ended("b", "succeeded", source="schedule"),
                              ended("c", "failed", source="webhook")])
    known(daemon, succeeded=2, failed=1, cancelled=0,
          **{"succeeded-user": 1, "succeeded-schedule": 1, "succeeded-other": 0, "failed-other": 1})


def test_jobs_one_by_one(simulator, collectd):
    """With ReportJobs: what is active, and what has ended within the hour."""
    simulator.instance(LIST, [{"id": "r", "state": "running", "starts_in": -60}, {"id": "q", "state": "queued"},
                              ended("new", "failed", 3000), ended("old", "succeeded", 4000)])
    daemon = collectd(account(simulator, "ReportJobs true", 'Instance "handbook"'))
    report = daemon.wait_report("docs", lambda report: "docs-handbook/gauge-state" in report)
    values = {name.partition("/")[2]: value for name, value in report.items() if name.startswith("docs-handbook/")}
    assert {name: value for name, value in values.items() if name.startswith("gauge-")} == {
        "gauge-state": 0, "gauge-state-r": 1, "gauge-state-q": 0, "gauge-state-new": 3}
    assert {name for name in values if name.startswith("duration-job")} == {
        "duration-job", "duration-job-r", "duration-job-q", "duration-job-new"}
    assert values["duration-job-new"] == 20
    assert {name: value for name, value in values.items() if name.startswith("count-")} == {
        "count-queued": 1, "count-running": 1, "count-succeeded": 1, "count-failed": 1, "count-cancelled": 0}

    simulator.job(LIST, "r", state="cancelled", ends_in=0)
    daemon.next_report("docs", lambda report: report["docs-handbook/gauge-state-r"] == 4)


def test_pinned_jobs_count_when_they_end(simulator, collectd):
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


def test_no_counters_without_an_answer(simulator, collectd):
    """A gap is a gap."""
    simulator.instance(LIST)
    daemon = collectd(account(simulator))
    known(daemon, succeeded=0)
    fault = simulator.fault("/handbook/", status=500)
    report = daemon.next_report("docs", lambda report: "docs-handbook/count-running" not in report)
    assert {name for name in report if name.startswith("docs-handbook/")} == {"docs-handbook/duration-since_read"}
    simulator.clear_fault(fault)
    known(daemon, succeeded=0)


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


def test_meta_data_of_a_notification(simulator, collectd, tmp):
    """As the exec plugin hands it to a script. (It refuses to run anything as root.)"""
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
    stalled = ("WARNING", "docs-handbook/stalled", r"Job a \(user\) has given no sign of life for 9[56]\d s")
    wait_notifications(daemon, stalled)
    daemon.wait_reads(3)
    wait_notifications(daemon, stalled)

    simulator.job(LIST, "a", silent_in=None)
    wait_notifications(daemon, stalled, ("OKAY", "docs-handbook/stalled", "No job is stalled any more"))


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
    overdue = ("WARNING", "docs-handbook/overdue", r"No job has succeeded since the instance was created, \d+ s ago")
    wait_notifications(daemon, overdue)
    daemon.wait_reads(3)
    simulator.instance(LIST, [ended("a", "succeeded")])
    wait_notifications(daemon, overdue, ("OKAY", "docs-handbook/overdue", "A job has succeeded"))


def test_credential(simulator, collectd):
    """A refused one is told once, and over with the next that is accepted: nothing has to be restarted for that."""
    simulator.instance(LIST)
    daemon = collectd(account(simulator))
    known(daemon, succeeded=0)

    simulator.account(tokens=["another-token"])
    refused = ("FAILURE", "docs/credential", "The API refuses the credential")
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

    # as long as one of them can be read, the API can be reached
    fault = simulator.fault("/handbook/", status=502, body="<html>")
    daemon.next_report("docs", lambda report: "docs-handbook/count-running" not in report)
    daemon.wait_reads(4)
    wait_notifications(daemon)

    both = simulator.fault("/jobs", status=502, body="<html>")
    unreachable = ("WARNING", "docs/unreachable", "The API cannot be reached: no look-up succeeds")
    wait_notifications(daemon, unreachable)
    daemon.wait_reads(4)
    simulator.clear_fault(both)
    simulator.clear_fault(fault)
    wait_notifications(daemon, unreachable, ("OKAY", "docs/unreachable", "The API answers again"))


def test_rate_limited(simulator, collectd):
    simulator.instance(LIST)
    daemon = collectd(account(simulator))
    known(daemon, succeeded=0)
    simulator.fault("/handbook/", times=1, status=429, headers=[["Retry-After", "2"]])
    limited = ("WARNING", "docs/rate_limited", r"The rate limit of the API is reached \(429\)")
    wait_notifications(daemon, limited)
    wait_notifications(daemon, limited, ("OKAY", "docs/rate_limited", "The API accepts calls again"))


def test_many_at_once(simulator, collectd):
    """Twenty one by one, the others in one for the account; all of them end, by the identity they began with."""
    names = [f"i{n}" for n in range(30)]
    for name in names:
        simulator.instance(f"instances/{name}")
    interval = max(1.0, 2 * INTERVAL)
    daemon = collectd(account(simulator, *(f'Instance "{name}"' for name in names)), interval=interval)
    daemon.wait_report("docs", lambda report: all(f"docs-{name}/count-running" in report for name in names), 10)

    simulator.freeze()  # all at once
    simulator.control("POST", "/world", {"accounts": [{"id": ACCOUNT, "instances": [
        {"name": f"instances/{name}", "jobs": [ended("a", "failed")]} for name in names]}]})
    net.wait_until(lambda: any(n.identity == "docs/failed" for n in daemon.notifications()), 10, "a summary")
    daemon.wait_reads(3)  # a read may have come between the looks
    began = daemon.notifications()
    alone = {n.identity for n in began if n.identity != "docs/failed"}
    assert len(alone) >= 20 and len(began) == len(alone) + 1 and {n.severity for n in began} == {"FAILURE"}
    assert [n.message for n in began if n.identity == "docs/failed"] == [f"{30 - len(alone)} more jobs have failed"]

    simulator.control("POST", "/world", {"accounts": [{"id": ACCOUNT, "instances": [
        {"name": f"instances/{name}", "jobs": [ended("b", "succeeded")]} for name in names]}]})
    net.wait_until(lambda: len(daemon.notifications()) >= 2 * len(began), 10, "their ends")
    daemon.wait_reads(2)
    over = daemon.notifications()[len(began):]
    assert {n.severity for n in over} == {"OKAY"}
    assert sorted(n.identity for n in over) == sorted(n.identity for n in began)
    simulator.thaw()


# ---- restarts -------------------------------------------------------------------------------------------------------

def test_restart(simulator, collectd, tmp):
    """No alarm comes again, counters go on, what ended meanwhile counts, and an alarm of the first life ends in the next."""
    simulator.instance(LIST, [{"id": "a", "state": "running"}, ended("old", "succeeded", 500)])
    daemon = collectd(account(simulator))
    daemon.wait_report("docs", lambda report: report.get("docs-handbook/gauge-state") == 1)
    simulator.instance(LIST, [ended("b", "failed"), {"id": "a", "silent_in": -5000, "starts_in": -6000}])
    known(daemon, failed=1)
    failed = ("FAILURE", "docs-handbook/failed", "Job b .*")
    stalled = ("WARNING", "docs-handbook/stalled", "Job a .*")
    net.wait_until(lambda: len(daemon.notifications()) == 2, 10, "two alarms")
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
    net.wait_until(lambda: len(daemon.notifications()) >= len(before) + 3, 10, "the ends")
    assert sorted((n.severity, n.identity) for n in daemon.notifications()[len(before) + 1:]) == [
        ("OKAY", "docs-handbook/failed"), ("OKAY", "docs-handbook/stalled")]


def test_what_waits_for_its_report_is_told_at_the_end(simulator, collectd):
    """Looks go on between two reports; a stop in between loses nothing, and tells nothing twice."""
    simulator.instance(LIST, [{"id": "a", "state": "running"}])
    interval = max(2.0, 4 * INTERVAL)
    daemon = collectd(account(simulator).replace(OFTEN, f"ActiveInterval {interval}\nIdleInterval {interval}"),
                      interval=interval)
    daemon.wait_report("docs", lambda report: report.get("docs-handbook/gauge-state") == 1, 5 * interval)
    simulator.job(LIST, "a", state="failed", ends_in=0)
    seen = simulator.count()
    net.wait_until(lambda: any(r.status for r in simulator.requests()[seen:]), 3 * interval, "a look")
    daemon.stop()
    failed = ("FAILURE", "docs-handbook/failed", "Job a .*")
    # (the answer may still have been on its way)
    told = bool(daemon.notifications())
    assert told == ("failed=1/0/0" in (daemon.prefix / "aisearch.state").read_text())

    daemon.start()
    wait_notifications(daemon, failed)
    daemon.wait_reads(1)
    wait_notifications(daemon, failed)


def test_an_instance_that_goes_and_comes_back(simulator, collectd):
    """Its alarms end when it goes; its counters go on when it is back."""
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
    gone = ("OKAY", "docs-handbook/failed", "The instance is not there any more")
    wait_notifications(daemon, failed, gone)
    simulator.instance(LIST, [*jobs, ended("b", "failed")])
    known(daemon, failed=2)
    wait_notifications(daemon, failed, gone, ("FAILURE", "docs-handbook/failed", "Job b .*"))


def test_the_budget_holds_over_a_restart(simulator, collectd):
    for n in range(6):
        simulator.instance(f"instances/i{n}")
    daemon = collectd(account(simulator, *(f'Instance "i{n}"' for n in range(6)), "Budget 15 300"))
    net.wait_until(lambda: simulator.count() >= 6, 10, "the first looks")
    daemon.wait_reads(2)
    for _ in range(2):
        daemon.stop()
        daemon.start()
        daemon.wait_reads(2)
    assert 6 <= simulator.count() <= 15


def test_an_instance_that_is_not_named_any_more(simulator, collectd):
    """Its alarm ends with the restart: nobody else would end it."""
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
    over = ("OKAY", "docs-handbook/failed", "The instance is not there any more")
    wait_notifications(daemon, failed, over)
    daemon.wait_reads(2)
    wait_notifications(daemon, failed, over)


def test_kill(simulator, collectd):
    """What was told before somebody pulled the plug is known, too."""
    simulator.instance(LIST, [{"id": "a", "state": "running"}])
    daemon = collectd(account(simulator))
    daemon.wait_report("docs", lambda report: report.get("docs-handbook/gauge-state") == 1)
    simulator.job(LIST, "a", state="failed", ends_in=0)
    wait_notifications(daemon, ("FAILURE", "docs-handbook/failed", "Job a .*"))
    state = daemon.prefix / "aisearch.state"
    net.wait_until(lambda: "failed=1/0/0" in state.read_text(), 5, "the state file")
    net.wait_until(lambda: "told docs-handbook" in state.read_text(), 5, "the state file")
    daemon.kill()

    daemon.start()
    known(daemon, failed=1)
    daemon.wait_reads(3)
    wait_notifications(daemon, ("FAILURE", "docs-handbook/failed", "Job a .*"))


@pytest.mark.parametrize("damage", ["nothing", "rubbish", "half"])
def test_damaged_state(simulator, collectd, damage):
    simulator.instance(LIST, [ended("a", "failed")])
    daemon = collectd(account(simulator))
    known(daemon, failed=0)
    daemon.stop()
    state = daemon.prefix / "aisearch.state"
    text = state.read_bytes()
    damaged = {"nothing": b"", "rubbish": b"\x00\xff" * 1000, "half": text[:len(text) // 2]}[damage]
    state.write_bytes(damaged)

    daemon.start()
    known(daemon, failed=0)
    assert daemon.log_lines(r"\[warning\] aisearch plugin: StateFile: aisearch\.state is damaged: .*aisearch\.state\.damaged")
    assert (daemon.prefix / "aisearch.state.damaged").read_bytes() == damaged
    wait_notifications(daemon)
    daemon.stop()
    assert state.read_text().startswith("aisearch-state 1\n")


def test_state_file_somewhere_else(simulator, collectd, tmp):
    simulator.instance(LIST)
    path = tmp / "some.state"
    daemon = collectd(f'StateFile "{path}"\n' + account(simulator))
    known(daemon, failed=0)
    net.wait_until(path.exists, 5, "the state file")
    daemon.stop()
    assert not (daemon.prefix / "aisearch.state").exists()


def test_state_file_that_cannot_be_written(simulator, collectd, tmp):
    simulator.instance(LIST)
    daemon = collectd(f'StateFile "{tmp}/nowhere/some.state"\n' + account(simulator))
    known(daemon, failed=0)
    daemon.wait_log(r"\[error\] aisearch plugin: StateFile: .*nowhere/some.state cannot be written: No such file")
    daemon.wait_reads(5)
    assert len(daemon.log_lines("StateFile")) == 1
    (tmp / "nowhere").mkdir()
    daemon.wait_log(r"\[info\] aisearch plugin: StateFile: can be written again")


# ---- no false alarms ------------------------------------------------------------------------------------------------

def test_nothing_is_told_where_nothing_is_wrong(simulator, collectd):
    """Old failures, a start, jobs that come and go, a rotated token."""
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

needs_nginx = pytest.mark.skipif(not nginx_harness.MODULE.exists(), reason="the nginx module is not built")


def through_nginx(simulator, nginx, how: str):
    proxy = nginx(http=f"""aisearch_account docs {{
        account_id {ACCOUNT}; token_file {simulator.token_file}; api_url {simulator.unix_url}; retries 0;
        budget 100000 1s;
    }}""", server=f"location /client/v4/ {{ aisearch_pass docs; {how} }}")
    return proxy, f'APIURL "http://localhost/client/v4"\nUnixSocket "{proxy.socket}"'


@needs_nginx
def test_a_stale_answer_is_none(simulator, nginx, collectd):
    """The outage of the API shows, although nginx goes on to answer."""
    simulator.instance(LIST, [ended("a", "succeeded")])
    proxy, options = through_nginx(simulator, nginx, "aisearch_valid list 0; aisearch_use_stale error=1h;")
    daemon = collectd(account(simulator, options=options))
    known(daemon, succeeded=0)

    proxy.allow_log(".*")
    fault = simulator.fault("/handbook/", status=502, body="<html>")
    unreachable = ("WARNING", "docs/unreachable", ".*")
    wait_notifications(daemon, unreachable)
    report = daemon.next_report("docs", lambda report: "docs-handbook/count-running" not in report)
    assert report["docs-handbook/duration-since_read"] > 2 * INTERVAL
    assert report["docs/errors-server"] >= 3
    assert daemon.log_lines("cannot be read: server: nginx has but a stale answer")

    simulator.clear_fault(fault)
    wait_notifications(daemon, unreachable, ("OKAY", "docs/unreachable", ".*"))


@needs_nginx
def test_nginx_restarts(simulator, nginx, collectd):
    """Nothing is needed, nothing is told."""
    simulator.instance(LIST, [{"id": "a", "state": "running"}])
    proxy, options = through_nginx(simulator, nginx, "")
    daemon = collectd(account(simulator, options=options), interval=max(1.0, 2 * INTERVAL))
    daemon.wait_report("docs", lambda report: report.get("docs-handbook/gauge-state") == 1, 10)
    proxy.stop()
    proxy.start()
    simulator.job(LIST, "a", state="succeeded", ends_in=0)
    known(daemon, succeeded=1)
    wait_notifications(daemon)
