"""Further periods that are paid ahead: what a pause gives back of them, and what a change does not touch."""

from __future__ import annotations

from decimal import Decimal

import pytest
from django.db import transaction

from payments.models import TaxRate
from subscriptions.billing import Source, bill_cycle
from subscriptions.locks import subscription_lock
from tests.conftest import Api
from tests.flows import START, credit, fresh, invoices, ledger, nothing_changes, periods, refused
from tests.subscriptions.february import END, NEXT, TENTH, TWENTIETH, newest, plan


@pytest.fixture
def ahead(shop, user):
    """Returns how to buy February for 29.00 and pay March too, standing at 10 February."""

    def buy():
        subscription = shop.buy(user, plan())
        with transaction.atomic():
            invoice = bill_cycle(subscription_lock(subscription.pk), source=Source.RENEWAL, at=shop.now)
        assert Api().as_user(user).post("/api/v1/payments/", {"invoice_id": str(invoice.pk)}).status_code == 201
        assert (fresh(subscription).end_date, periods(subscription)) == (NEXT, [(START, END), (END, NEXT)])
        shop.at(TENTH)
        return fresh(subscription)

    return buy


def test_a_pause_gives_all_of_it_back(shop, user, ahead):
    subscription = ahead()

    assert shop.post(subscription, "pause").status_code == 200

    row = fresh(subscription)
    assert (row.status, row.end_date, periods(row)) == ("paused", row.paused_at, [(START, row.paused_at)])
    assert credit(user) == 19 + 29
    assert ledger() == {"provider_clearing": 58, "customer_credit": -48, "revenue": -10}
    # and what is resumed is paid with it: nine days of February, then March
    shop.at(TWENTIETH)
    assert shop.post(row, "resume").status_code == 200
    assert credit(user) == 39
    shop.run(END)
    assert (fresh(row).end_date, credit(user), newest(row).total) == (NEXT, 10, 0)
    assert ledger() == {"provider_clearing": 58, "customer_credit": -10, "revenue": -48}


def test_a_pause_gives_the_tax_of_it_back_too(shop, user, ahead):
    TaxRate.objects.create(country="DE", name="VAT", percent=Decimal(10))
    type(user).objects.filter(pk=user.pk).update(country="DE")
    subscription = ahead()

    assert shop.post(subscription, "pause").status_code == 200

    assert credit(user) == Decimal("52.80")
    books = {"provider_clearing": Decimal("63.80"), "customer_credit": Decimal("-52.80")}
    assert ledger() == books | {"revenue": -10, "tax": -1}


def test_a_change_now_is_refused_and_one_at_the_end_follows_all_of_it(shop, ahead, pro):
    subscription = ahead()
    with nothing_changes():
        refused(shop.change(subscription, pro), 409, "INVALID_TRANSITION")
        refused(shop.post(subscription, "preview-change", plan_id=pro.code), 409, "INVALID_TRANSITION")

    assert shop.change(subscription, pro, when="period_end").status_code == 200

    shop.run(NEXT)
    assert (fresh(subscription).plan, newest(subscription).total, len(invoices(subscription))) == (pro, 58, 3)
