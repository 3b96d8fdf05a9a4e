"""What exists: accounts with their credentials, their instances, and the jobs of these."""

import math
import re
import zlib

from . import jobs
from .clock import Clock

_INSTANCE = re.compile(r"(?:namespaces/([^/]+)/)?instances/([^/]+)|rags/([^/]+)")

_CHANGEABLE = {"status", "paused", "extra"}

# The longest page of jobs.
_PAGE = 50

DEFAULT_NAMESPACE = "default"
AUTORAG = None  # in the place of a namespace


def instance_key(name: str) -> tuple[str | None, str]:
    """
    (namespace, id) of "instances/ID", "namespaces/NAME/instances/ID" or "rags/ID". A plain instance is one of the
    namespace "default".
    """
    match = _INSTANCE.fullmatch(name)
    if match is None:
        raise ValueError(f'not an instance: "{name}"; write instances/ID, namespaces/NAME/instances/ID or rags/ID')
    namespace, plain, rag = match.groups()
    return (AUTORAG, rag) if rag else (namespace or DEFAULT_NAMESPACE, plain)


def instance_name(key: tuple[str | None, str]) -> str:
    """The shortest name for that."""
    namespace, name = key
    if namespace is AUTORAG:
        return f"rags/{name}"
    return f"instances/{name}" if namespace == DEFAULT_NAMESPACE else f"namespaces/{namespace}/instances/{name}"


class Instance:
    def __init__(self, key: tuple[str | None, str], now: float) -> None:
        self.namespace, self.id = key
        self.described = self.namespace is not AUTORAG
        self.created_at = self.modified_at = now
        self.status = "ready"
        self.paused = False
        self.extra: dict = {}  # laid over the answer, right or wrong
        self.jobs: dict[str, jobs.Job] = {}
        self._listed: list[jobs.Job] | None = None

    def change(self, order: dict, now: float) -> None:
        unknown = set(order) - _CHANGEABLE - {"name", "replace", "jobs", "remove"}
        if unknown:
            raise ValueError(f"unknown field of an instance: {', '.join(sorted(unknown))}")
        for name in _CHANGEABLE & set(order):
            setattr(self, name, order[name])
            self.modified_at = now

    def tell(self) -> dict:
        """As an element of a list of instances."""
        return {
            "id": self.id,
            "created_at": jobs.rfc3339(self.created_at),
            "modified_at": jobs.rfc3339(self.modified_at),
            "status": self.status,
            "paused": self.paused,
            "namespace": self.namespace,
            **self.extra,
        }

    def put(self, order: dict, now: float) -> None:
        """Makes a job, or changes the one with this id."""
        if not isinstance(order.get("id"), str):
            raise ValueError("a job needs an id")
        job = self.jobs.get(order["id"]) or jobs.Job(order["id"])
        jobs.apply(job, order, now)
        self.jobs[job.id] = job
        self._listed = None

    def remove(self, job_id: str) -> None:
        self.jobs.pop(job_id, None)
        self._listed = None

    def find(self, job_id: str, now: float) -> jobs.Job | None:
        job = self.jobs.get(job_id)
        return job if job is not None and job.exists(now) else None

    def listed(self, now: float) -> list[jobs.Job]:
        """
        In an order that means nothing, though always the same one: the API promises none. But where it takes more than
        one page, the newest are on the first.
        """
        if self._listed is None:
            self._listed = sorted(self.jobs.values(), key=lambda job: (zlib.crc32(job.id.encode()), job.id))
        listed = [job for job in self._listed if job.exists(now)]
        return listed if len(listed) <= _PAGE else _newest_pages_first(listed)

    def census(self, now: float, since: float) -> dict[str, int]:
        counts = dict.fromkeys(jobs.STATES, 0)
        for job in self.listed(now):
            if not job.ended(now) or job.ends_at > since:
                counts[jobs.state(job, now)] += 1
        return counts


def _newest_pages_first(listed: list[jobs.Job]) -> list[jobs.Job]:
    newest = sorted(listed, key=lambda job: -math.inf if job.starts_at is None else -job.starts_at)
    place = {job.id: n // _PAGE for n, job in enumerate(newest)}
    return sorted(listed, key=lambda job: place[job.id])


class Account:
    def __init__(self, account_id: str) -> None:
        self.id = account_id
        self.user = account_id  # whose rate limit it is
        self.tokens: set[str] = set()
        self.keys: set[tuple[str, str]] = set()
        self.namespaces = {DEFAULT_NAMESPACE}
        self.instances: dict[tuple[str | None, str], Instance] = {}
        self._listed: list[Instance] | None = None

    def instance(self, name: str, now: float) -> Instance:
        """The instance of that name, made if there is none."""
        key = instance_key(name)
        if key not in self.instances:
            self.instances[key] = Instance(key, now)
            self._listed = None
            if key[0] is not AUTORAG:
                self.namespaces.add(key[0])
        return self.instances[key]

    def remove(self, name: str) -> None:
        self.instances.pop(instance_key(name), None)
        self._listed = None

    def census(self, now: float, since: float) -> dict[str, dict[str, int]]:
        """How many jobs are in each state, by instance; of those that have ended only what did so since then."""
        return {instance_name(key): instance.census(now, since) for key, instance in self.instances.items()}

    def listed(self) -> list[Instance]:
        """As jobs are, in an order that means nothing."""
        if self._listed is None:
            self._listed = sorted(self.instances.values(),
                                  key=lambda instance: (zlib.crc32(instance.id.encode()), instance.id,
                                                        str(instance.namespace)))
        return self._listed


class World:
    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.accounts: dict[str, Account] = {}

    def account(self, account_id: str) -> Account:
        """The account of that id, made if there is none."""
        return self.accounts.setdefault(account_id, Account(account_id))

    def knows(self, credential: object) -> bool:
        """Whether the credential is anybody's."""
        return any(credential in a.tokens or credential in a.keys for a in self.accounts.values())

    def apply(self, order: dict) -> None:
        """
        {"accounts": [{"id", "user", "tokens": [], "keys": [[email, key]], "namespaces": [],
                       "instances": [{"name": "instances/ID", "replace": bool, "jobs": [{...}], "remove": [id],
                                      "status", "paused", "extra"}],
                       "remove_instances": ["instances/ID"]}]}

        Adds and changes. Credentials that are given replace those before; jobs are merged by id, unless "replace" says
        to drop the others.
        """
        for part in order.get("accounts", []):
            self._apply_account(part)

    def _apply_account(self, order: dict) -> None:
        account = self.account(order["id"])
        account.user = order.get("user", account.user)
        if "tokens" in order:
            account.tokens = set(order["tokens"])
        if "keys" in order:
            account.keys = {(email, key) for email, key in order["keys"]}
        account.namespaces.update(order.get("namespaces", []))
        for part in order.get("instances", []):
            self._apply_instance(account.instance(part["name"], self.clock.now()), part)
        for name in order.get("remove_instances", []):
            account.remove(name)

    def _apply_instance(self, instance: Instance, order: dict) -> None:
        now = self.clock.now()
        instance.change(order, now)
        if order.get("replace"):
            instance.jobs.clear()
        for job in order.get("jobs", []):
            instance.put(job, now)
        for job_id in order.get("remove", []):
            instance.remove(job_id)
