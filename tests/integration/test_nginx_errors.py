"""Errors of the API: what nginx sends to the client, logs, caches and retries."""

import json

import pytest

import gateway
from gateway import ACCESS_LOG, SERVER, account, error_of, job_target, start
from harness import SLOWNESS, net, stall

HTML = "<html><head><title>502 Bad Gateway</title></head><body><h1>cloudflare-secret-detail</h1></body></html>"


def envelope(code, message="Internal Error"):
    error = {"code": code, "message": message}
    return json.dumps({"success": False, "errors": [error], "messages": [], "result": None})


def faulty(status, body=HTML, *headers, content_type="application/json"):
    return {"status": status, "body": body, "headers": [["Content-Type", content_type], *headers]}


FAILURES = {
    # fault, status for the client, $aisearch_error, calls with "retries 2"
    "401": (faulty(401, envelope(10000, "Authentication error")), 502, "credential", 1),
    "401 with HTML": (faulty(401), 502, "credential", 1),
    "403 of a credential": (faulty(403, envelope(10000, "Authentication error")), 502, "credential", 1),
    "429": (faulty(429, envelope(10429, "Too Many Requests")), 503, "rate_limited", 1),
    "429 with HTML": (faulty(429), 503, "rate_limited", 1),
    "500 with HTML": (faulty(500), 502, "server", 3),
    "502 with HTML": (faulty(502, content_type="text/html"), 502, "server", 3),
    "520 with HTML": (faulty(520), 502, "server", 3),
    "530 with HTML": (faulty(530), 502, "server", 3),
    "503 with Retry-After": (faulty(503, HTML, ["Retry-After", "7"]), 502, "server", 1),
    "301": (faulty(301, "", ["Location", "http://127.0.0.1:1/"]), 502, "server", 1),
    "302 to the same host": (faulty(302, "", ["Location", "/client/v4/x"]), 502, "server", 1),
    "204": (faulty(204, ""), 502, "server", 1),
    "200 with HTML": (faulty(200), 502, "body", 1),
    "200 with an empty body": (faulty(200, ""), 502, "body", 1),
    "200 with another job": (faulty(200, stall.a_job("another")), 502, "body", 1),
    "200 with a list": (faulty(200, '{"success":true,"result":[]}'), 502, "body", 1),
    "200 without success": (faulty(200, envelope(7021)), 502, "body", 1),
    "200 with half a job": (faulty(200, '{"success":true,"result":{"source":"user"}}'), 502, "body", 1),
    "200 with trailing garbage": (faulty(200, stall.a_job() + "x"), 502, "body", 1),
    "200 with a wrong type": (faulty(200, '{"success":true,"result":{"id":7,"source":"user"}}'), 502, "body", 1),
    "404 with HTML": (faulty(404), 502, "body", 1),
    "404 with success": (faulty(404, stall.a_job()), 502, "body", 1),
    "larger than 1 MiB": (faulty(200, stall.a_job() + " " * (1 << 20)), 502, "body", 1),
    "closed before the response": ({"script": stall.close_at_once()}, 502, "connect", 3),
    "reset before the response": ({"script": stall.reset_before_headers()}, 502, "connect", 3),
    "cut short": ({"script": stall.truncated()}, 502, "body", 1),
    "reset in the body": ({"script": stall.reset_in_body()}, 502, "body", 1),
    "bad chunks": ({"script": stall.bad_chunks()}, 502, "body", 1),
    "not HTTP": ({"script": stall.not_http()}, 502, "server", 1),
}


@pytest.mark.parametrize("name", FAILURES)
def test_failure_is_sent_in_an_envelope_logged_once_and_cached_briefly(nginx, simulator, name):
    fault, status, error, calls = FAILURES[name]
    simulator.job("instances/docs", "a")
    simulator.fault("/jobs/a$", **fault)
    server = start(nginx, simulator, "retries 2;", http="aisearch_valid error 1m;")

    first, second = server.get(job_target()), server.get(job_target())
    assert (first.status, first.header("X-Aisearch-Cache")) == (status, "MISS")
    # (after a rejected credential, no lookup calls the API)
    again = "MISS" if error == "credential" else "HIT"
    assert (second.status, second.header("X-Aisearch-Cache")) == (status, again)
    assert first.body == second.body and error_of(first)["code"] == status
    assert b"secret" not in first.body and b"<" not in first.body
    assert first.header("Cache-Control") == "no-store"
    assert first.all("Age") == first.all("ETag") == first.all("X-Aisearch-State") == first.all("Location") == []
    assert 0 < int(first.header("Retry-After")) <= (300 if error == "rate_limited" else 60)
    assert simulator.count() == calls

    assert [(entry["error"], entry["job_state"]) for entry in gateway.lookups(server, 2)] == [(error, "")] * 2
    [line] = gateway.reported(server)
    assert f'account "docs": {error} fault: ' in line and 'client: 127.0.0.1' in line
    assert f"calls: {calls}" in line or error == "credential"
    assert "secret" not in line and simulator.token not in line


def check_passed_on(server, status: int, body: str, retry_after: bool) -> None:
    """The client gets the API's response, and gets it again from the cache."""
    for cache in ("MISS", "HIT"):
        response = server.get(job_target())
        assert (response.status, response.body) == (status, body.encode())
        assert (response.header("X-Aisearch-Cache"), response.header("Cache-Control")) == (cache, "no-store")
        assert (response.all("Retry-After") != []) == retry_after


@pytest.mark.parametrize("status, body, calls", [
    (500, envelope(7001), 3),
    (500, envelope(7068), 3),
    (503, envelope(7017, "unable_to_connect_to_ai_search"), 3),
    (505, envelope(7001), 1),
])
def test_failure_with_an_envelope_is_passed_on(nginx, simulator, status, body, calls):
    simulator.fault("/jobs/a$", **faulty(status, body))
    server = start(nginx, simulator, http="aisearch_valid error 1m;")
    check_passed_on(server, status, body, retry_after=status in (502, 503, 504))
    assert simulator.count() == calls
    assert [entry["error"] for entry in gateway.lookups(server, 2)] == ["server", "server"]
    assert len(gateway.reported(server)) == 1


@pytest.mark.parametrize("status, code", [(400, 7400), (403, 9110), (409, 7021), (422, 7004)])
def test_refusal_of_the_api_is_passed_on_and_cached_briefly(nginx, simulator, status, code):
    body = envelope(code, "no")
    simulator.fault("/jobs/a$", **faulty(status, body))
    server = start(nginx, simulator, http="aisearch_valid error 1m;")
    check_passed_on(server, status, body, retry_after=False)
    assert simulator.count() == 1
    assert [entry["error"] for entry in gateway.lookups(server, 2)] == ["refused", "refused"]
    assert gateway.reported(server) == []


def test_wrong_token_is_502(nginx, simulator):
    wrong = simulator.token_file.with_name("wrong.token")
    wrong.write_text("wrong-token\n", encoding="ascii")
    server = nginx(http=account(simulator, credential=f"token_file {wrong};") + ACCESS_LOG, server=SERVER)
    response = server.get(job_target())
    assert (response.status, response.all("WWW-Authenticate")) == (502, [])
    assert "credential" in error_of(response)["message"]
    assert gateway.lookups(server, 1)[0]["error"] == "credential"


def test_429_stops_calls_until_retry_after(nginx, simulator):
    simulator.instance("instances/docs", [{"id": "a"}])
    simulator.fault("/jobs/a$", **faulty(429, envelope(10429), ["Retry-After", "120"]))
    server = start(nginx, simulator)
    for _ in range(3):
        response = server.get(job_target())
        assert response.status == 503
        assert 118 <= int(response.header("Retry-After")) <= 120
    assert simulator.count() == 1


def test_successful_retry_is_not_an_error(nginx, simulator):
    simulator.job("instances/docs", "a", state="running")
    simulator.fault("/jobs/a$", times=2, **faulty(503))
    server = start(nginx, simulator, "retries 2;")
    response = server.get(job_target())
    assert (response.status, response.header("X-Aisearch-State"), simulator.count()) == (200, "running", 3)
    assert gateway.reported(server) == []
    assert gateway.lookups(server, 1)[0]["error"] == ""


def test_retries_can_be_disabled(nginx, simulator):
    simulator.fault("/jobs/a$", **faulty(503))
    server = start(nginx, simulator, "retries 0;")
    assert (server.get(job_target()).status, simulator.count()) == (502, 1)


@pytest.mark.parametrize("fault", [{"delay": 60}, {"body_delay": 60}, {"script": stall.half_headers()}])
def test_timeout_is_504(nginx, simulator, fault):
    simulator.job("instances/docs", "a")
    simulator.fault("/jobs/a$", **fault)
    server = start(nginx, simulator, "timeout 700ms;")
    response = server.get(job_target())
    assert (response.status, error_of(response)["code"], simulator.count()) == (504, 504, 1)
    assert 0.6 < response.elapsed < 1.5 * SLOWNESS
    [line] = gateway.reported(server)
    assert "timeout fault: " in line
    assert gateway.lookups(server, 1)[0]["error"] == "timeout"


def test_api_that_does_not_listen(nginx, simulator):
    with stall.refusing() as (host, port):
        server = nginx(http=account(simulator, "retries 1;", api_url=f"http://{host}:{port}/client/v4") + ACCESS_LOG,
                       server=SERVER)
        response = server.get(job_target())
    assert (response.status, gateway.lookups(server, 1)[0]["error"]) == (502, "connect")
    assert len(gateway.reported(server)) == 1


@pytest.mark.parametrize("kind", ["wrong_host", "expired", "self_signed", "old_tls"])
def test_unverified_api_receives_no_request(nginx, simulator, edge, certificates, kind):
    server = nginx(http=ACCESS_LOG + account(simulator, f"trusted_certificate {certificates.ca_file};",
                                             api_url=edge.url(kind)), server=SERVER)
    response = server.get(job_target())
    assert (response.status, error_of(response)["message"]) == (502, "the API cannot be reached securely")
    assert gateway.lookups(server, 1)[0]["error"] == "tls"
    assert edge.requests() == [] and simulator.count() == 0


def test_failure_is_fetched_again_after_its_lifetime(nginx, simulator):
    simulator.job("instances/docs", "a", state="running")
    simulator.fault("/jobs/a$", times=1, **faulty(404))
    server = start(nginx, simulator, http="aisearch_valid error 1s;")
    assert server.get(job_target()).status == 502
    recovered = net.wait_until(lambda: (r := server.get(job_target())).status == 200 and r, every=0.1)
    assert recovered.header("X-Aisearch-Cache") == "EXPIRED"
    assert simulator.count() == 2
