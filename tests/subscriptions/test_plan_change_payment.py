"""Changes of plan whose stored method does not pay at once, or never: declined, unknown, too late."""

from __future__ import annotations

from decimal import Decimal

import pytest

from providers.sandbox.models import SandboxDelivery, SandboxPayment
from subscriptions.services.due import LEASE
from subscriptions.services.price_moves import price_move
from tests.conftest import Api
from tests.factories import PlanFactory
from tests.flows import (
    START,
    credit,
    fresh,
    give_credit,
    invoices,
    ledger,
    nothing_changes,
    periods,
    refused,
)
from tests.providers.sandbox_support import press
from tests.subscriptions.february import END, LATER, NEXT, keyed, statuses, taken, untouched


@pytest.mark.parametrize("card", ["decline", "stolen"])
def test_a_decline_leaves_everything_as_it_was(shop, bought, pro, card):
    subscription = bought(card)

    details = refused(shop.change(subscription, pro), 402, "PAYMENT_DECLINED")

    charge = subscription.transactions.latest("pk")
    assert (details["id"], details["recoverable"]) == (str(charge.pk), card == "decline")
    untouched(subscription)
    assert (invoices(subscription), statuses(subscription)) == (["paid", "void"], ["cancelled"])
    assert ledger() == {"provider_clearing": 29, "revenue": -29}
    # and another card can
    shop.card(subscription, "ok")
    assert shop.change(subscription, pro).status_code == 200
    assert (fresh(subscription).plan, taken(), ledger()["revenue"]) == (pro, [19], -48)


def test_a_decline_gives_the_credit_back_that_the_change_had_used(shop, user, bought, pro):
    subscription = bought("decline")
    give_credit(user, "9.00")
    assert shop.preview(subscription, pro)["total"] == 10

    refused(shop.change(subscription, pro), 402, "PAYMENT_DECLINED")

    assert credit(user) == 9
    assert ledger() == {"provider_clearing": 29, "revenue": -29, "discounts": 9, "customer_credit": -9}


def test_a_payer_who_must_confirm_has_changed_once_he_does(shop, bought, pro):
    subscription = bought("action")

    details = refused(shop.change(subscription, pro), 402, "PAYMENT_DECLINED")

    untouched(subscription)
    assert details["reason"] == "requires_action"
    # when he confirms on the page that the answer names
    assert press(details["action_url"], outcome="pay").status == 200
    shop.drain()

    assert (fresh(subscription).plan, statuses(subscription), taken()) == (pro, ["applied"], [19])
    assert ledger() == {"provider_clearing": 48, "revenue": -48}


def test_a_payer_who_never_confirms_is_renewed_as_before(shop, bought, pro):
    subscription = bought("action")
    details = refused(shop.change(subscription, pro), 402, "PAYMENT_DECLINED")
    shop.card(subscription, "ok")

    shop.run(END)

    assert (invoices(subscription), statuses(subscription)) == (["paid", "void", "paid"], ["cancelled"])
    assert (fresh(subscription).amount, taken()) == (29, [29])
    # and confirming then grants nothing
    press(details["action_url"], outcome="pay")
    shop.drain()
    assert fresh(subscription).amount == 29
    assert ledger() == {"provider_clearing": 77, "revenue": -58, "unapplied_payments": -19}


def test_what_was_planned_is_still_planned_after_a_decline(shop, bought, pro):
    subscription, least = bought("decline"), PlanFactory(price=Decimal("5.00"))
    assert shop.change(subscription, least).status_code == 200

    refused(shop.change(subscription, pro), 402, "PAYMENT_DECLINED")

    planned = subscription.changes.get(status="open")
    assert (planned.plan, planned.effective, planned.effective_at) == (least, "period_end", END)
    shop.card(subscription, "ok")
    shop.run(END)
    assert (fresh(subscription).plan, taken()) == (least, [5])


def test_what_was_planned_happens_where_the_page_of_another_change_was_never_paid(shop, bought, pro):
    subscription, least = bought(), PlanFactory(price=Decimal("5.00"))
    method = subscription.payment_method
    assert shop.change(subscription, least).status_code == 200
    shop.no_card(subscription)
    for _ in range(2):
        assert shop.change(subscription, pro).json()["data"]["checkout_url"]
    Api().as_user(subscription.user).put(
        f"/api/v1/subscriptions/{subscription.pk}", {"payment_method_id": str(method.pk)}
    )

    shop.run(END)

    assert (fresh(subscription).plan, taken()) == (least, [5])
    assert sorted(statuses(subscription)) == ["applied", "cancelled", "cancelled", "cancelled"]


@pytest.mark.parametrize("detour", ["declined upgrade", "downgrade taken back", "cancelled", "paused"])
def test_a_price_move_is_not_escaped_by_a_detour(shop, bought, pro, detour):
    subscription = bought("decline")
    plan = subscription.plan
    type(plan).objects.filter(pk=plan.pk).update(price=Decimal("31.00"))
    assert price_move(plan=fresh(plan), actor="operator", now=shop.now) == 1

    if detour == "declined upgrade":
        refused(shop.change(subscription, pro), 402, "PAYMENT_DECLINED")
    elif detour == "cancelled":
        assert Api().as_user(subscription.user).delete("/api/v1/subscriptions/me").status_code == 200
        assert shop.post(subscription, "resume").status_code == 200
    elif detour == "paused":
        assert shop.post(subscription, "pause").status_code == 200
        assert shop.post(subscription, "resume").status_code == 200
    else:
        assert shop.change(subscription, PlanFactory(price=Decimal("5.00"))).status_code == 200
        assert shop.change(subscription, PlanFactory(price=Decimal("6.00"))).status_code == 200
        assert shop.change(subscription, plan).json()["data"]["change"] is None

    shop.card(subscription, "ok")
    shop.run(END)
    assert (fresh(subscription).plan, taken()) == (plan, [31])


@pytest.mark.parametrize("by", ["sweep", "mail"])
def test_without_an_answer_it_is_unknown_and_applied_once_it_is_known(shop, bought, pro, by):
    subscription = bought("timeout")

    details = refused(shop.change(subscription, pro), 503, "PROVIDER_UNAVAILABLE")

    assert details["id"] == str(subscription.transactions.latest("pk").pk)
    untouched(subscription)
    # meanwhile nothing else is begun
    with nothing_changes():
        refused(shop.change(subscription, pro), 409, "PAYMENT_IN_PROGRESS")
        assert shop.sweep("payments_charges") == 0
    if by == "sweep":
        SandboxDelivery.objects.filter(status="pending").delete()  # the webhook is lost
        assert shop.sweep("payments_charges", later=LATER) == 1
    shop.drain()

    assert (fresh(subscription).plan, fresh(subscription).end_date, taken()) == (pro, END, [19])
    began = subscription.changes.get().effective_at
    assert periods(subscription) == [(START, began), (began, END)]
    assert ledger() == {"provider_clearing": 48, "revenue": -48}
    with nothing_changes():
        assert shop.sweep("payments_charges", later=LATER) == 0


def test_a_renewal_that_is_due_meanwhile_asks_first(shop, bought, pro):
    subscription = bought("timeout")
    refused(shop.change(subscription, pro), 503, "PROVIDER_UNAVAILABLE")
    SandboxDelivery.objects.filter(status="pending").delete()
    shop.card(subscription, "ok")

    shop.run(END)

    # the change has happened, and only then the renewal is that of the new plan
    assert (fresh(subscription).plan, fresh(subscription).end_date, taken()) == (pro, END, [19])
    shop.run(END + LEASE)
    assert (fresh(subscription).end_date, taken()) == (NEXT, [19, 58])
    assert ledger() == {"provider_clearing": 106, "revenue": -106}


def test_a_charge_that_never_left_is_sent_under_its_own_key(shop, bought, pro):
    """The process died between the commit and the call."""
    subscription = bought()
    shop.unreachable()
    refused(shop.change(subscription, pro), 503, "PROVIDER_UNAVAILABLE")
    key = subscription.transactions.latest("pk").idempotency_key
    assert taken() == []

    shop.reachable()
    assert shop.sweep("payments_charges", later=LATER) == 1

    assert SandboxPayment.objects.get(kind="charge").idempotency_key == key
    assert (fresh(subscription).plan, taken()) == (pro, [19])


def test_the_same_request_again_asks_for_the_charge_it_had_made(shop, bought, pro):
    subscription = bought("timeout")
    client = keyed(subscription.user)
    url, body = f"/api/v1/subscriptions/{subscription.pk}/change-plan", {"plan_id": pro.code}
    refused(client.post(url, body), 503, "PROVIDER_UNAVAILABLE")

    answer = client.post(url, body)

    assert (answer.status_code, answer.json()["data"]["change"]["status"], taken()) == (200, "applied", [19])
    with nothing_changes():
        assert client.post(url, body).json() == answer.json()


def test_a_change_that_was_cancelled_while_it_was_paid_is_told_so(shop, bought, pro):
    subscription = bought("timeout")
    client = keyed(subscription.user)
    url, body = f"/api/v1/subscriptions/{subscription.pk}/change-plan", {"plan_id": pro.code}
    refused(client.post(url, body), 503, "PROVIDER_UNAVAILABLE")
    assert Api().as_user(subscription.user).delete("/api/v1/subscriptions/me").status_code == 200

    refused(client.post(url, body), 409, "INVALID_TRANSITION")

    untouched(subscription)
    assert (invoices(subscription), statuses(subscription)) == (["paid", "void"], ["cancelled"])
    assert ledger() == {"provider_clearing": 48, "revenue": -29, "unapplied_payments": -19}
    # and the money goes back
    shop.sweep("payments_unapplied")
    shop.drain()
    assert ledger() == {"provider_clearing": 29, "revenue": -29}


def test_a_pause_while_it_is_unknown_keeps_its_payment_apart(shop, user, bought, pro):
    subscription = bought("timeout")
    refused(shop.change(subscription, pro), 503, "PROVIDER_UNAVAILABLE")
    assert shop.post(subscription, "pause").status_code == 200

    shop.drain()

    row = fresh(subscription)
    assert (row.status, row.amount, statuses(row), credit(user)) == ("paused", 29, ["cancelled"], 19)
    assert ledger() == {"provider_clearing": 48, "customer_credit": -19, "revenue": -10, "unapplied_payments": -19}
