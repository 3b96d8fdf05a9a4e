"""Makes a chosen memory allocation fail, in nginx's workers or in collectd; see shortage.c."""

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
    ANYBODY = 0  # malloc() and similar functions, for any caller
    MODULE = 1  # allocations of the module or the plugin itself, from any pool, slab or heap


class Library:
    """Compiles the required files in a directory."""

    def __init__(self, directory: pathlib.Path) -> None:
        self._directory = directory
        self.preload = directory / "shortage.so"
        _compile("-o", self.preload, SOURCE)

    def module(self) -> pathlib.Path:
        """Returns nginx's module, linked so that its own allocations are recognized."""
        objects = BUILD / "nginx" / "tree" / "objs"
        return self._link("ngx_http_aisearch_module.so", *(objects / "addon").rglob("*.o"),
                          objects / "ngx_http_aisearch_module_modules.o")

    def plugin(self) -> pathlib.Path:
        """Returns collectd's plugin, linked in the same way."""
        sources = (TESTS.parent / "collectd-plugin").glob("*.c")  # there may be leftover objects of other files
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
    """Controls processes that were started with the library and this environment."""

    _LAYOUT = struct.Struct("=iiiiqqq")  # struct orders

    def __init__(self, tmp: pathlib.Path) -> None:
        file = tmp / "shortage"
        file.write_bytes(bytes(self._LAYOUT.size))
        self.env = {"AIS_SHORTAGE": str(file)}
        with file.open("r+b") as opened:
            self._orders = mmap.mmap(opened.fileno(), self._LAYOUT.size)

    def watch(self, pid: int) -> None:
        """From now on, orders apply to this process."""
        self._write(pid=pid, kind=0, lasts=0, failed=0, nth=0, count=0, live=0)

    def begin(self, kind: Kind, nth: int, lasts: bool) -> None:
        """Lets the nth allocation of that kind fail, and all later ones too if lasts is set."""
        self._write(nth=0)
        self._write(kind=kind, lasts=int(lasts), failed=0, count=0)
        self._write(nth=nth)

    def stop(self) -> None:
        """No more allocations fail."""
        self._write(nth=0)

    @property
    def failed(self) -> int:
        """The number of allocations that failed since begin()."""
        return self._read()["failed"]

    @property
    def count(self) -> int:
        """The number of allocations since begin(), including those that failed."""
        return self._read()["count"]

    @property
    def live(self) -> int:
        """The number of blocks that the process has allocated, minus those when it was first watched."""
        return self._read()["live"]

    _FIELDS = ("pid", "kind", "lasts", "failed", "nth", "count", "live")

    def _read(self) -> dict[str, int]:
        return dict(zip(self._FIELDS, self._LAYOUT.unpack(self._orders[:])))

    def _write(self, **fields: int) -> None:
        """Writes fields individually, because the process updates others in the same memory."""
        offset = 0
        for name, code in zip(self._FIELDS, "iiiiqqq"):
            if name in fields:
                struct.pack_into("=" + code, self._orders, offset, fields[name])
            offset += struct.calcsize("=" + code)


def sweep(shortage: Shortage, kind: Kind, lasts: bool, act: Callable[[Callable[[], None]], None],
          most: int = 2000) -> int:
    """
    Calls act(begin) repeatedly: its first allocation fails, then its second and so on, until it makes fewer allocations
    than that. act calls begin() where counting starts, then stop(), and checks the result. Returns the number of
    allocations.
    """
    for n in range(1, most):
        act(lambda: shortage.begin(kind, n, lasts))
        shortage.stop()
        if shortage.failed == 0:
            return n - 1
    raise AssertionError(f"more than {most} allocations")


def _compile(*args) -> None:
    subprocess.run(["cc", "-shared", "-fPIC", "-O1", "-Wall", "-Wextra", *map(str, args)], check=True)
