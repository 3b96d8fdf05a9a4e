"""The debug log: the lines of lookups and watchers, and their documentation in docs/nginx.md."""

import re
import subprocess

import pytest

import gateway
from gateway import WORKERS, account
from harness import ROOT
from harness.events import Stream
from harness.nginx import BINARY

JOB = "/instances/docs/jobs/a"

_HAS_DEBUG = b"--with-debug" in subprocess.run([BINARY, "-V"], stderr=subprocess.PIPE, check=True).stderr
needs_debug = pytest.mark.skipif(not _HAS_DEBUG, reason="this nginx is built without --with-debug")


def start(nginx, simulator, *directives, more="", **parts):
    return nginx(http=account(simulator, "budget 100000 1s;", *directives), level="debug",
                 server=f"location / {{ aisearch_pass docs; {more} }}" + WORKERS, **parts)


def shape(line):
    """Removes what differs from run to run; returns None for lines whose number depends on the time."""
    text = re.sub(r"key:[0-9a-f]{8}", "key:K", line[line.index(" aisearch ") + 1:])
    text = re.sub(r"(time|age|ticket|wait):-?\d+", r"\1:N", text)
    return None if "renewed" in text or "follow: key:K serve:nothing" in text else text


def by_worker(lines):
    """The shapes of each worker's lines, ordered by the first line of each worker."""
    found = {}
    for line in lines:
        worker = re.search(r"(\d+)#\1: ", line)[1]
        found.setdefault(worker, []).append(shape(line))
    return [[text for text in shapes if text] for shapes in found.values()]


def logged(server):
    return [line for line in server.error_log().splitlines() if "[debug]" in line and " aisearch " in line]


def chapter():
    page = (ROOT / "docs/nginx.md").read_text()
    return re.search(r"^## Reading one lookup in a debug log\n(.*?)(?=^## )", page, re.DOTALL | re.MULTILINE)[1]


def kinds():
    """The initial words of all kinds of lines, from the sources."""
    sources = "".join(path.read_text() for path in sorted((ROOT / "nginx-module").glob("*.c")))
    return set(re.findall(r'ngx_log_debug\d\([^"]*"aisearch ([a-z ]+): ', sources))


@needs_debug
def test_a_miss_a_follower_and_a_hit_are_logged_as_documented(nginx, simulator):
    """In two workers: the first one fetches, the second one waits for it."""
    simulator.job("instances/docs", "a", state="running")
    server = start(nginx, simulator, workers=2)
    with gateway.connections(server) as workers:
        with gateway.held(simulator):
            gateway.send_to_each(server, workers, JOB)
        first, second = [connection.read_response() for connection in workers.values()]
        hit = next(iter(workers.values())).request(JOB)
    assert [response.header("X-Aisearch-Cache") for response in (first, second, hit)] == ["MISS", "COALESCED", "HIT"]
    lines = logged(server)
    print(*lines, sep="\n")
    assert len(set(re.findall("key:[0-9a-f]{8}", "\n".join(lines)))) == 1
    [excerpt] = re.findall(r"^```\n(.*?)^```$", chapter(), re.DOTALL | re.MULTILINE)
    assert by_worker(lines) == by_worker(excerpt.splitlines()[1:])


@needs_debug
def test_a_hit_logs_two_lines_of_its_connection(nginx, simulator):
    simulator.job("instances/docs", "a", state="succeeded")
    server = start(nginx, simulator)
    server.get(JOB)
    begin = len(logged(server))
    assert server.get(JOB).header("X-Aisearch-Cache") == "HIT"
    lines = logged(server)[begin:]
    assert [shape(line) for line in lines] == [
        'aisearch lookup: docs "instances/docs/jobs/a" key:K decision:HIT fetch:nobody',
        "aisearch answer: 200 HIT fault:none age:N"]
    assert len({re.search(r" (\*\d+) ", line)[1] for line in lines}) == 1


@needs_debug
def test_a_stream_and_a_blocked_fetch_are_logged(nginx, simulator):
    simulator.job("instances/docs", "a", state="running")
    server = start(nginx, simulator, "retries 0;", more="aisearch_events on; aisearch_valid active 1s; "
                   "aisearch_valid error 0; aisearch_limit_fetches $arg_client rate=60r/m burst=60;")
    with Stream(server.address, JOB) as stream:
        stream.next()
        simulator.job("instances/docs", "a", description="two")
        stream.next()
    simulator.fault("/jobs/", script=[{"reset": True}])
    for job in range(12):
        server.get(f"/instances/docs/jobs/{job}?client=x")
    shapes = [text for text in map(shape, logged(server)) if text]
    for text in ("watch: key:K version:", "event: key:K type:0", "refresh: key:K serve:updating fetch:leader",
                 "pace: interval:", "change: key:K version:", "notify: key:K version:", "unwatch: key:K",
                 "limit: key:K excess:", "breaker: docs holds back, fault:connect", "no fetch: key:K fault:connect wait:N"):
        assert any(line.startswith(f"aisearch {text}") for line in shapes), text


def test_each_kind_of_line_is_documented():
    assert len(kinds()) >= 20
    rows = re.findall(r"^\| (`.*?) \| .*\|$", chapter(), re.MULTILINE)
    assert sorted(name for row in rows for name in re.findall("`([a-z ]+)`", row)) == sorted(kinds())
