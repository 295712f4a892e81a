"""The sandbox sells, renews, retries and ends by itself, and PayFlow follows: by real HTTP and signed webhooks."""

from __future__ import annotations

from decimal import Decimal
from itertools import pairwise
from typing import Any

import pytest

from payflow.core import clock
from payments.models import PaymentTransaction
from providers import registry
from subscriptions.models import ProviderCommand, ProviderDrift, Status
from subscriptions.services.reconciliation import feeds_sweep, subscription_reconcile, subscriptions_reconcile_sweep
from tests.conftest import Api
from tests.flows import charges, fresh, periods, steps
from tests.providers.sandbox_sold import BILLING, DAY, HOUR, MONTHS, Sold
from tests.providers.sandbox_sold import shop as shop
from tests.providers.sandbox_sold import sold as sold
from tests.providers.sandbox_support import look, press

pytestmark = pytest.mark.django_db(transaction=True)


def delete(subscription: Any, **query: str) -> Any:
    question = "?" + "&".join(f"{name}={value}" for name, value in query.items()) if query else ""
    return Api().as_user(subscription.user).delete(f"/api/v1/subscriptions/{subscription.pk}{question}")


def stands(subscription: Any) -> tuple[str, Any]:
    row = fresh(subscription)
    return row.status, row.end_date


def test_bought_by_checkout_it_is_active_for_the_sandboxs_period(sold: Sold, user: Any) -> None:
    bought = sold.buy(user)

    assert (bought.status, bought.provider, bought.amount) == (Status.ACTIVE, BILLING, Decimal("5.49"))
    assert (bought.start_date.date(), bought.end_date.date()) == (MONTHS[0].date(), MONTHS[1].date())
    assert bought.provider_sub_id.startswith("sub_")
    assert [row[0] for row in charges(bought)] == ["completed"]
    [invoice] = bought.invoices.exclude(status="void")
    assert (invoice.status, invoice.total) == ("paid", Decimal("5.49"))


def test_it_renews_three_times_as_the_clock_moves(sold: Sold, user: Any) -> None:
    bought = sold.buy(user)
    end = bought.end_date

    for month in range(1, 4):
        sold.until(fresh(bought).end_date + HOUR)
        assert fresh(bought).status == Status.ACTIVE
        assert fresh(bought).end_date.date() == MONTHS[month + 1].date()

    paid = periods(bought)
    assert [start.date() for start, _ in paid] == [moment.date() for moment in MONTHS[:4]]
    assert all(earlier[1] == later[0] for earlier, later in pairwise(paid)), "no gap, no overlap"
    assert end == paid[0][1]
    assert PaymentTransaction.objects.filter(subscription=bought, status="completed").count() == 4


def test_half_a_year_in_one_call_is_half_a_year_lived(sold: Sold, user: Any, admin: Any) -> None:
    bought = sold.buy(user)

    answer = Api().as_user(admin).post("/api/v1/sandbox/clock", {"advance_days": 95})

    assert answer.status_code == 200, answer.content
    assert fresh(bought).status == Status.ACTIVE
    assert [start.date() for start, _ in periods(bought)] == [moment.date() for moment in MONTHS[:4]]
    assert {status for status, _ in steps(bought)} == {"pending", "active"}, "nobody waited for the sandbox"


def test_a_declined_renewal_has_grace_then_is_on_hold_then_recovers(sold: Sold, user: Any) -> None:
    bought = sold.buy(user)
    end = bought.end_date
    sold.card(bought, "decline")

    sold.until(end + HOUR)
    row = fresh(bought)
    assert (row.status, row.grace_until) == (Status.PAST_DUE, end + 7 * DAY)
    assert not bought.invoices.filter(status="open").exists(), "the sandbox asks for it, not we"

    sold.until(end + 7 * DAY + HOUR)
    assert fresh(bought).status == Status.SUSPENDED

    sold.card(bought, "ok")
    sold.until(end + 12 * DAY + HOUR)
    row = fresh(bought)
    assert (row.status, row.current_period_start) == (Status.ACTIVE, end + 12 * DAY)
    assert [to for to, _ in steps(bought)] == ["pending", "active", "past_due", "suspended", "active"]


def test_paid_in_grace_the_period_follows_the_last(sold: Sold, user: Any) -> None:
    bought = sold.buy(user)
    end = bought.end_date
    sold.card(bought, "decline")
    sold.until(end + HOUR)
    sold.card(bought, "ok")

    sold.until(end + DAY + HOUR)

    assert fresh(bought).status == Status.ACTIVE
    assert [start for start, _ in periods(bought)] == [bought.start_date, end]


def test_what_is_never_paid_expires(sold: Sold, user: Any) -> None:
    bought = sold.buy(user)
    end = bought.end_date
    sold.card(bought, "stolen")

    for days in (0, 7, 37):
        sold.until(end + days * DAY + HOUR)

    assert stands(bought) == (Status.EXPIRED, end)


def test_a_cancel_is_told_confirmed_and_ends(sold: Sold, user: Any) -> None:
    bought = sold.buy(user)

    assert delete(bought).status_code == 200
    command = ProviderCommand.objects.get()
    assert (command.kind, command.status) == ("cancel", "pending")
    sold.work()

    assert fresh(command).status == "confirmed"
    assert sold.state(bought).auto_renew is False
    assert fresh(bought).cancelled_at is not None
    sold.until(bought.end_date + HOUR)
    assert stands(bought) == (Status.CANCELLED, bought.end_date)
    assert sold.state(bought).status == "expired"


def test_a_cancel_can_be_taken_back(sold: Sold, user: Any) -> None:
    bought = sold.buy(user)
    delete(bought)
    sold.work()

    answer = Api().as_user(user).put(f"/api/v1/subscriptions/{bought.pk}", {"auto_renew": True})
    assert answer.status_code == 200
    sold.work()

    assert sold.state(bought).auto_renew is True
    sold.until(bought.end_date + HOUR)
    assert fresh(bought).status == Status.ACTIVE
    assert fresh(bought).cancelled_at is None


def test_a_cancel_now_ends_it_there_too(sold: Sold, user: Any) -> None:
    bought = sold.buy(user)
    sold.until(MONTHS[0] + 3 * DAY)

    assert delete(bought, when="now").status_code == 200
    sold.work()

    assert fresh(bought).status == Status.CANCELLED
    assert sold.state(bought).status == "expired"


def test_a_wish_whose_answer_was_lost_is_sent_again(sold: Sold, user: Any) -> None:
    bought = sold.buy(user)
    sold.fault(BILLING, "timeout", 3)  # as often as one call is tried

    delete(bought)
    sold.work()
    assert ProviderCommand.objects.get().status == "pending"
    assert sold.state(bought).auto_renew is False, "it was done"

    sold.shop.sweep("provider_commands", later=HOUR)
    assert ProviderCommand.objects.get().status == "confirmed"


def test_pause_and_resume(sold: Sold, user: Any) -> None:
    bought = sold.buy(user)
    assert sold.shop.post(bought, "pause").status_code == 200
    sold.work()
    assert (fresh(bought).status, sold.state(bought).status) == (Status.PAUSED, "paused")

    sold.until(bought.end_date + 3 * DAY)
    assert len(periods(bought)) == 1, "nothing is charged while it stands still"
    assert sold.shop.post(bought, "resume").status_code == 200
    sold.work()

    assert fresh(bought).status == Status.ACTIVE
    assert len(periods(bought)) == 2


def test_the_subscriber_cancels_on_the_sandboxs_own_page(sold: Sold, user: Any) -> None:
    bought = sold.buy(user)
    url = registry.get(BILLING).manage_url(bought.provider_sub_id)
    assert b"Paid until" in look(url).body
    assert look(url[:-4] + "0000").status == 404

    assert press(url, wish="cancel").status == 200
    sold.work()

    assert fresh(bought).auto_renew is False
    assert press(url, wish="nonsense").status == 400


@pytest.mark.parametrize("amount", [None, "1.00"])
def test_a_refund_by_us(sold: Sold, user: Any, admin: Any, amount: str | None) -> None:
    bought = sold.buy(user)
    charge = PaymentTransaction.objects.get(subscription=bought, type="charge")

    wish = {"reason": "asked", **({"amount": amount} if amount else {})}
    answer = Api().as_user(admin).post(f"/api/v1/payments/{charge.pk}/refund", wish)
    assert answer.status_code in (200, 201), answer.content
    sold.work()

    refund = PaymentTransaction.objects.get(subscription=bought, type="refund")
    assert (refund.status, refund.amount) == ("completed", Decimal(amount or "5.49"))
    # Who gets everything back has nothing left: the sandbox says so.
    assert fresh(bought).status == (Status.ACTIVE if amount else Status.CANCELLED)


def test_lost_news_are_found_by_asking(sold: Sold, user: Any) -> None:
    bought = sold.buy(user)
    sold.fault(BILLING, "lose")
    sold.until(bought.end_date + HOUR)
    assert fresh(bought).end_date == bought.end_date

    assert subscription_reconcile(subscription_id=bought.pk, now=sold.shop.now) is None

    assert fresh(bought).end_date.date() == MONTHS[2].date()
    assert len(charges(bought)) == 2


def test_lost_news_are_found_when_the_renewal_is_missed(sold: Sold, user: Any) -> None:
    bought = sold.buy(user)
    sold.fault(BILLING, "lose")

    sold.until(bought.end_date + 25 * HOUR)

    assert fresh(bought).status == Status.ACTIVE
    assert fresh(bought).end_date.date() == MONTHS[2].date()
    assert not ProviderDrift.objects.exists()


def test_a_purchase_whose_news_were_all_lost_is_found_in_the_feed(sold: Sold, user: Any) -> None:
    sold.fault(BILLING, "lose")
    checkout = sold.checkout(user)
    press(checkout.url, outcome="pay")
    sold.work()
    assert fresh(checkout.subscription).status == Status.PENDING

    feeds_sweep(now=sold.shop.now, wall=clock.wall() + HOUR)

    assert fresh(checkout.subscription).status == Status.ACTIVE
    assert len(charges(checkout.subscription)) == 1


def test_a_purchase_whose_news_were_all_lost_is_found_by_its_order(sold: Sold, user: Any) -> None:
    sold.fault(BILLING, "lose")
    checkout = sold.checkout(user)
    press(checkout.url, outcome="pay")
    sold.work()
    assert fresh(checkout.subscription).status == Status.PENDING

    for _ in range(2):
        subscriptions_reconcile_sweep(now=sold.shop.now, wall=clock.wall() + HOUR)

    bought = fresh(checkout.subscription)
    assert (bought.status, bought.provider_sub_id is not None) == (Status.ACTIVE, True)
    assert len(charges(bought)) == 1
    assert registry.get(BILLING).find_purchase("order_of_nobody", since=MONTHS[0]) == []


@pytest.mark.parametrize("kind", ["repeat", "reorder"])
def test_news_that_come_twice_or_backwards_come_to_the_same_end(sold: Sold, user: Any, kind: str) -> None:
    sold.fault(BILLING, kind)
    bought = sold.buy(user)
    for _ in range(2):
        sold.until(fresh(bought).end_date + HOUR)
        sold.shop.sweep("webhooks_inbound", later=HOUR)

    assert [start.date() for start, _ in periods(bought)] == [moment.date() for moment in MONTHS[:3]]
    assert stands(bought)[0] == Status.ACTIVE
    assert len(charges(bought)) == 3
