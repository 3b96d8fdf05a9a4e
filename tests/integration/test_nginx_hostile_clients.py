"""
One hostile client and twenty honest ones: honest clients still get hits, active jobs are refreshed in time, and nobody
waits. AIS_HOSTILE_TIME is the duration of each attack in seconds.
"""

import collections
import dataclasses
import itertools
import os
import threading
import time

import pytest

from gateway import account
from harness import SLOWNESS, net
from harness.hostile import Hostile
from harness.pace import quantile

SECONDS = float(os.environ.get("AIS_HOSTILE_TIME", 3))

HONEST = 20
RUNNING = 3  # jobs
FRESH = 1  # seconds for which the response about one of these jobs is fresh

# Each attack with the budget, and the number of jobs that each honest client requests in turn: a small budget for
# attacks on the API's calls, and many jobs for attacks on the cache.
WAYS = dict.fromkeys(["waits", "half_closes", "abandons", "reads_nothing", "sends_slowly", "sends_large_headers",
                      "sends_bodies", "pipelines", "is_refused", "h2_resets", "h2_asks"], ("900 300s", 1))
WAYS |= {"scans_jobs": ("200 10s", 1), "bypasses": ("200 10s", 1), "scans_lists": ("100000 1s", 24)}

HTTP = f"""
    aisearch_shared_zone zone=aisearch:512k;
    aisearch_valid active {FRESH}s {FRESH}s; aisearch_valid not_found 0; aisearch_valid logs 1h;
    aisearch_cache_bypass $http_pragma;
    server {{ listen 127.0.0.1:@PORT_H@ http2; access_log off; location /client/v4/ {{ aisearch_pass docs; }} }}
"""


@dataclasses.dataclass
class Answer:
    status: int
    cache: str | None
    age: int
    elapsed: float


class Honest(threading.Thread):
    """Requests its own ended jobs and, now and then, a running job that others request, too."""

    def __init__(self, address: net.Address, jobs: list[str]) -> None:
        super().__init__(daemon=True)
        self._address = address
        self._jobs = itertools.cycle(jobs)
        self._running = itertools.cycle(running_jobs())
        self._stopping = threading.Event()
        self.answers: dict[str, list[Answer]] = collections.defaultdict(list)
        self.error: Exception | None = None

    def run(self) -> None:
        try:
            with net.Connection(self._address) as connection:
                for turn in itertools.count():
                    if self._stopping.wait(0.05):
                        break
                    if turn % 4:
                        self._ask(connection, "ended", next(self._jobs))
                    else:
                        self._ask(connection, "running", next(self._running))
        except Exception as error:  # for the test's output
            self.error = error

    def stop(self) -> None:
        self._stopping.set()
        self.join()

    def _ask(self, connection: net.Connection, kind: str, job: str) -> None:
        answer = connection.request(target(f"jobs/{job}"))
        age = int(answer.header("Age", "0"))
        self.answers[kind].append(Answer(answer.status, answer.header("X-Aisearch-Cache"), age, answer.elapsed))


def target(path: str) -> str:
    return f"/client/v4/instances/docs/{path}"


def running_jobs() -> list[str]:
    return [f"running-{n}" for n in range(RUNNING)]


def start(nginx, simulator, budget: str, ended: list[str]):
    """The cache contains the jobs that honest clients request; the API also has those that hostile clients need."""
    jobs = [{"id": job, "state": "succeeded"} for job in ended]
    jobs += [{"id": job, "state": "running"} for job in running_jobs()]
    log = [{"id": n, "created_at": 1763902700, "message": "x" * 1000, "message_type": 0} for n in range(500)]
    jobs.append({"id": "done", "state": "succeeded", "logs": log})
    simulator.instance("instances/docs", jobs)
    simulator.fault("/jobs/slow$", delay=2)
    server = nginx(http=account(simulator, "instance docs;", f"budget {budget};") + HTTP, connections=512,
                   server="access_log off; location /client/v4/ { aisearch_pass docs; }")
    with server.connect() as connection:
        for path in ["jobs/done", "jobs/done/logs?per_page=500", *(f"jobs/{job}" for job in ended + running_jobs())]:
            assert connection.request(target(path)).status == 200
    return server


@pytest.mark.parametrize("way", WAYS)
def test_honest_clients_are_not_affected(nginx, simulator, way):
    budget, count = WAYS[way]
    jobs = [[f"ended-{n}-{m}" for m in range(count)] for n in range(HONEST)]
    server = start(nginx, simulator, budget, sum(jobs, []))
    address = ("127.0.0.1", server.ports["H"]) if way.startswith("h2_") else server.address
    clients = [Honest(server.address, mine) for mine in jobs]
    with Hostile(address, way):
        for client in clients:
            client.start()
        time.sleep(SECONDS)
        for client in clients:
            client.stop()
    assert [client.error for client in clients if client.error] == []

    ended, running = (sum((client.answers[kind] for client in clients), []) for kind in ("ended", "running"))
    assert len(ended) > 0.2 * HONEST * SECONDS / SLOWNESS
    assert {answer.status for answer in ended + running} == {200}
    hits = sum(answer.cache == "HIT" for answer in ended)
    assert hits >= 0.99 * len(ended), f"{hits} hits of {len(ended)}"
    assert max(answer.age for answer in running) <= FRESH + 2 * SLOWNESS
    elapsed = [answer.elapsed for answer in ended]
    assert quantile(elapsed, 0.5) < 0.25 * SLOWNESS
    assert quantile(elapsed, 0.99) < 1 * SLOWNESS  # less than a client that waits for the API or a timeout
