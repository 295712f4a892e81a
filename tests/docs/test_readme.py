"""The README's curl session, copied block by block into bash against a live server, worker and beat's sweeps."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.live.stack import OPERATOR, Stack

README = Path(__file__).resolve().parent.parent.parent / "README.md"

pytestmark = [
    pytest.mark.django_db,  # the template of the stack's database is the test database
    pytest.mark.skipif(not (shutil.which("bash") and shutil.which("curl")), reason="needs bash and curl"),
]


def session() -> str:
    return "\n".join(re.findall(r"```bash\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL))


def test_the_session_runs_as_it_is_written(stack: Stack, tmp_path: Path) -> None:
    written = session()
    for there, here in [
        ("http://127.0.0.1:8000", stack.url),
        ("operator@payflow.local", OPERATOR[0]),
        ('"payflow-demo"', f'"{OPERATOR[1]}"'),
        ("/tmp/payflow.json", str(tmp_path / "payflow.json")),
    ]:
        assert there in written
        written = written.replace(there, here)

    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", written], capture_output=True, text=True, timeout=120, check=False
    )

    assert done.returncode == 0, done.stderr
    told = done.stdout.splitlines()
    assert told[1] == "pending"
    assert told[3] == f"303 {stack.url}/subscription/success"
    assert '"status":"active"' in told[4]
    assert '"entitled":true' in told[5]
    assert told[6] == "297"
    assert told[8].count("'status': 'completed', 'amount': 6.99") == 2
    assert told[9].count("'status': 'paid'") == 2
    assert told[10] == "active"
