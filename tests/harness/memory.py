"""Checks a daemon's memory use: runs sanitizers and valgrind, and reads their reports about our code."""

import os
import pathlib
import re

from . import PRELOAD, TESTS, VALGRIND


def environment(directory: pathlib.Path, preload: list = ()) -> dict[str, str]:
    """
    Returns the daemon's environment. Sanitizers write to the directory. Leaks are left to valgrind, since daemons do
    not free everything at exit.
    """
    env = dict(os.environ)
    libraries = [*PRELOAD, *map(str, preload)]
    if libraries:
        env["LD_PRELOAD"] = " ".join(libraries)
    if PRELOAD:
        report = f"log_path={directory}/sanitizer"
        env["ASAN_OPTIONS"] = ":".join(filter(None, [env.get("ASAN_OPTIONS"), "detect_leaks=0", report]))
        env["UBSAN_OPTIONS"] = ":".join(filter(None, [env.get("UBSAN_OPTIONS"), "print_stacktrace=1", report]))
        env["TSAN_OPTIONS"] = ":".join(filter(None, [env.get("TSAN_OPTIONS"), report]))
    return env


def valgrind(directory: pathlib.Path) -> list[str]:
    """Returns the beginning of the daemon's command line."""
    if not VALGRIND:
        return []
    suppressions = TESTS / "valgrind.supp"
    return ["valgrind", "--quiet", "--leak-check=full", "--show-leak-kinds=definite,indirect", "--keep-debuginfo=yes",
            "--num-callers=40", f"--log-file={directory}/valgrind.%p",
            *([f"--suppressions={suppressions}"] if suppressions.exists() else [])]


def check(directory: pathlib.Path) -> None:
    """Fails if there are reports. They are complete when the daemon has exited."""
    reports = "".join(_text(path) for path in sorted(directory.glob("sanitizer.*")))
    assert not reports, f"sanitizer:\n{reports}"
    faults = "\n\n".join(block for path in directory.glob("valgrind.*") for block in valgrind_faults(_text(path)))
    assert not faults, f"valgrind:\n{faults}"


def valgrind_faults(log: str) -> list[str]:
    """Returns the blocks of a valgrind log that mention our code."""
    text = re.sub(r"^==\d+== ?", "", log, flags=re.MULTILINE)
    return [block for block in text.split("\n\n") if " at 0x" in block and re.search(r"\bais_|aisearch", block)]


def _text(path: pathlib.Path) -> str:
    return path.read_text("utf-8", "replace")
