"""Waits and events over HTTP/2, where a client may cancel one of many requests, or stop reading one."""

import json
import shutil
import subprocess
import time

import pytest

from gateway import account
from harness import SLOWNESS, http2, net, process
from harness.http2_client import Client

INSTANCE = "instances/docs"
JOB = "/client/v4/instances/docs/jobs/a"
ACCEPT = [("accept", "text/event-stream")]

LOCATIONS = """
    location /client/v4/ { aisearch_pass docs; aisearch_wait 30s; aisearch_events on; }
    location = /aisearch_status { aisearch_status; access_log off; }
"""


def start(nginx, simulator, http="", **parts):
    """A job is running. The API's clock is frozen, so that only the test changes the job."""
    simulator.freeze()
    simulator.job(INSTANCE, "a", state="running", description="one")
    valid = "aisearch_valid active 1s; aisearch_valid error 200ms;"
    server = f"server {{ listen 127.0.0.1:@PORT_H@ http2; {LOCATIONS} }}"
    return nginx(http=account(simulator, "budget 100000 1s;") + valid + http + server, server=LOCATIONS, **parts)


def connect(server, **options):
    return Client(("127.0.0.1", server.ports["H"]), **options)


def watchers(server, count, timeout=5):
    net.wait_until(lambda: server.get("/aisearch_status").json()["accounts"]["docs"]["watchers"] == count, timeout,
                   f"{count} watchers")


def events(stream):
    """All complete events: the type, and the job's description."""
    told = []
    for text in stream.body.decode().split("\n\n")[:-1]:
        fields = dict(line.split(": ", 1) for line in text.split("\n") if not line.startswith(":"))
        if "data" in fields:
            told.append((fields.get("event", "message"), json.loads(fields["data"])["result"]["description"]))
    return told


def test_events_and_waits_on_one_connection(nginx, simulator):
    server = start(nginx, simulator)
    with connect(server) as client:
        streams = [client.get(JOB, ACCEPT) for _ in range(3)]
        wait = client.get(JOB, [("prefer", "wait=20")])
        client.until(lambda: all(events(stream) == [("message", "one")] for stream in streams))
        assert streams[0].headers[":status"] == "200" and streams[0].headers["content-type"] == "text/event-stream"
        watchers(server, 4)
        simulator.job(INSTANCE, "a", description="two")
        client.until(lambda: all(len(events(stream)) == 2 for stream in streams))
        simulator.job(INSTANCE, "a", state="succeeded")
        client.until(lambda: wait.ended and all(stream.ended for stream in streams))
        for stream in streams:
            assert events(stream) == [("message", "one"), ("message", "two"), ("message", "two"), ("end", "two")]
        assert (wait.headers["x-aisearch-state"], wait.headers["preference-applied"]) == ("succeeded", "wait=20")
        known = client.get(JOB, [*ACCEPT, ("last-event-id", wait.headers["etag"])])
        client.until(lambda: known.ended)
        assert (known.headers[":status"], known.body) == ("204", b"")
    watchers(server, 0)


@pytest.mark.parametrize("headers", [ACCEPT, [("prefer", "wait=20")]])
def test_a_reset_stream_is_forgotten(headers, nginx, simulator):
    server = start(nginx, simulator)
    with connect(server) as client:
        gone = client.get(JOB, headers)
        watchers(server, 1)
        client.reset(gone, http2.CANCEL)
        watchers(server, 0, 1)
        time.sleep(0.2)
        simulator.forget()
        time.sleep(2.5)
        assert simulator.count() == 0  # nobody watches any more
        other = client.get(JOB, ACCEPT)
        client.until(lambda: events(other) == [("message", "one")])
        watchers(server, 1)
        assert not gone.ended and gone.reset is None
    watchers(server, 0)


def test_a_closed_connection_is_forgotten(nginx, simulator):
    server = start(nginx, simulator)
    with connect(server) as client:
        for headers in ACCEPT, ACCEPT, [("prefer", "wait=20")]:
            client.get(JOB, headers)
        watchers(server, 3)
    watchers(server, 0, 1)


def test_a_slow_reader_gets_the_newest_state(nginx, simulator):
    server = start(nginx, simulator)
    with connect(server, window=1000) as client, connect(server) as other:
        slow, fast = client.get(JOB, ACCEPT), other.get(JOB, ACCEPT)
        client.until(lambda: events(slow) == [("message", "one")])
        for n in range(5):
            simulator.job(INSTANCE, "a", description=f"{n}" + "x" * 5000)
            other.until(lambda: len(events(fast)) == n + 2)  # pylint: disable=cell-var-from-loop
        client.open_window(slow, 1 << 20)
        client.until(lambda: events(slow)[-1][1].startswith("4"))
        assert [text[0] for _, text in events(slow)] == ["o", "0", "4"]
        simulator.job(INSTANCE, "a", state="failed", description="end")
        client.until(lambda: slow.ended)
        assert events(slow)[3:] == [("message", "end"), ("end", "end")]


def test_a_stream_that_is_not_read_is_dropped(nginx, simulator):
    """Only its own flow control window is full: the other streams of the connection continue."""
    server = start(nginx, simulator, http="send_timeout 1s;")
    with connect(server, window=1000) as client:
        slow, fast = client.get(JOB, ACCEPT), client.get(JOB, ACCEPT)
        client.until(lambda: events(slow) == events(fast) == [("message", "one")])
        client.open_window(fast, 1 << 20)
        for n in range(4):
            simulator.job(INSTANCE, "a", description=f"{n}" + "x" * 5000)
            client.until(lambda: len(events(fast)) == n + 2)  # pylint: disable=cell-var-from-loop
        watchers(server, 1)
        assert len(slow.body) <= 1000 and not slow.ended
        simulator.job(INSTANCE, "a", state="failed", description="end")
        client.until(lambda: fast.ended)


def test_a_stream_that_begins_on_a_full_connection(nginx, simulator, tmp):
    """Its header waits until the client has read what was sent on another stream."""
    size = 1 << 23
    (tmp / "large").write_bytes(b"x" * size)
    server = start(nginx, simulator, http=f"root {tmp};")
    with connect(server) as client:
        large = client.get("/large")
        time.sleep(0.5)
        stream = client.get(JOB, ACCEPT)
        watchers(server, 1)
        client.until(lambda: large.ended and events(stream) == [("message", "one")], 30)
        assert len(large.body) == size and stream.reset is None
        simulator.job(INSTANCE, "a", state="succeeded")
        client.until(lambda: stream.ended)
    watchers(server, 0)


def test_a_reload(nginx, simulator):
    server = start(nginx, simulator)
    with connect(server) as client:
        stream, wait = client.get(JOB, ACCEPT), client.get(JOB, [("prefer", "wait=20")])
        client.until(lambda: events(stream))
        watchers(server, 2)
        server.reload(wait_old=False)
        client.until(lambda: stream.ended and wait.ended, 3)
        assert events(stream) == [("message", "one")]
        assert (wait.headers[":status"], wait.headers["x-aisearch-state"]) == ("200", "running")
    watchers(server, 0)


def test_curl(nginx, simulator):
    if shutil.which("curl") is None:
        pytest.skip("curl is not installed")
    server = start(nginx, simulator)

    def curl(*options):
        return process.start(["curl", "-sN", "--noproxy", "*", "--http2-prior-knowledge", "--max-time", 60 * SLOWNESS,
                              "-w", "%{stderr}%{http_version}", *options, f"http://127.0.0.1:{server.ports['H']}{JOB}"],
                             stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    with curl("-H", "Prefer: wait=50") as waiting, curl("-H", "Accept: text/event-stream") as listening:
        watchers(server, 2)
        simulator.job(INSTANCE, "a", state="succeeded")
        assert json.loads(waiting.stdout.read())["result"]["ended_at"] is not None
        assert listening.stdout.read().count("\ndata: ") == 3
        assert (waiting.stderr.read(), listening.stderr.read()) == ("2", "2")
    assert waiting.returncode == listening.returncode == 0
