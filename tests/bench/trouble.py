"""What clients see when the API is down, a worker is killed, or nginx is reloaded."""

import contextlib
import os
import pathlib
import signal
import time

from harness import net
from harness.nginx import Config, Nginx

from . import contenders
from .contenders import ACTIVE_TARGET, HEADERS, TARGET, Setting
from .report import AISEARCH, PROXY, RETURN, Line
from .tools import Client, Upstream, client

WAITERS = 500
RELOADS = 100


def down(bench) -> list[Line]:
    """Half of the jobs have ended; the other half are running and become stale. The API recovers before the end."""
    seconds, jobs = bench.scale(60, 8), 500
    makers = {AISEARCH: contenders.aisearch, PROXY: contenders.proxy_cache}
    failed, stale = {}, {}
    with Upstream() as upstream, contextlib.ExitStack() as stack:
        setting = Setting(bench.tmp, upstream, valid="5s", http="aisearch_valid active 5s;")
        servers = {name: stack.enter_context(Nginx(bench.tmp, _workers(make(setting), 2)))
                   for name, make in makers.items()}
        for server in servers.values():
            for target in (TARGET, ACTIVE_TARGET):
                assert client(server.port, target, "-n", jobs, "-j", jobs, "-o").failed == 0
        upstream.stop()
        loads = {name: [stack.enter_context(Client(server.port, target, "-c", 25, "-s", seconds, "-r", 500, "-j", jobs))
                        for target in (TARGET, ACTIVE_TARGET)] for name, server in servers.items()}
        time.sleep(seconds - 2)
        upstream.start()
        for name, clients in loads.items():
            outcomes = [load.outcome() for load in clients]
            failed[name] = sum(outcome.failed for outcome in outcomes)
            stale[name] = sum(outcome.caches.get("STALE", 0) for outcome in outcomes)
            answers = sum(outcome.answers for outcome in outcomes)
    what = f"API down for {seconds} s, {answers} lookups"
    return [
        Line("down", f"{what}: failed", "", failed, f"{failed[AISEARCH]}", "= 0", failed[AISEARCH] == 0),
        Line("down", f"{what}: stale", "", {AISEARCH: stale[AISEARCH]}),
    ]


def kill(bench) -> list[Line]:
    """
    The worker with the fetch is killed, and its fetch ends, while clients of three other workers wait for the response.
    """
    makers = {AISEARCH: contenders.aisearch, PROXY: contenders.proxy_cache}
    seconds, answered = {}, {}
    for name, make in makers.items():
        with Upstream() as upstream:
            with Nginx(bench.tmp, _workers(make(Setting(bench.tmp, upstream)), 4)) as server:
                seconds[name], answered[name] = _kill_leader(server, upstream)
    what = f"kill -9 of the leader, {WAITERS} waiters"
    return [
        Line("kill", f"{what}: answered", "", answered, f"{answered[AISEARCH]}", f"= {WAITERS}",
             answered[AISEARCH] == WAITERS),
        Line("kill", f"{what}: the last after", "s", seconds, f"{seconds[AISEARCH]:.2f} s", "<= 3",
             seconds[AISEARCH] <= 3),
    ]


def _kill_leader(server: Nginx, upstream: Upstream) -> tuple[float, int]:
    leader, *others = server.workers()
    target = TARGET.replace("{}", "kill")
    upstream.delay(60)
    with contextlib.ExitStack() as stack:
        with _stopped([leader]):  # so it gets none of the connections
            waiters = stack.enter_context(Client(server.port, target, "-c", WAITERS, "-w", "/pid", "-g"))
            waiters.ready()
        with _stopped(others):  # so it gets this one
            first = stack.enter_context(server.connect())
            assert first.request("/pid").body == str(leader).encode()
        first.send(net.format_request(target))
        net.wait_until(upstream.count, what="the first fetch")
        waiters.go()
        net.wait_until(lambda: _under_way(server) > WAITERS, what="all to wait")
        upstream.delay(0.1)
        server.kill_worker(leader)
        killed = time.monotonic()
        outcome = waiters.outcome()
        return time.monotonic() - killed, outcome.statuses.get("200", 0)


@contextlib.contextmanager
def _stopped(workers: list[int]):
    """Meanwhile, the other workers accept all connections."""
    try:
        for worker in workers:
            os.kill(worker, signal.SIGSTOP)
            net.wait_until(lambda: "(stopped)" in _status(worker), what="a worker to stop")
        yield
    finally:
        for worker in workers:
            os.kill(worker, signal.SIGCONT)


def _status(pid: int) -> str:
    return pathlib.Path(f"/proc/{pid}/status").read_text(encoding="utf-8")


def _under_way(server: Nginx) -> int:
    status = server.get("/status").body.decode().split()
    return int(status[status.index("Writing:") + 1]) - 1


def reloads(bench) -> list[Line]:
    """Consecutive reloads, with clients that open a connection for each request, and clients that keep theirs."""
    seconds, count, jobs = bench.scale(60, 9), bench.scale(RELOADS, 15), 500
    with Upstream() as upstream:
        config = _workers(contenders.aisearch(Setting(bench.tmp, upstream, budget="2000 1h")), 2)
        headers = "".join(f"add_header {name} '{value}';" for name, value in HEADERS.items())
        config.server += f"location /return/ {{ {headers} return 200 '{'x' * 300}'; }}"
        with Nginx(bench.tmp, config, stop_timeout=20) as server, contextlib.ExitStack() as stack:
            assert client(server.port, TARGET, "-n", jobs, "-j", jobs, "-o").failed == 0
            left = _left(server)

            def load(target: str, *options: object) -> Client:
                return stack.enter_context(Client(server.port, target, "-s", seconds, "-r", 250, "-j", jobs, *options))

            targets = {AISEARCH: TARGET, RETURN: "/return/{}"}
            fresh = {name: load(target, "-c", 20, "-1") for name, target in targets.items()}
            kept = {name: load(target, "-c", 20) for name, target in targets.items()}
            _reload(server, seconds, count)
            fresh = {name: running.outcome() for name, running in fresh.items()}
            kept = {name: running.outcome() for name, running in kept.items()}
            left -= _left(server)
        calls = upstream.count()
    failed = {name: outcome.failed for name, outcome in fresh.items()}
    lost = {name: outcome.failed for name, outcome in kept.items()}
    hits = 100 * fresh[AISEARCH].caches.get("HIT", 0) / fresh[AISEARCH].answers
    what = f"{count} reloads in {seconds} s"
    return [
        Line("reloads", f"{what}: failed, new connections", "", failed, f"{failed[AISEARCH]}", "= 0",
             failed[AISEARCH] == 0),
        # nginx closes idle connections, sometimes while a request is being sent; this is random, and the same for both.
        Line("reloads", f"{what}: failed, kept connections", "", lost, f"{lost[AISEARCH]}",
             f"<= {RETURN}, except by chance", lost[AISEARCH] <= lost[RETURN] + 3 * (lost[RETURN] + 1) ** 0.5),
        Line("reloads", f"{what}: hits", "%", {AISEARCH: hits}, f"{hits:.1f} %", ">= 99", hits >= 99),
        Line("reloads", f"{what}: budget that was restored", "calls", {AISEARCH: max(-left, 0)},
             f"{calls} calls in all", "none", left >= 0),
    ]


def _left(server: Nginx) -> int:
    return server.get("/aisearch_status").json()["accounts"]["docs"]["budget"]["left"]


def _reload(server: Nginx, seconds: float, count: int) -> None:
    began = time.monotonic()
    for n in range(count):
        server.signal(signal.SIGHUP)
        time.sleep(max(began + (n + 1) * 0.95 * seconds / count - time.monotonic(), 0))


def _workers(config: Config, workers: int) -> Config:
    config.workers = workers
    return config
