"""Debian's Chromium in headless mode, controlled by chromedriver (W3C WebDriver)."""

import contextlib
import http.client
import json
import os
import pathlib
import shutil
import subprocess

from . import SLOWNESS, net, process


def missing() -> list[str]:
    """Returns the programs that are not installed."""
    return [name for name in ("chromium", "chromedriver") if shutil.which(name) is None]


class Browser:
    """
    with Browser(tmp) as browser:
        browser.open(url)
        assert browser.run("return document.title") == "..."

    Its profile is in a directory below tmp. It ignores proxies, accepts any certificate, and connects only to the pages
    that it opens.
    """

    def __init__(self, tmp: pathlib.Path) -> None:
        self._home = tmp / "browser"
        self._home.mkdir()
        self._session = ""

    def __enter__(self) -> "Browser":
        self._port = net.free_port()
        with (self._home / "log").open("wb") as log:
            self._driver = process.start(["chromedriver", f"--port={self._port}"], stdin=subprocess.DEVNULL, stdout=log,
                                         stderr=log, env={**os.environ, "HOME": str(self._home)})
        try:
            net.wait_until(self._is_ready, 20, "chromedriver")
            self._session = self._call("POST", "/session", {"capabilities": {"alwaysMatch": {
                "goog:chromeOptions": {"args": self._arguments()}, "goog:loggingPrefs": {"browser": "ALL"}}}})["sessionId"]
        except BaseException:
            self._driver.kill()
            self._driver.wait()
            raise
        return self

    def __exit__(self, *_exc) -> None:
        with contextlib.suppress(OSError, AssertionError):
            self._call("DELETE", f"/session/{self._session}")
        process.stop(self._driver)

    def open(self, url: str) -> None:
        self._call("POST", f"/session/{self._session}/url", {"url": url})

    def run(self, script: str, *args):
        """Runs the body of a function and returns its result."""
        return self._call("POST", f"/session/{self._session}/execute/sync", {"script": script, "args": args})

    def console(self) -> list[str]:
        """Returns what the page has logged since the last call and the browser's own messages; only errors."""
        entries = self._call("POST", f"/session/{self._session}/se/log", {"type": "browser"})
        return [entry["message"] for entry in entries if entry["level"] == "SEVERE"]

    def devtools(self, command: str, **params):
        """Sends a command of the Chrome DevTools Protocol."""
        return self._call("POST", f"/session/{self._session}/goog/cdp/execute", {"cmd": command, "params": params})

    def size(self, width: int, height: int) -> None:
        """Sets the size of the viewport, in CSS pixels."""
        self.devtools("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False)

    def minimize(self) -> None:
        """Hides the page from then on."""
        self._call("POST", f"/session/{self._session}/window/minimize", {})

    def restore(self) -> None:
        self._call("POST", f"/session/{self._session}/window/rect", {"x": 0, "y": 0, "width": 1280, "height": 900})

    def press(self, *keys: str) -> None:
        """Presses the keys one by one, sent to the focused element."""
        actions = [{"type": kind, "value": key} for key in keys for kind in ("keyDown", "keyUp")]
        self._call("POST", f"/session/{self._session}/actions", {"actions": [{"type": "key", "id": "keys", "actions": actions}]})

    def _arguments(self) -> list[str]:
        sandbox = ["--no-sandbox"] if os.geteuid() == 0 else []
        return ["--headless=new", "--disable-gpu", "--disable-dev-shm-usage", "--no-proxy-server", "--no-first-run",
                "--disable-background-networking", "--disable-component-update", "--disable-extensions",
                "--ignore-certificate-errors", f"--user-data-dir={self._home}/profile", *sandbox]

    def _is_ready(self) -> bool:
        with contextlib.suppress(OSError):
            return self._call("GET", "/status")["ready"]
        return False

    def _call(self, method: str, path: str, body: dict | None = None):
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=60 * SLOWNESS)
        with contextlib.closing(connection):
            connection.request(method, path, None if body is None else json.dumps(body),
                               {"Content-Type": "application/json"})
            response = connection.getresponse()
            value = json.loads(response.read())["value"]
        assert response.status == 200, value
        return value
