"""The sandbox that we ship: a foreign system on the live server, with stored methods, trials, refunds."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any, ClassVar

from payflow.core import clock
from providers.base import EventType, LinkRequest, ProviderEvent, StoredMethod, SubRequest
from providers.sandbox.deliveries import deliveries_send
from providers.sandbox.models import SandboxCheckout, SandboxMethod, SandboxPayment
from providers.sandbox.signature import HEADER, TOLERANCE, sign
from tests.providers.conformance.pack import (
    Card,
    Delivery,
    Golden,
    Order,
    Pack,
    Peer,
    Priced,
    Purchase,
    Secret,
    Step,
    Vector,
)
from tests.providers.conformance.stage import Stage
from tests.providers.sandbox_support import press

API_KEY = "sandbox-api-key-of-the-suite"
SECRETS = {
    Secret.CURRENT: "sandbox-secret-of-the-suite",
    Secret.PREVIOUS: "sandbox-secret-of-before",
    Secret.FOREIGN: "sandbox-secret-of-another-shop",
    Secret.EMPTY: "",
}
AT = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
CARDS = {Card.OK: "ok", Card.DECLINES: "decline", Card.NEEDS_ACTION: "action"}
PAYMENT = {
    "payment_id": "pay_1",
    "order_ref": "order-1",
    "idempotency_key": "checkout-1",
    "amount": "9.90",
    "currency": "USD",
    "user_ref": "user-1",
    "plan_ref": "pro",
    "method": {"ref": "pm_1", "customer": "cus_1", "brand": "visa", "last4": "4242"},
}
REVERSAL = {**PAYMENT, "idempotency_key": "back-1", "amount": "4.00", "reason": "sorry"}
REQUEST: dict[str, Any] = {
    "user_ref": "user-1",
    "plan_ref": "pro",
    "order_ref": "order-1",
    "amount": Decimal("9.90"),
    "currency": "USD",
    "email": "ann@example.com",
    "success_url": "https://shop.example/paid",
    "fail_url": "https://shop.example/failed",
    "cancel_url": "https://shop.example/left",
    "hook_url": "https://pay.example/webhooks/sandbox",
}


def content_of(type_: str, data: Mapping[str, Any], *, event_id: str = "evt_1", at: datetime = AT) -> bytes:
    return json.dumps({"id": event_id, "type": type_, "created_at": at.isoformat(), "data": data}).encode()


def event_of(type_: EventType, **changes: Any) -> ProviderEvent:
    values: dict[str, Any] = {
        "provider": "sandbox",
        "event_id": "evt_1#0",
        "occurred_at": AT,
        "provider_payment_id": "pay_1",
        "order_ref": "order-1",
        "idempotency_key": "checkout-1",
        "user_ref": "user-1",
        "plan_ref": "pro",
        "amount": Decimal("9.90"),
        "currency": "USD",
        "method": StoredMethod("pm_1", "cus_1", "card", "visa", "4242"),
    }
    return ProviderEvent(type=type_, **{**values, **changes})


def reversal(type_: str, id_field: str, more: Mapping[str, Any] = {}, **changes: Any) -> Vector:
    """`more` is beside the payment's fields in its content, `changes` are what it comes to."""
    event = event_of(
        EventType(type_),
        **{
            "provider_payment_id": "back_1",
            "parent_payment_id": "pay_1",
            "idempotency_key": "back-1",
            "amount": Decimal("4.00"),
            "reason": "sorry",
            **changes,
        },
    )
    return Vector(type_, content_of(type_, {**REVERSAL, **more, id_field: "back_1"}), (event,))


class SandboxPeer(Peer):
    """The live server's own app. It is asked by its pages and its API's rows; its clock is real."""

    def __init__(self, shop_url: str) -> None:
        self.api = f"{shop_url}/sandbox"

    def buy(self, order: Order, step: Step = Step.PAID) -> Purchase:
        declines = step is Step.DECLINED
        pressed = press(order.checkout_url or "", outcome="decline" if declines else "pay", card="ok")
        assert pressed.status == (200 if declines else 303), pressed.body
        payment = SandboxPayment.objects.filter(checkout__order_ref=order.order_ref, status="succeeded").first()
        method = SandboxMethod.objects.order_by("pk").last()
        return Purchase(
            order,
            payment_id=payment.ref if payment else "",
            method_ref=method.ref if method else "",
            customer_ref=method.customer_ref if method else "",
        )

    def play(self, step: Step, purchase: Purchase, stage: Stage) -> None:
        match step:
            case Step.RENEWED | Step.RECOVERED | Step.RENEWAL_FAILED:
                self.set_card(purchase, Card.DECLINES if step is Step.RENEWAL_FAILED else Card.OK)
                stage.bill()
            case Step.REFUNDED | Step.REFUNDED_IN_PART:
                stage.provider.refund(
                    provider_txn_id=purchase.payment_id,
                    amount=Decimal("4.00") if step is Step.REFUNDED_IN_PART else None,
                    currency=purchase.order.currency,
                    reason="asked for",
                    idempotency_key=f"{step}:{purchase.payment_id}",
                )
            case _:
                super().play(step, purchase, stage)

    def flush(self) -> None:
        # A charge that needed time is told later: nothing is later than this.
        while deliveries_send(wall=clock.wall() + timedelta(minutes=1)):
            pass

    def made(self, order: Order) -> int:
        return SandboxCheckout.objects.filter(order_ref=order.order_ref).count()

    def refunded(self, purchase: Purchase) -> Decimal:
        return self._payment(purchase).refunded

    def set_card(self, purchase: Purchase, card: Card) -> None:
        SandboxMethod.objects.filter(pk=SandboxMethod.key_of(purchase.method_ref)).update(behaviour=CARDS[card])

    def charged(self, purchase: Purchase) -> int:
        method = SandboxMethod.objects.get(pk=SandboxMethod.key_of(purchase.method_ref))
        return SandboxPayment.objects.filter(method=method, status="succeeded").count()

    def _payment(self, purchase: Purchase) -> SandboxPayment:
        return SandboxPayment.objects.get(pk=SandboxPayment.key_of(purchase.payment_id))


class SandboxPack(Pack):
    name = "sandbox"
    mode = "payments"
    #: What a delivery of a payment says.
    paid: ClassVar[Mapping[str, Any]] = PAYMENT
    proof_headers = (HEADER.lower(),)
    tolerance = TOLERANCE
    secrets = (API_KEY, *filter(None, SECRETS.values()))
    steps = frozenset(
        {
            Step.PAID,
            Step.DECLINED,
            Step.TRIAL_STARTED,
            Step.RENEWED,
            Step.RENEWAL_FAILED,
            Step.RECOVERED,
            Step.REFUNDED,
            Step.REFUNDED_IN_PART,
        }
    )

    def config(self, api: str, **changes: Any) -> dict[str, Any]:
        config = {
            "adapter": "sandbox",
            "mode": self.mode,
            "base_url": api,
            "api_key": API_KEY,
            "webhook_secret": SECRETS[Secret.CURRENT],
            "previous_webhook_secret": SECRETS[Secret.PREVIOUS],
            "answer_seconds": 5,
            "allow_outside_debug": True,
        }
        return {**config, **changes}

    @contextmanager
    def peer(self, *, shop_url: str, hook_url: str) -> Iterator[SandboxPeer]:
        yield SandboxPeer(shop_url)

    def signed(self, content: bytes, *, at: datetime, secret: Secret = Secret.CURRENT) -> Delivery:
        return Delivery(
            {HEADER.lower(): sign(SECRETS[secret], content, at), "content-type": "application/json"}, content
        )

    def vectors(self) -> Sequence[Vector]:
        failed = {**PAYMENT, "method": None, "code": "stolen_card", "recoverable": False}
        trial = {name: value for name, value in PAYMENT.items() if name not in ("payment_id", "amount", "currency")}
        succeeded = event_of(EventType.PAYMENT_SUCCEEDED)
        sparse = {"payment_id": "pay_1", "amount": "9.90", "currency": "USD"}
        nothing = dict.fromkeys(("order_ref", "idempotency_key", "user_ref", "plan_ref", "method"))
        return [
            Vector("payment.succeeded", content_of("payment.succeeded", PAYMENT), (succeeded,)),
            Vector(
                "payment.failed",
                content_of("payment.failed", failed),
                (event_of(EventType.PAYMENT_FAILED, method=None, reason="stolen_card", recoverable=False),),
            ),
            reversal("payment.refunded", "refund_id"),
            reversal("payment.disputed", "dispute_id"),
            reversal("payment.dispute_lost", "dispute_id"),
            reversal("payment.dispute_won", "dispute_id"),
            Vector(
                "checkout.completed",
                content_of("checkout.completed", {**trial, "trial_days": 14}),
                (event_of(EventType.SUBSCRIPTION_ACTIVATED, provider_payment_id=None, amount=None, currency=None),),
            ),
            Vector(
                "more fields",
                content_of("payment.succeeded", {**PAYMENT, "unknown": [1, {"a": 1.5}]}),
                (succeeded,),
                "extra",
            ),
            Vector(
                "what must be there",
                content_of("payment.succeeded", sparse),
                (event_of(EventType.PAYMENT_SUCCEEDED, **nothing),),
                "sparse",
            ),
        ]

    def payment(self, amount: Decimal, currency: str, *, number: int = 1, at: datetime | None = None) -> Priced:
        data = {**self.paid, "payment_id": f"pay_{number}", "amount": str(amount), "currency": currency}
        return Priced(content_of("payment.succeeded", data, event_id=f"evt_{number}", at=at or AT))

    def malformed(self) -> Sequence[bytes]:
        broken = [b"", b'{"id":', b"[]", b"null", b"\xff\xfe{}", b"[" * 5000, b'{"id": "evt_1"}']
        fields = [{"payment_id": None}, {"amount": "9,90"}, {"amount": -1}, {"currency": "XXX"}, {"method": "pm_1"}]
        return [*broken, *(content_of("payment.succeeded", {**self.paid, **changes}) for changes in fields)]

    def unknown(self) -> Sequence[bytes]:
        return [content_of("payment.imagined", self.paid)]

    def stranger(self, *, user_ref: str, email: str) -> bytes:
        name = user_ref or "nobody"
        data = {**self.paid, "payment_id": f"pay_of_{name}", "order_ref": "of_nobody", "idempotency_key": ""}
        data |= {"user_ref": user_ref, "email": email, "method": None}
        return content_of("payment.succeeded", data, event_id=f"evt_of_{name}")

    def goldens(self) -> Sequence[Golden]:
        common = {"content-type": "application/json", "authorization": f"Bearer {API_KEY}"}
        subscription = SubRequest(
            **REQUEST, idempotency_key="checkout-1", provider_plan_ref=None, interval=(1, "monthly"), trial_days=0
        )
        link = LinkRequest(**REQUEST, idempotency_key="link-1")
        return [
            Golden(
                "subscription",
                lambda provider: provider.create_subscription(subscription),
                "POST",
                "/api/checkouts",
                checkout_body(kind="subscription", billed="per month"),
                {**common, "idempotency-key": "checkout-1"},
            ),
            Golden(
                "link",
                lambda provider: provider.create_payment_link(link),
                "POST",
                "/api/checkouts",
                checkout_body(kind="link", billed=""),
                {**common, "idempotency-key": "link-1"},
            ),
        ]


def checkout_body(*, kind: str, billed: str, product: str = "") -> bytes:
    return (
        f'{{"order_ref":"order-1","kind":"{kind}",{product}"amount":9.90,"currency":"USD","user_ref":"user-1","plan_ref":"pro",'
        f'"description":"","billed":"{billed}","email":"ann@example.com","trial_days":0,'
        '"success_url":"https://shop.example/paid","cancel_url":"https://shop.example/left",'
        '"fail_url":"https://shop.example/failed","hook_url":"https://pay.example/webhooks/sandbox"}'
    ).encode()


PACK = SandboxPack()
