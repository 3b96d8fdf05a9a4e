"""Maps a path to the resource, in all three generations."""

import dataclasses
import re

from . import refusals
from .instances import AUTORAG, DEFAULT_NAMESPACE
from .refusals import Refused

_NAMESPACE = r"ai-search/namespaces/(?P<namespace>[^/]+)"
_INSTANCES = rf"(?:ai-search|{_NAMESPACE})/instances"
_INSTANCE = rf"{_INSTANCES}/(?P<instance>[^/]+)"
_WITH_JOBS = rf"(?:{_INSTANCE}|autorag/rags/(?P<rag>[^/]+))"

_RESOURCES = {
    "job": rf"{_WITH_JOBS}/jobs/(?P<job>[^/]+)",
    "jobs": rf"{_WITH_JOBS}/jobs",
    "logs": rf"{_WITH_JOBS}/jobs/(?P<job>[^/]+)/logs",
    "instance": _INSTANCE,
    "stats": rf"{_INSTANCE}/stats",
    "instances": _INSTANCES,
    "namespaces": r"ai-search/namespaces",
    "namespace": _NAMESPACE,
}
_PATTERNS = {what: re.compile(rf"/accounts/(?P<account>[^/]+)/{pattern}") for what, pattern in _RESOURCES.items()}
_ACCOUNT = re.compile(r"/accounts/([^/]+)(?:/|$)")


@dataclasses.dataclass
class Route:
    what: str  # one of _RESOURCES
    account: str
    namespace: str | None = None  # as in the path
    instance: str | None = None
    rag: str | None = None
    job: str | None = None

    @property
    def key(self) -> tuple[str | None, str]:
        """The key of the instance: a plain one is in the namespace "default"."""
        return (AUTORAG, self.rag) if self.rag else (self.namespace or DEFAULT_NAMESPACE, self.instance)


def find(path: str) -> Route | None:
    """The path does not include the base."""
    for what, pattern in _PATTERNS.items():
        match = pattern.fullmatch(path)
        if match is not None:
            return Route(what, **match.groupdict())
    return None


def account_in(path: str) -> str | None:
    """Returns the account in the path, even if it is unknown."""
    match = _ACCOUNT.match(path)
    return match[1] if match else None


@dataclasses.dataclass(frozen=True)
class Forms:
    """Defines which of the two path forms of AI Search exist, and the response for the other one."""

    plain: bool = True
    namespaced: bool = True
    refusal: str = "400_7003"

    def __post_init__(self) -> None:
        refusals.refusal(self.refusal)

    def check(self, route: Route) -> None:
        if route.rag is not None:
            return
        known = self.plain if route.namespace is None and route.what != "namespaces" else self.namespaced
        if not known:
            raise Refused(self.refusal)
