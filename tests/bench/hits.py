"""What a hit costs: instructions, and throughput."""

import contextlib
import statistics

from harness import net
from harness.nginx import Nginx

from . import callgrind, contenders
from .contenders import SDK_TARGET, TARGET, Setting, job_target
from .report import PROXY, RETURN, Line, ratio
from .tools import CPUS, Upstream, client, wrk

URIS = {"short URI": TARGET, "the SDK's URI": SDK_TARGET}


def same_bytes(answers: dict[str, net.Response]) -> None:
    """The contenders answer with the same headers and as many bytes."""
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
    return lines


def throughput(bench) -> list[Line]:
    """All at the same time, each in its turn, so that what else the machine does befalls all alike."""
    jobs = bench.scale(100_000, 5_000)
    seconds, rounds = bench.scale(5, 1), bench.scale(5, 2)
    rates: dict[str, list[float]] = {}
    with Upstream() as upstream, contextlib.ExitStack() as stack:
        setting = Setting(bench.tmp, upstream, size="128m")
        servers = {}
        for name, make in contenders.available().items():
            servers[name] = stack.enter_context(Nginx(bench.tmp, _two_workers(make(setting))))
            filled = client(servers[name].port, TARGET, "-c", 16, "-n", jobs, "-j", jobs, "-o")
            assert filled.failed == 0, filled
        for _ in range(rounds):
            for name, server in servers.items():
                rate = wrk(bench.tmp, server.port, TARGET, jobs, 64, seconds, _wrk_cpus())
                rates.setdefault(name, []).append(rate)
        fetched = upstream.count()
        assert fetched <= (len(servers) - 1) * jobs + 1, f"{fetched} requests upstream: those were no hits"
    values = {name: statistics.median(found) for name, found in rates.items()}
    return [ratio(Line("throughput", f"hits of {jobs} jobs, 2 workers", "1/s", values), RETURN, 0.9, at_most=False)]


def _two_workers(config):
    config.workers = 2
    config.main = f"worker_cpu_affinity {_mask(0)} {_mask(1)};"
    config.level = "warn"
    return config


def _mask(n: int) -> str:
    return f"{1 << CPUS[min(n, len(CPUS) - 1)]:b}"


def _wrk_cpus() -> tuple[int, ...]:
    """Beside the workers where there is room, among them where there is none."""
    return (2, 3) if len(CPUS) >= 4 else (0, 1)
