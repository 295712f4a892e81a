"""Apple's settings: what `settings.PAYFLOW_PROVIDERS` gives, typed, and the faults in it."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from payflow.core.http import ANSWER_SECONDS
from providers.base import ConfigFault
from providers.wire.urls import base_url_faults

PRODUCTION, SANDBOX = "Production", "Sandbox"
BASE_URLS = {
    PRODUCTION: "https://api.storekit.apple.com",
    SANDBOX: "https://api.storekit-sandbox.apple.com",
}
#: Apple's library skips every signature in these: an adapter that took them would believe anybody.
UNSIGNED = frozenset({"xcode", "localtesting"})
#: SHA-256 of the certificate "Apple Root CA - G3", which ends the chain of everything that the App Store signs.
APPLE_ROOT_G3 = "63343abfb89a6a03ebb57e9b3f5fa7be7c4f5c756f3017b3a8c488c3653e9179"

_PEM_LINE = re.compile(r"-----(BEGIN|END) CERTIFICATE-----")


@dataclass(frozen=True, slots=True)
class AppleConfig:
    """Never fails to load: what is wrong is told by `faults`, so that Django's checks can name all of it at once."""

    environment: str
    bundle_id: str
    app_id: int | None
    issuer_id: str
    key_id: str
    base_urls: Mapping[str, str]
    online_checks: bool
    test_mode: bool
    answer_seconds: float
    app_id_text: str
    root_texts: tuple[str, ...] = field(repr=False)
    private_key: str = field(repr=False)

    @classmethod
    def load(cls, config: Mapping[str, Any]) -> AppleConfig:
        def text(key: str, default: str = "") -> str:
            return str(config.get(key) or default).strip()

        seconds, app_id = config.get("answer_seconds"), text("app_id")
        return cls(
            environment=text("environment", PRODUCTION),
            bundle_id=text("bundle_id"),
            app_id=int(app_id) if app_id.isascii() and app_id.isdigit() and len(app_id) <= 18 else None,
            app_id_text=app_id,
            issuer_id=text("issuer_id"),
            key_id=text("key_id"),
            base_urls={
                PRODUCTION: text("base_url", BASE_URLS[PRODUCTION]),
                SANDBOX: text("sandbox_base_url", BASE_URLS[SANDBOX]),
            },
            online_checks=bool(config.get("online_checks", True)),
            test_mode=bool(config.get("test_mode")),
            answer_seconds=seconds if isinstance(seconds, int | float) and seconds > 0 else ANSWER_SECONDS,
            root_texts=tuple(filter(None, (part.strip() for part in text("root_certificates").split(",")))),
            private_key=text("private_key").replace("\\n", "\n"),
        )

    @property
    def environments(self) -> tuple[str, ...]:
        """Whose signatures are believed. A live service is told of sandbox purchases too: App Review makes such."""
        if self.environment == PRODUCTION and self.app_id is not None:
            return (PRODUCTION, SANDBOX)
        return (SANDBOX,) if self.environment == SANDBOX else ()

    @property
    def roots(self) -> list[bytes]:
        """The usable root certificates as DER, which is the only form that Apple's library reads."""
        return [der for der in map(root_der, self.root_texts) if der is not None]

    @property
    def key_is_usable(self) -> bool:
        try:
            key = load_pem_private_key(self.private_key.encode(), password=None)
        except (ValueError, TypeError):  # TypeError: the key is encrypted
            return False
        return isinstance(key, ec.EllipticCurvePrivateKey) and isinstance(key.curve, ec.SECP256R1)

    def faults(self, *, debug: bool) -> list[ConfigFault]:
        return [
            *self._environment_faults(),
            *self._app_faults(),
            *self._key_faults(),
            *self._root_faults(),
            *base_url_faults(self.base_urls[PRODUCTION], variable="APPLE_BASE_URL", debug=debug),
            *base_url_faults(self.base_urls[SANDBOX], variable="APPLE_SANDBOX_BASE_URL", debug=debug),
        ]

    def _environment_faults(self) -> Iterator[ConfigFault]:
        if self.environment.replace("_", "").lower() in UNSIGNED:
            yield ConfigFault(
                "error",
                f"the environment {self.environment} proves nothing: its data is not signed by the App Store",
                "Set APPLE_ENVIRONMENT to Production or Sandbox.",
            )
        elif self.environment not in BASE_URLS:
            yield ConfigFault(
                "error", "the environment is not known", "Set APPLE_ENVIRONMENT to Production or Sandbox."
            )
        if self.test_mode and self.environment == PRODUCTION:
            yield ConfigFault(
                "error",
                "sandbox purchases would count beside real money",
                "Test purchases count where APPLE_ENVIRONMENT is Sandbox only.",
            )

    def _app_faults(self) -> Iterator[ConfigFault]:
        if not self.bundle_id:
            yield ConfigFault("error", "the bundle id is missing", "Set APPLE_BUNDLE_ID, for example com.example.app.")
        if self.app_id is None and (self.app_id_text or self.environment == PRODUCTION):
            yield ConfigFault(
                "error",
                "the app's Apple ID is not a number" if self.app_id_text else "the app's Apple ID is missing",
                "Set APPLE_APP_ID to the number under App Information; it is not the team's id.",
            )

    def _key_faults(self) -> Iterator[ConfigFault]:
        if not self.issuer_id:
            yield ConfigFault("error", "the issuer id is missing", "Set APPLE_ISSUER_ID (App Store Connect, Keys).")
        if not self.key_id:
            yield ConfigFault("error", "the key id is missing", "Set APPLE_KEY_ID: the id of the In-App Purchase key.")
        if not self.private_key:
            yield ConfigFault("error", "the private key is missing", "Set APPLE_PRIVATE_KEY to the .p8 file's text.")
        elif not self.key_is_usable:
            yield ConfigFault(
                "error",
                "the private key is not a P-256 key in PEM",
                r"Copy the whole .p8 file into APPLE_PRIVATE_KEY, its line ends as \n.",
            )

    def _root_faults(self) -> Iterator[ConfigFault]:
        hint = "Set APPLE_ROOT_CERTIFICATES to what `base64 -w0 AppleRootCA-G3.cer` prints."
        if not self.root_texts:
            yield ConfigFault("error", "the root certificate is missing: nothing could be believed", hint)
        elif len(self.roots) < len(self.root_texts):
            yield ConfigFault("error", "a root certificate cannot be read", hint)
        elif any(hashlib.sha256(der).hexdigest() != APPLE_ROOT_G3 for der in self.roots):
            yield ConfigFault(
                "warning",
                "a root certificate is not Apple Root CA - G3",
                "Whoever holds its key can make purchases up: keep it to an emulator or a newer root of Apple's.",
            )


def root_der(text: str) -> bytes | None:
    """The DER bytes of a certificate given as base64 or PEM; None where it is none."""
    bare = "".join(_PEM_LINE.sub("", text.replace("\\n", "\n")).split())
    try:
        der = base64.b64decode(bare, validate=True)
        x509.load_der_x509_certificate(der)
    except ValueError:
        return None
    return der
