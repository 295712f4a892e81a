from __future__ import annotations

import pytest
from django_redis import get_redis_connection

from tests.flows import shop
from usage import cache

__all__ = ["shop"]


@pytest.fixture
def running_redis():
    """Redis as it is after its first half second: answers may be kept."""
    store = get_redis_connection("default")
    store.set(cache.GENERATION, "of the tests", nx=True)
    store.delete(cache.EMPTIED)
    return store
