"""
One hostile client beside twenty honest ones: theirs are hits as before, what runs is refreshed in time, and nobody waits.
AIS_HOSTILE_TIME is how long each way is tried, in seconds.
"""

import collections
import dataclasses
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
FRESH = 1  # second that an answer about one of these is good for

WAYS = ["waits", "half_closes", "abandons", "reads_nothing", "sends_slowly", "sends_large_headers", "sends_bodies",
        "pipelines", "is_refused", "h2_resets", "h2_asks"]

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
    """Asks for a job of its own, which has ended, and now and then for one that runs and that others ask for, too."""

    def __init__(self, address: net.Address, number: int) -> None:
        super().__init__(daemon=True)
        self._address = address
        self._number = number
        self._stopping = threading.Event()
        self.answers: dict[str, list[Answer]] = collections.defaultdict(list)
        self.error: Exception | None = None

    def run(self) -> None:
        try:
            with net.Connection(self._address) as connection:
                turn = 0
                while not self._stopping.wait(0.05):
                    self._ask(connection, "ended" if turn % 4 else "running", turn)
                    turn += 1
        except Exception as error:  # for the test to tell
            self.error = error

    def stop(self) -> None:
        self._stopping.set()
        self.join()

    def _ask(self, connection: net.Connection, kind: str, turn: int) -> None:
        job = f"{kind}-{self._number if kind == 'ended' else turn % RUNNING}"
        answer = connection.request(f"/client/v4/instances/docs/jobs/{job}")
        self.answers[kind].append(Answer(answer.status, answer.header("X-Aisearch-Cache"), int(answer.header("Age", "0")),
                                         answer.elapsed))


def start(nginx, simulator):
    """Whose cache has what honest clients are to ask for, and what hostile ones need."""
    jobs = [{"id": f"ended-{n}", "state": "succeeded"} for n in range(HONEST)]
    jobs += [{"id": f"running-{n}", "state": "running"} for n in range(RUNNING)]
    log = [{"id": n, "created_at": 1763902700, "message": "x" * 1000, "message_type": 0} for n in range(500)]
    jobs.append({"id": "done", "state": "succeeded", "logs": log})
    simulator.instance("instances/docs", jobs)
    simulator.fault("/jobs/slow$", delay=2)
    server = nginx(http=account(simulator, "instance docs;") + HTTP, server="access_log off; location /client/v4/ { aisearch_pass docs; }",
                   connections=512)
    for path in [f"jobs/ended-{n}" for n in range(HONEST)] + ["jobs/done", "jobs/done/logs?per_page=500"]:
        assert server.get(f"/client/v4/instances/docs/{path}").status == 200
    return server


@pytest.mark.parametrize("way", WAYS)
def test_honest_clients_notice_nothing(nginx, simulator, way):
    server = start(nginx, simulator)
    address = ("127.0.0.1", server.ports["H"]) if way.startswith("h2_") else server.address
    clients = [Honest(server.address, n) for n in range(HONEST)]
    with Hostile(address, way):
        for client in clients:
            client.start()
        time.sleep(SECONDS)
        for client in clients:
            client.stop()
    assert [client.error for client in clients if client.error] == []

    ended, running = ([answer for client in clients for answer in client.answers[kind]] for kind in ("ended", "running"))
    assert len(ended) > 0.2 * HONEST * SECONDS / SLOWNESS
    assert {answer.status for answer in ended + running} == {200}
    hits = sum(answer.cache == "HIT" for answer in ended)
    assert hits >= 0.99 * len(ended), f"{hits} hits of {len(ended)}"
    assert max(answer.age for answer in running) <= FRESH + 2 * SLOWNESS
    assert quantile([answer.elapsed for answer in ended], 0.99) < 0.25 * SLOWNESS
