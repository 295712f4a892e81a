"""From one provider to another: the next period is paid at the new one, on the same subscription. Two sandboxes, real HTTP."""

from __future__ import annotations

import json
from decimal import Decimal

import pytest
from django.core import mail

from payflow.core import clock
from payflow.core.models import AuditEntry, OutboxEvent
from payments.models import PaymentTransaction
from plans.models import Coupon
from providers.base import EventType
from subscriptions.billing import Source
from subscriptions.models import Checkout, ProviderCommand, Status, Subscription
from subscriptions.services.provider_events import provider_event_apply
from tests.conftest import Api
from tests.factories import PlanFactory
from tests.flows import DAY, START, charges, credit, deliver_sandbox, fresh, give_credit, ledger, periods
from tests.providers.sandbox_support import OTHER_SECRET
from tests.subscriptions.moves_world import AFTER, END, NEXT, invited, member_of, plan, refunds, second, start, sweep
from tests.subscriptions.store_world import news, paid, state

__all__ = ["plan", "second"]

pytestmark = pytest.mark.django_db(transaction=True)


# --- paid ------------------------------------------------------------------------------------------------------------


def test_what_is_paid_is_the_next_period_of_the_same_subscription(shop, user, plan):
    subscription, link = invited(shop, user, plan)
    old_method = subscription.payment_method
    assert (link.provider, link.purpose, link.status, link.amount) == ("second", "move", "open", 29)
    assert (subscription.provider, subscription.end_date) == ("sandbox", END)

    shop.pay(link)

    row = fresh(subscription)
    assert (row.status, row.provider, row.end_date) == (Status.ACTIVE, "second", NEXT)
    assert periods(row) == [(START, END), (END, NEXT)]
    assert row.periods.order_by("-start").first().source == Source.CHECKOUT
    assert row.payment_method.provider == "second"
    assert row.payment_method != old_method
    newest = row.invoices.order_by("-pk").first()
    assert (newest.status, newest.reason, newest.period_start, newest.period_end) == ("paid", "cycle", END, NEXT)
    member = member_of(row)
    assert (member.status, member.moved_at, fresh(link).status) == ("moved", shop.now, "paid")
    assert AuditEntry.objects.get(action="subscription.move_provider").subject_id == row.pk
    assert OutboxEvent.objects.filter(type="subscription.moved", subject_id=row.pk).count() == 1
    # the old provider is not asked for the period that was paid, and the new one is for the one after it
    shop.run(END)
    assert charges(row) == [("completed", 1, ""), ("completed", 1, "")]
    shop.run(NEXT)
    assert (fresh(row).end_date, fresh(row).status) == (AFTER, Status.ACTIVE)
    by_provider = PaymentTransaction.objects.filter(type="charge").order_by("pk").values_list("provider", flat=True)
    assert list(by_provider) == ["sandbox", "second", "second"]
    assert ledger() == {"provider_clearing": 87, "revenue": -87}


def test_the_subscriber_is_told_once_and_sees_the_link(shop, user, plan):
    _, link = invited(shop, user, plan)

    letters = [letter for letter in mail.outbox if "Second" in letter.subject]
    assert len(letters) == 1
    assert link.url in letters[0].body
    sweep(shop)
    assert len([letter for letter in mail.outbox if "Second" in letter.subject]) == 1
    shown = Api().as_user(user).get("/api/v1/subscriptions/me").json()["data"]
    assert (shown["move_checkout"]["url"], shown["checkout"]) == (link.url, None)
    client = Api()
    client.force_login(user)
    page = client.get("/account").content.decode()
    assert link.url in page
    assert "Pay the next period" in page
    shop.pay(link)
    assert Api().as_user(user).get("/api/v1/subscriptions/me").json()["data"]["move_checkout"] is None


def test_the_same_link_paid_twice_is_given_back_once(shop, user, plan):
    subscription, link = invited(shop, user, plan)
    shop.pay(link)
    paid_again = {
        "id": "evt_again",
        "type": "payment.succeeded",
        "created_at": clock.wall().isoformat(),
        "data": {"payment_id": "pay_again", "order_ref": link.order_ref, "amount": "29.00", "currency": "USD"},
    }

    assert deliver_sandbox(json.dumps(paid_again).encode(), secret=OTHER_SECRET, path="second").status_code == 200
    shop.drain()

    assert periods(fresh(subscription)) == [(START, END), (END, NEXT)]
    again = PaymentTransaction.objects.get(provider_txn_id="pay_again")
    assert (again.invoice, again.reason) == (None, "the order is already paid")
    assert ledger() == {"provider_clearing": 87, "revenue": -58, "unapplied_payments": -29}


def test_a_coupon_tax_and_credit_are_those_of_a_renewal(shop, user, plan):
    Coupon.objects.create(code="HALF", kind="percent", percent=Decimal(50), duration="forever")
    subscription = shop.buy(user, plan, coupon="HALF")
    give_credit(user, "4.00")
    start(shop)
    shop.at(END - 3 * DAY)
    sweep(shop)
    link = member_of(subscription).checkout
    assert (link.amount, credit(user)) == (Decimal("10.50"), 0)

    shop.pay(link)

    lines = fresh(subscription).invoices.order_by("-pk").first().lines.order_by("position")
    assert [(line.kind, line.amount) for line in lines] == [
        ("plan", Decimal("29.00")),
        ("discount", Decimal("-14.50")),
        ("credit", Decimal("-4.00")),
    ]


# --- not paid --------------------------------------------------------------------------------------------------------


def test_who_does_not_pay_renews_where_he_was_and_gets_another_link(shop, user, plan):
    subscription, link = invited(shop, user, plan)

    shop.run(END)
    sweep(shop)

    row = fresh(subscription)
    assert (row.provider, row.status, row.end_date) == ("sandbox", Status.ACTIVE, NEXT)
    assert (fresh(link).status, fresh(link.invoice).status) == ("expired", "void")
    assert member_of(row).status == "left"
    shop.at(NEXT - 3 * DAY)
    sweep(shop)
    again = member_of(row)
    assert (again.status, again.period_start) == ("invited", NEXT)
    assert again.checkout.pk != link.pk
    shop.pay(again.checkout)
    assert (fresh(row).provider, fresh(row).end_date) == ("second", AFTER)


def test_credit_that_a_link_held_pays_the_old_renewal(shop, user, plan):
    subscription = shop.buy(user, plan)
    give_credit(user, "9.00")
    start(shop)
    shop.at(END - 3 * DAY)
    sweep(shop)
    assert credit(user) == 0

    shop.run(END)

    row = fresh(subscription)
    assert (row.provider, row.end_date, credit(user)) == ("sandbox", NEXT, 0)
    assert row.invoices.order_by("-pk").first().total == 20


def test_paid_late_is_unapplied_and_refunded(shop, user, plan):
    subscription, link = invited(shop, user, plan)
    shop.run(END)
    assert fresh(subscription).end_date == NEXT

    shop.pay(link)
    shop.sweep("payments_unapplied")
    shop.drain()

    row = fresh(subscription)
    assert (row.provider, row.end_date, row.status) == ("sandbox", NEXT, Status.ACTIVE)
    assert refunds() == [("second", "completed", 29)]
    assert ledger() == {"provider_clearing": 58, "revenue": -58}


@pytest.mark.parametrize("what", ["cancel", "change", "pause"])
def test_what_becomes_something_else_does_not_move(shop, user, plan, what):
    subscription, link = invited(shop, user, plan)
    bigger = PlanFactory(price=Decimal("58.00"))
    match what:
        case "cancel":
            assert Api().as_user(user).delete(f"/api/v1/subscriptions/{subscription.pk}").status_code == 200
        case "change":
            assert shop.change(subscription, bigger, when="period_end").status_code == 200
        case "pause":
            assert shop.post(subscription, "pause").status_code == 200
    assert (fresh(link).status, fresh(link.invoice).status) == ("expired", "void")

    shop.pay(link)
    shop.sweep("payments_unapplied")
    shop.drain()

    assert fresh(subscription).provider == "sandbox"
    assert refunds() == [("second", "completed", 29)]
    assert member_of(subscription).status == "left"


# --- the old provider charges all the same ---------------------------------------------------------------------------


def test_from_lava_a_charge_after_the_move_becomes_unapplied(shop, user, plan):
    """Lava renews by itself and has no call to stop it, nor one to refund: what it takes is credit."""
    subscription = shop.buy(user, plan, provider="lava")
    start(shop, source="lava", target="sandbox")
    shop.at(END - 3 * DAY)
    sweep(shop)
    shop.pay(member_of(subscription).checkout)
    row = fresh(subscription)
    assert (row.provider, row.end_date, row.payment_method.provider) == ("sandbox", NEXT, "sandbox")

    shop.at(END)
    shop.lava_renews(subscription)
    shop.sweep("payments_unapplied")

    assert periods(fresh(subscription)) == [(START, END), (END, NEXT)]
    extra = PaymentTransaction.objects.get(provider="lava", invoice=None)
    assert extra.reason == "the subscription is at another provider"
    assert credit(user) == 29


def test_a_failed_charge_of_the_old_provider_changes_nothing(shop, user, plan):
    """Not even where the new one could not charge either: it does not ask again for that."""
    subscription = shop.buy(user, plan, provider="lava")
    start(shop, source="lava", target="sandbox")
    shop.at(END - 3 * DAY)
    sweep(shop)
    shop.pay(member_of(subscription).checkout)
    shop.card(subscription, "decline")
    shop.run(NEXT)
    assert fresh(subscription).status == Status.PAST_DUE

    shop.lava_renews(subscription, outcome="failed")

    assert fresh(subscription).provider == "sandbox"
    assert not Checkout.objects.filter(purpose=Checkout.Purpose.INVOICE).exists()


def test_the_old_provider_is_told_and_what_it_charges_all_the_same_is_credit(shop, user, books, plans):
    """It sets prices and periods: money for the time before the move is booked, for the time after it is unapplied."""
    begins = [START, END, NEXT]
    first = paid(user, begins[0], begins[1])
    provider_event_apply(event=first, now=shop.now)
    subscription = Subscription.objects.get(user=user)
    start(shop, source="store")
    shop.at(END - 3 * DAY)
    sweep(shop)
    shop.pay(member_of(subscription).checkout)
    row = fresh(subscription)
    assert (row.provider, row.provider_sub_id, row.end_date) == ("second", None, NEXT)
    command = ProviderCommand.objects.get(kind="cancel")
    assert (command.provider, command.provider_sub_id, command.deadline) == ("store", "sub-1", END)

    # the subscriber stops and goes on at the new provider: the old one hears what it has to hear all the same
    assert Api().as_user(user).delete(f"/api/v1/subscriptions/{row.pk}").status_code == 200
    books.states["sub-1"] = state()
    shop.sweep("provider_commands")
    assert (books.calls, fresh(command).status) == ([("cancel", "sub-1")], "confirmed")

    provider_event_apply(event=paid(user, begins[1], begins[2]), now=END)
    shop.sweep("payments_unapplied")
    assert periods(fresh(row)) == [(START, END), (END, NEXT)]
    assert PaymentTransaction.objects.get(provider="store", invoice=None).amount == Decimal("4.99")
    assert credit(user) == Decimal("4.99")
    # news of the purchase that was left changes nothing
    provider_event_apply(event=news(user, EventType.SUBSCRIPTION_EXPIRED, END), now=END)
    assert fresh(row).status == Status.ACTIVE


def test_a_charge_at_the_old_provider_without_an_answer_comes_first(shop, user, plan):
    subscription, link = invited(shop, user, plan)
    shop.card(subscription, "timeout")
    shop.at(END)
    shop.due()
    assert charges(subscription)[-1][0] == "pending"

    shop.pay(link)
    shop.sweep("payments_charges", later=DAY)
    shop.sweep("payments_unapplied")
    shop.drain()

    row = fresh(subscription)
    assert (row.provider, row.end_date) == ("sandbox", NEXT)
    assert [status for status, _, _ in charges(row)].count("completed") == 2
    assert refunds() == [("second", "completed", 29)]


def test_to_a_provider_that_renews_by_itself(shop, user, plan):
    """What it charges a month after the payment, three days before the period ends, is the next renewal."""
    subscription = shop.buy(user, plan)
    start(shop, target="lava")
    shop.at(END - 3 * DAY)
    sweep(shop)
    link = member_of(subscription).checkout
    shop.pay(link)
    row = fresh(subscription)
    assert (row.provider, row.end_date, row.payment_method) == ("lava", NEXT, None)
    shop.run(END)
    assert charges(row) == [("completed", 1, ""), ("completed", 1, "")]

    shop.at(NEXT - 3 * DAY)
    shop.lava.renew(f"sub_{link.order_ref}")
    shop.drain()

    assert periods(fresh(row)) == [(START, END), (END, NEXT), (NEXT, AFTER)]
    assert PaymentTransaction.objects.filter(type="charge", provider="sandbox").count() == 1
