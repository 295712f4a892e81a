"""Fixtures that every test may use: `api` (a client), people, and rate limits switched off."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from rest_framework.test import APIClient
from rest_framework_simplejwt.tokens import AccessToken

from tests import database, factories
from tests.live.stack import Stack, stack_on

pytest_plugins = ["tests.providers.conformance.report"]
database.install()


class Api(APIClient):
    """Sends JSON. `as_user` and `as_service` give another client that is signed in for real, by header."""

    def as_user(self, user) -> Api:
        return Api(headers={"Authorization": f"Bearer {AccessToken.for_user(user)}"})

    def as_service(self, api_key) -> Api:
        return Api(headers={"X-API-Key": api_key.key})


@pytest.fixture(scope="session")
def stack(django_db_setup, django_db_blocker, tmp_path_factory) -> Iterator[Stack]:
    """One running PayFlow for all tests that need one: each makes users of its own; its clock only goes forward."""
    with django_db_blocker.unblock():
        template = database.template_name()
    with stack_on(template, tmp_path_factory.mktemp("live")) as running:
        yield running


@pytest.fixture
def api() -> Api:
    """Nobody is signed in."""
    return Api()


@pytest.fixture(autouse=True)
def _no_rate_limits(settings):
    # Windows outlive a test; a test of limits sets its own.
    settings.RATE_LIMIT_API = 0
    settings.RATE_LIMIT_AUTH = 0


@pytest.fixture
def user(db):
    return factories.UserFactory()


@pytest.fixture
def other_user(db):
    return factories.UserFactory()


@pytest.fixture
def staff(db):
    return factories.StaffFactory()


@pytest.fixture
def admin(db):
    return factories.AdminFactory()


@pytest.fixture
def service_key(db):
    return factories.ApiKeyFactory()
