"""Runs collectd against all misbehaving upstreams at once and records what it reports for each."""

import contextlib
import dataclasses
import pathlib
import re
import time
from collections.abc import Callable

from behaviours import Behaviour, well
from harness import SLOWNESS, net
from harness.clock import Clock
from harness.collectd import Collectd, Config, Report
from harness.edge import Certificates
from harness.illness import Upstream
from harness.simulator import ACCOUNT

# The interval between reports, in seconds.
INTERVAL = 1.0 * SLOWNESS ** 0.5

# The interval between lookups, in seconds. For most upstreams, it is long enough for a busy machine to look up all of
# them within nine tenths of it. The few upstreams that suspend calls for a long time (True) have a separate collectd.
LOOKS = {False: 4.0 * SLOWNESS ** 0.5, True: 2 * INTERVAL}
STALL_TIMEOUT = 2.0 * SLOWNESS ** 0.5

# Whether the job has been read before its upstream starts to misbehave.
STATES = ("new", "known")

# Longer than an upstream can suspend calls, in seconds.
LONG_AFTER = 86400 + 60


@dataclasses.dataclass
class Cell:
    behaviour: Behaviour
    daemon: Collectd
    begin: int = 0  # where the relevant part of the log begins
    shown_at: float | None = None  # when the misbehavior was seen in the log
    ill: Report = dataclasses.field(default_factory=dict)  # after the misbehavior was seen
    lines: list[str] = dataclasses.field(default_factory=list)  # of the log, about the misbehavior
    asked: int = 0  # requests that reached the upstream while it misbehaved
    closed: Report | None = None  # the upstream has recovered, but calls are still suspended
    after: Report = dataclasses.field(default_factory=dict)
    later: list[str] = dataclasses.field(default_factory=list)  # of the log, about the recovery
    states: set[float] = dataclasses.field(default_factory=set)  # all states that were reported
    longest: float = 0.0  # longest time without a report, in intervals

    @property
    def name(self) -> str:
        """The name of the account and of the job."""
        return self.behaviour.name

    def values(self, report: Report) -> dict[str, float]:
        """The values of the job, by type."""
        begin, end = f"{self.name}-docs/", f"-{self.name}"
        return {name[len(begin):-len(end)]: value for name, value in report.items()
                if name.startswith(begin) and name.endswith(end)}

    def errors(self, report: Report) -> set[str]:
        begin = f"{self.name}/errors-"
        return {name[len(begin):] for name, value in report.items() if name.startswith(begin) and value > 0}

    def is_read(self, report: Report) -> bool:
        return "gauge-state" in self.values(report)

    def own_lines(self, log: str) -> list[str]:
        """
        The lines about the job. Those about lists of instances (which recovered upstreams do not have), about the
        breaker (which is part of the account) and about instances are left out.
        """
        others = ("list of instances", "faults in a row", "The API responds again", "It is overdue, and so are others",
                  "Budget allows")
        return [line for line in log[self.begin:].splitlines()
                if f'Account "{self.name}"' in line and not any(other in line for other in others)]

    def causes(self) -> list[str]:
        """The causes in the log. A cause is logged again only after another one."""
        return causes_in(self.lines)

    @property
    def may_be_late(self) -> set[str]:
        """Other causes that are possible on a busy machine, before the next lookup fails with the expected one."""
        return {"timeout"} - set(self.behaviour.causes(in_haste=True))

    def text(self) -> str:
        """The cell of the table."""
        what = "age" if not self.is_read(self.ill) else "read" if self.behaviour.status == 200 else "kept"
        errors = self.errors(self.ill) - self.may_be_late
        return " ".join([what, *sorted({self.behaviour.name_cause(error, True) for error in errors})])


def causes_in(lines: list[str]) -> list[str]:
    return re.findall(r'(?:cannot be read|Account "[^"]*"): (.*?): ', "\n".join(lines))


def run(tmp: pathlib.Path, certificates: Certificates, behaviours: list[Behaviour]) -> dict[tuple[str, str], Cell]:
    clock = Clock(tmp)
    with contextlib.ExitStack() as stack:
        upstreams = {b.name: stack.enter_context(Upstream(b.illness, certificates, well)) for b in behaviours}
        for upstream in upstreams.values():
            upstream.fall_ill()
        daemons = {}
        for patient in (False, True):  # the clock of a patient one can be advanced, as no lookup is in progress then
            accounts = [_account(tmp, b, upstreams[b.name].url(), certificates, LOOKS[patient])
                        for b in behaviours if (b.patience > 0) == patient]
            if accounts:
                daemons[patient] = stack.enter_context(Collectd(
                    tmp, Config("\n".join(accounts), INTERVAL), env=clock.env, preload=[clock.library] * patient))
        cells = {}
        for state in STATES:
            round_of = [Cell(b, daemons[b.patience > 0]) for b in behaviours]
            _go_through(round_of, upstreams, clock)
            cells |= {(cell.name, state): cell for cell in round_of}
    for cell in cells.values():
        cell.states = {value for _, value in cell.daemon.series(f"{cell.name}-docs/gauge-state-{cell.name}")}
        times = [when for when, _ in cell.daemon.series(f"{cell.name}/http_requests")]
        cell.longest = max(late - early for early, late in zip(times, times[1:])) / cell.daemon.config.interval
    return cells


def _account(tmp: pathlib.Path, behaviour: Behaviour, url: str, certificates: Certificates, interval: float) -> str:
    """Each account has its own credential, and therefore its own budget and schedule."""
    token = tmp / f"{behaviour.name}.token"
    token.write_text(f"token-of-{behaviour.name}\n")
    token.chmod(0o600)
    timeout = STALL_TIMEOUT if behaviour.stalls else 0.9 * interval
    return f"""<Account "{behaviour.name}">
  AccountID "{ACCOUNT}"
  TokenFile "{token}"
  APIURL "{url}"
  CACert "{certificates.ca_file}"
  Timeout {int(timeout * 1000)}
  ActiveInterval {interval}
  IdleInterval {2 * interval}
  Budget 1000000 1
  <Instance "docs">
    Job "{behaviour.name}"
  </Instance>
</Account>"""


def _go_through(cells: list[Cell], upstreams: dict[str, Upstream], clock: Clock) -> None:
    """Observes the misbehavior and the recovery."""
    for cell in cells:
        upstream = upstreams[cell.name]
        if not upstream.ill:
            cell.begin = len(cell.daemon.log())
            upstream.heads.clear()
            upstream.fall_ill()
    _observe(cells, _has_shown_before, "ill")
    for cell in cells:
        cell.lines = cell.own_lines(cell.daemon.log())
        cell.asked = len(upstreams[cell.name].heads)

    for cell in cells:
        cell.begin = len(cell.daemon.log())
        upstreams[cell.name].recover()
    patient = [cell for cell in cells if cell.behaviour.patience]
    _observe([cell for cell in cells if cell not in patient], _is_read, "after")
    _observe(patient, lambda *_: True, "closed")
    clock.advance(LONG_AFTER)
    _observe(patient, _is_read, "after")
    for cell in cells:
        cell.later = cell.own_lines(cell.daemon.log())


def _is_read(cell: Cell, _when: float, report: Report, log: str) -> bool:
    """Whether the job is read again, according to the log."""
    return cell.is_read(report) and (cell.behaviour.status == 200 or bool(cell.own_lines(log)))


def _has_shown_before(cell: Cell, when: float, report: Report, log: str) -> bool:
    if cell.behaviour.status == 200:
        return cell.is_read(report)
    if cell.shown_at is None and f'Account "{cell.name}"' in log[cell.begin:]:
        causes = causes_in(cell.own_lines(log))
        if not causes or set(causes) - cell.may_be_late:
            cell.shown_at = time.time()
    return cell.shown_at is not None and when > cell.shown_at


def _observe(cells: list[Cell], condition: Callable[[Cell, float, Report, str], bool], attribute: str) -> None:
    """
    Records the first new report of each cell that meets the condition, or the last report if none does in time: the
    checks will fail then.
    """
    since = time.time()
    pending = list(cells)

    def look() -> bool:
        logs = {cell.daemon: cell.daemon.log() for cell in pending}
        for cell in list(pending):
            when, report = cell.daemon.last_report(cell.name)
            setattr(cell, attribute, report)
            if when > since and condition(cell, when, report, logs[cell.daemon]):
                pending.remove(cell)
        return not pending

    with contextlib.suppress(AssertionError):
        net.wait_until(look, 8 * LOOKS[False] / SLOWNESS, every=0.5)
