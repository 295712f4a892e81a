"""One cycle is divided by one unit, whatever the units of the plans that share it: no moment is had for nothing."""

from __future__ import annotations

from datetime import date, datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from itertools import pairwise
from random import Random

import pytest

from payments.models import LineKind
from tests.conftest import Api
from tests.depth import depth
from tests.factories import PlanFactory
from tests.flows import START, credit, fresh, ledger, part
from tests.subscriptions.february import END, TENTH, newest, same_as_invoice

#: None leaves it to the setting.
UNITS = ["day", "second", None]
ROUNDING = Fraction(2, 100)
MINUTE = timedelta(minutes=1)


@pytest.fixture(autouse=True)
def _customers_refund_themselves(settings):
    settings.CUSTOMER_REFUNDS = True


def of(unit: str | None, price: str = "29.00"):
    return PlanFactory(price=Decimal(price), proration_unit=unit)


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
    assert lived - ROUNDING * 10 <= kept(user) <= lived + 2 + ROUNDING * 10  # the first day and the last


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
        ("plan", "day", "second", "18.00"),
        ("plan", "second", "day", "18.50"),
        ("setting", "day", "second", "18.00"),
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
    assert {line["explanation"]["unit"] for line in lines} == {unit}
    today = 1 if unit == "day" else 0  # paid for before the pause, and had
    worth = [Decimal(str(line["amount"])) for line in lines]
    assert (worth[0], sum(worth[1:])) == (2 * (Decimal(left) + today), -Decimal(left) - today)


@pytest.mark.parametrize("evening", ["pause", "down"])
def test_a_night_that_is_left_out_saves_no_day(shop, user, evening):
    """Every day is lived but for the two minutes around midnight, and costs what was had on it."""
    dear, cheap = of("day", "58.00"), of("day", "29.00")
    subscription = shop.buy(user, dear)
    midnight = TENTH.replace(hour=0)
    for night in range(5):
        shop.at(midnight + timedelta(days=night) - MINUTE)
        if evening == "pause":
            assert shop.post(fresh(subscription), "pause").status_code == 200
        else:
            change(shop, fresh(subscription), cheap)
        shop.at(midnight + timedelta(days=night) + MINUTE)
        if evening == "pause":
            assert shop.post(fresh(subscription), "resume").status_code == 200
        else:
            change(shop, fresh(subscription), dear)

    assert kept(user) == 58


@pytest.mark.parametrize(
    ("steps", "days"),
    [
        (["29.00", "58.00"], {"58.00": 19, "29.00": 0}),
        (["58.00", "87.00", "58.00"], {"58.00": 18, "87.00": 1}),
        (["87.00", "29.00", "87.00"], {"87.00": 19}),
        (["87.00", "29.00", "58.00"], {"87.00": 1, "58.00": 18}),
        (["58.00", "29.00", "87.00"], {"87.00": 19}),
        (["58.00", "29.00", "11.60", "29.00"], {"58.00": 1, "29.00": 18}),
        (["58.00", "29.00", "11.60", "87.00", "29.00"], {"87.00": 1, "29.00": 18}),
        (["58.00", "pause", "resume", "87.00"], {"87.00": 19}),
        (["58.00", "87.00", "29.00", "pause", "resume", "pause", "resume", "58.00"], {"87.00": 1, "58.00": 18}),
        (["58.00", "pause", "resume", "29.00", "58.00"], {"58.00": 19}),
        (["87.00", "29.00", "pause"], {"87.00": 1}),
    ],
)
def test_a_day_costs_the_dearest_that_was_had_on_it(shop, user, steps, days):
    """Ten days of the first, and on the tenth all of the others, an hour apart."""
    plans = {price: of("day", price) for price in ("11.60", "29.00", "58.00", "87.00")}
    first, *others = steps
    subscription = shop.buy(user, plans[first])
    shop.at(TENTH - timedelta(hours=10))
    for step in others:
        shop.at(shop.now + timedelta(hours=1))
        if step in plans:
            change(shop, fresh(subscription), plans[step])
        else:
            assert shop.post(fresh(subscription), step).status_code == 200

    daily = {price: Decimal(price) / 29 for price in plans}
    assert abs(kept(user) - Fraction(10 * daily[first] + sum(daily[each] * days[each] for each in days))) <= (
        ROUNDING * len(steps)
    )


@pytest.mark.deep
@pytest.mark.parametrize("unit", ["day", "second"])
@pytest.mark.parametrize("seed", range(depth(sample=1, full=12)))
def test_what_was_had_is_paid_for_exactly(shop, user, settings, seed, unit):
    """By seconds the time of each plan; by days the dearest that was had on each. Whatever the others' units are."""
    chance = Random(seed)
    settings.PRORATION_UNIT = unit
    plans = [of(each, price) for each in UNITS for price in ("29.00", "58.00")]
    subscription = shop.buy(user, chance.choice([each for each in plans if each.proration_unit in (unit, None)]))
    had, steps = [(START, subscription.amount)], 0
    while True:
        row = fresh(subscription)
        later = shop.now + timedelta(seconds=chance.choice([chance.randint(60, 40000), chance.randint(60, 5 * 86400)]))
        if later >= END:
            break
        shop.at(later)
        steps += 1
        if row.status == "paused":
            assert shop.post(row, "resume").status_code == 200
        elif chance.random() < 0.25:
            assert shop.post(row, "pause").status_code == 200
        else:
            change(shop, row, chance.choice([each for each in plans if each.pk != row.plan_id]))
        settings.PRORATION_UNIT = chance.choice(["day", "second"])
        row = fresh(subscription)
        had.append((later, row.amount if row.status == "active" else Decimal(0)))
    Api().as_user(user).delete(f"/api/v1/subscriptions/{subscription.pk}?when=now&refund=true")
    had.append((shop.now, Decimal(0)))

    assert abs(kept(user) - {"day": by_days, "second": by_seconds}[unit](had)) <= ROUNDING * (steps + 1)


def by_seconds(had: list[tuple[datetime, Decimal]]) -> Fraction:
    return sum(
        (Fraction(price) * part(until - since, END - START) for (since, price), (until, _) in pairwise(had)),
        start=Fraction(0),
    )


def by_days(had: list[tuple[datetime, Decimal]]) -> Fraction:
    dearest: dict[date, Decimal] = {}
    for (since, price), (until, _) in pairwise(had):
        for ordinal in range(since.toordinal(), until.toordinal() + 1):
            day = date.fromordinal(ordinal)
            dearest[day] = max(price, dearest.get(day, Decimal(0)))
    return Fraction(sum(price for day, price in dearest.items() if day < END.date())) / (END - START).days
