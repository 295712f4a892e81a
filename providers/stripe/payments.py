"""Charges of stored methods, and refunds: each done once, and found again by our key in its metadata.

Stripe keeps an Idempotency-Key for 24 hours. Within them a repeated POST is answered with the first one's outcome; after
them it would be done again. Therefore a charge is looked for before it is repeated, and a refund before it is made.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any, Literal

from providers.base import (
    ChargeRequest,
    Decline,
    Outcome,
    PaymentResult,
    RateLimited,
    RefundResult,
    RequestRefused,
    Unavailable,
    UnknownReference,
)
from providers.stripe import requests
from providers.stripe.client import Declined, Json, StripeApi
from providers.stripe.money import of_minor, to_minor
from providers.stripe.money_events import HARD_DECLINES, decline_code
from providers.stripe.wire import KEY, Object, id_of, payment_intents_of, section
from providers.wire.urls import is_web_url

#: Stripe's clock and ours may differ by this much when we look for what was made since a moment.
CLOCK_SKEW = timedelta(minutes=5)
REASONS = frozenset({"duplicate", "fraudulent", "requested_by_customer"})
#: A refund's status in the contract's words; any other is under way.
REFUND_STATUSES: dict[object, Literal["succeeded", "pending", "failed"]] = {
    "succeeded": "succeeded",
    "pending": "pending",
    "requires_action": "pending",
    "failed": "failed",
    "canceled": "failed",
}

log = logging.getLogger(__name__)


def charge(api: StripeApi, request: ChargeRequest, *, legacy: bool) -> PaymentResult:
    """Raises Unavailable where nobody knows, RequestRefused and CurrencyRefused where nothing was done."""
    body: Any = requests.payment_intent(request, legacy=legacy)
    options: Any = {"idempotency_key": request.idempotency_key}
    try:
        intent = api.ask(lambda client: client.v1.payment_intents.create(body, options))
    except Declined as declined:
        return result_of_decline(declined.error)
    return result_of(intent)


def find(api: StripeApi, key: str, created_at: datetime) -> PaymentResult | None:
    """The charge of a key. The search is quick and up to a minute late, so what it does not know the list decides."""
    found = _searched(api, key) or _listed(api, key, created_at)
    return result_of(found) if found is not None else None


def refund(
    api: StripeApi,
    provider_txn_id: str,
    amount: Decimal | None,
    currency: str,
    *,
    reason: str,
    key: str,
    legacy: bool,
) -> RefundResult:
    """Once per key for ever. Raises RequestRefused above the rest, UnknownReference."""
    minor = to_minor(amount, currency) if amount is not None else None
    if minor is not None and minor <= 0:
        raise RequestRefused("a refund of nothing")
    target = _target(api, provider_txn_id, legacy=legacy)
    made = _made_refund(api, target, key)
    if made is None:
        body: Any = {
            **target,
            **({"amount": minor} if minor is not None else {}),
            **({"reason": reason} if reason in REASONS else {}),
            "metadata": {KEY: key},
        }
        options: Any = {"idempotency_key": key}
        try:
            made = api.ask(lambda client: client.v1.refunds.create(body, options))
        except Declined as declined:
            raise RequestRefused("Stripe refused the refund (402)") from declined
    return _refund_result(made, currency)


def result_of(intent: Object) -> PaymentResult:
    """A PaymentIntent's status. An unknown one is pending: it is asked again, and never taken for money."""
    id_, status = id_of(intent.get("id")), intent.get("status")
    if id_ is None:
        raise Unavailable("Stripe answered something else than a PaymentIntent")
    if status == "succeeded":
        return PaymentResult(Outcome.SUCCEEDED, id_)
    if status == "requires_action":
        return PaymentResult(Outcome.REQUIRES_ACTION, id_, action_url=_action_url(intent))
    if status in ("requires_payment_method", "canceled"):
        error = section(intent, "last_payment_error")
        if error.get("code") == "authentication_required":
            return PaymentResult(Outcome.REQUIRES_ACTION, id_)
        code = decline_code(error) if status != "canceled" or error else "canceled"
        return PaymentResult(Outcome.DECLINED, id_, Decline(code, recoverable=code not in HARD_DECLINES))
    if status not in ("processing", "requires_capture", "requires_confirmation"):
        log.warning("stripe: a PaymentIntent has a status that is not known")
    return PaymentResult(Outcome.PENDING, id_)


def result_of_decline(error: Object) -> PaymentResult:
    """402. The error has the PaymentIntent; the payer's bank asking for him is no refusal."""
    id_ = id_of(error.get("payment_intent"))
    code = decline_code(error)
    if "authentication_required" in (error.get("code"), code):
        return PaymentResult(Outcome.REQUIRES_ACTION, id_, action_url=_action_url(section(error, "payment_intent")))
    return PaymentResult(Outcome.DECLINED, id_, Decline(code, recoverable=code not in HARD_DECLINES))


def _target(api: StripeApi, provider_txn_id: str, *, legacy: bool) -> Json:
    if provider_txn_id.startswith("in_"):  # an invoice of Stripe Billing is refunded by what paid it
        params: Any = {} if legacy else {"expand": ["payments"]}
        invoice = api.ask(lambda client: client.v1.invoices.retrieve(provider_txn_id, params))
        intent = next(payment_intents_of(invoice), None)
        if intent is None:
            raise RequestRefused("the invoice was not paid through Stripe: there is nothing to give back")
        return {"payment_intent": intent}
    return {"charge" if provider_txn_id.startswith(("ch_", "py_")) else "payment_intent": provider_txn_id}


def _made_refund(api: StripeApi, target: Json, key: str) -> Json | None:
    listed = api.pages(lambda client, params: client.v1.refunds.list(params), **target)
    return next((item for item in listed if section(item, "metadata").get(KEY) == key), None)


def _refund_result(refund: Object, currency: str) -> RefundResult:
    status = REFUND_STATUSES.get(refund.get("status") if isinstance(refund.get("status"), str) else None, "pending")
    return RefundResult(status, id_of(refund.get("id")), of_minor(refund.get("amount"), currency))


def _searched(api: StripeApi, key: str) -> Json | None:
    """None too where there is no search (some countries' accounts)."""
    params: Any = {"query": f"metadata['{KEY}']:'{_quoted(key)}'", "limit": 1}
    try:
        page = api.ask(lambda client: client.v1.payment_intents.search(params))
    except RateLimited:
        raise
    except (RequestRefused, UnknownReference):
        return None
    return next((item for item in page.get("data") or [] if _has_key(item, key)), None)


def _listed(api: StripeApi, key: str, created_at: datetime) -> Json | None:
    since = int((created_at - CLOCK_SKEW).timestamp())
    made: Iterator[Json] = api.pages(
        lambda client, params: client.v1.payment_intents.list(params), created={"gte": since}
    )
    return next((intent for intent in made if _has_key(intent, key)), None)


def _has_key(intent: object, key: str) -> bool:
    return isinstance(intent, dict) and section(intent, "metadata").get(KEY) == key


def _quoted(key: str) -> str:
    return key.replace("\\", "\\\\").replace("'", "\\'")


def _action_url(intent: Object) -> str | None:
    """Where the payer confirms, if that is a page; mostly he pays by a new page of ours instead."""
    url = section(intent, "next_action", "redirect_to_url").get("url")
    return url if isinstance(url, str) and is_web_url(url) else None
