"""A Supabase project's tokens: what opens, what does not, and whose account it is."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import threading
import time
from http.server import BaseHTTPRequestHandler, HTTPServer

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from django.db import connection

from accounts import services, supabase
from accounts.models import User
from tests.factories import UserFactory

SECRET = "a-supabase-project-secret-of-thirty-two-bytes-or-more"
PROJECT = "https://project.supabase.example"
SUB = "5f0c6f0e-7d9c-4e53-9a38-0a2f6f3f1c11"
PATH = "/api/v1/auth/api-keys"  # 403 for whoever is known, 401 for others

RSA_KEY = rsa.generate_private_key(public_exponent=65537, key_size=2048)
EC_KEY = ec.generate_private_key(ec.SECP256R1())
STRANGER = rsa.generate_private_key(public_exponent=65537, key_size=2048)


def token(key=SECRET, algorithm="HS256", *, headers=None, without=(), **changes):
    now = int(time.time())
    claims = {
        "iss": f"{PROJECT}/auth/v1",
        "aud": "authenticated",
        "sub": SUB,
        "iat": now,
        "exp": now + 60,
        "email": "ann@example.com",
        **changes,
    }
    return jwt.encode({k: v for k, v in claims.items() if k not in without}, key, algorithm, headers=headers)


def status(api, text):
    return api.get(PATH, headers={"Authorization": f"Bearer {text}"}).status_code


@pytest.fixture
def shared_secret(settings, db):
    settings.SUPABASE_URL = PROJECT
    settings.SUPABASE_JWT_SECRET = SECRET


@pytest.fixture
def published(settings, db):
    """A project with published keys on a server of its own; gives the list of requests that it got."""
    asked = []
    keys = []
    for kid, algorithm, key in (("r", "RS256", RSA_KEY), ("e", "ES256", EC_KEY)):
        jwk = jwt.get_algorithm_by_name(algorithm).to_jwk(key.public_key(), as_dict=True)
        keys.append({**jwk, "kid": kid, "alg": algorithm, "use": "sig"})

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            asked.append(self.path)
            body = json.dumps({"keys": keys}).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_args):
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    settings.SUPABASE_URL = f"http://127.0.0.1:{server.server_port}"
    settings.SUPABASE_JWT_SECRET = ""
    supabase._published_keys.cache_clear()
    yield asked
    server.shutdown()
    server.server_close()


def test_the_first_sight_makes_the_user_and_the_second_finds_it(api, shared_secret):
    assert status(api, token()) == 403
    assert status(api, token(email="changed@example.com")) == 403
    user = User.objects.get()
    assert (user.external_id, user.email, user.has_usable_password()) == (SUB, "ann@example.com", False)


@pytest.mark.parametrize(
    "changes",
    [
        {"exp": 1},
        {"iat": 2**40},
        {"aud": "anon"},
        {"sub": ""},
        {"key": "another-secret-of-more-than-thirty-two-bytes"},
        {"iss": "https://elsewhere.example/auth/v1"},
        *({"without": (name,)} for name in ("exp", "iat", "sub", "aud", "iss")),
        {"key": RSA_KEY, "algorithm": "RS256"},
        {"key": None, "algorithm": "none"},
    ],
)
def test_other_tokens_open_nothing(api, shared_secret, changes):
    assert status(api, token(**changes)) == 401
    assert not User.objects.exists()


def test_ten_seconds_of_leeway(api, shared_secret):
    now = int(time.time())
    assert status(api, token(exp=now - 5)) == 403
    assert status(api, token(exp=now - 15)) == 401


def test_without_a_project_its_tokens_are_unknown(api, settings, db):
    settings.SUPABASE_URL = ""
    settings.SUPABASE_JWT_SECRET = SECRET
    assert status(api, token()) == 401


def test_our_own_tokens_go_on_beside_it(api, shared_secret, user):
    assert api.as_user(user).get(PATH).status_code == 403


def test_published_keys_are_fetched_once(api, published, settings):
    iss = f"{settings.SUPABASE_URL}/auth/v1"
    for _ in range(2):
        assert status(api, token(RSA_KEY, "RS256", headers={"kid": "r"}, iss=iss)) == 403
        assert status(api, token(EC_KEY, "ES256", headers={"kid": "e"}, iss=iss)) == 403
    for number in range(3):  # unknown key ids don't hammer the project
        assert status(api, token(RSA_KEY, "RS256", headers={"kid": f"unknown{number}"}, iss=iss)) == 401
    assert published == ["/auth/v1/.well-known/jwks.json"]


def test_published_keys_open_to_no_other_key_or_algorithm(api, published, settings):
    iss = f"{settings.SUPABASE_URL}/auth/v1"
    public = RSA_KEY.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    payload = jwt.decode(token(iss=iss), options={"verify_signature": False})

    # PyJWT refuses to sign with a PEM as a secret, so the attacker's token is made from raw bytes.
    def part(value):
        return base64.urlsafe_b64encode(value).rstrip(b"=")

    signed = part(b'{"alg":"HS256","typ":"JWT","kid":"r"}') + b"." + part(json.dumps(payload).encode())
    confusion = (signed + b"." + part(hmac.digest(public, signed, hashlib.sha256))).decode()
    for text in (
        token(STRANGER, "RS256", headers={"kid": "r"}, iss=iss),
        token(EC_KEY, "ES256", headers={"kid": "r"}, iss=iss),
        token(SECRET, "HS256", headers={"kid": "r"}, iss=iss),
        token(None, "none", headers={"kid": "r"}, iss=iss),
        confusion,
    ):
        assert status(api, text) == 401
    assert not User.objects.exists()


def test_a_project_that_does_not_answer_is_503_not_401(api, settings, db):
    settings.SUPABASE_URL = "http://127.0.0.1:1"
    settings.SUPABASE_JWT_SECRET = ""
    supabase._published_keys.cache_clear()
    assert status(api, token(RSA_KEY, "RS256", headers={"kid": "r"}, iss="http://127.0.0.1:1/auth/v1")) == 503


def test_an_account_is_never_joined_by_its_address(api, shared_secret):
    theirs = UserFactory(email="Ann@example.com")
    assert status(api, token()) == 403
    theirs.refresh_from_db()
    assert theirs.external_id is None
    assert User.objects.get(external_id=SUB).email == f"{SUB}@supabase.invalid"


@pytest.mark.parametrize("email", [None, "", "nonsense", 7, "x" * 300 + "@example.com"])
def test_an_address_that_is_none_is_replaced(db, email):
    user = services.supabase_user(external_id=SUB, email=email)
    assert user.email == f"{SUB}@supabase.invalid"


def test_a_closed_account_is_refused(api, shared_secret):
    status(api, token())
    User.objects.update(is_active=False)
    assert status(api, token()) == 401


@pytest.mark.django_db(transaction=True)
def test_of_many_first_sights_at_once_one_user_comes():
    barrier, found = threading.Barrier(6), []

    def see():
        barrier.wait()
        found.append(services.supabase_user(external_id=SUB, email="ann@example.com").pk)
        connection.close()

    threads = [threading.Thread(target=see) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 6
    assert set(found) == {User.objects.get().pk}
