"""Runs Prometheus in its own directory and queries it."""

import json
import os
import pathlib
import shutil
import subprocess
import tempfile
import urllib.parse

from . import net, process

BINARY = shutil.which("prometheus", path=os.defpath + ":/usr/bin") or "prometheus"
PROMTOOL = shutil.which("promtool", path=os.defpath + ":/usr/bin") or "promtool"


class Prometheus:
    """
    with Prometheus(tmp, config, {"my.rules.yml": rules}) as prometheus:
        assert prometheus.query('up{job="collectd"}')[0].value == 1

    config is the content of prometheus.yml; the files are written to the same directory; options are for the command
    line.
    """

    def __init__(self, tmp: pathlib.Path, config: str, files: dict[str, str] | None = None,
                 options: list[str] = ()) -> None:
        self._options = options
        self.prefix = pathlib.Path(tempfile.mkdtemp(prefix="prometheus-", dir=tmp))
        for name, text in {"prometheus.yml": config, **(files or {})}.items():
            (self.prefix / name).write_text(text)
        self._process: subprocess.Popen | None = None

    def __enter__(self) -> "Prometheus":
        self.start()
        return self

    def __exit__(self, *_exc) -> None:
        self.stop()

    def start(self) -> None:
        """Starts on a free port; retries with another if it was taken meanwhile."""
        for _ in range(5):
            self.port = net.free_port()
            with (self.prefix / "log").open("wb") as log:
                self._process = process.start(
                    [BINARY, f"--config.file={self.prefix}/prometheus.yml", f"--storage.tsdb.path={self.prefix}/data",
                     f"--web.listen-address=127.0.0.1:{self.port}", "--log.level=warn", *self._options],
                    stdin=subprocess.DEVNULL, stdout=log, stderr=log)
            if net.wait_until(self._ready_or_gone, 20, "Prometheus to start", every=0.05) == "ready":
                return
            assert "address already in use" in self.log(), f"Prometheus did not start:\n{self.log()}"
        raise AssertionError("no free port found for Prometheus")

    def _ready_or_gone(self) -> str | None:
        if self._process.poll() is not None:
            return "gone"
        try:
            return "ready" if self._get("/-/ready").status == 200 else None
        except OSError:
            return None

    def stop(self) -> None:
        child, self._process = self._process, None
        if child is not None:
            process.stop(child)

    def log(self) -> str:
        return (self.prefix / "log").read_text("utf-8", "replace")

    def _get(self, target: str) -> net.Response:
        return net.request(("127.0.0.1", self.port), target)

    def _ask(self, target: str, **parameters: str) -> dict | list:
        response = self._get(f"{target}?{urllib.parse.urlencode(parameters)}")
        answer = json.loads(response.body)
        assert answer["status"] == "success", f"{parameters}: {answer['error']}"
        return answer["data"]

    def query(self, expression: str) -> list["Sample"]:
        """Returns the result of an instant vector query."""
        data = self._ask("/api/v1/query", query=expression)
        assert data["resultType"] == "vector", data
        return [Sample(entry["metric"], float(entry["value"][1])) for entry in data["result"]]

    def rules(self) -> list[dict]:
        """Returns all rules with their health and last error."""
        return [rule for group in self._ask("/api/v1/rules")["groups"] for rule in group["rules"]]

    def firing(self) -> set[tuple[str, str]]:
        """Returns (alert, label "aisearch") of each firing alert."""
        samples = self.query('ALERTS{alertstate="firing"}')
        return {(sample.labels["alertname"], sample.labels.get("aisearch", "")) for sample in samples}


class Sample:
    def __init__(self, labels: dict[str, str], value: float) -> None:
        self.labels = labels
        self.value = value

    def __repr__(self) -> str:
        return f"{self.labels} {self.value:g}"

