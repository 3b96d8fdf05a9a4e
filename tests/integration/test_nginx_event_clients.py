"""Third-party clients wait for changes and receive events, directly and through an nginx in front."""

import contextlib
import json
import pathlib
import re
import shutil
import subprocess
import time

import pytest

from clients import environment, packages
from gateway import ACCESS_LOG, account
from harness import ROOT, SLOWNESS, net, process
from harness.browser import Browser, missing
from harness.edge import Certificates

INSTANCE = "instances/docs"
JOB = "/client/v4/instances/docs/jobs/a"
PAGE = "/page"
LISTENER = pathlib.Path(__file__).with_name("eventsource") / "listen.js"

SERVER = f"""
    location /client/v4/ {{ aisearch_pass docs; aisearch_wait 30s; aisearch_events on; }}
    location = {PAGE} {{ default_type text/html; access_log off; return 200 "<!doctype html><title>x</title>"; }}
    location = /favicon.ico {{ access_log off; return 204; }}
    location = /aisearch_status {{ aisearch_status; access_log off; }}
"""

# Routes to the server: direct, or through an nginx with minimal proxy settings.
WAYS = {
    "straight": None,
    "proxied": "",
    "proxied by HTTP/1.1": 'proxy_http_version 1.1; proxy_set_header Connection "";',
}

SOON = 4  # seconds for a change; the entry is refreshed every second
BACK = 8  # seconds for a client that reconnects after 2 to 4 seconds


def start(nginx, simulator, http="", **parts):
    valid = "aisearch_valid active 1s; aisearch_valid list 1s; aisearch_valid error 200ms;"
    return nginx(http=account(simulator, "budget 100000 1s;") + ACCESS_LOG + valid + http, server=SERVER, **parts)


def reached(nginx, server, way):
    """The URL of the server, or of an nginx in front of it."""
    if WAYS[way] is None:
        return server.url
    location = f"location / {{ proxy_pass {server.url}; {WAYS[way]} }}"
    return nginx(aisearch=False, server=location).url


def by_tls(tmp):
    """Another server block, for HTTP/2."""
    good = Certificates(tmp)
    return f"""server {{
        listen 127.0.0.1:@PORT_TLS@ ssl http2;
        ssl_certificate {good.certificate("good")};
        ssl_certificate_key {good.key("good")};
        {SERVER}
    }}"""


def watchers(server, count, timeout=5):
    net.wait_until(lambda: server.get("/aisearch_status").json()["accounts"]["docs"]["watchers"] == count, timeout,
                   f"{count} watchers")


# Each is a context manager that yields a function. It returns all events so far, in the format of listen.js.


@contextlib.contextmanager
def chromium(url, tmp):
    if missing():
        pytest.skip(f"not installed: {', '.join(missing())}")
    with Browser(tmp) as browser:
        browser.open(re.sub("(?<=[0-9])/.*", PAGE, url))
        browser.run("""
            const source = new EventSource(arguments[0]);
            window.told = [];
            for (const type of ['message', 'end', 'fault', 'recovered'])
                source.addEventListener(type, ({ data, lastEventId }) => told.push({ type, data, id: lastEventId }));
            source.addEventListener('error', () => {
                if (source.readyState === EventSource.CLOSED)
                    told.push({ type: 'closed' });
            });
        """, url)
        yield lambda: browser.run("return window.told")


@contextlib.contextmanager
def node(url, tmp):
    home = packages("eventsource", "the EventSource for Node.js")
    with (tmp / "told").open("wb") as told:
        child = process.start(["node", LISTENER, url], stdin=subprocess.DEVNULL, stdout=told,
                              env=environment(NODE_PATH=str(home / "node_modules")))
    try:
        yield lambda: [json.loads(line) for line in (tmp / "told").read_text().splitlines(True) if line.endswith("\n")]
    finally:
        with contextlib.suppress(ProcessLookupError):
            child.kill()
        child.wait()


def description(event):
    return json.loads(event["data"])["result"]["description"]


@pytest.mark.parametrize("client, way", [
    (chromium, "straight"), (chromium, "proxied"), (node, "straight"), (node, "proxied by HTTP/1.1")])
def test_an_eventsource(client, way, nginx, simulator, tmp):
    simulator.freeze()
    simulator.job(INSTANCE, "a", state="running", description="one")
    server = start(nginx, simulator)
    with client(reached(nginx, server, way) + JOB, tmp) as told:

        def come(count, timeout=SOON):
            net.wait_until(lambda: len(told()) >= count, timeout, f"{count} events")

        come(1, 15)
        simulator.job(INSTANCE, "a", description="two")
        come(2)

        server.reload()  # nothing has changed when it reconnects
        watchers(server, 1, BACK)
        time.sleep(1)
        assert len(told()) == 2

        server.reload()  # something changes while it is disconnected
        simulator.job(INSTANCE, "a", description="three")
        come(3, BACK)

        simulator.job(INSTANCE, "a", state="succeeded")
        come(6, SOON + BACK)  # it reconnects once more, and gets a 204
        time.sleep(1)
        events = told()

    assert [event["type"] for event in events] == ["message", "message", "message", "message", "end", "closed"]
    assert [description(event) for event in events[:5]] == ["one", "two", "three", "three", "three"]
    assert len({event["id"] for event in events[:4]}) == 4 and events[3]["id"] == events[4]["id"]
    statuses = [json.loads(line)["status"] for line in server.access_log("lookups.log")]
    assert set(statuses[:-1]) == {"200"} and statuses[-1] == "204"


def test_a_connection_accepted_by_the_old_worker(nginx, simulator):
    """
    Browsers open connections in advance, and reconnect over them: the stream ends like others of that worker, without
    an error.
    """
    simulator.freeze()
    simulator.job(INSTANCE, "a", state="running", description="one")
    server = start(nginx, simulator)
    etag = server.get(JOB).header("ETag")
    with server.connect() as another, server.connect() as connection:
        another.send(b"GET ")
        connection.send(b"GET ")
        time.sleep(0.2)
        server.reload(wait_old=False)
        accept = ("Accept", "text/event-stream")
        connection.send(net.format_request(JOB, [accept]).removeprefix(b"GET "))
        response = connection.read_response()
        assert (response.status, response.header("Connection")) == (200, "close")
        assert response.body.count(b"\ndata: ") == 1
        another.send(net.format_request(JOB, [accept, ("Last-Event-ID", etag)]).removeprefix(b"GET "))
        response = another.read_response()
        assert (response.status, response.body.count(b"\ndata: ")) == (200, 0)


def test_chromium_over_http2(nginx, simulator, tmp):
    simulator.freeze()
    simulator.job(INSTANCE, "a", state="running", description="one")
    server = start(nginx, simulator, http=by_tls(tmp))
    with chromium(f"https://127.0.0.1:{server.ports['TLS']}{JOB}", tmp) as told:
        net.wait_until(lambda: len(told()) == 1, 15, "an event")
        simulator.job(INSTANCE, "a", description="two")
        net.wait_until(lambda: len(told()) == 2, SOON, "a change")
        server.reload()
        simulator.job(INSTANCE, "a", description="three", state="succeeded")
        net.wait_until(lambda: len(told()) == 5, 2 * BACK, "the end")
        events = told()
    assert [event["type"] for event in events] == ["message", "message", "message", "end", "closed"]
    assert [description(event) for event in events[:4]] == ["one", "two", "three", "three"]
    assert {json.loads(line)["request"].split()[-1] for line in server.access_log("lookups.log")} == {"HTTP/2.0"}


def watch_of_the_manual():
    """The function in the manual that repeatedly creates an EventSource."""
    [code] = re.findall(r"```js\n(function watch.*?)```", (ROOT / "docs/nginx.md").read_text(), re.DOTALL)
    return code


def test_the_documented_example_reconnects_after_a_refusal(nginx, simulator, tmp):
    if missing():
        pytest.skip(f"not installed: {', '.join(missing())}")
    simulator.freeze()
    simulator.job(INSTANCE, "a", state="running", description="one")
    server = start(nginx, simulator, http="aisearch_limit_fetches all rate=1r/m;")
    server.get("/client/v4/instances/docs/jobs/b")  # so that no fetch is left
    with Browser(tmp) as browser:
        browser.open(server.url + PAGE)
        browser.run(watch_of_the_manual() + """
            window.told = [];
            watch(arguments[0], (type, body) => told.push([type, body.result.description]), 100);
        """, JOB)

        def refusals():
            return [line for line in map(json.loads, server.access_log("lookups.log")) if line["status"] == "429"]

        net.wait_until(lambda: len(refusals()) >= 4, 10, "refusals")
        server.config.http = server.config.http.replace("rate=1r/m", "rate=100r/s")
        server.reload(server.config)
        net.wait_until(lambda: browser.run("return told") == [["message", "one"]], 15, "an event")
        simulator.job(INSTANCE, "a", description="two", state="succeeded")
        net.wait_until(lambda: browser.run("return told.length") == 3, SOON, "the end")
        assert browser.run("return told") == [["message", "one"], ["message", "two"], ["end", "two"]]
        refused = len(refusals())
        time.sleep(2)
        assert len(server.access_log("lookups.log")) == 1 + refused + 1


def curl(url, *options):
    if shutil.which("curl") is None:
        pytest.skip("curl is not installed")
    return process.start(["curl", "-sN", "--noproxy", "*", "--max-time", 60 * SLOWNESS, *options, url],
                         stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True)


def next_event(stream):
    """The fields of the next event; returns as soon as nginx has sent all of them."""
    fields = {}
    while (line := stream.readline()) != "\n" or not fields.keys() - {"retry", ""}:
        assert line, "the stream has ended"
        name, _, value = line.rstrip("\n").partition(":")
        fields[name] = value.removeprefix(" ")
    return fields


@pytest.mark.parametrize("way", WAYS)
def test_curl_listens(way, nginx, simulator):
    simulator.freeze()
    simulator.job(INSTANCE, "a", state="running", description="one")
    server = start(nginx, simulator)
    url = reached(nginx, server, way) + JOB
    accept = ["-H", "Accept: text/event-stream"]

    with curl(url, *accept) as client:
        first = next_event(client.stdout)
        assert description(first) == "one"
        simulator.job(INSTANCE, "a", description="two")
        changed = time.monotonic()
        second = next_event(client.stdout)
        assert description(second) == "two" and time.monotonic() - changed < SOON * SLOWNESS
        server.reload()
        assert client.stdout.read() == ""
    assert client.returncode == 0

    with curl(url, *accept, "-H", f"Last-Event-ID: {second['id']}") as client:
        watchers(server, 1)
        simulator.job(INSTANCE, "a", state="failed")
        assert description(next_event(client.stdout)) == "two"
        end = next_event(client.stdout)
        assert end["event"] == "end" and client.stdout.read() == ""
    assert client.returncode == 0

    with curl(url, *accept, "-H", f"Last-Event-ID: {end['id']}", "-w", "%{http_code}") as client:
        assert client.stdout.read() == "204"


@pytest.mark.parametrize("way", WAYS)
def test_curl_waits(way, nginx, simulator):
    simulator.freeze()
    simulator.job(INSTANCE, "a", state="running")
    server = start(nginx, simulator)
    with curl(reached(nginx, server, way) + JOB, "-H", "Prefer: wait=50", "-D", "-") as client:
        watchers(server, 1)
        simulator.job(INSTANCE, "a", state="succeeded")
        response = client.stdout.read()
    assert client.returncode == 0
    assert "\nPreference-Applied: wait=30\n" in response and "\nX-Aisearch-State: succeeded\n" in response
