"""Signatures: Google's key for OIDC tokens with its certificate, and the service account's key for access tokens."""

from __future__ import annotations

import base64
import json
import time
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.x509.oid import NameOID

AUDIENCE = "https://oauth2.googleapis.com/token"
SCOPE = "https://www.googleapis.com/auth/androidpublisher"


@cache
def rsa_key(name: str) -> rsa.RSAPrivateKey:
    """One per name and process: making it costs a tenth of a second and more."""
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


class Keys:
    def __init__(self, kid: str = "emulator-key-1") -> None:
        self.kid = kid
        self._google, self._account = rsa_key(kid), rsa_key("service account")

    @property
    def account_pem(self) -> str:
        return self._account.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        ).decode()

    def certificates(self) -> dict[str, str]:
        """What Google's certificate endpoint answers."""
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "federated-signon.emulator")])
        now = datetime.now(UTC)
        made = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(name)
            .public_key(self._google.public_key())
            .serial_number(1)
            .not_valid_before(now - timedelta(days=1))
            .not_valid_after(now + timedelta(days=30))
            .sign(self._google, hashes.SHA256())
        )
        return {self.kid: made.public_bytes(serialization.Encoding.PEM).decode()}

    def token(self, claims: dict[str, Any], **header: str) -> str:
        """A JWT as Google signs it, RS256."""
        return jwt(self._google, claims, {"alg": "RS256", "kid": self.kid, "typ": "JWT", **header})

    def oidc(self, *, audience: str, email: str, **changes: Any) -> str:
        """The token of a push: an hour from now on, in real time. A change to `...` leaves the claim out."""
        now = int(time.time())
        claims = {
            "aud": audience,
            "azp": "113774264463038321964",
            "email": email,
            "email_verified": True,
            "exp": now + 3600,
            "iat": now,
            "iss": "https://accounts.google.com",
            "sub": "113774264463038321964",
            **changes,
        }
        return self.token({key: value for key, value in claims.items() if value is not ...})

    def accepts(self, assertion: str, *, email: str) -> bool:
        """Is it the service account's own, for Google's token endpoint and the right scope?"""
        try:
            head, body, signature = assertion.split(".")
            self._account.public_key().verify(
                _unpacked(signature), f"{head}.{body}".encode(), padding.PKCS1v15(), hashes.SHA256()
            )
            claims = json.loads(_unpacked(body))
        except (ValueError, InvalidSignature):
            return False
        in_time = claims["iat"] - 60 <= time.time() < claims["exp"]
        return in_time and (claims["iss"], claims["aud"], claims["scope"]) == (email, AUDIENCE, SCOPE)


def jwt(key: rsa.RSAPrivateKey, claims: Any, header: dict[str, str]) -> str:
    signed = f"{_packed(json.dumps(header).encode())}.{_packed(json.dumps(claims).encode())}"
    return f"{signed}.{_packed(key.sign(signed.encode(), padding.PKCS1v15(), hashes.SHA256()))}"


def _packed(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _unpacked(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
