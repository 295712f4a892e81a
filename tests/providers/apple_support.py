"""What Apple's tests share: a key and a chain of their own, signed notifications and forged ones, what may happen to a
subscription, and how the emulator and a provider that is set up against it are started. The events that are expected of
each notification are in `apple_golden`."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from providers.apple.adapter import AppleProvider
from tests.emulators.apple import AppleEmulator, Chain
from tests.emulators.apple.chain import jws, payload_of

ROOT = Path(__file__).parents[2]
VECTORS = ROOT.parent / "shared" / "vectors" / "apple"
BUNDLE_ID, APP_ID = "com.example.app", 1234567890
ISSUER_ID, KEY_ID = "57246542-96fe-1a63-e053-0824d011072a", "2X9R4HXF34"
USER = "7e3fb20b-4cdb-47cc-936d-99d65f608138"
ORIGINAL, CURRENT = "2000000700000000", "2000000700000001"
UUID = "002e14d5-51f5-4503-b5a8-c3a1af68eb20"

CHAIN = Chain()
PRIVATE_KEY = (
    ec.generate_private_key(ec.SECP256R1())
    .private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    .decode()
)


def ms(moment: datetime) -> int:
    return int(moment.timestamp() * 1000)


BEGIN = datetime(2026, 1, 1, tzinfo=UTC)
END = datetime(2026, 2, 1, tzinfo=UTC)
GRACE_END = datetime(2026, 2, 17, tzinfo=UTC)
SIGNED = datetime(2026, 1, 10, 8, 30, 0, 123000, tzinfo=UTC)
REVOKED = datetime(2026, 1, 9, tzinfo=UTC)


# --- the adapter and whom it calls -------------------------------------------------------------------------------------


def config(**changes: Any) -> dict[str, Any]:
    """Nobody listens at its addresses: a test that talks to Apple starts the emulator."""
    values = {
        "environment": "Production",
        "test_mode": False,
        "bundle_id": BUNDLE_ID,
        "app_id": str(APP_ID),
        "issuer_id": ISSUER_ID,
        "key_id": KEY_ID,
        "private_key": PRIVATE_KEY,
        "root_certificates": CHAIN.root_base64,
        "online_checks": False,
        "base_url": "http://127.0.0.1:9",
        "sandbox_base_url": "http://127.0.0.1:9",
        "answer_seconds": 2,
    }
    return {**values, **changes}


@cache
def provider(**changes: Any) -> AppleProvider:
    return AppleProvider("apple", config(**changes))


def store(**changes: Any) -> AppleEmulator:
    """The emulator, not yet started; Production, without retries."""
    values: dict[str, Any] = {
        "private_key": PRIVATE_KEY,
        "bundle_id": BUNDLE_ID,
        "app_id": APP_ID,
        "issuer_id": ISSUER_ID,
        "key_id": KEY_ID,
        "environment": "Production",
        "retry_pauses": (),
    }
    return AppleEmulator(**{**values, **changes})


def connected(apple: AppleEmulator, **changes: Any) -> AppleProvider:
    """A provider that asks the emulator and trusts its root."""
    values = {
        "base_url": apple.origin,
        "sandbox_base_url": apple.origin,
        "environment": apple.environment,
        "test_mode": apple.environment == "Sandbox",
        "root_certificates": apple.chain.root_base64,
    }
    return AppleProvider("apple", config(**{**values, **changes}))


# --- what Apple signs --------------------------------------------------------------------------------------------------


def changed(fields: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """`...` takes a field away."""
    return {key: value for key, value in {**fields, **changes}.items() if value is not ...}


def transaction(**changes: Any) -> dict[str, Any]:
    fields = {
        "transactionId": CURRENT,
        "originalTransactionId": ORIGINAL,
        "webOrderLineItemId": "2000000700000099",
        "bundleId": BUNDLE_ID,
        "productId": "premium.monthly",
        "subscriptionGroupIdentifier": "21500001",
        "purchaseDate": ms(BEGIN),
        "originalPurchaseDate": ms(BEGIN),
        "expiresDate": ms(END),
        "quantity": 1,
        "type": "Auto-Renewable Subscription",
        "appAccountToken": USER,
        "inAppOwnershipType": "PURCHASED",
        "signedDate": ms(SIGNED),
        "environment": "Production",
        "transactionReason": "PURCHASE",
        "storefront": "USA",
        "storefrontId": "143441",
        "price": 10990,
        "currency": "USD",
    }
    return changed(fields, changes)


def renewal(**changes: Any) -> dict[str, Any]:
    fields = {
        "originalTransactionId": ORIGINAL,
        "autoRenewProductId": "premium.monthly",
        "productId": "premium.monthly",
        "autoRenewStatus": 1,
        "signedDate": ms(SIGNED),
        "environment": "Production",
        "renewalDate": ms(END),
        "renewalPrice": 10990,
        "currency": "USD",
    }
    return changed(fields, changes)


def notification(
    kind: str,
    subtype: str | None = None,
    *,
    transaction: Mapping[str, Any] | None = None,
    renewal: Mapping[str, Any] | None = None,
    status: int | None = 1,
    chain: Chain = CHAIN,
    nested: Chain | None = None,
    data: Mapping[str, Any] | None = None,
    **changes: Any,
) -> bytes:
    """A delivery's body; `data` None is one with a `data` object of the app, changed by `changes` of the whole."""
    inner: dict[str, Any] = {"environment": "Production", "appAppleId": APP_ID, "bundleId": BUNDLE_ID}
    if status is not None:
        inner["status"] = status
    if transaction is not None:
        inner["signedTransactionInfo"] = (nested or chain).sign(transaction)
    if renewal is not None:
        inner["signedRenewalInfo"] = (nested or chain).sign(renewal)
    fields = {
        "notificationType": kind,
        "subtype": subtype if subtype is not None else ...,
        "notificationUUID": UUID,
        "data": changed(inner, data or {}),
        "version": "2.0",
        "signedDate": ms(SIGNED),
    }
    return json.dumps({"signedPayload": chain.sign(changed(fields, changes))}).encode()


def subscription_news(kind: str, subtype: str | None = None, **fields: Any) -> bytes:
    """A notification of the usual transaction and renewal info."""
    fields.setdefault("transaction", transaction())
    fields.setdefault("renewal", renewal())
    return notification(kind, subtype, **fields)


# --- what others sign --------------------------------------------------------------------------------------------------

GOOD = subscription_news("DID_RENEW")
FOREIGN = Chain()


def body(token: str) -> bytes:
    return json.dumps({"signedPayload": token}).encode()


def token(raw: bytes = GOOD) -> str:
    return json.loads(raw)["signedPayload"]


def b64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def unsigned(header: dict[str, Any], signature: bytes = b"") -> bytes:
    """The good delivery's payload under another header."""
    head = b64(json.dumps(header).encode())
    return body(".".join([head, token().split(".")[1], b64(signature)]))


def hs256() -> bytes:
    """Signed with what everybody knows: the certificate's bytes, or nothing at all."""
    header = b64(json.dumps({"alg": "HS256", "x5c": x5c()}).encode())
    signed = f"{header}.{token().split('.')[1]}"
    return body(f"{signed}.{b64(hmac.new(b'', signed.encode(), hashlib.sha256).digest())}")


def x5c(chain: Chain = CHAIN) -> list[str]:
    return [base64.b64encode(der).decode() for der in chain.certificates]


def with_chain(certificates: list[str]) -> bytes:
    return body(jws({"alg": "ES256", "x5c": certificates}, payload_of(token()), CHAIN._key))


FORGED = {
    "nothing": b"",
    "no json": b"signedPayload=x",
    "no payload": b'{"signedpayload": "a.b.c"}',
    "no text": b'{"signedPayload": 7}',
    "no jws": body("abc"),
    "empty parts": body(".."),
    "alg none": unsigned({"alg": "none"}),
    "alg none with the chain": unsigned({"alg": "none", "x5c": x5c()}),
    "hs256": hs256(),
    "no chain": unsigned({"alg": "ES256"}, b"\0" * 64),
    "empty chain": unsigned({"alg": "ES256", "x5c": []}, b"\0" * 64),
    "chain of words": unsigned({"alg": "ES256", "x5c": ["a", "b", "c"]}, b"\0" * 64),
    "chain that is no list": unsigned({"alg": "ES256", "x5c": 3}, b"\0" * 64),
    "chain of two": with_chain(x5c()[:2]),
    "chain of four": with_chain([*x5c(), x5c()[2]]),
    "chain reversed": with_chain(x5c()[::-1]),
    "another's leaf before our chain": with_chain([x5c(FOREIGN)[0], *x5c()[1:]]),
    "foreign root": subscription_news("DID_RENEW", chain=FOREIGN),
    "leaf for another purpose": subscription_news("DID_RENEW", chain=Chain(leaf_oid="1.2.840.113635.100.6.11.2")),
    "intermediate for another purpose": subscription_news(
        "DID_RENEW", chain=Chain(intermediate_oid="1.2.840.113635.100.6.2.9")
    ),
    "nested by another chain": subscription_news("DID_RENEW", nested=FOREIGN),
    "renewal info by another chain": notification(
        "DID_RENEW",
        transaction=transaction(),
        data={"signedRenewalInfo": FOREIGN.sign(renewal())},
    ),
    "transaction of another app": subscription_news("DID_RENEW", transaction=transaction(bundleId="com.other")),
    "transaction of another environment": subscription_news(
        "DID_RENEW", transaction=transaction(environment="Sandbox")
    ),
    "renewal info of another environment": subscription_news("DID_RENEW", renewal=renewal(environment="Sandbox")),
    "another app": subscription_news("DID_RENEW", data={"bundleId": "com.other"}),
    "another app id": subscription_news("DID_RENEW", data={"appAppleId": APP_ID + 1}),
    "wrongly typed": subscription_news("DID_RENEW", signedDate="soon"),
    "absurd date": subscription_news("DID_RENEW", signedDate=10**40),
    "unreadable fields": subscription_news("DID_RENEW", data={"status": {"a": 1}, "appAppleId": "many"}),
    "too large": body(token() + " " * 70_000),
}


# --- what may happen to a subscription: deeds at the emulator, one after the other --------------------------------------

ULTRA = {"productId": "ultra.monthly", "price": 19990}
STORIES: dict[str, list[tuple[str, dict[str, Any]]]] = {
    "renewed": [("renew", {}), ("renew", {})],
    "canceled": [("renew", {}), ("cancel", {})],
    "canceled and taken back": [("cancel", {}), ("resume", {})],
    "in grace": [("fail", {"graceDays": 16})],
    "recovered in grace": [("fail", {"graceDays": 16}), ("recover", {})],
    "on hold": [("fail", {})],
    "grace ended": [("fail", {"graceDays": 3}), ("grace_end", {})],
    "recovered from hold": [("fail", {}), ("recover", {})],
    "upgraded": [("upgrade", ULTRA), ("renew", {})],
    "upgraded by an offer": [("redeem", {**ULTRA, "price": 9990}), ("renew", {})],
    "expired": [("cancel", {}), ("expire", {})],
    "refunded": [("renew", {}), ("refund", {})],
    "refunded in part": [("renew", {}), ("refund", {"percentage": 40000})],
    "extended": [("extend", {"days": 9})],
}
