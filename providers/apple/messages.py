"""What Apple signs, read: notification, transaction, renewal info. Nothing is proven here: see `verification`.

Prices are in milliunits of the major unit (10990 is 10.99), times in milliseconds since 1970, a revocation's percentage in
milli-percent (50000 is 50 %). All of it is converted here and nowhere else. Source: providers.md 3.2.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from typing import Any

from payflow.core.money import MAX_DIGITS, round_amount
from providers.apple.config import PRODUCTION, SANDBOX
from providers.base import MalformedError
from providers.wire.fields import currency_of, moment_of_epoch, optional_text, read_object, required_text

MAX_ID = 100
WHOLE = 100_000
_NESTED = ("signedTransactionInfo", "signedRenewalInfo", "signedAppTransactionInfo")


@dataclass(frozen=True, slots=True)
class Transaction:
    """One purchase or renewal. `price` is what was paid, None where Apple does not say."""

    transaction_id: str
    original_id: str
    product_id: str
    environment: str
    purchased_at: datetime
    signed_at: datetime
    expires_at: datetime | None
    price: Decimal | None
    currency: str | None
    user_ref: str | None
    is_renewal: bool
    is_family_shared: bool
    is_free: bool
    is_upgraded: bool
    revoked_at: datetime | None
    revocation_type: str | None
    revocation_share: Decimal | None
    body: Mapping[str, Any] = field(repr=False)

    @property
    def is_test(self) -> bool:
        return self.environment != PRODUCTION

    @property
    def moves_money(self) -> bool:
        """False for a free offer, and for what a family member was given: its buyer's own transaction has the money."""
        return not self.is_free and not self.is_family_shared

    @property
    def refunded(self) -> Decimal | None:
        """What went back. None where it cannot be told: a prorated refund without its share, a price that is not known."""
        if self.price is None or self.currency is None:
            return None
        if self.revocation_type != "REFUND_PRORATED":
            return self.price
        if self.revocation_share is None:
            return None
        return round_amount(self.price * self.revocation_share, self.currency)

    @property
    def is_refunded(self) -> bool:
        """Did money go back? A family's share that ended moves none."""
        return self.revoked_at is not None and self.revocation_type != "FAMILY_REVOKE" and self.moves_money


@dataclass(frozen=True, slots=True)
class Renewal:
    """What will happen at the period's end."""

    product_id: str | None
    auto_renew: bool | None
    signed_at: datetime
    grace_until: datetime | None
    expiration_intent: int | None
    price: Decimal | None
    currency: str | None
    body: Mapping[str, Any] = field(repr=False)


@dataclass(frozen=True, slots=True)
class Notice:
    """A notification. `kind` and `subtype` are Apple's own words, known or not."""

    delivery_key: str
    kind: str
    subtype: str | None
    environment: str
    signed_at: datetime
    status: int | None
    transaction: Transaction | None
    renewal: Renewal | None
    body: Mapping[str, Any] = field(repr=False)

    @property
    def is_test(self) -> bool:
        return self.environment != PRODUCTION


def signed_payload(raw_body: bytes) -> str:
    """The one field of a delivery. Raises MalformedError."""
    payload = read_object(raw_body).get("signedPayload")
    if not isinstance(payload, str) or not payload.isascii():
        raise MalformedError("signedPayload is missing")
    return payload


def decoded(jws: str) -> dict[str, Any]:
    """The payload of a JWS, unproven. Raises MalformedError."""
    parts = jws.split(".")
    if len(parts) != 3:
        raise MalformedError("it is not a JWS")
    try:
        return read_object(base64.urlsafe_b64decode(parts[1] + "=" * (-len(parts[1]) % 4)))
    except (binascii.Error, ValueError) as error:  # ValueError: a letter outside of ASCII
        raise MalformedError("it is not a JWS") from error


def environment_of(notification: Mapping[str, Any]) -> str | None:
    """Where a notification comes from. Unproven it only chooses the verifier, which compares it again."""
    for name in ("data", "summary", "appData"):
        part = notification.get(name)
        if isinstance(part, Mapping):
            found = part.get("environment")
            return found if isinstance(found, str) else None
    token = notification.get("externalPurchaseToken")
    if isinstance(token, Mapping):
        return SANDBOX if str(token.get("externalPurchaseId") or "").startswith("SANDBOX") else PRODUCTION
    return None


def nested(notification: Mapping[str, Any], name: str) -> str | None:
    """A JWS inside of a notification's `data`; None where there is none. Raises MalformedError."""
    data = notification.get("data")
    value = data.get(name) if isinstance(data, Mapping) else None
    if value in (None, ""):
        return None
    if not isinstance(value, str):
        raise MalformedError(f"{name} is not a JWS")
    return value


def delivery_key(jws: str) -> str:
    """The same whenever a notification is sent again, also where the rest of it cannot be read. Raises MalformedError."""
    return f"apple:{required_text(decoded(jws), 'notificationUUID', MAX_ID)}"


def read_notice(jws: str) -> Notice:
    """Raises MalformedError."""
    body = decoded(jws)
    data = body.get("data")
    transaction, renewal = nested(body, "signedTransactionInfo"), nested(body, "signedRenewalInfo")
    return Notice(
        delivery_key=delivery_key(jws),
        kind=required_text(body, "notificationType", MAX_ID),
        subtype=optional_text(body, "subtype", MAX_ID),
        environment=environment_of(body) or "",
        signed_at=moment_of_epoch(body.get("signedDate"), "signedDate", per_second=1000),
        status=_number(data, "status") if isinstance(data, Mapping) else None,
        transaction=read_transaction(transaction) if transaction else None,
        renewal=read_renewal(renewal) if renewal else None,
        body=_shown(body),
    )


def read_transaction(jws: str) -> Transaction:
    """Raises MalformedError."""
    body = decoded(jws)
    price, currency = _price(body, "price")
    is_shared = body.get("inAppOwnershipType") == "FAMILY_SHARED"
    discount = optional_text(body, "offerDiscountType", MAX_ID)
    share = _number(body, "revocationPercentage")
    if share is not None and not 0 <= share <= WHOLE:
        raise MalformedError("revocationPercentage is not a share")
    purchased_at = _moment(body, "purchaseDate")
    if purchased_at is None:
        raise MalformedError("purchaseDate is missing")
    return Transaction(
        transaction_id=required_text(body, "transactionId", MAX_ID),
        original_id=required_text(body, "originalTransactionId", MAX_ID),
        product_id=required_text(body, "productId"),
        environment=required_text(body, "environment", MAX_ID),
        purchased_at=purchased_at,
        signed_at=_moment(body, "signedDate") or purchased_at,
        expires_at=_moment(body, "expiresDate"),
        price=price,
        currency=currency,
        user_ref=optional_text(body, "appAccountToken"),
        is_renewal=body.get("transactionReason") == "RENEWAL",
        is_family_shared=is_shared,
        is_free=not is_shared and (price == 0 or (price is None and discount == "FREE_TRIAL")),
        is_upgraded=body.get("isUpgraded") is True,
        revoked_at=_moment(body, "revocationDate"),
        revocation_type=optional_text(body, "revocationType", MAX_ID),
        revocation_share=None if share is None else Decimal(share) / WHOLE,
        body=body,
    )


def read_renewal(jws: str) -> Renewal:
    """Raises MalformedError."""
    body = decoded(jws)
    price, currency = _price(body, "renewalPrice")
    signed_at, renews = _moment(body, "signedDate"), _number(body, "autoRenewStatus")
    if signed_at is None:
        raise MalformedError("signedDate is missing")
    return Renewal(
        product_id=optional_text(body, "autoRenewProductId"),
        auto_renew=None if renews not in (0, 1) else renews == 1,
        signed_at=signed_at,
        grace_until=_moment(body, "gracePeriodExpiresDate"),
        expiration_intent=_number(body, "expirationIntent"),
        price=price,
        currency=currency,
        body=body,
    )


def _price(body: Mapping[str, Any], name: str) -> tuple[Decimal | None, str | None]:
    """A price in the major unit, with its currency; (None, None) where either is absent."""
    milliunits = _number(body, name)
    if milliunits is None or body.get("currency") in (None, ""):
        return None, None
    currency = currency_of(body["currency"])
    if not 0 <= milliunits < 10 ** (MAX_DIGITS - 1):
        raise MalformedError(f"{name} is not a price")
    return round_amount(Decimal(milliunits).scaleb(-3), currency), currency


def _moment(body: Mapping[str, Any], name: str) -> datetime | None:
    return None if body.get(name) is None else moment_of_epoch(body[name], name, per_second=1000)


def _number(body: Mapping[str, Any], name: str) -> int | None:
    value = body.get(name)
    if value is None:
        return None
    if not isinstance(value, int) or isinstance(value, bool):
        raise MalformedError(f"{name} is not a whole number")
    return value


def _shown(body: Mapping[str, Any]) -> dict[str, Any]:
    """A notification without the JWS inside: what they say is read, and they prove a purchase to whoever has them."""
    shown = dict(body)
    for name in ("data", "appData"):
        if isinstance(part := shown.get(name), Mapping):
            shown[name] = {key: value for key, value in part.items() if key not in _NESTED}
    return shown
