"""Flows of what the sandbox sells by itself: the shop with its billing and store accounts, and the moments in between."""

from __future__ import annotations

import json
import uuid
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from plans.models import Plan, PlanProviderRef
from providers import registry
from providers.base import SubState
from subscriptions.models import Checkout, Subscription
from tests.conftest import Api
from tests.factories import PlanFactory
from tests.flows import START, Shop, fresh
from tests.flows import shop as shop
from tests.providers.sandbox_support import _client, config, press

BILLING, STORE = "sandbox-billing", "sandbox-store"
KEYS = {name: f"{name}_key_of_the_tests" for name in (BILLING, STORE)}
#: Ends of monthly periods that began at the shop's start, on a 31st.
MONTHS = [START, *(datetime(2040, month, day, 10, tzinfo=UTC) for month, day in [(2, 29), (3, 31), (4, 30), (5, 31)])]
DAY, HOUR = timedelta(days=1), timedelta(hours=1)


@dataclass
class Sold:
    shop: Shop
    plans: dict[str, Plan]

    # --- time

    def until(self, moment: datetime) -> None:
        """Lives up to `moment`: the sandbox renews, its news arrive, PayFlow does what is due."""
        self.shop.at(moment)
        self.work()

    def work(self) -> None:
        while sum([self.shop.sweep("sandbox_subscriptions"), self.shop.due(), self.shop.sweep("provider_commands")]):
            self.shop.drain()
        self.shop.drain()

    # --- the sandbox as its owner, its store's app or its subscriber sees it

    def api(self, name: str, method: str, path: str, body: Any = None, *, key: str = "") -> tuple[int, Any]:
        headers = {"Authorization": f"Bearer {KEYS[name]}", "Content-Type": "application/json"}
        if key:
            headers["Idempotency-Key"] = key
        content = json.dumps(body or {}).encode() if method != "GET" else None
        answer = _client(f"{self.shop.url}/sandbox").request(
            method, f"/api/{path}", headers=headers, content=content, idempotent=False
        )
        return answer.status, answer.json()

    def told(self, subscription: Subscription, what: str, **body: Any) -> Any:
        """Something that is done to it over there, and the news of it arrives."""
        row = fresh(subscription)
        status, answer = self.api(row.provider, "POST", f"subscriptions/{row.provider_sub_id}/{what}", body)
        assert status == 200, answer
        self.work()
        return answer

    def card(self, subscription: Subscription, behaviour: str) -> None:
        row = fresh(subscription)
        status, _ = self.api(
            row.provider, "PATCH", f"methods/{row.payment_method.method_ref}", {"behaviour": behaviour}
        )
        assert status == 200

    def fault(self, name: str, kind: str, times: int | None = None) -> None:
        body = {"kind": kind} if times is None else {"kind": kind, "times": times}
        assert self.api(name, "POST", "faults", body)[0] == 200

    def state(self, subscription: Subscription) -> SubState:
        row = fresh(subscription)
        return registry.get(row.provider).get_subscription(row.provider_sub_id)

    # --- buying

    def checkout(self, user: Any, plan: str = "basic", **body: Any) -> Checkout:
        return self.shop.checkout(user, self.plans[plan], provider=BILLING, **body)

    def buy(self, user: Any, plan: str = "basic", *, card: str = "ok") -> Subscription:
        checkout = self.checkout(user, plan)
        assert press(checkout.url, outcome="pay", card=card).status == 303
        self.work()
        return fresh(checkout.subscription)

    def purchase(self, user: Any | None = None, plan: str = "basic", **body: Any) -> str:
        """Bought in the app; answers the purchase token."""
        wish = {"product_ref": f"{plan}_monthly", **({"user_ref": str(user.pk)} if user else {}), **body}
        status, answer = self.api(STORE, "POST", "purchases", wish, key=uuid.uuid4().hex)
        assert status == 201, answer
        return str(answer["purchase_token"])

    def attach(self, user: Any, token: str) -> Any:
        return Api().as_user(user).post("/api/v1/subscriptions/", {"provider": STORE, "purchase_token": token})

    def attached(self, user: Any, **wish: Any) -> Subscription:
        answer = self.attach(user, self.purchase(user, **wish))
        assert answer.status_code in (200, 201), answer.content
        self.work()
        return Subscription.objects.get(pk=answer.json()["data"]["subscription"]["id"])


def providers(url: str) -> dict[str, Any]:
    billing = config(
        f"{url}/sandbox", mode="billing", api_key=KEYS[BILLING], webhook_secret="secret_of_billing", answer_seconds=20
    )
    store = config(
        f"{url}/sandbox",
        mode="store",
        api_key=KEYS[STORE],
        webhook_secret="secret_of_the_store",
        answer_seconds=20,
        hook_url=f"{url}/webhooks/{STORE}",
    )
    return {BILLING: billing, STORE: store}


@pytest.fixture
def sold(shop: Shop, settings: Any) -> Sold:
    settings.PAYFLOW_PROVIDERS = {**settings.PAYFLOW_PROVIDERS, **providers(shop.url)}
    plans = {
        code: PlanFactory(code=code, price=Decimal(price)) for code, price in [("basic", "5.00"), ("gold", "9.00")]
    }
    sold = Sold(shop, plans)
    for name in (BILLING, STORE):
        # The sandbox asks prices of its own.
        for code, price in [("basic", "5.49"), ("gold", "9.49")]:
            product = {
                "product_ref": f"{code}_monthly",
                "name": code.title(),
                "price": price,
                "currency": "USD",
                "cycle": "monthly",
            }
            assert sold.api(name, "POST", "products", product)[0] == 200
            PlanProviderRef.objects.create(plan=plans[code], provider=name, ref=f"{code}_monthly")
    return sold
