"""What meets a renewal while its charge is under way: another sweep, the provider's own news. One charge, one period."""

from __future__ import annotations

import threading

import pytest
from django.db import transaction

from payflow.core import clock
from payflow.core.models import OutboxEvent
from providers.sandbox.models import SandboxPayment
from subscriptions.locks import subscriptions_claim
from subscriptions.services.collecting import LEASE
from subscriptions.services.renewals import renewals_collect, renewals_intend
from tests.flows import START, charges, fresh, invoices, ledger, nothing_changes, periods
from tests.gateway import while_asked
from tests.subscriptions.february import END, LATER, NEXT, plan, taken


@pytest.fixture
def due(shop, user):
    """29.00 are due now."""
    subscription = shop.buy(user, plan())
    shop.at(END)
    return subscription


def renewed_once(shop, subscription) -> None:
    row = fresh(subscription)
    assert (row.status, row.end_date, row.next_action_at, taken()) == ("active", NEXT, NEXT, [29])
    assert charges(row) == [("completed", 1, ""), ("completed", 1, "")]
    assert (invoices(row), periods(row)) == (["paid", "paid"], [(START, END), (END, NEXT)])
    assert OutboxEvent.objects.filter(type="subscription.renewed").count() == 1
    assert ledger() == {"provider_clearing": 58, "revenue": -58}
    with nothing_changes():
        assert (shop.due(), shop.sweep("payments_charges", later=LATER)) == (0, 0)


@pytest.mark.parametrize("moment", ["before", "after"])
def test_two_sweeps_and_that_of_charges_renew_once(shop, due, moment):
    """The others come when the provider has not heard of the charge yet, or has, and we don't know it."""
    others: list[int] = []
    first = threading.Event()

    def sweep() -> None:
        if not first.is_set():  # what the others send passes here too
            first.set()
            with nothing_changes():
                others.append(shop.due())
            others.append(shop.sweep("payments_charges", later=LATER))

    with while_asked(shop, "/charges", **{moment: sweep}):
        assert shop.due() == 1

    assert others == [0, 1]
    assert SandboxPayment.objects.filter(kind="charge").count() == 1
    shop.drain()
    renewed_once(shop, due)


def test_what_has_no_turn_before_the_lease_ends_is_left_to_the_next_sweep(shop, due):
    with transaction.atomic():
        sent, others = renewals_intend(subscriptions_claim(due=END, limit=5), now=END)
    assert (len(sent), others) == (1, [])

    renewals_collect(sent, now=END, deadline=clock.wall())

    assert (taken(), charges(due)[1:]) == ([], [("pending", 1, "")])
    shop.run(END + LEASE)
    renewed_once(shop, due)


def test_the_news_of_a_renewal_may_arrive_before_its_answer(shop, due):
    with while_asked(shop, "/charges", after=shop.drain):
        assert shop.due() == 1

    renewed_once(shop, due)
