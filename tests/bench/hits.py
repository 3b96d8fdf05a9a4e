"""The cost of a cache hit: instructions and throughput."""

import contextlib
import dataclasses

from harness import net
from harness.nginx import Config, Nginx

from . import callgrind, contenders
from .contenders import SDK_TARGET, TARGET, Setting, job_target, spread
from .report import AISEARCH, PROXY, RETURN, Line, ratio
from .tools import CPUS, Upstream, client, wrk

# Waits and events add to the Vary header, which return 200 does not have.
EXTRAS = "aisearch_events on; aisearch_wait 60s; aisearch_limit_fetches $binary_remote_addr rate=30r/m burst=20;"

URIS = {"short URI": TARGET, "the SDK's URI": SDK_TARGET}


def same_bytes(answers: dict[str, net.Response]) -> None:
    """All contenders respond with the same headers and the same number of bytes."""
    shapes = {name: (len(answer.body), sorted((key, len(value)) for key, value in answer.headers))
              for name, answer in answers.items()}
    assert len(set(map(str, shapes.values()))) == 1, shapes


def instructions(bench) -> list[Line]:
    lines = []
    with Upstream() as upstream:
        setting = Setting(bench.tmp, upstream)
        for uri, target in URIS.items():
            values = {}
            for name, make in contenders.available().items():
                profile = callgrind.per_request(bench.tmp, make(setting), job_target(1, target), bench.scale(1000, 200))
                values[name] = sum(profile.values())
                bench.keep_profile(f"{name}, {uri}", profile)
            line = Line("instructions", f"a hit, {uri}", "instructions", values)
            lines += [ratio(line, RETURN, 1.15), ratio(line, PROXY, 0.55)]
            profile = callgrind.per_request(bench.tmp, _with_extras(setting), job_target(1, target),
                                            bench.scale(1000, 200))
            bench.keep_profile(f"{AISEARCH} with extras, {uri}", profile)
            values = {AISEARCH: sum(profile.values()), RETURN: values[RETURN]}
            lines.append(ratio(Line("instructions", f"a hit, {uri}, with events, waits and a limit of fetches",
                                    "instructions", values), RETURN, 1.2))
    return lines


def _with_extras(setting: Setting) -> Config:
    return contenders.aisearch(dataclasses.replace(setting, http=EXTRAS))


def throughput(bench) -> list[Line]:
    """
    All contenders run at the same time and take turns in short rounds, of which the best counts, since other load can
    only make a round slower.
    """
    jobs = bench.scale(100_000, 5_000)
    seconds, rounds = bench.scale(2, 1), bench.scale(10, 2)
    rates: dict[str, list[float]] = {}
    spent: dict[str, list[float]] = {}
    with Upstream() as upstream, contextlib.ExitStack() as stack:
        setting = Setting(bench.tmp, upstream, size="128m")
        servers = {}
        for name, make in contenders.available().items():
            servers[name] = stack.enter_context(Nginx(bench.tmp, _two_workers(make(setting)), stop_timeout=60))
            filled = client(servers[name].port, TARGET, "-c", 16, "-n", jobs, "-j", jobs, "-o")
            assert filled.failed == 0, filled
        fetched = upstream.count()
        for _ in range(rounds):
            for name, server in servers.items():
                before = sum(map(net.cpu_seconds, server.workers()))
                load = wrk(bench.tmp, server.ports["SPREAD"], TARGET, jobs, 64, seconds, _wrk_cpus())
                spent.setdefault(name, []).append((sum(map(net.cpu_seconds, server.workers())) - before) / load.answers)
                rates.setdefault(name, []).append(load.rate)
        assert upstream.count() == fetched, "some responses were not hits"
    best = {name: max(found) for name, found in rates.items()}
    cpu = {name: min(found) * 1e6 for name, found in spent.items()}
    return [
        ratio(Line("throughput", f"hits of {jobs} jobs, 2 workers", "1/s", best), RETURN, 0.9, at_most=False),
        Line("throughput", f"hits of {jobs} jobs, CPU time each", "us", cpu),
    ]


def _two_workers(config: Config) -> Config:
    config.main = f"worker_cpu_affinity {_mask(0)} {_mask(1)};"
    return spread(config, 2)


def _mask(n: int) -> str:
    return f"{1 << CPUS[min(n, len(CPUS) - 1)]:b}"


def _wrk_cpus() -> tuple[int, ...]:
    """On other CPUs than the workers if there are enough, otherwise on the same."""
    return (2, 3) if len(CPUS) >= 4 else (0, 1)
