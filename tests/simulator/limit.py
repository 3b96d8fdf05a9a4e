"""
The API's rate limit: a number of calls in any interval, where one call too many blocks all calls for a whole interval.
Also the headers that describe it in each response, in the new form (RFC 9651) or the old one.
"""

import collections
import dataclasses
import email.utils
import math
import time

Headers = list[tuple[str, str]]


@dataclasses.dataclass
class Verdict:
    allowed: bool
    limit: int
    seconds: float  # length of the interval
    remaining: int
    reset: float  # seconds until a call is available again, or all calls


class RateLimit:
    def __init__(self, calls: int, seconds: float) -> None:
        self.calls = calls
        self.seconds = seconds
        self._seen: collections.deque[float] = collections.deque()
        self._closed_until = -math.inf

    def take(self, now: float) -> Verdict:
        """Counts one call at now, on a monotonic clock."""
        self._forget(now)
        if now >= self._closed_until and len(self._seen) >= self.calls:
            self._closed_until = now + self.seconds
            self._seen.clear()
        allowed = now >= self._closed_until
        if allowed:
            self._seen.append(now)
        return self._verdict(now, allowed)

    def look(self, now: float) -> Verdict:
        """Returns the state of the limit without counting a call."""
        self._forget(now)
        return self._verdict(now, True)

    def _forget(self, now: float) -> None:
        while self._seen and self._seen[0] <= now - self.seconds:
            self._seen.popleft()

    def _verdict(self, now: float, allowed: bool) -> Verdict:
        if now < self._closed_until:
            remaining, reset = 0, self._closed_until - now
        else:
            remaining = self.calls - len(self._seen)
            reset = self._seen[0] + self.seconds - now if self._seen else self.seconds
        return Verdict(allowed, self.calls, self.seconds, remaining, reset)


def _whole(seconds: float) -> int:
    """Rounded up, except for rounding errors."""
    return math.ceil(round(seconds, 3))


def _new_headers(verdict: Verdict) -> Headers:
    return [("Ratelimit", f'"default";r={verdict.remaining};t={_whole(verdict.reset)}'),
            ("Ratelimit-Policy", f'"default";q={verdict.limit};w={_whole(verdict.seconds)}')]


def _old_headers(verdict: Verdict) -> Headers:
    # The date is in real time, which the clients use, no matter how the jobs' clock is set.
    return [("x-ratelimit-limit", str(verdict.limit)),
            ("x-ratelimit-remaining", str(verdict.remaining)),
            ("x-ratelimit-reset", email.utils.formatdate(time.time() + verdict.reset, usegmt=True))]


HEADER_FORMS = {"new": [_new_headers], "old": [_old_headers], "both": [_new_headers, _old_headers], "none": []}


class Limits:
    """One limit per user."""

    def __init__(self) -> None:
        self.fixed_headers: Headers = []
        self.set(1200)

    def set(self, calls: int | None, seconds: float = 300, headers: str = "new") -> None:
        """
        Sets the limit for each user: calls in any interval of that many seconds; None: no limit. Nothing is spent.
        """
        if headers not in HEADER_FORMS:
            raise ValueError(f"headers is one of {', '.join(HEADER_FORMS)}")
        self._calls, self._seconds, self._tell = calls, seconds, HEADER_FORMS[headers]
        self._users: dict[str, RateLimit] = {}

    def take(self, user: str, now: float) -> Verdict | None:
        """Counts one call. Returns None if there is no limit."""
        if self._calls is None:
            return None
        if user not in self._users:
            self._users[user] = RateLimit(self._calls, self._seconds)
        return self._users[user].take(now)

    def look(self, user: str | None, now: float) -> Verdict | None:
        """Returns the state of the limit for the user, or for a new one. Returns None if there is no limit."""
        if self._calls is None:
            return None
        return self._users.get(user, RateLimit(self._calls, self._seconds)).look(now)

    def headers(self, verdict: Verdict | None, others: Headers) -> Headers:
        """
        Returns the headers of a response: those about the limit, replaced by others of the response, replaced by the
        fixed ones.
        """
        told: Headers = []
        if verdict is not None:
            told = [header for form in self._tell for header in form(verdict)]
            if not verdict.allowed:
                told.append(("Retry-After", str(_whole(verdict.reset))))
        return _lay_over(_lay_over(told, others), self.fixed_headers)


def _lay_over(headers: Headers, others: Headers) -> Headers:
    """Others replace headers with the same names."""
    names = {name.lower() for name, _ in others}
    return [(name, value) for name, value in headers if name.lower() not in names] + list(others)
