"""How nginx handles the real API's refusals, rate limits and unusual responses."""

import dataclasses
import re
import signal
import time

import pytest

import gateway
from gateway import account
from harness import canary, net
from harness.simulator import ACCOUNT
from simulator.refusals import CLIENT_FORMS, CREDENTIAL_FORMS, RESOURCE_FORMS, refusal

SERVER = "location /client/v4/ { aisearch_pass docs; } location = /aisearch_status { aisearch_status; }"

# Entries expire almost at once, and a stale response may be served while the API fails.
STALE = "aisearch_valid active 0; aisearch_valid ended 0; aisearch_valid list 0; aisearch_use_stale error=1h;"

CLIENTS = 40


def target(job: str = "a", instance: str = "instances/docs") -> str:
    return f"/client/v4/{instance}/jobs/{job}"


def cache(response) -> str:
    return response.header("X-Aisearch-Cache")


def start(nginx, simulator, *directives: str, http: str = "", **parts):
    return nginx(http=account(simulator, *directives) + gateway.ACCESS_LOG + http, server=parts.pop("server", SERVER),
                 **parts)


@pytest.fixture(autouse=True)
def job(simulator):
    simulator.instance("instances/docs", [{"id": "a", "state": "running"}])


def revoke(simulator, form: str) -> None:
    """From now on, the API rejects the credential with that response."""
    simulator.refusal(form)
    simulator.account(tokens=["another"], keys=[])


# ---- the credential is rejected -------------------------------------------------------------------------------------

@pytest.mark.parametrize("form", CREDENTIAL_FORMS)
def test_a_rejected_credential_costs_many_clients_one_call(nginx, simulator, form):
    server = start(nginx, simulator, workers=2)
    revoke(simulator, form)
    responses = net.concurrent_gets(server.address, [target()] * CLIENTS)
    assert [response.status for response in responses] == [502] * CLIENTS
    for number in range(CLIENTS):
        response = server.get(target(f"job-{number}"))
        assert (response.status, response.header("X-Should-Retry")) == (502, "false")
        assert 55 <= int(response.header("Retry-After")) <= 60
    assert simulator.count() == 1
    [line] = gateway.reported(server)
    assert 'aisearch account "docs": credential fault' in line and str(simulator.token_file) in line
    status = server.get("/aisearch_status").json()["accounts"]["docs"]
    assert status["credential"]["refused"] is True and status["fetches"]["refused"] == 0


@pytest.mark.parametrize("form", CREDENTIAL_FORMS)
def test_a_rejected_credential_leaves_cached_responses(nginx, simulator, form):
    server = start(nginx, simulator, http=STALE, workers=2)
    known = server.get(target())
    simulator.forget()
    revoke(simulator, form)
    for response in net.concurrent_gets(server.address, [target()] * CLIENTS):
        assert (response.status, cache(response), response.body) == (200, "STALE", known.body)
    assert simulator.count() == 1
    assert {entry["error"] for entry in gateway.lookups(server, CLIENTS + 1)[1:]} == {"credential"}


@pytest.mark.parametrize("form", CREDENTIAL_FORMS)
def test_the_next_credential_replaces_a_rejected_one(nginx, simulator, tmp, form):
    first = tmp / "first.token"
    first.write_text(canary.secret("revoked") + "\n")
    first.chmod(0o600)
    simulator.refusal(form)
    server = nginx(http=account(simulator, credential=f"token_file {first}; token_file {simulator.token_file};")
                   + "aisearch_valid error 0;", server=SERVER)
    simulator.instance("instances/docs", [{"id": f"job-{n}"} for n in range(10)])
    assert [server.get(target(f"job-{n}")).status for n in range(10)] == [200] * 10
    assert sum(request.status != 200 for request in simulator.requests()) == 1
    assert server.get("/aisearch_status").json()["accounts"]["docs"]["credential"]["in_use"] == 2


@pytest.mark.parametrize("form", [*CREDENTIAL_FORMS, *RESOURCE_FORMS, *CLIENT_FORMS])
def test_only_a_response_confirms_a_credential(nginx, simulator, tmp, form):
    """The first credential is revoked; the second is rejected, too, or only gets refusals of another kind."""
    first = tmp / "first.token"
    first.write_text(canary.secret("revoked") + "\n")
    first.chmod(0o600)
    server = nginx(http=account(simulator, credential=f"token_file {first}; token_file {simulator.token_file};")
                   + "aisearch_valid error 0;", server=SERVER)
    simulator.refuse("401", "/jobs/a$", times=1)
    simulator.refuse(form, "/jobs/a$")
    assert server.get(target()).status == (502 if form in CREDENTIAL_FORMS else refusal(form).status)
    assert "accepts the credential" not in server.error_log()
    assert server.get("/aisearch_status").json()["accounts"]["docs"]["credential"]["in_use"] == 1


# ---- the API refuses a lookup --------------------------------------------------------------------------------------

@pytest.mark.parametrize("form", [*RESOURCE_FORMS, *CLIENT_FORMS])
def test_a_refusal_does_not_replace_a_cached_response(nginx, simulator, form):
    server = start(nginx, simulator, http="aisearch_valid active 0; aisearch_valid error 0;",
                   server=SERVER + "location /strict/ { aisearch_pass docs; aisearch_use_stale off; "
                                   "aisearch_valid active 0; aisearch_valid error 0; }")
    known = server.get(target())
    simulator.refuse(form, "/jobs/a$")
    for _ in range(3):
        response = server.get(target())
        assert (response.status, cache(response), response.body) == (200, "STALE", known.body)
    strict = server.get("/strict/instances/docs/jobs/a")
    status, body, _ = refusal(form)
    assert (strict.status, strict.json()) == (status, body)
    assert strict.header("Cache-Control") == "no-store"
    simulator.clear_faults()
    assert server.get("/strict/instances/docs/jobs/a").status == 200


def test_a_deleted_job_replaces_its_cached_response(nginx, simulator):
    server = start(nginx, simulator, http=STALE)
    assert server.get(target()).status == 200
    simulator.instance("instances/docs", remove=["a"])
    for _ in range(2):
        response = server.get(target())
        assert (response.status, response.json()["errors"][0]["code"]) == (404, 7021)


# ---- rate limits ----------------------------------------------------------------------------------------------------

BURST = '"burst";r=1000;t=1'


@pytest.mark.parametrize("items", [
    ['"default";r={left};t=300'],
    ['"default";r={left};t=300, ' + BURST],
    [BURST + ', "default";r={left};t=300'],
    ['"wide";r=5000;t=300', 'default;r={left};t=300;pk=:cHNsZQ==:', '"day";r=90000;t=3000;x="(1 2)"'],
    ['"a";r=2000;t=300, "b";r=3000;t=300, "c";r=4000;t=300, "d";r=5000;t=300, "e";r={left};t=300'],
    ['("list" "of");r=1, 7;r=2, "default";r={left};t=300;unknown="x;r=1"'],
], ids=["alone", "before a burst", "after a burst", "in lines", "the fifth", "with invalid items"])
def test_calls_stay_within_what_the_api_has_left(nginx, simulator, items):
    """The item with the fewest calls left is the one that counts."""
    simulator.instance("instances/docs", [{"id": f"job-{n}"} for n in range(60)])
    server = start(nginx, simulator, workers=2)
    simulator.limit_headers([["Ratelimit", item.format(left=10)] for item in items])
    assert server.get(target()).status == 200
    simulator.limit_headers([["Ratelimit", item.format(left=0)] for item in items])
    simulator.forget()
    responses = net.concurrent_gets(server.address, [target(f"job-{n}") for n in range(60)])
    assert simulator.count() <= 10
    assert sorted({response.status for response in responses}) == [200, 503]
    time.sleep(1.5)  # longer than a burst is remembered
    assert server.get(target("job-99")).status == 503


@pytest.mark.parametrize("headers", [
    [["Ratelimit", '"default";r=0;t=300, ;;']],
    [["Ratelimit", '"default";r=-1;t=300']],
    [["Ratelimit", '"default";r="0";t=300']],
    [["Ratelimit", '"default";t=300']],
    [["Ratelimit", '"default";r=0;t=300,']],
    [["Ratelimit", '"' + "x" * 600 + '";r=0;t=300']],
    [["Ratelimit", '"default";r=50;t=300'], ["X-RateLimit-Remaining", "0"],
     ["X-RateLimit-Reset", "Thu, 01 Jan 2099 00:00:00 GMT"]],
])
def test_a_malformed_limit_is_ignored(nginx, simulator, headers):
    server = start(nginx, simulator)
    simulator.limit_headers(headers)
    assert [server.get(target(name)).status for name in ("a", "b", "c")] == [200, 404, 404]


@pytest.mark.parametrize("form", ["new", "old", "both"])
def test_the_status_reports_the_limits_of_the_api(nginx, simulator, form):
    simulator.limit(1200, 300, headers=form)
    server = start(nginx, simulator)
    assert server.get(target()).status == 200
    [limit] = server.get("/aisearch_status").json()["accounts"]["docs"]["budget"]["limits"]
    assert limit.pop("left") == 1199 and 290_000 < limit.pop("reset_milliseconds") <= 302_000
    assert limit == ({"name": "", "quota": None, "window_milliseconds": None} if form == "old" else
                     {"name": "default", "quota": 1200, "window_milliseconds": 300_000})


def test_retry_after_of_a_503_is_limited_to_a_minute(nginx, simulator):
    server = start(nginx, simulator, "retries 0;")
    simulator.fault("/jobs/a$", status=503, headers=[["Retry-After", "86400"]])
    assert server.get(target()).status == 502
    response = server.get(target("b"))
    assert response.status == 503 and 55 <= int(response.header("Retry-After")) <= 60
    assert simulator.count() == 1


# ---- invitations to retry -------------------------------------------------------------------------------------------

@pytest.mark.parametrize("order, directives, status, patient", [
    ({"status": 500, "body": "down"}, "", 502, True),
    ({"status": 429, "headers": [["Retry-After", "3"]]}, "", 503, True),
    ({"status": 429, "headers": [["Retry-After", "30"]]}, "", 503, False),
    ({"status": 429}, "", 503, False),
    ({"status": 503, "headers": [["Retry-After", "30"]], "body": "down"}, "", 502, False),
    ({"delay": 2}, "timeout 100ms;", 504, True),
])
def test_only_a_short_failure_invites_a_retry(nginx, simulator, order, directives, status, patient):
    simulator.fault("/jobs/a$", **order)
    server = start(nginx, simulator, "retries 0;", directives)
    for _ in range(2):
        response = server.get(target())
        assert (response.status, response.header("X-Should-Retry")) == (status, None if patient else "false")
        assert (int(response.header("Retry-After")) <= 5) == patient


def test_a_spent_budget_advises_against_a_retry(nginx, simulator):
    server = start(nginx, simulator, "budget 1 60s;")
    assert server.get(target()).status == 200
    response = server.get(target("b"))
    assert (response.status, response.header("X-Should-Retry")) == (503, "false")
    assert "X-Should-Retry" not in {name for name, _ in server.get(target()).headers}


# ---- resources ------------------------------------------------------------------------------------------------------

STATS = {"queued": 0, "running": 0, "completed": 104, "error": 2, "skipped": 1, "outdated": 23}


@pytest.mark.parametrize("path, max_age", [
    ("instances/docs", 60), ("namespaces/default/instances/docs", 60), ("namespaces/team/instances/notes", 60),
    ("instances/docs/stats", 10), ("namespaces/team/instances/notes/stats", 10),
    ("namespaces", 60), ("namespaces/team", 60), ("instances", 10), ("namespaces/team/instances?search=no", 10),
    ("instances?search=docs&order_by=created_at&order_by_direction=desc&namespace=default&hostname=bucket", 10),
    ("instances/docs/jobs/a/logs?per_page=500", 4),
])
def test_responses_about_instances_pass_unchanged(nginx, simulator, path, max_age):
    simulator.instance("instances/docs", stats=STATS)
    simulator.instance("namespaces/team/instances/notes")
    simulator.freeze()
    server = start(nginx, simulator)
    expected = gateway.direct(simulator, f"{simulator.base}/accounts/{ACCOUNT}/ai-search/{path}")
    assert expected.status == 200
    server.get(target())  # so that nginx knows that the log is that of a running job
    simulator.forget()
    for how in ("MISS", "HIT"):
        response = server.get(f"/client/v4/ai-search/{path}")
        assert (response.status, response.body, cache(response)) == (200, expected.body, how)
        assert response.header("Cache-Control") == f"private, max-age={max_age}"
    [request] = simulator.requests()
    assert request.target.partition("?")[0] == f"{simulator.base}/accounts/{ACCOUNT}/ai-search/{path.partition('?')[0]}"


def test_filters_are_part_of_the_cache_key(nginx, simulator):
    simulator.instance("instances/handbook")
    simulator.instance("namespaces/team/instances/docs")
    server = start(nginx, simulator)

    def listed(query: str) -> list[tuple[str, str]]:
        result = server.get("/client/v4/instances" + query).json()["result"]
        return sorted((instance["namespace"], instance["id"]) for instance in result)

    assert listed("") == [("default", "docs"), ("default", "handbook"), ("team", "docs")]
    assert listed("?search=docs") == [("default", "docs"), ("team", "docs")]
    assert listed("?namespace=team") == [("team", "docs")]
    assert listed("?namespace=team&search=hand") == []
    assert listed("?search=hand&namespace=default") == [("default", "handbook")]
    calls = simulator.count()
    assert listed("?namespace=default&search=ha%6Ed") == [("default", "handbook")]
    assert simulator.count() == calls


def test_both_forms_of_an_instance_are_one_entry(nginx, simulator):
    simulator.instance("instances/docs", stats=STATS)
    server = start(nginx, simulator)
    plain, named = "instances/docs", "namespaces/default/instances/docs"
    for rest in ("", "/stats", "/jobs", "/jobs?per_page=5&page=1", "/jobs/a", "/jobs/a/logs"):
        first, second = (plain, named) if len(rest) % 2 else (named, plain)
        simulator.forget()
        assert [cache(server.get(f"/client/v4/{form}{rest}")) for form in (first, second)] == ["MISS", "HIT"]
        [request] = simulator.requests()
        assert f"/ai-search/{first}" in request.target  # in the form that the client used
    # the list of the account and that of the namespace are separate entries
    assert [cache(server.get(f"/client/v4/{form}")) for form in ("instances", "namespaces/default/instances")] == [
        "MISS", "MISS"]


@pytest.mark.parametrize("knows", ["plain", "namespaced"])
def test_an_api_with_one_form_serves_clients_of_that_form(nginx, simulator, knows):
    simulator.forms(plain=knows == "plain", namespaced=knows == "namespaced")
    server = start(nginx, simulator)
    form = "instances/docs" if knows == "plain" else "namespaces/default/instances/docs"
    assert server.get(target(instance=form)).status == 200
    assert server.get(f"/client/v4/{form}").status == 200
    assert simulator.count() == 2


@pytest.mark.parametrize("form", ["400_7003", "403_7003", "400_7000", "404_7000", "410_gone"])
def test_an_account_switches_to_the_namespaced_form_when_the_plain_one_has_no_route(nginx, simulator, form):
    simulator.forms(plain=False, refusal=form)
    server = start(nginx, simulator, workers=2)
    assert server.get(target()).json()["result"]["id"] == "a"
    assert simulator.count() == 2
    for number in range(10):
        server.get(target(f"job-{number}"))
    assert simulator.count() == 12
    warnings = server.warnings()
    assert len(warnings) == 1 and "namespaces/default" in warnings[0]
    server.reload()
    simulator.forms()
    simulator.forget()
    server.get(target("job-99"))
    assert ["namespaces" in request.target for request in simulator.requests()] == [False]


def test_an_unknown_account_does_not_cost_two_calls_per_lookup(nginx, simulator):
    simulator.forms(plain=False, namespaced=False)
    server = start(nginx, simulator, http="aisearch_valid error 0;")
    for _ in range(5):
        response = server.get(target())
        assert (response.status, response.json()["errors"][0]["code"]) == (400, 7003)
    assert simulator.count() == 6


def test_an_api_url_of_another_server_is_logged(nginx, simulator):
    """Clients get the server's own error, which does not show that api_url is wrong."""
    url = f"http://{simulator.host}:{simulator.port}/elsewhere"
    server = nginx(http=gateway.account(simulator, api_url=url) + gateway.ACCESS_LOG, server=SERVER)
    for number in range(3):
        assert server.get(target(f"job-{number}")).status == 404
    named = [line for line in server.error_log().splitlines() if "the URL of the API, which ends with" in line]
    assert ["[error]" in line for line in named] == [True, False, False], "once a minute"
    assert "/jobs/job-0" in named[0] and f'api_url: "{url}"' in named[0]


@pytest.mark.parametrize("path, message", [
    ("namespaces/team_blue/instances/docs/jobs/a", "1 to 28 characters of a-z, 0-9 and -"),
    ("namespaces/" + 29 * "n" + "/instances/docs/jobs/a", "1 to 28 characters of a-z, 0-9 and -"),
    ("instances/docs/jobs/a/logs?per_page=501", "of logs 0 to 500"),
    ("instances/docs/jobs?per_page=51", "of jobs 0 to 50"),
    ("instances?order_by=name", "order_by must be created_at"),
])
def test_a_grammar_error_explains_the_rule(nginx, simulator, path, message):
    server = start(nginx, simulator)
    response = server.get("/client/v4/" + path)
    assert response.status == 400 and message in response.json()["errors"][0]["message"]
    assert simulator.count() == 0


# ---- unusual responses ----------------------------------------------------------------------------------------------

def test_an_odd_field_does_not_spoil_its_job_or_page(nginx, simulator):
    odd = [{"id": "ended", "state": "succeeded", "extra": {"started_at": 1784139045}},
           {"id": "runs", "state": "running", "extra": {"source": 7, "last_seen_at": {}, "description": []}},
           {"id": "queued", "state": "queued", "extra": {"source": None}},
           {"id": "stopped", "state": "superseded"},
           {"id": "none", "extra": {"id": 5}}]
    simulator.instance("instances/odd", odd)
    simulator.oddity(result_info="partial", messages=[{"code": 10000, "message": "a note", "type": None}])
    server = start(nginx, simulator)
    page = server.get("/client/v4/instances/odd/jobs")
    assert page.status == 200 and len(page.json()["result"]) == len(odd)
    states = {name: server.get(target(name, "instances/odd")).header("X-Aisearch-State")
              for name in ("ended", "runs", "queued", "stopped")}
    assert states == {"ended": "succeeded", "runs": "running", "queued": "queued", "stopped": "cancelled"}
    assert gateway.reported(server) == []


def test_an_error_without_a_code_is_passed_on(nginx, simulator):
    simulator.refuse("400_no_code", "/jobs/a$")
    server = start(nginx, simulator)
    response = server.get(target())
    assert (response.status, response.json()["errors"]) == (400, [{"message": "Bad Request"}])


@pytest.mark.parametrize("result_info", ["partial", "none"])
def test_a_list_with_little_result_info_is_accepted(nginx, simulator, result_info):
    simulator.oddity(result_info=result_info)
    server = start(nginx, simulator)
    for path in ("instances", "namespaces", "instances/docs/jobs", "instances/docs/jobs/a/logs"):
        assert server.get("/client/v4/" + path).status == 200


# ---- age ------------------------------------------------------------------------------------------------------------

def test_an_nginx_behind_another_inherits_the_age(nginx, simulator, tmp):
    token = tmp / "front.token"
    token.write_text("nobody-looks-at-it\n")
    token.chmod(0o600)
    valid = "aisearch_valid active 30s; aisearch_use_stale off;"
    back = start(nginx, simulator, http=valid)
    front = nginx(http=account(simulator, api_url=f"http://127.0.0.1:{back.address[1]}/client/v4",
                               credential=f"token_file {token};")
                  + gateway.ACCESS_LOG + valid, server=SERVER)
    assert front.get(target("b")).status == 404
    back.get(target())
    net.wait_until(lambda: int(back.get(target()).header("Age")) >= 2, 10, every=0.1)
    first = front.get(target())
    assert cache(first) == "MISS" and 2 <= int(first.header("Age")) <= 3
    time.sleep(1.1)
    later = front.get(target())
    assert cache(later) == "HIT" and int(later.header("Age")) in (3, 4, 5)
    assert int(gateway.lookups(front, 3)[-1]["age"]) == int(later.header("Age"))


@pytest.mark.parametrize("age, told, cached", [("29", 29, "HIT"), ("30", 30, "EXPIRED"), ("99999999999", 86400, "EXPIRED"),
                                               ("-5", 0, "HIT"), ("soon", 0, "HIT"), ("1.5", 0, "HIT")])
def test_the_age_from_the_upstream_is_limited(nginx, simulator, age, told, cached):
    body = gateway.direct(simulator, simulator.path("instances/docs", "a")).body
    simulator.fault("/jobs/a$", status=200, body=body, headers=[["Age", age]])
    server = start(nginx, simulator, http="aisearch_valid active 30s; aisearch_use_stale off;")
    assert int(server.get(target()).header("Age")) == told
    assert cache(server.get(target())) == cached


# ---- the zone of budgets --------------------------------------------------------------------------------------------

def blocks(simulator, *names: str) -> str:
    return "".join(account(simulator, name=name) for name in names)


def test_any_number_of_reloads_with_new_accounts(nginx, simulator):
    """Accounts that no worker uses any more make room; an account that is still configured keeps its counters."""
    def config(round_number: int) -> str:
        return blocks(simulator, "docs", *(f"account-{round_number}-{n}" for n in range(400)))

    server = nginx(http=config(0), server=SERVER, workers=2)
    assert server.get(target()).status == 200
    for round_number in range(1, 31):  # 12,001 names in total, with room for 3,072
        server.reload(dataclasses.replace(server.config, http=config(round_number)))
    accounts = server.get("/aisearch_status").json()["accounts"]
    assert len(accounts) == 401 and accounts["docs"]["calls"] == 1
    assert accounts["account-30-7"]["lookups"]["hit"] == 0
    assert "[emerg]" not in server.error_log()


def test_too_many_accounts_are_rejected_before_anything_changes(nginx, simulator):
    server = nginx(http=blocks(simulator, "docs"), server=SERVER)
    server.allow_log(r"\[emerg\] .*too many aisearch_account blocks")
    few = server.config

    def refusals() -> int:
        return server.error_log().count("too many aisearch_account blocks")

    server.config = dataclasses.replace(few, http=blocks(simulator, "docs", *(f"account-{n}" for n in range(3100))))
    server.write_config()
    for number in range(1, 61):
        server.signal(signal.SIGHUP)
        net.wait_until(lambda: refusals() == number, 15, "the reload to be rejected")
    assert server.get(target()).status == 200
    assert re.search("there is room for 30.*; remove some", server.error_log())
    server.reload(dataclasses.replace(few, http=blocks(simulator, "docs", *(f"account-{n}" for n in range(2000)))))
    assert len(server.get("/aisearch_status").json()["accounts"]) == 2001


def test_an_account_in_use_by_an_old_worker_is_kept(nginx, simulator):
    """The old worker continues to count; a configuration that needs this space has to wait."""
    def config(round_number: int):
        return dataclasses.replace(server.config, http=blocks(
            simulator, "docs", *(f"account-{round_number}-{n}" for n in range(1000))))

    server = nginx(http=blocks(simulator, "docs", "old"), server=SERVER + gateway.WORKERS
                   + "location /old/ { aisearch_pass old; }")
    server.allow_log(r"\[emerg\] .*too many aisearch_account blocks")
    fault = simulator.fault("/jobs/a$", delay=8)
    with server.connect(30) as client:
        client.send(net.format_request("/old/instances/docs/jobs/a"))
        gateway.wait_for_requests(server, 1)
        simulator.clear_fault(fault)
        without_old = dataclasses.replace(server.config, server=SERVER + gateway.WORKERS)
        server.config = without_old
        for round_number in range(3):
            server.reload(config(round_number), wait_old=False)
        server.config = config(3)
        server.write_config()
        server.signal(signal.SIGHUP)
        net.wait_until(lambda: "workers of earlier configurations" in server.error_log(), 10, "a rejected reload")
        assert client.read_response().status == 200
    net.wait_until(lambda: len(server.workers()) == 1, 20, "the old worker to exit")
    server.reload(config(3))
    assert len(server.get("/aisearch_status").json()["accounts"]) == 1001
