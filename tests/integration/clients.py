"""Shared by the tests with Cloudflare's own clients: the installation of these clients, nginx for them, a dummy token."""

import fcntl
import os
import pathlib
import shutil
import subprocess

import pytest

from gateway import account
from harness import ROOT
from harness.nginx import Nginx
from harness.simulator import Simulator

DUMMY_TOKEN = "dummy-token"

_PACKAGE_FILES = ("package.json", "package-lock.json")


def packages(name: str, what: str, *options: str) -> pathlib.Path:
    """
    Installs the packages in tests/integration/NAME/package.json, once for all variants of the build, and returns the
    directory that contains node_modules. Skips the test if they cannot be installed.
    """
    if not (shutil.which("npm") and shutil.which("node")):
        pytest.skip(f"npm and node, which {what} needs, are not installed")
    source, home = pathlib.Path(__file__).with_name(name), ROOT / "build" / name
    home.parent.mkdir(parents=True, exist_ok=True)
    with open(home.with_suffix(".lock"), "w", encoding="ascii") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        try:
            if not _installed(source, home):
                _install(source, home, options)
        except (subprocess.SubprocessError, OSError) as error:
            pytest.skip(f"npm cannot install {what}: {type(error).__name__}")
    return home


def _installed(source: pathlib.Path, home: pathlib.Path) -> bool:
    return (home / "node_modules").is_dir() and all(
        (home / name).exists() and (home / name).read_bytes() == (source / name).read_bytes()
        for name in _PACKAGE_FILES)


def _install(source: pathlib.Path, home: pathlib.Path, options: tuple[str, ...]) -> None:
    """Installs the packages in the build directory. npm's cache is removed afterwards."""
    shutil.rmtree(home, ignore_errors=True)
    trial, cache = home.with_suffix(".new"), home.with_suffix(".cache")
    try:
        shutil.rmtree(trial, ignore_errors=True)
        trial.mkdir()
        for name in _PACKAGE_FILES:
            shutil.copy(source / name, trial)
        subprocess.run(["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--no-update-notifier",
                        "--logs-max=0", "--fetch-retries=0", "--fetch-timeout=60000", f"--cache={cache}", *options],
                       cwd=trial, check=True, capture_output=True, timeout=300)
        trial.rename(home)
    finally:
        for directory in (trial, cache):
            shutil.rmtree(directory, ignore_errors=True)


def environment(**more: str) -> dict[str, str]:
    """Returns the environment without the variables that affect the clients or npm."""
    ours = ("CLOUDFLARE_", "CF_", "WRANGLER_", "NODE_", "npm_")
    proxies = ("http_proxy", "https_proxy", "all_proxy", "no_proxy")
    return {name: value for name, value in os.environ.items()
            if not name.startswith(ours) and name.lower() not in proxies} | more


def gateway(nginx, simulator: Simulator, *directives: str, location: str = "", **options) -> Nginx:
    """
    Starts nginx with a location for the API's own paths. The directives belong in the account block; options are
    arguments of gateway.account().
    """
    return nginx(http=account(simulator, *directives, **options),
                 server=f"location /client/v4/ {{ aisearch_pass docs; {location} }}")


def api_url(server: Nginx) -> str:
    return server.url + "/client/v4"


def wrong_token(tmp: pathlib.Path) -> str:
    """Returns the directive of an account for a credential that the simulator rejects."""
    path = tmp / "wrong.token"
    path.touch(mode=0o600)
    path.write_text("nobodys-token\n", encoding="ascii")
    return f"token_file {path};"


def assert_only_our_token(simulator: Simulator) -> None:
    assert simulator.count() > 0
    for request in simulator.requests():
        assert request.header("Authorization") == f"Bearer {simulator.token}"
        assert not any(DUMMY_TOKEN in value for _, value in request.headers)
