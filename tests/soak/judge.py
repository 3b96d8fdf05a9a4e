"""The invariants that each response must satisfy, whatever fails. Violations are logged and end the run."""

import collections
import threading
import time

from harness import net
from harness.nginx import Nginx
from harness.simulator import Simulator

from .trouble import Trouble
from .world import Job

# The budget in nginx's configuration: calls and seconds.
BUDGET = (800, 10)

# The largest difference in seconds between two clocks, or between when a response was cached and what Age says.
SLACK = 4.0

# The connections of a worker to the upstream and to its clients vary, but a greater increase is a leak. The same
# applies to memory.
MORE_DESCRIPTORS = 100
MORE_MEMORY = 16 << 20

# The API may see calls this many seconds closer together than they were made.
JITTER = 2.0

_ERRORS = (502, 503, 504)


class Judge:
    def __init__(self, nginx: Nginx, simulator: Simulator, trouble: Trouble) -> None:
        self.violations: list[str] = []
        self.counts: collections.Counter[str] = collections.Counter()
        self.most_calls = 0  # in one interval of the budget
        self._nginx = nginx
        self._simulator = simulator
        self._trouble = trouble
        self._ended: dict[Job, float] = {}  # when its end was first seen
        self._versions: dict[tuple, tuple[tuple, float]] = {}  # of each resource's jobs: the newest, and since when
        self._first: dict[int, tuple[int, int]] = {}  # descriptors and memory of each process
        self._calls: list[float] = []
        self._lock = threading.Lock()

    def violation(self, text: str) -> None:
        with self._lock:
            self.violations.append(f"{time.strftime('%H:%M:%S')} {text}")

    def count(self, what: str) -> None:
        with self._lock:
            self.counts[what] += 1

    # Responses.

    def job(self, job: Job, answer: net.Response, began: float) -> None:
        """
        The response to a lookup of a job must be this job, in a state that it had when the response was generated.
        """
        now = time.time()
        if not self._good(job.mark, answer, began):
            return
        result = answer.json()["result"]
        if (result["id"], result["mark"]) != (job.id, job.mark):
            self.violation(f"asked for {job.mark}, got {result}")
        self._version(("job", job.mark), result, began, now)
        self._state(job, answer.header("X-Aisearch-State"), now - self._age(answer), began, now)

    def head(self, job: Job, answer: net.Response, began: float) -> None:
        now = time.time()
        if self._good(job.mark, answer, began):
            self._state(job, answer.header("X-Aisearch-State"), now - self._age(answer), began, now)

    def list(self, instance: str, jobs: list[Job], answer: net.Response, began: float) -> None:
        now = time.time()
        if not self._good(instance, answer, began):
            return
        for result in answer.json()["result"]:
            self._version(("list", result["mark"]), result, began, now)
        got = sorted(result["mark"] for result in answer.json()["result"])
        if got != sorted(job.mark for job in jobs):
            self.violation(f"asked for the jobs of {instance}, got {got}")

    def logs(self, job: Job, answer: net.Response, began: float) -> None:
        if not self._good(f"the logs of {job.mark}", answer, began):
            return
        messages = [line["message"] for line in answer.json()["result"]]
        if messages != [job.mark]:
            self.violation(f"asked for the logs of {job.mark}, got {messages}")

    def refusal(self, target: str, status: int, answer: net.Response, began: float) -> None:
        """Resources that do not exist or are not available to clients."""
        self.count(f"{answer.status}")
        if answer.status in _ERRORS and status == 404:
            self._excuse(target, answer, began)
        elif answer.status != status or answer.json()["success"] is not False:
            self.violation(f"{status} was due for {target}, got {answer.status}")

    def broken(self, target: str, error: Exception, began: float) -> None:
        """A missing or partial response is only allowed if the worker was killed meanwhile."""
        self.count("broken off")
        if not self._trouble.killed(began - 0.5, time.time()):
            self.violation(f"no answer to {target}, and no worker was killed: {error!r}")

    def _good(self, what: str, answer: net.Response, began: float) -> bool:
        self.count(f"{answer.status} {answer.header('X-Aisearch-Cache') or ''}".strip())
        if answer.status == 200:
            return True
        if answer.status in _ERRORS:
            self._excuse(what, answer, began)
        elif answer.status != 304:
            self.violation(f"{answer.status} for {what}")
        return False

    def _excuse(self, what: str, answer: net.Response, began: float) -> None:
        if not self._trouble.excuses(began, time.time()):
            self.violation(f"{answer.status} for {what} without a fault behind it: {answer.body[:200]!r}")

    @staticmethod
    def _age(answer: net.Response) -> float:
        return int(answer.header("Age")) + SLACK

    def _state(self, job: Job, state: str | None, since: float, began: float, now: float) -> None:
        possible = job.states(since, now + 0.5)
        if state not in possible:
            self.violation(f"{job.mark} was reported as {state}; in the last {now - since:.1f} s it was {possible}")
        with self._lock:
            known = self._ended.get(job)
            if state == job.end:
                self._ended[job] = min(now, known or now)
        if known is not None and known < began and state != job.end:
            self.violation(f"{job.mark} had ended, and is {state} again")

    def _version(self, what: tuple, result: dict, began: float, now: float) -> None:
        """No response is older than one that any client received before the request."""
        version = tuple(result[name] or "" for name in ("ended_at", "started_at", "last_seen_at"))
        with self._lock:
            newest, since = self._versions.get(what, (version, now))
            if version >= newest:
                self._versions[what] = (version, min(now, since) if version == newest else now)
        if version < newest and since < began:
            self.violation(f"{what} was reported as {newest} {began - since:.3f} s before, and is now {version}")

    # nginx's resources.

    def budget(self) -> None:
        """As seen by the API. Called from time to time."""
        recorded = self._simulator.recorded()
        self._simulator.forget()
        self._calls += sorted(request["began"] for request in recorded)
        calls, seconds = BUDGET
        first = 0
        for last, when in enumerate(self._calls):
            while self._calls[first] < when - (seconds - JITTER):
                first += 1
            self.most_calls = max(self.most_calls, last - first + 1)
        if self.most_calls > calls:
            self.violation(f"{self.most_calls} calls in {seconds} s, of {calls}")
        self._calls = [when for when in self._calls if when > self._calls[-1] - seconds]
        self.counts["calls to the API"] += len(recorded)

    def resources(self) -> None:
        """Called from time to time: no process has many more descriptors, or much more memory, than at first."""
        for pid in [self._nginx.pid, *self._nginx.workers()]:
            try:
                now = len(net.open_fds(pid)), net.rss(pid)
            except (FileNotFoundError, ProcessLookupError):
                continue  # it has exited meanwhile
            first = self._first.setdefault(pid, now)
            more = 0 if pid == self._nginx.pid else MORE_DESCRIPTORS
            if now[0] > first[0] + more:
                self.violation(f"{pid} had {first[0]} descriptors, and has {now[0]}")
            if now[1] > first[1] + MORE_MEMORY:
                self.violation(f"{pid} had {first[1] >> 10} KiB, and has {now[1] >> 10}")
