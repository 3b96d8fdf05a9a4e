"""Clients that disconnect or send late, while their requests continue: no connection is held or lost."""

import socket
import time

import pytest

import gateway
from gateway import account
from harness import SLOWNESS, net, stall
from harness.clock import Clock
from harness.nginx import DEBIAN_MODULES

LUA = ("ndk_http_module.so", "ngx_http_lua_module.so")

needs_lua = pytest.mark.skipif(not all((DEBIAN_MODULES / name).exists() for name in LUA), reason="no Lua module")


def target(job: str = "a") -> str:
    return f"/client/v4/instances/docs/jobs/{job}"


SERVER = "location /client/v4/ { aisearch_pass docs; }" + gateway.WORKERS


def start(nginx, simulator, *directives: str, http: str = "", server: str = SERVER, **parts):
    return nginx(http=account(simulator, *directives) + gateway.ACCESS_LOG + http, server=server, **parts)


@pytest.fixture(autouse=True)
def jobs(simulator):
    simulator.instance("instances/docs", [{"id": name, "state": "running"} for name in "abcdef"])


# ---- clients that disconnect ----------------------------------------------------------------------------------------

def test_a_client_that_closes_right_after_its_request_is_released(nginx, simulator):
    """The worker releases sixty such clients and has room for as many others."""
    server = start(nginx, simulator, connections=128)
    with gateway.held(simulator):
        clients = [server.connect() for _ in range(60)]
        for client in clients:
            client.send(net.format_request(target()))
            client.sock.shutdown(socket.SHUT_WR)
        assert [entry["status"] for entry in gateway.lookups(server, 60)] == ["499"] * 60
        others = [server.connect() for _ in range(60)]
        assert [other.request("/pid").status for other in others] == [200] * 60
        for connection in clients + others:
            connection.close()
    assert server.get(target()).status == 200
    assert simulator.count() == 1


def test_a_request_in_post_action_gets_no_second_response(nginx, simulator):
    """post_action reuses the request of a client that has disconnected; the response arrives while it is elsewhere."""
    actions = []

    def serve(connection: stall.Connection) -> None:
        connection.read_head()
        connection.play([{"sleep": 1}, stall.response(body="done"), {"close": True}])
        actions.append(connection)

    simulator.fault("/jobs/[a-e]$", delay=0.4)
    with stall.Server(serve) as (host, port):
        server = start(nginx, simulator, env={"MALLOC_PERTURB_": "165"}, server=f"""
            location /client/v4/ {{ aisearch_pass docs; post_action /after; }}
            location /plain/ {{ aisearch_pass docs; }}
            location = /after {{ proxy_pass http://{host}:{port}; }}
        """)
        worker = server.workers()
        for count, name in enumerate("abcde", 1):
            with server.connect() as client:
                client.send(net.format_request(target(name)))
                net.wait_until(lambda: simulator.count(f"/jobs/{name}$") == 1, what="the fetch")
            net.wait_until(lambda: len(actions) == count, 10, "the action")
            assert server.get(f"/plain/instances/docs/jobs/{name}").header("X-Aisearch-Cache") == "HIT"
    assert server.workers() == worker


@pytest.mark.parametrize("leaves", [False, True], ids=["pipelines", "leaves"])
def test_a_client_of_a_waiting_subrequest(nginx, simulator, leaves):
    simulator.fault("/jobs/a$", delay=1.5)
    server = start(nginx, simulator, server="""
        location /files/ { auth_request /job; empty_gif; }
        location = /job { internal; aisearch_pass docs instances/docs/jobs/a; }
    """ + gateway.WORKERS)
    [worker] = server.workers()
    with server.connect() as client:
        client.send(net.format_request("/files/x"))
        net.wait_until(lambda: simulator.count() == 1, what="the fetch")
        if leaves:
            client.sock.shutdown(socket.SHUT_WR)
        else:
            client.send(net.format_request("/files/y"))
        before = net.cpu_seconds(worker)
        time.sleep(0.7)
        assert net.cpu_seconds(worker) - before < 0.3
        if leaves:
            assert gateway.lookups(server, 1)[0]["status"] == "499"
        else:
            assert [client.read_response().status for _ in range(2)] == [200, 200]


@needs_lua
def test_headers_set_in_the_access_phase_are_kept(nginx, simulator):
    server = start(nginx, simulator, modules=LUA, http="lua_load_resty_core off;", server="""
        location /client/v4/ {
            access_by_lua_block {
                ngx.header["Set-Cookie"] = "session=1"
                ngx.header["WWW-Authenticate"] = "Negotiate abc"
            }
            aisearch_pass docs;
        }
    """)
    for path, status in ((target(), 200), (target(), 200), (target("nope"), 404), ("/client/v4/nonsense", 400)):
        response = server.get(path)
        assert (response.status, response.header("Set-Cookie"), response.header("WWW-Authenticate")) == (
            status, "session=1", "Negotiate abc")


def test_request_body_that_arrives_after_the_response(nginx, simulator):
    simulator.instance("instances/docs", [{"id": "a"}, {"id": "b"}])
    server = start(nginx, simulator)
    with server.connect() as connection:
        with gateway.held(simulator):
            connection.send(net.format_request(target("a"), [("Content-Length", "10")]) + b"12345")
            gateway.wait_for_requests(server, 1)
            connection.send(b"67")
        assert connection.read_response().json()["result"]["id"] == "a"
        connection.send(b"890" + net.format_request(target("b")))
        assert connection.read_response().json()["result"]["id"] == "b"


# ---- text from the API -----------------------------------------------------------------------------------------------

def test_no_variable_splits_a_header(nginx, simulator):
    simulator.job("instances/docs", "a", state="failed", end_reason="no\r\nX-User: admin\r\n\x7f\x85ö")
    server = start(nginx, simulator, server="""
        location /client/v4/ { aisearch_pass docs; add_header X-Reason "$aisearch_end_reason" always; }
    """)
    response = server.get(target())
    assert response.header("X-User") is None
    assert response.header("X-Reason").encode("latin-1").decode() == "no  X-User: admin     ö"


# ---- earlier requests -----------------------------------------------------------------------------------------------

def test_a_late_worker_gets_the_newer_entry(nginx, simulator):
    """The worker was stopped for longer than its lease, with an old response that it has not yet read."""
    old = gateway.direct(simulator, simulator.path("instances/docs", "a")).body
    simulator.forget()
    simulator.fault("/jobs/a$", times=1, status=200, body=old, delay=0.5)
    server = start(nginx, simulator, workers=2, http="aisearch_valid active 1h; aisearch_valid ended 1h;")
    with gateway.connections(server) as workers:
        (late, first), (_, second) = workers.items()
        first.send(net.format_request(target()))
        net.wait_until(lambda: simulator.count() == 1, what="the fetch")
        simulator.job("instances/docs", "a", state="succeeded")
        with gateway.stopped([late]):
            newer = second.request(target())
            assert newer.header("X-Aisearch-State") == "succeeded"
            time.sleep(0.2 * SLOWNESS)
        assert first.read_response().body == newer.body
        assert second.request(target()).body == newer.body
    assert simulator.count() == 2


# ---- configuration --------------------------------------------------------------------------------------------------

def test_a_warning_is_logged_once_a_minute_by_the_monotonic_clock(nginx, simulator, tmp):
    clock = Clock(tmp)
    server = nginx(http=account(simulator, "budget 1 1s;"), server=SERVER, preload=[clock.library], env=clock.env)
    for minute in range(3):
        for number in range(4):
            server.get(target(f"job-{minute}-{number}"))
        assert server.error_log().count("the budget is used up") == minute + 1
        clock.advance(61)
