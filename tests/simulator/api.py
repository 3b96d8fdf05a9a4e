"""The API itself: from a request to an answer, without any network."""

import dataclasses
import email.utils
import json
import re
import time
from urllib.parse import parse_qsl

from . import jobs
from .limit import RateLimit, Verdict
from .world import AUTORAG, DEFAULT_NAMESPACE, Account, Instance, World

BASE = "/client/v4"
PER_PAGE_DEFAULT = 20
PER_PAGE_MAX = 50
INSTANCES_PER_PAGE_MAX = 100

# Source for codes and messages: the API's reference. It names no code for a bad request or an unknown route; those are
# ours.
AUTHENTICATION = (401, 10000, "Authentication error")
FOREIGN_ACCOUNT = (403, 10000, "Authentication error")
INSTANCE_NOT_FOUND = (404, 7002, "ai_search_not_found")
JOB_NOT_FOUND = (404, 7021, "job_not_found")
NAMESPACE_NOT_FOUND = (404, 7063, "namespace_not_found")
NO_ROUTE = (404, 7000, "No route for that URI")
READ_ONLY = (405, 10405, "Method not allowed")
BAD_HEADERS = (400, 6003, "Invalid request headers")
BAD_PAGE = (400, 7400, "page must be an integer, 1 or greater")
BAD_PER_PAGE = (400, 7400, "per_page is not an integer, or out of range")
TOO_MANY = (429, 10429, "Too Many Requests")

_ROUTE = re.compile(
    r"/accounts/(?P<account>[^/]+)"
    r"/(?:(?P<listing>ai-search/(?:namespaces/(?P<listed>[^/]+)/)?instances)"
    r"|(?:ai-search/(?:namespaces/(?P<namespace>[^/]+)/)?instances/(?P<instance>[^/]+)|autorag/rags/(?P<rag>[^/]+))"
    r"/jobs(?:/(?P<job>[^/]+)(?P<logs>/logs)?)?)"
)


@dataclasses.dataclass
class Answer:
    status: int
    body: bytes
    headers: list[tuple[str, str]] = dataclasses.field(default_factory=list)


class Refused(Exception):
    def __init__(self, what: tuple[int, int, str]) -> None:
        super().__init__(what)
        self.status, self.code, self.message = what


class Api:
    def __init__(self, world: World, base: str = BASE) -> None:
        self._world = world
        self._base = base
        self._limits: dict[str, RateLimit] = {}
        self.set_limit(1200, 300)

    def set_limit(self, calls: int | None, seconds: float = 300) -> None:
        """For each user: so many calls in any interval of so many seconds; None: no limit. Starts anew."""
        self._calls, self._seconds = calls, seconds
        self._limits.clear()

    def answer(self, method: str, target: str, headers: list[tuple[str, str]]) -> Answer:
        limit_headers: list[tuple[str, str]] = []
        try:
            if method not in ("GET", "HEAD"):
                raise Refused(READ_ONLY)
            path, _, query = target.partition("?")
            route = _ROUTE.fullmatch(path[len(self._base):]) if path.startswith(self._base) else None
            if route is None:
                raise Refused(NO_ROUTE)
            account = self._authenticate(route["account"], headers)
            self._count(account, limit_headers)
            return Answer(200, _json(self._look_up(account, route, query)), limit_headers)
        except Refused as refused:
            error = {"code": refused.code, "message": refused.message}
            body = {"success": False, "errors": [error], "messages": [], "result": None}
            if refused.status == 405:
                limit_headers.append(("Allow", "GET, HEAD"))
            return Answer(refused.status, _json(body), limit_headers)

    def _authenticate(self, account_id: str, headers: list[tuple[str, str]]) -> Account:
        credential = _credential(headers)
        account = self._world.accounts.get(account_id)
        if account is not None and (credential in account.tokens or credential in account.keys):
            return account
        raise Refused(FOREIGN_ACCOUNT if self._world.knows(credential) else AUTHENTICATION)

    def _count(self, account: Account, headers: list[tuple[str, str]]) -> None:
        if self._calls is None:
            return
        if account.user not in self._limits:
            self._limits[account.user] = RateLimit(self._calls, self._seconds)
        verdict = self._limits[account.user].take(self._world.clock.monotonic())
        headers += _limit_headers(verdict)
        if not verdict.allowed:
            raise Refused(TOO_MANY)

    def _look_up(self, account: Account, route: re.Match, query: str) -> dict:
        if route["listing"]:
            page = _Page(_list_instances(account, route["listed"]), query, INSTANCES_PER_PAGE_MAX)
            return _envelope([instance.tell() for instance in page.items], page.info)
        instance = _find_instance(account, route)
        now = self._world.clock.now()
        if route["job"] is None:
            page = _Page(instance.listed(now), query)
            return _envelope([jobs.tell(job, now, instance.described) for job in page.items], page.info)
        job = instance.find(route["job"], now)
        if job is None:
            raise Refused(JOB_NOT_FOUND)
        if route["logs"]:
            page = _Page(jobs.tell_logs(job, now), query)
            return _envelope(page.items, page.info)
        return _envelope(jobs.tell(job, now, instance.described))


def _list_instances(account: Account, namespace: str | None) -> list[Instance]:
    """Those of a namespace, or of all of them; an AutoRAG is not one."""
    if namespace is not None and namespace not in account.namespaces:
        raise Refused(NAMESPACE_NOT_FOUND)
    return [instance for instance in account.listed()
            if instance.namespace is not AUTORAG and namespace in (None, instance.namespace)]


def _find_instance(account: Account, route: re.Match) -> Instance:
    if route["rag"]:
        key = (AUTORAG, route["rag"])
    else:
        key = (route["namespace"] or DEFAULT_NAMESPACE, route["instance"])
        if key[0] not in account.namespaces:
            raise Refused(NAMESPACE_NOT_FOUND)
    if key not in account.instances:
        raise Refused(INSTANCE_NOT_FOUND)
    return account.instances[key]


def _credential(headers: list[tuple[str, str]]) -> str | tuple[str, str] | None:
    """A token, or email and key. One scheme, once: what else arrives was mixed up on the way."""
    found: dict[str, str] = {}
    for name, value in headers:
        name = name.lower()
        if name in ("authorization", "x-auth-email", "x-auth-key"):
            if name in found:
                raise Refused(BAD_HEADERS)
            found[name] = value
    if not found:
        return None
    if "authorization" in found:
        if len(found) > 1:
            raise Refused(BAD_HEADERS)
        scheme, _, token = found["authorization"].partition(" ")
        return token if scheme.lower() == "bearer" and token else None
    return (found.get("x-auth-email", ""), found.get("x-auth-key", ""))


class _Page:
    """One page of many items: a page past the end is empty, not an error."""

    def __init__(self, items: list, query: str, per_page_max: int = PER_PAGE_MAX) -> None:
        arguments = dict(parse_qsl(query, keep_blank_values=True))
        page = _integer(arguments.get("page"), 1, BAD_PAGE)
        per_page = _integer(arguments.get("per_page"), PER_PAGE_DEFAULT, BAD_PER_PAGE)
        if page < 1:
            raise Refused(BAD_PAGE)
        if per_page > per_page_max:
            raise Refused(BAD_PER_PAGE)
        self.items = items[(page - 1) * per_page:page * per_page]
        self.info = {"count": len(self.items), "page": page, "per_page": per_page, "total_count": len(items)}


def _integer(text: str | None, default: int, refusal: tuple[int, int, str]) -> int:
    if text is None:
        return default
    if not re.fullmatch(r"[0-9]{1,9}", text):
        raise Refused(refusal)
    return int(text)


def _envelope(result: object, info: dict | None = None) -> dict:
    envelope = {"success": True, "errors": [], "messages": [], "result": result}
    if info is not None:
        envelope["result_info"] = info
    return envelope


def _limit_headers(verdict: Verdict) -> list[tuple[str, str]]:
    # The date is of real time, which the clients live in, whatever the jobs' clock says.
    headers = [
        ("x-ratelimit-limit", str(verdict.limit)),
        ("x-ratelimit-remaining", str(verdict.remaining)),
        ("x-ratelimit-reset", email.utils.formatdate(time.time() + verdict.reset, usegmt=True)),
    ]
    if not verdict.allowed:
        headers.append(("Retry-After", str(verdict.retry_after)))
    return headers


def _json(value: dict) -> bytes:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode()
