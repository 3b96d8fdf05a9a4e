"""The time the jobs live on: real time, unless a test freezes, sets or advances it."""

import time


class Clock:
    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        self._offset = 0.0
        self._advanced = 0.0
        self._frozen: float | None = None

    def now(self) -> float:
        """Seconds since the epoch."""
        if self._frozen is not None:
            return self._frozen
        return time.time() + self._offset

    def monotonic(self) -> float:
        """For intervals, such as the rate limit's: it advances, but is neither frozen nor set."""
        return time.monotonic() + self._advanced

    def set(self, now: float) -> None:
        if self._frozen is not None:
            self._frozen = now
        else:
            self._offset = now - time.time()

    def advance(self, seconds: float) -> None:
        if seconds < 0:
            raise ValueError("a clock advances; use set to go back")
        self._advanced += seconds
        self.set(self.now() + seconds)

    def freeze(self) -> None:
        self._frozen = self.now()

    def thaw(self) -> None:
        """Goes on from where it stood."""
        if self._frozen is not None:
            self._offset = self._frozen - time.time()
            self._frozen = None

    def describe(self) -> dict:
        return {"now": self.now(), "frozen": self._frozen is not None}
