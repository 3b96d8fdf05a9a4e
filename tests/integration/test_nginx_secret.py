"""
nginx sends the credential only to the API, and only over a verified connection; it passes on no headers of the client.
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

# Headers of a client that could have a meaning to the API or to a proxy.
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

# Both schemes: the directives in the block, and the headers that the API receives.
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


# Requests to the API.


def sent(simulator: Simulator) -> dict[str, str]:
    """Returns the headers of the only request to the simulator, each of which was sent once."""
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
def test_a_request_to_the_api_has_no_headers_of_the_client(simulator, nginx, scheme, method):
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
    """The edge passes on every header that it receives."""
    options = f"trusted_certificate {certificates.ca_file};"
    server = nginx(http=account(simulator, edge.url(), scheme, options), server=PASS)
    assert server.get(JOB, CLIENT_HEADERS).status in (200, 206)
    assert sent(simulator) == expected(simulator, scheme, f"localhost:{edge.port()}")
    assert [request["protocol"] for request in net.wait_until(edge.requests)] == ["HTTP/2.0"]


def test_the_environment_has_no_influence_on_proxies_or_credentials(tmp, simulator, nginx):
    """By default, libcurl would use the environment and ~/.netrc."""
    (tmp / ".netrc").write_text("default login client-canary password client-canary\n")
    with stall.refusing() as (host, port):
        names = ("http_proxy", "https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY")
        env = {**{name: f"http://{host}:{port}" for name in names}, "HOME": str(tmp)}
        server = nginx(http=account(simulator, simulator.url), server=PASS, env=env,
                       main="".join(f"env {name};\n" for name in env))
        assert server.get(JOB).status == 200
    assert sent(simulator) == expected(simulator, "token", f"127.0.0.1:{simulator.port}")


# Servers that never receive it.


def test_redirect_is_not_followed(simulator, nginx):
    with listening() as (url, heard):
        for status in (301, 302, 303, 307, 308):
            simulator.fault("", times=1, status=status, headers=[["Location", f"{url}/elsewhere"]], body="")
        server = nginx(http=account(simulator, simulator.url) + "aisearch_valid error 0;", server=PASS)
        assert [server.get(JOB).status for _ in range(5)] == [502] * 5
        assert heard == []


@contextlib.contextmanager
def listening() -> Iterator[tuple[str, list[socket.socket]]]:
    """An http URL, and a list of the connections to it."""
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
def test_an_unverified_server_gets_no_request(simulator, edge, nginx, certificates, kind):
    server = nginx(http=account(simulator, edge.url(kind), options=f"trusted_certificate {certificates.ca_file};"),
                   server=PASS)
    assert server.get(JOB).status == 502
    assert "tls fault" in server.error_log()
    assert simulator.requests() == [] and edge.requests() == []


def test_a_certificate_of_an_unknown_authority_is_rejected_by_default(simulator, edge, nginx):
    server = nginx(http=account(simulator, edge.url()), server=PASS)
    assert server.get(JOB).status == 502
    assert simulator.requests() == []


def test_verification_can_be_disabled(simulator, edge, nginx):
    server = nginx(http=account(simulator, edge.url("self_signed"), options="verify off;"), server=PASS)
    assert server.get(JOB).status == 200


def test_an_account_with_verification_does_not_reuse_an_unverified_connection(simulator, edge, nginx):
    """Both accounts share a pool of connections, since both use the default certificates."""
    url = edge.url("self_signed")
    server = nginx(http=account(simulator, url, options="verify off;", name="careless") + account(simulator, url),
                   server=PASS + "location /careless/ { aisearch_pass careless; }")
    assert server.get(JOB.replace("docs", "careless", 1)).status == 200
    assert server.get(JOB).status == 502
    assert simulator.count() == 1


# Proxies.


class Proxy:
    """
    A forward proxy with CONNECT. It records the heads of the CONNECT requests and all data in the tunnels. A given port
    replaces the requested one.
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
def test_a_proxy_receives_only_the_host_and_port(simulator, edge, nginx, certificates, scheme):
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
], ids=["403", "407", "301", "not HTTP", "nothing"])
def test_a_failing_proxy_receives_nothing_else(simulator, edge, nginx, certificates, answer):
    """The API receives nothing, either: nginx does not bypass the proxy."""
    with Proxy(answer) as proxy:
        options = f"proxy {proxy.url}; trusted_certificate {certificates.ca_file};"
        server = nginx(http=account(simulator, edge.url(), options=options), server=PASS)
        assert server.get(JOB).status == 502
        assert proxy.heads and not leaks(b"".join(proxy.heads), simulator)
    assert simulator.requests() == []


def test_a_proxy_that_intercepts_tls_is_detected(simulator, edge, nginx, certificates):
    with Proxy(port=edge.port("self_signed")) as proxy:
        options = f"proxy {proxy.url}; trusted_certificate {certificates.ca_file};"
        server = nginx(http=account(simulator, edge.url(), options=options), server=PASS)
        assert server.get(JOB).status == 502
        assert "tls fault" in server.error_log()
    assert simulator.requests() == []


def test_plain_http_through_a_proxy_must_be_allowed(simulator, nginx):
    """nginx uses a tunnel here as well, but the proxy can read it; by default, nginx -t rejects the configuration."""
    with Proxy() as proxy:
        server = nginx(http=account(simulator, simulator.url, options=f"proxy {proxy.url}; allow_plain_http on;"),
                       server=PASS)
        assert server.get(JOB).status == 200
        server.stop()
        assert not leaks(b"".join(proxy.heads), simulator)
        assert leaks(proxy.tunnelled, simulator), "leaks() finds nothing at all"


def test_a_unix_socket_is_reached_without_the_proxy(simulator, nginx):
    with Proxy() as proxy:
        server = nginx(http=account(simulator, simulator.unix_url, options=f"proxy {proxy.url};"), server=PASS)
        assert server.get(JOB).status == 200
        assert proxy.heads == []


# Places where it never appears.


def leaks(data: bytes, simulator: Simulator) -> list[str]:
    """Pieces of the secrets, at least ten bytes long, that the data contains."""
    secrets = (simulator.token, simulator.key)
    pieces = [secret[n:n + 10] for secret in secrets for n in range(len(secret) - 9)]
    return [piece for piece in pieces if piece.encode() in data]


LOG = """
    log_format all '$request $status $aisearch_cache_status $aisearch_job_state $aisearch_job_id $aisearch_end_reason '
                   '$aisearch_age $aisearch_fetch_time $aisearch_error $sent_http_x_aisearch_cache $http_authorization';
    access_log @PREFIX@/all.log all;
"""


def test_it_appears_nowhere(tmp, simulator, edge, nginx, certificates):
    """The credential is in no log (debug level), response, output of nginx -T or shared memory, whatever happens."""
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
    assert b"client-canary" in logs and b"[debug]" in logs, "the logs lack expected lines"
    for data in (heard, shown.encode(), logs, server.stderr().encode()):
        assert not leaks(data, simulator)


def everything(server: Nginx, target: str) -> bytes:
    """All received bytes, including the headers."""
    with server.connect() as connection:
        connection.send(net.format_request(target, [*CLIENT_HEADERS[:2], ("Connection", "close")]))
        return b"".join(iter(lambda: connection.sock.recv(65536), b""))


def shared_memory(pid: int) -> bytes:
    """The memory that a process shares with its parent and siblings, including the zones."""
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
def test_it_is_not_in_arguments_or_environments(simulator, nginx, scheme):
    """The arguments and the environment of no process contain it."""
    server = nginx(http=account(simulator, simulator.url, scheme), server=PASS, workers=2)
    assert server.get(JOB).status == 200
    pids = [int(entry) for entry in os.listdir("/proc") if entry.isdigit()]
    assert {server.pid, *server.workers()} <= set(pids)
    for pid in pids:
        with contextlib.suppress(OSError):
            assert not leaks(net.cmdline(pid) + net.environ(pid), simulator), pid


@pytest.mark.parametrize("wrong", ["timeout 0;", "api_url nonsense;", "instance A;", "unknown x;"])
@pytest.mark.parametrize("scheme", SCHEMES)
def test_a_configuration_error_does_not_show_it(tmp, simulator, scheme, wrong):
    http = f"aisearch_account docs {{ account_id {ACCOUNT}; {credential(simulator, scheme)} {wrong} }}"
    result = config_test(Config(http=http), tmp)
    assert not result.ok and not leaks(result.output.encode(), simulator)


@pytest.mark.parametrize("change", [lambda secret: secret + b"\n" + secret, lambda secret: secret + b" ",
                                    lambda secret: b"Bearer " + secret, lambda secret: secret + b"\0",
                                    lambda secret: b'"' + secret * 200 + b'"'],
                         ids=["twice", "space", "Bearer", "NUL", "long"])
def test_an_error_in_the_file_does_not_show_it(tmp, simulator, change):
    path: pathlib.Path = tmp / "wrong.token"
    path.write_bytes(change(simulator.token.encode()))
    result = config_test(Config(http=f"aisearch_account docs {{ account_id {ACCOUNT}; token_file {path}; }}"), tmp)
    assert not result.ok and not leaks(result.output.encode(), simulator)


def test_a_rejected_credential_is_not_an_error_of_the_client(simulator, nginx):
    """The client gets no 401, and neither the response nor the log contains the credential."""
    simulator.account(tokens=["another"], keys=[])
    server = nginx(http=account(simulator, simulator.url), server=PASS)
    response = server.get(JOB)
    assert response.status == 502
    assert response.json()["success"] is False
    assert response.all("WWW-Authenticate") == []
    assert re.search(r'\[error\].* aisearch account "docs": credential fault', server.error_log())
    assert not leaks(response.body + server.error_log().encode(), simulator)
