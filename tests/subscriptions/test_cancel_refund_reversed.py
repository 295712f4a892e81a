"""The refund of a cancellation comes back from the payer's bank: what he is owed for the unused time is credit then."""

from __future__ import annotations

from decimal import Decimal

import pytest

from payflow.core.money import Money
from payments.models import PaymentTransaction, TaxRate
from payments.services.refunds import refund_apply, refund_report
from providers.base import RefundResult
from subscriptions.access import has_access
from tests.conftest import Api
from tests.flows import credit, fresh, give_credit, ledger, periods, steps
from tests.subscriptions.february import LATER, TENTH, plan


@pytest.fixture(autouse=True)
def _customers_refund_themselves(settings):
    settings.CUSTOMER_REFUNDS = True


def cancel(subscription) -> list[PaymentTransaction]:
    """Ends it now; answers the refunds of its unused time."""
    url = f"/api/v1/subscriptions/{subscription.pk}?when=now&refund=true"
    assert Api().as_user(subscription.user).delete(url).status_code == 200
    return list(PaymentTransaction.objects.filter(type="refund").select_related("parent").order_by("pk"))


def came_back(shop, refund, refund_id: str | None = None) -> None:
    shop.sandbox_event(
        "payment.refund_reversed",
        refund_id=refund_id or refund.provider_txn_id,
        payment_id=refund.parent.provider_txn_id,
        amount=str(refund.amount),
        currency=refund.currency,
        idempotency_key=refund.idempotency_key,
    )


def test_the_unused_time_becomes_credit_and_nobody_is_let_in(shop, user):
    subscription = shop.buy(user, plan())
    shop.at(TENTH)
    [refund] = cancel(subscription)
    before = (steps(subscription), periods(subscription))
    assert (credit(user), ledger()) == (0, {"provider_clearing": 10, "refunds": 19, "revenue": -29})

    came_back(shop, refund)

    row, charge = fresh(subscription), fresh(refund.parent)
    assert (fresh(refund).status, charge.status, charge.refunded_amount) == ("reversed", "completed", 0)
    assert (credit(user), ledger()) == (19, {"provider_clearing": 29, "customer_credit": -19, "revenue": -10})
    assert (row.status, row.review_reason, has_access(row, TENTH)) == ("cancelled", "a refund came back", False)
    assert (steps(row), periods(row)) == before
    # told twice, it is credit once
    came_back(shop, refund)
    assert (credit(user), ledger()["customer_credit"]) == (19, -19)
    # it is sent anew: nobody has the money and the credit
    refund_report(
        provider="sandbox",
        charge_txn_id=charge.provider_txn_id,
        refund_txn_id="re_anew",
        money=Money(Decimal(19), "USD"),
        idempotency_key=None,
        at=shop.now,
    )
    assert (credit(user), ledger()) == (0, {"provider_clearing": 10, "refunds": 19, "revenue": -29})


def test_the_credit_pays_what_is_bought_anew(shop, user):
    subscription = shop.buy(user, plan())
    shop.at(TENTH)
    [refund] = cancel(subscription)
    came_back(shop, refund)

    again = shop.buy(user, plan("30.00"))

    assert (credit(user), again.invoices.get().credit, again.transactions.get().amount) == (0, 19, 11)
    assert ledger() == {"provider_clearing": 40, "revenue": -40}


def test_each_of_the_refunds_after_an_upgrade_comes_back_by_itself(shop, user):
    subscription = shop.buy(user, plan())
    shop.at(TENTH)
    assert shop.change(subscription, plan("58.00")).status_code == 200
    of_upgrade, of_first = cancel(subscription)
    assert (of_upgrade.amount, of_first.amount) == (19, 19)

    came_back(shop, of_first)
    assert (credit(user), ledger()["provider_clearing"]) == (19, 29)
    came_back(shop, of_upgrade)

    assert credit(user) == 38
    assert ledger() == {"provider_clearing": 48, "customer_credit": -38, "revenue": -10}


def test_what_credit_had_paid_was_credit_already_and_the_tax_is_told(shop, user):
    TaxRate.objects.create(country="DE", name="VAT", percent=Decimal(10))
    user.country = "DE"
    user.save()
    give_credit(user, "20.90")
    subscription = shop.buy(user, plan())  # 31.90, of which 11.00 are money
    shop.at(TENTH)
    [refund] = cancel(subscription)  # 20.90 are unused
    assert (refund.amount, credit(user)) == (11, Decimal("9.90"))

    came_back(shop, refund)

    assert credit(user) == Decimal("20.90")
    assert ledger() == {
        "provider_clearing": 11,
        "discounts": Decimal("20.90"),
        "customer_credit": Decimal("-20.90"),
        "revenue": -10,
        "tax": -1,
    }


def test_one_without_an_answer_that_came_back_was_never_made_and_is_owed_all_the_same(shop, user):
    subscription = shop.buy(user, plan())
    shop.at(TENTH)
    shop.unreachable()
    [refund] = cancel(subscription)
    shop.reachable()
    assert refund.status == "pending"

    came_back(shop, refund, "re_late")

    assert (fresh(refund).status, fresh(refund.parent).refunded_amount) == ("reversed", 0)
    assert (credit(user), ledger()) == (19, {"provider_clearing": 29, "customer_credit": -19, "revenue": -10})
    assert shop.sweep("payments_refunds", later=LATER) == 0


def test_no_more_is_owed_than_came_back(shop, user):
    """The provider had moved less than was asked for: an operator looks at the rest since then."""
    subscription = shop.buy(user, plan())
    shop.at(TENTH)
    shop.unreachable()
    [refund] = cancel(subscription)
    shop.reachable()
    refund_apply(refund_id=refund.pk, result=RefundResult("succeeded", "re_less", Decimal(15)), at=TENTH)

    came_back(shop, fresh(refund))

    assert (credit(user), ledger()) == (15, {"provider_clearing": 29, "customer_credit": -15, "revenue": -14})
