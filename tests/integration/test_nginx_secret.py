"""
The credential goes to the API, once its certificate is verified, and nowhere else; nothing of the client goes with it.
"""

import contextlib
import os
import pathlib
import re
import select
import socket
import socketserver
import threading
from collections.abc import Iterator

import pytest

from harness import ROOT, net, stall
from harness.nginx import Config, Nginx, config_test
from harness.simulator import ACCOUNT, Simulator

VERSION = re.search(r'AIS_VERSION "(.+)"', (ROOT / "common" / "ais_version.h").read_text())[1]

# Whatever a client may send that means something to somebody.
CLIENT_HEADERS = [
    ("Authorization", "Bearer client-canary"), ("Cookie", "session=client-canary"),
    ("X-Auth-Email", "client-canary@x.example"), ("X-Auth-Key", "client-canary"),
    ("X-Auth-User-Service-Key", "client-canary"), ("Proxy-Authorization", "Basic client-canary"),
    ("X-Forwarded-For", "192.0.2.1"), ("X-Real-IP", "192.0.2.1"), ("Forwarded", "for=192.0.2.1"),
    ("Via", "1.1 client-canary"), ("CF-Connecting-IP", "192.0.2.1"), ("User-Agent", "client-canary"),
    ("Accept", "client/canary"), ("Accept-Encoding", "gzip"), ("Accept-Language", "client-canary"),
    ("Referer", "client-canary"), ("Origin", "https://client-canary.example"), ("Range", "bytes=0-1"),
    ("If-None-Match", '"client"'), ("If-Modified-Since", "Sat, 01 Jan 2000 00:00:00 GMT"),
    ("Cache-Control", "no-cache"), ("Pragma", "no-cache"), ("Traceparent", "client-canary"),
    ("X-Client", "client-canary"),
]

# Both schemes: what stands in the block, and what the API sees.
SCHEMES = ("token", "key")


def credential(simulator: Simulator, scheme: str) -> str:
    if scheme == "token":
        return f"token_file {simulator.token_file};"
    return f"email {simulator.email}; key_file {simulator.key_file};"


def credential_headers(simulator: Simulator, scheme: str) -> dict[str, str]:
    if scheme == "token":
        return {"authorization": f"Bearer {simulator.token}"}
    return {"x-auth-email": simulator.email, "x-auth-key": simulator.key}


def account(simulator: Simulator, url: str, scheme: str = "token", options: str = "", name: str = "docs") -> str:
    return (f"aisearch_account {name} {{ account_id {ACCOUNT}; {credential(simulator, scheme)} api_url {url};"
            f" retries 0; budget 1000000 1s; {options} }}\n")


PASS = "location /docs/ { aisearch_pass docs; }\n"
JOB = "/docs/instances/docs/jobs/a"


@pytest.fixture(autouse=True)
def job(simulator):
    simulator.job("instances/docs", "a")


# What the API sees.


def sent(simulator: Simulator) -> dict[str, str]:
    """The headers of the only request that the simulator saw; each came once."""
    [request] = simulator.requests()
    assert (request.method, request.target) == ("GET", simulator.path("instances/docs", "a"))
    assert not request.has_body
    headers = {name.lower(): value for name, value in request.headers}
    assert len(headers) == len(request.headers)
    return headers


def expected(simulator: Simulator, scheme: str, host: str) -> dict[str, str]:
    return {"host": host, "accept": "application/json", "user-agent": f"aisearch-jobs/{VERSION}",
            **credential_headers(simulator, scheme)}


@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize("scheme", SCHEMES)
def test_request_to_the_api_has_nothing_of_the_client(simulator, nginx, scheme, method):
    server = nginx(http=account(simulator, simulator.url, scheme), server=PASS)
    response = net.request(server.address, JOB, CLIENT_HEADERS, method, body=b"client-canary")
    assert response.status in (200, 206)
    assert sent(simulator) == expected(simulator, scheme, f"127.0.0.1:{simulator.port}")


@pytest.mark.parametrize("scheme", SCHEMES)
def test_request_over_a_unix_socket(simulator, nginx, scheme):
    server = nginx(http=account(simulator, simulator.unix_url, scheme), server=PASS)
    assert server.get(JOB, CLIENT_HEADERS).status in (200, 206)
    assert sent(simulator) == expected(simulator, scheme, "localhost")


@pytest.mark.parametrize("scheme", SCHEMES)
def test_request_over_http2(simulator, edge, nginx, certificates, scheme):
    """The edge passes on every header that it gets."""
    options = f"trusted_certificate {certificates.ca_file};"
    server = nginx(http=account(simulator, edge.url(), scheme, options), server=PASS)
    assert server.get(JOB, CLIENT_HEADERS).status in (200, 206)
    assert sent(simulator) == expected(simulator, scheme, f"localhost:{edge.port()}")
    assert [request["protocol"] for request in net.wait_until(edge.requests)] == ["HTTP/2.0"]


def test_environment_says_nothing_about_proxies_or_credentials(tmp, simulator, nginx):
    """libcurl would ask the environment and ~/.netrc, if it were let."""
    (tmp / ".netrc").write_text("default login client-canary password client-canary\n")
    with stall.refusing() as (host, port):
        names = ("http_proxy", "https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY")
        env = {**{name: f"http://{host}:{port}" for name in names}, "HOME": str(tmp)}
        server = nginx(http=account(simulator, simulator.url), server=PASS, env=env,
                       main="".join(f"env {name};\n" for name in env))
        assert server.get(JOB).status == 200
    assert sent(simulator) == expected(simulator, "token", f"127.0.0.1:{simulator.port}")


# Who never sees it.


def test_redirect_is_not_followed(simulator, nginx):
    with listening() as (url, heard):
        for status in (301, 302, 303, 307, 308):
            simulator.fault("", times=1, status=status, headers=[["Location", f"{url}/elsewhere"]], body="")
        server = nginx(http=account(simulator, simulator.url) + "aisearch_valid error 0;", server=PASS)
        assert [server.get(JOB).status for _ in range(5)] == [502] * 5
        assert heard == []


@contextlib.contextmanager
def listening() -> Iterator[tuple[str, list[socket.socket]]]:
    """An http URL, and the list of connections to it."""
    heard: list[socket.socket] = []

    class Handler(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            heard.append(self.request)

    with serving(Handler) as port:
        yield f"http://127.0.0.1:{port}", heard


@contextlib.contextmanager
def serving(handler: type) -> Iterator[int]:
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
        thread.start()
        try:
            yield server.server_address[1]
        finally:
            server.shutdown()
            thread.join()


@pytest.mark.parametrize("kind", ["wrong_host", "expired", "self_signed", "old_tls"])
def test_server_that_is_not_verified_gets_no_request(simulator, edge, nginx, certificates, kind):
    server = nginx(http=account(simulator, edge.url(kind), options=f"trusted_certificate {certificates.ca_file};"),
                   server=PASS)
    assert server.get(JOB).status == 502
    assert "tls fault" in server.error_log()
    assert simulator.requests() == [] and edge.requests() == []


def test_certificate_of_an_unknown_authority_is_refused_by_default(simulator, edge, nginx):
    server = nginx(http=account(simulator, edge.url()), server=PASS)
    assert server.get(JOB).status == 502
    assert simulator.requests() == []


def test_verification_can_be_turned_off(simulator, edge, nginx):
    server = nginx(http=account(simulator, edge.url("self_signed"), options="verify off;"), server=PASS)
    assert server.get(JOB).status == 200


def test_account_that_verifies_does_not_use_the_connection_of_one_that_does_not(simulator, edge, nginx):
    """They have one pool of connections, since both have the default certificates."""
    url = edge.url("self_signed")
    server = nginx(http=account(simulator, url, options="verify off;", name="careless") + account(simulator, url),
                   server=PASS + "location /careless/ { aisearch_pass careless; }")
    assert server.get(JOB.replace("docs", "careless", 1)).status == 200
    assert server.get(JOB).status == 502
    assert simulator.count() == 1


# Proxies.


class Proxy:
    """
    A forward proxy that knows CONNECT. It keeps all that it was told before the tunnel, and all that went through it. A
    port takes the place of the one that was asked for.
    """

    def __init__(self, answer: bytes = b"HTTP/1.1 200 Connection established\r\n\r\n", port: int | None = None) -> None:
        self.heads: list[bytes] = []
        self.tunnelled = b""
        proxy = self

        class Handler(socketserver.BaseRequestHandler):
            def handle(self) -> None:
                head = self._read_head()
                proxy.heads.append(head)
                self.request.sendall(answer)
                if b" 200 " in answer:
                    asked = int(re.match(rb"CONNECT \S+:(\d+) ", head)[1])
                    with socket.create_connection(("127.0.0.1", port or asked)) as upstream:
                        self._relay(upstream)

            def _read_head(self) -> bytes:
                head = b""
                while not head.endswith(b"\r\n\r\n"):
                    data = self.request.recv(1)
                    if not data:
                        break
                    head += data
                return head

            def _relay(self, upstream: socket.socket) -> None:
                to = {self.request: upstream, upstream: self.request}
                while True:
                    for source in select.select(list(to), [], [])[0]:
                        data = source.recv(65536)
                        if not data:
                            return
                        proxy.tunnelled += data
                        to[source].sendall(data)

        self._serving = serving(Handler)

    def __enter__(self) -> "Proxy":
        self.url = f"http://127.0.0.1:{self._serving.__enter__()}"
        return self

    def __exit__(self, *exc) -> None:
        self._serving.__exit__(*exc)


@pytest.mark.parametrize("scheme", SCHEMES)
def test_proxy_sees_no_more_than_where_to_connect(simulator, edge, nginx, certificates, scheme):
    with Proxy() as proxy:
        options = f"proxy {proxy.url}; trusted_certificate {certificates.ca_file};"
        server = nginx(http=account(simulator, edge.url(), scheme, options), server=PASS)
        assert server.get(JOB, CLIENT_HEADERS).status in (200, 206)
        server.stop()  # closes the tunnel
        host = f"localhost:{edge.port()}"
        [head] = proxy.heads
        request_line, *lines = head.decode().split("\r\n")[:-2]
        assert request_line == f"CONNECT {host} HTTP/1.1"
        assert {line.partition(": ")[0].lower() for line in lines} <= {"host", "user-agent", "proxy-connection"}
        assert proxy.tunnelled and not leaks(proxy.tunnelled, simulator)
    assert sent(simulator) == expected(simulator, scheme, host)


@pytest.mark.parametrize("answer", [
    b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n",
    b"HTTP/1.1 407 Proxy Authentication Required\r\nProxy-Authenticate: Basic realm=x\r\nContent-Length: 0\r\n\r\n",
    b"HTTP/1.1 301 Moved\r\nLocation: http://127.0.0.1/\r\nContent-Length: 0\r\n\r\n",
    b"220 mail.example ESMTP\r\n",
    b"",
], ids=["403", "407", "301", "no HTTP", "nothing"])
def test_proxy_that_refuses_gets_nothing_more(simulator, edge, nginx, certificates, answer):
    """Neither does the API: there is no way around the proxy."""
    with Proxy(answer) as proxy:
        options = f"proxy {proxy.url}; trusted_certificate {certificates.ca_file};"
        server = nginx(http=account(simulator, edge.url(), options=options), server=PASS)
        assert server.get(JOB).status == 502
        assert proxy.heads and not leaks(b"".join(proxy.heads), simulator)
    assert simulator.requests() == []


def test_proxy_in_the_middle_is_noticed(simulator, edge, nginx, certificates):
    with Proxy(port=edge.port("self_signed")) as proxy:
        options = f"proxy {proxy.url}; trusted_certificate {certificates.ca_file};"
        server = nginx(http=account(simulator, edge.url(), options=options), server=PASS)
        assert server.get(JOB).status == 502
        assert "tls fault" in server.error_log()
    assert simulator.requests() == []


def test_proxy_for_plain_http_only_where_that_is_allowed(simulator, nginx):
    """It is a tunnel here as well, but whoever runs the proxy can look into it: nginx -t refuses it by default."""
    with Proxy() as proxy:
        server = nginx(http=account(simulator, simulator.url, options=f"proxy {proxy.url}; allow_plain_http on;"),
                       server=PASS)
        assert server.get(JOB).status == 200
        server.stop()
        assert not leaks(b"".join(proxy.heads), simulator)
        assert leaks(proxy.tunnelled, simulator), "the search itself does not work"


def test_proxy_is_not_asked_for_a_unix_socket(simulator, nginx):
    with Proxy() as proxy:
        server = nginx(http=account(simulator, simulator.unix_url, options=f"proxy {proxy.url};"), server=PASS)
        assert server.get(JOB).status == 200
        assert proxy.heads == []


# Where it never stands.


def leaks(data: bytes, simulator: Simulator) -> list[str]:
    """Pieces of the secrets, of ten bytes and more, that stand in the data."""
    secrets = (simulator.token, simulator.key)
    pieces = [secret[n:n + 10] for secret in secrets for n in range(len(secret) - 9)]
    return [piece for piece in pieces if piece.encode() in data]


LOG = """
    log_format all '$request $status $aisearch_cache_status $aisearch_job_state $aisearch_job_id $aisearch_end_reason '
                   '$aisearch_age $aisearch_fetch_time $aisearch_error $sent_http_x_aisearch_cache $http_authorization';
    access_log @PREFIX@/all.log all;
"""


def test_it_is_found_nowhere(tmp, simulator, edge, nginx, certificates):
    """In no log (debug level), response, nginx -T, command line, environment or shared memory, whatever happens."""
    trust = f"trusted_certificate {certificates.ca_file};"
    accounts = {
        "docs": account(simulator, simulator.url, "token", name="docs"),
        "key": account(simulator, simulator.unix_url, "key", name="key"),
        "tls": account(simulator, edge.url(), "token", trust, name="tls"),
        "bad": account(simulator, edge.url("self_signed"), "key", trust, name="bad"),
        "gone": account(simulator, "http://127.0.0.1:1/client/v4", "key", name="gone"),
    }
    config = {"http": LOG + "".join(accounts.values()),
              "server": "".join(f"location /{name}/ {{ aisearch_pass {name}; }}\n" for name in accounts)}
    server = nginx(**config, level="debug", workers=2)

    refused = '{"success":false,"errors":[{"code":10000,"message":"Authentication error"}]}'
    for fault in ({"status": 401, "body": refused}, {"status": 429, "body": "{}"}, {"status": 500, "body": "<html>"},
                  {"status": 200, "body": "{"}, {"status": 302, "headers": [["Location", "http://127.0.0.1:1/"]]},
                  {"script": stall.not_http()}, {"script": stall.reset_in_body()}):
        simulator.fault("/jobs/faulty", times=3, **fault)

    simulator.job("instances/docs", "ended", state="failed", end_reason="why not")
    heard = b""
    for name in accounts:
        jobs = ["/a", "/a", "/ended", "/missing", "/a/logs", "/BAD!", "/..", "", "?page=0"]
        jobs += [f"/faulty{n}" for n in range(7)]
        targets = [f"/{name}/instances/docs/jobs{job}" for job in jobs]
        for target in targets:
            heard += everything(server, target)
    assert b'"id":"a"' in heard and b'"code":502' in heard

    server.reload()
    heard += everything(server, JOB)
    for pid in (server.pid, *server.workers()):
        heard += shared_memory(pid)
    assert b'"source":"user"' in heard, "the zone was not read"
    server.stop()

    shown = config_test(Config(**config), tmp, "-T").output
    assert str(simulator.token_file) in shown
    logs = (server.prefix / "error.log").read_bytes() + (server.prefix / "all.log").read_bytes()
    assert b"client-canary" in logs and b"[debug]" in logs, "the logs do not say what they could"
    for data in (heard, shown.encode(), logs, server.stderr().encode()):
        assert not leaks(data, simulator)


def everything(server: Nginx, target: str) -> bytes:
    """All bytes that come back, headers included."""
    with server.connect() as connection:
        connection.send(net.format_request(target, [*CLIENT_HEADERS[:2], ("Connection", "close")]))
        return b"".join(iter(lambda: connection.sock.recv(65536), b""))


def shared_memory(pid: int) -> bytes:
    """What a process shares with its family, which is where the zones are."""
    found = b""
    with open(f"/proc/{pid}/maps", encoding="utf-8") as maps, open(f"/proc/{pid}/mem", "rb") as memory:
        for line in maps:
            addresses, permissions, *_ = line.split()
            if permissions.startswith("rw-s"):
                begin, end = (int(address, 16) for address in addresses.split("-"))
                memory.seek(begin)
                found += memory.read(end - begin)
    return found


@pytest.mark.parametrize("scheme", SCHEMES)
def test_no_process_shows_it(simulator, nginx, scheme):
    """Neither in its arguments nor in its environment, whoever looks and whosever it is."""
    server = nginx(http=account(simulator, simulator.url, scheme), server=PASS, workers=2)
    assert server.get(JOB).status == 200
    pids = [int(entry) for entry in os.listdir("/proc") if entry.isdigit()]
    assert {server.pid, *server.workers()} <= set(pids)
    for pid in pids:
        with contextlib.suppress(OSError):
            assert not leaks(net.cmdline(pid) + net.environ(pid), simulator), pid


@pytest.mark.parametrize("wrong", ["timeout 0;", "api_url nonsense;", "instance A;", "unknown x;"])
@pytest.mark.parametrize("scheme", SCHEMES)
def test_error_of_the_configuration_does_not_show_it(tmp, simulator, scheme, wrong):
    http = f"aisearch_account docs {{ account_id {ACCOUNT}; {credential(simulator, scheme)} {wrong} }}"
    result = config_test(Config(http=http), tmp)
    assert not result.ok and not leaks(result.output.encode(), simulator)


@pytest.mark.parametrize("change", [lambda secret: secret + b"\n" + secret, lambda secret: secret + b" ",
                                    lambda secret: b"Bearer " + secret, lambda secret: secret + b"\0",
                                    lambda secret: b'"' + secret * 200 + b'"'],
                         ids=["twice", "space", "Bearer", "NUL", "long"])
def test_error_about_the_file_does_not_show_it(tmp, simulator, change):
    path: pathlib.Path = tmp / "wrong.token"
    path.write_bytes(change(simulator.token.encode()))
    result = config_test(Config(http=f"aisearch_account docs {{ account_id {ACCOUNT}; token_file {path}; }}"), tmp)
    assert not result.ok and not leaks(result.output.encode(), simulator)


def test_refused_credential_is_the_operators_fault(simulator, nginx):
    """The client hears no 401, and nobody hears what was refused."""
    simulator.account(tokens=["another"], keys=[])
    server = nginx(http=account(simulator, simulator.url), server=PASS)
    response = server.get(JOB)
    assert response.status == 502
    assert response.json()["success"] is False
    assert response.all("WWW-Authenticate") == []
    assert re.search(r'\[error\].* aisearch account "docs": credential fault', server.error_log())
    assert not leaks(response.body + server.error_log().encode(), simulator)
