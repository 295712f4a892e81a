"""The log in the admin: to look at, without counting it."""

from __future__ import annotations

from decimal import Decimal

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from plans.services import plan_update
from tests.usage.factories import NOON, subscribed
from usage.models import UsageMeter
from usage.services import usage_log


@pytest.fixture
def entry(client, admin, user):
    client.force_login(admin)
    subscribed(user)
    return usage_log(user_id=user.pk, action="books", content_id="book-seven", now=NOON)


def test_the_list_shows_filters_and_finds_without_counting(client, entry, user):
    for query in ("", "?action=books", f"?q={user.email}", "?q=book-seven"):
        with CaptureQueriesContext(connection) as queries:
            response = client.get(f"/admin/usage/usagelog/{query}")
        assert response.status_code == 200
        assert "book-seven" in response.content.decode()
        assert not [q for q in queries.captured_queries if "COUNT(" in q["sql"] and "usage_logs" in q["sql"]]
    assert "book-seven" not in client.get("/admin/usage/usagelog/?q=nobody@example.com").content.decode()


def test_nothing_can_be_changed(client, entry):
    assert client.get(f"/admin/usage/usagelog/{entry.id}/change/").status_code == 200
    assert client.post(f"/admin/usage/usagelog/{entry.id}/change/", {"action": "x"}).status_code == 403
    assert client.post(f"/admin/usage/usagelog/{entry.id}/delete/", {"post": "yes"}).status_code == 403
    assert client.get("/admin/usage/usagelog/add/").status_code == 403


def test_meters_are_shown_and_cannot_be_changed(client, admin, user):
    client.force_login(admin)
    row = subscribed(user)
    plan_update(
        plan_id=row.plan_id, actor="test", at=NOON, action_prices=[{"action": "books", "unit_amount": Decimal(1)}]
    )
    usage_log(user_id=user.pk, action="books", quantity=7, now=NOON)
    meter = UsageMeter.objects.get()
    for query in ("", "?price__action=books", f"?q={user.email}"):
        response = client.get(f"/admin/usage/usagemeter/{query}")
        assert response.status_code == 200
        assert "books" in response.content.decode()
    assert client.post(f"/admin/usage/usagemeter/{meter.pk}/change/", {"billed": 7}).status_code == 403
    assert client.post(f"/admin/usage/usagemeter/{meter.pk}/delete/", {"post": "yes"}).status_code == 403
