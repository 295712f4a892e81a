from __future__ import annotations

import pytest
from django.contrib.auth.models import Group
from django.test import Client

from tests.factories import AdminFactory, StaffFactory, UserFactory
from tests.flows import shop

__all__ = ["shop", "signed_in"]


@pytest.fixture
def signed_in(db):
    """A client by role: `superuser`, `customer`, or the name of a group."""

    def client(role: str) -> Client:
        if role == "superuser":
            user = AdminFactory()
        elif role == "customer":
            user = UserFactory()
        else:
            user = StaffFactory()
            user.groups.add(Group.objects.get(name=role))
        made = Client()
        made.force_login(user)
        made.user = user
        return made

    return client
