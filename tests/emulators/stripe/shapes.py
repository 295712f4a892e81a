"""The shape of old (2017-08-15) of what is kept in the current one."""

from __future__ import annotations

from copy import deepcopy
from typing import TYPE_CHECKING

from tests.emulators.stripe.wire import Json

if TYPE_CHECKING:
    from tests.emulators.stripe.store import Store


def old_shape(store: Store, value: Json) -> Json:
    convert = {
        "subscription": _subscription,
        "invoice": _invoice,
        "payment_intent": _payment_intent,
        "charge": _charge,
    }.get(value["object"])
    return convert(store, deepcopy(value)) if convert else deepcopy(value)


def old_previous(previous: Json) -> Json:
    """What changed, under the names of old: the period and the plan were the subscription's own."""
    item = previous["items"]["data"][0] if "items" in previous else {}
    rest = {name: value for name, value in previous.items() if name != "items"}
    moved = {name: item[name] for name in ("current_period_start", "current_period_end") if name in item}
    return {**rest, **moved, **({"plan": _plan(item["price"])} if "price" in item else {})}


def _subscription(store: Store, value: Json) -> Json:
    item = value["items"]["data"][0]
    value["current_period_start"] = item.pop("current_period_start")
    value["current_period_end"] = item.pop("current_period_end")
    item["plan"] = value["plan"] = _plan(item.pop("price"))
    return value


def _invoice(store: Store, value: Json) -> Json:
    details = value.pop("parent")["subscription_details"]
    value["subscription"] = details["subscription"]
    paid = [payment for payment in store.of("invoice_payment") if payment["invoice"] == value["id"]]
    value["payment_intent"] = paid[-1]["payment"]["payment_intent"] if paid else None
    value["charge"] = store.objects[value["payment_intent"]]["latest_charge"] if paid else None
    for line in value["lines"]["data"]:
        price = store.objects[line.pop("pricing")["price_details"]["price"]]
        line["proration"] = line.pop("parent")["subscription_item_details"]["proration"]
        line |= {
            "type": "subscription",
            "subscription": details["subscription"],
            "plan": _plan(price),
            "metadata": details["metadata"],
        }
    return value


def _payment_intent(store: Store, value: Json) -> Json:
    invoices = [p["invoice"] for p in store.of("invoice_payment") if p["payment"]["payment_intent"] == value["id"]]
    value["invoice"] = invoices[0] if invoices else None
    charges = [_charge(store, deepcopy(c)) for c in store.of("charge") if c["payment_intent"] == value["id"]]
    value["charges"] = {"object": "list", "data": charges, "has_more": False}
    return value


def _charge(store: Store, value: Json) -> Json:
    refunds = [deepcopy(refund) for refund in store.of("refund") if refund["charge"] == value["id"]]
    value["refunds"] = {"object": "list", "data": refunds[::-1], "has_more": False}
    return value


def _plan(price: Json) -> Json:
    return {
        "id": price["id"],
        "object": "plan",
        "amount": price["unit_amount"],
        "currency": price["currency"],
        "interval": price["recurring"]["interval"],
        "interval_count": price["recurring"]["interval_count"],
    }
