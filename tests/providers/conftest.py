"""What every test of a provider lives by: a call is tried as often as ever, without the pauses between the tries."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import stamina

#: More than any call is tried: the number of tries stays the call's own.
MANY = 100


@pytest.fixture(scope="module", autouse=True)
def _no_pauses() -> Iterator[None]:
    with stamina.set_testing(True, attempts=MANY, cap=True):
        yield
