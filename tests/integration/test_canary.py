"""
The hunt for the credential, harness.canary, goes on in every test. These show that it would find it: in the hands of a
daemon that leaks, of an API that echoes it, and of a client that sends it to the wrong place.
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
    """Where, without the numbers of processes."""
    return set(re.sub(r"\d+", "N", str(error.value)).removeprefix("a credential in ").split(", "))


def test_nginx_that_leaks(tmp, simulator):
    simulator.job("instances/docs", "a")
    with pytest.raises(canary.Found) as error:
        with Nginx(tmp, Config(http=account(simulator), server=SERVER), preload=[canary.leak(tmp)]) as server:
            assert server.get(JOB).status == 200
    assert "the shared memory of N" in found(error)
    assert found(error) & {"error.log", "debug.log"}  # nginx's standard error is the one that tells more


def test_collectd_that_leaks(tmp, simulator):
    simulator.job("instances/docs", "a")
    with pytest.raises(canary.Found) as error:
        with Collectd(tmp, CollectdConfig(plugin(simulator)), preload=[canary.leak(tmp)]) as daemon:
            daemon.wait_report("docs", lambda report: "docs-docs/gauge-state" in report)
    assert found(error) == {"stderr"}


def plugin(simulator, instance: str = "docs") -> str:
    return (f'<Account "docs">\nAccountID "{ACCOUNT}"\nTokenFile "{simulator.token_file}"\n'
            f'APIURL "{simulator.url}"\n<Instance "{instance}">\n</Instance>\n</Account>')


def test_api_that_echoes_it(tmp, simulator):
    """In the answer, which is cached, and whose reason for a job's end is a variable."""
    simulator.job("instances/docs", "a", state="failed", end_reason=simulator.token)
    with pytest.raises(canary.Found) as error:
        with Nginx(tmp, Config(http=account(simulator), server=SERVER)) as server:
            with pytest.raises(canary.Found, match="in an answer"):
                server.get(JOB)
            net.wait_until(lambda: server.access_log("variables.log"), what="a line in the log")
    assert {"the shared memory of N", "variables.log"} <= found(error)


def test_message_about_a_wrong_configuration(tmp, simulator):
    with pytest.raises(canary.Found):
        config_test(Config(http=f"aisearch_account docs {{ {simulator.token}; }}"), tmp)
    with pytest.raises(canary.Found):
        refusal(CollectdConfig(plugin(simulator, instance=simulator.token)), tmp)


@pytest.mark.parametrize("target, headers, place", [
    ("/client/v4/accounts?token={}", {}, "target"), ("/client/v4/", {"X-Token": "{}"}, "header X-Token"),
])
def test_request_that_should_not_have_it(simulator, target, headers, place):
    headers = [(name, value.format(simulator.token)) for name, value in headers.items()]
    net.request(simulator.address, target.format(simulator.token), headers)
    with pytest.raises(canary.Found, match=place):
        canary.check_requests(simulator.recorded())
    simulator.forget()


def test_pieces_of_it(simulator):
    """Of any twenty bytes, wherever they are cut off."""
    for secret in (simulator.token, simulator.key):
        marked = secret[:len(canary.MARK) * 4]
        for begin in range(len(marked) - 20):
            with pytest.raises(canary.Found):
                canary.check(marked[begin:begin + 20].encode(), "a piece")
