"""The collectd plugin in its daemon: other plugins, start and stop, collectd -T, descriptors and secrets."""

import time

import pytest

from harness import SLOWNESS, net, stall
from harness.collectd import INTERVAL, BackgroundCollectd, Collectd, Config
from reports import account, errors, has, of_lists, steps


@pytest.mark.parametrize("intervals", (1.25, 25), ids=("timed out", "in progress"))
def test_silent_apis_do_not_delay_other_plugins(simulator, tmp, collectd, intervals):
    """If the APIs of five accounts never respond, other plugins keep their interval, and SIGTERM works at once."""
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
    net.wait_until(lambda: simulator.counters()["connections_open"] == 0, what="the connection to be closed")


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
    """collectd -T waits for all accounts concurrently, and does not change the state file of a running collectd."""
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


def test_no_descriptors_are_left_open(simulator, collectd):
    """The number of open descriptors does not grow, whether lookups fail or not."""
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
