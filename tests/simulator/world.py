"""All that exists: accounts with their credentials, namespaces and instances, and their jobs."""

import zlib

from .clock import Clock
from .instances import AUTORAG, DEFAULT_NAMESPACE, Instance, Namespace, instance_key, instance_name


class Account:
    def __init__(self, account_id: str, now: float) -> None:
        self.id = account_id
        self.user = account_id  # the owner of the rate limit
        self.tokens: set[str] = set()
        self.keys: set[tuple[str, str]] = set()
        self.namespaces = {DEFAULT_NAMESPACE: Namespace(DEFAULT_NAMESPACE, now)}
        self.instances: dict[tuple[str | None, str], Instance] = {}
        self._listed: list[Instance] | None = None

    def namespace(self, name: str, now: float) -> Namespace:
        """Returns the namespace with that name and creates it if needed."""
        if name not in self.namespaces:
            self.namespaces[name] = Namespace(name, now)
        return self.namespaces[name]

    def instance(self, name: str, now: float) -> Instance:
        """Returns the instance with that name and creates it and its namespace if needed."""
        key = instance_key(name)
        if key not in self.instances:
            if key[0] is not AUTORAG:
                self.namespace(key[0], now)
            self.instances[key] = Instance(key, now)
            self._listed = None
        return self.instances[key]

    def remove(self, name: str) -> None:
        self.instances.pop(instance_key(name), None)
        self._listed = None

    def remove_namespace(self, name: str) -> None:
        """Also removes its instances."""
        self.namespaces.pop(name, None)
        self.instances = {key: instance for key, instance in self.instances.items() if key[0] != name}
        self._listed = None

    def census(self, now: float, since: float) -> dict[str, dict[str, int]]:
        """Returns the number of jobs in each state, by instance; ended jobs count only if they ended since then."""
        return {instance_name(key): instance.census(now, since) for key, instance in self.instances.items()}

    def listed(self) -> list[Instance]:
        """Like jobs, in an arbitrary order; without AutoRAG instances."""
        if self._listed is None:
            self._listed = sorted((one for one in self.instances.values() if one.namespace is not AUTORAG),
                                  key=lambda one: (zlib.crc32(one.id.encode()), one.id, one.namespace))
        return self._listed

    def listed_namespaces(self) -> list[Namespace]:
        """Namespaces, also in an arbitrary order."""
        return sorted(self.namespaces.values(), key=lambda one: (zlib.crc32(one.name.encode()), one.name))


class World:
    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.accounts: dict[str, Account] = {}

    def account(self, account_id: str) -> Account:
        """Returns the account with that id and creates it if needed."""
        if account_id not in self.accounts:
            self.accounts[account_id] = Account(account_id, self.clock.now())
        return self.accounts[account_id]

    def knows(self, credential: object) -> bool:
        """Whether any account has the credential."""
        return any(credential in a.tokens or credential in a.keys for a in self.accounts.values())

    def apply(self, order: dict) -> None:
        """
        {"accounts": [{"id", "user", "tokens": [], "keys": [[email, key]],
                       "namespaces": ["NAME" or {"name", "description"}],
                       "instances": [{"name": "instances/ID", "replace": bool, "jobs": [{...}], "remove": [id],
                                      "start": {"id", ...}, "type", "source", "sync_interval", "enable", "paused",
                                      "status", "last_activity", "stats", "extra"}],
                       "remove_instances": ["instances/ID"], "remove_namespaces": ["NAME"]}]}

        Adds and changes. New credentials replace the previous ones; jobs are merged by id, unless "replace" is set,
        which removes the others. "start" adds a job that runs from now on and ends the running one.
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
        for part in order.get("namespaces", []):
            self._apply_namespace(account, {"name": part} if isinstance(part, str) else part)
        for part in order.get("instances", []):
            self._apply_instance(account.instance(part["name"], self.clock.now()), part)
        for name in order.get("remove_instances", []):
            account.remove(name)
        for name in order.get("remove_namespaces", []):
            account.remove_namespace(name)

    def _apply_namespace(self, account: Account, order: dict) -> None:
        unknown = set(order) - {"name", "description"}
        if unknown:
            raise ValueError(f"unknown field of a namespace: {', '.join(sorted(unknown))}")
        namespace = account.namespace(order["name"], self.clock.now())
        namespace.description = order.get("description", namespace.description)

    def _apply_instance(self, instance: Instance, order: dict) -> None:
        now = self.clock.now()
        instance.change(order, now)
        if order.get("replace"):
            instance.jobs.clear()
        for job in order.get("jobs", []):
            instance.put(job, now)
        for job_id in order.get("remove", []):
            instance.remove(job_id)
        if "start" in order:
            instance.start(order["start"], now)
