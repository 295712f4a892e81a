"""The subscribers of a storm, and what the sandbox has to tell about them: made before the storm, sent in it.

    python -m tests.live.storm.inside world --news 3900 --seed 1     → JSON: a list of stories, each its deliveries in order

The bodies are the sandbox's own: it sold, charged, refunded and was disputed; its deliveries are taken away before any is
sent. Renewals are pending as after the death of a worker whose charge had arrived.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal

from django.db import transaction

from accounts.models import User
from payflow.core import clock
from payments.models import PaymentTransaction
from plans.models import Plan
from providers import registry
from providers.sandbox.accounts import fingerprint
from providers.sandbox.disputes import dispute_end, dispute_open
from providers.sandbox.hosted import checkout_decline, checkout_pay
from providers.sandbox.inputs import ChargeInput, ReversalInput
from providers.sandbox.models import Behaviour, DisputeStatus, SandboxCheckout, SandboxDelivery, SandboxPayment
from providers.sandbox.services import charge_create, method_set_behaviour, refund_create
from subscriptions.locks import subscriptions_claim
from subscriptions.services.provider_events import provider_event_apply
from subscriptions.services.renewals import renewals_intend
from subscriptions.services.subscribe import subscription_create

ACCOUNT = fingerprint(str(registry.get("sandbox").config["api_key"]))
#: Whoever renews has bought so long ago: a month is over.
AGO = timedelta(days=31)
PLAN, TRIAL_PLAN = "storm", "storm-trial"

#: The bodies of its deliveries, in the order in which what they tell happened.
Story = list[str]


def main(arguments: Sequence[str]) -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--news", type=int, required=True)
    parser.add_argument("--seed", type=int, required=True)
    given = parser.parse_args(arguments)
    for code, trial_days in ((PLAN, 0), (TRIAL_PLAN, 7)):
        Plan.objects.create(
            code=code,
            name=code,
            price="10.00",
            currency="USD",
            billing_cycle="monthly",
            trial_days=trial_days,
            created_at=clock.now() - AGO,
        )
    json.dump(tell(given.news, random.Random(given.seed)), sys.stdout)


def tell(count: int, chance: random.Random) -> list[Story]:
    """Stories of `count` deliveries together, each of another subscriber; of every kind where there is room."""
    kinds: list[Kind] = []
    while (left := count - sum(kind.news for kind in kinds)) > 0:
        fitting = [kind for kind in KINDS if kind.news <= left]
        kinds.append(next((kind for kind in fitting if kind not in kinds), None) or chance.choice(fitting))
    subjects = [Subject(f"storm-{number:06}@live.test", kind) for number, kind in enumerate(kinds)]
    _renewals_charged(subjects)
    return [subject.live() for subject in subjects]


class Subject:
    """A subscriber at his checkout; of a kind that renews, one who bought a month ago and is due."""

    def __init__(self, email: str, kind: Kind) -> None:
        self.kind = kind
        now = clock.now() - (AGO if kind.renews else timedelta(0))
        self.user = User.objects.create(email=email, name="Storm", password="!", created_at=now)
        plan = Plan.objects.get(code=TRIAL_PLAN if kind.tries else PLAN)
        attempt = subscription_create(
            user_id=self.user.pk,
            plan=plan,
            provider="sandbox",
            currency=None,
            success_url="",
            cancel_url="",
            actor="system",
            now=now,
        )
        assert attempt.checkout is not None
        self.page = SandboxCheckout.objects.get(order_ref=attempt.checkout.order_ref)
        if kind.renews:
            self.pay()
            [body] = _told()
            [event] = registry.get("sandbox").parse_webhook({}, body.encode())
            assert provider_event_apply(event=event, now=now).verdict == "processed"

    def live(self) -> Story:
        """What happens to him, as the sandbox tells it."""
        self.kind.happens(self)
        story = _told()
        assert len(story) == self.kind.news, (self.kind, story)
        return story

    def decline(self) -> None:
        checkout_decline(checkout=self.page, wall=clock.wall())

    def pay(self) -> None:
        checkout_pay(checkout=self.page, card=Behaviour.OK, **_moment())

    def charged(self, card: Behaviour = Behaviour.OK) -> None:
        """The renewal's charge arrives at the sandbox, with a card that comes to this; its answer never does."""
        charge = PaymentTransaction.objects.select_related("method").get(user=self.user, status="pending")
        assert charge.method is not None
        method_set_behaviour(account=ACCOUNT, method_ref=charge.method.method_ref, behaviour=card)
        wanted = ChargeInput(charge.method.method_ref, "", charge.amount, charge.currency, "")
        charge_create(account=ACCOUNT, key=charge.idempotency_key, wanted=wanted, wall=clock.wall(), hold=timedelta(0))

    def refunded(self, amount: str | None = None) -> None:
        wanted = ReversalInput(Decimal(amount) if amount else None, "asked for", "")
        refund_create(account=ACCOUNT, payment_ref=self._paid(), key=uuid.uuid4().hex, wanted=wanted, **_moment())

    def disputed(self, outcome: DisputeStatus) -> None:
        wanted, key = ReversalInput(None, "fraudulent", self.page.hook_url), uuid.uuid4().hex
        dispute, _ = dispute_open(account=ACCOUNT, payment_ref=self._paid(), key=key, wanted=wanted, **_moment())
        dispute_end(account=ACCOUNT, dispute_ref=dispute.ref, outcome=outcome, **_moment())

    def _paid(self) -> str:
        """The latest payment: of the renewal, where there is one."""
        payments = SandboxPayment.objects.filter(method__user_ref=str(self.user.pk), status="succeeded")
        return payments.order_by("pk").latest("pk").ref


@dataclass(frozen=True)
class Kind:
    """A sort of story: how many deliveries it is, and what happens in it."""

    news: int
    happens: Callable[[Subject], None]
    renews: bool = False
    tries: bool = False


def paid(who: Subject) -> None:
    who.pay()


def paid_at_second_try(who: Subject) -> None:
    who.decline()
    who.pay()


def refunded(who: Subject) -> None:
    who.pay()
    who.refunded()


def refunded_in_parts(who: Subject) -> None:
    who.pay()
    for amount in ("2.50", "1.25", None):
        who.refunded(amount)


def refunded_a_little(who: Subject) -> None:
    who.decline()
    who.pay()
    who.refunded("3.00")


def dispute_won(who: Subject) -> None:
    who.pay()
    who.disputed(DisputeStatus.WON)


def dispute_lost(who: Subject) -> None:
    who.decline()
    who.pay()
    who.disputed(DisputeStatus.LOST)


def renewed(who: Subject) -> None:
    who.charged()


def renewal_declined(who: Subject) -> None:
    who.charged(Behaviour.DECLINE)


def renewal_refunded(who: Subject) -> None:
    who.charged()
    who.refunded("4.00")
    who.refunded()


def renewal_disputed(who: Subject) -> None:
    who.charged()
    who.disputed(DisputeStatus.LOST)


KINDS = (
    Kind(1, paid),
    Kind(2, paid_at_second_try),
    Kind(2, refunded),
    Kind(4, refunded_in_parts),
    Kind(3, refunded_a_little),
    Kind(3, dispute_won),
    Kind(4, dispute_lost),
    Kind(1, paid, tries=True),
    Kind(1, renewed, renews=True),
    Kind(1, renewal_declined, renews=True),
    Kind(3, renewal_refunded, renews=True),
    Kind(3, renewal_disputed, renews=True),
)


def _renewals_charged(subjects: Sequence[Subject]) -> None:
    """The intents of all renewals, committed: each charge is on its way."""
    wanted = sum(subject.kind.renews for subject in subjects)
    while wanted:
        with transaction.atomic():
            charges, others = renewals_intend(subscriptions_claim(due=clock.now(), limit=500), now=clock.now())
        assert charges, "everybody who renews is due"
        assert not others
        wanted -= len(charges)


def _moment() -> dict[str, datetime]:
    return {"now": clock.now(), "wall": clock.wall()}


def _told() -> Story:
    """Takes away what the sandbox was going to send."""
    rows = list(SandboxDelivery.objects.order_by("pk"))
    SandboxDelivery.objects.filter(pk__in=[row.pk for row in rows]).delete()
    return [row.body for row in rows]
