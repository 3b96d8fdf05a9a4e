"""Runs the API simulator and sends orders to it."""

import base64
import dataclasses
import http.client
import json
import os
import pathlib
import secrets
import select
import socket
import subprocess
import sys
import urllib.parse

from . import SLOWNESS, TESTS, canary, process
from .net import Address

ACCOUNT = "c3dc5f0b34a14ff8e1b3ec04895e1b22"


@dataclasses.dataclass
class Request:
    """A request recorded by the simulator."""

    method: str
    target: str
    headers: list[tuple[str, str]]  # as received, in order
    connection: int  # the simulator's number for the connection
    has_body: bool
    began: float  # by time.monotonic()
    ended: float | None
    status: int | None  # None: in progress, or a script instead of a response

    def header(self, name: str) -> str | None:
        values = [value for key, value in self.headers if key.lower() == name.lower()]
        assert len(values) <= 1, f"{name} came {len(values)} times"
        return values[0] if values else None

    def header_names(self) -> set[str]:
        return {name.lower() for name, _ in self.headers}


class Simulator:
    """
    A running simulator, on TCP and on a Unix socket, with one account and a random token:

        with Simulator(tmp) as sim:
            sim.instance("instances/my-ai-search", [{"id": "a", "state": "running"}])
            sim.fault("/jobs/a$", times=1, status=503)
            ...
            assert sim.count("/jobs/a$") == 2

    Instances are named as in the API's paths: "instances/ID", "namespaces/NAME/instances/ID" or "rags/ID".

    lean_unix is a second Unix socket for the same API, for thousands of lookups per second: without faults, but with
    delay().
    """

    def __init__(self, tmp: pathlib.Path, scenario: str = "empty", limit: int = 0, keepalive_timeout: float = 75,
                 record: int = 50_000) -> None:
        self._scenario = scenario
        self.token = canary.secret(secrets.token_urlsafe(9))
        self.email = "user@example.com"
        self.key = canary.secret(secrets.token_hex(6))
        self.token_file = _write_secret(tmp / "sim.token", self.token)
        self.key_file = _write_secret(tmp / "sim.key", self.key)
        self.unix = str(tmp / "sim.sock")
        self.lean_unix = str(tmp / "sim-lean.sock")
        self._control_unix = str(tmp / "sim-control.sock")
        self._arguments = ["--scenario", scenario, "--limit", str(limit), "--unix", self.unix, "--leash",
                           "--lean-unix", self.lean_unix,
                           "--control-unix", self._control_unix, "--keepalive-timeout", str(keepalive_timeout),
                           "--record", str(record),
                           "--token-file", str(self.token_file),
                           "--email", self.email, "--key-file", str(self.key_file)]
        self._process: subprocess.Popen | None = None

    def __enter__(self) -> "Simulator":
        self.start()
        return self

    def __exit__(self, *_exc) -> None:
        self.stop()

    def start(self, port: int = 0) -> None:
        """Starts it on a free port, or on the given one, to restart at the same address."""
        env = {**os.environ, "PYTHONPATH": str(TESTS), "PYTHONDONTWRITEBYTECODE": "1"}
        self._process = process.start([sys.executable, "-m", "simulator", "--port", port, *self._arguments], env=env,
                                      stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        ready = self._read_ready()
        self.pid = ready["pid"]
        self.host, self.port = ready["api"]["host"], ready["api"]["port"]
        self.base = ready["base"]
        if self._scenario == "empty":
            self.account()

    def _read_ready(self) -> dict:
        readable, _, _ = select.select([self._process.stdout], [], [], 20 * SLOWNESS)
        line = self._process.stdout.readline() if readable else b""
        if not line:
            self.stop()
            raise AssertionError("the simulator did not start; its messages are on standard error")
        return json.loads(line)

    def stop(self) -> None:
        if self._process is None:
            return
        child, self._process = self._process, None
        try:
            assert process.stop(child) == 0, "the simulator did not exit cleanly"
        finally:
            child.stdin.close()
            child.stdout.close()

    # The address.

    @property
    def address(self) -> Address:
        return (self.host, self.port)

    @property
    def url(self) -> str:
        return f"http://{self.host}:{self.port}{self.base}"

    @property
    def unix_url(self) -> str:
        return f"http://unix:{self.unix}:{self.base}"

    @property
    def credential_headers(self) -> list[tuple[str, str]]:
        return [("Authorization", f"Bearer {self.token}")]

    def path(self, instance: str, job: str | None = None, logs: bool = False, account: str = ACCOUNT) -> str:
        """Returns the API's path of a list, a job or its logs, including the base."""
        generation = "autorag" if instance.startswith("rags/") else "ai-search"
        path = f"{self.base}/accounts/{account}/{generation}/{instance}/jobs"
        if job is not None:
            path += f"/{job}"
        return path + "/logs" if logs else path

    def listing(self, namespace: str | None = None, account: str = ACCOUNT) -> str:
        """Returns the API's path of a list of instances, including the base."""
        return self.resource((f"namespaces/{namespace}/" if namespace else "") + "instances", account)

    def resource(self, name: str, account: str = ACCOUNT) -> str:
        """
        Returns the API's path of anything else, including the base: "instances/ID",
        "namespaces/NAME/instances/ID/stats", "namespaces", "namespaces/NAME".
        """
        return f"{self.base}/accounts/{account}/ai-search/{name}"

    # Contents.

    def account(self, account: str = ACCOUNT, tokens: list[str] | None = None,
                keys: list[tuple[str, str]] | None = None, user: str | None = None) -> None:
        """
        Adds an account, or replaces its credentials: by default with this simulator's token, email and key. Accounts of
        the same user share a rate limit.
        """
        order = {"id": account, "tokens": [self.token] if tokens is None else tokens,
                 "keys": [(self.email, self.key)] if keys is None else keys, "user": user or account}
        self.control("POST", "/world", {"accounts": [order]})

    def instance(self, name: str, jobs: list[dict] = (), account: str = ACCOUNT, replace: bool = False,
                 remove: list[str] = (), **fields) -> None:
        """
        Adds an instance, or adds to it; jobs with an existing id are changed. Fields of a job: id, state (a shorthand:
        queued, running, succeeded, failed, cancelled, superseded), appears_in, starts_in, ends_in, silent_in (seconds
        from now; None: never, or for appears_in: always; silent: last_seen_at does not change), source, description,
        end_reason, last_seen_every, times (rfc3339, fraction, offset, plain, zoneless; number: not a string), missing
        (null, absent), logs (list), extra (replaces fields of the response).

        Fields of an instance: type ("r2", "web-crawler", None: built-in storage), source (by default one for the type),
        sync_interval (seconds; one of eight), enable, paused, status, last_activity (text or None), stats (a dict,
        returned unchanged; None: nothing is indexed), extra (replaces fields of the response, but not of its stats).
        """
        part = {"name": name, "jobs": list(jobs), "replace": replace, "remove": list(remove), **fields}
        self.control("POST", "/world", {"accounts": [{"id": account, "instances": [part]}]})

    def instances(self, orders: list[dict], account: str = ACCOUNT) -> None:
        """Adds many instances with one order, each as for instance(): {"name", "jobs", ...}; see harness.fleet."""
        self.control("POST", "/world", {"accounts": [{"id": account, "instances": orders}]})

    def job(self, instance: str, job_id: str, account: str = ACCOUNT, **fields) -> None:
        """Adds or changes one job."""
        self.instance(instance, [{"id": job_id, **fields}], account)

    def start_job(self, instance: str, job_id: str, account: str = ACCOUNT, **fields) -> None:
        """Adds a job that runs from now on. This ends a running job, with the end_reason new_job_has_started."""
        self.control("POST", "/world", {"accounts": [
            {"id": account, "instances": [{"name": instance, "start": {"id": job_id, **fields}}]}]})

    def namespace(self, name: str, description: str | None = None, account: str = ACCOUNT) -> None:
        """Adds or changes a namespace. An instance's namespace is added with the instance."""
        order = {"name": name, "description": description}
        self.control("POST", "/world", {"accounts": [{"id": account, "namespaces": [order]}]})

    def remove_namespaces(self, *names: str, account: str = ACCOUNT) -> None:
        """Also removes their instances."""
        self.control("POST", "/world", {"accounts": [{"id": account, "remove_namespaces": list(names)}]})

    def remove_instances(self, *names: str, account: str = ACCOUNT) -> None:
        self.control("POST", "/world", {"accounts": [{"id": account, "remove_instances": list(names)}]})

    def census(self, since: float = float("-inf"), account: str = ACCOUNT) -> dict[str, dict[str, int]]:
        """Returns the number of jobs in each state, by instance; ended jobs count only if they ended since then."""
        return self.control("GET", f"/census?account={account}&since={since}")

    # The clock.

    def now(self) -> float:
        return self.control("GET", "/clock")["now"]

    def freeze(self) -> None:
        self.control("POST", "/clock", {"freeze": True})

    def thaw(self) -> None:
        self.control("POST", "/clock", {"thaw": True})

    def advance(self, seconds: float) -> None:
        self.control("POST", "/clock", {"advance": seconds})

    def set_clock(self, epoch: float) -> None:
        self.control("POST", "/clock", {"set": epoch})

    def run(self, speed: float) -> None:
        """From now on the clock runs faster by this factor, also for the rate limit."""
        self.control("POST", "/clock", {"speed": speed})

    # Faults and limits.

    def limit(self, calls: int | None, seconds: float = 300, headers: str = "new") -> None:
        """
        Sets the rate limit for each user; None: no limit. headers is the form of the headers about it: "new" (Ratelimit
        and Ratelimit-Policy), "old" (x-ratelimit-*), "both" or "none"; 429 responses always have Retry-After.
        """
        self.control("POST", "/limit", {"calls": calls, "seconds": seconds, "headers": headers})

    def limit_headers(self, headers: list[tuple[str, str]] | None) -> None:
        """
        All responses of the API, except faults, have these headers, which replace headers with the same names; None:
        none.
        """
        self.control("POST", "/limit_headers", {"headers": headers})

    def refusal(self, form: str = "401") -> None:
        """Sets how an unknown credential is rejected; a credential of another account always gets a 403."""
        self.control("POST", "/refusal", {"form": form})

    def refuse(self, form: str, path: str = "", **order) -> int:
        """Adds a fault that refuses in that form; otherwise like fault(), whose headers replace those of the form."""
        return self.fault(path, refusal=form, **order)

    def forms(self, plain: bool = True, namespaced: bool = True, refusal: str = "400_7003") -> None:
        """Sets which path forms exist, "instances/ID" and "namespaces/...", and how the other one is refused."""
        self.control("POST", "/forms", {"plain": plain, "namespaced": namespaced, "refusal": refusal})

    def oddity(self, **order) -> None:
        """
        From now on, all responses of the API, except faults, are odd in exactly these ways: result_info ("full",
        "partial": only count and per_page, "none"), ignore_page (True: lists return their first page for any page
        number), error_codes (False: errors have no code), messages (objects in the envelope).
        """
        self.control("POST", "/oddity", order)

    def delay(self, seconds: float) -> None:
        """Delays each response of the lean listener, independently of others."""
        self.control("POST", "/delay", {"seconds": seconds})

    def fault(self, path: str = "", **order) -> int:
        """
        Lets requests fail whose path and query match the regular expression, until the fault is removed or was hit
        `times` times: delay, body_delay (seconds), status with headers ([[name, value]]) and body (str or bytes),
        script (steps of raw bytes), refusal (the name of a form, as in refuse()), reused (only on a connection that
        carried a request before). For details see the simulator's Faults.add(); harness.stall has scripts. Returns its
        id.
        """
        if isinstance(order.get("body"), bytes):
            order["body_b64"] = base64.b64encode(order.pop("body")).decode()
        return self.control("POST", "/faults", {"path": path, **order})["id"]

    def fault_hits(self, fault_id: int) -> int:
        return next(fault["hits"] for fault in self.control("GET", "/faults") if fault["id"] == fault_id)

    def clear_fault(self, fault_id: int) -> None:
        self.control("DELETE", f"/faults/{fault_id}")

    def clear_faults(self) -> None:
        self.control("DELETE", "/faults")

    def drop_connections(self, reset: bool = False) -> None:
        """Closes all connections to the API, idle or not, by FIN or RST."""
        self.control("POST", "/connections", {"reset": reset})

    # Records.

    def requests(self, path: str = "") -> list[Request]:
        """
        Returns the requests whose path and query match the regular expression, in the order of arrival. Only the
        most recent ones are recorded, up to the number set by `record`; counters() has no limit.
        """
        seen = self.control("GET", "/requests?" + urllib.parse.urlencode({"path": path}))
        assert seen["forgotten"] == 0, "more requests than are recorded"
        return [Request(**entry) for entry in seen["requests"]]

    def recorded(self) -> list[dict]:
        """All recorded requests in raw form."""
        return self.control("GET", "/requests?path=")["requests"]

    def count(self, path: str = "") -> int:
        return len(self.requests(path))

    def counters(self) -> dict:
        """total, by_path, by_status, malformed, connections(_open, _max), in_flight(_max)."""
        return self.control("GET", "/counters")

    def forget(self) -> None:
        """Resets counters and recorded requests."""
        self.control("DELETE", "/requests")

    def reset(self) -> None:
        """
        As if just started: one account with the token, no instances, real time, no faults, no limit, and the usual
        response forms.
        """
        self.control("POST", "/reset", {})
        self.account()

    def control(self, method: str, path: str, order: object = None):
        """Sends any order; see the simulator's control.py."""
        connection = _UnixConnection(self._control_unix)
        try:
            connection.request(method, path, None if order is None else json.dumps(order))
            response = connection.getresponse()
            answer = json.loads(response.read())
        finally:
            connection.close()
        if response.status != 200:
            raise ValueError(f"{method} {path}: {answer['error']}")
        return answer


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: str) -> None:
        super().__init__("localhost", timeout=20 * SLOWNESS)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


def _write_secret(path: pathlib.Path, secret: str) -> pathlib.Path:
    path.touch(mode=0o600)
    path.write_text(secret + "\n", encoding="ascii")
    return path
