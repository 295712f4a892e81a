"""No cookie lets anybody into the API: sessions, messages and the content policy are for pages."""

from __future__ import annotations

import pytest

from tests.factories import UserFactory

pytestmark = pytest.mark.django_db
ADDRESSES = ["/api/v1/entitlements", "/api/v1/subscriptions/me", "/api/v1/auth/api-keys"]


@pytest.fixture
def browser(client):
    """Signed in as somebody who may see everything."""
    client.force_login(UserFactory(is_staff=True, is_superuser=True))
    assert client.get("/admin/").status_code == 200
    return client


@pytest.mark.parametrize("path", ADDRESSES)
def test_a_session_is_neither_looked_at_nor_begun(browser, path, django_assert_num_queries):
    with django_assert_num_queries(0):
        response = browser.get(path)

    assert response.status_code == 401
    assert not response.cookies
    assert "Cookie" not in response.get("Vary", "")


@pytest.mark.parametrize("path", ["/api/v1/plans", "/webhooks/lava", *ADDRESSES])
def test_no_browser_takes_an_answer_for_a_page(client, path):
    response = client.get(path)

    assert response["Content-Type"].startswith("application/json")
    assert response["X-Content-Type-Options"] == "nosniff"
    assert response["X-Frame-Options"] == "DENY"


def test_the_api_knows_no_session(browser):
    """What only pages need passes by: seen on the request, as a view gets it."""
    for path, is_page in [("/api/v1/plans", False), ("/webhooks/lava", False), ("/pricing", True)]:
        response = browser.get(path)
        assert response.status_code == 200
        assert hasattr(response.wsgi_request, "session") is is_page
        assert ("Content-Security-Policy" in response) is is_page
