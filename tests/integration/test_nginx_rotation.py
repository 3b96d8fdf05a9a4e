"""The life of nginx's credentials: one takes over from the other, files change, all are refused, and come back."""

import contextlib
import itertools
import os
import pathlib
import re
import threading
import time
from collections.abc import Callable, Iterator

import pytest

import gateway
from gateway import account
from harness import SLOWNESS, net
from harness.clock import Clock
from harness.nginx import Config, Nginx, config_test
from harness.simulator import Request, Simulator

STATUS = "location = /aisearch_status { aisearch_status; }"
SERVER = "location /client/v4/ { aisearch_pass docs; }" + STATUS + gateway.WORKERS

# Every look-up is a call, and what has failed is not remembered.
EAGER = "aisearch_valid active 0; aisearch_valid ended 0; aisearch_valid error 0; aisearch_use_stale off;"

AUTHENTICATION = '{"success":false,"errors":[{"code":10000,"message":"Authentication error"}],"result":null}'
FORBIDDEN = '{"success":false,"errors":[{"code":7003,"message":"not for you"}],"result":null}'

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="the workers have another user only where the master is root")


class Files:
    """Two tokens, or two keys, each in a file of its own, and what the API thinks of them."""

    def __init__(self, tmp: pathlib.Path, simulator: Simulator, scheme: str = "token", mode: int = 0o600) -> None:
        self.simulator = simulator
        self.scheme = scheme
        self.secrets = ["canary-first", "canary-next"]
        self.paths = [tmp / "first.secret", tmp / "next.secret"]
        for path, secret in zip(self.paths, self.secrets):
            path.write_text(secret + "\n")
            path.chmod(mode)
        self.accept(0)

    def accept(self, *slots: int) -> None:
        self.accept_secrets(*(self.secrets[slot] for slot in slots))

    def accept_secrets(self, *secrets: str) -> None:
        if self.scheme == "token":
            self.simulator.account(tokens=list(secrets), keys=[])
        else:
            self.simulator.account(tokens=[], keys=[(self.simulator.email, secret) for secret in secrets])

    def directives(self, slots: int = 2) -> str:
        if self.scheme == "token":
            return " ".join(f"token_file {path};" for path in self.paths[:slots])
        return f"email {self.simulator.email}; " + " ".join(f"key_file {path};" for path in self.paths[:slots])


def start(nginx, simulator: Simulator, files: Files, *directives: str, slots: int = 2, http: str = EAGER, **parts):
    block = account(simulator, "budget 100000 1s;", *directives, credential=files.directives(slots))
    return nginx(http=block + gateway.ACCESS_LOG + http, server=parts.pop("server", SERVER), **parts)


def target(job: str = "a") -> str:
    return f"/client/v4/instances/docs/jobs/{job}"


def credential(server: Nginx) -> dict:
    return server.get("/aisearch_status").json()["accounts"]["docs"]["credential"]


def in_use(server: Nginx) -> int:
    return credential(server)["in_use"]


def refused(simulator: Simulator) -> list[Request]:
    return [request for request in simulator.requests() if request.status in (401, 403)]


def secret_of(request: Request) -> str:
    return (request.header("x-auth-key") or request.header("authorization")).removeprefix("Bearer ")


@pytest.fixture(autouse=True)
def job(simulator):
    simulator.job("instances/docs", "a")


@pytest.fixture(autouse=True)
def nothing_leaks(tmp):
    """Whatever happens: no log tells what is in a file."""
    yield
    for log in tmp.glob("ngx-*/*log"):
        assert "canary" not in log.read_text("utf-8", "replace"), log


# One takes over from the other.


class Load:
    """So many look-ups a second, on new connections: every other one of a job that nobody asked for before."""

    THREADS = 2

    def __init__(self, server: Nginx, rate: float) -> None:
        self._server = server
        self._gap = self.THREADS / rate
        self._numbers = itertools.count()
        self._over = threading.Event()
        self._threads = [threading.Thread(target=self._run, args=(n / rate,)) for n in range(self.THREADS)]
        self.responses: list[net.Response] = []

    def __enter__(self) -> "Load":
        self._since = time.monotonic()
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_exc) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join()
        self.seconds = time.monotonic() - self._since

    def _run(self, delay: float) -> None:
        due = time.monotonic() + delay
        while not self._over.wait(max(0.0, due - time.monotonic())):
            number = next(self._numbers)
            name = f"job-{number}" if number % 2 else f"job-{number % 40}"
            self.responses.append(self._server.get(target(name), timeout=20))
            due += self._gap

    def more(self, count: int) -> None:
        """Waits for that many more answers."""
        goal = len(self.responses) + count
        net.wait_until(lambda: len(self.responses) >= goal, 20, "answers under load")


@pytest.mark.parametrize("scheme", ["token", "key"])
@pytest.mark.parametrize("reloads", [False, True], ids=["", "reloads"])
def test_rotation_under_load(nginx, simulator, tmp, scheme, reloads):
    """There and back and there again, and nobody notices."""
    simulator.instance("instances/docs", [{"id": f"job-{n}", "state": "running"} for n in range(5000)])
    files = Files(tmp, simulator, scheme)
    server = start(nginx, simulator, files, workers=2, http="aisearch_valid active 200ms; aisearch_use_stale off;")
    refusals = []
    with Load(server, 200) as load:
        load.more(100)
        for old, new in ((0, 1), (1, 0), (0, 1)):
            simulator.forget()
            files.accept(old, new)
            load.more(50)
            if reloads:
                server.reload(wait_old=False)
                load.more(20)
            assert refused(simulator) == []
            files.accept(new)
            load.more(150)
            refusals.append(len(refused(simulator)))
            assert in_use(server) == new + 1
            assert {secret_of(request) for request in simulator.requests()[-10:]} == {files.secrets[new]}
    assert [response.status for response in load.responses if response.status != 200] == []
    assert len(load.responses) > 0.8 * 200 * load.seconds / SLOWNESS
    assert all(1 <= count <= server.config.workers for count in refusals), refusals
    assert len(re.findall(r"\[error\].*credential fault", server.error_log())) == 3


@pytest.mark.parametrize("status", [401, 403])
def test_calls_that_are_under_way_when_it_is_revoked(nginx, simulator, tmp, status):
    """They all hear of it, and none of their clients does."""
    simulator.instance("instances/docs", [{"id": f"job-{n}", "state": "failed"} for n in range(30)])
    files = Files(tmp, simulator)
    server = start(nginx, simulator, files, workers=2)
    assert server.get(target()).status == 200
    files.accept(1)
    simulator.fault("", times=20, status=status, delay=0.5, body=AUTHENTICATION)
    responses = net.concurrent_gets(server.address, [target(f"job-{n}") for n in range(20)])
    assert [response.status for response in responses] == [200] * 20
    assert {response.json()["result"]["id"] for response in responses} == {f"job-{n}" for n in range(20)}
    assert len(refused(simulator)) == 20
    assert in_use(server) == 2
    assert len(gateway.reported(server)) == 1


def test_clients_that_wait_for_one_answer(nginx, simulator, tmp):
    files = Files(tmp, simulator)
    server = start(nginx, simulator, files, workers=2)
    files.accept(1)
    with gateway.held(simulator):
        answers = []
        asking = threading.Thread(target=lambda: answers.extend(net.concurrent_gets(server.address, [target()] * 30)))
        asking.start()
        gateway.wait_for_requests(server, 30)
    asking.join()
    assert [response.status for response in answers] == [200] * 30
    assert [request.status for request in simulator.requests()] == [401, 200]


def test_refusal_of_what_was_asked_for_switches_nothing(nginx, simulator, tmp):
    """That one client asks for what the token may not see must not disturb the others."""
    simulator.instance("instances/docs", [{"id": "b", "state": "failed"}])
    files = Files(tmp, simulator)
    files.accept(0, 1)
    server = start(nginx, simulator, files)
    simulator.fault("/jobs/a$", status=403, body=FORBIDDEN)
    for _ in range(5):
        response = server.get(target())
        assert (response.status, response.body) == (403, FORBIDDEN.encode())
        assert server.get(target("b")).status == 200
    assert {secret_of(request) for request in simulator.requests()} == {files.secrets[0]}
    assert credential(server)["slots"] == [{"refused": False, "last_refused": None}] * 2
    assert gateway.reported(server) == []
