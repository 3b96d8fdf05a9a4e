"""Tests of the soak test (tests/soak, make soak): it detects wrong responses."""

import json
import os
import subprocess
import sys
import time

from harness import BUILD, TESTS, net
from soak.judge import Judge
from soak.world import Job


def test_a_wrong_response_is_detected_and_the_seed_is_printed():
    env = {**os.environ, "PYTHONPATH": str(TESTS), "AIS_BUILD": str(BUILD)}
    run = subprocess.run([sys.executable, "-m", "soak", "--time", "120", "--seed", "7", "--spoil"], env=env, check=False,
                         stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=200, text=True)
    assert run.returncode == 1, run.stdout + run.stderr
    assert "asked for instances/docs j0, got {'id': 'j0'," in run.stdout
    assert "make soak SEED=7" in run.stdout


def told(job: Job, seen: str | None, ended: str | None = None) -> net.Response:
    """A response about the job, with these times."""
    result = {"id": job.id, "mark": job.mark, "started_at": seen and "2026-11-26T12:00:00.000000Z", "ended_at": ended,
              "last_seen_at": seen}
    return net.Response(200, "OK", [("X-Aisearch-State", "running"), ("Age", "0")],
                        json.dumps({"success": True, "result": result}).encode())


def test_an_older_response_is_detected():
    judge = Judge(None, None, None)
    now = time.time()
    job = Job("instances/docs", "j1", now - 60, now + 3600, "succeeded")
    judge.job(job, told(job, None), now)
    judge.job(job, told(job, "2026-11-26T12:00:01.000000Z"), now)
    judge.job(job, told(job, None), now)  # the request was sent before the newer response arrived
    assert judge.violations == []
    judge.job(job, told(job, None), time.time())
    assert len(judge.violations) == 1 and "('job', 'instances/docs j1') was reported as" in judge.violations[0]
