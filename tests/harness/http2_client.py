"""An HTTP/2 client that sends exactly what it is given and reads as much as it is asked to (RFC 9113)."""

import collections
import dataclasses
import socket
import struct
import time

import hpack

from . import SLOWNESS, canary, net
from .http2 import (ACK, DATA, END_HEADERS, END_STREAM, GOAWAY, HEADERS, PING, PREFACE, RST_STREAM, SETTINGS,
                    WINDOW_UPDATE, block, frame, rst_stream, setting)

_INITIAL_WINDOW_SIZE = 4  # in SETTINGS


@dataclasses.dataclass
class Stream:
    """The response on one stream."""

    headers: dict[str, str] = dataclasses.field(default_factory=dict)
    body: bytes = b""
    ended: bool = False
    reset: int | None = None  # the error code


class Client:
    """
    with Client(address) as client:
        stream = client.get("/", [("accept", "text/event-stream")])
        client.until(lambda: stream.ended)

    window limits the length of each response; client.open_window() allows more. The connection's window is large.
    """

    def __init__(self, address: net.Address, window: int = 1 << 30) -> None:
        self.streams: dict[int, Stream] = collections.defaultdict(Stream)
        self._decoder = hpack.Decoder()
        self._raw = b""
        self._sock = socket.create_connection(address, timeout=10 * SLOWNESS)
        self._sock.sendall(PREFACE + frame(SETTINGS, 0, 0, setting(_INITIAL_WINDOW_SIZE, window)))
        self.open_window(0, 1 << 30)

    def __enter__(self) -> "Client":
        return self

    def __exit__(self, *_exc) -> None:
        self._sock.close()

    def get(self, path: str, headers: list[tuple[str, str]] = ()) -> Stream:
        number = 2 * len(self.streams) + 1
        fields = [(":method", "GET"), (":scheme", "http"), (":authority", "localhost"), (":path", path), *headers]
        self._sock.sendall(frame(HEADERS, END_HEADERS | END_STREAM, number, block(fields)))
        return self.streams[number]

    def reset(self, stream: Stream, code: int) -> None:
        self._sock.sendall(rst_stream(self._number(stream), code))

    def open_window(self, stream: Stream | int, size: int) -> None:
        number = stream if stream == 0 else self._number(stream)
        self._sock.sendall(frame(WINDOW_UPDATE, 0, number, struct.pack(">I", size)))

    def until(self, condition, timeout: float = 10) -> None:
        """Reads until the condition is true."""
        deadline = time.monotonic() + timeout * SLOWNESS
        while not condition():
            self._sock.settimeout(max(deadline - time.monotonic(), 0.001))
            self._receive()

    def _number(self, stream: Stream) -> int:
        return next(number for number, known in self.streams.items() if known is stream)

    def _receive(self) -> None:
        data = self._sock.recv(262144)
        if not data:
            raise net.Closed("the connection ended")
        canary.check(data, "an answer")
        self._raw += data
        while len(self._raw) >= 9:
            length = int.from_bytes(self._raw[:3], "big")
            if len(self._raw) < 9 + length:
                return
            kind, flags, number = struct.unpack(">BBI", self._raw[3:9])
            payload, self._raw = self._raw[9:9 + length], self._raw[9 + length:]
            self._take(kind, flags, number, payload)

    def _take(self, kind: int, flags: int, number: int, payload: bytes) -> None:
        if kind in (SETTINGS, PING) and not flags & ACK:
            self._sock.sendall(frame(kind, ACK, 0, payload if kind == PING else b""))
        elif kind == HEADERS:
            assert flags & END_HEADERS
            self.streams[number].headers = dict(self._decoder.decode(payload))
        elif kind == DATA:
            self.streams[number].body += payload
        elif kind == RST_STREAM:
            [self.streams[number].reset] = struct.unpack(">I", payload)
        elif kind == GOAWAY:
            assert payload[4:8] == bytes(4), f"the connection is refused: {payload}"
        if kind in (HEADERS, DATA) and flags & END_STREAM:
            self.streams[number].ended = True
