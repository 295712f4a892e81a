"""Priced actions on invoices: what was used in a period stands on the next invoice, once, with every input of its formula."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from payflow.core import clock
from payments.models import Invoice, TaxRate
from subscriptions.models import Subscription
from subscriptions.upcoming import renewals_upcoming
from tests.conftest import Api
from tests.factories import PlanFactory, UserFactory
from tests.flows import START, fresh, give_credit, invoices
from tests.usage.metered import TIERS, all_is_billed_once, metered_plan, reprice, usage_lines, use
from usage.billing import usage_billed
from usage.models import UsageMeter
from usage.services import usage_log

D = Decimal
DAY = timedelta(days=1)
#: START is 31 January, 10:00: periods end on 29 February, 31 March, 30 April.
SECOND = datetime(2040, 2, 29, 10, 0, tzinfo=UTC)
THIRD = datetime(2040, 3, 31, 10, 0, tzinfo=UTC)
FOURTH = datetime(2040, 4, 30, 10, 0, tzinfo=UTC)


def test_the_overage_of_a_period_stands_on_the_next_invoice_with_its_formula(shop, user):
    plan = metered_plan({"model": "graduated", "tiers": TIERS, "included": 10})
    TaxRate.objects.create(country="DE", name="VAT", percent=20)
    type(user).objects.filter(pk=user.pk).update(country="DE")
    subscription = shop.buy(user, plan)
    use(user, 60, at=START)
    use(user, 60, at=START + DAY)

    shop.run(SECOND)

    invoice = subscription.invoices.latest("pk")
    lines = Api().as_user(user).get(f"/api/v1/invoices/{invoice.pk}").json()["data"]["lines"]
    # 100 at 0.10, 10 at 0.05
    assert [(line["kind"], line["amount"]) for line in lines] == [("plan", 10.0), ("usage", 10.5), ("tax", 4.1)]
    told = lines[1]["explanation"]
    meter = UsageMeter.objects.get()
    assert told == {
        "formula": "sum over tiers of (units in the tier * unit_amount + flat_amount)",
        "model": "graduated",
        "currency": "USD",
        "included": 10,
        "tiers": [
            {"up_to": 100, "unit_amount": "0.1", "flat_amount": "0"},
            {"up_to": None, "unit_amount": "0.05", "flat_amount": "0"},
        ],
        "meter": str(meter.pk),
        "plan": plan.code,
        "action": "words",
        "used": 120,
        "billed_before": 0,
        "price": "10.50",
        "charged_before": "0.00",
        "amount": "10.50",
    }
    assert (meter.period_start, meter.period_end, meter.used, meter.billed) == (START, SECOND, 120, 120)
    assert invoice.status == "paid"

    shop.run(THIRD)
    assert usage_lines(subscription) == [(120, D("10.50"))], "nothing was used: nothing is asked"


def test_what_is_included_costs_nothing_and_each_period_includes_it_anew(shop, user):
    subscription = shop.buy(user, metered_plan())
    use(user, 10, at=START)
    shop.run(SECOND)
    use(user, 12, at=SECOND)  # at the very moment at which the next period begins
    shop.run(THIRD)

    assert usage_lines(subscription) == [(10, 0), (12, D("1.00"))]
    line = subscription.invoices.latest("pk").lines.get(kind="usage")
    assert (line.period_start, line.period_end) == (SECOND, THIRD)
    assert all_is_billed_once(subscription)


def test_a_line_of_units_shows_them_at_their_price(shop, user):
    subscription = shop.buy(user, metered_plan({}))
    use(user, 3, at=START)
    shop.run(SECOND)
    line = subscription.invoices.latest("pk").lines.get(kind="usage")
    assert (line.quantity, line.unit_amount, line.amount) == (3, D("0.50"), D("1.50"))
    assert "words, 3 used" in line.description


def test_late_events_are_corrected_on_the_next_invoice(shop, user):
    subscription = shop.buy(user, metered_plan())
    use(user, 12, at=SECOND - DAY)
    shop.run(SECOND)
    use(user, 4, at=SECOND + DAY)
    use(user, 3, at=SECOND - timedelta(seconds=1))  # late, into the invoiced period

    shop.run(THIRD)

    lines = list(subscription.invoices.latest("pk").lines.filter(kind="usage").order_by("position"))
    assert [(line.amount, line.period_start) for line in lines] == [(D("1.50"), START), (0, SECOND)]
    assert "billed before" in lines[0].description
    told = lines[0].explanation
    assert (told["used"], told["billed_before"], told["charged_before"]) == (15, 12, "1.00")
    assert all_is_billed_once(subscription)


def test_a_late_event_that_makes_all_units_cheaper_is_given_back_within_what_is_charged(shop, user):
    volume = {"model": "volume", "tiers": [{"up_to": 100, "unit_amount": "1"}, {"up_to": None, "unit_amount": "0.5"}]}
    subscription = shop.buy(user, metered_plan(volume))
    use(user, 100, at=START)
    shop.run(SECOND)
    use(user, 1, at=START)  # 101 at 0.50: 49.50 too much was charged

    shop.run(THIRD)
    assert subscription.invoices.latest("pk").total == 0
    for _ in range(4):
        shop.run(fresh(subscription).end_date)

    assert [amount for _, amount in usage_lines(subscription)] == [100, *[-10] * 4, D("-9.50")]
    assert subscription.invoices.latest("pk").total == D("0.50")
    assert all_is_billed_once(subscription)


def test_prices_of_who_subscribed_stay(shop, user):
    plan = metered_plan()
    old = shop.buy(user, plan)
    reprice(plan, {"unit_amount": D(3), "included": 10}, at=START + DAY)
    shop.at(START + 2 * DAY)
    other = UserFactory()
    new = shop.buy(other, plan)
    reprice(plan, at=START + 3 * DAY)  # not priced any more

    use(user, 11, at=SECOND - DAY)
    use(other, 11, at=SECOND - DAY)
    shop.run(THIRD)

    assert usage_lines(old) == [(11, D("0.50"))]
    assert usage_lines(new) == [(11, D("3.00"))]
    late = UserFactory()
    shop.buy(late, plan)
    use(late, 50, at=THIRD)
    assert not UsageMeter.objects.filter(user=late).exists()


def test_a_change_of_plan_in_a_period_bills_each_piece_by_its_own_price(shop, user):
    plan, dear = metered_plan(), metered_plan({"unit_amount": D(2)}, price=D(20))
    subscription = shop.buy(user, plan)
    use(user, 12, at=START)
    shop.at(START + 10 * DAY)
    assert shop.change(subscription, dear).status_code == 200
    use(user, 3, at=clock.now())

    shop.run(SECOND)

    assert sorted(usage_lines(subscription)) == [(3, 6), (12, 1)]
    assert all_is_billed_once(subscription)


def test_what_is_included_is_not_had_anew_by_leaving_a_plan_and_coming_back(shop, user):
    plan, dear = metered_plan(), PlanFactory(price=20)
    subscription = shop.buy(user, plan)
    use(user, 10, at=START)
    shop.at(START + 5 * DAY)
    assert shop.change(subscription, dear).status_code == 200
    shop.at(START + 6 * DAY)
    assert shop.change(subscription, plan, when="now").status_code == 200
    use(user, 10, at=clock.now())

    shop.run(SECOND)

    assert usage_lines(subscription) == [(20, 5)]
    assert all_is_billed_once(subscription)


def test_late_usage_of_a_plan_that_was_left_for_one_without_prices(shop, user):
    plan, plain = metered_plan(), PlanFactory(price=20)
    subscription = shop.buy(user, plan)
    use(user, 11, at=START)
    shop.at(START + 10 * DAY)
    assert shop.change(subscription, plain).status_code == 200
    use(user, 2, at=START + DAY)
    use(user, 5, at=clock.now())  # the present plan asks nothing for it

    shop.run(SECOND)

    assert usage_lines(subscription) == [(13, D("1.50"))]
    use(user, 1, at=START + DAY)
    shop.run(THIRD)
    assert usage_lines(subscription) == [(13, D("1.50")), (14, D("0.50"))]


def test_a_change_of_zone_makes_no_period_anew(shop, user):
    subscription = shop.buy(user, metered_plan())
    use(user, 10, at=START)
    for zone in ("Asia/Tokyo", "America/New_York", "Pacific/Kiritimati", "UTC"):
        Subscription.objects.filter(pk=subscription.pk).update(timezone=zone)
        use(user, 1, at=START + DAY)
    assert UsageMeter.objects.get().used == 14


def test_a_trial_is_not_charged(shop, user):
    plan = metered_plan(trial_days=7, trial_needs_method=False)
    answer = shop.subscribe(user, plan)
    assert answer.status_code == 201
    use(user, 50, at=shop.now)
    assert not UsageMeter.objects.exists()


def test_a_void_invoice_owes_its_usage_again_and_one_that_is_given_up_does_not(shop, user):
    """The renewal is declined, and the subscriber cancels: the period is taken back, what was used before is not."""
    subscription = shop.buy(user, metered_plan())
    use(user, 12, at=START)
    shop.card(subscription, "decline")
    shop.run(SECOND)
    assert usage_lines(subscription, statuses=["open"]) == [(12, 1)]

    shop.at(SECOND + DAY)
    assert Api().as_user(user).delete(f"/api/v1/subscriptions/{subscription.pk}").status_code == 200
    assert (UsageMeter.objects.get().billed, UsageMeter.objects.get().charged) == (0, 0)
    shop.sweep("usage_invoices")

    final = subscription.invoices.get(reason="usage")
    assert (final.status, final.total) == ("open", 1)
    assert all_is_billed_once(subscription)
    last = SECOND + timedelta(days=1 + 21 + 30)
    shop.at(last)
    shop.sweep("usage_charges")
    assert fresh(final).status == "uncollectible"
    assert all_is_billed_once(subscription)


@pytest.mark.parametrize("how", ["at the end", "now", "pause"])
def test_what_ends_or_pauses_gets_a_final_invoice_which_is_charged(shop, user, how):
    subscription = shop.buy(user, metered_plan())
    use(user, 12, at=START)
    shop.at(START + 10 * DAY)
    client, address = Api().as_user(user), f"/api/v1/subscriptions/{subscription.pk}"
    if how == "pause":
        assert client.post(f"{address}/pause", {}).status_code == 200
    else:
        assert client.delete(address + ("?when=now" if how == "now" else "")).status_code == 200
    use_late = START + 9 * DAY
    if how == "at the end":
        assert shop.sweep("usage_invoices") == 0, "it runs on"
        shop.run(SECOND)
    assert shop.sweep("usage_invoices") == 1
    assert shop.sweep("usage_charges") == (0 if how == "pause" else 1), "a pause has given credit, which pays it"

    final = subscription.invoices.get(reason="usage")
    assert (final.status, next(line.kind for line in final.lines.all())) == ("paid", "usage")
    assert (final.subtotal, final.total) == (1, 0 if how == "pause" else 1)
    assert shop.sweep("usage_invoices") + shop.sweep("usage_charges") == 0
    UsageMeter.objects.filter(subscription=subscription).update(used=14)  # as the batch of late events does
    del use_late
    assert shop.sweep("usage_invoices") == 1
    assert usage_lines(subscription) == [(12, 1), (14, 1)]
    assert all_is_billed_once(subscription)


def test_what_is_included_makes_no_final_invoice(shop, user):
    subscription = shop.buy(user, metered_plan())
    use(user, 9, at=START)
    shop.at(START + DAY)
    Api().as_user(user).delete(f"/api/v1/subscriptions/{subscription.pk}?when=now")
    assert shop.sweep("usage_invoices") == 1
    assert shop.sweep("usage_invoices") == 0
    assert not subscription.invoices.filter(reason="usage").exists()


def test_a_final_invoice_is_tried_again_like_any_other_and_can_be_paid_by_hand(shop, user):
    subscription = shop.buy(user, metered_plan())
    use(user, 12, at=START)
    shop.card(subscription, "decline")
    now = shop.at(START + DAY)
    Api().as_user(user).delete(f"/api/v1/subscriptions/{subscription.pk}?when=now")
    shop.sweep("usage_invoices")
    shop.sweep("usage_charges")
    final = subscription.invoices.get(reason="usage")
    assert (final.status, shop.sweep("usage_charges")) == ("open", 0)
    assert fresh(subscription).status == "cancelled"

    shop.at(now + 2 * DAY)
    assert shop.sweep("usage_charges") == 1
    assert final.transactions.count() == 2
    shop.card(subscription, "ok")
    paid = Api().as_user(user).post(f"/api/v1/subscriptions/{subscription.pk}/retry-payment", {})
    assert paid.status_code == 200, paid.content
    assert fresh(final).status == "paid"
    assert fresh(subscription).status == "cancelled"


def test_another_cycle_from_now_on_gets_an_invoice_of_its_own(shop, user):
    subscription = shop.buy(user, metered_plan())
    yearly = metered_plan(price=D(200), billing_cycle="yearly")
    use(user, 12, at=START)
    shop.at(START + 3 * DAY)
    assert shop.change(subscription, yearly, when="now").status_code == 200
    use(user, 11, at=clock.now())

    assert shop.sweep("usage_invoices") == 1
    assert shop.sweep("usage_invoices") == 0

    assert usage_lines(subscription) == [(12, 1)]
    assert UsageMeter.objects.get(used=11).period_start == fresh(subscription).anchor


def test_the_preview_of_the_next_invoice_has_usage_so_far_and_bills_nothing(shop, user):
    subscription = shop.buy(user, metered_plan())
    use(user, 14, at=START)
    rows = Subscription.objects.filter(pk=subscription.pk).select_related("plan")

    upcoming = renewals_upcoming(list(rows), now=shop.now)[subscription.pk]

    assert upcoming.claim.invoice.total == 12
    assert UsageMeter.objects.get().billed == 0


def test_at_a_provider_that_charges_the_same_every_time_no_more_is_used_than_is_included(shop, user):
    checkout = shop.checkout(user, metered_plan(), provider="lava")
    shop.pay(checkout)
    subscription = fresh(checkout.subscription)
    use(user, 10, at=shop.now)
    answer = Api().as_user(user).post("/api/v1/usage/log", {"action": "words"})
    assert answer.status_code == 429
    assert answer.json()["details"] | {"resets_at": None} == {
        "limit": "words_included",
        "action": "words",
        "window": "period",
        "max": 10,
        "used": 10,
        "remaining": 0,
        "resets_at": None,
    }
    assert UsageMeter.objects.get().used == 10
    shop.lava_renews(subscription)
    assert usage_lines(subscription) == []


def test_what_was_used_before_it_went_to_such_a_provider_is_owed_by_itself(shop, user):
    subscription = shop.buy(user, metered_plan())
    use(user, 12, at=START)
    Subscription.objects.filter(pk=subscription.pk).update(provider="lava")
    assert shop.sweep("usage_invoices") == 0, "its cycle is not over"
    shop.at(SECOND)

    assert shop.sweep("usage_invoices") == 1

    assert usage_lines(subscription) == [(12, 1)]
    assert shop.sweep("usage_invoices") == 0


def test_credit_pays_for_usage_as_for_everything(shop, user):
    subscription = shop.buy(user, metered_plan())
    give_credit(user, "3.00")
    use(user, 12, at=START)
    shop.run(SECOND)
    invoice = subscription.invoices.latest("pk")
    assert (invoice.subtotal, invoice.credit, invoice.total) == (11, 3, 8)


def test_a_batch_of_renewals_asks_once_and_not_at_all_where_nothing_is_priced(shop):
    def renewed(plan, count):
        people = [UserFactory() for _ in range(count)]
        bought = [shop.buy(each, plan) for each in people]
        for each in people:
            use(each, 11, at=shop.now)
        shop.at(fresh(bought[0]).end_date)
        with CaptureQueriesContext(connection) as queries:
            shop.due()
        return [query["sql"] for query in queries if "usage_meters" in query["sql"]]

    assert renewed(PlanFactory(), 2) == []
    read, written = renewed(metered_plan(), 3)
    assert read.startswith("SELECT")
    assert "UPDATE usage_meters" in written


def test_entitlements_show_what_is_priced(shop, user):
    shop.buy(user, metered_plan())
    use(user, 12, at=shop.now)
    data = Api().as_user(user).get("/api/v1/entitlements/").json()["data"]
    [row] = data["priced_actions"]
    assert row == {
        "action": "words",
        "settlement": "invoice",
        "model": "per_unit",
        "included": 10,
        "included_remaining": 0,
        "used": 12,
        "max": None,
        "cost": 1.0,
        "currency": "USD",
        "period_start": row["period_start"],
        "period_end": row["period_end"],
    }


def test_the_same_event_again_is_metered_once(shop, user):
    shop.buy(user, metered_plan())
    for _ in range(3):
        usage_log(user_id=user.pk, action="words", quantity=5, event_id="e-1", now=shop.now)
    assert UsageMeter.objects.get().used == 5
    assert invoices(UsageMeter.objects.get().subscription) == [Invoice.Status.PAID]


def test_what_was_billed_by_somebody_else_gives_up_the_whole_transaction(shop, user):
    subscription = shop.buy(user, metered_plan())
    use(user, 12, at=START)
    shop.run(SECOND)
    lines = list(subscription.invoices.latest("pk").lines.all())
    with pytest.raises(RuntimeError, match="lock"):
        usage_billed(lines)
    assert UsageMeter.objects.get().charged == 1
