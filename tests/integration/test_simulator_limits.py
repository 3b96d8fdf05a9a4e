"""The simulator's rate limit, and the headers that report it."""

import email.utils
import time

import pytest

from harness import net
from harness.simulator import ACCOUNT, Simulator
from simulator_requests import MANY, PLAIN, error, get, limit_headers


def old_limit_headers(response):
    return [response.header(f"x-ratelimit-{name}") for name in ("limit", "remaining")]


def test_no_limit_headers_without_a_limit(simulator):
    simulator.job(PLAIN, "a")
    assert limit_headers(get(simulator, PLAIN, "a")) == [None, None, None]


def test_every_response_has_limit_headers(simulator):
    """A call that is rejected before it counts shows the remaining calls if the target contains the account."""
    simulator.job(PLAIN, "a")
    simulator.limit(1200, 300)
    answers = [get(simulator, PLAIN, "a"), get(simulator, PLAIN, "b"), get(simulator, PLAIN, query="?page=0"),
               get(simulator, PLAIN, headers=[]), get(simulator, PLAIN, method="DELETE"),
               net.request(simulator.address, f"/client/v4/accounts/{ACCOUNT}"),
               net.request(simulator.address, "/nowhere")]
    assert [answer.status for answer in answers] == [200, 404, 400, 401, 405, 404, 404]
    assert [limit_headers(answer)[1] for answer in answers] == ["1199", "1198", "1197", "1197", "1197", "1197", "1200"]
    assert {answer.header("Ratelimit-Policy") for answer in answers} == {'"default";q=1200;w=300'}
    assert [290 < int(limit_headers(answer)[2]) <= 300 for answer in answers] == [True] * 7


def test_the_seconds_until_the_reset_are_rounded_up(simulator):
    simulator.job(PLAIN, "a")
    simulator.limit(10, 0.5)
    assert get(simulator, PLAIN, "a").header("Ratelimit") == '"default";r=9;t=1'
    assert get(simulator, PLAIN, "a").header("Ratelimit-Policy") == '"default";q=10;w=1'


@pytest.mark.parametrize("form, new, old", [("new", "2", None), ("old", None, "2"), ("both", "2", "2"),
                                            ("none", None, None)])
def test_forms_of_limit_headers(simulator, form, new, old):
    simulator.job(PLAIN, "a")
    simulator.limit(3, 300, headers=form)
    answer = get(simulator, PLAIN, "a")
    assert (limit_headers(answer)[1], old_limit_headers(answer)[1]) == (new, old)
    assert old_limit_headers(answer)[0] == (old and "3")
    refused = [get(simulator, PLAIN, "a") for _ in range(3)][-1]
    assert (refused.status, refused.header("Retry-After")) == (429, "300")


def test_limit_headers_can_be_overridden(simulator):
    simulator.job(PLAIN, "a")
    simulator.limit(3)
    several = '"default";r=1100;t=200, "burst";r=3;t=1'
    simulator.limit_headers([["ratelimit", several], ["Retry-After", "9"], ["X-Two", "1"], ["X-Two", "2"]])
    for job, headers in (("a", None), ("b", None), ("a", [])):
        answer = get(simulator, PLAIN, job, headers=headers)
        assert [answer.all(name) for name in ("Ratelimit", "Retry-After", "X-Two")] == [[several], ["9"], ["1", "2"]]
        assert answer.header("Ratelimit-Policy") == '"default";q=3;w=300'
    simulator.limit_headers(None)
    assert limit_headers(get(simulator, PLAIN, "a"))[:2] == ["3", "0"]


def test_limit_blocks_for_a_whole_period(simulator):
    simulator.job(PLAIN, "a")
    simulator.limit(3, 300)
    answers = [get(simulator, PLAIN, "a") for _ in range(3)]
    assert [limit_headers(answer)[:2] for answer in answers] == [["3", "2"], ["3", "1"], ["3", "0"]]
    assert [290 < int(limit_headers(answer)[2]) <= 300 for answer in answers] == [True] * 3

    refused = get(simulator, PLAIN, "a")
    assert error(refused)[0] == 429 and error(refused)[2] == "Too Many Requests"
    assert 290 < int(refused.header("Retry-After")) <= 300
    assert limit_headers(refused)[:2] == ["3", "0"]
    assert refused.all("Retry-After") == [limit_headers(refused)[2]]

    simulator.advance(200)
    assert 90 < int(get(simulator, PLAIN, "a").header("Retry-After")) <= 100
    simulator.advance(100)
    assert limit_headers(get(simulator, PLAIN, "a"))[:2] == ["3", "2"]


def test_old_reset_header_is_a_date(simulator):
    simulator.job(PLAIN, "a")
    simulator.limit(3, 300, headers="old")
    answer = get(simulator, PLAIN, "a")
    reset = email.utils.parsedate_to_datetime(answer.header("x-ratelimit-reset")).timestamp()
    assert 290 < reset - time.time() <= 301


def test_limit_window_is_rolling(simulator):
    simulator.job(PLAIN, "a")
    simulator.limit(2, 300)
    assert get(simulator, PLAIN, "a").status == 200
    simulator.advance(200)
    assert get(simulator, PLAIN, "a").status == 200
    simulator.advance(101)  # the first call has left the window, the second has not
    assert get(simulator, PLAIN, "a").status == 200
    assert get(simulator, PLAIN, "a").status == 429


def test_limit_follows_a_faster_clock(simulator):
    simulator.job(PLAIN, "a")
    simulator.limit(1, 600)
    assert [get(simulator, PLAIN, "a").status for _ in range(2)] == [200, 429]
    simulator.run(3600)
    net.wait_until(lambda: get(simulator, PLAIN, "a").status == 200, what="ten minutes of the simulator's clock")


def test_limit_applies_per_user_not_per_account(simulator):
    simulator.account(MANY, tokens=["many"], user=ACCOUNT)
    simulator.instance(PLAIN, [{"id": "a"}], account=MANY)
    simulator.job(PLAIN, "a")
    simulator.limit(1)
    assert get(simulator, PLAIN, "a").status == 200
    assert get(simulator, PLAIN, "a", account=MANY, headers=[("Authorization", "Bearer many")]).status == 429


def test_default_limit(tmp):
    with Simulator(tmp, limit=1200) as simulator:
        simulator.job(PLAIN, "a")
        assert limit_headers(get(simulator, PLAIN, "a")) == ["1200", "1199", "300"]
