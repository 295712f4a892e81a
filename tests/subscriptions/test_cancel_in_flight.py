"""A cancellation that meets a renewal whose charge is intended: nobody is charged for what he cancelled before it left."""

from __future__ import annotations

import pytest

from providers.sandbox.models import SandboxDelivery
from subscriptions.services.due import LEASE
from tests.conftest import Api
from tests.flows import START as BOUGHT
from tests.flows import charges, fresh, invoices, ledger, periods, steps
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
