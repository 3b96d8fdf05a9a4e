"""What reloads leave behind in nginx's master: nothing that is ours."""

import subprocess

import pytest

from gateway import account
from harness import PRELOAD, TESTS, VALGRIND

RELOADS = 30
NOISE = 1200  # bytes; nginx itself gains 80 with each reload where there is a regular expression in the configuration


@pytest.mark.skipif(bool(PRELOAD or VALGRIND), reason="the heap is another's")
def test_the_master_does_not_grow(nginx, simulator, certificates, tmp):
    """
    All of its heap, exactly, when it has come to rest; over the second half of the reloads. What is free is not kept for
    the thread that freed it, since that is counted as if it were in use.
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
