"""The benchmark harness, whole and tiny: it must not rot. What it measures here means nothing."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks import workloads
from benchmarks.load import read_requests, write_requests
from benchmarks.report import summary, summary_of_all, summary_text
from benchmarks.workload import Sample, Workload
from tests.depth import depth

REPOSITORY = Path(__file__).resolve().parents[2]

TINY = ["--rounds", "1", "--seconds", "0.2", "--warmup", "0", "--users", "6", "--connections", "2"]
TINY += ["--scales", "20,30", "--others", "50", "--batch", "7", "--rows", "50,90"]


#: A workload with one table, and one with a table for each size.
CHOSEN = depth(sample=["usage_growth", "webhooks"], full=workloads.names())


@pytest.mark.deep
@pytest.mark.skipif(sys.platform != "linux", reason="the embedded servers' care for processes is Linux's")
def test_workloads_run_against_servers_of_its_own(tmp_path):
    figures = tmp_path / "figures.json"
    # The servers that ./test offers are not empty, and have fsync off.
    ours = ("DATABASE_URL", "REDIS_URL", "CELERY_BROKER_URL", "DJANGO_SETTINGS_MODULE")
    environment = {name: value for name, value in os.environ.items() if name not in ours}

    command = [sys.executable, "-m", "benchmarks", *CHOSEN, *TINY, "--workers", "2", "--json", str(figures)]
    done = subprocess.run(
        command, cwd=REPOSITORY, env=environment, capture_output=True, text=True, timeout=300, check=False
    )

    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads(figures.read_text())
    assert (found["environment"]["fsync"], found["environment"]["synchronous_commit"]) == ("on", "on")
    by_name = {workload["workload"]: workload for workload in found["workloads"]}
    assert list(by_name) == CHOSEN
    for table in (table for workload in found["workloads"] for table in workload.get("scales", [workload])):
        assert len(table["sides"]) >= 2
        assert all(side["operations"] > 0 for side in table["sides"].values())
    assert [table["scale"] for table in by_name["usage_growth"]["scales"]] == [50, 90]
    if "renewals" in by_name:
        assert [
            (table["scale"], [side["operations"] for side in table["sides"].values()])
            for table in by_name["renewals"]["scales"]
        ] == [(20, [20, 20]), (30, [30, 30])]


def test_the_ratio_is_the_median_of_the_rounds_and_shows_its_range():
    feature = [Sample(100, 1.0, 0.001, 0.002), Sample(120, 1.0, 0.001, 0.002), Sample(90, 1.0, 0.001, 0.002)]
    baseline = [Sample(200, 1.0, 0.001, 0.002), Sample(200, 1.0, 0.001, 0.002), Sample(100, 1.0, 0.001, 0.002)]

    found = summary(Halves(), {"feature": feature, "baseline": baseline})

    assert found["ratio"] == {"median": 0.6, "min": 0.5, "max": 0.9}
    assert "ratio 0.60 [0.50–0.90], wanted 0.5: reached" in summary_text(found)


def test_a_workload_with_scales_has_a_row_for_each_and_says_how_the_cost_grows():
    def side(rate, cpu):
        return [Sample(100, 100 / rate, 0.1, 0.2, {"workers": cpu * 100}, {"peak MB": 70.0})]

    found = summary_of_all(
        Counted(),
        {
            3000: {"feature": side(2000, 0.001), "baseline": side(4000, 0.0005)},
            30000: {"feature": side(1000, 0.002), "baseline": side(4000, 0.0005)},
        },
        scaled=True,
    )

    assert [(table["scale"], table["ratio"]["median"]) for table in found["scales"]] == [(3000, 0.5), (30000, 0.25)]
    assert found["growth"]["feature"] == pytest.approx({"seconds": 2.0, "cpu": 2.0})
    text = summary_text(found)
    assert "feature, 30,000" in text
    assert "wanted at every size: 1500 a second: NOT reached" in text


def test_requests_survive_their_file(tmp_path):
    requests = [b"GET / HTTP/1.1\r\n\r\n", b"", b"\x00\xff" * 70_000]
    write_requests(tmp_path / "requests", requests)
    assert read_requests(tmp_path / "requests") == requests


class Counted(Workload):
    name = "counted"
    what = "nothing"
    target_rate = 1500

    def scales(self, options):
        return (3000, 30000)

    def prepare(self, bench):
        raise NotImplementedError

    def sides(self):
        raise NotImplementedError


class Halves(Workload):
    name = "halves"
    what = "nothing"
    target = 0.5

    def prepare(self, bench):
        raise NotImplementedError

    def sides(self):
        raise NotImplementedError
