"""Lookups from within nginx: every way to reach an internal location, and how lookups interact with other modules."""

import contextlib
import gzip
import json
import subprocess

import pytest

import gateway
from gateway import ACCESS_LOG, WORKERS, account
from harness import SLOWNESS, net

INTERNAL = "location /_aisearch/ { internal; aisearch_pass docs; }" + WORKERS

# The application: another server block of the same nginx.
APP = """
    server {
        listen unix:@PREFIX@/app.sock;
        access_log off;
        default_type text/html;
        location / { return 200 "app $request_method $request_uri"; }
        location /gone/ {
            add_header Set-Cookie session=1 always;
            add_header Cache-Control public always;
            return 404 "app: gone";
        }
        location /login/ {
            add_header WWW-Authenticate 'Basic realm="app"' always;
            return 401;
        }
        location /ticket/ {
            charset utf-8;
            add_header X-Accel-Redirect $arg_to;
            add_header Set-Cookie session=1;
            add_header Set-Cookie theme=dark;
            add_header Cache-Control "public, max-age=99999";
            add_header Cache-Control immutable;
            add_header Expires "Thu, 01 Jan 2099 00:00:00 GMT";
            add_header Content-Disposition "attachment; filename=job.html";
            add_header Accept-Ranges bytes;
            add_header ETag '"app"';
            add_header Last-Modified "Mon, 23 Nov 2020 00:00:00 GMT";
            add_header Content-Language en;
            add_header X-App yes;
            return 200 "app: go there";
        }
        location /typed/ {
            charset utf-8;
            add_header X-Accel-Redirect $arg_to;
            add_header X-Accel-Charset $arg_charset;
            return 200;
        }
    }
"""
TO_APP = "proxy_pass http://unix:@PREFIX@/app.sock:;"

JOB_HEADERS = {"Server", "Date", "Content-Type", "Content-Length", "Connection",
               "ETag", "Age", "Cache-Control", "X-Aisearch-State", "X-Aisearch-Cache"}


@pytest.fixture
def api(simulator):
    """The simulator with one running and one failed job."""
    simulator.freeze()
    simulator.instance("instances/docs", [{"id": "a", "state": "running"}, {"id": "b", "state": "failed"}])
    simulator.body = gateway.direct(simulator, simulator.path("instances/docs", "a")).body
    simulator.forget()
    return simulator


def start(nginx, api, server, http="", **parts):
    http = account(api, "budget 1000000 1s;") + ACCESS_LOG + "log_subrequest on;\n" + APP + http
    return nginx(http=http, server=INTERNAL + server, **parts)


def request(server, target, method="GET", headers=(), body=b""):
    with server.connect() as connection:
        return connection.request(target, headers, method, body)


def assert_job(response, api, status=200):
    assert (response.status, response.body) == (status, api.body)
    assert {name for name, _ in response.headers} == JOB_HEADERS
    assert response.header("Content-Type") == "application/json"
    assert response.header("Cache-Control") == "private, max-age=4"
    assert response.header("X-Aisearch-State") == "running"


def assert_logged(server, uri, *expected, count=None):
    """Checks the access log entries of a location, (status, cache status, state, job) in any order."""
    entries = gateway.lookups(server, count or len(expected))
    found = [(int(entry["status"]), entry["cache_status"], entry["job_state"], entry["job_id"])
             for entry in entries if entry["uri"] == uri]
    assert sorted(found) == sorted(expected), entries


# Ways to an internal location.


def test_an_internal_location_is_404_from_outside(nginx, api):
    server = start(nginx, api, "")
    response = server.get("/_aisearch/instances/docs/jobs/a")
    assert (response.status, response.header("Content-Type")) == (404, "text/html")
    assert api.count() == 0
    assert_logged(server, "/_aisearch/instances/docs/jobs/a", (404, "", "", ""))


@pytest.mark.parametrize("method", ["GET", "HEAD", "POST"])
def test_x_accel_redirect(nginx, api, method):
    server = start(nginx, api, f"location / {{ {TO_APP} }}")
    target = "/_aisearch/instances/docs/jobs/a"
    for cache in ("MISS", "HIT"):
        response = request(server, f"/ticket/?to={target}", method)
        if method == "HEAD":
            assert {name for name, _ in response.headers} == JOB_HEADERS
        else:
            assert_job(response, api)
        assert response.header("X-Aisearch-Cache") == cache
    assert_logged(server, target, (200, "MISS", "running", "a"), (200, "HIT", "running", "a"))


def test_x_accel_redirect_drops_the_charset(nginx, api):
    server = start(nginx, api, f"location / {{ {TO_APP} }}")
    for query in ("", "&charset=koi8-r"):
        assert_job(request(server, "/typed/?to=/_aisearch/instances/docs/jobs/a" + query), api)


def test_x_accel_redirect_to_a_list_a_missing_job_an_invalid_resource_and_a_named_location(nginx, api):
    server = start(nginx, api, f"""
        location / {{ {TO_APP} }}
        location @a {{ aisearch_pass docs instances/docs/jobs/a; }}
    """)
    page = request(server, "/ticket/?to=/_aisearch/instances/docs/jobs?per_page=1")
    assert page.json()["result_info"]["per_page"] == 1
    missing = request(server, "/ticket/?to=/_aisearch/instances/docs/jobs/nope")
    assert (missing.status, missing.json()["errors"][0]["code"]) == (404, 7021)
    nonsense = request(server, "/ticket/?to=/_aisearch/instances/DOCS/jobs")
    assert (nonsense.status, nonsense.json()["errors"][0]["code"]) == (400, 400)
    for response in (missing, nonsense):
        assert not {"Set-Cookie", "Expires", "Content-Disposition", "X-App"} & {name for name, _ in response.headers}
    assert_job(request(server, "/ticket/?to=@a"), api)


def test_rewrite_last(nginx, api):
    server = start(nginx, api, """
        location /jobs/ { rewrite ^/jobs/([^/]+)/([^/]+)$ /_aisearch/instances/$1/jobs/$2 last; }
        location = /page { rewrite ^ /_aisearch/instances/docs/jobs?per_page=1 last; }
    """)
    assert_job(request(server, "/jobs/docs/a"), api)
    assert request(server, "/page?page=2").json()["result_info"]["page"] == 2
    assert api.requests()[-1].target.endswith("/jobs?page=2&per_page=1")
    assert_logged(server, "/_aisearch/instances/docs/jobs/a", (200, "MISS", "running", "a"), count=2)


def test_rewrite_break_makes_the_whole_uri_the_resource(nginx, api):
    server = start(nginx, api, """
        location /api/ { rewrite ^/api/(.*)$ /instances/docs/jobs/$1 break; aisearch_pass docs; }
        location /v1 { rewrite ^/v1/(.*)$ instances/docs/jobs/$1 break; aisearch_pass docs; }
        location /same/ { rewrite ^/same/(.*)$ /same/$1 break; aisearch_pass docs; }
    """)
    assert_job(request(server, "/api/a"), api)
    assert_job(request(server, "/v1/a"), api)
    assert request(server, "/same/instances/docs/jobs/a").status == 400
    assert_logged(server, "/instances/docs/jobs/a", (200, "MISS", "running", "a"), count=3)


def test_error_page_with_and_without_an_equals_sign(nginx, api):
    server = start(nginx, api, f"""
        root @PREFIX@;
        location /plain/ {{ error_page 404 /_aisearch/instances/docs/jobs/a; }}
        location /equals/ {{ error_page 404 = /_aisearch/instances/docs/jobs/a; }}
        location /as/ {{ error_page 404 =203 /_aisearch/instances/docs/jobs/a; }}
        location /named/ {{ error_page 404 = @job; }}
        location /missing/ {{ error_page 404 =200 /_aisearch/instances/docs/jobs/nope; }}
        location /gone/ {{ {TO_APP} proxy_intercept_errors on; error_page 404 = /_aisearch/instances/docs/jobs/a; }}
        location @job {{ aisearch_pass docs $uri_job; }}
    """, http="map $uri $uri_job { ~^/named/(?<name>.+)$ instances/docs/jobs/$name; }")
    assert_job(request(server, "/plain/x"), api, 404)
    assert_job(request(server, "/equals/x"), api)
    assert_job(request(server, "/as/x"), api, 203)
    assert_job(request(server, "/named/a"), api)
    assert_job(request(server, "/gone/x"), api)
    assert_job(request(server, "/equals/x", "POST", body=b"x" * 100_000), api)
    assert request(server, "/missing/x").json()["errors"][0]["code"] == 7021
    tag = request(server, "/equals/x").header("ETag")
    assert request(server, "/equals/x", headers=[("If-None-Match", tag)]).status == 304
    assert request(server, "/plain/x", headers=[("If-None-Match", tag)]).status == 404

    job = ("running", "a")
    hits = [(status, "HIT", *job) for status in (200, 200, 200, 200, 203, 304, 404)]
    assert_logged(server, "/_aisearch/instances/docs/jobs/a", (404, "MISS", *job), *hits, count=10)
    assert_logged(server, "/named/a", (200, "HIT", *job), count=10)


def test_error_page_drops_the_challenge(nginx, api):
    server = start(nginx, api, f"""
        error_page 401 = /_aisearch/instances/docs/jobs/a;
        location /login/ {{ {TO_APP} proxy_intercept_errors on; }}
        location /basic/ {{ auth_basic nginx; auth_basic_user_file /dev/null; }}
    """)
    assert_job(request(server, "/login/"), api)
    assert_job(request(server, "/basic/"), api)


def test_try_files(nginx, api):
    server = start(nginx, api, """
        root @PREFIX@;
        location /instances/ { try_files $uri /_aisearch$uri; }
        location ~ ^/job/(?<job>[^/]+)$ { try_files $uri @job; }
        location @job { aisearch_pass docs instances/docs/jobs/$job; }
    """)
    assert_job(request(server, "/instances/docs/jobs/a"), api)
    assert_job(request(server, "/job/a"), api)
    assert request(server, "/job/nope").status == 404
    assert_logged(server, "/_aisearch/instances/docs/jobs/a", (200, "MISS", "running", "a"), count=3)
    assert_logged(server, "/job/a", (200, "HIT", "running", "a"), count=3)


GUARDED = """
    location ~ ^/guarded/(?<guard>[^/]+)$ {
        auth_request /_guard;
        auth_request_set $state $aisearch_job_state;
        auth_request_set $cache $aisearch_cache_status;
        auth_request_set $reason $aisearch_end_reason;
        add_header X-State "$state,$cache,$reason" always;
        proxy_pass http://unix:@PREFIX@/app.sock:;
    }
"""


def test_auth_request_and_its_variables(nginx, api):
    server = start(nginx, api, GUARDED + """
        location = /_guard { internal; aisearch_pass docs instances/docs/jobs/$guard; }
    """)
    for job, told in (("a", "running,MISS,"), ("a", "running,HIT,"),
                      ("b", "failed,MISS,error: could not read the source")):
        response = request(server, f"/guarded/{job}")
        assert (response.status, response.body) == (200, f"app GET /guarded/{job}".encode())
        assert response.header("X-State") == told
        assert response.all("Cache-Control") == response.all("X-Aisearch-State") == []
    posted = request(server, "/guarded/a", "POST", body=b"x" * 100_000)
    assert (posted.status, posted.body) == (200, b"app POST /guarded/a")
    assert_logged(server, "/_guard", (200, "MISS", "running", "a"), (200, "HIT", "running", "a"),
                  (200, "MISS", "failed", "b"), (200, "HIT", "running", "a"), count=8)


def test_auth_request_of_a_missing_job(nginx, api):
    server = start(nginx, api, GUARDED + """
        location = /_guard { internal; aisearch_pass docs instances/docs/jobs/$guard; }
        location ~ ^/strict/(?<job>[^/]+)$ {
            auth_request /_strict;
            auth_request_set $told "$aisearch_cache_status,$aisearch_job_state,$aisearch_error";
            add_header X-Told $told always;
            proxy_pass http://unix:@PREFIX@/app.sock:;
        }
        location = /_strict {
            internal;
            aisearch_pass docs instances/docs/jobs/$job;
            aisearch_intercept_errors on;
            error_page 404 =403 /_denied;
            error_page 400 =403 @denied;
        }
        location = /_denied { internal; return 200 "$aisearch_cache_status"; }
        location @denied { return 200; }
    """)
    assert [request(server, f"/guarded/{job}").status for job in ("nope", "nope", "a%20b")] == [500] * 3
    for job, status, told in (("nope", 403, "HIT,,"), ("nope", 403, "HIT,,"), ("a%20b", 403, ",,refused"),
                              ("a", 200, "MISS,running,")):
        response = request(server, f"/strict/{job}")
        assert (response.status, response.header("X-Told")) == (status, told)
    assert_logged(server, "/_denied", (403, "HIT", "", "nope"), (403, "HIT", "", "nope"), count=14)
    server.allow_log("auth request unexpected status")


def test_ssi_includes(nginx, api, tmp):
    names = [f"instances/docs/{name}" for name in ("jobs/a", "jobs/b", "jobs?per_page=1", "jobs/nope")]
    parts = [gateway.direct(api, f"{api.base}/accounts/{gateway.ACCOUNT}/ai-search/{name}").body for name in names]
    api.forget()
    includes = "|".join(f'<!--# include virtual="/_aisearch/{name}" -->' for name in names + names[:1])
    (tmp / "page.shtml").write_text(f"[{includes}]", encoding="ascii")
    server = start(nginx, api, f"location /page {{ root {tmp}; ssi on; ssi_types *; }}")
    api.fault("/jobs/a$", times=1, delay=0.3)  # the response of the first include is the last to arrive

    for _ in range(2):
        response = request(server, "/page.shtml")
        assert (response.status, response.body) == (200, b"[" + b"|".join(parts + parts[:1]) + b"]")
        assert response.header("Content-Type") == "text/plain"
        assert response.all("X-Aisearch-State") == response.all("Age") == []
    assert api.count() == len(names)
    assert request(server, "/page.shtml", "HEAD").status == 200
    entries = gateway.lookups(server, 10)
    found = [entry["cache_status"] for entry in entries if entry["uri"] == "/_aisearch/instances/docs/jobs/a"]
    assert sorted(found[:4]) == ["COALESCED", "HIT", "HIT", "MISS"]
    assert_logged(server, "/_aisearch/instances/docs/jobs/nope", (404, "MISS", "", "nope"), (404, "HIT", "", "nope"),
                  count=10)


def test_ssi_include_into_a_variable_may_exceed_subrequest_output_buffer_size(nginx, api, tmp):
    api.instance("instances/many", [{"id": f"job-{n}", "description": "x" * 100} for n in range(50)])
    expected = gateway.direct(api, api.path("instances/many") + "?per_page=50").body
    assert len(expected) > 8192
    (tmp / "page.shtml").write_text('<!--# include virtual="/_aisearch/instances/many/jobs?per_page=50" set="jobs" -->'
                                    '[<!--# echo var="jobs" encoding="none" -->]', encoding="ascii")
    server = start(nginx, api, f"location /page {{ root {tmp}; ssi on; ssi_types *; }}")
    for _ in range(2):
        assert request(server, "/page.shtml").body == b"[" + expected + b"]"


def test_mirror_of_a_post_fetches_without_delay_for_the_client(nginx, api):
    server = start(nginx, api, f"""
        location /start/ {{ mirror /_mirror; {TO_APP} }}
        location = /_mirror {{ internal; aisearch_pass docs instances/docs/jobs/a; }}
    """)
    with server.connect() as connection:
        with gateway.held(api):
            for size in (0, 10, 100_000, 10):
                response = connection.request("/start/x", method="POST", body=b"x" * size)
                assert (response.status, response.body) == (200, b"app POST /start/x")
    net.wait_until(lambda: [r.status for r in api.requests()] == [200], what="the fetch to end")
    assert_logged(server, "/_mirror", (200, "MISS", "", "a"), *[(200, "COALESCED", "", "a")] * 3, count=8)


def test_a_mirror_fills_a_cold_entry_and_ignores_a_warm_one(nginx, api):
    server = start(nginx, api, f"""
        location /start/ {{ mirror /_mirror; {TO_APP} }}
        location = /_mirror {{ internal; aisearch_pass docs instances/docs/jobs/a; }}
        location = /job {{ aisearch_pass docs instances/docs/jobs/a; }}
    """)
    assert request(server, "/start/x", "POST", body=b"{}").body == b"app POST /start/x"
    net.wait_until(lambda: [r.status for r in api.requests()] == [200], what="the fetch to end")
    job = net.wait_until(lambda: (r := request(server, "/job")).header("X-Aisearch-Cache") == "HIT" and r)
    assert_job(job, api)
    for method in ("POST", "GET", "DELETE"):
        assert request(server, "/start/x", method).status == 200
    assert api.count() == 1


def test_a_failing_mirror_does_not_affect_the_request(nginx, api):
    server = start(nginx, api, f"""
        location /start/ {{ mirror /_nonsense; mirror /_broken; {TO_APP} }}
        location = /_nonsense {{ internal; aisearch_pass docs instances/docs/$uri; }}
        location = /_broken {{
            internal;
            aisearch_pass docs instances/docs/jobs/broken;
            aisearch_intercept_errors on;
            error_page 400 404 502 /_denied;
        }}
    """)
    api.fault("/broken$", status=502, body="<html>")
    for _ in range(3):
        assert request(server, "/start/x", "POST", body=b"{}").body == b"app POST /start/x"
        net.wait_until(lambda: api.count() == 3 and all(r.ended for r in api.requests()), what="the fetch to end")


NJS = """
    function answer(r, replies) {
        const told = replies.map(reply => [reply.status, reply.headersOut, reply.responseText || ""]);
        r.headersOut["Content-Type"] = "application/json";
        r.return(200, JSON.stringify(told));
    }
    async function one(r) {
        const reply = await r.subrequest(r.args.to, {method: r.args.method || "GET", args: r.args.more || ""});
        answer(r, [reply]);
    }
    async function two(r) {
        const replies = await Promise.all([r.args.first, r.args.second].map(to => r.subrequest(to)));
        answer(r, replies);
    }
    function detached(r) {
        r.subrequest(r.args.to, {detached: true});
        r.return(200, "done");
    }
    function forward(r) {
        %s.forEach(name => { r.headersOut[name] = "left over"; });
        r.headersOut["Set-Cookie"] = ["a=1", "b=2"];
        r.internalRedirect(r.args.to);
    }
    export default { one, two, detached, forward };
"""


# Headers that describe a body, but not that of the job.
LEFT_OVER = ["Age", "Cache-Control", "Content-Disposition", "Content-Encoding", "Content-Range", "ETag", "Expires",
             "Last-Modified", "Retry-After", "WWW-Authenticate", "Accept-Ranges",
             "X-Aisearch-State", "X-Aisearch-Cache"]


def start_njs(nginx, api, tmp, more=""):
    (tmp / "tests.js").write_text(NJS % json.dumps(LEFT_OVER), encoding="ascii")
    names = ("one", "two", "detached", "forward")
    locations = "".join(f"location = /{name} {{ js_content tests.{name}; }}" for name in names)
    return start(nginx, api, locations + more, http=f"js_import tests from {tmp}/tests.js;",
                 modules=(gateway.NJS,))


@gateway.needs_njs
def test_njs_subrequest(nginx, api, tmp):
    server = start_njs(nginx, api, tmp)
    for cache in ("MISS", "HIT"):
        [[status, headers, body]] = request(server, "/one?to=/_aisearch/instances/docs/jobs/a").json()
        assert (status, body.encode()) == (200, api.body)
        assert (headers["X-Aisearch-State"], headers["X-Aisearch-Cache"]) == ("running", cache)
    [[status, _, body]] = request(server, "/one?to=/_aisearch/instances/docs/jobs&more=per_page%3D1").json()
    assert (status, body.count('"id"')) == (200, 1)
    [[status, _, body]] = request(server, "/one?to=/_aisearch/instances/docs/jobs/nope").json()
    assert (status, "job_not_found" in body) == (404, True)
    [[status, headers, body]] = request(server, "/one?method=HEAD&to=/_aisearch/instances/docs/jobs/a").json()
    assert (status, headers["X-Aisearch-State"], body) == (200, "running", "")
    [[status, _, body]] = request(server, "/one?method=POST&to=/_aisearch/instances/docs/jobs/a").json()
    assert (status, '"code":405' in body) == (405, True)
    [[first, _, _], [second, _, _]] = request(
        server, "/two?first=/_aisearch/instances/docs/jobs/b&second=/_aisearch/instances/docs/jobs/b").json()
    assert (first, second, api.count("/jobs/b$")) == (200, 200, 1)
    job = ("running", "a")
    assert_logged(server, "/_aisearch/instances/docs/jobs/a", (200, "MISS", *job), (200, "HIT", *job),
                  (200, "HIT", *job), (405, "", "", ""), count=15)


@gateway.needs_njs
def test_njs_subrequest_may_exceed_subrequest_output_buffer_size(nginx, api, tmp):
    api.instance("instances/many", [{"id": f"job-{n}", "description": "ö" * 500} for n in range(50)])
    expected = gateway.direct(api, api.path("instances/many") + "?per_page=50").body
    server = start_njs(nginx, api, tmp)
    for _ in range(2):
        [[status, _, body]] = request(server, "/one?to=/_aisearch/instances/many/jobs&more=per_page%3D50").json()
        assert (status, body.encode()) == (200, expected)


@gateway.needs_njs
def test_njs_internal_redirect_drops_headers_about_another_body(nginx, api, tmp):
    server = start_njs(nginx, api, tmp)
    for _ in range(2):
        assert_job(request(server, "/forward?to=/_aisearch/instances/docs/jobs/a"), api)
    refused = request(server, "/forward?to=/_aisearch/instances/docs/nothing")
    assert refused.status == 400 and not {name for name, _ in refused.headers} & {*LEFT_OVER, "Set-Cookie"}


@gateway.needs_njs
def test_njs_detached_subrequest_fetches_without_delay_for_the_client(nginx, api, tmp):
    server = start_njs(nginx, api, tmp)
    with gateway.held(api):
        assert request(server, "/detached?to=/_aisearch/instances/docs/jobs/a").body == b"done"
    net.wait_until(lambda: [r.status for r in api.requests()] == [200], what="the fetch to end")
    net.wait_until(lambda: '"HIT"' in request(server, "/one?to=/_aisearch/instances/docs/jobs/a").body.decode())
    assert api.count() == 1


def test_if_and_limit_except(nginx, api):
    server = start(nginx, api, f"""
        location /read/ {{ limit_except POST {{ aisearch_pass docs instances/docs/jobs/a; }} {TO_APP} }}
        location /closed/ {{ aisearch_pass docs; limit_except GET {{ deny all; }} }}
        location /open/ {{ aisearch_pass docs; limit_except GET {{ allow all; }} }}
        location /if/ {{
            if ($arg_job) {{ aisearch_pass docs instances/docs/jobs/$arg_job; }}
            {TO_APP}
        }}
        location /inherit/ {{
            aisearch_pass docs;
            if ($arg_loud) {{ add_header X-Loud yes; }}
        }}
    """)
    assert_job(request(server, "/read/x"), api)
    assert request(server, "/read/x", "POST").body == b"app POST /read/x"
    assert request(server, "/read/x", "DELETE").status == 405
    assert_job(request(server, "/closed/instances/docs/jobs/a"), api)
    assert request(server, "/closed/instances/docs/jobs/a", "POST").status == 403
    assert_job(request(server, "/open/instances/docs/jobs/a"), api)
    assert request(server, "/open/instances/docs/jobs/a", "POST").header("Allow") == "GET, HEAD"
    assert_job(request(server, "/if/?job=a"), api)
    assert request(server, "/if/x").body == b"app GET /if/x"
    assert request(server, "/inherit/instances/docs/jobs/a?loud=1").header("X-Loud") == "yes"
    assert_logged(server, "/read/x", (200, "MISS", "running", "a"), (200, "", "", ""), (405, "", "", ""), count=10)
    assert_logged(server, "/if/", (200, "HIT", "running", "a"), count=10)


def test_addition_and_post_action(nginx, api):
    server = start(nginx, api, f"""
        location /around/ {{
            {TO_APP}
            addition_types *;
            add_before_body /_aisearch/instances/docs/jobs/a;
            add_after_body /_aisearch/instances/docs/jobs/nope;
        }}
        location /after/ {{ {TO_APP} post_action /_aisearch/instances/docs/jobs/b; }}
        location /itself/ {{ aisearch_pass docs; post_action /_aisearch/instances/docs/jobs/b; }}
    """)
    response = request(server, "/around/x")
    assert response.body.startswith(api.body + b"app GET /around/x{") and b"job_not_found" in response.body
    with server.connect() as connection:
        assert connection.request("/after/x").body == b"app GET /after/x"
    net.wait_until(lambda: api.count("/jobs/b$") == 1, what="the action")
    with server.connect() as connection:
        assert connection.request("/itself/instances/docs/jobs/a").body == api.body
    assert request(server, "/after/x").status == 200


# Errors.


def test_intercepted_errors_and_their_variables(nginx, api):
    api.fault("/jobs/down$", status=502, body="<html>")
    api.fault("/jobs/busy$", status=429, headers=[["Retry-After", "60"]])
    tell = '"$aisearch_cache_status $aisearch_job_state $aisearch_job_id $aisearch_error"'
    server = start(nginx, api, f"""
        location /jobs/ {{
            aisearch_pass docs;
            aisearch_intercept_errors on;
            error_page 400 403 404 405 /told;
            error_page 502 504 = @app;
            error_page 503 /told;
        }}
        location /quiet/ {{ aisearch_pass docs; error_page 404 502 /told; }}
        location /unmapped/ {{ aisearch_pass docs; aisearch_intercept_errors on; error_page 500 /told; }}
        location = /told {{ internal; return 200 {tell}; }}
        location @app {{ {TO_APP} add_header X-Told {tell}; }}
    """)

    def told(target, method="GET"):
        response = request(server, target, method)
        return response.status, response.body.decode()

    assert told("/jobs/instances/docs/jobs/nope") == (404, "MISS  nope ")
    assert told("/jobs/instances/DOCS/jobs/a") == (400, "   refused")
    assert told("/jobs/instances/docs/jobs/a", "POST") == (405, "   refused")
    down = request(server, "/jobs/instances/docs/jobs/down")
    assert (down.status, down.header("X-Told")) == (200, "MISS  down server")
    assert down.body == b"app GET /jobs/instances/docs/jobs/down"
    assert_job(request(server, "/jobs/instances/docs/jobs/a"), api)

    for target in ("/quiet/instances/docs/jobs/nope", "/unmapped/instances/docs/jobs/nope"):
        assert request(server, target).json()["errors"][0]["code"] == 7021
    assert request(server, "/quiet/instances/docs/jobs/down").json()["errors"][0]["code"] == 502
    busy = request(server, "/jobs/instances/docs/jobs/busy")  # the account is closed afterwards
    assert (busy.status, busy.body) == (503, b"MISS  busy rate_limited")
    assert busy.header("Retry-After") == "60"
    assert_logged(server, "/told", (404, "MISS", "", "nope"), (400, "", "", ""), (405, "", "", ""),
                  (503, "MISS", "", "busy"), count=9)


def test_an_error_page_that_is_a_lookup(nginx, api):
    server = start(nginx, api, """
        location /first/ {
            aisearch_pass docs;
            aisearch_intercept_errors on;
            error_page 404 = /second/instances/docs/jobs/b;
        }
        location /second/ { aisearch_pass docs; }
    """)
    response = request(server, "/first/instances/docs/jobs/nope")
    assert (response.status, response.json()["result"]["id"]) == (200, "b")
    assert_logged(server, "/second/instances/docs/jobs/b", (200, "MISS", "failed", "b"))


def test_recursive_error_pages_end(nginx, api):
    server = start(nginx, api, """
        location / {
            aisearch_pass docs;
            aisearch_intercept_errors on;
            recursive_error_pages on;
            error_page 404 = /instances/docs/jobs/nope;
        }
    """)
    assert request(server, "/instances/docs/jobs/never").status in (404, 500)
    assert api.count() == 2
    assert_job(request(server, "/instances/docs/jobs/a"), api)


# Interaction with other modules.


def test_gzip(nginx, api):
    server = start(nginx, api, """
        location / { aisearch_pass docs; gzip on; gzip_types application/json; gzip_min_length 0; gzip_vary on; }
    """)
    accept = ("Accept-Encoding", "gzip")
    for cache in ("MISS", "HIT"):
        zipped = request(server, "/instances/docs/jobs/a", headers=[accept])
        assert zipped.header("Content-Encoding") == "gzip" and gzip.decompress(zipped.body) == api.body
        assert (zipped.header("X-Aisearch-Cache"), zipped.header("Vary")) == (cache, "Accept-Encoding")
    plain = request(server, "/instances/docs/jobs/a")
    assert plain.body == api.body
    assert zipped.header("ETag") == "W/" + plain.header("ETag")
    for tag in (zipped.header("ETag"), plain.header("ETag")):
        assert request(server, "/instances/docs/jobs/a", headers=[accept, ("If-None-Match", tag)]).status == 304
    missing = request(server, "/instances/docs/jobs/nope", headers=[accept])
    assert (missing.status, b"job_not_found" in gzip.decompress(missing.body)) == (404, True)


@pytest.mark.parametrize("expires, expected", [
    ("1h", "max-age=3600"), ("-1", "no-cache"), ("epoch", "no-cache"), ("max", "max-age=315360000"),
    ("off", "private, max-age=4"), ("modified 1h", "max-age=3600"), ("0", "max-age=0")])
def test_expires_replaces_cache_control(nginx, api, expires, expected):
    server = start(nginx, api, f"""
        location / {{ aisearch_pass docs; expires {expires}; }}
        location /ticket/ {{ {TO_APP} }}
    """)
    for target in ("/instances/docs/jobs/a", "/ticket/?to=/instances/docs/jobs/a"):
        response = request(server, target)
        assert (response.status, response.header("Cache-Control")) == (200, expected)
        assert len(response.all("Expires")) == (0 if expires == "off" else 1)
    assert request(server, "/instances/docs/jobs/nope").header("Cache-Control") == "private, max-age=10"


def test_add_header_sees_the_variables(nginx, api):
    server = start(nginx, api, """
        add_header X-State "$aisearch_job_state,$aisearch_cache_status,$aisearch_age,$aisearch_error" always;
        location / { aisearch_pass docs; }
    """)
    assert request(server, "/instances/docs/jobs/a").header("X-State") == "running,MISS,0,"
    assert request(server, "/instances/docs/jobs/a").header("X-State") == "running,HIT,0,"
    assert request(server, "/instances/docs/jobs/nope").header("X-State") == ",MISS,0,"
    assert request(server, "/instances/docs/nothing").header("X-State") == ",,,refused"


def test_pipelined_requests_are_answered_in_order(nginx, api):
    server = start(nginx, api, "location / { aisearch_pass docs; }")
    api.fault("/jobs/b$", times=1, delay=0.2)
    wanted = [("GET", "/instances/docs/jobs/b", 200), ("GET", "/instances/docs/jobs/a", 200),
              ("HEAD", "/instances/docs/jobs/a", 200), ("GET", "/instances/docs/jobs/nope", 404),
              ("POST", "/instances/docs/jobs/a", 405), ("GET", "/instances/docs/jobs/b", 200),
              ("GET", "/instances/docs/jobs", 200)] * 20
    with server.connect() as connection:
        connection.send(b"".join(net.format_request(target, (), method) for method, target, _ in wanted))
        responses = [connection.read_response(method) for method, _, _ in wanted]
    assert [response.status for response in responses] == [status for _, _, status in wanted]
    ids = [response.json()["result"]["id"] for response in responses[:2]]
    assert ids == ["b", "a"]
    assert api.count() == 4


def test_http_1_0_and_close(nginx, api):
    server = start(nginx, api, "location / { aisearch_pass docs; }")
    with server.connect() as connection:
        connection.send(b"GET /instances/docs/jobs/a HTTP/1.0\r\n\r\n")
        response = connection.read_response()
        assert (response.status, response.body, connection.at_eof()) == (200, api.body, True)


# HTTP/2.

HTTP2 = """
    server {
        listen 127.0.0.1:@PORT_PLAIN@ http2;
        listen 127.0.0.1:@PORT_TLS@ ssl http2;
        ssl_certificate %s;
        ssl_certificate_key %s;
        location / { aisearch_pass docs; }
    }
"""


def curl(*arguments, check=True):
    run = subprocess.run(["curl", "--silent", "--show-error", "--max-time", str(20 * SLOWNESS), *arguments],
                         capture_output=True, timeout=60, check=False)
    assert not check or run.returncode == 0, run.stderr
    return run.stdout


@pytest.fixture
def http2(nginx, api, certificates):
    """nginx with HTTP/2, and curl's arguments to reach it in plain text and over TLS."""
    server = start(nginx, api, "", http=HTTP2 % (certificates.certificate("good"), certificates.key("good")), workers=2)
    server.clients = {
        "plain": ("--http2-prior-knowledge", f"http://localhost:{server.ports['PLAIN']}"),
        "tls": ("--http2", f"https://localhost:{server.ports['TLS']}"),
    }
    server.curl_ca = ["--ipv4", "--cacert", str(certificates.ca_file)]
    return server


@pytest.mark.parametrize("client", ["plain", "tls"])
def test_http_2(http2, api, client):
    option, base = http2.clients[client]
    url = base + "/instances/docs/jobs/a"
    write = ["--write-out", "\n%{http_code} %{http_version} %{content_type} %header{x-aisearch-cache}"]

    def get(*arguments):
        *body, told = curl(option, *http2.curl_ca, *write, *arguments).split(b"\n")
        return b"\n".join(body), told.decode()

    assert get(url) == (api.body, "200 2 application/json MISS")
    assert get(url) == (api.body, "200 2 application/json HIT")
    assert get("--head", url)[1] == "200 2 application/json HIT"
    assert get("--data", "@/dev/null", url)[1].startswith("405 2 ")
    assert get(base + "/instances/docs/jobs/nope")[1] == "404 2 application/json MISS"
    headers = curl(option, *http2.curl_ca, "--dump-header", "-", "--output", "/dev/null", url).decode()
    tag = next(line.partition(": ")[2] for line in headers.splitlines() if line.lower().startswith("etag: "))
    assert get("--header", f"If-None-Match: {tag}", url) == (b"", "304 2  HIT")


def test_http_2_many_streams_wait_simultaneously(http2, api):
    option, base = http2.clients["tls"]
    jobs = [f"job-{n}" for n in range(40)]
    api.instance("instances/docs", [{"id": job} for job in jobs])
    api.fault("/jobs/", times=len(jobs), delay=0.3)
    urls = [f"{base}/instances/docs/jobs/{job}" for job in jobs * 2]
    outputs = [argument for url in urls for argument in ("--output", "/dev/null", url)]
    told = curl(option, *http2.curl_ca, "--parallel", "--parallel-max", "100", "--write-out", "%{http_code}\n",
                *outputs)
    assert told.split() == [b"200"] * len(urls)
    assert api.count() == len(jobs)


def test_http_2_streams_that_are_reset_while_waiting(http2, api):
    option, base = http2.clients["plain"]
    with gateway.held(api):
        for job in ("a", "b", "a"):
            curl(option, *http2.curl_ca, "--max-time", "0.3", f"{base}/instances/docs/jobs/{job}", check=False)
    net.wait_until(lambda: sorted(r.status or 0 for r in api.requests()) == [200, 200], what="the fetches to end")
    assert curl(option, *http2.curl_ca, f"{base}/instances/docs/jobs/a") == api.body
    assert api.count() == 2


# Clients that disconnect.


def test_a_client_that_disconnects_while_several_includes_wait(nginx, api, tmp):
    """
    The includes request several entries, some of them twice, and some larger than a socket's buffer, so that the first
    response arrives in different states.
    """
    api.instance("instances/many", [{"id": f"job-{n}", "description": "x" * 5000} for n in range(50)])
    targets = [f"instances/docs/jobs/{job}" for job in "abab"] + ["instances/many/jobs?per_page=50"] * 3
    includes = "".join(f'<!--# include virtual="/_aisearch/{target}" -->' for target in targets)
    (tmp / "page.shtml").write_text(includes, encoding="ascii")
    server = start(nginx, api, f"""
        location /page {{ root {tmp}; ssi on; ssi_types *; }}
        location / {{ aisearch_pass docs; }}
    """, http="aisearch_valid active 0; aisearch_valid ended 0; aisearch_valid list 0;")
    [worker] = server.workers()
    before = len(gateway.open_sockets(worker))

    for reset in (False, True):
        for _ in range(10):
            with contextlib.ExitStack() as stack, gateway.held(api):
                for _ in range(3):
                    client = stack.enter_context(server.connect())
                    if reset:
                        gateway.reset_on_close(client)
                    client.send(net.format_request("/page.shtml"))
                gateway.wait_for_requests(server, 1)
    net.wait_until(lambda: api.counters()["in_flight"] == 0, what="the fetches to end")

    page = request(server, "/page.shtml")
    assert page.status == 200 and page.body.startswith(api.body)
    assert server.workers() == [worker]
    net.wait_until(lambda: len(gateway.open_sockets(worker)) <= before + 10, what="the sockets to be closed")
