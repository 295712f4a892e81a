"""The lock files are for everybody: no address of the index they were made with, every file by hash."""

import re
from pathlib import Path

import pytest

REQUIREMENTS = Path(__file__).resolve().parents[2] / "requirements"
LOCKS = sorted(REQUIREMENTS.glob("*.lock"))


def pins(lock: Path) -> set[str]:
    return {line.removesuffix(" \\") for line in lock.read_text().splitlines() if re.match(r"[a-z0-9]", line)}


def test_there_are_three() -> None:
    assert [lock.name for lock in LOCKS] == ["dev.lock", "runtime.lock", "test.lock"]


@pytest.mark.parametrize("lock", LOCKS, ids=lambda lock: lock.name)
def test_a_lock_names_no_index_and_hashes_everything(lock: Path) -> None:
    text = lock.read_text()

    assert "://" not in text
    assert not re.search(r"--(index-url|extra-index-url|find-links|trusted-host)", text)
    unhashed = [line for line in text.splitlines() if re.match(r"[a-z0-9]", line) and not line.endswith("\\")]
    assert unhashed == []


def test_the_larger_sets_contain_the_smaller() -> None:
    """./run is content with ./test's environment: the same versions must be in it."""
    assert pins(REQUIREMENTS / "runtime.lock") <= pins(REQUIREMENTS / "test.lock") <= pins(REQUIREMENTS / "dev.lock")
