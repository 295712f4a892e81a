"""Refunds that moved another amount, were made though refused, or came back: the books say what moved, an operator looks."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal

import pytest
from django.db import IntegrityError, transaction

from payflow.core.errors import ProviderUnavailable
from payflow.core.money import Money
from payments.models import LedgerPosting, PaymentTransaction
from payments.services.refund_reversals import refund_reverse
from payments.services.refunds import refund_apply, refund_create, refund_report
from providers.base import RefundResult
from tests.factories import PlanFactory
from tests.flows import DAY, START, credit, fresh, ledger, nothing_changes
from webhooks.models import InboundEvent


@pytest.fixture
def pending(shop, user):
    """Returns how to ask for a refund of 10.00, or a part, that gets no answer; answers subscription, charge and refund."""

    def ask(amount: str | None = None):
        subscription = shop.buy(user)
        charge = PaymentTransaction.objects.get(type="charge")
        shop.unreachable()
        with pytest.raises(ProviderUnavailable):
            wanted = Decimal(amount) if amount else None
            refund_create(charge_id=charge.pk, amount=wanted, reason="asked", actor="system", at=START)
        shop.reachable()
        return subscription, charge, PaymentTransaction.objects.get(type="refund")

    return ask


def answered(refund, amount: str | None, status: str = "succeeded"):
    result = RefundResult(status, "re_answer", Decimal(amount) if amount else None)
    return refund_apply(refund_id=refund.pk, result=result, at=START)


@pytest.mark.parametrize(("moved", "status", "held"), [("2.00", "completed", 8), ("10.00", "refunded", 0)])
def test_what_moved_is_in_the_books_whatever_was_asked_for(pending, moved, status, held):
    subscription, charge, refund = pending("3.00")
    answered(refund, moved)
    assert (fresh(refund).amount, fresh(charge).refunded_amount) == (Decimal(moved), Decimal(moved))
    assert fresh(charge).status == status
    books = {"provider_clearing": held, "refunds": Decimal(moved), "revenue": -10}
    assert ledger() == {account: amount for account, amount in books.items() if amount}
    assert fresh(subscription).review_reason == "a refund moved another amount than was asked for"
    with nothing_changes():
        answered(refund, "3.00")


def test_the_amount_that_was_asked_for_is_no_news(pending):
    subscription, _, refund = pending("3.00")
    answered(refund, "3.0000")
    assert (fresh(refund).metadata, fresh(subscription).review_reason) == ({}, "")


def test_nothing_that_moved_is_a_refusal(pending):
    subscription, charge, refund = pending()
    answered(refund, "0.00")
    assert (fresh(refund).status, fresh(charge).refunded_amount) == ("failed", 0)
    assert fresh(subscription).review_reason == "a refund was refused"


def test_more_than_had_been_paid_is_booked_and_looked_at(pending):
    subscription, charge, refund = pending("3.00")
    answered(refund, "12.00")
    assert (fresh(charge).status, fresh(charge).refunded_amount) == ("refunded", 10)
    assert ledger() == {"provider_clearing": -2, "refunds": 12, "revenue": -10}
    assert fresh(subscription).review_reason == "more was refunded than had been paid"


def late(charge, refund):
    return refund_report(
        provider="sandbox",
        charge_txn_id=charge.provider_txn_id,
        refund_txn_id="re_late",
        money=Money(refund.amount, "USD"),
        idempotency_key=refund.idempotency_key,
        at=START,
    )


def test_a_refused_refund_that_was_made_after_its_money_went_another_way_is_booked(shop, pending):
    subscription, charge, refund = pending()
    answered(refund, None, "failed")
    shop.refund(charge)

    late(charge, refund)

    assert (fresh(refund).status, fresh(charge).refunded_amount) == ("completed", 10)
    assert ledger() == {"provider_clearing": -10, "refunds": 20, "revenue": -10}
    assert fresh(subscription).review_reason == "more was refunded than had been paid"
    with nothing_changes():
        late(charge, refund)
    # one of the two comes back, and it is as if it had not been
    reverse(charge, PaymentTransaction.objects.get(type="refund", reason="made at the provider"))
    assert (fresh(charge).status, fresh(charge).refunded_amount) == ("refunded", 10)
    assert ledger() == {"refunds": 10, "revenue": -10}


# --- refunds that come back -------------------------------------------------------------------------------------------


def reverse(charge, refund):
    return refund_reverse(
        provider="sandbox",
        charge_txn_id=charge.provider_txn_id,
        refund_txn_id=refund.provider_txn_id or "re_late",
        idempotency_key=refund.idempotency_key,
        at=START,
    )


def came_back(shop, charge, refund_id: str) -> None:
    shop.sandbox_event(
        "payment.refund_reversed",
        refund_id=refund_id,
        payment_id=charge.provider_txn_id,
        amount="29.00",
        currency="USD",
    )


@pytest.fixture
def bought(shop, user):
    """29.00 for 29 days; answers the subscription and its charge on the tenth day."""
    subscription = shop.buy(user, PlanFactory(price=Decimal("29.00")))
    shop.at(START + 10 * DAY)
    return subscription, PaymentTransaction.objects.get(type="charge")


def test_what_came_back_is_reversed_once_and_its_unused_time_is_credit(shop, user, bought):
    subscription, charge = bought
    shop.refund(charge)
    assert (fresh(subscription).status, credit(user)) == ("cancelled", 0)
    refund = PaymentTransaction.objects.get(type="refund")

    came_back(shop, charge, refund.provider_txn_id)

    assert (fresh(refund).status, fresh(charge).status, fresh(charge).refunded_amount) == ("reversed", "completed", 0)
    assert credit(user) == 19
    assert ledger() == {"provider_clearing": 29, "customer_credit": -19, "revenue": -10}
    assert fresh(subscription).review_reason == "a refund came back"
    rows = PaymentTransaction.objects.count(), LedgerPosting.objects.count()
    came_back(shop, charge, refund.provider_txn_id)
    assert (PaymentTransaction.objects.count(), LedgerPosting.objects.count()) == rows
    # it is sent anew, and nobody has that and the credit
    refund_report(
        provider="sandbox",
        charge_txn_id=charge.provider_txn_id,
        refund_txn_id="re_anew",
        money=Money(Decimal(29), "USD"),
        idempotency_key=None,
        at=shop.now,
    )
    assert (credit(user), ledger()) == (0, {"refunds": 29, "revenue": -29})


def test_credit_that_the_refund_had_taken_comes_back_with_it(shop, user, bought):
    subscription, charge = bought
    assert shop.post(subscription, "pause").status_code == 200
    shop.refund(charge)
    assert credit(user) == 0
    reverse(charge, PaymentTransaction.objects.get(type="refund"))
    assert credit(user) == 19
    assert ledger() == {"provider_clearing": 29, "customer_credit": -19, "revenue": -10}


def test_it_may_be_heard_of_before_the_refund(shop, user, bought):
    _, charge = bought
    came_back(shop, charge, "re_early")
    [news] = InboundEvent.objects.filter(status="failed")
    with nothing_changes():
        shop.sweep("webhooks_inbound")
    shop.sandbox_event(
        "payment.refunded", refund_id="re_early", payment_id=charge.provider_txn_id, amount="29.00", currency="USD"
    )
    assert fresh(charge).status == "refunded"
    shop.sweep("webhooks_inbound", later=timedelta(days=1))
    assert fresh(news).status == "processed"
    assert (fresh(charge).status, credit(user)) == ("completed", 19)


def test_ours_without_an_answer_that_came_back_is_never_booked(pending):
    _, charge, refund = pending()
    reverse(charge, refund)
    assert (fresh(refund).status, fresh(charge).refunded_amount) == ("reversed", 0)
    with nothing_changes():
        answered(refund, "10.00")
        late(charge, refund)
    assert ledger() == {"provider_clearing": 10, "revenue": -10}


def test_the_database_reverses_refunds_only_and_for_ever(shop, user, bought):
    _, charge = bought
    shop.refund(charge)
    refund = PaymentTransaction.objects.get(type="refund")
    reverse(charge, refund)
    for row, status in ((charge, "reversed"), (refund, "completed")):
        with pytest.raises(IntegrityError), transaction.atomic():
            PaymentTransaction.objects.filter(pk=row.pk).update(status=status)
