"""Records the requests to the simulator, up to a limit, and counts all of them."""

import collections
import re
import time


class Record:
    def __init__(self, cap: int) -> None:
        self._cap = cap
        self.connections_open = 0
        self.in_flight = 0
        self.reset()

    def reset(self) -> None:
        """Forgets past requests. Open connections and requests in progress remain counted."""
        self._since = time.monotonic()
        self._requests: collections.deque[dict] = collections.deque(maxlen=self._cap)
        self._total = 0
        self._by_path: collections.Counter[str] = collections.Counter()
        self._by_status: collections.Counter[int] = collections.Counter()
        self._malformed = 0
        self._connections = 0
        self._connections_max = self.connections_open
        self._in_flight_max = self.in_flight

    def connection_opened(self) -> None:
        self._connections += 1
        self.connections_open += 1
        self._connections_max = max(self._connections_max, self.connections_open)

    def connection_closed(self) -> None:
        self.connections_open -= 1

    def malformed(self) -> None:
        self._malformed += 1

    def begin(self, method: str, target: str, headers: list[tuple[str, str]], connection: int, has_body: bool) -> dict:
        entry = {
            "method": method,
            "target": target,
            "headers": headers,
            "connection": connection,
            "has_body": has_body,
            "began": time.monotonic(),  # the same clock in all processes on a host
            "ended": None,
            "status": None,  # None: in progress, or not an HTTP response
        }
        self._requests.append(entry)
        self._total += 1
        self._by_path[target.partition("?")[0]] += 1
        self.in_flight += 1
        self._in_flight_max = max(self._in_flight_max, self.in_flight)
        return entry

    def end(self, entry: dict, status: int | None) -> None:
        self.in_flight -= 1
        entry["ended"] = time.monotonic()
        entry["status"] = status
        if entry["began"] >= self._since:
            self._by_status[status] += 1

    def requests(self, path: str) -> dict:
        """
        Returns the requests whose path and query match the regular expression, and how many requests were forgotten in
        all.
        """
        pattern = re.compile(path)
        found = [entry for entry in self._requests if pattern.search(entry["target"])]
        return {"forgotten": self._total - len(self._requests), "requests": found}

    def counters(self) -> dict:
        return {
            "total": self._total,
            "by_path": dict(self._by_path),
            "by_status": {str(status): count for status, count in self._by_status.items()},
            "malformed": self._malformed,
            "connections": self._connections,
            "connections_open": self.connections_open,
            "connections_max": self._connections_max,
            "in_flight": self.in_flight,
            "in_flight_max": self._in_flight_max,
        }
