"""The jobs and their states over time, which determine the valid responses at a given time."""

import dataclasses
import random
import time

from harness.simulator import Simulator

INSTANCES = ("instances/docs", "instances/wiki", "namespaces/team/instances/docs", "rags/docs")
JOBS = 40  # per instance; all instances use the same names
SEEN_EVERY = 0.2  # seconds: this shows which of two responses about a running job is newer

REASONS = {"succeeded": None, "failed": "error: could not read the source", "cancelled": "cancelled by user"}


@dataclasses.dataclass(frozen=True)
class Job:
    instance: str
    id: str
    starts_at: float
    ends_at: float
    end: str  # its final state

    @property
    def mark(self) -> str:
        """Text in its response and in no other job's."""
        return f"{self.instance} {self.id}"

    def states(self, since: float, until: float) -> list[str]:
        """The states that it has in this time."""
        times = [since, *(t for t in (self.starts_at, self.ends_at) if since < t < until), until]
        return [self._state(t) for t in times]

    def _state(self, t: float) -> str:
        return "queued" if t < self.starts_at else "running" if t < self.ends_at else self.end


class World:
    """Everything is determined in advance, for that many seconds."""

    def __init__(self, simulator: Simulator, rng: random.Random, seconds: float) -> None:
        self.jobs = [_job(rng, instance, f"j{n}", seconds) for instance in INSTANCES for n in range(JOBS)]
        for instance in INSTANCES:
            simulator.instance(instance, [_order(job) for job in self.jobs if job.instance == instance])

    def find(self, instance: str, job_id: str) -> Job | None:
        return next((job for job in self.jobs if (job.instance, job.id) == (instance, job_id)), None)


def _job(rng: random.Random, instance: str, job_id: str, seconds: float) -> Job:
    starts_at = time.time() + rng.uniform(-seconds / 2, seconds)
    return Job(instance, job_id, starts_at, starts_at + rng.uniform(2, seconds / 2), rng.choice(list(REASONS)))


def _order(job: Job) -> dict:
    now = time.time()
    return {"id": job.id, "starts_in": job.starts_at - now, "ends_in": job.ends_at - now,
            "last_seen_every": SEEN_EVERY, "times": "fraction", "end_reason": REASONS[job.end],
            "extra": {"mark": job.mark},
            "logs": [{"id": 1, "created_at": 1763902700, "message": job.mark, "message_type": 0}]}
