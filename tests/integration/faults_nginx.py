"""Runs nginx against all misbehaving upstreams at once and records how it responds for each."""

import collections
import contextlib
import dataclasses
import pathlib
import re
import threading
import time
from collections.abc import Iterable

import gateway
from behaviours import NEXT_TOKEN, Behaviour, well
from harness import SLOWNESS, net
from harness.clock import Clock
from harness.edge import Certificates
from harness.illness import Upstream
from harness.nginx import Config, Nginx
from harness.simulator import ACCOUNT

# How long nginx caches a failure, in seconds. This is longer than the upstreams misbehave here, and much less than a
# minute, after which idle connections to the API are no longer used and a rejected credential is tried again.
MEMORY = 30

# The state of an entry when its upstream starts to misbehave, and the directives of its location.
STATES = {
    "absent": f"aisearch_valid active {MEMORY}s; aisearch_use_stale error=1h;",
    "fresh": "aisearch_valid active 30d; aisearch_use_stale error=1h;",
    "stale": "aisearch_valid active 0; aisearch_use_stale error=1h;",
    "waiters": f"aisearch_valid active {MEMORY}s; aisearch_use_stale error=1h;",
}

WAITERS = 4

# The number of concurrent lookups before the upstreams misbehave.
AT_ONCE = 20

# The state for an account with two credentials, the first of which is rejected. It is only used for rejections.
SLOTS = "slots"


@dataclasses.dataclass
class Cell:
    behaviour: Behaviour
    state: str
    before: net.Response | None = None  # before the upstream misbehaved
    ill: list[net.Response] = dataclasses.field(default_factory=list)
    again: net.Response | None = None  # a second lookup
    asked: int = 0  # requests that reached the upstream while it misbehaved
    lines: list[str] = dataclasses.field(default_factory=list)  # of the log, about the misbehavior
    closed: net.Response | None = None  # the upstream has recovered, but calls are still suspended
    after: net.Response | None = None
    later: list[str] = dataclasses.field(default_factory=list)  # of the log, after the recovery

    @property
    def name(self) -> str:
        """The name of the account, its location and the job."""
        return f"{self.behaviour.name}_{self.state}"

    @property
    def target(self) -> str:
        return f"/{self.name}/instances/docs/jobs/{self.name}"

    def body(self, version: int) -> bytes:
        return well(self.name, version).encode()

    def cause(self) -> str | None:
        """The cause in the log."""
        return re.search(r"(\w+) fault: ", self.lines[0])[1] if self.lines else None

    def text(self) -> str:
        """The cell of the table."""
        statuses = sorted({str(response.status) for response in self.ill})
        caches = [] if self.state == "waiters" else [self.ill[0].header("X-Aisearch-Cache") or "-"]
        return " ".join([*statuses, *caches, *filter(None, [self.behaviour.name_cause(self.cause())])])


def states(behaviour: Behaviour) -> list[str]:
    return [*STATES, SLOTS] if behaviour.illness.spares else list(STATES)


def run(tmp: pathlib.Path, certificates: Certificates, behaviours: list[Behaviour]) -> dict[tuple[str, str], Cell]:
    cells = [Cell(behaviour, state) for behaviour in behaviours for state in states(behaviour)]
    clock = Clock(tmp)
    with contextlib.ExitStack() as stack:
        upstreams = {b.name: stack.enter_context(Upstream(b.illness, certificates, well)) for b in behaviours}
        server = stack.enter_context(Nginx(tmp, _config(tmp, cells, upstreams, certificates), [clock.library],
                                           env=clock.env))
        _warm(server, [cell for cell in cells if cell.state in ("fresh", "stale")])
        _fall_ill(server, cells, upstreams)
        _recover(server, cells, upstreams, clock)
    return {(cell.behaviour.name, cell.state): cell for cell in cells}


def _config(tmp: pathlib.Path, cells: list[Cell], upstreams: dict[str, Upstream], certificates: Certificates) -> Config:
    http = ["aisearch_shared_zone zone=aisearch:16m;",
            f"aisearch_valid not_found {MEMORY}s; aisearch_valid error {MEMORY}s;"]
    server = ["keepalive_requests 1000000;", gateway.WORKERS]
    for cell in cells:
        # accounts with the same credential share a budget; a behavior that suspends calls needs its own credential
        name = cell.name if cell.behaviour.closes else "common"
        token = _token(tmp, name, f"token-of-{name}")
        # another host name, so that the fetch of a stale entry does not share an HTTP/2 connection with a failing one
        slots = [token, _token(tmp, "next", NEXT_TOKEN)] if cell.state == SLOTS else [token]
        files = " ".join(f"token_file {file};" for file in slots)
        host = "localhost" if cell.behaviour.illness.tls and cell.state == "stale" else "127.0.0.1"
        http.append(f"aisearch_account {cell.name} {{ account_id {ACCOUNT}; {files} retries 1; "
                    f"api_url {upstreams[cell.behaviour.name].url(host)}; trusted_certificate {certificates.ca_file}; "
                    f"timeout {int(cell.behaviour.timeout * SLOWNESS * 1000)}ms; budget 1000000 1s; }}")
        server.append(f"location /{cell.name}/ {{ aisearch_pass {cell.name}; {STATES.get(cell.state, STATES['absent'])} "
                      f"aisearch_valid not_found {MEMORY}s; aisearch_valid error {MEMORY}s; }}")
    return Config(http="\n".join(http), server="\n".join(server), workers=2)


def _token(tmp: pathlib.Path, name: str, text: str) -> pathlib.Path:
    path = tmp / f"{name}.token"
    path.write_text(text + "\n")
    path.chmod(0o600)
    return path


def _get(server: Nginx, cells: Iterable[Cell]) -> list[net.Response]:
    return net.concurrent_gets(server.address, [cell.target for cell in cells], timeout=20)


def _warm(server: Nginx, cells: list[Cell]) -> None:
    def all_cached() -> bool:
        cold = [cell for cell in cells if cell.before is None or cell.before.status != 200]
        for first in range(0, len(cold), AT_ONCE):  # a busy machine is too slow for all handshakes at once
            few = cold[first:first + AT_ONCE]
            for cell, cell.before in zip(few, _get(server, few)):
                pass
        return all(cell.before.status == 200 for cell in cold)

    net.wait_until(all_cached, 60, "valid responses of all upstreams", every=0.5)


def _fall_ill(server: Nginx, cells: list[Cell], upstreams: dict[str, Upstream]) -> None:
    """Observes the misbehavior. Where possible, upstreams do not respond until all clients of an entry are waiting."""
    begin = len(server.error_log())
    for upstream in upstreams.values():
        upstream.heads.clear()
        upstream.fall_ill()
    time.sleep(1.1)  # libcurl 8.23 assumes that a connection that was used within the last second is still open
    held = [cell for cell in cells if cell.state == "waiters" and can_be_held(cell.behaviour)]
    _ask(server, [cell for cell in cells if cell not in held])

    for cell in held:
        upstreams[cell.behaviour.name].hold()
    asking = threading.Thread(target=_ask, args=(server, held))
    asking.start()
    try:
        gateway.wait_for_requests(server, WAITERS * len(held))
    finally:
        for upstream in upstreams.values():
            upstream.release()
        asking.join()

    for cell, cell.again in zip(cells, _get(server, cells)):
        pass
    lines = _lines(server, begin)
    for cell in cells:
        cell.lines = lines[cell.name]
        cell.asked = sum(f"/{cell.name}" in head for head in upstreams[cell.behaviour.name].heads)


def can_be_held(behaviour: Behaviour) -> bool:
    return not behaviour.stalls and behaviour.illness.listens == "yes"


def _ask(server: Nginx, cells: list[Cell]) -> None:
    times = {cell.name: WAITERS if cell.state == "waiters" else 1 for cell in cells}
    asked = [cell for cell in cells for _ in range(times[cell.name])]
    for cell, response in zip(asked, _get(server, asked)):
        cell.ill.append(response)


def _recover(server: Nginx, cells: list[Cell], upstreams: dict[str, Upstream], clock: Clock) -> None:
    """Observes each recovery as soon as the failure is no longer cached or the upstream accepts calls again."""
    begin = len(server.error_log())
    for upstream in upstreams.values():
        upstream.recover()
    passed = 0
    for patience in sorted({MEMORY, *(cell.behaviour.patience for cell in cells if cell.behaviour.patience > MEMORY)}):
        clock.advance(patience + 1 - passed)
        passed = patience + 1
        pending = [cell for cell in cells if cell.after is None]
        for few in ([cell for cell in pending if cell.behaviour.stalls], [cell for cell in pending if not cell.behaviour.stalls]):
            for cell, response in zip(few, _get(server, few)):
                if cell.behaviour.patience > patience:
                    cell.closed = response
                else:
                    cell.after = response
        # while a failure is cached, a stale response is served once more and refreshed in the background
        stale = [cell for cell in cells if cell.after is not None and _is_stale(cell.after)]
        with contextlib.suppress(AssertionError):  # the checks will fail
            net.wait_until(lambda: _renewed(server, stale), 5, every=0.1)
    lines = _lines(server, begin)
    for cell in cells:
        cell.later = lines[cell.name]


def _renewed(server: Nginx, cells: list[Cell]) -> bool:
    for cell, cell.after in zip(cells, _get(server, cells)):
        pass
    return not any(_is_stale(cell.after) for cell in cells)


def _is_stale(response: net.Response) -> bool:
    return response.header("X-Aisearch-Cache") == "STALE"


def _lines(server: Nginx, begin: int) -> dict[str, list[str]]:
    """The lines of the error log by account, except for notices and for events that are no faults."""
    lines = collections.defaultdict(list)
    for line in server.error_log()[begin:].splitlines():
        account = re.search(r'aisearch account "(\w+)"', line)
        if account and "[notice]" not in line and ("[info]" not in line or " fault: " in line):
            lines[account[1]].append(line)
    return lines
