"""Authentic money is recorded whatever comes with it, in whatever order it comes."""

from __future__ import annotations

import json
from datetime import timedelta

import pytest

from payments.models import PaymentMethod, PaymentTransaction
from providers.sandbox.models import SandboxDelivery
from tests.conftest import Api
from tests.factories import PlanFactory, UserFactory
from tests.flows import fresh, ledger
from webhooks.models import InboundEvent

pytestmark = pytest.mark.django_db(transaction=True)


def paid_event(checkout, **more):
    return {
        "payment_id": "pay_strange",
        "order_ref": checkout.order_ref,
        "amount": "10.00",
        "currency": "USD",
        **more,
    }


@pytest.mark.parametrize(
    "strange",
    [
        {"note": "half a pair \ud83d"},
        {"note": "C:\\u0000"},
        {"note": "a \0 byte"},
        {"method": {"ref": "pm_x", "customer": "cus_x", "brand": "B" * 200, "last4": "4242424242", "kind": "k" * 90}},
    ],
    ids=["surrogate", "backslash", "NUL", "long words"],
)
def test_a_detail_that_does_not_fit_its_column_does_not_keep_money_out(shop, user, strange):
    checkout = shop.checkout(user, PlanFactory())

    shop.sandbox_event("payment.succeeded", **paid_event(checkout, **strange))

    assert fresh(checkout.subscription).status == "active"
    assert ledger() == {"provider_clearing": 10, "revenue": -10}


def test_a_method_of_somebody_else_is_not_taken_over_and_the_money_counts(shop, user):
    stranger = UserFactory()
    theirs = PaymentMethod.objects.create(user=stranger, provider="sandbox", method_ref="pm_theirs")
    checkout = shop.checkout(user, PlanFactory())
    method = {"ref": "pm_theirs", "customer": "cus_x", "brand": "Visa", "last4": "4242"}

    shop.sandbox_event("payment.succeeded", **paid_event(checkout, method=method))

    subscription = fresh(checkout.subscription)
    assert (subscription.status, subscription.payment_method_id) == ("active", None)
    assert fresh(theirs).user_id == stranger.pk


def test_a_refund_that_is_told_before_its_payment_waits_for_it(shop, user):
    """Any order, the same end."""
    # given a purchase and its refund at the provider, whose news have not come
    subscription = shop.buy(user)
    charge = PaymentTransaction.objects.get()
    shop.sandbox("POST", f"payments/{charge.provider_txn_id}/refunds", {"reason": "goodwill"}, key="early")
    told = json.loads(SandboxDelivery.objects.latest("pk").body)["data"]
    SandboxDelivery.objects.all().delete()
    other = shop.checkout(UserFactory(), PlanFactory())

    # when the refund of another payment comes first
    early = {**told, "refund_id": "re_early", "payment_id": "pay_late", "amount": "10.00"}
    shop.sandbox_event("payment.refunded", event_id="evt_early", **early)
    waiting = InboundEvent.objects.get(event_id__contains="evt_early")
    assert waiting.status == "failed"
    shop.sandbox_event("payment.succeeded", **paid_event(other, payment_id="pay_late"))
    assert fresh(other.subscription).status == "active"

    # then it is applied at its next turn
    shop.sweep("webhooks_inbound", later=timedelta(hours=1))
    assert fresh(waiting).status == "processed"
    assert fresh(other.subscription).status == "cancelled"
    assert fresh(subscription).status == "active"


def test_charges_that_nobody_can_answer_do_not_stand_before_those_that_can(shop, user, settings):
    settings.SWEEP_BATCH = 2
    subscription = shop.buy(user, card="timeout")
    shop.at(fresh(subscription).end_date)
    shop.due()
    known = PaymentTransaction.objects.get(status="pending")
    SandboxDelivery.objects.all().delete()
    for number in range(3):
        PaymentTransaction.objects.create(
            user=user, provider="gone", type="charge", amount=1, currency="USD", idempotency_key=f"gone-{number}"
        )
    PaymentTransaction.objects.filter(pk=known.pk).update(reason="asked last")  # moves its turn behind the others

    for _ in range(3):
        shop.sweep("payments_charges", later=timedelta(minutes=3))

    assert fresh(known).status == "completed"
    # whoever takes a batch has it for a while: nothing is left for a second worker now
    assert shop.sweep("payments_charges") == 0


def test_a_key_used_again_years_later_is_not_answered_with_somebody_elses_refund(shop, user, admin):
    first, second = UserFactory(), UserFactory()
    shop.buy(first), shop.buy(second)
    charges = list(PaymentTransaction.objects.filter(type="charge").order_by("pk"))
    client = Api().as_user(admin)
    headers = {"Idempotency-Key": "the-same"}
    refund = client.post(f"/api/v1/payments/{charges[0].pk}/refund", {"reason": "a"}, headers=headers)
    assert refund.status_code == 201

    shop.sweep("idempotency_keys_expire", later=timedelta(days=8))
    again = client.post(f"/api/v1/payments/{charges[1].pk}/refund", {"reason": "b"}, headers=headers)

    assert again.status_code == 201
    assert again.json()["data"]["parent_id"] == str(charges[1].pk)
    assert ledger() == {"revenue": -20, "refunds": 20}
