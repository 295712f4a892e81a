from __future__ import annotations

from collections.abc import Iterator

import pytest
from django.db import connection, connections

from tests.live.stack import Stack, stack_on


@pytest.fixture(scope="session")
def stack(
    django_db_setup: None, django_db_blocker: object, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Stack]:
    """One running PayFlow for all live tests: each makes users of its own; its clock only goes forward."""
    template = connection.settings_dict["NAME"]
    connections.close_all()
    with stack_on(template, tmp_path_factory.mktemp("live")) as running:
        yield running
