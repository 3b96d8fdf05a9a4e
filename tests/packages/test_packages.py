"""
The packages from `make deb` on a fresh Debian: they are installed, upgraded, removed, installed again and purged, with the
site enabled and collectd configured. After each step, the configuration of nginx is valid, dpkg reports no problems, and
both daemons start. Debian is installed in a directory (debootstrap) and runs in its own network namespace. The tests are
skipped if this is not permitted.
"""

import os
import pathlib
import re
import shutil
import subprocess

import pytest

BUILD = pathlib.Path(os.environ["AIS_BUILD"])
PACKAGES = ("libnginx-mod-http-aisearch", "collectd-plugin-aisearch")
MODULE, PLUGIN = PACKAGES

ENABLE = """
install -d -m 755 /etc/aisearch
(umask 077 && echo 0123456789012345678901234567890123456789 >/etc/aisearch/docs.token)
cp /usr/share/doc/libnginx-mod-http-aisearch/examples/nginx.conf /etc/nginx/sites-available/aisearch
ln -s ../sites-available/aisearch /etc/nginx/sites-enabled/aisearch
cp /usr/share/doc/collectd-plugin-aisearch/examples/*.conf /etc/collectd/collectd.conf.d/
cd /etc/collectd/collectd.conf.d && rm *.service.conf && mv collectd.conf aisearch.conf
mv collectd-outlets.conf aisearch-outlets.conf && mv collectd-threshold.conf aisearch-threshold.conf
"""
# Prints the process ID of collectd.
COLLECTD = "collectd() { grep -lx collectd /proc/[0-9]*/comm | cut -d/ -f3; }\n"
# Starts both daemons, without systemd, and checks that they stay alive.
START = COLLECTD + """
/etc/init.d/nginx start >/dev/null
/etc/init.d/collectd start >/dev/null
for i in $(seq 100); do test -s /run/nginx.pid && test -n "$(collectd)" && break; sleep 0.1; done
sleep 1
kill -0 $(cat /run/nginx.pid)
kill -0 $(collectd)
"""
STATUS = "curl -sf http://127.0.0.1:8088/aisearch_status\n"
SITE = "curl -sf http://127.0.0.1/ | grep -q Welcome\n"


class Root:
    """A Debian in a directory."""

    def __init__(self, path: pathlib.Path) -> None:
        self.path = path

    def run(self, script: str, network: bool = False, fails: bool = False) -> str:
        """
        Runs a script with "sh -e" and returns its output. The state is that after a boot, and the RuntimeDirectory of nginx
        exists. All processes are killed when the script ends.
        """
        own = [] if network else ["--net"]
        boot = "mount -t tmpfs tmpfs /run\ninstall -d -m 750 /run/aisearch\n"
        boot += "" if network else "ip link set lo up && ip addr add 192.0.2.1/32 dev lo\n"
        command = ["unshare", *own, "--mount", "--pid", "--fork", "--kill-child", f"--mount-proc={self.path}/proc",
                   "chroot", str(self.path), "sh", "-ec", boot + script]
        env = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "DEBIAN_FRONTEND": "noninteractive", "LC_ALL": "C.UTF-8"}
        done = subprocess.run(command, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=600,
                              stdin=subprocess.DEVNULL)
        assert (done.returncode != 0) == fails, f"{script}\nexit status {done.returncode}:\n{done.stdout}"
        return done.stdout

    def is_sound(self) -> None:
        self.run("nginx -t\ntest -z \"$(dpkg --audit)\"\n" + START + SITE)

    def has(self, path: str) -> bool:
        return os.path.lexists(self.path / path)


def mirror() -> str:
    sites = subprocess.run(["apt-get", "indextargets", "--format", "$(SITE)", "Created-By: Packages", "Component: main"],
                           stdout=subprocess.PIPE, text=True, check=True).stdout.split()
    return sites[0]


def codename() -> str:
    return re.search(r"^VERSION_CODENAME=(.*)$", pathlib.Path("/etc/os-release").read_text(), re.MULTILINE)[1]


@pytest.fixture(scope="session")
def base() -> pathlib.Path:
    """
    A directory with this machine's release of Debian, nginx, collectd and the dependencies of the packages. It is created
    once.
    """
    tried = subprocess.run(["unshare", "--net", "--mount", "--pid", "--fork", "true"], stderr=subprocess.PIPE, text=True)
    if os.geteuid() != 0 or tried.returncode != 0:
        pytest.skip(f"requires root and namespaces: {tried.stderr.strip()}")
    path = BUILD / "packages" / codename()
    if (path / "done").exists():
        return path
    shutil.rmtree(path, ignore_errors=True)
    path.parent.mkdir(parents=True, exist_ok=True)
    subprocess.run(["debootstrap", "--variant=minbase", "--include=ca-certificates", codename(), str(path), mirror()],
                   check=True, stdout=subprocess.DEVNULL)
    for source in ("sources.list", "sources.list.d", "apt.conf.d"):
        if pathlib.Path("/etc/apt", source).exists():
            subprocess.run(["cp", "-a", f"/etc/apt/{source}", str(path / "etc/apt")], check=True)
    shutil.copy("/etc/resolv.conf", path / "etc/resolv.conf")
    root = Root(path)
    (path / "usr/sbin/policy-rc.d").write_text("#!/bin/sh\nexit 101\n")
    (path / "usr/sbin/policy-rc.d").chmod(0o755)
    root.run("apt-get -q update && apt-get -qy install --no-install-recommends nginx collectd libcjson1 libcurl4 curl"
             " iproute2 libmicrohttpd12 libprotobuf-c1 && cd / && apt-get -q download nginx", network=True)
    conf = path / "etc/collectd/collectd.conf"
    text = conf.read_text().replace("FQDNLookup true", "FQDNLookup false")  # there is no resolver and no syslog
    conf.write_text(text.replace("syslog", "logfile").replace("LogLevel info", 'LogLevel info\nFile "/var/log/collectd"'))
    (path / "usr/sbin/policy-rc.d").write_text("#!/bin/sh\nexit 0\n")  # start daemons although there is no init system
    (path / "done").touch()
    return path


@pytest.fixture
def root(base, tmp_path):
    path = tmp_path / "root"
    subprocess.run(["cp", "-a", "--reflink=auto", str(base), str(path)], check=True)
    for package in (BUILD / "deb").glob("*.deb"):
        shutil.copy(package, path)
    yield Root(path)
    shutil.rmtree(path, ignore_errors=True)


def installed(*packages: str) -> str:
    return "dpkg -i " + " ".join(f"/{package}_*.deb" for package in packages) + "\n"


def repack(root: Root, package: str, to: str, *edits: tuple[str, str]) -> None:
    """Creates the package /TO from another one, with these changes in its control file."""
    root.run(f"rm -rf /repack && dpkg-deb -R /{package}_*.deb /repack")
    control = root.path / "repack/DEBIAN/control"
    text = control.read_text()
    for pattern, new in edits:
        text, n = re.subn(pattern, new, text)
        assert n == 1, pattern
    control.write_text(text)
    root.run(f"dpkg-deb -b /repack /{to} && rm -rf /repack")


def errors_of_collectd(root: Root) -> set[str]:
    """
    The errors that collectd logs in its first two intervals. Those of the plugin are left out, because the API cannot be
    reached.
    """
    log = root.run("rm -f /var/log/collectd\n" + START + "sleep 22\ncat /var/log/collectd")
    assert "Initialization complete" in log
    lines = (re.sub(r"\d+", "N", line) for line in log.splitlines() if "aisearch" not in line)
    return {line for line in lines if re.search(r"fail|error|cannot|not permitted", line, re.IGNORECASE)}


def test_install_remove_reinstall_and_purge(root):
    root.run(installed(*PACKAGES))
    assert root.has("etc/nginx/modules-enabled/50-mod-http-aisearch.conf")
    root.is_sound()
    before = errors_of_collectd(root)
    root.run(ENABLE)
    root.is_sound()
    assert '"docs"' in root.run(START + STATUS)
    assert errors_of_collectd(root) <= before, "our configuration conflicts with that of Debian"

    output = root.run(START + "dpkg -r " + " ".join(PACKAGES) + "\n" + SITE)
    assert "will not start" not in output
    root.is_sound()
    assert not root.has("etc/nginx/sites-enabled/aisearch")
    assert root.has("etc/collectd/collectd.conf.d/aisearch-outlets.conf"), "the configuration of other plugins was removed, too"

    root.run(installed(*PACKAGES))
    root.is_sound()
    assert '"docs"' in root.run(START + STATUS)
    assert root.has("etc/collectd/collectd.conf.d/aisearch.conf")

    root.run("dpkg -P " + " ".join(PACKAGES))
    root.is_sound()
    left = root.run("find /etc -name '*aisearch*'; find /var/lib/collectd -name 'aisearch.state*'").split()
    assert sorted(left) == ["/etc/aisearch", "/etc/collectd/collectd.conf.d/aisearch-outlets.conf",
                            "/etc/collectd/collectd.conf.d/aisearch-threshold.conf",
                            "/etc/collectd/collectd.conf.d/aisearch.conf.removed",
                            "/etc/nginx/sites-available/aisearch"], "exactly the operator's own files must be left"


def test_upgrade_restarts_the_daemons(root):
    """After an upgrade, the new module and plugin are in use. A reload of nginx would keep the previous module."""
    root.run(installed(*PACKAGES) + ENABLE)
    for package in PACKAGES:
        repack(root, package, f"new-{package}.deb", (r"(?m)^Version: .*$", "Version: 99"))
    output = root.run(START + """
        nginx=$(cat /run/nginx.pid) collectd=$(collectd)
        dpkg -i /new-*.deb
        sleep 3
        test $(cat /run/nginx.pid) != $nginx
        test $(collectd) != $collectd
        grep -h aisearch /proc/$(cat /run/nginx.pid)/maps /proc/$(collectd)/maps
    """ + STATUS + SITE)
    assert "ngx_http_aisearch_module.so" in output and "/aisearch.so" in output
    assert "(deleted)" not in output
    root.is_sound()


def test_upgrade_with_an_invalid_configuration(root):
    """nginx keeps running, and the package prints what to do."""
    root.run(installed(MODULE) + ENABLE.split("cp /usr/share/doc/collectd")[0])
    repack(root, MODULE, "new.deb", (r"(?m)^Version: .*$", "Version: 99"))
    output = root.run("""
        nginx
        echo 'nonsense;' >/etc/nginx/conf.d/nonsense.conf
        dpkg -i /new.deb
    """ + STATUS + SITE)
    assert "its configuration is not valid" in output
    assert root.run("dpkg --audit") == ""


@pytest.mark.parametrize("matching", (False, True), ids=("without a matching module", "with a matching module"))
def test_nginx_with_another_abi(root, matching):
    """An upgrade of Debian installs an nginx with another ABI."""
    root.run(installed(*PACKAGES) + ENABLE)
    other = (r"(?m)^Version: .*$", "Version: 99"), (r"nginx-abi-[\d.-]+", "nginx-abi-99")
    repack(root, "nginx", "nginx-next.deb", *other)
    repack(root, MODULE, "module-next.deb", *other)

    output = root.run(START + "apt-get -qy install /nginx-next.deb" + " /module-next.deb\n" * matching + "\n" + SITE)
    assert ("REMOVED" in output) != matching
    root.is_sound()
    if not matching:
        root.run("dpkg -i /module-next.deb")
        root.is_sound()
    assert '"docs"' in root.run(START + STATUS)


def test_removal_lists_other_files_that_use_the_module(root):
    """Such files do not belong to the package, so it does not disable them."""
    root.run(installed(MODULE))
    other = root.path / "etc/nginx/conf.d/other.conf"
    other.write_text("# aisearch_status is not here\naisearch_shared_zone zone=aisearch:1m;\n")
    assert "/etc/nginx/conf.d/other.conf contains aisearch_ directives" in root.run(f"dpkg -r {MODULE}")
