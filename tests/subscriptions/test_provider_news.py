"""What a provider that sets prices and periods reports: any order, any repetition, the same end."""

from __future__ import annotations

import itertools
import random
from datetime import datetime
from decimal import Decimal
from typing import Any

import pytest
from django.db import transaction

from payflow.core import clock
from payments.models import Invoice, LedgerEntry, PaymentTransaction
from payments.services.ledger_check import ledger_check_run
from providers.base import EventType, ProviderEvent
from subscriptions.models import BillingPeriod, ProviderLink, Status, Subscription
from subscriptions.services.provider_events import NotKnownYet, Verdict
from tests.depth import depth
from tests.factories import UserFactory
from tests.subscriptions.store_world import HOUR, MONTHS, apply, news, paid

pytestmark = pytest.mark.django_db


def apply_all(events: list[ProviderEvent], now: datetime) -> None:
    """As the mail room does: what is not known yet is tried again later."""
    waiting = events
    while waiting:
        again = []
        for event in waiting:
            try:
                apply(event, now)
            except NotKnownYet:
                again.append(event)
        assert len(again) < len(waiting), "nothing moves any more"
        waiting = again


def picture() -> dict[str, Any]:
    """All that must not depend on the order."""
    subscription = Subscription.objects.get()
    fields = ["status", "auto_renew", "end_date", "current_period_start", "amount", "plan_id", "provider_sub_id"]
    fields += ["grace_until", "suspended_at", "start_date", "provider_seen_at"]
    rows = BillingPeriod.objects.filter(superseded_at=None).order_by("start")
    sums: dict[str, Decimal] = {}
    for entry in LedgerEntry.objects.all():
        sums[entry.account] = sums.get(entry.account, Decimal(0)) + entry.amount
    charges = PaymentTransaction.objects.order_by("provider_txn_id", "type")
    return {
        **{name: getattr(subscription, name) for name in fields},
        "periods": [(row.start, row.end, row.amount, row.plan_id) for row in rows],
        "ledger": sums,
        "money": [(row.provider_txn_id, row.type, row.status, row.amount) for row in charges],
        "invoices": sorted(Invoice.objects.values_list("status", "total", "number")),
    }


def test_a_purchase_that_nobody_knew_of_begins_a_subscription(plans: Any) -> None:
    user = UserFactory()

    assert apply(paid(user, MONTHS[0], MONTHS[1])).verdict == Verdict.PROCESSED

    subscription = Subscription.objects.get()
    assert (subscription.status, subscription.user_id, subscription.end_date) == ("active", user.pk, MONTHS[1])
    assert (subscription.amount, subscription.plan) == (Decimal("4.99"), plans["basic"])
    assert ProviderLink.objects.get().provider_sub_id == subscription.provider_sub_id == "sub-1"
    invoice = Invoice.objects.get()
    assert (invoice.status, invoice.number, invoice.merchant_of_record) == ("paid", None, True)
    assert invoice.lines.get().explanation["product"] == "product.basic"
    assert ledger_check_run(actor="system", wall=clock.wall()).faults == []


def test_a_product_of_no_plan_is_unapplied_and_grants_nothing(plans: Any) -> None:
    applied = apply(paid(UserFactory(), MONTHS[0], MONTHS[1], provider_plan_ref="product.other"))

    assert applied.verdict == Verdict.REVIEW
    assert PaymentTransaction.objects.get().invoice is None
    assert not Subscription.objects.exists()


def test_a_purchase_of_nobody_waits_for_its_app(plans: Any) -> None:
    with pytest.raises(NotKnownYet):
        apply(paid(UserFactory.build(), MONTHS[0], MONTHS[1], user_ref=None))

    assert not PaymentTransaction.objects.exists()


def test_a_store_purchase_beside_a_paid_subscription_overlaps(plans: Any) -> None:
    user = UserFactory()
    apply(paid(user, MONTHS[0], MONTHS[1]))
    first = Subscription.objects.get()

    apply(paid(user, MONTHS[0] + HOUR, MONTHS[1] + HOUR, plan="gold", provider_sub_id="sub-2"))

    second = Subscription.objects.exclude(pk=first.pk).get()
    assert second.overlaps_id == first.pk
    assert second.status == first.status == "active"


def test_what_belongs_to_one_user_is_not_moved_to_another(plans: Any) -> None:
    owner, other = UserFactory(), UserFactory()
    apply(paid(owner, MONTHS[0], MONTHS[1]))

    applied = apply(paid(other, MONTHS[1], MONTHS[2]))

    assert applied.verdict == Verdict.REVIEW
    assert set(PaymentTransaction.objects.values_list("user_id", flat=True)) == {owner.pk}


def test_a_linked_purchase_takes_the_subscription_over(plans: Any) -> None:
    user = UserFactory()
    apply(paid(user, MONTHS[0], MONTHS[1]))
    apply(paid(user, MONTHS[0] + 48 * HOUR, MONTHS[2], plan="gold", provider_sub_id="sub-2", replaces="sub-1"))

    old = apply(news(user, EventType.SUBSCRIPTION_EXPIRED, MONTHS[0] + 49 * HOUR, provider_sub_id="sub-1"))

    subscription = Subscription.objects.get()
    assert old.verdict == Verdict.IGNORED
    assert (subscription.status, subscription.provider_sub_id, subscription.plan) == ("active", "sub-2", plans["gold"])
    assert set(ProviderLink.objects.values_list("provider_sub_id", flat=True)) == {"sub-1", "sub-2"}


def story_recovered(user: Any) -> list[ProviderEvent]:
    """Bought, renewed, fails, on hold, recovers late, is cancelled and expires."""
    return [
        paid(user, MONTHS[0], MONTHS[1]),
        paid(user, MONTHS[1], MONTHS[2]),
        news(user, EventType.SUBSCRIPTION_GRACE, MONTHS[2], period_end=MONTHS[2] + 72 * HOUR),
        news(user, EventType.SUBSCRIPTION_ON_HOLD, MONTHS[2] + 72 * HOUR),
        paid(user, MONTHS[2] + 80 * HOUR, MONTHS[3]),
        news(user, EventType.SUBSCRIPTION_RESUMED, MONTHS[2] + 80 * HOUR),
        news(user, EventType.SUBSCRIPTION_CANCELED, MONTHS[2] + 100 * HOUR, period_end=MONTHS[3]),
        news(user, EventType.SUBSCRIPTION_EXPIRED, MONTHS[3]),
    ]


def story_upgraded(user: Any) -> list[ProviderEvent]:
    """Bought, upgraded in the middle of the period, renewed, switched off and on again."""
    middle = MONTHS[0] + 240 * HOUR
    return [
        paid(user, MONTHS[0], MONTHS[1]),
        paid(user, middle, MONTHS[2], plan="gold"),
        news(user, EventType.SUBSCRIPTION_PLAN_CHANGED, middle, provider_plan_ref="product.gold"),
        news(user, EventType.SUBSCRIPTION_CANCELED, middle + HOUR),
        news(user, EventType.SUBSCRIPTION_RESUMED, middle + 2 * HOUR),
        paid(user, MONTHS[2], MONTHS[3], plan="gold"),
    ]


def story_revoked(user: Any) -> list[ProviderEvent]:
    """Bought, renewed, refunded and revoked in the middle."""
    middle = MONTHS[1] + 240 * HOUR
    return [
        paid(user, MONTHS[0], MONTHS[1]),
        paid(user, MONTHS[1], MONTHS[2]),
        news(
            user,
            EventType.PAYMENT_REFUNDED,
            middle,
            provider_payment_id="refund-1",
            parent_payment_id=f"pay-{MONTHS[1].isoformat()}",
            amount=Decimal("4.99"),
            currency="USD",
        ),
        news(user, EventType.SUBSCRIPTION_REVOKED, middle),
    ]


def story_cancelled_in_hold(user: Any) -> list[ProviderEvent]:
    """Its payment fails, it is cancelled while that is retried, and the retry succeeds before that."""
    return [
        paid(user, MONTHS[0], MONTHS[1]),
        news(user, EventType.SUBSCRIPTION_ON_HOLD, MONTHS[1]),
        paid(user, MONTHS[1] + 10 * HOUR, MONTHS[2]),
        news(user, EventType.SUBSCRIPTION_CANCELED, MONTHS[1] + 12 * HOUR),
    ]


def story_bought_again(user: Any) -> list[ProviderEvent]:
    """It ends, is bought again, and cancelled again."""
    return [
        paid(user, MONTHS[0], MONTHS[1]),
        news(user, EventType.SUBSCRIPTION_EXPIRED, MONTHS[1]),
        paid(user, MONTHS[1] + 24 * HOUR, MONTHS[2]),
        news(user, EventType.SUBSCRIPTION_CANCELED, MONTHS[1] + 48 * HOUR),
    ]


class _Undone(Exception):
    pass


@pytest.mark.deep
@pytest.mark.parametrize(
    "story", [story_recovered, story_upgraded, story_revoked, story_cancelled_in_hold, story_bought_again]
)
def test_every_order_comes_to_the_same_end(story: Any, plans: Any) -> None:
    user = UserFactory()
    told = story(user)
    now = max(event.occurred_at for event in told) + HOUR
    orders = list(itertools.permutations(told)) if len(told) < 5 else []
    chance = random.Random(7)
    for _ in range(0 if orders else depth(sample=12, full=50)):
        shuffled = [*told, *chance.sample(told, 2)]  # two of them twice
        chance.shuffle(shuffled)
        orders.append(tuple(shuffled))
    pictures = []
    for order in [tuple(told), *orders]:
        try:
            with transaction.atomic():
                apply_all(list(order), now)
                pictures.append(picture())
                assert ledger_check_run(actor="system", wall=clock.wall()).faults == []
                raise _Undone
        except _Undone:
            continue
    for order, seen in zip([told, *orders], pictures, strict=True):
        assert seen == pictures[0], [event.event_id for event in order]


def test_the_stories_end_as_they_should(plans: Any) -> None:
    ends = {
        story_recovered: (Status.EXPIRED, MONTHS[3]),
        story_upgraded: (Status.ACTIVE, MONTHS[3]),
        story_revoked: (Status.CANCELLED, MONTHS[1] + 240 * HOUR),
    }
    for story, (status, end) in ends.items():
        user = UserFactory()
        for event in story(user):
            named = f"{story.__name__}:{event.provider_payment_id}"
            parent = f"{story.__name__}:{event.parent_payment_id}" if event.parent_payment_id else None
            changes = {"provider_sub_id": story.__name__, "provider_payment_id": named, "parent_payment_id": parent}
            apply(ProviderEvent(**{**{f: getattr(event, f) for f in event.__slots__}, **changes}))
        subscription = Subscription.objects.get(user=user)
        assert (subscription.status, subscription.end_date) == (status, end), story.__name__
