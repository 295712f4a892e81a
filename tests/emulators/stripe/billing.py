"""Stripe Billing: Prices, subscriptions, invoices, dunning, and the passing of time."""

from __future__ import annotations

from calendar import monthrange
from collections.abc import Iterator
from copy import deepcopy
from datetime import UTC, datetime, timedelta
from typing import Any

from tests.emulators.stripe.payments import Payments, checked_amount
from tests.emulators.stripe.store import Store
from tests.emulators.stripe.wire import Json, Refusal, flag, refuse_unknown

DAY = 24 * 3600
#: Days between the tries of a failed renewal.
RETRY_DAYS = (3, 5, 7)
RUNNING = ("trialing", "active", "past_due")


class Billing:
    def __init__(self, store: Store, payments: Payments) -> None:
        self.store = store
        self.payments = payments
        #: What the account does when the last try has failed: canceled | unpaid.
        self.gives_up_with = "canceled"

    def price(self, *, unit_amount: int, currency: str, interval: str = "month", interval_count: int = 1) -> Json:
        checked_amount(str(unit_amount), currency)
        return self.store.new(
            "price",
            "price",
            active=True,
            billing_scheme="per_unit",
            currency=currency,
            product="prod_emulated",
            recurring={"interval": interval, "interval_count": interval_count, "usage_type": "licensed"},
            type="recurring",
            unit_amount=unit_amount,
            unit_amount_decimal=str(unit_amount),
        )

    # a subscription's life

    def start(self, *, customer: str, method: str, price: str, metadata: Json, trial_days: int) -> Json:
        now = self.store.now()
        end = now + trial_days * DAY if trial_days else self._later(now, self.store.objects[price], 1)
        subscription = self.store.new(
            "subscription",
            "sub",
            billing_cycle_anchor=now + trial_days * DAY,
            cancel_at=None,
            cancel_at_period_end=False,
            canceled_at=None,
            cancellation_details={"comment": None, "feedback": None, "reason": None},
            currency=self.store.objects[price]["currency"],
            customer=customer,
            default_payment_method=method,
            ended_at=None,
            items={"object": "list", "data": [], "has_more": False},
            latest_invoice=None,
            metadata=metadata,
            pause_collection=None,
            status="trialing" if trial_days else "incomplete",
            trial_start=now if trial_days else None,
            trial_end=end if trial_days else None,
            _cycles=0,
        )
        item = {
            "id": f"si_{subscription['id'][4:]}",
            "object": "subscription_item",
            "current_period_start": now,
            "current_period_end": end,
            "price": deepcopy(self.store.objects[price]),
            "quantity": 1,
            "subscription": subscription["id"],
        }
        subscription["items"]["data"].append(item)
        self.store.emit("customer.subscription.created", subscription)
        invoice = self._invoice(subscription, "subscription_create", 0 if trial_days else item["price"]["unit_amount"])
        if self._collect(invoice, subscription) and not trial_days:
            self._become(subscription, status="active")
        return subscription

    def update(self, id_: str, params: Json) -> Json:
        refuse_unknown(
            params,
            "cancel_at_period_end",
            "cancel_at",
            "pause_collection",
            "items",
            "proration_behavior",
            "payment_behavior",
        )
        subscription = self.store.get("subscription", id_)
        if subscription["status"] == "canceled":
            raise Refusal(400, "A canceled subscription can only update its cancellation_details and metadata.")
        item, changes = subscription["items"]["data"][0], {}
        if "cancel_at_period_end" in params:
            ending = flag(params["cancel_at_period_end"])
            changes |= {
                "cancel_at_period_end": ending,
                "cancel_at": item["current_period_end"] if ending else None,
                "canceled_at": self.store.now() if ending else None,
            }
        if params.get("cancel_at") == "":
            changes |= {"cancel_at": None, "cancel_at_period_end": False, "canceled_at": None}
        if "pause_collection" in params:
            wish = params["pause_collection"]
            changes["pause_collection"] = {"behavior": wish["behavior"], "resumes_at": None} if wish else None
        if "items" in params:
            changes |= self._other_price(subscription, params)
        self._become(subscription, **changes)
        return subscription

    def cancel(self, id_: str, *, at_period_end: bool = False) -> Json:
        """DELETE, or what the subscriber does in the portal."""
        subscription = self.store.get("subscription", id_)
        if subscription["status"] == "canceled":
            raise Refusal(404, f"No such subscription: '{id_}'", code="resource_missing", param="id")
        if at_period_end:
            return self.update(id_, {"cancel_at_period_end": "true"})
        return self._end(subscription, "cancellation_requested")

    # time

    def renew(self, id_: str) -> None:
        """Its period ends now, whatever the date: the next one is charged, or it ends. Raises Refusal."""
        self._cycle(self.store.get("subscription", id_))

    def try_again(self, invoice_id: str) -> None:
        """An invoice that was not paid is charged once more. Raises Refusal."""
        invoice = self.store.get("invoice", invoice_id)
        if invoice["status"] != "open":
            raise Refusal(400, "Invoice is already paid")
        self._retry(invoice)

    def advance(self, seconds: int) -> None:
        """Whatever falls into the time happens at its moment, in order."""
        if seconds < 0:
            raise Refusal(400, "time does not go back")
        target = self.store.now() + seconds
        try:
            while (due := min(self._due(), default=None, key=lambda found: found[0])) is not None and due[0] <= target:
                self.store.stand_at(due[0])
                due[1]()
        finally:
            self.store.stand_at(None)
        self.store.set_ahead(self.store.ahead + seconds)

    def _due(self) -> Iterator[tuple[int, Any]]:
        for subscription in self.store.of("subscription"):
            if subscription["status"] in (*RUNNING, "unpaid"):
                end = subscription["items"]["data"][0]["current_period_end"]
                yield end, lambda subscription=subscription: self._cycle(subscription)
        for invoice in self.store.of("invoice"):
            if invoice["status"] == "open" and invoice["next_payment_attempt"] is not None:
                yield invoice["next_payment_attempt"], lambda invoice=invoice: self._retry(invoice)

    def _cycle(self, subscription: Json) -> None:
        """The period has ended: the subscription ends too, or the next period begins and is charged."""
        if subscription["cancel_at_period_end"]:
            self._end(subscription, "cancellation_requested")
            return
        subscription["_cycles"] += 1
        item = subscription["items"]["data"][0]
        old = {name: item[name] for name in ("current_period_start", "current_period_end")}
        item["current_period_start"] = item["current_period_end"]
        item["current_period_end"] = self._later(
            subscription["billing_cycle_anchor"],
            item["price"],
            subscription["_cycles"] + (not subscription["trial_end"]),
        )
        previous: Json = {"items": {"data": [{**deepcopy(item), **old}]}}
        if subscription["status"] == "trialing":
            previous["status"], subscription["status"] = "trialing", "active"
        self.store.emit("customer.subscription.updated", subscription, previous)
        invoice = self._invoice(subscription, "subscription_cycle", item["price"]["unit_amount"])
        if subscription["pause_collection"] is not None or subscription["status"] == "unpaid":
            invoice["status"] = "void" if subscription["pause_collection"] else "draft"
            self.store.emit("invoice.voided" if invoice["status"] == "void" else "invoice.created", invoice)
        elif not self._collect(invoice, subscription) and subscription["status"] != "past_due":
            self._become(subscription, status="past_due")

    def _retry(self, invoice: Json) -> None:
        subscription = self.store.objects[invoice["parent"]["subscription_details"]["subscription"]]
        if self._collect(invoice, subscription):
            if subscription["status"] in ("past_due", "unpaid"):
                self._become(subscription, status="active")
        elif invoice["next_payment_attempt"] is None and subscription["status"] == "past_due":
            if self.gives_up_with == "unpaid":
                self._become(subscription, status="unpaid")
            else:
                self._end(subscription, "payment_failed")

    # steps

    def _become(self, subscription: Json, **changes: Any) -> None:
        previous = {name: deepcopy(subscription[name]) for name in changes if subscription[name] != changes[name]}
        subscription |= changes
        if previous:
            self.store.emit("customer.subscription.updated", subscription, previous)

    def _end(self, subscription: Json, reason: str) -> Json:
        now = self.store.now()
        subscription |= {"status": "canceled", "ended_at": now, "canceled_at": subscription["canceled_at"] or now}
        subscription["cancellation_details"] = {"comment": None, "feedback": None, "reason": reason}
        for invoice in self.store.of("invoice"):
            if invoice["parent"]["subscription_details"]["subscription"] == subscription["id"]:
                invoice["next_payment_attempt"] = None
        self.store.emit("customer.subscription.deleted", subscription)
        return subscription

    def _other_price(self, subscription: Json, params: Json) -> Json:
        [wish] = params["items"]
        items = deepcopy(subscription["items"])
        item = items["data"][0]
        if wish.get("id") != item["id"]:
            raise Refusal(400, "No such subscription item", code="resource_missing")
        price = self.store.get("price", wish.get("price"), status=400, param="items[0][price]")
        behaviour = params.get("proration_behavior", "create_prorations")
        if behaviour not in ("always_invoice", "none"):
            raise Refusal(400, "this emulator prorates at once or not at all", param="proration_behavior")
        old, item["price"] = item["price"], deepcopy(price)
        if behaviour == "always_invoice":
            self._settle_change(subscription, old, price, params)
        return {"items": items}

    def _settle_change(self, subscription: Json, old: Json, new: Json, params: Json) -> None:
        """The rest of the period at the new price less the old one's; nothing changes where that is not paid."""
        item = subscription["items"]["data"][0]
        start, end, now = item["current_period_start"], item["current_period_end"], self.store.now()
        amount = max(0, (new["unit_amount"] - old["unit_amount"]) * (end - now) // (end - start))
        behaviour = self.payments.behaviours[subscription["default_payment_method"]]
        if amount and behaviour != "ok" and params.get("payment_behavior") == "error_if_incomplete":
            raise Refusal(
                402, "Your card was declined.", type="card_error", code="card_declined", decline_code=behaviour
            )
        invoice = self._invoice(subscription, "subscription_update", amount, price=new, start=now, proration=True)
        self._collect(invoice, subscription)

    def _invoice(
        self,
        subscription: Json,
        reason: str,
        amount: int,
        *,
        price: Json | None = None,
        start: int | None = None,
        proration: bool = False,
    ) -> Json:
        item = subscription["items"]["data"][0]
        period = {"start": start or item["current_period_start"], "end": item["current_period_end"]}
        line = {
            "id": f"il_{len(self.store.objects)}",
            "object": "line_item",
            "amount": amount,
            "currency": subscription["currency"],
            "metadata": dict(subscription["metadata"]),
            "parent": {
                "type": "subscription_item_details",
                "invoice_item_details": None,
                "subscription_item_details": {
                    "proration": proration,
                    "subscription": subscription["id"],
                    "subscription_item": item["id"],
                },
            },
            "period": period,
            "pricing": {
                "type": "price_details",
                "price_details": {"price": (price or item["price"])["id"], "product": "prod_emulated"},
                "unit_amount_decimal": str(amount),
            },
            "quantity": 1,
        }
        now = self.store.now()
        invoice = self.store.new(
            "invoice",
            "in",
            amount_due=amount,
            amount_paid=0,
            amount_remaining=amount,
            attempt_count=0,
            attempted=False,
            billing_reason=reason,
            currency=subscription["currency"],
            customer=subscription["customer"],
            customer_email="anna@example.com",
            lines={"object": "list", "data": [line], "has_more": False},
            next_payment_attempt=None,
            parent={
                "type": "subscription_details",
                "quote_details": None,
                "subscription_details": {
                    "metadata": dict(subscription["metadata"]),
                    "subscription": subscription["id"],
                },
            },
            # An invoice's own period is the one before; its line's is the one that is paid for.
            period_start=now,
            period_end=now,
            status="open",
            status_transitions={
                "finalized_at": now,
                "marked_uncollectible_at": None,
                "paid_at": None,
                "voided_at": None,
            },
            total=amount,
        )
        subscription["latest_invoice"] = invoice["id"]
        self.store.emit("invoice.created", invoice)
        self.store.emit("invoice.finalized", invoice)
        return invoice

    def _collect(self, invoice: Json, subscription: Json) -> bool:
        """Charges an open invoice; True where it is paid."""
        method = subscription["default_payment_method"]
        behaviour = self.payments.behaviours[method] if invoice["amount_due"] else "ok"
        invoice |= {"attempted": True, "attempt_count": invoice["attempt_count"] + 1}
        if invoice["amount_due"]:
            intent = self._intent_of(invoice, method)
            if behaviour == "ok":
                self.payments.succeed(intent)
            else:
                self.payments.fail(intent, behaviour)
        if behaviour != "ok":
            tries = invoice["attempt_count"]
            days = RETRY_DAYS[tries - 1] if tries <= len(RETRY_DAYS) else None
            invoice["next_payment_attempt"] = self.store.now() + days * DAY if days else None
            asks = behaviour == "authentication_required"
            self.store.emit("invoice.payment_action_required" if asks else "invoice.payment_failed", invoice)
            return False
        invoice |= {
            "status": "paid",
            "amount_paid": invoice["amount_due"],
            "amount_remaining": 0,
            "next_payment_attempt": None,
        }
        invoice["status_transitions"]["paid_at"] = self.store.now()
        self.store.emit("invoice.paid", invoice)
        self.store.emit("invoice.payment_succeeded", invoice)
        return True

    def _intent_of(self, invoice: Json, method: str) -> Json:
        made = [p for p in self.store.of("invoice_payment") if p["invoice"] == invoice["id"]]
        if made:
            return self.store.objects[made[-1]["payment"]["payment_intent"]]
        # The subscription's metadata is not the PaymentIntent's, and the current shape does not name the invoice.
        intent = self.payments.intent(
            invoice["amount_due"], invoice["currency"], customer=invoice["customer"], method=method, metadata={}
        )
        self.store.new(
            "invoice_payment",
            "inpay",
            invoice=invoice["id"],
            amount_requested=invoice["amount_due"],
            currency=invoice["currency"],
            is_default=True,
            payment={"type": "payment_intent", "payment_intent": intent["id"]},
        )
        return intent

    def _later(self, anchor: int, price: Json, cycles: int) -> int:
        """The end of the `cycles`th period from the anchor."""
        recurring = price["recurring"]
        count = recurring["interval_count"] * cycles
        if recurring["interval"] in ("day", "week"):
            return anchor + count * DAY * (7 if recurring["interval"] == "week" else 1)
        months = count * (12 if recurring["interval"] == "year" else 1)
        start = datetime.fromtimestamp(anchor, UTC)
        year, month = divmod(start.month - 1 + months, 12)
        year, month = start.year + year, month + 1
        day = min(start.day, monthrange(year, month)[1])
        return int((start.replace(year=year, month=month, day=1) + timedelta(days=day - 1)).timestamp())
