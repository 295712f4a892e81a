"""Money that settles nothing becomes credit of its payer, once; and then it is not paid out as well."""

from __future__ import annotations

import uuid
from decimal import Decimal

import pytest

from payflow.core.money import Money
from payments.errors import InsufficientCredit, RefundExceedsPayment
from payments.models import CreditGrant, PaymentTransaction
from payments.selectors import payments_unapplied
from payments.services.credits import credit_revoke
from payments.services.incoming import ReportedPayment, payment_record_unapplied
from payments.services.refunds import refund_create
from payments.services.unapplied import UNMATCHED_PAYER, payment_credit
from tests.factories import PlanFactory
from tests.flows import DAY, START, fresh, ledger
from tests.payments.credit_support import balance, books_agree, spend

pytestmark = pytest.mark.django_db


def paid_for_nothing(shop, user) -> PaymentTransaction:
    """Ten dollars, really paid at the sandbox: a late payment of an expired checkout beside a live subscription of ten."""
    plan = PlanFactory()
    old = shop.checkout(user, plan)
    shop.run(START + 2 * DAY)
    shop.buy(user, plan)
    shop.pay(old)
    assert ledger() == {"provider_clearing": 20, "revenue": -10, "unapplied_payments": -10}
    return PaymentTransaction.objects.get(invoice=None, type="charge")


def recorded(user, *, provider: str = "lava", amount: str = "7.00") -> PaymentTransaction:
    payment = ReportedPayment(
        provider=provider,
        provider_txn_id=f"pay_{uuid.uuid4().hex}",
        money=Money(Decimal(amount), "USD"),
        user_id=user.pk,
        subscription_id=None,
        method=None,
        raw={},
    )
    return payment_record_unapplied(payment=payment, reason="no order of ours", at=START)


def refund(charge, amount: str | None = None):
    return refund_create(
        charge_id=charge.pk, amount=Decimal(amount) if amount else None, reason="asked", actor="test", at=START
    )


def refundable(charge) -> str:
    with pytest.raises(RefundExceedsPayment) as refusal:
        refund(charge, str(charge.amount))
    return refusal.value.details["refundable"]


def test_an_unapplied_payment_becomes_credit_of_its_payer_once(shop, user, settings):
    settings.UNAPPLIED_PAYMENT = "credit"
    charge = paid_for_nothing(shop, user)

    assert [shop.sweep("payments_unapplied") for _ in range(3)] == [1, 0, 0]

    grant = CreditGrant.objects.get()
    assert (grant.source, grant.key, grant.amount, grant.expires_at) == ("payment", f"payment:{charge.pk}", 10, None)
    assert grant.reason == "Unapplied payment: another subscription is live"
    assert (balance(user), fresh(charge).status, charge.children.count()) == (10, "completed", 0)
    assert ledger() == {"provider_clearing": 20, "revenue": -10, "customer_credit": -10}
    assert payment_credit(charge_id=charge.pk, at=START) is None
    assert not payments_unapplied().exists()
    # and switching the setting pays it out no second time
    settings.UNAPPLIED_PAYMENT = "refund"
    assert shop.sweep("payments_unapplied") == 0


@pytest.mark.parametrize(
    ("policy", "credited", "refunded"),
    [("refund", {"lava"}, {"sandbox"}), ("credit", {"lava", "sandbox", "gone"}, set()), ("review", set(), set())],
)
def test_what_the_setting_does_by_what_the_provider_can(shop, user, settings, policy, credited, refunded):
    settings.UNAPPLIED_PAYMENT = policy
    charges = {"sandbox": paid_for_nothing(shop, user)}
    charges |= {provider: recorded(user, provider=provider) for provider in ("lava", "gone")}
    sandbox = charges["sandbox"]
    assert set(payments_unapplied()) == set(charges.values())

    shop.sweep("payments_unapplied")

    keys = set(CreditGrant.objects.values_list("key", flat=True))
    assert keys == {f"payment:{charges[name].pk}" for name in credited}
    assert set(sandbox.children.values_list("type", flat=True)) == ({"refund"} if refunded else set())
    books_agree()


def test_nobodys_money_is_nobodys_credit(shop, user, settings):
    settings.UNAPPLIED_PAYMENT = "credit"
    shop.sandbox_event("payment.succeeded", payment_id="pay_x", order_ref="", amount="3.00", currency="USD")
    charge = PaymentTransaction.objects.get()
    assert charge.user.email == UNMATCHED_PAYER
    type(user).objects.filter(pk=charge.user_id).update(is_active=True)
    closed = recorded(user)
    type(user).objects.filter(pk=user.pk).update(is_active=False)

    assert shop.sweep("payments_unapplied") == 0
    assert set(payments_unapplied()) == {charge, closed}
    assert not CreditGrant.objects.exists()


def test_a_refund_comes_only_after_the_credit_is_taken_back(shop, user, settings):
    settings.UNAPPLIED_PAYMENT = "credit"
    charge = paid_for_nothing(shop, user)
    shop.sweep("payments_unapplied")
    spend(user, 4, "k")
    assert (balance(user), refundable(charge)) == (6, "0.00")
    with pytest.raises(RefundExceedsPayment):
        refund(charge)

    credit_revoke(grant_id=CreditGrant.objects.get().pk, reason="pay it out", actor="test", at=START)

    assert (balance(user), refundable(charge), set(payments_unapplied())) == (0, "6.00", {charge})
    assert shop.sweep("payments_unapplied") == 0
    assert refund(charge).amount == 6
    assert refundable(charge) == "0.00"
    assert ledger() == {"provider_clearing": 14, "revenue": -14}


def test_only_the_rest_of_a_refunded_payment_becomes_credit(shop, user):
    charge = paid_for_nothing(shop, user)
    refund(charge, "4")

    grant = payment_credit(charge_id=charge.pk, at=START)

    assert grant is not None and grant.amount == 6
    assert refundable(charge) == "0.00"
    assert (balance(user), ledger()) == (6, {"provider_clearing": 16, "revenue": -10, "customer_credit": -6})


def test_what_has_a_refund_is_left_to_an_operator(shop, user, settings):
    settings.UNAPPLIED_PAYMENT = "credit"
    refund(paid_for_nothing(shop, user), "4")
    assert shop.sweep("payments_unapplied") == 0


def test_what_is_applied_or_reversed_never_becomes_credit(shop, user):
    charge = paid_for_nothing(shop, user)
    applied = PaymentTransaction.objects.exclude(invoice=None).get()
    back = refund(charge)
    for row in (applied, charge, back):
        assert payment_credit(charge_id=row.pk, at=START) is None
    assert balance(user) == 0


@pytest.mark.parametrize(
    ("spent", "at_provider", "rest", "books"),
    [
        # Nothing is spent: what the provider paid out is taken back.
        (0, 4, 6, {"provider_clearing": 16, "customer_credit": -6, "revenue": -10}),
        # Four are spent, six are left of ten, and all ten were paid out: four are lost to us.
        (4, 10, 0, {"provider_clearing": 10, "unapplied_payments": 4, "revenue": -14}),
    ],
)
def test_a_refund_made_at_the_provider_is_taken_out_of_the_credit(shop, user, spent, at_provider, rest, books):
    charge = paid_for_nothing(shop, user)
    payment_credit(charge_id=charge.pk, at=START)
    if spent:
        spend(user, spent, "k")

    shop.refund(charge, amount=str(at_provider))

    assert (fresh(charge).refunded_amount, balance(user)) == (at_provider, rest)
    assert ledger() == books
    assert refundable(charge) == "0.00"


def test_what_is_disputed_is_not_spent_until_the_dispute_has_ended(shop, user, settings):
    settings.UNAPPLIED_PAYMENT = "credit"
    charge = paid_for_nothing(shop, user)
    shop.sweep("payments_unapplied")

    dispute = shop.dispute(charge, amount="4.00")

    with pytest.raises(InsufficientCredit) as refusal:
        spend(user, "6.01", key="more")
    assert (refusal.value.details["available"], balance(user)) == ("6.00", 10)
    spend(user, "6.00", key="free")
    shop.dispute_ends(dispute, "won")
    spend(user, "4.00", key="rest")
    books_agree()
    assert balance(user) == 0
