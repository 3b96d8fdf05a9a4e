"""The memory that watchers take, and whether they leave any of it behind."""

import contextlib
import socket
import ssl
import time

from harness import http2, net
from harness.edge import Certificates
from harness.nginx import Nginx

from . import contenders, watched
from .contenders import ACTIVE_TARGET, Setting
from .report import Line
from .tools import Client, Upstream, Watchers
from .watched import COLUMNS, EVENTS, JOB, NCHAN, WAITS, Server, serving


def footprint(bench) -> list[Line]:
    """Memory in excess of nginx without watchers."""
    count = bench.scale(9_500, 500)
    each = {}
    for kind in (EVENTS, WAITS, NCHAN):
        with serving(bench, kind) as server:
            with server.watchers(100):
                pass
            time.sleep(0.5)
            before = server.rss()
            with server.watchers(count) as watchers:
                server.change_and_tell(watchers)
                time.sleep(0.5)
                each[kind] = (server.rss() - before) / 1024 / count
    most = max(each[EVENTS], each[WAITS])
    bar = min(12, each[NCHAN])
    return [
        Line("footprint", f"{count} idle watchers: RSS of the workers for each", "KiB", each, f"{most:.2f} KiB",
             f"<= {bar:.3g}", bench.judge(most <= bar), columns=COLUMNS),
        _transports(bench),
    ]


TRANSPORTS = ("HTTP/1.1", "TLS", "HTTP/2, TLS", "HTTP/2, TLS, 100 in one")


def _transports(bench) -> Line:
    """Streams over each kind of connection."""
    count = bench.scale(2_000, 200)
    certificates = Certificates(bench.tmp)
    tls = f"ssl_certificate {certificates.certificate('good')}; ssl_certificate_key {certificates.key('good')};"
    each = {}
    for name in TRANSPORTS:
        with Upstream() as upstream:
            config = watched.aisearch(Setting(bench.tmp, upstream), 1)
            config.server += f"listen 127.0.0.1:@PORT_TLS@ ssl{' http2' if 'HTTP/2' in name else ''}; {tls}"
            with Nginx(bench.tmp, config) as nginx, contextlib.ExitStack() as stack:
                port = nginx.ports["TLS" if "TLS" in name else ""]
                streams = 100 if name.endswith("in one") else 1
                with contextlib.ExitStack() as some:
                    _connect(some, name, port, streams, 2 * streams)
                [worker] = nginx.workers()
                before = net.rss(worker)
                _connect(stack, name, port, streams, count)
                each[name] = (net.rss(worker) - before) / 1024 / count
    return Line("footprint", f"{count} streams: RSS of the worker for each", "KiB", each, columns=TRANSPORTS)


def _connect(stack: contextlib.ExitStack, transport: str, port: int, streams: int, count: int) -> None:
    """Opens that many streams on each connection, and waits until all have received the current state."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.set_alpn_protocols(["h2" if "HTTP/2" in transport else "http/1.1"])
    fields = [("accept", "text/event-stream")]
    if "HTTP/2" in transport:
        request = http2.block([(":method", "GET"), (":scheme", "https"), (":authority", "localhost"), (":path", JOB),
                               *fields])
        data = http2.PREFACE + http2.frame(http2.SETTINGS, 0, 0) + b"".join(
            http2.frame(http2.HEADERS, http2.END_HEADERS | http2.END_STREAM, 2 * n + 1, request)
            for n in range(streams))
    else:
        data = net.format_request(JOB, fields)
    for _ in range(count // streams):
        connection = stack.enter_context(socket.create_connection(("127.0.0.1", port), 10))
        if "TLS" in transport:
            connection = stack.enter_context(context.wrap_socket(connection))
        connection.sendall(data)
        answer = b""
        while answer.count(b"\ndata:") < streams:
            received = connection.recv(65536)
            assert received, answer
            answer += received


def growth(bench) -> list[Line]:
    """Whether events, or clients that come and go, leave memory behind."""
    return [*_many_events(bench), *_many_aborts(bench)]


def _many_events(bench) -> list[Line]:
    """Another client's lookups always bypass the cache, so each one brings a change."""
    first, events = 1_000, bench.scale(100_000, 3_000)
    with Upstream() as upstream:
        config = contenders.aisearch(Setting(bench.tmp, upstream))
        config.http += "aisearch_valid active 0; aisearch_events on;"
        upstream.changing()
        with Nginx(bench.tmp, config) as nginx, Watchers(EVENTS, nginx.port, JOB, 1) as watcher:
            def tell(until: int) -> int:
                with Client(nginx.port, ACTIVE_TARGET, "-c", 1, "-f", 1, "-s", 600) as client:
                    net.wait_until(lambda: watcher.counted().count >= until, 600, f"{until} events", every=0.1)
                return sum(map(net.rss, nginx.workers()))

            before, after = tell(first), tell(events)
    grown = (after - before) / 1024
    return [Line("growth", f"{events} events to one watcher: RSS grew after the first {first}", "KiB", {EVENTS: grown},
                 f"{grown:.0f} KiB", "<= 64", bench.judge(grown <= 64), columns=COLUMNS)]


def _many_aborts(bench) -> list[Line]:
    """With one worker, since with two it is random how many connections each gets."""
    count = bench.scale(10_000, 500)
    grown = {}
    for kind in (EVENTS, WAITS):
        with serving(bench, kind, 1) as server:
            def come_and_go() -> int:
                with server.watchers(count):
                    net.wait_until(lambda: _watching(server) == count, 60, "all to be held")
                net.wait_until(lambda: _watching(server) == 0, 10, "all to be gone")
                time.sleep(0.5)
                return server.rss()

            before, after = come_and_go(), come_and_go()
        grown[kind] = (after - before) / 1024
    most = max(grown.values())
    return [Line("growth", f"the second {count} connect and abort: RSS grew", "KiB", grown, f"{most:.0f} KiB", "<= 64",
                 bench.judge(most <= 64), columns=COLUMNS)]


def _watching(server: Server) -> int:
    return server.nginx.get("/aisearch_status").json()["accounts"]["docs"]["watchers"]
