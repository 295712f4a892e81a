from __future__ import annotations

import pytest

from tests.portal.world import World


@pytest.fixture
def world(db, monkeypatch) -> World:
    return World(monkeypatch)
