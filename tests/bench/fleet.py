"""
A collectd that watches many instances of an API with network latency: by the plugin, and by the alternative, a
curl_json URL block for each. All request the newest jobs of all instances from the same edge.
"""

import dataclasses
import pathlib
import time

from harness import net
from harness.collectd import Collectd, Config
from harness.edge import Certificates, Edge

from .contenders import ACCOUNT
from .outlets import NETWORK, outlet, series
from .report import Line
from .tools import Upstream

HTTP_2, HTTP_1, CURL_JSON = CONTENDERS = ("HTTP/2", "HTTP/1.1", "curl_json")
BARS = {HTTP_2: 1.0, HTTP_1: 2.0}  # s, for all instances
ROUND_TRIP = 0.05

_KEEP_ALIVE = "keepalive_requests 1000000; keepalive_timeout 600s;"

@dataclasses.dataclass
class Read:
    """One read of all instances, as seen by the edge, and the resources that collectd has used for it."""

    seconds: float
    connections: int
    cpu: float  # seconds
    memory: float  # MiB


def fleet(bench) -> list[Line]:
    instances = bench.scale(1000, 100)
    certificates = Certificates(bench.tmp)
    measured = {name: _measure(bench.tmp, certificates, name, instances, name != CURL_JSON) for name in CONTENDERS}

    def line(what: str, unit: str, n: int, value) -> Line:
        values = {name: value(reads[n]) for name, reads in measured.items() if n < len(reads)}
        return Line("fleet", f"{instances} instances, {what}", unit, values, columns=CONTENDERS)

    def judged(line: Line) -> list[Line]:
        return [dataclasses.replace(line, compared=f"{line.values[name]:.2f} s over {name}", bar=f"< {bar:g}",
                                    met=bench.judge(line.values[name] < bar)) for name, bar in BARS.items()]

    return [
        *judged(line("all read for the first time", "s", 0, lambda read: read.seconds)),
        line("CPU time of that", "s", 0, lambda read: read.cpu),
        line("all read again", "s", 1, lambda read: read.seconds),
        line("CPU time of that", "s", 1, lambda read: read.cpu),
        line("connections", "", 0, lambda read: read.connections),
        line("collectd's memory", "MiB", 0, lambda read: read.memory),
        *_over_tls(bench, certificates),
        *_start(bench),
    ]


def _over_tls(bench, certificates: Certificates) -> list[Line]:
    """For a thousand instances, Debian's curl_json would take a minute of both CPUs and 4 GiB."""
    instances = bench.scale(100, 20)
    reads = {name: _measure(bench.tmp, certificates, name, instances, tls=True)[0] for name in CONTENDERS}
    rows = [("CPU time of the first read", "s", "cpu"), ("collectd's memory", "MiB", "memory")]
    return [Line("fleet", f"{instances} instances, all by TLS, {what}", unit,
                 {name: getattr(read, value) for name, read in reads.items()}, columns=CONTENDERS)
            for what, unit, value in rows]


def _measure(tmp: pathlib.Path, certificates: Certificates, name: str, instances: int, tls: bool) -> list[Read]:
    """
    The first read opens the connections, the second reuses them. The plugin has no second read of everything: from then
    on each instance has its own schedule.
    """
    with Upstream(ROUND_TRIP) as upstream, outlet(NETWORK) as (to, _), \
         Edge(tmp, certificates, upstream.address, name != HTTP_1, _KEEP_ALIVE) as edge, \
         Collectd(tmp, _config(tmp, certificates, edge, name, instances, to, tls), stop_timeout=30) as collectd:
        return [_read(edge, collectd, instances, n) for n in range(1 if tls else 2)]


def _read(edge: Edge, collectd: Collectd, instances: int, n: int) -> Read:
    """Waits for the nth read, which follows the previous one."""
    before = net.cpu_seconds(collectd.pid) if n > 0 else 0
    net.wait_until(lambda: _lines(edge) >= (n + 1) * instances, 240, "collectd to read all instances", every=0.1)
    cpu, memory = net.cpu_seconds(collectd.pid) - before, net.rss(collectd.pid) / 2**20

    log = edge.requests()[n * instances:(n + 1) * instances]
    assert all(entry["status"] == 200 for entry in log), "the edge has failed"
    assert len({entry["uri"] for entry in log}) == instances, "the next read began before this one was over"
    began, ended = min(entry["ended"] - entry["took"] for entry in log), max(entry["ended"] for entry in log)
    return Read(ended - began, len({entry["connection"] for entry in log}), cpu, memory)


def _start(bench) -> list[Line]:
    """
    The time that collectd takes to start with many instances; and its memory, compared with a collectd whose plugin
    only dispatches the same series.
    """
    instances = bench.scale(5000, 500)
    names = [f"instance-{n:04d}" for n in range(instances)]
    with Collectd(bench.tmp, Config(None, extra=series(instances, interval=1), csv=False)) as collectd:
        alone = _settled_memory(collectd)
    with Upstream() as upstream:
        config = Config(_aisearch_plain(bench.tmp, upstream, names), interval=1, csv=False)
        began = time.monotonic()
        with Collectd(bench.tmp, config) as collectd:
            started = time.monotonic() - began
            net.wait_until(lambda: upstream.count() >= instances, 60, "collectd to read all instances")
            added = _settled_memory(collectd) - alone

    def line(what: str, unit: str, value: float, bar: float) -> Line:
        return Line("fleet", f"{instances} instances, {what}", unit, {HTTP_1: value}, f"{value:.3g} {unit}",
                    f"< {bar:g}", bench.judge(value < bar), columns=CONTENDERS)

    return [line("collectd is up", "s", started, 2),
            line("more memory than a plugin that reports the same", "MiB", added, 60)]


def _settled_memory(collectd: Collectd) -> float:
    """In MiB, after a few intervals."""
    time.sleep(5)
    return net.rss(collectd.pid) / 2**20


def _lines(edge: Edge) -> int:
    return (edge.nginx.prefix / "edge.log").read_bytes().count(b"\n")


def _config(tmp: pathlib.Path, certificates: Certificates, edge: Edge, name: str, instances: int, to: str,
            tls: bool) -> Config:
    names = [f"instance-{n:04d}" for n in range(instances)]
    url = edge.url() if tls else edge.plain_url()
    if name == CURL_JSON:
        # Long enough for all instances to be read before the next interval.
        return Config(None, extra=to + _curl_json(url, certificates, names, 10 + instances * 0.02), csv=False)
    return Config(_aisearch(tmp, names, f'APIURL "{url}"\nCACert "{certificates.ca_file}"'), extra=to, csv=False)


def _aisearch_plain(tmp: pathlib.Path, upstream: Upstream, names: list[str]) -> str:
    return _aisearch(tmp, names, f'APIURL "http://{upstream.address}/client/v4"')


def _aisearch(tmp: pathlib.Path, names: list[str], where: str) -> str:
    token = tmp / "token"
    token.touch(mode=0o600)
    token.write_text("bench\n", encoding="ascii")
    blocks = "\n".join(f'Instance "{name}"' for name in names)
    return f"""
        <Account "docs">
          AccountID "{ACCOUNT}"
          TokenFile "{token}"
          Budget 1000000 1
          {where}
          {blocks}
        </Account>
    """


def _curl_json(url: str, certificates: Certificates, names: list[str], interval: float) -> str:
    blocks = "\n".join(f"""
        <URL "{url}/accounts/{ACCOUNT}/ai-search/instances/{name}/jobs?per_page=50">
          Instance "{name}"
          Header "Authorization: Bearer bench"
          CACert "{certificates.ca_file}"
          <Key "result_info/total_count">
            Type "count"
          </Key>
        </URL>
    """ for name in names)
    return f"""
        <LoadPlugin curl_json>
          Interval {interval}
        </LoadPlugin>
        <Plugin curl_json>
          {blocks}
        </Plugin>
    """
