"""Streams of events (WHATWG HTML, 9.2): `aisearch_events on`."""

import contextlib
import json
import socket
import time

import pytest

from gateway import ACCESS_LOG, WORKERS, account, lookups
from harness import SLOWNESS, net, stall
from harness.events import Stream
from harness.nginx import Config, config_test

STATUS = "location = /aisearch_status { aisearch_status; access_log off; }"
SERVER = "location /client/v4/ { aisearch_pass docs; aisearch_events on; }" + WORKERS + STATUS
JOB = "/client/v4/instances/docs/jobs/a"


def start(nginx, simulator, server=SERVER, http="", directives=(), **parts):
    valid = "aisearch_valid active 1s; aisearch_valid list 1s; aisearch_valid error 200ms;"
    return nginx(http=account(simulator, "budget 100000 1s;", *directives) + ACCESS_LOG + valid + http, server=server,
                 **parts)


def live(server):
    return server.get("/aisearch_status").json()["accounts"]["docs"]


def watchers(server, count):
    net.wait_until(lambda: live(server)["watchers"] == count, 10, f"{count} watchers")


def test_each_change_is_sent_until_the_job_ends(nginx, simulator):
    simulator.job("instances/docs", "a", state="running", description="one")
    server = start(nginx, simulator)
    plain = server.get(JOB)
    with Stream(server.address, JOB) as stream:
        assert stream.status == 200
        assert stream.header("Content-Type") == "text/event-stream"
        assert stream.header("Cache-Control") == "no-store"
        assert stream.header("X-Accel-Buffering") == "no"
        assert stream.header("X-Aisearch-Cache") == "STREAM"
        assert stream.header("Vary") == "Accept"
        first = stream.next()
        assert (first.type, first.data.encode()) == ("message", plain.body)
        assert f'"{first.id}"' == plain.header("ETag")
        assert 2000 <= stream.retry < 4000
        simulator.job("instances/docs", "a", description="two")
        second = stream.next()
        assert json.loads(second.data)["result"]["description"] == "two" and second.id != first.id
        simulator.job("instances/docs", "a", state="succeeded")
        last, end = stream.rest()
        assert (last.type, end.type) == ("message", "end")
        assert (last.id, last.data) == (end.id, end.data)
        assert json.loads(last.data)["result"]["ended_at"] is not None
    watchers(server, 0)
    assert live(server)["events"] == 3
    assert {line["cache_status"] for line in lookups(server, 2)} >= {"STREAM"}


@pytest.mark.parametrize("form", ['{}', '"{}"', 'W/"{}"'])
def test_a_client_that_reconnects_misses_nothing(nginx, simulator, form):
    simulator.job("instances/docs", "a", state="running")
    server = start(nginx, simulator)
    known = server.get(JOB).header("ETag").strip('"')
    with Stream(server.address, JOB, [("Last-Event-ID", form.format(known))]) as stream:
        stream.nothing_for(0.5)
        simulator.job("instances/docs", "a", state="failed")
        assert [event.type for event in stream.rest()] == ["message", "end"]
        last = stream.last_id
    response = server.get(JOB, [("Accept", "text/event-stream"), ("Last-Event-ID", form.format(last))])
    assert (response.status, response.body) == (204, b"")
    with Stream(server.address, JOB, [("Last-Event-ID", form.format(known))]) as stream:
        assert [event.type for event in stream.rest()] == ["message", "end"]


@pytest.mark.parametrize("accept, streams", [
    ("text/event-stream", True),
    ("text/event-stream, application/json", True),
    ("TEXT/Event-Stream ;q=0.5 , application/json;q=0.4", True),
    ("application/json, text/event-stream;q=0.9", False),
    ("text/event-stream;q=0", False),
    ("*/*", False),
    ("text/*", False),
    ("text/event-stream;q=0.1, */*;q=0.2", False),
])
def test_only_an_explicit_accept_gets_a_stream(nginx, simulator, accept, streams):
    simulator.job("instances/docs", "a", state="succeeded")
    server = start(nginx, simulator)
    response = server.get(JOB, [("Accept", accept)])
    assert response.status == 200
    assert response.header("Content-Type") == ("text/event-stream" if streams else "application/json")
    assert response.header("Vary") == "Accept"


def test_a_fault_and_its_end_are_each_sent_once(nginx, simulator):
    simulator.job("instances/docs", "a", state="running", description="one")
    server = start(nginx, simulator)
    with Stream(server.address, JOB) as stream:
        known = stream.next()
        fault = simulator.fault(status=500)
        told = stream.next()
        assert (told.type, told.id) == ("fault", known.id)
        assert json.loads(told.data)["errors"][0]["message"]
        stream.nothing_for(1)
        simulator.clear_fault(fault)
        recovered = stream.next()
        assert (recovered.type, recovered.data, recovered.id) == ("recovered", known.data, known.id)
        simulator.fault(status=500, times=8)
        assert stream.next().type == "fault"
        simulator.job("instances/docs", "a", description="two")
        changed = stream.next(20)
        assert (changed.type, json.loads(changed.data)["result"]["description"]) == ("message", "two")
        stream.nothing_for(1)


def test_a_stream_during_an_outage_without_an_entry(nginx, simulator):
    simulator.job("instances/docs", "a", state="running")
    fault = simulator.fault(status=500)
    server = start(nginx, simulator)
    with Stream(server.address, JOB) as stream:
        assert stream.status == 200
        assert stream.next().type == "fault"
        simulator.clear_fault(fault)
        assert stream.next().type == "message"


@pytest.mark.parametrize("state, told", [("running", ["recovered"]), ("succeeded", ["message", "end"])])
def test_a_client_with_the_newest_state_during_an_outage(nginx, simulator, state, told):
    """The known state is not sent again, but the end of the job is."""
    simulator.freeze()
    simulator.job("instances/docs", "a", state=state)
    known = start(nginx, simulator).get(JOB).header("ETag")
    fault = simulator.fault(status=500)
    server = start(nginx, simulator)
    with Stream(server.address, JOB, [("Last-Event-ID", known)]) as stream:
        assert stream.next().type == "fault"
        simulator.clear_fault(fault)
        assert [stream.next().type for _ in told] == told
        if state == "running":
            stream.nothing_for(1)
        else:
            assert stream.next() is None


def test_errors_have_their_own_status(nginx, simulator):
    simulator.job("instances/docs", "a", state="running")
    server = start(nginx, simulator, directives=["instance docs;"])
    accept = [("Accept", "text/event-stream")]
    assert server.get("/client/v4/instances/docs/jobs/missing", accept).status == 404
    assert server.get("/client/v4/instances/other/jobs/a", accept).status == 403
    assert server.get("/client/v4/nonsense", accept).status == 400
    assert server.get(JOB, accept, method="POST").status == 405
    assert server.get(JOB, accept, method="HEAD").header("Content-Type") == "application/json"


@pytest.mark.parametrize("condition", [
    ("If-None-Match", "*"), ("If-Match", '"x"'), ("If-Unmodified-Since", "Sun, 06 Nov 1994 08:49:37 GMT"),
    ("Range", "bytes=0-1"),
])
def test_a_stream_is_not_conditional(nginx, simulator, condition):
    simulator.job("instances/docs", "a", state="running")
    server = start(nginx, simulator)
    with Stream(server.address, JOB, [condition]) as stream:
        assert (stream.status, stream.next().type) == (200, "message")


def test_a_job_that_disappears(nginx, simulator):
    simulator.job("instances/docs", "a", state="running")
    server = start(nginx, simulator)
    with Stream(server.address, JOB) as stream:
        stream.next()
        simulator.instance("instances/docs", [], replace=True)
        [end] = stream.rest()
        assert end.type == "end" and not json.loads(end.data)["success"]


def test_heartbeats_and_the_end_of_a_stream(nginx, simulator):
    simulator.job("instances/docs", "a", state="running")
    server = start(nginx, simulator, http="aisearch_heartbeat 1s; keepalive_time 4s;")
    began = time.monotonic()
    with Stream(server.address, JOB) as stream:
        assert [event.type for event in stream.rest()] == ["message"]
        assert stream.comments >= 2
    assert 3 < time.monotonic() - began < 4 + SLOWNESS


def test_heartbeats_are_sent_only_during_silence(nginx, simulator):
    simulator.job("instances/docs", "a", state="running")
    server = start(nginx, simulator, http=f"aisearch_heartbeat {4 * SLOWNESS}s;")
    with Stream(server.address, JOB) as stream:
        for n in range(6 * SLOWNESS):
            stream.next()
            simulator.job("instances/docs", "a", description=f"change {n}")
        assert stream.comments == 0


def test_gzip_and_buffers_do_not_delay_events(nginx, simulator):
    simulator.job("instances/docs", "a", state="running")
    server = start(nginx, simulator, http="gzip on; gzip_types *; gzip_min_length 0; gzip_http_version 1.0;"
                                          "postpone_output 1460; limit_rate 100;")
    with Stream(server.address, JOB, [("Accept-Encoding", "gzip")]) as stream:
        assert stream.header("Content-Encoding") is None
        assert stream.next(2).type == "message"
        simulator.job("instances/docs", "a", description="x" * 2000)
        assert stream.next(3).type == "message"


def test_a_reload_ends_streams(nginx, simulator):
    simulator.job("instances/docs", "a", state="running")
    server = start(nginx, simulator)
    with Stream(server.address, JOB) as stream:
        stream.next()
        began = time.monotonic()
        server.reload()
        assert stream.rest() == []
        assert time.monotonic() - began < 3 * SLOWNESS
    watchers(server, 0)


def test_a_refresh_does_not_keep_a_worker(nginx, simulator):
    """The old worker releases the lease, and the new one fetches."""
    simulator.job("instances/docs", "a", state="running", description="one")
    server = start(nginx, simulator)
    with Stream(server.address, JOB) as stream:
        stream.next()
        fault = simulator.fault(delay=8)
        net.wait_until(lambda: simulator.fault_hits(fault), 5, "a refresh")
        [old] = server.workers()
        began = time.monotonic()
        server.reload()
        assert not net.alive(old) and time.monotonic() - began < 2 * SLOWNESS
        simulator.clear_faults()
        simulator.job("instances/docs", "a", description="two")
        assert stream.rest() == []
    with Stream(server.address, JOB) as stream:
        found = stream.next()
        while json.loads(found.data)["result"]["description"] != "two":
            found = stream.next(3)


def test_workers_notify_each_other(nginx, simulator):
    simulator.job("instances/docs", "a", state="running", description="one")
    server = start(nginx, simulator, workers=3)
    server.get(JOB)
    streams = [Stream(server.address, JOB) for _ in range(12)]
    try:
        for stream in streams:
            stream.next()
        simulator.forget()
        time.sleep(4)
        assert 2 <= simulator.count() <= 6
        for n in range(3):
            simulator.job("instances/docs", "a", description=f"change {n}")
            events = [stream.next() for stream in streams]
            assert {json.loads(event.data)["result"]["description"] for event in events} == {f"change {n}"}
    finally:
        for stream in streams:
            stream.close()
    watchers(server, 0)


def test_a_worker_is_notified_right_after_its_own_fetch(nginx, simulator):
    """Changes arrive at once, earlier than with the next refresh or check of the entry."""
    simulator.freeze()
    simulator.job("instances/docs", "a", state="running", description="first")
    server = start(nginx, simulator, workers=2, server="aisearch_cache_bypass $http_x_fresh; aisearch_valid active 1h;"
                   + SERVER)
    fresh = [("X-Fresh", "1")]
    with contextlib.ExitStack() as stack:
        workers = {}
        while len(workers) < 2:
            connection = stack.enter_context(server.connect())
            workers.setdefault(connection.request("/pid").body, connection)
        streams = [stack.enter_context(Stream(server.address, JOB)) for _ in range(12)]
        for stream in streams:
            stream.next()
        for n in range(3):
            for connection in workers.values():
                simulator.job("instances/docs", "a", description=f"{n} of {connection}")
                assert connection.request(JOB, fresh).header("X-Aisearch-Cache") == "BYPASS"
                assert {json.loads(stream.next(0.7).data)["result"]["description"] for stream in streams} \
                    == {f"{n} of {connection}"}


def test_a_slow_reader_gets_the_newest_state(nginx, simulator):
    simulator.job("instances/docs", "a", state="running", description="first")
    server = start(nginx, simulator)
    with Stream(server.address, JOB) as slow, Stream(server.address, JOB) as other:
        slow.next(), other.next()
        slow.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
        big = "x" * 900000
        for n in range(10):
            simulator.job("instances/docs", "a", description=f"{n}{big}")
            assert json.loads(other.next().data)["result"]["description"] == f"{n}{big}"
        seen = []
        while not seen or seen[-1] != "9":
            seen.append(json.loads(slow.next().data)["result"]["description"][0])
        assert seen == sorted(set(seen)) and len(seen) < 10


def test_a_client_that_does_not_read_is_dropped(nginx, simulator):
    simulator.job("instances/docs", "a", state="running")
    server = start(nginx, simulator, http="send_timeout 1s;")
    with Stream(server.address, JOB) as stream:
        stream.next()
        for n in range(12):
            simulator.job("instances/docs", "a", description=f"{n}" + "x" * 600000)
            time.sleep(0.5)
        watchers(server, 0)


def test_events_of_a_list(nginx, simulator):
    simulator.job("instances/docs", "a", state="running")
    server = start(nginx, simulator)
    with Stream(server.address, "/client/v4/instances/docs/jobs") as stream:
        first = stream.next()
        assert len(json.loads(first.data)["result"]) == 1
        simulator.job("instances/docs", "b", state="queued")
        assert len(json.loads(stream.next().data)["result"]) == 2


def test_a_subrequest_never_becomes_a_stream(nginx, simulator):
    """Subrequests have the headers of the client, but their response is for nginx."""
    simulator.job("instances/docs", "a", state="running")
    server = start(nginx, simulator, server=SERVER + """
        location /guarded/ { auth_request /guard; aisearch_pass docs; aisearch_events on; }
        location = /guard { internal; aisearch_pass docs instances/docs/jobs/a; aisearch_events on; }
        location = /accel { add_header X-Accel-Redirect /client/v4/instances/docs/jobs/a; return 204; }
        location = /tried { try_files /none /client/v4/instances/docs/jobs/a; }
        location = /missing { error_page 404 = /client/v4/instances/docs/jobs/a; return 404; }
    """)
    with Stream(server.address, "/guarded/instances/docs/jobs/a") as stream:
        assert stream.next().type == "message"
        watchers(server, 1)
    for path in "/tried", "/missing":
        with Stream(server.address, path) as stream:
            assert (stream.status, stream.next().type) == (200, "message")


def test_access_log_variables_describe_the_last_event(nginx, simulator):
    simulator.job("instances/docs", "a", state="running")
    server = start(nginx, simulator)
    with Stream(server.address, JOB) as stream:
        stream.next()
        simulator.job("instances/docs", "a", state="failed", end_reason="out of luck")
        stream.rest()
    [line] = lookups(server, 1)
    assert (line["cache_status"], line["job_state"], line["end_reason"]) == ("STREAM", "failed", "out of luck")


def test_a_killed_worker_leaves_no_watchers_in_the_status(nginx, simulator):
    simulator.job("instances/docs", "a", state="running")
    server = start(nginx, simulator)
    with Stream(server.address, JOB) as stream:
        stream.next()
        watchers(server, 1)
        [worker] = server.workers()
        server.kill_worker(worker)
        watchers(server, 0)


def test_the_last_connections_are_not_used_for_watchers(nginx, simulator):
    simulator.freeze()
    for job in "a", "b", "c":
        simulator.job("instances/docs", job, state="running")
    server = start(nginx, simulator, server=SERVER.replace("aisearch_events", "aisearch_wait 30s; aisearch_events"),
                   connections=80)
    with contextlib.ExitStack() as stack:
        streams = []
        while (stream := stack.enter_context(Stream(server.address, JOB))).status == 200:
            streams.append(stream)
        assert stream.status == 503 and int(stream.header("Retry-After")) >= 1
        assert 60 <= len(streams) <= 70
        stream.close()
        watchers(server, len(streams))

        response = server.get(JOB, [("Prefer", "wait=20")])
        assert (response.status, response.header("X-Aisearch-State")) == (200, "running")
        assert response.header("Preference-Applied") == "wait=20" and response.elapsed < SLOWNESS
        fetched = [server.get(JOB.replace("/a", f"/{job}")).status for job in ("b", "c", "missing")]
        assert fetched == [200, 200, 404]

        simulator.job("instances/docs", "a", description="new")
        assert all(stream.next().type == "message" and stream.next().type == "message" for stream in streams)

        streams.pop().close()
        watchers(server, len(streams))
        assert stack.enter_context(Stream(server.address, JOB)).status == 200
    watchers(server, 0)


def test_a_stream_ends_when_its_request_enters_post_action(nginx, simulator):
    """post_action starts when the rest of the request body does not arrive in time."""
    actions = []

    def serve(connection: stall.Connection) -> None:
        actions.append(connection.read_head())
        connection.play([{"sleep": 2.5}, stall.response(body="done"), {"close": True}])

    simulator.job("instances/docs", "a", state="running", description="one")
    with stall.Server(serve) as (host, port):
        server = start(nginx, simulator, http="lingering_timeout 3s;", server=f"""
            location /client/v4/ {{ aisearch_pass docs; aisearch_events on; post_action /after; }}
            location = /after {{ proxy_pass http://{host}:{port}; }}
        """ + STATUS)
        worker = server.workers()
        with Stream(server.address, JOB, [("Content-Length", "5")]) as stream:
            assert stream.next().type == "message"
            net.wait_until(lambda: actions, 10, "the action")
            simulator.job("instances/docs", "a", state="succeeded")
            watchers(server, 0)
            assert not server.access_log()  # post_action is still running
            lookups(server, 1)
            with pytest.raises(net.Closed):
                raise AssertionError(stream.next())
        assert server.workers() == worker


def test_http_1_0(nginx, simulator):
    simulator.job("instances/docs", "a", state="running")
    server = start(nginx, simulator)
    with server.connect() as connection:
        connection.send(f"GET {JOB} HTTP/1.0\r\nAccept: text/event-stream\r\n\r\n".encode())
        text = b""
        while not text.endswith(b"}\n\n"):
            text += connection.sock.recv(65536)
        assert b"Transfer-Encoding" not in text and b"\ndata: {" in text
        simulator.job("instances/docs", "a", state="succeeded")
        while not text.endswith(b"}\n\nevent: end\n") and b"event: end" not in text:
            text += connection.sock.recv(65536)
        while data := connection.sock.recv(65536):
            text += data
    assert text.endswith(b"}\n\n")


@pytest.mark.parametrize("directive", ["aisearch_wait soon;", "aisearch_wait 0;", "aisearch_wait 1s; aisearch_wait 2s;",
                                       "aisearch_heartbeat 10ms;", "aisearch_events maybe;"])
def test_invalid_values(tmp, simulator, directive):
    server = f"location / {{ aisearch_pass docs; {directive} }}"
    result = config_test(Config(http=account(simulator), server=server), tmp)
    assert not result.ok
    assert directive.split()[0] in result.output or "invalid time value" in result.output


def test_watched_entries_are_not_evicted(nginx, simulator):
    """A scan evicts an entry that was requested once, but not a watched one."""
    simulator.instance("instances/docs", [{"id": f"x{n}", "state": "succeeded"} for n in range(6000)])
    for name in "a", "b":
        simulator.job("instances/docs", name, state="running")
    server = nginx(http=account(simulator, "budget 100000 1s;")
                   + "aisearch_shared_zone zone=aisearch:1m; aisearch_valid active 1h; keepalive_requests 10000;",
                   server=SERVER)
    with Stream(server.address, JOB) as stream:
        stream.next()
        server.get(JOB.replace("/a", "/b"))
        watchers(server, 1)
        with server.connect() as connection:
            for n in range(6000):
                assert connection.request(f"/client/v4/instances/docs/jobs/x{n}").status == 200
        assert server.get(JOB.replace("/a", "/b")).header("X-Aisearch-Cache") == "MISS"
        assert server.get(JOB).header("X-Aisearch-Cache") == "HIT"
        stream.nothing_for(0.2)


def test_growing_watched_entries_leave_room_for_others(nginx, simulator):
    names = [f"w{n}" for n in range(12)]
    for name in *names, "other":
        simulator.job("instances/docs", name, state="running", description="small")
    server = start(nginx, simulator, http="aisearch_shared_zone zone=aisearch:1m;", server=SERVER
                   + "location /still/ { aisearch_pass docs; aisearch_valid active 1h; }")
    with contextlib.ExitStack() as stack:
        for name in names:
            stack.enter_context(Stream(server.address, JOB[:-1] + name)).next()
        for name in names:
            simulator.job("instances/docs", name, description="x" * 100000)
        time.sleep(8)  # until all have grown, and have been marked as watched again
        simulator.job("instances/docs", "other", description="x" * 250000)
        caches = {server.get("/still/instances/docs/jobs/other").header("X-Aisearch-Cache") for _ in range(20)}
        assert "HIT" in caches  # until a watched entry evicts it again
