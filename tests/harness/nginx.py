"""Runs nginx with the module in its own prefix and checks what it leaves behind."""

import contextlib
import dataclasses
import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import tempfile

from . import BUILD, VALGRIND, canary, memory, net, process

BINARY = os.environ.get("AIS_NGINX") or shutil.which("nginx", path=os.defpath + ":/usr/sbin:/sbin") or "nginx"
DEBIAN_MODULES = pathlib.Path("/usr/lib/nginx/modules")
MODULE = BUILD / "nginx" / "ngx_http_aisearch_module.so"

# Messages that no test should cause.
_SUSPECT = re.compile(r"\[(?:alert|emerg|crit)\]|open socket")

# Logs that canary searches: all variables, and debug messages if the environment asks for them.
_VARIABLES = " ".join(f"$aisearch_{name}" for name in (
    "cache_status", "job_state", "job_id", "end_reason", "age", "fetch_time", "error"))
_VARIABLES_LOG = f"log_format variables '{_VARIABLES}';\n    access_log @PREFIX@/variables.log variables;"
_DEBUG_LOG = "error_log @PREFIX@/debug.log debug;" if os.environ.get("AIS_DEBUG_LOG") else ""

_TEMPLATE = """\
daemon off;
master_process on;
worker_processes @WORKERS@;
pid @PREFIX@/nginx.pid;
lock_file @PREFIX@/nginx.lock;
error_log @PREFIX@/error.log @LEVEL@;
@DEBUG@
@USER@
@MODULES@
@MAIN@

events {
    worker_connections @CONNECTIONS@;
    @EVENTS@
}

http {
    access_log @PREFIX@/access.log;
    @VARIABLES@
    client_body_temp_path @PREFIX@/client_body;
    proxy_temp_path @PREFIX@/proxy;
    fastcgi_temp_path @PREFIX@/fastcgi;
    uwsgi_temp_path @PREFIX@/uwsgi;
    scgi_temp_path @PREFIX@/scgi;

@HTTP@

    server {
        listen 127.0.0.1:@PORT@ backlog=4096;
        listen unix:@PREFIX@/nginx.sock backlog=4096;
        server_name localhost;

@SERVER@
    }
}
"""


@dataclasses.dataclass
class Config:
    """
    The parts of a configuration: main, events, http and server are inserted into the block with that name; server
    already listens on a port and on a Unix socket. modules are paths, or names in Debian's directory such as
    "ngx_http_echo_module.so".

    In each part, @PREFIX@, @PORT@ and @SOCKET@ stand for the prefix, the port and the Unix socket. @PORT_NAME@, with
    any name in capitals, is another free port: Nginx.ports["NAME"].
    """

    http: str = ""
    server: str = ""
    main: str = ""
    events: str = ""
    workers: int = 1
    connections: int = 4096
    level: str = "info"  # of the error log; "debug" works with Debian's nginx
    modules: tuple = ()
    aisearch: bool = True  # load the module under test

    def text(self, prefix: pathlib.Path, ports: "Ports") -> str:
        modules = ([MODULE] if self.aisearch else []) + [DEBIAN_MODULES / name for name in self.modules]
        values = {
            "WORKERS": self.workers, "CONNECTIONS": self.connections, "LEVEL": self.level, "MAIN": self.main,
            "EVENTS": self.events, "HTTP": self.http, "SERVER": self.server,
            "USER": "user nobody nogroup;" if os.geteuid() == 0 else "",
            "VARIABLES": _VARIABLES_LOG if self.aisearch and canary.hunting else "",
            "DEBUG": _DEBUG_LOG if self.aisearch and canary.hunting else "",
            "MODULES": "\n".join(f"load_module {module};" for module in modules),
        }
        text = re.sub("@([A-Z]+)@", lambda match: str(values.get(match[1], match[0])), _TEMPLATE)
        text = text.replace("@PREFIX@", str(prefix)).replace("@SOCKET@", f"{prefix}/nginx.sock")
        return re.sub("@PORT(?:_([A-Z]+))?@", lambda match: str(ports[match[1] or ""]), text)


class Ports(dict):
    """Ports by name; a new name gets a free port. The default port's name is ""."""

    def __missing__(self, name: str) -> int:
        while (port := net.free_port()) in self.values():
            pass
        self[name] = port
        return port


@dataclasses.dataclass
class ConfigTest:
    ok: bool
    output: str  # of nginx -t


def config_test(config: Config, tmp: pathlib.Path, option: str = "-t") -> ConfigTest:
    """Returns the result of nginx -t (or -T) for a configuration. The file is @PREFIX@/nginx.conf."""
    prefix = _make_prefix(tmp)
    conf = prefix / "nginx.conf"
    conf.write_text(config.text(prefix, Ports()))
    argv = [*memory.valgrind(_reports(prefix)), BINARY, option, "-e", "stderr", "-p", prefix, "-c", conf]
    run = subprocess.run(argv, env=memory.environment(_reports(prefix)), stdout=subprocess.PIPE,
                         stderr=subprocess.STDOUT, timeout=60, check=False)
    memory.check(_reports(prefix))
    canary.check(run.stdout, f"what nginx {option} says")
    return ConfigTest(run.returncode == 0, run.stdout.decode("utf-8", "replace"))


class Nginx:
    """
    with Nginx(tmp, Config(http="aisearch_account docs { ... }", server="location / { ... }")) as nginx:
        assert nginx.get("/jobs/x").status == 200

    Leaving the block stops it gracefully (SIGQUIT), which must take less than stop_timeout seconds, and checks the
    logs: no alert, no leaked socket, no report by sanitizers or valgrind about our code, and no credential in the logs
    or in shared memory. A test that expects such a message declares it with allow_log().
    """

    def __init__(self, tmp: pathlib.Path, config: Config, preload: list = (), stop_timeout: float = 5,
                 env: dict[str, str] | None = None) -> None:
        self.prefix = _make_prefix(tmp)
        self.config = config
        self.socket = str(self.prefix / "nginx.sock")
        self.stop_timeout = stop_timeout
        self._conf = self.prefix / "nginx.conf"
        self._environment = {**memory.environment(_reports(self.prefix), preload), **(env or {})}
        self._process: subprocess.Popen | None = None
        self._allowed: list[str] = []
        self._leaks: list[str] = []

    # Starting and stopping.

    def __enter__(self) -> "Nginx":
        self.start()
        return self

    def __exit__(self, exc_type, _exc, _traceback) -> None:
        if exc_type is None:
            self.stop()
            self.check_logs()
        else:
            with contextlib.suppress(AssertionError):
                self.stop(signal.SIGTERM)
            self.show_log()

    def start(self) -> None:
        """Starts on free ports; retries with others if they were taken meanwhile."""
        for _ in range(5):
            self.ports = Ports()
            self._conf.write_text(self.config.text(self.prefix, self.ports))
            self._launch()
            if net.wait_until(self._up_or_gone, 15, "nginx to start") == "up":
                return
            self._process.wait()
            if "Address already in use" not in self.stderr():
                memory.check(_reports(self.prefix))
                raise AssertionError(f"nginx did not start:\n{self.stderr()}")
            (self.prefix / "error.log").unlink()
        raise AssertionError("no free port found for nginx")

    def _launch(self) -> None:
        argv = [*memory.valgrind(_reports(self.prefix)), BINARY, "-p", self.prefix, "-e", self.prefix / "error.log",
                "-c", self._conf]
        with (self.prefix / "stderr").open("wb") as stderr:
            self._process = process.start(argv, env=self._environment, stdin=subprocess.DEVNULL, stderr=stderr)

    def _up_or_gone(self) -> str | None:
        if self._process.poll() is not None:
            return "gone"
        try:
            with net.Connection(self.socket, 1):
                pass
        except (FileNotFoundError, ConnectionRefusedError):
            return None
        return "up" if len(self.workers()) >= self.config.workers else None

    def stop(self, signum: int = signal.SIGQUIT) -> None:
        """
        SIGQUIT lets requests finish, SIGTERM drops them. Fails if it takes longer than stop_timeout, or if a process
        remains.
        """
        if self._process is None:
            return
        child, self._process = self._process, None
        family = net.children(child.pid)
        if self.config.aisearch:
            self._leaks += canary.in_processes([child.pid, *family])
        try:
            process.stop(child, signum, self.stop_timeout)
            net.wait_until(lambda: not any(map(net.alive, family)), 2, "nginx's workers to leave")
        finally:
            for pid in filter(net.alive, family):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)

    def write_config(self) -> None:
        """Writes the configuration for a manual reload."""
        self._conf.write_text(self.config.text(self.prefix, self.ports))

    def reload(self, config: Config | None = None, wait_old: bool = True) -> None:
        """
        Sends SIGHUP, with a new configuration if given, and waits until the new workers run and the old ones have
        exited or (without wait_old; requires log level info) at least stopped accepting connections.
        """
        if config is not None:
            self.config = config
            self.write_config()
        old = set(self.workers())
        self.signal(signal.SIGHUP)
        net.wait_until(lambda: len(set(self.workers()) - old) >= self.config.workers, 15, "new workers")
        over = self._gone if wait_old else self._accepts_no_more
        net.wait_until(lambda: all(map(over, old)), 15, "the old workers")

    def _gone(self, pid: int) -> bool:
        return not net.alive(pid)

    def _accepts_no_more(self, pid: int) -> bool:
        return f"{pid}#{pid}: gracefully shutting down" in self.error_log() or self._gone(pid)

    def signal(self, signum: int) -> None:
        """Sends a signal to the master."""
        self._process.send_signal(signum)

    @property
    def pid(self) -> int:
        """The master's process id."""
        return self._process.pid

    def workers(self) -> list[int]:
        pids = net.children(self.pid)
        if VALGRIND:  # nginx cannot change its process title there
            return pids
        return [pid for pid in pids if b"worker process" in net.cmdline(pid)]

    # Requests.

    @property
    def port(self) -> int:
        return self.ports[""]

    @property
    def address(self) -> net.Address:
        return ("127.0.0.1", self.port)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def get(self, target: str | bytes, headers=(), **options) -> net.Response:
        """Sends one GET on a new connection: net.request()."""
        return net.request(self.address, target, headers, **options)

    def connect(self, timeout: float = 10) -> net.Connection:
        return net.Connection(self.address, timeout)

    # Logs.

    def error_log(self) -> str:
        return _text(self.prefix / "error.log")

    def warnings(self) -> list[str]:
        """Returns the warnings in the error log, except the one about a budget above the limit of the API, which many tests use."""
        return [line for line in self.error_log().splitlines() if "[warn]" in line and '"budget" allows' not in line]

    def access_log(self, name: str = "access.log") -> list[str]:
        """
        Returns the lines of an access log. nginx writes a line shortly after the response, so wait for it with
        net.wait_until().
        """
        return _text(self.prefix / name).splitlines()

    def stderr(self) -> str:
        return _text(self.prefix / "stderr")

    def kill_worker(self, pid: int) -> None:
        """
        Sends SIGKILL. The log may say that the worker died of the signal, and that it held a zone's lock, which the
        master then releases.
        """
        self.allow_log(rf"worker process {pid} exited on signal 9")
        self.allow_log(rf"shared memory zone \S+ was locked by {pid}$")
        os.kill(pid, signal.SIGKILL)

    def allow_log(self, pattern: str) -> None:
        """Ignores lines of the error log that match."""
        self._allowed.append(pattern)

    def check_logs(self) -> None:
        """Checks the messages so far. Reports by sanitizers and valgrind are only complete after stop()."""
        lines = [line for line in self.error_log().splitlines() if _SUSPECT.search(line)]
        lines = [line for line in lines if not any(re.search(pattern, line) for pattern in self._allowed)]
        assert not lines, "nginx complained:\n" + "\n".join(lines)
        canary.check_all(self._leaks + canary.in_files(self.prefix))
        memory.check(_reports(self.prefix))

    def show_log(self, lines: int = 60) -> None:
        """Prints the end of the error log, for debugging."""
        tail = self.error_log().splitlines()[-lines:]
        print(f"--- {self.prefix}/error.log", *tail, self.stderr(), sep="\n", file=sys.stderr)


class InBackground(Config):
    """A master ignores an upgrade while its parent is still the original one."""

    def text(self, prefix, ports) -> str:
        return super().text(prefix, ports).replace("daemon off;", "daemon on;")


class Daemon(Nginx):
    """nginx in the background; after upgrade(), this object stands for the new one."""

    def _launch(self) -> None:
        super()._launch()
        self._process.wait()
        self._process = Orphan(self._read_pid())

    def _read_pid(self) -> int:
        pid_file = self.prefix / "nginx.pid"
        return int(net.wait_until(lambda: pid_file.exists() and pid_file.read_text().strip(), 5, "a master"))

    def upgrade(self) -> int:
        """Returns the process id of the old master, which is still running."""
        old = self._process.pid
        self.signal(signal.SIGUSR2)
        net.wait_until((self.prefix / "nginx.pid.oldbin").exists, 5, "the old master to step aside")
        self._process = Orphan(self._read_pid())
        return old


class Orphan:
    """A process that is not our child, with the part of subprocess.Popen's interface that we use."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self.args = ["nginx"]

    def send_signal(self, signum: int) -> None:
        os.kill(self.pid, signum)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)

    def poll(self) -> int | None:
        return None if net.alive(self.pid) else 0

    def wait(self, timeout: float = 5) -> int:
        net.wait_until(lambda: not net.alive(self.pid), timeout, "nginx to leave")
        return 0


def _make_prefix(tmp: pathlib.Path) -> pathlib.Path:
    prefix = pathlib.Path(tempfile.mkdtemp(prefix="ngx-", dir=tmp))
    prefix.chmod(0o755)
    _reports(prefix).mkdir()
    _reports(prefix).chmod(0o777)  # a worker writes there as another user
    return prefix


def _reports(prefix: pathlib.Path) -> pathlib.Path:
    """The directory for the reports of sanitizers and valgrind."""
    return prefix / "reports"


def _text(path: pathlib.Path) -> str:
    try:
        return path.read_text("utf-8", "replace")
    except FileNotFoundError:
        return ""
