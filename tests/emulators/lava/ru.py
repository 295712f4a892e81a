"""lava.ru's Business API in memory: invoices, refunds, recurrent products with their subscribers. See `flavour`.

POST /control/renew/<order_id>[/failed]   Lava charges a subscription again
POST /control/suspend/<order_id>          Lava charges no more until it is paid
POST /control/cancel/<order_id>           the subscriber ends it at Lava
POST /control/repeat/<order_id>           its last webhook again, byte for byte
"""

from __future__ import annotations

import hashlib
import hmac
import json
import uuid
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from datetime import datetime, timedelta, timezone
from decimal import Decimal
from typing import Any

from tests.emulators.lava.deliveries import Delivery
from tests.emulators.lava.flavour import Flavour, FlavourHandler, same
from tests.emulators.lava.messages import Number, Refusal, dump, read_object

MOSCOW = timezone(timedelta(hours=3))
INVOICE_FIELDS = {"sum", "orderId", "shopId", "hookUrl", "successUrl", "failUrl", "expire", "customFields"}


@dataclass
class Product:
    id: str
    price: str
    days: int = 30


@dataclass
class RuInvoice:
    id: str
    order_id: str
    amount: str
    hook_url: str
    status: str = "created"
    custom_fields: str | None = None
    success_url: str = "http://127.0.0.1/success"
    fail_url: str = "http://127.0.0.1/fail"
    refunds: dict[str, str] = field(default_factory=dict)


@dataclass
class RuSubscription:
    id: str
    order_id: str
    consumer_id: str
    product: Product
    status: str = "created"
    paid_at: datetime | None = None
    next_at: datetime | None = None


def canonical(values: Mapping[str, Any]) -> bytes:
    """PHP's ksort and json_encode."""
    return json.dumps(dict(sorted(values.items())), separators=(",", ":")).replace("/", "\\/").encode()


def signature(key: str, message: bytes) -> str:
    return hmac.new(key.encode(), message, hashlib.sha256).hexdigest()


class _Handler(FlavourHandler["LavaRuEmulator"]):
    def refused(self, refusal: Refusal) -> None:
        """Its own envelope; some shops see it with HTTP 200."""
        status = 200 if self.lava.refuses_with_200 and refusal.status in (404, 422) else refusal.status
        envelope = {"data": None, "error": str(refusal), "status": refusal.status, "status_check": False}
        self.json(status, envelope, **({"Retry_After": "7"} if refusal.status == 429 else {}))

    def api(self, body: bytes) -> Callable[[], None]:
        if self.command != "POST" or self.parts()[0] != "business":
            raise Refusal(404, "no such address")
        call = self.lava.calls.get("/".join(self.parts()[1:]))
        if call is None:
            raise Refusal(404, "no such address")
        wish = read_object(body)
        if wish.get("shopId") != self.lava.shop_id:
            raise Refusal(404, "Shop not found")
        data = call(wish)
        return lambda: self.json(200, {"data": data, "status": Number("200"), "status_check": True})


class LavaRuEmulator(Flavour):
    proof_header = "Authorization"
    acts = {"renew": "renew", "suspend": "suspend", "cancel": "cancel", "repeat": "repeat"}

    def __init__(
        self,
        *,
        shop_id: str,
        secret_key: str,
        additional_key: str,
        hook_url: str = "",
        port: int = 0,
        retry_pauses: tuple[float, ...] = (0.5, 1.0, 2.0, 4.0),
    ) -> None:
        if not (shop_id and secret_key and additional_key):
            raise ValueError("the emulator needs a shop, its secret key and its additional key")
        self.shop_id, self.secret_key, self.additional_key = shop_id, secret_key, additional_key
        #: Where subscriptions are reported to; an invoice names its own.
        self.hook_url = hook_url
        self.signs_raw = False
        self.refuses_with_200 = False
        #: Refunds are under way until they are asked about.
        self.refunds_take_time = False
        #: … and for as long as this stands after that.
        self.refunds_stay = False
        self.products: dict[str, Product] = {}
        self.consumers: dict[str, str] = {}
        self.invoices: dict[str, RuInvoice] = {}
        self.subscriptions: dict[str, RuSubscription] = {}
        self.calls: dict[str, Callable[[Mapping[str, Any]], dict[str, Any]]] = {
            "invoice/create": self._create,
            "invoice/status": self._status,
            "invoice/refund": self._refund,
            "invoice/get-refund-status": self._refund_status,
            "recurrent/consumer/create": self._consumer,
            "recurrent/subscription/subscribe": self._subscribe,
            "recurrent/subscription/status": lambda wish: self._shown(self._named(wish)),
            "recurrent/subscription/unsubscribe": self._unsubscribe,
        }
        super().__init__(_Handler, port=port, retry_pauses=retry_pauses)

    def authorises(self, headers: Mapping[str, str], body: bytes) -> bool:
        return same(headers.get("signature", ""), signature(self.secret_key, body))

    def offer(self, id_: str, price: str, *, days: int = 30) -> Product:
        self.products[id_] = Product(id_, price, days)
        return self.products[id_]

    # --- the API

    def _create(self, wish: Mapping[str, Any]) -> dict[str, Any]:
        if set(wish) != INVOICE_FIELDS:
            raise Refusal(422, f"the fields are {sorted(INVOICE_FIELDS)}")
        if not isinstance(wish["sum"], Number) or Decimal(wish["sum"]) <= 0 or not 1 <= int(wish["expire"]) <= 7200:
            raise Refusal(422, "sum or expire is wrong")
        if "?" in wish["successUrl"] + wish["failUrl"] or len(wish["customFields"]) > 500:
            raise Refusal(422, "an URL or the custom fields are wrong")
        urls = {"success_url": wish["successUrl"], "fail_url": wish["failUrl"]}
        invoice = self._new_invoice(wish["orderId"], wish["sum"], wish["hookUrl"], wish["customFields"], urls)
        data = {
            "id": invoice.id,
            "amount": Number(invoice.amount),
            "expired": _local(self.now()),
            "status": Number("0"),
        }
        return {**data, "shop_id": self.shop_id, "url": self._page(invoice), "comment": None, "merchantName": "shop"}

    def _status(self, wish: Mapping[str, Any]) -> dict[str, Any]:
        with self._lock:
            known = [each for each in self.invoices.values() if wish.get("invoiceId", each.id) == each.id]
            known = [each for each in known if wish.get("orderId", each.order_id) == each.order_id]
        if not known:
            raise Refusal(404, "Invoice not found")
        invoice = known[-1]
        shown = {"status": invoice.status, "error_message": None, "id": invoice.id, "shop_id": self.shop_id}
        return {**shown, "amount": Number(invoice.amount), "order_id": invoice.order_id, "custom_fields": None}

    def _refund(self, wish: Mapping[str, Any]) -> dict[str, Any]:
        with self._lock:
            invoice = self.invoices.get(wish.get("invoiceId", ""))
            if invoice is None:
                raise Refusal(404, "Invoice not found")
            rest = Decimal(invoice.amount) - sum((Decimal(each) for each in invoice.refunds.values()), Decimal(0))
            amount = Decimal(wish.get("amount", rest))
            if invoice.status != "success" or not 0 < amount <= rest:
                raise Refusal(422, "more than is left")
            refund = str(uuid.uuid4())
            invoice.refunds[refund] = str(amount)
        return self._refund_shown(refund, amount, "pending" if self.refunds_take_time else "success")

    def _refund_status(self, wish: Mapping[str, Any]) -> dict[str, Any]:
        for invoice in self.invoices.values():
            if (amount := invoice.refunds.get(wish.get("refund_id", ""))) is not None:
                word = "pending" if self.refunds_stay else "success"
                return self._refund_shown(wish["refund_id"], Decimal(amount), word)
        raise Refusal(404, "Refund not found")

    def _refund_shown(self, refund: str, amount: Decimal, status: str) -> dict[str, Any]:
        shown = {"status": status, "refund_id": refund, "amount": Number(amount), "service": "card"}
        return {**shown, "label": "Банковская карта"}

    def _consumer(self, wish: Mapping[str, Any]) -> dict[str, Any]:
        if wish["consumerId"] in self.consumers or "@" not in wish["email"]:
            raise Refusal(422, "the consumer is known")
        self.consumers[wish["consumerId"]] = wish["email"]
        return {"consumerId": wish["consumerId"]}

    def _subscribe(self, wish: Mapping[str, Any]) -> dict[str, Any]:
        product = self.products.get(wish["productId"])
        if product is None or wish["consumerId"] not in self.consumers:
            raise Refusal(404, "Product or consumer not found")
        with self._lock:
            if any(each.order_id == wish["orderId"] for each in self.subscriptions.values()):
                raise Refusal(422, "the order is known")
            made = RuSubscription(str(uuid.uuid4()), wish["orderId"], wish["consumerId"], product)
            self.subscriptions[made.id] = made
        invoice = self._new_invoice(made.order_id, product.price, self.hook_url)
        data = {"subscriptionId": made.id, "amount": Number(product.price), "expired": _local(self.now())}
        return {**data, "url": self._page(invoice), "comment": ""}

    def _unsubscribe(self, wish: Mapping[str, Any]) -> dict[str, Any]:
        subscription = self._named(wish)
        was_paid, subscription.status = subscription.status != "created", "deactivated"
        if was_paid:
            self._tell_state(subscription)
        return {"unsubscribed": True}

    # --- what happens there

    def pay(self, id_: str) -> Delivery:
        return self._settle(id_, "success")

    def decline(self, id_: str) -> Delivery:
        return self._settle(id_, "error")

    def renew(self, order_id: str, outcome: str = "success") -> Delivery:
        """A new invoice of the same order. One that fails changes nothing: Lava tries again, until it suspends."""
        subscription = self._named({"orderId": order_id})
        if subscription.status not in ("activated", "suspended"):
            raise Refusal(409, "the subscription does not renew")
        invoice = self._new_invoice(order_id, subscription.product.price, self.hook_url, again=True)
        return self._settle(invoice.id, "success" if outcome == "success" else "error")

    def suspend(self, order_id: str) -> Delivery:
        subscription = self._named({"orderId": order_id})
        subscription.status = "suspended"
        return self._tell_state(subscription)

    def cancel(self, order_id: str) -> Delivery:
        self._unsubscribe({"orderId": order_id})
        return self.last()

    def pages(self, id_: str) -> tuple[str, str, str]:
        invoice = self._known(id_)
        return f"Order {invoice.order_id}: {invoice.amount}", invoice.success_url, invoice.fail_url

    def state(self) -> dict[str, Any]:
        with self._lock:
            return {
                "invoices": [asdict(invoice) for invoice in self.invoices.values()],
                "subscriptions": [self._shown(each) for each in self.subscriptions.values()],
                "deliveries": [delivery.shown() for delivery in self.deliveries],
            }

    # --- steps

    def _new_invoice(
        self,
        order_id: str,
        amount: str,
        hook_url: str,
        custom: str | None = None,
        urls: Mapping[str, str] | None = None,
        *,
        again: bool = False,
    ) -> RuInvoice:
        with self._lock:
            if not again and any(each.order_id == order_id for each in self.invoices.values()):
                raise Refusal(422, "the order is known")
            made = RuInvoice(str(uuid.uuid4()), order_id, amount, hook_url, custom_fields=custom, **(urls or {}))
            self.invoices[made.id] = made
            return made

    def _settle(self, id_: str, status: str) -> Delivery:
        with self._lock:
            invoice, now = self._known(id_), self.now()
            if invoice.status == "success":
                raise Refusal(409, "the invoice is paid")
            invoice.status = status
            subscription = next((s for s in self.subscriptions.values() if s.order_id == invoice.order_id), None)
            body = self.payment_body(invoice, now)
            if subscription is not None and status == "success":
                subscription.status, subscription.paid_at = "activated", now
                subscription.next_at = now + timedelta(days=subscription.product.days)
        told = self._send_signed(invoice.id, invoice.order_id, invoice.hook_url, body)
        if subscription is not None and status == "success":
            self._tell_state(subscription)
        return told

    def payment_body(self, invoice: RuInvoice, now: datetime) -> dict[str, Any]:
        return {
            "invoice_id": invoice.id,
            "status": invoice.status,
            "pay_time": _local(now),
            "amount": f"{Decimal(invoice.amount):.2f}",
            "order_id": invoice.order_id,
            "pay_service": "card",
            "payer_details": "553691******8079",
            "custom_fields": invoice.custom_fields,
            "type": 1,
            "credited": f"{Decimal(invoice.amount):.2f}",
        }

    def _tell_state(self, subscription: RuSubscription) -> Delivery:
        """Its body is published nowhere: this one is made up of what the status call answers."""
        body = {
            "type": 4,
            "subscription_id": subscription.id,
            "order_id": subscription.order_id,
            "status": subscription.status,
            "next_pay_time": _local(subscription.next_at) if subscription.next_at else None,
        }
        return self._send_signed(subscription.id, subscription.order_id, self.hook_url, body)

    def _send_signed(self, id_: str, order_id: str, hook_url: str, body: Mapping[str, Any]) -> Delivery:
        raw = dump(body)
        proof = signature(self.additional_key, raw.encode() if self.signs_raw else canonical(body))
        return self.deliver(Delivery(id_, order_id, hook_url, raw, proof))

    def _named(self, wish: Mapping[str, Any]) -> RuSubscription:
        with self._lock:
            for each in self.subscriptions.values():
                if each.id == wish.get("subscriptionId") or each.order_id == wish.get("orderId"):
                    return each
        raise Refusal(404, "Subscription not found")

    def _known(self, id_: str) -> RuInvoice:
        with self._lock:
            if id_ not in self.invoices:
                raise Refusal(404, "Invoice not found")
            return self.invoices[id_]

    def _shown(self, subscription: RuSubscription) -> dict[str, Any]:
        shown = {
            "subscriptionId": subscription.id,
            "orderId": subscription.order_id,
            "consumerId": subscription.consumer_id,
            "shopId": self.shop_id,
            "productId": subscription.product.id,
            "status": subscription.status,
            "amount": Number(subscription.product.price),
        }
        if subscription.paid_at and subscription.next_at:
            shown |= {"last_pay_time": _local(subscription.paid_at), "next_pay_time": _local(subscription.next_at)}
        return shown

    def _page(self, invoice: RuInvoice) -> str:
        return f"{self.origin}/pay/{invoice.id}"


def _local(moment: datetime) -> str:
    return f"{moment.astimezone(MOSCOW):%Y-%m-%d %H:%M:%S}"
