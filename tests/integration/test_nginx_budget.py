"""
The budget is never exceeded, whatever clients, retries, accounts and reloads do; and the responses when it is spent.
"""

import json
import re
import signal
import socket
import threading
import time
from email.utils import formatdate

import pytest

import gateway
from gateway import ACCESS_LOG, account
from harness import SLOWNESS, net, stall
from harness.nginx import Config

SERVER = """
    keepalive_requests 1000000;
    location /client/v4/ { aisearch_pass docs; }
    location /other/ { aisearch_pass other; }
    location = /aisearch_status { aisearch_status; }
"""
ENVELOPE = json.dumps({"success": False, "errors": [{"code": 10429, "message": "Too Many Requests"}], "result": None})


def config(simulator, *directives, http="", **parts):
    """
    Two accounts, "docs" and "other", with the same directives and, by default, the same credential. Unless a budget
    sets a reserve, all of it is available to new lookups.
    """
    directives = [re.sub(r"^(budget \S+ \S+);", r"\1 reserve=0;", directive) for directive in directives]
    other = parts.pop("other", None)
    credential = parts.pop("credential", None)
    accounts = account(simulator, *directives)
    accounts += account(simulator, *(directives if other is None else [other]), name="other", credential=credential)
    return Config(http=accounts + ACCESS_LOG + http, server=SERVER, **parts)


def start(nginx, simulator, *directives, **parts):
    return nginx(**vars(config(simulator, *directives, **parts)))


def target(job, location="/client/v4/"):
    return f"{location}instances/docs/jobs/{job}"


def budget(server, name="docs"):
    return server.get("/aisearch_status").json()["accounts"][name]["budget"]


def make_jobs(simulator, count, state="failed"):
    jobs = [f"job-{n}" for n in range(count)]
    simulator.instance("instances/docs", [{"id": job, "state": state} for job in jobs])
    return jobs


def ask(server, jobs, location="/client/v4/"):
    """Returns the statuses, in order; each 503 must have a Retry-After."""
    statuses = []
    with server.connect(30) as connection:
        for job in jobs:
            response = connection.request(target(job, location))
            assert (response.status == 503) == (response.header("Retry-After") is not None)
            statuses.append(response.status)
    return statuses


def check_rolling(simulator, calls, interval):
    """Checks that any calls + 1 requests to the API span more than the interval."""
    times = sorted(request.began for request in simulator.requests())
    apart = [late - early for early, late in zip(times, times[calls:])]
    assert not apart or min(apart) > interval, f"{calls + 1} calls within {min(apart):.3f} s"
    return times


# The budget is never exceeded.


def flood(server, seconds, clients=4):
    """Looks up jobs that were not requested before, from several clients; returns the statuses."""
    end = time.monotonic() + seconds

    def client(n):
        statuses, count = [], 0
        while time.monotonic() < end:
            statuses += ask(server, [f"job-{n}-{count + more}" for more in range(5)])
            count += 5
            time.sleep(0.03)
        return statuses

    return [status for statuses in net.concurrently(clients, client) for status in statuses]


def test_never_more_than_the_budget_in_any_rolling_interval(nginx, simulator):
    simulator.instance("instances/docs")
    server = start(nginx, simulator, "budget 20 2s;", workers=4)
    statuses = flood(server, 6.5)
    times = check_rolling(simulator, 20, 2)
    assert set(statuses) == {404, 503}
    assert statuses.count(404) == len(times) >= 3 * 17
    assert statuses.count(503) > 50


def test_all_limits_hold(nginx, simulator):
    simulator.instance("instances/docs")
    server = start(nginx, simulator, "budget 5 1s;", "budget 12 4s;", workers=2)
    flood(server, 5, clients=2)
    times = check_rolling(simulator, 12, 4)
    check_rolling(simulator, 5, 1)
    assert sum(when < times[0] + 3.9 for when in times) == 12


def test_reloads_in_a_loop(nginx, simulator):
    simulator.instance("instances/docs")
    parts = config(simulator, "budget 10 2s;", workers=2)
    server = nginx(**vars(parts), stop_timeout=10)
    over = threading.Event()

    def reload():
        while not over.is_set():
            server.reload(wait_old=False)

    thread = threading.Thread(target=reload)
    thread.start()
    try:
        flood_until = time.monotonic() + 5
        n = 0
        while time.monotonic() < flood_until:
            n += 1
            assert server.get(target(f"job-{n}")).status in (404, 503)
    finally:
        over.set()
        thread.join()
    times = check_rolling(simulator, 10, 2)
    assert len(times) >= 2 * 9


def test_retries_are_calls(nginx, simulator):
    simulator.fault("/jobs/", status=503, body="down")
    server = start(nginx, simulator, "budget 10 1h;", "retries 5;", "timeout 10s;")
    jobs = [f"job-{n}" for n in range(8)]
    responses = net.concurrent_gets(server.address, map(target, jobs), timeout=30)
    assert {response.status for response in responses} <= {502, 503}
    assert simulator.count() == 10
    assert budget(server)["left"] == 0
    assert set(ask(server, ["one", "more"])) == {503}
    assert simulator.count() == 10


def test_requests_repeated_by_libcurl_count_as_calls(nginx, simulator):
    """libcurl itself repeats a GET on a connection that turns out to be dead."""
    jobs = make_jobs(simulator, 20)
    simulator.fault("/jobs/", reused=True, script=stall.reset_before_headers())
    server = start(nginx, simulator, "budget 12 1h;", "retries 2;")
    ask(server, jobs)
    seen = simulator.count()
    assert 10 <= seen <= 12
    state = server.get("/aisearch_status").json()["accounts"]["docs"]
    assert state["calls"] == seen
    assert state["budget"]["left"] == 12 - seen


def test_accounts_with_one_credential_share_one_budget(nginx, simulator):
    jobs = make_jobs(simulator, 10)
    server = start(nginx, simulator, "budget 10 1h;", other="budget 12 1h reserve=0;")
    assert ask(server, jobs[:6]) == [200] * 6
    assert budget(server, "docs")["left"] == budget(server, "other")["left"] == 4
    assert ask(server, jobs[:6], "/other/") == [200] * 4 + [503] * 2
    assert ask(server, jobs[6:]) == [503] * 4
    assert simulator.count() == 10


def test_another_credential_has_a_budget_of_its_own(nginx, simulator):
    jobs = make_jobs(simulator, 10)
    key = f"email {simulator.email}; key_file {simulator.key_file};"
    server = start(nginx, simulator, "budget 5 1h;", credential=key)
    assert ask(server, jobs[:6]) == [200] * 5 + [503]
    assert ask(server, jobs[:6], "/other/") == [200] * 5 + [503]


def test_by_default_900_in_five_minutes_and_100_in_a_second(nginx, simulator):
    """New lookups get half of each."""
    jobs = make_jobs(simulator, 55)
    server = start(nginx, simulator)
    assert (budget(server)["left"], budget(server)["newcomers"]) == (100, 50)
    with gateway.held(simulator):
        clients = [server.connect(30) for _ in jobs]
        for client, job in zip(clients, jobs):
            client.send(net.format_request(target(job)))
        refused = [client for client in clients[50:] if client.read_response().status == 503]
    assert len(refused) == 5
    assert {client.read_response().status for client in clients[:50]} == {200}
    for client in clients:
        client.close()
    net.wait_until(lambda: budget(server)["left"] == 100, what="a second to pass", every=0.05)
    assert budget(server)["share"] == pytest.approx(850 / 900, abs=0.001)


# Reloads.


def test_a_reload_does_not_reset_it(nginx, simulator, tmp):
    jobs = make_jobs(simulator, 20)
    server = start(nginx, simulator, "budget 10 1h;")
    assert ask(server, jobs[:4]) == [200] * 4
    server.reload()
    assert budget(server)["left"] == 6
    assert ask(server, jobs[4:8]) == [200] * 4

    # The cache gets another size and starts empty.
    resized = config(simulator, "budget 10 1h;", http="aisearch_shared_zone zone=aisearch:1m;")
    server.reload(resized)
    assert budget(server)["left"] == 2
    assert ask(server, jobs[:4]) == [200] * 2 + [503] * 2
    assert simulator.count() == 10


def test_other_limits_after_a_reload(nginx, simulator):
    jobs = make_jobs(simulator, 40)
    server = start(nginx, simulator, "budget 10 1h;")
    assert ask(server, jobs[:6]) == [200] * 6

    for calls, left in ((4, 0), (20, 14), (8, 2)):
        server.reload(config(simulator, f"budget {calls} 1h;"))
        assert budget(server)["left"] == left, calls
    server.reload(config(simulator, "budget 8 2h;", "budget 3 30m;"))
    assert budget(server)["left"] == 0
    server.reload(config(simulator, "budget 7 2h;"))
    assert ask(server, jobs[6:10]) == [200] + [503] * 3
    assert simulator.count() == 7


def test_a_reload_that_fails_leaves_the_limits_alone(nginx, simulator):
    jobs = make_jobs(simulator, 8)
    server = start(nginx, simulator, "budget 5 1h;")
    server.allow_log(r"\[emerg\]")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        more = config(simulator, "budget 100 1h;",
                      http=f"server {{ listen 127.0.0.1:{taken.getsockname()[1]}; }}")
        (server.prefix / "nginx.conf").write_text(more.text(server.prefix, server.ports))
        server.signal(signal.SIGHUP)
        net.wait_until(lambda: "still could not bind" in server.error_log(), 15, "the reload to fail")
    assert ask(server, jobs) == [200] * 5 + [503] * 3
    assert simulator.count() == 5


def test_another_token_of_the_same_account_goes_on_with_its_budget(nginx, simulator, tmp):
    jobs = make_jobs(simulator, 10)
    token = tmp / "own.token"
    token.write_text(simulator.token + "\n", encoding="ascii")
    own = account(simulator, "budget 5 1h reserve=0;", credential=f"token_file {token};")
    server = nginx(http=own, server=SERVER.replace("location /other/ { aisearch_pass other; }", ""))
    assert ask(server, jobs[:3]) == [200] * 3
    simulator.account(tokens=["another-token"])
    token.write_text("another-token\n", encoding="ascii")
    server.reload()
    assert ask(server, jobs[3:7]) == [200] * 2 + [503] * 2


def test_a_call_in_progress_during_a_reload_is_counted_once(nginx, simulator):
    jobs = make_jobs(simulator, 4)
    server = start(nginx, simulator, "budget 3 1h;")
    simulator.fault("/job-0$", delay=1.5)
    with server.connect(20) as connection:
        connection.send(net.format_request(target(jobs[0])))
        net.wait_until(simulator.count, what="the call")
        server.reload(wait_old=False)
        assert budget(server)["left"] == 2
        assert connection.read_response().status == 200
    assert budget(server)["left"] == 2
    assert ask(server, jobs[1:]) == [200] * 2 + [503]


# Responses when the budget is spent.


def test_a_spent_budget_is_503_with_the_time_to_retry(nginx, simulator):
    jobs = make_jobs(simulator, 4)
    server = start(nginx, simulator, "budget 2 3s;")
    assert ask(server, jobs[:2]) == [200] * 2
    spent = time.monotonic()
    response = server.get(target(jobs[2]))
    assert response.status == 503
    assert response.json()["errors"][0]["code"] == 503
    assert response.header("Cache-Control") == "no-store"
    assert 1 <= int(response.header("Retry-After")) <= 4
    assert gateway.lookups(server, 3)[-1]["error"] == "budget"
    assert simulator.count() == 2

    # Cached entries are still served, and others are available at the announced time.
    assert server.get(target(jobs[0])).header("X-Aisearch-Cache") == "HIT"
    net.wait_until(lambda: server.get(target(jobs[2])).status == 200, 5, "a call to become available", every=0.05)
    assert time.monotonic() - spent < int(response.header("Retry-After")) + 1 * SLOWNESS


@pytest.mark.parametrize("use_stale, status", [("updating=1h", "UPDATING"), ("error=1h", "STALE")])
def test_a_stale_response_is_better_than_none(nginx, simulator, use_stale, status):
    jobs = make_jobs(simulator, 4, state="running")
    server = start(nginx, simulator, "budget 2 1h;",
                   http=f"aisearch_valid active 200ms; aisearch_use_stale {use_stale};")
    assert ask(server, jobs[:2]) == [200] * 2

    def old():
        response = server.get(target(jobs[0]))
        assert response.status == 200
        return response.header("X-Aisearch-Cache") == status and response

    # (the less budget is left, the longer a response stays fresh)
    response = net.wait_until(old, what="the response to become stale", every=0.05)
    assert response.header("Cache-Control") == "private, max-age=0"
    assert server.get(target(jobs[0])).header("X-Aisearch-Cache") == status
    assert ask(server, jobs[2:]) == [503] * 2
    assert simulator.count() == 2


def test_refreshes_slow_down_as_the_budget_shrinks(nginx, simulator):
    """
    Only active jobs are refreshed less often: the less of the refreshes' part of the budget is left, the longer they
    stay fresh.
    """
    make_jobs(simulator, 1)
    simulator.instance("instances/docs", [{"id": f"run-{n}", "state": "queued"} for n in range(4)])
    server = start(nginx, simulator, "budget 40 1h;",
                   http="aisearch_valid active 10s; aisearch_valid not_found 10s; aisearch_valid stats 0;")
    stats = "/client/v4/instances/docs/stats"

    def lifetime(job):
        response = server.get(target(job))
        return int(response.header("Cache-Control").partition("max-age=")[2])

    lifetimes = [lifetime("run-0")]
    for n, count in ((1, 22), (2, 6), (3, 4)):
        assert [server.get(stats).status for _ in range(count)] == [200] * count
        time.sleep(0.15)  # a worker checks the budget ten times a second
        lifetimes.append(lifetime(f"run-{n}"))
        # Older responses stay fresh for longer, too.
        assert server.get(target("run-0")).header("X-Aisearch-Cache") == "HIT"
    assert lifetimes[0] == 10
    assert 10 < lifetimes[1] < lifetimes[2] < lifetimes[3] <= 80
    assert lifetime("nope") == 10
    assert lifetime("job-0") == 86400


# The reserve for entries that have had a response.

REFRESHED = "aisearch_valid active 0; aisearch_valid not_found 0; aisearch_use_stale off;"


def start_reserving(nginx, simulator, reserve="budget 10 1h;", http=REFRESHED, **parts):
    """With a running job that has already had a response and, by default, is fetched again on each lookup."""
    simulator.instance("instances/docs", [{"id": "run", "state": "running"}])
    accounts = account(simulator, reserve) + account(simulator, parts.pop("other", reserve), name="other")
    server = nginx(http=accounts + ACCESS_LOG + http, server=SERVER, **parts)
    assert ask(server, ["run"]) == [200]
    return server


def reload_with(server, old, new):
    server.reload(Config(**{**vars(server.config), "http": server.config.http.replace(old, new)}))


def missing(count):
    return [f"missing-{n}" for n in range(count)]


def test_half_is_reserved_for_refreshes(nginx, simulator):
    server = start_reserving(nginx, simulator, workers=2)
    assert ask(server, missing(8)) == [404] * 4 + [503] * 4
    assert (budget(server)["left"], budget(server)["newcomers"]) == (5, 0)
    assert "aisearch_budget_newcomers{account=\"docs\"} 0\n" in server.get("/aisearch_status?format=prometheus").body.decode()
    assert ask(server, ["run"] * 7) == [200] * 5 + [503] * 2
    assert simulator.count() == 10
    assert re.search(r"no calls to the API for the next \d+ms except for known resources:", server.error_log())


def test_a_404_is_not_a_previous_response(nginx, simulator):
    server = start_reserving(nginx, simulator)
    assert ask(server, ["missing"] * 6) == [404] * 4 + [503] * 2
    assert ask(server, ["run"] * 5) == [200] * 5

    # A job that has been deleted counts as new again.
    reload_with(server, "budget 10 1h", "budget 20 1h")
    simulator.instance("instances/docs", [{"id": "other", "state": "running"}], replace=True)
    assert ask(server, ["run"] * 8) == [404] * 6 + [503] * 2


@pytest.mark.parametrize("reserve, newcomers", [("reserve=0", 10), ("reserve=75", 2), ("reserve=99", 1), ("", 5)])
def test_the_size_of_the_reserve(nginx, simulator, reserve, newcomers):
    server = start_reserving(nginx, simulator, f"budget 10 1h {reserve};")
    assert ask(server, missing(12)) == [404] * (newcomers - 1) + [503] * (13 - newcomers)
    assert ask(server, ["run"] * 10) == [200] * (10 - newcomers) + [503] * newcomers


def test_new_lookups_get_the_time_to_retry(nginx, simulator):
    server = start_reserving(nginx, simulator, "budget 4 3s;")
    assert ask(server, missing(1)) == [404]
    response = server.get(target("missing-1"))
    assert response.status == 503
    assert 1 <= int(response.header("Retry-After")) <= 4
    assert ask(server, ["run"]) == [200]
    net.wait_until(lambda: ask(server, ["missing-1"]) == [404], 5 * SLOWNESS, "a call to become available", every=0.05)

    # The reserve is not available to new lookups, so they have to wait for the end of the interval.
    reload_with(server, "budget 4 3s", "budget 4 1h")
    ask(server, ["run"] * 4)
    assert int(server.get(target("missing-2")).header("Retry-After")) > 3500


def test_a_bypass_is_no_refresh(nginx, simulator):
    """A client that bypasses the cache does not use the reserve for refreshes."""
    server = start_reserving(nginx, simulator, http=REFRESHED + "aisearch_cache_bypass $http_pragma;")
    hurried = [server.get(target("run"), headers=[("Pragma", "no-cache")]).status for _ in range(6)]
    assert hurried == [200] * 4 + [503] * 2
    assert ask(server, ["run"] * 6) == [200] * 5 + [503]


def test_accounts_that_share_a_budget_use_the_larger_reserve(nginx, simulator):
    server = start_reserving(nginx, simulator, "budget 10 1h reserve=20;", other="budget 20 1h reserve=70;")
    assert ask(server, missing(3), "/other/") == [404] * 2 + [503]
    assert ask(server, missing(3)[2:]) == [503]
    assert ask(server, ["run"] * 8) == [200] * 7 + [503]


def test_the_reserve_after_a_reload(nginx, simulator):
    server = start_reserving(nginx, simulator, "budget 10 1h reserve=80;")
    assert ask(server, missing(2)) == [404, 503]
    server.reload()
    assert ask(server, missing(2)[1:]) == [503]
    reload_with(server, "=80", "=50")
    assert ask(server, missing(6)) == [404] * 3 + [503] * 3
    reload_with(server, "=50", "=90")
    assert ask(server, missing(2)) == [503] * 2
    assert ask(server, ["run"] * 6) == [200] * 5 + [503]


def test_new_lookups_get_half_of_what_the_api_has_left(nginx, simulator):
    simulator.limit(11, 300)
    server = start_reserving(nginx, simulator, "budget 900 5m;")
    assert budget(server)["left"] == 10
    assert ask(server, missing(8)) == [404] * 5 + [503] * 3
    assert budget(server)["left"] == 5
    assert ask(server, ["run"] * 6) == [200] * 5 + [503]
    assert set(simulator.counters()["by_status"]) == {"200", "404"}


def test_requests_for_missing_jobs_starve_nobody(nginx, simulator):
    """The running job is still refreshed as often as before."""
    server = start_reserving(nginx, simulator, "budget 120 1h;", http="aisearch_valid active 500ms;", workers=2)
    over = threading.Event()

    def hostile():
        while not over.is_set():
            statuses.extend(ask(server, missing(100)))
            time.sleep(0.02)

    statuses = []
    thread = threading.Thread(target=hostile)
    thread.start()
    try:
        net.wait_until(lambda: 503 in statuses, what="the hostile client to use up its part")
        before = simulator.count("/run")
        began = time.monotonic()
        while time.monotonic() < began + 5:
            response = server.get(target("run"))
            assert response.status == 200
            assert int(response.header("Age")) <= 1 * SLOWNESS
            time.sleep(0.05)
        assert simulator.count("/run") - before >= 5
    finally:
        over.set()
        thread.join()
    assert simulator.count("/missing") < 60


# Fetches that wait to be sent.


def test_fetches_that_wait_for_a_connection_are_limited(nginx, simulator):
    """While the API accepts no connections, a flood of lookups does not cause a flood of fetches."""
    with stall.black_hole() as (_, port):
        accounts = account(simulator, "budget 20 1h;", "connect_timeout 3s;", "timeout 4s;", "retries 0;",
                           api_url=f"http://127.0.0.1:{port}/client/v4")
        server = nginx(http=accounts, server="location /client/v4/ { aisearch_pass docs; }"
                       "location = /aisearch_status { aisearch_status; }")
        began = time.monotonic()
        clients = [server.connect(30) for _ in range(40)]
        for n, client in enumerate(clients):
            client.send(net.format_request(target(f"job-{n}")))
        refused = [client.read_response() for client in clients[10:]]
        assert time.monotonic() - began < 3
        assert {response.status for response in refused} == {503}
        assert {response.header("Retry-After") for response in refused} <= {"1", "2"}
        assert {client.read_response().status for client in clients[:10]} == {504}

        # None was sent, and none is waiting any more. By now, nginx knows that the API is unreachable.
        assert budget(server)["left"] == 20
        for n, client in enumerate(clients):
            client.send(net.format_request(target(f"more-{n}")))
        assert [client.read_response().status for client in clients] == [504] * 40
        for client in clients:
            client.close()


# Limits from the API.


def too_many(retry_after=None):
    headers = [] if retry_after is None else [["Retry-After", retry_after]]
    return {"status": 429, "body": ENVELOPE, "headers": headers}


@pytest.mark.parametrize("retry_after, seconds", [
    ("120", 120),
    (lambda: formatdate(time.time() + 90, usegmt=True), 90),
    (None, 300),
    ("soon", 300),
    ("86400", 86400),
])
def test_429_closes_the_account(nginx, simulator, retry_after, seconds):
    jobs = make_jobs(simulator, 3)
    server = start(nginx, simulator, workers=2)
    assert ask(server, jobs[:1]) == [200]
    simulator.fault("/job-1$", **too_many(retry_after() if callable(retry_after) else retry_after))
    told = server.get(target(jobs[1]))
    refused = server.get(target(jobs[2]))
    for response in (told, refused):
        assert response.status == 503
        assert seconds - 2 * SLOWNESS <= int(response.header("Retry-After")) <= seconds + 1
    for name in ("docs", "other"):
        state = budget(server, name)
        assert state["left"] == 0
        assert seconds - 2 * SLOWNESS < state["closed_milliseconds"] / 1000 <= seconds
        assert state["wait_milliseconds"] >= state["closed_milliseconds"] - 1000
    assert ask(server, jobs[1:2], "/other/") == [503]
    assert ask(server, jobs[:1]) == [200]
    assert simulator.count() == 2

    server.reload()
    assert ask(server, jobs[2:]) == [503]
    assert simulator.count() == 2


def test_an_account_reopens_after_its_time(nginx, simulator):
    jobs = make_jobs(simulator, 2)
    server = start(nginx, simulator)
    simulator.fault("/job-0$", **too_many("1"))
    assert ask(server, jobs) == [503, 503]
    closed = time.monotonic()
    net.wait_until(lambda: ask(server, jobs[1:]) == [200], 4, "the account to open", every=0.05)
    assert time.monotonic() - closed > 0.7
    assert budget(server)["closed_milliseconds"] == 0


def test_the_api_may_have_less_left_than_nginx_counts(nginx, simulator):
    """Others use the same limit; no client may get a 429."""
    jobs = make_jobs(simulator, 20)
    simulator.limit(10, 300)
    server = start(nginx, simulator, "budget 900 5m;")
    assert ask(server, jobs[:1]) == [200]
    assert budget(server)["left"] == 9
    for _ in range(4):
        gateway.direct(simulator, simulator.path("instances/docs"))
    assert ask(server, jobs[1:2]) == [200]
    assert budget(server)["left"] == 4
    assert ask(server, jobs[2:8]) == [200] * 4 + [503] * 2
    assert simulator.counters()["by_status"] == {"200": 10}


def test_the_budget_of_the_api_returns_at_its_reset(nginx, simulator):
    jobs = make_jobs(simulator, 3)
    body = gateway.direct(simulator, simulator.path("instances/docs", jobs[0])).body
    reset = formatdate(time.time() + 2, usegmt=True)
    simulator.fault("/job-0$", status=200, body=body, headers=[
        ["x-ratelimit-limit", "1200"], ["x-ratelimit-remaining", "0"], ["x-ratelimit-reset", reset]])
    server = start(nginx, simulator)
    assert ask(server, jobs[:2]) == [200, 503]
    net.wait_until(lambda: ask(server, jobs[1:2]) == [200], 6, "the reset", every=0.1)
    assert ask(server, jobs[2:]) == [200]
