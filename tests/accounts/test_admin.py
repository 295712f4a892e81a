"""Operators' pages of the accounts."""

from __future__ import annotations

import pytest
from django.contrib.auth.models import Group

from accounts.models import User
from payflow.core.models import AuditEntry
from tests.factories import PASSWORD, StaffFactory


@pytest.fixture
def billing_admin(db):
    user = StaffFactory()
    user.groups.add(Group.objects.get(name="billing-admin"))
    return user


@pytest.mark.parametrize("page", ["user/", "user/add/", "apikey/", "user/{user}/change/", "apikey/{key}/change/"])
def test_the_pages_open_and_show_no_digest(client, admin, user, service_key, page):
    client.force_login(admin)
    response = client.get(f"/admin/accounts/{page.format(user=user.pk, key=service_key.pk)}")
    assert response.status_code == 200
    assert service_key.digest.encode() not in response.content


def test_an_operator_adds_a_user(client, admin):
    client.force_login(admin)
    form = {"email": "new@example.com", "usable_password": "true", "password1": PASSWORD, "password2": PASSWORD}
    assert client.post("/admin/accounts/user/add/", form).status_code == 302
    assert User.objects.get(email="new@example.com").check_password(PASSWORD)


@pytest.mark.parametrize(("country", "kept"), [("PL", "PL"), ("", ""), ("XX", "DE"), ("pl", "DE")])
def test_an_operator_sets_the_country(client, admin, user, country, kept):
    User.objects.filter(pk=user.pk).update(country="DE")
    page = f"/admin/accounts/user/{user.pk}/change/"
    client.force_login(admin)
    assert '<option value="DE" selected>Germany (DE)</option>' in client.get(page).text

    form = {"email": user.email, "timezone": "UTC", "is_active": "on", "country": country}
    assert client.post(page, form).status_code == (302 if country == kept else 200)

    user.refresh_from_db()
    assert user.country == kept


def test_revoking_keys_is_for_admins_and_audited(client, billing_admin, service_key):
    form = {"action": "revoke", "_selected_action": [str(service_key.pk)]}
    support = StaffFactory()
    support.groups.add(Group.objects.get(name="support"))
    client.force_login(support)
    client.post("/admin/accounts/apikey/", form)
    service_key.refresh_from_db()
    assert service_key.revoked_at is None
    client.force_login(billing_admin)
    assert client.post("/admin/accounts/apikey/", form).status_code == 302
    service_key.refresh_from_db()
    assert service_key.revoked_at is not None
    assert AuditEntry.objects.get().actor == f"user:{billing_admin.pk}"


def test_a_billing_admin_makes_no_operators_and_no_superuser_password(client, billing_admin, admin):
    client.force_login(billing_admin)
    page = f"/admin/accounts/user/{billing_admin.pk}/change/"
    client.post(page, {"email": billing_admin.email, "timezone": "UTC", "is_active": "on", "is_superuser": "on"})
    billing_admin.refresh_from_db()
    assert billing_admin.is_superuser is False
    password = {"password1": "another " + PASSWORD, "password2": "another " + PASSWORD, "usable_password": "true"}
    assert client.post(f"/admin/accounts/user/{admin.pk}/password/", password).status_code == 403
    admin.refresh_from_db()
    assert admin.check_password(PASSWORD)
    assert client.get(f"/admin/accounts/user/{admin.pk}/delete/").status_code == 403
