"""Discovery of instances by the collectd plugin: added and removed instances, and lists that cannot be read."""

import contextlib
import json
import pathlib
import re
from collections.abc import Iterator

import pytest

from gateway import account as nginx_account
from harness import PRELOAD, net, stall
from harness.collectd import INTERVAL, Collectd, Config, Report
from harness.simulator import ACCOUNT, Simulator
from reports import needs_nginx


PATIENCE = 3 * INTERVAL  # seconds


def block(simulator: Simulator, *lines: str, through: str = "", name: str = "docs", interval: str = "@INTERVAL@",
          budget: str = "Budget 100000 1") -> str:
    """
    An <Account> block that requests its lists of instances in every interval by default. Jobs are requested less often,
    because a lookup must not take longer than its interval, and a busy machine needs the time.
    """
    way = through or f'TokenFile "{simulator.token_file}"\nAPIURL "{simulator.url}"'
    body = "\n".join(lines)
    return (f'<Account "{name}">\nAccountID "{ACCOUNT}"\n{way}\n{budget}\n'
            f"ActiveInterval {PATIENCE}\nIdleInterval {PATIENCE}\nDiscoveryInterval {interval}\n{body}\n</Account>")


@contextlib.contextmanager
def running(tmp: pathlib.Path, *blocks: str, **parts) -> Iterator[Collectd]:
    with Collectd(tmp, Config("\n".join(blocks), **parts)) as daemon:
        yield daemon


def watched(report: Report) -> set[str]:
    """The plugin instances in a report, except for the account itself."""
    return {name.partition("/")[0] for name in report} - {"docs"}


def wait_watched(daemon: Collectd, *instances: str) -> Report:
    """Waits until exactly these instances are watched."""
    expected = {f"docs-{instance}" for instance in instances}
    return daemon.next_report("docs", lambda report: watched(report) == expected, 15, f"values of {expected} only")


def lists(simulator: Simulator) -> list[str]:
    return [request.target for request in simulator.requests(r"/instances(\?|$)")]


def wait_lists(simulator: Simulator, count: int) -> None:
    """Waits for this many more requests for lists of instances."""
    before = len(lists(simulator))
    net.wait_until(lambda: len(lists(simulator)) >= before + count, 15, f"{count} more requests for lists")


# ---- selection -----------------------------------------------------------------------------------------------------------


def populate(simulator: Simulator, *instances: str) -> None:
    for instance in instances:
        simulator.instance(instance, [{"id": "a", "state": "running"}])


def test_all_instances_of_all_namespaces(tmp, simulator):
    populate(simulator, "instances/docs-1", "instances/handbook", "namespaces/team/instances/docs-1", "rags/old")
    with running(tmp, block(simulator, "DiscoverInstances true")) as daemon:
        report = wait_watched(daemon, "docs-1", "handbook", "docs-1@team")
    assert all(report[f"docs-{name}/gauge-state"] == 1 for name in ("docs-1", "handbook", "docs-1@team"))
    assert set(lists(simulator)) == {simulator.listing() + "?per_page=100"}
    assert simulator.count("/namespaces/team/instances/docs-1/jobs") > 0
    assert simulator.count("/namespaces/default/") == 0
    assert len(daemon.log_lines(r'\[info\] aisearch plugin: Account "docs": Instance "handbook" was found\.')) == 1
    assert len(daemon.log_lines(r'Account "docs": Instance "docs-1" in Namespace "team" was found\.')) == 1


@pytest.mark.parametrize("lines, instances", [
    (['DiscoverInstance "/-1$/"', 'DiscoverInstance "handbook"', "IgnoreSelected false"],
     ["docs-1", "docs-1@team", "handbook"]),
    (['DiscoverInstance "/^docs-/"', "IgnoreSelected true"], ["handbook"]),
    (["IgnoreSelected true", "DiscoverInstances true"], ["docs-1", "docs-2", "handbook", "docs-1@team"]),
    (['DiscoverInstance "/2/"', '<Instance "handbook">\nJob "a"\n</Instance>'], ["docs-2", "handbook"]),
    (['DiscoverNamespace "team"', 'DiscoverNamespace "default"', 'DiscoverInstance "/1/"'], ["docs-1", "docs-1@team"]),
    (["DiscoverInstances false", 'DiscoverInstance "/^docs-/"', 'Instance "handbook"'], ["handbook"]),
])
def test_selection(tmp, simulator, lines, instances):
    populate(simulator, "instances/docs-1", "instances/docs-2", "instances/handbook",
             "namespaces/team/instances/docs-1")
    with running(tmp, block(simulator, *lines)) as daemon:
        wait_watched(daemon, *instances)
        if "DiscoverInstances false" not in lines:
            wait_lists(simulator, 2)
        wait_watched(daemon, *instances)
        ignores_nothing = not any(line.startswith("DiscoverInstance ") for line in lines) and "IgnoreSelected true" in lines
        assert len(daemon.log_lines(r"\[warning\]")) == ignores_nothing
    if any("DiscoverNamespace" in line for line in lines):
        assert simulator.listing() + "?per_page=100" not in lists(simulator)


def test_discovered_instance_with_a_pinned_job(tmp, simulator):
    """Only the pinned job of the instance is requested, even though discovery finds the instance."""
    populate(simulator, "instances/handbook", "instances/docs")
    with running(tmp, block(simulator, "DiscoverInstances true", '<Instance "handbook">\nJob "a"\n</Instance>')) as daemon:
        report = wait_watched(daemon, "docs", "handbook")
        assert "docs-handbook/gauge-state-a" in report
        wait_lists(simulator, 2)
    assert simulator.count(r"/handbook/jobs(\?|$)") == 0


def test_list_with_several_pages(tmp, simulator):
    simulator.instances([{"name": f"instances/i-{n:03}", "jobs": [{"id": "a", "state": "succeeded"}]}
                         for n in range(230)])
    with running(tmp, block(simulator, "DiscoverInstances true", interval="900")) as daemon:
        daemon.wait_log(r'Account "docs": 220 more instances were found\.')
        expected = [f"{simulator.listing()}?{page}per_page=100" for page in ("", "page=2&", "page=3&")]
        daemon.next_report("docs", lambda report: len(watched(report)) > 0, 15)
        assert len(daemon.log_lines("was found")) == 10
        assert lists(simulator) == expected


# ---- added and removed instances -------------------------------------------------------------------------------------------


def test_budget_that_is_too_small(tmp, simulator):
    """A warning is logged once when the number of instances is known, and values show how much of the budget is left."""
    populate(simulator, *(f"instances/i{n}" for n in range(30)))
    with running(tmp, block(simulator, "DiscoverInstances true", budget="Budget 20 600")) as daemon:
        daemon.wait_log(r'\[warning\] .*Account "docs": With this Budget, it takes 1[45] min to look up all 30 instances '
                        r"once, longer than the IdleInterval of \d s\. Use a Budget of at least \d+ calls in 300 seconds", 20)
        report = daemon.next_report("docs", lambda report: report["docs/count-instances"] == 30, 20)
        assert 0 <= report["docs/percent-budget_left"] < 100
        daemon.wait_reads(5)
        assert len(daemon.log_lines("With this Budget, it takes")) == 1


def test_instances_are_added_and_removed(tmp, simulator):
    populate(simulator, "instances/docs")
    with running(tmp, block(simulator, "DiscoverInstances true", 'Instance "named"')) as daemon:
        wait_watched(daemon, "docs", "named")

        populate(simulator, "instances/handbook", "instances/named")
        wait_watched(daemon, "docs", "handbook", "named")

        simulator.remove_instances("instances/docs")
        wait_watched(daemon, "handbook", "named")
        daemon.wait_log(r'Account "docs": Instance "docs" is gone\.')
        simulator.forget()
        wait_lists(simulator, 2)
        assert simulator.count("/instances/docs/") == 0

        populate(simulator, "instances/docs")
        wait_watched(daemon, "docs", "handbook", "named")

        # an instance that the configuration names remains
        simulator.remove_instances("instances/named", "instances/handbook")
        wait_watched(daemon, "docs", "named")
        simulator.forget()
        wait_lists(simulator, 2)
        net.wait_until(lambda: simulator.count("/instances/named/") > 0, what="a lookup of the named instance")
        assert daemon.log_lines('"named" (was|is)') == []


def test_instance_is_removed_during_its_lookup(tmp, simulator):
    populate(simulator, "instances/docs", "instances/handbook")
    with running(tmp, block(simulator, "DiscoverInstances true")) as daemon:
        wait_watched(daemon, "docs", "handbook")
        slow = simulator.fault("/instances/docs/jobs", delay=2 * PATIENCE)
        simulator.remove_instances("instances/docs")
        daemon.wait_log('"docs" is gone')
        wait_watched(daemon, "handbook")
        simulator.clear_fault(slow)
        wait_lists(simulator, 3)


def test_two_accounts_with_one_credential(tmp, simulator):
    populate(simulator, "instances/docs", "instances/handbook")
    with running(tmp, block(simulator, 'DiscoverInstance "docs"'),
                 block(simulator, 'DiscoverInstance "handbook"', name="more")) as daemon:
        wait_watched(daemon, "docs")
        daemon.next_report("more", lambda report: "more-handbook/gauge-state" in report)
        simulator.remove_instances("instances/handbook")
        daemon.next_report("more", lambda report: not any(name.startswith("more-") for name in report))
        wait_watched(daemon, "docs")


def test_paused_instances_are_not_overdue(tmp, simulator):
    """This also applies to named instances, as the list shows which instances are paused."""
    simulator.instance("instances/docs", paused=True)
    simulator.instance("instances/named", paused=True)
    simulator.instance("instances/handbook")
    with running(tmp, block(simulator, "DiscoverInstances true", "OverdueAfter 1", 'Instance "named"')) as daemon:
        daemon.wait_log("Notification: .*docs-handbook.*overdue", timeout=15)
        wait_lists(simulator, 3)
        assert daemon.log_lines("Notification: .*docs-(docs|named)") == []

        simulator.instance("instances/docs", paused=False)
        simulator.instance("instances/named", paused=False)
        daemon.wait_log("Notification: .*docs-docs.*overdue", timeout=15)
        daemon.wait_log("Notification: .*docs-named.*overdue", timeout=15)


@pytest.mark.parametrize("trouble", [dict(delay=0.7 * INTERVAL), dict(status=503)], ids=["slow", "failing"])
def test_start_with_a_slow_or_broken_list(tmp, simulator, trouble):
    """
    Named instances are looked up before the list shows which of them are paused. This does not start or end any
    condition.
    """
    simulator.instance("instances/asleep", paused=True)
    simulator.instance("instances/late")
    named = block(simulator, "DiscoverInstances true", "OverdueAfter 1", 'Instance "asleep"', 'Instance "late"',
                  interval="60")
    state = f'StateFile "{tmp}/state"\n'
    with running(tmp, state + named) as daemon:
        daemon.wait_log("Notification: .*docs-late.*overdue", timeout=15)

    simulator.forget()
    simulator.fault(r"/instances\?", times=1, **trouble)
    with running(tmp, state + named) as daemon:
        net.wait_until(lambda: any(one.status == 200 for one in simulator.requests(r"/instances\?")), what="the list")
        looks = simulator.count("/jobs")
        net.wait_until(lambda: simulator.count("/jobs") >= looks + 4, what="two lookups of both instances")
        wait_watched(daemon, "asleep", "late")
        assert daemon.log_lines("Notification: ") == []


def test_conditions_of_a_removed_instance_end(tmp, simulator):
    populate(simulator, "instances/docs")
    with running(tmp, block(simulator, "DiscoverInstances true")) as daemon:
        wait_watched(daemon, "docs")
        simulator.job("instances/docs", "a", ends_in=0, end_reason="error: disk full")
        daemon.wait_log("Notification: severity = FAILURE.*docs-docs.*type_instance = failed", timeout=15)
        simulator.remove_instances("instances/docs")
        daemon.wait_log("Notification: severity = OKAY.*docs-docs.*type_instance = failed", timeout=15)


# ---- lists that cannot be read ---------------------------------------------------------------------------------------------


def test_list_that_fails_on_a_later_page(tmp, simulator):
    """New instances on the first pages are watched, and no instance is removed."""
    simulator.instances([{"name": f"instances/i-{n:03}", "jobs": []} for n in range(150)])
    with running(tmp, block(simulator, 'DiscoverInstance "/^i-00/"')) as daemon:
        ten = [f"i-00{n}" for n in range(10)]
        wait_watched(daemon, *ten)
        broken = simulator.fault(r"/instances\?page=2", status=500, body='{"success":false,"errors":[]}')
        simulator.instances([{"name": "instances/i-00x", "jobs": []}])
        simulator.remove_instances("instances/i-000")
        daemon.wait_log(r'\[err\S*\] aisearch plugin: Account "docs", list of instances: cannot be read: server: .*500')
        wait_lists(simulator, 4)
        wait_watched(daemon, *ten, "i-00x")
        assert len(daemon.log_lines("list of instances: cannot be read: server")) == 1, "the failure is logged once"

        simulator.clear_fault(broken)
        wait_watched(daemon, *ten[1:], "i-00x")
        daemon.wait_log('list of instances: can be read again')


def listing(count: int, first: int = 0) -> str:
    """A page with this many instances, of a list without a total."""
    return json.dumps({"success": True, "result": [{"id": f"i-{n}"} for n in range(first, first + count)]})


@pytest.mark.parametrize("fault", [
    dict(status=404, body='{"success":false,"errors":[{"code":7063,"message":"namespace_not_found"}]}'),
    dict(status=200, body='{"success":true,"result":{"name":"docs"}}'),
    dict(status=200, body='{"success":true,"result":[],"result_info":{"total_count":0,"page":7}}'),
    dict(script=[{"reset": True}]),
    dict(status=200, body=listing(101)),
], ids=["not found", "no instances", "another page", "reset", "more than a page"])
def test_no_instance_is_removed_because_a_list_fails(tmp, simulator, fault):
    populate(simulator, "instances/docs", "instances/handbook")
    with running(tmp, block(simulator, "DiscoverInstances true")) as daemon:
        wait_watched(daemon, "docs", "handbook")
        simulator.fault(r"/instances\?", **fault)
        daemon.wait_log("list of instances: cannot be read")
        wait_lists(simulator, 3)
        wait_watched(daemon, "docs", "handbook")
        simulator.clear_faults()
        daemon.wait_log("list of instances: can be read again")


def test_page_with_too_many_entries_is_invalid(collectd, simulator):
    """This applies to lists of instances and of jobs."""
    populate(simulator, "instances/docs")
    jobs = [{"id": f"job-{n}", "source": "user", "started_at": None} for n in range(51)]
    simulator.fault(r"/instances\?", status=200, body=listing(101))
    simulator.fault(r"/docs/jobs\?", status=200, body=json.dumps({"success": True, "result": jobs}))
    daemon = collectd(block(simulator, "DiscoverInstances true", 'Instance "docs"'))
    what = "cannot be read: body: the response has {} entries, but {} were requested"
    daemon.wait_log("list of instances: " + what.format(101, 100))
    daemon.wait_log('Instance "docs": ' + what.format(51, 50))
    assert daemon.log_lines("was found") == []


def test_endless_list(collectd, tmp, simulator):
    """At most a thousand pages of a list are read."""
    pages: list[int] = []
    looked_at: set[bytes] = set()

    def serve(connection: stall.Connection) -> None:
        while (head := connection.read_head()):
            if asked := re.search(rb"/instances\?(?:page=(\d+)&)?per_page=100 ", head):
                pages.append(int(asked[1] or 1))
                connection.play([stall.response(body=listing(100, 100 * pages[-1]))])
            else:
                looked_at.add(re.search(rb"/instances/([^/]+)/jobs", head)[1])
                connection.play([stall.response(body='{"success":true,"result":[]}')])

    with stall.Server(serve) as (host, port):
        through = f'TokenFile "{simulator.token_file}"\nAPIURL "http://{host}:{port}/client/v4"'
        daemon = collectd(block(simulator, 'DiscoverInstance "/^i-1..$/"', through=through, interval="900"))
        before = net.rss(daemon.pid)
        line = daemon.wait_log("list of instances: has more than", timeout=60)
        assert "has more than 100000 instances, the maximum" in line
        assert "Select instances with DiscoverNamespace, DiscoverInstance or Instance." in line
        assert len(daemon.log_lines("was found")) == 10, "only the first ten instances are logged"
        net.wait_until(lambda: looked_at == {b"i-%d" % n for n in range(100, 200)}, 15, "a lookup of each selected instance")
        assert pages == list(range(1, 1001))
        if not PRELOAD:  # sanitizers keep what is freed
            assert net.rss(daemon.pid) - before < (64 << 20)


def test_api_is_not_available_at_first(tmp, simulator):
    """The first list is requested again soon after a failure, regardless of DiscoveryInterval."""
    populate(simulator, "instances/docs")
    simulator.fault("", status=503)
    with running(tmp, block(simulator, "DiscoverInstances true", interval="900")) as daemon:
        daemon.wait_log("list of instances: cannot be read: server")
        simulator.clear_faults()
        wait_watched(daemon, "docs")


def test_single_empty_list_removes_no_instance(tmp, simulator):
    populate(simulator, "instances/docs")
    with running(tmp, block(simulator, "DiscoverInstances true")) as daemon:
        wait_watched(daemon, "docs")
        simulator.fault(r"/instances\?", times=1, status=200,
                        body='{"success":true,"result":[],"result_info":{"total_count":0,"page":1}}')
        wait_lists(simulator, 4)
        wait_watched(daemon, "docs")
        assert daemon.log_lines("is gone") == []


def test_rejected_credential_is_not_logged_for_lists(tmp, simulator):
    populate(simulator, "instances/docs")
    with running(tmp, block(simulator, "DiscoverInstances true")) as daemon:
        wait_watched(daemon, "docs")
        simulator.account(tokens=["another"])
        daemon.wait_log("credential")
        wait_watched(daemon, "docs")
        assert daemon.log_lines("list of instances.*credential") == []


def test_lists_count_against_the_budget(tmp, simulator):
    simulator.instances([{"name": f"instances/i-{n:03}", "jobs": []} for n in range(1000)])
    with running(tmp, block(simulator, 'DiscoverInstance "i-000"', budget="Budget 6 3")) as daemon:
        daemon.wait_log('"i-000" was found', timeout=20)
        wait_watched(daemon, "i-000")
    times = [request.began for request in simulator.requests()]
    assert all(late - early > 2.9 for early, late in zip(times, times[6:]))


# ---- instances that cannot be watched --------------------------------------------------------------------------------------


def test_instance_with_the_name_of_an_autorag(tmp, simulator):
    populate(simulator, "instances/docs", "instances/handbook", "rags/docs")
    rag = '<Instance "docs">\nGeneration "autorag"\n</Instance>'
    with running(tmp, block(simulator, "DiscoverInstances true", rag)) as daemon:
        wait_watched(daemon, "docs", "handbook")
        wait_lists(simulator, 2)
        [line] = daemon.log_lines(r"\[warning\]")
        assert 'Instance "docs" cannot be watched: an AutoRAG of this account has the same name.' in line
    assert simulator.count("/instances/docs/") == 0


def test_instances_with_invalid_names_are_ignored(tmp, simulator):
    populate(simulator, "instances/docs")
    simulator.instance("instances/odd", extra={"id": "../../user/tokens"})
    with running(tmp, block(simulator, "DiscoverInstances true")) as daemon:
        wait_watched(daemon, "docs")
        wait_lists(simulator, 2)
        [line] = daemon.log_lines(r"\[warning\]")
        assert "list of instances: 1 of them cannot be watched" in line
    assert simulator.count("tokens") == 0


# ---- through nginx ---------------------------------------------------------------------------------------------------------


def through_nginx(nginx, simulator: Simulator, *directives: str, lists: str = "0") -> str:
    """Starts an nginx that has the credential and caches lists for this time; returns the lines of an <Account> for it."""
    proxy = nginx(http=nginx_account(simulator, *directives) + f"aisearch_valid list {lists};",
                  server="location /client/v4/ { aisearch_pass docs; }")
    return f'APIURL "http://127.0.0.1:{proxy.port}/client/v4"'


@needs_nginx
def test_through_nginx(tmp, simulator, nginx):
    populate(simulator, "instances/docs", "namespaces/team/instances/handbook")
    through = through_nginx(nginx, simulator)
    with running(tmp, block(simulator, "DiscoverInstances true", through=through)) as daemon:
        wait_watched(daemon, "docs", "handbook@team")


@needs_nginx
def test_cached_list_does_not_confirm_a_removal(tmp, simulator, nginx):
    """An instance that was missing for a moment is missing in nginx's cache for longer. It is not removed."""
    populate(simulator, "instances/docs")
    through = through_nginx(nginx, simulator, lists="1s")
    with running(tmp, block(simulator, "DiscoverInstances true", through=through)) as daemon:
        wait_watched(daemon, "docs")
        moment = simulator.fault(r"/instances\?", times=1, status=200,
                                 body='{"success":true,"result":[],"result_info":{"total_count":0,"page":1}}')
        net.wait_until(lambda: simulator.fault_hits(moment) == 1, 15, "the empty list")
        wait_lists(simulator, 2)
        wait_watched(daemon, "docs")
        assert daemon.log_lines("is gone") == []

        simulator.remove_instances("instances/docs")
        daemon.wait_log('"docs" is gone', timeout=30)


@needs_nginx
def test_nginx_with_an_allow_list_rejects_lists(tmp, simulator, nginx):
    """The log explains how to configure this, and named instances are watched."""
    populate(simulator, "instances/docs", "instances/secret")
    through = through_nginx(nginx, simulator, "instance docs;")
    with running(tmp, block(simulator, "DiscoverInstances true", 'Instance "docs"', through=through)) as daemon:
        wait_watched(daemon, "docs")
        line = daemon.wait_log("list of instances: cannot be read")
        assert re.search(r"the API returns 403: lists of instances and namespaces are not available here \(code 403\)\. "
                         r'An nginx with an allow-list \("instance"\) lists no instances: configure them here, too$', line)
        wait_watched(daemon, "docs")
        assert len(daemon.log_lines("list of instances.*403")) == 1
        assert "secret" not in daemon.log()
    assert lists(simulator) == []
