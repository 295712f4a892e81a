"""Amounts, moments, features and states in words, for pages and e-mails. Pure.

The language is the installation's (`LANGUAGE_CODE`), moments are told in the reader's own zone.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from typing import Any, assert_never
from zoneinfo import ZoneInfo

from babel import Locale
from babel.dates import format_date, format_time
from babel.numbers import format_currency, format_decimal, get_currency_precision
from django.conf import settings
from django.utils.translation import to_locale

from payments.models import InvoiceLine, PaymentMethod, TaxRate
from plans.features import UNLIMITED, Kind, kind
from plans.models import ActionPrice, Cycle, Plan, PriceModel, Settlement
from plans.pricing import Pricing, Tier, pricing_of
from subscriptions.models import Status
from usage.limits import LimitState
from usage.models import ALL_ACTIONS, Window

#: The price of a unit has at most so many decimals.
UNIT_DIGITS = 9
_CYCLES = {Cycle.DAILY: "day", Cycle.WEEKLY: "week", Cycle.MONTHLY: "month", Cycle.YEARLY: "year"}
_WINDOWS = {"_per_day": " per day", "_per_month": " per month"}
_TODAY = {Window.DAY: " today", Window.MONTH: " this month", Window.ALL: ""}
_ABBREVIATIONS = {"api": "API", "id": "ID", "pdf": "PDF", "sms": "SMS", "url": "URL", "ai": "AI"}
_PROVIDERS = {
    "sandbox": "Sandbox",
    "sandbox-billing": "Sandbox Billing",
    "sandbox-store": "Sandbox Store",
    "lava": "Lava",
    "2checkout": "2Checkout",
    "apple": "App Store",
}


class Tone(StrEnum):
    """The colour of a state."""

    GOOD = "good"
    WAITING = "waiting"
    BAD = "bad"
    QUIET = "quiet"


@dataclass(frozen=True, slots=True)
class Moment:
    """A moment as a page shows it: `text` for people, `iso` for machines."""

    text: str
    iso: str


@dataclass(frozen=True, slots=True)
class UsagePrice:
    """What units of an action cost; `steps` where the price has several."""

    text: str
    steps: Sequence[str] = ()


def money(amount: Decimal, currency: str) -> str:
    return str(format_currency(amount, currency, locale=_locale()))


def price(amount: Decimal, currency: str) -> str:
    """Of a plan: without decimals where there are none to tell, $20 and not $20.00."""
    if amount != amount.to_integral_value():
        return money(amount, currency)
    whole = Locale.parse(_locale()).currency_formats["standard"].pattern.replace(".00", "")
    return str(format_currency(amount, currency, format=whole, currency_digits=False, locale=_locale()))


def unit_price(amount: Decimal, currency: str) -> str:
    """Of a unit: with every digit it has, $0.0025, and of a whole amount no more."""
    if amount == amount.to_integral_value():
        return price(amount, currency)
    digits = get_currency_precision(currency)
    fraction = f".{'0' * digits}{'#' * (UNIT_DIGITS - digits)}"
    pattern = Locale.parse(_locale()).currency_formats["standard"].pattern.replace(".00", fraction)
    return str(format_currency(amount, currency, format=pattern, currency_digits=False, locale=_locale()))


def usage_price(row: ActionPrice, every: str, *, is_sold: bool) -> UsagePrice | None:
    """`10 words per month included, then $0.50 each`, and the steps of a price that has several.

    `every` is the plan's cycle. Not `is_sold`: no more can be had than is included; None where that is nothing.
    """
    pricing = pricing_of(row)
    name = _words(row.action)
    units = name.removesuffix("s") if row.included == 1 else name
    included = f"{number(row.included)} {units} {every} included" if row.included else ""
    if not is_sold:
        return UsagePrice(included) if included else None
    cost, steps = _cost(pricing)
    credit = ", from your credit" if row.settlement == Settlement.CREDIT else ""
    end = ":" if steps else ""
    return UsagePrice(
        f"{included}, then {cost}{credit}{end}" if included else f"{_capital(name)}: {cost}{credit}{end}", steps
    )


def lines(rows: Sequence[InvoiceLine]) -> list[tuple[str, str]]:
    """An invoice's lines; what is contained in another line's amount has none of its own."""
    return [(row.description, money(row.amount, row.currency) if row.amount else "") for row in rows]


def cycle(billing_cycle: str, interval: int) -> str:
    """`per month`, `every 3 months`."""
    unit = _CYCLES[Cycle(billing_cycle)]
    return f"per {unit}" if interval == 1 else f"every {interval} {unit}s"


def tax(rate: TaxRate) -> str:
    """`VAT 21 %`."""
    return f"{rate.name} {number(rate.percent)} %"


def every(billing_cycle: str, interval: int) -> str:
    """`every month`, `every 3 months`."""
    unit = _CYCLES[Cycle(billing_cycle)]
    return f"every {unit}" if interval == 1 else f"every {interval} {unit}s"


def method(row: PaymentMethod) -> str:
    """`Visa •• 4242`, never more of a card than that."""
    name = _capital(row.brand or row.kind)
    return f"{name}\u00a0••\u00a0{row.last4}" if row.last4 else name


def day(moment: datetime, timezone: str) -> Moment:
    local = moment.astimezone(ZoneInfo(timezone))
    return Moment(str(format_date(local.date(), "medium", locale=_locale())), local.isoformat())


def minute(moment: datetime, timezone: str) -> Moment:
    local = moment.astimezone(ZoneInfo(timezone))
    date = format_date(local.date(), "medium", locale=_locale())
    time = format_time(local.time(), "short", locale=_locale()).replace("\u202f", " ")  # plain-text mail lacks it
    return Moment(f"{date}, {time}", local.isoformat())


def number(value: float | Decimal) -> str:
    return str(format_decimal(value, locale=_locale()))


def provider(name: str) -> str:
    return _PROVIDERS.get(name, name.replace("-", " ").replace("_", " ").title())


def plan_features(plan: Plan) -> list[str]:
    """What a plan gives, one line each; what it says no to is left out."""
    lines = [line for key, value in (plan.features or {}).items() if (line := feature(key, value))]
    totals = {"day": plan.max_usage_per_day, "month": plan.max_usage_per_month}
    return lines + [f"{number(total)} uses per {window}" for window, total in totals.items() if total]


def feature(key: str, value: Any) -> str:
    """`300 translations per day`, `Unlimited books`, `Offline`, `Max storage: 100GB`; empty for what is not given."""
    try:
        found = kind(value)
    except ValueError:
        return ""
    name, window = _split(key)
    match found:
        case Kind.SWITCH:
            return _capital(_words(key)) if value else ""
        case Kind.TEXT:
            return f"{_capital(_words(key))}: {value}"
        case Kind.LIMIT:
            if value == UNLIMITED:
                return f"Unlimited {_words(name)}"
            words = _words(name).removesuffix("s") if value == 1 else _words(name)
            return f"{number(value)} {words}{window}" if value else ""


def limit_name(limit: LimitState) -> str:
    """`Translations today`, `Books`, `Everything this month`."""
    what = "Everything" if limit.action == ALL_ACTIONS else _capital(_words(limit.action))
    return what + _TODAY[Window(limit.window)]


def status(value: str, *, ends: bool) -> tuple[str, Tone]:
    """A subscription's state in words. `ends`: it runs, but will not go on."""
    match Status(value):
        case Status.PENDING:
            return "Waiting for payment", Tone.WAITING
        case Status.TRIAL:
            return ("Free trial, cancelled", Tone.QUIET) if ends else ("Free trial", Tone.GOOD)
        case Status.ACTIVE:
            return ("Active until it ends", Tone.QUIET) if ends else ("Active", Tone.GOOD)
        case Status.PAST_DUE:
            return "Payment due", Tone.BAD
        case Status.SUSPENDED:
            return "Suspended", Tone.BAD
        case Status.PAUSED:
            return "Paused", Tone.WAITING
        case Status.CANCELLED:
            return "Cancelled", Tone.QUIET
        case Status.EXPIRED:
            return "Ended", Tone.QUIET


def sentence(details: Any) -> str:
    """The first fault in the `details` of a refusal, or nothing."""
    if isinstance(details, Mapping):
        for faults in details.values():
            if isinstance(faults, list) and faults and isinstance(faults[0], str):
                return faults[0]
    return ""


def _cost(pricing: Pricing) -> tuple[str, Sequence[str]]:
    """What units beyond the included ones cost, in one phrase, or in a phrase and its steps."""
    currency = pricing.currency
    match pricing.model:
        case PriceModel.PER_UNIT:
            return _each(pricing.unit_amount, Decimal(0), currency), ()
        case PriceModel.PACKAGE:
            assert pricing.unit_amount is not None, "this model has one price"
            package = number(pricing.package_size or 1)
            return (
                f"{unit_price(pricing.unit_amount, currency)} for every {package}" if pricing.unit_amount else "free"
            ), ()
        case PriceModel.GRADUATED | PriceModel.VOLUME:
            costs = [_each(tier.unit_amount, tier.flat_amount, currency) for tier in pricing.tiers]
            if len(costs) == 1:
                return costs[0], ()
            is_graduated = pricing.model == PriceModel.GRADUATED
            phrase = "by steps" if is_graduated else "one price for all, by how many they are"
            spans = _steps(pricing.tiers) if is_graduated else _reaches(pricing.tiers)
            return phrase, [f"{span}: {cost}" for span, cost in zip(spans, costs, strict=True)]
        case model:
            assert_never(model)


def _steps(tiers: Sequence[Tier]) -> list[str]:
    names, below = [], 0
    for tier in tiers:
        first = "The next" if below else "The first"
        names.append("All further" if tier.up_to is None else f"{first} {number(tier.up_to - below)}")
        below = tier.up_to or below
    return names


def _reaches(tiers: Sequence[Tier]) -> list[str]:
    return ["More" if tier.up_to is None else f"Up to {number(tier.up_to)}" for tier in tiers]


def _each(unit: Decimal | None, flat: Decimal, currency: str) -> str:
    costs = [f"{unit_price(unit, currency)} each"] if unit else []
    if flat:
        costs.append(f"{unit_price(flat, currency)} once")
    return " and ".join(costs) or "free"


def _split(key: str) -> tuple[str, str]:
    for suffix, words in _WINDOWS.items():
        if key.endswith(suffix) and key != suffix:
            return key.removesuffix(suffix), words
    return key, ""


def _words(key: str) -> str:
    spaced = re.sub(r"(?<=[a-z])(?=\d)", " ", key.replace("_", " "))
    return " ".join(_ABBREVIATIONS.get(word, word) for word in spaced.split())


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def _locale() -> str:
    return to_locale(settings.LANGUAGE_CODE)
