"""Upstreams and proxies that send endless data: collectd continues to report, and uses little time and memory."""

import time

import pytest

from harness import PRELOAD, SLOWNESS, flood, net
from harness.simulator import ACCOUNT
from test_nginx_floods import FLOODS, PROXY_FLOODS, Flood

INSTANCES = 4


def start(tmp, collectd, url: str, *lines: str):
    token = tmp / "flood.token"
    token.write_text("of-no-value\n")
    token.chmod(0o600)
    instances = "\n".join(f'Instance "i{number}"' for number in range(INSTANCES))
    more = "\n".join(lines)
    return collectd(f'<Account "docs">\nAccountID "{ACCOUNT}"\nTokenFile "{token}"\nAPIURL "{url}"\n{more}\n'
                    f'Budget 100000 1\nActiveInterval @INTERVAL@\nIdleInterval @INTERVAL@\n{instances}\n</Account>')


def check(daemon, seconds: float = 1) -> None:
    """collectd reports as often as usual. (The fixture checks that it stops in time.)"""
    daemon.wait_reads(3)
    memory, time_spent, begin = net.rss(daemon.pid), net.cpu_seconds(daemon.pid), time.monotonic()
    reads = len(daemon.reports("docs"))
    net.wait_until(lambda: time.monotonic() - begin >= seconds, seconds + 1)
    daemon.wait_reads(1)
    share = (net.cpu_seconds(daemon.pid) - time_spent) / (time.monotonic() - begin)
    print(f"{share:.1%} of the time, {len(daemon.reports('docs')) - reads} reads, "
          f"{(net.rss(daemon.pid) - memory) >> 10} KiB more")
    assert len(daemon.reports("docs")) - reads >= seconds / SLOWNESS / 2
    assert any(value > 0 for name, value in daemon.last_report("docs")[1].items() if "/errors-" in name)
    if not PRELOAD:
        assert share < 0.2
        assert net.rss(daemon.pid) - memory < 4 << 20


@pytest.mark.parametrize("name", ["empty DATA", "PING", "GOAWAY", "records of one byte", "session tickets",
                                  "chunk extension", "HelloRequest", "chunk extension without TLS"])
def test_a_flood(tmp, collectd, certificates, name):
    with flood.Flood(tmp, certificates, name) as url:
        check(start(tmp, collectd, url, f'CACert "{certificates.ca_file}"'))


@pytest.mark.parametrize("name", FLOODS)
def test_endless_response(tmp, collectd, name):
    with Flood(FLOODS[name]) as (host, port):
        check(start(tmp, collectd, f"http://{host}:{port}/client/v4"))


@pytest.mark.parametrize("name", PROXY_FLOODS)
def test_endless_response_of_a_proxy(tmp, collectd, name):
    with Flood(PROXY_FLOODS[name]) as (host, port):
        check(start(tmp, collectd, "https://api.invalid/client/v4", f'Proxy "http://{host}:{port}"'))
