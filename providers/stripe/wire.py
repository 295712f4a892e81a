"""Reading Stripe's objects in both shapes: before the API of 2025-03-31 (from 2017-08-15 on) and since.

What moved: a subscription's period to its items, an invoice's subscription to `parent`, its payment to `payments`, a
line's price to `pricing`. The shape is the webhook endpoint's, not the library's, so both are read everywhere.
Source: providers.md 5.1.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any

from providers.base import MalformedError, StoredMethod
from providers.stripe.money import of_minor
from providers.wire.fields import currency_of, moment_of_epoch, usable_text

#: `stripe:<event id>#n` must fit the 255 characters of an event's id.
MAX_ID = 200

#: Our references in Stripe's metadata.
ORDER, USER, PLAN, KEY, TRIAL = "payflow_order", "payflow_user", "payflow_plan", "payflow_key", "payflow_trial"

Object = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Refs:
    """What we had told Stripe about a purchase."""

    order: str | None = None
    user: str | None = None
    plan: str | None = None
    key: str | None = None

    @property
    def is_ours(self) -> bool:
        return self.order is not None or self.key is not None


def section(value: Object, *path: str) -> Object:
    """A nested object; an empty one where any step of the path is something else."""
    found: Any = value
    for name in path:
        found = found.get(name) if isinstance(found, Mapping) else None
    return found if isinstance(found, Mapping) else {}


def items_of(value: object) -> list[Object]:
    """The objects of a list, Stripe's kind (`data`) or JSON's."""
    data = value.get("data") if isinstance(value, Mapping) else value
    return [item for item in data if isinstance(item, Mapping)] if isinstance(data, list) else []


def id_of(value: object) -> str | None:
    """An id, given as such or as the whole object."""
    return usable_text(value.get("id") if isinstance(value, Mapping) else value, MAX_ID)


def required_id(value: object, name: str) -> str:
    found = id_of(value)
    if found is None:
        raise MalformedError(f"{name} is missing")
    return found


def refs_of(metadata: object) -> Refs:
    data: Object = metadata if isinstance(metadata, Mapping) else {}
    return Refs(*(usable_text(data.get(name)) for name in (ORDER, USER, PLAN, KEY)))


def amount_and_currency(value: Object, *names: str) -> tuple[Decimal, str]:
    """The first of the fields `names` that is there, in the major unit. Raises MalformedError."""
    currency = currency_of(value.get("currency"))
    name = next((name for name in names if value.get(name) is not None), names[0])
    return of_minor(value.get(name), currency, name), currency


def optional_moment(value: object, name: str) -> datetime | None:
    return None if value is None else moment_of_epoch(value, name)


def stored_method(customer: object, method: object, details: Object) -> StoredMethod | None:
    """The method of a customer of Stripe's; `details` is a PaymentMethod's or a charge's payment_method_details."""
    method_ref, customer_ref = id_of(method), id_of(customer)
    if method_ref is None or customer_ref is None:
        return None
    kind = usable_text(details.get("type"), 40) or "card"
    inner = section(details, kind)
    return StoredMethod(
        method_ref=method_ref,
        customer_ref=customer_ref,
        kind=kind,
        brand=usable_text(inner.get("brand"), 40) or "",
        last4=usable_text(inner.get("last4"), 4) or "",
    )


# --- subscriptions ---------------------------------------------------------------------------------------------------


def item_of(subscription: Object) -> Object:
    """The one item that we sell; the first where there are more."""
    return next(iter(items_of(subscription.get("items"))), {})


def period_of(subscription: Object) -> tuple[datetime | None, datetime | None]:
    """The current period, from the item (now) or the subscription (before)."""
    item = item_of(subscription)
    source = item if item.get("current_period_end") is not None else subscription
    return (
        optional_moment(source.get("current_period_start"), "current_period_start"),
        optional_moment(source.get("current_period_end"), "current_period_end"),
    )


def price_of(item: Object) -> str | None:
    """The Price of an item or a line; the Plan of an old one."""
    return (
        id_of(item.get("price"))
        or id_of(section(item, "pricing", "price_details").get("price"))
        or id_of(item.get("plan"))
    )


# --- invoices --------------------------------------------------------------------------------------------------------


def subscription_of_invoice(invoice: Object) -> str | None:
    return id_of(invoice.get("subscription")) or id_of(
        section(invoice, "parent", "subscription_details").get("subscription")
    )


def refs_of_invoice(invoice: Object) -> Refs:
    """The subscription's metadata as the invoice repeats it: in `parent`, beside it, or (2017) on the lines."""
    sources = [
        section(invoice, "parent", "subscription_details").get("metadata"),
        section(invoice, "subscription_details").get("metadata"),
        *(line.get("metadata") for line in items_of(invoice.get("lines"))),
    ]
    return next((refs for refs in map(refs_of, sources) if refs.is_ours), Refs())


def line_of(invoice: Object) -> Object:
    """The line of the period that is paid for: of the subscription and no proration; else the last charged proration."""
    lines = [line for line in items_of(invoice.get("lines")) if _is_of_subscription(line)]
    charged = [line for line in lines if isinstance(line.get("amount"), int) and line["amount"] >= 0]
    plain = [line for line in lines if not _is_proration(line)]
    return max(plain or charged or lines, key=_line_end, default={})


def payment_intents_of(invoice: Object) -> Iterator[str]:
    """What paid an invoice; `payments` must have been asked for (expand)."""
    for payment in items_of(invoice.get("payments")):
        if (found := id_of(section(payment, "payment").get("payment_intent"))) is not None:
            yield found
    if (found := id_of(invoice.get("payment_intent"))) is not None:
        yield found


def _is_of_subscription(line: Object) -> bool:
    return bool(
        line.get("type") == "subscription"
        or id_of(line.get("subscription"))
        or section(line, "parent").get("type") == "subscription_item_details"
        or id_of(section(line, "parent", "invoice_item_details").get("subscription"))
    )


def _is_proration(line: Object) -> bool:
    details = section(line, "parent", str(section(line, "parent").get("type")))
    return line.get("proration") is True or details.get("proration") is True


def _line_end(line: Object) -> int:
    end = section(line, "period").get("end")
    return end if isinstance(end, int) and not isinstance(end, bool) else 0
