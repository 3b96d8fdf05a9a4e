"""The API on the network: HTTP/1.1 by aiohttp, with faults below and above it."""

import asyncio
import base64
import itertools
import socket
import struct

from aiohttp import web

from .api import Answer, Api
from .faults import Fault, Faults
from .record import Record


class Connection:
    def __init__(self, number: int, transport: asyncio.Transport) -> None:
        self.number = number
        self.transport = transport
        self.used = False
        self.gone = asyncio.Event()

    async def sleep(self, seconds: float) -> None:
        """Sleeps for that many seconds, or until the client disconnects."""
        try:
            await asyncio.wait_for(self.gone.wait(), seconds)
        except asyncio.TimeoutError:
            return
        raise ConnectionResetError("the client went away")

    def close(self) -> None:
        self.transport.close()

    def reset(self) -> None:
        """Sends an RST if the connection is TCP."""
        sock = self.transport.get_extra_info("socket")
        if sock is not None and sock.family != socket.AF_UNIX:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.transport.abort()


class ApiServer(web.Server):
    """A protocol factory for loop.create_server() or create_unix_server()."""

    def __init__(self, api: Api, faults: Faults, record: Record, keepalive_timeout: float) -> None:
        super().__init__(self._handle, access_log=None, keepalive_timeout=keepalive_timeout)
        self._api = api
        self._faults = faults
        self._record = record
        self._numbers = itertools.count(1)
        self._peers: dict[object, Connection] = {}

    def connection_made(self, handler, transport) -> None:
        super().connection_made(handler, transport)
        self._peers[handler] = Connection(next(self._numbers), transport)
        self._record.connection_opened()

    def connection_lost(self, handler, exc=None) -> None:
        super().connection_lost(handler, exc)
        peer = self._peers.pop(handler, None)
        if peer is not None:
            peer.gone.set()
            self._record.connection_closed()

    def drop_connections(self, reset: bool) -> None:
        """Closes or resets all connections, including those with requests in progress."""
        for peer in list(self._peers.values()):
            peer.reset() if reset else peer.close()

    def _make_request(self, message, *rest) -> web.BaseRequest:
        if message.method == "UNKNOWN":  # aiohttp's placeholder for what it could not parse
            self._record.malformed()
        return super()._make_request(message, *rest)

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        peer = self._peers.get(request.protocol)
        if peer is None:
            raise ConnectionResetError("the client went away")
        target = request.message.path
        headers = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in request.raw_headers]
        entry = self._record.begin(request.method, target, headers, peer.number, request.can_read_body)
        fault = self._faults.take(target, peer.used)
        peer.used = True
        status = None
        try:
            if fault is None:
                response = _respond(self._api.answer(request.method, target, headers))
            else:
                response = await self._go_wrong(fault, request, peer, headers)
            status = None if isinstance(response, _Sent) else response.status
            return response
        except ConnectionError:  # the client has disconnected
            return _Sent(keep_alive=False)
        finally:
            self._record.end(entry, status)

    async def _go_wrong(self, fault: Fault, request: web.BaseRequest, peer: Connection,
                        headers: list[tuple[str, str]]) -> web.StreamResponse:
        if fault.delay:
            await peer.sleep(fault.delay)
        if fault.script is not None:
            sent = await _play(fault.script, request, peer)
            if sent is not None:
                return sent
        if fault.status is not None:
            answer = Answer(fault.status, fault.body, [(name, value) for name, value in fault.headers])
        else:
            answer = self._api.answer(request.method, request.message.path, headers)
        response = _respond(answer)
        if fault.body_delay:
            return await _halt_before_body(response, fault.body_delay, request, peer)
        return response


def _respond(answer: Answer) -> web.Response:
    response = web.Response(status=answer.status, body=answer.body, content_type="application/json")
    for name in {name for name, _ in answer.headers}:
        response.headers.popall(name, None)
    for name, value in answer.headers:
        response.headers.add(name, value)
    return response


async def _halt_before_body(response: web.Response, seconds: float, request: web.BaseRequest,
                            peer: Connection) -> web.StreamResponse:
    halted = web.StreamResponse(status=response.status, headers=response.headers)
    halted.content_length = len(response.body)
    await halted.prepare(request)
    await peer.sleep(seconds)
    await halted.write(response.body)
    await halted.write_eof()
    return halted


class _Sent(web.StreamResponse):
    """Represents bytes that were already sent."""

    def __init__(self, keep_alive: bool) -> None:
        super().__init__()
        self._sent_keep_alive = keep_alive

    @property
    def keep_alive(self) -> bool:
        return self._sent_keep_alive

    async def prepare(self, request):
        return None

    async def write_eof(self, data: bytes = b"") -> None:
        return None


async def _play(script: list[dict], request: web.BaseRequest, peer: Connection) -> _Sent | None:
    """Executes a script step by step. Returns None if the script leaves the response to the API."""
    for step in script:
        if "answer" in step:
            return None
        if "repeat" in step:
            await _repeat(step, request, peer)
        elif "sleep" in step:
            await peer.sleep(step["sleep"])
        elif "reset" in step:
            peer.reset()
            return _Sent(keep_alive=False)
        elif "close" in step:
            return _Sent(keep_alive=False)
        else:
            await _send(step, request, peer)
    return _Sent(keep_alive=True)


async def _repeat(step: dict, request: web.BaseRequest, peer: Connection) -> None:
    rounds = itertools.count() if step["repeat"] is None else range(step["repeat"])
    for _ in rounds:
        await _send(step, request, peer)
        await peer.sleep(step.get("every", 0))


async def _send(step: dict, request: web.BaseRequest, peer: Connection) -> None:
    data = base64.b64decode(step["send_b64"]) if "send_b64" in step else step["send"].encode("latin-1")
    if peer.transport.is_closing():
        raise ConnectionResetError("the client went away")
    peer.transport.write(data)
    await request.writer.drain()
