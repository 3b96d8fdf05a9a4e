"""Requests that wait and streams of events leave others the connections that they need."""

import contextlib

from gateway import account
from harness import net
from harness.events import Stream

JOB = "/client/v4/instances/docs/jobs/a"
ACCEPT = ("Accept", "text/event-stream")
CONNECTIONS = 80

SERVER = """
    location /client/v4/ { aisearch_pass docs; aisearch_wait 30s; aisearch_events on; }
    location = /aisearch_status { aisearch_status; access_log off; }
"""


def start(nginx, simulator):
    return nginx(http=account(simulator, "budget 100000 1s;") + "aisearch_valid active 1s;", server=SERVER,
                 connections=CONNECTIONS)


def watchers(server, count):
    net.wait_until(lambda: server.get("/aisearch_status").json()["accounts"]["docs"]["watchers"] == count, 5,
                   f"{count} watchers")


def test_an_eighth_of_the_connections_stays_free(nginx, simulator):
    simulator.freeze()
    for job in "a", "b", "c":
        simulator.job("instances/docs", job, state="running")
    server = start(nginx, simulator)
    with contextlib.ExitStack() as stack:
        streams = []
        while (stream := stack.enter_context(Stream(server.address, JOB))).status == 200:
            streams.append(stream)
        assert stream.status == 503 and int(stream.header("Retry-After")) >= 1
        free = CONNECTIONS // 8
        assert CONNECTIONS - free - 10 <= len(streams) <= CONNECTIONS - free
        stream.close()
        watchers(server, len(streams))

        response = server.get(JOB, [("Prefer", "wait=20")])
        assert (response.status, response.header("X-Aisearch-State")) == (200, "running")
        assert response.header("Preference-Applied") == "wait=20" and response.elapsed < 1
        others = [server.get(JOB.replace("/a", f"/{job}")).status for job in "bc"]  # fetches
        assert others == [200, 200]

        simulator.job("instances/docs", "a", description="new")
        assert all(stream.next().type == "message" and stream.next().type == "message" for stream in streams)

        streams.pop().close()
        watchers(server, len(streams))
        assert stack.enter_context(Stream(server.address, JOB)).status == 200
    watchers(server, 0)
