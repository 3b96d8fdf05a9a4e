"""Lists: their query arguments, pages, and the filters for instances and namespaces."""

import re
from urllib.parse import parse_qsl

from .instances import Instance
from .refusals import Refused, bad_query

PER_PAGE_DEFAULT = 20
PER_PAGE = {"jobs": (0, 50), "logs": (0, 500), "instances": (1, 100), "namespaces": (1, 100)}  # minimum and maximum

_ORDER_BY = ("created_at",)
_DIRECTIONS = ("asc", "desc")


def arguments(query: str) -> dict[str, str]:
    return dict(parse_qsl(query, keep_blank_values=True))


class Page:
    """One page of a list: a page past the end is empty, not an error."""

    def __init__(self, items: list, what: str, asked: dict[str, str], ignore_page: bool) -> None:
        page = 1 if ignore_page else _integer(asked, "page", 1, 1, None)
        per_page = _integer(asked, "per_page", PER_PAGE_DEFAULT, *PER_PAGE[what])
        self.items = items[(page - 1) * per_page:page * per_page]
        self.info = {"count": len(self.items), "page": page, "per_page": per_page, "total_count": len(items)}


def _integer(asked: dict[str, str], name: str, default: int, least: int, most: int | None) -> int:
    text = asked.get(name)
    if text is None:
        return default
    if not re.fullmatch(r"[0-9]{1,9}", text) or int(text) < least or (most is not None and int(text) > most):
        raise Refused(bad_query(name))
    return int(text)


def searched(items: list, asked: dict[str, str], name: str) -> list:
    """The items whose id or name (the attribute) contains the search term."""
    text = asked.get("search", "")
    return [item for item in items if text in getattr(item, name)]


def chosen(instances: list[Instance], asked: dict[str, str]) -> list[Instance]:
    """The instances that match the query, in the requested order, or in their own."""
    found = searched(instances, asked, "id")
    if "hostname" in asked:
        found = [instance for instance in found if instance.source == asked["hostname"]]
    if "namespace" in asked:
        found = [instance for instance in found if instance.namespace == asked["namespace"]]
    order_by = _one_of(asked, "order_by", _ORDER_BY)
    direction = _one_of(asked, "order_by_direction", _DIRECTIONS)
    if order_by is None and direction is None:
        return found
    return sorted(found, key=lambda instance: instance.created_at, reverse=direction == "desc")


def _one_of(asked: dict[str, str], name: str, known: tuple[str, ...]) -> str | None:
    if name in asked and asked[name] not in known:
        raise Refused(bad_query(name))
    return asked.get(name)
