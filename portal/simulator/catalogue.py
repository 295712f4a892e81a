"""What is sold, what it costs where, and what operators do to it while people live with it."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from decimal import Decimal
from functools import partial

from payflow.core.money import round_amount
from payments.models import TaxRate
from payments.services.tax_rates import tax_rate_create
from plans.models import Coupon, Plan
from plans.services import plan_create, plan_update
from plans.services_coupons import coupon_create
from portal.simulator.agenda import Agenda
from subscriptions.services.price_moves import price_move

OPERATOR = "operator:simulator"
MINUTE = timedelta(minutes=1)

#: Code, name, cycle, interval, trial days, price in USD, EUR, JPY; how many of a hundred take it.
CATALOGUE = (
    ("sim-daily", "Daily", "daily", 1, 0, "0.99", "0.89", "110", 4),
    ("sim-weekly", "Weekly", "weekly", 1, 0, "3.49", "3.29", "390", 12),
    ("sim-fortnightly", "Fortnightly", "weekly", 2, 0, "6.49", "5.99", "720", 4),
    ("sim-monthly", "Monthly", "monthly", 1, 0, "9.99", "8.99", "1100", 30),
    ("sim-trial", "Monthly with a trial", "monthly", 1, 14, "14.99", "13.49", "1650", 18),
    ("sim-try", "Monthly with a trial that needs no card", "monthly", 1, 7, "19.99", "17.99", "2200", 8),
    ("sim-quarterly", "Quarterly", "monthly", 3, 0, "26.99", "24.49", "2990", 6),
    ("sim-yearly", "Yearly", "yearly", 1, 0, "99.00", "89.00", "10900", 10),
    ("sim-yearly-plus", "Yearly plus", "yearly", 1, 0, "149.00", "135.00", "16500", 8),
)
#: Their trial begins at once, and nobody is charged when it ends.
WITHOUT_METHOD = frozenset({"sim-try"})
CURRENCIES = {"USD": 5, "EUR": 3, "JPY": 2}
ZONES = ("UTC", "Europe/Berlin", "America/New_York", "Asia/Tokyo", "Australia/Lord_Howe")
#: Name, percent, contained in the price; nowhere else is anything taxed.
TAXES = {"DE": ("USt", "19", True), "US": ("Sales tax", "8.25", False), "AU": ("GST", "10", False)}
#: Where people live, and how many of ten.
COUNTRIES = {"": 5, "DE": 2, "US": 2, "AU": 1}
#: What a coupon is, and how many of a hundred come with it.
COUPONS = (
    ({"code": "SIM-FIRST", "kind": "percent", "percent": "25", "duration": "once"}, 12),
    ({"code": "SIM-TWO", "kind": "percent", "percent": "33.3333", "duration": "cycles", "cycles": 2}, 9),
    ({"code": "SIM-EVER", "kind": "percent", "percent": "10", "duration": "forever"}, 8),
    ({"code": "SIM-FEW", "kind": "percent", "percent": "50", "duration": "once", "max_redemptions": 2}, 8),
    ({"code": "SIM-FREE", "kind": "percent", "percent": "100", "duration": "once"}, 4),
    ({"code": "SIM-FIXED", "kind": "fixed", "amount": "2.50", "currency": "USD", "duration": "once"}, 6),
    ({"code": "SIM-FIXED-EUR", "kind": "fixed", "amount": "1.00", "currency": "EUR", "duration": "forever"}, 5),
)
#: At which share of the run a plan's price is multiplied; those who have it are moved a tenth of the run later.
PRICE_CHANGES = ((0.35, "sim-monthly", Decimal("1.2")), (0.6, "sim-weekly", Decimal("0.8")))


def list_prices() -> dict[tuple[str, str], Decimal]:
    """The highest price that a plan has in the run, by its code and the currency."""
    prices = {}
    for code, _, _, _, _, *amounts, _ in CATALOGUE:
        dearest = max([Decimal(1), *(factor for _, changed, factor in PRICE_CHANGES if changed == code)])
        for currency, amount in zip(CURRENCIES, amounts, strict=True):
            prices[code, currency] = round_amount(Decimal(amount) * dearest, currency)
    return prices


def catalogue_make(at: datetime) -> None:
    """The plans, coupons and tax rates of the simulation, made once."""
    for code, name, cycle, interval, trial_days, usd, eur, jpy, _ in CATALOGUE:
        if not Plan.objects.filter(code=code).exists():
            plan_create(
                code=code,
                name=name,
                price=Decimal(usd),
                currency="USD",
                billing_cycle=cycle,
                billing_interval=interval,
                trial_days=trial_days,
                trial_needs_method=code not in WITHOUT_METHOD,
                prices=[
                    {"currency": "EUR", "amount": Decimal(eur)},
                    {"currency": "JPY", "amount": Decimal(jpy)},
                ],
                actor=OPERATOR,
                at=at,
            )
    for values, _ in COUPONS:
        if not Coupon.objects.filter(code=values["code"]).exists():
            money = {name: Decimal(str(values[name])) for name in ("percent", "amount") if name in values}
            coupon_create(**{**values, **money}, actor=OPERATOR)  # type: ignore[arg-type]
    for country, (name, percent, inclusive) in TAXES.items():
        if not TaxRate.objects.filter(country=country, is_active=True).exists():
            tax_rate_create(country=country, name=name, percent=Decimal(percent), inclusive=inclusive, actor=OPERATOR)


def operators_plan(agenda: Agenda) -> None:
    """Prices change, and later those who subscribed before are moved to them."""
    days = (agenda.end - agenda.now).days
    for share, code, factor in PRICE_CHANGES:
        # Whole seconds and a half: nobody's act is at that moment.
        moment = agenda.now + timedelta(days=int(days * share), hours=9, microseconds=500_000)
        agenda.at(moment, _surely(agenda, partial(_price_change, agenda, code, factor)))
        later = moment + timedelta(days=max(days // 10, 1))
        agenda.at(later, _surely(agenda, partial(_price_move, agenda, code)))


def _surely(agenda: Agenda, do: Callable[[], object]) -> Callable[[], object]:
    """Whose request dies does it again."""

    def attempt() -> None:
        try:
            do()
        except BaseException:
            agenda.later(MINUTE, attempt)
            raise

    return attempt


def _price_change(agenda: Agenda, code: str, factor: Decimal) -> None:
    [amounts] = [row[5:8] for row in CATALOGUE if row[0] == code]
    usd, eur, jpy = (
        round_amount(Decimal(amount) * factor, currency) for currency, amount in zip(CURRENCIES, amounts, strict=True)
    )
    plan = Plan.objects.get(code=code)
    plan_update(
        plan_id=plan.pk,
        price=usd,
        prices=[{"currency": "EUR", "amount": eur}, {"currency": "JPY", "amount": jpy}],
        actor=OPERATOR,
        at=agenda.now,
    )


def _price_move(agenda: Agenda, code: str) -> None:
    price_move(plan=Plan.objects.prefetch_related("prices").get(code=code), actor=OPERATOR, now=agenda.now)
