"""`. .payflow/env`: a shell for the running database, from which ./test must not reach it."""

import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
WRITE = """
import sys
sys.path.insert(0, "payflow")
from pathlib import Path
from embedded.environment import process_environment
from embedded.processes import Signals
from embedded.run import write_shell_file
from embedded.state import State
state = State(Path(sys.argv[1]), Signals())
told = {"DATABASE_URL": "postgres://demo", "SECRET_KEY": "it's \\"quoted\\"\\n $HOME", "REDIS_URL": "redis://demo"}
write_shell_file(state, process_environment() | told)
state.close()
"""
NAMES = "['DATABASE_URL', 'REDIS_URL', 'SECRET_KEY', 'MINE', 'PAYFLOW_SHELL']"
OWN = f"""
import sys
sys.path.insert(0, "payflow")
from embedded.environment import process_environment
print([process_environment().get(name) for name in {NAMES}])
"""
SOURCED = f"import os; print([os.environ.get(name) for name in {NAMES}[:4]])"


def shell(folder: Path, *commands: str) -> str:
    """What the last command prints, in a shell that knows nothing of the servers that these tests run on."""
    script = "; ".join([f". {folder}/env", *commands])
    environment = {"PATH": "/usr/bin:/bin", "MINE": "kept", "PYTHONPATH": ""}
    done = subprocess.run(
        ["/bin/sh", "-c", script], cwd=REPOSITORY, env=environment, capture_output=True, text=True, check=True
    )
    return done.stdout.strip()


def python(program: str) -> str:
    return f"{sys.executable} - <<'END'\n{program}\nEND\n"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    subprocess.run([sys.executable, "-c", WRITE, tmp_path], cwd=REPOSITORY, env={"MINE": "kept"}, check=True)
    return tmp_path


def test_a_shell_has_what_the_run_was_told(folder: Path) -> None:
    told = ["postgres://demo", "redis://demo", 'it\'s "quoted"\n $HOME', "kept"]
    assert shell(folder, python(SOURCED)) == str(told)


def test_what_it_has_from_there_is_no_setting_of_the_tests(folder: Path) -> None:
    assert shell(folder, python(OWN)) == str([None, None, None, "kept", None])


def test_what_is_set_after_it_is_the_users_own(folder: Path) -> None:
    mine = "export DATABASE_URL=postgres://mine"
    assert shell(folder, mine, python(OWN)) == str(["postgres://mine", None, None, "kept", None])
