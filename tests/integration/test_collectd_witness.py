"""A rejected instance does not affect lookups of other instances with the same credential."""

from harness import SLOWNESS
from harness.collectd import INTERVAL, Collectd
from harness.simulator import ACCOUNT

OTHERS = 20
FORM = "403_10000"

# The interval between lookups. A lookup may take nine tenths of it, which is enough even on a busy machine.
PACE = 3 * INTERVAL


def start(simulator, collectd, *names: str) -> Collectd:
    for name in names:
        simulator.instance(f"instances/{name}", [{"id": f"job-{name}", "state": "running"}])
    lines = "\n".join(f'Instance "{name}"' for name in names)
    return collectd(f'<Account "docs">\nAccountID "{ACCOUNT}"\nTokenFile "{simulator.token_file}"\n'
                    f'APIURL "{simulator.url}"\nActiveInterval {PACE}\nIdleInterval {PACE}\nBudget 100000 1\n'
                    f'ReportDetails true\n{lines}\n</Account>')


def all_running(report) -> bool:
    return all(report.get(f"docs-i{n}/count-running") == 1 for n in range(OTHERS))


def test_one_forbidden_instance(simulator, collectd):
    simulator.refuse(FORM, "/i0b/")
    daemon = start(simulator, collectd, *(f"i{n}" for n in range(OTHERS)), "i0b")
    daemon.wait_report("docs", all_running, 20)
    for _ in range(5):
        report = daemon.next_report("docs", timeout=20)
        assert all_running(report)
        assert report["docs/errors-credential"] == 0
        assert "docs-i0b/count-running" not in report
    daemon.next_report("docs", lambda report: report["docs/errors-refused"] >= 3, 20)
    assert daemon.notifications() == []
    assert len(daemon.log_lines("rejects this request but accepts others")) == 1
    assert not daemon.log_lines("Write a valid one to")


def test_revoked_token(simulator, collectd):
    """Lookups that start at the same moment may send requests; no later lookup does."""
    simulator.refusal(FORM)
    daemon = start(simulator, collectd, *(f"i{n}" for n in range(OTHERS)))
    daemon.wait_report("docs", all_running, 20)
    simulator.account(tokens=[], keys=[])
    daemon.wait_log("credential: the API rejects the credential", 10)
    simulator.forget()
    before = daemon.next_report("docs", timeout=20)["docs/errors-credential"]
    daemon.next_report("docs", lambda report: report["docs/errors-credential"] >= before + 2 * OTHERS, 20 * SLOWNESS)
    assert simulator.count() == 0
    assert len(daemon.log_lines("Write a valid one to")) == 1
