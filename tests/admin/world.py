"""Rows on every operators' page, made by the services. `EVIL` is in every text that comes from outside."""

from __future__ import annotations

from datetime import timedelta
from types import SimpleNamespace

from rest_framework_simplejwt.tokens import RefreshToken

from payflow.core import audit, clock, outbox
from payflow.core.idempotency import key_claim, key_finish
from payflow.core.models import ClockOffset, OutboxEvent, OutboxHandling
from payments.models import PaymentTransaction
from plans.models import Plan
from providers.base import EventType, ProviderEvent, StoredMethod
from subscriptions.models import Checkout, ProviderLink, Subscription, TrialRedemption
from subscriptions.services import subscribe
from subscriptions.services.provider_events import provider_event_apply
from tests.factories import ApiKeyFactory, PlanFactory, UserFactory
from usage.services import usage_log
from webhooks.models import InboundEvent

EVIL = "<script>alert(1)</script>"


def customer(monkeypatch, number: int = 0) -> SimpleNamespace:
    """A customer who has paid for a month, without anybody asking a provider for a page."""
    monkeypatch.setattr(subscribe, "checkout_open", lambda *, checkout_id: Checkout.objects.get(pk=checkout_id))
    now = clock.now()
    user = UserFactory(name=EVIL, email=f"{EVIL}{number}@example.com")
    subscribed = subscribe.subscription_create(
        user_id=user.pk,
        plan=Plan.objects.filter(code="basic").first() or PlanFactory(code="basic", name=f"Basic {EVIL}"),
        provider="sandbox",
        currency=None,
        success_url="",
        cancel_url="",
        actor=f"user:{user.pk}",
        now=now,
    )
    paid = ProviderEvent(
        provider="sandbox",
        event_id=f"evt_{number}#0",
        type=EventType.PAYMENT_SUCCEEDED,
        occurred_at=now,
        provider_payment_id=f"pay_{number}{EVIL}",
        order_ref=subscribed.checkout.order_ref,
        amount=subscribed.checkout.amount,
        currency="USD",
        method=StoredMethod(method_ref=f"pm_{number}", customer_ref=EVIL, kind="card", brand=EVIL, last4="4242"),
        raw={"note": EVIL},
    )
    provider_event_apply(event=paid, now=now)
    return SimpleNamespace(
        user=user,
        subscription=Subscription.objects.get(user=user),
        payment=PaymentTransaction.objects.get(user=user),
    )


def everything(monkeypatch, number: int = 0) -> SimpleNamespace:
    """A customer, and a row in every other table that has a page."""
    made = customer(monkeypatch, number)
    user, subscription, now, wall = made.user, made.subscription, clock.now(), clock.wall()
    ProviderLink.objects.create(subscription=subscription, provider="sandbox", provider_sub_id=f"sub_{number}{EVIL}")
    TrialRedemption.objects.create(user=user, family="main", subscription=subscription)
    made.inbound = inbound(number)
    ApiKeyFactory(name=EVIL)
    RefreshToken.for_user(user).blacklist()
    usage_log(user_id=user.pk, action="look", content_id=EVIL, now=now)
    outbox.emit(type="test.happened", subject_type="user", subject_id=user.pk, payload={"note": EVIL}, at=now)
    OutboxHandling.objects.create(
        event=OutboxEvent.objects.get(subject_id=user.pk), handler="mail", next_attempt_at=wall, error=EVIL
    )
    audit.record(actor=EVIL, action="look", subject_type="user", subject_id=user.pk, data={"note": EVIL})
    claim = key_claim(principal=f"user:{user.pk}", key=f"key-{number}", request_hash="0" * 64, wall=wall)
    key_finish(claim=claim, status=200, body=EVIL)
    ClockOffset.objects.get_or_create(id=1, defaults={"ahead": timedelta(0)})
    return made


def inbound(number: int = 0, *, status: str = "review") -> InboundEvent:
    return InboundEvent.objects.create(
        provider="sandbox",
        event_id=f"evt_{number}",
        body=f'{{"note": "{EVIL} of {number}"}}'.encode() + b"\0\xff",
        headers={"user-agent": EVIL},
        status=status,
        error=EVIL,
    )
