"""nginx starts, reloads, is upgraded, loses a worker, runs out of connections and stops, all during lookups."""

import contextlib
import os
import pathlib
import re
import select
import shutil
import signal
import threading
import time
from collections.abc import Iterator

import pytest

from harness import PRELOAD, SLOWNESS, VALGRIND, net, stall
from harness.nginx import MODULE, Config, Daemon, InBackground, Nginx
from harness.simulator import ACCOUNT

JOB = "/docs/instances/docs/jobs/a"

# The maximum time for a worker that has nothing to wait for. Any real delay would be far longer.
PROMPT = 2.5 * SLOWNESS

SERVER = """
    keepalive_requests 1000000;
    location /docs/ { aisearch_pass docs; }
    location = /pid { return 200 $pid; }
"""


def account(simulator, url: str | None = None, options: str = "", token_file: object = None) -> str:
    return (f"aisearch_account docs {{ account_id {ACCOUNT}; token_file {token_file or simulator.token_file};"
            f" api_url {url or simulator.url}; budget 1000000 1s; {options} }}\n")


def config(simulator, *more: str, **parts) -> dict:
    """Returns the configuration of one account, and of a server that uses it."""
    return {"http": account(simulator) + "\n".join(more), "server": SERVER, **parts}


@pytest.fixture(autouse=True)
def jobs(simulator):
    ended = [{"id": f"j{n}", "state": "succeeded"} for n in range(1000)]
    simulator.instance("instances/docs", [{"id": "a"}, *ended])


def cache_status(response: net.Response) -> str | None:
    assert response.status == 200
    return response.header("X-Aisearch-Cache")


def one_connection_to_each_worker(server: Nginx, stack: contextlib.ExitStack) -> dict[int, net.Connection]:
    """A connection to each worker process."""
    found: dict[int, net.Connection] = {}
    for _ in range(1000):
        connection = stack.enter_context(server.connect())
        found.setdefault(int(connection.request("/pid").body), connection)
        if set(found) == set(server.workers()):
            return found
    raise AssertionError("a worker accepts no connections")


def ask(connection: net.Connection, target: str = JOB) -> None:
    """Sends a request without waiting for the response."""
    connection.send(net.format_request(target))


def began_fetching(simulator, count: int = 1) -> None:
    net.wait_until(lambda: simulator.counters()["in_flight"] == count, 5, "a fetch to begin")


@contextlib.contextmanager
def takes(at_most: float, at_least: float = 0.0) -> Iterator[None]:
    began = time.monotonic()
    yield
    elapsed = time.monotonic() - began
    assert at_least <= elapsed <= at_most, f"{elapsed:.2f} s"


# Credentials.


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, like nginx's master")
def test_workers_need_no_access_to_the_credential(simulator, nginx):
    server = nginx(**config(simulator))
    stat = simulator.token_file.stat()
    assert (stat.st_uid, stat.st_mode & 0o777) == (0, 0o600)
    [worker] = server.workers()
    assert re.search(r"^Uid:\s+(\d+)", pathlib.Path(f"/proc/{worker}/status").read_text(), re.MULTILINE)[1] != "0"
    assert server.get(JOB).status == 200


def write_token(path: pathlib.Path, token: str) -> pathlib.Path:
    path.touch(mode=0o600)
    path.write_text(token + "\n")
    return path


def test_reload_reads_the_credential_again(tmp, simulator, nginx):
    path = write_token(tmp / "docs.token", simulator.token)
    server = nginx(http=account(simulator, token_file=path), server=SERVER)
    assert server.get(JOB).status == 200

    simulator.account(tokens=["the-next-one"])
    write_token(path, "the-next-one")
    assert server.get("/docs/instances/docs/jobs/j1").status == 502, "the old workers use the old credential"
    server.reload()
    assert server.get("/docs/instances/docs/jobs/j1").status == 200, "the rejection outlived the credential"
    assert server.get("/docs/instances/docs/jobs/j2").status == 200


@pytest.mark.parametrize("broken", ["missing", "empty", "two lines"])
def test_reload_with_a_broken_credential_changes_nothing(tmp, simulator, nginx, broken):
    path = write_token(tmp / "docs.token", simulator.token)
    server = nginx(http=account(simulator, token_file=path), server=SERVER)
    server.allow_log(r'\[emerg\] .* aisearch_account "docs": token file ')
    before = server.workers()

    if broken == "missing":
        path.unlink()
    else:
        write_token(path, "" if broken == "empty" else f"{simulator.token}\n{simulator.token}")
    server.signal(signal.SIGHUP)
    net.wait_until(lambda: "[emerg]" in server.error_log(), 5, "the error message")
    for n in range(20):
        assert server.get(f"/docs/instances/docs/jobs/j{n}").status == 200
    assert server.workers() == before
    assert simulator.token not in server.error_log()

    write_token(path, simulator.token)
    server.reload()
    assert server.workers() != before
    assert server.get(JOB).status == 200


def test_reload_with_broken_certificates_changes_nothing(tmp, simulator, edge, nginx, certificates):
    ca_file = tmp / "docs.pem"
    ca_file.write_bytes(certificates.ca_file.read_bytes())
    server = nginx(http=account(simulator, edge.url(), f"trusted_certificate {ca_file};"), server=SERVER)
    server.allow_log(r'\[emerg\] .* trusted certificates ".*": the file contains no certificate')
    ca_file.write_text("nothing")
    server.signal(signal.SIGHUP)
    net.wait_until(lambda: "[emerg]" in server.error_log(), 5, "the error message")
    simulator.drop_connections()
    assert server.get(JOB).status == 200, "the workers had read the certificates before"


# The cache across a reload.


def test_reload_keeps_the_cache(simulator, nginx):
    server = nginx(**config(simulator))
    assert cache_status(server.get("/docs/instances/docs/jobs/j1")) == "MISS"
    for _ in range(3):
        server.reload()
        assert cache_status(server.get("/docs/instances/docs/jobs/j1")) == "HIT"
    assert simulator.count() == 1


@pytest.mark.parametrize("change, status", [
    ("aisearch_shared_zone zone=aisearch:8m;", "HIT"),  # the same as before
    ("aisearch_shared_zone zone=aisearch:9m;", "MISS"),
    ("aisearch_shared_zone zone=aisearch:64k;", "MISS"),
    ("aisearch_shared_zone zone=another:8m;", "MISS"),
    ("aisearch_valid ended 0;", "EXPIRED"),
    ("aisearch_valid ended 1h;", "HIT"),
])
def test_reload_with_a_change(simulator, nginx, change, status):
    """A zone of another size starts empty; the new lifetimes apply to cached entries."""
    server = nginx(**config(simulator))
    assert cache_status(server.get("/docs/instances/docs/jobs/j1")) == "MISS"
    server.reload(Config(**config(simulator, change)))
    assert cache_status(server.get("/docs/instances/docs/jobs/j1")) == status
    server.reload()
    assert cache_status(server.get("/docs/instances/docs/jobs/j1")) == ("EXPIRED" if status == "EXPIRED" else "HIT")


def test_reload_after_the_module_was_replaced(tmp, simulator, nginx):
    """nginx continues with the old module, which would go unnoticed without the message."""
    module, new = tmp / "module.so", tmp / "new.so"
    shutil.copy(MODULE, module)
    shutil.copy(MODULE, new)
    server = nginx(**config(simulator), main=f"load_module {module};", aisearch=False)
    server.reload()
    assert "was replaced" not in server.error_log()
    new.replace(module)
    for reloads in (1, 2):
        server.reload()
        assert server.error_log().count(f'the aisearch module in "{module}" was replaced') == reloads
    assert server.get(JOB).status == 200


def test_reload_with_another_api_separates_the_entries(tmp, simulator, nginx):
    server = nginx(**config(simulator))
    assert cache_status(server.get("/docs/instances/docs/jobs/j1")) == "MISS"
    server.reload(Config(http=account(simulator, simulator.unix_url), server=SERVER))
    assert cache_status(server.get("/docs/instances/docs/jobs/j1")) == "MISS"
    server.reload(Config(**config(simulator)))
    assert cache_status(server.get("/docs/instances/docs/jobs/j1")) == "HIT", "the entries of the first API are kept"


def test_smallest_zone(simulator, nginx):
    """It holds few entries, but all requests get a response."""
    server = nginx(**config(simulator, "aisearch_shared_zone zone=aisearch:32k;"))
    with server.connect() as connection:
        for n in range(300):
            assert connection.request(f"/docs/instances/docs/jobs/j{n}").status == 200
        assert cache_status(connection.request("/docs/instances/docs/jobs/j299")) == "HIT"
        simulator.instance("instances/docs", [{"id": "long", "description": "x" * 100000}])
        assert connection.request("/docs/instances/docs/jobs/long").status == 200


def test_accounts_come_and_go(simulator, nginx):
    """From no account to one, to none, and to an unused one; with a lookup whenever there is an account."""
    nothing, unused = Config(server="return 204;"), Config(http=account(simulator))
    server = nginx(server="return 204;")
    for _ in range(2):
        server.reload(Config(**config(simulator)))
        assert server.get(JOB).status == 200
        server.reload(nothing)
        assert server.get(JOB).status == 204
        server.reload(unused)
        assert server.get(JOB).status == 404


def test_module_is_unloaded_and_loaded_again(simulator, edge, nginx, certificates):
    """libcurl and the TLS library may be unloaded with the module, so nothing of them may remain in the master."""
    https = {"http": account(simulator, edge.url(), f"trusted_certificate {certificates.ca_file};"), "server": SERVER}
    server = nginx(**https)
    for _ in range(3):
        assert server.get(JOB).status == 200
        server.reload(Config(aisearch=False, server="return 204;"))
        assert server.get(JOB).status == 204
        server.reload(Config(**https))
    assert server.get(JOB).status == 200


# Shutdown.


def upstreams(simulator, edge, certificates) -> dict[str, tuple[str, str]]:
    """api_url and options, for each route to the API."""
    trust = f"trusted_certificate {certificates.ca_file};"
    return {"HTTP/1.1": (simulator.url, ""), "Unix socket": (simulator.unix_url, ""), "HTTP/2": (edge.url(), trust)}


WAYS = ("HTTP/1.1", "Unix socket", "HTTP/2")


@pytest.mark.parametrize("way", WAYS)
def test_idle_connections_to_the_api_do_not_delay_shutdown(simulator, edge, nginx, certificates, way):
    """They are kept for the next lookup, but not longer than their worker."""
    server = nginx(http=account(simulator, *upstreams(simulator, edge, certificates)[way]), server=SERVER, workers=2)

    def look_up() -> None:
        with contextlib.ExitStack() as stack:
            for connection in one_connection_to_each_worker(server, stack).values():
                job = connection.request("/pid").body.decode()
                simulator.job("instances/docs", job)
                assert connection.request(f"/docs/instances/docs/jobs/{job}").status == 200

    look_up()
    assert simulator.counters()["connections_open"] >= 1
    with takes(PROMPT):
        server.reload()
    look_up()
    with takes(PROMPT):
        server.stop()
    server.check_logs()


@pytest.mark.parametrize("way", WAYS)
def test_worker_that_quits_finishes_its_fetch(simulator, edge, nginx, certificates, way):
    server = nginx(http=account(simulator, *upstreams(simulator, edge, certificates)[way]), server=SERVER)
    simulator.fault("/jobs/a$", delay=1)
    with server.connect() as connection:
        ask(connection)
        began_fetching(simulator)
        with takes(1 + PROMPT, at_least=0.5):
            server.stop()
        assert connection.read_response().status == 200
    assert simulator.count() == 1
    server.check_logs()


def test_worker_that_quits_finishes_waiting_requests(simulator, nginx):
    """One worker fetches, the other waits for the stored response; both have a client."""
    server = nginx(**config(simulator, workers=2))
    simulator.fault("/jobs/a$", delay=1)
    with contextlib.ExitStack() as stack:
        first, second = one_connection_to_each_worker(server, stack).values()
        ask(first)
        began_fetching(simulator)
        ask(second)
        time.sleep(0.2)  # the start of its wait cannot be observed
        server.stop()
        assert {first.read_response().status, second.read_response().status} == {200}
    assert simulator.count() == 1


def test_reload_lets_the_old_worker_finish_for_the_new_one(simulator, nginx):
    server = nginx(**config(simulator))
    simulator.fault("/jobs/a$", delay=1)
    with server.connect() as old:
        ask(old)
        began_fetching(simulator)
        server.reload(wait_old=False)
        assert cache_status(server.get(JOB)) == "COALESCED"
        assert old.read_response().status == 200
    assert simulator.count() == 1


def test_reload_removes_an_account_that_the_old_worker_still_uses(simulator, nginx):
    server = nginx(**config(simulator))
    simulator.fault("/jobs/a$", delay=1)
    with server.connect() as old:
        ask(old)
        began_fetching(simulator)
        server.reload(Config(server="return 204;"), wait_old=False)
        assert server.get(JOB).status == 204
        assert old.read_response().status == 200


def test_worker_that_quits_finishes_a_fetch_without_clients(simulator, nginx):
    """The client has disconnected; the response is for the cache."""
    server = nginx(**config(simulator))
    simulator.fault("/jobs/a$", delay=0.5)
    with server.connect() as connection:
        ask(connection)
        began_fetching(simulator)
    server.reload()
    assert cache_status(server.get(JOB)) == "HIT"
    assert simulator.count() == 1


@pytest.mark.parametrize("way", WAYS)
def test_fast_stop_waits_for_no_lookup(simulator, edge, nginx, certificates, way):
    server = nginx(http=account(simulator, *upstreams(simulator, edge, certificates)[way]), server=SERVER)
    simulator.fault("/jobs/a$", delay=30)
    with server.connect() as connection:
        ask(connection)
        began_fetching(simulator)
        with takes(PROMPT):
            server.stop(signal.SIGTERM)
    server.check_logs()


LONG = "connect_timeout 60s; timeout 60s; retries 10;"


@pytest.mark.parametrize("phase", ["dns", "connect", "tls", "headers", "body", "pause"])
def test_shutdown_timeout_ends_pending_lookups(tmp, simulator, edge, nginx, certificates, phase):
    """worker_shutdown_timeout limits any lookup, whatever it waits for."""
    simulator.fault("-headers$", delay=60)
    simulator.fault("-body$", body_delay=60)
    simulator.fault("-pause$", status=503, body="")
    with contextlib.ExitStack() as stack:
        url, more = simulator.url, ""
        if phase == "dns":
            url, more = f"http://api.slow.test:{simulator.port}", "allow_plain_http on;"
        elif phase == "connect":
            url = "http://127.0.0.1:%d/client/v4" % stack.enter_context(stall.black_hole())[1]
        elif phase == "tls":
            url = "https://127.0.0.1:%d/client/v4" % stack.enter_context(stall.silent())[1]
        server = nginx(main="worker_shutdown_timeout 500ms;", http=account(simulator, url, LONG + more), server=SERVER,
                       preload=[stall.slow_dns(tmp)], env={"AIS_SLOW_DNS": "60"})
        connections = [stack.enter_context(server.connect()) for _ in range(2)]
        for n, connection in enumerate(connections):
            ask(connection, f"/docs/instances/docs/jobs/{n}-{phase}")
        time.sleep(0.5)  # since nothing shows that a lookup hangs, or pauses between retries
        with takes(0.5 + PROMPT, at_least=0.4):
            server.stop()
        for connection in connections:
            response = connection.read_response()
            assert response.status == 503 and not response.json()["success"]
    server.check_logs()


# The other signals.


def test_reopened_logs(simulator, nginx):
    """Errors of fetches are logged to the new file, whether or not a client waits for them."""
    server = nginx(**config(simulator))
    simulator.fault("/jobs/broken", delay=0.3, status=200, body="nonsense")
    log = server.prefix / "error.log"
    log.rename(server.prefix / "error.log.1")
    server.signal(signal.SIGUSR1)
    net.wait_until(log.exists, 5, "the new log")
    with server.connect() as connection:
        ask(connection, "/docs/instances/docs/jobs/broken1")
        began_fetching(simulator)
    assert server.get("/docs/instances/docs/jobs/broken2").status == 502
    for job in ("broken1", "broken2"):
        net.wait_until(lambda: re.search(rf"body fault: .*/jobs/{job}\"", server.error_log()), 5, f"a word about {job}")
    assert "fault" not in (server.prefix / "error.log.1").read_text()


def test_binary_upgrade(tmp, simulator):
    """The old process finishes its fetch while the new one begins with an empty cache."""
    keep = "".join(f"env {name};\n" for name in ("LD_PRELOAD", "ASAN_OPTIONS", "UBSAN_OPTIONS"))
    simulator.fault("/jobs/a$", times=1, delay=2)
    with Daemon(tmp, InBackground(**config(simulator, main=keep))) as server, server.connect() as connection:
        [old_worker] = server.workers()
        ask(connection)
        began_fetching(simulator)
        old = server.upgrade()
        assert net.wait_until(lambda: net.alive(old) and server.workers(), 5, "the new workers") != [old_worker]
        os.kill(old, signal.SIGQUIT)
        net.wait_until(lambda: {server.get("/pid").body for _ in range(5)} == {b"%d" % server.workers()[0]}, 5,
                       "the new worker alone")
        assert cache_status(server.get(JOB)) == "MISS"
        assert connection.read_response().status == 200
        net.wait_until(lambda: not net.alive(old) and not net.alive(old_worker), PROMPT, "the old processes to exit")
        assert cache_status(server.get(JOB)) == "HIT"
    assert simulator.count() == 2


class Single(Config):
    """Without a master process."""

    def text(self, prefix, ports) -> str:
        return super().text(prefix, ports).replace("master_process on;", "master_process off;")


def test_single_process(tmp, simulator, edge, certificates):
    trust = f"trusted_certificate {certificates.ca_file};"
    with Nginx(tmp, Single(workers=0, http=account(simulator, edge.url(), trust), server=SERVER)) as server:
        assert net.children(server.pid) == []
        assert int(server.get("/pid").body) == server.pid
        assert cache_status(server.get(JOB)) == "MISS"
        assert cache_status(server.get(JOB)) == "HIT"
        simulator.fault("/jobs/j1$", delay=30)
        with server.connect() as connection:
            ask(connection, "/docs/instances/docs/jobs/j1")
            began_fetching(simulator)
            with takes(PROMPT):  # a single process never stops gracefully
                server.stop()


# Failures.


def test_worker_is_killed_while_it_fetches_for_others(simulator, nginx):
    server = nginx(**config(simulator, workers=2))
    simulator.fault("/jobs/a$", times=1, delay=60)
    with contextlib.ExitStack() as stack:
        by_worker = one_connection_to_each_worker(server, stack)
        (victim, first), (_, second) = by_worker.items()
        ask(first)
        began_fetching(simulator)
        ask(second)
        server.kill_worker(victim)
        with takes(2 + PROMPT):  # the lease, and a fetch
            assert second.read_response().status == 200
        assert first.at_eof()
    net.wait_until(lambda: len(server.workers()) == 2 and victim not in server.workers(), 5, "another worker")
    with contextlib.ExitStack() as stack:
        for connection in one_connection_to_each_worker(server, stack).values():
            assert cache_status(connection.request(JOB)) == "HIT"


def test_workers_are_killed_again_and_again(simulator, nginx):
    """Under load; the shared memory that the killed workers used must stay consistent."""
    server = nginx(**config(simulator, "aisearch_shared_zone zone=aisearch:64k;", workers=2))
    with Load(server, threads=4) as load:
        for _ in range(10):
            time.sleep(0.1)
            server.kill_worker(server.workers()[0])
            net.wait_until(lambda: len(server.workers()) == 2, 5, "another worker")
    assert set(load.statuses) <= {200}, "a worker that was not killed gave a wrong response"
    assert load.statuses.get(200, 0) > 20
    for n in range(50):
        assert server.get(f"/docs/instances/docs/jobs/j{n}").status == 200


class Load(net.InThreads):
    """Looks up all jobs, each on its own connection; counts statuses and broken connections."""

    def __init__(self, server: Nginx, threads: int, target: str = "/docs/instances/docs/jobs/j%d") -> None:
        super().__init__(self._run, [(n * 1000 // threads,) for n in range(threads)])
        self.statuses: dict[int, int] = {}
        self.broken = 0
        self._server, self._target = server, target
        self._lock = threading.Lock()

    def _run(self, n: int) -> None:
        while not self.over.is_set():
            n += 1
            try:
                status = self._server.get(self._target % (n % 1000)).status
            except OSError:
                with self._lock:
                    self.broken += 1
            else:
                with self._lock:
                    self.statuses[status] = self.statuses.get(status, 0) + 1


def test_workers_run_out_of_connections(simulator, nginx):
    """With too few connections for all clients, accepted ones get a response, and everything works afterwards."""
    server = nginx(**config(simulator, workers=2, connections=24))
    server.allow_log(r"\[alert\].* 24 worker_connections are not enough")
    simulator.fault("", delay=0.2)
    statuses = []

    def look_up(n: int) -> None:
        with contextlib.suppress(ConnectionError):
            statuses.append(net.request(server.address, f"/docs/instances/docs/jobs/j{n}").status)

    with takes(5 * SLOWNESS):
        net.concurrently(100, look_up)
    assert 200 in statuses and set(statuses) <= {200, 503}
    assert "worker_connections are not enough" in server.error_log()

    simulator.clear_faults()
    with server.connect() as connection:
        for n in range(100, 200):
            assert connection.request(f"/docs/instances/docs/jobs/j{n}").status == 200


@pytest.mark.parametrize("way", ["HTTP/1.1", "HTTP/2"])  # over a Unix socket, a lookup may complete without waiting
def test_no_connection_is_left_for_a_fetch(simulator, edge, nginx, certificates, way):
    """The lookup fails at once, with a log message, and the next one succeeds."""
    url, options = upstreams(simulator, edge, certificates)[way]
    server = nginx(http=account(simulator, url, options), server=SERVER, connections=24)
    server.allow_log(r"\[alert\].* 24 worker_connections are not enough")
    with contextlib.ExitStack() as stack:
        first, *others = take_all_connections(server, stack)
        with takes(PROMPT):
            first.send(b"\r\n")
            response = first.read_response()
        assert response.status == 503 and response.header("Retry-After") is not None
        assert re.search(r'aisearch account "docs": internal fault: out of connections', server.error_log())
        for connection in others:
            connection.close()
        net.wait_until(lambda: first.request("/docs/instances/docs/jobs/j1").status == 200, 5, "free connections")
    assert simulator.count("/jobs/a$") == 0


def take_all_connections(server: Nginx, stack: contextlib.ExitStack) -> list[net.Connection]:
    """Clients that each occupy a worker connection with a request that lacks its last line."""
    taken: list[net.Connection] = []
    while "are not enough" not in server.error_log():
        connection = stack.enter_context(server.connect())
        connection.send(net.format_request(JOB)[:-2])
        time.sleep(0.02)  # nothing shows that the worker has read it
        taken.append(connection)
    return list(filter(is_open, taken))


def is_open(connection: net.Connection) -> bool:
    """Since no response is expected, the socket is readable only if the peer has closed it."""
    return select.select([connection.sock], [], [], 0)[0] == []


def test_twenty_reloads_under_load(tmp, simulator, edge, nginx, certificates):
    """No lookup fails, and the master frees everything that it has read."""
    trust = f"trusted_certificate {certificates.ca_file};"
    http = account(simulator, edge.url(), trust) + account(simulator, simulator.url).replace("docs", "plain", 1)
    http += account(simulator, "https://api.example/v4").replace("docs", "system", 1)  # with system certificates
    server = nginx(http=http, server=SERVER, workers=2)
    with Load(server, threads=1) as load:
        for n in range(20):
            server.reload()
            if n == 4:
                before = held_by(server.pid)
        after = held_by(server.pid)
    assert load.broken == 0 and set(load.statuses) == {200}
    assert load.statuses[200] > 100
    assert after[0] == before[0], "descriptors"
    assert len(server.workers()) == 2
    if not (PRELOAD or VALGRIND):
        assert after[1] - before[1] < 1024 * 1024, "memory"


def held_by(pid: int) -> tuple[list[str], int]:
    """Returns the kinds of open descriptors, and the memory in bytes."""
    kinds = sorted(re.sub(r":\[\d+\]", "", target) for target in net.open_fds(pid).values())
    return kinds, net.rss(pid)
