"""The mapping table of Apple's notifications (providers.md 3.3): deliveries and the events that they must become."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Any

from providers.base import EventType, ProviderEvent
from tests.providers.apple_support import (
    APP_ID,
    BEGIN,
    BUNDLE_ID,
    CHAIN,
    CURRENT,
    END,
    GRACE_END,
    ORIGINAL,
    REVOKED,
    SIGNED,
    USER,
    UUID,
    ms,
    notification,
    renewal,
    subscription_news,
    transaction,
)


@dataclass(frozen=True)
class Golden:
    """A delivery and the events it must become, `raw` left out."""

    name: str
    raw: bytes
    events: tuple[ProviderEvent, ...]


def event(type_: EventType, number: int = 0, **changes: Any) -> ProviderEvent:
    """An event of the usual transaction: a state; money where `amount` is given."""
    values: dict[str, Any] = {
        "provider": "apple",
        "event_id": f"apple:{UUID}#{number}",
        "type": type_,
        "occurred_at": SIGNED,
        "provider_sub_id": ORIGINAL,
        "user_ref": USER,
        "provider_plan_ref": "premium.monthly",
        "period_start": BEGIN,
        "period_end": END,
    }
    return ProviderEvent(**{**values, **changes})


def money(number: int, **changes: Any) -> ProviderEvent:
    values = {"provider_payment_id": CURRENT, "amount": Decimal("10.99"), "currency": "USD"}
    return event(EventType.PAYMENT_SUCCEEDED, number, **{**values, **changes})


def refund(number: int, type_: EventType = EventType.PAYMENT_REFUNDED, **changes: Any) -> ProviderEvent:
    values = {
        "provider_payment_id": f"{CURRENT}:refund",
        "parent_payment_id": CURRENT,
        "occurred_at": REVOKED,
        "reason": "refund_full",
    }
    return replace(money(number), type=type_, **{**values, **changes})


def failed(number: int = 0) -> ProviderEvent:
    return event(
        EventType.PAYMENT_FAILED,
        number,
        period_start=None,
        period_end=None,
        amount=Decimal("10.99"),
        currency="USD",
        reason="billing_error",
    )


def bare(events: list[ProviderEvent]) -> tuple[ProviderEvent, ...]:
    return tuple(replace(each, raw={}) for each in events)


def _golden() -> list[Golden]:
    e, t = event, EventType
    upgraded = transaction(productId="ultra.monthly", price=19990)
    ultra: dict[str, Any] = {"provider_plan_ref": "ultra.monthly"}
    full = transaction(revocationDate=ms(REVOKED), revocationReason=0, revocationType="REFUND_FULL")
    prorated = {**full, "revocationType": "REFUND_PRORATED", "revocationPercentage": 33333}
    revoked = e(t.SUBSCRIPTION_REVOKED, 1, period_end=REVOKED, reason="refund")
    one_time = transaction(expiresDate=..., type="Consumable", productId="coins.100", transactionReason="PURCHASE")
    coins = money(0, provider_sub_id=None, provider_plan_ref="coins.100", period_start=None, period_end=None)
    grace = renewal(gracePeriodExpiresDate=ms(GRACE_END), isInBillingRetryPeriod=True)
    down = renewal(autoRenewProductId="basic.monthly")
    rows: list[tuple[str, str | None, dict[str, Any], list[ProviderEvent]]] = [
        (
            "SUBSCRIBED",
            "INITIAL_BUY",
            {},
            [e(t.SUBSCRIPTION_CREATED, 0), e(t.SUBSCRIPTION_ACTIVATED, 1), money(2)],
        ),
        ("SUBSCRIBED", "RESUBSCRIBE", {}, [e(t.SUBSCRIPTION_ACTIVATED), money(1)]),
        ("DID_RENEW", None, {}, [e(t.SUBSCRIPTION_RENEWED), money(1)]),
        (
            "DID_RENEW",
            "BILLING_RECOVERY",
            {},
            [e(t.SUBSCRIPTION_RENEWED), money(1), e(t.SUBSCRIPTION_RESUMED, 2)],
        ),
        (
            "DID_FAIL_TO_RENEW",
            "GRACE_PERIOD",
            {"renewal": grace, "status": 4},
            [failed(), e(t.SUBSCRIPTION_GRACE, 1, period_end=GRACE_END)],
        ),
        ("DID_FAIL_TO_RENEW", None, {"status": 3}, [failed(), e(t.SUBSCRIPTION_ON_HOLD, 1)]),
        ("GRACE_PERIOD_EXPIRED", None, {"status": 3}, [e(t.SUBSCRIPTION_ON_HOLD)]),
        *(
            ("EXPIRED", word, {"status": 2}, [e(t.SUBSCRIPTION_EXPIRED, reason=word.lower())])
            for word in ("VOLUNTARY", "BILLING_RETRY", "PRICE_INCREASE", "PRODUCT_NOT_FOR_SALE")
        ),
        (
            "EXPIRED",
            None,
            {"status": 2, "renewal": renewal(expirationIntent=4)},
            [e(t.SUBSCRIPTION_EXPIRED, reason="product_not_for_sale")],
        ),
        ("DID_CHANGE_RENEWAL_STATUS", "AUTO_RENEW_DISABLED", {}, [e(t.SUBSCRIPTION_CANCELED)]),
        ("DID_CHANGE_RENEWAL_STATUS", "AUTO_RENEW_ENABLED", {}, [e(t.SUBSCRIPTION_RESUMED)]),
        (
            "DID_CHANGE_RENEWAL_PREF",
            "UPGRADE",
            {"transaction": upgraded},
            [
                e(t.SUBSCRIPTION_PLAN_CHANGED, reason="upgrade", **ultra),
                money(1, amount=Decimal("19.99"), **ultra),
            ],
        ),
        (
            "DID_CHANGE_RENEWAL_PREF",
            "DOWNGRADE",
            {"renewal": down},
            [e(t.SUBSCRIPTION_PLAN_CHANGED, reason="downgrade", provider_plan_ref="basic.monthly")],
        ),
        ("DID_CHANGE_RENEWAL_PREF", None, {}, [e(t.SUBSCRIPTION_PLAN_CHANGED, reason="withdrawn")]),
        (
            "OFFER_REDEEMED",
            "UPGRADE",
            {"transaction": upgraded},
            [
                e(t.SUBSCRIPTION_PLAN_CHANGED, reason="upgrade", **ultra),
                money(1, amount=Decimal("19.99"), **ultra),
            ],
        ),
        (
            "OFFER_REDEEMED",
            "DOWNGRADE",
            {"renewal": down},
            [e(t.SUBSCRIPTION_PLAN_CHANGED, reason="downgrade", provider_plan_ref="basic.monthly")],
        ),
        ("OFFER_REDEEMED", None, {}, []),
        ("REFUND", None, {"transaction": full, "status": 5}, [refund(0), revoked]),
        (
            "REFUND",
            "prorated",
            {"transaction": prorated, "status": 5},
            [refund(0, amount=Decimal("3.66"), reason="refund_prorated"), revoked],
        ),
        (
            "REFUND_REVERSED",
            None,
            {},
            [
                refund(0, t.PAYMENT_REFUND_REVERSED, occurred_at=SIGNED, reason="refund"),
                e(t.SUBSCRIPTION_ACTIVATED, 1),
            ],
        ),
        ("REFUND_DECLINED", None, {}, []),
        ("CONSUMPTION_REQUEST", None, {}, []),
        (
            "REVOKE",
            None,
            {
                "transaction": transaction(
                    revocationDate=ms(REVOKED), revocationType="FAMILY_REVOKE", inAppOwnershipType="FAMILY_SHARED"
                ),
                "status": 5,
            },
            [e(t.SUBSCRIPTION_REVOKED, period_end=REVOKED, reason="family_sharing_ended")],
        ),
        ("RENEWAL_EXTENDED", None, {}, [e(t.SUBSCRIPTION_EXTENDED)]),
        ("PRICE_INCREASE", "PENDING", {}, []),
        ("PRICE_INCREASE", "ACCEPTED", {}, []),
        ("PRICE_CHANGE", None, {}, []),
        ("METADATA_UPDATE", None, {}, []),
        ("MIGRATION", None, {}, []),
        ("ONE_TIME_CHARGE", None, {"transaction": one_time, "renewal": None}, [coins]),
        ("BRAND_NEW", "NEVER_SEEN", {}, []),
    ]
    made = []
    for kind, subtype, fields, expected in rows:
        word = None if subtype == "prorated" else subtype
        made.append(Golden(f"{kind}.{subtype}", subscription_news(kind, word, **fields), tuple(expected)))
    return [*made, *_without_transaction()]


def _without_transaction() -> list[Golden]:
    ping = ProviderEvent(provider="apple", event_id=f"apple:{UUID}#0", type=EventType.TEST_PING, occurred_at=SIGNED)
    app = {"appAppleId": APP_ID, "bundleId": BUNDLE_ID}
    summary = {**app, "environment": "Production", "productId": "premium.monthly", "succeededCount": 5}
    token = {**app, "externalPurchaseId": "b2158121-7af9-49d4-9561-1f588205523e"}
    consent = {**app, "environment": "Production", "signedAppTransactionInfo": "x.y.z"}
    return [
        Golden("TEST", notification("TEST", status=None), (ping,)),
        Golden(
            "RENEWAL_EXTENSION.SUMMARY",
            _only("RENEWAL_EXTENSION", subtype="SUMMARY", summary=summary),
            (),
        ),
        Golden("RENEWAL_EXTENSION.FAILURE", subscription_news("RENEWAL_EXTENSION", "FAILURE"), ()),
        Golden("EXTERNAL_PURCHASE_TOKEN", _only("EXTERNAL_PURCHASE_TOKEN", externalPurchaseToken=token), ()),
        Golden("RESCIND_CONSENT", _only("RESCIND_CONSENT", appData=consent), ()),
    ]


def _only(kind: str, **parts: Any) -> bytes:
    """A notification without a `data` object."""
    fields = {"notificationType": kind, "notificationUUID": UUID, "version": "2.0", "signedDate": ms(SIGNED)}
    return json.dumps({"signedPayload": CHAIN.sign({**fields, **parts})}).encode()


GOLDEN = _golden()
