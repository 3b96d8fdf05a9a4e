"""
A second, faster server for the API than the one based on aiohttp, for thousands of lookups per second, with the same
world, limit and record. It supports no faults except a delay, which affects all requests independently, like network
latency.
"""

import asyncio
import collections
import itertools
from http import HTTPStatus

from .api import Answer, Api
from .record import Record

_HEAD_MAX = 16384
_REASONS = {status.value: status.phrase for status in HTTPStatus}


class LeanServer:
    """A protocol factory for loop.create_server() or create_unix_server()."""

    def __init__(self, api: Api, record: Record) -> None:
        self.api = api
        self.record = record
        self.delay = 0.0  # seconds
        self.numbers = itertools.count(1)
        self.open: set[asyncio.Transport] = set()

    def __call__(self) -> "_Connection":
        return _Connection(self)

    def drop_connections(self) -> None:
        for transport in list(self.open):
            transport.abort()


class _Connection(asyncio.Protocol):
    def __init__(self, server: LeanServer) -> None:
        self._server = server
        self._number = -next(server.numbers)  # the other server uses positive numbers
        self._received = b""
        self._under_way: collections.deque[dict] = collections.deque()

    def connection_made(self, transport: asyncio.Transport) -> None:
        self._transport = transport
        self._server.open.add(transport)
        self._server.record.connection_opened()

    def connection_lost(self, exc: Exception | None) -> None:
        self._server.open.discard(self._transport)
        self._server.record.connection_closed()
        while self._under_way:
            self._server.record.end(self._under_way.popleft(), None)

    def data_received(self, data: bytes) -> None:
        self._received += data
        while (end := self._received.find(b"\r\n\r\n")) >= 0:
            head, self._received = self._received[:end], self._received[end + 4:]
            if not self._request(head):
                break
        if len(self._received) > _HEAD_MAX:
            self._refuse()

    def _refuse(self) -> None:
        self._server.record.malformed()
        self._received = b""
        self._transport.abort()

    def _request(self, head: bytes) -> bool:
        """
        Responds now or after the delay. Responses on one connection stay in order, because all have the same delay.
        """
        lines = head.decode("latin-1").split("\r\n")
        words = lines[0].split(" ")
        headers = [(name, value.strip()) for name, _, value in (line.partition(":") for line in lines[1:])]
        if len(words) != 3 or any(name.lower() in ("content-length", "transfer-encoding") for name, _ in headers):
            self._refuse()
            return False
        method, target, _version = words
        self._under_way.append(self._server.record.begin(method, target, headers, self._number, has_body=False))
        if self._server.delay:
            asyncio.get_running_loop().call_later(self._server.delay, self._answer, method, target, headers)
        else:
            self._answer(method, target, headers)
        return True

    def _answer(self, method: str, target: str, headers: list[tuple[str, str]]) -> None:
        if self._transport.is_closing():
            return
        answer = self._server.api.answer(method, target, headers)
        self._server.record.end(self._under_way.popleft(), answer.status)
        self._transport.write(_bytes(answer, with_body=method != "HEAD"))


def _bytes(answer: Answer, with_body: bool) -> bytes:
    head = [f"HTTP/1.1 {answer.status} {_REASONS.get(answer.status, '')}", "Content-Type: application/json",
            f"Content-Length: {len(answer.body)}", *(f"{name}: {value}" for name, value in answer.headers), "\r\n"]
    return "\r\n".join(head).encode("latin-1") + (answer.body if with_body else b"")
