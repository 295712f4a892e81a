"""The benchmark harness, whole and tiny: it must not rot. What it measures here means nothing."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.load import read_requests, write_requests
from benchmarks.report import summary, summary_text
from benchmarks.workload import Sample, Workload

REPOSITORY = Path(__file__).resolve().parents[2]

TINY = ["--rounds", "1", "--seconds", "0.2", "--warmup", "0", "--users", "6", "--connections", "2"]


@pytest.mark.skipif(sys.platform != "linux", reason="the embedded servers' care for processes is Linux's")
def test_every_workload_runs_against_servers_of_its_own(tmp_path):
    figures = tmp_path / "figures.json"
    # The servers that ./test offers are not empty, and have fsync off.
    ours = ("DATABASE_URL", "REDIS_URL", "CELERY_BROKER_URL", "DJANGO_SETTINGS_MODULE")
    environment = {name: value for name, value in os.environ.items() if name not in ours}

    command = [sys.executable, "-m", "benchmarks", *TINY, "--workers", "1", "--json", str(figures)]
    done = subprocess.run(
        command, cwd=REPOSITORY, env=environment, capture_output=True, text=True, timeout=120, check=False
    )

    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads(figures.read_text())
    assert (found["environment"]["fsync"], found["environment"]["synchronous_commit"]) == ("on", "on")
    assert {workload["workload"] for workload in found["workloads"]} >= {"entitlements", "webhooks"}
    for workload in found["workloads"]:
        assert len(workload["sides"]) >= 2
        assert all(side["operations"] > 0 for side in workload["sides"].values())


def test_the_ratio_is_the_median_of_the_rounds_and_shows_its_range():
    feature = [Sample(100, 1.0, 0.001, 0.002), Sample(120, 1.0, 0.001, 0.002), Sample(90, 1.0, 0.001, 0.002)]
    baseline = [Sample(200, 1.0, 0.001, 0.002), Sample(200, 1.0, 0.001, 0.002), Sample(100, 1.0, 0.001, 0.002)]

    found = summary(Halves(), {"feature": feature, "baseline": baseline})

    assert found["ratio"] == {"median": 0.6, "min": 0.5, "max": 0.9}
    assert "ratio 0.60 [0.50–0.90], wanted 0.5: reached" in summary_text(found)


def test_requests_survive_their_file(tmp_path):
    requests = [b"GET / HTTP/1.1\r\n\r\n", b"", b"\x00\xff" * 70_000]
    write_requests(tmp_path / "requests", requests)
    assert read_requests(tmp_path / "requests") == requests


class Halves(Workload):
    name = "halves"
    what = "nothing"
    target = 0.5

    def prepare(self, bench):
        raise NotImplementedError

    def sides(self):
        raise NotImplementedError
