"""Deliberate faults: which requests they affect, and what these get instead of a proper response."""

import base64
import dataclasses
import json
import re

from .refusals import refusal

_STEPS = {"send", "send_b64", "sleep", "repeat", "close", "reset", "answer"}


@dataclasses.dataclass
class Fault:
    id: int
    path: re.Pattern
    times: int | None = None  # None: no limit
    reused: bool | None = None  # only on a connection that carried a request before (False: only on a new one)
    delay: float = 0.0  # seconds before the headers
    body_delay: float = 0.0  # seconds between headers and body
    status: int | None = None  # a response instead of the API's
    headers: list = dataclasses.field(default_factory=list)
    body: bytes = b""
    script: list | None = None  # raw bytes instead of a response
    hits: int = 0

    def befalls(self, target: str, reused: bool) -> bool:
        if self.times is not None and self.hits >= self.times:
            return False
        if self.reused is not None and self.reused != reused:
            return False
        return self.path.search(target) is not None

    def describe(self) -> dict:
        return {"id": self.id, "path": self.path.pattern, "times": self.times, "hits": self.hits}


def _refusing(form: str) -> dict:
    status, body, headers = refusal(form)
    return {"status": status, "headers": headers, "body": json.dumps(body)}


class Faults:
    """Faults in the order in which they were set; the first that matches a request applies."""

    def __init__(self) -> None:
        self._faults: list[Fault] = []
        self._next_id = 1

    def add(self, order: dict) -> Fault:
        """
        {"path": REGEX to search for in path and query, or "prefix": TEXT they begin with,
         "times", "reused", "delay", "body_delay", "status", "headers": [[name, value]], "body" or "body_b64",
         "refusal": NAME of one in refusals.py, instead of status, headers and body,
         "script": [{"send": TEXT} | {"send_b64": BASE64} | {"sleep": SECONDS}
                    | {"repeat": COUNT or null, "every": SECONDS, "send" or "send_b64": ...}
                    | {"close": true} | {"reset": true} | {"answer": true}]}

        A script that neither closes nor resets the connection leaves it to the next request. "answer" ends a script
        with the API's own response.
        """
        fields = {**_refusing(order["refusal"]), **order} if "refusal" in order else dict(order)
        fields.pop("refusal", None)
        if "prefix" in fields:
            fields["path"] = "^" + re.escape(fields.pop("prefix"))
        if "body_b64" in fields:
            fields["body"] = base64.b64decode(fields.pop("body_b64"))
        elif "body" in fields:
            fields["body"] = fields["body"].encode()
        for step in fields.get("script") or []:
            if not _STEPS & set(step):
                raise ValueError(f"a step is one of {', '.join(sorted(_STEPS))}")
        fields["path"] = re.compile(fields.get("path", ""))
        fault = Fault(id=self._next_id, **fields)
        self._next_id += 1
        self._faults.append(fault)
        return fault

    def remove(self, fault_id: int) -> None:
        self._faults = [fault for fault in self._faults if fault.id != fault_id]

    def clear(self) -> None:
        self._faults.clear()

    def take(self, target: str, reused: bool) -> Fault | None:
        for fault in self._faults:
            if fault.befalls(target, reused):
                fault.hits += 1
                return fault
        return None

    def describe(self) -> list[dict]:
        return [fault.describe() for fault in self._faults]
