"""The Makefile and its scripts: rebuilds, configuration, installation, and running single tests."""

import os
import pathlib
import re
import shutil
import subprocess
import sys

import pytest

from harness import BUILD, ROOT
from harness.nginx import BINARY

NGINX_SRC = pathlib.Path(os.environ.get("NGINX_SRC", "/usr/share/nginx/src"))
OUTSIDE = {name: value for name, value in os.environ.items() if name not in ("MAKEFLAGS", "MFLAGS", "MAKELEVEL")}
MODULE = BUILD / "nginx/ngx_http_aisearch_module.so"


def make(*arguments: str) -> subprocess.CompletedProcess:
    return subprocess.run(["make", "-s", "-C", str(ROOT), *arguments], env=OUTSIDE, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, text=True, timeout=60)


def program(path, *lines: str) -> None:
    path.write_text("#!/bin/sh\n" + "\n".join(lines) + "\n")
    path.chmod(0o755)


def test_rebuild_for_another_nginx(tmp_path):
    """The module is rebuilt after an upgrade that installs another nginx in the same place."""
    nginx = tmp_path / "nginx"
    record = tmp_path / "build/nginx/sources"
    written = set()
    for version, arguments in (("1.22.1", "--with-compat"), ("1.26.3", "--with-compat"), ("1.26.3", "--with-threads")):
        program(nginx, f"echo 'nginx version: nginx/{version}' >&2", f"echo 'configure arguments: {arguments}' >&2")
        done = make(f"BUILD={tmp_path}/build", f"NGINX={nginx}", str(record))
        assert done.returncode == 0, done.stdout
        written.add(record.read_text())
    assert len(written) == 3


@pytest.mark.parametrize("of", ("collectd", "libcurl"))
def test_rebuild_for_another_version(of, tmp_path):
    header = tmp_path / "core/config.h"
    header.parent.mkdir()
    libraries = tmp_path / "pkg-config"
    record = tmp_path / "build/flags"
    written = set()
    for versions in (("5.12.0", "7.88.1"), ("5.12.1", "7.88.1") if of == "collectd" else ("5.12.0", "8.14.1")):
        header.write_text(f'#define PACKAGE_VERSION "{versions[0]}"\n')
        program(libraries, f"echo {versions[1]}")
        done = make(f"BUILD={tmp_path}/build", f"COLLECTD_INCLUDE={tmp_path}", f"PKG_CONFIG={libraries}", str(record))
        assert done.returncode == 0, done.stdout
        written.add(record.read_text())
    assert len(written) == 2


# The configure arguments of an nginx that was built from source, with libraries in other directories.
OWN = """--prefix=/opt/nginx --with-openssl=/src/openssl --with-openssl-opt='no-shared no-tests' --with-pcre=../pcre2 \
--with-pcre-opt=-O3 --with-zlib=/src/zlib --with-libatomic=/src/atomic --with-cc-opt='-O3 -DX="y z"' --with-ld-opt=-L/x \
--add-module=/src/other --add-dynamic-module=/src/another --with-mail=dynamic --with-http_perl_module --build='my own'"""


@pytest.mark.skipif("AIS_PRELOAD" in os.environ, reason="does not depend on sanitizers")
def test_configure_arguments_of_the_installed_nginx(tmp_path):
    """
    The module is configured like the installed nginx, but without its libraries and modules, and with --with-compat only
    if nginx has it. Strict compiler warnings only apply to the module's own files.
    """
    nginx, sources, tree = tmp_path / "nginx", tmp_path / "sources", tmp_path / "tree"
    program(nginx, f"cat >&2 <<'E'\nconfigure arguments: {OWN} --with-threads\nE")
    shutil.copytree(NGINX_SRC, sources, symlinks=True)
    (sources / "src/core/nginx.h").open("a").write("int ngx_loose();\n")
    done = subprocess.run([ROOT / "scripts/nginx-configure", sources, tree, ROOT / "nginx-module", "-Wstrict-prototypes", ""],
                          env={**os.environ, "CC": "cc", "NGINX": str(nginx)}, stderr=subprocess.PIPE, text=True)
    assert done.returncode == 0, done.stderr
    configured = (tree / "objs/ngx_auto_config.h").read_text()
    assert "NGX_THREADS" in configured and "NGX_COMPAT" not in configured
    assert "NGX_COMPAT" in (BUILD / "nginx/tree/objs/ngx_auto_config.h").read_text(), "Debian's nginx has --with-compat"

    own = tree / "objs/addon/nginx-module/ngx_http_aisearch_loaded"
    compiler = "cc -fsyntax-only -include " + str(tmp_path / "own.h")
    for text, good in (("int own(void);\n", True), ("int own();\n", False)):
        (tmp_path / "own.h").write_text(text)
        done = subprocess.run(["make", "-s", "-f", "objs/Makefile", f"CC={compiler}", f"{own.relative_to(tree)}.o"], cwd=tree,
                              env=OUTSIDE, stderr=subprocess.STDOUT, stdout=subprocess.PIPE, text=True)
        assert (done.returncode == 0) == good, done.stdout


@pytest.mark.parametrize("arguments, modules, etc", (
    ("--prefix=/usr/share/nginx --conf-path=/etc/nginx/nginx.conf --modules-path=/usr/lib/nginx/modules",
     "/usr/lib/nginx/modules", "/etc/nginx"),
    ("--prefix=/opt/nginx --with-threads", "/opt/nginx/modules", "/opt/nginx/conf"),
))
def test_installation_directories(tmp_path, arguments, modules, etc):
    """Files are installed where this nginx looks for them, and "make install" prints the next steps."""
    nginx = tmp_path / "nginx"
    program(nginx, f"echo 'configure arguments: {arguments}' >&2")
    printed = make("-n", "install", "uninstall", f"NGINX={nginx}").stdout
    assert f" {modules}/ngx_http_aisearch_module.so\n" in printed and f"'{etc}'\n" in printed
    assert "service nginx upgrade" in printed and "systemctl restart collectd" in printed


def test_nginx_binary_that_does_not_exist(tmp_path):
    (tmp_path / "auto").mkdir()
    done = subprocess.run([ROOT / "scripts/nginx-configure", tmp_path, tmp_path / "tree", ROOT / "nginx-module", "", ""],
                          env={**os.environ, "CC": "cc", "NGINX": "/there/is/none"}, stderr=subprocess.PIPE, text=True)
    assert done.returncode == 1 and "say make NGINX=" in done.stderr


def test_build_fails_if_the_module_does_not_load(tmp_path):
    nginx = tmp_path / "nginx"
    program(nginx, "echo 'nginx: [emerg] module \"x.so\" version 1022001 instead of 1026003' >&2", "exit 1")
    done = subprocess.run([ROOT / "scripts/nginx-load", nginx, MODULE], stderr=subprocess.PIPE, text=True)
    assert done.returncode == 1
    assert "version 1022001 instead of 1026003" in done.stderr and "does not load the module" in done.stderr


@pytest.mark.skipif("AIS_PRELOAD" in os.environ, reason="with sanitizers, their runtime must be loaded first")
def test_module_loads():
    done = subprocess.run([ROOT / "scripts/nginx-load", BINARY, MODULE], stderr=subprocess.PIPE, text=True)
    assert (done.returncode, done.stderr) == (0, "")


def test_debug_messages_compile(tmp_path):
    """DEBUG() only has an effect if collectd is configured with --enable-debug, which Debian's collectd is not."""
    include = tmp_path / "collectd"
    shutil.copytree("/usr/include/collectd", include)
    config = include / "core/config.h"
    config.write_text(config.read_text().replace("#define COLLECT_DEBUG 0", "#define COLLECT_DEBUG 1"))
    sources = sorted((ROOT / "collectd-plugin").glob("*.c"))
    assert len([source for source in sources if "DEBUG(" in source.read_text()]) >= 4
    places = [ROOT / "common", tmp_path, include, include / "core", include / "core/daemon"]
    done = subprocess.run(["cc", "-fsyntax-only", "-std=gnu11", "-DHAVE_CONFIG_H", "-Wall", "-Wextra", "-Werror=format",
                           *(f"-I{place}" for place in places), *sources],
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False, text=True)
    assert done.returncode == 0, done.stdout


def symbols(library, *options: str) -> set[str]:
    done = subprocess.run(["nm", "--defined-only", *options, library], stdout=subprocess.PIPE, text=True, check=True)
    return {line.split()[-1] for line in done.stdout.splitlines()}


@pytest.mark.parametrize("library", (MODULE, BUILD / "collectd/aisearch.so"))
def test_library_symbols_are_not_exported(library):
    """They could conflict with other libraries, and one process may load both the module and the plugin."""
    exported = symbols(library, "-D")
    assert exported and not {name for name in exported if name.startswith("ais_")}


def test_module_does_not_contain_the_poll_loop():
    """The poll loop requires a thread of its own; only the collectd plugin has one."""
    assert "ais_client_create" in symbols(MODULE) and "ais_poll_wait" not in symbols(MODULE)
    assert "ais_poll_wait" in symbols(BUILD / "collectd/aisearch.so")


@pytest.mark.parametrize("path, text", (
    ("etc/nginx/modules-enabled/50-mod-http-aisearch.conf", "load_module modules/ngx_http_aisearch_module.so;\n"),
    ("opt/nginx/nginx.conf", "load_module /opt/nginx/modules/ngx_http_aisearch_module.so;\n"),
    ("etc/nginx/sites-enabled/aisearch", "location / {\n    aisearch_pass docs;\n}\n"),
    ("etc/collectd/collectd.conf", "# LoadPlugin aisearch\nloadplugin aisearch\n"),
    ("etc/collectd/collectd.conf.d/aisearch.conf", '<LoadPlugin "aisearch">\n  Interval 10\n</LoadPlugin>\n'),
))
def test_uninstall_fails_while_a_configuration_uses_it(tmp_path, path, text):
    module = tmp_path / "usr/lib/nginx/modules/ngx_http_aisearch_module.so"
    module.parent.mkdir(parents=True)
    module.touch()
    file = tmp_path / path
    file.parent.mkdir(parents=True)
    file.write_text(text)
    etc = "opt/nginx" if path.startswith("opt") else "etc/nginx"
    where = (f"DESTDIR={tmp_path}", "nginxmoddir=/usr/lib/nginx/modules", f"nginxetcdir=/{etc}")
    done = make("uninstall", *where)
    assert done.returncode != 0 and str(file) in done.stdout and module.exists()
    file.write_text("# aisearch_pass, LoadPlugin aisearch\n<Plugin threshold>\n  <Plugin aisearch>\n")
    done = make("uninstall", *where)
    assert done.returncode == 0 and not module.exists(), done.stdout


@pytest.mark.parametrize("name, status, printed", (
    ("str", 0, "test_str "),
    ("test_str.c", 0, "test_str "),
    ("build::test_build_fails_if_the_module_does_not_load", 0, "1 passed"),
    ("build::test_of_no_such_name", 1, 'no test is called "build::test_of_no_such_name"'),
))
def test_run_test_by_name(name, status, printed):
    """scripts/run-test, which "make check TEST=NAME" calls, runs the tests with this name."""
    env = {**os.environ, "BUILD": str(BUILD), "MAKE": "true"}
    run = subprocess.run([ROOT / "scripts/run-test", name], env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                         check=False, text=True, timeout=120)
    assert run.returncode == status and printed in run.stdout, run.stdout


def fault_tests(rows: str) -> subprocess.CompletedProcess:
    """Collects the tests that "make faults ROW=..." would run."""
    return subprocess.run([sys.executable, "-m", "pytest", "--collect-only", "-q", "tests/integration/test_faults.py"],
                          env={**os.environ, "AIS_FAULTS_ROWS": rows}, cwd=ROOT, stdout=subprocess.PIPE, check=False,
                          text=True, timeout=60)


def test_run_row_of_the_fault_matrix_by_name():
    tests = re.findall(r"test_faults\.py::(.*)", fault_tests("fin_in_body").stdout)
    assert sorted({re.sub(r"\[fin_in_body-\w+\]|\[\w+-fin_in_body\]", "", test) for test in tests}) == [
        "test_collectd", "test_nginx", "test_table"]
    unknown = fault_tests("fin_in_body nosuch")
    assert unknown.returncode == 2 and "docs/faults.md has no row nosuch" in unknown.stdout


def test_size_of_the_plugin():
    """
    The lines of code of the collectd plugin (including those files of the library that only the plugin uses) stay below
    a limit, as do those of each file.
    """
    sources = [*sorted((ROOT / "collectd-plugin").glob("*.[ch]")), *sorted((ROOT / "common").glob("ais_poll.[ch]"))]
    run = subprocess.run([ROOT / "scripts/code-lines", "--total", "4300", "--file", "500", *sources],
                         stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False, text=True)
    assert run.returncode == 0, run.stdout
    counted = [int(line.split()[0]) for line in run.stdout.splitlines()]
    assert sum(counted[:-1]) == counted[-1] > 1000


def test_counting_lines_of_code(tmp):
    """scripts/code-lines does not count blank lines and comments. It fails if a limit is exceeded."""
    source = tmp / "some.c"
    source.write_text("/* a\n * comment */\n\n#include <stdio.h>\n// another\nint main(void) {\n  return 0; /* end */\n}\n")
    for options, status in (((), 0), (("--total", "4", "--file", "4"), 0), (("--total", "3"), 1), (("--file", "3"), 1)):
        run = subprocess.run([ROOT / "scripts/code-lines", *options, source], stdout=subprocess.PIPE,
                             stderr=subprocess.STDOUT, check=False, text=True)
        assert run.returncode == status and "     4 in all" in run.stdout, run.stdout
