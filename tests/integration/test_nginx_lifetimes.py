"""How long nginx serves a response from its cache: lifetimes by class and location, and the Age header."""

import time

import pytest

import gateway
from gateway import SERVER, job_target, max_age, start
from harness import SLOWNESS, net


def test_miss_hit_and_expired(nginx, simulator):
    simulator.job("instances/docs", "a", state="running")
    server = start(nginx, simulator, server="location / { aisearch_pass docs; aisearch_valid active 1s; "
                   "aisearch_use_stale off; }")
    target = "/instances/docs/jobs/a"
    assert server.get(target).header("X-Aisearch-Cache") == "MISS"
    assert server.get(target).header("X-Aisearch-Cache") == "HIT"
    assert simulator.count() == 1

    def expired():
        response = server.get(target)
        return response.header("X-Aisearch-Cache") == "EXPIRED" and response

    began = time.monotonic()
    assert net.wait_until(expired, every=0.1).header("Age") == "0"
    assert time.monotonic() - began > 0.5
    assert simulator.count() == 2
    assert server.get(target).header("X-Aisearch-Cache") == "HIT"

    logged = gateway.lookups(server, 4)
    assert [entry["cache_status"] for entry in logged[:2]] == ["MISS", "HIT"]
    assert float(logged[0]["fetch_time"]) >= 0 and logged[1]["fetch_time"] == ""
    assert [entry["cache_status"] for entry in logged[2:] if entry["cache_status"] != "HIT"] == ["EXPIRED"]


def test_age_grows_while_max_age_is_constant(nginx, simulator):
    simulator.job("instances/docs", "a", state="succeeded")
    server = start(nginx, simulator)
    first = server.get(job_target())

    def aged():
        response = server.get(job_target())
        return int(response.header("Age")) >= 1 and response

    later = net.wait_until(aged, what="the Age to grow", every=0.1)
    assert first.header("Age") == "0"
    assert max_age(first) == max_age(later) == 86400
    assert simulator.count() == 1
    assert gateway.lookups(server, 2)[-1]["age"] == later.header("Age")


@gateway.needs_njs
def test_an_entry_newer_than_the_clock_of_a_busy_worker_is_fresh(nginx, simulator, tmp):
    """A worker reads the clock once per event loop iteration, so an entry's time may be in the future for it."""
    simulator.job("instances/docs", "a", state="succeeded")
    script = tmp / "busy.js"
    script.write_text("""
        function busy(r) {
            const begin = Date.now();
            while (Date.now() - begin < 300) {}
            r.internalRedirect("/client/v4/instances/docs/jobs/a");
        }
        export default { busy };
    """)
    server = start(nginx, simulator, http=f"js_import busy from {script};", workers=2,
                   server=SERVER + "location = /busy { js_content busy.busy; }", modules=(gateway.NJS,))
    with gateway.connections(server) as workers:
        late, early = workers.values()
        late.send(net.format_request("/busy"))
        fetched = early.request(job_target())
        response = late.read_response()
    assert fetched.elapsed < 0.25 * SLOWNESS
    assert (response.status, response.header("X-Aisearch-Cache"), response.header("Age")) == (200, "HIT", "0")
    assert simulator.count() == 1


@pytest.mark.parametrize("code, message, target", [
    (7021, "job_not_found", "instances/docs/jobs/nope"),
    (7021, "job_not_found", "instances/docs/jobs/nope/logs"),
    (7002, "ai_search_not_found", "instances/other/jobs"),
    (7063, "namespace_not_found", "namespaces/nowhere/instances/docs/jobs/a"),
])
def test_not_found_is_cached(nginx, simulator, code, message, target):
    simulator.instance("instances/docs")
    server = start(nginx, simulator)
    for cache in ("MISS", "HIT"):
        response = server.get("/client/v4/" + target)
        assert (response.status, response.json()["errors"]) == (404, [{"code": code, "message": message}])
        assert (response.header("X-Aisearch-Cache"), max_age(response)) == (cache, 10)
    assert simulator.count() == 1
    assert [entry["error"] for entry in gateway.lookups(server, 2)] == ["", ""]
    assert gateway.reported(server) == []


EVERY_CLASS = ["instances/docs/jobs/running", "instances/docs/jobs/ended", "instances/docs/jobs?per_page=0",
               "instances/docs/jobs/unseen/logs", "instances/docs/jobs/missing"]


def lifetimes(server, location):
    return [max_age(server.get(location + target)) for target in EVERY_CLASS]


def test_lifetimes_of_each_class_in_each_location(nginx, simulator):
    simulator.instance("instances/docs", [{"id": "running", "state": "queued"}, {"id": "ended", "state": "failed"},
                                          {"id": "unseen", "state": "failed"}])
    server = start(nginx, simulator, http="""
        aisearch_valid active 101s;
        aisearch_valid ended 102s;
        server {
            listen unix:@PREFIX@/own.sock;
            aisearch_valid list 201s;
            aisearch_valid not_found 202s;
            location / { aisearch_pass docs; }
            location /own/ { aisearch_pass docs; aisearch_valid logs 2h; aisearch_valid active 1m 1h; }
        }
    """, server="""
        location /http/ { aisearch_pass docs; }
        location /all/ {
            aisearch_pass docs;
            aisearch_valid active 11s;
            aisearch_valid ended 12s;
            aisearch_valid list 13s;
            aisearch_valid logs 14s;
            aisearch_valid not_found 15s;
            aisearch_valid error 16s;
            location /all/nested/ { aisearch_pass docs; }
        }
    """)
    own = server.prefix / "own.sock"

    # A level that sets any lifetime replaces all of them: the others are the defaults.
    assert lifetimes(server, "/http/") == [101, 102, 10, 10, 10]
    assert lifetimes(server, "/all/") == lifetimes(server, "/all/nested/") == [11, 12, 13, 14, 15]
    for location, expected in (("/", [4, 86400, 201, 10, 202]), ("/own/", [60, 86400, 10, 7200, 10])):
        assert [max_age(net.request(str(own), location + target)) for target in EVERY_CLASS] == expected
    assert simulator.count() == len(EVERY_CLASS)


def test_lifetime_of_an_active_job_grows_with_its_age(nginx, simulator):
    simulator.instance("instances/docs", [
        {"id": "queued", "state": "queued"}, {"id": "young", "starts_in": -5}, {"id": "old", "starts_in": -1000},
        {"id": "ancient", "starts_in": -10**6}, {"id": "future", "starts_in": -1, "extra": {
            "started_at": "2099-01-01T00:00:00Z"}}, {"id": "odd", "extra": {"started_at": "yesterday"}}])
    simulator.instance("instances/old", [{"id": "old", "starts_in": -1200}, {"id": "done", "state": "failed"}])
    server = start(nginx, simulator, server="""
        location /default/ { aisearch_pass docs; }
        location /max/ { aisearch_pass docs; aisearch_valid active 5s 5m; aisearch_valid list 1h; }
        location /one/ { aisearch_pass docs; aisearch_valid active 10s; aisearch_valid list 15s; }
    """)

    def ages(location):
        jobs = ["queued", "young", "old", "ancient", "future", "odd"]
        return [max_age(server.get(f"{location}instances/docs/jobs/{job}")) for job in jobs]

    # One hundredth of the age, within the limits.
    assert ages("/default/") == [4, 4, 10, 30, 4, 4]
    assert ages("/max/") == [5, 5, 10, 300, 5, 5]
    assert ages("/one/") == [10, 10, 10, 10, 10, 10]

    # A list is as fresh as its most active job.
    assert [max_age(server.get(f"{location}instances/docs/jobs")) for location in ("/default/", "/max/", "/one/")] == [
        4, 5, 10]
    assert [max_age(server.get(f"{location}instances/old/jobs")) for location in ("/default/", "/max/", "/one/")] == [
        10, 12, 10]


def test_lifetime_of_zero_causes_a_fetch_each_time(nginx, simulator):
    simulator.job("instances/docs", "a", state="failed")
    server = start(nginx, simulator, server="""
        location / { aisearch_pass docs; aisearch_valid ended 0; aisearch_valid not_found 0; }
    """)
    for target, count in [("/instances/docs/jobs/a", 3), ("/instances/docs/jobs/nope", 3)]:
        simulator.forget()
        statuses = [server.get(target).header("X-Aisearch-Cache") for _ in range(count)]
        assert (statuses, simulator.count()) == (["MISS", "EXPIRED", "EXPIRED"], count)
