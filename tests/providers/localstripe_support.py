"""localstripe as a running process, and what only a test does at it.

It is in requirements/test.lock; where it is missing its tests are skipped: `.venv/bin/pip install localstripe`.
"""

from __future__ import annotations

import http.client
import importlib.util
import json
import socket
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import replace
from typing import Any
from urllib.parse import urlencode

import pytest

from providers.base import SubRequest, SubResult
from providers.stripe.adapter import StripeProvider
from tests.providers.stripe_support import ROOT, SECRET_KEY, WEBHOOK_SECRET

needs_localstripe = pytest.mark.skipif(
    importlib.util.find_spec("localstripe") is None,
    reason="localstripe is not installed: pip install localstripe, or ./test, which takes requirements/test.lock",
)


class StripeWithForm(StripeProvider):
    """Stripe for an app that has a form of its own instead of Checkout: before it subscribes, that has made a PaymentMethod."""

    def create_subscription(self, request: SubRequest) -> SubResult:
        return super().create_subscription(
            replace(request, metadata={**request.metadata, "payment_method": "pm_card_visa"})
        )


class Localstripe:
    """The process, and what only a test does at Stripe."""

    def __init__(self) -> None:
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]
        command = [sys.executable, "-m", "tests.emulators.localstripe", "--port", str(self.port)]
        self.process = subprocess.Popen(command, cwd=ROOT)
        for _ in range(300):
            with suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 1):
                return
            assert self.process.poll() is None, "localstripe has ended"
            time.sleep(0.05)
        raise TimeoutError("localstripe does not listen")

    @property
    def origin(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def post(self, path: str, *fields: tuple[str, object]) -> dict[str, Any]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        try:
            headers = {
                "Authorization": f"Bearer {SECRET_KEY}",
                "Content-Type": "application/x-www-form-urlencoded",
            }
            connection.request("POST", path, urlencode(fields), headers)
            response = connection.getresponse()
            body = response.read()
            assert response.status == 200, body
            return json.loads(body) if body.strip() else {}
        finally:
            connection.close()

    def delivers_to(self, url: str) -> None:
        """From now on its webhooks go there and nowhere else, signed."""
        self.post("/_config/webhooks/payflow", ("url", url), ("secret", WEBHOOK_SECRET))

    def plan(self, *, cents: int = 699) -> str:
        """A monthly Plan in USD; its id."""
        product = self.post("/v1/products", ("name", "Premium"), ("type", "service"))
        terms = {"product": product["id"], "amount": cents, "currency": "usd", "interval": "month"}
        return str(self.post("/v1/plans", *terms.items())["id"])

    def bills_next_period(self, subscription: str) -> None:
        self.post(f"/_config/next_period/{subscription}")

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait(10)
