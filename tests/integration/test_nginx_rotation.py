"""The life of nginx's credentials: rotation, changed files, rejection, and recovery."""

import itertools
import os
import pathlib
import re
import signal
import threading
import time

import pytest

import gateway
from gateway import account
from harness import SLOWNESS, canary, net
from harness.clock import Clock
from harness.nginx import Config, Daemon, InBackground, Nginx, config_test
from harness.simulator import Request, Simulator
from simulator.refusals import CREDENTIAL_FORMS

STATUS = "location = /aisearch_status { aisearch_status; }"
SERVER = "location /client/v4/ { aisearch_pass docs; }" + STATUS + gateway.WORKERS

# Every lookup is a call, and failures are not cached.
EAGER = "aisearch_valid active 0; aisearch_valid ended 0; aisearch_valid error 0; aisearch_use_stale off;"

AUTHENTICATION = '{"success":false,"errors":[{"code":10000,"message":"Authentication error"}],"result":null}'
FORBIDDEN = '{"success":false,"errors":[{"code":9110,"message":"not for you"}],"result":null}'

CHANGED = canary.secret("changed")

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="the workers run as another user only if the master is root")


class Files:
    """Two tokens, or two keys, each in its own file, and those that the API accepts."""

    def __init__(self, tmp: pathlib.Path, simulator: Simulator, scheme: str = "token", mode: int = 0o600) -> None:
        self.simulator = simulator
        self.scheme = scheme
        self.secrets = [canary.secret("first"), canary.secret("next")]
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
    return [request for request in simulator.requests() if request.status in (400, 401, 403)]


def secret_of(request: Request) -> str:
    return (request.header("x-auth-key") or request.header("authorization")).removeprefix("Bearer ")


@pytest.fixture(autouse=True)
def job(simulator):
    simulator.job("instances/docs", "a")


# Rotation.


class Load(net.InThreads):
    """Sends this many lookups per second, each on a new connection; every other one is about a new job."""

    THREADS = 2

    def __init__(self, server: Nginx, rate: float) -> None:
        super().__init__(self._run, [(n / rate,) for n in range(self.THREADS)])
        self._server = server
        self._gap = self.THREADS / rate
        self._numbers = itertools.count()
        self.responses: list[net.Response] = []

    def __enter__(self) -> "Load":
        self._since = time.monotonic()
        return super().__enter__()

    def __exit__(self, *exc) -> None:
        super().__exit__(*exc)
        self.seconds = time.monotonic() - self._since

    def _run(self, delay: float) -> None:
        due = time.monotonic() + delay
        while not self.over.wait(max(0.0, due - time.monotonic())):
            number = next(self._numbers)
            name = f"job-{number}" if number % 2 else f"job-{number % 40}"
            self.responses.append(self._server.get(target(name), timeout=20))
            due += self._gap

    def more(self, count: int) -> None:
        """Waits for this many more responses."""
        goal = len(self.responses) + count
        net.wait_until(lambda: len(self.responses) >= goal, 20, "responses under load")


@pytest.mark.parametrize("scheme, reloads, form", [
    ("token", False, "401"), ("token", True, "401"), ("key", False, "401"), ("key", True, "401"),
    *(("token", False, form) for form in CREDENTIAL_FORMS if form != "401")])
def test_rotation_under_load(nginx, simulator, tmp, scheme, reloads, form):
    """From one credential to the other and back, several times, for all forms of rejection: no client notices."""
    simulator.refusal(form)
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
    assert len(load.responses) > 0.2 * 200 * load.seconds / SLOWNESS
    assert all(1 <= count <= server.config.workers for count in refusals), refusals
    assert len(re.findall(r"\[error\].*credential fault", server.error_log())) == 3


@pytest.mark.parametrize("status", [401, 403])
def test_pending_calls_are_repeated_after_a_revocation(nginx, simulator, tmp, status):
    """Twenty pending calls are rejected, but no client gets an error."""
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


def test_one_worker_discovers_a_rejection_for_all(nginx, simulator, tmp):
    files = Files(tmp, simulator)
    server = start(nginx, simulator, files, workers=4)
    for old, new in ((0, 1), (1, 0), (0, 1)):
        simulator.forget()
        files.accept(new)
        assert ask_every_worker(server) == [200] * 4
        seen = [secret_of(request) for request in simulator.requests()]
        assert seen == [files.secrets[old]] + [files.secrets[new]] * 4


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


def test_both_calls_share_one_timeout(nginx, simulator, tmp):
    """A late rejection and then a stall take no longer than a stall alone."""
    files = Files(tmp, simulator)
    server = start(nginx, simulator, files, f"timeout {2000 * SLOWNESS:.0f}ms;")
    files.accept(1)
    simulator.fault("", times=1, delay=1.5 * SLOWNESS, status=401, body=AUTHENTICATION)
    simulator.fault("", delay=60)
    response = server.get(target(), timeout=20 * SLOWNESS)
    assert response.status == 504
    assert 1.9 * SLOWNESS < response.elapsed < 3 * SLOWNESS
    assert simulator.count() == 2


def test_a_forbidden_resource_does_not_switch_the_credential(nginx, simulator, tmp):
    """A client that requests a forbidden resource does not affect others."""
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


def test_the_next_credential_may_allow_a_forbidden_resource(nginx, simulator, tmp):
    simulator.instance("instances/docs", [{"id": "b", "state": "failed"}])
    files = Files(tmp, simulator)
    server = start(nginx, simulator, files, http="aisearch_valid active 0; aisearch_valid error 1h;")
    fault = simulator.fault("/jobs/b$", status=403, body=FORBIDDEN)
    for cache in ("MISS", "HIT"):
        response = server.get(target("b"))
        assert (response.status, response.header("X-Aisearch-Cache")) == (403, cache)
    files.accept(1)
    simulator.clear_fault(fault)
    assert server.get(target()).status == 200
    assert server.get(target("b")).status == 200


# All credentials are rejected.


def clocked(nginx, simulator: Simulator, files: Files, clock: Clock, **parts) -> Nginx:
    """nginx with a clock that the test can advance."""
    return start(nginx, simulator, files, preload=[clock.library], env=clock.env, **parts)


@pytest.mark.parametrize("slots", [1, 2])
def test_rejected_credentials_are_tried_once_a_minute(nginx, simulator, tmp, slots):
    clock = Clock(tmp)
    files = Files(tmp, simulator)
    files.accept()
    server = clocked(nginx, simulator, files, clock, slots=slots, workers=2)

    def look_up() -> None:
        for response in net.concurrent_gets(server.address, [target(f"job-{n}") for n in range(20)]):
            assert response.status == 502
            error = response.json()["errors"][0]
            assert error == {"code": 502, "message": "the API rejects the credential of this gateway"}
            assert 1 <= int(response.header("Retry-After")) <= 60

    assert server.get(target()).status == 502
    tried = [files.secrets[slot] for slot in range(slots)]
    for minute in range(4):
        for _ in range(3):
            look_up()
        assert [secret_of(request) for request in simulator.requests()] == tried
        clock.advance(50)
        look_up()
        assert simulator.count() == len(tried)
        clock.advance(10.5)
        tried.append(files.secrets[minute % slots])
    assert len(gateway.reported(server)) == slots
    assert 'aisearch account "docs": credential fault: ' in gateway.reported(server)[-1]
    assert "there is no other" in gateway.reported(server)[-1]
    assert credential(server)["refused"] is True
    assert {entry["error"] for entry in gateway.lookups(server, 50) if "/jobs/" in entry["uri"]} == {"credential"}

    simulator.forget()
    files.accept(slots - 1)
    clock.advance(120)
    net.wait_until(lambda: clock.advance(60.5) or server.get(target()).status == 200, what="the credential to work")
    assert simulator.count() <= slots
    assert credential(server)["refused"] is False and in_use(server) == slots
    assert server.get(target()).status == 200


def test_stale_responses_are_served_during_a_rejection(nginx, simulator, tmp):
    files = Files(tmp, simulator)
    server = start(nginx, simulator, files, slots=1, http="aisearch_valid active 0; aisearch_use_stale error=1h;")
    assert server.get(target()).status == 200
    files.accept()
    for _ in range(5):
        response = server.get(target())
        assert (response.status, response.header("X-Aisearch-Cache")) == (200, "STALE")
    assert simulator.count() == 2
    assert [entry["error"] for entry in gateway.lookups(server, 6)] == [""] + ["credential"] * 5


def test_a_reload_forgets_rejections(nginx, simulator, tmp):
    """Only the master can read the credential files in this test."""
    files = Files(tmp, simulator)
    server = start(nginx, simulator, files, slots=1)
    files.accept(1)
    assert [server.get(target()).status for _ in range(3)] == [502] * 3
    files.accept(0)
    assert server.get(target()).status == 502
    server.reload()
    assert server.get(target()).status == 200
    assert [request.status for request in simulator.requests()] == [401, 200]


def test_a_reload_keeps_the_credential_in_use(nginx, simulator, tmp):
    files = Files(tmp, simulator)
    server = start(nginx, simulator, files)
    began = credential(server)["since"]
    files.accept(1)
    assert server.get(target()).status == 200
    before = credential(server)
    assert before["in_use"] == 2 and before["since"] >= began
    simulator.forget()
    server.reload()
    assert server.get(target()).status == 200
    assert credential(server) == before
    assert refused(simulator) == []

    # the next credential becomes the only one
    files.paths[1].rename(files.paths[0])
    server.reload(Config(http=account(simulator, credential=files.directives(1)) + EAGER, server=SERVER))
    assert server.get(target()).status == 200
    assert in_use(server) == 1
    assert refused(simulator) == []


def test_a_failed_reload_changes_nothing(nginx, simulator, tmp):
    files = Files(tmp, simulator)
    server = start(nginx, simulator, files)
    files.accept(1)
    assert server.get(target()).status == 200
    before = credential(server)
    files.paths[0].write_text("")
    server.signal(signal.SIGHUP)
    net.wait_until(lambda: "[emerg]" in server.error_log(), what="the reload to fail")
    server.allow_log(r"\[emerg\].*first.secret.*: empty; write the API token into it")
    simulator.forget()
    assert server.get(target()).status == 200
    assert credential(server) == before
    assert refused(simulator) == []


# Changed files.


def own(path: pathlib.Path) -> None:
    """Makes the file readable for the workers."""
    if os.geteuid() == 0:
        os.chown(path, 65534, 65534)


def in_place(path: pathlib.Path, content: str) -> None:
    path.write_text(content)


def by_rename(path: pathlib.Path, content: str) -> None:
    new = path.with_suffix(".new")
    new.write_text(content)
    new.chmod(0o600)
    own(new)
    new.rename(path)


CHANGES = pytest.mark.parametrize("change", [in_place, by_rename])


def readable(tmp: pathlib.Path, simulator: Simulator) -> Files:
    files = Files(tmp, simulator)
    for path in files.paths:
        own(path)
    return files


def ask_every_worker(server: Nginx) -> list[int]:
    with gateway.connections(server) as connections:
        return [connection.request(target()).status for connection in connections.values()]


@CHANGES
def test_a_changed_file_is_read_within_ten_seconds(nginx, simulator, tmp, change):
    clock = Clock(tmp)
    files = readable(tmp, simulator)
    server = clocked(nginx, simulator, files, clock, slots=1, workers=2)
    assert ask_every_worker(server) == [200] * 2
    began = credential(server)["since"]
    files.accept_secrets(files.secrets[0], CHANGED)
    change(files.paths[0], CHANGED + "\n")
    clock.advance(10)
    simulator.forget()
    assert ask_every_worker(server) == [200] * 2
    assert {secret_of(request) for request in simulator.requests()} == {CHANGED}
    assert len(re.findall(r'\[notice\].*account "docs": ".*first.secret" has changed and was read',
                          server.error_log())) == 1
    assert credential(server)["since"] >= began
    assert gateway.reported(server) == []


@CHANGES
@pytest.mark.parametrize("slots", [1, 2])
def test_a_changed_file_is_read_at_once_if_the_old_credential_is_rejected(nginx, simulator, tmp, change, slots):
    files = readable(tmp, simulator)
    server = start(nginx, simulator, files, slots=slots, workers=2)
    assert ask_every_worker(server) == [200] * 2
    change(files.paths[0], CHANGED + "\n")
    files.accept_secrets(CHANGED)
    assert ask_every_worker(server) == [200] * 2
    assert ask_every_worker(server) == [200] * 2
    assert len(refused(simulator)) == 1, "the first worker notifies the other one"
    assert in_use(server) == 1
    assert gateway.reported(server) == []


def test_the_next_credential_may_be_created_later(nginx, simulator, tmp):
    """A missing file causes a warning at startup, and is read by the first reload after its creation."""
    files = Files(tmp, simulator)
    next_one = files.paths[1].read_text()
    files.paths[1].unlink()
    server = start(nginx, simulator, files)
    assert re.search(rf'\[warn\] .*the file of the next credential, "{files.paths[1]}", does not exist', server.stderr())
    assert server.get(target()).status == 200
    files.paths[1].write_text(next_one)
    server.reload()
    files.accept(1)
    assert server.get(target()).status == 200
    assert in_use(server) == 2


def test_a_changed_file_ends_the_rejection(nginx, simulator, tmp):
    clock = Clock(tmp)
    files = readable(tmp, simulator)
    files.accept()
    server = clocked(nginx, simulator, files, clock, slots=1, workers=2)
    assert ask_every_worker(server) == [502] * 2
    in_place(files.paths[0], CHANGED + "\n")
    files.accept_secrets(CHANGED)
    clock.advance(10)
    assert ask_every_worker(server) == [200] * 2
    assert [request.status for request in simulator.requests()] == [401, 200, 200]


def test_invalid_content_keeps_the_old_credential(nginx, simulator, tmp):
    """Each change is logged once for all workers."""
    clock = Clock(tmp)
    files = readable(tmp, simulator)
    server = clocked(nginx, simulator, files, clock, slots=1, workers=2)
    for round_, (content, message) in enumerate(((CHANGED + " x", f"white space at offset {len(CHANGED)}"),
                                                 ("", "empty; write the API token into it"),
                                                 (None, "No such file or directory; check the path")), 1):
        by_rename(files.paths[0], content) if content is not None else files.paths[0].unlink()
        for _ in range(2):
            clock.advance(10)
            assert ask_every_worker(server) == [200] * 2
        lines = [line for line in server.error_log().splitlines() if "cannot be used" in line]
        assert len(lines) == round_
        assert message in lines[-1] and "[error]" in lines[-1] and "the previous credential stays in use" in lines[-1]
    assert {secret_of(request) for request in simulator.requests()} == {files.secrets[0]}

    by_rename(files.paths[0], CHANGED + "\n")
    files.accept_secrets(CHANGED)
    clock.advance(10)
    assert ask_every_worker(server) == [200] * 2


@as_root
def test_a_file_that_only_the_master_can_read_is_not_logged(nginx, simulator, tmp):
    clock = Clock(tmp)
    files = Files(tmp, simulator)
    server = clocked(nginx, simulator, files, clock, workers=2)
    assert server.get(target()).status == 200
    by_rename(files.paths[0], CHANGED + "\n")
    os.chown(files.paths[0], 0, 0)
    files.paths[1].unlink()
    tmp.chmod(0o711)
    clock.advance(10)
    before = len(server.error_log())
    assert ask_every_worker(server) == [200] * 2
    assert {secret_of(request) for request in simulator.requests()} == {files.secrets[0]}
    assert not re.search("first.secret", server.error_log()[before:])


# The budget belongs to the user.


def test_a_rotation_neither_resets_nor_doubles_the_budget(nginx, simulator, tmp):
    files = Files(tmp, simulator)
    server = nginx(http=account(simulator, "budget 8 1h;", credential=files.directives()) + EAGER, server=SERVER)
    assert [server.get(target()).status for _ in range(3)] == [200] * 3
    files.accept(1)
    assert [server.get(target()).status for _ in range(5)] == [200] * 4 + [503]  # the rejected call counts, too
    assert simulator.count() == 8
    server.reload()
    assert server.get(target()).status == 503


def test_accounts_with_one_credential_in_common_share_a_budget(nginx, simulator, tmp):
    """The third account shows that the credentials of the first two belong to one user."""
    files = Files(tmp, simulator)
    files.accept(0, 1)
    first, second = (f"token_file {path};" for path in files.paths)
    blocks = (account(simulator, "budget 6 1h;", name=name, credential=credential)
              for name, credential in (("docs", first), ("other", second), ("both", first + second)))
    server = nginx(http="".join(blocks) + EAGER, server="".join(
        f"location /{name}/ {{ aisearch_pass {name}; }}" for name in ("docs", "other", "both")))
    names = ["docs", "other", "both"] * 3
    statuses = [server.get(f"/{name}/instances/docs/jobs/a").status for name in names]
    assert statuses == [200] * 6 + [503] * 3


# Status and messages.


def test_the_status_shows_the_credential_in_use(nginx, simulator, tmp):
    files = Files(tmp, simulator)
    server = start(nginx, simulator, files)
    began = int(time.time())
    never = {"refused": False, "last_refused": None}
    seen = credential(server)
    assert began - 10 * SLOWNESS <= seen.pop("since") <= began + 1
    assert seen == {"in_use": 1, "refused": False, "slots": [never, never]}

    def metrics() -> dict[str, float]:
        text = server.get("/aisearch_status?format=prometheus").body.decode()
        return {name: float(value) for name, value in
                re.findall(r'^aisearch_credential_(\w+)\{account="docs"\} (.*)$', text, re.MULTILINE)}

    since = credential(server)["since"]
    assert metrics() == {"slot": 1, "since_timestamp_seconds": since, "refused": 0}
    files.accept(1)
    assert server.get(target()).status == 200
    seen = credential(server)
    assert began <= seen["slots"][0].pop("last_refused") <= time.time()
    assert began <= seen["since"] <= time.time()
    assert (seen["in_use"], seen["refused"], seen["slots"]) == (2, False, [{"refused": False}, never])
    assert metrics() == {"slot": 2, "since_timestamp_seconds": seen["since"], "refused": 0}

    files.accept()
    assert server.get(target()).status == 502
    assert credential(server)["refused"] is True
    assert metrics()["refused"] == 1


@pytest.mark.parametrize("mode, exposed", [(0o600, False), (0o400, False), (0o640, False), (0o644, True),
                                           (0o602, True)])
def test_modes(tmp, simulator, mode, exposed):
    files = Files(tmp, simulator)
    files.paths[1].chmod(mode)
    result = config_test(Config(http=account(simulator, credential=files.directives())), tmp)
    assert result.ok
    warnings = [line for line in result.output.splitlines() if "[warn]" in line and "any user" in line]
    assert len(warnings) == exposed, result.output
    if exposed:
        assert re.search(rf'aisearch_account "docs": any user of this host can read or write "{files.paths[1]}";'
                         r' restrict its mode.* in \S+/nginx\.conf:\d+$', warnings[0])


# systemd credentials.


def test_a_systemd_credential_outlives_an_upgrade(tmp, simulator):
    """Works without an "env" directive in the configuration."""
    files = Files(tmp, simulator)
    keep = "".join(f"env {name};\n" for name in ("LD_PRELOAD", "ASAN_OPTIONS", "UBSAN_OPTIONS"))
    http = account(simulator, credential="token_file credential:first.secret; token_file credential:next.secret;")
    with Daemon(tmp, InBackground(http=http + EAGER, server=SERVER, main=keep),
                env={"CREDENTIALS_DIRECTORY": str(tmp)}) as server:
        assert server.get(target()).status == 200
        server.reload()
        old = server.upgrade()
        net.wait_until(lambda: net.alive(old) and server.workers(), 5, "the new workers")
        os.kill(old, signal.SIGQUIT)
        net.wait_until(lambda: not net.alive(old), 5, "the old one to leave")
        files.accept(1)
        assert server.get(target()).status == 200
        assert in_use(server) == 2


@pytest.mark.parametrize("value, message", [
    ("credential:docs", "CREDENTIALS_DIRECTORY is not set: .*: sudo CREDENTIALS_DIRECTORY=/run/credentials/nginx.service nginx -t"),
    ("credential:", 'not the name of a credential; use "credential:NAME"'),
    ("credential:a/b", 'not the name of a credential; use "credential:NAME"'),
])
def test_a_missing_systemd_credential(tmp, simulator, value, message):
    assert "CREDENTIALS_DIRECTORY" not in os.environ
    result = config_test(Config(http=account(simulator, credential=f"token_file {value};")), tmp)
    assert not result.ok
    assert re.search(rf'\[emerg\] .*aisearch_account "docs": {message}.* in \S+/nginx\.conf:\d+', result.output)
