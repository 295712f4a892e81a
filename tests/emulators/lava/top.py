"""lava.top's public API in memory: offers, contracts, subscriptions. See `flavour`.

POST /control/renew/<contract>[/failed]   Lava charges a subscription again
POST /control/cancel/<contract>           the buyer ends it at Lava
POST /control/end/<contract>              what was paid is over
POST /control/refund/<contract>           Lava's operator gives a payment back
POST /control/chargeback/<contract>       the buyer's bank takes it back
POST /control/repeat/<contract>           the last webhook of the subscription again, byte for byte
"""

from __future__ import annotations

import base64
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import parse_qs, urlsplit

from tests.emulators.lava.deliveries import Delivery
from tests.emulators.lava.flavour import Flavour, FlavourHandler, same
from tests.emulators.lava.messages import Number, Refusal, dump, read_object

DAYS = {"MONTHLY": 30, "PERIOD_90_DAYS": 90, "PERIOD_180_DAYS": 180, "PERIOD_YEAR": 365}
CREATE_FIELDS = {
    "email",
    "offerId",
    "currency",
    "periodicity",
    "clientUtm",
    "successful_return_url",
    "failure_return_url",
    "cancel_return_url",
}


@dataclass
class TopContract:
    """One invoice; `first` is the contract that its subscription is named by."""

    id: str
    first: str
    amount: str
    currency: str
    made_at: datetime
    status: str = "NEW"


@dataclass
class TopSubscription:
    id: str
    email: str
    offer: str
    periodicity: str
    utm: dict[str, Any]
    success_url: str
    fail_url: str
    contracts: list[str] = field(default_factory=list)
    status: str | None = None
    expires_at: datetime | None = None
    cancelled_at: datetime | None = None
    terminated_at: datetime | None = None


class _Handler(FlavourHandler["LavaTopEmulator"]):
    def refused(self, refusal: Refusal) -> None:
        body = {"error": str(refusal), "details": {}, "timestamp": _iso(self.lava.now())}
        self.json(refusal.status, body, **({"Retry_After": "7"} if refusal.status == 429 else {}))

    def api(self, body: bytes) -> Callable[[], None]:
        lava, query = self.lava, parse_qs(urlsplit(self.path).query)
        match (self.command, self.parts()):
            case ("POST", ["api", "v3", "invoice"]):
                made = lava.create(read_object(body))
                return lambda: self.json(201, made)
            case ("GET", ["api", "v2", "invoices"]):
                found = lava.listed(query)
                return lambda: self.json(200, {"items": found, "page": Number("1"), "total": Number(str(len(found)))})
            case ("GET", ["api", "v2", "invoices", contract]):
                shown = lava.shown_contract(lava.contract(contract))
                return lambda: self.json(200, shown)
            case ("GET", ["api", "v1", "subscriptions", contract]):
                shown = lava.shown_subscription(lava.subscription(contract))
                return lambda: self.json(200, shown)
            case ("DELETE", ["api", "v1", "subscriptions"]):
                lava.unsubscribe(query.get("contractId", [""])[0], query.get("email", [""])[0])
                return lambda: self.write(204, "application/json", b"", {})
        raise Refusal(404, "no such address")


class LavaTopEmulator(Flavour):
    acts = {
        "renew": "renew",
        "cancel": "cancel",
        "end": "end",
        "refund": "refund",
        "chargeback": "chargeback",
        "repeat": "repeat",
    }

    def __init__(
        self,
        *,
        api_key: str,
        webhook_key: str,
        webhook_user: str = "",
        hook_url: str = "",
        port: int = 0,
        retry_pauses: tuple[float, ...] = (0.5, 1.0, 2.0, 4.0),
    ) -> None:
        if not (api_key and webhook_key):
            raise ValueError("the emulator needs an API key and a webhook key")
        self.api_key, self.webhook_key, self.webhook_user = api_key, webhook_key, webhook_user
        self.hook_url = hook_url
        #: The prices of each offer: currency to amount.
        self.offers: dict[str, dict[str, str]] = {}
        self.subscriptions: dict[str, TopSubscription] = {}
        self.contracts: dict[str, TopContract] = {}
        self.proof_header = "Authorization" if webhook_user else "X-Api-Key"
        super().__init__(_Handler, port=port, retry_pauses=retry_pauses)

    def counts(self, status: int) -> bool:
        """lava.top takes a redirect for an answer, and sends no more."""
        return 200 <= status < 400

    def authorises(self, headers: Mapping[str, str], body: bytes) -> bool:
        return same(headers.get("x-api-key", ""), self.api_key)

    def offer(self, id_: str, **prices: str) -> None:
        self.offers[id_] = prices

    # --- the API

    def create(self, wish: Mapping[str, Any]) -> dict[str, Any]:
        if set(wish) != CREATE_FIELDS or wish["periodicity"] not in DAYS or "@" not in wish["email"]:
            raise Refusal(400, "a field is missing, unknown or wrong")
        prices = self.offers.get(wish["offerId"])
        if prices is None:
            raise Refusal(404, "no such offer")
        if wish["currency"] not in prices:
            raise Refusal(400, "the offer has no price in this currency")
        with self._lock:
            id_ = str(uuid.uuid4())
            self.subscriptions[id_] = TopSubscription(
                id=id_,
                email=wish["email"],
                offer=wish["offerId"],
                periodicity=wish["periodicity"],
                utm=dict(wish["clientUtm"]),
                success_url=wish["successful_return_url"],
                fail_url=wish["failure_return_url"],
            )
            contract = self._new_contract(self.subscriptions[id_], wish["currency"], id_)
        total = {"currency": contract.currency, "amount": Number(contract.amount)}
        return {"id": id_, "status": "new", "amountTotal": total, "paymentUrl": f"{self.origin}/pay/{id_}"}

    def listed(self, query: Mapping[str, list[str]]) -> list[dict[str, Any]]:
        """Newest first, of the asked statuses; COMPLETED where none is asked for."""
        wanted = set(query.get("invoiceStatuses", ["COMPLETED"]))
        size = int(query.get("size", ["20"])[0])
        with self._lock:
            found = [each for each in reversed(self.contracts.values()) if each.status in wanted]
            return [self.shown_contract(each) for each in found[:size]]

    def unsubscribe(self, contract: str, email: str) -> None:
        subscription = self.subscription(contract)
        if subscription.email != email or subscription.status == "CANCELLED":
            raise Refusal(404, "no such subscription")
        self.cancel(contract)

    def contract(self, id_: str) -> TopContract:
        with self._lock:
            if id_ not in self.contracts:
                raise Refusal(404, "no such contract")
            return self.contracts[id_]

    def subscription(self, id_: str) -> TopSubscription:
        with self._lock:
            if id_ not in self.subscriptions:
                raise Refusal(404, "no such subscription")
            return self.subscriptions[id_]

    # --- what happens there

    def pay(self, id_: str) -> Delivery:
        return self._settle(self.contract(id_), paid=True)

    def decline(self, id_: str) -> Delivery:
        return self._settle(self.contract(id_), paid=False)

    def renew(self, id_: str, outcome: str = "success") -> Delivery:
        """A new contract of a paid subscription; where the last one failed, that one is tried again."""
        with self._lock:
            subscription = self.subscription(id_)
            if subscription.status not in ("ACTIVE", "FAILED"):
                raise Refusal(409, "the subscription does not renew")
            last = self.contract(subscription.contracts[-1])
            if last.status == "COMPLETED":
                last = self._new_contract(subscription, last.currency)
        return self._settle(last, paid=outcome == "success")

    def cancel(self, id_: str) -> Delivery:
        """The webhook names the latest charge, not the subscription."""
        with self._lock:
            subscription, now = self.subscription(id_), self.now()
            subscription.status, subscription.cancelled_at = "CANCELLED", now
            body = {
                "eventType": "subscription.cancelled",
                "contractId": subscription.contracts[-1],
                "product": self._product(subscription),
                "buyer": {"email": subscription.email},
                "cancelledAt": _iso(now),
                "willExpireAt": _iso(subscription.expires_at or now),
            }
        return self._tell(subscription, body)

    def end(self, id_: str) -> None:
        with self._lock:
            subscription = self.subscription(id_)
            subscription.status, subscription.terminated_at = "CANCELLED", self.now()

    def refund(self, id_: str) -> Delivery:
        return self._reverse(
            self.contract(id_), "refund.success", {"refund_id": f"rf-{uuid.uuid4()}", "refund_type": "full"}
        )

    def chargeback(self, id_: str) -> Delivery:
        return self._reverse(self.contract(id_), "chargeback.initiated", {})

    def pages(self, id_: str) -> tuple[str, str, str]:
        subscription, contract = self.subscription(id_), self.contract(id_)
        return f"{contract.amount} {contract.currency}", subscription.success_url, subscription.fail_url

    def state(self) -> dict[str, Any]:
        with self._lock:
            return {
                "subscriptions": [self.shown_subscription(each) for each in self.subscriptions.values()],
                "invoices": [self.shown_contract(each) for each in self.contracts.values()],
                "deliveries": [delivery.shown() for delivery in self.deliveries],
            }

    # --- what it shows

    def shown_contract(self, contract: TopContract) -> dict[str, Any]:
        subscription = self.subscriptions[contract.first]
        first = contract.id == contract.first
        return {
            "id": contract.id,
            "type": "SUBSCRIPTION_FIRST_INVOICE" if first else "SUBSCRIPTION_RENEWAL",
            "datetime": _iso(contract.made_at),
            "status": contract.status,
            "receipt": {"amount": Number(contract.amount), "currency": contract.currency, "fee": Number("0")},
            "buyer": {"email": subscription.email, "cardMask": "1234*****4321"},
            "product": {"name": "A subscription", "offer": "monthly"},
            "parentInvoice": None if first else {"id": contract.first},
            "subscriptionStatus": subscription.status,
            "subscriptionDetails": self._dates(subscription),
            "clientUtm": subscription.utm if first else {},
        }

    def shown_subscription(self, subscription: TopSubscription) -> dict[str, Any]:
        first, *others = [self.contracts[each] for each in subscription.contracts]
        return {
            "id": subscription.id,
            "datetime": _iso(first.made_at),
            "status": first.status,
            "receipt": {"amount": Number(first.amount), "currency": first.currency, "fee": Number("0")},
            "buyer": {"email": subscription.email, "cardMask": "1234*****4321"},
            "product": {"name": "A subscription", "offer": "monthly"},
            "periodicity": subscription.periodicity,
            "subscriptionStatus": subscription.status,
            **self._dates(subscription),
            "clientUtm": subscription.utm,
            "recurrentPayments": [
                {
                    "id": each.id,
                    "datetime": _iso(each.made_at),
                    "status": each.status,
                    "amount": Number(each.amount),
                    "currency": each.currency,
                    "fee": Number("0"),
                }
                for each in others
            ],
        }

    # --- steps

    def _dates(self, subscription: TopSubscription) -> dict[str, str | None]:
        dates = {
            "expiredAt": subscription.expires_at,
            "terminatedAt": subscription.terminated_at,
            "cancelledAt": subscription.cancelled_at,
        }
        return {name: _iso(moment) if moment else None for name, moment in dates.items()}

    def _product(self, subscription: TopSubscription) -> dict[str, str]:
        return {"id": str(uuid.uuid5(uuid.NAMESPACE_URL, subscription.offer)), "title": "Тестовая подписка"}

    def _new_contract(self, subscription: TopSubscription, currency: str, id_: str | None = None) -> TopContract:
        id_ = id_ or str(uuid.uuid4())
        amount = self.offers[subscription.offer][currency]
        self.contracts[id_] = TopContract(id_, subscription.id, amount, currency, self.now())
        subscription.contracts.append(id_)
        return self.contracts[id_]

    def _settle(self, contract: TopContract, *, paid: bool) -> Delivery:
        with self._lock:
            if contract.status == "COMPLETED":
                raise Refusal(409, "the contract is paid")
            subscription, now = self.subscriptions[contract.first], self.now()
            contract.status = "COMPLETED" if paid else "FAILED"
            subscription.status = "ACTIVE" if paid else "FAILED"
            if paid:
                begin = max(now, subscription.expires_at or now)
                subscription.expires_at = begin + timedelta(days=DAYS[subscription.periodicity])
            recurring = contract.id != contract.first
            kind = ("subscription.recurring." if recurring else "") + ("payment.success" if paid else "payment.failed")
            body: dict[str, Any] = {
                "eventType": kind,
                "product": self._product(subscription),
                "buyer": {"email": subscription.email},
                "contractId": contract.id,
                **({"parentContractId": contract.first} if recurring else {}),
                "amount": Number(contract.amount),
                "currency": contract.currency,
                "timestamp": _iso(now),
                "status": "subscription-active" if paid else "subscription-failed",
                "errorMessage": "" if paid else "Not sufficient funds",
            }
        return self._tell(subscription, body)

    def _reverse(self, contract: TopContract, kind: str, more: Mapping[str, str]) -> Delivery:
        subscription = self.subscriptions[contract.first]
        data = {
            **more,
            "amount": Number(contract.amount),
            "currency": contract.currency,
            "product": {"tier_id": subscription.offer},
            "customer_email": subscription.email,
        }
        envelope = {"event_id": str(uuid.uuid4()), "event_type": kind, "created_at": _iso(self.now()), "data": data}
        return self._tell(subscription, envelope)

    def _tell(self, subscription: TopSubscription, body: Mapping[str, Any]) -> Delivery:
        return self.deliver(
            Delivery(str(body.get("contractId", "")), subscription.id, self.hook_url, dump(body), self._proof())
        )

    def _proof(self) -> str:
        if not self.webhook_user:
            return self.webhook_key
        return "Basic " + base64.b64encode(f"{self.webhook_user}:{self.webhook_key}".encode()).decode()


def _iso(moment: datetime) -> str:
    """RFC 3339 with the five digits that lava.top writes now and then."""
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{moment.microsecond // 10:05d}Z"
