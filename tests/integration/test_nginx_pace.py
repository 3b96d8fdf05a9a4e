"""Refreshes of watched entries: evenly spread, in turn, and at most half of the budget."""

import collections
import contextlib
import time

from gateway import WORKERS, account
from harness import SLOWNESS, net
from harness.events import Stream

STATUS = "location = /aisearch_status { aisearch_status; }"
SERVER = "location /client/v4/ { aisearch_pass docs; aisearch_events on; }" + WORKERS + STATUS
CALLS, SECONDS = 48, 12
RATE = CALLS / SECONDS / 2  # refreshes per second
JOBS = 30


def job(n):
    return f"/client/v4/instances/docs/jobs/j{n}"


def test_many_watchers_on_a_small_budget(nginx, simulator):
    """Each entry is refreshed in turn; other requests always find a free call, and no watcher gets a fault."""
    simulator.instance("instances/docs", [{"id": f"j{n}", "state": "running"} for n in range(JOBS + 60)])
    budget = f"budget {CALLS} {SECONDS}s reserve=0;"
    server = nginx(http=account(simulator, budget) + "aisearch_valid active 1s;", server=SERVER, workers=2)
    with contextlib.ExitStack() as stack:
        streams = []
        for n in range(JOBS):
            streams.append(stack.enter_context(Stream(server.address, job(n))))
            assert streams[-1].next().type == "message"
        time.sleep(SECONDS)  # wait until those calls no longer count
        simulator.forget()
        began = time.monotonic()
        statuses = collections.Counter()
        period = 1.25 * JOBS / RATE * SLOWNESS
        for n in range(int(2 * period)):
            statuses[server.get(job(JOBS + n % 60)).status] += 1
            time.sleep(1)
        assert set(statuses) == {200}
        seconds = time.monotonic() - began
        times = collections.defaultdict(list)
        for request in simulator.requests():
            times[request.target.rsplit("/", 1)[1]].append(request.began)
        watched = [times[f"j{n}"] for n in range(JOBS)]
        assert min(len(each) for each in watched) >= 2, sorted(map(len, watched))
        assert max(b - a for each in watched for a, b in zip(each, each[1:])) < period
        assert max(map(len, watched)) - min(map(len, watched)) <= 1
        assert sum(map(len, watched)) <= RATE * seconds + 2
        every = sorted(sum(times.values(), []))
        assert all(b - a > SECONDS for a, b in zip(every, every[CALLS:]))
        for stream in streams:
            with contextlib.suppress(TimeoutError):
                assert stream.next(0.01).type == "message"


def test_entries_with_few_watchers_are_refreshed_without_delay(nginx, simulator):
    simulator.job("instances/docs", "a", state="running")
    server = nginx(http=account(simulator, "budget 1200 300s;") + "aisearch_valid active 1s;", server=SERVER)
    with Stream(server.address, "/client/v4/instances/docs/jobs/a") as stream:
        stream.next()
        simulator.forget()
        time.sleep(5.5)
        assert 4 <= simulator.count() <= 6


def test_a_killed_worker_does_not_block_refreshes(nginx, simulator):
    simulator.instance("instances/docs", [{"id": f"j{n}", "state": "running"} for n in range(8)])
    server = nginx(http=account(simulator, "budget 100 10s;") + "aisearch_valid active 1s;", server=SERVER, workers=2)
    with contextlib.ExitStack() as stack:
        streams = {n: [stack.enter_context(Stream(server.address, job(n))) for _ in range(4)] for n in range(8)}
        for stream in sum(streams.values(), []):
            stream.next()
        server.kill_worker(server.workers()[0])
        net.wait_until(lambda: len(server.workers()) == 2, what="another worker")
        for n in range(8):  # its watchers reconnect
            streams[n].append(stack.enter_context(Stream(server.address, job(n))))
        simulator.forget()
        time.sleep(4)
        assert len({request.target for request in simulator.requests()}) == 8
