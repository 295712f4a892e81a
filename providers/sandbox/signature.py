"""How a delivery proves itself: `X-Sandbox-Signature: t=<unix>,v1=<hex hmac_sha256(secret, "<t>.<body>")>`.

Both sides use it: the sandbox signs each attempt anew, the adapter verifies. A header may carry several `v1` (a sender
that rotates its secret); one that matches is enough.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Sequence
from datetime import datetime, timedelta

from providers.base import SignatureError

HEADER = "X-Sandbox-Signature"
#: How far `t` may be from our clock, either way: a recorded delivery is worthless after it.
TOLERANCE = timedelta(minutes=5)

_HEADER = re.compile(r"t=([0-9]{1,12})((?:,v1=[0-9a-f]{64}){1,5})", re.ASCII)


def sign(secret: str, body: bytes, at: datetime) -> str:
    """The header of one attempt at `at`."""
    stamp = str(int(at.timestamp()))
    return f"t={stamp},v1={_digest(secret, stamp, body)}"


def verify(header: str, body: bytes, *, secrets: Sequence[str], now: datetime) -> None:
    """Raises SignatureError unless one of `secrets` signed `body` within the tolerance. An empty secret proves nothing."""
    match = _HEADER.fullmatch(header)
    if match is None:
        raise SignatureError("the signature header is missing or malformed")
    stamp, given = match[1], match[2].split(",v1=")[1:]
    if abs(now.timestamp() - int(stamp)) > TOLERANCE.total_seconds():
        raise SignatureError("the signature is too old or too new")
    genuine = [_digest(secret, stamp, body) for secret in secrets if secret]
    if not any(hmac.compare_digest(ours, theirs) for ours in genuine for theirs in given):
        raise SignatureError("the signature does not match")


def page_signature(api_key: str, subject: str) -> str:
    """What makes the address of a subject's page unguessable: made by whoever holds the account's key."""
    return hmac.new(api_key.encode(), b"page." + subject.encode(), hashlib.sha256).hexdigest()[:43]


def _digest(secret: str, stamp: str, body: bytes) -> str:
    return hmac.new(secret.encode(), stamp.encode() + b"." + body, hashlib.sha256).hexdigest()
