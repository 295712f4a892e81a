"""The calls that the suite makes of any adapter, with arguments that any provider understands."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

from django.conf import settings

from providers.base import ChangeRequest, ChargeRequest, LinkRequest, Provider, SubRequest
from tests.providers.conformance.cases import Facts
from tests.providers.conformance.pack import Order, Pack, Peer, Purchase, Step

#: The payer, who must not be found in a log.
EMAIL = "payer.of.the.suite@example.com"
USER = "0190b6a0-0000-7000-8000-00000000c0de"
SINCE = datetime(2026, 1, 1, tzinfo=UTC)
URLS = {
    "success_url": "https://shop.example/paid",
    "fail_url": "https://shop.example/failed",
    "cancel_url": "https://shop.example/left",
}
_numbers = itertools.count(1)


def sub_request(pack: Pack, **changes: Any) -> SubRequest:
    """A first purchase; every call is another order."""
    number = next(_numbers)
    values: dict[str, Any] = {
        "user_ref": USER,
        "plan_ref": "pro",
        "provider_plan_ref": pack.product,
        "order_ref": f"order-{number}",
        "amount": Decimal("9.90"),
        "currency": pack.currency,
        "interval": (1, "monthly"),
        "trial_days": 0,
        "email": EMAIL,
        "hook_url": _hook_url(pack),
        "idempotency_key": f"checkout-{number}",
        **URLS,
    }
    return SubRequest(**{**values, **changes})


def _hook_url(pack: Pack) -> str:
    """As PayFlow tells it with each checkout."""
    return f"{settings.PAYFLOW_BASE_URL}/webhooks/{pack.name}"


def link_request(pack: Pack, **changes: Any) -> LinkRequest:
    number = next(_numbers)
    values: dict[str, Any] = {
        "user_ref": USER,
        "plan_ref": "pro",
        "order_ref": f"order-{number}",
        "amount": Decimal("9.90"),
        "currency": pack.currency,
        "email": EMAIL,
        "hook_url": _hook_url(pack),
        "idempotency_key": f"link-{number}",
        **URLS,
    }
    return LinkRequest(**{**values, **changes})


def charge_request(pack: Pack, purchase: Purchase, **changes: Any) -> ChargeRequest:
    values: dict[str, Any] = {
        "method_ref": purchase.method_ref,
        "customer_ref": purchase.customer_ref,
        "amount": purchase.order.amount,
        "currency": purchase.order.currency,
        "idempotency_key": f"charge-{next(_numbers)}",
    }
    return ChargeRequest(**{**values, **changes})


def change_request(pack: Pack, sub_id: str, *, now: bool = True) -> ChangeRequest:
    return ChangeRequest(
        provider_sub_id=sub_id,
        plan_ref="pro",
        provider_plan_ref=pack.other_product,
        amount=Decimal("19.90"),
        currency=pack.currency,
        interval=(1, "monthly"),
        now=now,
        idempotency_key=f"change-{next(_numbers)}",
    )


def refund(
    provider: Provider, payment_id: str, currency: str, *, amount: Decimal | None = None, key: str | None = None
) -> Any:
    return provider.refund(
        provider_txn_id=payment_id,
        amount=amount,
        currency=currency,
        reason="asked for",
        idempotency_key=key or f"refund-{next(_numbers)}",
    )


def purchase_made(pack: Pack, facts: Facts, peer: Peer, provider: Provider, step: Step = Step.PAID) -> Purchase:
    """A purchase at the peer, of which PayFlow's database knows nothing."""
    request = sub_request(pack)
    url = provider.create_subscription(request).checkout_url if facts.caps.create else None
    order = Order(request.user_ref, request.order_ref, request.amount, request.currency, url)
    return peer.buy(order, step)


def every_call(pack: Pack) -> dict[str, tuple[tuple[str, ...], Callable[[Provider], Any]]]:
    """Each method of the contract that calls the provider: the capabilities of which one is enough, and a call of it.

    The references are of nothing that exists.
    """
    sub_id, payment_id, method_ref = pack.unknown_refs
    stranger = Purchase(
        Order(USER, "order-0", Decimal("9.90"), pack.currency), method_ref=method_ref, customer_ref="cus_unknown"
    )
    cancels = ("cancel_at_period_end", "cancel_now")
    return {
        "create_subscription": (("create",), lambda p: p.create_subscription(sub_request(pack))),
        "create_payment_link": (("payment_link",), lambda p: p.create_payment_link(link_request(pack))),
        "attach_purchase": (("attach",), lambda p: p.attach_purchase(user_ref=USER, token=pack.unknown_token)),
        "charge": (("merchant_charge",), lambda p: p.charge(charge_request(pack, stranger))),
        "find_payment": (("merchant_charge",), lambda p: p.find_payment("charge-unknown", SINCE)),
        "refund": (("refund_full", "refund_partial"), lambda p: refund(p, payment_id, pack.currency)),
        "refund in part": (
            ("refund_partial",),
            lambda p: refund(p, payment_id, pack.currency, amount=Decimal("1.00")),
        ),
        "find_refund": (("unkeyed_refunds",), lambda p: p.find_refund(payment_id)),
        "get_subscription": (("fetch_state",), lambda p: p.get_subscription(sub_id)),
        "fetch_events": (("fetch_state",), lambda p: list(p.fetch_events(sub_id, since=SINCE))),
        "cancel at the period's end": (
            cancels[:1],
            lambda p: p.cancel_subscription(sub_id, idempotency_key="cancel-1"),
        ),
        "cancel now": (
            cancels[1:],
            lambda p: p.cancel_subscription(sub_id, at_period_end=False, idempotency_key="cancel-2"),
        ),
        "resume_subscription": (("resume",), lambda p: p.resume_subscription(sub_id, idempotency_key="resume-1")),
        "pause_subscription": (("pause",), lambda p: p.pause_subscription(sub_id, idempotency_key="pause-1")),
        "change_subscription": (("change",), lambda p: p.change_subscription(change_request(pack, sub_id))),
        "acknowledge_purchase": (
            ("acknowledge",),
            lambda p: p.acknowledge_purchase(sub_id, idempotency_key="acknowledge-1"),
        ),
        "find_purchase": (("find_purchase",), lambda p: p.find_purchase("order-0", since=SINCE)),
        "missed_events": (
            ("feed",),
            lambda p: list(p.missed_events(since=SINCE, until=SINCE + timedelta(days=1))),
        ),
    }
