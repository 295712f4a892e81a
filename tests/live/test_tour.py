"""The tour of docs/tour.py against a live server, worker and emulator."""

from __future__ import annotations

import pytest

from tests.live.stack import Stack

# The template of the stack's database is the test database.
pytestmark = pytest.mark.django_db


def test_the_tour_completes(stack: Stack) -> None:
    told = stack.run("docs/tour.py", "--url", stack.url)
    assert told.endswith("The tour is complete.\n")
