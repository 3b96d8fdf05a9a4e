"""
Every test searches for leaked credentials with harness.canary. These tests show that the search finds them: in a daemon
that leaks memory, in responses of an API that echoes the credential, and in requests with the credential in the wrong
place.
"""

import re

import pytest

from gateway import account, resource
from harness import canary, net
from harness.collectd import Collectd, Config as CollectdConfig, refusal
from harness.nginx import Config, Nginx, config_test
from harness.simulator import ACCOUNT

SERVER = "location /docs/ { aisearch_pass docs; }"
JOB = f"/docs/{resource('instances/docs', 'a')}"


def found(error) -> set[str]:
    """The places where a credential was found. Process IDs are replaced with N."""
    return set(re.sub(r"\d+", "N", str(error.value)).removeprefix("a credential in ").split(", "))


def test_nginx_that_leaks(tmp, simulator):
    simulator.job("instances/docs", "a")
    with pytest.raises(canary.Found) as error:
        with Nginx(tmp, Config(http=account(simulator), server=SERVER), preload=[canary.leak(tmp)]) as server:
            assert server.get(JOB).status == 200
    assert "the shared memory of N" in found(error)
    assert found(error) & {"error.log", "debug.log"}  # nginx redirects its standard error to the more verbose log


def test_collectd_that_leaks(tmp, simulator):
    simulator.job("instances/docs", "a")
    with pytest.raises(canary.Found) as error:
        with Collectd(tmp, CollectdConfig(plugin(simulator)), preload=[canary.leak(tmp)]) as daemon:
            daemon.wait_report("docs", lambda report: "docs-docs/gauge-state" in report)
    assert found(error) == {"stderr"}


def plugin(simulator, instance: str = "docs") -> str:
    return (f'<Account "docs">\nAccountID "{ACCOUNT}"\nTokenFile "{simulator.token_file}"\n'
            f'APIURL "{simulator.url}"\n<Instance "{instance}">\n</Instance>\n</Account>')


def test_api_that_echoes_the_credential(tmp, simulator):
    """The credential in end_reason of a job is found in the response, the cache and the logged variable."""
    simulator.job("instances/docs", "a", state="failed", end_reason=simulator.token)
    with pytest.raises(canary.Found) as error:
        with Nginx(tmp, Config(http=account(simulator), server=SERVER)) as server:
            with pytest.raises(canary.Found, match="in an answer"):
                server.get(JOB)
            net.wait_until(lambda: server.access_log("variables.log"), what="a line in the log")
    assert {"the shared memory of N", "variables.log"} <= found(error)


def test_message_about_an_invalid_configuration(tmp, simulator):
    with pytest.raises(canary.Found):
        config_test(Config(http=f"aisearch_account docs {{ {simulator.token}; }}"), tmp)
    with pytest.raises(canary.Found):
        refusal(CollectdConfig(plugin(simulator, instance=simulator.token)), tmp)


@pytest.mark.parametrize("target, headers, place", [
    ("/client/v4/accounts?token={}", {}, "target"), ("/client/v4/", {"X-Token": "{}"}, "header X-Token"),
])
def test_request_with_the_credential_in_the_wrong_place(simulator, target, headers, place):
    headers = [(name, value.format(simulator.token)) for name, value in headers.items()]
    net.request(simulator.address, target.format(simulator.token), headers)
    with pytest.raises(canary.Found, match=place):
        canary.check_requests(simulator.recorded())
    simulator.forget()


def test_fragments_of_the_credential(simulator):
    """Any 20 consecutive bytes of a credential are found."""
    for secret in (simulator.token, simulator.key):
        marked = secret[:len(canary.MARK) * 4]
        for begin in range(len(marked) - 20):
            with pytest.raises(canary.Found):
                canary.check(marked[begin:begin + 20].encode(), "a piece")
