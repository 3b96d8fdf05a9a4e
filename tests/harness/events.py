"""A strict text/event-stream client (WHATWG HTML, 9.2.6) over HTTP/1.1."""

import dataclasses
import time
from collections.abc import Iterable

from . import SLOWNESS, net


@dataclasses.dataclass(frozen=True)
class Event:
    type: str
    data: str
    id: str  # the last event id when the event was dispatched


class Stream:
    """One connection with one response; events are read one by one."""

    def __init__(self, address: net.Address, target: str, headers: Iterable[tuple[str, str]] = (),
                 timeout: float = 10) -> None:
        self._connection = net.Connection(address, timeout)
        self.sock = self._connection.sock
        self._timeout = timeout * SLOWNESS
        self._raw = b""  # as received
        self._text = b""  # without chunk headers, from the last event on
        self.ended = False  # the response has ended properly
        self.comments = 0
        self.retry: int | None = None
        self.last_id = ""
        self._connection.send(net.format_request(target, [("Accept", "text/event-stream"), *headers]))
        self._read_head()

    def __enter__(self) -> "Stream":
        return self

    def __exit__(self, *_exc) -> None:
        self.close()

    def close(self) -> None:
        self._connection.close()

    def header(self, name: str) -> str | None:
        return self.response.header(name)

    def next(self, timeout: float | None = None) -> Event | None:
        """Returns the next event, or None if the response has ended. Fails on timeout."""
        deadline = time.monotonic() + (self._timeout if timeout is None else timeout * SLOWNESS)
        while True:
            event = self._take_event()
            if event is not None:
                return event
            if self.ended:
                return None
            self._receive(deadline)

    def nothing_for(self, seconds: float) -> None:
        """Checks that neither an event nor the end arrives in this time."""
        try:
            event = self.next(seconds / SLOWNESS)
        except TimeoutError:
            return
        raise AssertionError(f"came: {event}")

    def rest(self, timeout: float | None = None) -> list[Event]:
        """Returns all events until the end."""
        return list(iter(lambda: self.next(timeout), None))

    def _receive(self, deadline: float) -> None:
        left = deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError("no event")
        self.sock.settimeout(left)
        data = self.sock.recv(65536)
        if not data:
            if self._chunked or self.response.header("Content-Length"):
                raise net.Closed("the stream was cut")
            self.ended = True
        self._raw += data
        self._unchunk()

    def _read_head(self) -> None:
        deadline = time.monotonic() + self._timeout
        while b"\r\n\r\n" not in self._raw:
            self.sock.settimeout(max(deadline - time.monotonic(), 0.001))
            data = self.sock.recv(65536)
            if not data:
                raise net.Closed("no response")
            self._raw += data
        head, _, self._raw = self._raw.partition(b"\r\n\r\n")
        lines = head.decode("latin-1").split("\r\n")
        status = lines[0].split(" ", 2)
        headers = [tuple(line.split(": ", 1)) for line in lines[1:]]
        self.response = net.Response(int(status[1]), status[2], headers, b"")
        self.status = self.response.status
        self._chunked = self.response.header("Transfer-Encoding") == "chunked"
        self._unchunk()

    def _unchunk(self) -> None:
        if not self._chunked:
            self._text, self._raw = self._text + self._raw, b""
            return
        while b"\r\n" in self._raw and not self.ended:
            size, _, rest = self._raw.partition(b"\r\n")
            length = int(size, 16)
            if len(rest) < length + 2:
                return
            assert rest[length:length + 2] == b"\r\n"
            self._text += rest[:length]
            self._raw = rest[length + 2:]
            self.ended = length == 0

    def _take_event(self) -> Event | None:
        """Returns the text before the next empty line, or None if there is none yet."""
        while b"\n\n" in self._text:
            block, _, self._text = self._text.partition(b"\n\n")
            event = self._dispatch(block.decode().split("\n"))
            if event is not None:
                return event
        return None

    def _dispatch(self, lines: list[str]) -> Event | None:
        kind, data = "", []
        for line in lines:
            name, _, value = line.partition(":")
            value = value.removeprefix(" ")
            if not name:
                self.comments += 1
            elif name == "event":
                kind = value
            elif name == "data":
                data.append(value)
            elif name == "id":
                self.last_id = value
            elif name == "retry":
                self.retry = int(value)
            else:
                raise AssertionError(f"unknown field: {line}")
        return Event(kind or "message", "\n".join(data), self.last_id) if data else None
