"""make soak: --time SECONDS --seed N. Exits with 0 if nothing was wrong, or with 1 at the first violation."""

import argparse
import contextlib
import pathlib
import random
import sys
import threading
import time

from harness import temp_dir
from harness.clock import Clock
from harness.nginx import Config, Nginx
from harness.simulator import ACCOUNT, Simulator

from .clients import Client
from .judge import BUDGET, Judge
from .trouble import Tokens, Trouble
from .world import World

CLIENTS = 10
WORKERS = 3

# The cache is too small for all jobs, and lifetimes are short, so that many different things happen.
_HTTP = """
    aisearch_shared_zone zone=aisearch:256k;
    aisearch_account docs {{
        account_id {account}; token_file {files[0]}; token_file {files[1]}; api_url {url};
        instance docs wiki team/docs;
        connect_timeout 1s; timeout 3s; retries 2; budget {calls} {seconds}s;
    }}
    aisearch_valid active 1s 3s; aisearch_valid ended 20s; aisearch_valid list 1s; aisearch_valid logs 5s;
    aisearch_valid not_found 3s; aisearch_valid error 500ms;
    aisearch_use_stale updating=1s error=5s;
"""
_SERVER = """
    location /client/v4/ { aisearch_pass docs; }
    location = /status { aisearch_status; }
"""


def main() -> int:
    parser = argparse.ArgumentParser(prog="soak", description=__doc__)
    parser.add_argument("--time", type=float, default=600, help="duration in seconds")
    parser.add_argument("--seed", type=int, help="the seed of an earlier run")
    parser.add_argument("--spoil", action="store_true", help="falsify one response, to check that this is detected")
    arguments = parser.parse_args()
    seed = random.randrange(1 << 32) if arguments.seed is None else arguments.seed
    print(f"soak: {arguments.time:g} s, seed {seed}", flush=True)
    with temp_dir() as tmp:
        judge = soak(tmp, arguments.time, seed, arguments.spoil)
    if judge.violations:
        print(f"soak: {len(judge.violations)} violations; to repeat: make soak SEED={seed}")
        return 1
    print(f"soak: 0 violations; at most {judge.most_calls} calls of {BUDGET[0]} in {BUDGET[1]} s")
    return 0


def soak(tmp: pathlib.Path, seconds: float, seed: int, spoil: bool) -> Judge:
    with Simulator(tmp) as simulator:
        world = World(simulator, random.Random(f"{seed} world"), seconds)
        tokens = Tokens(tmp, simulator)
        calls, length = BUDGET
        http = _HTTP.format(account=ACCOUNT, files=tokens.files, url=simulator.url, calls=calls, seconds=length)
        clock = Clock(tmp)
        nginx = Nginx(tmp, Config(http=http, server=_SERVER, workers=WORKERS, level="notice"), [clock.library],
                      stop_timeout=10, env=clock.env)
        nginx.allow_log(r"worker process \d+ exited on signal 9")
        nginx.allow_log(r"shared memory zone \S+ was locked by")
        with nginx:
            if spoil:
                simulator.job("instances/docs", "j0", extra={"mark": "another"})
            trouble = Trouble(random.Random(f"{seed} trouble"), nginx, simulator, tokens, clock)
            judge = Judge(nginx, simulator, trouble)
            rngs = [random.Random(f"{seed} client {n}") for n in range(CLIENTS)]
            _run([Client(rng, nginx.address, world, judge, trouble.burst) for rng in rngs], trouble, judge, seconds)
            _finish(nginx, trouble, judge)
    return judge


def _run(clients: list[Client], trouble: Trouble, judge: Judge, seconds: float) -> None:
    def between() -> None:
        judge.resources()
        judge.budget()

    def make_trouble() -> None:
        try:
            trouble.run(between)
        except Exception as error:
            judge.violation(f"{error!r}")

    maker = threading.Thread(target=make_trouble)
    for thread in [*clients, maker]:
        thread.start()
    until = time.monotonic() + seconds
    with contextlib.suppress(KeyboardInterrupt):
        while time.monotonic() < until and not judge.violations:
            time.sleep(0.2)
    trouble.stop()
    for client in clients:
        client.stop()
    for thread in [*clients, maker]:
        thread.join()


def _finish(nginx: Nginx, trouble: Trouble, judge: Judge) -> None:
    judge.budget()
    if nginx.get("/status").status != 200:
        judge.violation("no status")
    died = nginx.error_log().count("exited on signal")
    if died != trouble.kills:
        judge.violation(f"{died} workers died of a signal, {trouble.kills} were killed")
    print(", ".join(f"{count} {what}" for what, count in sorted(judge.counts.items())))
    print(f"{trouble.kills} workers killed")
    if judge.violations:
        print(*judge.violations[:10], "faults before that:", *trouble.told(), sep="\n    ")
        nginx.show_log()


if __name__ == "__main__":
    sys.exit(main())
