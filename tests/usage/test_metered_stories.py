"""Whatever happens, in whatever order: the usage lines of all invoices are the price of what was used, nothing twice."""

from __future__ import annotations

import threading
from collections import Counter
from datetime import datetime, timedelta
from decimal import Decimal
from random import Random

import pytest
from django.db import connection

from payflow.core import clock
from tests.conftest import Api
from tests.factories import UserFactory
from tests.flows import START, fresh
from tests.usage.metered import TIERS, all_is_billed_once, metered_plan, use
from usage.models import UsageMeter

GRADUATED = {"model": "graduated", "included": 5, "tiers": TIERS}
PACKAGES = {"model": "package", "package_size": 7, "unit_amount": Decimal("1.30"), "included": 3}


class Story:
    """A subscriber who uses, changes plan and sends late; and what of it each plan's cycle must have counted."""

    def __init__(self, shop, user, seed):
        self.shop, self.user, self.random = shop, user, Random(seed)
        self.plans = [metered_plan(GRADUATED), metered_plan(PACKAGES, price=Decimal(20))]
        self.subscription = shop.buy(user, self.plans[0])
        self.had = [(START, self.plans[0])]
        self.cycles = [(START, self.subscription.end_date)]
        self.expected = Counter()

    def lives(self, periods):
        for _ in range(periods):
            start, end = self.cycles[-1]
            for moment in sorted(self.between(start, end) for _ in range(4)):
                self.shop.at(max(moment, clock.now()))
                self.random.choice([self.uses, self.uses, self.comes_late, self.changes])()
            self.shop.run(end)
            self.cycles.append((end, fresh(self.subscription).end_date))

    def uses(self):
        self.logged(clock.now())

    def comes_late(self):
        self.logged(self.between(START, clock.now()))

    def changes(self):
        other = next(plan for plan in self.plans if plan != self.had[-1][1])
        answer = self.shop.change(self.subscription, other, when="now")
        assert answer.status_code == 200, answer.content
        self.had.append((datetime.fromisoformat(answer.json()["data"]["change"]["effective_at"]), other))

    def logged(self, at):
        quantity = self.random.randint(1, 60)
        use(self.user, quantity, at=at, event_id=f"e-{self.random.random()}")
        plan = [plan for since, plan in self.had if since <= at][-1]
        cycle = next(start for start, end in self.cycles if start <= at < end)
        self.expected[plan.pk, cycle] += quantity

    def between(self, start, end):
        return start + (end - start) * self.random.random()


@pytest.mark.parametrize("seed", [3, 8])
def test_a_random_life_is_billed_to_the_unit(shop, user, seed):
    story = Story(shop, user, seed)

    story.lives(periods=5)
    address = f"/api/v1/subscriptions/{story.subscription.pk}?when=now"
    assert Api().as_user(user).delete(address).status_code == 200
    shop.sweep("usage_invoices")

    meters = UsageMeter.objects.select_related("price")
    assert {(row.price.plan_id, row.period_start): row.used for row in meters} == story.expected
    assert len(story.had) > 1, "some of it was a change of plan"
    assert all_is_billed_once(story.subscription)


def test_who_uses_while_it_is_billed_is_billed_for_all_of_it_once(shop, user):
    subscription, other = shop.buy(user, metered_plan()), UserFactory()
    second = shop.buy(other, metered_plan())
    end = fresh(second).end_date
    late = end - timedelta(hours=1)
    faults = []

    def log():
        try:
            for _ in range(15):
                use(user, at=late)
                use(other, at=late)
        except Exception as error:  # noqa: BLE001 - whatever it is, it is shown
            faults.append(error)
        finally:
            connection.close()

    threads = [threading.Thread(target=log) for _ in range(3)]
    for thread in threads:
        thread.start()
    shop.run(end)
    for thread in threads:
        thread.join()
    shop.run(fresh(second).end_date)

    assert faults == []
    assert [row.used for row in UsageMeter.objects.all()] == [45, 45]
    assert all_is_billed_once(subscription)
    assert all_is_billed_once(second)
