"""Fixtures. At the end of a test, they stop everything that they have started, and check it."""

import contextlib

import pytest

from harness import canary, temp_dir
from harness import collectd as collectd_harness
from harness.edge import Certificates, Edge
from harness.nginx import Config, Nginx
from harness.simulator import Simulator

canary.hunting = True


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    report = (yield).get_result()
    if report.when == "call":
        item.stash[_FAILED] = report.failed


_FAILED = pytest.StashKey[bool]()


@pytest.fixture
def tmp():
    """A temporary directory with a short path that nginx's workers can access."""
    with temp_dir() as path:
        yield path


@pytest.fixture(scope="session")
def _shared_simulator():
    with temp_dir() as path, Simulator(path) as simulator:
        yield simulator


@pytest.fixture
def simulator(_shared_simulator):
    """
    A simulator in its initial state: one account and its credentials, no instances, no limit, no faults. At the end,
    it is checked that no request contained a credential in the wrong place.
    """
    _shared_simulator.reset()
    yield _shared_simulator
    canary.check_requests(_shared_simulator.recorded())


@pytest.fixture
def nginx(tmp, request):
    """
    A factory: nginx(http=..., server=..., ...) starts nginx with these fields of harness.nginx.Config; preload,
    stop_timeout and env are arguments of harness.nginx.Nginx.
    """
    running: list[Nginx] = []
    with contextlib.ExitStack() as stack:

        def factory(preload=(), stop_timeout=5, env=None, **parts) -> Nginx:
            server = Nginx(tmp, Config(**parts), preload, stop_timeout, env)
            stack.enter_context(server)
            running.append(server)
            return server

        yield factory
        if request.node.stash.get(_FAILED, False):
            for server in running:
                server.show_log()


@pytest.fixture
def collectd(tmp):
    """
    A factory: collectd(blocks...) starts collectd with these blocks in <Plugin aisearch> and other fields of
    harness.collectd.Config; stop_timeout, env and preload are arguments of harness.collectd.Collectd.
    """
    running: list[collectd_harness.Collectd] = []

    def factory(*blocks: str, stop_timeout=5, env=None, preload=(), **parts) -> collectd_harness.Collectd:
        config = collectd_harness.Config("\n".join(blocks), **parts)
        daemon = collectd_harness.Collectd(tmp, config, stop_timeout, env, preload)
        running.append(daemon)
        daemon.start()
        return daemon

    try:
        yield factory
    finally:
        for daemon in running:
            daemon.show_log()
            daemon.stop()


@pytest.fixture(scope="session")
def certificates():
    """Certificates of a test CA: good, wrong_host, expired, self_signed."""
    with temp_dir() as path:
        yield Certificates(path)


@pytest.fixture
def edge(tmp, certificates, simulator):
    """A server with TLS and HTTP/2 in front of the simulator."""
    with Edge(tmp, certificates, simulator.unix) as running:
        yield running
