"""The benchmarks run and report their results. (Apart from memory, their limits only hold on an idle machine.)"""

import json
import os
import re
import subprocess
import sys

import pytest

from bench import outlets
from harness import BUILD, PRELOAD, ROOT, TESTS


pytestmark = [
    pytest.mark.skipif(bool(PRELOAD), reason="sanitizers distort the results"),
    pytest.mark.skipif(not (BUILD / "bench" / "client").exists(), reason="the programs of the benchmarks are not built"),
]


def quick(tmp, row):
    """Runs one benchmark and returns the table and its lines."""
    output = tmp / "results.json"
    env = {**os.environ, "PYTHONPATH": str(TESTS), "PYTHONDONTWRITEBYTECODE": "1"}
    run = subprocess.run([sys.executable, "-m", "bench", "--quick", "--output", output, row], env=env,
                         capture_output=True, timeout=300, check=False)
    assert run.returncode == 0, run.stdout.decode() + run.stderr.decode()
    return run.stdout.decode(), json.loads(output.read_text())["lines"]


def test_density(tmp):
    table, [small, usual] = quick(tmp, "density")
    assert small["values"]["aisearch"] > usual["values"]["aisearch"] >= 1500
    assert usual["met"] is True
    assert "jobs of 300 bytes per MiB of zone" in table


def test_memory_growth_with_watchers(tmp):
    _, [events, aborts] = quick(tmp, "growth")
    assert events["values"]["events"] < 256
    assert max(aborts["values"].values()) < 256


def test_outlets_are_measured_as_documented():
    """The benchmark of outlets uses the Timeout values and the filter chain of docs/collectd.md."""
    manual = (ROOT / "docs/collectd.md").read_text()
    rows = re.findall(r"^\| (\d+) \| \d+.*\| `(\d+)`.* \|$", manual, re.MULTILINE)
    assert outlets.TIMEOUTS.items() <= {int(instances): int(timeout) for instances, timeout in rows}.items()
    assert "With an `Interval` of 10 seconds" in manual.replace("\n", " ") and outlets.INTERVAL == 10
    assert f"| 3000 | {outlets.LEFT}, by the chain below |" in manual and outlets.chain().endswith("</Chain>\n")
