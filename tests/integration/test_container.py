"""
The commands of the container image (Dockerfile), in the environment that docs/container.md describes: an unprivileged user
without capabilities, a file system that is read-only except for /tmp, and a mounted secret.
"""

import json
import os
import re
import shutil
import signal
import subprocess

import pytest

from gateway import ACCOUNT
from harness import ROOT, net
from harness.nginx import BINARY, MODULE

DOCKERFILE = (ROOT / "Dockerfile").read_text()
USER = int(re.search(r"^USER (\d+):\1$", DOCKERFILE, re.MULTILINE)[1])

pytestmark = [
    pytest.mark.skipif(os.geteuid() != 0 or subprocess.run(["unshare", "--mount", "true"], stderr=subprocess.DEVNULL,
                                                           check=False).returncode != 0, reason="requires root and unshare"),
    pytest.mark.skipif("AIS_PRELOAD" in os.environ, reason="the runtime of the sanitizers must be loaded first"),
]

SURROUNDINGS = """
mount --bind {tmp}/secrets {tmp}/secrets
mount -o remount,bind,ro {tmp}/secrets
mount -t tmpfs -o mode=1777 tmpfs {tmp}/tmp
mount -o remount,bind,ro /
exec setpriv --reuid={user} --regid={user} --clear-groups --no-new-privs --inh-caps=-all --bounding-set=-all -- "$@"
"""


def command(instruction: str) -> list[str]:
    """The command of HEALTHCHECK or CMD in the Dockerfile."""
    return json.loads(re.search(rf"^{instruction}(?:.* CMD)? (\[.*\])$", DOCKERFILE, re.MULTILINE)[1])


class Container:
    def __init__(self, tmp, simulator, mode: int) -> None:
        self.tmp = tmp
        for name in ("secrets", "tmp", "aisearch"):
            (tmp / name).mkdir()
        secret = shutil.copy(simulator.token_file, tmp / "secrets/docs.token")
        secret.chmod(mode)
        os.chown(secret, USER, USER)
        (tmp / "aisearch/docs.conf").write_text(
            f"aisearch_account docs {{\n account_id {ACCOUNT};\n instance docs;\n api_url {simulator.url};\n"
            f" token_file {secret};\n}}\n")
        self.ports = {port: net.free_port() for port in ("8080", "8081")}
        text = (ROOT / "config/nginx-container.conf").read_text()
        for pattern, new in ((r"(?<= )/tmp/", f"{tmp}/tmp/"), (r"/etc/aisearch/", f"{tmp}/aisearch/"),
                             (r"include /etc/nginx/modules-enabled/\*\.conf", f"load_module {MODULE}"),
                             (r"(?<=listen )\d+", lambda match: str(self.ports[match[0]]))):
            text, n = re.subn(pattern, new, text)
            assert n
        (tmp / "nginx.conf").write_text(text)

    def start(self, *more: str) -> subprocess.Popen:
        """The output belongs to the user of the container, as in a container runtime."""
        self.output, output = os.pipe()
        os.fchown(output, USER, USER)
        [binary, *options] = command("CMD")
        assert binary == "nginx"
        script = "set -e\n" + SURROUNDINGS.format(tmp=self.tmp, user=USER)
        process = subprocess.Popen(["unshare", "--mount", "sh", "-c", script, "sh", BINARY, *options, "-c",
                                    self.tmp / "nginx.conf", *more], stdout=output, stderr=output)
        os.close(output)
        return process

    def printed(self) -> str:
        with os.fdopen(self.output) as output:
            return output.read()

    def healthy(self) -> bool:
        [curl, *options, url] = command("HEALTHCHECK")
        url = url.replace(":8081/", f":{self.ports['8081']}/")
        return subprocess.run([curl, *options, url], stderr=subprocess.DEVNULL, check=False).returncode == 0


def test_start_health_and_stop_of_the_container(tmp, simulator):
    simulator.job("instances/docs", "a", state="succeeded")
    container = Container(tmp, simulator, 0o400)
    process = container.start()
    try:
        net.wait_until(container.healthy, 20, "health")
        answer = net.request(("127.0.0.1", container.ports["8080"]), "/jobs/docs/a")
        assert (answer.status, answer.header("X-Aisearch-State")) == (200, "succeeded")
        assert net.request(("127.0.0.1", container.ports["8080"]), "/aisearch_status").status == 404
        process.send_signal(signal.SIGHUP)
        process.send_signal(getattr(signal, re.search(r"^STOPSIGNAL (\w+)$", DOCKERFILE, re.MULTILINE)[1]))
        assert process.wait(20) == 0
    finally:
        process.kill()
        process.wait()
    printed = container.printed()
    assert re.search(r'"GET /jobs/docs/a HTTP/1\.1" 200 MISS succeeded', printed)
    assert "aisearch-jobs/" in printed and not re.search(r"\[(warn|error|crit|alert|emerg)\]", printed), printed


@pytest.mark.parametrize("mode, text", (
    (0o444, 'any user of this host can read or write ".*/secrets/docs.token"; mount it with another mode; '
            'in Kubernetes, set "defaultMode: 0400" and an "fsGroup"'),
    (0o000, "make it readable by the user that starts the daemon"),
))
def test_mode_of_the_secret(tmp, simulator, mode, text):
    """If other users can read the secret, the message does not suggest chmod, because the secret is mounted read-only."""
    container = Container(tmp, simulator, mode)
    process = container.start("-t")
    printed = container.printed()
    assert (process.wait(20) == 0) == (mode == 0o444) and re.search(text, printed), printed
