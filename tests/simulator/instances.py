"""Instances, with their settings, items and jobs; and namespaces, which contain instances."""

import math
import re
import zlib

from . import jobs

_NAME = re.compile(r"(?:namespaces/([^/]+)/)?instances/([^/]+)|rags/([^/]+)")
_NAMESPACE = re.compile(r"[a-z0-9]([a-z0-9-]{0,26}[a-z0-9])?")

DEFAULT_NAMESPACE = "default"
AUTORAG = None  # used instead of a namespace

# The source of the items, by type. None is built-in storage, which indexes files as they arrive and has no sync jobs.
SOURCES = {"r2": "bucket", "web-crawler": "example.org", None: None}

SYNC_INTERVALS = (900, 1800, 3600, 7200, 14400, 21600, 43200, 86400)
COUNTS = ("queued", "running", "completed", "error", "skipped", "outdated")  # number of items in each state

_CHANGEABLE = {"type", "source", "sync_interval", "enable", "paused", "status", "last_activity", "stats", "extra"}
_ORDERS = {"name", "replace", "jobs", "remove", "start"}

# The largest page of jobs.
_PAGE = 50


def instance_key(name: str) -> tuple[str | None, str]:
    """
    Returns (namespace, id) for "instances/ID", "namespaces/NAME/instances/ID" or "rags/ID". A plain instance is in the
    namespace "default".
    """
    match = _NAME.fullmatch(name)
    if match is None:
        raise ValueError(f'not an instance: "{name}"; write instances/ID, namespaces/NAME/instances/ID or rags/ID')
    namespace, plain, rag = match.groups()
    return (AUTORAG, rag) if rag else (namespace or DEFAULT_NAMESPACE, plain)


def instance_name(key: tuple[str | None, str]) -> str:
    """The shortest name for a key."""
    namespace, name = key
    if namespace is AUTORAG:
        return f"rags/{name}"
    return f"instances/{name}" if namespace == DEFAULT_NAMESPACE else f"namespaces/{namespace}/instances/{name}"


class Namespace:
    def __init__(self, name: str, now: float) -> None:
        if not _NAMESPACE.fullmatch(name):
            raise ValueError(f'not a namespace: "{name}"; it matches {_NAMESPACE.pattern}')
        self.name = name
        self.created_at = now
        self.description: str | None = None

    def tell(self) -> dict:
        return {"name": self.name, "created_at": jobs.rfc3339(self.created_at), "description": self.description}


class Instance:
    def __init__(self, key: tuple[str | None, str], now: float) -> None:
        self.namespace, self.id = key
        self.described = self.namespace is not AUTORAG
        self.created_at = self.modified_at = now
        self.type: str | None = "r2"
        self.source: str | None = SOURCES["r2"]
        self.sync_interval = 21600
        self.enable = True
        self.paused = False
        self.status = "waiting"
        self.last_activity: str | None = None
        self.stats: dict | None = None  # None: generated, with nothing indexed
        self.extra: dict = {}  # replaces fields of the response, whether valid or not
        self.jobs: dict[str, jobs.Job] = {}
        self._listed: list[jobs.Job] | None = None

    def change(self, order: dict, now: float) -> None:
        """Applies any setting that World.apply() accepts. A type without a source gets its usual one."""
        unknown = set(order) - _CHANGEABLE - _ORDERS
        if unknown:
            raise ValueError(f"unknown field of an instance: {', '.join(sorted(unknown))}")
        if order.get("type") not in SOURCES:
            raise ValueError(f"type is one of {', '.join(map(str, SOURCES))}")
        if order.get("sync_interval", SYNC_INTERVALS[0]) not in SYNC_INTERVALS:
            raise ValueError(f"sync_interval is one of {', '.join(map(str, SYNC_INTERVALS))}")
        if "type" in order:
            order = {"source": SOURCES[order["type"]], **order}
        for name in _CHANGEABLE & set(order):
            setattr(self, name, order[name])
            self.modified_at = now

    def tell(self) -> dict:
        """The instance on its own, or as an element of a list."""
        return {
            "id": self.id,
            "namespace": self.namespace,
            "created_at": jobs.rfc3339(self.created_at),
            "modified_at": jobs.rfc3339(self.modified_at),
            "type": self.type,
            "source": self.source,
            "sync_interval": self.sync_interval,
            "enable": self.enable,
            "paused": self.paused,
            "status": self.status,
            "last_activity": self.last_activity,
            **self.extra,
        }

    def tell_stats(self) -> dict:
        """The stats of the items."""
        if self.stats is not None:
            return self.stats
        return {
            **dict.fromkeys(COUNTS, 0),
            "last_activity": self.last_activity or jobs.rfc3339(self.created_at),
            "file_embed_errors": {},
            "index_source_errors": {},
        }

    def put(self, order: dict, now: float) -> None:
        """Adds a job, or changes the one with this id."""
        if not isinstance(order.get("id"), str):
            raise ValueError("a job needs an id")
        job = self.jobs.get(order["id"]) or jobs.Job(order["id"])
        jobs.apply(job, order, now)
        self.jobs[job.id] = job
        self._listed = None

    def start(self, order: dict, now: float) -> None:
        """Adds a job that runs from now on. This ends a running job."""
        running = [job for job in self.jobs.values() if jobs.state(job, now) == "running"]
        self.put({"starts_in": 0, "ends_in": None, "end_reason": None, **order}, now)
        for job in running:
            if job.id != order["id"]:
                jobs.apply(job, {"ends_in": 0, "end_reason": jobs.SUPERSEDED}, now)

    def remove(self, job_id: str) -> None:
        self.jobs.pop(job_id, None)
        self._listed = None

    def find(self, job_id: str, now: float) -> jobs.Job | None:
        job = self.jobs.get(job_id)
        return job if job is not None and job.exists(now) else None

    def listed(self, now: float) -> list[jobs.Job]:
        """
        In an arbitrary but repeatable order, since the API promises none. But if there are several pages, the newest
        jobs are on the first.
        """
        if self._listed is None:
            self._listed = sorted(self.jobs.values(), key=lambda job: (zlib.crc32(job.id.encode()), job.id))
        listed = [job for job in self._listed if job.exists(now)]
        return listed if len(listed) <= _PAGE else _newest_pages_first(listed)

    def census(self, now: float, since: float) -> dict[str, int]:
        counts = dict.fromkeys(jobs.COUNTED, 0)
        for job in self.listed(now):
            if not job.ended(now) or job.ends_at > since:
                counts[jobs.state(job, now)] += 1
        return counts


def _newest_pages_first(listed: list[jobs.Job]) -> list[jobs.Job]:
    newest = sorted(listed, key=lambda job: -math.inf if job.starts_at is None else -job.starts_at)
    place = {job.id: n // _PAGE for n, job in enumerate(newest)}
    return sorted(listed, key=lambda job: place[job.id])
