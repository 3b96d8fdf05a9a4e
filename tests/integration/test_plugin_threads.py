"""
Calls the callbacks of the plugin from many threads, without collectd (tests/plugin/driver.c). "make tsan" builds this with
ThreadSanitizer, which fails at the first data race, and runs it for longer.
"""

import contextlib
import json
import os
import pathlib
import subprocess
import threading
from collections.abc import Iterator

from harness import BUILD, SLOWNESS, memory
from harness.simulator import ACCOUNT, Simulator

SECONDS = int(os.environ.get("AIS_THREADS_TIME") or 2)
INTERVAL = 50  # milliseconds; each callback runs twenty times a second
THREADS = 8

INSTANCES = ("docs", "handbook", "wiki")


def drive(tmp: pathlib.Path, config: str) -> dict:
    """Runs the driver and returns its results: counts, and the longest times in milliseconds."""
    file = tmp / "plugin.conf"
    file.write_text(config)
    argv = [*memory.valgrind(tmp), BUILD / "plugin" / "driver", file, str(SECONDS), str(INTERVAL), str(THREADS)]
    run = subprocess.run(argv, cwd=tmp, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                         check=False, timeout=(SECONDS + 60) * SLOWNESS)
    memory.check(tmp)
    assert run.returncode == 0, run.stderr.decode("utf-8", "replace")
    return json.loads(run.stdout)


def account(name: str, credential: str, *options: str) -> str:
    instances = "\n".join(f'<Instance "{instance}">\n</Instance>' for instance in INSTANCES)
    more = "\n".join(options)
    pacing = f"ActiveInterval {INTERVAL / 1000}\nIdleInterval {INTERVAL / 1000}"
    return (f'<Account "{name}">\nAccountID "{ACCOUNT}"\n{credential}\nTimeout 40\nBudget 1000000 1\n{pacing}\n'
            f"{more}\n{instances}\n</Account>\n")


@contextlib.contextmanager
def troubled(simulator: Simulator) -> Iterator[None]:
    """Jobs change, an instance is added and removed, and the API fails in each way that the plugin distinguishes."""
    faults = ({"status": 500, "body": "<html>"}, {"delay": 1}, {"status": 429, "headers": [["Retry-After", "1"]]},
              {"status": 401, "body": '{"success":false,"errors":[{"code":10000,"message":"no"}]}'},
              {"status": 200, "body": "{"}, {"status": 503, "body": "{}"})
    over = threading.Event()

    def trouble() -> None:
        turn = 0
        while not over.wait(0.1):
            simulator.job("instances/docs", "a", state=("queued", "running", "failed")[turn % 3])
            simulator.clear_faults()
            path = ("/jobs", r"/instances\?")[turn // len(faults) % 2]
            simulator.fault(path, times=3, **faults[turn % len(faults)])
            if turn % 4 < 2:
                simulator.job("instances/guest", "a", state="running")
            else:
                simulator.remove_instances("instances/guest")
            if turn % 5 == 0:
                simulator.drop_connections(reset=True)
            turn += 1

    thread = threading.Thread(target=trouble)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def test_read_threads_and_the_fetch_thread(tmp, simulator):
    for instance in INSTANCES:
        simulator.job(f"instances/{instance}", "a", state="running")
        simulator.job(f"instances/{instance}", "b", state="succeeded")
    token, url = f'TokenFile "{simulator.token_file}"', f'APIURL "{simulator.url}"'
    key = f'Email "{simulator.email}"\nKeyFile "{simulator.key_file}"'
    socket = f'APIURL "http://localhost{simulator.base}"\nUnixSocket "{simulator.unix}"'
    found = f"DiscoverInstances true\nDiscoveryInterval {INTERVAL / 1000}"
    # the first two share a credential, and therefore a budget
    accounts = [account("one", token, url), account("two", token, url, found),
                account("three", key, socket, found, 'DiscoverNamespace "default"'),
                account("four", key, url, '<Instance "more">\nJob "a"\n</Instance>')]

    with troubled(simulator):
        result = drive(tmp, "".join(accounts))

    assert result["readers"] == len(accounts) and result["failed_reads"] == 0
    assert result["reads"] >= len(accounts) * SECONDS  # a small part of the possible number
    assert result["values"] > result["reads"] and result["malformed"] == 0
    assert simulator.count() > 0
