"""Tollgate's fixture pack."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from payflow_tollgate.adapter import HEADER, STATES
from payflow_tollgate.emulator import Tollgate, proof
from providers.base import EventType, ProviderEvent, SubRequest
from tests.providers.conformance.pack import Delivery, Golden, Order, Pack, Peer, Priced, Purchase, Secret, Step, Vector
from tests.providers.conformance.stage import Stage

API_KEY = "tollgate-api-key-of-the-suite"
SECRETS = {
    Secret.CURRENT: "tollgate-secret-of-the-suite",
    Secret.PREVIOUS: "tollgate-secret-of-before",
    Secret.FOREIGN: "tollgate-secret-of-another-shop",
    Secret.EMPTY: "",
}
AT, UNTIL = datetime(2026, 3, 1, 12, tzinfo=UTC), datetime(2026, 4, 1, 12, tzinfo=UTC)
ORDER = {"id": "order_1", "reference": "ref-1", "user": "user-1", "plan": "pro", "paid_until": UNTIL.isoformat()}
PAYMENT = {"id": "pay_1", "amount": "9.90", "currency": "USD"}


def _content(type_: str, *, number: int = 1, at: datetime = AT, order: Any = ORDER, **more: Any) -> bytes:
    return json.dumps({"id": f"news_{number}", "type": type_, "at": at.isoformat(), "order": order, **more}).encode()


def _event(type_: EventType, **changes: Any) -> ProviderEvent:
    values: dict[str, Any] = {
        "provider": "tollgate",
        "event_id": "news_1#0",
        "occurred_at": AT,
        "provider_sub_id": "order_1",
        "order_ref": "ref-1",
        "user_ref": "user-1",
        "plan_ref": "pro",
    }
    if type_.startswith("payment."):
        values |= {"provider_payment_id": "pay_1", "amount": Decimal("9.90"), "currency": "USD"}
    else:
        values |= {"period_end": UNTIL}
    return ProviderEvent(type=type_, **{**values, **changes})


class TollgatePeer(Peer):
    def __init__(self, tollgate: Tollgate) -> None:
        self.tollgate = tollgate
        self.api = tollgate.url

    def at(self, moment: datetime) -> None:
        self.tollgate.now = moment

    def buy(self, order: Order, step: Step = Step.PAID) -> Purchase:
        order_id = (order.checkout_url or "").rpartition("/")[2]
        if step is Step.DECLINED:
            self.tollgate.fail(order_id)
        else:
            self.tollgate.pay(order_id)
        return Purchase(order, sub_id=order_id, payment_id=list(self.tollgate.orders[order_id]["payments"])[-1])

    def play(self, step: Step, purchase: Purchase, stage: Stage) -> None:
        match step:
            case Step.RENEWED | Step.RECOVERED:
                self.tollgate.pay(purchase.sub_id)
            case Step.RENEWAL_FAILED:
                self.tollgate.fail(purchase.sub_id)
            case Step.CANCELED | Step.EXPIRED:
                self.tollgate.end(purchase.sub_id, "over" if step is Step.EXPIRED else "ending")
            case Step.REFUNDED:
                self.tollgate.refund(purchase.payment_id)
            case _:
                super().play(step, purchase, stage)

    def made(self, order: Order) -> int:
        return sum(one["reference"] == order.order_ref for one in self.tollgate.orders.values())

    def refunded(self, purchase: Purchase) -> Decimal:
        return self.tollgate.refunded(purchase.payment_id)

    def call_it(self, purchase: Purchase, word: str) -> None:
        self.tollgate.orders[purchase.sub_id]["state"] = word


class TollgatePack(Pack):
    name = "tollgate"
    proof_headers = (HEADER,)
    secrets = (API_KEY, *filter(None, SECRETS.values()))
    states = STATES
    steps = frozenset(
        {
            Step.PAID,
            Step.DECLINED,
            Step.RENEWED,
            Step.RENEWAL_FAILED,
            Step.RECOVERED,
            Step.CANCELED,
            Step.EXPIRED,
            Step.REFUNDED,
        }
    )

    def config(self, api: str, **changes: Any) -> dict[str, Any]:
        config = {
            "adapter": "tollgate",
            "base_url": api,
            "api_key": API_KEY,
            "webhook_secret": SECRETS[Secret.CURRENT],
            "previous_webhook_secret": SECRETS[Secret.PREVIOUS],
            "answer_seconds": 5,
        }
        return {**config, **changes}

    @contextmanager
    def peer(self, *, shop_url: str, hook_url: str) -> Iterator[TollgatePeer]:
        with Tollgate(api_key=API_KEY, secret=SECRETS[Secret.CURRENT]) as tollgate:
            yield TollgatePeer(tollgate)

    def signed(self, content: bytes, *, at: datetime, secret: Secret = Secret.CURRENT) -> Delivery:
        return Delivery({HEADER: proof(SECRETS[secret], content)}, content)

    def vectors(self) -> Sequence[Vector]:
        paid = _event(EventType.PAYMENT_SUCCEEDED)
        bare = {"id": "order_1", "reference": "ref-1"}
        back = _event(EventType.PAYMENT_REFUNDED, provider_payment_id="back_1", parent_payment_id="pay_1")
        failed = _event(EventType.PAYMENT_FAILED, reason="card_declined")
        return [
            Vector("paid", _content("paid", payment=PAYMENT), (paid,)),
            Vector("failed", _content("failed", payment=PAYMENT, reason="card_declined"), (failed,)),
            Vector("refunded", _content("refunded", payment={**PAYMENT, "refund": "back_1"}), (back,)),
            Vector("ending", _content("ending"), (_event(EventType.SUBSCRIPTION_CANCELED),)),
            Vector("over", _content("over"), (_event(EventType.SUBSCRIPTION_EXPIRED),)),
            Vector("more", _content("paid", payment={**PAYMENT, "card": {"tip": 0.5}}, x=[1.5]), (paid,), "extra"),
            Vector(
                "bare",
                _content("paid", payment=PAYMENT, order=bare),
                (_event(EventType.PAYMENT_SUCCEEDED, user_ref=None, plan_ref=None),),
                "sparse",
            ),
        ]

    def payment(self, amount: Decimal, currency: str, *, number: int = 1, at: datetime | None = None) -> Priced:
        payment = {"id": f"pay_{number}", "amount": str(amount), "currency": currency}
        return Priced(_content("paid", number=number, at=at or AT, payment=payment))

    def malformed(self) -> Sequence[bytes]:
        broken = [b"", b"{", b"[]", b"null", b"\xff{}", b'{"id": "news_1"}']
        return [*broken, _content("paid"), _content("paid", payment={**PAYMENT, "amount": "9,90"})]

    def unknown(self) -> Sequence[bytes]:
        return [_content("imagined")]

    def stranger(self, *, user_ref: str, email: str) -> bytes:
        order = {"id": "order_of_nobody", "reference": "of-nobody", "user": user_ref, "email": email}
        number = 900 + len(user_ref)
        return _content("paid", number=number, order=order, payment={**PAYMENT, "id": f"pay_{number}"})

    def goldens(self) -> Sequence[Golden]:
        request = SubRequest(
            user_ref="user-1",
            plan_ref="pro",
            provider_plan_ref=None,
            order_ref="ref-1",
            amount=Decimal("9.90"),
            currency="USD",
            interval=(1, "monthly"),
            trial_days=0,
            email="ann@example.com",
            success_url="https://shop.example/paid",
            fail_url="https://shop.example/failed",
            cancel_url="https://shop.example/left",
            hook_url="https://pay.example/webhooks/tollgate",
            idempotency_key="checkout-1",
        )
        body = (
            b'{"reference":"ref-1","amount":9.90,"currency":"USD","every":1,"cycle":"monthly","user":"user-1",'
            b'"plan":"pro","hook":"https://pay.example/webhooks/tollgate","back":"https://shop.example/paid"}'
        )
        return [
            Golden(
                "order",
                lambda provider: provider.create_subscription(request),
                "POST",
                "/orders",
                body,
                {"idempotency-key": "checkout-1"},
            )
        ]


PACK = TollgatePack()
