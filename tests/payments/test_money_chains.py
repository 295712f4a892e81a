"""Any chain of paying, pausing, resuming, changing and refunding: nobody has money, credit or time twice, or loses any.

Each plan is bought for cycles of 29 days at a whole price a day, so that what is lived has an exact value.
"""

from __future__ import annotations

from decimal import Decimal
from random import Random

import pytest

from payments.models import CreditGrant, PaymentTransaction
from payments.services.refunds import refund_create
from subscriptions.models import Status, Subscription
from tests.depth import depth
from tests.factories import PlanFactory
from tests.flows import DAY, START, credit, fresh

STEPS = 10
#: Price a day and the smallest amount.
CURRENCIES = {"JPY": ("10", "1"), "USD": ("1.00", "0.01"), "KWD": ("0.250", "0.001")}


class Chain:
    """A customer who does something every few days, and what he has lived at the prices of the plans."""

    def __init__(self, shop, user, currency: str, seed: int) -> None:
        self.shop, self.user, self.currency, self.random = shop, user, currency, Random(seed)
        self.a_day, self.cent = map(Decimal, CURRENCIES[currency])
        self.rates = [self.a_day, 2 * self.a_day]
        self.plans = [
            PlanFactory(price=29 * rate, currency=currency, code=f"plan-{number}")
            for number, rate in enumerate(self.rates)
        ]
        self.lived = Decimal(0)
        self.day = 0
        self.row: Subscription = shop.buy(user, self.plans[0])

    def step(self) -> str:
        self._live(self.random.randrange(4))
        self.row = fresh(self.row)
        wishes = {Status.ACTIVE: ["pause", "change", "refund"], Status.PAUSED: ["resume", "resume", "refund"]}
        wish = self.random.choice(wishes.get(Status(self.row.status), ["buy"]))
        getattr(self, wish)()
        self.row = fresh(self.row)
        return wish

    def _live(self, days: int) -> None:
        self.day = min(self.day + days, 27)
        moment = START + self.day * DAY
        if fresh(self.row).status == Status.ACTIVE:
            self.lived += self._rate() * (moment - self.shop.now).days
        self.shop.at(moment)

    def _rate(self) -> Decimal:
        return self.rates[self.plans.index(fresh(self.row).plan)]

    def pause(self) -> None:
        assert self.shop.post(self.row, "pause").status_code == 200

    def resume(self) -> None:
        assert self.shop.post(self.row, "resume").status_code == 200

    def change(self) -> None:
        other = self.plans[1 - self.plans.index(self.row.plan)]
        assert self.shop.change(self.row, other, when="now").status_code == 200

    def buy(self) -> None:
        self.row = self.shop.buy(self.user, self.random.choice(self.plans))

    def refund(self) -> None:
        left = [each for each in self._charges() if each.refunded_amount < each.amount]
        if left:
            charge = self.random.choice(left)
            rest = charge.amount - charge.refunded_amount
            part = (rest * self.random.randrange(1, 9) / 8 // self.cent) * self.cent
            amount = self.random.choice([None, max(part, self.cent)])
            refund_create(charge_id=charge.pk, amount=amount, reason="asked", actor="test", at=self.shop.now)

    def _charges(self) -> list[PaymentTransaction]:
        return list(PaymentTransaction.objects.filter(type="charge", user=self.user).order_by("pk"))

    def check(self, told: list[str]) -> None:
        paid = sum(charge.amount for charge in self._charges())
        back = sum(charge.refunded_amount for charge in self._charges())
        has = credit(self.user, self.currency)
        rounding = self.cent * (CreditGrant.objects.count() + len(self._charges()))
        # A refund gives lived time back first: it and that overlap, credit with neither.
        assert has + max(back, self.lived) <= paid + rounding, (told, paid, back, has, self.lived)
        running = Decimal(0)
        if self.row.status == Status.ACTIVE:
            running = self._rate() * (self.row.end_date - self.shop.now).days
        assert paid - back - has <= self.lived + running + rounding, (told, paid, back, has, self.lived, running)


@pytest.mark.deep
@pytest.mark.parametrize("currency", CURRENCIES)
@pytest.mark.parametrize("seed", range(depth(sample=1, full=6)))
def test_nobody_has_anything_twice(shop, user, currency, seed):
    chain, told = Chain(shop, user, currency, seed), []
    for _ in range(STEPS):
        told.append(chain.step())
        chain.check(told)
    # all that was paid goes back: nothing is left of it
    for charge in PaymentTransaction.objects.filter(type="charge").order_by("?"):
        if fresh(charge).refunded_amount < charge.amount:
            refund_create(charge_id=charge.pk, amount=None, reason="all", actor="test", at=shop.now)
    assert credit(user, currency) == 0
