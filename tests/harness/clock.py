"""
A daemon's clocks: the monotonic one, which a test may advance to shorten long waits, such as for a closed budget; and
the wall clock, which may be set as on any host.
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

    The clocks are independent of each other. Timers that were passed to the kernel do not change: what has become due
    happens when something else wakes the daemon, such as a request.
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
        """Sets the difference to our own clock, in seconds."""
        self._wall = seconds
        self._write()

    def _write(self) -> None:
        with self._file.open("r+b" if self._file.exists() else "wb") as file:
            file.write(struct.pack("=qq", int(self._ahead * 1e9), int(self._wall * 1e9)))
