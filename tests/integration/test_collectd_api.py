"""The collectd plugin and the forms of the real API: rejections, limits, jobs, instances, lists and items."""

import itertools
import re
import time

import pytest

from harness import SLOWNESS, canary, net
from harness.collectd import INTERVAL, Collectd
from harness.simulator import ACCOUNT, Simulator
from simulator.instances import SYNC_INTERVALS
from simulator.refusals import CLIENT_FORMS, CREDENTIAL_FORMS, MISSING_FORMS, RESOURCE_FORMS
from gateway import account as nginx_account
from reports import needs_nginx

# The intervals between lookups. A lookup may take nine tenths of the interval, which is enough even on a busy machine.
# BRISK is for tests that wait for many lookups.
PACE, BRISK = 4 * INTERVAL, 2 * INTERVAL


def every(seconds: float, idle: float | None = None) -> str:
    return f"ActiveInterval {seconds}\nIdleInterval {idle or seconds}"


LIST = "instances/handbook"
NAMED = 'Instance "handbook"'


def wait_notification(daemon: Collectd, severity: str, identity: str, timeout: float = 20) -> str:
    """Waits for a notification and returns the message of the first one."""
    return net.wait_until(lambda: [m for s, i, m in daemon.notifications() if (s, i) == (severity, identity)], timeout,
                          f"{severity} {identity}")[0]


def wait_looks(simulator: Simulator, path: str, count: int = 2) -> None:
    """Waits for this many more requests for the path."""
    wanted = simulator.count(path) + count
    net.wait_until(lambda: simulator.count(path) >= wanted, 10 + 2 * count * PACE, f"{count} more requests for {path}")


def block(simulator: Simulator, *lines: str, options: str = "", pace: str = every(PACE),
          budget: str = "Budget 100000 1") -> str:
    options = options or f'TokenFile "{simulator.token_file}"\nAPIURL "{simulator.url}"'
    body = "\n".join(lines or (NAMED,))
    return f'<Account "docs">\nAccountID "{ACCOUNT}"\n{options}\n{budget}\n{pace}\nReportDetails true\n{body}\n</Account>'


def errors(report: dict[str, float]) -> set[str]:
    return {name.removeprefix("docs/errors-") for name, value in report.items()
            if name.startswith("docs/errors-") and value > 0}


# ---- rejected credentials -------------------------------------------------------------------------------------------

@pytest.mark.parametrize("form", CREDENTIAL_FORMS)
def test_each_form_of_a_rejected_credential(tmp, simulator, collectd, form):
    """
    A rejected credential causes one call, one log line that names the account and the file, and one notification,
    regardless of how many instances are due.
    """
    for n in range(20):
        simulator.instance(f"instances/i{n}")
    path = tmp / "wrong.token"
    path.touch(0o600)
    path.write_text(canary.secret("wrong-token"))
    simulator.refusal(form)
    options = f'TokenFile "{path}"\nAPIURL "{simulator.url}"'
    daemon = collectd(block(simulator, *(f'Instance "i{n}"' for n in range(20)), options=options))

    assert wait_notification(daemon, "FAILURE", "docs/credential") == "The API rejects the credential"
    daemon.wait_report("docs", lambda report: report["docs/errors-credential"] > 30, 20, what="all to be due again")
    assert simulator.count() == 1
    assert errors(daemon.next_report("docs")) == {"credential"}
    [line] = daemon.log_lines(r"\[error\].*plugin")
    assert re.search(rf'Account "docs": credential: the API rejects the credential \({form[:3]}.*"{path}"',
                     line)
    assert [identity for _, identity, _ in daemon.notifications()] == ["docs/credential"]

    path.write_text(simulator.token)
    wait_notification(daemon, "OKAY", "docs/credential")


@pytest.mark.parametrize("form", ["403_9109_resource", "400_no_code", "403_7003"])
def test_credential_is_accepted_by_a_valid_response_or_a_404(tmp, simulator, collectd, form):
    """The notification about the credential does not end with a rejection of another kind."""
    simulator.instance(LIST)
    path = tmp / "changing.token"
    path.touch(0o600)
    path.write_text(canary.secret("wrong-token"))
    daemon = collectd(block(simulator, options=f'TokenFile "{path}"\nAPIURL "{simulator.url}"'))
    wait_notification(daemon, "FAILURE", "docs/credential")

    fault = simulator.refuse(form)
    path.write_text(simulator.token)
    daemon.wait_log(f"the API returns {form[:3]}")
    daemon.wait_reads(2)
    assert len(daemon.notifications()) == 1
    simulator.clear_fault(fault)
    simulator.refuse("404_job", r"/jobs")
    wait_notification(daemon, "OKAY", "docs/credential")


# ---- rejections ------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("form", [*RESOURCE_FORMS, *CLIENT_FORMS, *MISSING_FORMS])
def test_each_form_of_a_rejection(simulator, collectd, form):
    """
    A rejection has its own condition and its own counter: the API is reachable, and the credential may be valid.
    """
    simulator.instance(LIST)
    fault = simulator.refuse(form, r"/handbook")
    daemon = collectd(block(simulator))
    message = wait_notification(daemon, "WARNING", "docs/refused")
    code = {"404_job": 7021, "404_instance": 7002, "404_namespace": 7063}.get(form) or (
        int(form.split("_")[1]) if form.split("_")[1].isdigit() else None)
    assert message == f"The API refuses all lookups: {form[:3]}{f' (code {code})' if code else ''}"
    daemon.wait_reads(2)
    report = daemon.next_report("docs")
    assert errors(report) == {"refused"} and report["docs/errors-refused"] >= 3
    assert len(daemon.log_lines(rf"\[error\].*Instance \"handbook\": cannot be read: the API returns {form[:3]}: ")) == 1

    simulator.clear_fault(fault)
    wait_notification(daemon, "OKAY", "docs/refused")
    assert {identity for _, identity, _ in daemon.notifications()} == {"docs/refused"}


def test_one_valid_response_prevents_the_notification(simulator, collectd):
    simulator.instance(LIST)
    daemon = collectd(block(simulator, NAMED, 'Instance "absent"'))
    daemon.wait_report("docs", lambda report: report["docs/errors-refused"] >= 5, 10 + 20 * INTERVAL)
    assert daemon.notifications() == []


def test_rejected_instances_are_polled_less_often(simulator, collectd):
    simulator.instance(LIST, [{"id": "a", "state": "running"}])
    simulator.refuse("403_9109_resource", "/handbook")
    collectd(block(simulator, pace=every(PACE, idle=600)))
    net.wait_until(lambda: simulator.count("/handbook/jobs") == 1)
    time.sleep(2 * PACE)
    assert simulator.count("/handbook/jobs") == 1


# ---- limits ---------------------------------------------------------------------------------------------------------

def test_remaining_calls(simulator, collectd):
    """With sixty instances and a limit of ten calls, the eleventh call is not sent."""
    for n in range(60):
        simulator.instance(f"instances/i{n}")
    simulator.limit(10, 300)
    daemon = collectd(block(simulator, *(f'Instance "i{n}"' for n in range(60))))
    net.wait_until(lambda: simulator.count() == 10, 10 * SLOWNESS, "ten calls")
    daemon.wait_reads(8)
    assert simulator.count() == 10
    assert simulator.counters()["by_status"] == {"200": 10}
    assert daemon.notifications() == []


@pytest.mark.parametrize("field", [
    '"default";r=10;t=300', '"default";r=10;t=300, "burst";r=900;t=10', '"burst";r=900;t=10, "default";r=10;t=300',
    '"a";r=40;t=300;pk=:YQ==:, b;r=300;t=300;x=?1, "c";r=10;t=300, "d";r=11;t=300',
])
def test_strictest_of_several_limits(simulator, collectd, field):
    """After the first response, which contains the limits, ten more calls are sent (including those in progress)."""
    for n in range(60):
        simulator.instance(f"instances/i{n}")
    simulator.limit_headers([("Ratelimit", field)])
    daemon = collectd(block(simulator, *(f'Instance "i{n}"' for n in range(60))))
    net.wait_until(lambda: simulator.count() == 11, 10 * SLOWNESS, "the first call and ten more")
    daemon.wait_reads(8)
    assert simulator.count() == 11


# ---- jobs -----------------------------------------------------------------------------------------------------------

def test_job_replaced_by_another_is_cancelled(simulator, collectd):
    simulator.instance(LIST)
    simulator.start_job(LIST, "first")
    daemon = collectd(block(simulator))
    daemon.wait_report("docs", lambda report: report.get("docs-handbook/gauge-state") == 1)
    simulator.start_job(LIST, "second")
    report = daemon.next_report("docs", lambda report: report.get("docs-handbook/operations-cancelled") == 1)
    assert report["docs-handbook/operations-failed"] == 0
    wait_looks(simulator, "/handbook/jobs")
    assert daemon.notifications() == []


@pytest.mark.parametrize("odd", [{"times": "number"}, {"extra": {"source": 7}}, {"extra": {"end_reason": {"why": 1}}},
                                 {"extra": {"last_seen_at": [1]}}], ids=["times", "source", "end_reason", "last_seen_at"])
def test_job_with_unexpected_fields(simulator, collectd, odd):
    """Such a job does not prevent the list from being read, and its end is counted."""
    simulator.instance(LIST, [{"id": "odd", "state": "failed", "starts_in": -50, "ends_in": -40, **odd},
                              {"id": "b", "state": "running", "starts_in": -5}])
    daemon = collectd(block(simulator, NAMED))
    report = daemon.wait_report("docs", lambda report: "docs-handbook/gauge-state" in report)
    assert report["docs-handbook/count-running"] == 1
    assert errors(report) == set()
    simulator.instance(LIST, [{"id": "odd2", "state": "failed", "ends_in": 0, "starts_in": -1, **odd}])
    daemon.next_report("docs", lambda report: sum(
        report.get(f"docs-handbook/operations-{end}", 0) for end in ("failed", "succeeded")) == 1)
    assert daemon.log_lines("cannot be read") == []


def test_list_of_jobs_without_paging(simulator, collectd):
    """If the API ignores the page parameter, a repeated page ends the lookup."""
    simulator.instance(LIST)
    daemon = collectd(block(simulator))
    daemon.wait_report("docs", lambda report: "docs-handbook/operations-failed" in report)
    simulator.oddity(ignore_page=True, result_info="none")
    simulator.instance(LIST, [{"id": f"j{n}", "state": "failed", "starts_in": -2, "ends_in": -1} for n in range(70)])
    daemon.next_report("docs", lambda report: report.get("docs-handbook/operations-failed") == 50)
    wait_looks(simulator, "/handbook/jobs")
    assert simulator.count("/jobs.*[?&]page=2") == 1
    assert simulator.count("/jobs.*[?&]page=3") == 0


# ---- properties of instances ----------------------------------------------------------------------------------------

def ago(seconds: float) -> dict:
    """Additional fields of an instance that was created this many seconds ago."""
    return {"created_at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() - seconds))}


# For named and for discovered instances: the lines of the configuration, and whether the list is rejected.
WAYS = {
    "named": (lambda names: [f'Instance "{name}"' for name in names], False),
    "one by one": (lambda names: [f'Instance "{name}"' for name in names], True),
    "discovered": (lambda names: ["DiscoverInstances true"], False),
}


@pytest.mark.parametrize("way", WAYS)
def test_overdue_by_the_sync_interval_of_the_instance(simulator, collectd, way):
    """An instance is overdue after twice its sync interval and 15 minutes, unless it is paused, disabled or has no source."""
    lines, refused = WAYS[way]
    late, due = [], []
    for seconds in SYNC_INTERVALS:
        after = 2 * seconds + 900
        simulator.instance(f"instances/late-{seconds}", sync_interval=seconds, extra=ago(after + 5))
        simulator.instance(f"instances/due-{seconds}", sync_interval=seconds, extra=ago(after - 300))
        late.append(f"late-{seconds}")
        due.append(f"due-{seconds}")
    simulator.instance("instances/storage", type=None, extra=ago(10**7))
    simulator.instance("instances/paused", paused=True, sync_interval=900, extra=ago(10**7))
    simulator.instance("instances/off", enable=False, sync_interval=900, extra=ago(10**7))
    if refused:
        simulator.refuse("403_9109_resource", r"/instances\?")

    names = [*late, *due, "storage", "paused", "off"]
    daemon = collectd(block(simulator, *lines(names)))
    net.wait_until(lambda: len(daemon.notifications()) >= len(late), 20, "all overdue notifications")
    wait_looks(simulator, "/jobs", 2 * len(names))
    assert sorted((severity, identity) for severity, identity, _ in daemon.notifications()) == sorted(
        ("WARNING", f"docs-{name}/overdue") for name in late)
    report = daemon.next_report("docs")
    assert {name.partition("/")[0]: value for name, value in report.items() if name.endswith("/duration-sync_interval")} == {
        f"docs-{kind}-{seconds}": seconds for kind in ("late", "due") for seconds in SYNC_INTERVALS}
    assert errors(report) == set()
    assert simulator.count(r"/instances\?") == 1
    assert simulator.count(r"/instances/[^/]+$") == (len(names) if refused else 0)


def test_overdue_after_takes_precedence(simulator, collectd):
    simulator.instance(LIST, sync_interval=900, extra=ago(10**5))
    daemon = collectd(block(simulator, "OverdueAfter 0", NAMED))
    daemon.wait_report("docs", lambda report: "docs-handbook/duration-sync_interval" in report)
    wait_looks(simulator, "/handbook/jobs")
    assert daemon.notifications() == []


def test_autorag_has_the_default_sync_interval(simulator, collectd):
    simulator.instance("rags/old")
    daemon = collectd(block(simulator, '<Instance "old">\nGeneration "autorag"\n</Instance>'))
    report = daemon.wait_report("docs", lambda report: "docs-old/duration-sync_interval" in report)
    assert report["docs-old/duration-sync_interval"] == 21600
    wait_looks(simulator, "/old/jobs")
    assert simulator.count("ai-search") == 0


@pytest.mark.parametrize("way", WAYS)
def test_instance_in_error(simulator, collectd, way):
    """The API pauses an instance in error. Other conditions of the instance do not end until the error does."""
    lines, refused = WAYS[way]
    simulator.instance(LIST, [{"id": "a", "state": "running"}], sync_interval=900, extra=ago(10**5))
    if refused:
        simulator.refuse("403_9109_resource", r"/instances\?")
    daemon = collectd(block(simulator, *lines(["handbook"]), "DiscoveryInterval @INTERVAL@"))
    daemon.wait_report("docs", lambda report: report.get("docs-handbook/gauge-state") == 1)
    simulator.job(LIST, "a", state="failed", ends_in=0)
    wait_notification(daemon, "FAILURE", "docs-handbook/failed")
    wait_notification(daemon, "WARNING", "docs-handbook/overdue")

    simulator.instance(LIST, status="error", paused=True)
    message = wait_notification(daemon, "FAILURE", "docs-handbook/instance_error")
    assert message == "The instance is in error, and paused: its status is error"
    wait_looks(simulator, "/handbook/jobs")
    assert len(daemon.notifications()) == 3

    simulator.instance(LIST, status="ready")
    assert "ready" in wait_notification(daemon, "OKAY", "docs-handbook/instance_error")
    assert wait_notification(daemon, "OKAY", "docs-handbook/overdue") == "The instance is paused"
    assert len(daemon.notifications()) == 5


def test_instance_in_error_across_a_restart(simulator, collectd):
    simulator.instance(LIST, status="error")
    daemon = collectd(block(simulator))
    wait_notification(daemon, "FAILURE", "docs-handbook/instance_error")
    daemon.stop()
    simulator.instance(LIST, status="indexing")
    daemon.start()
    wait_notification(daemon, "OKAY", "docs-handbook/instance_error")
    assert [severity for severity, _, _ in daemon.notifications()] == ["FAILURE", "OKAY"]


def test_instance_with_only_a_pinned_job(simulator, collectd):
    """It is never overdue, but it may be in error."""
    simulator.instance(LIST, [{"id": "a", "state": "succeeded"}], status="error", sync_interval=900, extra=ago(10**5))
    daemon = collectd(block(simulator, '<Instance "handbook">\nJob "a"\n</Instance>'))
    wait_notification(daemon, "FAILURE", "docs-handbook/instance_error")
    assert len(daemon.notifications()) == 1


def test_named_instances_and_a_discovered_namespace(simulator, collectd):
    """The list of a named instance's namespace is only requested separately if it is not discovered anyway."""
    simulator.instance("namespaces/team/instances/docs", sync_interval=900, extra=ago(10**5))
    simulator.instance(LIST, sync_interval=900, extra=ago(10**5))
    daemon = collectd(block(simulator, NAMED, '<Instance "docs">\nNamespace "team"\n</Instance>',
                            'DiscoverNamespace "team"'))
    wait_notification(daemon, "WARNING", "docs-handbook/overdue")
    wait_notification(daemon, "WARNING", "docs-docs@team/overdue")
    assert simulator.count(r"/namespaces/team/instances\?") == 1
    assert simulator.count(r"/namespaces/default/instances\?") == 1


def check_share(simulator: Simulator, path: str, calls: int, seconds: float) -> None:
    """Checks that there are at most so many calls in any interval of this length, apart from differences in delay."""
    times = [request.began for request in simulator.requests(path)]
    assert len(times) > calls
    apart = [late - early for early, late in zip(times, times[calls:])]
    assert min(apart) > 0.9 * seconds, f"{calls + 1} calls within {min(apart):.3f} s"


def test_properties_of_instances_take_a_tenth_of_the_budget(simulator, collectd):
    names = [f"i{n}" for n in range(30)]
    for name in names:
        simulator.instance(f"instances/{name}")
    simulator.refuse("403_9109_resource", r"/instances\?")
    daemon = collectd(block(simulator, *(f'Instance "{name}"' for name in names), budget="Budget 50 1"))
    net.wait_until(lambda: simulator.count(r"/instances/\w+$") >= 16, 20, "the properties of half of the instances")
    check_share(simulator, r"/instances(/\w+$|\?)", 5, 1)
    assert len(daemon.log_lines(r'\[info\].*list of instances in "default": is refused\. .*one by one')) == 1


def test_instance_whose_properties_are_rejected(simulator, collectd):
    """This is logged once. The API's default sync interval applies to the instance, and others are not affected."""
    for name in ("handbook", "wiki"):
        simulator.instance(f"instances/{name}", sync_interval=900, extra=ago(10**4))
    simulator.refuse("403_9109_resource", r"/instances(\?|/handbook$)")
    daemon = collectd(block(simulator, NAMED, 'Instance "wiki"', "DiscoveryInterval @INTERVAL@"))
    wait_notification(daemon, "WARNING", "docs-wiki/overdue")
    report = daemon.next_report("docs", lambda report: "docs-handbook/duration-sync_interval" in report)
    assert report["docs-handbook/duration-sync_interval"] == 21600
    wait_looks(simulator, r"/instances/handbook$", 3)
    assert len(daemon.log_lines("the API's default sync interval determines")) == 1
    assert len(daemon.notifications()) == 1 and errors(daemon.next_report("docs")) == set()


# ---- unusual lists --------------------------------------------------------------------------------------------------

def test_list_of_instances_without_paging(simulator, collectd):
    """If the API ignores the page parameter, a repeated page ends the list. Otherwise, this would take 400 calls."""
    simulator.instances([{"name": f"instances/i{n:03}", "jobs": []} for n in range(150)])
    simulator.oddity(ignore_page=True, result_info="none")
    daemon = collectd(block(simulator, "DiscoverInstances true", "DiscoveryInterval @INTERVAL@", budget="Budget 400 8",
                            pace="ActiveInterval 60\nIdleInterval 60"))
    daemon.wait_log("90 more instances were found")
    net.wait_until(lambda: simulator.count(r"/instances\?") >= 6, 10, "three rounds")
    assert len(daemon.log_lines(r"\[warning\].*list of instances: a page repeats the previous one")) == 1
    targets = [request.target.partition("?")[2] for request in simulator.requests(r"/instances\?")]
    assert set(targets) == {"per_page=100", "page=2&per_page=100"}
    assert max(len(list(group)) for _, group in itertools.groupby(targets)) == 1

    # other instances on the page are found, and none of them is lost
    found = re.search('Instance "(.*)" was found', daemon.log())[1]
    simulator.remove_instances(f"instances/{found}")
    net.wait_until(lambda: len(daemon.log_lines("was found")) == 11, what="another instance to be found")
    assert daemon.log_lines("is gone") == []


def test_discovery_takes_half_of_the_budget(simulator, collectd):
    simulator.instances([{"name": f"instances/i{n:04}", "jobs": []} for n in range(2000)])
    daemon = collectd(block(simulator, 'DiscoverInstance "i0000"', budget="Budget 10 1"))
    daemon.wait_log('"i0000" was found', 30)
    check_share(simulator, r"/instances\?", 5, 1)


# ---- forms of paths -------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("refusal", ["400_7003", "400_7000", "404_7000", "403_7003", "410_gone"])
def test_plain_form_is_no_longer_supported(simulator, collectd, refusal):
    """All later requests of the account use the form with a namespace. This is logged once and is not an error."""
    names = [f"i{n}" for n in range(20)]
    for name in names:
        simulator.instance(f"instances/{name}", [{"id": "a", "state": "running"}], sync_interval=900,
                           stats={"queued": 1}, extra=ago(10**5))
    simulator.forms(plain=False, refusal=refusal)
    daemon = collectd(block(simulator, "ReportItems true", *(f'Instance "{name}"' for name in names)))
    report = daemon.wait_report("docs", lambda report: all(
        f"docs-{name}/{value}" in report for name in names for value in ("gauge-state", "count-items_queued")))
    assert errors(report) == set()
    assert len(daemon.log_lines(r'\[notice\] .*Account "docs": .*"namespaces/default" is requested from now on')) == 1
    simulator.forget()
    wait_looks(simulator, "/jobs", 2 * len(names))
    assert simulator.count("ai-search/instances") == 0
    assert daemon.log_lines("cannot be read") == []


def test_plain_form_that_works_is_kept(simulator, collectd):
    """A server that only supports the plain form rejects the list of the namespace, so each instance is requested."""
    simulator.instance(LIST, [{"id": "a", "state": "running"}], sync_interval=900, extra=ago(10**5))
    simulator.forms(namespaced=False)
    daemon = collectd(block(simulator))
    wait_notification(daemon, "WARNING", "docs-handbook/overdue")
    assert simulator.count(r"ai-search/instances/handbook$") == 1
    assert errors(daemon.next_report("docs")) == set()


def test_neither_form_is_supported(simulator, collectd):
    """If the account ID is wrong, lookups are rejected, and the other form is seldom tried."""
    for n in range(10):
        simulator.instance(f"instances/i{n}")
    simulator.forms(plain=False, namespaced=False)
    daemon = collectd(block(simulator, *(f'Instance "i{n}"' for n in range(10))))
    assert "400 (code 7003)" in wait_notification(daemon, "WARNING", "docs/refused")
    assert daemon.log_lines(rf'code 7003\); check the AccountID, and whether "{simulator.url}" is the URL')
    simulator.forget()
    wait_looks(simulator, "ai-search/instances/", 20)
    assert simulator.count("namespaces/default/instances/") == 0


def test_list_of_the_account_is_no_longer_supported(simulator, collectd):
    """The list of each namespace is requested instead. Instances that are added or removed are still noticed."""
    simulator.instance(LIST)
    simulator.instance("namespaces/team/instances/docs")
    simulator.instance("namespaces/other/instances/wiki")
    simulator.forms(plain=False)
    daemon = collectd(block(simulator, "DiscoverInstances true", "DiscoveryInterval @INTERVAL@"))
    names = ("docs-handbook", "docs-docs@team", "docs-wiki@other")
    daemon.wait_report("docs", lambda report: all(f"{name}/count-running" in report for name in names), 20)
    assert len(daemon.log_lines("list of instances: the API no longer has one")) == 1
    assert simulator.count(r"/ai-search/namespaces\?") >= 1

    simulator.instance("namespaces/third/instances/new")
    simulator.remove_instances("namespaces/team/instances/docs")
    daemon.wait_log('Instance "docs" in Namespace "team" is gone', 20)
    daemon.wait_report("docs", lambda report: "docs-new@third/count-running" in report, 20)
    assert daemon.log_lines("list of.*cannot be read") == []


# ---- items ----------------------------------------------------------------------------------------------------------

STATS = {"queued": 1, "running": 2, "completed": 30, "error": 4, "skipped": 5, "outdated": 23}


def items(report: dict[str, float]) -> dict[str, float]:
    begin = "docs-handbook/count-items_"
    return {name.removeprefix(begin): value for name, value in report.items() if name.startswith(begin)}


def test_items(simulator, collectd):
    """The items of an instance are requested with every fourth lookup."""
    simulator.instance(LIST, [{"id": "a", "state": "running"}], stats=STATS)
    daemon = collectd(block(simulator, "ReportItems true", NAMED, pace=every(BRISK)))
    assert items(daemon.wait_report("docs", items)) == STATS
    simulator.forget()
    net.wait_until(lambda: simulator.count(r"/stats$") >= 3, 60 * BRISK, "more requests for items")
    paths = [request.target for request in simulator.requests()]
    first, _, third = [n for n, path in enumerate(paths) if path.endswith("/stats")][:3]
    looks = sum("/handbook/jobs" in path for path in paths[first:third])
    assert 7 <= looks <= 12
    assert items(daemon.next_report("docs")) == STATS


def test_items_after_a_job(simulator, collectd):
    """The items of an instance are requested after the end of each job."""
    simulator.instance(LIST, [{"id": "a", "state": "running"}], stats=STATS)
    daemon = collectd(block(simulator, "ReportItems true", NAMED, pace=every(PACE, idle=600)))
    daemon.wait_report("docs", items)
    asked = simulator.count("/stats")
    wait_looks(simulator, "/handbook/jobs")
    assert simulator.count("/stats") == asked
    simulator.instance(LIST, [{"id": "a", "state": "succeeded", "ends_in": 0}], stats={**STATS, "outdated": 24})
    daemon.next_report("docs", lambda report: items(report).get("outdated") == 24)
    assert simulator.count("/stats") == asked + 1


def test_unknown_items(simulator, collectd):
    """There are no values while the API cannot count items or fails, nor of items that are not part of its response."""
    simulator.instance(LIST, stats={"queued": 1, "outdated": 0})
    daemon = collectd(block(simulator, "ReportItems true", NAMED, pace=every(BRISK)))
    assert items(daemon.wait_report("docs", items)) == {"queued": 1, "outdated": 0}
    simulator.instance(LIST, stats={"degraded": True})
    daemon.next_report("docs", lambda report: not items(report) and "docs-handbook/count-running" in report, 20)
    simulator.instance(LIST, stats=STATS)
    daemon.next_report("docs", lambda report: items(report) == STATS, 20)

    fault = simulator.fault("/stats", status=500)
    daemon.next_report("docs", lambda report: not items(report) and "docs-handbook/count-running" in report, 20)
    daemon.wait_log('Instance "handbook", its items: cannot be read: server', 20)
    simulator.clear_fault(fault)
    daemon.next_report("docs", lambda report: items(report) == STATS, 20)
    daemon.wait_log('Instance "handbook", its items: can be read again', 20)
    assert daemon.notifications() == []


def test_lookups_without_items(simulator, collectd):
    """Items are not requested for AutoRAGs and pinned jobs, nor without ReportItems."""
    simulator.instance("rags/old")
    simulator.instance(LIST, [{"id": "a", "state": "running"}], stats=STATS)
    simulator.instance("instances/wiki", stats=STATS)
    daemon = collectd(block(simulator, "ReportItems true", '<Instance "old">\nGeneration "autorag"\n</Instance>',
                            '<Instance "handbook">\nJob "a"\n</Instance>', pace=every(BRISK)))
    for path in ("/old/jobs", "/handbook/jobs/a"):
        wait_looks(simulator, path, 4)
    daemon.stop()
    collectd(block(simulator, 'Instance "wiki"', pace=every(BRISK)))
    wait_looks(simulator, "/wiki/jobs", 4)
    assert simulator.count("/stats") == 0


# ---- a wrong clock --------------------------------------------------------------------------------------------------

def test_state_file_with_times_in_the_future(simulator, collectd):
    """Times in the future, written while the clock was wrong, are corrected, and the job is read nevertheless."""
    simulator.instance(LIST, [{"id": "a", "state": "running"}], sync_interval=900, extra=ago(10**5))
    daemon = collectd(block(simulator))
    daemon.wait_report("docs", lambda report: "docs-handbook/gauge-state" in report)
    daemon.stop()
    state = daemon.prefix / "aisearch.state"
    text = re.sub(r"seen=\S+ changed=\S+", "seen=4102444800.000 changed=4102444800.000", state.read_text())
    text = re.sub(r"^told .*\n", "", text, flags=re.MULTILINE)
    lines = [line for line in text.splitlines() if not line.startswith("end ")]
    state.write_text("\n".join([*lines, f"end {len(lines) - 1}"]) + "\n")

    daemon.start()
    report = daemon.next_report("docs", lambda report: "docs-handbook/gauge-state" in report)
    assert report["docs-handbook/duration-since_change"] < 60 * SLOWNESS
    daemon.stop()
    seen = re.search(r"seen=(\d+)", state.read_text())
    assert int(seen[1]) < time.time() + 60
    assert daemon.log_lines("damaged") == []


# ---- through nginx --------------------------------------------------------------------------------------------------

@needs_nginx
def test_nginx_that_rejects_lists(simulator, nginx, collectd):
    """An nginx with an allow-list rejects lists. Instances are requested one by one, without an error."""
    simulator.instance(LIST, sync_interval=900, extra=ago(10**5))
    proxy = nginx(http=nginx_account(simulator, "instance handbook;"),
                  server="location /client/v4/ { aisearch_pass docs; }")
    daemon = collectd(block(simulator, options=f'APIURL "http://127.0.0.1:{proxy.port}/client/v4"'))
    wait_notification(daemon, "WARNING", "docs-handbook/overdue")
    assert len(daemon.log_lines("one by one")) == 1
    assert errors(daemon.next_report("docs")) == set()
