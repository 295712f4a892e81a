#!/usr/bin/env python3
"""The tour: a visitor subscribes, pays, is renewed and cancels, first at the sandbox, then at Lava's emulator.

Standard library and HTTP only, against a running PayFlow (`./run`). Every step prints what it did and stops the tour where
the answer is not what it should be. It moves the demo's clock by months: run it on demo data.

    ./run                       # in one terminal
    python3 docs/tour.py        # in another

Options: --url http://127.0.0.1:8000, --only sandbox|lava; PAYFLOW_ADMIN_EMAIL and PAYFLOW_ADMIN_PASSWORD as for ./run.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
import uuid
from datetime import datetime, timedelta
from typing import Any

PASSWORD = "a-long-tour-password"


class NoRedirect(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *args: Any, **kwargs: Any) -> None:
        return None


OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}), NoRedirect)


class Tour:
    def __init__(self, base: str) -> None:
        self.base = base.rstrip("/")
        self.step_number = 0

    # --- telling and checking ---

    def step(self, text: str) -> None:
        self.step_number += 1
        print(f"{self.step_number:3}. {text}", flush=True)

    def expect(self, got: Any, wanted: Any, what: str) -> None:
        if got != wanted:
            sys.exit(f"     ✗ {what}: expected {wanted!r}, got {got!r}")
        print(f"     ✓ {what}: {got}", flush=True)

    # --- HTTP ---

    def send(
        self, method: str, url: str, *, token: str = "", body: Any = None, form: dict[str, str] | None = None
    ) -> tuple[int, Any, Any]:
        headers = {"Accept": "application/json"}
        data = None
        if token:
            headers["Authorization"] = f"Bearer {token}"
        if body is not None:
            data, headers["Content-Type"] = json.dumps(body).encode(), "application/json"
        if form is not None:
            data = urllib.parse.urlencode(form).encode()
            headers["Content-Type"] = "application/x-www-form-urlencoded"
        request = urllib.request.Request(url, data=data, headers=headers, method=method)
        try:
            with OPENER.open(request, timeout=180) as response:
                status, raw, response_headers = response.status, response.read(), response.headers
        except urllib.error.HTTPError as error:
            status, raw, response_headers = error.code, error.read(), error.headers
        except OSError as error:
            sys.exit(f"     ✗ no answer from {url}: {error}. Is ./run running?")
        try:
            return status, json.loads(raw), response_headers
        except ValueError:
            return status, raw, response_headers

    def api(self, method: str, path: str, *, token: str = "", body: Any = None, wanted: int = 200) -> Any:
        status, answer, _ = self.send(method, f"{self.base}/api/v1/{path}", token=token, body=body)
        if status != wanted:
            sys.exit(f"     ✗ {method} {path}: expected {wanted}, got {status}: {answer}")
        return answer["data"] if wanted < 400 else answer

    def wait_for(self, what: str, look: Any, *, seconds: float = 30) -> Any:
        """Workers do their part in the background: look until they have."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            if (found := look()) is not None:
                return found
            time.sleep(0.2)
        sys.exit(f"     ✗ waited {seconds:.0f} s for {what}; is the worker running?")

    # --- what both halves do ---

    def visitor(self) -> str:
        email = f"tour-{uuid.uuid4().hex[:12]}@example.com"
        self.step(f"A visitor registers as {email} and logs in")
        self.api("POST", "auth/register", body={"email": email, "password": PASSWORD, "name": "Tour"}, wanted=201)
        tokens = self.api("POST", "auth/token", body={"email": email, "password": PASSWORD})
        entitlement = self.api("GET", "entitlements/", token=tokens["access"])
        self.expect(entitlement["entitled"], False, "entitled before subscribing")
        return str(tokens["access"])

    def operator(self) -> str:
        email = os.environ.get("PAYFLOW_ADMIN_EMAIL", "operator@payflow.local")
        password = os.environ.get("PAYFLOW_ADMIN_PASSWORD", "payflow-demo")
        return str(self.api("POST", "auth/token", body={"email": email, "password": password})["access"])

    def mine(self, token: str) -> dict[str, Any]:
        data: dict[str, Any] = self.api("GET", "subscriptions/me", token=token)
        return data

    def when_active(self, token: str) -> dict[str, Any]:
        def look() -> dict[str, Any] | None:
            mine = self.mine(token)
            return mine if mine["status"] == "active" else None

        found: dict[str, Any] = self.wait_for("the webhook to activate the subscription", look)
        return found

    def now(self, operator: str) -> datetime:
        return moment(self.api("GET", "sandbox/clock", token=operator)["now"])

    def advance_to(self, operator: str, target: datetime) -> None:
        days = (target - self.now(operator)) / timedelta(days=1)
        self.api("POST", "sandbox/clock", token=operator, body={"advance_days": round(days, 6)})

    def use_up(self, token: str, limit: int) -> None:
        self.step(f"{limit} translations: each is counted, the next one is refused")
        for number in range(1, limit + 1):
            used = self.api("POST", "usage/log", token=token, body={"action": "translations"}, wanted=201)
            if used["remaining"] != limit - number:
                sys.exit(f"     ✗ after {number} there should be {limit - number} left: {used}")
        self.expect(used["remaining"], 0, "left after the last")
        refused = self.api("POST", "usage/log", token=token, body={"action": "translations"}, wanted=429)
        self.expect(refused["code"], "USAGE_LIMIT_EXCEEDED", "one more")

    def one_payment_each(self, token: str, count: int) -> None:
        payments = self.api("GET", "payments/", token=token)["results"]
        done = [payment for payment in payments if payment["type"] == "charge" and payment["status"] == "completed"]
        self.expect([payment["amount"] for payment in done], [6.99] * count, "completed charges")
        invoices = self.api("GET", "invoices/", token=token)["results"]
        self.expect([invoice["status"] for invoice in invoices], ["paid"] * count, "invoices")
        self.expect(len({invoice["number"] for invoice in invoices}), count, "different invoice numbers")

    def leave(self, token: str, operator: str) -> None:
        self.step("The customer cancels: the status stays, the access lasts to the end of what was paid")
        mine = self.api("DELETE", "subscriptions/me", token=token)
        self.expect(mine["status"], "active", "status after cancelling")
        end = moment(mine["end_date"])
        self.advance_to(operator, end - timedelta(minutes=30))
        self.expect(self.api("GET", "entitlements/", token=token)["entitled"], True, "entitled half an hour before")
        self.step("The paid time ends")
        self.advance_to(operator, end + timedelta(minutes=1))
        self.expect(self.api("GET", "entitlements/", token=token)["entitled"], False, "entitled afterwards")
        ended = self.api("GET", f"subscriptions/{mine['id']}", token=token)
        self.expect(ended["status"], "cancelled", "status")

    # --- the two halves ---

    def sandbox(self) -> None:
        print("— the sandbox: we charge a stored method —")
        token, operator = self.visitor(), self.operator()
        self.step("What can be bought")
        plans = {plan["code"]: plan["price"] for plan in self.api("GET", "plans/active")["results"]}
        self.expect(plans.get("premium"), 6.99, "premium costs")
        self.step("Subscribe to premium: pending, with a page on which to pay")
        bought = self.api(
            "POST", "subscriptions/", token=token, body={"plan_id": "premium", "provider": "sandbox"}, wanted=201
        )
        self.expect(bought["subscription"]["status"], "pending", "status")
        again = self.api("POST", "subscriptions/", token=token, body={"plan_id": "premium", "provider": "sandbox"})
        self.expect(again["checkout_url"], bought["checkout_url"], "a second click answers the same page")
        self.step("Pay at the sandbox")
        status, _, _ = self.send("POST", bought["checkout_url"], form={"outcome": "pay"})
        self.expect(status, 303, "the provider sends the customer back")
        mine = self.when_active(token)
        self.expect(mine["plan_code"], "premium", "the webhook activated")
        self.one_payment_each(token, 1)
        self.use_up(token, 300)
        self.step("A month passes: the stored method is charged for the next one")
        before = mine["end_date"]
        self.advance_to(operator, moment(before) + timedelta(minutes=5))
        mine = self.mine(token)
        self.expect(mine["status"], "active", "status")
        self.expect(mine["current_period_start"], before, "the new period starts where the old one ended")
        self.one_payment_each(token, 2)
        used = self.api("POST", "usage/log", token=token, body={"action": "translations"}, wanted=201)
        self.expect(used["remaining"], 299, "a new day has new translations")
        self.leave(token, operator)

    def lava(self) -> None:
        print("— Lava: the provider renews by itself and tells us —")
        status, _, _ = self.send("GET", f"{self.base}/webhooks/lava")
        if status != 200:
            sys.exit("     ✗ Lava is not configured here: ./run starts its emulator unless LAVA_API_KEY is set")
        token, operator = self.visitor(), self.operator()
        self.step("Subscribe to premium with Lava: POST /invoice/create made the page")
        bought = self.api(
            "POST", "subscriptions/", token=token, body={"plan_id": "premium", "provider": "lava"}, wanted=201
        )
        page = bought["checkout_url"]
        emulator = urllib.parse.urlsplit(page)._replace(path="", query="").geturl()
        self.step("Pay there: Lava's signed webhook says success")
        status, _, _ = self.send("POST", page, form={"outcome": "pay"})
        self.expect(status, 303, "Lava sends the customer back")
        mine = self.when_active(token)
        self.expect(mine["provider"], "lava", "active at")
        self.one_payment_each(token, 1)
        self.use_up(token, 300)
        self.step("A month passes; Lava charges by itself and reports a new invoice for the same order")
        before = mine["end_date"]
        self.advance_to(operator, moment(before) + timedelta(minutes=5))
        order = f"sub_{bought['checkout']['order_ref']}"
        status, _, _ = self.send("POST", f"{emulator}/control/orders/{order}/renew", body={"outcome": "success"})
        self.expect(status, 200, "the emulator renewed")

        def extended() -> dict[str, Any] | None:
            found = self.mine(token)
            return found if found["end_date"] != before else None

        mine = self.wait_for("the renewal to be applied", extended)
        self.expect(mine["current_period_start"], before, "the new period starts where the old one ended")
        self.one_payment_each(token, 2)
        self.leave(token, operator)


def moment(text: str) -> datetime:
    return datetime.fromisoformat(text.replace("Z", "+00:00"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--url", default=f"http://127.0.0.1:{os.environ.get('PORT', '8000')}")
    parser.add_argument("--only", choices=["sandbox", "lava"])
    options = parser.parse_args()
    tour = Tour(options.url)
    status, health, _ = tour.send("GET", f"{tour.base}/health/ready")
    if status != 200:
        sys.exit(f"PayFlow is not ready at {tour.base}: {status} {health}")
    if options.only != "lava":
        tour.sandbox()
    if options.only != "sandbox":
        tour.lava()
    print("The tour is complete.")


if __name__ == "__main__":
    main()
