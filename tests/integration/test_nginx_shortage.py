"""
Memory shortage in a worker: every allocation of a cold lookup, of a hit and of a wait fails once, alone and together
with all that follow. No worker dies, no lease remains, nothing leaks, and the next lookup works.
"""

import fcntl
import struct
import termios

import pytest

from harness import PRELOAD, VALGRIND, net, temp_dir
from harness.nginx import Nginx
from harness.shortage import Kind, Library, Shortage, sweep

from gateway import WORKERS, account, held, stopped

pytestmark = pytest.mark.skipif(VALGRIND, reason="valgrind replaces malloc")

JOBS = 2500

# A sanitizer replaces malloc, so that only the module's own allocations can be made to fail.
KINDS = [Kind.MODULE] if PRELOAD else [Kind.MODULE, Kind.ANYBODY]

ways = pytest.mark.parametrize("lasts", [False, True], ids=["once", "lasting"])
kinds = pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name.lower())


class Place:
    """nginx with a worker that runs out of memory, and jobs that nobody has requested yet."""

    def __init__(self, nginx: Nginx, shortage: Shortage) -> None:
        self.nginx = nginx
        self.shortage = shortage
        self.cache = ""  # the X-Aisearch-Cache of the last response
        self._next = 0

    def new_job(self) -> str:
        self._next += 1
        return f"j{self._next}"

    def path(self, job: str) -> str:
        return f"/jobs/instances/docs/jobs/{job}"

    def ask(self, job: str) -> int | None:
        """On its own connection; see answer()."""
        try:
            return self.check(self.nginx.get(self.path(job), timeout=5), job)
        except ConnectionError:
            return None

    def connect(self, pid: int) -> net.Connection:
        """Connects to this worker: the others are stopped so that it accepts the connection."""
        with stopped(other for other in self.nginx.workers() if other != pid):
            connection = net.Connection(self.nginx.socket, 5)
            assert connection.request("/pid").body == str(pid).encode()
        return connection

    def send(self, connection: net.Connection, pid: int, job: str) -> None:
        """Returns once the worker has read the request and is waiting for something."""
        connection.send(net.format_request(self.path(job)))
        net.wait_until(lambda: unread(connection) == 0 and sleeps(pid), what="the worker to read a request", every=0.001)

    def answer(self, connection: net.Connection, job: str) -> int | None:
        """The status of the response, which must be complete; None if the connection was closed instead."""
        try:
            return self.check(connection.read_response(), job)
        except ConnectionError:
            return None

    def works(self, job: str) -> None:
        """A lookup works at once: neither a lease nor a failure remains."""
        response = self.nginx.get(self.path(job), timeout=1)
        assert self.check(response, job) == 200, response


    def check(self, response: net.Response, job: str) -> int:
        """The response is either the job or a complete error."""
        self.cache = response.header("X-Aisearch-Cache", "")
        if response.status == 200:
            assert response.json()["result"]["id"] == job
        elif response.header("Content-Type") == "application/json":
            assert response.json()["success"] is False
        return response.status


def unread(connection: net.Connection) -> int:
    """The number of bytes that the peer of a Unix socket has not read yet."""
    return struct.unpack("i", fcntl.ioctl(connection.sock, termios.TIOCOUTQ, b"\0" * 4))[0]


def sleeps(pid: int) -> bool:
    with open(f"/proc/{pid}/stat", encoding="latin-1") as file:
        return file.read().rpartition(")")[2].split()[0] == "S"


def acceptable(status: int | None, kind: Kind) -> bool:
    """nginx itself closes the connection if it has no memory for an error response."""
    return status in (200, 500, 502, 503) or (status is None and kind is Kind.ANYBODY)


@pytest.fixture(scope="module")
def library():
    with temp_dir() as path:
        yield Library(path)


@pytest.fixture(scope="module")
def module(library):
    return library.module()


@pytest.fixture
def place(tmp, nginx, simulator, library, module):
    simulator.instance("instances/docs", [{"id": f"j{n}", "state": "succeeded"} for n in range(1, JOBS)])
    shortage = Shortage(tmp)

    def start(kind: Kind, workers: int = 1) -> Place:
        # If libcurl has no memory in the middle of a header, it reports the same error as for a header that is too
        # long. This counts as a failure of the API, which would be cached for the next two seconds.
        valid = "aisearch_valid error 0;" if kind is Kind.ANYBODY else ""
        server = nginx(aisearch=False, modules=(module,), preload=[library.preload], env=shortage.env,
                       workers=workers, http=account(simulator, "budget 1000000 1s;", "retries 0;"),
                       server=f"location /jobs/ {{ aisearch_pass docs; {valid} }}" + WORKERS)
        server.allow_log("memory|allocate|alloc")
        shortage.watch(server.workers()[0])
        return Place(server, shortage)

    return start


def torture(place: Place, kind: Kind, lasts: bool, look_up) -> int:
    """
    look_up(begin) looks up a job and calls begin(); each allocation from then on fails in turn. This is repeated,
    because the first round may leave memory behind for good, such as a cache, but later ones may not. Returns the
    number of allocations.
    """
    workers = place.nginx.workers()
    blocks, counts = [], []

    for _ in range(4):
        counts.append(sweep(place.shortage, kind, lasts, look_up))
        blocks.append(place.shortage.live)
        if len(blocks) > 1 and blocks[-1] <= blocks[-2]:
            break

    print(f"{counts} allocations, {blocks} blocks")
    assert blocks[-1] <= blocks[-2], "each round leaks blocks"
    assert place.nginx.workers() == workers, "a worker has died"
    return min(counts)


@ways
@kinds
def test_cold(place, kind, lasts):
    here = place(kind)
    here.works(here.new_job())

    def look_up(begin):
        job = here.new_job()
        begin()
        status = here.ask(job)
        here.shortage.stop()
        assert acceptable(status, kind), status
        cache = here.cache
        here.works(job)
        return cache

    assert look_up(lambda: None) == "MISS"
    assert torture(here, kind, lasts, look_up) >= 3


@ways
@kinds
def test_hit(place, kind, lasts):
    here = place(kind)
    job = here.new_job()
    here.works(job)

    def look_up(begin):
        begin()
        status = here.ask(job)
        here.shortage.stop()
        assert acceptable(status, kind), status
        cache = here.cache
        here.works(job)
        return cache

    assert look_up(lambda: None) == "HIT"
    assert torture(here, kind, lasts, look_up) >= 2


@ways
@kinds
@pytest.mark.parametrize("workers", [1, 2], ids=["same_worker", "other_worker"])
def test_wait(place, simulator, kind, lasts, workers):
    """Two clients request the same job; the second one waits, and its worker has no memory."""
    here = place(kind, workers)
    short, leading = here.nginx.workers()[0], here.nginx.workers()[-1]

    def look_up(begin):
        job = here.new_job()
        with here.connect(leading) as leader, here.connect(short) as follower:
            with held(simulator):
                here.send(leader, leading, job)
                begin()
                here.send(follower, short, job)
            statuses = [here.answer(connection, job) for connection in (leader, follower)]
        here.shortage.stop()
        assert all(acceptable(status, kind) for status in statuses), statuses
        assert statuses[0] == 200 or workers == 1, "the other worker has memory"
        cache = here.cache
        here.works(job)
        return cache

    assert look_up(lambda: None) == "COALESCED"
    assert torture(here, kind, lasts, look_up) >= 3
