"""Tokens of a Supabase project, verified with PyJWT.

The algorithm comes from our configuration, never from the token: HS256 with SUPABASE_JWT_SECRET, else the project's
published keys (RS256, ES256). https://supabase.com/docs/guides/auth/jwts
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import jwt
from django.conf import settings

from payflow.core.errors import ProviderUnavailable

AUDIENCE = "authenticated"
LEEWAY_SECONDS = 10
REQUIRED = ["exp", "iat", "sub", "aud", "iss"]
PUBLISHED = ["RS256", "ES256"]
#: The published keys are fetched once in so long; an unknown key id asks again, at most twice a minute.
KEYS_LIFESPAN_SECONDS = 600
KEYS_TIMEOUT_SECONDS = 3


class NotVerified(Exception):
    """The token is not one of the project's, or no longer."""


def issuer() -> str:
    """The `iss` of the configured project's tokens."""
    return f"{settings.SUPABASE_URL.rstrip('/')}/auth/v1"


def is_from_project(token: str) -> bool:
    """What the token says of itself, unverified: only to choose who looks at it."""
    try:
        claims = jwt.decode(token, options={"verify_signature": False})
    except jwt.PyJWTError:
        return False
    return claims.get("iss") == issuer()


def verified_claims(token: str) -> dict[str, Any]:
    """The claims of a valid token. Raises NotVerified, ProviderUnavailable (the project's keys cannot be had)."""
    try:
        if settings.SUPABASE_JWT_SECRET:
            key: Any = settings.SUPABASE_JWT_SECRET
            algorithms = ["HS256"]
        else:
            key, algorithms = _published_keys(issuer()).get_signing_key_from_jwt(token), PUBLISHED
        claims = jwt.decode(
            token,
            key,
            algorithms=algorithms,
            audience=AUDIENCE,
            issuer=issuer(),
            leeway=LEEWAY_SECONDS,
            options={"require": REQUIRED},
        )
    except jwt.PyJWKClientConnectionError as error:
        raise ProviderUnavailable("The identity provider did not answer; please try again") from error
    except jwt.PyJWTError as error:
        raise NotVerified(str(error)) from error
    if not isinstance(claims["sub"], str) or not 0 < len(claims["sub"]) <= 255 or "\0" in claims["sub"]:
        raise NotVerified("sub")
    return claims


@lru_cache(maxsize=4)
def _published_keys(project: str) -> jwt.PyJWKClient:
    return jwt.PyJWKClient(
        f"{project}/.well-known/jwks.json", lifespan=KEYS_LIFESPAN_SECONDS, timeout=KEYS_TIMEOUT_SECONDS
    )
