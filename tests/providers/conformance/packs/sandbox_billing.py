"""The sandbox that sells by itself: its products, its renewals, its state and its list of news."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from functools import cache
from typing import Any, ClassVar

from payflow.core import clock
from payflow.core.http import dump_json
from providers.base import EventType, ProviderEvent, SubRequest, SubStatus
from providers.sandbox import hosted, subscriptions
from providers.sandbox.accounts import fingerprint
from providers.sandbox.described import subscription_shown
from providers.sandbox.inputs import ReversalInput
from providers.sandbox.models import Behaviour, Cycle, SandboxCheckout, SandboxSubscription, SubscriptionStatus
from providers.sandbox.products import product_keep
from providers.sandbox.subscription_inputs import ProductInput
from tests.providers.conformance.pack import Card, Golden, Order, Purchase, Step, Vector
from tests.providers.conformance.packs.sandbox import (
    API_KEY,
    AT,
    CARDS,
    PAYMENT,
    REQUEST,
    SandboxPack,
    SandboxPeer,
    checkout_body,
    content_of,
    event_of,
    reversal,
)
from tests.providers.conformance.stage import PRICE, Stage
from tests.providers.conformance.wire import Answer, Wire

ACCOUNT = fingerprint(API_KEY)
PRODUCT, OTHER_PRODUCT = "product_of_the_suite", "product_of_another_plan"
#: Longer than a declined renewal has grace, shorter than it is on hold.
GRACE_IS_OVER = timedelta(days=7)
START, END = datetime(2026, 3, 1, 12, tzinfo=UTC), datetime(2026, 4, 1, 12, tzinfo=UTC)
GRACE_END = datetime(2026, 4, 8, 12, tzinfo=UTC)
PERIOD = {"period_start": START.isoformat(), "period_end": END.isoformat()}
SHOWN: dict[str, Any] = {
    "id": "sub_1",
    "status": "active",
    "auto_renew": True,
    "product_ref": PRODUCT,
    **PERIOD,
    "grace_until": None,
    "as_of": AT.isoformat(),
    "user_ref": "user-1",
    "plan_ref": "pro",
    "order_ref": "order-1",
    "replaces": "",
    "unacknowledged": False,
    "test": False,
}
#: What it tells of a subscription's state, how the subscription is shown then, and what it is for us.
TOLD: Mapping[str, tuple[Mapping[str, Any], EventType]] = {
    "subscription.activated": ({}, EventType.SUBSCRIPTION_ACTIVATED),
    "subscription.trial_started": ({"status": "trial"}, EventType.SUBSCRIPTION_ACTIVATED),
    "subscription.renewed": ({}, EventType.SUBSCRIPTION_RENEWED),
    "subscription.canceled": ({"auto_renew": False}, EventType.SUBSCRIPTION_CANCELED),
    "subscription.resumed": ({}, EventType.SUBSCRIPTION_RESUMED),
    "subscription.paused": ({"status": "paused"}, EventType.SUBSCRIPTION_PAUSED),
    "subscription.plan_changed": ({"product_ref": OTHER_PRODUCT}, EventType.SUBSCRIPTION_PLAN_CHANGED),
    "subscription.extended": ({}, EventType.SUBSCRIPTION_EXTENDED),
    "subscription.grace": (
        {"status": "past_due", "grace_until": GRACE_END.isoformat()},
        EventType.SUBSCRIPTION_GRACE,
    ),
    "subscription.on_hold": ({"status": "on_hold"}, EventType.SUBSCRIPTION_ON_HOLD),
    "subscription.expired": ({"status": "expired", "auto_renew": False}, EventType.SUBSCRIPTION_EXPIRED),
    "subscription.revoked": ({"status": "revoked", "auto_renew": False}, EventType.SUBSCRIPTION_REVOKED),
}


class SandboxBillingPeer(SandboxPeer):
    """It lives by business time: what is due has happened as soon as anybody looks at it."""

    def __init__(self, shop_url: str) -> None:
        super().__init__(shop_url)
        self.api = _front().to(self.api)
        self._moment: datetime | None = None
        for product_ref, price in ((PRODUCT, PRICE), (OTHER_PRODUCT, Decimal("19.90"))):
            keep_product(product_ref, price)

    def at(self, moment: datetime) -> None:
        self._moment = moment

    @property
    def now(self) -> datetime:
        return self._moment or clock.now()

    def buy(self, order: Order, step: Step = Step.PAID) -> Purchase:
        """What the page does when its buttons are pressed, at this very moment."""
        checkout = SandboxCheckout.objects.get(order_ref=order.order_ref)
        if step is Step.DECLINED:
            hosted.checkout_decline(checkout=checkout, wall=clock.wall())
            return Purchase(order)
        hosted.checkout_pay(checkout=checkout, card=Behaviour.OK, now=self.now, wall=clock.wall())
        return self._bought(order, SandboxSubscription.objects.get(order_ref=order.order_ref))

    def _bought(self, order: Order, theirs: SandboxSubscription) -> Purchase:
        paid = theirs.payments.first()
        token = theirs.purchase_token or ""
        return Purchase(order, payment_id=paid.ref if paid else "", sub_id=theirs.ref, token=token)

    def play(self, step: Step, purchase: Purchase, stage: Stage) -> None:
        match step:
            case Step.RENEWED:
                self._look(purchase)
            case Step.RENEWAL_FAILED | Step.GRACE:
                self.set_card(purchase, Card.DECLINES)
                self._look(purchase)
            case Step.ON_HOLD:
                self.set_card(purchase, Card.DECLINES)
                stage.at(max(stage.now, self._row(purchase).period_end + GRACE_IS_OVER))
                self._look(purchase)
            case Step.RECOVERED:
                self.set_card(purchase, Card.OK)
                self._do(subscriptions.subscription_pay, purchase, card=Behaviour.OK)
            case Step.CANCELED:
                self._do(subscriptions.subscription_cancel, purchase, at_period_end=True)
            case Step.RESUMED:
                self._do(subscriptions.subscription_resume, purchase)
            case Step.PAUSED:
                self._do(subscriptions.subscription_pause, purchase)
            case Step.EXPIRED:
                self._expire(purchase)
            case Step.REVOKED:
                self._do(subscriptions.subscription_take_back, purchase)
            case Step.REFUNDED | Step.REFUNDED_IN_PART:
                self._refund(purchase, Decimal("4.00") if step is Step.REFUNDED_IN_PART else None)
            case _:
                super().play(step, purchase, stage)
        purchase.payment_id = self._row(purchase).payments.filter(status="succeeded").order_by("pk").last().ref

    def set_card(self, purchase: Purchase, card: Card) -> None:
        method = self._row(purchase).method
        method.behaviour = CARDS[card]
        method.save(update_fields=["behaviour"])

    def call_it(self, purchase: Purchase, word: str) -> None:
        """Its own words are kept in its records, which refuse any other: that one stands in the answer alone."""
        rows = SandboxSubscription.objects.filter(pk=SandboxSubscription.key_of(purchase.sub_id))
        if word in SubscriptionStatus.values:
            end = rows.get().period_end
            rows.update(status=word, grace_until=end + GRACE_IS_OVER, held_at=end)
        else:
            body = {**subscription_shown(rows.get()), "status": word}
            _front().always(Answer(200, dump_json(body)))

    def _expire(self, purchase: Purchase) -> None:
        """Its subscriber has taken care in the last second that it doesn't renew."""
        row = self._row(purchase)
        if row.auto_renew:
            last = row.period_end - timedelta(seconds=1)
            self._do(subscriptions.subscription_cancel, purchase, at_period_end=True, now=min(last, self.now))
        self._look(purchase)

    def _refund(self, purchase: Purchase, amount: Decimal | None) -> None:
        subscriptions.payment_refund(
            account=ACCOUNT,
            payment_ref=purchase.payment_id,
            key=f"{amount}:{purchase.payment_id}",
            wanted=ReversalInput(amount=amount, reason="asked for", hook_url=""),
            now=self.now,
            wall=clock.wall(),
        )

    def _look(self, purchase: Purchase) -> None:
        self._do(subscriptions.subscription_find, purchase)

    def _do(self, service: Any, purchase: Purchase, **wish: Any) -> None:
        service(account=ACCOUNT, ref=purchase.sub_id, **{"now": self.now, "wall": clock.wall(), **wish})

    def _row(self, purchase: Purchase) -> SandboxSubscription:
        return SandboxSubscription.objects.get(pk=SandboxSubscription.key_of(purchase.sub_id))


def keep_product(product_ref: str, price: Decimal, *, trial_days: int = 0) -> None:
    wanted = ProductInput(product_ref, "A product", price, "USD", Cycle.MONTHLY, every=1, trial_days=trial_days)
    product_keep(account=ACCOUNT, wanted=wanted)


@cache
def _front() -> Wire:
    """In front of the live server, to say of a subscription what no record of the sandbox may say."""
    return Wire()


class SandboxBillingPack(SandboxPack):
    name = "sandbox-billing"
    mode = "billing"
    paid: ClassVar[Mapping[str, Any]] = {**PAYMENT, **PERIOD, "subscription": SHOWN}
    product = PRODUCT
    other_product = OTHER_PRODUCT
    states = {
        "trial": SubStatus.TRIAL,
        "active": SubStatus.ACTIVE,
        "past_due": SubStatus.PAST_DUE,
        "on_hold": SubStatus.ON_HOLD,
        "paused": SubStatus.PAUSED,
        "expired": SubStatus.EXPIRED,
        "revoked": SubStatus.REVOKED,
    }
    steps = frozenset(Step)

    @contextmanager
    def peer(self, *, shop_url: str, hook_url: str) -> Iterator[SandboxPeer]:
        yield SandboxBillingPeer(shop_url)

    def vectors(self) -> Sequence[Vector]:
        refs = {"provider_sub_id": "sub_1", "provider_plan_ref": PRODUCT}
        succeeded = self._event(EventType.PAYMENT_SUCCEEDED, **refs, period_start=START, period_end=END)
        failed = {**self.paid, "code": "insufficient_funds", "recoverable": True}
        shown = {"subscription": SHOWN}
        back = {"provider": self.name, **refs}
        bare = {"id": "sub_1", "product_ref": PRODUCT}
        sparse = {"payment_id": "pay_1", "amount": "9.90", "currency": "USD", "subscription": bare}
        nothing = dict.fromkeys(("order_ref", "idempotency_key", "user_ref", "plan_ref", "method"))
        return [
            Vector("payment.succeeded", content_of("payment.succeeded", self.paid), (succeeded,)),
            Vector(
                "payment.failed",
                content_of("payment.failed", failed),
                (
                    self._event(
                        EventType.PAYMENT_FAILED,
                        **refs,
                        period_start=START,
                        period_end=END,
                        reason="insufficient_funds",
                    ),
                ),
            ),
            reversal("payment.refunded", "refund_id", shown, **back),
            reversal("payment.disputed", "dispute_id", shown, **back),
            reversal("payment.dispute_lost", "dispute_id", shown, **back),
            reversal("payment.dispute_won", "dispute_id", shown, **back),
            *(self._state(word, changes, type_) for word, (changes, type_) in TOLD.items()),
            Vector(
                "more fields",
                content_of("payment.succeeded", {**self.paid, "unknown": [1, {"a": 1.5}]}),
                (succeeded,),
                "extra",
            ),
            Vector(
                "what must be there",
                content_of("payment.succeeded", sparse),
                (self._event(EventType.PAYMENT_SUCCEEDED, **refs, **nothing),),
                "sparse",
            ),
        ]

    def _state(self, word: str, changes: Mapping[str, Any], type_: EventType) -> Vector:
        shown, begins = {**SHOWN, **changes}, word == "subscription.trial_started"
        nothing = dict.fromkeys(("provider_payment_id", "idempotency_key", "amount", "currency"))
        event = self._event(
            type_,
            **nothing,
            **({} if begins else {"method": None}),
            provider_sub_id="sub_1",
            provider_plan_ref=shown["product_ref"],
            period_start=START,
            period_end=GRACE_END if shown["grace_until"] else END,
            is_trial=begins,
        )
        return Vector(word, content_of(word, {"subscription": shown, "method": PAYMENT["method"]}), (event,))

    def _event(self, type_: EventType, **changes: Any) -> ProviderEvent:
        return event_of(type_, **{"provider": self.name, **changes})

    def period(self, start: datetime, end: datetime) -> bytes:
        return content_of(
            "payment.succeeded", {**self.paid, "period_start": start.isoformat(), "period_end": end.isoformat()}
        )

    def malformed(self) -> Sequence[bytes]:
        of_money = [{"subscription": "sub_1"}, {"subscription": {"id": "sub_1"}}, {"period_end": "soon"}]
        of_state = [{"id": ""}, {"period_end": None}, {"grace_until": "soon"}, {"product_ref": []}]
        return [
            *super().malformed(),
            *(content_of("payment.succeeded", {**self.paid, **one}) for one in of_money),
            content_of("subscription.renewed", {}),
            *(content_of("subscription.renewed", {"subscription": {**SHOWN, **one}}) for one in of_state),
        ]

    def unknown(self) -> Sequence[bytes]:
        return [*super().unknown(), content_of("subscription.imagined", {"subscription": SHOWN})]

    def tests(self) -> Sequence[bytes]:
        shown = {**SHOWN, "test": True}
        return [
            content_of("payment.succeeded", {**self.paid, "subscription": shown}),
            content_of("subscription.renewed", {"subscription": shown}, event_id="evt_2"),
        ]

    def stranger(self, *, user_ref: str, email: str) -> bytes:
        """Of a product that no plan of ours is."""
        name = user_ref or "nobody"
        refs = {"user_ref": user_ref, "order_ref": "of_nobody"}
        shown = {**SHOWN, **refs, "id": f"sub_of_{name}", "product_ref": "product_of_nobody"}
        data = {**self.paid, **refs, "payment_id": f"pay_of_{name}", "idempotency_key": "", "email": email}
        data |= {"subscription": shown, "method": None}
        return content_of("payment.succeeded", data, event_id=f"evt_of_{name}")

    def goldens(self) -> Sequence[Golden]:
        request = SubRequest(
            **REQUEST, idempotency_key="checkout-1", provider_plan_ref=PRODUCT, interval=(1, "monthly"), trial_days=0
        )
        return [
            Golden(
                "subscription",
                lambda provider: provider.create_subscription(request),
                "POST",
                "/api/checkouts",
                checkout_body(kind="subscription", billed="per month", product=f'"product_ref":"{PRODUCT}",'),
                {
                    "content-type": "application/json",
                    "authorization": f"Bearer {API_KEY}",
                    "idempotency-key": "checkout-1",
                },
            )
        ]


PACK = SandboxBillingPack()
