"""
Helpers that run the real things around a test: the simulator, nginx, a TLS edge, bad upstreams. Plain classes and
context managers, without pytest; tests/integration/conftest.py makes fixtures of them.

    simulator.Simulator   the API simulator, and orders to it
    nginx.Nginx           nginx with the module; nginx.config_test()
    collectd.Collectd     collectd with the plugin, and what it reports; collectd.refusal()
    unixsock.UnixSock     asks collectd's unixsock plugin
    prometheus.Prometheus a Prometheus that scrapes them
    edge.Edge             a second nginx: TLS and HTTP/2 in front of the simulator
    stall                 upstreams that refuse, stall or break, and slow DNS
    shortage.Shortage     memory that runs out in a daemon, at a chosen allocation
    flood.Flood           one that sends without end, as fast as it can
    illness.Upstream      one that falls ill in a certain way, and recovers; http2 has the frames for it
    hostile.Hostile       a client that means harm, in one of many ways
    events.Stream         a client of text/event-stream
    http2_client.Client   a client of HTTP/2 that takes as much as it wants
    browser.Browser       Chromium without a window
    clock.Clock           the clocks of a daemon, to be advanced and set
    proxy.ForwardProxy    a forward proxy between a daemon and its upstream
    canary                looks for the credential where it must not stand
    memory                sanitizers and valgrind around a daemon, and what they report
    net                   a raw HTTP client, polling, what a process holds
    process               start and stop child processes that never outlive us
"""

import contextlib
import os
import pathlib
import resource
import shutil
import tempfile

TESTS = pathlib.Path(__file__).resolve().parent.parent
ROOT = TESTS.parent
BUILD = pathlib.Path(os.environ.get("AIS_BUILD") or ROOT / "build")

# Sanitizer runtimes, to be loaded before a daemon that was not built with them.
PRELOAD = os.environ.get("AIS_PRELOAD", "").split()
VALGRIND = bool(os.environ.get("AIS_VALGRIND"))

# Many clients at once need many descriptors, in us and in the daemons, which have our limits.
DESCRIPTORS = 16384

# Every bounded wait is stretched by this much.
SLOWNESS = 20 if VALGRIND else 3 if PRELOAD else 1


def _raise_limit() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < DESCRIPTORS:
        allowed = DESCRIPTORS if hard == resource.RLIM_INFINITY else min(hard, DESCRIPTORS)
        resource.setrlimit(resource.RLIMIT_NOFILE, (allowed, hard))


_raise_limit()


@contextlib.contextmanager
def temp_dir():
    """
    A directory that is gone at the end. Its path is short, for Unix sockets, and open to read: nginx's workers run as
    another user when we are root.
    """
    path = pathlib.Path(tempfile.mkdtemp(prefix="ais-"))
    path.chmod(0o755)
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)
