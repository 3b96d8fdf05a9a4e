"""Faults of the simulator: statuses, delays, scripts of bytes, and closed connections."""

import base64
import time

import pytest

from harness import net
from simulator_requests import PLAIN, get


def test_fault_applies_to_its_path_a_number_of_times(simulator):
    simulator.instance(PLAIN, [{"id": "a"}, {"id": "b"}])
    fault = simulator.fault("/jobs/a$", times=2, status=503, body="down", headers=[["Retry-After", "7"], ["X-Two", "1"],
                                                                                  ["X-Two", "2"]])
    assert [get(simulator, PLAIN, job).status for job in "abaabba"] == [503, 200, 503, 200, 200, 200, 200]
    assert simulator.fault_hits(fault) == 2


def test_fault_with_status_headers_and_body(simulator):
    body = bytes(range(256))
    simulator.fault("^/client/v4/", status=520, body=body,
                    headers=[["Content-Type", "text/html"], ["X-Two", "1"], ["X-Two", "2"]])
    response = get(simulator, PLAIN, "a")
    assert (response.status, response.body, response.all("X-Two")) == (520, body, ["1", "2"])
    assert response.header("Content-Type") == "text/html"
    simulator.clear_faults()
    assert get(simulator, PLAIN, "a").status == 404


def test_first_matching_fault_is_used(simulator):
    simulator.job(PLAIN, "a")
    simulator.control("POST", "/faults", {"prefix": simulator.path(PLAIN), "times": 1, "status": 500})
    second = simulator.fault("", status=502)
    assert [get(simulator, PLAIN, "a").status for _ in range(3)] == [500, 502, 502]
    simulator.clear_fault(second)
    assert get(simulator, PLAIN, "a").status == 200


def test_latency_before_the_headers(simulator):
    simulator.job(PLAIN, "a")
    simulator.fault("", delay=0.3, times=1)
    with net.Connection(simulator.address) as connection:
        slow, quick = [connection.request(simulator.path(PLAIN, "a"), simulator.credential_headers) for _ in range(2)]
    assert slow.status == quick.status == 200
    assert slow.elapsed >= 0.3 > quick.elapsed


def test_latency_does_not_delay_other_requests(simulator):
    simulator.instance(PLAIN, [{"id": "a"}, {"id": "b"}])
    simulator.fault("/a$", delay=0.5)
    slow, quick = net.concurrent_gets(simulator.address, [simulator.path(PLAIN, job) for job in "ab"],
                                      simulator.credential_headers)
    assert slow.elapsed >= 0.5 > quick.elapsed


def test_latency_between_headers_and_body(simulator):
    simulator.job(PLAIN, "a")
    simulator.fault("", body_delay=0.3)
    with net.Connection(simulator.unix) as connection:
        connection.send(net.format_request(simulator.path(PLAIN, "a"), simulator.credential_headers))
        began = time.monotonic()
        head = connection.sock.recv(4096)
        assert time.monotonic() - began < 0.3
        assert head.startswith(b"HTTP/1.1 200") and head.endswith(b"\r\n\r\n")
        body = connection.sock.recv(4096)
        assert time.monotonic() - began >= 0.3
        assert f"Content-Length: {len(body)}\r\n".encode() in head


def test_script_sends_exactly_its_bytes(simulator):
    raw = bytes(range(256))
    simulator.fault("", times=1, script=[{"send": "HTTP/1.1 200 OK\r\n"}, {"sleep": 0.05},
                                         {"send_b64": base64.b64encode(raw).decode()},
                                         {"repeat": 3, "every": 0.01, "send": "x"}, {"close": True}])
    with net.Connection(simulator.address) as connection:
        connection.send(net.format_request("/client/v4"))
        received = b""
        while data := connection.sock.recv(4096):
            received += data
    assert received == b"HTTP/1.1 200 OK\r\n" + raw + b"xxx"


def test_connection_is_reusable_after_a_script_that_does_not_close_it(simulator):
    simulator.job(PLAIN, "a")
    simulator.fault("", times=1, script=[{"send": "HTTP/1.1 200 Fine\r\nContent-Length: 2\r\n\r\nhi"}])
    with net.Connection(simulator.address) as connection:
        first, second = [connection.request(simulator.path(PLAIN, "a"), simulator.credential_headers) for _ in range(2)]
    assert (first.reason, first.body) == ("Fine", b"hi")
    assert second.json()["result"]["id"] == "a"


def test_script_can_end_with_the_real_response(simulator):
    simulator.job(PLAIN, "a")
    simulator.fault("", script=[{"send": "HTTP/1.1 103 Early Hints\r\n\r\n"}, {"answer": True}])
    response = get(simulator, PLAIN, "a")
    assert (response.interim, response.status, response.json()["result"]["id"]) == ([103], 200, "a")


def test_script_can_reset_the_connection(simulator):
    simulator.fault("", times=1, script=[{"reset": True}])
    with pytest.raises(ConnectionResetError):
        get(simulator, PLAIN)


def test_endless_body_ends_when_its_reader_disconnects(simulator):
    simulator.fault("", script=[{"send": "HTTP/1.1 200 OK\r\n\r\n"}, {"repeat": None, "send": "x" * 10000}])
    with net.Connection(simulator.address) as connection:
        connection.send(net.format_request("/client/v4"))
        received = 0
        while received < 5_000_000:
            received += len(connection.sock.recv(1 << 20))
        assert simulator.counters()["in_flight"] == 1
    net.wait_until(lambda: simulator.counters()["in_flight"] == 0, what="the simulator to notice the disconnection")


def test_fault_of_reused_connections_does_not_affect_new_ones(simulator):
    simulator.job(PLAIN, "a")
    simulator.fault("", reused=True, script=[{"close": True}])
    with net.Connection(simulator.address) as connection:
        assert connection.request(simulator.path(PLAIN, "a"), simulator.credential_headers).status == 200
        with pytest.raises(net.Closed):
            connection.request(simulator.path(PLAIN, "a"), simulator.credential_headers)
    assert get(simulator, PLAIN, "a").status == 200


@pytest.mark.parametrize("reset", [False, True])
def test_all_connections_can_be_dropped(simulator, reset):
    simulator.job(PLAIN, "a")
    with net.Connection(simulator.address) as connection:
        assert connection.request(simulator.path(PLAIN, "a"), simulator.credential_headers).status == 200
        simulator.drop_connections(reset)
        assert connection.at_eof()
