"""The server side of HTTP/2 in raw frames (RFC 9113), to send what no library would."""

import base64
import struct
from collections.abc import Callable

import hpack

from .stall import Connection

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"

DATA, HEADERS, RST_STREAM, SETTINGS, PUSH_PROMISE, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = 0, 1, 3, 4, 5, 6, 7, 8, 9
END_STREAM = ACK = 0x1
END_HEADERS, PADDED, PRIORITY = 0x4, 0x8, 0x20

NO_ERROR, INTERNAL_ERROR, REFUSED_STREAM, CANCEL = 0, 2, 7, 8
ENHANCE_YOUR_CALM = 11

MAX_CONCURRENT_STREAMS = 3  # in SETTINGS


def raw(data: bytes, **more) -> dict:
    """Returns a step of a script."""
    return {**more, "send_b64": base64.b64encode(data).decode()}


def frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    return struct.pack(">I", len(payload))[1:] + struct.pack(">BBI", kind, flags, stream) + payload


def headers(stream: int, status: int = 200, fields: list[tuple[str, str]] = (), flags: int = END_HEADERS) -> bytes:
    fields = [(":status", str(status)), ("content-type", "application/json"), *fields]
    return frame(HEADERS, flags, stream, block(fields))


def block(fields: list[tuple[str, str]]) -> bytes:
    """Encodes without the dynamic table, so that each block is independent."""
    return hpack.Encoder().encode([(name, value, True) for name, value in fields])


def answer(stream: int, body: str, status: int = 200, fields: list[tuple[str, str]] = ()) -> bytes:
    return headers(stream, status, fields) + frame(DATA, END_STREAM, stream, body.encode())


def rst_stream(stream: int, code: int) -> bytes:
    return frame(RST_STREAM, 0, stream, struct.pack(">I", code))


def setting(name: int, value: int) -> bytes:
    return struct.pack(">HI", name, value)


def goaway(last_stream: int, code: int) -> bytes:
    return frame(GOAWAY, 0, 0, struct.pack(">II", last_stream, code))


def serve(connection: Connection, respond: Callable[[int, dict[str, str]], list[dict]],
          is_over: Callable[[], bool]) -> None:
    """
    Runs the script that respond() returns for each request, given its stream and header fields, until is_over() is true
    or a script ends the connection.
    """
    decoder = hpack.Decoder()
    if connection.read_exactly(len(PREFACE)) != PREFACE:
        return
    alive = connection.play([raw(frame(SETTINGS, 0, 0))])
    while alive and not is_over():
        head = connection.read_exactly(9)
        kind, flags, stream = struct.unpack(">BBI", head[3:])
        payload = connection.read_exactly(int.from_bytes(head[:3], "big"))
        if kind in (SETTINGS, PING) and not flags & ACK:
            alive = connection.play([raw(frame(kind, ACK, 0, payload if kind == PING else b""))])
        elif kind == HEADERS:
            fields = dict(decoder.decode(_fragment(flags, payload)))
            alive = connection.play(respond(stream, fields))


def _fragment(flags: int, payload: bytes) -> bytes:
    padding = payload[0] if flags & PADDED else 0
    begin = (1 if flags & PADDED else 0) + (5 if flags & PRIORITY else 0)
    return payload[begin:len(payload) - padding]
