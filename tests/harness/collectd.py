"""Runs collectd with the plugin in its own directory, and reads back what it reports."""

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
import time
from collections.abc import Callable
from typing import NamedTuple

from . import BUILD, SLOWNESS, canary, memory, net, process

BINARY = os.environ.get("AIS_COLLECTD") or shutil.which("collectd", path=os.defpath + ":/usr/sbin:/sbin") or "collectd"
PLUGIN_DIR = BUILD / "collectd"
STOCK_PLUGIN_DIR = pathlib.Path("/usr/lib/collectd")

# Short, to keep tests short, but long enough for a busy machine to respond within nine tenths of it.
INTERVAL = 0.4 * SLOWNESS ** 0.5

# One report: values by "PLUGIN_INSTANCE/TYPE[-TYPE_INSTANCE]".
Report = dict[str, float]

_TEMPLATE = """\
Hostname "test"
FQDNLookup false
BaseDir "{prefix}"
PIDFile "{prefix}/collectd.pid"
Interval {global_interval}
WriteThreads 1

PluginDir "{stock}"
LoadPlugin logfile
<Plugin logfile>
  LogLevel info
  File "{prefix}/collectd.log"
  PrintSeverity true
</Plugin>
{csv}
{extra}

PluginDir "{plugin_dir}"
<LoadPlugin aisearch>
  Interval {interval}
</LoadPlugin>
{plugin}
"""


_CSV = """\
LoadPlugin csv
<Plugin csv>
  DataDir "{prefix}/csv"
  StoreRates false
</Plugin>"""


@dataclasses.dataclass
class Config:
    """
    aisearch is the content of the <Plugin aisearch> block, in which @INTERVAL@ stands for the interval; None: no such
    block. extra precedes it and may load collectd's own plugins. Without csv, no values can be read back.
    """

    aisearch: str | None
    interval: float = INTERVAL
    extra: str = ""
    global_interval: float = 1.0
    csv: bool = True

    def text(self, prefix: pathlib.Path) -> str:
        plugin = "" if self.aisearch is None else f"<Plugin aisearch>\n{self.aisearch}\n</Plugin>".replace(
            "@INTERVAL@", str(self.interval))
        csv = _CSV.format(prefix=prefix) if self.csv else ""
        return _TEMPLATE.format(prefix=prefix, csv=csv, stock=STOCK_PLUGIN_DIR, plugin_dir=PLUGIN_DIR, extra=self.extra,
                                interval=self.interval, global_interval=self.global_interval, plugin=plugin)


@dataclasses.dataclass
class Refusal:
    status: int
    log: str  # the log file and standard error


def refusal(config: Config, tmp: pathlib.Path) -> Refusal:
    """Runs collectd -T with an invalid configuration and returns how it exited. Fails if it does not exit."""
    collectd = Collectd(tmp, config)
    try:
        collectd.launch("-T")
        net.wait_until(lambda: collectd.exited() is not None, 5, "collectd to refuse its configuration")
        said = collectd.log() + collectd.stderr()
        canary.check(said.encode(), "what collectd says")
        return Refusal(collectd.exited(), said)
    finally:
        with contextlib.suppress(AssertionError):
            collectd.stop()


class Notification(NamedTuple):
    severity: str
    identity: str  # PLUGIN_INSTANCE/TYPE_INSTANCE
    message: str


_NOTIFICATION = re.compile(r"Notification: severity = (\w+), host = test, plugin = aisearch, plugin_instance = ([^,]+), "
                           r"type = gauge, type_instance = ([^,]+), message = (.*)")


class Collectd:
    """
    with Collectd(tmp, Config(aisearch='<Account "docs"> ... </Account>')) as collectd:
        collectd.wait_report("docs", lambda report: report.get("docs-handbook/gauge-state") == 1)

    Leaving the block stops it by SIGTERM, which must take less than stop_timeout seconds, and checks that sanitizers
    and valgrind report nothing about our code, and that its log and values contain no credential.
    """

    def __init__(self, tmp: pathlib.Path, config: Config, stop_timeout: float = 5,
                 env: dict[str, str] | None = None, preload: list = ()) -> None:
        self.prefix = pathlib.Path(tempfile.mkdtemp(prefix="collectd-", dir=tmp))
        self.config = config
        self.stop_timeout = stop_timeout
        self._conf = self.prefix / "collectd.conf"
        self._environment = {**memory.environment(self.prefix, preload), **(env or {})}
        self._process: subprocess.Popen | None = None

    # Starting and stopping.

    def __enter__(self) -> "Collectd":
        self.start()
        return self

    def __exit__(self, exc_type, _exc, _traceback) -> None:
        if exc_type is None:
            self.stop()
        else:
            with contextlib.suppress(AssertionError):
                self.stop()
            self.show_log()

    def start(self) -> None:
        self.launch()
        net.wait_until(self._up_or_gone, 15, "collectd to start")
        if self.exited() is not None:
            raise AssertionError(f"collectd did not start:\n{self.log()}{self.stderr()}")

    def launch(self, *options: str) -> None:
        """Starts it in the foreground, without waiting."""
        self._conf.write_text(self.config.text(self.prefix))
        with (self.prefix / "stderr").open("wb") as stderr:
            self._process = process.start([*memory.valgrind(self.prefix), BINARY, "-C", self._conf, "-f", *options],
                                          env=self._environment, stdin=subprocess.DEVNULL,
                                          stdout=subprocess.DEVNULL, stderr=stderr)

    def read_once(self) -> int:
        """Runs collectd -T, which reads once and exits; returns its exit status."""
        self.launch("-T")
        try:
            return net.wait_until(lambda: self.exited() is not None, 15, "collectd -T to leave") and self.exited()
        finally:
            self.stop()

    def exited(self) -> int | None:
        """Its exit status, or None while it is running."""
        return self._process.poll()

    def _up_or_gone(self) -> bool:
        return self.exited() is not None or "Initialization complete" in self.log()

    def stop(self) -> float:
        """
        Sends SIGTERM and returns the seconds until it exited. Fails if that takes more than stop_timeout, or if
        sanitizers or valgrind report anything about our code.
        """
        if self._process is None:
            return 0.0
        child, self._process = self._process, None
        shown = canary.in_processes([child.pid])
        began = time.monotonic()
        status = process.stop(child, signal.SIGTERM, self.stop_timeout)
        elapsed = time.monotonic() - began
        memory.check(self.prefix)
        canary.check_all(shown + canary.in_files(self.prefix))
        assert status in (0, 1), f"collectd ended with status {status}:\n{self.stderr()}"
        return elapsed

    def kill(self) -> None:
        """Sends SIGKILL."""
        child, self._process = self._process, None
        child.kill()
        child.wait()

    @property
    def pid(self) -> int:
        return self._process.pid

    # Values.

    def series(self, name: str, plugin: str = "aisearch") -> list[tuple[float, float]]:
        """Returns (time, value) of a series, "PLUGIN_INSTANCE/TYPE[-TYPE_INSTANCE]", in chronological order."""
        plugin_instance, _, type_name = name.rpartition("/")
        directory = self.prefix / "csv" / "test" / "-".join(filter(None, [plugin, plugin_instance]))
        dated = re.compile(re.escape(type_name) + r"-\d{4}-\d\d-\d\d")
        return sorted(row for path in _files(directory) if dated.fullmatch(path.name) for row in _rows(path))

    def reports(self, account: str) -> list[tuple[float, Report]]:
        """
        Returns all reports about an account. All values of a report have the same time. The last report is omitted,
        since it may be incomplete.
        """
        by_time: dict[float, Report] = {}
        for directory in _files(self.prefix / "csv" / "test"):
            plugin, _, plugin_instance = directory.name.partition("-")
            if plugin != "aisearch" or plugin_instance.partition("-")[0] != account:
                continue
            for path in _files(directory):
                name = f"{plugin_instance}/{path.name[:-len('-2026-11-23')]}"
                for when, value in _rows(path):
                    by_time.setdefault(when, {})[name] = value
        return sorted(by_time.items())[:-1]

    def last_report(self, account: str) -> tuple[float, Report]:
        """Returns the last of reports(), or an empty one at time 0; fast even with many accounts."""
        by_time: dict[float, Report] = {}
        with contextlib.suppress(FileNotFoundError):
            for name in os.listdir(self.prefix / "csv" / "test"):
                plugin_instance = name.removeprefix("aisearch-")
                if name == plugin_instance or plugin_instance.partition("-")[0] != account:
                    continue
                for file in os.listdir(self.prefix / "csv" / "test" / name):
                    for when, value in _last_rows(self.prefix / "csv" / "test" / name / file):
                        by_time.setdefault(when, {})[f"{plugin_instance}/{file[:-len('-2026-11-23')]}"] = value
        return sorted(by_time.items(), key=lambda item: item[0])[-2] if len(by_time) > 1 else (0.0, {})

    def wait_report(self, account: str, condition: Callable[[Report], object] = lambda report: True,
                    timeout: float = 10, since: float = 0.0, what: str = "a report") -> Report:
        """Waits for a report, made at since or later, that meets the condition."""
        def look() -> Report | None:
            return next((report for when, report in self.reports(account) if when >= since and condition(report)), None)

        return net.wait_until(look, timeout, what, every=0.05)

    def next_report(self, account: str, condition: Callable[[Report], object] = lambda report: True,
                    timeout: float = 10, what: str = "a report") -> Report:
        """Waits for a report, made from now on, that meets the condition."""
        return self.wait_report(account, condition, timeout, time.time(), what)

    def wait_reads(self, count: int, account: str = "docs") -> None:
        """Waits for so many more complete reports."""
        done = len(self.reports(account)) + count
        net.wait_until(lambda: len(self.reports(account)) >= done, 10 + 2 * count * INTERVAL, f"{count} reads", every=0.05)

    # Logs.

    def notifications(self) -> list[Notification]:
        """The plugin's notifications, as written by collectd's logfile plugin."""
        found = (_NOTIFICATION.search(line) for line in self.log_lines("Notification: "))
        return [Notification(m[1], f"{m[2]}/{m[3]}", m[4]) for m in found]

    def log(self) -> str:
        return _text(self.prefix / "collectd.log")

    def stderr(self) -> str:
        return _text(self.prefix / "stderr")

    def log_lines(self, pattern: str) -> list[str]:
        """
        Returns the lines of the log that match a regular expression. The warning about a budget above the API's limit,
        which many tests have, is left out unless the expression contains "Budget".
        """
        return [line for line in self.log().splitlines() if re.search(pattern, line)
                and ("Budget" in pattern or ": Budget allows " not in line)]

    def wait_log(self, pattern: str, timeout: float = 10) -> str:
        """Waits for the first line that matches and returns it."""
        return net.wait_until(lambda: self.log_lines(pattern), timeout, f'"{pattern}" in the log')[0]

    def show_log(self, lines: int = 60) -> None:
        """Prints the end of the log, for debugging."""
        tail = self.log().splitlines()[-lines:]
        print(f"--- {self.prefix}/collectd.log", *tail, self.stderr(), sep="\n", file=sys.stderr)


class BackgroundCollectd(Collectd):
    """Runs collectd in the background, as without systemd."""

    def launch(self) -> None:
        self._conf.write_text(self.config.text(self.prefix))
        self._pid: int | None = None
        subprocess.run([*memory.valgrind(self.prefix), BINARY, "-C", self._conf], env=self._environment,
                       stdin=subprocess.DEVNULL, check=True, timeout=15 * SLOWNESS)
        pidfile = self.prefix / "collectd.pid"
        self._pid = int(net.wait_until(lambda: _text(pidfile).strip(), 15, "collectd's PID file"))

    def exited(self) -> int | None:
        return None if net.alive(self._pid) else 0

    def stop(self) -> float:
        if self._pid is None:
            return 0.0
        pid, self._pid = self._pid, None
        began = time.monotonic()
        try:
            os.kill(pid, signal.SIGTERM)
            net.wait_until(lambda: not net.alive(pid), self.stop_timeout, "collectd to leave")
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        elapsed = time.monotonic() - began
        memory.check(self.prefix)
        canary.check_all(canary.in_files(self.prefix))
        return elapsed

    @property
    def pid(self) -> int:
        return self._pid


def _files(directory: pathlib.Path) -> list[pathlib.Path]:
    return sorted(directory.iterdir()) if directory.is_dir() else []


def _rows(path: pathlib.Path) -> list[tuple[float, float]]:
    """Returns time and (first) value of each line in a file of the csv plugin, except a line still being written."""
    text = _text(path)
    lines = text[:text.rfind("\n") + 1].splitlines()[1:]
    return [(float(fields[0]), float(fields[1])) for fields in (line.split(",") for line in lines)]


def _last_rows(path: pathlib.Path) -> list[tuple[float, float]]:
    """Returns the last two or three of them."""
    with open(path, "rb") as file:
        file.seek(max(0, os.fstat(file.fileno()).st_size - 80))
        lines = file.read().decode().split("\n")[1:-1]  # the first one is partial or the heading; the last one is empty
    return [(float(fields[0]), float(fields[1])) for fields in (line.split(",") for line in lines)]


def _text(path: pathlib.Path) -> str:
    try:
        return path.read_text("utf-8", "replace")
    except FileNotFoundError:
        return ""
