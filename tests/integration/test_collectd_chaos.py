"""A short run of the soak test of collectd (tests/soak/collectd.py), its checks, and restarts with the exec plugin."""

import getpass
import re

import pytest

from harness import net
from harness.collectd import INTERVAL, Collectd, Config
from harness.simulator import ACCOUNT
from soak import collectd as soak


@pytest.mark.parametrize("kills", [False, True], ids=["stops", "kills"])
def test_counters_and_notifications_survive_restarts(tmp, kills):
    assert soak.run(tmp, 25, seed=5, kills=kills, pause=soak.SHORT) == []


class Ended:
    """A collectd that counted a job twice, whose counter then decreased, and that sent a notification twice."""

    def series(self, _name: str) -> list[tuple[float, float]]:
        return [(1.0, 0.0), (2.0, 2.0), (3.0, 1.0), (4.0, 2.0)]

    def notifications(self) -> list:
        from harness.collectd import Notification
        return [Notification("FAILURE", "docs-i0/failed", "Job job1 (user) has failed")] * 2

    def names(self) -> list[str]:
        return ["i0"]

    ended = {("i0", end): 1 for end in soak.ENDS}
    failed = ["job1", "job2"]


def test_checks_of_the_soak_test():
    wrong = soak._judge(Ended(), Ended(), {"job1": 0, "job2": 0})
    for text in ("i0 failed: counted 2 times, 1 have ended", "i0 failed fell from 2 to 1", "job1 was reported 2 times",
                 "job2 was reported 0 times"):
        assert [one for one in wrong if text in one], text


def test_with_exec_loaded_first(simulator, tmp):
    """
    At shutdown, collectd no longer passes notifications to plugins that were loaded before aisearch. Pending
    notifications are therefore not sent at shutdown, but after the next start: none is lost, and none is repeated.
    """
    user = getpass.getuser()
    told = tmp / "told"
    told.touch()
    told.chmod(0o666)
    config = Config(f'<Account "docs">\nAccountID "{ACCOUNT}"\nTokenFile "{simulator.token_file}"\n'
                    f'APIURL "{simulator.url}"\nBudget 100000 1\nActiveInterval @INTERVAL@\nIdleInterval @INTERVAL@\n'
                    'Instance "handbook"\n</Account>', extra=f"""
        LoadPlugin exec
        <Plugin exec>
          NotificationExec "{'nobody' if user == 'root' else user}" "/bin/sh" "-c" "cat >>{told}"
        </Plugin>""", interval=max(2.0, 4 * INTERVAL))
    simulator.instance("instances/handbook", [{"id": "job0", "state": "running"}])
    daemon = Collectd(tmp, config)
    for n in range(5):
        daemon.start()
        net.wait_until(lambda: re.search(rf"^budget facts!docs-handbook!.*read=", _state(daemon), re.MULTILINE), 10)
        simulator.job("instances/handbook", f"job{n}", state="failed", ends_in=0)
        simulator.job("instances/handbook", f"job{n + 1}", state="running")
        net.wait_until(lambda: f"failed={n + 1}/0/0" in _state(daemon), 10, "the end of the job in the state file")
        daemon.stop()
    daemon.start()
    net.wait_until(lambda: "notice!" not in _state(daemon) and "job4" in told.read_text(), 20, "the last notification")
    daemon.wait_reads(2)
    daemon.stop()
    jobs = re.findall(r"^Job (job\d) ", told.read_text(), re.MULTILINE)
    assert sorted(jobs) == [f"job{n}" for n in range(5)]


def _state(daemon: Collectd) -> str:
    path = daemon.prefix / "aisearch.state"
    return path.read_text() if path.exists() else ""
