"""Shared by the tests of mistakes in the configuration of nginx and collectd: credential files, and threads."""

import concurrent.futures
import pathlib
from collections.abc import Callable
from typing import Any

from harness import temp_dir
from harness.simulator import ACCOUNT

TOKEN = "canaryCanary_-canary0123456789canary0123"  # has the format of an API token

# The files in the directory @FILES@. All users can read "open".
FILES = {
    "token": b"canary-token\n", "key": b"canary-key\n", "empty": b"", "quoted": b'"canary"\n', "single": b"'canary'\n",
    "env": b"CLOUDFLARE_API_TOKEN=canary\n", "short_env": b"TOKEN=canary\n", "export": b"export TOKEN=canary\n",
    "bom": b"\xef\xbb\xbfcanary\n", "utf16": "\ufeffcanary\n".encode("utf-16-le"), "bearer": b"Bearer canary\n",
    "header": b"Authorization: Bearer canary\n", "json": b'{"token":"canary"}', "placeholder": b"<canary>\n",
    "variable": b"${CANARY}\n", "lines": b"canary\ncanary\n", "comment": b"# canary\ncanary\n", "space": b"canary \n",
    "global_key": b"0123456789abcdef0123456789abcdef01234", "zone_id": ACCOUNT.encode(),
    "an_api_token": TOKEN.encode(), "pem": b"-----BEGIN PRIVATE KEY-----\ncanary\n",
    "no_certificate": b"canary\n", "colon": b"token:canary\n", "crlf_lines": b"canary\r\ncanary\r\n",
    "open": b"canary-token\n",
}


def answers(mistakes: dict[str, Any], ask: Callable[[Any, pathlib.Path], Any]) -> dict[str, Any]:
    """Calls ask(mistake, directory with FILES) for each mistake, in several threads, and returns the results."""
    with temp_dir() as directory:
        for name, content in FILES.items():
            (directory / name).write_bytes(content)
            (directory / name).chmod(0o644 if name == "open" else 0o600)
        with concurrent.futures.ThreadPoolExecutor(4) as threads:
            return dict(zip(mistakes, threads.map(lambda mistake: ask(mistake, directory), mistakes.values())))
