"""Rows on every operators' page, made by the services. `EVIL` is in every text that comes from outside."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal
from types import SimpleNamespace

from rest_framework_simplejwt.tokens import RefreshToken

from payflow.core import audit, clock, outbox
from payflow.core.idempotency import key_claim, key_finish
from payflow.core.models import ClockOffset, OutboxEvent, OutboxHandling
from payments.models import LedgerCheck, TaxRate
from payments.services.credits import credit_grant
from plans.models import Plan
from plans.pricing_rules import ActionPriceFields
from plans.services import plan_update
from subscriptions.models import (
    Checkout,
    CouponRedemption,
    ProviderCommand,
    ProviderDrift,
    ProviderFeed,
    ProviderLink,
    ProviderMove,
    ProviderMoveMember,
    SubscriptionChange,
    TrialRedemption,
)
from tests.factories import ApiKeyFactory, CouponFactory, PlanFactory, UserFactory
from tests.flows import paid
from usage.services import usage_log
from webhooks.models import InboundEvent

EVIL = "<script>alert(1)</script>"


def customer(number: int = 0) -> SimpleNamespace:
    """A customer who has paid for a month."""
    user = UserFactory(name=EVIL, email=f"{EVIL}{number}@example.com")
    plan = Plan.objects.filter(code="basic").first() or _plan()
    subscription, payment = paid(user, plan, note=EVIL)
    return SimpleNamespace(user=user, subscription=subscription, payment=payment)


def _plan() -> Plan:
    plan = PlanFactory(code="basic", name=f"Basic {EVIL}")
    rows: list[ActionPriceFields] = [{"action": "words", "unit_amount": Decimal(1)}]
    return plan_update(plan_id=plan.pk, actor="test", at=clock.now(), action_prices=rows)


def everything(number: int = 0) -> SimpleNamespace:
    """A customer, and a row in every other table that has a page."""
    made = customer(number)
    user, subscription, now, wall = made.user, made.subscription, clock.now(), clock.wall()
    Checkout.objects.create(
        user=user,
        purpose=Checkout.Purpose.SUBSCRIBE,
        subscription=subscription,
        invoice=made.payment.invoice,
        provider="sandbox",
        order_ref=f"order_{number}",
        plan=subscription.plan,
        amount=subscription.amount,
        currency=subscription.currency,
        status=Checkout.Status.PAID,
        expires_at=now + timedelta(hours=1),
        paid_at=now,
    )
    ProviderLink.objects.create(subscription=subscription, provider="sandbox", provider_sub_id=f"sub_{number}{EVIL}")
    ProviderCommand.objects.create(
        subscription=subscription,
        provider="sandbox",
        provider_sub_id=f"sub_{number}{EVIL}",
        kind=ProviderCommand.Kind.CANCEL,
        actor=EVIL,
        next_attempt_at=wall,
        error=EVIL,
    )
    ProviderDrift.objects.create(
        subscription=subscription, provider="sandbox", ours={"status": EVIL}, theirs={"status": EVIL}, seen_at=now
    )
    ProviderFeed.objects.create(provider=f"sandbox_{number}", read_until=wall)
    TrialRedemption.objects.create(user=user, family="main", subscription=subscription)
    coupon = CouponFactory(name=EVIL, plans=[subscription.plan])
    CouponRedemption.objects.create(user=user, subscription=subscription, coupon=coupon)
    SubscriptionChange.objects.create(
        subscription=subscription,
        effective=SubscriptionChange.Effective.PERIOD_END,
        effective_at=subscription.end_date,
        from_plan=subscription.plan,
        plan=subscription.plan,
        amount=12,
        currency="USD",
        billing_cycle="monthly",
        actor=EVIL,
    )
    credit_grant(user_id=user.pk, amount=Decimal(5), currency="USD", reason=EVIL, expires_at=None, actor=EVIL, at=now)
    made.inbound = inbound(number)
    ApiKeyFactory(name=EVIL)
    RefreshToken.for_user(user).blacklist()
    usage_log(user_id=user.pk, action="look", content_id=EVIL, now=now)
    usage_log(user_id=user.pk, action="words", now=now)
    outbox.emit(type="test.happened", subject_type="user", subject_id=user.pk, payload={"note": EVIL}, at=now)
    OutboxHandling.objects.create(
        event=OutboxEvent.objects.get(type="test.happened", subject_id=user.pk),
        handler="mail",
        next_attempt_at=wall,
        error=EVIL,
    )
    audit.record(actor=EVIL, action="look", subject_type="user", subject_id=user.pk, data={"note": EVIL})
    claim = key_claim(principal=f"user:{user.pk}", key=f"key-{number}", request_hash="0" * 64, wall=wall)
    key_finish(claim=claim, status=200, body=EVIL)
    LedgerCheck.objects.create(
        created_at=wall,
        finished_at=wall,
        checked={"posting_balances": {"rows": 1, "faults": 1}},
        faults=[{"check": EVIL, "id": EVIL, "expected": EVIL, "found": EVIL}],
        is_sound=False,
    )
    move = ProviderMove.objects.create(from_provider="sandbox", to_provider=EVIL, status="ended", actor=EVIL)
    ProviderMoveMember.objects.create(
        move=move,
        subscription=subscription,
        status="left",
        period_start=now,
        price=10,
        currency="USD",
        reason=EVIL,
    )
    TaxRate.objects.create(country="DE", name=EVIL, percent=19, is_active=number == 0)
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
