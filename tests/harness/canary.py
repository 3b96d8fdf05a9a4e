"""
The hunt for credentials. Every credential of the tests is a canary: it has MARK in it, more than once, so that a piece
of it is as easy to find as the whole. Whoever runs a daemon looks for MARK in all that it leaves behind, and whoever talks
to one, in all that it says.
"""

import contextlib
import pathlib
import subprocess
from collections.abc import Iterable

from . import TESTS

MARK = b"CaNaRy-"

# Whether daemons write logs for the hunt alone, which costs time.
hunting = False

# How much of memory or of a file is looked at in one piece.
_PIECE = 1 << 24


def secret(end: str) -> str:
    """A credential; end tells it from others."""
    return MARK.decode() * 4 + end


class Found(AssertionError):
    """A credential stands where it must not."""


def check(data: bytes, where: object) -> None:
    if MARK in data:
        at = data.index(MARK)
        raise Found(f"a credential in {where}, at {at}: {data[max(at - 60, 0):at + 60]!r}")


def check_all(places: Iterable[str]) -> None:
    places = list(places)
    if places:
        raise Found("a credential in " + ", ".join(places))


def in_files(directory: pathlib.Path) -> list[str]:
    """The names of files, however deep below a directory, that have one."""
    return [str(path.relative_to(directory)) for path in sorted(directory.rglob("*"))
            if path.is_file() and not path.is_symlink() and _in_file(path)]


def _in_file(path: pathlib.Path) -> bool:
    with contextlib.suppress(FileNotFoundError), path.open("rb") as file:
        return _in_stream(file, path.stat().st_size)
    return False


def in_processes(pids: Iterable[int]) -> list[str]:
    """What processes show of themselves, and what memory they share, as far as we may look at it."""
    found = []
    for pid in pids:
        for name in ("cmdline", "environ"):
            with contextlib.suppress(FileNotFoundError, ProcessLookupError, PermissionError):
                if MARK in pathlib.Path(f"/proc/{pid}/{name}").read_bytes():
                    found.append(f"/proc/{pid}/{name}")
        with contextlib.suppress(FileNotFoundError, ProcessLookupError, PermissionError):
            if _in_shared_memory(pid):
                found.append(f"the shared memory of {pid}")
    return found


def _in_shared_memory(pid: int) -> bool:
    with open(f"/proc/{pid}/maps", encoding="utf-8") as maps, open(f"/proc/{pid}/mem", "rb", buffering=0) as memory:
        for line in maps:
            addresses, permissions, *_ = line.split()
            if permissions.startswith("rw-s"):
                begin, end = (int(address, 16) for address in addresses.split("-"))
                memory.seek(begin)
                if _in_stream(memory, end - begin):
                    return True
    return False


def _in_stream(file, size: int) -> bool:
    tail = b""
    while size > 0:
        data = file.read(min(size, _PIECE))
        if not data:
            return False
        if MARK in tail + data:
            return True
        tail = data[-len(MARK):]
        size -= len(data)
    return False


def check_requests(requests: Iterable[dict]) -> None:
    """As the simulator has recorded them: only where credentials belong."""
    for request in requests:
        check(request["target"].encode("latin-1"), f"the target of a request, {request['target']}")
        for name, value in request["headers"]:
            if name.lower() not in ("authorization", "x-auth-key"):
                check(value.encode("latin-1"), f"the header {name} of a request")


def leak(tmp: pathlib.Path) -> pathlib.Path:
    """
    Builds a library for LD_PRELOAD that gives away what a daemon hands to libcurl as a header: in a line on standard
    error, and in the memory that it shares with other processes, if it does.
    """
    library = tmp / "leak.so"
    subprocess.run(["cc", "-shared", "-fPIC", "-O1", "-Wall", "-Wextra", "-o", library, TESTS / "harness" / "leak.c",
                    "-ldl"], check=True)
    return library
