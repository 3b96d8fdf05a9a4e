"""A second nginx without our module: TLS and HTTP/2 in front of the simulator, with good and bad certificates."""

import json
import pathlib
import subprocess
import textwrap

from .nginx import Config, Nginx

# harness.stall's slow_dns resolves names below .test.
_NAMES = "DNS:localhost,DNS:*.test,DNS:*.slow.test,IP:127.0.0.1"

_CA_CONF = """\
[ca]
default_ca = test_ca
[test_ca]
database = index.txt
new_certs_dir = .
certificate = ca.pem
private_key = ca.key
default_md = sha256
rand_serial = yes
unique_subject = no
policy = anything
copy_extensions = copy
[anything]
commonName = supplied
"""


class Certificates:
    """
    A private certification authority (ca_file) and the certificates that it has signed, made by openssl:

        good         for localhost, 127.0.0.1, *.test and *.slow.test
        wrong_host   for another name
        expired      years ago
        self_signed  not signed by the authority
    """

    KINDS = ("good", "wrong_host", "expired", "self_signed")

    def __init__(self, directory: pathlib.Path) -> None:
        self._directory = directory
        self.ca_file = directory / "ca.pem"
        (directory / "index.txt").touch()
        (directory / "ca.cnf").write_text(_CA_CONF)
        self._self_sign("ca", "/CN=Test CA", "basicConstraints=critical,CA:TRUE", "keyUsage=critical,keyCertSign")
        self._self_sign("self_signed", "/CN=localhost", f"subjectAltName={_NAMES}")
        self._issue("good", _NAMES, "20200101000000Z", "20991231235959Z")
        self._issue("wrong_host", "DNS:elsewhere.example", "20200101000000Z", "20991231235959Z")
        self._issue("expired", _NAMES, "20200101000000Z", "20200201000000Z")

    def certificate(self, kind: str) -> pathlib.Path:
        return self._directory / f"{kind}.pem"

    def key(self, kind: str) -> pathlib.Path:
        return self._directory / f"{kind}.key"

    def _self_sign(self, name: str, subject: str, *extensions: str) -> None:
        self._openssl("req", "-x509", *_NEW_KEY, "-keyout", f"{name}.key", "-out", f"{name}.pem", "-subj", subject,
                      "-days", "10000", *_extensions(extensions))

    def _issue(self, name: str, names: str, begin: str, end: str) -> None:
        self._openssl("req", "-new", *_NEW_KEY, "-keyout", f"{name}.key", "-out", f"{name}.csr", "-subj", f"/CN={name}",
                      *_extensions([f"subjectAltName={names}"]))
        self._openssl("ca", "-config", "ca.cnf", "-batch", "-notext", "-in", f"{name}.csr", "-out", f"{name}.pem",
                      "-startdate", begin, "-enddate", end)

    def _openssl(self, *arguments: str) -> None:
        run = subprocess.run(["openssl", *arguments], cwd=self._directory, stdout=subprocess.PIPE,
                             stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, check=False)
        assert run.returncode == 0, f"openssl {' '.join(arguments)}:\n{run.stdout.decode()}"


_NEW_KEY = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes")


def _extensions(extensions) -> list[str]:
    return [word for extension in extensions for word in ("-addext", extension)]


class Edge:
    """
    with Edge(tmp, certificates, simulator.unix) as edge:
        edge.url("good")         # https://localhost:PORT/client/v4
        edge.requests()          # what was requested: protocol, connection, ...

    There is one port for each certificate, one named old_tls that speaks TLS 1.1 at most, and one without TLS
    (plain_url). http2=False disables HTTP/2. The upstream is the path of a Unix socket, or HOST:PORT. server has
    additional directives for each of these servers.
    """

    def __init__(self, tmp: pathlib.Path, certificates: Certificates, upstream: str, http2: bool = True,
                 server: str = "") -> None:
        servers = [_server(kind, certificates, kind, "ssl_protocols TLSv1.2 TLSv1.3;", http2, server)
                   for kind in Certificates.KINDS]
        servers.append(_server("old_tls", certificates, "good", _OLD_TLS, http2, server))
        self.nginx = Nginx(tmp, Config(aisearch=False, http=_http(upstream) + "\n".join(servers), server=_PLAIN + server))

    def __enter__(self) -> "Edge":
        self.nginx.__enter__()
        return self

    def __exit__(self, *exc) -> None:
        self.nginx.__exit__(*exc)

    def port(self, kind: str = "good") -> int:
        return self.nginx.ports[_port_name(kind)]

    def url(self, kind: str = "good", host: str = "localhost", base: str = "/client/v4") -> str:
        return f"https://{host}:{self.port(kind)}{base}"

    def plain_url(self, base: str = "/client/v4") -> str:
        return self.nginx.url + base

    def requests(self) -> list[dict]:
        """
        Returns the requests that the edge has served, in order: server (the kind of certificate), protocol
        ("HTTP/2.0"), tls, sni, resumed ("r" or "."), connection (a number), nth (on that connection), uri, status,
        ended (when the response was sent, by time.time()), took (seconds). nginx writes a line shortly after the
        response, so wait for it with net.wait_until().
        """
        return [json.loads(line) for line in self.nginx.access_log("edge.log")]


_HTTP = """\
    log_format edge escape=json '{"server":"$server_name","protocol":"$server_protocol","tls":"$ssl_protocol",'
        '"sni":"$ssl_server_name","resumed":"$ssl_session_reused","connection":$connection,'
        '"nth":$connection_requests,"uri":"$request_uri","status":$status,"ended":$msec,"took":$request_time}';
    upstream simulator {
        server @UPSTREAM@;
        keepalive 100;
    }
"""

def _http(upstream: str) -> str:
    return _HTTP.replace("@UPSTREAM@", f"unix:{upstream}" if upstream.startswith("/") else upstream)


_OLD_TLS = """\
ssl_protocols TLSv1 TLSv1.1;
        ssl_ciphers DEFAULT@SECLEVEL=0;"""


_LOCATION = """\
location / {
        proxy_pass http://simulator;
        proxy_http_version 1.1;
        proxy_set_header Connection "";
        proxy_set_header Host $http_host;
        proxy_buffering off;
        proxy_read_timeout 600s;
    }"""

_PLAIN = f"""\
    access_log @PREFIX@/edge.log edge;
    {_LOCATION}
"""


def _server(name: str, certificates: Certificates, kind: str, tls: str, http2: bool, more: str) -> str:
    return textwrap.indent(f"""\
server {{
    listen 127.0.0.1:@PORT_{_port_name(name)}@ ssl {"http2" if http2 else ""} backlog=4096;
    server_name {name};
    access_log @PREFIX@/edge.log edge;
    ssl_certificate {certificates.certificate(kind)};
    ssl_certificate_key {certificates.key(kind)};
    {tls}
    {more}
    {_LOCATION}
}}""", "    ")


def _port_name(kind: str) -> str:
    return kind.replace("_", "").upper()
