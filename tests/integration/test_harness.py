"""Tests of the test harness: log checks, the HTTP client, the proxy, the edge, failing upstreams and clocks."""

import email.utils
import os
import socket
import ssl
import subprocess
import time

import pytest

from harness import ROOT, memory, net, process, stall
from harness.clock import Clock
from harness.edge import Certificates, Edge
from harness.illness import Illness, Upstream
from harness.nginx import Config, Nginx, config_test
from harness.proxy import ForwardProxy
from harness.stall import HOUR

HELLO = "location / { return 200 hello; }"


def hello(workers=1, **parts):
    return Config(aisearch=False, server=HELLO, workers=workers, **parts)


# nginx.


def test_nginx_responds_on_its_port_and_socket_and_stops(tmp):
    with Nginx(tmp, hello(workers=2)) as nginx:
        assert [nginx.get("/").body, net.request(nginx.socket, "/").body] == [b"hello", b"hello"]
        family = [nginx.pid, *nginx.workers()]
        assert len(family) == 3
    assert not any(map(net.alive, family))
    net.wait_until(lambda: len(nginx.access_log()) == 2, what="the access log")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can run workers as another user")
def test_workers_run_as_nobody(tmp):
    with Nginx(tmp, hello()) as nginx:
        assert nginx.get("/").status == 200  # the worker has started and changed its user
        assert all(net.uid(pid) != 0 for pid in nginx.workers())


@pytest.mark.parametrize("wait_old", [True, False])
def test_reload_waits_for_the_new_workers(tmp, wait_old):
    with Nginx(tmp, hello()) as nginx, nginx.connect() as kept:
        assert kept.request("/").body == b"hello"
        old = nginx.workers()
        nginx.reload(Config(aisearch=False, server="location / { return 200 again; }", workers=2), wait_old)
        assert {nginx.get("/").body for _ in range(20)} == {b"again"}
        assert len(set(nginx.workers()) - set(old)) == 2


def test_more_ports(tmp):
    http = "server { listen 127.0.0.1:@PORT_OTHER@; return 200 other; }"
    with Nginx(tmp, Config(aisearch=False, http=http, server=HELLO)) as nginx:
        assert net.request(("127.0.0.1", nginx.ports["OTHER"]), "/").body == b"other"


def test_nginx_that_does_not_start_fails_the_test(tmp):
    with pytest.raises(AssertionError, match='unknown directive "nonsense"'):
        Nginx(tmp, Config(aisearch=False, server="nonsense;")).start()


def test_output_of_config_test(tmp):
    assert config_test(hello(), tmp).ok
    refused = config_test(Config(aisearch=False, server="nonsense;"), tmp)
    assert not refused.ok and "nonsense" in refused.output and "nginx.conf:" in refused.output


@pytest.mark.parametrize("line", ["[alert] something", "[emerg] x", "[crit] y", "open socket #3 left in connection 4"])
def test_suspicious_log_lines_fail_the_test_unless_allowed(tmp, line):
    nginx = Nginx(tmp, hello())
    nginx.start()
    nginx.stop()
    nginx.check_logs()
    with open(nginx.prefix / "error.log", "a", encoding="utf-8") as log:
        log.write(f"2026/11/23 12:00:00 {line}\n")
    with pytest.raises(AssertionError, match="nginx complained"):
        nginx.check_logs()
    nginx.allow_log("something|x$|y$|left in connection")
    nginx.check_logs()


def test_reports_of_memory_errors_fail_the_test(tmp):
    memory.check(tmp)
    ours = "==9== Invalid write of size 1\n==9==    at 0x1: ais_job_parse (ais_job.c:6)\n==9== \n"
    theirs = "==9== Invalid write of size 1\n==9==    at 0x1: ngx_palloc (ngx_palloc.c:6)\n==9== \n"
    (tmp / "valgrind.1").write_text(theirs)
    memory.check(tmp)
    (tmp / "valgrind.2").write_text(theirs + ours)
    with pytest.raises(AssertionError, match="ais_job_parse"):
        memory.check(tmp)
    (tmp / "sanitizer.3").write_text("ERROR: AddressSanitizer\n")
    with pytest.raises(AssertionError, match="AddressSanitizer"):
        memory.check(tmp)


def test_process_that_does_not_exit_is_killed_and_fails_the_test():
    stubborn = process.start(["/bin/sh", "-c", "trap '' TERM; while :; do sleep 0.1; done"])
    time.sleep(0.2)
    with pytest.raises(AssertionError, match="did not leave"):
        process.stop(stubborn, timeout=0.2)
    assert not net.alive(stubborn.pid)


# Waiting.


def test_wait_until_fails_after_its_timeout():
    with pytest.raises(AssertionError, match="in vain for the moon"):
        net.wait_until(lambda: False, timeout=0.05, what="the moon")


# The raw client.


@pytest.mark.parametrize("data, method, body, rest", [
    (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhiHTTP", "GET", b"hi", b"HTTP"),
    (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n", "HEAD", b"", b""),
    (b"HTTP/1.1 304 Not Modified\r\n\r\n", "GET", b"", b""),
    (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2;x=y\r\nhi\r\n1\r\n!\r\n0\r\nA: b\r\n\r\nX", "GET",
     b"hi!", b"X"),
    (b"HTTP/1.1 103 Early\r\nA: b\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nx", "GET", b"x", b""),
])
def test_responses_are_parsed_when_they_are_complete(data, method, body, rest):
    response, behind = net.parse_response(data, method, False)
    assert (response.body, behind) == (body, rest)
    whole = len(data) - len(rest)
    assert all(net.parse_response(data[:length], method, False) is None for length in range(whole))


def test_body_without_a_length_ends_with_the_connection():
    data = b"HTTP/1.1 200 OK\r\n\r\nhi"
    assert net.parse_response(data, "GET", False) is None
    assert net.parse_response(data, "GET", True)[0].body == b"hi"


def test_thousand_concurrent_requests(tmp, simulator):
    simulator.fault("", delay=0.2, status=200, body="x")
    http = f"upstream simulator {{ server unix:{simulator.unix}; }}"
    server = "location / { proxy_pass http://simulator; }"
    with Nginx(tmp, Config(aisearch=False, http=http, server=server, connections=8192)) as nginx:
        responses = net.concurrent_gets(nginx.address, [f"/{n}" for n in range(1000)])
    assert [response.body for response in responses] == [b"x"] * 1000
    assert min(response.elapsed for response in responses) >= 0.2
    assert simulator.counters()["in_flight_max"] > 100


# The forward proxy.


def test_proxy_forwards_and_tunnels(edge, certificates, simulator):
    simulator.job("instances/i", "a")
    target = simulator.path("instances/i", "a")
    context = ssl.create_default_context(cafile=certificates.ca_file)
    with ForwardProxy() as proxy:
        plain = net.request(("127.0.0.1", proxy.port), f"http://api.test:{simulator.port}{target}",
                            simulator.credential_headers)
        with net.Connection(("127.0.0.1", proxy.port)) as connection:
            connection.send(f"CONNECT api.test:{edge.port()} HTTP/1.1\r\nHost: api.test\r\n\r\n".encode())
            assert connection.sock.recv(4096).startswith(b"HTTP/1.1 200")
            connection.sock = context.wrap_socket(connection.sock, server_hostname="localhost")
            tunnelled = connection.request(target, simulator.credential_headers)
        closed = net.request(("127.0.0.1", proxy.port), "http://api.test:1/")
    assert plain.json()["result"]["id"] == tunnelled.json()["result"]["id"] == "a"
    assert closed.status == 502
    assert [request.method for request in proxy.requests] == ["GET", "CONNECT", "GET"]
    assert [name for name, _ in proxy.requests[1].headers] == ["Host"]


# The edge.


def handshake(edge, kind, cafile, name="localhost", alpn="h2"):
    context = ssl.create_default_context(cafile=cafile)
    context.set_alpn_protocols([alpn])
    with socket.create_connection(("127.0.0.1", edge.port(kind)), 5) as sock:
        with context.wrap_socket(sock, server_hostname=name) as tls:
            return tls.selected_alpn_protocol()


def test_good_certificate_is_accepted(edge, certificates):
    assert handshake(edge, "good", certificates.ca_file) == "h2"
    assert handshake(edge, "good", certificates.ca_file, "api.slow.test") == "h2"


@pytest.mark.parametrize("kind, reason", [
    ("wrong_host", "mismatch"),
    ("expired", "expired"),
    ("self_signed", "self.signed"),
    ("old_tls", "legacy|protocol|handshake"),
])
def test_bad_certificates_are_rejected(edge, certificates, kind, reason):
    with pytest.raises(ssl.SSLError, match=f"(?i){reason}"):
        handshake(edge, kind, certificates.ca_file)


def test_edge_forwards_requests_and_logs_the_protocol(tmp, certificates, simulator):
    simulator.job("instances/i", "a")
    with Edge(tmp, certificates, simulator.unix, http2=False) as edge:
        assert handshake(edge, "good", certificates.ca_file, alpn="http/1.1") == "http/1.1"
        context = ssl.create_default_context(cafile=certificates.ca_file)
        with net.Connection(("127.0.0.1", edge.port())) as connection:
            connection.sock = context.wrap_socket(connection.sock, server_hostname="localhost")
            answer = connection.request(simulator.path("instances/i", "a"), simulator.credential_headers)
        assert answer.json()["result"]["id"] == "a"
        seen = net.wait_until(edge.requests, what="the edge's log")[-1]
        assert (seen["protocol"], seen["tls"], seen["sni"], seen["status"]) == ("HTTP/1.1", "TLSv1.3", "localhost", 200)


def test_files_of_certificates(certificates):
    for kind in Certificates.KINDS:
        assert certificates.certificate(kind).exists() and certificates.key(kind).exists()


# Failing upstreams.


def test_refusing():
    with stall.refusing() as address:
        with pytest.raises(ConnectionRefusedError):
            net.request(address, "/")


def test_black_hole():
    with stall.black_hole() as address:
        began = time.monotonic()
        with pytest.raises(TimeoutError):
            net.Connection(address, 0.5)
        assert time.monotonic() - began >= 0.5


def test_silent():
    with stall.silent() as address, net.Connection(address, 0.3) as connection:
        connection.send(net.format_request("/"))
        with pytest.raises(TimeoutError):
            connection.read_response()


@pytest.mark.parametrize("script, outcome", [
    (stall.no_headers(), TimeoutError),
    (stall.half_headers(), TimeoutError),
    (stall.no_body(), TimeoutError),
    (stall.truncated(), net.Closed),
    (stall.reset_before_headers(), ConnectionResetError),
    (stall.reset_in_body(), ConnectionResetError),
    (stall.close_at_once(), net.Closed),
    (stall.bad_chunks(), ValueError),
    (stall.not_http(), (ValueError, net.Closed)),
])
def test_scripts_have_the_same_effect_in_the_simulator(simulator, script, outcome):
    simulator.fault("", script=script)
    with stall.speaking(script) as address:
        for upstream in (address, simulator.address):
            with pytest.raises(outcome):
                net.request(upstream, "/", timeout=0.3)


def test_slow_and_endless_bodies():
    with stall.speaking(stall.slow_body(every=0.01)) as address, net.Connection(address) as connection:
        connection.send(net.format_request("/"))
        received = b""
        while len(received.partition(b"\r\n\r\n")[2]) < 10:
            received += connection.sock.recv(4096)
        assert received.endswith(b"  ")
    for script in (stall.endless_body(), stall.endless_headers()):
        with stall.speaking(script) as address, net.Connection(address) as connection:
            connection.send(net.format_request("/"))
            received = 0
            while received < 2_000_000:
                received += len(connection.sock.recv(1 << 20))


def test_script_is_repeated_on_a_connection_over_tls(certificates):
    tls = stall.server_context(certificates.certificate("good"), certificates.key("good"))
    with stall.speaking([stall.response(body=stall.a_job("x"))], tls) as address:
        context = ssl.create_default_context(cafile=certificates.ca_file)
        with net.Connection(address) as connection:
            connection.sock = context.wrap_socket(connection.sock, server_hostname="localhost")
            ids = [connection.request("/").json()["result"]["id"] for _ in range(2)]
    assert ids == ["x", "x"]


@pytest.mark.parametrize("illness, outcome", [
    (Illness(listens="no"), ConnectionRefusedError),
    (Illness(listens="full"), TimeoutError),
    (Illness(greets=[{"reset": True}]), ConnectionResetError),
    (Illness(answers=lambda job: stall.truncated()), net.Closed),
])
def test_upstream_fails_and_recovers_repeatedly(certificates, illness, outcome):
    with Upstream(illness, certificates, lambda job, version: f"{job} {version}") as upstream:
        address = ("127.0.0.1", int(upstream.url().split(":")[2].partition("/")[0]))
        for version in (b"1", b"2", b"3"):
            with net.Connection(address) as connection:
                assert connection.request("/jobs/a").body == b"a " + version
                upstream.fall_ill()
                assert connection.at_eof(), "an idle connection is closed"
            with pytest.raises(outcome):
                net.request(address, "/jobs/a", timeout=0.3)
            upstream.recover()


def test_stalled_upstream_leaks_no_descriptors():
    before = len(net.open_fds(os.getpid()))
    with stall.speaking([{"sleep": HOUR}]) as address, net.Connection(address) as connection:
        connection.send(net.format_request("/"))
    assert len(net.open_fds(os.getpid())) == before


def test_clock_that_is_advanced(tmp):
    clock = Clock(tmp)
    clocks = "import time\nfor _ in range(2):\n    print(time.monotonic(), time.time(), flush=True)\n    input()"
    child = process.start(["/usr/bin/python3", "-c", clocks], stdin=-1, stdout=-1,
                          env={"LD_PRELOAD": str(clock.library), **clock.env})
    before = [float(word) for word in child.stdout.readline().split()]
    clock.advance(300.5)
    after = [float(word) for word in child.communicate(b"\n\n", timeout=20)[0].split()]
    ahead = [late - early for early, late in zip(before, after)]
    assert ahead == [pytest.approx(300.5, abs=10), pytest.approx(0, abs=10)]


def test_slow_dns(tmp):
    library = stall.slow_dns(tmp)
    resolve = ("import socket, sys, time; began = time.monotonic()\n"
               "address = socket.getaddrinfo(sys.argv[1], 80, socket.AF_INET)[0][4][0]\n"
               "print(address, time.monotonic() - began)")
    for name, at_least, at_most in (("api.test", 0, 0.4), ("api.slow.test", 0.4, 5), ("localhost", 0, 0.4)):
        child = process.start(["/usr/bin/python3", "-c", resolve, name], stdout=-1,
                              env={"LD_PRELOAD": str(library), "AIS_SLOW_DNS": "0.4"})
        address, seconds = child.communicate(timeout=20)[0].split()
        assert address == b"127.0.0.1"
        assert at_least <= float(seconds) <= at_most, name


def test_set_wall_only_changes_the_wall_clock(nginx, tmp):
    clock = Clock(tmp)
    server = nginx(aisearch=False, server="location / { return 200; }", preload=[clock.library], env=clock.env)
    for ahead in (0, -600, 600, 0):
        clock.set_wall(ahead)
        server.get("/")  # this response still contains the time of the previous iteration of the event loop
        date = email.utils.parsedate_to_datetime(server.get("/").header("Date")).timestamp()
        assert abs(date - time.time() - ahead) < 60


# The total of all results.


@pytest.mark.parametrize("second, total", [
    ({}, "1 passed, 2 failed"),
    ({"b": False, "c": False}, "1 passed, 2 failed, 2 repeated"),
    ({"b": True, "c": False}, "2 passed, 1 failed, 2 repeated"),
    ({"b": False}, "1 passed, 2 failed, 1 repeated"),
    ({"b": True, "c": True}, "3 passed, 0 failed, 2 repeated"),
])
def test_result_of_a_repeated_test_replaces_the_first_one(tmp, second, total):
    (tmp / "all.xml").write_text(results({"a": True, "b": False, "c": False}))
    if second:
        (tmp / "all.repeated.xml").write_text(results(second))
    ran = subprocess.run([ROOT / "scripts/add-up-tests", tmp], capture_output=True, text=True)
    assert (ran.stdout.strip(), ran.returncode) == (total, 0 if ", 0 failed" in total else 1)


def results(passed: dict[str, bool]) -> str:
    cases = "".join(f'<testcase classname="t" name="{name}">{"" if ok else "<failure/>"}</testcase>'
                    for name, ok in passed.items())
    return f"<testsuites><testsuite>{cases}</testsuite></testsuites>"
