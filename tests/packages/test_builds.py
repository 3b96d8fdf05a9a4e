"""Builds the source package from `make deb` in another directory."""

import os
import pathlib
import subprocess

BUILD = pathlib.Path(os.environ["AIS_BUILD"])


def test_builds_are_bit_identical(tmp_path):
    packages = sorted((BUILD / "deb").glob("*.deb"))
    assert len(packages) == 4, "two packages, and two with debug symbols"
    [source] = (BUILD / "deb").glob("*.dsc")
    tree = tmp_path / "elsewhere/of-another-name"
    env = {name: value for name, value in os.environ.items() if name not in ("MAKEFLAGS", "MFLAGS", "MAKELEVEL", "BUILD")}
    env["DEB_BUILD_OPTIONS"] = f"nocheck parallel={os.cpu_count()}"
    tree.parent.mkdir()
    for command, cwd in ((("dpkg-source", "-x", source.absolute(), tree), tmp_path),
                         (("dpkg-buildpackage", "-b", "-us", "-uc"), tree)):
        done = subprocess.run(command, cwd=cwd, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        assert done.returncode == 0, done.stdout[-4000:]
    for package in packages:
        assert package.read_bytes() == (tree.parent / package.name).read_bytes(), package.name
