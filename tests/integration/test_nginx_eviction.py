"""Eviction in a full zone: endless new requests from one client do not evict entries that others use."""

import contextlib
import itertools
import threading
import time

import pytest

import gateway
from gateway import WORKERS, account
from harness import SLOWNESS, net
from harness.simulator import Simulator

SERVER = """
    keepalive_requests 1000000;
    location /client/v4/ { aisearch_pass docs; }
    location = /aisearch_status { aisearch_status; }
""" + WORKERS
PLENTY = "budget 1000000 1s; retries 0;"  # these tests are not about the budget
JOBS = "/client/v4/instances/docs/jobs"
KIB = 1024


def start(nginx, simulator, size, *directives, **parts):
    http = account(simulator, PLENTY) + f"aisearch_shared_zone zone=aisearch:{size}; {' '.join(directives)}"
    server = nginx(http=http, server=SERVER, **parts)
    server.allow_log(r"\[error\].*aisearch account")
    return server


def names(count, prefix="job"):
    return [f"{prefix}-{n:04}" for n in range(count)]


def make(simulator, jobs, state="failed", description="x" * 100):
    simulator.instance("instances/docs", [{"id": job, "state": state, "description": description} for job in jobs])


def ask(server, targets, status=None):
    """Returns the cache status of each, in sequence on one connection."""
    said = []
    with server.connect(30) as connection:
        for target in targets:
            response = connection.request(JOBS + target)
            assert status is None or response.status == status, (target, response)
            said.append(response.header("X-Aisearch-Cache"))
    return said


def jobs(names_):
    return [f"/{name}" for name in names_]


def zone(server):
    return server.get("/aisearch_status").json()["zone"]


def pages(total):
    """Returns all pages of a list of this many jobs, for all page sizes."""
    for per_page in range(1, 51):
        for page in range(1, -(-total // per_page) + 1):
            yield f"?page={page}&per_page={per_page}"


# Lists.


def test_lists_do_not_evict_ended_jobs(nginx, simulator):
    """609 lookups of one client, in a zone of the default size."""
    loved = names(300)
    make(simulator, loved[:200], description="x" * 1500)
    make(simulator, loved[200:])
    server = start(nginx, simulator, "8m")
    ask(server, 2 * jobs(loved), 200)
    longest = sorted(pages(300), key=lambda query: -int(query.rpartition("=")[2]))[:609]
    assert set(ask(server, longest, 200)) == {"MISS"}
    assert ask(server, jobs(loved)) == ["HIT"] * 300


def test_lists_take_a_third_of_the_zone(nginx, simulator):
    make(simulator, names(50), description="x" * 500)
    server = start(nginx, simulator, "1m", "aisearch_valid list 1h;")
    empty = zone(server)["bytes_used"]
    queries = list(itertools.islice(pages(50), 200))
    ask(server, queries, 200)
    filled = zone(server)
    assert filled["evictions"] > 0
    assert 200 * KIB < filled["bytes_used"] - empty < 1024 * KIB / 3 + 64 * KIB
    # The latest ones are kept.
    kept = ask(server, reversed(queries[-filled["entries"]:])).count("HIT")
    assert kept > 5

    # Other entries have the rest of the zone, and all of it if there are no lists.
    more = names(1000, "more")
    make(simulator, more)
    ask(server, jobs(more), 200)
    assert ask(server, jobs(more)).count("HIT") > 700


def test_a_used_list_is_kept_among_unused_ones(nginx, simulator):
    make(simulator, names(50), description="x" * 500)
    server = start(nginx, simulator, "1m", "aisearch_valid list 200ms;", "aisearch_use_stale updating=1h error=1h;")
    used = "?per_page=10"
    ask(server, [used], 200)
    time.sleep(0.25)
    assert ask(server, [used]) == ["UPDATING"]
    ask(server, list(pages(50)), 200)
    assert zone(server)["evictions"] > 50
    assert ask(server, [used]) != ["MISS"]


def test_the_same_page_is_one_entry_and_one_call(nginx, simulator):
    make(simulator, names(30))
    simulator.instance("instances/docs", [{"id": "a", "logs": [{"id": 1, "created_at": 1, "message": "m",
                                                                "message_type": 0}]}])
    server = start(nginx, simulator, "8m", "aisearch_valid list 1h; aisearch_valid logs 1h;")
    for target in ("/instances/docs/jobs", "/instances/docs/jobs/a/logs", "/instances", "/namespaces/default/instances"):
        plain = gateway.direct(simulator, f"{simulator.base}/accounts/{account_id(simulator)}/ai-search{target}")
        simulator.forget()
        for query in ("", "?page=1", "?per_page=20", "?per_page=20&page=1", "?page=001&x=y"):
            response = server.get(f"/client/v4{target}{query}")
            assert (response.status, response.json()["result"]) == (200, plain.json()["result"])
        [request] = simulator.requests()
        assert request.target.endswith(f"{target}?per_page=20")
        assert server.get(f"/client/v4{target}?page=2").header("X-Aisearch-Cache") == "MISS"
        assert server.get(f"/client/v4{target}?per_page=19").header("X-Aisearch-Cache") == "MISS"


def account_id(simulator):
    return simulator.path("instances/docs").split("/accounts/")[1].split("/")[0]


# Scans of jobs.


def test_repeatedly_requested_ended_jobs_outlive_a_scan(nginx, simulator):
    loved, scanned = names(100, "loved"), names(1500, "scanned")
    make(simulator, loved + scanned)
    server = start(nginx, simulator, "256k")
    ask(server, 2 * jobs(loved), 200)
    ask(server, jobs(scanned), 200)
    assert zone(server)["evictions"] > 500
    assert ask(server, jobs(loved)) == ["HIT"] * 100


def test_repeatedly_requested_expired_jobs_outlive_a_scan(nginx, simulator):
    """
    Jobs that are requested twice within the scan do not outlive it: a client that requests each job twice is like two
    scans.
    """
    loved, twice, scanned = names(50, "loved"), names(50, "twice"), names(1500, "scanned")
    make(simulator, loved + twice, "running")
    make(simulator, scanned)
    server = start(nginx, simulator, "256k", "aisearch_valid active 2s; aisearch_use_stale updating=1h;")
    ask(server, jobs(loved), 200)
    net.wait_until(lambda: ask(server, jobs(loved[-1:])) != ["HIT"], 5, "the last one to expire")
    ask(server, jobs(loved), 200)
    ask(server, 2 * jobs(twice), 200)
    ask(server, jobs(scanned), 200)
    assert ask(server, jobs(loved)).count("MISS") == 0
    assert ask(server, jobs(twice)).count("MISS") > 40


def test_the_least_recently_used_of_repeatedly_requested_entries_are_evicted(nginx, simulator):
    old, new = names(1000, "old"), names(20, "new")
    make(simulator, old + new)
    server = start(nginx, simulator, "128k")
    with server.connect(30) as connection:
        for job in jobs(old):
            for _ in range(2):
                assert connection.request(JOBS + job).status == 200
    state = zone(server)
    assert state["entries"] > 100 and state["entries"] + state["evictions"] == 1000
    assert ask(server, jobs(new), 200) == ["MISS"] * 20
    assert ask(server, jobs(new), 200) == ["HIT"] * 20
    assert ask(server, jobs(reversed(old[-50:]))) == ["HIT"] * 50
    assert ask(server, jobs(old[:50])) == ["MISS"] * 50
    assert len(server.warnings()) == 0


# Missing jobs, and failures.


def test_missing_jobs_evict_nothing(nginx, simulator):
    good, none = names(400, "good"), names(1200, "none")
    make(simulator, good)
    server = start(nginx, simulator, "384k")
    ask(server, jobs(good), 200)
    with server.connect(30) as connection:
        for job in jobs(none):  # twice, which must not protect them
            assert [connection.request(JOBS + job).status for _ in range(2)] == [404, 404]
    assert ask(server, jobs(good)) == ["HIT"] * 400
    # and missing jobs are still cached, as far as they fit
    assert ask(server, jobs(none[-10:])) == ["HIT"] * 10


@pytest.mark.parametrize("failure", ["refused", "answers"])
def test_failures_evict_nothing(nginx, tmp, failure):
    """6000 failures while the API is down, which is when old responses are needed."""
    good, failed = names(200, "good"), names(6000, "failed")
    with Simulator(tmp) as own:
        make(own, good, "running")
        server = start(nginx, own, "1m", "aisearch_valid active 100ms;", "aisearch_use_stale error=1h;")
        ask(server, jobs(good), 200)
        if failure == "refused":
            own.stop()
        else:
            own.fault("/jobs/", status=500, body='{"success":false,"errors":[{"code":7001,"message":"%s"}]}' % ("x" * 400))
        net.concurrently(4, lambda n: ask(server, jobs(failed[n::4])))
        said = ask(server, jobs(good), 200)
        assert set(said) <= {"STALE", "UPDATING"}, said
        assert ask(server, jobs(good), 200) == ["STALE"] * 200
        assert zone(server)["entries"] <= 200 + 1024 // 32 * 4


def test_running_fetches_evict_little(nginx, simulator):
    good, fetched = names(60, "good"), names(600, "fetched")
    make(simulator, good + fetched)
    server = start(nginx, simulator, "128k", workers=2)
    server.allow_log(r"\[warn\].*could not allocate an entry")
    ask(server, jobs(good), 200)
    with contextlib.ExitStack() as stack:
        clients = [stack.enter_context(server.connect(30)) for _ in fetched]
        with gateway.held(simulator):
            for client, job in zip(clients, jobs(fetched)):
                client.send(net.format_request(JOBS + job))
            gateway.wait_for_requests(server, len(clients))
            assert ask(server, jobs(good), 200) == ["HIT"] * 60
        assert {client.read_response().status for client in clients} == {200}
    assert zone(server)["entries"] > 60


def test_entries_of_clients_that_disconnect_are_evicted_first(nginx, simulator):
    good, left = names(200, "good"), names(600, "left")
    make(simulator, good + left)
    server = start(nginx, simulator, "256k")
    ask(server, 2 * jobs(good), 200)
    for job in jobs(left):
        with server.connect() as client:
            client.send(net.format_request(JOBS + job))
    net.wait_until(lambda: simulator.count("/left-") == 600, 10 * SLOWNESS, "all of them to be fetched")
    net.wait_until(lambda: zone(server)["evictions"] > 0, 5 * SLOWNESS, "the zone to become full")
    assert ask(server, jobs(good)) == ["HIT"] * 200


# Crashes.


def test_killed_workers_leave_a_cache_that_works(nginx, simulator):
    """All kinds of entries are evicted while workers are killed at any point."""
    known = names(400)
    make(simulator, known)
    simulator.fault("/jobs/bad-", status=500, body="down")
    server = start(nginx, simulator, "96k", "aisearch_valid list 100ms; aisearch_valid error 100ms;", workers=2)
    over, seen = threading.Event(), set()

    def client(n):
        # (one after the other, since otherwise the breaker would block all of them after a few failures)
        others = itertools.chain(*zip(jobs(names(100, "bad")), jobs(names(100, "none"))))
        targets = itertools.cycle(jobs(known[n::4] * 2) + list(pages(100))[n::40] + list(others))
        while not over.is_set():
            with contextlib.suppress(OSError, AssertionError):  # its worker was killed
                with server.connect() as connection:
                    for target in itertools.islice(targets, 100):
                        seen.add(connection.request(JOBS + target).status)

    threads = [threading.Thread(target=client, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    try:
        for _ in range(25):
            time.sleep(0.1)
            server.kill_worker(server.workers()[0])
            net.wait_until(lambda: len(server.workers()) == 2, 5 * SLOWNESS, "another worker")
    finally:
        over.set()
        for thread in threads:
            thread.join()
    assert {200, 404, 502} <= seen
    assert zone(server)["evictions"] > 0
    [again] = jobs(names(1, "again"))
    make(simulator, known + names(1, "again"))
    net.wait_until(lambda: server.get(JOBS + again).status == 200, 10, "the breaker to let lookups through", every=0.1)
    for target in (*jobs(known[:30]), *itertools.islice(pages(20), 10)):
        ask(server, [target], 200)
        assert ask(server, [target]) != ["MISS"]
    assert ask(server, jobs(known)).count("MISS") < 400


# The smallest zone.


def test_small_zone_evicts_the_least_recently_used_entries(nginx, simulator):
    simulator.freeze()
    jobs = [f"job-{n}" for n in range(300)]
    simulator.instance("instances/docs", [{"id": job, "state": "failed", "description": job * (n % 70)}
                                          for n, job in enumerate(jobs)])
    expected = {job: gateway.direct(simulator, simulator.path("instances/docs", job)).body for job in jobs}
    simulator.forget()
    server = gateway.start(nginx, simulator, http="aisearch_shared_zone zone=small:64k;", workers=2)
    with server.connect() as connection:
        for job in jobs + jobs[::-1] + jobs[::7]:
            response = connection.request(gateway.job_target(job))
            assert (response.status, response.body) == (200, expected[job])
        assert connection.request(gateway.job_target(jobs[0])).header("X-Aisearch-Cache") == "HIT"
    calls = simulator.count()
    assert len(jobs) * 1.2 < calls < len(jobs) * 2.2

    too_large = server.get("/client/v4/instances/docs/jobs?per_page=50")
    again = server.get("/client/v4/instances/docs/jobs?per_page=50")
    assert len(too_large.body) > 16384 and too_large.body == again.body
    assert simulator.count() == calls + 2
    assert any("[warn]" in line and "use a larger zone" in line for line in server.error_log().splitlines())
