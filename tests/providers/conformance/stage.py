"""A shop that sells through the provider under test: real API, real view, real database; nothing of ours is replaced.

What the provider tells falls into a letterbox; a test decides what PayFlow gets of it, in which order and when.
"""

from __future__ import annotations

import itertools
import threading
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from http.client import HTTPConnection
from typing import Any
from urllib.parse import urlsplit

from django.core.signals import setting_changed
from django.db import connections
from django.db.models import Sum

from payflow.core import clock
from payflow.core.registry import registered
from payments.models import Invoice, LedgerEntry, PaymentTransaction
from plans.models import Plan, PlanProviderRef
from providers.base import Provider, ProviderEvent, WebhookAnswer
from subscriptions.access import has_access
from subscriptions.models import Checkout, Subscription
from tests.conftest import Api
from tests.factories import AdminFactory, PlanFactory, UserFactory
from tests.providers.conformance.cases import NEEDS, Facts
from tests.providers.conformance.pack import Delivery, Order, Pack, Peer, Purchase, Step
from tests.providers.conformance.wire import Letterbox
from webhooks.models import InboundEvent
from webhooks.services import MAX_ATTEMPTS, RETRY_AFTER

PRICE = Decimal("9.90")
DAY = timedelta(days=1)
#: From here on all months of a story are as long in every year: a story told again next year is the same.
FIRST_YEAR, SPRING = 2040, (3, 2, 10)


@dataclass
class Bought:
    """A purchase on both sides."""

    user: Any
    purchase: Purchase

    @property
    def fresh(self) -> Subscription:
        return Subscription.objects.get(user=self.user)


@dataclass
class Stage:
    pack: Pack
    facts: Facts
    peer: Peer
    provider: Provider
    letterbox: Letterbox
    url: str
    now: datetime = field(default=datetime(FIRST_YEAR - 1, *SPRING, tzinfo=UTC))
    _plan: Plan | None = None

    # --- time and work

    def at(self, moment: datetime) -> datetime:
        """Business time, here and at the peer."""
        self.now = clock.move_to(moment)
        self.peer.at(self.now)
        return self.now

    def stand(self) -> None:
        """The peer's calendar, where it ran on meanwhile, is again where business time was moved to."""
        self.peer.at(self.now)

    def next_spring(self) -> datetime:
        return self.at(datetime(self.now.year + 1, *SPRING, tzinfo=UTC))

    def bill(self) -> None:
        """PayFlow charges what is due."""
        self._sweep("subscriptions_due")

    def process(self) -> None:
        """Workers do what was delivered, again and again until nothing waits for another try."""
        for attempt in range(MAX_ATTEMPTS):
            later = sum(RETRY_AFTER[:attempt], start=timedelta(0))
            while self._sweep("webhooks_inbound", later=later):
                pass
            if not InboundEvent.objects.filter(status__in=["received", "failed"]).exists():
                return

    def process_once(self) -> int:
        return self._sweep("webhooks_inbound")

    def _sweep(self, name: str, *, later: timedelta = timedelta(0)) -> int:
        return registered.sweeps[name].run(now=self.now, wall=clock.wall() + later)

    # --- selling

    def plan(self) -> Plan:
        """A monthly plan, which the provider knows as its product where it knows plans."""
        if self._plan is None:
            self._plan = PlanFactory(price=PRICE, currency=self.pack.currency)
            if self.pack.product is not None:
                PlanProviderRef.objects.create(
                    plan=self._plan, provider=self.pack.name, ref=self.pack.product, currency=self.pack.currency
                )
        return self._plan

    def buy(self, step: Step = Step.PAID, *, attached: bool = True) -> Bought:
        """A user buys the plan; what the provider tells lies in the letterbox. In a store: `attached` by the app, or not
        yet."""
        user = UserFactory()
        if not self.facts.caps.create:
            return self._buy_in_store(user, attached=attached)
        answer = self.subscribe(user)
        assert answer.status_code == 201, answer.content
        checkout = Checkout.objects.select_related("subscription").get(pk=answer.json()["data"]["checkout"]["id"])
        assert checkout.subscription == Subscription.objects.get(user=user)
        order = Order(str(user.pk), checkout.order_ref, checkout.amount, checkout.currency, checkout.url)
        return Bought(user, self.peer.buy(order, step))

    def _buy_in_store(self, user: Any, *, attached: bool) -> Bought:
        """In the app, which then sends us what the store gave it."""
        purchase = self.buy_in_app(user)
        if attached:
            answer = self.attach(user, purchase.token)
            assert answer.status_code == 201, answer.content
        return Bought(user, purchase)

    def buy_in_app(self, user: Any) -> Purchase:
        """The store has its money, and PayFlow knows nothing of it."""
        return self.peer.buy(Order(str(user.pk), "", self.plan().price, self.pack.currency))

    def subscribe(self, user: Any) -> Any:
        body = {"plan_id": self.plan().code, "provider": self.pack.name}
        return Api().as_user(user).post("/api/v1/subscriptions/", body)

    def attach(self, user: Any, token: str) -> Any:
        """The app sends what it has bought; which plan that is, the store says."""
        return Api().as_user(user).post("/api/v1/subscriptions/", {"provider": self.pack.name, "purchase_token": token})

    def sell(self) -> Bought:
        """Bought, told and active."""
        bought = self.buy()
        self.deliver(self.told())
        assert bought.fresh.status == "active", bought.fresh.status
        return bought

    def play(self, step: Step, bought: Bought) -> None:
        if step in (Step.PAID, Step.DECLINED):
            bought.purchase = self.peer.buy(bought.purchase.order, step)
        else:
            self.peer.play(step, bought.purchase, self)

    def refund(self, bought: Bought, amount: Decimal) -> Any:
        """An operator gives a part of the first payment back."""
        [charge] = PaymentTransaction.objects.filter(user=bought.user, type="charge")
        wish = {"amount": str(amount), "reason": "asked for"}
        return Api().as_user(AdminFactory()).post(f"/api/v1/payments/{charge.pk}/refund", wish)

    def refund_of(self, bought: Bought) -> PaymentTransaction:
        return PaymentTransaction.objects.get(user=bought.user, type="refund")

    def ask_about_refunds(self) -> None:
        """PayFlow looks after the refunds that have had no answer for a while."""
        self._sweep("payments_refunds", later=DAY)

    def restart(self) -> None:
        """Another process: the adapter is made anew, from the same settings."""
        setting_changed.send(sender=type(self), setting="PAYFLOW_PROVIDERS", value=None, enter=False)

    def end(self, bought: Bought) -> None:
        """A merchant-driven subscription is not to be billed any more."""
        if self.facts.caps.renewal_driver == "merchant" and bought.fresh.is_live:
            url = f"/api/v1/subscriptions/{bought.fresh.pk}?when=now"
            assert Api().as_user(bought.user).delete(url).status_code == 200

    # --- the mail

    def told(self) -> list[Delivery]:
        """What the provider has told since one last looked."""
        self.peer.flush()
        return self.letterbox.emptied()

    def events_told(self) -> list[ProviderEvent]:
        """The same, as the adapter reads and confirms it."""
        return [
            event
            for letter in self.told()
            for event in self.provider.confirm_events(self.provider.parse_webhook(letter.headers, letter.raw))
        ]

    def deliver(self, letters: Sequence[Delivery]) -> None:
        """Each is delivered by HTTP and processed before the next one comes; then what had to wait for another is."""
        self.deliver_beside([letters])

    def deliver_beside(self, mails: Sequence[Sequence[Delivery]]) -> None:
        """The same of several buyers: the first letter of each is processed before the second of any of them comes."""
        for letters in itertools.zip_longest(*mails):
            for letter in letters:
                assert letter is None or self.post(letter).status == 200
            self.process_once()
        self.process()

    def deliver_content(self, content: bytes) -> Delivery:
        """What the provider never told: signed as it would, true in its records, delivered and processed."""
        if NEEDS["asks"].met(self.facts):
            self.peer.make_true(content)
        delivery = self.pack.signed(content, at=clock.wall())
        self.deliver([delivery])
        return delivery

    def post(self, delivery: Delivery, *, path: str | None = None) -> WebhookAnswer:
        """By real HTTP to the real view; a redirect is an answer."""
        return self._request("POST", path or f"/webhooks/{self.pack.name}", delivery.raw, dict(delivery.headers))

    def look(self, path: str) -> WebhookAnswer:
        return self._request("GET", path, None, {})

    def _request(self, method: str, path: str, body: bytes | None, headers: dict[str, str]) -> WebhookAnswer:
        kept = {name: value for name, value in headers.items() if name not in ("host", "content-length", "connection")}
        connection = HTTPConnection(urlsplit(self.url).netloc, timeout=30)
        try:
            connection.request(method, path, body, kept)
            answer = connection.getresponse()
            return WebhookAnswer(answer.status, answer.getheader("Content-Type") or "", answer.read())
        finally:
            connection.close()

    # --- looking

    def may_use(self, bought: Bought, at: datetime | None = None) -> bool:
        return has_access(bought.fresh, at or self.now)

    def state(self, bought: Bought, since: datetime) -> dict[str, Any]:
        """What must be the same in the end, whatever came when: states, dates, rows of money, the books."""
        subscription, user = bought.fresh, bought.user
        money = PaymentTransaction.objects.filter(user=user)
        books = LedgerEntry.objects.filter(posting__user=user).values_list("account").annotate(sum=Sum("amount"))
        return {
            "status": subscription.status,
            "lasts": subscription.end_date and subscription.end_date - since,
            "renews": (subscription.auto_renew, subscription.cancelled_at is None),
            "access": self.may_use(bought),
            "money": Counter(
                (one.type, one.status, one.amount, one.currency, one.refunded_amount, one.invoice_id is not None)
                for one in money
            ),
            "invoices": Counter(Invoice.objects.filter(user=user).values_list("status", "total", "currency")),
            "books": {account: balance for account, balance in books.order_by("account") if balance},
        }


def at_once(*calls: Any) -> list[Any]:
    """The calls in threads of their own, started together; what each returned."""
    gate, results = threading.Barrier(len(calls)), [None] * len(calls)

    def run(number: int, call: Any) -> None:
        gate.wait()
        try:
            results[number] = call()
        finally:
            connections.close_all()

    threads = [threading.Thread(target=run, args=(number, call)) for number, call in enumerate(calls)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert not any(thread.is_alive() for thread in threads)
    return results
