"""The clients: what they request, how, and how patiently."""

import random
import threading
import time

from harness import net

from .judge import Judge
from .world import INSTANCES, Job, World

SHORT_OF_IT = 0.02  # seconds after which a client disconnects


class Client(threading.Thread):
    """Sends various requests until it is stopped; on one connection or on many."""

    def __init__(self, rng: random.Random, address: net.Address, world: World, judge: Judge,
                 burst: threading.Event) -> None:
        super().__init__(daemon=True)
        self._rng = rng
        self._address = address
        self._world = world
        self._judge = judge
        self._burst = burst
        self._keeps = rng.random() < 0.5
        self._connection: net.Connection | None = None
        self._etags: dict[Job, str] = {}
        self._stopping = threading.Event()

    def stop(self) -> None:
        self._stopping.set()

    def run(self) -> None:
        actions = {self._job: 60, self._head: 8, self._conditional: 8, self._list: 8, self._logs: 6, self._missing: 3,
                   self._refused: 3, self._go_away: 6}
        while not self._stopping.wait(0 if self._burst.is_set() else self._rng.expovariate(25)):
            [action] = self._rng.choices(list(actions), list(actions.values()))
            if self._burst.is_set():
                action = self._unheard_of
            try:
                action()
            except Exception as error:  # including mistakes of the judge
                self._judge.violation(f"{action.__name__}: {error!r}")
        self._close()

    # Targets. Some jobs are more popular than others.

    def _some_job(self) -> Job:
        jobs = self._world.jobs
        return jobs[min(int(self._rng.paretovariate(0.5)) - 1, len(jobs) - 1) * 7 % len(jobs)]

    def _job(self) -> None:
        job = self._some_job()
        began = time.time()
        answer = self._ask(f"/client/v4/{job.instance}/jobs/{job.id}")
        if answer is not None:
            self._judge.job(job, answer, began)
            if answer.status == 200:
                self._etags[job] = answer.header("ETag")

    def _head(self) -> None:
        job = self._some_job()
        began = time.time()
        answer = self._ask(f"/client/v4/{job.instance}/jobs/{job.id}", method="HEAD")
        if answer is not None:
            self._judge.head(job, answer, began)

    def _conditional(self) -> None:
        """304 means that the response has not changed, whatever it was."""
        job = self._rng.choice(list(self._etags) or self._world.jobs)
        etag = self._etags.get(job, '"none"')
        began = time.time()
        answer = self._ask(f"/client/v4/{job.instance}/jobs/{job.id}", [("If-None-Match", etag)])
        if answer is not None:
            self._judge.job(job, answer, began)
            if answer.status == 304 and answer.header("ETag") != etag:
                self._judge.violation(f"304 for {job.mark} with {answer.header('ETag')}, not {etag}")

    def _list(self) -> None:
        instance = self._rng.choice(INSTANCES)
        jobs = [job for job in self._world.jobs if job.instance == instance]
        began = time.time()
        answer = self._ask(f"/client/v4/{instance}/jobs?per_page=50")
        if answer is not None:
            self._judge.list(instance, jobs, answer, began)

    def _logs(self) -> None:
        job = self._some_job()
        began = time.time()
        answer = self._ask(f"/client/v4/{job.instance}/jobs/{job.id}/logs")
        if answer is not None:
            self._judge.logs(job, answer, began)

    def _missing(self) -> None:
        self._refuse(f"/client/v4/{self._rng.choice(INSTANCES)}/jobs/missing{self._rng.randrange(5)}", 404)

    def _unheard_of(self) -> None:
        """Costs a call each time."""
        self._refuse(f"/client/v4/{INSTANCES[0]}/jobs/{self._rng.randrange(1 << 40):x}", 404)

    def _refused(self) -> None:
        target, status = self._rng.choice([("instances/foreign/jobs/j1", 403), ("instances/docs/jobs/..%2f", 400),
                                           ("instances/docs/jobs?page=0", 400)])
        self._refuse(f"/client/v4/{target}", status)

    def _refuse(self, target: str, status: int) -> None:
        began = time.time()
        answer = self._ask(target)
        if answer is not None:
            self._judge.refusal(target, status, answer, began)

    def _go_away(self) -> None:
        """Disconnects before the response has arrived, unless it is already there."""
        job = self._some_job()
        try:
            with net.Connection(self._address) as connection:
                connection.send(net.format_request(f"/client/v4/{job.instance}/jobs/{job.id}"))
                self._stopping.wait(self._rng.uniform(0, SHORT_OF_IT))
        except ConnectionError as error:
            self._judge.broken("a request that nobody waits for", error, time.time() - 1)
        self._judge.count("went away")

    # Ways to send requests.

    def _ask(self, target: str, headers=(), method: str = "GET") -> net.Response | None:
        """Returns None if there is no response, after reporting this to the judge."""
        began = time.time()
        for kept in ([True, False] if self._connection else [False]):
            try:
                return self._exchange(target, headers, method)
            except (ConnectionError, TimeoutError) as error:
                self._close()
                # nginx may close an idle connection at any time, and does so at a reload
                if not kept or isinstance(error, TimeoutError):
                    self._judge.broken(target, error, began)
                    return None
        return None

    def _exchange(self, target: str, headers, method: str) -> net.Response:
        if self._connection is None:
            self._connection = net.Connection(self._address, timeout=15)
        answer = self._connection.request(target, headers, method)
        if not self._keeps:
            self._close()
        return answer

    def _close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None
