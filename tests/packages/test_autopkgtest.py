"""Runs debian/tests on this machine, with the files of the packages from `make deb` in the places of an installation."""

import os
import pathlib
import shutil
import subprocess

import pytest

from harness import ROOT

BUILD = pathlib.Path(os.environ["AIS_BUILD"])
PLACES = ("etc/nginx/modules-enabled", "usr/lib/nginx/modules", "usr/share/nginx/modules-available", "usr/lib/collectd")


@pytest.fixture(scope="module")
def installed(tmp_path_factory) -> list[str]:
    """A command prefix: runs a command with the packages in place, and without any other nginx modules enabled."""
    tried = subprocess.run(["unshare", "--mount", "true"], stderr=subprocess.PIPE, text=True)
    if os.geteuid() != 0 or tried.returncode != 0:
        pytest.skip(f"requires root and namespaces: {tried.stderr.strip()}")
    tmp = tmp_path_factory.mktemp("installed")
    for place in PLACES[1:]:
        shutil.copytree(f"/{place}", tmp / place)
    for package in (BUILD / "deb").glob("[cl]*-aisearch_*.deb"):
        subprocess.run(["dpkg-deb", "-x", package, tmp], check=True)
    [available] = (tmp / PLACES[2]).glob("mod-http-aisearch.conf")
    (tmp / PLACES[0]).mkdir(parents=True, exist_ok=True)
    shutil.copy(available, tmp / PLACES[0])
    version = subprocess.run(["dpkg-parsechangelog", "-S", "Version"], cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True)
    (tmp / "dpkg-query").write_text(f"#!/bin/sh\necho {version.stdout}")
    (tmp / "dpkg-query").chmod(0o755)
    mounts = "".join(f"mount --bind {tmp}/{place} /{place}\n" for place in PLACES)
    return ["unshare", "--mount", "sh", "-ec", f'{mounts}PATH={tmp}:/usr/sbin:/usr/bin:/sbin:/bin exec "$@"', "sh"]


@pytest.mark.parametrize("name", ("gateway", "collectd"))
def test_autopkgtest(installed, name):
    done = subprocess.run([*installed, f"debian/tests/{name}"], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                          text=True, timeout=120)
    assert done.returncode == 0, done.stdout
