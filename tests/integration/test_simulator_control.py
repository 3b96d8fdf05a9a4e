"""The simulator's control interface: recorded requests, counters, resets, and invalid orders."""

import time

import pytest

from harness import net
from harness.simulator import Simulator
from simulator_requests import PLAIN, error, get


def test_requests_are_recorded_as_received(simulator):
    simulator.job(PLAIN, "a")
    target = simulator.path(PLAIN, "a") + "?x=%2F%00&page=2"
    headers = [("Host", "here"), ("x-ODD-case", "1"), ("X-Odd-Case", "2"), *simulator.credential_headers]
    before = time.monotonic()
    with net.Connection(simulator.address) as first, net.Connection(simulator.unix) as second:
        first.request(target, headers)
        second.request(target, headers)
        first.request(target, headers, method="DELETE", body=b"xyz")
    after = time.monotonic()

    seen = simulator.requests()
    assert [(request.method, request.target, request.status, request.has_body) for request in seen] == [
        ("GET", target, 200, False), ("GET", target, 200, False), ("DELETE", target, 405, True)]
    assert [tuple(header) for header in seen[0].headers] == headers
    assert seen[0].connection == seen[2].connection != seen[1].connection
    moments = [moment for request in seen for moment in (request.began, request.ended)]
    assert [before, *moments, after] == sorted([before, *moments, after])


def test_record_is_limited_and_counters_are_not(tmp):
    with Simulator(tmp, record=5) as simulator:
        for _ in range(8):
            get(simulator, PLAIN)
        assert simulator.counters()["total"] == 8
        seen = simulator.control("GET", "/requests")
        assert (seen["forgotten"], len(seen["requests"])) == (3, 5)
        with pytest.raises(AssertionError, match="more requests"):
            simulator.count()


def test_counters(simulator):
    simulator.job(PLAIN, "a")
    simulator.forget()
    simulator.fault(r"/a\?", delay=0.2)
    net.concurrent_gets(simulator.address, [simulator.path(PLAIN, "a") + f"?{n}" for n in range(10)],
                        simulator.credential_headers)
    get(simulator, PLAIN, "b")
    net.wait_until(lambda: simulator.counters()["connections_open"] == 0, what="connections to close")
    assert simulator.counters() == {
        "total": 11, "by_path": {simulator.path(PLAIN, "a"): 10, simulator.path(PLAIN, "b"): 1},
        "by_status": {"200": 10, "404": 1}, "malformed": 0, "connections": 11, "connections_open": 0,
        "connections_max": 10, "in_flight": 0, "in_flight_max": 10}
    assert simulator.count("/jobs/a") == 10

    simulator.forget()
    assert simulator.counters()["total"] == simulator.counters()["in_flight_max"] == simulator.count() == 0


def test_malformed_requests_are_counted(simulator):
    with net.Connection(simulator.address) as connection:
        connection.send(b"NOT HTTP\r\n\r\n")
        assert connection.read_response().status == 400
    assert (simulator.counters()["malformed"], simulator.counters()["total"]) == (1, 0)


def test_requests_in_progress_do_not_count_after_a_reset(simulator):
    simulator.fault("", delay=3600)
    with net.Connection(simulator.address) as connection:
        connection.send(net.format_request("/client/v4"))
        net.wait_until(lambda: simulator.counters()["in_flight"] == 1, what="the request to arrive")
        simulator.reset()
        assert connection.at_eof()
    assert simulator.counters() == {
        "total": 0, "by_path": {}, "by_status": {}, "malformed": 0, "connections": 0, "connections_open": 0,
        "connections_max": 0, "in_flight": 0, "in_flight_max": 0}


def test_reset_restores_the_defaults(simulator):
    simulator.oddity(result_info="none", ignore_page=True, error_codes=False, messages=[{}])
    simulator.forms(plain=False)
    simulator.refusal("400_9106")
    simulator.limit_headers([["X-Odd", "1"]])
    simulator.limit(10, headers="both")
    simulator.reset()
    simulator.job(PLAIN, "a")
    answer = get(simulator, PLAIN)
    assert (answer.status, answer.json()["messages"], "result_info" in answer.json()) == (200, [], True)
    assert not {"x-odd", "ratelimit", "x-ratelimit-limit"} & {name.lower() for name, _ in answer.headers}
    assert error(get(simulator, PLAIN, "a", headers=[]))[:2] == (401, 10000)


def test_invalid_orders_are_rejected(simulator):
    for order in ({"id": "a", "state": "lost"}, {"id": "a", "begins_in": 5}, {"state": "queued"},
                  {"id": "a", "times": "x"}, {"id": "a", "missing": "x"}, {"id": "a", "last_seen_every": 0}):
        with pytest.raises(ValueError):
            simulator.instance(PLAIN, [order])
    for name in ("my-ai-search", "instances/a/b", "rags/", ""):
        with pytest.raises(ValueError):
            simulator.instance(name)
    for settings in ({"halted": True}, {"type": "s3"}, {"sync_interval": 60}, {"start": {"state": "running"}}):
        with pytest.raises(ValueError):
            simulator.instance(PLAIN, **settings)
    for order in ({"result_info": "some"}, {"surprise": True}):
        with pytest.raises(ValueError):
            simulator.oddity(**order)
    for order in (lambda: simulator.refusal("401_1"), lambda: simulator.refuse("401_1"),
                  lambda: simulator.forms(refusal="401_1"), lambda: simulator.limit(1, headers="newest")):
        with pytest.raises(ValueError):
            order()
    for fault in ({"path": "("}, {"script": [{"dance": 1}]}, {"when": 1}):
        with pytest.raises(ValueError):
            simulator.fault(**fault)
    with pytest.raises(ValueError):
        simulator.advance(-1)
