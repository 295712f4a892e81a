"""What subscribers and operators do to a subscription, by weight.

To add an act write a function that takes the person and his subscription, and put `@act(weight, when)` above it. It calls
public services only. A refusal (DomainError) is an answer like another: it is counted, and changes nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from fractions import Fraction

from django.db.models import QuerySet

from payflow.core.money import round_amount
from payments.models import CreditGrant, CreditSource, PaymentTransaction
from payments.services.credits import credit_grant, credit_revoke
from payments.services.refunds import refund_create
from plans.models import Plan
from portal.simulator.catalogue import CATALOGUE, OPERATOR, ZONES
from portal.simulator.people import Person
from subscriptions.models import LIVE, Status, Subscription
from subscriptions.quotes import per_month
from subscriptions.services.cancel import subscription_cancel, subscription_uncancel
from subscriptions.services.changes import open_change
from subscriptions.services.pauses import subscription_pause, subscription_resume
from subscriptions.services.plan_change import plan_change, plan_change_preview
from subscriptions.services.preferences import preferences_update
from subscriptions.services.retry import payment_retry

When = Callable[[Subscription], bool]
Deed = Callable[[Person, Subscription], object]


@dataclass(frozen=True, slots=True)
class Act:
    name: str
    weight: int
    when: When
    do: Deed


ACTS: list[Act] = []


def act(weight: int, when: When) -> Callable[[Deed], Deed]:
    """Puts a function into the table: how often it is chosen among those that `when` allows."""

    def add(do: Deed) -> Deed:
        ACTS.append(Act(do.__name__, weight, when, do))
        return do

    return add


def acts_plan(person: Person, *, days: int) -> None:
    """Something about every ten days, at moments of his own."""
    at = person.random.randint(1, 12)
    while at < days:
        moment = person.now + timedelta(
            days=at, seconds=person.random.randrange(86400), microseconds=person.index % 1_000_000
        )
        person.bank.agenda.at(moment, lambda: act_choose(person))
        at += person.random.randint(3, 18)


def act_choose(person: Person) -> None:
    """One of the acts that fit. Raises DomainError where the service refuses."""
    subscription = person.subscription()
    draw = person.random.random()  # drawn first: whether he has a subscription does not move his stream
    if subscription is None:
        return
    fitting = [each for each in ACTS if each.when(subscription)]
    left = draw * sum(each.weight for each in fitting)
    for each in fitting:
        left -= each.weight
        if left < 0:
            each.do(person, subscription)
            return


# --- when


def anytime(subscription: Subscription) -> bool:
    return True


def running(subscription: Subscription) -> bool:
    return subscription.status in (Status.TRIAL, Status.ACTIVE)


def cancelled_but_running(subscription: Subscription) -> bool:
    return running(subscription) and subscription.cancelled_at is not None


def unpaid(subscription: Subscription) -> bool:
    return subscription.status in (Status.PAST_DUE, Status.SUSPENDED)


def live(subscription: Subscription) -> bool:
    return subscription.status in LIVE


def over(subscription: Subscription) -> bool:
    return subscription.status in (Status.CANCELLED, Status.EXPIRED)


def pending(subscription: Subscription) -> bool:
    return subscription.status == Status.PENDING


def paused(subscription: Subscription) -> bool:
    return subscription.status == Status.PAUSED


def tried_for_nothing(subscription: Subscription) -> bool:
    return subscription.status == Status.TRIAL and subscription.payment_method_id is None


def changing(subscription: Subscription) -> bool:
    return running(subscription) and open_change(subscription) is not None


# --- the table


@act(30, anytime)
def does_nothing(person: Person, subscription: Subscription) -> None:
    """Most of the time."""


@act(3, running)
def cancels_at_period_end(person: Person, subscription: Subscription) -> None:
    subscription_cancel(subscription_id=subscription.pk, at_once=False, actor=person.actor, now=person.now)


@act(1, live)
def cancels_now(person: Person, subscription: Subscription) -> None:
    subscription_cancel(subscription_id=subscription.pk, at_once=True, actor=person.actor, now=person.now)


@act(20, cancelled_but_running)
def takes_it_back(person: Person, subscription: Subscription) -> None:
    subscription_uncancel(subscription_id=subscription.pk, actor=person.actor, now=person.now)


@act(40, unpaid)
def retries_by_hand(person: Person, subscription: Subscription) -> None:
    retried = payment_retry(subscription_id=subscription.pk, actor=person.actor, now=person.now)
    if retried.checkout is not None:
        person.pay(retried.checkout.order_ref)


@act(5, live)
def retries_what_is_paid(person: Person, subscription: Subscription) -> None:
    payment_retry(subscription_id=subscription.pk, actor=person.actor, now=person.now)


@act(25, over)
def buys_again(person: Person, subscription: Subscription) -> None:
    person.coupon_draw()
    person.buy()


@act(2, live)
def buys_what_he_has(person: Person, subscription: Subscription) -> None:
    person.buy()


@act(30, pending)
def double_clicks(person: Person, subscription: Subscription) -> None:
    """The same request twice, as from two tabs: one checkout."""
    person.buy()
    person.buy()


@act(2, live)
def takes_his_card_away(person: Person, subscription: Subscription) -> None:
    """From now on he pays by hand."""
    _change(person, subscription, payment_method_id=None)


@act(2, live)
def switches_renewal(person: Person, subscription: Subscription) -> None:
    _change(person, subscription, auto_renew=not subscription.auto_renew)


@act(1, live)
def moves_to_another_zone(person: Person, subscription: Subscription) -> None:
    _change(person, subscription, timezone=ZONES[(ZONES.index(subscription.timezone) + 1) % len(ZONES)])


@act(1, running)
def is_refunded_in_full(person: Person, subscription: Subscription) -> None:
    if (charge := _last_charge(subscription)) is not None:
        refund_create(charge_id=charge.pk, amount=None, reason="asked", actor=OPERATOR, at=person.now)


@act(2, running)
def is_refunded_in_part(person: Person, subscription: Subscription) -> None:
    if (charge := _last_charge(subscription)) is not None:
        refund_create(charge_id=charge.pk, amount=_third(charge), reason="asked", actor=OPERATOR, at=person.now)


@act(2, live)
def is_refunded_at_the_provider(person: Person, subscription: Subscription) -> None:
    """In the provider's panel: we hear of it by webhook only."""
    charge = _last_charge(subscription)
    if charge is not None and charge.provider_txn_id is not None:
        person.bank.refund_by_hand(charge.provider_txn_id, _third(charge))


@act(2, anytime)
def disputes_a_payment(person: Person, subscription: Subscription) -> None:
    """At his bank, which decides weeks later; what was won may come back and be lost."""
    draw, days, again = person.random.random(), person.random.randint(1, 25), person.random.randint(1, 9)
    charges = list(_charges(person))
    if not charges:
        return
    ref = charges[int(draw * len(charges))].provider_txn_id
    dispute = person.bank.dispute_open(ref) if ref else None
    if dispute is None:
        return
    decide, later = person.bank.dispute_decide, person.bank.agenda.later
    later(timedelta(days=days), lambda: decide(dispute, lost=draw < 0.5))
    if draw > 0.9:
        later(timedelta(days=days + again), lambda: decide(dispute, lost=True))


@act(3, running)
def changes_to_what_costs_more(person: Person, subscription: Subscription) -> None:
    _switch(person, subscription, lambda rate, present: rate > present, when="now")


@act(3, running)
def changes_to_what_costs_less(person: Person, subscription: Subscription) -> None:
    """At the end of the period."""
    _switch(person, subscription, lambda rate, present: rate < present, when=None)


@act(3, running)
def changes_now_to_whatever(person: Person, subscription: Subscription) -> None:
    """Of another cycle mostly; what is left of a year then pays for months."""
    _switch(person, subscription, lambda rate, present: True, when="now")


@act(3, running)
def changes_as_previewed(person: Person, subscription: Subscription) -> None:
    """Looks, thinks, and wants what he saw."""
    plan, think = _other_plan(person, subscription, lambda rate, present: True), person.random.randint(5, 2000)
    seen, at = (
        plan_change_preview(subscription_id=subscription.pk, plan=plan, when=None, currency=None, now=person.now),
        person.now,
    )
    total = seen.claim.invoice.total if seen.claim else Decimal(0)
    person.bank.agenda.later(
        timedelta(seconds=think), lambda: _plan_change(person, subscription, plan, quoted_at=at, total=total)
    )


@act(30, changing)
def takes_the_change_back(person: Person, subscription: Subscription) -> None:
    _plan_change(person, subscription, subscription.plan)


@act(2, running)
def pauses(person: Person, subscription: Subscription) -> None:
    subscription_pause(subscription_id=subscription.pk, resumes_at=None, actor=person.actor, now=person.now)


@act(2, running)
def pauses_until_a_day(person: Person, subscription: Subscription) -> None:
    day = person.now + timedelta(days=person.random.randint(1, 45))
    subscription_pause(subscription_id=subscription.pk, resumes_at=day, actor=person.actor, now=person.now)


@act(30, paused)
def resumes(person: Person, subscription: Subscription) -> None:
    subscription_resume(subscription_id=subscription.pk, actor=person.actor, now=person.now)


@act(60, tried_for_nothing)
def buys_what_he_tries(person: Person, subscription: Subscription) -> None:
    person.buy()


@act(2, live)
def cancels_now_with_a_refund(person: Person, subscription: Subscription) -> None:
    """An operator does it for him."""
    subscription_cancel(subscription_id=subscription.pk, at_once=True, refund=True, actor=OPERATOR, now=person.now)


@act(3, anytime)
def is_given_credit(person: Person, subscription: Subscription) -> None:
    """A part of a price or several of them; half of it expires."""
    parts, days, expires = person.random.randint(1, 12), person.random.randint(3, 60), person.random.random() < 0.5
    credit_grant(
        user_id=person.user_id,
        amount=round_amount(subscription.amount * parts / 4, subscription.currency),
        currency=subscription.currency,
        reason="sorry",
        expires_at=person.now + timedelta(days=days) if expires else None,
        actor=OPERATOR,
        at=person.now,
    )


@act(1, anytime)
def loses_his_credit(person: Person, subscription: Subscription) -> None:
    """It was a mistake."""
    given = CreditGrant.objects.filter(account__user_id=person.user_id, source=CreditSource.GOODWILL)
    if (grant := given.order_by("-created_at").first()) is not None:
        credit_revoke(grant_id=grant.pk, reason="a mistake", actor=OPERATOR, at=person.now)


def _switch(
    person: Person, subscription: Subscription, fits: Callable[[Fraction, Fraction], bool], *, when: str | None
) -> None:
    _plan_change(person, subscription, _other_plan(person, subscription, fits), when=when)


def _other_plan(person: Person, subscription: Subscription, fits: Callable[[Fraction, Fraction], bool]) -> Plan:
    """One of those whose price a month fits the present one's; any, where none does."""
    draw = person.random.random()
    rates = {row[0]: per_month(Fraction(row[5]), row[2], row[3]) for row in CATALOGUE}
    present = rates.pop(subscription.plan.code)
    codes = [code for code, rate in rates.items() if fits(rate, present)] or list(rates)
    return Plan.objects.get(code=codes[int(draw * len(codes))])


def _plan_change(
    person: Person,
    subscription: Subscription,
    plan: Plan,
    *,
    when: str | None = None,
    quoted_at: datetime | None = None,
    total: Decimal | None = None,
) -> None:
    changed = plan_change(
        subscription_id=subscription.pk,
        plan=plan,
        when=when,
        currency=None,
        quoted_at=quoted_at,
        total=total,
        actor=person.actor,
        now=person.now,
    )
    if changed.checkout is not None and changed.checkout.url:
        person.pay(changed.checkout.order_ref)


def _change(person: Person, subscription: Subscription, **changes: object) -> None:
    preferences_update(subscription_id=subscription.pk, changes=changes, actor=person.actor, now=person.now)


def _last_charge(subscription: Subscription) -> PaymentTransaction | None:
    charges = PaymentTransaction.objects.filter(
        subscription=subscription, type=PaymentTransaction.Type.CHARGE, completed_at__isnull=False
    )
    return charges.order_by("-completed_at").first()


def _charges(person: Person) -> QuerySet[PaymentTransaction]:
    """His completed payments, also those of earlier subscriptions."""
    charges = PaymentTransaction.objects.filter(
        user_id=person.user_id, type=PaymentTransaction.Type.CHARGE, completed_at__isnull=False
    )
    return charges.order_by("created_at")


def _third(charge: PaymentTransaction) -> Decimal:
    return round_amount(charge.amount / 3, charge.currency)
