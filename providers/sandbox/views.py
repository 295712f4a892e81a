"""The sandbox's API: thin edges over its services. The clock is read here."""

from __future__ import annotations

import time
from typing import Any

from django.http import HttpRequest, HttpResponse, JsonResponse
from django.urls import reverse

from payflow.core import clock
from providers.sandbox import disputes, inputs, services, subscriptions
from providers.sandbox.accounts import Account
from providers.sandbox.endpoints import endpoint, hold_of_settings
from providers.sandbox.errors import Malformed
from providers.sandbox.events import amount_text
from providers.sandbox.hosted import is_open
from providers.sandbox.models import (
    Behaviour,
    SandboxCheckout,
    SandboxDispute,
    SandboxMethod,
    SandboxPayment,
    SandboxRefund,
)


def _checkout_create(request: HttpRequest, account: Account) -> HttpResponse:
    key, wall = inputs.idempotency_key(request), clock.wall()
    checkout, created = services.checkout_create(
        account=account.id, key=key, wanted=inputs.checkout_input(request), wall=wall
    )
    expired = checkout.status == SandboxCheckout.Status.OPEN and not is_open(checkout, wall=wall)
    return JsonResponse(
        {
            "id": checkout.ref,
            "url": page_address(request, checkout.token),
            "status": "expired" if expired else checkout.status,
            "expires_at": checkout.expires_at.isoformat(),
        },
        status=201 if created else 200,
    )


def _charge_create(request: HttpRequest, account: Account) -> HttpResponse:
    key, wanted = inputs.idempotency_key(request), inputs.charge_input(request)
    hold = hold_of_settings()
    charge, behaviour = services.charge_create(account=account.id, key=key, wanted=wanted, wall=clock.wall(), hold=hold)
    if behaviour in (Behaviour.TIMEOUT, Behaviour.HOLD):
        time.sleep(hold.total_seconds())  # the charge is committed; only its answer is late
    if behaviour == Behaviour.TIMEOUT:
        return JsonResponse({"error": "the bank did not answer in time", "code": "timeout"}, status=504)
    declined = charge.status == SandboxPayment.Status.DECLINED
    return JsonResponse(_charge(request, charge), status=402 if declined else 200)


def _charge_find(request: HttpRequest, account: Account) -> HttpResponse:
    key = request.GET.get("idempotency_key", "")
    if not key or "\x00" in key:
        raise Malformed("idempotency_key is missing or malformed")
    return JsonResponse(_charge(request, services.charge_find(account=account.id, key=key)))


def _method_create(request: HttpRequest, account: Account) -> HttpResponse:
    method = services.method_create(account=account.id, wanted=inputs.method_input(request))
    return JsonResponse(_method(method), status=201)


def _method_change(request: HttpRequest, account: Account, ref: str) -> HttpResponse:
    behaviour = inputs.behaviour_input(request)
    return JsonResponse(_method(services.method_set_behaviour(account=account.id, method_ref=ref, behaviour=behaviour)))


def _refund_create(request: HttpRequest, account: Account, ref: str) -> HttpResponse:
    key = inputs.idempotency_key(request)
    refund, created = subscriptions.payment_refund(
        account=account.id,
        payment_ref=ref,
        key=key,
        wanted=inputs.reversal_input(request),
        now=clock.now(),
        wall=clock.wall(),
    )
    return JsonResponse(_refund(refund), status=201 if created else 200)


def _dispute_open(request: HttpRequest, account: Account, ref: str) -> HttpResponse:
    key = inputs.idempotency_key(request)
    dispute, created = disputes.dispute_open(
        account=account.id,
        payment_ref=ref,
        key=key,
        wanted=inputs.reversal_input(request),
        now=clock.now(),
        wall=clock.wall(),
    )
    return JsonResponse(_dispute(dispute), status=201 if created else 200)


def _dispute_end(request: HttpRequest, account: Account, ref: str) -> HttpResponse:
    outcome = inputs.outcome_input(request)
    dispute = disputes.dispute_end(
        account=account.id, dispute_ref=ref, outcome=outcome, now=clock.now(), wall=clock.wall()
    )
    return JsonResponse(_dispute(dispute))


checkouts = endpoint(POST=_checkout_create)
charges = endpoint(POST=_charge_create, GET=_charge_find)
methods = endpoint(POST=_method_create)
method_detail = endpoint(POST=_method_change, PATCH=_method_change)
refunds = endpoint(POST=_refund_create)
payment_disputes = endpoint(POST=_dispute_open)
dispute_detail = endpoint(POST=_dispute_end, PATCH=_dispute_end)


def page_address(request: HttpRequest, token: str) -> str:
    return request.build_absolute_uri(reverse("sandbox:page", args=[token]))


def _charge(request: HttpRequest, charge: SandboxPayment) -> dict[str, Any]:
    waiting = charge.status == SandboxPayment.Status.REQUIRES_ACTION
    declined = charge.status == SandboxPayment.Status.DECLINED
    return {
        "id": charge.ref,
        "status": charge.status,
        "amount": amount_text(charge.amount, charge.currency),
        "currency": charge.currency,
        "idempotency_key": charge.idempotency_key,
        **({"code": charge.decline_code, "recoverable": charge.recoverable} if declined else {}),
        **({"action_url": page_address(request, charge.action_token or "")} if waiting else {}),
    }


def _method(method: SandboxMethod) -> dict[str, str]:
    return {
        "ref": method.ref,
        "customer_ref": method.customer_ref,
        "behaviour": method.behaviour,
        "brand": method.brand,
        "last4": method.last4,
    }


def _refund(refund: SandboxRefund) -> dict[str, str]:
    return {
        "id": refund.ref,
        "payment_id": refund.payment.ref,
        "status": "succeeded",
        "amount": amount_text(refund.amount, refund.payment.currency),
        "currency": refund.payment.currency,
    }


def _dispute(dispute: SandboxDispute) -> dict[str, str]:
    return {
        "id": dispute.ref,
        "payment_id": dispute.payment.ref,
        "status": dispute.status,
        "amount": amount_text(dispute.amount, dispute.payment.currency),
        "currency": dispute.payment.currency,
    }
