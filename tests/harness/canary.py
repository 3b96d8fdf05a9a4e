"""
Searches for leaked credentials. Each credential of the tests is a canary: it contains MARK more than once, so that a
part of it is found like the whole. Code that runs a daemon searches everything that it leaves behind for MARK, and code
that talks to one searches everything that it sends.
"""

import contextlib
import pathlib
import subprocess
from collections.abc import Iterable

from . import TESTS

MARK = b"CaNaRy-"

# Whether daemons write additional logs for the search, which takes time.
hunting = False

# The size of the pieces in which memory and files are searched.
_PIECE = 1 << 24


def secret(end: str) -> str:
    """Returns a credential; end makes it unique."""
    return MARK.decode() * 4 + end


class Found(AssertionError):
    """A credential was found where it must not be."""


def check(data: bytes, where: object) -> None:
    if MARK in data:
        at = data.index(MARK)
        raise Found(f"a credential in {where}, at {at}: {data[max(at - 60, 0):at + 60]!r}")


def check_all(places: Iterable[str]) -> None:
    places = list(places)
    if places:
        raise Found("a credential in " + ", ".join(places))


def in_files(directory: pathlib.Path) -> list[str]:
    """Returns the names of files below a directory that contain a credential."""
    return [str(path.relative_to(directory)) for path in sorted(directory.rglob("*"))
            if path.is_file() and not path.is_symlink() and _in_file(path)]


def _in_file(path: pathlib.Path) -> bool:
    with contextlib.suppress(FileNotFoundError), path.open("rb") as file:
        return _in_stream(file, path.stat().st_size)
    return False


def in_processes(pids: Iterable[int]) -> list[str]:
    """Searches what processes reveal about themselves and the memory that they share, as far as we have access."""
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
    """Checks requests recorded by the simulator: credentials may only be in the right headers."""
    for request in requests:
        check(request["target"].encode("latin-1"), f"the target of a request, {request['target']}")
        for name, value in request["headers"]:
            if name.lower() not in ("authorization", "x-auth-key"):
                check(value.encode("latin-1"), f"the header {name} of a request")


def leak(tmp: pathlib.Path) -> pathlib.Path:
    """
    Builds a library for LD_PRELOAD that leaks the headers that a daemon passes to libcurl: to standard error, and to
    memory shared with other processes, if there is any.
    """
    library = tmp / "leak.so"
    subprocess.run(["cc", "-shared", "-fPIC", "-O1", "-Wall", "-Wextra", "-o", library, TESTS / "harness" / "leak.c",
                    "-ldl"], check=True)
    return library
