"""Concurrent requests for one cache entry: one fetch for all, even if clients disconnect or a worker is killed."""

import statistics
import time

import pytest

import gateway
from gateway import job_target, start
from harness import SLOWNESS, net


def test_requests_for_one_entry_wait_for_one_fetch(nginx, simulator):
    simulator.job("instances/docs", "a", state="running")
    server = start(nginx, simulator, workers=2)
    with gateway.connections(server) as workers:
        with gateway.held(simulator):
            gateway.send_to_each(server, workers, job_target())
        first, second = [connection.read_response() for connection in workers.values()]
    assert (first.header("X-Aisearch-Cache"), second.header("X-Aisearch-Cache")) == ("MISS", "COALESCED")
    assert first.body == second.body
    assert simulator.count() == 1
    logged = gateway.lookups(server, 2)
    assert {entry["pid"]: entry["cache_status"] for entry in logged} == {
        str(pid): status for pid, status in zip(workers, ["MISS", "COALESCED"])}
    assert all(float(entry["fetch_time"]) >= 0 for entry in logged)


def test_fetch_longer_than_a_lease_is_not_repeated(nginx, simulator):
    simulator.job("instances/docs", "a", state="running")
    simulator.fault("/jobs/a$", times=1, delay=2.7)
    server = start(nginx, simulator, workers=2)
    with gateway.connections(server) as workers:
        gateway.send_to_each(server, workers, job_target())
        responses = [connection.read_response() for connection in workers.values()]
    assert [response.status for response in responses] == [200, 200]
    assert simulator.count() == 1


def test_response_wakes_waiting_requests_in_other_workers(nginx, simulator):
    jobs = [f"job-{n}" for n in range(15)]
    simulator.instance("instances/docs", [{"id": job, "state": "failed"} for job in jobs])
    server = start(nginx, simulator, workers=2)
    late = []
    with gateway.connections(server) as workers:
        leader, follower = workers.values()
        for job in jobs:
            with gateway.held(simulator):
                leader.send(net.format_request(job_target(job)))
                gateway.wait_for_requests(server, 1)
                follower.send(net.format_request(job_target(job)))
                gateway.wait_for_requests(server, 2)
            assert leader.read_response().status == 200
            answered = time.monotonic()
            assert follower.read_response().status == 200
            late.append(time.monotonic() - answered)
    assert simulator.count() == len(jobs)
    assert statistics.median(late) < 0.01 * SLOWNESS


@pytest.mark.parametrize("valid", ["aisearch_valid active 1h;", "aisearch_valid active 0;"])
def test_many_cold_requests_in_four_workers_cause_one_call(nginx, simulator, valid):
    simulator.job("instances/docs", "a", state="running")
    server = start(nginx, simulator, http=valid, workers=4)
    clients = [server.connect(30) for _ in range(400)]
    try:
        with gateway.held(simulator):
            for client in clients:
                client.send(net.format_request(job_target()))
            gateway.wait_for_requests(server, len(clients))
        responses = [client.read_response() for client in clients]
    finally:
        for client in clients:
            client.close()

    assert simulator.count() == 1
    assert {(response.status, response.body) for response in responses} == {(200, responses[0].body)}
    assert sorted({response.header("X-Aisearch-Cache") for response in responses}) == ["COALESCED", "MISS"]
    assert [response.header("X-Aisearch-Cache") for response in responses].count("MISS") == 1
    assert len({entry["pid"] for entry in gateway.lookups(server, len(clients))}) > 1


def test_concurrent_requests_for_many_entries_cause_one_call_each(nginx, simulator):
    jobs = [f"job-{n}" for n in range(60)]
    simulator.instance("instances/docs", [{"id": job, "state": "succeeded"} for job in jobs])
    server = start(nginx, simulator, workers=4)
    responses = net.concurrent_gets(server.address, [job_target(job) for job in jobs * 5], timeout=30)
    assert [response.json()["result"]["id"] for response in responses] == jobs * 5
    assert sorted(request.target for request in simulator.requests()) == sorted(
        simulator.path("instances/docs", job) for job in jobs)


# Clients and workers that disappear.


def test_client_that_goes_away_does_not_cancel_the_fetch(nginx, simulator):
    simulator.instance("instances/docs", [{"id": "a", "state": "failed"}, {"id": "b", "state": "failed"}])
    server = start(nginx, simulator)
    [worker] = server.workers()
    assert server.get(job_target("b")).status == 200
    before = len(gateway.open_sockets(worker))

    with gateway.held(simulator):
        clients = [server.connect() for _ in range(100)]
        for client in clients:
            client.send(net.format_request(job_target()))
        gateway.wait_for_requests(server, len(clients))
        for client in clients:
            client.close()
        assert all(entry["status"] == "499" for entry in gateway.lookups(server, 101)[1:])

    net.wait_until(lambda: server.get(job_target()).header("X-Aisearch-Cache") == "HIT", what="the fetch to end")
    assert simulator.count("/jobs/a$") == 1
    net.wait_until(lambda: len(gateway.open_sockets(worker)) <= before, what="the sockets to be closed")


def test_other_clients_are_answered_when_the_first_goes_away(nginx, simulator):
    simulator.job("instances/docs", "a", state="failed")
    server = start(nginx, simulator, workers=2)
    with gateway.connections(server) as workers, server.connect() as third:
        first, second = workers.values()
        with gateway.held(simulator):
            for count, connection in enumerate((first, second, third), 1):
                connection.send(net.format_request(job_target()))
                gateway.wait_for_requests(server, count)
            first.close()
            gateway.lookups(server, 1)
        assert [connection.read_response().status for connection in (second, third)] == [200, 200]
    assert simulator.count() == 1


def test_another_worker_replaces_a_killed_leader(nginx, simulator):
    simulator.job("instances/docs", "a", state="failed")
    simulator.fault("/jobs/a$", times=1, delay=60)
    server = start(nginx, simulator, workers=3)
    with gateway.connections(server) as workers:
        connections = list(workers.items())
        leader, _ = connections[0]
        for count, (_, connection) in enumerate(connections, 1):
            connection.send(net.format_request(job_target()))
            gateway.wait_for_requests(server, count)
        net.wait_until(lambda: simulator.count() == 1, what="the first fetch")
        server.kill_worker(leader)
        killed = time.monotonic()
        responses = [connection.read_response() for _, connection in connections[1:]]
        assert time.monotonic() - killed < 3 * SLOWNESS
    assert [response.status for response in responses] == [200, 200]
    assert responses[0].body == responses[1].body
    assert simulator.count() == 2
    net.wait_until(lambda: len(server.workers()) == 3, what="a new worker")
    assert server.get(job_target()).header("X-Aisearch-Cache") == "HIT"
