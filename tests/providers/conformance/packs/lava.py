"""Lava, document flavour: its own renewals, one signed webhook, no API but the create call."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from payflow.core import clock
from providers.base import EventType, LinkRequest, ProviderEvent, SubRequest
from tests.emulators.lava import LavaEmulator, Number, signature, webhook_body
from tests.providers.conformance.pack import Delivery, Golden, Order, Pack, Peer, Priced, Purchase, Secret, Step, Vector
from tests.providers.conformance.stage import Stage

API_KEY = "lava-api-key-of-the-suite"
SECRETS = {
    Secret.CURRENT: "lava-secret-of-the-suite",
    Secret.PREVIOUS: "lava-secret-of-before",
    Secret.FOREIGN: "lava-secret-of-another-shop",
    Secret.EMPTY: "",
}
HEADER = "x-lava-signature"
PAID_AT = datetime(2024, 10, 23, 12, 0, tzinfo=UTC)
#: "Webhook from Lava" of the architecture document, its custom fields filled in.
DOCUMENT = {
    "invoice_id": "inv_1",
    "order_id": "sub_xxx",
    "status": "success",
    "pay_time": "2024-10-23T12:00:00Z",
    "amount": 6.99,
    "custom_fields": {"user_id": "user_123", "plan_id": "premium"},
}
#: "Create Payment" of the architecture document, byte for byte but for its white space.
CREATE = (
    b'{"sum":6.99,"order_id":"sub_xxx","hook_url":"https://audiolearn.com/webhooks/lava",'
    b'"success_url":"https://audiolearn.com/success","fail_url":"https://audiolearn.com/cancel","expire":300,'
    b'"custom_fields":{"user_id":"user_123","plan_id":"premium"}}'
)
REQUEST: dict[str, Any] = {
    "user_ref": "user_123",
    "plan_ref": "premium",
    "order_ref": "xxx",
    "amount": Decimal("6.99"),
    "currency": "USD",
    "email": "anna@example.com",
    "success_url": "https://audiolearn.com/success",
    "fail_url": "https://audiolearn.com/cancel",
    "cancel_url": "https://audiolearn.com/never-used",
    "hook_url": "https://audiolearn.com/webhooks/lava",
    "idempotency_key": "checkout:1",
}


def _event(status: str = "success", **changes: Any) -> ProviderEvent:
    """What the document's webhook says."""
    values: dict[str, Any] = {
        "provider": "lava",
        "event_id": f"lava:inv_1:{status}#0",
        "type": EventType.PAYMENT_SUCCEEDED if status == "success" else EventType.PAYMENT_FAILED,
        "occurred_at": PAID_AT,
        "provider_payment_id": "inv_1",
        "order_ref": "xxx",
        "user_ref": "user_123",
        "plan_ref": "premium",
        "amount": Decimal("6.99"),
        "currency": "USD",
        "reason": None if status == "success" else status,
    }
    return ProviderEvent(**{**values, **changes})


def _content(**changes: Any) -> bytes:
    """The document's webhook with other fields; `...` takes one away."""
    return json.dumps({name: value for name, value in {**DOCUMENT, **changes}.items() if value is not ...}).encode()


class LavaPeer(Peer):
    """The emulator. A renewal is Lava's own; that it tries again after a failure is a renewal too."""

    def __init__(self, emulator: LavaEmulator) -> None:
        self.emulator = emulator
        self.api = emulator.base_url

    def at(self, moment: datetime) -> None:
        self.emulator.set_clock(moment - clock.wall())

    def buy(self, order: Order, step: Step = Step.PAID) -> Purchase:
        invoice_id = (order.checkout_url or "").rpartition("/")[2]
        if step is Step.DECLINED:
            self.emulator.decline(invoice_id)
        else:
            self.emulator.pay(invoice_id)
        return Purchase(order, payment_id=invoice_id)

    def play(self, step: Step, purchase: Purchase, stage: Stage) -> None:
        outcome = "failed" if step is Step.RENEWAL_FAILED else "success"
        self.emulator.renew(f"sub_{purchase.order.order_ref}", outcome=outcome)

    def made(self, order: Order) -> int:
        return sum(one.order_id == f"sub_{order.order_ref}" for one in self.emulator.invoices.values())


class LavaPack(Pack):
    name = "lava"
    proof_headers = (HEADER,)
    secrets = (API_KEY, *filter(None, SECRETS.values()))
    steps = frozenset({Step.PAID, Step.DECLINED, Step.RENEWED, Step.RENEWAL_FAILED, Step.RECOVERED})
    creates_again = "the document has no keys and no look-up: two invoices of one order id"

    def config(self, api: str, **changes: Any) -> dict[str, Any]:
        config = {
            "adapter": "lava",
            "base_url": api,
            "api_key": API_KEY,
            "secret_key": SECRETS[Secret.CURRENT],
            "previous_secret_key": SECRETS[Secret.PREVIOUS],
            "currency": "USD",
            "answer_seconds": 5,
        }
        return {**config, **changes}

    @contextmanager
    def peer(self, *, shop_url: str, hook_url: str) -> Iterator[LavaPeer]:
        with LavaEmulator(api_key=API_KEY, secret_key=SECRETS[Secret.CURRENT], retry_pauses=()) as emulator:
            yield LavaPeer(emulator)

    def signed(self, content: bytes, *, at: datetime, secret: Secret = Secret.CURRENT) -> Delivery:
        return Delivery({HEADER: signature(SECRETS[secret], content), "content-type": "application/json"}, content)

    def vectors(self) -> Sequence[Vector]:
        failed = [
            Vector(status, _content(status=status), (_event(status),))
            for status in ("failed", "fail", "error", "cancel", "expired")
        ]
        completed = _event(event_id="lava:inv_1:completed#0")
        return [
            Vector("the document's", json.dumps(DOCUMENT).encode(), (_event(),)),
            Vector("completed", _content(status="completed"), (completed,)),
            *failed,
            Vector("more fields", _content(credited=6.5, payer={"card": [1, 2]}, type=None), (_event(),), "extra"),
            Vector(
                "no custom fields",
                _content(custom_fields=..., amount="6.99"),
                (_event(user_ref=None, plan_ref=None),),
                "sparse",
            ),
        ]

    def payment(self, amount: Decimal, currency: str, *, number: int = 1, at: datetime | None = None) -> Priced:
        content = webhook_body(
            invoice_id=f"inv_{number}",
            order_id="sub_xxx",
            status="success",
            pay_time=f"{at or PAID_AT:%Y-%m-%dT%H:%M:%SZ}",
            amount=Number(amount),
            custom_fields=DOCUMENT["custom_fields"],
        )
        return Priced(content, {"currency": currency})

    def malformed(self) -> Sequence[bytes]:
        broken = [b"", b'{"invoice_id": ', b"[]", b"null", b"\xff\xfe{}", b'{"amount": NaN}', b"[" * 5000]
        fields = [
            {"invoice_id": ...},
            {"order_id": ""},
            {"status": None},
            {"invoice_id": "x" * 200},
        ]
        return [*broken, *(_content(**changes) for changes in fields)]

    def unknown(self) -> Sequence[bytes]:
        return [_content(status="pending"), _content(status="refunded")]

    def stranger(self, *, user_ref: str, email: str) -> bytes:
        custom: Mapping[str, str] = {"user_id": user_ref, "plan_id": "premium", "email": email}
        return _content(invoice_id=f"inv_of_{user_ref or 'nobody'}", order_id="sub_of_nobody", custom_fields=custom)

    def goldens(self) -> Sequence[Golden]:
        headers = {"content-type": "application/json", "authorization": f"Bearer {API_KEY}"}
        subscription = SubRequest(**REQUEST, provider_plan_ref=None, interval=(1, "monthly"), trial_days=0)
        return [
            Golden(
                "subscription",
                lambda provider: provider.create_subscription(subscription),
                "POST",
                "/invoice/create",
                CREATE,
                headers,
            ),
            Golden(
                "link",
                lambda provider: provider.create_payment_link(LinkRequest(**REQUEST)),
                "POST",
                "/invoice/create",
                CREATE,
                headers,
            ),
        ]


PACK = LavaPack()
