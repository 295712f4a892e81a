"""Stripe in billing mode: Stripe Billing sets the price and renews."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any

from providers.base import SubStatus
from tests.emulators.stripe import StripeEmulator
from tests.providers.conformance.pack import Card, Golden, Priced, Purchase, Step, Vector
from tests.providers.conformance.packs.stripe import (
    GOLDEN_PAGE,
    StripePack,
    StripePeer,
    golden,
    golden_refs,
    live,
    minor,
)
from tests.providers.conformance.stage import PRICE, Stage
from tests.providers.stripe_cases import FAILED, GRACE, PAID
from tests.providers.stripe_support import invoice, sub_request

PRODUCT, OTHER_PRODUCT = "price_of_the_suite", "price_of_another_plan"
#: Between the tries of a renewal that fails, which are days apart at Stripe.
MINUTE = 60


class StripeBillingPeer(StripePeer):
    def __init__(self, stripe: StripeEmulator) -> None:
        super().__init__(stripe)
        self.billing = stripe.billing
        self.billing.gives_up_with = "unpaid"
        for id_, amount in ((PRODUCT, PRICE), (OTHER_PRODUCT, Decimal("19.90"))):
            made = stripe.do(self.billing.price, unit_amount=minor(amount, "USD"), currency="usd")
            self.store.objects[id_] = {**made, "id": id_}

    def play(self, step: Step, purchase: Purchase, stage: Stage) -> None:
        sub_id, subscription = purchase.sub_id, self.store.objects[purchase.sub_id]
        do = self.stripe.do
        match step:
            case Step.RENEWED:
                do(self.billing.renew, sub_id)
            case Step.RENEWAL_FAILED:
                self.set_card(purchase, Card.DECLINES)
                do(self.billing.renew, sub_id)
            case Step.ON_HOLD:
                self.set_card(purchase, Card.DECLINES)
                do(self.billing.renew, sub_id)
                while subscription["status"] == "past_due":
                    do(self.store.stand_at, self.store.now() + MINUTE)
                    do(self.billing.try_again, subscription["latest_invoice"])
            case Step.RECOVERED:
                self.set_card(purchase, Card.OK)
                do(self.billing.try_again, subscription["latest_invoice"])
            case Step.CANCELED:
                do(self.billing.cancel, sub_id, at_period_end=True)
            case Step.PAUSED:
                do(self.billing.update, sub_id, {"pause_collection": {"behavior": "void"}})
            case Step.RESUMED if subscription["pause_collection"]:
                do(self.billing.update, sub_id, {"pause_collection": ""})
            case Step.RESUMED:
                do(self.billing.update, sub_id, {"cancel_at_period_end": "false"})
            case Step.EXPIRED if subscription["cancel_at_period_end"]:
                do(self.billing.renew, sub_id)
            case Step.EXPIRED:
                do(self.billing.cancel, sub_id)
            case _:
                super().play(step, purchase, stage)
        purchase.payment_id = subscription["latest_invoice"]

    def intent_of(self, purchase: Purchase) -> str:
        paid = [one for one in self.store.of("invoice_payment") if one["invoice"] == purchase.payment_id]
        return str(paid[-1]["payment"]["payment_intent"])

    def call_it(self, purchase: Purchase, word: str) -> None:
        self.store.objects[purchase.sub_id]["status"] = word


class StripeBillingPack(StripePack):
    name = "stripe-billing"
    mode = "billing"
    types = frozenset(
        "customer.subscription.created customer.subscription.updated customer.subscription.deleted "
        "customer.subscription.paused customer.subscription.resumed invoice.paid invoice.payment_failed "
        "invoice.payment_action_required invoice.marked_uncollectible".split()
    )
    product = PRODUCT
    other_product = OTHER_PRODUCT
    states = {
        "incomplete": SubStatus.PENDING,
        "incomplete_expired": SubStatus.EXPIRED,
        "trialing": SubStatus.TRIAL,
        "active": SubStatus.ACTIVE,
        "past_due": SubStatus.PAST_DUE,
        "canceled": SubStatus.EXPIRED,
        "unpaid": SubStatus.ON_HOLD,
        "paused": SubStatus.PAUSED,
    }
    steps = frozenset(Step) - {Step.GRACE, Step.REVOKED}

    def playing(self, stripe: StripeEmulator) -> StripeBillingPeer:
        return StripeBillingPeer(stripe)

    def unusual(self) -> Sequence[Vector]:
        bare = {
            "id": "in_1",
            "amount_paid": 699,
            "currency": "usd",
            "parent": {"subscription_details": {"subscription": "sub_1"}},
        }
        paid = {name: PAID[name] for name in ("type", "provider_payment_id", "provider_sub_id", "amount", "currency")}
        more = live("invoice.payment_failed", invoice(of_tomorrow={"deep": [1.5, None]}), new_field=1)
        failed = {**FAILED, "reason": "declined"}
        return [
            Vector("more fields", more, self._events(failed, GRACE), "extra"),
            Vector("the fewest fields", live("invoice.paid", bare), self._events(paid), "sparse"),
        ]

    def payment(self, amount: Decimal, currency: str, *, number: int = 1, at: datetime | None = None) -> Priced:
        paid = invoice(id=f"in_{number}", amount_paid=minor(amount, currency), currency=currency.lower())
        return Priced(self.numbered("invoice.paid", paid, number, at))

    def period(self, start: datetime, end: datetime) -> bytes:
        [line] = invoice()["lines"]["data"]
        line["period"] = {"start": int(start.timestamp()), "end": int(end.timestamp())}
        return live("invoice.paid", invoice(lines={"object": "list", "data": [line]}))

    def tests(self) -> Sequence[bytes]:
        failed = live("invoice.payment_failed", invoice(id="in_2"), id="evt_2", livemode=False)
        return [live("invoice.paid", invoice(), livemode=False), failed]

    def stranger(self, *, user_ref: str, email: str) -> bytes:
        refs = {"payflow_order": "of-nobody", **({"payflow_user": user_ref} if user_ref else {})}
        number = 900 + len(user_ref)
        of_nobody: dict[str, Any] = {"subscription": "sub_of_nobody", "metadata": refs}
        parent = {"type": "subscription_details", "subscription_details": of_nobody}
        paid = invoice(id=f"in_{number}", customer_email=email, parent=parent, lines={"data": []})
        return self.numbered("invoice.paid", paid, number, None)

    def goldens(self) -> Sequence[Golden]:
        request = sub_request(provider_plan_ref=PRODUCT, trial_days=7)
        body = (
            f"mode=subscription&{GOLDEN_PAGE}{golden_refs('metadata')}&line_items[0][price]={PRODUCT}"
            f"&line_items[0][quantity]=1{golden_refs('subscription_data[metadata]')}"
            "&subscription_data[trial_period_days]=7"
        )
        return [golden("subscription", lambda provider: provider.create_subscription(request), body, "checkout_1")]


PACK = StripeBillingPack()
