"""Documentation that can be compared with the code is compared."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from payflow.core.registry import registered

ROOT = Path(__file__).resolve().parent.parent.parent
PAGES = sorted([ROOT / "README.md", *(ROOT / "docs").rglob("*.md"), *(ROOT / "deploy").rglob("*.md")])
EXAMPLE = ROOT / ".env.example"
CONFIGURATION = ROOT / "docs" / "configuration.md"

#: Variables that something else than the settings reads, and where.
READ_ELSEWHERE = {
    "DJANGO_SETTINGS_MODULE": "manage.py",
    "PORT": "payflow/embedded/run.py",
    "HOST": "payflow/embedded/run.py",
    "PAYFLOW_STATE_DIR": "payflow/embedded/run.py",
    "PAYFLOW_PG_BIN": "payflow/embedded/postgres.py",
    "PAYFLOW_ADMIN_EMAIL": "portal/management/commands/seed.py",
    "PAYFLOW_ADMIN_PASSWORD": "portal/management/commands/seed.py",
    "PROMETHEUS_MULTIPROC_DIR": "payflow/embedded/run.py",
    "POSTGRES_PASSWORD": "docker-compose.yml",
}


def read(path: Path) -> str:
    return path.read_text(encoding="utf-8")


def read_by_settings() -> set[str]:
    text = "\n".join(read(path) for path in (ROOT / "payflow" / "settings").glob("*.py"))
    return set(re.findall(r'\benv(?:\.\w+)?\(\s*"(\w+)"', text))


def in_example() -> set[str]:
    return set(re.findall(r"^#?([A-Z][A-Z0-9_]*)=", read(EXAMPLE), re.MULTILINE))


def in_configuration() -> set[str]:
    return set(re.findall(r"^\| `([A-Z][A-Z0-9_]*)` \|", read(CONFIGURATION), re.MULTILINE))


def test_the_error_codes_are_those_of_the_code() -> None:
    command = [sys.executable, "scripts/generate_docs.py", "--check"]
    assert subprocess.run(command, cwd=ROOT, check=False).returncode == 0, "run scripts/generate_docs.py"


def test_the_table_of_providers_is_that_of_the_code() -> None:
    command = [sys.executable, "scripts/generate_provider_docs.py", "--check"]
    made = subprocess.run(command, cwd=ROOT, check=False, capture_output=True, text=True)
    assert made.returncode == 0, f"run scripts/generate_provider_docs.py {made.stderr}"


def test_every_variable_of_the_settings_is_in_the_example_and_described() -> None:
    wanted = read_by_settings() | set(READ_ELSEWHERE)
    assert wanted - in_example() == set()
    assert wanted - in_configuration() == set()


def test_no_variable_is_described_that_nothing_reads() -> None:
    known = read_by_settings() | set(READ_ELSEWHERE)
    assert in_example() - known == set()
    assert in_configuration() - known == set()


@pytest.mark.parametrize(("name", "reader"), READ_ELSEWHERE.items())
def test_a_variable_is_read_where_it_is_said_to_be(name: str, reader: str) -> None:
    assert name in read(ROOT / reader)


def test_the_example_sets_nothing() -> None:
    """Copied as it is, it changes nothing: an empty value would be one."""
    lines = read(EXAMPLE).splitlines()
    assert [line for line in lines if line and not line.startswith("#")] == []


def test_every_sweep_is_described() -> None:
    page = read(ROOT / "docs" / "operate.md")
    described = set(re.findall(r"^\| `(\w+)` \| \d+ (?:s|min|h) \|", page, re.MULTILINE))
    assert described == set(registered.sweeps)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    targets = re.findall(r"\]\((?!https?://|mailto:)([^)\s]+)\)", read(page))
    broken = [target for target in targets if not is_there(page, target)]
    assert broken == []


def is_there(page: Path, target: str) -> bool:
    name, _, anchor = target.partition("#")
    where = (page.parent / name).resolve() if name else page
    if not where.exists():
        return False
    return not anchor or anchor in {slug(title) for title in re.findall(r"^#+ (.+)$", read(where), re.MULTILINE)}


def slug(title: str) -> str:
    """The anchor that GitHub gives to a heading."""
    return re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-")


def test_every_decision_has_its_three_parts() -> None:
    for page in sorted((ROOT / "docs" / "decisions").glob("*.md")):
        assert re.findall(r"^## (.+)$", read(page), re.MULTILINE) == ["Context", "Decision", "Consequences"], page.name


def test_every_package_is_in_the_readme() -> None:
    packages = {path.parent.name for path in ROOT.glob("*/apps.py")} | {"payflow"}
    assert packages - set(re.findall(r"`(\w+)`", read(ROOT / "README.md"))) == set()
