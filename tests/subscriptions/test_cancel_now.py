"""Cancelling now with a refund of the unused time: as money what was paid, as credit what was credit."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from django.contrib.auth.models import Group

from payments.models import PaymentTransaction, TaxRate
from providers.sandbox.models import SandboxPayment, SandboxRefund
from subscriptions.services.review import subscription_reviewed
from tests.conftest import Api
from tests.factories import ApiKeyFactory, StaffFactory
from tests.flows import START, credit, fresh, give_credit, ledger, nothing_changes, paid, periods, refused
from tests.subscriptions.february import END, LATER, TENTH, TWENTIETH, plan

MARCH_21 = datetime(2040, 3, 21, 10, 0, tzinfo=UTC)


@pytest.fixture(autouse=True)
def _customers_refund_themselves(settings):
    settings.CUSTOMER_REFUNDS = True


def cancel(subscription, query: str = "?when=now&refund=true"):
    return Api().as_user(subscription.user).delete(f"/api/v1/subscriptions/{subscription.pk}{query}")


def refunds() -> list[tuple[str, Decimal]]:
    """Status and amount of our refunds, in the order in which they were reserved."""
    rows = PaymentTransaction.objects.filter(type="refund").order_by("pk")
    return list(rows.values_list("status", "amount"))


def at_sandbox() -> list[Decimal]:
    return list(SandboxRefund.objects.order_by("pk").values_list("amount", flat=True))


def test_the_unused_part_goes_back_through_the_provider(shop, user):
    subscription = shop.buy(user, plan())
    shop.at(TENTH)

    body = cancel(subscription).json()["data"]

    row = fresh(subscription)
    assert (body["status"], row.status, row.end_date) == ("cancelled", "cancelled", row.cancelled_at)
    assert periods(row) == [(START, row.end_date)]
    assert (refunds(), at_sandbox(), credit(user)) == ([("completed", 19)], [19], 0)
    assert ledger() == {"provider_clearing": 10, "refunds": 19, "revenue": -29}
    # twice changes nothing, nor does the provider's own news of it
    with nothing_changes():
        refused(cancel(row), 409, "INVALID_TRANSITION")
    shop.drain()
    assert (refunds(), at_sandbox()) == ([("completed", 19)], [19])
    # and it may be bought again
    assert shop.buy(user, plan()).status == "active"


def test_what_credit_had_paid_comes_back_as_credit(shop, user):
    give_credit(user, "22.00")
    subscription = shop.buy(user, plan())  # 7.00 of money
    shop.at(TENTH)

    assert cancel(subscription).status_code == 200

    assert (refunds(), at_sandbox(), credit(user)) == ([("completed", 7)], [7], 12)
    assert ledger() == {"discounts": 22, "customer_credit": -12, "refunds": 7, "revenue": -17}


def test_an_earlier_period_is_not_refunded_for_one_that_credit_paid(shop, user):
    subscription = shop.buy(user, plan("31.00"))
    give_credit(user, "31.00")
    shop.run(END)
    shop.at(MARCH_21)

    assert cancel(subscription).status_code == 200

    assert (refunds(), credit(user)) == ([], 10)
    assert ledger() == {"provider_clearing": 31, "discounts": 31, "customer_credit": -10, "revenue": -52}


def test_after_an_upgrade_the_refund_reaches_back_to_the_earlier_payment(shop, user):
    subscription = shop.buy(user, plan())
    shop.at(TENTH)
    assert shop.change(subscription, plan("58.00")).status_code == 200

    assert cancel(subscription).status_code == 200

    # 19 of 29 days of 58.00: all of the difference, and 19.00 of the first 29.00
    assert refunds() == [("completed", 19), ("completed", 19)]
    parents = PaymentTransaction.objects.filter(type="refund").order_by("pk").values_list("parent__amount", flat=True)
    assert (list(parents), credit(user)) == ([19, 29], 0)
    assert ledger() == {"provider_clearing": 10, "refunds": 38, "revenue": -48}


def test_what_went_back_before_an_upgrade_or_after_is_not_given_twice(shop, user, settings):
    settings.FULL_REFUND = "nothing"
    subscription = shop.buy(user, plan())
    first = subscription.transactions.get()
    shop.at(TENTH)
    assert shop.change(subscription, plan("58.00")).status_code == 200
    shop.at(TENTH + timedelta(hours=1))
    shop.refund(first)  # all of the 29.00
    assert fresh(subscription).status == "active"
    shop.at(TWENTIETH)

    assert cancel(subscription).status_code == 200

    # of Pro's nine days only the difference is paid for: 9/19 of 19.00
    assert (refunds(), credit(user)) == ([("completed", 29), ("completed", 9)], 0)
    assert ledger() == {"provider_clearing": 10, "refunds": 38, "revenue": -48}


def test_credit_that_comes_back_has_its_share_of_the_tax(shop, user):
    TaxRate.objects.create(country="DE", name="VAT", percent=Decimal(10))
    user.country = "DE"
    user.save()
    give_credit(user, "29.90")
    subscription = shop.buy(user, plan())  # 31.90, of which 2.00 are money
    shop.at(TENTH)

    assert cancel(subscription).status_code == 200

    # 20.90 are unused: 2.00 of money, 18.90 of credit with its tax of 1.72
    assert (refunds(), credit(user)) == ([("completed", 2)], Decimal("18.90"))
    assert ledger() == {
        "discounts": Decimal("29.90"),
        "customer_credit": Decimal("-18.90"),
        "refunds": 2,
        "revenue": Decimal("-11.82"),
        "tax": Decimal("-1.18"),
    }


def test_what_was_given_is_not_refunded(shop, user, settings):
    settings.MISSED_PERIODS = "forgive"
    subscription = shop.buy(user, plan())
    shop.run(datetime(2040, 5, 5, 10, tzinfo=UTC))

    assert cancel(subscription).status_code == 200

    assert (refunds(), credit(user), fresh(subscription).status) == ([], 0, "cancelled")
    assert ledger() == {"provider_clearing": 29, "revenue": -29}


def test_without_an_answer_the_refund_is_pending_and_sent_by_its_sweep(shop, user):
    subscription = shop.buy(user, plan())
    shop.at(TENTH)
    shop.unreachable()

    assert cancel(subscription).json()["data"]["status"] == "cancelled"

    assert (refunds(), at_sandbox()) == ([("pending", 19)], [])
    key = PaymentTransaction.objects.get(type="refund").idempotency_key
    shop.reachable()
    assert shop.sweep("payments_refunds") == 0
    assert shop.sweep("payments_refunds", later=LATER) == 1
    shop.drain()
    assert (refunds(), at_sandbox()) == ([("completed", 19)], [19])
    assert SandboxRefund.objects.get().idempotency_key == key
    assert ledger() == {"provider_clearing": 10, "refunds": 19, "revenue": -29}


def test_a_provider_without_refunds_refuses_and_nothing_is_cancelled(shop, user):
    checkout = shop.checkout(user, plan(), provider="lava")
    shop.pay(checkout)
    shop.at(TENTH)

    with nothing_changes():
        assert refused(cancel(checkout.subscription), 409, "REFUND_NOT_SUPPORTED") == {"provider": "lava"}

    assert fresh(checkout.subscription).status == "active"
    assert cancel(checkout.subscription, "?when=now").json()["data"]["status"] == "cancelled"


@pytest.mark.parametrize("query", ["?refund=true", "?when=period_end&refund=true", "?when=now&refund=perhaps"])
def test_only_what_ends_now_is_refunded(api, user, query):
    subscription, _ = paid(user)
    with nothing_changes():
        assert list(refused(cancel(subscription, query), 400, "VALIDATION_ERROR")) == ["refund"]
        refused(
            api.as_user(user).delete(f"/api/v1/subscriptions/me{query}"),
            400,
            "VALIDATION_ERROR",
        )


def test_a_trial_and_what_is_paused_have_nothing_to_give_back(shop, user, other_user):
    checkout = shop.checkout(user, plan(trial_days=7))
    shop.pay(checkout)
    resting = shop.buy(other_user, plan())
    assert shop.post(resting, "pause").status_code == 200

    assert cancel(checkout.subscription).json()["data"]["status"] == "cancelled"
    assert cancel(resting).json()["data"]["status"] == "cancelled"

    assert (refunds(), credit(user), credit(other_user)) == ([], 0, 29)


def test_somebody_elses_is_not_there(shop, user, other_user):
    subscription = shop.buy(user, plan())
    with nothing_changes():
        answer = Api().as_user(other_user).delete(f"/api/v1/subscriptions/{subscription.pk}?when=now&refund=true")
        refused(answer, 404, "NOT_FOUND")


def test_customers_refund_themselves_only_where_the_setting_says_so(shop, user, settings):
    settings.CUSTOMER_REFUNDS = False
    subscription = shop.buy(user)
    url = f"/api/v1/subscriptions/{subscription.pk}?when=now&refund=true"

    with nothing_changes():
        refused(Api().as_user(user).delete(url), 403, "FORBIDDEN")

    support = StaffFactory()
    support.groups.add(Group.objects.get(name="support"))
    assert Api().as_user(support).delete(url).json()["data"]["status"] == "cancelled"
    assert PaymentTransaction.objects.get(type="refund").status == "completed"


def test_the_setting_is_the_customers_not_that_of_a_key_without_the_scope(shop, user):
    subscription = shop.buy(user)
    url = f"/api/v1/subscriptions/{subscription.pk}?when=now&refund=true"
    key = ApiKeyFactory(scopes=["subscriptions"])

    with nothing_changes():
        refused(Api().as_service(key).delete(url), 403, "FORBIDDEN")

    assert Api().as_service(ApiKeyFactory()).delete(url).status_code == 200


def test_a_refund_that_the_provider_refuses_waits_for_an_operator(shop, user):
    subscription = shop.buy(user)
    # given that the provider does not know the payment any more
    SandboxPayment.objects.update(account="somebody_else")

    assert cancel(subscription).status_code == 200

    row = fresh(subscription)
    assert (row.status, row.review_reason) == ("cancelled", "a refund was refused")
    refund = PaymentTransaction.objects.get(type="refund")
    assert (refund.status, refund.parent.refunded_amount) == ("failed", 0)
    assert ledger() == {"provider_clearing": 10, "revenue": -10}


def test_a_refund_that_the_provider_refuses_later_waits_for_an_operator_too(shop, user):
    subscription = shop.buy(user)
    shop.unreachable()
    assert cancel(subscription).status_code == 200
    assert fresh(subscription).review_reason == ""
    shop.reachable()
    SandboxPayment.objects.update(account="somebody_else")

    assert shop.sweep("payments_refunds", later=LATER) == 1

    row = fresh(subscription)
    assert (row.status, row.review_reason) == ("cancelled", "a refund was refused")
    assert [status for status, _ in refunds()] == ["failed"]
    # once: who has looked at it is not asked again
    reviewed = subscription_reviewed(subscription_id=row.pk, actor="test", now=shop.now)
    shop.sweep("payments_refunds", later=2 * LATER)
    assert (reviewed.review_reason, fresh(row).review_reason) == ("", "")
