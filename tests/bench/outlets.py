"""
What it costs collectd to pass the values of many instances on, by outlet. The values are those that the plugin reports,
put in by unixsock, so that nothing but the outlet makes a difference.
"""

import contextlib
import grp
import http.server
import os
import pathlib
import socket
import tempfile
import threading
import time
from collections.abc import Iterator

from harness import net
from harness.collectd import Collectd, Config

from .report import Line

NONE, PROMETHEUS, HTTP, NETWORK = CONTENDERS = ("no outlet", "write_prometheus", "write_http", "network")

# Those that are reported by default.
SERIES = [
    *(f"gauge-{what}" for what in ("state", "failed", "stalled", "overdue", "instance_error")),
    *(f"duration-{what}" for what in ("job", "since_read", "since_success")),
    *(f"operations-{end}" for end in ("succeeded", "failed")),
]

# collectd's default, and how many of these may pass before a value is taken for missing, as docs/collectd.md has it.
INTERVAL = 10
TIMEOUT = 10


def outlets(bench) -> list[Line]:
    return [line for instances in (bench.scale(1000, 100), bench.scale(3000, 200))
            for line in _lines(bench.tmp, instances)]


def _lines(tmp: pathlib.Path, instances: int) -> list[Line]:
    measured = {name: _measure(tmp, name, instances) for name in CONTENDERS}
    rows = ("the first interval, CPU time", "s"), ("another interval, CPU time", "s"), ("collectd's memory", "MiB")
    return [Line("outlets", f"{instances} instances, {what}", unit,
                 {name: found[n] for name, found in measured.items()}, columns=CONTENDERS)
            for n, (what, unit) in enumerate(rows)]


def _measure(tmp: pathlib.Path, name: str, instances: int) -> tuple[float, float, float]:
    prefix = pathlib.Path(tempfile.mkdtemp(prefix="outlets-", dir=tmp))
    with outlet(name) as (text, finished), \
         Collectd(tmp, Config(None, extra=f"Timeout {TIMEOUT}\n" + _unixsock(prefix) + text, csv=False,
                              global_interval=INTERVAL), stop_timeout=60) as collectd, \
         contextlib.closing(socket.socket(socket.AF_UNIX)) as sock:
        net.wait_until(lambda: sock.connect_ex(str(prefix / "sock")) == 0, what="collectd's unixsock")
        spent = []
        for _ in range(2):
            before = net.cpu_seconds(collectd.pid)
            _put(sock, instances)
            spent.append(_settled(collectd, lambda: finished(instances * len(SERIES))) - before)
        return *spent, net.rss(collectd.pid) / 2**20


def _put(sock: socket.socket, instances: int) -> None:
    with sock.makefile("rb") as answers:
        for n in range(instances):
            sock.sendall(b"".join(f'PUTVAL "test/aisearch-docs-instance-{n:04d}/{series}" interval={INTERVAL} N:1\n'.encode()
                                  for series in SERIES))
            for _ in SERIES:
                assert answers.readline().startswith(b"0 ")


def _settled(collectd: Collectd, finished) -> float:
    """CPU time, once it has spent none for a while and all values have come out."""
    def idle() -> bool:
        before = net.cpu_seconds(collectd.pid)
        time.sleep(1)
        return net.cpu_seconds(collectd.pid) - before < 0.03 and finished()

    net.wait_until(idle, 1200, "collectd to write all values")
    return net.cpu_seconds(collectd.pid)


def _unixsock(prefix: pathlib.Path) -> str:
    return f"""
        LoadPlugin unixsock
        <Plugin unixsock>
          SocketFile "{prefix}/sock"
          SocketGroup "{grp.getgrgid(os.getegid()).gr_name}"
        </Plugin>
    """


@contextlib.contextmanager
def outlet(name: str) -> Iterator[tuple]:
    """Its configuration, and whether it has got so many series."""
    if name == PROMETHEUS:
        port = net.free_port()
        yield (f'LoadPlugin write_prometheus\n<Plugin write_prometheus>\nHost "127.0.0.1"\nPort {port}\n</Plugin>',
               lambda series: net.request(("127.0.0.1", port), "/metrics", timeout=60).body.count(b"{") == series)
    elif name == HTTP:
        with _sink() as port:
            yield (f'LoadPlugin write_http\n<Plugin write_http>\n<Node "sink">\nURL "http://127.0.0.1:{port}/"\n'
                   'Format "JSON"\nBufferSize 65536\n</Node>\n</Plugin>', lambda series: True)
    elif name == NETWORK:
        with contextlib.closing(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) as sock:
            sock.bind(("127.0.0.1", 0))
            yield (f'LoadPlugin network\n<Plugin network>\nServer "127.0.0.1" "{sock.getsockname()[1]}"\n</Plugin>',
                   lambda series: True)
    else:
        yield "", lambda series: True


@contextlib.contextmanager
def _sink() -> Iterator[int]:
    """The port of a server that takes what is posted."""
    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_arguments) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield server.server_port
        finally:
            server.shutdown()
            thread.join()
