"""Money flows for tests: a shop on a live server, whose sandbox is asked by real HTTP and whose Lava is the emulator.

Business time stands still at `shop.now` for sweeps and moves by `shop.at(moment)`; what workers would do is done by
`shop.drain()`, in the order in which it would happen. Nothing of ours is replaced. What is there afterwards is read by
`tests.observed`, whose names stories take from here.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from typing import Any

import pytest
from django.db import transaction

from payflow.core import clock
from payflow.core.money import Money
from payflow.core.registry import registered
from payments.credits import grant_write
from payments.models import (
    CreditSource,
    PaymentMethod,
    PaymentTransaction,
)
from payments.services.incoming import ReportedPayment, payment_apply
from payments.services.ledger_check import ledger_check_run
from providers.sandbox.signature import HEADER, sign
from subscriptions.billing import bill_first
from subscriptions.models import Checkout, Status, Subscription
from subscriptions.state import subscription_start
from tests.conftest import Api
from tests.emulators.lava import Delivery, LavaEmulator, signature
from tests.factories import PlanFactory
from tests.observed import (
    charges,
    credit,
    fresh,
    invoices,
    ledger,
    nothing_changes,
    periods,
    refused,
    steps,
    world,
)
from tests.providers.sandbox_support import KEY, SECRET, _client, config, press

__all__ = [
    "DAY",
    "LAVA_KEY",
    "LAVA_SECRET",
    "MAIL",
    "NOBODY_LISTENS",
    "START",
    "Shop",
    "charges",
    "credit",
    "deliver_lava",
    "deliver_sandbox",
    "fresh",
    "give_credit",
    "invoices",
    "ledger",
    "nothing_changes",
    "paid",
    "periods",
    "refused",
    "shop",
    "steps",
    "world",
]

#: Ahead of any real clock that runs these tests: business time never goes back.
START = datetime(2040, 1, 31, 10, 0, tzinfo=UTC)
DAY = timedelta(days=1)
NOBODY_LISTENS = "http://127.0.0.1:9/sandbox"
LAVA_KEY, LAVA_SECRET = "lava_key_of_the_flows", "lava_secret_of_the_flows"
#: What brings news, in the order in which it happens.
MAIL = ("sandbox_deliveries", "webhooks_inbound", "outbox")


@dataclass
class Shop:
    url: str
    settings: Any
    lava: LavaEmulator
    now: datetime = START
    _events: int = field(default=0, repr=False)

    # --- time and work

    def at(self, moment: datetime) -> datetime:
        self.now = clock.move_to(moment)
        return moment

    def drain(self) -> None:
        """Delivers and processes until nothing is left that is due now."""
        while sum([self.sweep(name) for name in MAIL]):
            pass

    def sweep(self, name: str, *, later: timedelta = timedelta(0)) -> int:
        """One batch of a registered sweep, `later` than now by real time."""
        return registered.sweeps[name].run(now=self.now, wall=clock.wall() + later)

    def due(self) -> int:
        """One batch of the sweep of due subscriptions, without the mail that it causes."""
        return self.sweep("subscriptions_due")

    def run(self, moment: datetime) -> None:
        """Moves to `moment`, sweeps once what is due there, and lets the mail arrive."""
        self.at(moment)
        self.due()
        self.drain()

    # --- buying

    def subscribe(self, user: Any, plan: Any, **body: Any) -> Any:
        return Api().as_user(user).post("/api/v1/subscriptions/", {"plan_id": plan.code, **body})

    def checkout(self, user: Any, plan: Any, **body: Any) -> Checkout:
        answer = self.subscribe(user, plan, **body)
        assert answer.status_code in (200, 201), answer.content
        return Checkout.objects.select_related("subscription").get(pk=answer.json()["data"]["checkout"]["id"])

    def pay(self, checkout: Checkout, *, card: str = "ok", amount: str | None = None) -> None:
        """Pays on the provider's page and lets the news arrive."""
        if checkout.provider == "lava":
            self.lava_invoice(checkout, amount=amount)
        else:
            assert press(checkout.url, outcome="pay", card=card).status == 303
        self.drain()

    def buy(self, user: Any, plan: Any | None = None, *, card: str = "ok", **body: Any) -> Subscription:
        """An active subscription, bought and paid for now."""
        checkout = self.checkout(user, plan or PlanFactory(), **body)
        self.pay(checkout, card=card)
        subscription = fresh(checkout.subscription)
        assert subscription.status == Status.ACTIVE
        return subscription

    def lava_invoice(self, checkout: Checkout, *, amount: str | None = None) -> Delivery:
        [invoice] = [each for each in self.lava.invoices.values() if each.order_id == f"sub_{checkout.order_ref}"]
        return self.lava.pay(invoice.invoice_id, amount=amount)

    def lava_renews(self, subscription: Subscription, **wish: Any) -> Delivery:
        order = subscription.checkouts.get(purpose=Checkout.Purpose.SUBSCRIBE).order_ref
        delivery = self.lava.renew(f"sub_{order}", **wish)
        self.drain()
        return delivery

    # --- changing what was bought

    def preview(self, subscription: Subscription, plan: Any, **body: Any) -> dict[str, Any]:
        """What a change of plan would cost, as the API shows it; a look changes nothing."""
        with nothing_changes():
            answer = self.post(subscription, "preview-change", plan_id=plan.code, **body)
        assert answer.status_code == 200, answer.content
        data: dict[str, Any] = answer.json()["data"]
        return data

    def change(self, subscription: Subscription, plan: Any, **body: Any) -> Any:
        """Asks for another plan; answers the response."""
        return self.post(subscription, "change-plan", plan_id=plan.code, **body)

    def post(self, subscription: Subscription, what: str, **body: Any) -> Any:
        return Api().as_user(subscription.user).post(f"/api/v1/subscriptions/{subscription.pk}/{what}", body)

    # --- the sandbox as its owner sees it

    def sandbox(self, method: str, path: str, body: Any = None, *, key: str = "") -> Any:
        headers = {"Authorization": f"Bearer {KEY}", "Content-Type": "application/json"}
        if key:
            headers["Idempotency-Key"] = key
        content = json.dumps(body).encode() if body is not None else None
        answer = _client(f"{self.url}/sandbox").request(
            method, f"/api/{path}", headers=headers, content=content, idempotent=False
        )
        assert answer.ok, answer.body
        return answer.json()

    def card(self, subscription: Subscription, behaviour: str) -> None:
        """What later charges of the subscription's stored method come to."""
        method = fresh(subscription).payment_method
        assert method is not None
        self.sandbox("PATCH", f"methods/{method.method_ref}", {"behaviour": behaviour})

    def no_card(self, subscription: Subscription) -> None:
        """The subscriber takes the stored method away from the subscription."""
        client, url = Api().as_user(subscription.user), f"/api/v1/subscriptions/{subscription.pk}"
        assert client.put(url, {"payment_method_id": None}).status_code == 200

    def second_card(self, user: Any, behaviour: str = "ok") -> PaymentMethod:
        ref = self.sandbox("POST", "methods", {"customer_ref": f"cus_{user.pk.hex}", "behaviour": behaviour})["ref"]
        return PaymentMethod.objects.create(
            user=user, provider="sandbox", method_ref=ref, customer_ref=f"cus_{user.pk.hex}"
        )

    def refund(self, charge: PaymentTransaction, *, amount: str | None = None) -> None:
        """Gives the charge (or a part) back at the sandbox, and lets the news arrive."""
        body = {"amount": amount} if amount else {}
        self.sandbox("POST", f"payments/{charge.provider_txn_id}/refunds", body, key=uuid.uuid4().hex)
        self.drain()

    def dispute(self, charge: PaymentTransaction, *, amount: str | None = None) -> str:
        """The payer's bank opens a dispute at the sandbox, and the news arrives; answers the dispute's id."""
        body = {"amount": amount} if amount else {}
        path = f"payments/{charge.provider_txn_id}/disputes"
        opened = self.sandbox("POST", path, body, key=uuid.uuid4().hex)
        self.drain()
        return str(opened["id"])

    def dispute_ends(self, dispute: str, outcome: str) -> None:
        """The dispute is `lost` or `won`, and the news arrives."""
        self.sandbox("POST", f"disputes/{dispute}", {"outcome": outcome})
        self.drain()

    def reached_by(self, address: str) -> None:
        """From now on the sandbox is asked at `address`, which passes on what it is asked."""
        self._sandbox_at(address)

    def unreachable(self) -> None:
        """From now on nobody listens where the sandbox was."""
        self._sandbox_at(NOBODY_LISTENS)

    def reachable(self) -> None:
        self._sandbox_at(f"{self.url}/sandbox")

    def _sandbox_at(self, address: str) -> None:
        providers = self.settings.PAYFLOW_PROVIDERS
        self.settings.PAYFLOW_PROVIDERS = {**providers, "sandbox": config(address)}

    # --- deliveries by hand

    def sandbox_event(self, type_: str, *, event_id: str = "", **data: Any) -> Any:
        """An authentic delivery of the sandbox, sent and processed; answers the response."""
        self._events += 1
        event = {
            "id": event_id or f"evt_by_hand_{self._events}",
            "type": type_,
            "created_at": clock.wall().isoformat(),
            "data": data,
        }
        response = deliver_sandbox(json.dumps(event).encode())
        self.drain()
        return response


def part(span: timedelta, whole: timedelta) -> Fraction:
    """What of `whole` the time `span` is."""
    return Fraction(span // timedelta.resolution, whole // timedelta.resolution)


@pytest.fixture
def shop(live_server: Any, settings: Any) -> Iterator[Shop]:
    with LavaEmulator(api_key=LAVA_KEY, secret_key=LAVA_SECRET, retry_pauses=()) as lava:
        settings.PAYFLOW_BASE_URL = live_server.url
        settings.SANDBOX_HOLD_SECONDS = 0
        settings.PAYFLOW_PROVIDERS = {
            "sandbox": config(f"{live_server.url}/sandbox"),
            "lava": {
                "adapter": "lava",
                "base_url": lava.base_url,
                "api_key": LAVA_KEY,
                "secret_key": LAVA_SECRET,
                "currency": "USD",
                "answer_seconds": 0.5,
            },
        }
        shop = Shop(live_server.url, settings, lava)
        shop.at(START)
        yield shop
        # Whatever a story did to money, the books must agree with it.
        assert ledger_check_run(actor="system", wall=clock.wall()).faults == []


def deliver_sandbox(body: bytes, *, secret: str = SECRET, header: str | None = None, path: str = "sandbox") -> Any:
    headers = {HEADER: header if header is not None else sign(secret, body, clock.wall())}
    return Api().generic("POST", f"/webhooks/{path}", body, content_type="application/json", headers=headers)


def deliver_lava(body: bytes, *, secret: str = LAVA_SECRET) -> Any:
    headers = {"X-Lava-Signature": signature(secret, body)}
    return Api().generic("POST", "/webhooks/lava", body, content_type="application/json", headers=headers)


# --- worlds without a provider


def give_credit(user: Any, amount: str, *, currency: str = "USD", expires_at: datetime | None = None) -> None:
    """Goodwill, as an operator grants it."""
    with transaction.atomic():
        grant_write(
            user_id=user.pk,
            money=Money(Decimal(amount), currency),
            source=CreditSource.GOODWILL,
            reason="a gift",
            key=f"gift:{uuid.uuid4()}",
            at=clock.now(),
            expires_at=expires_at,
        )


def paid(
    user: Any, plan: Any | None = None, *, provider: str = "sandbox", at: datetime | None = None, note: str = ""
) -> Any:
    """A subscription whose first period is paid, and its charge; written by the services, no provider is asked.

    `note` stands in every text that the provider would give.
    """
    plan, at = plan or PlanFactory(), at or clock.now()
    subscription = Subscription(
        user=user,
        plan=plan,
        family=plan.family,
        status=Status.PENDING,
        provider=provider,
        start_date=at,
        end_date=at,
        anchor=at,
        amount=plan.price,
        currency=plan.currency,
        billing_cycle=plan.billing_cycle,
        created_at=at,
    )
    subscription_start(subscription, reason="subscribed", actor="test", at=at)
    key = uuid.uuid4().hex
    method = PaymentMethod.objects.create(
        user=user, provider=provider, method_ref=f"pm_{key}", customer_ref=f"cus_{key}{note}", brand=note
    )
    payment = ReportedPayment(
        provider=provider,
        provider_txn_id=f"pay_{key}{note}",
        money=Money(plan.price, plan.currency),
        user_id=user.pk,
        subscription_id=subscription.pk,
        method=method,
        raw={"note": note} if note else {},
    )
    charge = payment_apply(payment=payment, invoice=bill_first(subscription, None, at=at), at=at)
    return fresh(subscription), charge
