"""Runs the rows, prints the table, and saves it."""

import argparse
import json
import pathlib
import sys
import time
from collections.abc import Callable

from harness import BUILD, temp_dir

from . import (budget, contenders, day, fleet, footprint, hits, memory, outage, outlets, polling, report, tools,
               trouble, waits, watching)

# What each row requires besides the project's own programs.
ROWS: dict[str, tuple[Callable, set[str]]] = {
    "instructions": (hits.instructions, {"valgrind"}),
    "throughput": (hits.throughput, {"wrk"}),
    "burst": (waits.burst, set()),
    "cold": (waits.cold, set()),
    "density": (memory.density, set()),
    "fanout": (watching.fanout, {"ngx_nchan_module.so"}),
    "watching": (watching.watching, {"ngx_nchan_module.so"}),
    "growth": (footprint.growth, set()),
    "footprint": (footprint.footprint, {"ngx_nchan_module.so"}),
    "polling": (polling.polling, set()),
    "budget": (budget.budget, set()),
    "down": (trouble.down, set()),
    "kill": (trouble.kill, set()),
    "reloads": (trouble.reloads, set()),
    "outage": (outage.outage, set()),
    "churn": (memory.churn, set()),
    "leaks": (memory.leaks, {"valgrind"}),
    "fleet": (fleet.fleet, set()),
    "day": (day.day, set()),
    "outlets": (outlets.outlets, set()),
}


class Bench:
    """The environment of a row."""

    def __init__(self, tmp: pathlib.Path, quick: bool) -> None:
        self.tmp = tmp
        self.quick = quick
        self.profiles: dict[str, dict[str, float]] = {}

    def scale(self, full: float, quick: float) -> float:
        return quick if self.quick else full

    def judge(self, met: bool) -> bool | None:
        """Returns met, or None in a quick run, for a bar that only a full run can judge."""
        return None if self.quick else met

    def keep_profile(self, name: str, profile: dict[str, float]) -> None:
        """Saves the instructions by function."""
        self.profiles[name] = {function: spent for function, spent in profile.items() if abs(spent) >= 0.5}


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="bench", description="Measures the module and its alternatives.")
    parser.add_argument("rows", nargs="*", metavar="ROW", help=f"one of {', '.join(ROWS)}; default: all")
    parser.add_argument("--quick", action="store_true", help="fewer repetitions, to check that the benchmark works")
    parser.add_argument("--output", type=pathlib.Path, default=BUILD / "bench" / "results.json", help="%(default)s")
    parser.add_argument("--update", type=pathlib.Path, metavar="FILE",
                        help="write the table, and the machine's data, between the marks in this Markdown file")
    parser.add_argument("--profile", action="store_true", help="show the instructions of a hit by function")
    arguments = parser.parse_args()
    if unknown := set(arguments.rows) - set(ROWS):
        parser.error(f"no such row: {', '.join(sorted(unknown))}")
    return arguments


def show_profiles(profiles: dict[str, dict[str, float]]) -> None:
    for name, profile in profiles.items():
        print(f"\n{name}: {sum(profile.values()):.0f} instructions")
        for function, spent in list(profile.items())[:40]:
            print(f"{spent:10.0f}  {function}")


def main() -> int:
    arguments = parse_arguments()
    rows = arguments.rows or list(ROWS)
    if missing := tools.missing(set().union(*(ROWS[name][1] for name in rows))):
        sys.exit(f"bench: there is no {', '.join(missing)}")
    if report.LUA not in contenders.available():
        print("bench: without lua, since libnginx-mod-http-lua is not installed", file=sys.stderr)

    machine = report.machine()
    lines: list[report.Line] = []
    with temp_dir() as tmp:
        bench = Bench(tmp, arguments.quick)
        for name in rows:
            began = time.monotonic()
            measure, _ = ROWS[name]
            lines += measure(bench)
            print(f"bench: {name}: {time.monotonic() - began:.0f} s", file=sys.stderr)

    print(report.table(lines))
    if arguments.profile:
        show_profiles(bench.profiles)
    results = report.as_json(lines, machine, arguments.quick) | {"profiles": bench.profiles}
    arguments.output.parent.mkdir(parents=True, exist_ok=True)
    arguments.output.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    if arguments.update:
        text = arguments.update.read_text(encoding="utf-8")
        arguments.update.write_text(report.put_between_marks(text, lines, machine), encoding="utf-8")
    return 1 if any(line.met is False for line in lines) else 0


if __name__ == "__main__":
    sys.exit(main())
