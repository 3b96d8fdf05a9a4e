"""Faults: nginx's processes fail at any time, the API now and then."""

import contextlib
import os
import pathlib
import random
import shutil
import signal
import threading
import time

from harness import canary, net, stall
from harness.clock import Clock
from harness.nginx import Nginx
from harness.simulator import Simulator

# For this many seconds after a fault, a response may still be an error: because of a fetch in progress, or a cached
# error.
GRACE = 5.0

FAULTS = {
    "500": {"status": 500, "body": "<html>oops</html>"},
    "503": {"status": 503, "body": "{}", "headers": [["Retry-After", "1"]]},
    "502 of a proxy": {"status": 502, "body": "<html>bad gateway</html>"},
    "429": {"status": 429, "body": "{}", "headers": [["Retry-After", "2"]]},
    "redirect": {"status": 302, "headers": [["Location", "http://127.0.0.1:1/"]]},
    "slow": {"delay": 1.0},
    "too slow": {"delay": 10.0},
    "slow body": {"body_delay": 1.0},
    "silent": {"script": stall.no_headers()},
    "slow and endless": {"script": stall.slow_body(0.2)},
    "truncated": {"script": stall.truncated()},
    "reset": {"script": stall.reset_before_headers()},
    "reset in the body": {"script": stall.reset_in_body()},
    "closed": {"script": stall.close_at_once()},
    "bad chunks": {"script": stall.bad_chunks()},
    "no HTTP": {"script": stall.not_http()},
    "no JSON": {"status": 200, "body": "{"},
    "another job": {"status": 200, "body": '{"success":true,"result":{"id":"another","source":"user"}}'},
}


class Tokens:
    """Two files, of which the API accepts one; workers can read them too."""

    def __init__(self, tmp: pathlib.Path, simulator: Simulator) -> None:
        self.files = [tmp / "first.token", tmp / "second.token"]
        self.slot = 0
        self._simulator = simulator
        self._number = 0
        for slot in (1, 0):
            self.renew(slot)
        self.accept(0)

    def renew(self, slot: int) -> None:
        self._number += 1
        new = self.files[slot].with_suffix(".new")
        new.touch(mode=0o600)
        new.write_text(canary.secret(f"{slot}-{self._number}") + "\n")
        if os.geteuid() == 0:
            shutil.chown(new, "nobody", "nogroup")
        new.rename(self.files[slot])

    def accept(self, *slots: int) -> None:
        self._simulator.account(tokens=[self.files[slot].read_text().strip() for slot in slots], keys=[])


class Trouble:
    """run() causes it until stop(); the other methods report it."""

    def __init__(self, rng: random.Random, nginx: Nginx, simulator: Simulator, tokens: Tokens,
                 clock: Clock) -> None:
        self.kills = 0  # by SIGKILL
        self.burst = threading.Event()  # clients request uncached resources as fast as they can
        self._rng = rng
        self._nginx = nginx
        self._simulator = simulator
        self._tokens = tokens
        self._clock = clock
        self._stopping = threading.Event()
        self._log: list[tuple[float, str]] = []
        self._killed: list[float] = []
        self._faults: list[tuple[float, float]] = []  # begin, end; the last one may be in progress

    def stop(self) -> None:
        self._stopping.set()

    def run(self, between) -> None:
        """Calls between() in quiet phases."""
        while not self._stopping.is_set():
            self._calm(self._rng.uniform(5, 8))
            self._halt()
            between()
            self._fault(self._rng.uniform(1, 3))
            self._pause(GRACE)

    def excuses(self, began: float, ended: float) -> bool:
        """Whether there was a fault at this time or shortly before."""
        return any(since < ended and began < until + GRACE for since, until in self._faults)

    def killed(self, began: float, ended: float) -> bool:
        return any(began < when < ended for when in self._killed)

    def told(self, last: int = 15) -> list[str]:
        return [f"{time.strftime('%H:%M:%S', time.localtime(when))} {what}" for when, what in self._log[-last:]]

    def _say(self, what: str) -> None:
        self._log.append((time.time(), what))

    def _pause(self, seconds: float) -> None:
        self._stopping.wait(seconds)

    # Faults of nginx. No client may notice them, except clients of a killed worker.

    def _calm(self, seconds: float) -> None:
        until = time.monotonic() + seconds
        moves = [self._reload, self._kill, self._kill, self._terminate, self._halt, self._set_clock, self._rotate,
                 self._follow]
        while time.monotonic() < until and not self._stopping.is_set():
            self._rng.choice(moves)()
            self._pause(self._rng.uniform(0.2, 2))

    def _reload(self) -> None:
        self._say("reload")
        self._nginx.reload()

    def _worker(self) -> int:
        return self._rng.choice(self._nginx.workers())

    def _replaced(self, pid: int) -> None:
        net.wait_until(lambda: pid not in (workers := self._nginx.workers())
                       and len(workers) >= self._nginx.config.workers, 10, "a new worker")

    def _kill(self) -> None:
        self._end_worker(signal.SIGKILL)
        self.kills += 1

    def _terminate(self) -> None:
        self._end_worker(signal.SIGTERM)

    def _end_worker(self, signum: int) -> None:
        pid = self._worker()
        self._say(f"{signal.Signals(signum).name} to worker {pid}")
        self._killed.append(time.time())
        os.kill(pid, signum)
        self._replaced(pid)
        self._killed.append(time.time())

    def _halt(self) -> None:
        """
        With fetches in progress. After a pause longer than a lease, other workers have newer data when it continues.
        """
        pid, seconds = self._worker(), self._rng.choice([0.2, 1, 2.5, 2.5, 2.5])
        slow = self._simulator.fault("/jobs", delay=0.25)
        self._pause(0.25)
        self._say(f"worker {pid} stands still for {seconds} s")
        os.kill(pid, signal.SIGSTOP)
        self._simulator.clear_fault(slow)
        self._pause(seconds)
        os.kill(pid, signal.SIGCONT)

    def _set_clock(self) -> None:
        """Changes the wall clock of all nginx processes by minutes, and restores it later."""
        seconds = self._rng.choice([0, self._rng.uniform(-600, 600)])
        self._say(f"the clock is {seconds:+.0f} s ahead")
        self._clock.set_wall(seconds)

    def _rotate(self) -> None:
        """Like an operator: writes the next token to the other file, reloads, and then revokes the old token."""
        self._turn("a reload", self._nginx.reload)

    def _follow(self) -> None:
        """Without a reload: the workers check the files."""
        if os.geteuid() == 0:
            self._turn("ten seconds", lambda: self._pause(11))

    def _turn(self, how: str, take_up) -> None:
        slot = 1 - self._tokens.slot
        self._say(f"rotation to slot {slot}, by {how}")
        self._tokens.renew(slot)
        self._tokens.accept(0, 1)
        take_up()
        if not self._stopping.is_set():
            self._tokens.accept(slot)
            self._tokens.slot = slot
            self._say(f"only slot {slot} is accepted")

    # Faults of the API. Clients may get errors if there is no cached response.

    def _fault(self, seconds: float) -> None:
        name = self._rng.choice([*FAULTS, "no connections", "halted", "burst", "burst"])
        times = self._rng.choice([1, 5, None])
        self._say(f"fault: {name}, {times or 'any number of'} times, {seconds:.1f} s")
        began = time.time()
        self._faults.append((began, began + 3600))
        lasts = 0.0
        try:
            if name == "burst":
                self.burst.set()
                self._pause(seconds)
                lasts = 10.0  # until the budget is available again
            elif name == "no connections":
                self._simulator.drop_connections(reset=True)
            elif name == "halted":
                self._hold(seconds)
            else:
                self._simulator.fault("/jobs", times=times, **FAULTS[name])
                self._pause(seconds)
        finally:
            self.burst.clear()
            self._simulator.clear_faults()
            self._faults[-1] = (began, time.time() + lasts)
            self._say("the fault is over")

    def _hold(self, seconds: float) -> None:
        os.kill(self._simulator.pid, signal.SIGSTOP)
        with contextlib.ExitStack() as stack:
            stack.callback(os.kill, self._simulator.pid, signal.SIGCONT)
            self._pause(seconds)
