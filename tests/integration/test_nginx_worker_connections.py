"""The number of worker_connections that the module occupies in addition to those to the API, as documented."""

import contextlib
import fcntl
import re
import select
import struct
import termios

import pytest

from gateway import account
from harness import ROOT, net

CONNECTIONS = 40  # worker_connections


def room(nginx, **parts) -> int:
    """
    The number of clients that a worker accepts. Each has sent one byte, so that nginx does not close it for another
    one.
    """
    server = nginx(connections=CONNECTIONS, **parts)
    server.allow_log("worker_connections are not enough")
    with contextlib.ExitStack() as stack:
        for count in range(CONNECTIONS):
            if not is_taken(stack.enter_context(net.Connection(server.socket))):
                return count
    raise AssertionError("there is room for all of them")


def is_taken(client: net.Connection) -> bool:
    """
    Waits until the worker has read the byte (for a Unix socket, the kernel shows this) or has closed the connection.
    """
    try:
        client.send(b"G")
        net.wait_until(lambda: unread(client) == 0, what="the worker to read")
    except BrokenPipeError:
        return False
    return select.select([client.sock], [], [], 0)[0] == []


def unread(client: net.Connection) -> int:
    return struct.unpack("i", fcntl.ioctl(client.sock, termios.TIOCOUTQ, b"\0" * 4))[0]


def accounts(simulator, certificates, *bundles: str | None) -> str:
    """An account for each of these; None trusts the system's certificates."""
    lines = [[] if bundle is None else [f"trusted_certificate {certificates.certificate(bundle)};"] for bundle in bundles]
    return "".join(account(simulator, *line, name=f"docs-{n}") for n, line in enumerate(lines))


@pytest.mark.parametrize("bundles, kept", [
    ([None], 2),
    ([None, None], 2),
    (["good"], 2),
    ([None, "good", "good"], 3),
    ([None, "good", "wrong_host"], 4),
], ids=str)
def test_connections_that_a_worker_keeps(nginx, simulator, certificates, bundles, kept):
    names = [f"docs-{n}" for n in range(len(bundles))]
    server = "\n".join(f"location /{name}/ {{ aisearch_pass {name}; }}" for name in names)
    without = room(nginx)
    assert without - room(nginx, http=accounts(simulator, certificates, *bundles), server=server) == kept


def test_they_are_documented():
    manual = " ".join((ROOT / "docs/nginx.md").read_text().split())
    assert re.search(r"keeps two of its `worker_connections` .*, and one more for each further `trusted_certificate`", manual)
