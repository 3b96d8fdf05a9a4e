"""
An outage of the API as seen by Prometheus: python3 -m soak.outage --time SECONDS. Simulates half an hour with the real
rules and the real Prometheus, collectd and write_prometheus, with all their durations reduced in proportion to SECONDS.
Earlier problems of instances must remain visible at all times, also across a restart of collectd; the outage itself
must be reported within five minutes, and nothing else may be.
"""

import argparse
import pathlib
import re
import sys
import time

from harness import net, temp_dir
from harness.collectd import Collectd, Config
from harness.examples import RULES, config_text
from harness.prometheus import Prometheus
from harness.simulator import ACCOUNT, Simulator

# In seconds at real speed, as all times below.
MINUTE = 60
LASTS = 30 * MINUTE

_UNITS = {"s": 1, "m": MINUTE, "h": 60 * MINUTE, "d": 24 * 60 * MINUTE}

# The earlier problems of instances, which must remain visible; and the alerts allowed for the outage itself.
STANDING = {("AisearchJobFailed", "docs-failing"), ("AisearchJobsKeepFailing", "docs-failing"),
            ("AisearchJobStalled", "docs-silent"), ("AisearchOverdue", "docs-late"),
            ("AisearchInstanceError", "docs-broken")}
UNREACHABLE, NOT_READ = ("AisearchUnreachable", "docs"), ("AisearchNotRead", "docs")

Alerts = set[tuple[str, str]]


class Pace:
    """By which factor everything is faster than real time."""

    def __init__(self, seconds: float) -> None:
        self.factor = LASTS / seconds

    def seconds(self, of_life: float) -> float:
        return of_life / self.factor

    def text(self, text: str) -> str:
        """Scales all durations in the text, in Prometheus's format."""
        def cut(match: re.Match) -> str:
            return f"{round(self.seconds(int(match[1]) * _UNITS[match[2]]) * 1000)}ms"

        return re.sub(r"\b(\d+)([smhd])\b", cut, text)

    def wait(self, condition, of_life: float, what: str) -> None:
        net.wait_until(condition, self.seconds(of_life), what, every=self.seconds(6))


def prometheus_at(pace: Pace, tmp: pathlib.Path, port: int) -> Prometheus:
    """Without nginx. By default, Prometheus uses scraped values for five minutes."""
    config = config_text("prometheus.yml", ("localhost:9103", f"127.0.0.1:{port}")).partition("  # What the nginx")[0]
    return Prometheus(tmp, pace.text(config), {RULES: pace.text(config_text(RULES))},
                      options=[f"--query.lookback-delta={pace.text('5m')}"])


def collectd_at(pace: Pace, simulator: Simulator, port: int) -> Config:
    """With default options except OverdueAfter, whose default would take hours."""
    account = f"""
        <Account "docs">
          AccountID "{ACCOUNT}"
          APIURL "{simulator.url}"
          TokenFile "{simulator.token_file}"
          Timeout {pace.seconds(5000):.0f}
          Budget 300 {pace.seconds(300)}
          ActiveInterval {pace.seconds(20)}
          IdleInterval {pace.seconds(300)}
          DiscoverInstances true
          DiscoveryInterval {pace.seconds(900)}
          StalledAfter {pace.seconds(900)}
          OverdueAfter {pace.seconds(180)}
        </Account>
    """
    outlets = config_text("collectd-outlets.conf", ("Port 9103", f"Port {port}")).partition("# For collectdctl")[0]
    interval = pace.seconds(10)
    return Config(account, interval=interval, global_interval=interval, extra=outlets, csv=False)


def run(tmp: pathlib.Path, simulator: Simulator, seconds: float) -> None:
    """Fails if anything was wrong."""
    pace = Pace(seconds)
    for name, fields in {"failing": {}, "silent": {}, "late": {}, "broken": {"status": "error"}}.items():
        simulator.instance(f"instances/{name}", [{"id": "old", "state": "succeeded"}], **fields)
    port = net.free_port()
    with Collectd(tmp, collectd_at(pace, simulator, port)) as collectd, \
         prometheus_at(pace, tmp, port) as prometheus:
        break_instances(pace, simulator, prometheus)
        standing, since = prometheus.firing(), alerts_since(prometheus)

        fault = simulator.fault(status=502, body="no")
        began = time.monotonic()
        told = watch(prometheus.firing, standing, pace, began, until=LASTS / 2)
        collectd.stop()
        collectd.start()
        told = watch(prometheus.firing, standing, pace, began, until=LASTS) | told
        print(f"outage: of {LASTS / MINUTE:.0f} minutes, reported after", ", ".join(
            f"{after / MINUTE:.1f} ({alert})" for (alert, _), after in told.items()), flush=True)
        assert told[UNREACHABLE] < 5 * MINUTE
        assert prometheus.firing() == {*standing, UNREACHABLE, NOT_READ}

        simulator.clear_fault(fault)
        pace.wait(lambda: prometheus.firing() == standing, 15 * MINUTE, "the end of the outage")
        assert {alert: alerts_since(prometheus).get(alert) for alert in standing} == {
            alert: since[alert] for alert in standing}


def break_instances(pace: Pace, simulator: Simulator, prometheus: Prometheus) -> None:
    pace.wait(lambda: prometheus.query('collectd_aisearch_operations_total{aisearch="docs-failing"} == 0'),
              5 * MINUTE, "counters")
    simulator.instance("instances/failing", [{"id": name, "starts_in": -5, "ends_in": 0, "end_reason": "error: x"}
                                             for name in "abc"])
    simulator.instance("instances/silent", [{"id": "a", "starts_in": -1000, "silent_in": -950}])
    pace.wait(lambda: prometheus.firing() >= STANDING, 15 * MINUTE, "all that is wrong")


def alerts_since(prometheus: Prometheus) -> dict[tuple[str, str], float]:
    """When each firing alert began; this changes if an alert was interrupted."""
    return {(sample.labels["alertname"], sample.labels.get("aisearch", "")): sample.value
            for sample in prometheus.query("ALERTS_FOR_STATE")}


def watch(firing, standing: Alerts, pace: Pace, began: float, until: float) -> dict[tuple[str, str], float]:
    """
    Returns the seconds after which each alert of the outage was first seen firing; the earlier alerts must fire at all
    times.
    """
    first: dict[tuple[str, str], float] = {}
    while (passed := (time.monotonic() - began) * pace.factor) < until:
        now = firing()
        assert now >= standing, f"{standing - now} disappeared after {passed:.0f} s"
        assert now <= {*standing, UNREACHABLE, NOT_READ}, f"{now - standing} appeared after {passed:.0f} s"
        for alert in now - standing:
            first.setdefault(alert, passed)
        time.sleep(pace.seconds(6))
    return first


def main() -> int:
    parser = argparse.ArgumentParser(prog="soak.outage", description=__doc__)
    parser.add_argument("--time", type=float, default=LASTS, help="duration of the outage in seconds")
    arguments = parser.parse_args()
    print(f"soak: an outage, {arguments.time:g} s", flush=True)
    try:
        with temp_dir() as tmp, Simulator(tmp) as simulator:
            run(tmp, simulator, arguments.time)
    except AssertionError as error:
        print(f"soak: outage: {error or repr(error)}")
        return 1
    print("soak: earlier alerts remained, and the outage was reported")
    return 0


if __name__ == "__main__":
    sys.exit(main())
