"""Renewals of many at once: what a set writes is what each would have got alone, and one of them stops nobody."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal

import pytest
from django.conf import settings as configured
from django.db import connection
from django.test.utils import CaptureQueriesContext

from payflow.core.models import OutboxEvent
from payments.models import Invoice
from providers.sandbox.models import SandboxPayment
from subscriptions.models import BillingPeriod, Subscription
from subscriptions.services.due import BAD_ROW_PAUSE
from subscriptions.services.due import LEASE as DUE_LEASE
from tests.factories import PlanFactory, UserFactory
from tests.flows import DAY, START, charges, credit, fresh, give_credit, ledger, paid, periods

END = datetime(2040, 2, 29, 10, 0, tzinfo=UTC)
NEXT = datetime(2040, 3, 31, 10, 0, tzinfo=UTC)
FIRST = ("completed", 1, "")
#: Only who looks whether charges are still wanted reads them with their invoices.
LOOK = 'FROM "payment_transactions" LEFT OUTER JOIN "invoices"'


def member(shop, plan, card: str = "ok") -> Subscription:
    """Somebody whose first month is paid and whose stored card does what it is told."""
    user = UserFactory()
    subscription, _ = paid(user, plan, at=START)
    Subscription.objects.filter(pk=subscription.pk).update(payment_method=shop.second_card(user, card))
    return fresh(subscription)


def overlap(subscription: Subscription) -> None:
    """Somebody has written a period that collides with the next one."""
    BillingPeriod.objects.create(
        subscription=subscription,
        start=END + DAY,
        end=END + 2 * DAY,
        cycle="monthly",
        plan=subscription.plan,
        amount=0,
        currency="USD",
        source="manual",
        created_at=START,
    )


@pytest.fixture
def twelve(shop):
    plan = PlanFactory()
    names = ["changing", "declined", "lost", "credited", "partly", "methodless", "silent"]
    cards = {"declined": "decline", "silent": "timeout"}
    rows = {name: member(shop, plan, cards.get(name, "ok")) for name in names}
    rows |= {f"plain {n}": member(shop, plan) for n in range(5)}
    assert shop.change(rows["changing"], PlanFactory(price=Decimal("4.00"))).status_code == 200
    give_credit(rows["credited"].user, "12.00")
    give_credit(rows["partly"].user, "3.00")
    shop.no_card(rows["methodless"])
    with connection.cursor() as cursor:
        cursor.execute("UPDATE subscriptions SET timezone = 'Mars/Olympus' WHERE id = %s", [rows["lost"].pk])
    return rows


@pytest.mark.parametrize("how", ["as a set", "one in a batch", "row by row"])
def test_a_set_of_renewals_is_what_each_would_have_been_alone(shop, twelve, settings, how):
    if how == "one in a batch":
        settings.SWEEP_BATCH = 1
    if how == "row by row":  # one that cannot be written sends all the others the other way
        overlap(member(shop, twelve["lost"].plan))
    shop.at(END)

    swept = 0
    while some := shop.due():
        swept += some
        assert some <= (1 if how == "one in a batch" else configured.SWEEP_BATCH)

    assert swept == (13 if how == "row by row" else 12)
    renewed = {"plain 0", "plain 1", "plain 2", "plain 3", "plain 4", "changing", "credited", "partly"}
    for name, row in twelve.items():
        after = fresh(row)
        assert (after.anchor, after.current_period_start) == (START, END if name in renewed else START), name
        assert (after.status, after.end_date) == (
            "past_due" if name in ("declined", "methodless") else "active",
            NEXT if name in renewed else END,
        ), name
        billed = [] if name == "lost" else [(END, NEXT)]
        assert periods(row) == [(START, END), *billed], name
    assert {name: charges(row)[1:] for name, row in twelve.items() if charges(row)[1:] != [FIRST]} == {
        "declined": [("failed", 1, "insufficient_funds")],
        "lost": [],
        "credited": [],
        "methodless": [],
        "silent": [("pending", 1, "")],
    }
    assert {name: bill(row) for name, row in twelve.items() if bill(row) != (10, 0, 10, "paid")} == {
        "changing": (4, 0, 4, "paid"),
        "declined": (10, 0, 10, "open"),
        "lost": None,
        "credited": (10, 10, 0, "paid"),
        "partly": (10, 3, 7, "paid"),
        "methodless": (10, 0, 10, "open"),
        "silent": (10, 0, 10, "open"),
    }
    upcoming = {name: fresh(row).next_action_at for name, row in twelve.items()}
    assert {name: at for name, at in upcoming.items() if at != NEXT} == {
        "declined": END + 2 * DAY,
        "methodless": END + 2 * DAY,
        "lost": END + BAD_ROW_PAUSE,
        "silent": END + DUE_LEASE,
    }
    assert (credit(twelve["credited"].user), credit(twelve["partly"].user)) == (2, 0)
    assert told() == {twelve[name].pk for name in renewed}
    assert [at for (at,) in upcoming_numbers()] == [f"INV-2040-{n:06d}" for n in range(1, Invoice.objects.count() + 1)]
    # the first month of everybody, and then 5 times 10, 4 and 7; 30 are owed; 15 of credit were given, 13 are used
    first = Decimal(130 if how == "row by row" else 120)
    assert ledger() == {
        "provider_clearing": first + 61,
        "receivable": 30,
        "discounts": 15,
        "customer_credit": -2,
        "revenue": -(first + 104),
    }


def bill(subscription: Subscription) -> tuple[Decimal, Decimal, Decimal, str] | None:
    """Of the second month: subtotal, credit, total and status."""
    row = subscription.invoices.filter(period_start=END).first()
    return (row.subtotal, row.credit, row.total, row.status) if row else None


def told() -> set[object]:
    """Whose renewal is told, each once."""
    subjects = list(OutboxEvent.objects.filter(type="subscription.renewed").values_list("subject_id", flat=True))
    assert len(subjects) == len(set(subjects))
    return set(subjects)


def upcoming_numbers() -> list[tuple[str]]:
    return list(Invoice.objects.order_by("number").values_list("number"))


def test_a_sweep_costs_the_same_queries_for_five_and_for_twenty_five(shop):
    plan = PlanFactory()

    def swept(count: int) -> int:
        """The queries of one sweep of `count` plain renewals, but for the looks before its calls: those go by time."""
        rows = [member(shop, plan) for _ in range(count)]
        Subscription.objects.exclude(pk__in=[row.pk for row in rows]).update(next_action_at=NEXT)
        with CaptureQueriesContext(connection) as queries:
            assert shop.due() == count
        assert {fresh(row).end_date for row in rows} == {NEXT}
        looks = [each for each in queries if LOOK in each["sql"] and "'pending'" in each["sql"]]
        assert len(looks) <= count
        return len(queries) - 2 * len(looks)  # at the charges, and at whose they are

    shop.at(END)
    five = swept(5)
    assert swept(25) == five
    assert SandboxPayment.objects.filter(status="succeeded").count() == 30


def test_where_a_set_cannot_be_written_every_other_row_is_renewed(shop):
    plan = PlanFactory()
    rows = [member(shop, plan) for _ in range(4)]
    bad, *others = rows
    overlap(bad)

    shop.run(END)

    assert [(fresh(row).end_date, len(charges(row))) for row in others] == [(NEXT, 2)] * 3
    assert (fresh(bad).end_date, charges(bad), fresh(bad).next_action_at) == (END, [FIRST], END + BAD_ROW_PAUSE)
    assert SandboxPayment.objects.filter(status="succeeded").count() == 3
    assert ledger() == {"provider_clearing": 70, "revenue": -70}
    # and the bad one follows where somebody has mended it
    BillingPeriod.objects.filter(subscription=bad, source="manual").update(superseded_at=END)
    shop.run(END + BAD_ROW_PAUSE)
    assert fresh(bad).end_date == NEXT


def test_a_planned_change_and_missed_periods_are_caught_up_in_their_order(shop):
    """Down for two months: what was planned for the end of the first holds from there, and each month is billed."""
    row = member(shop, PlanFactory())
    assert shop.change(row, PlanFactory(price=Decimal("4.00"))).status_code == 200

    shop.at(datetime(2040, 4, 15, 10, tzinfo=UTC))
    while shop.due():
        pass

    assert list(row.invoices.order_by("pk").values_list("total", flat=True)) == [10, 4, 4]
    spans = periods(row)
    assert [start for start, _ in spans] == [START, END, NEXT]
    assert [end for _, end in spans[:-1]] == [start for start, _ in spans[1:]]
    assert fresh(row).anchor == START


def test_two_renewals_of_one_user_share_his_credit(shop):
    first = member(shop, PlanFactory())
    second, _ = paid(first.user, PlanFactory(family="extras"), at=START)
    Subscription.objects.filter(pk=second.pk).update(payment_method=first.payment_method)
    give_credit(first.user, "15.00")

    shop.run(END)

    assert sorted([bill(first), bill(second)]) == [(10, 5, 5, "paid"), (10, 10, 0, "paid")]
    assert credit(first.user) == 0
    assert ledger() == {"provider_clearing": 25, "discounts": 15, "revenue": -40}
