"""A forward proxy on loopback: CONNECT for https, absolute URIs for http."""

import contextlib
import dataclasses
import http.client
import http.server
import select
import socket
import threading
import urllib.parse


@dataclasses.dataclass
class Forwarded:
    method: str
    target: str
    headers: list[tuple[str, str]]  # as received, in order


class ForwardProxy:
    """
    with ForwardProxy() as proxy:
        proxy.url        # http://127.0.0.1:PORT
        proxy.requests   # all requests, including CONNECT

    It only connects to loopback, for any host name, so nothing leaves this machine.
    """

    def __init__(self) -> None:
        self.requests: list[Forwarded] = []

    def __enter__(self) -> "ForwardProxy":
        handler = type("Handler", (_Handler,), {"seen": self.requests})
        self._server = _Server(("127.0.0.1", 0), handler)
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        self._thread.start()
        self.port = self._server.server_address[1]
        self.url = f"http://127.0.0.1:{self.port}"
        return self

    def __exit__(self, *_exc) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.close_connections()
        self._server.server_close()


class _Server(http.server.ThreadingHTTPServer):
    daemon_threads = False  # so that server_close() waits for them
    block_on_close = True

    def __init__(self, *arguments) -> None:
        super().__init__(*arguments)
        self._open: set[socket.socket] = set()

    def process_request(self, request, client_address) -> None:
        self._open.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request) -> None:
        self._open.discard(request)
        super().shutdown_request(request)

    def close_connections(self) -> None:
        for sock in list(self._open):
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)

    def handle_error(self, request, client_address) -> None:
        """Broken connections are normal in tests."""


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    seen: list[Forwarded]

    def log_message(self, *_arguments) -> None:
        pass

    def _note(self) -> None:
        self.seen.append(Forwarded(self.command, self.path, list(self.headers.items())))

    def do_CONNECT(self) -> None:
        self._note()
        try:
            upstream = socket.create_connection(("127.0.0.1", int(self.path.rpartition(":")[2])), 10)
        except OSError:
            self.send_error(502)
            return
        with upstream:
            self.connection.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
            _tunnel(self.connection, upstream)
        self.close_connection = True

    def do_GET(self) -> None:
        self._note()
        url = urllib.parse.urlsplit(self.path)
        upstream = http.client.HTTPConnection("127.0.0.1", url.port or 80, timeout=60)
        try:
            upstream.putrequest("GET", urllib.parse.urlunsplit(("", "", url.path, url.query, "")), skip_host=True,
                                skip_accept_encoding=True)
            for name, value in self.headers.items():
                if not name.lower().startswith("proxy-"):
                    upstream.putheader(name, value)
            upstream.endheaders()
            self._pass_on(upstream.getresponse())
        except (OSError, http.client.HTTPException):
            self.send_error(502)
        finally:
            upstream.close()

    def _pass_on(self, response: http.client.HTTPResponse) -> None:
        body = response.read()
        self.send_response_only(response.status, response.reason)
        for name, value in response.getheaders():
            if name.lower() not in ("connection", "content-length", "transfer-encoding"):
                self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


def _tunnel(one: socket.socket, other: socket.socket) -> None:
    ends = {one: other, other: one}
    while True:
        for readable in select.select(list(ends), [], [])[0]:
            data = readable.recv(65536)
            if not data:
                return
            ends[readable].sendall(data)
