"""Money that we move: refunds, and orders placed with a method that an earlier order left (1-click, PREVIOUS_ORDER).

2Checkout has no idempotency keys. Each call therefore looks first for what an earlier try has done: an order by the key in
its ExternalReference, a refund by the reference in its comment. Source: providers.md 2.1; 2Checkout, Payment flow with
1-Click Purchase and Refund an order.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

from payflow.core.money import Money
from providers.base import (
    ChargeRequest,
    Decline,
    Outcome,
    PaymentResult,
    RefundResult,
    RequestRefused,
    Unavailable,
)
from providers.twocheckout import naming
from providers.twocheckout.api import Api, order_path
from providers.twocheckout.config import TwoCheckoutConfig
from providers.twocheckout.fields import nested, switch_of
from providers.twocheckout.orders import AUTHORIZED, COMPLETE, FAILED, Order
from providers.twocheckout.truth import Records
from providers.wire.fields import usable_text
from providers.wire.urls import is_web_url

#: How far back an order under the same key is looked for before it is placed: no charge of ours is tried for longer.
CHARGE_LOOK_BACK = timedelta(days=90)
#: Declines that no other try makes good.
HARD = frozenset({"CARD_STOLEN", "CARD_LOST", "CARD_EXPIRED", "ACCOUNT_CLOSED", "FRAUD"})
_BILLING = (
    "FirstName",
    "LastName",
    "Company",
    "Email",
    "Phone",
    "Address1",
    "Address2",
    "City",
    "State",
    "Zip",
    "CountryCode",
)

log = logging.getLogger(__name__)


class Payments:
    """Raises what the calls raise."""

    def __init__(self, name: str, settings: TwoCheckoutConfig, api: Api, records: Records) -> None:
        self._name = name
        self._settings = settings
        self._api = api
        self._records = records

    # --- a stored method ---------------------------------------------------------------------------------------------

    def charge(self, request: ChargeRequest, *, now: datetime) -> PaymentResult:
        """Places an order for `amount` with the method of the order `method_ref`, once per key."""
        reference = f"{naming.CHARGE_PREFIX}{request.idempotency_key}"
        if len(reference) > naming.MAX_REFERENCE:
            raise RequestRefused(f"{self._name} takes references of {naming.MAX_REFERENCE} characters")
        if (known := self.find(request.idempotency_key, now - CHARGE_LOOK_BACK)) is not None:
            return known
        usable = self._api.get(f"/paymentmethods/PREVIOUS_ORDER/refno/{request.method_ref}/").body
        if switch_of(usable) is not True:
            return PaymentResult(Outcome.DECLINED, None, Decline("method_not_usable", recoverable=False))
        earlier, _ = self._api.get_object(order_path(request.method_ref))
        answer = self._api.send("POST", "/orders/", self._order(request, reference, earlier), idempotent=False)
        if not isinstance(answer.body, dict):
            raise Unavailable(f"{self._name} answered something else than an order")
        return self._result(answer.body)

    def find(self, idempotency_key: str, created_at: datetime) -> PaymentResult | None:
        """The order of a key; None where 2Checkout has none."""
        reference = f"{naming.CHARGE_PREFIX}{idempotency_key}"
        for item in self._records.search(reference, created_at):
            return self._result(item)
        return None

    def _order(self, request: ChargeRequest, reference: str, earlier: Mapping[str, Any]) -> dict[str, Any]:
        """The new order. The buyer is the earlier order's: 2Checkout wants the same e-mail address."""
        billing = nested(earlier, "BillingDetails")
        payment = nested(earlier, "PaymentDetails")
        buyer = {name: text for name in _BILLING if (text := usable_text(billing.get(name))) is not None}
        country = buyer.get("CountryCode")
        amount = Money(request.amount, request.currency).amount
        customer_ip = usable_text(payment.get("CustomerIP"))
        return {
            "ExternalReference": reference,
            "Currency": request.currency,
            **({"Country": country.upper()} if country else {}),
            **({"CustomerIP": customer_ip} if customer_ip else {}),
            "Source": "payflow",
            "BillingDetails": buyer,
            "Items": [
                {
                    "Name": "Payment",
                    "Quantity": 1,
                    "IsDynamic": True,
                    "Tangible": False,
                    "PurchaseType": "PRODUCT",
                    "Price": {"Amount": amount, "Type": "CUSTOM"},
                }
            ],
            "PaymentDetails": {
                "Type": "PREVIOUS_ORDER",
                "Currency": request.currency,
                **({"CustomerIP": customer_ip} if customer_ip else {}),
                "PaymentMethod": {"RefNo": request.method_ref, "RecurringEnabled": False},
            },
        }

    def _result(self, body: Mapping[str, Any]) -> PaymentResult:
        [order] = self._records.orders_of([body])
        errors = nested(body, "Errors")
        page = nested(nested(nested(body, "PaymentDetails"), "PaymentMethod"), "Authorize3DS").get("Href")
        paid = {COMPLETE, AUTHORIZED} if self._settings.activate_on_auth else {COMPLETE}
        if order.status in paid:
            return PaymentResult(Outcome.SUCCEEDED, order.reference)
        if errors or order.status in FAILED:
            code = next((name for name in errors if isinstance(name, str) and name.isascii()), order.status)
            return PaymentResult(
                Outcome.DECLINED, order.reference, Decline(code.lower()[:60], recoverable=code not in HARD)
            )
        if isinstance(page, str) and is_web_url(page):
            return PaymentResult(Outcome.REQUIRES_ACTION, order.reference, action_url=page)
        return PaymentResult(Outcome.PENDING, order.reference)

    # --- refunds -------------------------------------------------------------------------------------------------------

    def refund(
        self, *, order_reference: str, amount: Decimal | None, currency: str, reason: str, idempotency_key: str
    ) -> RefundResult:
        """Gives `amount`, or the rest, of an order back, once per key. Only an order that is COMPLETE can be refunded."""
        order, _ = self._records.order(order_reference)
        if order.currency != currency:
            raise RequestRefused(f"{self._name} took another currency for this order")
        mark = _mark(idempotency_key)
        if (done := self._done(order, amount, mark)) is not None:
            return done
        rest = order.total - order.refunded
        wanted = rest if amount is None else Money(amount, currency).amount
        if order.status != COMPLETE or wanted <= 0 or wanted > rest:
            raise RequestRefused(f"{self._name} has not that much of this order to give back")
        body = {
            "amount": wanted,
            "comment": f"{reason.strip() or 'Refund'} ({mark})",
            "reason": self._settings.refund_reason,
            "items": list(_items(order, wanted)),
        }
        self._api.do("POST", f"{order_path(order_reference)}refund/", body, idempotent=False)
        log.info("2checkout: refund of order %s, %s", order_reference, mark)
        return RefundResult("succeeded", naming.refund_id(order.reference, order.refunded + wanted), wanted)

    def _done(self, order: Order, amount: Decimal | None, mark: str) -> RefundResult | None:
        """What an earlier try under this key has done. Raises Unavailable where the records don't tell whose refund it was."""
        cumulative = Decimal(0)
        for refund in order.refunds:
            cumulative += refund.amount
            if refund.comment is not None and mark in refund.comment:
                return RefundResult("succeeded", naming.refund_id(order.reference, cumulative), refund.amount)
        unnamed = [refund for refund in order.refunds if refund.comment is None]
        if any(amount is None or refund.amount == amount for refund in unnamed):
            raise Unavailable(f"{self._name} does not tell whether this refund was made already")
        rest = order.total - cumulative
        if order.refunded == order.total and rest > 0 and amount in (None, rest):
            # All went back, and no record says by whom: with this key, or before it by hand. More cannot go back.
            return RefundResult("succeeded", naming.refund_id(order.reference, order.total), rest)
        return None


def _items(order: Order, amount: Decimal) -> Iterator[dict[str, Any]]:
    """Which lines the amount is taken from. Raises RequestRefused where they hold less."""
    left = amount
    for line in order.lines:
        part = min(line.amount, left)
        if part > 0:
            left -= part
            yield {"LineItemReference": line.reference, "Quantity": line.quantity, "Amount": part}
    if left:
        raise RequestRefused("the order's lines hold less than is to go back")


def _mark(idempotency_key: str) -> str:
    """What the buyer's confirmation and the order's records call this refund: short, and no secret of ours."""
    return f"ref {hashlib.sha256(idempotency_key.encode()).hexdigest()[:12]}"
