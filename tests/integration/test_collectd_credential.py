"""The credential of the collectd plugin: changes of its file, rejections, file modes, and credentials of systemd."""

import contextlib
import os
import pathlib
import re
from collections.abc import Iterator

import pytest

from harness import canary, net
from harness.collectd import INTERVAL, Collectd, Config, refusal
from harness.simulator import ACCOUNT, Simulator


FIRST, SECOND = canary.secret("first"), canary.secret("second")

# The interval between lookups. A lookup may take nine tenths of it, which is enough even on a busy machine.
PACE = 3 * INTERVAL


@pytest.fixture(autouse=True)
def handbook(simulator):
    simulator.instance("instances/handbook", [{"id": "a", "state": "running"}])


def block(simulator: Simulator, credential: str, name: str = "docs") -> str:
    return (f'<Account "{name}">\nAccountID "{ACCOUNT}"\n{credential}\nAPIURL "{simulator.url}"\nBudget 100000 1\n'
            f'ActiveInterval {PACE}\nIdleInterval {PACE}\nInstance "handbook"\n</Account>')


@contextlib.contextmanager
def running(tmp: pathlib.Path, *blocks: str, **options) -> Iterator[Collectd]:
    with Collectd(tmp, Config("\n".join(blocks)), **options) as daemon:
        yield daemon


def secret(tmp: pathlib.Path, content: str, mode: int = 0o600) -> pathlib.Path:
    path = tmp / "docs.token"
    path.write_text(content)
    path.chmod(mode)
    return path


def in_place(path: pathlib.Path, content: str) -> None:
    path.write_text(content)


def by_rename(path: pathlib.Path, content: str) -> None:
    new = path.with_suffix(".new")
    new.write_text(content)
    new.rename(path)


def state_of(daemon: Collectd) -> float:
    return daemon.next_report("docs", lambda r: "docs-handbook/gauge-state" in r)["docs-handbook/gauge-state"]


def wait_look(simulator: Simulator) -> None:
    """Waits for a successful lookup that starts from now on. Reported values may be those of an earlier one."""
    simulator.forget()
    net.wait_until(lambda: any(request.status == 200 for request in simulator.requests()), 10 + 2 * PACE, "a lookup")


def tokens_seen(simulator: Simulator) -> set[str]:
    return {request.header("authorization").removeprefix("Bearer ") for request in simulator.requests()}


@pytest.mark.parametrize("change", [in_place, by_rename])
def test_change_of_the_token_file(tmp, simulator, change):
    """The new token is used without a failure in between. As in a rotation, both tokens are valid for a while."""
    simulator.account(tokens=[FIRST, SECOND])
    path = secret(tmp, FIRST + "\n")
    with running(tmp, block(simulator, f'TokenFile "{path}"')) as daemon:
        assert state_of(daemon) == 1
        assert tokens_seen(simulator) == {FIRST}

        change(path, SECOND + "\n")
        daemon.wait_log(rf'Account "docs": "{path}" has changed and was read\.')
        simulator.account(tokens=[SECOND])
        wait_look(simulator)
        assert state_of(daemon) == 1
        assert tokens_seen(simulator) == {SECOND}
        assert daemon.log_lines("cannot be read") == []


def test_change_of_the_key_file(tmp, simulator):
    email = simulator.email
    simulator.account(keys=[(email, FIRST), (email, SECOND)])
    path = secret(tmp, FIRST + "\n")
    with running(tmp, block(simulator, f'Email "{email}"\nKeyFile "{path}"')) as daemon:
        assert state_of(daemon) == 1
        in_place(path, SECOND + "\n")
        daemon.wait_log("has changed and was read")
        simulator.account(keys=[(email, SECOND)])
        wait_look(simulator)
        assert state_of(daemon) == 1
        assert daemon.log_lines("cannot be read") == []


def test_previous_credential_is_used_if_the_file_becomes_invalid(tmp, simulator):
    path = secret(tmp, simulator.token)
    with running(tmp, block(simulator, f'TokenFile "{path}"')) as daemon:
        assert state_of(daemon) == 1
        by_rename(path, f"{FIRST} {SECOND}\n")
        daemon.wait_log(rf"\[warning\].*cannot be read: .*white space at offset {len(FIRST)}.*The previous credential stays in use\.")
        wait_look(simulator)
        assert state_of(daemon) == 1
        assert tokens_seen(simulator) == {simulator.token}
        path.unlink()
        daemon.wait_log(r"\[warning\].*cannot be read: .*No such file or directory.*The previous credential stays in use\.")
        wait_look(simulator)
        assert state_of(daemon) == 1
        assert len(daemon.log_lines("cannot be read")) == 2
        assert tokens_seen(simulator) == {simulator.token}


@pytest.mark.parametrize("content", [None, "", "two\nlines\n"], ids=["missing", "empty", "no token"])
def test_account_waits_for_a_valid_file(tmp, simulator, content):
    """An account starts as soon as its credential file is valid. Other accounts are not affected."""
    path = tmp / "docs.token"
    if content is not None:
        secret(tmp, content)
    with running(tmp, block(simulator, f'TokenFile "{path}"'),
                 block(simulator, f'TokenFile "{simulator.token_file}"', name="other")) as daemon:
        daemon.wait_report("other", lambda report: report.get("other-handbook/gauge-state") == 1)
        report = daemon.wait_report("docs", lambda report: report["docs/errors-credential"] >= 2, timeout=10)
        assert report["docs/http_requests"] == 0
        daemon.next_report("docs", lambda report: report["docs/gauge-credential"] == 1)
        assert len(daemon.log_lines(r"\[error\].*plugin")) == 1
        daemon.wait_log(rf'\[error\].*Account "docs": TokenFile: .*"{path}".*The account waits until the file can be read')

        secret(tmp, simulator.token)
        assert state_of(daemon) == 1
        daemon.next_report("docs", lambda report: report["docs/gauge-credential"] == 0)
        assert [(n.severity, n.identity) for n in daemon.notifications()] == [
            ("FAILURE", "docs/credential"), ("OKAY", "docs/credential")]


def test_rejected_credential_is_logged_once_and_not_used_again(tmp, simulator):
    """All lookups fail without a request until the file changes."""
    path = secret(tmp, FIRST)
    with running(tmp, block(simulator, f'TokenFile "{path}"')) as daemon:
        report = daemon.wait_report("docs", lambda r: r["docs/errors-credential"] >= 5, timeout=10 + 10 * PACE)
        assert "docs-handbook/gauge-state" not in report
        assert simulator.count() == 1
        [line] = daemon.log_lines(r"\[error\].*plugin")
        assert re.search(r'Account "docs": credential: the API rejects the credential \(401\)\. .*'
                         rf'to "{path}"', line)

        in_place(path, simulator.token)
        assert state_of(daemon) == 1
        assert len(daemon.log_lines(r"\[error\].*plugin")) == 1


def test_forbidden_instance_does_not_affect_the_credential(tmp, simulator):
    simulator.instance("instances/open", [{"id": "a", "state": "running"}])
    simulator.fault("/handbook/", status=403, body='{"success":false,"errors":[{"code":7003,"message":"no"}]}')
    config = block(simulator, f'TokenFile "{simulator.token_file}"').replace("</", 'Instance "open"\n</')
    with running(tmp, config) as daemon:
        daemon.wait_log("the API returns 403: no")
        simulator.forget()
        for path in ("/handbook/", "/open/"):
            net.wait_until(lambda: simulator.count(path) >= 2, 10 + 4 * PACE, "both twice")
        daemon.next_report("docs", lambda r: r.get("docs-open/gauge-state") == 1)
        assert daemon.log_lines("credential") == []


def test_file_mode_that_exposes_the_credential(tmp, simulator):
    path = secret(tmp, simulator.token, mode=0o644)
    with running(tmp, block(simulator, f'TokenFile "{path}"')) as daemon:
        assert state_of(daemon) == 1
        [line] = daemon.log_lines("Any user of this host")
        assert re.search(rf'\[warning\].*Account "docs": Any user .* can read or write "{path}": restrict its mode.*0600"\.',
                         line + daemon.stderr())


def test_file_mode_that_does_not_expose_the_credential(tmp, simulator):
    path = secret(tmp, simulator.token, mode=0o640)
    with running(tmp, block(simulator, f'TokenFile "{path}"')) as daemon:
        assert state_of(daemon) == 1
        assert daemon.log_lines("All users of this machine") == []


# Credentials of systemd.


def test_systemd_credential(tmp, simulator):
    secret(tmp, simulator.token)
    env = {"CREDENTIALS_DIRECTORY": str(tmp)}
    with running(tmp, block(simulator, 'TokenFile "credential:docs.token"'), env=env) as daemon:
        assert state_of(daemon) == 1


def test_systemd_credential_without_systemd(tmp, simulator):
    assert "CREDENTIALS_DIRECTORY" not in os.environ
    for value, message in (("credential:docs", "TokenFile: CREDENTIALS_DIRECTORY is not set: systemd sets it"),
                           ("credential:a/b", "TokenFile: not the name of a credential; use")):
        refused = refusal(Config(block(simulator, f'TokenFile "{value}"')), tmp)
        assert refused.status != 0
        assert message in refused.log
