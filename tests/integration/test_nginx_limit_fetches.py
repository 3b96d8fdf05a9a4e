"""aisearch_limit_fetches limits the fetches that a client may cause; cache hits cost nothing."""

import re
import threading
import time

import pytest

import gateway
from gateway import ACCESS_LOG, WORKERS, account
from harness import SLOWNESS, net
from harness.nginx import Config

PLENTY = "budget 1000000 1s;"
ONE = 'aisearch_limit_fetches $http_x_client rate=1r/m;'
FEW = 'aisearch_limit_fetches $http_x_client rate=1r/m burst=3;'


def config(simulator, http=ONE, location="", **parts):
    server = f"""
        location /client/v4/ {{ aisearch_pass docs; {location} }}
        location = /aisearch_status {{ aisearch_status; }}
        {parts.pop("server", "")}
    """
    http = "\n".join([account(simulator, parts.pop("budget", PLENTY)), ACCESS_LOG,
                      "aisearch_cache_bypass $http_pragma;", http])
    return Config(http=http, server=server + WORKERS, **parts)


@pytest.fixture
def start(nginx, simulator):
    """A server, and running jobs a to z."""
    simulator.instance("instances/docs", [{"id": chr(n), "state": "running"} for n in range(ord("a"), ord("z") + 1)])
    return lambda *args, **parts: nginx(**vars(config(simulator, *args, **parts)))


def look(server, job, client="one", location="/client/v4/", **headers):
    """Returns the response; checks that a 429 is complete."""
    given = [("X-Client", client), *((name.replace("_", "-"), value) for name, value in headers.items())]
    response = server.get(f"{location}instances/docs/jobs/{job}", headers=given)
    if response.status == 429:
        assert int(response.header("Retry-After")) >= 1
        assert (response.header("X-Should-Retry") == "false") == (int(response.header("Retry-After")) > 5)
        assert response.header("X-Aisearch-Cache") is None
        assert response.json()["success"] is False
        assert response.json()["errors"] == [
            {"code": 429, "message": "too many lookups of resources that are not in the cache"}]
    return response


def statuses(server, jobs, client="one", **headers):
    return [look(server, job, client, **headers).status for job in jobs]


# Requests that count.


def test_fetches_count_and_hits_are_free(start, simulator):
    server = start(FEW, workers=2)
    assert statuses(server, "abcdef") == [200] * 4 + [429] * 2
    assert statuses(server, "abcd" * 20) == [200] * 80
    assert statuses(server, "e", "another") == [200]
    assert statuses(server, "eag") == [200, 200, 429]
    assert simulator.count() == 5


def test_missing_jobs_count_as_well(start, simulator):
    server = start(FEW + "aisearch_valid not_found 0; aisearch_use_stale off;")
    assert statuses(server, ["missing"] * 6) == [404] * 4 + [429] * 2
    assert simulator.count() == 4


def test_a_bypass_counts_as_well(start, simulator):
    server = start(FEW)
    answers = [look(server, "a", Pragma="no-cache") for _ in range(7)]
    assert [answer.header("X-Aisearch-Cache") for answer in answers] == ["BYPASS"] * 4 + ["HIT"] * 3
    assert statuses(server, "b") == [429]
    assert simulator.count() == 4


def test_waiting_for_another_clients_fetch_is_free(start, simulator):
    """Many simultaneous requests over two workers cause one fetch, which counts once."""
    server = start(workers=2)
    with gateway.held(simulator):
        connections = [server.connect(30) for _ in range(24)]
        for connection in connections:
            connection.send(net.format_request("/client/v4/instances/docs/jobs/a", [("X-Client", "one")]))
        gateway.wait_for_requests(server, len(connections))
    assert {connection.read_response().status for connection in connections} == {200}
    for connection in connections:
        connection.close()
    assert simulator.count() == 1
    assert statuses(server, "b") == [429]
    assert statuses(server, "bb", "another") == [200, 200]


def test_an_entry_that_arrives_in_the_meantime_is_free(start, simulator):
    """With as many concurrent clients as possible: each client that did not fetch may do so afterwards."""
    server = start(workers=4)
    for job in "abcdefgh":
        names = [f"{job}{n}" for n in range(12)]
        net.concurrently(len(names), lambda n, job=job, names=names: look(server, job, names[n]))
        assert simulator.count(f"/{job}$") == 1
        again = [look(server, "z" + name, name).status for name in names]
        assert sorted(again) == [404] * (len(names) - 1) + [429]


def test_an_empty_key_is_not_limited(start, simulator):
    server = start()
    assert statuses(server, "abcdef", "") == [200] * 6


def test_invalid_requests_cost_nothing(start, simulator):
    server = start()
    assert statuses(server, ["..x", "a/b"]) == [400] * 2
    assert statuses(server, "a") == [200]


# Responses above the limit.


def test_the_time_to_retry(start, simulator):
    server = start("aisearch_limit_fetches $http_x_client rate=30r/m;")
    assert statuses(server, "a") == [200]
    refused = look(server, "b")
    assert (refused.status, refused.reason) == (429, "Too Many Requests")
    assert int(refused.header("Retry-After")) <= 2
    began = time.monotonic()
    net.wait_until(lambda: look(server, "b").status == 200, 4 * SLOWNESS, "a free fetch", every=0.05)
    assert time.monotonic() - began < int(refused.header("Retry-After")) + 1 * SLOWNESS
    server.reload(config(simulator, ONE))
    assert statuses(server, "x") == [200]
    assert 55 <= int(look(server, "y").header("Retry-After")) <= 60
    assert gateway.lookups(server, 3)[1]["error"] == "refused"
    assert server.get("/aisearch_status").json()["accounts"]["docs"]["lookups"]["refused"] >= 2


def test_a_stale_response_is_better_than_none(start, simulator):
    """A client above the limit gets the stale response without causing a refresh."""
    server = start("aisearch_valid active 1ms; aisearch_use_stale updating=1h error=1h;" + ONE)
    assert statuses(server, "a") == [200]
    time.sleep(0.05)
    old = look(server, "a")
    assert (old.status, old.header("X-Aisearch-Cache"), old.header("Cache-Control")) == (
        200, "STALE", "private, max-age=0")
    assert gateway.lookups(server, 2)[1]["error"] == "refused"
    assert simulator.count() == 1

    # Another client causes a refresh in the background, once.
    assert look(server, "a", "another").header("X-Aisearch-Cache") == "UPDATING"
    net.wait_until(lambda: simulator.count() == 2, what="the refresh")
    time.sleep(0.05)
    assert look(server, "a", "another").header("X-Aisearch-Cache") == "STALE"
    assert simulator.count() == 2


@pytest.mark.parametrize("stale, status", [("error=1h", 200), ("updating=1h", 200), ("off", 429)])
def test_stale_responses_depend_on_use_stale(start, simulator, stale, status):
    server = start(f"aisearch_valid active 1ms; aisearch_use_stale {stale};" + ONE)
    assert statuses(server, "a") == [200]
    time.sleep(0.05)
    assert statuses(server, "a") == [status]
    assert simulator.count() == 1


@pytest.mark.parametrize("status", [400, 403, 503, 599])
def test_another_status(start, simulator, status):
    server = start(ONE + f"aisearch_limit_fetches_status {status};")
    assert statuses(server, "ab") == [200, status]
    assert look(server, "b").header("Retry-After") is not None


def test_a_status_that_closes_the_connection(start, simulator):
    server = start(ONE + "aisearch_limit_fetches_status 444;")
    assert statuses(server, "a") == [200]
    with pytest.raises(net.Closed):
        look(server, "b")


def test_an_error_page(start, simulator):
    server = start(ONE + "aisearch_intercept_errors on; error_page 429 /slow;",
                   server='location = /slow { return 200 "slowly, $aisearch_error"; }')
    assert statuses(server, "a") == [200]
    assert server.get("/client/v4/instances/docs/jobs/b", headers=[("X-Client", "one")]).body == b"slowly, refused"


def test_nobody_waits_for_a_limited_client(start, simulator):
    """Other workers do not mistake a limited client for one that fetches."""
    server = start(workers=2)
    assert statuses(server, "a") == [200]
    for _ in range(20):
        assert statuses(server, "b") == [429]
    began = time.monotonic()
    assert look(server, "b", "another").header("X-Aisearch-Cache") == "MISS"
    assert time.monotonic() - began < 1 * SLOWNESS


def test_limited_requests_take_no_room_in_the_cache(start, simulator):
    server = start()
    assert statuses(server, "a") == [200]
    before = server.get("/aisearch_status").json()["zone"]
    for n in range(300):
        assert look(server, f"missing-{n}").status == 429
    after = server.get("/aisearch_status").json()["zone"]
    assert after["entries"] == before["entries"] and after["evictions"] == before["evictions"]


def test_the_log(start, simulator):
    server = start()
    statuses(server, "abcdef")
    log = server.error_log()
    assert len(re.findall(r'\[warn\].* limiting fetches, excess: \d\.\d{3} by '
                          r'aisearch_limit_fetches "\$http_x_client"', log)) == 1
    assert len(re.findall(r'\[info\].* request rejected with 429: too many lookups', log)) == 5


def test_one_client_does_not_limit_others(start, simulator):
    """The requests of a client for missing jobs leave enough calls for the new lookups of others."""
    server = start("aisearch_limit_fetches $http_x_client rate=1r/m burst=4;", budget="budget 60 1h;")
    assert statuses(server, [f"missing-{n}" for n in range(100)], "hostile") == [404] * 5 + [429] * 95
    for client in ("one", "another", "third"):
        assert statuses(server, "abcde" if client == "one" else ["x" + client], client).count(429) == 0
    assert server.get("/aisearch_status").json()["accounts"]["docs"]["budget"]["left"] == 60 - 5 - 5 - 2


# Configuration levels.


def test_levels(start, simulator):
    server = start(ONE, server="""
        location /free/ { aisearch_pass docs; aisearch_limit_fetches off; }
        location /own/ { aisearch_pass docs; aisearch_limit_fetches $http_x_client rate=1r/m burst=1;
                         aisearch_limit_fetches_status 503; }
        location /same/ { aisearch_pass docs; }
    """)
    assert statuses(server, "ab") == [200, 429]
    assert [look(server, job, location="/same/").status for job in "b"] == [429]
    assert [look(server, job, location="/free/").status for job in "bcdef"] == [200] * 5
    assert [look(server, job, location="/own/").status for job in "ghi"] == [200, 200, 503]


def test_it_outlives_a_reload(start, simulator):
    server = start(workers=2)
    assert statuses(server, "ab") == [200, 429]
    server.reload()
    assert statuses(server, "b") == [429]
    # another rate makes it another limit
    server.reload(config(simulator, FEW, workers=2))
    assert statuses(server, "bcdef") == [200] * 4 + [429]


def test_a_reload_that_adds_a_limit_to_a_full_cache(start, simulator):
    small = "aisearch_shared_zone zone=aisearch:32k; aisearch_valid not_found 1h;"
    server = start(small, workers=2)
    for n in range(300):
        assert look(server, f"missing-{n}").status == 404
    assert server.get("/aisearch_status").json()["zone"]["evictions"] > 0
    server.reload(config(simulator, small + ONE, workers=2))
    assert look(server, "missing-299").header("X-Aisearch-Cache") == "HIT"
    assert statuses(server, "ab") == [200, 429]
    server.reload(config(simulator, small, workers=2))
    assert statuses(server, "bcd") == [200] * 3
    server.reload(config(simulator, small + ONE, workers=2))
    assert statuses(server, "ef") == [200, 429]


def test_more_clients_than_fit_into_the_zone(start, simulator):
    """The least recent clients are forgotten, but no client gets past the limit."""
    server = start(ONE + "aisearch_shared_zone zone=aisearch:32k; aisearch_valid active 0; aisearch_use_stale off;")
    for n in range(1500):
        client = f"client-{n}"
        assert look(server, "a", client).status == 200
        assert look(server, "b", client).status == 429
    assert statuses(server, "a", "client-1499") == [429]
    assert statuses(server, "a", "client-0") == [200]


def test_killed_workers(start, simulator):
    server = start(FEW + "aisearch_valid not_found 0;", workers=2)
    over = threading.Event()

    def client(n):
        while not over.is_set():
            try:
                assert look(server, "missing", f"client-{n}-{time.monotonic_ns() % 50}").status in (404, 429)
            except (OSError, net.Closed):
                pass

    threads = [threading.Thread(target=client, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    try:
        for _ in range(10):
            kill_one(server)
    finally:
        over.set()
        for thread in threads:
            thread.join()
    net.wait_until(lambda: statuses(server, "abcde", "after") == [200] * 4 + [429], 10, "the limit to hold")


def kill_one(server):
    old = server.workers()
    server.kill_worker(old[0])
    net.wait_until(lambda: len(server.workers()) == 2 and old[0] not in server.workers(), 10, "another worker")
    time.sleep(0.05)
