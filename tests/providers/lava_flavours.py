"""What the tests of lava_ru and lava_top share: configured providers, emulators, deliveries and what they come to."""

from __future__ import annotations

import json
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from providers.base import EventType, SubRequest
from providers.lava.ru.adapter import LavaRuProvider
from providers.lava.top.adapter import LavaTopProvider
from tests.emulators.lava import LavaRuEmulator, LavaTopEmulator
from tests.providers.lava_support import API_KEY, sign, sub_request

# --- lava_ru: a configured provider, the emulator, deliveries ----------------------------------------------------------

SHOP_ID = "00000000-0000-4000-8000-000000000001"
SHOP_KEY = "secret-shop-2f9a17"
ADDITIONAL_KEY = "additional-77c0de"
OLD_ADDITIONAL_KEY = "additional-old-19fe"
PRODUCT = "11111111-1111-4111-8111-111111111111"
RU_ORDER = "0192f0c1"
RU_SUBSCRIPTION = "22222222-2222-4222-8222-222222222222"

RU_PAYMENT = {
    "invoice_id": "18cf0c0b-6539-4d7c-b3e9-479e4922b87c",
    "status": "success",
    "pay_time": "2026-11-08 11:26:46",
    "amount": "990.00",
    "order_id": RU_ORDER,
    "pay_service": "card",
    "payer_details": "553691******8079",
    "custom_fields": '{"user_id":"user_123","plan_id":"про/1"}',
    "type": 1,
    "credited": "960.30",
}
#: CONSTRUCTED: Lava publishes no body of this type.
RU_STATE = {
    "type": 4,
    "subscription_id": RU_SUBSCRIPTION,
    "order_id": RU_ORDER,
    "status": "activated",
    "next_pay_time": "2026-12-08 11:26:46",
}
#: What a delivery of these fields comes to.
RU_CASES: list[tuple[dict[str, Any], list[EventType]]] = [
    (RU_PAYMENT, [EventType.PAYMENT_SUCCEEDED]),
    *[({**RU_PAYMENT, "status": word}, [EventType.PAYMENT_FAILED]) for word in ("error", "expired", "cancel")],
    ({**RU_PAYMENT, "status": "created"}, []),
    ({**RU_PAYMENT, "type": 2}, []),
    (RU_STATE, [EventType.SUBSCRIPTION_ACTIVATED]),
    ({**RU_STATE, "type": "4"}, [EventType.SUBSCRIPTION_ACTIVATED]),
    ({**RU_STATE, "status": "deactivated"}, [EventType.SUBSCRIPTION_CANCELED]),
    ({**RU_STATE, "status": "suspended"}, [EventType.SUBSCRIPTION_ON_HOLD]),
    ({**RU_STATE, "status": "created"}, [EventType.SUBSCRIPTION_CREATED]),
    ({**RU_STATE, "status": "bewitched"}, []),
]


def php_json(body: Mapping[str, Any]) -> bytes:
    """The form that Lava's SDK signs."""
    return json.dumps(dict(sorted(body.items())), separators=(",", ":")).replace("/", "\\/").encode()


def ru_signed(body: Mapping[str, Any], key: str = ADDITIONAL_KEY, *, raw: bool = False) -> tuple[dict[str, str], bytes]:
    """A delivery of lava_ru: its headers and its bytes. `raw`: signed as some shops are, over the bytes themselves."""
    content = json.dumps(body, ensure_ascii=False).encode()
    return {"authorization": sign(content if raw else php_json(body), key)}, content


def lava_ru(base_url: str = "https://api.lava.ru", **changes: Any) -> LavaRuProvider:
    config = {
        "base_url": base_url,
        "shop_id": SHOP_ID,
        "secret_key": SHOP_KEY,
        "additional_key": ADDITIONAL_KEY,
        "answer_seconds": 2,
    }
    return LavaRuProvider("lava", {**config, **changes})


def ru_emulator(hook_url: str = "", **options: Any) -> LavaRuEmulator:
    """Not started yet; it sells PRODUCT for 990 roubles."""
    keys = {"shop_id": SHOP_ID, "secret_key": SHOP_KEY, "additional_key": ADDITIONAL_KEY}
    emulator = LavaRuEmulator(**keys, hook_url=hook_url, **{"retry_pauses": (), **options})
    emulator.offer(PRODUCT, "990.00")
    return emulator


def rouble_request(**changes: Any) -> SubRequest:
    """A first purchase in roubles."""
    wish = {"order_ref": RU_ORDER, "amount": Decimal("990.00"), "currency": "RUB", "provider_plan_ref": PRODUCT}
    return sub_request(**{**wish, **changes})


# --- lava_top ------------------------------------------------------------------------------------------------------------

WEBHOOK_KEY = "webhook-key-5e1b"
OLD_WEBHOOK_KEY = "webhook-key-old-3c"
OFFER = "836b9fc5-7ae9-4a27-9642-592bc44072b7"
FIRST = "c5a0cacc-3453-44b0-9532-aa492f1ba191"
SECOND = "d41db415-ad71-4f2a-8d8c-27eefee91e66"
BUYER = "buyer-of-lava@example.com"

_TOP = {
    "product": {"id": "72d53efb-3696-469f-b856-f0d815748dd6", "title": "Тестовая подписка"},
    "buyer": {"email": BUYER},
    "amount": 990.5,
    "currency": "RUB",
    "timestamp": "2026-11-05T08:44:32.42176Z",
    "errorMessage": "",
}
_AGAIN = {**_TOP, "contractId": SECOND, "parentContractId": FIRST}
TOP_PAID = {**_TOP, "eventType": "payment.success", "contractId": FIRST, "status": "subscription-active"}
TOP_CANCELLED = {
    "eventType": "subscription.cancelled",
    "contractId": SECOND,
    "product": _TOP["product"],
    "buyer": {"email": BUYER},
    "cancelledAt": "2026-11-05T08:44:49.123932Z",
    "willExpireAt": "2026-12-05T08:44:49.123932Z",
}
#: CONSTRUCTED from third parties' adapters.
TOP_REFUND = {
    "event_id": "d41db415-0000-4f2a-8d8c-27eefee91e66",
    "event_type": "refund.success",
    "created_at": "2026-11-06T08:44:49Z",
    "data": {
        "refund_id": "rf-1",
        "refund_type": "full",
        "amount": 990,
        "currency": "RUB",
        "product": {"tier_id": OFFER},
        "customer_email": BUYER,
    },
}
_RECURRING = "subscription.recurring.payment"
#: What a delivery of these fields hints at.
TOP_CASES: list[tuple[dict[str, Any], list[EventType]]] = [
    ({**TOP_PAID, "status": "completed"}, [EventType.PAYMENT_SUCCEEDED]),
    (TOP_PAID, [EventType.PAYMENT_SUCCEEDED, EventType.SUBSCRIPTION_ACTIVATED]),
    ({**TOP_PAID, "eventType": "payment.failed", "status": "failed"}, [EventType.PAYMENT_FAILED]),
    ({**TOP_PAID, "eventType": "payment.failed", "status": "subscription-failed"}, [EventType.PAYMENT_FAILED]),
    (
        {**_AGAIN, "eventType": f"{_RECURRING}.success", "status": "subscription-active"},
        [EventType.PAYMENT_SUCCEEDED, EventType.SUBSCRIPTION_RENEWED],
    ),
    (
        {**_AGAIN, "eventType": f"{_RECURRING}.failed", "status": "subscription-failed"},
        [EventType.PAYMENT_FAILED, EventType.SUBSCRIPTION_GRACE],
    ),
    (TOP_CANCELLED, [EventType.SUBSCRIPTION_CANCELED]),
    (TOP_REFUND, [EventType.PAYMENT_REFUNDED]),
    ({**TOP_REFUND, "event_type": "chargeback.initiated"}, [EventType.PAYMENT_DISPUTED]),
    ({**TOP_REFUND, "event_type": "chargeback.won"}, []),
    ({**TOP_PAID, "eventType": "payment.pondered"}, []),
    ({**TOP_PAID, "status": "bewitched"}, []),
]


def top_sent(body: Mapping[str, Any], key: str = WEBHOOK_KEY) -> tuple[dict[str, str], bytes]:
    """A delivery of lava_top: its headers and its bytes."""
    return {"x-api-key": key}, json.dumps(body, ensure_ascii=False).encode()


def lava_top(base_url: str = "https://gate.lava.top", **changes: Any) -> LavaTopProvider:
    config = {"base_url": base_url, "api_key": API_KEY, "secret_key": WEBHOOK_KEY, "answer_seconds": 2}
    return LavaTopProvider("lava", {**config, **changes})


def top_emulator(hook_url: str = "", **options: Any) -> LavaTopEmulator:
    """Not started yet; it sells OFFER for 990 roubles or 10 dollars."""
    emulator = LavaTopEmulator(
        api_key=API_KEY, webhook_key=WEBHOOK_KEY, hook_url=hook_url, **{"retry_pauses": (), **options}
    )
    emulator.offer(OFFER, RUB="990", USD="10.00")
    return emulator


def offer_request(**changes: Any) -> SubRequest:
    """A first purchase of OFFER."""
    return rouble_request(**{"provider_plan_ref": OFFER, "email": BUYER, **changes})
