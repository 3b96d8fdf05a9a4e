"""What the Makefile knows of what it builds for, and what it does not remove."""

import os
import subprocess

import pytest

from harness import BUILD, ROOT
from harness.nginx import BINARY

MODULE = BUILD / "nginx/ngx_http_aisearch_module.so"


def make(*arguments: str) -> subprocess.CompletedProcess:
    env = {name: value for name, value in os.environ.items() if name not in ("MAKEFLAGS", "MFLAGS", "MAKELEVEL")}
    return subprocess.run(["make", "-s", "-C", str(ROOT), *arguments], env=env, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, text=True, timeout=60)


def program(path, *lines: str) -> None:
    path.write_text("#!/bin/sh\n" + "\n".join(lines) + "\n")
    path.chmod(0o755)


def test_built_again_for_another_nginx(tmp_path):
    """An upgrade brings it to the same place."""
    nginx = tmp_path / "nginx"
    record = tmp_path / "build/nginx/sources"
    written = set()
    for version, arguments in (("1.22.1", "--with-compat"), ("1.26.3", "--with-compat"), ("1.26.3", "--with-threads")):
        program(nginx, f"echo 'nginx version: nginx/{version}' >&2", f"echo 'configure arguments: {arguments}' >&2")
        done = make(f"BUILD={tmp_path}/build", f"NGINX={nginx}", str(record))
        assert done.returncode == 0, done.stdout
        written.add(record.read_text())
    assert len(written) == 3


def test_module_that_does_not_load_is_not_built(tmp_path):
    nginx = tmp_path / "nginx"
    program(nginx, "echo 'nginx: [emerg] module \"x.so\" version 1022001 instead of 1026003' >&2", "exit 1")
    done = subprocess.run([ROOT / "scripts/nginx-load", nginx, MODULE], stderr=subprocess.PIPE, text=True)
    assert done.returncode == 1
    assert "version 1022001 instead of 1026003" in done.stderr and "does not load the module" in done.stderr


@pytest.mark.skipif("AIS_PRELOAD" in os.environ, reason="with sanitizers it loads only beside their runtime")
def test_module_loads():
    done = subprocess.run([ROOT / "scripts/nginx-load", BINARY, MODULE], stderr=subprocess.PIPE, text=True)
    assert (done.returncode, done.stderr) == (0, "")


def symbols(library, *options: str) -> set[str]:
    done = subprocess.run(["nm", "--defined-only", *options, library], stdout=subprocess.PIPE, text=True, check=True)
    return {line.split()[-1] for line in done.stdout.splitlines()}


@pytest.mark.parametrize("library", (MODULE, BUILD / "collectd/aisearch.so"))
def test_nothing_of_the_library_is_exported(library):
    """nginx and collectd load libraries of others, and one process may load two of ours."""
    exported = symbols(library, "-D")
    assert exported and not {name for name in exported if name.startswith("ais_")}


def test_module_has_no_event_loop_but_that_of_nginx():
    """The poll loop is for those who have a thread to spare."""
    assert "ais_client_create" in symbols(MODULE) and "ais_poll_wait" not in symbols(MODULE)
    assert "ais_poll_wait" in symbols(BUILD / "collectd/aisearch.so")


@pytest.mark.parametrize("path, text", (
    ("etc/nginx/modules-enabled/50-mod-http-aisearch.conf", "load_module modules/ngx_http_aisearch_module.so;\n"),
    ("etc/nginx/sites-enabled/aisearch", "location / {\n    aisearch_pass docs;\n}\n"),
    ("etc/collectd/collectd.conf", "# LoadPlugin aisearch\nloadplugin aisearch\n"),
    ("etc/collectd/collectd.conf.d/aisearch.conf", '<LoadPlugin "aisearch">\n  Interval 10\n</LoadPlugin>\n'),
))
def test_uninstall_refuses_while_something_needs_it(tmp_path, path, text):
    module = tmp_path / "usr/lib/nginx/modules/ngx_http_aisearch_module.so"
    module.parent.mkdir(parents=True)
    module.touch()
    file = tmp_path / path
    file.parent.mkdir(parents=True)
    file.write_text(text)
    where = (f"DESTDIR={tmp_path}", "nginxmoddir=/usr/lib/nginx/modules")
    done = make("uninstall", *where)
    assert done.returncode != 0 and str(file) in done.stdout and module.exists()
    file.write_text("# aisearch_pass, LoadPlugin aisearch\n<Plugin threshold>\n  <Plugin aisearch>\n")
    done = make("uninstall", *where)
    assert done.returncode == 0 and not module.exists(), done.stdout


def test_the_plugin_does_not_grow():
    """Lines of code of collectd's plugin, with what is there for it alone in the library; and of each of its files."""
    sources = [*sorted((ROOT / "collectd-plugin").glob("*.[ch]")), *sorted((ROOT / "common").glob("ais_poll.[ch]"))]
    run = subprocess.run([ROOT / "scripts/code-lines", "--total", "4300", "--file", "500", *sources],
                         stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False, text=True)
    assert run.returncode == 0, run.stdout
    counted = [int(line.split()[0]) for line in run.stdout.splitlines()]
    assert sum(counted[:-1]) == counted[-1] > 1000


def test_lines_of_code_are_counted(tmp):
    """Neither blank lines nor comments; and what is too much is said."""
    source = tmp / "some.c"
    source.write_text("/* a\n * comment */\n\n#include <stdio.h>\n// another\nint main(void) {\n  return 0; /* end */\n}\n")
    for options, status in (((), 0), (("--total", "4", "--file", "4"), 0), (("--total", "3"), 1), (("--file", "3"), 1)):
        run = subprocess.run([ROOT / "scripts/code-lines", *options, source], stdout=subprocess.PIPE,
                             stderr=subprocess.STDOUT, check=False, text=True)
        assert run.returncode == status and "     4 in all" in run.stdout, run.stdout
