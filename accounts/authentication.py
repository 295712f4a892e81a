"""The three ways in: our own JWT, a Supabase project's JWT, an API key. Each passes on what is not its own.

They read `request.META` only, so that lean views use them too.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from django.conf import settings
from django.http import HttpRequest
from rest_framework.authentication import BaseAuthentication
from rest_framework.exceptions import AuthenticationFailed
from rest_framework.request import Request
from rest_framework_simplejwt.authentication import JWTAuthentication
from rest_framework_simplejwt.exceptions import TokenError
from rest_framework_simplejwt.settings import api_settings
from rest_framework_simplejwt.tokens import AccessToken, Token
from rest_framework_simplejwt.utils import get_md5_hash_password

from accounts import supabase
from accounts.keys import MARK
from accounts.models import ApiKey, User
from accounts.principals import ServicePrincipal
from accounts.selectors import api_key_authenticate
from accounts.services import supabase_user
from payflow.api.errors import REALM
from payflow.api.principals import Claimed
from payflow.core import clock
from payflow.core.ids import parse_uuid


class TokenAuthentication(JWTAuthentication):
    """`Authorization: Bearer <access token>`, as issued by auth/token. A closed account is refused."""

    def claimed(self, request: HttpRequest) -> Claimed | None:
        """Whom a valid token of ours names; None for everything else, which `authenticate` is to judge."""
        token = _bearer(request)
        if not token or "HTTP_X_API_KEY" in request.META:
            return None
        try:
            claimed, ends = _signed(token, api_settings.SIGNING_KEY)
        except TokenError:
            return None
        return claimed if ends > clock.wall().timestamp() else None

    def authenticate_header(self, request: Request) -> str:
        return REALM


@lru_cache(maxsize=10_000)
def _signed(token: str, signing_key: str) -> tuple[Claimed | None, float]:
    """Whom a token with our signature names, and when it ends: the same for ever, whoever asks again. Raises TokenError."""
    claims = AccessToken(token)  # type: ignore[arg-type]
    user_id = parse_uuid(claims.get(api_settings.USER_ID_CLAIM))
    return Claimed(user_id, proof_of(claims)) if user_id else None, float(claims["exp"])


class ApiKeyAuthentication(BaseAuthentication):
    """`X-API-Key: pf_live_…`, or the same as a bearer token. `request.user` is a ServicePrincipal."""

    def authenticate(self, request: Request | HttpRequest) -> tuple[ServicePrincipal, ApiKey] | None:
        key = request.META.get("HTTP_X_API_KEY") or _bearer(request)
        if not key or ("HTTP_X_API_KEY" not in request.META and not key.startswith(MARK)):
            return None
        row = api_key_authenticate(key=key, wall=clock.wall())
        if row is None:
            raise AuthenticationFailed("The API key is not valid")
        return ServicePrincipal(row), row

    def authenticate_header(self, request: Request) -> str:
        return REALM


class SupabaseAuthentication(BaseAuthentication):
    """`Authorization: Bearer <token of the project at SUPABASE_URL>`; its users are made on first sight."""

    def authenticate(self, request: Request | HttpRequest) -> tuple[User, dict[str, Any]] | None:
        token = _bearer(request)
        if not settings.SUPABASE_URL or not token or not supabase.is_from_project(token):
            return None
        try:
            claims = supabase.verified_claims(token)
        except supabase.NotVerified as error:
            raise AuthenticationFailed("The token is not valid") from error
        user = supabase_user(external_id=claims["sub"], email=claims.get("email"))
        if not user.is_active:
            raise AuthenticationFailed("The account is closed")
        return user, claims

    def authenticate_header(self, request: Request) -> str:
        return REALM


def proof_of(auth: Any) -> str:
    """What in a token of ours is compared with the account; empty for whoever came in by something else."""
    return str(auth.get(api_settings.REVOKE_TOKEN_CLAIM) or "") if isinstance(auth, Token) else ""


def proof_wanted(*, is_active: bool, password: str) -> str | None:
    """What a token of ours must show to be one of this account; None where the account is closed."""
    return get_md5_hash_password(password) if is_active else None


def _bearer(request: Request | HttpRequest) -> str | None:
    scheme, _, token = str(request.META.get("HTTP_AUTHORIZATION", "")).partition(" ")
    return token.strip() or None if scheme.lower() == "bearer" else None
