"""`./benchmarks/storm`: a storm of webhooks on servers of its own. Exit status 1 where an invariant does not hold."""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import urllib.parse
from collections.abc import Sequence
from pathlib import Path

from benchmarks.servers import running
from payflow.embedded.console import Problem, complain, say, show
from payflow.embedded.processes import StopRequested
from tests.live.stack import ROOT
from tests.live.storm.run import storm

REDIS_DATABASE = 1


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="./benchmarks/storm", description="See docs/benchmarks.md")
    parser.add_argument("--deliveries", type=int, default=5000)
    parser.add_argument("--kills", type=int, default=2, help="how often a worker is killed (SIGKILL)")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--connections", type=int, default=16)
    given = parser.parse_args(arguments)
    if given.deliveries < 100:
        parser.error("fewer than 100 deliveries are no storm")
    folder = Path(tempfile.mkdtemp(prefix="payflow-storm-", dir="/var/tmp" if Path("/var/tmp").is_dir() else None))
    try:
        with running(folder) as servers:
            os.environ.update(servers.environment)
            outcome = storm(
                _migrated(),
                folder,
                deliveries=given.deliveries,
                kills=given.kills,
                seed=given.seed,
                connections=given.connections,
                redis_database=REDIS_DATABASE,
                say=say,
                check=servers.signals.check,
            )
    except StopRequested:
        say("interrupted")
        return 130
    except (Problem, AssertionError) as problem:
        complain(problem)
        return 1
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    show(f"\n{outcome.text()}\n")
    for violation in outcome.violations:
        show(violation)
    if outcome.violations:
        show(f"To see it again: ./benchmarks/storm --deliveries {given.deliveries} --seed {given.seed}")
        return 1
    show("nothing lost, nothing twice, no forgery believed; every subscriber as after a quiet day")
    return 0


def _migrated() -> str:
    """The name of the database that the servers offer, once it has our tables."""
    say("migrating")
    done = subprocess.run(
        [sys.executable, "manage.py", "migrate", "--verbosity", "0", "--skip-checks"],
        cwd=ROOT,
        env=os.environ | {"DJANGO_SETTINGS_MODULE": "payflow.settings.dev"},
        check=False,
    )
    if done.returncode != 0:
        raise Problem("the database cannot be migrated")
    return urllib.parse.urlsplit(os.environ["DATABASE_URL"]).path.lstrip("/")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
