"""A Pub/Sub push: its proof (Google's OIDC token), and the notification inside.

Source: providers.md 4.2 and 9; developer.android.com, "Real-time developer notifications".
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from google.auth.exceptions import GoogleAuthError, TransportError
from google.auth.transport import Request
from google.oauth2 import id_token

from providers.base import MalformedError, RetryableVerifyError, SignatureError
from providers.google.config import GoogleConfig
from providers.wire.fields import read_object, required_text

ISSUERS = frozenset({"https://accounts.google.com", "accounts.google.com"})
#: Google's clock and ours: without it a token of this second is refused as too early.
CLOCK_SKEW = 10
#: A token has some 900 characters.
MAX_HEADER = 8192


@dataclass(frozen=True, slots=True)
class Push:
    """A delivery: Pub/Sub's id of the message, and what Google Play says in it."""

    message_id: str
    data: Mapping[str, Any]

    @property
    def delivery_key(self) -> str:
        return f"google:{self.message_id}"


def verify(
    headers: Mapping[str, str],
    raw_body: bytes,
    *,
    config: GoogleConfig,
    certificates: Request,
    now: datetime,
    max_bytes: int,
) -> None:
    """Raises SignatureError unless Google signed the token for us and our push account, and the body names our
    subscription; RetryableVerifyError where Google's certificates cannot be had.

    The token does not cover the body: that Pub/Sub alone gets such tokens, over TLS, is the proof of it.
    """
    if len(raw_body) > max_bytes:
        raise SignatureError("the delivery is too large")
    if not config.can_verify:
        raise SignatureError("nothing is set by which a delivery could be proved")
    claims = _claims(_token(headers), config=config, certificates=certificates)
    if claims.get("iss") not in ISSUERS:
        raise SignatureError("the token is not of Google's accounts")
    expires = claims.get("exp")
    if not isinstance(expires, int) or expires + CLOCK_SKEW < now.timestamp():
        raise SignatureError("the token has expired")
    if claims.get("email") != config.push_account or claims.get("email_verified") is not True:
        raise SignatureError("the token is another account's")
    if _names_another(raw_body, config.push_subscription):
        raise SignatureError("the delivery is another subscription's")


def read(raw_body: bytes) -> Push:
    """Raises MalformedError where the body is not the documented envelope with JSON inside."""
    message = read_object(raw_body).get("message")
    if not isinstance(message, dict):
        raise MalformedError("message is not an object")
    data = message.get("data")
    try:
        raw_data = base64.b64decode(data, validate=True) if isinstance(data, str) else b""
    except (binascii.Error, ValueError) as error:
        raise MalformedError("data is not base64") from error
    return Push(required_text(message, "messageId", 200), read_object(raw_data))


def _token(headers: Mapping[str, str]) -> str:
    scheme, _, token = headers.get("authorization", "").strip().partition(" ")
    token = token.strip()
    if scheme.lower() != "bearer" or not 0 < len(token) <= MAX_HEADER or not token.isascii():
        raise SignatureError("the delivery has no token")
    return token


def _claims(token: str, *, config: GoogleConfig, certificates: Request) -> Mapping[str, Any]:
    """The claims of a token that Google signed for our audience, and that is neither too old nor too young."""
    try:
        # The library is not typed in full.
        claims: Any = id_token.verify_token(
            token,
            certificates,
            audience=config.audience,
            certs_url=config.certs_url,
            clock_skew_in_seconds=CLOCK_SKEW,
        )
    except TransportError as error:
        raise RetryableVerifyError("Google's certificates cannot be had") from error
    except (GoogleAuthError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        # The latter four: a header or claims that are JSON but no objects. Its text repeats the token: not kept.
        raise SignatureError("the token is not Google's for us") from None
    if not isinstance(claims, Mapping):
        raise SignatureError("the token is not Google's for us")
    return claims


def _names_another(raw_body: bytes, subscription: str) -> bool:
    """A part of the proof. What is no JSON object names nothing at all, which `read` says."""
    try:
        body = json.loads(raw_body)
    except (ValueError, RecursionError):
        return False
    return isinstance(body, dict) and body.get("subscription") != subscription
