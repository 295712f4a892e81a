"""Money that arrives for a checkout: what it activates, and what it doesn't."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest

from accounts.models import User
from payments.models import Invoice, PaymentTransaction
from payments.services.unapplied import UNMATCHED_PAYER
from plans.models import Plan
from providers.sandbox.models import SandboxRefund
from subscriptions.models import Checkout, Subscription
from tests.conftest import Api
from tests.factories import PlanFactory
from tests.flows import (
    START,
    charges,
    deliver_lava,
    fresh,
    invoices,
    ledger,
    nothing_changes,
    periods,
    steps,
)
from tests.providers.sandbox_support import press
from webhooks.models import InboundEvent

END = datetime(2040, 2, 29, 10, 0, tzinfo=UTC)


def verdicts() -> list[tuple[str, str]]:
    return list(InboundEvent.objects.order_by("pk").values_list("status", "error"))


def lava_body(checkout: Checkout, invoice_id: str, amount: str = "10.00", **fields: object) -> bytes:
    body = {"order_id": f"sub_{checkout.order_ref}", "status": "success", "pay_time": "2040-01-31T10:00:00Z", **fields}
    return json.dumps({"invoice_id": invoice_id, "amount": amount, "custom_fields": {}, **body}).encode()


def test_a_payment_activates_and_is_booked_once(shop, user):
    plan = PlanFactory()
    checkout = shop.checkout(user, plan)
    Plan.objects.filter(pk=plan.pk).update(price=99)  # a price change touches nobody who has begun to buy

    shop.pay(checkout)

    subscription = checkout.subscription = fresh(checkout.subscription)
    assert (subscription.status, subscription.start_date, subscription.end_date) == ("active", START, END)
    assert (subscription.anchor, subscription.current_period_start, subscription.next_action_at) == (START, START, END)
    assert subscription.payment_method.provider == "sandbox"
    assert periods(subscription) == [(START, END)]
    assert steps(subscription) == [("pending", "subscribed"), ("active", "paid")]
    invoice = Invoice.objects.get()
    assert (invoice.status, invoice.number, invoice.total) == ("paid", "INV-2040-000001", 10)
    assert (invoice.period_start, invoice.period_end, invoice.issued_at, invoice.paid_at) == (START, END, START, START)
    line = invoice.lines.get()
    assert (line.amount, line.period_start, line.period_end, line.explanation["price"]) == (10, START, END, "10.00")
    assert charges(subscription) == [("completed", 1, "")]
    assert (fresh(checkout).status, fresh(checkout).paid_at) == ("paid", START)
    assert ledger() == {"provider_clearing": 10, "revenue": -10}
    me = Api().as_user(user).get("/api/v1/subscriptions/me").json()["data"]
    assert (me["checkout"], me["access_until"]) == (None, "2040-02-29T11:00:00Z")

    # when the same money is reported again, by the same delivery and by another
    event = InboundEvent.objects.get()
    data = json.loads(bytes(event.body))["data"]
    with nothing_changes():
        shop.sandbox_event("payment.succeeded", event_id=event.event_id, **data)
        shop.sandbox_event("payment.succeeded", **data)
    assert verdicts() == [("processed", ""), ("processed", "")]

    # and the next customer's invoice has the next number
    other = shop.buy(type(user).objects.create_user("next@example.com"), PlanFactory())
    assert other.invoices.get().number == "INV-2040-000002"


def test_money_that_does_not_match_its_checkout_grants_nothing(shop, user):
    checkout = shop.checkout(user, PlanFactory(), provider="lava")

    # when too little arrives
    shop.pay(checkout, amount="9.99")

    assert (fresh(checkout.subscription).status, fresh(checkout).status, invoices(checkout.subscription)) == (
        "pending",
        "open",
        ["draft"],
    )
    payment = PaymentTransaction.objects.get()
    assert (payment.status, payment.invoice, payment.amount, payment.user) == ("completed", None, Decimal("9.99"), user)
    assert payment.reason == "not the amount of its checkout"
    assert verdicts() == [("review", "unapplied: not the amount of its checkout")]
    assert ledger() == {"provider_clearing": Decimal("9.99"), "unapplied_payments": Decimal("-9.99")}
    # nor too much
    deliver_lava(lava_body(checkout, "inv-2", "10.01"))
    shop.drain()
    assert fresh(checkout.subscription).status == "pending"
    # then the right amount still activates
    deliver_lava(lava_body(checkout, "inv-3"))
    shop.drain()
    assert fresh(checkout.subscription).status == "active"
    assert ledger() == {"provider_clearing": 30, "unapplied_payments": -20, "revenue": -10}


def test_the_right_number_in_another_currency_grants_nothing(shop, user):
    checkout = shop.checkout(user, PlanFactory())

    shop.sandbox_event(
        "payment.succeeded", payment_id="pay_eur", order_ref=checkout.order_ref, amount="10.00", currency="EUR"
    )

    assert fresh(checkout.subscription).status == "pending"
    assert (ledger("EUR"), ledger()) == ({"provider_clearing": 10, "unapplied_payments": -10}, {})
    assert verdicts() == [("review", "unapplied: not the amount of its checkout")]


def test_a_declined_payment_leaves_the_checkout_open(shop, user):
    checkout = shop.checkout(user, PlanFactory())

    assert press(checkout.url, outcome="decline").status == 200
    shop.drain()

    assert (fresh(checkout.subscription).status, PaymentTransaction.objects.count()) == ("pending", 0)
    shop.pay(checkout)
    assert fresh(checkout.subscription).status == "active"


def test_an_expired_checkout_paid_late_activates_where_nothing_else_is_live(shop, user):
    """Design, example: an expired checkout is paid late."""
    checkout = shop.checkout(user, PlanFactory())
    subscription = checkout.subscription

    # given it has expired
    late = START + timedelta(hours=24, minutes=1)
    shop.run(late)
    assert steps(subscription)[-1] == ("expired", "checkout_expired")
    assert (fresh(checkout).status, invoices(subscription)) == ("expired", ["void"])

    # when it is paid all the same
    shop.pay(checkout)

    subscription = fresh(subscription)
    assert (subscription.status, subscription.start_date, subscription.anchor) == ("active", late, late)
    assert periods(subscription) == [(late, datetime(2040, 3, 1, 10, 1, tzinfo=UTC))]
    assert (fresh(checkout).status, invoices(subscription)) == ("paid", ["void", "paid"])
    assert ledger() == {"provider_clearing": 10, "revenue": -10}


def test_an_expired_checkout_paid_late_beside_a_live_subscription_is_unapplied(shop, user):
    """Design, example: two checkouts are paid for one plan."""
    plan = PlanFactory()
    old = shop.checkout(user, plan)
    shop.run(START + timedelta(hours=25))
    live = shop.buy(user, plan)

    shop.pay(old)

    assert (fresh(old.subscription).status, fresh(live).status) == ("expired", "active")
    assert fresh(live) == live
    assert PaymentTransaction.objects.get(invoice=None).reason == "another subscription is live"
    assert ledger() == {"provider_clearing": 20, "revenue": -10, "unapplied_payments": -10}

    # when the sweep gives it back
    assert shop.sweep("payments_unapplied") == 1
    assert shop.sweep("payments_unapplied") == 0
    shop.drain()
    assert ledger() == {"provider_clearing": 10, "revenue": -10}
    assert SandboxRefund.objects.get().amount == 10
    assert fresh(live).status == "active"


def test_a_superseded_checkout_that_is_paid_activates_and_the_other_is_unapplied(shop, user):
    old = shop.checkout(user, PlanFactory())
    new = shop.checkout(user, PlanFactory(price=Decimal("20.00")))
    assert (fresh(old).status, fresh(old.subscription).status) == ("superseded", "cancelled")

    shop.pay(old)
    shop.pay(new)

    assert (fresh(old.subscription).status, fresh(new.subscription).status) == ("active", "pending")
    assert fresh(old.subscription).amount == 10
    assert ledger() == {"provider_clearing": 30, "revenue": -10, "unapplied_payments": -20}
    # and the other one ends with its checkout
    shop.run(START + timedelta(hours=25))
    assert fresh(new.subscription).status == "expired"


@pytest.mark.parametrize("named", [True, False])
def test_money_of_no_order_is_kept_for_its_payer_or_for_nobody(shop, user, named):
    shop.sandbox_event(
        "payment.succeeded",
        payment_id="pay_lost",
        order_ref="no-such-order",
        user_ref=str(user.pk) if named else "somebody",
        amount="3.00",
        currency="USD",
    )

    payment = PaymentTransaction.objects.get()
    assert payment.user == (user if named else User.objects.get(email=UNMATCHED_PAYER))
    assert (payment.subscription, payment.invoice, payment.reason) == (None, None, "no order of ours")
    assert verdicts() == [("review", "unapplied: no order of ours")]
    assert ledger() == {"provider_clearing": 3, "unapplied_payments": -3}
    assert not payment.user.is_active or named
    assert Subscription.objects.count() == 0


def test_an_order_paid_twice_keeps_the_second_payment_apart(shop, user):
    checkout = shop.checkout(user, PlanFactory())
    shop.pay(checkout)
    before = fresh(checkout.subscription)

    shop.sandbox_event(
        "payment.succeeded", payment_id="pay_twice", order_ref=checkout.order_ref, amount="10.00", currency="USD"
    )

    assert fresh(before) == before
    assert fresh(before).end_date == END
    assert ledger() == {"provider_clearing": 20, "revenue": -10, "unapplied_payments": -10}


def test_a_purchase_cancelled_while_pending_and_paid_after_all_is_active(shop, user):
    """The provider's page cannot be closed: who pays on it buys."""
    checkout = shop.checkout(user, PlanFactory())
    cancelled = Api().as_user(user).delete("/api/v1/subscriptions/me")
    assert (cancelled.status_code, cancelled.json()["data"]["status"]) == (200, "cancelled")
    assert (fresh(checkout).status, invoices(checkout.subscription)) == ("expired", ["void"])

    shop.pay(checkout)

    subscription = fresh(checkout.subscription)
    assert (subscription.status, subscription.cancelled_at, subscription.auto_renew) == ("active", None, True)
    assert steps(subscription)[-1] == ("active", "paid")
