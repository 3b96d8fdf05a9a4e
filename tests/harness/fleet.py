"""A day of many instances, for the simulator: jobs that appear, run and end according to a plan known in advance."""

import heapq
import random

DAY = 86400
SYNC = 6 * 3600  # the sync interval of the instances
SHORTEST, LONGEST = 120, 1200  # how long a job runs, in seconds
LONGEST_WAIT = 30  # how long a job is queued, in seconds

# How jobs end, in percent.
ENDS = {"completed": 88, "error: could not read the source": 8, "cancelled by user": 4}


def names(count: int) -> list[str]:
    return [f"instances/fleet-{n:04}" for n in range(count)]


def day(instances: int, seed: int = 1, seconds: int = DAY, most_active: int = 60, at_random: float = 2.0) -> list[dict]:
    """
    Returns orders for Simulator.instances(): each instance syncs every six hours, starting at a random time, and
    at_random more times per day; at most most_active jobs are active at once. Times are in seconds after the orders.
    The same seed gives the same day.
    """
    dice = random.Random(seed)
    wanted = sorted(_wanted(instances, seconds, at_random, dice))
    jobs: dict[int, list[dict]] = {n: [] for n in range(instances)}
    ends: list[float] = []  # of active jobs
    for number, (at, n, source) in enumerate(wanted):
        while ends and ends[0] <= at:
            heapq.heappop(ends)
        if len(ends) == most_active:
            at = heapq.heappop(ends)  # waits until one has ended
        job = _job(number, at, source, dice)
        heapq.heappush(ends, job["ends_in"])
        jobs[n].append(job)
    return [{"name": name, "jobs": jobs[n]} for n, name in enumerate(names(instances))]


def _wanted(instances: int, seconds: int, at_random: float, dice: random.Random):
    for n in range(instances):
        first = dice.uniform(0, SYNC)
        for at in range(0, seconds, SYNC):
            if first + at < seconds:
                yield first + at, n, "schedule"
        for _ in range(_times(at_random * seconds / DAY, dice)):
            yield dice.uniform(0, seconds), n, "user"


def _times(mean: float, dice: random.Random) -> int:
    """A random integer with that mean."""
    return int(mean) + (dice.random() < mean % 1)


def _job(number: int, at: float, source: str, dice: random.Random) -> dict:
    starts = at + dice.uniform(0, LONGEST_WAIT)
    return {"id": f"job-{number:06}", "source": source, "appears_in": at, "starts_in": starts,
            "ends_in": starts + dice.uniform(SHORTEST, LONGEST),
            "end_reason": dice.choices(list(ENDS), list(ENDS.values()))[0]}


def at_once(instances: int, at: float = 0.0, seed: int = 2) -> list[dict]:
    """The same, with a job on each instance that starts at that moment."""
    dice = random.Random(seed)
    return [{"name": name, "jobs": [{**_job(n, at, "user", dice), "id": f"at-once-{n:06}"}]}
            for n, name in enumerate(names(instances))]


def most_active(orders: list[dict]) -> int:
    """The largest number of jobs that are queued or running at once."""
    steps = [(job[key], change) for order in orders for job in order["jobs"]
             for key, change in (("appears_in", 1), ("ends_in", -1))]
    active = most = 0
    for _, change in sorted(steps):
        active += change
        most = max(most, active)
    return most
