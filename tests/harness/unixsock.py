"""A client of collectd's unixsock plugin, like collectdctl: collectd-unixsock(5)."""

import contextlib
import pathlib
import socket


class Refused(LookupError):
    """The plugin returned an error with a reason: usually there is no such value."""


class UnixSock:
    def __init__(self, path: pathlib.Path) -> None:
        self._path = str(path)

    def _ask(self, command: str) -> list[str]:
        with socket.socket(socket.AF_UNIX) as sock:
            sock.settimeout(10)
            sock.connect(self._path)
            with sock.makefile("rw") as file:
                file.write(command + "\n")
                file.flush()
                count, _, message = file.readline().strip().partition(" ")
                if int(count) < 0:
                    raise Refused(f"{command}: {message}")
                return [file.readline().strip() for _ in range(int(count))]

    def names(self) -> list[str]:
        """All identifiers with values."""
        return sorted(line.split(" ", 1)[1] for line in self._ask("LISTVAL"))

    def value(self, name: str) -> float:
        """The value of an identifier with one value. For a counter it is the rate."""
        return float(self._ask(f'GETVAL "{name}"')[0].partition("=")[2])

    def values(self, prefix: str) -> dict[str, float]:
        """The values of all identifiers with that prefix, except those that disappear meanwhile."""
        values = {}
        for name in self.names():
            if name.startswith(prefix):
                with contextlib.suppress(Refused):
                    values[name] = self.value(name)
        return values
