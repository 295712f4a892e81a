"""Refunds and chargebacks of one payment: whichever is first, and at once, by real calls of the sandbox."""

from __future__ import annotations

import pytest

from payments.models import PaymentTransaction
from tests.conftest import Api
from tests.flows import START, fresh, ledger, nothing_changes, refused
from tests.gateway import while_asked
from tests.payments.test_disputes import chargebacks, report, the_charge, url
from tests.providers.sandbox_support import at_once


@pytest.mark.parametrize("outcome", [None, "lost"])
def test_what_is_disputed_is_not_refunded(shop, user, admin, outcome):
    shop.buy(user)
    charge = the_charge()
    dispute = shop.dispute(charge)
    if outcome:
        shop.dispute_ends(dispute, outcome)

    with nothing_changes():
        for amount in ({}, {"amount": 1}):
            answer = Api().as_user(admin).post(url(charge), {"reason": "asked", **amount})
            refused(answer, 409, "INVALID_TRANSITION")
            assert "disputed" in answer.json()["error"]
    assert fresh(charge).refunded_amount == 0


def test_a_chargeback_of_what_was_refunded_is_recorded_as_it_comes(shop, user):
    shop.buy(user)
    charge = the_charge()
    shop.refund(charge)

    shop.dispute_ends(shop.dispute(charge), "lost")

    assert (fresh(charge).status, chargebacks()) == ("refunded", [("completed", 10)])
    # the money went twice, and the books say so
    assert ledger() == {"chargebacks": 10, "provider_clearing": -10, "refunds": 10, "revenue": -10}


def test_a_refund_that_a_dispute_overtakes_at_the_provider_frees_its_reservation(shop, user, admin):
    subscription = shop.buy(user)
    charge = the_charge()

    with while_asked(shop, "/refunds", before=lambda: shop.dispute(charge)) as asked:
        refused(Api().as_user(admin).post(url(charge), {"reason": "asked"}), 409, "INVALID_TRANSITION")

    assert len(asked) == 1
    refund = PaymentTransaction.objects.get(type="refund")
    assert (refund.status, fresh(charge).refunded_amount, chargebacks()) == ("failed", 0, [("pending", 10)])
    assert ledger() == {"provider_clearing": 10, "revenue": -10}
    assert (fresh(subscription).status, fresh(subscription).disputed_at) == ("active", START)


def test_a_refund_that_the_provider_made_before_the_dispute_is_a_refund(shop, user, admin):
    subscription = shop.buy(user)
    charge = the_charge()

    with while_asked(shop, "/refunds", after=lambda: shop.dispute(charge)):
        answer = Api().as_user(admin).post(url(charge), {"reason": "asked"})

    assert answer.status_code == 201
    refund = PaymentTransaction.objects.get(type="refund")
    assert (refund.status, fresh(charge).status, chargebacks()) == ("completed", "refunded", [("pending", 10)])
    assert ledger() == {"refunds": 10, "revenue": -10}
    assert fresh(subscription).status == "cancelled"


def test_a_refund_and_a_dispute_at_once_leave_the_one_or_both_in_order(shop, user, admin):
    shop.buy(user)
    charge = the_charge()
    calls = iter(
        [
            lambda: Api().as_user(admin).post(url(charge), {"reason": "asked"}).status_code,
            lambda: report(shop, charge, "lost"),
        ]
    )

    status, _ = sorted(at_once(lambda: next(calls)(), 2), key=lambda each: each is None)

    refunds = list(PaymentTransaction.objects.filter(type="refund").values_list("status", flat=True))
    assert chargebacks() == [("completed", 10)]
    if status == 201:
        assert (refunds, ledger()["refunds"], ledger()["chargebacks"]) == (["completed"], 10, 10)
    else:
        assert (status, refunds, fresh(charge).refunded_amount) == (409, [], 0)
        assert ledger() == {"chargebacks": 10, "revenue": -10}
