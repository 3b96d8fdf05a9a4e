"""The bench runs, and says what it measured. (Its bars are of a machine that does nothing else, but for this one.)"""

import json
import os
import re
import subprocess
import sys

import pytest

from bench import outlets
from harness import BUILD, PRELOAD, ROOT, TESTS


pytestmark = [
    pytest.mark.skipif(bool(PRELOAD), reason="what sanitizers look at is nothing to measure"),
    pytest.mark.skipif(not (BUILD / "bench" / "client").exists(), reason="the bench's programs are not built"),
]


def quick(tmp, row):
    """The table, and the lines of it."""
    output = tmp / "results.json"
    env = {**os.environ, "PYTHONPATH": str(TESTS), "PYTHONDONTWRITEBYTECODE": "1"}
    run = subprocess.run([sys.executable, "-m", "bench", "--quick", "--output", output, row], env=env,
                         capture_output=True, timeout=300, check=False)
    assert run.returncode == 0, run.stdout.decode() + run.stderr.decode()
    return run.stdout.decode(), json.loads(output.read_text())["lines"]


def test_a_quick_row(tmp):
    table, [small, usual] = quick(tmp, "density")
    assert small["values"]["aisearch"] > usual["values"]["aisearch"] >= 1500
    assert usual["met"] is True
    assert "jobs of 300 bytes per MiB of zone" in table


def test_those_who_watch(tmp):
    _, [events, aborts] = quick(tmp, "growth")
    assert events["values"]["events"] < 256
    assert max(aborts["values"].values()) < 256


def test_outlets_are_measured_as_documented():
    """The Timeout by the number of instances, and the chain, are those of docs/collectd.md."""
    manual = (ROOT / "docs/collectd.md").read_text()
    rows = re.findall(r"^\| (\d+) \| \d+.*\| `(\d+)`.* \|$", manual, re.MULTILINE)
    assert outlets.TIMEOUTS.items() <= {int(instances): int(timeout) for instances, timeout in rows}.items()
    assert "With an `Interval` of 10 seconds" in manual.replace("\n", " ") and outlets.INTERVAL == 10
    assert f"| 3000 | {outlets.LEFT}, by the chain below |" in manual and outlets.chain().endswith("</Chain>\n")
