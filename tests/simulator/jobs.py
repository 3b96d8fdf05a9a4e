"""The life of a job, and how the API presents it at a given time."""

import dataclasses
from datetime import datetime, timedelta, timezone


def rfc3339(t: float) -> str:
    return datetime.fromtimestamp(int(t), timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")


def _fraction(t: float) -> str:
    return datetime.fromtimestamp(t, timezone.utc).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def _offset(t: float) -> str:
    return datetime.fromtimestamp(int(t), timezone(timedelta(hours=2))).isoformat()


def _plain(t: float) -> str:
    return datetime.fromtimestamp(int(t), timezone.utc).strftime("%Y-%m-%d %H:%M:%S")


def _zoneless(t: float) -> str:
    return datetime.fromtimestamp(int(t), timezone.utc).strftime("%Y-%m-%dT%H:%M:%S")


# The time formats that the API has been seen to use: RFC 3339, also with a fraction or an offset, and two without a
# time zone. Also seconds since the epoch as a number, which the reference does not allow.
TIME_FORMS = {"rfc3339": rfc3339, "fraction": _fraction, "offset": _offset, "plain": _plain, "zoneless": _zoneless,
              "number": int}

# How a field without a value is presented.
MISSING = ("null", "absent")

# The end reason of a job that was superseded by another one.
SUPERSEDED = "new_job_has_started"

# Shorthands: when the job starts and ends, in seconds from now, and why.
STATES = {
    "queued": (None, None, None),
    "running": (-60, None, None),
    "succeeded": (-600, -300, None),
    "failed": (-600, -300, "error: could not read the source"),
    "cancelled": (-600, -300, "cancelled by user"),
    "superseded": (-600, -300, SUPERSEDED),
}

# The states that state() returns.
COUNTED = ("queued", "running", "succeeded", "failed", "cancelled")


@dataclasses.dataclass
class Job:
    id: str
    source: str = "user"
    description: str | None = None
    end_reason: str | None = None
    appears_at: float | None = None  # before that, the job does not exist; None: it has always existed
    starts_at: float | None = None
    ends_at: float | None = None
    silent_at: float | None = None  # from then on, last_seen_at does not change: the job is stalled
    last_seen_every: float = 10.0
    times: str = "rfc3339"
    missing: str = "null"
    logs: list | None = None  # returned unchanged instead of generated ones
    extra: dict = dataclasses.field(default_factory=dict)  # replaces fields of the response, whether valid or not

    def exists(self, now: float) -> bool:
        return self.appears_at is None or self.appears_at <= now

    def started(self, now: float) -> bool:
        return self.starts_at is not None and self.starts_at <= now

    def ended(self, now: float) -> bool:
        return self.ends_at is not None and self.ends_at <= now

    def last_seen(self, now: float) -> float | None:
        if not self.started(now):
            return None
        if self.ended(now) and self.silent_at is None:
            return self.ends_at
        until = min(t for t in (now, self.ends_at, self.silent_at) if t is not None)
        ticks = max(until - self.starts_at, 0) // self.last_seen_every
        return self.starts_at + ticks * self.last_seen_every


_RELATIVE = {"appears_in": "appears_at", "starts_in": "starts_at", "ends_in": "ends_at", "silent_in": "silent_at"}
_PLAIN = {"source", "description", "end_reason", "last_seen_every", "times", "missing", "logs", "extra"}


def apply(job: Job, order: dict, now: float) -> None:
    """
    Changes a job as ordered: any plain field; state, a shorthand; and appears_in, starts_in, ends_in and silent_in, in
    seconds from now (negative: ago; null: never, or for appears_in: always).
    """
    unknown = set(order) - _PLAIN - set(_RELATIVE) - {"id", "state"}
    if unknown:
        raise ValueError(f"unknown field of a job: {', '.join(sorted(unknown))}")
    if order.get("times", "rfc3339") not in TIME_FORMS:
        raise ValueError(f"times is one of {', '.join(TIME_FORMS)}")
    if order.get("missing", "null") not in MISSING:
        raise ValueError(f"missing is one of {', '.join(MISSING)}")
    if order.get("last_seen_every", 1) <= 0:
        raise ValueError("last_seen_every is greater than 0")

    fields = dict(order)
    if "state" in fields:
        if fields["state"] not in STATES:
            raise ValueError(f"state is one of {', '.join(STATES)}")
        starts_in, ends_in, end_reason = STATES[fields["state"]]
        fields = {"starts_in": starts_in, "ends_in": ends_in, "end_reason": end_reason, **fields}

    for name in _PLAIN & set(fields):
        setattr(job, name, fields[name])
    for name, attribute in _RELATIVE.items():
        if name in fields:
            setattr(job, attribute, None if fields[name] is None else now + fields[name])


_SUCCESS = ("", "completed", "complete", "success", "succeeded", "finished", "done", "ok")


def state(job: Job, now: float) -> str:
    """The API has no such field: its users derive the state like this."""
    if not job.ended(now):
        return "running" if job.started(now) else "queued"
    reason = (job.end_reason or "").lower()
    if reason in _SUCCESS:
        return "succeeded"
    return "cancelled" if "cancel" in reason or "superseded" in reason or reason == SUPERSEDED else "failed"


def tell(job: Job, now: float, described: bool) -> dict:
    """The job in the API's format; described is false for AutoRAG, whose jobs have no description."""
    form = TIME_FORMS[job.times]
    seen = job.last_seen(now)
    fields = {
        "id": job.id,
        "source": job.source,
        "description": job.description,
        "end_reason": job.end_reason if job.ended(now) else None,
        "ended_at": form(job.ends_at) if job.ended(now) else None,
        "last_seen_at": None if seen is None else form(seen),
        "started_at": form(job.starts_at) if job.started(now) else None,
    }
    if not described:
        del fields["description"]
    if job.missing == "absent":
        fields = {name: value for name, value in fields.items() if value is not None}
    fields.update(job.extra)
    return fields


_LOG_EVERY = 15
_LOG_MAX = 500


def tell_logs(job: Job, now: float) -> list[dict]:
    """A log that grows with the job: an entry for the start, one every 15 seconds, and one for the end."""
    if job.logs is not None:
        return job.logs
    if not job.started(now):
        return []

    until = min(now, job.ends_at) if job.ends_at is not None else now
    batches = min(int((until - job.starts_at) // _LOG_EVERY), _LOG_MAX)
    lines = [(job.starts_at, "Indexing started", 0)]
    lines += [(job.starts_at + n * _LOG_EVERY, f"Batch {n} indexed", 0) for n in range(1, batches + 1)]
    if job.ended(now):
        lines.append((job.ends_at, f"Indexing ended: {job.end_reason or 'completed'}", 1 if job.end_reason else 0))
    return [
        {"id": n, "created_at": t if job.times == "fraction" else int(t), "message": message, "message_type": kind}
        for n, (t, message, kind) in enumerate(lines, 1)
    ]
