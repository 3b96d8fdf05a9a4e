"""worker_connections: how many the module reserves besides those to the API, and lookups when none are left."""

import contextlib
import fcntl
import re
import select
import struct
import termios

import pytest

import gateway
from gateway import SERVER, account, error_of, job_target, start
from harness import ROOT, net

CONNECTIONS = 40  # worker_connections


def room(nginx, **parts) -> int:
    """Returns how many clients a worker accepts that have sent only one byte, so that it closes none of them for another."""
    server = nginx(connections=CONNECTIONS, **parts)
    server.allow_log("worker_connections are not enough")
    with contextlib.ExitStack() as stack:
        for count in range(CONNECTIONS):
            if not is_taken(stack.enter_context(net.Connection(server.socket))):
                return count
    raise AssertionError("the worker accepts all of them")


def is_taken(client: net.Connection) -> bool:
    """Waits until the worker has read the byte, which a Unix socket reports, or has closed the connection."""
    try:
        client.send(b"G")
        net.wait_until(lambda: unread(client) == 0, what="the worker to read")
    except BrokenPipeError:
        return False
    return select.select([client.sock], [], [], 0)[0] == []


def unread(client: net.Connection) -> int:
    return struct.unpack("i", fcntl.ioctl(client.sock, termios.TIOCOUTQ, b"\0" * 4))[0]


def accounts(simulator, certificates, *bundles: str | None) -> str:
    """Returns an account for each bundle; None trusts the system's certificates."""
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
    assert re.search(r"uses two of its `worker_connections`: .*\. .*one more", manual)


def test_lookups_fail_only_while_connections_are_exhausted(nginx, simulator):
    jobs = [f"job-{n}" for n in range(12)]
    simulator.instance("instances/docs", [{"id": job, "state": "failed"} for job in jobs])
    simulator.fault("/jobs/", times=len(jobs), delay=1)
    server = start(nginx, simulator, server=SERVER + "location /there { return 204; }", connections=20)
    server.allow_log("worker_connections are not enough")

    with contextlib.ExitStack() as stack:
        clients = [stack.enter_context(server.connect()) for _ in jobs]
        for client, job in zip(clients, jobs):  # none is idle, so nginx does not close any to reuse it
            client.send(f"GET {job_target(job)} HTTP/1.1\r\nHost: localhost\r\n".encode())
        assert server.get("/there").status == 204  # and all requests have been read
        for client in clients:
            client.send(b"\r\n")
        answered = [client.read_response() for client in clients]
    failed = [response for response in answered if response.status != 200]
    assert 0 < len(failed) < len(answered)
    for response in failed:
        assert (response.status, error_of(response)["code"], response.header("Retry-After")) == (503, 503, "2")
    logged = gateway.lookups(server, len(answered))
    assert [entry["error"] for entry in logged].count("internal") == len(failed)
    assert [server.get(job_target(job)).status for job in jobs] == [200] * len(jobs)
