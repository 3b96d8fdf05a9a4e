"""Memory that runs out at a chosen allocation, in nginx's workers or in collectd: see shortage.c."""

import enum
import mmap
import pathlib
import re
import struct
import subprocess
from collections.abc import Callable

from . import BUILD, PRELOAD, TESTS

SOURCE = TESTS / "harness" / "shortage.c"


class Kind(enum.IntEnum):
    ANYBODY = 0  # malloc and its like, by whoever calls them
    MODULE = 1  # what the module, or the plugin, takes itself, from whatever pool, slab or heap


class Library:
    """What has to be compiled for it, in a directory."""

    def __init__(self, directory: pathlib.Path) -> None:
        self._directory = directory
        self.preload = directory / "shortage.so"
        _compile("-o", self.preload, SOURCE)

    def module(self) -> pathlib.Path:
        """nginx's module, linked again so that its own allocations are known."""
        objects = BUILD / "nginx" / "tree" / "objs"
        return self._link("ngx_http_aisearch_module.so", *(objects / "addon").rglob("*.o"),
                          objects / "ngx_http_aisearch_module_modules.o")

    def plugin(self) -> pathlib.Path:
        """The same of collectd's plugin."""
        sources = (TESTS.parent / "collectd-plugin").glob("*.c")  # objects of others may be left over
        return self._link("aisearch.so", *(BUILD / "collectd-plugin" / f"{source.stem}.o" for source in sources),
                          BUILD / "libaisearch.a")

    def _link(self, name: str, *objects: pathlib.Path) -> pathlib.Path:
        source = SOURCE.read_text()
        wrapped = {*re.findall(r"^WRAP(?:_NGX)?\((?:\w+ \*, )?(\w+)", source, re.M),
                   *re.findall(r"^void \*__wrap_(\w+)", source, re.M)}
        sanitizers = ["-fsanitize=address,undefined"] if PRELOAD else []
        _compile(*sanitizers, *(f"-Wl,--wrap={function}" for function in sorted(wrapped)), "-o", self._directory / name,
                 *sorted(objects), "-lcurl", "-lssl", "-lcjson")
        return self._directory / name


class Shortage:
    """Orders to the processes that were started with the library and this environment."""

    _LAYOUT = struct.Struct("=iiiiqqq")  # struct orders

    def __init__(self, tmp: pathlib.Path) -> None:
        file = tmp / "shortage"
        file.write_bytes(bytes(self._LAYOUT.size))
        self.env = {"AIS_SHORTAGE": str(file)}
        with file.open("r+b") as opened:
            self._orders = mmap.mmap(opened.fileno(), self._LAYOUT.size)

    def watch(self, pid: int) -> None:
        """Everything is about this process from now on."""
        self._write(pid=pid, kind=0, lasts=0, failed=0, nth=0, count=0, live=0)

    def begin(self, kind: Kind, nth: int, lasts: bool) -> None:
        """The nth allocation of the kind fails; where it lasts, all that follow do too."""
        self._write(nth=0)
        self._write(kind=kind, lasts=int(lasts), failed=0, count=0)
        self._write(nth=nth)

    def stop(self) -> None:
        """There is memory again."""
        self._write(nth=0)

    @property
    def failed(self) -> int:
        """How many allocations did, since begin()."""
        return self._read()["failed"]

    @property
    def count(self) -> int:
        """How many there were since begin(), those that failed included."""
        return self._read()["count"]

    @property
    def live(self) -> int:
        """Blocks of the process, more than when it was first watched."""
        return self._read()["live"]

    _FIELDS = ("pid", "kind", "lasts", "failed", "nth", "count", "live")

    def _read(self) -> dict[str, int]:
        return dict(zip(self._FIELDS, self._LAYOUT.unpack(self._orders[:])))

    def _write(self, **fields: int) -> None:
        """One by one: others count in the same memory."""
        offset = 0
        for name, code in zip(self._FIELDS, "iiiiqqq"):
            if name in fields:
                struct.pack_into("=" + code, self._orders, offset, fields[name])
            offset += struct.calcsize("=" + code)


def sweep(shortage: Shortage, kind: Kind, lasts: bool, act: Callable[[Callable[[], None]], None],
          most: int = 2000) -> int:
    """
    Calls act(begin) again and again: its first allocation fails, then its second, and so on, until it is over before
    the one that would. act calls begin() where the counting is to begin, then stop(), and checks what comes of it.
    Returns how many allocations there were.
    """
    for n in range(1, most):
        act(lambda: shortage.begin(kind, n, lasts))
        shortage.stop()
        if shortage.failed == 0:
            return n - 1
    raise AssertionError(f"more than {most} allocations")


def _compile(*args) -> None:
    subprocess.run(["cc", "-shared", "-fPIC", "-O1", "-Wall", "-Wextra", *map(str, args)], check=True)
