"""News of refunds finds the refund that it is about, and no other: by key, by id, by amount only where it names no key."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal

import pytest

from payflow.core.errors import ProviderUnavailable
from payflow.core.money import Money
from payments.errors import PaymentInProgress
from payments.models import PaymentTransaction
from payments.services.refunds import refund_create, refund_report
from providers.sandbox.models import SandboxRefund
from tests.flows import DAY, START, fresh, ledger, nothing_changes, paid
from webhooks.models import InboundEvent

LATER = timedelta(minutes=3)


@pytest.fixture
def pending(shop, user):
    """Returns how to ask for a refund that gets no answer; answers the subscription, its charge and the refund."""

    def ask(amount: str | None):
        subscription = shop.buy(user)
        charge = PaymentTransaction.objects.get(type="charge")
        shop.unreachable()
        with pytest.raises(ProviderUnavailable):
            wanted = Decimal(amount) if amount else None
            refund_create(charge_id=charge.pk, amount=wanted, reason="asked", actor="system", at=START)
        shop.reachable()
        return subscription, charge, PaymentTransaction.objects.get(type="refund")

    return ask


def refunds() -> list[tuple[str, Decimal, str]]:
    rows = PaymentTransaction.objects.filter(type="refund").order_by("pk")
    return list(rows.values_list("status", "amount", "reason"))


def reported(charge: PaymentTransaction, refund_txn_id: str, amount: str, key: str | None):
    return refund_report(
        provider="sandbox",
        charge_txn_id=str(charge.provider_txn_id),
        refund_txn_id=refund_txn_id,
        money=Money(Decimal(amount), "USD"),
        idempotency_key=key,
        at=START,
    )


def test_news_of_another_refund_of_the_same_amount_is_not_taken_for_ours(shop, pending):
    _, charge, ours = pending("4.00")

    shop.refund(charge, amount="4.00")

    assert refunds() == [("pending", 4, "asked"), ("completed", 4, "made at the provider")]
    assert shop.sweep("payments_refunds", later=LATER) == 1
    shop.drain()
    assert (fresh(ours).status, SandboxRefund.objects.count()) == ("completed", 2)
    assert (fresh(charge).refunded_amount, ledger()) == (8, {"provider_clearing": 2, "refunds": 8, "revenue": -10})


def test_news_of_another_refund_waits_where_ours_without_an_answer_leaves_it_no_room(shop, pending):
    subscription, charge, ours = pending(None)

    shop.refund(charge)

    assert refunds() == [("pending", 10, "asked")]
    assert (InboundEvent.objects.latest("pk").status, fresh(subscription).status) == ("failed", "active")
    assert shop.sweep("payments_refunds", later=LATER) == 1  # the provider has nothing left to give back
    assert shop.sweep("webhooks_inbound", later=DAY) == 1
    assert refunds() == [("failed", 10, "asked"), ("completed", 10, "made at the provider")]
    assert (fresh(subscription).status, fresh(ours).failure_code) == ("cancelled", "refused")
    assert ledger() == {"refunds": 10, "revenue": -10}


def test_news_without_a_key_is_ours_by_its_amount(pending):
    _, charge, ours = pending("4.00")
    assert reported(charge, "re_1", "4.00", None).pk == ours.pk
    assert refunds() == [("completed", 4, "asked")]


def test_news_under_our_key_is_that_refund_whatever_its_id(pending):
    _, charge, ours = pending("4.00")
    assert reported(charge, "re_1", "4.00", ours.idempotency_key).pk == ours.pk
    with nothing_changes():
        assert reported(charge, "re_2", "4.00", ours.idempotency_key).pk == ours.pk


def test_news_that_contradicts_what_is_known_is_for_an_operator(other_user, pending):
    _, charge, ours = pending("4.00")
    with nothing_changes(), pytest.raises(ValueError, match="another amount"):
        reported(charge, "re_1", "3.00", ours.idempotency_key)
    assert reported(charge, "re_1", "4.00", ours.idempotency_key).pk == ours.pk
    _, another = paid(other_user)
    with nothing_changes(), pytest.raises(ValueError, match="another payment's"):
        reported(another, "re_1", "4.00", None)


def test_more_than_is_left_waits_only_for_what_may_still_be_refused(shop, pending):
    _, charge, _ = pending("4.00")
    with nothing_changes(), pytest.raises(PaymentInProgress):
        reported(charge, "re_1", "7.00", "another")
