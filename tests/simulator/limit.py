"""The API's rate limit: so many calls in any interval; one call more closes it for a whole interval."""

import collections
import dataclasses
import math


@dataclasses.dataclass
class Verdict:
    allowed: bool
    limit: int
    remaining: int
    reset: float  # seconds until there is room again, or all of it
    retry_after: int = 0


class RateLimit:
    def __init__(self, calls: int, seconds: float) -> None:
        self.calls = calls
        self.seconds = seconds
        self._seen: collections.deque[float] = collections.deque()
        self._closed_until = -math.inf

    def take(self, now: float) -> Verdict:
        """Counts one call at now, on a monotonic clock."""
        while self._seen and self._seen[0] <= now - self.seconds:
            self._seen.popleft()
        if now >= self._closed_until and len(self._seen) >= self.calls:
            self._closed_until = now + self.seconds
            self._seen.clear()
        if now < self._closed_until:
            wait = self._closed_until - now
            return Verdict(False, self.calls, 0, wait, math.ceil(wait))
        self._seen.append(now)
        return Verdict(True, self.calls, self.calls - len(self._seen), self._seen[0] + self.seconds - now)
