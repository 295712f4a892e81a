"""Changes of plan that wait for a page to be paid on: what is paid there, too late, or never."""

from __future__ import annotations

from datetime import datetime, timedelta
from decimal import Decimal

import pytest

from payflow.core.registry import registered
from payments.models import Invoice, PaymentTransaction
from providers.sandbox.models import SandboxCheckout
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
from tests.subscriptions.february import END, TENTH, page_of, statuses, taken, untouched

PAGES = "subscriptions_change_pages"


def test_without_a_method_the_change_waits_for_its_page(shop, bought, pro):
    subscription = bought()
    shop.no_card(subscription)

    preview = shop.preview(subscription, pro)
    answer = shop.change(subscription, pro, quoted_at=preview["quoted_at"], total=19)

    data, page = answer.json()["data"], page_of(subscription)
    assert (preview["effective"], data["change"]["status"], data["change"]["effective"]) == (
        "on_payment",
        "open",
        "on_payment",
    )
    assert (data["checkout_url"], page.amount, page.invoice.status) == (page.url, 19, "draft")
    # one payment of 19.00: the provider must not make a subscription of it
    assert SandboxCheckout.objects.get(order_ref=page.order_ref).kind == "link"
    untouched(subscription)
    assert ledger() == {"provider_clearing": 29, "revenue": -29}
    # when it is paid
    shop.at(TENTH + timedelta(hours=5))
    shop.pay(page)
    row, began = fresh(subscription), datetime.fromisoformat(preview["quoted_at"])
    assert (row.plan, row.end_date, statuses(row), fresh(page).status) == (pro, END, ["applied"], "paid")
    assert periods(row) == [(START, began), (began, END)]
    assert row.payment_method is not None
    assert ledger() == {"provider_clearing": 48, "revenue": -48}
    shop.run(END)
    assert taken() == [58]


def test_a_page_paid_after_the_period_grants_nothing(shop, bought, pro):
    subscription = bought()
    shop.no_card(subscription)
    shop.change(subscription, pro)
    page = page_of(subscription)
    shop.run(END)
    assert (fresh(subscription).status, statuses(subscription)) == ("past_due", ["cancelled"])

    shop.pay(page)

    assert (fresh(subscription).status, fresh(subscription).amount) == ("past_due", 29)
    assert fresh(page.invoice).status == "void"
    assert ledger() == {"provider_clearing": 48, "receivable": 29, "revenue": -58, "unapplied_payments": -19}


def test_a_page_paid_after_another_change_grants_nothing(shop, bought, pro):
    subscription = bought()
    shop.no_card(subscription)
    shop.change(subscription, pro)
    old = page_of(subscription)
    best = PlanFactory(price=Decimal("87.00"))
    assert shop.change(subscription, best).status_code == 200
    new = page_of(subscription)
    assert (fresh(old).status, fresh(new).status, new.amount) == ("expired", "open", 38)

    shop.pay(old)
    assert fresh(subscription).amount == 29
    shop.pay(new)

    assert (fresh(subscription).plan, statuses(subscription)) == (best, ["cancelled", "applied"])
    assert ledger() == {"provider_clearing": 86, "revenue": -67, "unapplied_payments": -19}


def test_a_page_paid_after_a_cancellation_grants_nothing(shop, bought, pro):
    subscription = bought()
    shop.no_card(subscription)
    shop.change(subscription, pro)
    assert Api().as_user(subscription.user).delete("/api/v1/subscriptions/me").status_code == 200

    shop.pay(page_of(subscription))

    untouched(subscription)
    assert ledger() == {"provider_clearing": 48, "revenue": -29, "unapplied_payments": -19}


def test_credit_that_waits_with_a_change_is_previewed_as_if_it_did_not(shop, user, bought, pro):
    subscription = bought()
    shop.no_card(subscription)
    give_credit(user, "9.00")
    assert shop.change(subscription, pro).status_code == 200
    assert (page_of(subscription).amount, credit(user)) == (10, 0)

    # asking again replaces the first, which gives its 9.00 back
    preview = shop.preview(subscription, pro)
    assert (preview["credit"], preview["total"]) == (9, 10)
    assert shop.change(subscription, pro, quoted_at=preview["quoted_at"], total=10).status_code == 200

    assert (statuses(subscription), credit(user)) == (["cancelled", "open"], 0)
    assert Invoice.objects.filter(subscription=subscription, reason="change", status="void").count() == 1


@pytest.mark.parametrize("back", ["refund", "dispute"])
def test_a_page_whose_unused_time_was_given_back_meanwhile_grants_nothing(shop, bought, pro, back):
    """Its 19.00 are 38.00 less 19.00 of a payment of which 20.00 have gone back since."""
    subscription = bought()
    shop.no_card(subscription)
    assert shop.change(subscription, pro).status_code == 200
    page = page_of(subscription)
    charge = PaymentTransaction.objects.get(type="charge")

    (shop.refund if back == "refund" else shop.dispute)(charge, amount="20.00")

    assert (statuses(subscription), invoices(subscription)) == (["cancelled"], ["paid", "void"])
    shop.pay(page)
    untouched(subscription)
    assert PaymentTransaction.objects.get(type="charge", amount=19).invoice is None


def test_a_provider_that_is_silent_about_the_page_is_asked_again(shop, bought, pro):
    subscription = bought()
    shop.no_card(subscription)
    shop.unreachable()
    refused(shop.change(subscription, pro), 503, "PROVIDER_UNAVAILABLE")
    untouched(subscription)

    shop.reachable()
    answer = shop.change(subscription, pro)

    assert (answer.status_code, answer.json()["data"]["checkout_url"]) == (200, page_of(subscription).url)
    shop.pay(page_of(subscription))
    assert (fresh(subscription).plan, PaymentTransaction.objects.filter(invoice=None).count()) == (pro, 0)


def test_credit_that_a_page_holds_comes_back_when_the_page_expires(shop, user, bought, pro, settings):
    subscription = bought()
    shop.no_card(subscription)
    give_credit(user, "9.00")
    assert shop.change(subscription, pro).status_code == 200
    page = page_of(subscription)
    assert (page.amount, credit(user), shop.sweep(PAGES)) == (10, 0, 0)
    assert registered.sweeps[PAGES].next_due(shop.now) == page.expires_at

    shop.at(page.expires_at)
    assert shop.sweep(PAGES) == 1

    assert (fresh(page).status, statuses(subscription), invoices(subscription)) == (
        "expired",
        ["cancelled"],
        ["paid", "void"],
    )
    assert (credit(user), registered.sweeps[PAGES].next_due(shop.now)) == (9, None)
    untouched(subscription)
    with nothing_changes():
        assert shop.sweep(PAGES) == 0
        assert "change" not in [each.purpose for each in subscription.checkouts.filter(status="open")]
    # and who pays there all the same gets it back
    shop.pay(page)
    untouched(subscription)
    assert ledger()["unapplied_payments"] == -10


def test_a_page_that_expires_leaves_what_it_had_replaced_planned(shop, bought, pro):
    subscription, least = bought(), PlanFactory(price=Decimal("5.00"))
    assert shop.change(subscription, least).status_code == 200
    shop.no_card(subscription)
    assert shop.change(subscription, pro).status_code == 200

    shop.at(page_of(subscription).expires_at)
    assert shop.sweep(PAGES) == 1

    assert (subscription.changes.get(status="open").plan, fresh(subscription).plan_id) == (least, subscription.plan_id)
