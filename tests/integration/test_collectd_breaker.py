"""The breaker of the collectd plugin: during an outage, only single probes are sent instead of all lookups."""

import time

from harness import SLOWNESS, net
from harness.collectd import INTERVAL, Collectd
from harness.simulator import ACCOUNT

INSTANCES = 20
FAULTS = 5

# The interval between lookups. A lookup may take nine tenths of it, which is enough even on a busy machine.
PACE = 3 * INTERVAL


def start(simulator, collectd) -> Collectd:
    names = [f"i{n}" for n in range(INSTANCES)]
    for name in names:
        simulator.instance(f"instances/{name}", [{"id": f"job-{name}", "state": "running"}])
    lines = "\n".join(f'Instance "{name}"' for name in names)
    return collectd(f'<Account "docs">\nAccountID "{ACCOUNT}"\nTokenFile "{simulator.token_file}"\n'
                    f'APIURL "{simulator.url}"\nActiveInterval {PACE}\nIdleInterval {PACE}\nBudget 100000 1\n'
                    f'ReportDetails true\n{lines}\n</Account>')


def are_running(count: int):
    return lambda report: sum(report.get(f"docs-i{n}/count-running") == 1 for n in range(INSTANCES)) == count


def test_an_outage(simulator, collectd):
    daemon = start(simulator, collectd)
    daemon.wait_report("docs", are_running(INSTANCES), 20, what="all instances")
    net.wait_until(lambda: simulator.count(r"/instances\?") == 1, 20, "the list of instances")
    # all requests fail; those of one lookup, including its retries, are sent in a short time
    simulator.fault("", status=503, body="<html>")
    daemon.wait_log(f"{FAULTS} faults in a row, the last one: server: ", 20)
    time.sleep(PACE)  # requests that were in progress are finished
    simulator.forget()
    began = time.monotonic()
    daemon.wait_reads(8)
    took = time.monotonic() - began
    assert simulator.count() <= 3 * (took / 2 + 1), "more requests than one probe every two seconds, each with two retries"

    # instances that are not looked up do not fail; their responses get old, but the intervals are not stretched
    report = daemon.next_report("docs", are_running(0))
    before = report["docs/errors-server"]
    daemon.wait_reads(round(3 * PACE / INTERVAL))
    report = daemon.next_report("docs")
    assert report["docs/errors-server"] - before < INSTANCES and report["docs/gauge-budget_stretch"] == 1
    daemon.next_report("docs", lambda report: report["docs/gauge-unreachable"] == 1, 30, what="the third probe")
    net.wait_until(lambda: [n.identity for n in daemon.notifications()] == ["docs/unreachable"], 10, "a notification")

    simulator.clear_faults()
    daemon.next_report("docs", are_running(INSTANCES), 40, what="all instances")
    net.wait_until(lambda: [(n.severity, n.identity) for n in daemon.notifications()][1:] == [
        ("OKAY", "docs/unreachable")], 10, "the other notification")
    assert len(daemon.log_lines("faults in a row")) == 1
    assert len(daemon.log_lines("The API responds again after")) == 1


def test_one_that_always_fails(simulator, collectd):
    """Lookups of the other instances continue to succeed."""
    daemon = start(simulator, collectd)
    simulator.fault("i7/", status=500, body="<html>")
    daemon.next_report("docs", lambda report: are_running(INSTANCES - 1)(report)
                       and report["docs/errors-server"] >= 2 * FAULTS, 20 * SLOWNESS)
    assert not daemon.log_lines("faults in a row")


def test_list_of_instances_is_no_probe(simulator, collectd):
    """The result of a list is not counted as an outage, so it must not be used as a probe."""
    simulator.fault("", status=503, body="<html>")
    daemon = start(simulator, collectd)
    daemon.wait_log(f"{FAULTS} faults in a row", 20)
    time.sleep(PACE)  # requests that were in progress are finished
    simulator.forget()
    daemon.next_report("docs", lambda report: report["docs/gauge-unreachable"] == 1, 30, what="the third probe")
    assert simulator.count() > 0 and simulator.count(r"/instances\?") == 0
