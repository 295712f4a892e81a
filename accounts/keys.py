"""How an API key is made and recognised. Pure: no database, no clock.

`pf_live_<12 hex digits>_<secret>`: the part before the secret is public and finds the row; of the whole key only an HMAC
under the server's own secret is kept, so that a stolen table opens nothing.
"""

from __future__ import annotations

import hmac
import re
import secrets

from django.conf import settings
from django.utils.crypto import salted_hmac

MARK = "pf_live_"
PREFIX_LENGTH = len(MARK) + 12
_FORM = re.compile(r"pf_live_[0-9a-f]{12}_[A-Za-z0-9_-]{43}")
_SALT = "accounts.ApiKey"


def new_key() -> str:
    """256 random bits behind a public prefix."""
    return f"{MARK}{secrets.token_hex(6)}_{secrets.token_urlsafe(32)}"


def prefix_of(key: str) -> str | None:
    """The public part of `key`, or None where it does not look like a key."""
    return key[:PREFIX_LENGTH] if _FORM.fullmatch(key) else None


def digest_of(key: str, *, secret: str | None = None) -> str:
    """64 hex digits: HMAC-SHA256 under a key derived from SECRET_KEY."""
    return salted_hmac(_SALT, key, secret=secret, algorithm="sha256").hexdigest()


def matches(key: str, digest: str) -> bool:
    """Compares in constant time, with SECRET_KEY and, while it is being changed, with SECRET_KEY_FALLBACKS."""
    candidates = [digest_of(key, secret=secret) for secret in (settings.SECRET_KEY, *settings.SECRET_KEY_FALLBACKS)]
    return any(hmac.compare_digest(candidate, digest) for candidate in candidates)
