"""Clients that wait or stream during all kinds of faults: none sees a state twice or an older one, and none is lost."""

import contextlib
import json
import os
import signal
import threading
import time

import pytest

from gateway import WORKERS, account
from harness import SLOWNESS, net
from harness.events import Stream
from harness.nginx import Daemon, InBackground

STATUS = "location = /aisearch_status { aisearch_status; }"
SERVER = "location /client/v4/ { aisearch_pass docs; aisearch_events on; aisearch_wait 5s; }" + WORKERS + STATUS
VALID = "aisearch_valid active 1s; aisearch_valid error 200ms;"
JOB = "/client/v4/instances/docs/jobs/a"
EACH = 100  # clients of each kind
WAIT = 3  # seconds
PROMPT = 3 * SLOWNESS  # seconds after the end of a fault until all clients have the newest state


class Watcher(threading.Thread):
    """A client that reconnects with the last state it knows, and records each state that it receives."""

    def __init__(self, server, stopped: int) -> None:
        super().__init__(daemon=True)
        self.server = server
        self.stopped = stopped
        self.over = threading.Event()
        self.states: list[tuple[int, str]] = []
        self.wrong: list[str] = []

    def run(self) -> None:
        while not self.over.is_set():
            try:
                self.watch()
            except (OSError, TimeoutError):
                time.sleep(0.05)  # the connection was closed, or nobody listens for a moment
            except AssertionError as error:
                self.wrong.append(str(error))

    def note(self, body: str | bytes) -> None:
        job = json.loads(body)["result"]
        state = int(job["description"]), job["last_seen_at"]
        if self.states and state <= self.states[-1]:
            self.wrong.append(f"{state} after {self.states[-1]}")
        self.states.append(state)


class Streaming(Watcher):
    last_id = ""

    def watch(self) -> None:
        with Stream(self.server.address, JOB, [("Last-Event-ID", self.last_id)], timeout=30) as stream:
            if stream.status != 200:
                self.wrong.append(f"status {stream.status}")
                time.sleep(0.1)
                return
            while not self.over.is_set():
                with contextlib.suppress(TimeoutError):
                    event = stream.next(0.3)
                    if event is None:
                        return
                    if event.type == "message":
                        self.note(event.data)
                        self.last_id = event.id


class Waiting(Watcher):
    etag: str | None = None

    def watch(self) -> None:
        headers = [("Prefer", f"wait={WAIT}")] + ([("If-None-Match", self.etag)] if self.etag else [])
        began = time.monotonic()
        response = net.request(self.server.address, JOB, headers, timeout=20)
        took = time.monotonic() - began
        if took > WAIT + self.stopped + 2 * SLOWNESS:
            self.wrong.append(f"waited {took:.1f} s")
        if response.status == 200:
            if self.etag is None and self.states:
                self.wrong.append("no tag was sent")
            self.note(response.body)
            self.etag = response.header("ETag")
        elif response.status != 304:
            time.sleep(0.1)  # an error response


def http(simulator, **account_parts):
    return account(simulator, "budget 100000 1s;", **account_parts) + VALID


class Watched:
    """A running job whose description is a counter, and all of its watchers."""

    def __init__(self, server, simulator, stopped=0) -> None:
        """stopped: the number of seconds for which a worker may be stopped; its clients wait that much longer."""
        self.server = server
        self.simulator = simulator
        self.count = 0
        self.change()
        self.watchers = [kind(self.server, stopped) for kind in (Streaming, Waiting) for _ in range(EACH)]

    def __enter__(self) -> "Watched":
        self.server.get(JOB)
        for watcher in self.watchers:
            if isinstance(watcher, Waiting):
                watcher.etag = '"none"'
            watcher.start()
        self.all_know(10 * SLOWNESS)
        return self

    def __exit__(self, *_exc) -> None:
        for watcher in self.watchers:
            watcher.over.set()
        for watcher in self.watchers:
            watcher.join(30)

    def change(self) -> None:
        self.count += 1
        self.simulator.job("instances/docs", "a", state="running", description=str(self.count))

    def all_know(self, seconds: float) -> None:
        """Waits until all watchers have the newest state."""
        def missing():
            return [w for w in self.watchers if not w.states or w.states[-1][0] != self.count]

        net.wait_until(lambda: not missing(), seconds / SLOWNESS, f"all of {len(self.watchers)} to know", every=0.05)

    def check(self) -> None:
        """After a fault, a change reaches all watchers, and none has seen anything wrong."""
        self.change()
        self.all_know(PROMPT)
        wrong = [what for watcher in self.watchers for what in watcher.wrong]
        assert not wrong, f"{len(wrong)}: {wrong[:5]}"


def test_the_api_is_down(nginx, simulator):
    with Watched(nginx(http=http(simulator), server=SERVER, workers=2), simulator) as watched:
        fault = simulator.fault(status=503)
        watched.change()
        time.sleep(4)
        simulator.clear_fault(fault)
        watched.check()


def test_the_api_is_rate_limited(nginx, simulator):
    with Watched(nginx(http=http(simulator), server=SERVER, workers=2), simulator) as watched:
        simulator.fault(status=429, headers=[["Retry-After", "2"]], times=1)
        watched.change()
        time.sleep(3)
        watched.check()


def test_the_credential_is_rejected(nginx, simulator, tmp):
    """The API rejects the credential until nginx has another one."""
    token = tmp / "token"
    token.write_text(simulator.token)
    token.chmod(0o600)
    mine = http(simulator, credential=f"token_file {token};")
    with Watched(nginx(http=mine, server=SERVER, workers=2), simulator) as watched:
        watched.server.allow_log("rejects the credential")
        simulator.account(tokens=["another"])
        watched.change()
        time.sleep(3)
        token.write_text("another")
        watched.server.reload()
        watched.check()


def test_the_entry_is_evicted(nginx, simulator):
    simulator.instance("instances/docs", [{"id": f"x{n}", "state": "succeeded"} for n in range(6000)])
    small = http(simulator) + "aisearch_shared_zone zone=aisearch:1m;"
    with Watched(nginx(http=small, server=SERVER, workers=2), simulator) as watched:
        for n in range(6000):
            watched.server.get(f"/client/v4/instances/docs/jobs/x{n}")
        watched.check()


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGSTOP])
def test_a_worker_dies_or_hangs(nginx, simulator, how):
    server = nginx(http=http(simulator), server=SERVER, workers=2)
    with Watched(server, simulator, stopped=5) as watched:
        for pid in watched.server.workers():
            if how == signal.SIGKILL:
                watched.server.kill_worker(pid)
                time.sleep(1)
            else:
                os.kill(pid, how)
                watched.change()
                time.sleep(5)
                os.kill(pid, signal.SIGCONT)
            watched.check()


def test_the_fetching_worker_is_killed(nginx, simulator):
    with Watched(nginx(http=http(simulator), server=SERVER, workers=2), simulator) as watched:
        fault = simulator.fault(delay=1.5, times=1)
        net.wait_until(lambda: simulator.fault_hits(fault), 5, "a refresh")
        for pid in watched.server.workers()[:1]:
            watched.server.kill_worker(pid)
        watched.check()


def test_reloads(nginx, simulator):
    with Watched(nginx(http=http(simulator), server=SERVER, workers=2), simulator) as watched:
        for _ in range(3):
            watched.server.reload()
            watched.check()


def test_a_zone_of_another_size(nginx, simulator):
    with Watched(nginx(http=http(simulator), server=SERVER, workers=2), simulator) as watched:
        watched.server.config.http = http(simulator) + "aisearch_shared_zone zone=aisearch:2m;"
        watched.server.reload(watched.server.config)
        watched.check()


def test_binary_upgrade(tmp, simulator):
    keep = "".join(f"env {name};\n" for name in ("LD_PRELOAD", "ASAN_OPTIONS", "UBSAN_OPTIONS"))
    config = InBackground(http=http(simulator), server=SERVER, main=keep, workers=2)
    with Daemon(tmp, config) as server, Watched(server, simulator) as watched:
        old = server.upgrade()
        net.wait_until(lambda: len(server.workers()) == 2, what="the new workers")
        os.kill(old, signal.SIGQUIT)
        net.wait_until(lambda: not net.alive(old), PROMPT, "the old processes to exit")
        watched.check()
