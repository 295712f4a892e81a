"""A cancellation that meets a renewal whose charge is intended: nobody is charged for what he cancelled before it left."""

from __future__ import annotations

import threading
from datetime import timedelta

import pytest
from django.db import transaction

from providers.base import Provider
from providers.sandbox.models import SandboxDelivery
from subscriptions.billing import Source, bill_cycle
from subscriptions.locks import subscription_lock
from subscriptions.models import Subscription
from subscriptions.services.collecting import collect
from subscriptions.services.due import LEASE
from tests.conftest import Api
from tests.factories import UserFactory
from tests.flows import START as BOUGHT
from tests.flows import charges, fresh, invoices, ledger, paid, periods, steps
from tests.gateway import while_asked
from tests.subscriptions.february import END, LATER, NEXT, TENTH, plan, taken

WISHES = ["cancelled", "not renewed"]


def ends(subscription, wish: str) -> None:
    client, url = Api().as_user(subscription.user), f"/api/v1/subscriptions/{subscription.pk}"
    answer = client.delete(url) if wish == "cancelled" else client.put(url, {"auto_renew": False})
    assert answer.status_code == 200, answer.content


@pytest.mark.parametrize("asked_by", ["subscriptions_due", "payments_charges"])
@pytest.mark.parametrize("wish", WISHES)
def test_a_charge_that_never_left_is_not_sent_any_more(shop, user, wish, asked_by):
    subscription = shop.buy(user, plan())
    shop.unreachable()
    shop.run(END)
    assert charges(subscription)[1:] == [("pending", 1, "")]
    ends(subscription, wish)

    shop.reachable()
    shop.at(END + LEASE)
    assert shop.sweep(asked_by, later=LATER) == 1
    shop.run(END + 2 * LEASE)

    row = fresh(subscription)
    assert (row.status, row.end_date, taken()) == ("cancelled" if wish == "cancelled" else "expired", END, [])
    assert charges(row)[1:] == [("failed", 1, "not_wanted")]
    assert (invoices(row), periods(row)) == (["paid", "void"], [(BOUGHT, END)])
    assert ledger() == {"provider_clearing": 29, "revenue": -29}


def test_a_charge_of_a_set_whose_turn_has_not_come_is_not_sent(shop):
    """The sweep has committed the charges of a whole set; who cancels while others are asked for theirs is left out."""
    members = [_member(shop, BOUGHT + timedelta(seconds=n)) for n in range(Provider.calls_at_once + 2)]
    cancels, resigns = members[-2:]
    once, done = threading.Lock(), []

    def wishes() -> None:
        with once:
            if not done:
                ends(cancels, "cancelled")
                ends(resigns, "not renewed")
                done.append(True)

    due = shop.at(fresh(members[-1]).end_date)
    with while_asked(shop, "/charges", before=wishes) as asked:
        assert shop.due() == len(members)
    assert len(asked) == Provider.calls_at_once

    shop.run(due + LEASE)
    assert taken() == [29] * Provider.calls_at_once
    for row, end in ((cancels, "cancelled"), (resigns, "expired")):
        assert (fresh(row).status, invoices(row), len(periods(row))) == (end, ["paid", "void"], 1)
        assert charges(row)[1:] == [("failed", 1, "not_wanted")]
    assert all(fresh(row).end_date > due for row in members[:-2])


@pytest.mark.parametrize("wish", [*WISHES, "cancelled and over"])
def test_a_charge_by_itself_is_not_sent_after_the_wish(shop, user, wish):
    """Between the commit of one renewal and its call; by the sending itself, or after somebody has closed it already."""
    subscription = shop.buy(user, plan())
    now = shop.at(END)
    with transaction.atomic():
        row = subscription_lock(subscription.pk)
        errand = collect(row, bill_cycle(row, source=Source.RENEWAL, at=now), now=now)
    ends(subscription, "not renewed" if wish == "not renewed" else "cancelled")
    if wish == "cancelled and over":
        assert shop.sweep("payments_charges", later=LATER) == 1

    assert errand is not None
    errand()

    assert (taken(), charges(subscription)[1:]) == ([], [("failed", 1, "not_wanted")])
    shop.run(END + LEASE)
    assert fresh(subscription).status == ("expired" if wish == "not renewed" else "cancelled")
    assert (invoices(subscription), periods(subscription)) == (["paid", "void"], [(BOUGHT, END)])
    assert ledger() == {"provider_clearing": 29, "revenue": -29}


@pytest.mark.parametrize("wish", WISHES)
def test_a_charge_that_had_left_stands(shop, user, wish):
    """The provider took the money before the wish came: the period is paid, and the last."""
    subscription = shop.buy(user, plan())
    shop.card(subscription, "timeout")
    shop.at(END)
    shop.due()
    assert charges(subscription)[1:] == [("pending", 1, "")]
    ends(subscription, wish)
    SandboxDelivery.objects.filter(status="pending").delete()  # its news is lost

    shop.run(END + LEASE)

    row = fresh(subscription)
    assert (row.status, row.end_date, taken()) == ("active", NEXT, [29])
    assert periods(row) == [(BOUGHT, END), (END, NEXT)]
    shop.run(NEXT)
    assert (fresh(row).status, taken()) == ("cancelled" if wish == "cancelled" else "expired", [29])
    assert ledger() == {"provider_clearing": 58, "revenue": -58}


def test_a_renewal_that_is_wanted_again_is_charged(shop, user):
    subscription = shop.buy(user, plan())
    shop.unreachable()
    shop.run(END)
    ends(subscription, "not renewed")
    client, url = Api().as_user(user), f"/api/v1/subscriptions/{subscription.pk}"
    assert client.put(url, {"auto_renew": True}).status_code == 200

    shop.reachable()
    shop.run(END + LEASE)

    assert (fresh(subscription).end_date, taken()) == (NEXT, [29])


def test_a_resume_that_is_not_wanted_any_more_is_not_charged(shop, user):
    subscription = shop.buy(user, plan())
    shop.at(TENTH)
    assert shop.post(subscription, "pause").status_code == 200
    give_back = ledger()
    shop.at(END)
    shop.unreachable()
    assert shop.post(subscription, "resume").status_code == 200
    ends(subscription, "not renewed")

    shop.reachable()
    assert shop.sweep("payments_charges", later=LATER) == 1

    row = fresh(subscription)
    assert (row.status, taken(), invoices(row)) == ("paused", [], ["paid", "void"])
    assert ledger() == give_back
    assert steps(row)[-1] == ("paused", "paused")


def _member(shop, at) -> Subscription:
    """Somebody whose first month is paid, and whose stored card the sandbox knows."""
    user = UserFactory()
    subscription, _ = paid(user, plan(), at=at)
    Subscription.objects.filter(pk=subscription.pk).update(payment_method=shop.second_card(user))
    return fresh(subscription)
