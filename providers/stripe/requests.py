"""The bodies of what we ask Stripe to make. Each is made of the request alone: a key's second call has the same bytes."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from providers.base import ChargeRequest, LinkRequest, RequestRefused, SubRequest
from providers.stripe.money import to_minor
from providers.stripe.wire import KEY, ORDER, PLAN, TRIAL, USER

Json = dict[str, Any]


def payment_session(request: SubRequest | LinkRequest, *, product: str) -> Json:
    """A page that takes one payment and keeps its method for later charges."""
    refs = _refs(request)
    return {
        "mode": "payment",
        **_page(request, refs),
        "customer_creation": "always",
        "line_items": [
            {
                "price_data": {
                    "currency": request.currency.lower(),
                    "product_data": {"name": product},
                    "unit_amount": _positive(request.amount, request.currency),
                },
                "quantity": 1,
            }
        ],
        # Metadata of a session stays with it: the PaymentIntent, which tells of the money, has its own.
        "payment_intent_data": {"metadata": refs, "setup_future_usage": "off_session"},
    }


def setup_session(request: SubRequest) -> Json:
    """A page that keeps a method and takes no money: for a trial, or a first period that costs nothing."""
    to_minor(request.amount, request.currency)  # what cannot be charged later is refused now
    refs = _refs(request)
    if request.trial_days:
        refs = {**refs, TRIAL: "true"}
    return {
        "mode": "setup",
        **_page(request, refs),
        "currency": request.currency.lower(),
        "customer_creation": "always",
        "setup_intent_data": {"metadata": refs},
    }


def subscription_session(request: SubRequest) -> Json:
    """A page that starts a subscription of Stripe Billing's at the plan's Price."""
    refs = _refs(request)
    data: Json = {"metadata": refs}
    if request.trial_days:
        data["trial_period_days"] = request.trial_days
    return {
        "mode": "subscription",
        **_page(request, refs),
        "line_items": [{"price": price_ref(request.provider_plan_ref), "quantity": 1}],
        "subscription_data": data,
    }


def legacy_subscription(request: SubRequest, *, customer: str) -> Json:
    return {
        "customer": customer,
        "items": [{"plan": price_ref(request.provider_plan_ref)}],
        "metadata": _refs(request),
    }


def customer(request: SubRequest) -> Json:
    return {**_email(request), "metadata": {USER: request.user_ref}}


def payment_intent(request: ChargeRequest, *, legacy: bool) -> Json:
    """A charge of a stored method with nobody there to confirm it. It never redirects: nobody could follow."""
    body: Json = {
        "amount": _positive(request.amount, request.currency),
        "currency": request.currency.lower(),
        "customer": request.customer_ref,
        "payment_method": request.method_ref,
        "off_session": True,
        "confirm": True,
        "metadata": {KEY: request.idempotency_key},
    }
    if not legacy:
        body["automatic_payment_methods"] = {"enabled": True, "allow_redirects": "never"}
    return body


def price_ref(ref: str | None) -> str:
    """Raises RequestRefused where the plan has no Price of Stripe's."""
    if not ref:
        raise RequestRefused("the plan has no Price at Stripe: give it a provider reference (price_…)")
    return ref


def _page(request: SubRequest | LinkRequest, refs: dict[str, str]) -> Json:
    return {
        "client_reference_id": request.user_ref,
        **({"customer_email": request.email} if request.email else {}),
        "success_url": request.success_url,
        "cancel_url": request.cancel_url,
        "metadata": refs,
    }


def _email(request: SubRequest) -> Json:
    return {"email": request.email} if request.email else {}


def _refs(request: SubRequest | LinkRequest) -> dict[str, str]:
    return {ORDER: request.order_ref, USER: request.user_ref, PLAN: request.plan_ref}


def _positive(amount: Decimal, currency: str) -> int:
    minor = to_minor(amount, currency)
    if minor <= 0:
        raise RequestRefused("Stripe takes no payment of nothing")
    return minor
