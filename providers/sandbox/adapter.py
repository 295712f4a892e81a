"""Our side of the sandbox: the contract of `providers.base` over its HTTP API and its webhooks.

It asks the foreign system as any other would be asked; nothing here reads its tables. `mode` says what it plays:

payments: PayFlow sets the price and drives the renewals, the sandbox charges stored methods.
billing: the sandbox sells products of its own, renews them by itself and takes wishes.
store: the same, bought in an app: purchases are attached and acknowledged, only the sandbox's own page changes them.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from decimal import Decimal, InvalidOperation
from typing import Any, TypeGuard
from urllib.parse import quote, urlencode

from payflow.core.http import Answer
from payflow.core.money import CURRENCIES
from providers.base import (
    Caps,
    ChangeRequest,
    ChargeRequest,
    ConfigFault,
    Decline,
    LinkRequest,
    NotSupported,
    Outcome,
    PaymentResult,
    Provider,
    ProviderEvent,
    RefundResult,
    RequestRefused,
    SignatureError,
    SubRequest,
    SubResult,
    SubState,
    Unavailable,
)
from providers.sandbox import signature
from providers.sandbox.billing import Billing
from providers.sandbox.client import SandboxApi, code_of
from providers.sandbox.wire import parse_delivery, read_key
from providers.wire.answers import raise_for, read_answer
from providers.wire.urls import is_web_url

_PAYMENTS = Caps(
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
_BILLING = Caps(
    create=True,
    hosted_checkout=True,
    trial=True,
    cancel_now=True,
    cancel_at_period_end=True,
    resume=True,
    pause=True,
    change=True,
    refund_full=True,
    refund_partial=True,
    renewal_driver="provider",
    price_set_by="provider",
    grace=True,
    webhooks_signed=True,
    fetch_state=True,
    test_mode=True,
    feed=True,
    find_purchase=True,
)
_STORE = Caps(
    attach=True,
    trial=True,
    renewal_driver="provider",
    price_set_by="provider",
    merchant_of_record=True,
    grace=True,
    webhooks_signed=True,
    fetch_state=True,
    test_mode=True,
    acknowledge=True,
    feed=True,
    find_purchase=True,
)
MODES = {"payments": _PAYMENTS, "billing": _BILLING, "store": _STORE}
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
    """Config: base_url, api_key, webhook_secret; previous_webhook_secret, mode, answer_seconds, allow_outside_debug,
    test_mode (purchases that the store calls tests count).
    """

    def __init__(self, name: str, config: Mapping[str, Any]) -> None:
        super().__init__(name, config)
        self._mode = str(config.get("mode") or "payments")
        self._api = SandboxApi(name, config)
        self._billing = Billing(self._api)

    @property
    def capabilities(self) -> Caps:
        return MODES.get(self._mode, Caps())

    def config_faults(self, *, debug: bool) -> Sequence[ConfigFault]:
        faults = []
        if not debug and not self.config.get("allow_outside_debug"):
            faults.append(
                ConfigFault("error", "the sandbox takes no real money and is refused outside debug", "Remove it")
            )
        if self._mode not in MODES:
            faults.append(ConfigFault("error", "mode is unknown", f"Set mode to one of {', '.join(MODES)}"))
        of_mode = "" if self._mode == "payments" else f"{self._mode.upper()}_"
        for key, variable in (
            ("base_url", "SANDBOX_BASE_URL"),
            ("api_key", f"SANDBOX_{of_mode}API_KEY"),
            ("webhook_secret", f"SANDBOX_{of_mode}WEBHOOK_SECRET"),
        ):
            if not str(self.config.get(key) or "").strip():
                faults.append(ConfigFault("error", f"{variable} is missing or empty", f"Set {key}"))
        if self.config.get("base_url") and not is_web_url(str(self.config["base_url"])):
            faults.append(ConfigFault("error", "SANDBOX_BASE_URL is not an http(s) address"))
        if self._api.answer_seconds() is None:
            faults.append(ConfigFault("error", "answer_seconds is not a number of seconds above 0"))
        return faults

    def supports_currency(self, currency: str) -> bool:
        return currency in CURRENCIES

    def create_subscription(self, request: SubRequest) -> SubResult:
        """`metadata["plan_name"]` is what the payer reads on the page; without it he reads `plan_ref`."""
        self._require("create")
        if self._mode == "billing" and not request.provider_plan_ref:
            raise RequestRefused(f"{self.name} sells no product for this plan")
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
        self._require("payment_link")
        return self._checkout(request, kind="link", trial_days=0, description="", billed="")

    def attach_purchase(self, *, user_ref: str, token: str) -> SubState:
        self._require("attach")
        return self._billing.purchase(token)

    def charge(self, request: ChargeRequest) -> PaymentResult:
        self._require("merchant_charge")
        # Sent once: the key would make a second try safe, but the caller asks `find_payment` instead of waiting twice.
        answer = self._api.call(
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
        self._require("merchant_charge")
        answer = self._api.call(
            "GET", f"/api/charges?{urlencode({'idempotency_key': idempotency_key})}", idempotent=True
        )
        if answer.status == 404:
            if code_of(answer) == _UNKNOWN:
                return None
            raise Unavailable(f"{self.name} answers 404 where its API should be")
        raise_for(answer, who=self.name)
        return self._payment(answer)

    def refund(
        self, *, provider_txn_id: str, amount: Decimal | None, currency: str, reason: str, idempotency_key: str
    ) -> RefundResult:
        self._require("refund_full")
        # No hook address: news of a refund goes where the news of its payment went.
        answer = self._api.call(
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

    # the sandbox's own subscriptions

    def get_subscription(self, provider_sub_id: str) -> SubState:
        self._require("fetch_state")
        return self._billing.state(provider_sub_id)

    def fetch_events(self, provider_sub_id: str, *, since: datetime) -> list[ProviderEvent]:
        self._require("fetch_state")
        return self._billing.told(provider_sub_id, since=since)

    def find_purchase(self, order_ref: str, *, since: datetime) -> list[ProviderEvent]:
        self._require("find_purchase")
        return self._billing.bought(order_ref, since=since)

    def missed_events(self, *, since: datetime, until: datetime) -> Iterable[ProviderEvent]:
        self._require("feed")
        return self._billing.feed(since=since, until=until)

    def cancel_subscription(
        self, provider_sub_id: str, *, at_period_end: bool = True, email: str = "", idempotency_key: str = ""
    ) -> SubState:
        self._require("cancel_at_period_end" if at_period_end else "cancel_now")
        return self._billing.cancel(provider_sub_id, at_period_end=at_period_end, key=idempotency_key)

    def resume_subscription(self, provider_sub_id: str, *, idempotency_key: str = "") -> SubState:
        self._require("resume")
        return self._billing.resume(provider_sub_id, key=idempotency_key)

    def pause_subscription(self, provider_sub_id: str, *, idempotency_key: str = "") -> SubState:
        self._require("pause")
        return self._billing.pause(provider_sub_id, key=idempotency_key)

    def change_subscription(self, request: ChangeRequest) -> SubState:
        self._require("change")
        if not request.provider_plan_ref:
            raise RequestRefused(f"{self.name} sells no product for this plan")
        return self._billing.change(
            request.provider_sub_id,
            product_ref=request.provider_plan_ref,
            now=request.now,
            key=request.idempotency_key,
        )

    def acknowledge_purchase(self, provider_sub_id: str, *, idempotency_key: str = "") -> None:
        self._require("acknowledge")
        self._billing.acknowledge(provider_sub_id, key=idempotency_key)

    def manage_url(self, provider_sub_id: str, *, provider_plan_ref: str | None = None) -> str | None:
        """The sandbox's page for the subscriber; its address is proof enough there, so it is signed with our key."""
        if not provider_sub_id or self.capabilities.renewal_driver != "provider":
            return None
        proof = signature.page_signature(str(self.config["api_key"]), provider_sub_id)
        return f"{str(self.config['base_url']).rstrip('/')}/manage/{quote(provider_sub_id, safe='')}/{proof}"

    # webhooks

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
        product = {"product_ref": request.provider_plan_ref} if self._sells(request) else {}
        answer = self._api.call(
            "POST",
            "/api/checkouts",
            key=request.idempotency_key,
            body={
                "order_ref": request.order_ref,
                "kind": kind,
                **product,
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

    def _sells(self, request: SubRequest | LinkRequest) -> TypeGuard[SubRequest]:
        """Is it one of the sandbox's own products that is bought?"""
        return self._mode == "billing" and isinstance(request, SubRequest)

    def _require(self, capability: str) -> None:
        if not getattr(self.capabilities, capability):
            raise NotSupported(f"{self.name} cannot do that: {capability}")

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
