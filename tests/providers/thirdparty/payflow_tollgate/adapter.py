"""The adapter of Tollgate: hosted checkout, its own renewals, signed webhooks, state to fetch, whole refunds."""

from __future__ import annotations

import hashlib
import hmac
import logging
from collections.abc import Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from functools import cached_property
from typing import Any
from urllib.parse import quote

from payflow.core import clock
from payflow.core.http import ANSWER_SECONDS, HttpClient, dump_json
from providers.base import (
    Caps,
    ConfigFault,
    EventType,
    MalformedError,
    NotSupported,
    Provider,
    ProviderEvent,
    RefundResult,
    SignatureError,
    SubRequest,
    SubResult,
    SubState,
    SubStatus,
    Unavailable,
    UnknownReference,
)
from providers.wire.answers import call, raise_for, read_answer
from providers.wire.fields import amount_of, currency_of, moment_of, optional_text, read_object, required_text
from providers.wire.urls import base_url_faults, is_web_url

HEADER = "x-tollgate-proof"
#: Every word that Tollgate documents for an order's state.
STATES = {
    "open": SubStatus.PENDING,
    "running": SubStatus.ACTIVE,
    "ending": SubStatus.CANCELED,
    "over": SubStatus.EXPIRED,
}
#: The event that says the same as a state.
STATE_EVENTS = {
    SubStatus.ACTIVE: EventType.SUBSCRIPTION_ACTIVATED,
    SubStatus.CANCELED: EventType.SUBSCRIPTION_CANCELED,
    SubStatus.EXPIRED: EventType.SUBSCRIPTION_EXPIRED,
}
TYPES = {
    "paid": EventType.PAYMENT_SUCCEEDED,
    "failed": EventType.PAYMENT_FAILED,
    "refunded": EventType.PAYMENT_REFUNDED,
    "ending": EventType.SUBSCRIPTION_CANCELED,
    "over": EventType.SUBSCRIPTION_EXPIRED,
}
MONEY = frozenset({EventType.PAYMENT_SUCCEEDED, EventType.PAYMENT_FAILED, EventType.PAYMENT_REFUNDED})

log = logging.getLogger(__name__)


class TollgateProvider(Provider):
    """Config: base_url, api_key, webhook_secret, previous_webhook_secret, answer_seconds."""

    @property
    def capabilities(self) -> Caps:
        return Caps(
            create=True,
            hosted_checkout=True,
            cancel_at_period_end=True,
            cancel_now=True,
            refund_full=True,
            fetch_state=True,
            renewal_driver="provider",
            price_set_by="payflow",
        )

    def config_faults(self, *, debug: bool) -> Sequence[ConfigFault]:
        faults = list(base_url_faults(self._text("base_url"), variable="TOLLGATE_BASE_URL", debug=debug))
        for key in ("api_key", "webhook_secret"):
            if not self._text(key):
                faults.append(ConfigFault("error", f"{key} is missing", f"Set TOLLGATE_{key.upper()}."))
        return faults

    # buying

    def create_subscription(self, request: SubRequest) -> SubResult:
        every, cycle = request.interval
        body = {
            "reference": request.order_ref,
            "amount": request.amount,
            "currency": request.currency,
            "every": every,
            "cycle": cycle,
            "user": request.user_ref,
            "plan": request.plan_ref,
            "hook": request.hook_url,
            "back": request.success_url,
        }
        order = self._call("POST", "/orders", body=body, key=request.idempotency_key)
        page, order_id = order.get("page"), order.get("id")
        if not isinstance(page, str) or not is_web_url(page) or not isinstance(order_id, str):
            raise Unavailable(f"{self.name} answered something else than an order")
        return SubResult(provider_sub_id=order_id, checkout_url=page, status="pending")

    # webhooks

    def verify_webhook(self, headers: Mapping[str, str], raw_body: bytes, now: datetime) -> None:
        if len(raw_body) > self.max_webhook_bytes:
            raise SignatureError("the delivery is larger than any genuine one")
        given = headers.get(HEADER, "").encode("utf-8", "backslashreplace")
        secrets = [self._text(key) for key in ("webhook_secret", "previous_webhook_secret")]
        genuine = [hmac.new(secret.encode(), raw_body, hashlib.sha256).hexdigest() for secret in secrets if secret]
        if not any(hmac.compare_digest(proof.encode(), given) for proof in genuine):
            raise SignatureError("the signature is missing or wrong")

    def delivery_key(self, headers: Mapping[str, str], raw_body: bytes) -> str:
        return required_text(read_object(raw_body), "id", 150)

    def parse_webhook(self, headers: Mapping[str, str], raw_body: bytes) -> list[ProviderEvent]:
        body = read_object(raw_body)
        type_ = TYPES.get(required_text(body, "type"))
        if type_ is None:
            log.info("%s sent an event of an unknown type", self.name)
            return []
        return [self._event(type_, f"{required_text(body, 'id', 150)}#0", _object(body, "order"), body)]

    # what it can be asked and told

    def get_subscription(self, provider_sub_id: str) -> SubState:
        return self._state(self._order(provider_sub_id))

    def fetch_events(self, provider_sub_id: str, *, since: datetime) -> list[ProviderEvent]:
        order = self._order(provider_sub_id)
        news = order.get("news")
        if not isinstance(news, list) or not all(isinstance(one, dict) for one in news):
            raise Unavailable(f"{self.name} answered something else than an order")
        state = self._state(order)
        try:
            events = [
                self._event(TYPES[one["type"]], f"{required_text(one, 'id', 150)}#0", order, one)
                for one in news
                if TYPES.get(one.get("type", "")) in MONEY and moment_of(one.get("at"), "at") > since
            ]
            if state.status in STATE_EVENTS:
                now = {"at": order.get("as_of")}
                name = f"{provider_sub_id}:{state.status}:{now['at']}#0"
                events.append(self._event(STATE_EVENTS[state.status], name, order, now))
        except MalformedError as error:
            raise Unavailable(f"{self.name} answered something else than an order") from error
        return events

    def cancel_subscription(
        self, provider_sub_id: str, *, at_period_end: bool = True, email: str = "", idempotency_key: str = ""
    ) -> SubState:
        path = f"/orders/{quote(provider_sub_id, safe='')}/cancel"
        try:
            return self._state(self._call("POST", path, body={"now": not at_period_end}, key=idempotency_key))
        except UnknownReference:
            return SubState(provider_sub_id, SubStatus.CANCELED)  # what is gone needs no cancelling

    def refund(
        self, *, provider_txn_id: str, amount: Decimal | None, currency: str, reason: str, idempotency_key: str
    ) -> RefundResult:
        if amount is not None:
            raise NotSupported(f"{self.name} gives whole payments back only")
        path = f"/payments/{quote(provider_txn_id, safe='')}/refund"
        answer = self._call("POST", path, body={"reason": reason}, key=idempotency_key)
        try:
            return RefundResult("succeeded", required_text(answer, "id"), amount_of(answer.get("amount")))
        except MalformedError as error:
            raise Unavailable(f"{self.name} answered something else than a refund") from error

    # the wire

    def _order(self, provider_sub_id: str) -> dict[str, Any]:
        return self._call("GET", f"/orders/{quote(provider_sub_id, safe='')}")

    def _call(self, method: str, path: str, *, body: Mapping[str, Any] | None = None, key: str = "") -> dict[str, Any]:
        headers = {"Authorization": f"Bearer {self._text('api_key')}", "Content-Type": "application/json"}
        if key:
            headers["Idempotency-Key"] = key
        content = dump_json(body) if body is not None else None
        answer = call(self._http, method, path, headers=headers, content=content, idempotent=True)
        raise_for(answer, who=self.name)
        return read_answer(answer, who=self.name)

    @cached_property
    def _http(self) -> HttpClient:
        seconds = float(self.config.get("answer_seconds") or ANSWER_SECONDS)
        return HttpClient(self.name, self._text("base_url"), answer_seconds=seconds)

    def _text(self, key: str) -> str:
        return str(self.config.get(key) or "").strip()

    # what Tollgate says, in our words

    def _state(self, order: Mapping[str, Any]) -> SubState:
        word = order.get("state")
        status = STATES.get(word, SubStatus.UNKNOWN) if isinstance(word, str) else SubStatus.UNKNOWN
        if status is SubStatus.UNKNOWN:
            log.warning("%s calls an order's state something that it does not document", self.name)
        try:
            return SubState(
                provider_sub_id=required_text(order, "id"),
                status=status,
                auto_renew=status is SubStatus.ACTIVE,
                period_end=moment_of(order["paid_until"], "paid_until") if order.get("paid_until") else None,
                user_ref=optional_text(order, "user"),
                as_of=moment_of(order.get("as_of"), "as_of"),
            )
        except MalformedError as error:
            raise Unavailable(f"{self.name} answered something else than an order") from error

    def _event(
        self, type_: EventType, event_id: str, order: Mapping[str, Any], news: Mapping[str, Any]
    ) -> ProviderEvent:
        payment = _object(news, "payment") if type_ in MONEY else None
        refunded = type_ is EventType.PAYMENT_REFUNDED
        return ProviderEvent(
            provider=self.name,
            event_id=event_id,
            type=type_,
            occurred_at=moment_of(news.get("at"), "at") if news.get("at") else clock.wall(),
            provider_sub_id=required_text(order, "id"),
            provider_payment_id=required_text(payment, "refund" if refunded else "id") if payment else None,
            parent_payment_id=required_text(payment, "id") if payment and refunded else None,
            order_ref=required_text(order, "reference"),
            user_ref=optional_text(order, "user"),
            plan_ref=optional_text(order, "plan"),
            amount=amount_of(payment.get("amount")) if payment else None,
            currency=currency_of(payment.get("currency")) if payment else None,
            period_end=moment_of(order["paid_until"], "paid_until") if not payment else None,
            reason=optional_text(news, "reason"),
            raw=news,
        )


def _object(fields: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    value = fields.get(name)
    if not isinstance(value, dict):
        raise MalformedError(f"{name} is not an object")
    return value
