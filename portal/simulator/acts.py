"""What subscribers and operators do to a subscription, by weight.

To add an act write a function that takes the person and his subscription, and put `@act(weight, when)` above it. It calls
public services only. A refusal (DomainError) is an answer like another: it is counted, and changes nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal

from payflow.core.money import round_amount
from payments.models import PaymentTransaction
from payments.services.refunds import refund_create
from portal.simulator.people import ZONES, Person
from subscriptions.models import LIVE, Status, Subscription
from subscriptions.services.cancel import subscription_cancel, subscription_uncancel
from subscriptions.services.preferences import preferences_update
from subscriptions.services.retry import payment_retry

When = Callable[[Subscription], bool]
Deed = Callable[[Person, Subscription], object]
OPERATOR = "operator:simulator"


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


# --- the table


@act(20, anytime)
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


def _change(person: Person, subscription: Subscription, **changes: object) -> None:
    preferences_update(subscription_id=subscription.pk, changes=changes, actor=person.actor, now=person.now)


def _last_charge(subscription: Subscription) -> PaymentTransaction | None:
    charges = PaymentTransaction.objects.filter(
        subscription=subscription, type=PaymentTransaction.Type.CHARGE, completed_at__isnull=False
    )
    return charges.order_by("-completed_at").first()


def _third(charge: PaymentTransaction) -> Decimal:
    return round_amount(charge.amount / 3, charge.currency)
