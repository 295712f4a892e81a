"""What Stripe's tests share: requests and settings, an emulator and a provider, the receiver of webhooks, deliveries."""

from __future__ import annotations

import hashlib
import hmac
import http.client
import json
import queue
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from decimal import Decimal
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urlsplit

from providers.base import ChargeRequest, LinkRequest, ProviderEvent, StoredMethod, SubRequest
from providers.stripe.adapter import StripeProvider
from tests.emulators.stripe import StripeEmulator

ROOT = Path(__file__).parents[2]
VECTORS = ROOT.parent / "shared" / "vectors" / "stripe"
SECRET_KEY = "sk_test_51emulated7f3a1c"
LIVE_KEY = "sk_live_51emulated7f3a1c"
WEBHOOK_SECRET = "whsec_91be44emulated"
OLD_WEBHOOK_SECRET = "whsec_old5d5d"
EMAIL = "anna@example.com"

URLS = {
    "success_url": "https://audiolearn.com/success",
    "fail_url": "https://audiolearn.com/failed",
    "cancel_url": "https://audiolearn.com/cancel",
    "hook_url": "https://audiolearn.com/webhooks/stripe",
}
#: Of the deliveries made by hand.
NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
SECONDS = int(NOW.timestamp())
MONTH_END = datetime(2026, 4, 1, 12, tzinfo=UTC)


# --- the adapter and its peer ------------------------------------------------------------------------------------------


def sub_request(**changes: Any) -> SubRequest:
    values: dict[str, Any] = {
        "user_ref": "user_123",
        "plan_ref": "premium",
        "provider_plan_ref": None,
        "order_ref": "order_1",
        "amount": Decimal("6.99"),
        "currency": "USD",
        "interval": (1, "monthly"),
        "trial_days": 0,
        "email": EMAIL,
        "idempotency_key": "checkout_1",
        "metadata": {"plan_name": "Premium"},
        **URLS,
    }
    return SubRequest(**{**values, **changes})


def link_request(**changes: Any) -> LinkRequest:
    values: dict[str, Any] = {
        "user_ref": "user_123",
        "plan_ref": "premium",
        "order_ref": "order_2",
        "amount": Decimal("6.99"),
        "currency": "USD",
        "email": EMAIL,
        "idempotency_key": "checkout_2",
        **URLS,
    }
    return LinkRequest(**{**values, **changes})


def charge_request(method: Any, **changes: Any) -> ChargeRequest:
    values: dict[str, Any] = {
        "method_ref": method.method_ref,
        "customer_ref": method.customer_ref,
        "amount": Decimal("6.99"),
        "currency": "USD",
        "idempotency_key": "charge_1",
    }
    return ChargeRequest(**{**values, **changes})


def settings(base_url: str = "https://api.stripe.com", **changes: Any) -> dict[str, Any]:
    return {
        "mode": "payments",
        "base_url": base_url,
        "secret_key": SECRET_KEY,
        "webhook_secret": WEBHOOK_SECRET,
        "previous_webhook_secret": "",
        "portal_url": "",
        "answer_seconds": 2,
        **changes,
    }


def provider(base_url: str = "https://api.stripe.com", **changes: Any) -> StripeProvider:
    return StripeProvider("stripe", settings(base_url, **changes))


class Receiver:
    """Where Stripe's webhooks arrive: answers what a test wants and keeps what came."""

    def __init__(self) -> None:
        self.answers: list[int] = []
        self.received: queue.Queue[tuple[dict[str, str], bytes]] = queue.Queue()
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                receiver.received.put(({k.lower(): v for k, v in self.headers.items()}, body))
                self.send_response(receiver.answers.pop(0) if receiver.answers else 200)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, format: str, *args: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True)
        self._thread.start()
        self.hook_url = f"http://127.0.0.1:{self._server.server_address[1]}/webhooks/stripe"

    def taken(self) -> list[tuple[dict[str, str], bytes]]:
        found = []
        while not self.received.empty():
            found.append(self.received.get())
        return found

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(5)


class World:
    """An emulator, a provider configured against it, and the receiver that its webhooks reach."""

    def __init__(self, stripe: StripeEmulator, receiver: Receiver, **changes: Any) -> None:
        self.stripe = stripe
        self.receiver = receiver
        self.provider = StripeProvider("stripe", settings(stripe.origin, **changes))

    def cleared(self) -> World:
        """The same world for the next test: nothing on its way, no fault, no request remembered."""
        self.stripe.deliveries.release()
        self.stripe.deliveries.drain()
        self.receiver.taken()
        self.stripe.requests.clear()
        self.stripe.fail(None)
        self.stripe.api.search_is_late = False
        self.stripe.payments.refunds_wait = False
        return self

    def method(self, key: str) -> StoredMethod:
        """A method that a checkout of its own has stored."""
        [paid] = self.buy(idempotency_key=f"checkout {key}", order_ref=f"order {key}")
        self.stripe.requests.clear()
        assert paid.method is not None
        return paid.method

    def events(self, *, confirm: bool = True) -> list[ProviderEvent]:
        """What the webhooks that have come by now tell: verified, parsed, confirmed."""
        self.stripe.deliveries.drain()
        told = []
        for headers, body in self.receiver.taken():
            self.provider.verify_webhook(headers, body, datetime.now(UTC))
            found = self.provider.parse_webhook(headers, body)
            told += self.provider.confirm_events(found) if confirm else found
        return told

    def pay(self, url: str | None, outcome: str = "pay", **form: str) -> str | None:
        """The payer's click; where he is sent next."""
        assert url is not None
        connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=5)
        try:
            headers = {"Content-Type": "application/x-www-form-urlencoded"}
            connection.request("POST", urlsplit(url).path, urlencode({"outcome": outcome, **form}), headers)
            return connection.getresponse().getheader("Location")
        finally:
            connection.close()

    def buy(self, **changes: Any) -> list[ProviderEvent]:
        self.pay(self.provider.create_subscription(sub_request(**changes)).checkout_url)
        return self.events()

    def advance(self, days: float) -> None:
        self.stripe.do(self.stripe.billing.advance, int(days * 24 * 3600))

    def price(self, unit_amount: int = 699, currency: str = "usd", **changes: Any) -> str:
        return self.stripe.do(self.stripe.billing.price, unit_amount=unit_amount, currency=currency, **changes)["id"]


@contextmanager
def world(*, livemode: bool = False, api_version: str = "2026-10-28.endive", **changes: Any) -> Iterator[World]:
    receiver = Receiver()
    stripe = StripeEmulator(
        secret_key=str(changes.get("secret_key", SECRET_KEY)),
        webhook_secret=WEBHOOK_SECRET,
        hook_url=receiver.hook_url,
        livemode=livemode,
        api_version=api_version,
    )
    with stripe:
        yield World(stripe, receiver, **changes)
    receiver.stop()


# --- deliveries --------------------------------------------------------------------------------------------------------


def sign(raw: bytes, secret: str = WEBHOOK_SECRET, at: int = SECONDS) -> str:
    return hmac.new(secret.encode(), f"{at}.".encode() + raw, hashlib.sha256).hexdigest()


def signed(raw: bytes, secret: str = WEBHOOK_SECRET, at: int = SECONDS) -> dict[str, str]:
    return {"stripe-signature": f"t={at},v1={sign(raw, secret, at)}", "content-type": "application/json"}


def delivery(type_: str, value: dict[str, Any], previous: dict[str, Any] | None = None, **changes: Any) -> bytes:
    data: dict[str, Any] = {"object": value}
    if previous is not None:
        data["previous_attributes"] = previous
    event = {
        "id": "evt_1",
        "object": "event",
        "api_version": "2026-10-28.endive",
        "created": SECONDS,
        "data": data,
        "livemode": False,
        "type": type_,
        **changes,
    }
    return json.dumps(event, indent=2).encode()


def parsed(raw: bytes, mode: str = "billing", **changes: Any) -> list[ProviderEvent]:
    return provider(mode=mode, **changes).parse_webhook({}, raw)


METADATA = {"payflow_order": "order_1", "payflow_user": "user_123", "payflow_plan": "premium"}


def intent(**changes: Any) -> dict[str, Any]:
    return {
        "id": "pi_1",
        "object": "payment_intent",
        "amount": 699,
        "amount_received": 699,
        "currency": "usd",
        "customer": "cus_1",
        "latest_charge": "ch_1",
        "metadata": METADATA,
        "payment_method": "pm_1",
        "setup_future_usage": "off_session",
        "status": "succeeded",
        **changes,
    }


def subscription(**changes: Any) -> dict[str, Any]:
    item = {
        "id": "si_1",
        "object": "subscription_item",
        "current_period_start": SECONDS,
        "current_period_end": int(MONTH_END.timestamp()),
        "price": {"id": "price_1", "recurring": {"interval": "month", "interval_count": 1}},
    }
    return {
        "id": "sub_1",
        "object": "subscription",
        "cancel_at": None,
        "cancel_at_period_end": False,
        "customer": "cus_1",
        "ended_at": None,
        "items": {"object": "list", "data": [item]},
        "metadata": METADATA,
        "pause_collection": None,
        "status": "active",
        "trial_end": None,
        **changes,
    }


def invoice(**changes: Any) -> dict[str, Any]:
    line = {
        "id": "il_1",
        "object": "line_item",
        "amount": 699,
        "currency": "usd",
        "parent": {
            "type": "subscription_item_details",
            "subscription_item_details": {"proration": False, "subscription": "sub_1"},
        },
        "period": {"start": SECONDS, "end": int(MONTH_END.timestamp())},
        "pricing": {"type": "price_details", "price_details": {"price": "price_1"}},
    }
    return {
        "id": "in_1",
        "object": "invoice",
        "amount_due": 699,
        "amount_paid": 699,
        "billing_reason": "subscription_cycle",
        "currency": "usd",
        "customer": "cus_1",
        "customer_email": EMAIL,
        "lines": {"object": "list", "data": [line]},
        "parent": {
            "type": "subscription_details",
            "subscription_details": {"metadata": METADATA, "subscription": "sub_1"},
        },
        "period_start": SECONDS - 100,
        "period_end": SECONDS - 50,
        "status": "paid",
        **changes,
    }


def refund(**changes: Any) -> dict[str, Any]:
    return {
        "id": "re_1",
        "object": "refund",
        "amount": 200,
        "charge": "ch_1",
        "currency": "usd",
        "metadata": {},
        "payment_intent": "pi_1",
        "reason": "requested_by_customer",
        "status": "succeeded",
        **changes,
    }


def dispute(**changes: Any) -> dict[str, Any]:
    return {
        "id": "dp_1",
        "object": "dispute",
        "amount": 699,
        "charge": "ch_1",
        "currency": "usd",
        "payment_intent": "pi_1",
        "reason": "fraudulent",
        "status": "needs_response",
        **changes,
    }


def charge(**changes: Any) -> dict[str, Any]:
    return {
        "id": "ch_1",
        "object": "charge",
        "amount": 699,
        "amount_refunded": 200,
        "currency": "usd",
        "customer": "cus_1",
        "payment_intent": "pi_1",
        "status": "succeeded",
        **changes,
    }


def session(**changes: Any) -> dict[str, Any]:
    return {
        "id": "cs_test_1",
        "object": "checkout.session",
        "client_reference_id": "user_123",
        "customer": "cus_1",
        "customer_details": {"email": EMAIL},
        "invoice": None,
        "metadata": METADATA,
        "mode": "payment",
        "payment_intent": None,
        "payment_status": "paid",
        "setup_intent": None,
        "status": "complete",
        "subscription": None,
        **changes,
    }
