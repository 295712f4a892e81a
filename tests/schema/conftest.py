from __future__ import annotations

import pytest
from django.db import transaction


@pytest.fixture
def undone(db):
    """The test's rows go before the end of its transaction, when deferred constraints would be checked."""
    with transaction.atomic():
        yield
        transaction.set_rollback(True)
