"""Signing up, in and out."""

from __future__ import annotations

import pytest
from django.test import Client

from accounts.models import User
from tests.factories import PASSWORD, UserFactory

pytestmark = pytest.mark.django_db
NEW = {"name": "Ann", "email": "ann@example.com", "password": PASSWORD}
FOREIGN = ["https://evil.example/", "//evil.example", "/\\evil.example", "javascript:alert(1)", "http:///evil.example"]


def test_signing_up_logs_in_and_goes_where_one_was_going(client):
    response = client.post("/signup", {**NEW, "next": "/subscribe/pro"})

    assert (response.status_code, response["Location"]) == (303, "/subscribe/pro")
    assert client.session["_auth_user_id"] == str(User.objects.get(email="ann@example.com").pk)


def test_a_taken_address_is_an_error_of_the_field(client):
    UserFactory(email="Ann@example.com")

    response = client.post("/signup", NEW)

    assert response.status_code == 400
    assert "An account with this e-mail address exists" in response.text
    assert "_auth_user_id" not in client.session


def test_a_weak_password_is_an_error_of_the_field(client):
    response = client.post("/signup", {**NEW, "password": "12345678"})

    assert response.context["form"].errors.keys() == {"password"}
    assert "12345678" not in response.text
    assert not User.objects.exists()


@pytest.mark.parametrize("email", ["", "no-address", f"{'a' * 250}@example.com", "a\0@example.com"])
def test_a_bad_address_is_an_error_of_the_field(client, email):
    assert "email" in client.post("/signup", {**NEW, "email": email}).context["form"].errors


def test_logging_in_makes_a_new_session_key(client, user):
    client.get("/login")
    client.session["planted"] = True
    planted = client.session
    planted["planted"] = True
    planted.save()
    client.cookies["sessionid"] = planted.session_key

    response = client.post("/login", {"email": user.email.upper(), "password": PASSWORD})

    assert (response.status_code, response["Location"]) == (303, "/account")
    assert client.cookies["sessionid"].value != planted.session_key
    assert client.get("/account").status_code == 200


def test_nobody_learns_which_addresses_exist(client, user):
    closed = UserFactory(is_active=False)
    attempts = [("nobody@example.com", PASSWORD), (user.email, "wrong"), (closed.email, PASSWORD)]

    answers = [client.post("/login", {"email": email, "password": password}) for email, password in attempts]

    assert {answer.status_code for answer in answers} == {400}
    assert {tuple(answer.context["form"].non_field_errors()) for answer in answers} == {
        ("No active account found with the given credentials.",)
    }


@pytest.mark.parametrize("path", ["/login", "/signup"])
@pytest.mark.parametrize("wanted", FOREIGN)
def test_a_foreign_next_is_ignored(client, user, path, wanted):
    page = client.get(path, {"next": wanted})
    fields = {"email": user.email, "password": PASSWORD} if path == "/login" else NEW

    response = client.post(path, {**fields, "next": wanted})

    assert "evil" not in page.text and "alert(1)" not in page.text
    assert response["Location"] == "/account"


def test_next_is_kept_between_the_two_forms(client):
    page = client.get("/login?next=/subscribe/pro%3Fa%3Db%26c").text

    assert 'href="/signup?next=/subscribe/pro%3Fa%3Db%26c"' in page
    assert 'name="next" value="/subscribe/pro?a=b&amp;c"' in page


def test_whoever_has_a_session_goes_on(client, user):
    client.force_login(user)

    assert client.get("/login?next=/pricing")["Location"] == "/pricing"
    assert client.get("/signup")["Location"] == "/account"


def test_logging_out_takes_a_post(client, user):
    client.force_login(user)

    assert client.get("/logout").status_code == 405
    assert client.post("/logout")["Location"] == "/"
    assert client.get("/account").status_code == 302


@pytest.mark.parametrize("path", ["/login", "/signup", "/logout", "/subscribe/premium"])
def test_forms_without_a_token_are_refused_in_our_look(user, path):
    strict = Client(enforce_csrf_checks=True)
    strict.force_login(user)

    response = strict.post(path, {})

    assert response.status_code == 403
    assert "This form was open for too long" in response.text


@pytest.mark.parametrize("path", ["/login", "/signup"])
def test_forms_carry_a_token(client, path):
    assert "csrfmiddlewaretoken" in client.get(path).text


def test_guesses_at_the_page_and_at_the_api_are_counted_together(client, user, settings, api):
    settings.RATE_LIMIT_AUTH = 3
    guess = {"email": user.email, "password": "wrong"}
    address = {"REMOTE_ADDR": "203.0.113.77"}
    for _ in range(2):
        assert client.post("/login", guess, **address).status_code == 400
    assert api.post("/api/v1/auth/token", guess, format="json", **address).status_code == 401

    response = client.post("/login", {"email": user.email, "password": PASSWORD}, **address)

    assert response.status_code == 429
    assert 0 < int(response["Retry-After"]) <= 60
    assert "Too many attempts" in response.text
    assert "_auth_user_id" not in client.session
