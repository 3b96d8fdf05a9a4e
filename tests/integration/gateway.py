"""Shared by the tests of the nginx module: an account on the simulator, an access log of all variables, workers."""

import contextlib
import json
import os
import re
import signal
import socket
import struct
from collections.abc import Callable, Iterable, Iterator

import pytest

from harness import net, temp_dir
from harness.nginx import Config, Nginx, config_test
from harness.simulator import ACCOUNT, Simulator

GENERATIONS = ("instances/docs", "namespaces/team/instances/docs", "rags/docs")

# Logs the variables of each request's lookup, as JSON.
_LOGGED = {name: f"aisearch_{name}" for name in
           ("cache_status", "job_state", "job_id", "end_reason", "age", "fetch_time", "error")}
_LOGGED |= {name: name for name in ("request", "uri", "status", "pid")}
_FORMAT = ",".join(f'"{name}":"${variable}"' for name, variable in _LOGGED.items())
ACCESS_LOG = f"""
    log_format lookups escape=json '{{{_FORMAT}}}';
    access_log @PREFIX@/lookups.log lookups;
"""

# Locations that return the worker's process ID and the number of requests in progress.
WORKERS = """
    location = /pid { access_log off; return 200 $pid; }
    location = /status { access_log off; stub_status; }
"""

# A budget without a practical limit, and a server with the account "docs"; see start().
PLENTY = "budget 1000000 1s;"
SERVER = "location /client/v4/ { aisearch_pass docs; }" + WORKERS

NJS = "ngx_http_js_module.so"


def _has_njs() -> bool:
    with temp_dir() as tmp:
        return config_test(Config(aisearch=False, modules=(NJS,)), tmp).ok


needs_njs = pytest.mark.skipif(not _has_njs(), reason=f"this nginx cannot load {NJS}")


def account(simulator: Simulator, *directives: str, name: str = "docs", api_url: str | None = None,
            credential: str | None = None) -> str:
    """Returns an account block with the simulator's account and token."""
    lines = [f"account_id {ACCOUNT};", credential or f"token_file {simulator.token_file};",
             f"api_url {api_url or simulator.url};", *directives]
    return f"aisearch_account {name} {{ {' '.join(lines)} }}\n"


def resource(instance: str, job: str | None = None, logs: bool = False) -> str:
    """Returns the resource in the grammar's shortest form."""
    return f"{instance}/jobs" + (f"/{job}" if job else "") + ("/logs" if logs else "")


def job_target(job: str = "a", instance: str = "instances/docs") -> str:
    return "/client/v4/" + resource(instance, job)


def start(nginx: Callable[..., Nginx], simulator: Simulator, *directives: str, server: str = SERVER, http: str = "",
          **parts) -> Nginx:
    """Starts nginx with the account "docs", PLENTY, ACCESS_LOG and SERVER."""
    return nginx(http=account(simulator, PLENTY, *directives) + ACCESS_LOG + http, server=server, **parts)


def direct(simulator: Simulator, target: str) -> net.Response:
    """Requests a target from the API itself, with the account's credential. The simulator counts this request."""
    return net.request(simulator.address, target, simulator.credential_headers)


def lookups(nginx: Nginx, count: int) -> list[dict]:
    """Waits for this many lines in the access log and returns them. Requires ACCESS_LOG."""
    def lines():
        found = nginx.access_log("lookups.log")
        return len(found) >= count and found

    return [json.loads(line) for line in net.wait_until(lines, what=f"{count} lines in the access log")]


def reported(nginx: Nginx) -> list[str]:
    """Returns the lines of the error log about faults of the API."""
    return [line for line in nginx.error_log().splitlines() if "[error]" in line and "aisearch account" in line]


def error_of(response: net.Response) -> dict:
    """Returns the only error in an envelope from the gateway itself."""
    assert response.header("Content-Type") == "application/json"
    envelope = response.json()
    assert envelope["success"] is False and envelope["messages"] == [] and envelope["result"] is None
    [error] = envelope["errors"]
    return error


def max_age(response: net.Response) -> int:
    return int(re.fullmatch(r"private, max-age=(\d+)", response.header("Cache-Control"))[1])


@contextlib.contextmanager
def held(simulator: Simulator) -> Iterator[None]:
    """The API accepts connections and requests, but does not respond until the end of the block."""
    os.kill(simulator.pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(simulator.pid, signal.SIGCONT)


def wait_for_requests(nginx: Nginx, count: int) -> None:
    """Waits until this many requests are in progress in all workers. Requires WORKERS."""
    def busy() -> bool:
        status = nginx.get("/status").body.decode().split()
        return int(status[status.index("Writing:") + 1]) - 1 >= count

    net.wait_until(busy, 20, f"{count} requests to be in progress")
    with connections(nginx):
        pass  # a worker counts a request before it starts the lookup; by now it has done both


def send_to_each(nginx: Nginx, workers: dict[int, net.Connection], target: str) -> None:
    """Sends the request to one worker after the other. Each has started its lookup before the next one gets it."""
    for count, connection in enumerate(workers.values(), 1):
        connection.send(net.format_request(target))
        wait_for_requests(nginx, count)


@contextlib.contextmanager
def connections(nginx: Nginx) -> Iterator[dict[int, net.Connection]]:
    """Opens a keepalive connection to each worker, by process ID. Requires WORKERS."""
    with contextlib.ExitStack() as stack:
        yield {pid: stack.enter_context(_connect(nginx, pid)) for pid in nginx.workers()}


def _connect(nginx: Nginx, pid: int) -> net.Connection:
    """Stops all other workers, so that this one accepts connections."""
    with stopped(other for other in nginx.workers() if other != pid):
        connection = nginx.connect()
        assert connection.request("/pid").body == str(pid).encode()
    return connection


@contextlib.contextmanager
def stopped(workers: Iterable[int]) -> Iterator[None]:
    """Stops these workers until the end of the block."""
    with contextlib.ExitStack() as stack:
        for pid in workers:
            stack.callback(os.kill, pid, signal.SIGCONT)
            os.kill(pid, signal.SIGSTOP)
            net.wait_until(lambda: "(stopped)" in _state(pid), what="the worker to stop")
        yield


def _state(pid: int) -> str:
    with open(f"/proc/{pid}/status", encoding="utf-8") as file:
        return next(line for line in file if line.startswith("State:"))


def open_sockets(pid: int) -> list[str]:
    return [target for target in net.open_fds(pid).values() if target.startswith("socket:")]


def reset_on_close(connection: net.Connection) -> None:
    """Closing the socket will send an RST."""
    connection.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
