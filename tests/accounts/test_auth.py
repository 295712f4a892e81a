"""Registering, tokens, logging out."""

from __future__ import annotations

import threading
from datetime import timedelta

import pytest
from django.contrib.auth import hashers
from django.db import connection
from rest_framework_simplejwt.tokens import AccessToken

from accounts import services
from accounts.errors import InvalidToken
from accounts.models import User
from payflow.core.errors import ValidationFailed
from tests.factories import PASSWORD, UserFactory

pytestmark = pytest.mark.django_db

REGISTER = "/api/v1/auth/register"
TOKEN = "/api/v1/auth/token"
NEW = {"email": "new@example.com", "password": PASSWORD}


def test_registering_makes_a_user_and_shows_no_password(api):
    response = api.post(REGISTER, {**NEW, "name": "Ann"})
    user = User.objects.get()
    assert response.status_code == 201
    assert response.json()["message"] == "Account created"
    assert response.json()["data"] == {
        "id": str(user.pk),
        "email": "new@example.com",
        "name": "Ann",
        "country": "",
        "timezone": "UTC",
        "created_at": user.created_at.isoformat().replace("+00:00", "Z"),
    }
    assert user.check_password(PASSWORD)
    assert (user.is_staff, user.is_superuser) == (False, False)


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"email": "nonsense"}, "email"),
        ({"email": "TAKEN@example.com"}, "email"),
        ({"password": "12345678"}, "password"),
        ({"password": "new@example.com"}, "password"),
        ({"password": "x" * 257}, "password"),
        ({"email": None}, "email"),
        ({"country": "XX"}, "country"),
        ({"country": "UK"}, "country"),
        ({"country": "EU"}, "country"),
        ({"country": "DEU"}, "country"),
        ({"country": 4}, "country"),
        ({"country": None}, "country"),
    ],
)
def test_registering_refuses(api, change, field):
    UserFactory(email="taken@example.com")
    response = api.post(REGISTER, {**NEW, **change})
    assert response.status_code == 400
    assert (response.json()["code"], list(response.json()["details"])) == ("VALIDATION_ERROR", [field])
    assert User.objects.count() == 1


@pytest.mark.parametrize(("country", "kept"), [("DE", "DE"), ("pl", "PL"), ("", "")])
def test_a_country_is_kept_in_capitals(api, country, kept):
    response = api.post(REGISTER, {**NEW, "country": country})
    assert (response.status_code, response.json()["data"]["country"]) == (201, kept)
    assert User.objects.get().country == kept


def test_nobody_registers_as_staff(api):
    answer = api.post(REGISTER, {**NEW, "is_staff": True, "is_superuser": True})
    assert (answer.status_code, set(answer.json()["details"])) == (400, {"is_staff", "is_superuser"})
    assert not User.objects.exists()


@pytest.mark.django_db(transaction=True)
def test_of_two_who_race_for_an_address_one_gets_it():
    barrier, results = threading.Barrier(4), []

    def register(number):
        barrier.wait()
        try:
            results.append(
                services.user_register(email="A@example.com" if number % 2 else "a@example.com", password=PASSWORD)
            )
        except ValidationFailed as error:
            results.append(error.details)
        finally:
            connection.close()

    threads = [threading.Thread(target=register, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert User.objects.count() == 1
    assert results.count({"email": ["An account with this e-mail address exists"]}) == 3


def test_a_password_gives_tokens_that_open_the_api(api):
    UserFactory(email="ann@example.com")
    response = api.post(TOKEN, {"email": "Ann@Example.com", "password": PASSWORD})
    assert response.status_code == 200
    assert set(response.json()["data"]) == {"access", "refresh"}
    assert AccessToken(response.json()["data"]["access"])["iss"] == "payflow"
    headers = {"Authorization": f"Bearer {response.json()['data']['access']}"}
    assert api.get("/api/v1/auth/api-keys", headers=headers).status_code == 403


def test_unknown_wrong_and_closed_look_alike(api):
    UserFactory(email="ann@example.com")
    UserFactory(email="closed@example.com", is_active=False)
    UserFactory(email="supabase@example.com", password=None)
    answers = [
        api.post(TOKEN, {"email": email, "password": password})
        for email, password in [
            ("ann@example.com", "wrong"),
            ("nobody@example.com", PASSWORD),
            ("closed@example.com", PASSWORD),
            ("supabase@example.com", PASSWORD),
        ]
    ]
    assert {answer.status_code for answer in answers} == {401}
    assert len({answer.content for answer in answers}) == 1
    assert answers[0]["WWW-Authenticate"] == 'Bearer realm="payflow"'


def test_an_unknown_address_costs_a_hash_as_a_known_one_does(api, monkeypatch):
    UserFactory(email="ann@example.com")
    hashed, encode = [], hashers.MD5PasswordHasher.encode

    def counted(self, password, salt, *args):
        hashed.append(password)
        return encode(self, password, salt, *args)

    monkeypatch.setattr(hashers.MD5PasswordHasher, "encode", counted)
    for email in ("ann@example.com", "nobody@example.com"):
        hashed.clear()
        api.post(TOKEN, {"email": email, "password": "wrong"})
        assert hashed == ["wrong"]


def tokens(api):
    UserFactory(email="ann@example.com")
    return api.post(TOKEN, {"email": "ann@example.com", "password": PASSWORD}).json()["data"]


def test_a_refresh_token_is_good_for_one_new_pair(api):
    old = tokens(api)
    response = api.post(f"{TOKEN}/refresh/", {"refresh": old["refresh"]})
    assert (response.status_code, set(response.json()["data"])) == (200, {"access", "refresh"})
    again = api.post(f"{TOKEN}/refresh", {"refresh": old["refresh"]})
    assert (again.status_code, again.json()["code"]) == (401, "UNAUTHENTICATED")


@pytest.mark.django_db(transaction=True)
def test_of_four_who_bring_one_refresh_token_one_gets_a_pair(api):
    refresh, barrier, results = tokens(api)["refresh"], threading.Barrier(4), []

    def bring():
        barrier.wait()
        try:
            results.append(services.tokens_refresh(refresh=refresh))
        except InvalidToken:
            results.append(None)
        finally:
            connection.close()

    threads = [threading.Thread(target=bring) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results.count(None) == 3


def test_a_refresh_token_dies_with_its_account(api):
    old = tokens(api)
    User.objects.update(is_active=False)
    assert api.post(f"{TOKEN}/refresh", {"refresh": old["refresh"]}).status_code == 401
    User.objects.all().delete()
    assert api.post(f"{TOKEN}/refresh", {"refresh": old["refresh"]}).status_code == 401


def test_verifying(api):
    pair = tokens(api)
    for token in pair.values():
        assert api.post(f"{TOKEN}/verify", {"token": token}).status_code == 200
    assert api.post(f"{TOKEN}/verify", {"token": "nonsense"}).status_code == 401
    assert api.post(f"{TOKEN}/verify", {}).status_code == 400


def test_logging_out_spends_the_refresh_token(api):
    refresh = tokens(api)["refresh"]
    assert api.post("/api/v1/auth/logout", {"refresh": refresh}).status_code == 200
    assert api.post("/api/v1/auth/logout", {"refresh": refresh}).status_code == 401
    assert api.post(f"{TOKEN}/refresh", {"refresh": refresh}).status_code == 401
    assert api.post(f"{TOKEN}/verify", {"token": refresh}).status_code == 401


def test_an_access_token_is_no_refresh_token(api):
    access = tokens(api)["access"]
    assert api.post(f"{TOKEN}/refresh", {"refresh": access}).status_code == 401


def expired(user):
    token = AccessToken.for_user(user)
    token.set_exp(lifetime=-timedelta(seconds=1))
    return str(token)


def test_credentials_that_are_not_good_are_401(api, user, admin):
    closed = UserFactory(is_active=False, is_superuser=True)
    gone = UserFactory()
    gone_token = str(AccessToken.for_user(gone))
    gone.delete()
    for token in ("x", "x.y.z", expired(admin), str(AccessToken.for_user(closed)), gone_token, "a b"):
        response = api.get("/api/v1/auth/api-keys", headers={"Authorization": f"Bearer {token}"})
        assert (response.status_code, response.json()["code"]) == (401, "UNAUTHENTICATED")
        assert response["WWW-Authenticate"] == 'Bearer realm="payflow"'


def test_attempts_are_limited_by_address(api, settings):
    settings.RATE_LIMIT_AUTH = 2
    # Another address at each run: the window of an earlier one may still be open.
    address = f"2001:db8:{User().pk.hex[-4:]}:{User().pk.hex[-8:-4]}::1"
    statuses = [
        api.post(TOKEN, {"email": "ann@example.com", "password": "x"}, REMOTE_ADDR=address).status_code
        for _ in range(3)
    ]
    assert statuses == [401, 401, 429]
    assert api.post(REGISTER, {}, REMOTE_ADDR=address).status_code == 429


def test_the_auth_paths_ignore_idempotency_keys(api):
    headers = {"Idempotency-Key": "k"}
    assert api.post(REGISTER, NEW, headers=headers).status_code == 201
    assert api.post(REGISTER, NEW, headers=headers).status_code == 400
