"""The systemd drop-ins in config/: systemd accepts them, and nginx works with their capabilities."""

import os
import pathlib
import re
import shutil
import signal
import subprocess

import pytest

from gateway import account, resource
from harness import ROOT, net
from harness.nginx import BINARY, Nginx, Config

UNITS = pathlib.Path("/usr/lib/systemd/system")
EXPOSURE = 35  # the exposure level of systemd-analyze, out of 100; it is 96 without the drop-ins


def drop_in(daemon: str) -> str:
    return (ROOT / "config" / f"{daemon}.service.conf").read_text()


def whole(text: str) -> str:
    """Enables the examples that are commented out."""
    return re.sub(r"^#(?=[A-Z][A-Za-z]*=)", "", text, flags=re.MULTILINE)


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="no systemd-analyze")
@pytest.mark.parametrize("read", [str, whole], ids=["as it is", "with the examples"])
@pytest.mark.parametrize("daemon", ["nginx", "collectd"])
def test_systemd_accepts_the_drop_in(tmp, daemon, read):
    if not (UNITS / f"{daemon}.service").exists():
        pytest.skip(f"no {daemon}.service")
    unit = shutil.copy(UNITS / f"{daemon}.service", tmp)
    (tmp / f"{daemon}.service.d").mkdir()
    (tmp / f"{daemon}.service.d" / "aisearch.conf").write_text(read(drop_in(daemon)))

    for command in (["verify", unit], ["security", "--offline=true", f"--threshold={EXPOSURE}", unit]):
        run = subprocess.run(["systemd-analyze", *command], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
        output = run.stdout.decode("utf-8", "replace")
        assert run.returncode == 0, output
        assert "aisearch.conf" not in output, output  # warnings about lines that are ignored contain the name of the file


def capabilities(daemon: str) -> list[str]:
    [words] = re.findall(r"^CapabilityBoundingSet=(.*)$", drop_in(daemon), flags=re.MULTILINE)
    return [f"+{name.removeprefix('CAP_').lower()}" for name in words.split()]


@pytest.mark.skipif(os.geteuid() != 0 or shutil.which("setpriv") is None, reason="requires root and setpriv")
def test_nginx_works_with_the_capabilities_of_the_drop_in(tmp, simulator, monkeypatch):
    """
    These are start, lookups, reload, reopening logs and stop. As with Debian's logrotate, the logs belong to the user of
    the workers.
    """
    wrapper = tmp / "nginx-with-less"
    wrapper.write_text("#!/bin/sh\nexec setpriv --no-new-privs --inh-caps=-all --bounding-set="
                       f"{','.join(['-all', *capabilities('nginx')])} {BINARY} \"$@\"\n")
    wrapper.chmod(0o755)
    monkeypatch.setattr("harness.nginx.BINARY", wrapper)
    simulator.job("instances/docs", "a")

    config = Config(http=account(simulator), server="location /docs/ { aisearch_pass docs; }", workers=2)
    with Nginx(tmp, config) as server:
        assert effective(server.pid) == len(capabilities("nginx"))
        job = f"/docs/{resource('instances/docs', 'a')}"
        assert server.get(job).status == 200
        server.reload()
        assert server.get(job).header("X-Aisearch-Cache") == "HIT"

        log = server.prefix / "access.log"
        shutil.chown(log, "nobody", "nogroup")
        log.chmod(0o600)
        server.signal(signal.SIGUSR1)
        server.get(job)
        net.wait_until(lambda: "reopening logs" in server.error_log(), what="the logs to be reopened")
        net.wait_until(lambda: len(server.access_log()) >= 3, what="a line in the log")


def effective(pid: int) -> int:
    """The number of effective capabilities of a process."""
    [mask] = re.findall(r"^CapEff:\s+(\w+)$", pathlib.Path(f"/proc/{pid}/status").read_text(), flags=re.MULTILINE)
    return int(mask, 16).bit_count()
