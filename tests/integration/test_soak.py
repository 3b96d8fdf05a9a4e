"""The soak test itself (tests/soak, make soak) is a gate of its own; here, that it would notice."""

import os
import subprocess
import sys

from harness import BUILD, TESTS


def test_wrong_answer_is_noticed_and_the_seed_is_told():
    env = {**os.environ, "PYTHONPATH": str(TESTS), "AIS_BUILD": str(BUILD)}
    run = subprocess.run([sys.executable, "-m", "soak", "--time", "120", "--seed", "7", "--spoil"], env=env, check=False,
                         stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=200, text=True)
    assert run.returncode == 1, run.stdout + run.stderr
    assert "asked for instances/docs j0, got {'id': 'j0'," in run.stdout
    assert "make soak SEED=7" in run.stdout
