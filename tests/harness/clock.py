"""
The clocks of a daemon: the monotonic one, which a test may advance for what takes minutes, such as a closed budget; and
the wall clock, which may be set as somebody sets a host's.
"""

import pathlib
import struct
import subprocess

from . import TESTS


class Clock:
    """
    clock = Clock(tmp)
    with Nginx(tmp, config, preload=[clock.library], env=clock.env):
        clock.advance(300)
        clock.set_wall(-120)        # two minutes slow

    Each leaves the other alone, and the timers that the kernel has already: what is due by the new time happens when
    something else wakes the daemon up, say a request.
    """

    def __init__(self, tmp: pathlib.Path) -> None:
        self.library = tmp / "clock.so"
        subprocess.run(["cc", "-shared", "-fPIC", "-O1", "-Wall", "-Wextra", "-o", self.library,
                        TESTS / "harness" / "clock.c", "-ldl"], check=True)
        self._file = tmp / "clock"
        self._ahead = 0.0
        self._wall = 0.0
        self.advance(0)
        self._file.chmod(0o644)
        self.env = {"AIS_CLOCK": str(self._file)}

    def advance(self, seconds: float) -> None:
        self._ahead += seconds
        self._write()

    def set_wall(self, seconds: float) -> None:
        """So far it is ahead of ours from now on."""
        self._wall = seconds
        self._write()

    def _write(self) -> None:
        with self._file.open("r+b" if self._file.exists() else "wb") as file:
            file.write(struct.pack("=qq", int(self._ahead * 1e9), int(self._wall * 1e9)))
