"""A day in the life of many instances, for the simulator: jobs that come, run and end by a plan known in advance."""

import heapq
import random

DAY = 86400
SYNC = 6 * 3600  # instances sync by themselves this often
SHORTEST, LONGEST = 120, 1200  # seconds that a job runs
LONGEST_WAIT = 30  # seconds that a job is queued

# How jobs end, and how many of a hundred do so.
ENDS = {"completed": 88, "error: could not read the source": 8, "cancelled by user": 4}


def names(count: int) -> list[str]:
    return [f"instances/fleet-{n:04}" for n in range(count)]


def day(instances: int, seed: int = 1, seconds: int = DAY, most_active: int = 60, at_random: float = 2.0) -> list[dict]:
    """
    Orders to Simulator.instances(): each instance syncs every six hours, beginning whenever it likes, and at_random
    times a day besides; never are more than so many jobs active at once. All times are in seconds from when the orders
    are given. The same seed makes the same day.
    """
    dice = random.Random(seed)
    wanted = sorted(_wanted(instances, seconds, at_random, dice))
    jobs: dict[int, list[dict]] = {n: [] for n in range(instances)}
    ends: list[float] = []  # of those that are active
    for number, (at, n, source) in enumerate(wanted):
        while ends and ends[0] <= at:
            heapq.heappop(ends)
        if len(ends) == most_active:
            at = heapq.heappop(ends)  # it waits until one has ended
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
    """Whole, and so many on average."""
    return int(mean) + (dice.random() < mean % 1)


def _job(number: int, at: float, source: str, dice: random.Random) -> dict:
    starts = at + dice.uniform(0, LONGEST_WAIT)
    return {"id": f"job-{number:06}", "source": source, "appears_in": at, "starts_in": starts,
            "ends_in": starts + dice.uniform(SHORTEST, LONGEST),
            "end_reason": dice.choices(list(ENDS), list(ENDS.values()))[0]}


def at_once(instances: int, at: float = 0.0, seed: int = 2) -> list[dict]:
    """The same, of a job on each of them that begins at that moment."""
    dice = random.Random(seed)
    return [{"name": name, "jobs": [{**_job(n, at, "user", dice), "id": f"at-once-{n:06}"}]}
            for n, name in enumerate(names(instances))]


def most_active(orders: list[dict]) -> int:
    """How many jobs are queued or running at once, at most."""
    steps = [(job[key], change) for order in orders for job in order["jobs"]
             for key, change in (("appears_in", 1), ("ends_in", -1))]
    active = most = 0
    for _, change in sorted(steps):
        active += change
        most = max(most, active)
    return most
