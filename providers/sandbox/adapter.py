"""Our side of the sandbox: the contract of `providers.base` over its HTTP API and its webhooks.

It asks the foreign system as any other would be asked; nothing here reads its tables.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from datetime import datetime
from decimal import Decimal, InvalidOperation
from functools import cached_property
from typing import Any
from urllib.parse import quote, urlencode

from payflow.core.http import ANSWER_SECONDS, Answer, HttpClient, dump_json
from payflow.core.money import CURRENCIES
from providers.base import (
    Caps,
    ChargeRequest,
    ConfigFault,
    Decline,
    LinkRequest,
    Outcome,
    PaymentResult,
    Provider,
    ProviderEvent,
    RefundResult,
    SignatureError,
    SubRequest,
    SubResult,
    Unavailable,
)
from providers.sandbox import signature
from providers.sandbox.wire import parse_delivery, read_key
from providers.wire.answers import call, raise_for, read_answer
from providers.wire.urls import is_web_url

_UNITS = {"daily": "day", "weekly": "week", "monthly": "month", "yearly": "year"}
_OUTCOMES = {
    "succeeded": Outcome.SUCCEEDED,
    "declined": Outcome.DECLINED,
    "requires_action": Outcome.REQUIRES_ACTION,
}
#: The sandbox's own 404. Any other one is a wrong address, which proves nothing about a charge.
_UNKNOWN = "unknown"

log = logging.getLogger(__name__)


class SandboxProvider(Provider):
    """Config: base_url, api_key, webhook_secret; previous_webhook_secret, answer_seconds, allow_outside_debug."""

    @property
    def capabilities(self) -> Caps:
        return Caps(
            create=True,
            hosted_checkout=True,
            trial=True,
            refund_full=True,
            refund_partial=True,
            merchant_charge=True,
            payment_link=True,
            renewal_driver="merchant",
            price_set_by="payflow",
            webhooks_signed=True,
        )

    def config_faults(self, *, debug: bool) -> Sequence[ConfigFault]:
        faults = []
        if not debug and not self.config.get("allow_outside_debug"):
            faults.append(
                ConfigFault("error", "the sandbox takes no real money and is refused outside debug", "Remove it")
            )
        for key in ("base_url", "api_key", "webhook_secret"):
            if not str(self.config.get(key) or "").strip():
                faults.append(ConfigFault("error", f"SANDBOX_{key.upper()} is missing or empty", f"Set {key}"))
        if self.config.get("base_url") and not is_web_url(str(self.config["base_url"])):
            faults.append(ConfigFault("error", "SANDBOX_BASE_URL is not an http(s) address"))
        if self._answer_seconds() is None:
            faults.append(ConfigFault("error", "answer_seconds is not a number of seconds above 0"))
        return faults

    def supports_currency(self, currency: str) -> bool:
        return currency in CURRENCIES

    def create_subscription(self, request: SubRequest) -> SubResult:
        """`metadata["plan_name"]` is what the payer reads on the page; without it he reads `plan_ref`."""
        every, cycle = request.interval
        unit = _UNITS.get(cycle, cycle)
        return self._checkout(
            request,
            kind="subscription",
            trial_days=request.trial_days,
            description=request.metadata.get("plan_name", ""),
            billed=f"per {unit}" if every == 1 else f"every {every} {unit}s",
        )

    def create_payment_link(self, request: LinkRequest) -> SubResult:
        return self._checkout(request, kind="link", trial_days=0, description="", billed="")

    def charge(self, request: ChargeRequest) -> PaymentResult:
        # Sent once: the key would make a second try safe, but the caller asks `find_payment` instead of waiting twice.
        answer = self._call(
            "POST",
            "/api/charges",
            key=request.idempotency_key,
            body={
                "method_ref": request.method_ref,
                "customer_ref": request.customer_ref,
                "amount": request.amount,
                "currency": request.currency,
                "hook_url": request.hook_url,
            },
            idempotent=False,
        )
        if answer.status != 402:
            raise_for(answer, who=self.name)
        return self._payment(answer)

    def find_payment(self, idempotency_key: str, created_at: datetime) -> PaymentResult | None:
        answer = self._call("GET", f"/api/charges?{urlencode({'idempotency_key': idempotency_key})}", idempotent=True)
        if answer.status == 404:
            if _code(answer) == _UNKNOWN:
                return None
            raise Unavailable(f"{self.name} answers 404 where its API should be")
        raise_for(answer, who=self.name)
        return self._payment(answer)

    def refund(
        self, *, provider_txn_id: str, amount: Decimal | None, currency: str, reason: str, idempotency_key: str
    ) -> RefundResult:
        # No hook address: news of a refund goes where the news of its payment went.
        answer = self._call(
            "POST",
            f"/api/payments/{quote(provider_txn_id, safe='')}/refunds",
            key=idempotency_key,
            body={"amount": amount, "reason": reason},
            idempotent=True,
        )
        raise_for(answer, who=self.name)
        body = read_answer(answer, who=self.name)
        try:
            return RefundResult("succeeded", _text(body, "id"), Decimal(_text(body, "amount")))
        except (KeyError, InvalidOperation) as error:
            raise Unavailable(f"{self.name} answered something else than a refund") from error

    def verify_webhook(self, headers: Mapping[str, str], raw_body: bytes, now: datetime) -> None:
        if len(raw_body) > self.max_webhook_bytes:
            raise SignatureError("the delivery is larger than any genuine one")
        secrets = [str(self.config.get(key) or "") for key in ("webhook_secret", "previous_webhook_secret")]
        signature.verify(headers.get(signature.HEADER.lower(), ""), raw_body, secrets=secrets, now=now)

    def delivery_key(self, headers: Mapping[str, str], raw_body: bytes) -> str:
        return read_key(raw_body)

    def parse_webhook(self, headers: Mapping[str, str], raw_body: bytes) -> list[ProviderEvent]:
        return parse_delivery(self.name, raw_body)

    # the wire

    def _checkout(
        self, request: SubRequest | LinkRequest, *, kind: str, trial_days: int, description: str, billed: str
    ) -> SubResult:
        answer = self._call(
            "POST",
            "/api/checkouts",
            key=request.idempotency_key,
            body={
                "order_ref": request.order_ref,
                "kind": kind,
                "amount": request.amount,
                "currency": request.currency,
                "user_ref": request.user_ref,
                "plan_ref": request.plan_ref,
                "description": description,
                "billed": billed,
                "email": request.email,
                "trial_days": trial_days,
                "success_url": request.success_url,
                "cancel_url": request.cancel_url,
                "fail_url": request.fail_url,
                "hook_url": request.hook_url,
            },
            idempotent=True,
        )
        raise_for(answer, who=self.name)
        body = read_answer(answer, who=self.name)
        try:
            # Pending even where it is paid by now: money is believed when its signed delivery comes, never here. No id:
            # the sandbox knows payments and methods, the subscription is ours alone.
            return SubResult(
                provider_sub_id=None,
                checkout_url=_text(body, "url"),
                status="pending",
                expires_at=datetime.fromisoformat(_text(body, "expires_at")),
            )
        except (KeyError, ValueError) as error:
            raise Unavailable(f"{self.name} answered something else than a checkout") from error

    def _call(
        self, method: str, path: str, *, key: str = "", body: Mapping[str, Any] | None = None, idempotent: bool
    ) -> Answer:
        headers = {"Authorization": f"Bearer {self.config['api_key']}", "Accept": "application/json"}
        if key:
            headers["Idempotency-Key"] = key
        if body is not None:
            headers["Content-Type"] = "application/json"
        content = dump_json(body) if body is not None else None
        return call(self._http, method, path, headers=headers, content=content, idempotent=idempotent)

    @cached_property
    def _http(self) -> HttpClient:
        """Made when first needed, in the process that needs it: a worker must not share a parent's connections."""
        return HttpClient(
            self.name, str(self.config["base_url"]), answer_seconds=self._answer_seconds() or ANSWER_SECONDS
        )

    def _answer_seconds(self) -> float | None:
        try:
            seconds = float(self.config.get("answer_seconds", ANSWER_SECONDS))
        except (TypeError, ValueError):
            return None
        return seconds if 0 < seconds < float("inf") else None

    def _payment(self, answer: Answer) -> PaymentResult:
        """A charge as the sandbox shows it; what can't be read is unknown, and so Unavailable."""
        body = read_answer(answer, who=self.name)
        try:
            outcome = _OUTCOMES[_text(body, "status")]
            decline = None
            if outcome is Outcome.DECLINED:
                decline = Decline(_text(body, "code"), recoverable=body.get("recoverable") is not False)
            action = _text(body, "action_url") if outcome is Outcome.REQUIRES_ACTION else None
            return PaymentResult(outcome, _text(body, "id"), decline, action)
        except KeyError as error:
            raise Unavailable(f"{self.name} answered something else than a charge") from error


def _text(body: Mapping[str, Any], name: str) -> str:
    """A text that is there and not empty; KeyError otherwise."""
    value = body.get(name)
    if not isinstance(value, str) or not value:
        raise KeyError(name)
    return value


def _code(answer: Answer) -> object:
    try:
        body = json.loads(answer.body)
    except (ValueError, RecursionError):
        return None
    return body.get("code") if isinstance(body, dict) else None
