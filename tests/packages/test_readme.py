"""
Runs the commands of "In five minutes" in the README on a fresh Debian, exactly as they are written there. After that,
nginx is killed, stopped, upgraded and hardened, and the packages are removed. Debian is booted in a container
(systemd-nspawn) without a network, and the simulator replaces the API. The tests are skipped if there can be no container.
"""

import pathlib
import re
import shutil
import subprocess

import pytest
from test_packages import BUILD, PACKAGES, Root, base, codename  # noqa: F401 (base is a fixture)

from harness import ROOT, temp_dir
from harness.simulator import ACCOUNT, Simulator

README = (ROOT / "README.md").read_text()

# The commands that need the network. `make test-packages` has already run them.
DONE_BEFORE = ["scripts/install-deps deb", "make deb"]

# Prepares the state after `make deb`: nginx is not enabled, and collectd is installed without a configuration. The
# packages that apt will install are already downloaded, and its question is answered. The host has a name, as after an
# installation of Debian.
PREPARE = """
apt-get -qy purge collectd collectd-core
apt-get -qy install --no-install-recommends systemd-sysv procps collectd-core libmicrohttpd12 libprotobuf-c1
apt-get -qy install --no-install-recommends --download-only collectd rrdtool
rm /usr/sbin/policy-rc.d
systemctl disable nginx
echo fresh >/etc/hostname
printf '127.0.0.1 localhost\\n127.0.1.1 fresh.example.org fresh\\n' >/etc/hosts
echo 'APT::Get::Assume-Yes "true"; APT::Install-Recommends "false";' >/etc/apt/apt.conf.d/90answers
"""

# Runs /io/script after everything else has started, with the token as its standard input, and then powers off.
UNIT = """
[Unit]
After=multi-user.target
SuccessAction=poweroff-force
FailureAction=poweroff-force
[Service]
Type=oneshot
TimeoutStartSec=180
WorkingDirectory=/io
Environment=DEBIAN_FRONTEND=noninteractive LC_ALL=C.UTF-8
ExecStartPre=/bin/ip addr add 192.0.2.1/32 dev lo
ExecStart=/bin/bash /io/script
StandardInput=file:/io/sim.token
StandardOutput=file:/io/output
StandardError=inherit
"""

LOOK = ("curl -si --unix-socket /run/aisearch/nginx.sock http://localhost/client/v4/$LIST"
        " | grep -e ^HTTP -e X-Aisearch-Cache")
CONF_D = "/etc/collectd/collectd.conf.d"
EXAMPLES = "/usr/share/doc/{}/examples/"
OF_NGINX, OF_COLLECTD = map(EXAMPLES.format, PACKAGES)

# Commands after those in the README, by name. Both daemons are running when each of them starts.
LATER = {
    "page": "curl -si http://127.0.0.1:8088/aisearch/",
    "checked": f"collectd -T -C {CONF_D}/aisearch.conf",
    "reloaded": "nginx -t && systemctl reload nginx && systemctl is-active nginx",
    "killed": f"kill -9 $(pidof nginx); sleep 0.2; ls /run/aisearch; nginx -t; systemctl start nginx; {LOOK}",
    "stopped": f"systemctl stop nginx; nginx -t; systemctl start nginx; {LOOK}",
    "upgraded": f"before=$(cat /run/nginx.pid); service nginx upgrade; sleep 1.5; [ $before != $(cat /run/nginx.pid) ]"
                f" && systemctl restart nginx; {LOOK}",
    "others": f"setpriv --reuid=nobody --regid=nogroup --clear-groups {LOOK}",
    "hardened": f"""
        install -D -m 644 {OF_NGINX}nginx.service.conf /etc/systemd/system/nginx.service.d/aisearch.conf
        install -D -m 644 {OF_COLLECTD}collectd.service.conf /etc/systemd/system/collectd.service.d/aisearch.conf
        cp {OF_COLLECTD}collectd-outlets.conf {CONF_D}/aisearch-outlets.conf
        cp {OF_COLLECTD}collectd-threshold.conf {CONF_D}/aisearch-threshold.conf
        systemctl daemon-reload; systemctl stop collectd; sleep 1; date +%s >/since
        systemctl restart nginx; systemctl start collectd; sleep 21
        systemctl show nginx collectd -P ProtectHome; stat -c '%G %a' /run/collectd-unixsock
        curl -s http://127.0.0.1:9103/metrics | grep -o ^collectd_aisearch_gauge | uniq; {LOOK}""",
    "errors": "journalctl -o cat -u nginx -u collectd --since @$(cat /since)"
                  " | grep -Ei 'fail|error|cannot|not permitted'",
    "credential": f"""
        cd /etc/systemd/system/nginx.service.d; sed -i -E 's/^#(Load|ExecReload)/\\1/' aisearch.conf; cd
        sed -i 's,/etc/aisearch/docs.token,credential:docs.token,' /etc/nginx/conf.d/aisearch.conf
        systemctl daemon-reload; systemctl restart nginx
        nginx -t; CREDENTIALS_DIRECTORY=/run/credentials/nginx.service nginx -t && systemctl reload nginx; {LOOK}""",
}


def commands(title: str) -> list[str]:
    """The commands in a chapter of the README."""
    [chapter] = re.findall(rf"^## {title}\n(.*?)(?=^## )", README, re.DOTALL | re.MULTILINE)
    return "".join(re.findall(r"^```sh\n(.*?)^```", chapter, re.DOTALL | re.MULTILINE)).splitlines()


FIRST, REMOVAL = commands("In five minutes"), commands("Uninstall")


def script() -> str:
    """
    The script with all commands, which prints a line "@@@ NAME" before the output of each. The last command of the README
    is repeated until it succeeds, as collectd needs some time.
    """
    *steps, metric = FIRST[len(DONE_BEFORE):]
    steps = [re.sub(r"api=\S+", "api=http://unix:/io/sim.sock:/client/v4", step) for step in steps]
    steps.append(f"until {metric}; do sleep 0.5; done")
    named = [*zip(FIRST[len(DONE_BEFORE):], steps, strict=True), *LATER.items(), *zip(REMOVAL, REMOVAL, strict=True),
             ("left", "systemctl is-active nginx collectd; nginx -t; dpkg --audit")]
    head = f"LIST=accounts/{ACCOUNT}/ai-search/instances/my-ai-search/jobs\n"
    return head + "".join(f"cat <<'END'\n@@@ {name}\nEND\n{step}\n" for name, step in named)


@pytest.fixture(scope="session")
def fresh(base) -> pathlib.Path:  # noqa: F811
    if shutil.which("systemd-nspawn") is None:
        pytest.skip("systemd-nspawn is not installed (Debian: systemd-container)")
    path = BUILD / "packages" / f"{codename()}-fresh"
    if not (path / "done-fresh").exists():
        shutil.rmtree(path, ignore_errors=True)
        subprocess.run(["cp", "-a", "--reflink=auto", base, path], check=True)
        Root(path).run(PREPARE, network=True)
        (path / "etc/systemd/system/script.service").write_text(UNIT)
        (path / "done-fresh").touch()
    return path


@pytest.fixture(scope="session")
def printed(fresh) -> dict[str, str]:
    """The output of each command."""
    with temp_dir() as tmp, Simulator(tmp, "demo"):
        shutil.copytree(BUILD / "deb", tmp / "build/deb")
        (tmp / "script").write_text(script())
        boot = subprocess.run(
            ["systemd-nspawn", "--quiet", "--register=no", "--keep-unit", "--private-network", "--volatile=overlay",
             f"--directory={fresh}", f"--bind={tmp}:/io", "--boot", "systemd.unit=script.service",
             "systemd.wants=multi-user.target"],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace",
            timeout=300)
        output = tmp / "output"
        if not output.exists():
            pytest.skip("cannot boot Debian in a container: " + " ".join(boot.stdout.split()[-30:]))
        parts = output.read_text(errors="replace").split("@@@ ")[1:]
    return dict(part.split("\n", 1) for part in parts)


def fresh_answer(text: str) -> bool:
    return "HTTP/1.1 200 OK" in text and re.search("X-Aisearch-Cache: (HIT|MISS|EXPIRED)", text) is not None


def test_number_of_commands():
    assert FIRST[:len(DONE_BEFORE)] == DONE_BEFORE
    assert len(FIRST) <= 12
    assert [command for command in FIRST if "&&" in command or ";" in re.sub("\".*?\"", "", command)] == []


def test_first_lookup(printed):
    assert "HTTP/1.1 200 OK" in printed[FIRST[-2]] and "X-Aisearch-Cache: MISS" in printed[FIRST[-2]], printed
    assert '"source":"user"' in printed[FIRST[-2]]


def test_first_metric(printed):
    """It is the state of the newest job, which is queued."""
    assert re.search(r"^\d+: 0$", printed[FIRST[-1]], re.MULTILINE), printed


def test_other_commands_print_nothing(printed):
    quiet = [command for command in FIRST[len(DONE_BEFORE) + 1:-2] if not command.startswith("systemctl enable")]
    assert {command: printed[command] for command in quiet} == dict.fromkeys(quiet, "")


def test_page(printed):
    assert "HTTP/1.1 200 OK" in printed["page"] and "<title>" in printed["page"]


@pytest.mark.parametrize("event", ["killed", "stopped", "upgraded", "hardened"])
def test_lookups_after_an_event(printed, event):
    assert fresh_answer(printed[event]), printed[event]
    assert "test failed" not in printed[event]


def test_check_of_collectd(printed):
    """This is the command in the table of problems in the README."""
    assert 'Account "docs": OK' in printed["checked"], printed["checked"]


def test_reload(printed):
    assert printed["reloaded"].endswith("\nactive\n"), printed["reloaded"]


def test_killed_nginx_leaves_its_socket(printed):
    """Otherwise, the test of lookups after nginx was killed would prove nothing."""
    assert printed["killed"].startswith("nginx.sock\n")


def test_only_root_can_use_the_socket(printed):
    assert printed["others"] == ""


def test_no_errors_with_all_files_of_config(printed):
    """Neither daemon logs an error within two intervals, together with Debian's own configuration."""
    assert printed["hardened"].startswith("read-only\n\nyes\nadm 660\ncollectd_aisearch_gauge\n"), printed["hardened"]
    assert printed["errors"] == ""


def test_systemd_credential(printed):
    refused, accepted = re.findall(r"^.*test (?:failed|is successful)$", printed["credential"], re.MULTILINE)
    assert "failed" in refused and "CREDENTIALS_DIRECTORY is not set" in printed["credential"]
    assert "is successful" in accepted and fresh_answer(printed["credential"])


def test_removal(printed):
    assert printed["left"].startswith("active\nactive\n"), printed
    assert "test is successful" in printed["left"] and "aisearch" not in printed["left"]
