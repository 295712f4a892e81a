"""API keys: who may make them, and what they open."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.contrib.auth.models import Group
from django.test import RequestFactory

from accounts.authentication import ApiKeyAuthentication
from accounts.models import ApiKey
from payflow.api.permissions import ServicesInScope
from payflow.core import clock
from payflow.core.models import AuditEntry, IdempotencyKey
from tests.factories import ApiKeyFactory, StaffFactory, UserFactory

pytestmark = pytest.mark.django_db

KEYS = "/api/v1/auth/api-keys/"
BODY = {"name": "backend", "scopes": ["usage", "read"]}


@pytest.fixture
def who(api, user, staff, admin, service_key):
    billing_admin = UserFactory()
    billing_admin.groups.add(Group.objects.get(name="billing-admin"))
    support = StaffFactory()
    support.groups.add(Group.objects.get(name="support"))
    return {
        "anonymous": api,
        "user": api.as_user(user),
        "staff": api.as_user(staff),
        "support": api.as_user(support),
        "service": api.as_service(service_key),
        "admin": api.as_user(admin),
        "billing-admin": api.as_user(billing_admin),
    }


@pytest.mark.parametrize(
    ("name", "status"),
    [("anonymous", 401), ("user", 403), ("staff", 403), ("support", 403), ("service", 403)],
)
def test_others_are_refused_and_nothing_changes(who, service_key, name, status):
    client = who[name]
    for response in (
        client.get(KEYS),
        client.post(KEYS, BODY),
        client.get(f"{KEYS}{service_key.pk}"),
        client.delete(f"{KEYS}{service_key.pk}"),
        client.post(f"{KEYS}{service_key.pk}/rotate"),
    ):
        assert response.status_code == status
    [row] = ApiKey.objects.all()
    assert (row.revoked_at, row.replaced_by, row.expires_at) == (None, None, None)


@pytest.mark.parametrize("name", ["admin", "billing-admin"])
def test_admins_make_keys_that_open_the_api(who, api, name):
    response = who[name].post(KEYS, BODY)
    assert response.status_code == 201
    data = response.json()["data"]
    assert data["key"].startswith(f"{data['prefix']}_")
    assert (data["name"], data["scopes"], data["prefix"][:8]) == ("backend", ["read", "usage"], "pf_live_")
    row = ApiKey.objects.get(pk=data["id"])
    assert data["key"] not in (row.digest, row.prefix)
    assert AuditEntry.objects.get(subject_id=row.pk).action == "api_key.created"
    for headers in ({"X-API-Key": data["key"]}, {"Authorization": f"Bearer {data['key']}"}):
        assert api.get(KEYS, headers=headers).status_code == 403  # known, and not an admin


def test_the_key_is_shown_once(who, admin):
    client = who["admin"]
    made = client.post(KEYS, BODY, headers={"Idempotency-Key": "k"}).json()["data"]
    again = client.post(KEYS, BODY, headers={"Idempotency-Key": "k"}).json()["data"]
    assert again == {**made, "key": "[redacted]"}
    assert made["key"] not in IdempotencyKey.objects.get().response_body
    shown = client.get(f"{KEYS}{made['id']}").json()["data"]
    assert "key" not in shown
    assert "digest" not in shown
    assert all("key" not in row for row in client.get(KEYS).json()["data"]["results"])


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"name": ""}, "name"),
        ({"scopes": []}, "scopes"),
        ({"scopes": ["everything"]}, "scopes"),
        ({"expires_at": "2020-01-01T00:00:00Z"}, "expires_at"),
    ],
)
def test_a_bad_key_is_refused(who, change, field):
    response = who["admin"].post(KEYS, {**BODY, **change})
    assert response.status_code == 400
    assert list(response.json()["details"]) == [field]


def test_a_rotated_key_overlaps_with_its_successor(who, api, service_key):
    before = clock.wall()
    response = who["admin"].post(f"{KEYS}{service_key.pk}/rotate/", {"overlap_hours": 2})
    assert response.status_code == 201
    data = response.json()["data"]
    service_key.refresh_from_db()
    assert str(service_key.replaced_by_id) == data["id"]
    assert before + timedelta(hours=2) <= service_key.expires_at <= clock.wall() + timedelta(hours=2)
    assert (data["name"], data["scopes"]) == (service_key.name, service_key.scopes)
    for key in (service_key.key, data["key"]):
        assert api.get(KEYS, headers={"X-API-Key": key}).status_code == 403
    again = who["admin"].post(f"{KEYS}{service_key.pk}/rotate")
    assert (again.status_code, again.json()["code"]) == (409, "INVALID_TRANSITION")


def test_a_revoked_key_opens_nothing(who, api, service_key):
    for _ in range(2):
        response = who["admin"].delete(f"{KEYS}{service_key.pk}")
        assert (response.status_code, response.json()["message"]) == (200, "API key revoked")
    assert api.as_service(service_key).get(KEYS).status_code == 401
    assert AuditEntry.objects.filter(action="api_key.revoked").count() == 1


def test_keys_that_are_not_good_are_401(api, service_key):
    old = ApiKeyFactory(expires_at=clock.wall() - timedelta(seconds=1))
    wrong = service_key.key[:-1] + ("A" if service_key.key[-1] != "A" else "B")
    for key in (old.key, wrong, service_key.prefix, "pf_live_", "nonsense", "pf_live_é", "x" * 10_000):
        response = api.get(KEYS, headers={"X-API-Key": key})
        assert (response.status_code, response.json()["error"]) == (401, "The API key is not valid")


def test_the_last_use_is_noted_at_most_once_a_minute(service_key, django_assert_num_queries):
    request = RequestFactory().get("/", headers={"X-API-Key": service_key.key})
    with django_assert_num_queries(2):
        principal, row = ApiKeyAuthentication().authenticate(request)
    with django_assert_num_queries(1):
        ApiKeyAuthentication().authenticate(request)
    service_key.refresh_from_db()
    first_use = service_key.last_used_at
    assert clock.wall() - first_use < timedelta(seconds=30)
    ApiKey.objects.update(last_used_at=first_use - timedelta(seconds=60))
    ApiKeyAuthentication().authenticate(request)
    service_key.refresh_from_db()
    assert service_key.last_used_at >= first_use
    assert (principal.pk, principal.is_staff, principal.is_service, row.pk) == (
        service_key.pk,
        False,
        True,
        service_key.pk,
    )


def test_a_key_survives_a_change_of_the_servers_secret(service_key, settings):
    request = RequestFactory().get("/", headers={"X-API-Key": service_key.key})
    settings.SECRET_KEY_FALLBACKS = [settings.SECRET_KEY]
    settings.SECRET_KEY = "another secret of at least thirty-two characters"
    assert ApiKeyAuthentication().authenticate(request)[1] == service_key


@pytest.mark.parametrize(
    ("scopes", "method", "allowed"),
    [
        (["usage"], "POST", True),
        (["usage"], "GET", True),
        (["read"], "GET", True),
        (["read"], "POST", False),
        (["refunds"], "GET", False),
        ([], "GET", False),
    ],
)
def test_scopes_say_what_a_service_may(scopes, method, allowed):
    row = ApiKeyFactory(scopes=scopes)
    request = RequestFactory().generic(method, "/", headers={"X-API-Key": row.key})
    request.user, _ = ApiKeyAuthentication().authenticate(request)
    view = type("View", (), {"required_scope": "usage"})()
    assert ServicesInScope().has_permission(request, view) is allowed
