"""The API itself: from a request to a response, without a network."""

import dataclasses
import json

from . import jobs, lists, refusals, routes
from .instances import Instance
from .limit import Limits
from .oddities import Oddity
from .refusals import Refused
from .routes import Forms, Route
from .world import Account, World

BASE = "/client/v4"


@dataclasses.dataclass
class Answer:
    status: int
    body: bytes
    headers: list[tuple[str, str]] = dataclasses.field(default_factory=list)


class Api:
    def __init__(self, world: World, base: str = BASE) -> None:
        self._world = world
        self._base = base
        self.limits = Limits()
        self.behave()

    def behave(self) -> None:
        """Restores the documented behavior of everything that can be changed."""
        self.refusal = "401"  # of an unknown credential
        self.forms = Forms()
        self.oddity = Oddity()
        self.limits.fixed_headers = []

    def refuse_with(self, form: str) -> None:
        """Sets how an unknown credential is rejected."""
        refusals.refusal(form)
        self.refusal = form

    def answer(self, method: str, target: str, headers: list[tuple[str, str]]) -> Answer:
        path, _, query = target.partition("?")
        path = path[len(self._base):] if path.startswith(self._base) else ""
        now = self._world.clock.monotonic()
        verdict, others = None, []
        try:
            route = self._route(method, path)
            account = self._authenticate(route.account, headers)
            verdict = self.limits.take(account.user, now)
            if verdict is not None and not verdict.allowed:
                raise Refused(refusals.TOO_MANY)
            status, envelope = 200, self._look_up(account, route, lists.arguments(query))
        except Refused as refused:
            status, envelope, others = refused.refusal
        if verdict is None:
            verdict = self.limits.look(self._user_in(path), now)
        return Answer(status, _json(self.oddity.spoil(envelope)), self.limits.headers(verdict, others))

    def _user_in(self, path: str) -> str | None:
        """The user who owns the account in the path."""
        account = self._world.accounts.get(routes.account_in(path))
        return account and account.user

    def _route(self, method: str, path: str) -> Route:
        if method not in ("GET", "HEAD"):
            raise Refused("405")
        route = routes.find(path)
        if route is None:
            raise Refused("404_7000")
        self.forms.check(route)
        return route

    def _authenticate(self, account_id: str, headers: list[tuple[str, str]]) -> Account:
        credential = _credential(headers)
        account = self._world.accounts.get(account_id)
        if account is not None and (credential in account.tokens or credential in account.keys):
            return account
        raise Refused("403_10000" if self._world.knows(credential) else self.refusal)

    def _look_up(self, account: Account, route: Route, asked: dict[str, str]) -> dict:
        if route.what == "namespaces":
            found = lists.searched(account.listed_namespaces(), asked, "name")
            return self._list([namespace.tell() for namespace in found], route, asked)
        if route.rag is None and route.namespace is not None and route.namespace not in account.namespaces:
            raise Refused("404_namespace")
        if route.what == "namespace":
            return _envelope(account.namespaces[route.namespace].tell())
        if route.what == "instances":
            if route.namespace is not None:
                asked = {**asked, "namespace": route.namespace}
            found = lists.chosen(account.listed(), asked)
            return self._list(found, route, asked, Instance.tell)
        if route.key not in account.instances:
            raise Refused("404_instance")
        return self._look_into(account.instances[route.key], route, asked)

    def _look_into(self, instance: Instance, route: Route, asked: dict[str, str]) -> dict:
        if route.what == "instance":
            return _envelope(instance.tell())
        if route.what == "stats":
            return _envelope(instance.tell_stats())
        now = self._world.clock.now()
        if route.what == "jobs":
            return self._list(instance.listed(now), route, asked, lambda job: jobs.tell(job, now, instance.described))
        job = instance.find(route.job, now)
        if job is None:
            raise Refused("404_job")
        if route.what == "logs":
            return self._list(jobs.tell_logs(job, now), route, asked)
        return _envelope(jobs.tell(job, now, instance.described))

    def _list(self, items: list, route: Route, asked: dict[str, str], tell=lambda item: item) -> dict:
        page = lists.Page(items, route.what, asked, self.oddity.ignore_page)
        return _envelope([tell(item) for item in page.items], page.info)


def _credential(headers: list[tuple[str, str]]) -> str | tuple[str, str] | None:
    """A token, or an email and key. Exactly one scheme, once: any other combination was mixed up on the way."""
    found: dict[str, str] = {}
    for name, value in headers:
        name = name.lower()
        if name in ("authorization", "x-auth-email", "x-auth-key"):
            if name in found:
                raise Refused("400_6003_6111")
            found[name] = value
    if not found:
        return None
    if "authorization" in found:
        if len(found) > 1:
            raise Refused("400_6003_6111")
        scheme, _, token = found["authorization"].partition(" ")
        return token if scheme.lower() == "bearer" and token else None
    return (found.get("x-auth-email", ""), found.get("x-auth-key", ""))


def _envelope(result: object, info: dict | None = None) -> dict:
    envelope = {"success": True, "errors": [], "messages": [], "result": result}
    if info is not None:
        envelope["result_info"] = info
    return envelope


def _json(value: dict) -> bytes:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode()
