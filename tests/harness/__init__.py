"""
Helpers that run real programs for a test: the simulator, nginx, a TLS edge, bad upstreams. Plain classes and context
managers, independent of pytest; tests/integration/conftest.py turns them into fixtures.

    simulator.Simulator   the API simulator, and orders to it
    nginx.Nginx           nginx with the module; nginx.config_test()
    collectd.Collectd     collectd with the plugin, and what it reports; collectd.refusal()
    unixsock.UnixSock     a client of collectd's unixsock plugin
    prometheus.Prometheus a Prometheus server that scrapes them
    examples              the files of config/
    edge.Edge             a second nginx: TLS and HTTP/2 in front of the simulator
    stall                 upstreams that refuse, stall or break, and slow DNS
    shortage.Shortage     makes a daemon's memory allocations fail
    flood.Flood           an upstream that sends endless data at full speed
    illness.Upstream      an upstream that fails in a given way and recovers; http2 has the frames for it
    hostile.Hostile       a malicious client, in one of many ways
    events.Stream         a text/event-stream client
    http2_client.Client   an HTTP/2 client that controls its flow-control window
    browser.Browser       headless Chromium
    clock.Clock           a daemon's clocks, which can be advanced and set
    proxy.ForwardProxy    a forward proxy between a daemon and its upstream
    canary                searches for credentials where they must not be
    memory                runs a daemon with sanitizers or valgrind, and checks their reports
    net                   a raw HTTP client, polling, the resources of a process
    process               starts and stops child processes that never outlive us
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

# Sanitizer runtimes to preload into a daemon that was not built with them.
PRELOAD = os.environ.get("AIS_PRELOAD", "").split()
VALGRIND = bool(os.environ.get("AIS_VALGRIND"))

# Many concurrent clients need many descriptors, in this process and in the daemons, which inherit our limit.
DESCRIPTORS = 16384

# All timeouts are multiplied by this.
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
    A temporary directory. Its path is short, because of Unix sockets, and the directory is readable by all, since
    nginx's workers run as another user if we are root.
    """
    path = pathlib.Path(tempfile.mkdtemp(prefix="ais-"))
    path.chmod(0o755)
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)
