"""Apple's words on the wire: its errors, the token that it asks for, how its answers are written."""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec

from tests.emulators.apple.chain import open_jws

MAX_BODY = 256 * 1024
AUDIENCE = "appstoreconnect-v1"
LONGEST_TOKEN = 3600


class Refusal(Exception):
    """An answer that is an error. `code` is Apple's errorCode; None answers without a body, as for 401."""

    def __init__(self, status: int, code: int | None, message: str) -> None:
        super().__init__(message)
        self.status, self.code = status, code

    @property
    def body(self) -> bytes:
        return b"" if self.code is None else dump({"errorCode": self.code, "errorMessage": str(self)})


TRANSACTION_NOT_FOUND = (404, 4040010, "Transaction id not found.")


@dataclass(frozen=True)
class App:
    """Whom the emulator knows: the app, and the key that its server signs with."""

    bundle_id: str
    app_id: int
    issuer_id: str
    key_id: str
    public_key: ec.EllipticCurvePublicKey

    def admit(self, authorization: str) -> None:
        """Raises Refusal(401) unless it is a token as documented, of this app, for at most an hour."""
        scheme, _, token = authorization.partition(" ")
        try:
            header, claims = open_jws(token, self.public_key)
            now = time.time()
            good = (
                scheme == "Bearer"
                and header.get("alg") == "ES256"
                and header.get("kid") == self.key_id
                and header.get("typ") == "JWT"
                and claims.get("iss") == self.issuer_id
                and claims.get("bid") == self.bundle_id
                and claims.get("aud") == AUDIENCE
                and now - 60 < claims["exp"] <= now + LONGEST_TOKEN + 60
                and claims.get("iat", now) <= now + 60
            )
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise Refusal(401, None, "Unauthenticated") from error
        if not good:
            raise Refusal(401, None, "Unauthenticated")


def dump(value: Any) -> bytes:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode()


def read_object(body: bytes) -> dict[str, Any]:
    try:
        value = json.loads(body or b"{}")
    except (ValueError, RecursionError) as error:
        raise Refusal(400, 4000000, "General bad request.") from error
    if not isinstance(value, dict):
        raise Refusal(400, 4000000, "General bad request.")
    return value


def page_of(rows: list[Any], token: str | None, size: int, what: str) -> tuple[list[Any], str, bool]:
    """The page that `token` begins, the next one's token, and whether there is one. The token tells nothing to others."""
    begin = 0
    if token is not None:
        try:
            name, _, number = base64.urlsafe_b64decode(token).decode().partition(":")
            begin = int(number)
        except ValueError as error:
            raise Refusal(400, 4000005, "Invalid request revision.") from error
        if name != what or begin < 0:
            raise Refusal(400, 4000005, "Invalid request revision.")
    end = min(begin + size, len(rows))
    following = base64.urlsafe_b64encode(f"{what}:{end}".encode()).decode()
    return rows[begin:end], following, end < len(rows)


def asked(query: Mapping[str, list[str]], name: str) -> str | None:
    values = query.get(name)
    return values[-1] if values else None
