"""
nginx with many clients that wait for one job to change: by event streams, waits or polling. For comparison nchan, whose
subscribers receive what somebody publishes.
"""

import contextlib
import json
import time
from collections.abc import Iterator
from typing import NamedTuple

from harness import net
from harness.nginx import Config, Nginx

from . import contenders
from .contenders import ACTIVE_TARGET, Setting, job_target, spread
from .tools import Told, Upstream, Watchers

EVENTS, WAITS, POLLS, NCHAN = COLUMNS = ("events", "waits", "polls", "nchan")
JOB = job_target(1, ACTIVE_TARGET)
FRESH = 1.0  # s, the lifetime of a running job, and so the shortest interval between refreshes for watchers


class Server(NamedTuple):
    """An nginx, and a job or channel in it that changes on request."""

    nginx: Nginx
    kind: str  # of watchers
    port: int
    target: str
    upstream: Upstream | None

    def watchers(self, count: int) -> Watchers:
        return Watchers(self.kind, self.port, self.target, count)

    def change(self) -> None:
        if self.upstream:
            self.upstream.change()
        else:
            _publish(self.nginx)

    def change_and_tell(self, watchers: Watchers) -> "News":
        watchers.forget()
        made = time.monotonic()
        self.change()
        told = watchers.told()
        return News(self.upstream.served() if self.upstream else made, told)

    def cpu_seconds(self) -> float:
        return sum(map(net.run_seconds, self.nginx.workers()))

    def rss(self) -> int:
        return sum(map(net.rss, self.nginx.workers()))


class News(NamedTuple):
    """A change that was delivered; milliseconds since the API first responded with it, or since it was published."""

    made: float  # by time.monotonic()
    told: Told

    @property
    def last(self) -> float:
        return (self.told.last - self.made) * 1000

    @property
    def median(self) -> float:
        return (self.told.median - self.made) * 1000


def _many(config: Config, workers: int) -> Config:
    """Lets each worker handle all connections."""
    config.main = "worker_rlimit_nofile 20000;"
    config.connections = 19_500
    return spread(config, workers)


def aisearch(setting: Setting, workers: int) -> Config:
    config = contenders.aisearch(setting)
    config.http += f"aisearch_valid active {FRESH:g}s; aisearch_events on; aisearch_wait 60s;"
    return _many(config, workers)


_NCHAN = """
    nchan_channel_id job;
    nchan_message_buffer_length 1;
"""


def _nchan(workers: int) -> Config:
    """
    It keeps one message, which a subscriber gets at once, like the current state in our module. Other clients request a
    "return 200" location.
    """
    config = Config(aisearch=False, modules=("ngx_nchan_module.so",), server=f"""
        access_log off;
        keepalive_requests 1000000000;
        location = /watch {{ nchan_subscriber eventsource; {_NCHAN} }}
        location = /publish {{ nchan_publisher; {_NCHAN} }}
        location /client/v4/ {{ default_type application/json; return 200 '{_body()}'; }}
    """)
    return _many(config, workers)


def _body() -> str:
    return json.dumps({"success": True, "result": {"id": "x", "changed": time.monotonic(), "description": ""}}).replace(
        '""', f'"{"x" * 200}"')


def _publish(nginx: Nginx) -> None:
    response = nginx.get("/publish", method="POST", body=_body().encode())
    assert response.status in (201, 202), response


@contextlib.contextmanager
def serving(bench, kind: str, workers: int = 2) -> Iterator[Server]:
    """A separate nginx for each contender."""
    with contextlib.ExitStack() as stack:
        if kind == NCHAN:
            nginx = stack.enter_context(Nginx(bench.tmp, _nchan(workers)))
            _publish(nginx)
            yield Server(nginx, EVENTS, nginx.ports["SPREAD"], "/watch", None)
        else:
            upstream = stack.enter_context(Upstream())
            nginx = stack.enter_context(Nginx(bench.tmp, aisearch(Setting(bench.tmp, upstream), workers)))
            yield Server(nginx, kind, nginx.ports["SPREAD"], JOB, upstream)
