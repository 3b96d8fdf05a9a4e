"""
An upstream that floods the client at the full speed of loopback: with HTTP/2 frames, within HTTP/1.1, or with TLS
itself.

    with flood.Flood(tmp, certificates, "empty DATA") as url: ...     # https://localhost:PORT/client/v4
"""

import pathlib
import subprocess
from typing import NamedTuple

from . import TESTS, http2, process

_MIB = 1 << 20


class Way(NamedTuple):
    head: bytes
    piece: bytes  # sent repeatedly
    protocol: str | None = "h2"  # for ALPN; None: before any protocol is negotiated, during the handshake
    how: str = "data"  # a mode of flood.c
    tls: bool = True


def _of_frames(frame: bytes, head: bytes = b"") -> Way:
    return Way(head, frame * (_MIB // len(frame)))


_CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"

WAYS = {
    "empty DATA": _of_frames(http2.frame(http2.DATA, 0, 1), http2.headers(1)),
    "DATA that is padding": _of_frames(http2.frame(http2.DATA, http2.PADDED, 1, b"\xff" + bytes(255)),
                                       http2.headers(1)),
    "DATA byte by byte": _of_frames(http2.frame(http2.DATA, 0, 1, b" "), http2.headers(1)),
    "PING": _of_frames(http2.frame(http2.PING, 0, 0, b"poison!!")),
    "acknowledged PING": _of_frames(http2.frame(http2.PING, http2.ACK, 0, b"poison!!")),
    "SETTINGS": _of_frames(http2.frame(http2.SETTINGS, 0, 0)),
    "PRIORITY": _of_frames(http2.frame(2, 0, 1, b"\0\0\0\3\1")),
    "WINDOW_UPDATE": _of_frames(http2.frame(http2.WINDOW_UPDATE, 0, 1, b"\0\0\0\1")),
    "RST_STREAM": _of_frames(http2.rst_stream(3, http2.CANCEL)),
    "GOAWAY": _of_frames(http2.goaway(1, http2.NO_ERROR)),
    "ALTSVC": _of_frames(http2.frame(10, 0, 1, b"\0\0clear")),
    "unknown frames": _of_frames(http2.frame(0x42, 0, 0)),
    "CONTINUATION": _of_frames(http2.frame(http2.CONTINUATION, 0, 1, http2.block([("x-more", "m" * 1000)])),
                               http2.frame(http2.HEADERS, 0, 1, http2.block([(":status", "200")]))),
    "empty CONTINUATION": _of_frames(http2.frame(http2.CONTINUATION, 0, 1),
                                     http2.frame(http2.HEADERS, 0, 1, http2.block([(":status", "200")]))),
    "interim answers": _of_frames(http2.headers(1, 103)),
    "records of one byte": Way(http2.headers(1), http2.frame(http2.DATA, 0, 1) * 4096, how="bytes"),
    "session tickets": Way(b"", b"", how="tickets"),
    "new keys": Way(b"", b"", how="keys"),
    "chunk extension": Way(_CHUNKED + b"1;", b"x" * _MIB, "http/1.1"),
    "interim answers of HTTP/1.1": Way(b"", b"HTTP/1.1 103 Early Hints\r\n\r\n" * 10000, "http/1.1"),
    "HelloRequest": Way(b"", (b"\x16\x03\x03\x40\x00" + bytes(16384)) * 64, None, "raw"),
    "TLS alerts": Way(b"", b"\x15\x03\x03\x00\x02\x01\x5a" * 100000, None, "raw"),
    "chunk extension without TLS": Way(_CHUNKED + b"1;", b"x" * _MIB, None, "raw", tls=False),
}


class Flood:
    def __init__(self, tmp: pathlib.Path, certificates, name: str) -> None:
        self._tmp = tmp
        self._certificates = certificates
        self._way = WAYS[name]

    def __enter__(self) -> str:
        arguments = [self._program(), self._way.how, self._file("head", self._way.head),
                     self._file("piece", self._way.piece)]
        if self._way.protocol is not None:
            arguments += [self._certificates.certificate("good"), self._certificates.key("good"), self._way.protocol]
        self._process = process.start(arguments, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE)
        port = int(self._process.stdout.readline())
        return f"{'https' if self._way.tls else 'http'}://localhost:{port}/client/v4"

    def __exit__(self, *_exc) -> None:
        process.stop(self._process)
        self._process.stdout.close()

    def _file(self, name: str, data: bytes) -> pathlib.Path:
        path = self._tmp / f"flood.{name}"
        path.write_bytes(data)
        return path


    def _program(self) -> pathlib.Path:
        program = self._tmp / "flood"
        if not program.exists():
            subprocess.run(["cc", "-O1", "-Wall", "-Wextra", "-o", program, TESTS / "harness" / "flood.c", "-lssl",
                            "-lcrypto", "-lpthread"], check=True)
        return program
