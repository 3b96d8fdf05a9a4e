"""The results: lines, as a table for people and as JSON for programs."""

import dataclasses
import itertools
import os
import pathlib
import platform
import re
import subprocess

AISEARCH, RETURN, PROXY, LUA = CONTENDERS = ("aisearch", "return 200", "proxy_cache", "lua")


@dataclasses.dataclass
class Line:
    """
    One measured quantity, for one or more contenders. compared describes the value that is compared with the bar; met
    is None if there is no bar, or if a quick run cannot judge it.
    """

    row: str
    what: str
    unit: str
    values: dict[str, float]
    compared: str = ""
    bar: str = ""
    met: bool | None = None
    columns: tuple[str, ...] = CONTENDERS  # the contenders to list in the same table


def ratio(line: Line, to: str, limit: float, at_most: bool = True) -> Line:
    """The same line as a ratio of aisearch to another contender."""
    value = line.values[AISEARCH] / line.values[to]
    return dataclasses.replace(line, compared=f"{value:.3f} x {to}", bar=f"{'<=' if at_most else '>='} {limit:g}",
                               met=value <= limit if at_most else value >= limit)


def number(value: float | None) -> str:
    if value is None:
        return "-"
    if value == int(value) or abs(value) >= 1000:
        return f"{value:,.0f}".replace(",", " ")
    return f"{value:.2f}" if abs(value) >= 10 else f"{value:.3f}"


def _cells(line: Line) -> tuple[str, ...]:
    verdict = "" if line.met is None else "met" if line.met else "MISSED"
    values = (number(line.values.get(name)) for name in line.columns)
    what = f"{line.what}, {line.unit}" if line.unit else line.what
    return (what, *values, line.compared, line.bar, verdict)


def table(lines: list[Line], markdown: bool = False) -> str:
    """One table for each set of contenders."""
    groups = itertools.groupby(lines, key=lambda line: line.columns)
    return "\n\n".join(_table(columns, list(group), markdown) for columns, group in groups)


def _table(columns: tuple[str, ...], lines: list[Line], markdown: bool) -> str:
    rows = [("what", *columns, "compared", "bar", ""), *map(_cells, lines)]
    widths = [max(map(len, column)) for column in zip(*rows)]
    right = set(range(1, 1 + len(columns)))

    def show(row: tuple[str, ...]) -> str:
        cells = [cell.rjust(width) if n in right else cell.ljust(width)
                 for n, (cell, width) in enumerate(zip(row, widths))]
        return f"| {' | '.join(cells)} |" if markdown else "  ".join(cells).rstrip()

    dashes = ["-" * (width - 1) + ":" if n in right else "-" * width for n, width in enumerate(widths)]
    rule = f"| {' | '.join(dashes)} |" if markdown else "  ".join("-" * width for width in widths)
    return "\n".join([show(rows[0]), rule, *map(show, rows[1:])])


MARKS = ("<!-- measured -->", "<!-- end of what was measured -->")


def put_between_marks(text: str, lines: list[Line], where: dict) -> str:
    """Returns the document with this table instead of the previous one."""
    begin, end = (text.index(mark) for mark in MARKS)
    versions = ", ".join(f"{name} {version}" for name, version in where["versions"].items() if version)
    told = (f"{where['cpu']}, {where['cpus']} CPUs, {where['memory_mib']} MiB; {where['system']}, Linux "
            f"{where['kernel']}; {versions}; load average before: {where['load']:.1f}")
    return f"{text[:begin]}{MARKS[0]}\n{told}\n\n{table(lines, markdown=True)}\n{text[end:]}"


def as_json(lines: list[Line], machine: dict, quick: bool) -> dict:
    return {"machine": machine, "quick": quick, "lines": [dataclasses.asdict(line) for line in lines]}


def machine() -> dict:
    """The machine on which it was measured."""
    cpuinfo = pathlib.Path("/proc/cpuinfo").read_text(encoding="utf-8")
    model = re.search(r"model name\s*: (.*)", cpuinfo)
    os_release = platform.freedesktop_os_release()
    return {
        "cpu": model[1] if model else platform.processor(),
        "cpus": len(os.sched_getaffinity(0)),
        "memory_mib": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") >> 20,
        "kernel": platform.release().partition("-")[0],
        "system": os_release.get("PRETTY_NAME", ""),
        "load": os.getloadavg()[0],
        "versions": {name: _version(*command) for name, command in _VERSIONS.items()},
    }


_VERSIONS = {
    "nginx": ("nginx", "-v"),
    "collectd": ("dpkg-query", "-W", "-f", "collectd/${source:Upstream-Version}", "collectd-core"),
    "lua module": ("dpkg-query", "-W", "-f", "lua/${source:Upstream-Version}", "libnginx-mod-http-lua"),
    "libcurl": ("curl-config", "--version"),
    "gcc": ("gcc", "-dumpfullversion"),
    "valgrind": ("valgrind", "--version"),
}


def _version(*command: str) -> str:
    path = {**os.environ, "PATH": os.environ.get("PATH", "") + ":/usr/sbin:/sbin"}
    try:
        run = subprocess.run(command, env=path, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
    except FileNotFoundError:
        return ""
    return re.split(r"[/ -](?=\d)", run.stdout.decode().strip(), maxsplit=1)[-1] if run.returncode == 0 else ""
