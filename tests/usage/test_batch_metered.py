"""Batches of priced actions: each event on the meter of its moment, billed to the unit; paid from credit one by one."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from django.db import connection, transaction
from django.test.utils import CaptureQueriesContext

from payments.models import CreditUse
from subscriptions.models import Subscription
from tests.factories import PlanFactory, UserFactory
from tests.flows import START, credit, fresh, give_credit
from tests.usage.metered import all_is_billed_once, metered_plan, reprice, usage_lines, use
from tests.usage.support import counters
from usage.batch.service import usage_batch
from usage.errors import CreditExhausted, UsageLimitExceeded
from usage.models import UsageEvent, UsageLog, UsageMeter
from usage.services import usage_log

D = Decimal
DAY = timedelta(days=1)
#: START is 31 January, 10:00: periods end on 29 February, 31 March.
SECOND = datetime(2040, 2, 29, 10, 0, tzinfo=UTC)
THIRD = datetime(2040, 3, 31, 10, 0, tzinfo=UTC)
FROM_CREDIT = {"settlement": "credit", "unit_amount": D("0.10")}


def event(user, number, quantity=1, *, at=None, action="words", **fields):
    occurred = {"occurred_at": at.isoformat()} if at else {}
    told = {"user_id": str(user.pk), "action": action, "event_id": f"e-{number}", "quantity": quantity}
    return told | occurred | fields


def send(*events, now):
    return usage_batch(events=events, now=now)


def told(batch):
    return [(verdict.position, verdict.verdict, verdict.code, verdict.details) for verdict in batch.verdicts]


def used():
    return list(UsageMeter.objects.order_by("period_start").values_list("used", flat=True))


# --- on invoices ------------------------------------------------------------------------------------------------------


def test_a_batch_is_billed_at_the_next_renewal_and_what_comes_late_by_a_line_that_corrects(shop, user):
    subscription = shop.buy(user, metered_plan())  # 10 included, 0.50 each
    events = [event(user, 1, 8, at=START), event(user, 2, 5, at=START + DAY), event(user, 3, action="pages")]
    assert send(*events, now=START + 2 * DAY).accepted == 3
    again = send(*events, event(user, 2, 5, at=START + DAY), now=START + 2 * DAY)
    assert (again.accepted, {verdict.verdict for verdict in again.verdicts}) == (0, {"duplicate"})
    assert used() == [13]
    meter = UsageMeter.objects.get()
    assert (meter.period_start, meter.period_end, meter.subscription_id) == (START, SECOND, subscription.pk)

    shop.run(SECOND)
    assert usage_lines(subscription) == [(13, D("1.50"))]

    # The very end of the cycle, and the very beginning of the next.
    late = SECOND - timedelta(microseconds=1)
    send(event(user, 4, 3, at=late), event(user, 5, 11, at=SECOND), event(user, 1, 8), now=SECOND + DAY)
    assert used() == [16, 11]
    shop.run(THIRD)

    lines = list(subscription.invoices.latest("pk").lines.filter(kind="usage").order_by("position"))
    assert [(line.amount, line.period_start) for line in lines] == [(D("1.50"), START), (D("0.50"), SECOND)]
    assert lines[0].explanation["billed_before"] == 13
    assert all_is_billed_once(subscription)


def test_a_batch_and_single_uses_raise_one_meter(shop, user):
    subscription = shop.buy(user, metered_plan())
    use(user, 4, at=START, event_id="e-1")
    send(event(user, 1, 4), event(user, 2, 7), now=START + DAY)
    use(user, 7, at=START + DAY, event_id="e-2")
    use(user, 1, at=START + DAY)
    assert used() == [12]
    shop.run(SECOND)
    assert usage_lines(subscription) == [(12, 1)]


def test_each_event_has_the_price_of_its_moment(shop, user):
    """That of the plan of then; one that came after the sale is none of his."""
    plan, dear = metered_plan(), metered_plan({"unit_amount": D(2)}, price=D(20))
    subscription = shop.buy(user, plan)
    reprice(plan, {"unit_amount": D(9)}, at=START + DAY)
    changed = shop.at(START + 10 * DAY)
    assert shop.change(subscription, dear).status_code == 200

    later = changed + DAY
    send(event(user, 1, 12, at=START + 2 * DAY), event(user, 2, 3, at=changed + DAY / 2), event(user, 3), now=later)
    shop.run(SECOND)

    assert sorted(usage_lines(subscription)) == [(4, 8), (12, 1)]
    assert all_is_billed_once(subscription)


def test_a_trial_is_not_charged_and_a_plan_that_was_left_is(shop, user):
    other = UserFactory()
    shop.subscribe(user, metered_plan(trial_days=7, trial_needs_method=False))
    left = shop.buy(other, metered_plan())
    shop.at(START + 5 * DAY)
    assert shop.change(left, PlanFactory(price=20)).status_code == 200

    sent = send(
        event(user, 1, 50), event(other, 1, 50), event(other, 2, 11, at=START + DAY), now=START + 5 * DAY + DAY / 2
    )

    assert (sent.accepted, sent.verdicts) == (3, [])
    assert list(UsageMeter.objects.values_list("user_id", "used")) == [(other.pk, 11)]


def test_who_has_no_access_any_more_is_refused_and_the_meter_stays(shop, user):
    subscription = shop.buy(user, metered_plan())
    send(event(user, 1, 12), now=START)
    Subscription.objects.filter(pk=subscription.pk).update(status="cancelled")
    assert told(send(event(user, 2), now=START + DAY)) == [(0, "refused", "NOT_ENTITLED", {"reason": "no_access"})]
    assert used() == [12]


def test_where_no_more_is_to_be_had_than_is_included_it_counts_and_says_so(shop, user):
    checkout = shop.checkout(user, metered_plan(), provider="lava")
    shop.pay(checkout)
    now = shop.now

    batch = send(event(user, 1, 9), event(user, 2), event(user, 3), event(user, 4), now=now)

    over = (None, {"limits": ["words_included"]})
    assert (batch.accepted, told(batch)) == (4, [(2, "over_limit", *over), (3, "over_limit", *over)])
    assert used() == [12]
    assert set(counters(action="words").values()) == {12}
    with pytest.raises(UsageLimitExceeded):
        use(user, at=now)
    subscription = fresh(checkout.subscription)
    shop.lava_renews(subscription)
    assert usage_lines(subscription) == [], "the provider's own renewal asks for its own amount"
    shop.at(UsageMeter.objects.get().period_end)
    assert shop.sweep("usage_invoices") == 1
    assert usage_lines(subscription) == [(12, 1)]


def test_a_batch_that_is_rolled_back_leaves_the_meter_alone(shop, user):
    shop.buy(user, metered_plan())
    send(event(user, 1, 4), now=START)
    with pytest.raises(RuntimeError, match="crash"), transaction.atomic():
        send(event(user, 2, 5), event(user, 3, at=START), now=START + DAY)
        assert used() == [10]
        raise RuntimeError("crash")
    assert used() == [4]
    assert send(event(user, 2, 5), event(user, 3, at=START), now=START + DAY).accepted == 2
    assert used() == [10]


def test_as_many_queries_for_many_priced_events_as_for_one(shop, user):
    plan = metered_plan({}, {"action": "pages"})
    people = [user, UserFactory(), UserFactory()]
    for each in people:
        shop.buy(each, plan)
    shop.run(SECOND)

    def queries(*events):
        with CaptureQueriesContext(connection) as captured:
            assert send(*events, now=SECOND + DAY).accepted == len(events)
        return [query["sql"] for query in captured]

    one = queries(event(user, "one"))
    several = [
        event(each, f"{day}-{action}", at=START + day * DAY, action=action)
        for each in people
        for day in (1, 20, 29)
        for action in ("words", "pages")
    ]
    assert len(queries(*several)) == len(one)
    # Whole subscriptions, their changes, prices, meters; the meters raised.
    assert len(one) == len(queries(event(user, "plain", action="books"))) + 5
    assert UsageMeter.objects.count() == 3 * 2 * 2


def test_the_plan_of_everybody_counts_what_no_invoice_asks_for(shop, user, settings, caplog):
    """A priced plan that was made the plan of everybody: what is included is all there is."""
    settings.PAYFLOW_DEFAULT_PLAN = metered_plan({"included": 2}).code
    other = UserFactory()
    subscription = shop.buy(other, metered_plan())

    batch = send(event(user, 1, 3), event(other, 1), event(user, 2, at=START), now=START + DAY)

    assert (batch.accepted, told(batch)) == (3, [(0, "over_limit", None, {"limits": ["words_included"]})])
    everybodys = UsageMeter.objects.filter(user=user, subscription=None).order_by("period_start")
    assert list(everybodys.values_list("used", flat=True)) == [1, 3]
    assert UsageMeter.objects.get(subscription=subscription).used == 1
    shop.sweep("usage_invoices")
    assert "cannot be billed" not in caplog.text


# --- from credit ------------------------------------------------------------------------------------------------------


def test_what_is_paid_from_credit_draws_once_and_refuses_by_itself(shop, user):
    other = UserFactory()
    shop.buy(user, metered_plan(FROM_CREDIT, {"action": "pages"}))
    shop.buy(other, metered_plan())
    give_credit(user, "0.50")
    events = [
        event(user, 1, 3, metadata={"a": [1.5, "ü"]}),
        event(other, 1, 11),
        event(user, 2, 3),  # 0.30, where 0.20 is left
        event(user, 3, 2),
        event(user, 4, action="pages"),
        event(user, 3, 2),
        event(user, 3, 9),
    ]

    batch = send(*events, now=START + DAY)

    short = {"action": "words", "needed": D("0.30"), "available": D("0.20"), "currency": "USD"}
    mismatch = {"event_id": ["This event_id was used for another request"]}
    assert batch.accepted == 4
    assert told(batch) == [
        (2, "refused", "INSUFFICIENT_CREDIT", short),
        (5, "duplicate", None, None),
        (6, "refused", "IDEMPOTENCY_MISMATCH", mismatch),
    ]
    assert (credit(user), CreditUse.objects.count()) == (0, 2)
    meter = UsageMeter.objects.get(user=user, price__action="words")
    assert (meter.used, meter.billed, meter.charged) == (5, 5, D("0.50"))
    assert set(counters(user=user, action="words").values()) == {5}

    give_credit(user, "0.30")
    again = send(*events, now=START + DAY)
    assert (again.accepted, [verdict.verdict for verdict in again.verdicts]) == (1, ["duplicate"] * 5 + ["refused"])
    assert (credit(user), CreditUse.objects.count()) == (0, 3)
    assert UsageLog.objects.count() == UsageEvent.objects.count() == 5


def test_a_crash_between_the_set_and_the_singles_is_mended_by_sending_again(shop, user):
    """What was committed before the crash is the set; then one of the singles."""
    shop.buy(user, metered_plan(FROM_CREDIT, {"action": "pages"}))
    give_credit(user, "1.00")
    events = [event(user, 1, action="pages"), event(user, 2, 2), event(user, 3, 3)]
    send(events[0], now=START)
    usage_log(user_id=user.pk, action="words", quantity=2, event_id="e-2", now=START)

    batch = send(*events, now=START + DAY)

    assert (batch.accepted, told(batch)) == (1, [(0, "duplicate", None, None), (1, "duplicate", None, None)])
    assert credit(user) == D("0.50")
    assert sorted(used()) == [1, 5]


def test_a_late_event_is_drawn_by_the_price_and_in_the_cycle_of_its_moment(shop, user):
    plain = PlanFactory(price=20)
    subscription = shop.buy(user, metered_plan({**FROM_CREDIT, "included": 2}))
    assert send(event(user, 1, 2, at=START), now=START).accepted == 1
    shop.run(SECOND)
    give_credit(user, "1.00")  # the renewal would take it
    assert send(event(user, 2, at=START), event(user, 3, 2), now=SECOND + DAY).accepted == 2
    assert used() == [3, 2]
    assert credit(user) == D("0.90")
    shop.at(SECOND + 2 * DAY)
    assert shop.change(subscription, plain, when="now").status_code == 200
    give_credit(user, "0.10")  # the change has taken the rest
    send(event(user, 4, at=START), event(user, 5), now=SECOND + 3 * DAY)
    assert (used(), credit(user)) == ([4, 2], 0)
    late = UsageLog.objects.get(event_id="e-4")
    assert (late.occurred_at, late.created_at) == (START, SECOND + 3 * DAY)
    assert counters(action="words")["words", "month", "2040-01-01"] == 4


def test_a_limit_refuses_what_is_paid_from_credit(shop, user):
    shop.buy(user, metered_plan(FROM_CREDIT, features={"words_per_day": 2}))
    batch = send(event(user, 1, 3), event(user, 2, 2), now=START)
    assert [(position, code) for position, _, code, _ in told(batch)] == [
        (0, "USAGE_LIMIT_EXCEEDED"),
        (1, "INSUFFICIENT_CREDIT"),
    ]
    assert (batch.accepted, used()) == (0, [0])
    with pytest.raises(CreditExhausted):
        use(user, at=START)
