"""An ambiguous refusal does not invalidate the credential until another lookup, the witness, has failed as well."""

import itertools
import threading

import pytest

import gateway
from gateway import account
from harness import canary, net
from harness.clock import Clock
from harness.nginx import Nginx

SERVER = """
    location /client/v4/ { aisearch_pass docs; }
    location = /aisearch_status { aisearch_status; }
""" + gateway.WORKERS

# Every lookup is a call, and failures are not cached.
EAGER = "aisearch_valid active 0; aisearch_valid ended 0; aisearch_valid error 0; aisearch_use_stale off;"

# The response both to an invalid token and to a token without a permission.
FORM = "403_10000"

GOOD = "/client/v4/instances/docs/jobs/{}"
FORBIDDEN = "/client/v4/instances/secret/jobs/{}"

CLIENTS = 20


@pytest.fixture(autouse=True)
def jobs(simulator):
    simulator.refusal(FORM)
    for instance in ("docs", "secret"):
        simulator.instance(f"instances/{instance}", [{"id": f"job-{n}", "state": "running"} for n in range(100)])


@pytest.fixture
def tokens(tmp, simulator):
    """A file for each of two tokens; the API accepts the first one."""
    files = []
    for name in ("first", "next"):
        path = tmp / f"{name}.secret"
        path.write_text(canary.secret(name) + "\n")
        path.chmod(0o600)
        files.append(path)
    simulator.account(tokens=[files[0].read_text().strip()], keys=[])
    return files


def start(nginx, simulator, tokens, slots: int = 1, http: str = EAGER, **parts) -> Nginx:
    credential = " ".join(f"token_file {path};" for path in tokens[:slots])
    block = account(simulator, "budget 100000 1s;", "retries 0;", credential=credential)
    return nginx(http=block + http, server=SERVER, **parts)


def refused(server: Nginx) -> bool:
    return server.get("/aisearch_status").json()["accounts"]["docs"]["credential"]["refused"]


def test_a_forbidden_resource(nginx, simulator, tokens):
    """It is requested again and again without any effect on other clients."""
    simulator.refuse(FORM, "/secret/")
    server = start(nginx, simulator, tokens, workers=2)
    assert server.get(GOOD.format("job-0")).status == 200
    over = threading.Event()
    forbidden: list[net.Response] = []

    def insist() -> None:
        with server.connect() as connection:
            while not over.is_set():
                forbidden.append(connection.request(FORBIDDEN.format(f"job-{len(forbidden) % 100}")))

    def ask(client: int) -> list[int]:
        with server.connect() as connection:
            return [connection.request(GOOD.format(f"job-{(client * 7 + n) % 100}")).status for n in range(60)]

    thread = threading.Thread(target=insist)
    thread.start()
    try:
        net.wait_until(lambda: len(forbidden) > 1, what="a refusal")
        answers = list(itertools.chain(*net.concurrently(CLIENTS, ask)))
    finally:
        over.set()
        thread.join()
    assert set(answers) == {200} and len(answers) == 60 * CLIENTS
    assert {(answer.status, answer.json()["errors"][0]["code"]) for answer in forbidden} == {(403, 10000)}
    assert not refused(server)
    assert "credential fault" not in server.error_log()
    warnings = [line for line in server.error_log().splitlines() if "check the permissions of the credential" in line]
    assert 1 <= len(warnings) <= 2 and "/instances/secret/jobs/" in warnings[0], "once a minute in each worker"


@pytest.mark.parametrize("slots", [1, 2])
def test_cached_entries(nginx, simulator, tokens, slots):
    """With all other responses from the cache, nginx makes an additional call now and then to check the credential."""
    simulator.refuse(FORM, "/secret/")
    server = start(nginx, simulator, tokens, slots, http="aisearch_valid active 1h;")
    assert server.get(GOOD.format("job-0")).status == 200
    simulator.forget()
    for n in range(10):
        assert server.get(FORBIDDEN.format(f"job-{n}")).status == 403
        assert server.get(GOOD.format("job-0")).status == 200
    assert simulator.count("/docs/") <= 2, "the witness"
    assert simulator.count("/secret/") == 10 * slots
    assert server.get(GOOD.format("job-1")).status == 200
    # and the refusal is cached like any failure
    simulator.forget()
    assert [server.get(FORBIDDEN.format("job-99")).status for _ in range(10)] == [403] * 10
    assert simulator.count("/secret/") <= 2 * slots


def test_a_revoked_token(nginx, simulator, tokens):
    """Two calls detect the revocation, whatever is requested."""
    server = start(nginx, simulator, tokens)
    assert server.get(GOOD.format("job-0")).status == 200
    simulator.account(tokens=[], keys=[])
    simulator.forget()
    answers = [server.get(GOOD.format(f"job-{n}")) for n in range(1, 41)]
    assert {(answer.status, answer.json()["errors"][0]["message"]) for answer in answers} == {
        (502, "the API rejects the credential of this gateway")}
    assert simulator.count() == 2
    assert refused(server)
    assert len(gateway.reported(server)) == 1 and "credential fault" in gateway.reported(server)[0]


def test_forty_simultaneous_lookups_after_a_revocation(nginx, simulator, tokens):
    server = start(nginx, simulator, tokens)
    assert server.get(GOOD.format("job-0")).status == 200
    simulator.account(tokens=[], keys=[])
    simulator.forget()
    answers = net.concurrent_gets(server.address, [GOOD.format("job-1")] * 40)
    assert {answer.status for answer in answers} == {502}
    assert simulator.count() == 2


def test_no_earlier_success(nginx, simulator, tokens):
    """Without an earlier success, there is no witness."""
    simulator.account(tokens=[], keys=[])
    server = start(nginx, simulator, tokens)
    assert [server.get(GOOD.format(f"job-{n}")).status for n in range(40)] == [502] * 40
    assert simulator.count() == 1
    assert refused(server)


def test_the_next_token_takes_over(nginx, simulator, tokens):
    server = start(nginx, simulator, tokens, slots=2)
    assert server.get(GOOD.format("job-0")).status == 200
    simulator.account(tokens=[tokens[1].read_text().strip()], keys=[])
    simulator.forget()
    assert [server.get(GOOD.format(f"job-{n}")).status for n in range(1, 20)] == [200] * 19
    assert [request.status for request in simulator.requests()] == [403] + [200] * 19


def test_the_probe_once_a_minute(nginx, simulator, tokens, tmp):
    """A forbidden lookup may be the probe, and still detects that the credential works again."""
    clock = Clock(tmp)
    simulator.refuse(FORM, "/secret/")
    server = start(nginx, simulator, tokens, preload=[clock.library], env=clock.env)
    assert server.get(GOOD.format("job-0")).status == 200
    token = tokens[0].read_text().strip()
    simulator.account(tokens=[], keys=[])
    assert server.get(GOOD.format("job-1")).status == 502
    assert refused(server)
    simulator.account(tokens=[token], keys=[])
    assert server.get(GOOD.format("job-1")).status == 502
    clock.advance(61)
    assert server.get(FORBIDDEN.format("job-0")).status == 403
    assert not refused(server)
    assert server.get(GOOD.format("job-1")).status == 200


def test_the_witness_fails(nginx, simulator, tokens):
    """The cause remains unknown, so the refusal counts for the resource only."""
    simulator.refuse(FORM, "/secret/")
    server = start(nginx, simulator, tokens)
    assert server.get(GOOD.format("job-0")).status == 200
    simulator.fault("/docs/jobs/job-0", status=500, body="<html>")
    assert server.get(FORBIDDEN.format("job-0")).status == 403
    assert not refused(server)
    assert server.get(GOOD.format("job-1")).status == 200
