"""
The cost to collectd of passing on the values of many instances, by outlet, with the real Interval and the Timeout that
docs/collectd.md recommends. The values come from a plugin that does nothing else (plugin/series.c). It dispatches them
in each interval, spread over it like those of aisearch, so only the outlet makes a difference.
"""

import contextlib
import dataclasses
import pathlib
import re
import socket
import time
from collections.abc import Iterator

from harness import BUILD, ROOT, net
from harness.collectd import Collectd, Config

from .report import Line

NONE, PROMETHEUS, FIVE, HTTP, NETWORK = CONTENDERS = (
    "no outlet", "write_prometheus", "five series", "write_http", "network")

# Series per instance: all that are reported by default, and what the filter chain in docs/collectd.md leaves.
SERIES, LEFT = 10, 5

# collectd's default; and by the number of instances, the number of intervals after which a value is considered missing.
# A test compares docs/collectd.md with this.
INTERVAL = 10
TIMEOUTS = {1000: 2, 3000: 10}

# With the documented settings; times are in seconds.
SETTLED = 20


@dataclasses.dataclass
class Found:
    settled: float  # seconds until all values are passed on in the interval in which they are reported
    first: float  # CPU time until then
    another: float  # CPU time of a later interval
    memory: float  # memory in MiB
    missing: int  # values that collectd considered missing


def outlets(bench) -> list[Line]:
    return [line for full, timeout in TIMEOUTS.items()
            for line in _lines(bench, bench.scale(full, full // 10), timeout)]


def _lines(bench, instances: int, timeout: int) -> list[Line]:
    measured = {name: _measure(bench.tmp, name, instances, timeout) for name in CONTENDERS}

    def line(what: str, unit: str, value) -> Line:
        return Line("outlets", f"{instances} instances, {what}", unit,
                    {name: value(found) for name, found in measured.items()}, columns=CONTENDERS)

    settled = line("settled after", "s", lambda found: found.settled)
    missing = line("values considered missing", "", lambda found: found.missing)
    return [
        dataclasses.replace(settled, compared=f"{settled.values[FIVE]:.1f} s with {FIVE}", bar=f"< {SETTLED}",
                            met=bench.judge(settled.values[FIVE] < SETTLED)),
        dataclasses.replace(missing, compared=f"{sum(missing.values.values())} in all", bar="0",
                            met=bench.judge(not any(missing.values.values()))),
        line("CPU time until then", "s", lambda found: found.first),
        line("CPU time of another interval", "s", lambda found: found.another),
        line("collectd's memory", "MiB", lambda found: found.memory),
    ]


def _measure(tmp: pathlib.Path, name: str, instances: int, timeout: int) -> Found:
    with outlet(name) as (text, finished):
        config = Config(None, extra=f"Timeout {timeout}\n{text}\n{series(instances)}", csv=False, global_interval=INTERVAL)
        began = time.monotonic()
        with Collectd(tmp, config, stop_timeout=60) as collectd:
            settled, first = _settled(collectd, began, lambda: finished(instances))
            time.sleep(INTERVAL)
            another = net.cpu_seconds(collectd.pid) - first
            missing = sum(int(line.split()[-1]) for line in collectd.log_lines("series plugin: missing: "))
            return Found(settled, first, another, net.rss(collectd.pid) / 2**20, missing)


def _settled(collectd: Collectd, began: float, finished) -> tuple[float, float]:
    """
    Returns after how many seconds, and how many seconds of CPU time, values are passed on as fast as they are reported
    and all series have been written. (Sorting thousands of series takes an entire CPU.)
    """
    def look() -> tuple[float, float] | None:
        at, before = time.monotonic() - began, net.cpu_seconds(collectd.pid)
        time.sleep(1)
        spent = net.cpu_seconds(collectd.pid) - before
        return (at, before) if at > INTERVAL and spent < 0.3 and finished() else None

    return net.wait_until(look, 600, "collectd to pass on all values")


def series(instances: int, interval: float = INTERVAL) -> str:
    """The configuration of a plugin that reports as many values as aisearch."""
    return f"""
        PluginDir "{BUILD / 'bench'}"
        <LoadPlugin series>
          Interval {interval}
        </LoadPlugin>
        <Plugin series>
          Instances {instances}
        </Plugin>
    """


def chain() -> str:
    """The documented filter chain that leaves five series."""
    return re.search(r"```\n(LoadPlugin match_regex\n.*?)```", (ROOT / "docs/collectd.md").read_text(), re.DOTALL)[1]


@contextlib.contextmanager
def outlet(name: str) -> Iterator[tuple]:
    """
    Returns the outlet's configuration, and a function that checks whether it has received the values of that many
    instances.
    """
    if name in (PROMETHEUS, FIVE):
        port = net.free_port()
        each = LEFT if name == FIVE else SERIES
        text = f'LoadPlugin write_prometheus\n<Plugin write_prometheus>\nHost "127.0.0.1"\nPort {port}\n</Plugin>\n'
        yield (text + (chain() if name == FIVE else ""), lambda instances: net.request(
            ("127.0.0.1", port), "/metrics", timeout=60).body.count(b"{") == instances * each)
    elif name == HTTP:
        with net.http_server(lambda body: b"") as port:
            yield (f'LoadPlugin write_http\n<Plugin write_http>\n<Node "sink">\nURL "http://127.0.0.1:{port}/"\n'
                   'Format "JSON"\nBufferSize 65536\n</Node>\n</Plugin>', lambda instances: True)
    elif name == NETWORK:
        with contextlib.closing(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) as sock:
            sock.bind(("127.0.0.1", 0))
            yield (f'LoadPlugin network\n<Plugin network>\nServer "127.0.0.1" "{sock.getsockname()[1]}"\n</Plugin>',
                   lambda instances: True)
    else:
        yield "", lambda instances: True
