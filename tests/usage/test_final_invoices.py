"""The sweeps of invoices of usage alone: what cannot be handled waits, and keeps nobody else waiting."""

from __future__ import annotations

from datetime import timedelta

from tests.conftest import Api
from tests.factories import UserFactory
from tests.flows import DAY, START, fresh
from tests.providers.sandbox_support import press
from tests.usage.metered import metered_plan, use
from usage.models import UsageMeter

#: So many units that no amount can hold their price.
TOO_MUCH = 9 * 10**18


def ended(shop, plan):
    """A subscription that has ended and owes 1.00 for usage."""
    user = UserFactory()
    subscription = shop.buy(user, plan)
    use(user, 12, at=shop.now)
    assert Api().as_user(user).delete(f"/api/v1/subscriptions/{subscription.pk}?when=now").status_code == 200
    return subscription


def is_billed(subscription):
    return subscription.invoices.filter(reason="usage").exists()


def test_a_subscription_that_cannot_be_billed_waits_and_keeps_no_other_waiting(shop, settings, caplog):
    settings.SWEEP_BATCH = 1
    plan = metered_plan()
    bad, good, late = [ended(shop, plan) for _ in range(3)]
    for subscription in (bad, late):
        UsageMeter.objects.filter(subscription=subscription).update(used=TOO_MUCH)

    for _ in range(3):  # each of them has had its turn
        shop.sweep("usage_invoices")
    assert is_billed(good)
    assert caplog.text.count("cannot be billed") == 2

    shop.sweep("usage_invoices")
    assert caplog.text.count("cannot be billed") == 2, "it waits"
    assert not is_billed(bad) and not is_billed(late)

    UsageMeter.objects.filter(subscription=bad).update(used=12)  # as an operator mends it
    for _ in range(2):
        shop.sweep("usage_invoices", later=timedelta(minutes=11))
    assert is_billed(bad) and not is_billed(late)
    assert caplog.text.count("cannot be billed") == 3


def test_what_the_stored_method_will_never_pay_is_paid_on_a_page(shop):
    subscription = ended(shop, metered_plan())
    shop.card(subscription, "stolen")
    shop.sweep("usage_invoices")
    assert shop.sweep("usage_charges") == 1
    final = subscription.invoices.get(reason="usage")
    assert (final.status, final.transactions.get().recoverable) == ("open", False)
    shop.at(START + 30 * DAY)
    assert shop.sweep("usage_charges") == 0, "that can't succeed"

    # Nothing else can be stored for what has ended.
    answer = Api().as_user(subscription.user).post(f"/api/v1/subscriptions/{subscription.pk}/retry-payment", {})
    assert answer.status_code == 200, answer.content
    assert press(answer.json()["data"]["checkout_url"], outcome="pay", card="ok").status == 303
    shop.drain()

    assert fresh(final).status == "paid"
    assert fresh(subscription).status == "cancelled"


def test_what_nobody_can_charge_any_more_keeps_no_other_waiting(shop, settings):
    settings.SWEEP_BATCH = 1
    plan = metered_plan()
    first = ended(shop, plan)
    shop.sweep("usage_invoices")
    method = fresh(first).payment_method
    type(method).objects.filter(pk=method.pk).update(provider="withdrawn")  # its provider is not configured any more
    shop.at(START + DAY)
    second = ended(shop, plan)
    shop.sweep("usage_invoices")

    assert shop.sweep("usage_charges") == 1

    assert second.invoices.get(reason="usage").status == "paid"
    assert first.invoices.get(reason="usage").status == "open"
