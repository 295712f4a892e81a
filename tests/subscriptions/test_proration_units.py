"""One cycle is divided by one unit, whatever the units of the plans that share it: no moment is had for nothing."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal
from fractions import Fraction
from random import Random

import pytest

from payments.models import LineKind
from tests.conftest import Api
from tests.depth import depth
from tests.factories import PlanFactory
from tests.flows import START, credit, fresh, ledger
from tests.subscriptions.february import END, TENTH, newest, same_as_invoice

#: None leaves it to the setting.
UNITS = ["day", "second", None]
#: A day of the dearest plan: where a cycle is divided by days, its day of change belongs to what comes after it.
DAYS_PRICE = Fraction(2)
ROUNDING = Fraction(2, 100)
MINUTE = timedelta(minutes=1)


@pytest.fixture(autouse=True)
def _customers_refund_themselves(settings):
    settings.CUSTOMER_REFUNDS = True


def of(unit: str | None, price: str = "29.00"):
    return PlanFactory(price=Decimal(price), proration_unit=unit)


def part(span: timedelta, whole: timedelta) -> Fraction:
    return Fraction(span // timedelta.resolution, whole // timedelta.resolution)


def kept(user) -> Fraction:
    """What the shop has of his money for good."""
    return Fraction(ledger().get("provider_clearing", Decimal(0)) - credit(user))


def change(shop, subscription, target) -> None:
    """By its preview, whose figures are the invoice's."""
    preview = shop.preview(subscription, target, when="now")
    wish = {"quoted_at": preview["quoted_at"], "total": preview["total"], "next_amount": preview["next_amount"]}
    before = subscription.invoices.count()
    assert shop.change(subscription, target, when="now", **wish).status_code == 200
    if subscription.invoices.count() > before:
        same_as_invoice(preview, newest(subscription))
    else:
        assert (preview["total"], preview["credit_granted"], preview["lines"]) == (0, 0, [])


@pytest.mark.parametrize(("first", "second"), [("day", "second"), ("second", "day")])
def test_going_to_and_fro_over_midnight_gives_no_day_away(shop, user, first, second):
    """Credited by the day and charged by the second, every night would give the day before back."""
    one, other = of(first), of(second)
    subscription = shop.buy(user, one)
    midnight = TENTH.replace(hour=0)
    for night in range(5):
        shop.at(midnight + timedelta(days=night) - MINUTE)
        change(shop, fresh(subscription), other)
        shop.at(midnight + timedelta(days=night) + MINUTE)
        change(shop, fresh(subscription), one)

    lived = part(shop.now - START, timedelta(days=1))
    Api().as_user(user).delete(f"/api/v1/subscriptions/{subscription.pk}?when=now&refund=true")
    assert lived - 1 - ROUNDING * 10 <= kept(user) <= lived + 1 + ROUNDING * 10


def test_both_sides_of_a_change_are_divided_alike(shop, user):
    subscription = shop.buy(user, of("day"))
    shop.at(TENTH + timedelta(hours=12))

    preview = shop.preview(subscription, of("second", "58.00"))

    assert [(line["amount"], line["explanation"]["unit"]) for line in preview["lines"]] == [(38, "day"), (-19, "day")]


def test_the_unit_of_a_cycle_outlives_the_setting(shop, user, settings):
    settings.PRORATION_UNIT = "day"
    subscription = shop.buy(user, of(None))
    shop.at(TENTH)
    change(shop, subscription, of(None, "58.00"))
    settings.PRORATION_UNIT = "second"
    shop.at(TENTH + timedelta(days=5, hours=3))

    lines = shop.preview(subscription, of(None, "87.00"))["lines"]

    assert {line["explanation"]["unit"] for line in lines} == {"day"}
    # a resume goes on with it
    assert shop.post(subscription, "pause").status_code == 200
    assert shop.post(subscription, "resume").status_code == 200
    assert newest(subscription).lines.get(kind=LineKind.PRORATION_CHARGE).explanation["unit"] == "day"
    # and the next cycle has its own
    shop.run(END)
    shop.at(END + timedelta(days=3))
    assert shop.preview(subscription, of("day", "87.00"))["lines"][0]["explanation"]["unit"] == "second"


@pytest.mark.parametrize(
    ("by", "unit", "then", "left"),
    [
        ("plan", "day", "second", "19.00"),
        ("plan", "second", "day", "18.50"),
        ("setting", "day", "second", "19.00"),
    ],
)
def test_the_unit_of_a_pause_is_that_of_its_resume_and_of_what_follows(shop, user, settings, by, unit, then, left):
    """An operator changes the plan's rule, or the setting, while it is paused: the same half day costs what it was worth."""
    plan = of(unit if by == "plan" else None)
    settings.PRORATION_UNIT = unit if by == "setting" else "second"
    subscription = shop.buy(user, plan)
    shop.at(TENTH + timedelta(hours=12))
    assert shop.post(subscription, "pause").status_code == 200
    assert credit(user) == Decimal(left)
    if by == "plan":
        plan.proration_unit = then
        plan.save()
    settings.PRORATION_UNIT = then

    assert shop.post(subscription, "resume").status_code == 200

    bill = newest(subscription)
    assert (bill.subtotal, bill.total, credit(user)) == (Decimal(left), 0, 0)
    lines = shop.preview(subscription, of(then, "58.00"))["lines"]
    assert [line["explanation"]["unit"] for line in lines] == [unit, unit]
    assert [Decimal(str(line["amount"])) for line in lines] == [2 * Decimal(left), -Decimal(left)]


@pytest.mark.deep
@pytest.mark.parametrize("seed", range(depth(sample=2, full=12)))
def test_nobody_gets_back_more_than_he_paid_for_what_he_did_not_have(shop, user, settings, seed):
    """Within a day's price, the most that a division by days gives or takes."""
    chance = Random(seed)
    settings.PRORATION_UNIT = chance.choice(["day", "second"])
    plans = [of(unit, price) for unit in UNITS for price in ("29.00", "58.00")]
    subscription = shop.buy(user, chance.choice(plans))
    lived, steps = Fraction(0), 0
    moment = START
    while True:
        row = fresh(subscription)
        later = moment + timedelta(seconds=chance.randint(60, 5 * 86400))
        if later >= END:
            break
        if row.status == "active":
            lived += Fraction(row.amount) * part(later - moment, END - START)
        moment, steps = shop.at(later), steps + 1
        settings.PRORATION_UNIT = chance.choice(["day", "second"])
        if row.status == "paused":
            assert shop.post(row, "resume").status_code == 200
        elif chance.random() < 0.25:
            paid_for = kept(user)
            assert shop.post(row, "pause").status_code == 200
            assert 0 <= kept(user) <= paid_for
        else:
            change(shop, row, chance.choice([each for each in plans if each.pk != row.plan_id]))
    Api().as_user(user).delete(f"/api/v1/subscriptions/{subscription.pk}?when=now&refund=true")
    assert abs(kept(user) - lived) <= DAYS_PRICE + ROUNDING * steps
