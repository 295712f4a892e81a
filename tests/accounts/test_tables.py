"""What the database itself guarantees, and the roles."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from django.contrib.auth.models import AnonymousUser, Group
from django.db import IntegrityError, connection, transaction

from accounts.models import User
from accounts.principals import ServicePrincipal
from accounts.roles import ROLES, has_role, is_admin, roles_sync
from payflow.core.ids import uuid7
from payflow.core.models import AuditEntry, OutboxEvent
from tests.factories import UserFactory

pytestmark = pytest.mark.django_db


def test_updated_at_is_written_by_the_database(user, service_key):
    old = datetime(2000, 1, 1, tzinfo=UTC)
    for row in (user, service_key):
        type(row).objects.filter(pk=row.pk).update(name="changed", updated_at=old)
        row.refresh_from_db()
        assert row.name == "changed"
        assert row.updated_at > old


def test_audit_and_outbox_are_append_only():
    entry = AuditEntry.objects.create(actor="a", action="b", subject_type="c", subject_id=uuid7())
    event = OutboxEvent.objects.create(
        type="a", subject_type="b", subject_id=uuid7(), occurred_at=datetime(2026, 1, 1, tzinfo=UTC)
    )
    for row in (entry, event):
        rows = type(row).objects.filter(pk=row.pk)
        with pytest.raises(IntegrityError, match="append-only"), transaction.atomic():
            rows.update(subject_type="x")
        with pytest.raises(IntegrityError, match="append-only"), transaction.atomic():
            rows.delete()


@pytest.mark.parametrize(
    ("amount", "currency", "fits"),
    [
        ("6.90", "USD", True),
        ("6.901", "USD", False),
        ("690", "JPY", True),
        ("690.5", "JPY", False),
        ("1.500", "KWD", True),
        ("1", "XXX", False),
        ("1", None, False),
        (None, "USD", True),
    ],
)
def test_fits_currency(amount, currency, fits):
    with connection.cursor() as cursor:
        cursor.execute("SELECT fits_currency(%s::numeric, %s::text)", [amount, currency])
        assert cursor.fetchone() == (fits,)


def test_one_account_for_an_address_whatever_its_case():
    UserFactory(email="Ann@example.com")
    with pytest.raises(IntegrityError, match="uniq_users_email"), transaction.atomic():
        UserFactory(email="aNN@example.com")


def test_the_roles_exist_and_see_what_there_is():
    assert set(Group.objects.values_list("name", flat=True)) == set(ROLES)
    for role in ROLES:
        assert Group.objects.get(name=role).permissions.filter(codename="view_user").exists()
    assert Group.objects.get(name="billing-admin").permissions.filter(codename="change_apikey").exists()
    assert not Group.objects.get(name="viewer").permissions.exclude(codename__startswith="view_").exists()
    roles_sync()
    assert Group.objects.count() == len(ROLES)


def test_who_has_a_role(admin, user, service_key, django_assert_num_queries):
    user.groups.add(Group.objects.get(name="finance"))
    user = User.objects.get(pk=user.pk)
    with django_assert_num_queries(1):
        assert (has_role(user, "finance"), has_role(user, "support", "viewer"), is_admin(user)) == (True, False, False)
    assert (has_role(admin, "finance"), is_admin(admin)) == (True, True)
    for nobody in (AnonymousUser(), ServicePrincipal(service_key), None):
        assert (has_role(nobody, *ROLES), is_admin(nobody)) == (False, False)
