"""The simulator's process: its listeners, the demo, and how it starts and stops."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest

from harness import TESTS, net
from harness.simulator import Simulator
from simulator import schema
from simulator_requests import AUTORAG, NAMESPACED, PLAIN, error, get, limit_headers, listing, read, result


# The lean listener.


def test_lean_listener_is_the_same_api(simulator):
    simulator.freeze()
    simulator.job(PLAIN, "a", state="running", description="größer")
    for headers in (simulator.credential_headers, [], [("Authorization", "Bearer wrong")]):
        for target in (simulator.path(PLAIN, "a"), simulator.path(PLAIN) + "?per_page=50", simulator.path(PLAIN, "b"),
                       simulator.listing(), simulator.resource("namespaces"),
                       simulator.resource(f"{PLAIN}/stats"), "/nowhere"):
            for method in ("GET", "HEAD", "DELETE"):
                expected = net.request(simulator.address, target, headers, method)
                answered = net.request(simulator.lean_unix, target, headers, method)
                assert (answered.status, answered.body) == (expected.status, expected.body), target
    assert len(simulator.requests()) == simulator.counters()["total"] == 2 * 3 * 7 * 3


def test_lean_listener_keeps_connections_open_and_applies_the_limit(simulator):
    simulator.job(PLAIN, "a")
    simulator.limit(3)
    with net.Connection(simulator.lean_unix) as connection:
        connection.send(net.format_request(simulator.path(PLAIN, "a"), simulator.credential_headers) * 4)
        responses = [connection.read_response() for _ in range(4)]
    assert [response.status for response in responses] == [200, 200, 200, 429]
    assert [limit_headers(response)[1] for response in responses] == ["2", "1", "0", "0"]
    assert responses[3].header("Retry-After") == "300"
    assert len({request.connection for request in simulator.requests()}) == 1


def test_delay_of_the_lean_listener_does_not_delay_other_requests(simulator):
    simulator.job(PLAIN, "a")
    simulator.delay(0.5)
    targets = [simulator.path(PLAIN, "a")] * 200
    began = time.monotonic()
    responses = net.concurrent_gets(simulator.lean_unix, targets, simulator.credential_headers)
    assert 0.5 <= time.monotonic() - began < 20
    assert [response.status for response in responses] == [200] * 200
    assert simulator.counters()["in_flight_max"] > 10


def test_lean_listener_closes_connections_after_invalid_requests(simulator):
    for nonsense in (b"NOT HTTP AT ALL\r\n\r\n", b"GET / HTTP/1.1\r\nContent-Length: 1\r\n\r\nx", b"x" * 20000):
        with net.Connection(simulator.lean_unix) as connection:
            connection.send(nonsense)
            with pytest.raises(ConnectionError):
                connection.read_response()
    assert (simulator.counters()["malformed"], simulator.counters()["total"]) == (3, 0)


def test_lean_listener_notices_disconnected_clients(simulator):
    simulator.delay(3600)
    with net.Connection(simulator.lean_unix) as connection:
        connection.send(net.format_request(simulator.path(PLAIN), simulator.credential_headers))
        net.wait_until(lambda: simulator.counters()["in_flight"] == 1, what="the request to arrive")
    net.wait_until(lambda: simulator.counters()["in_flight"] == 0, what="the simulator to notice the disconnection")
    assert simulator.requests()[0].status is None


# The demo.


def test_demo_has_all_states_and_types(tmp):
    with Simulator(tmp, scenario="demo") as simulator:
        states = set()
        for instance in (PLAIN, "instances/handbook", NAMESPACED, AUTORAG):
            listed = get(simulator, instance).json()
            assert schema.violations(schema.LIST, listed) == []
            states |= {state_of(job) for job in listed["result"]}
        assert states == {"queued", "running", "succeeded", "cancelled", "failed"}
        listed = listing(simulator).json()
        assert schema.violations(schema.INSTANCES, listed) == []
        assert {instance["type"] for instance in listed["result"]} == {"r2", "web-crawler", None}
        assert {instance["paused"] for instance in listed["result"]} == {True, False}
        for instance in listed["result"]:
            name = f"namespaces/{instance['namespace']}/instances/{instance['id']}"
            assert read(simulator, name).json()["result"] == instance
            assert schema.violations(schema.STATS, read(simulator, f"{name}/stats").json()) == []

        before = {job["id"]: state_of(job) for job in result(simulator, PLAIN)}
        simulator.advance(60)
        after = {job["id"]: state_of(job) for job in result(simulator, PLAIN)}
        changes = {(before[job_id], after[job_id]) for job_id in before if before[job_id] != after[job_id]}
        assert changes == {("running", "succeeded"), ("queued", "succeeded")}


def state_of(job):
    if job.get("ended_at") is None:
        return "running" if job.get("started_at") else "queued"
    reason = (job.get("end_reason") or "completed").lower()
    return "cancelled" if "cancel" in reason else "succeeded" if reason in ("completed", "finished") else "failed"


# Start and stop.


def test_restart_on_the_same_port(tmp):
    with Simulator(tmp) as simulator:
        port = simulator.port
        simulator.stop()
        with pytest.raises(ConnectionRefusedError):
            net.request(("127.0.0.1", port), "/")
        simulator.start(port)
        assert simulator.port == port
        assert error(get(simulator, PLAIN))[:2] == (404, 7002)


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT])
def test_signal_stops_the_simulator_despite_open_requests(tmp, signum):
    with Simulator(tmp) as simulator:
        simulator.fault("", delay=3600)
        with net.Connection(simulator.address) as busy, net.Connection(simulator.unix):
            busy.send(net.format_request("/client/v4"))
            net.wait_until(lambda: simulator.counters()["in_flight"] == 1, what="the request to arrive")
            os.kill(simulator.pid, signum)
            net.wait_until(lambda: not net.alive(simulator.pid), 5, "the simulator to exit")
    assert not os.path.exists(simulator.unix)


def test_simulator_exits_with_its_parent(tmp):
    orphan = (f"import sys, pathlib; sys.path.insert(0, {str(TESTS)!r})\n"
              "from harness.simulator import Simulator\n"
              f"simulator = Simulator(pathlib.Path({str(tmp)!r})); simulator.start()\n"
              "print(simulator.pid, flush=True); sys.stdin.read()")
    with subprocess.Popen([sys.executable, "-c", orphan], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as parent:
        pid = int(parent.stdout.readline())
        assert net.alive(pid)
        parent.kill()
    net.wait_until(lambda: not net.alive(pid), 5, "the simulator to exit")


def test_unix_sockets_only(tmp):
    argv = [sys.executable, "-m", "simulator", "--no-tcp", "--unix", tmp / "a", "--control-unix", tmp / "c", "--leash"]
    with subprocess.Popen(argv, cwd=TESTS, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        ready = json.loads(child.stdout.readline())
        assert (ready["api"], ready["control"]) == ({"unix": str(tmp / "a")}, {"unix": str(tmp / "c")})
        assert net.request(str(tmp / "a"), "/client/v4").status == 404
        assert net.request(str(tmp / "c"), "/counters").json()["total"] == 1
        child.stdin.close()
        assert child.wait(10) == 0


def test_secrets_are_not_on_the_command_line(tmp):
    with Simulator(tmp) as simulator:
        seen = net.cmdline(simulator.pid) + net.environ(simulator.pid)
        assert simulator.token.encode() not in seen and simulator.key.encode() not in seen
