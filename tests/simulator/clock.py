"""The clock that jobs run on: real time, unless a test freezes, sets, advances or speeds it up."""

import time


class Clock:
    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        self._speed = 1.0
        self._frozen = False
        self._now = time.time()  # at the time of self._then
        self._monotonic = self._then = time.monotonic()

    def _elapsed(self) -> float:
        return (time.monotonic() - self._then) * self._speed

    def _settle(self) -> None:
        """Makes the current time of both clocks the new starting point."""
        self._now, self._monotonic, self._then = self.now(), self.monotonic(), time.monotonic()

    def now(self) -> float:
        """Seconds since the epoch."""
        return self._now if self._frozen else self._now + self._elapsed()

    def monotonic(self) -> float:
        """For intervals such as the rate limit's: affected by advance() and run(), but not by freeze() and set()."""
        return self._monotonic + self._elapsed()

    def set(self, now: float) -> None:
        self._settle()
        self._now = now

    def advance(self, seconds: float) -> None:
        if seconds < 0:
            raise ValueError("a clock advances; use set to go back")
        self._settle()
        self._now += seconds
        self._monotonic += seconds

    def freeze(self) -> None:
        self._settle()
        self._frozen = True

    def thaw(self) -> None:
        """Continues from the time at which it was frozen."""
        self._settle()
        self._frozen = False

    def run(self, speed: float) -> None:
        """From now on the clocks run faster by this factor."""
        if speed <= 0:
            raise ValueError("a clock runs forward")
        self._settle()
        self._speed = speed

    def describe(self) -> dict:
        return {"now": self.now(), "frozen": self._frozen, "speed": self._speed}
