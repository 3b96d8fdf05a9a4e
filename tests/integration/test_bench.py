"""The bench runs, and says what it measured. (Its bars are of a machine that does nothing else, but for this one.)"""

import json
import os
import subprocess
import sys

import pytest

from harness import BUILD, PRELOAD, TESTS


@pytest.mark.skipif(bool(PRELOAD), reason="a zone that sanitizers look at is no zone to measure")
@pytest.mark.skipif(not (BUILD / "bench" / "client").exists(), reason="the bench's programs are not built")
def test_a_quick_row(tmp):
    output = tmp / "results.json"
    env = {**os.environ, "PYTHONPATH": str(TESTS), "PYTHONDONTWRITEBYTECODE": "1"}
    run = subprocess.run([sys.executable, "-m", "bench", "--quick", "--output", output, "density"], env=env,
                         capture_output=True, timeout=300, check=False)
    assert run.returncode == 0, run.stdout.decode() + run.stderr.decode()
    [small, usual] = json.loads(output.read_text())["lines"]
    assert small["values"]["aisearch"] > usual["values"]["aisearch"] >= 1500
    assert usual["met"] is True
    assert "jobs of 300 bytes per MiB of zone" in run.stdout.decode()
