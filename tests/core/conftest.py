"""Fixtures of the core: a registry of the test's own, a small foreign system."""

from __future__ import annotations

from dataclasses import fields

import pytest

from payflow.core.registry import registered
from tests.core.server import Server


@pytest.fixture
def registry():
    """The registry, empty; what was registered comes back afterwards."""
    before = {field.name: getattr(registered, field.name) for field in fields(registered)}
    for name in before:
        setattr(registered, name, {})
    yield registered
    for name, content in before.items():
        setattr(registered, name, content)


@pytest.fixture
def server():
    with Server() as running:
        yield running
