"""Reloads do not leak memory of the module in nginx's master."""

import subprocess

import pytest

from gateway import account
from harness import PRELOAD, TESTS, VALGRIND

RELOADS = 30
NOISE = 1200  # bytes; nginx itself leaks 80 with each reload if there is a regular expression in the configuration


@pytest.mark.skipif(bool(PRELOAD or VALGRIND), reason="needs the malloc of glibc")
def test_the_master_does_not_grow(nginx, simulator, certificates, tmp):
    """
    Compares the exact heap after the first and the second half of the reloads. Per-thread caches of freed memory are
    disabled, since they would count as memory in use.
    """
    library, heap = tmp / "heap.so", tmp / "heap"
    subprocess.run(["cc", "-shared", "-fPIC", "-O1", "-Wall", "-Wextra", "-o", library, TESTS / "harness" / "heap.c", "-ldl"],
                   check=True)
    accounts = account(simulator, "instance docs;", "proxy http://127.0.0.1:9;", api_url="https://localhost:9/client/v4")
    accounts += account(simulator, f"trusted_certificate {certificates.ca_file};", name="two",
                        credential=f"email {simulator.email}; key_file {simulator.key_file};",
                        api_url="https://localhost:9/client/v4")
    env = {"AIS_HEAP": str(heap), "GLIBC_TUNABLES": "glibc.malloc.tcache_count=0"}
    server = nginx(http="aisearch_shared_zone zone=test:1m;" + accounts, preload=[library], env=env, server="""
        location /client/v4/ { aisearch_pass docs; }
        location /two/ { aisearch_pass two instances/docs/jobs/$arg_job; aisearch_cache_bypass $arg_now; }
        location /status { aisearch_status; }
    """)
    after = []
    for _ in range(RELOADS):
        server.reload()
        after.append(int(heap.read_text().split()[-1]))
    half = RELOADS // 2
    assert min(after[-5:]) - min(after[half - 5:half]) < NOISE, after
