"""What a chargeback does to access and to charging, as the settings say; and that it ends with the dispute."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest

from payments.models import PaymentTransaction
from subscriptions.access import has_access
from subscriptions.services.pauses import subscription_pause
from tests.conftest import Api
from tests.flows import DAY, START, charges, fresh, invoices, ledger, nothing_changes, periods, steps
from tests.gateway import while_asked

END = datetime(2040, 2, 29, 10, 0, tzinfo=UTC)
NEXT = datetime(2040, 3, 31, 10, 0, tzinfo=UTC)
HOUR = timedelta(hours=1)
PAID = ("completed", 1, "")


def the_charge() -> PaymentTransaction:
    return PaymentTransaction.objects.filter(type="charge").latest("pk")


def days(shop, since: datetime, until: datetime) -> None:
    """Lives from `since` to `until`, a day at a time."""
    while since < until:
        since = min(since + DAY, until)
        shop.run(since)


# --- while it is open ------------------------------------------------------------------------------------------------


def test_an_open_dispute_leaves_what_is_paid_and_charges_nothing_more(shop, user):
    subscription = shop.buy(user)
    shop.at(START + 5 * DAY)

    shop.dispute(the_charge())

    row = fresh(subscription)
    assert (row.status, row.disputed_at, row.end_date) == ("active", START + 5 * DAY, END)
    assert has_access(row, END - HOUR)
    assert not has_access(row, END)  # no slack for a renewal that doesn't come
    days(shop, START + 5 * DAY, END + 3 * DAY)
    assert charges(row) == [PAID]
    assert steps(row)[-1] == ("expired", "not_renewed")
    assert ledger() == {"provider_clearing": 10, "revenue": -10}


def test_an_open_dispute_stops_the_retries_and_a_won_one_takes_them_up_again(shop, user):
    subscription = shop.buy(user, card="decline")
    first = the_charge()
    shop.run(END)
    assert fresh(subscription).status == "past_due"

    dispute = shop.dispute(first)

    days(shop, END, END + 6 * DAY)
    row = fresh(subscription)
    assert (row.status, charges(row)[1:]) == ("past_due", [("failed", 1, "insufficient_funds")])
    assert has_access(row, END + 6 * DAY)
    shop.card(row, "ok")
    shop.dispute_ends(dispute, "won")
    shop.run(END + 6 * DAY + HOUR)
    row = fresh(row)
    assert (row.status, row.end_date, row.disputed_at) == ("active", NEXT, None)
    assert charges(row)[-1] == ("completed", 2, "")


def test_dunning_ends_without_a_charge_while_the_dispute_is_open(shop, user):
    subscription = shop.buy(user, card="decline")
    first = the_charge()
    shop.run(END)
    shop.dispute(first)

    days(shop, END, END + 40 * DAY)

    row = fresh(subscription)
    assert steps(row)[-2:] == [("suspended", "dunning_ended"), ("cancelled", "unpaid")]
    assert len(charges(row)) == 2
    assert invoices(row) == ["paid", "uncollectible"]


def test_a_renewal_that_was_under_way_is_kept_and_is_the_last_one(shop, user):
    subscription = shop.buy(user)
    first = the_charge()
    shop.at(END)

    with while_asked(shop, "/charges", before=lambda: shop.dispute(first)) as asked:
        shop.due()
        shop.drain()

    assert len(asked) == 1
    row = fresh(subscription)
    assert (row.status, row.end_date, row.disputed_at) == ("active", NEXT, END)
    assert (charges(row), periods(row)) == ([PAID, PAID], [(START, END), (END, NEXT)])
    shop.run(NEXT)
    assert (fresh(row).status, len(charges(row))) == ("expired", 2)


def test_a_paused_subscription_is_not_resumed_at_its_owners_cost_while_the_dispute_is_open(shop, user):
    subscription = shop.buy(user)
    paused = START + 5 * DAY
    shop.at(paused)
    subscription_pause(subscription_id=subscription.pk, resumes_at=START + 20 * DAY, actor="test", now=paused)
    dispute = shop.dispute(the_charge())

    days(shop, START + 5 * DAY, START + 25 * DAY)

    assert (fresh(subscription).status, invoices(subscription)) == ("paused", ["paid"])
    shop.dispute_ends(dispute, "won")
    shop.run(START + 25 * DAY + HOUR)
    # the credit of the pause pays for the rest of the period
    assert (fresh(subscription).status, invoices(subscription)) == ("active", ["paid", "paid"])


def test_suspended_by_a_dispute_nobody_is_let_in_nor_charged(shop, user, settings):
    settings.CHARGEBACK_OPENED = "suspend"
    subscription = shop.buy(user)
    shop.at(START + 5 * DAY)

    shop.dispute(the_charge())

    row = fresh(subscription)
    assert (row.status, row.disputed_at, row.suspended_at) == ("suspended", START + 5 * DAY, None)
    assert not has_access(row, START + 5 * DAY)
    assert steps(row)[-1] == ("suspended", "disputed")
    with nothing_changes():
        for day in (END, END + 40 * DAY, END + 100 * DAY):  # longer than any timer of ours
            shop.run(day)


@pytest.mark.parametrize("ended", [None, "lost", "won"])
def test_where_nothing_is_to_happen_nothing_does(shop, user, settings, ended):
    settings.CHARGEBACK_OPENED = settings.CHARGEBACK_LOST = "nothing"
    subscription = shop.buy(user)
    before = fresh(subscription)

    dispute = shop.dispute(the_charge())
    if ended:
        shop.dispute_ends(dispute, ended)

    row = fresh(subscription)
    assert (row.status, row.disputed_at, row.end_date, row.updated_at) == ("active", None, END, before.updated_at)
    shop.run(END)
    assert (fresh(row).end_date, charges(row)) == (NEXT, [PAID, PAID])


# --- won -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("opened", ["stop_charging", "suspend"])
def test_a_won_dispute_lets_in_again_and_then_it_renews(shop, user, settings, opened):
    settings.CHARGEBACK_OPENED = opened
    subscription = shop.buy(user)
    dispute = shop.dispute(the_charge())
    won = START + 10 * DAY
    shop.at(won)

    shop.dispute_ends(dispute, "won")

    row = fresh(subscription)
    assert (row.status, row.disputed_at, row.end_date, row.next_action_at) == ("active", None, END, END)
    assert has_access(row, won)
    shop.run(END)
    assert (fresh(row).end_date, charges(row)) == (NEXT, [PAID, PAID])
    assert periods(row) == [(START, END), (END, NEXT)]
    # ten days in which he was shut out paid for a part of it
    paid = {"stop_charging": Decimal(20), "suspend": 20 - Decimal("3.45")}[opened]
    assert ledger() == {"provider_clearing": paid, "revenue": -paid}


def test_won_after_the_paid_time_a_new_period_begins_and_the_time_between_is_not_billed(shop, user, settings):
    settings.CHARGEBACK_OPENED = "suspend"
    subscription = shop.buy(user)
    dispute = shop.dispute(the_charge())
    won = END + 70 * DAY
    days(shop, END - DAY, won)
    assert charges(subscription) == [PAID]

    shop.dispute_ends(dispute, "won")

    shop.run(won + HOUR)
    row = fresh(subscription)
    assert (row.status, row.anchor, row.current_period_start) == ("active", won, won)
    # what he had paid for, and was shut out of, pays for it
    assert (charges(row), invoices(row)) == ([PAID], ["paid", "paid"])
    assert periods(row) == [(START, END), (won, row.end_date)]
    assert row.end_date == datetime(2040, 6, 9, 10, 0, tzinfo=UTC)
    assert has_access(row, won + HOUR)
    shop.run(won + 2 * HOUR)
    assert len(invoices(row)) == 2


def test_won_where_it_had_been_cancelled_meanwhile_nothing_is_charged(shop, user, settings):
    settings.CHARGEBACK_OPENED = "suspend"
    subscription = shop.buy(user)
    assert Api().as_user(user).put(f"/api/v1/subscriptions/{subscription.pk}", {"auto_renew": False}).status_code == 200
    dispute = shop.dispute(the_charge())
    shop.run(END + 10 * DAY)

    shop.dispute_ends(dispute, "won")

    shop.run(END + 10 * DAY + HOUR)
    assert (fresh(subscription).status, charges(subscription)) == ("expired", [PAID])
    assert fresh(subscription).end_date == END


@pytest.mark.parametrize(("later", "status"), [(5 * DAY, "active"), (60 * DAY, "suspended")])
def test_won_where_a_renewal_was_unpaid_it_is_asked_for_while_its_period_lasts(shop, user, settings, later, status):
    settings.CHARGEBACK_OPENED = "suspend"
    subscription = shop.buy(user, card="decline")
    first = the_charge()
    shop.run(END)
    dispute = shop.dispute(first)
    shop.card(subscription, "ok")
    assert fresh(subscription).status == "suspended"
    won = END + later
    days(shop, END, won)
    assert len(charges(subscription)) == 2

    shop.dispute_ends(dispute, "won")

    shop.run(won + HOUR)
    row = fresh(subscription)
    assert (row.status, row.disputed_at) == (status, None)
    if status == "active":
        assert (row.end_date, charges(row)[-1]) == (NEXT, ("completed", 2, ""))
    else:
        # the period to be paid is over: it waits for its payment as after any dunning, and is given up as that is
        assert (row.suspended_at, row.next_action_at, len(charges(row))) == (won, won + 30 * DAY, 2)
        answer = Api().as_user(user).post(f"/api/v1/subscriptions/{row.pk}/retry-payment")
        assert answer.status_code == 200, answer.content
        assert (fresh(row).status, fresh(row).anchor >= won) == ("active", True)


def test_what_dunning_had_suspended_stays_so_when_the_dispute_is_won(shop, user, settings):
    settings.CHARGEBACK_OPENED = "suspend"
    subscription = shop.buy(user, card="stolen")
    first = the_charge()
    shop.run(END)
    shop.run(END + 7 * DAY)
    row = fresh(subscription)
    assert (row.status, row.suspended_at) == ("suspended", END + 7 * DAY)

    dispute = shop.dispute(first)
    shop.dispute_ends(dispute, "won")

    row = fresh(row)
    assert (row.status, row.suspended_at, row.disputed_at) == ("suspended", END + 7 * DAY, None)


# --- lost ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("opened", ["stop_charging", "suspend", "nothing"])
def test_a_lost_dispute_ends_access_now(shop, user, settings, opened):
    settings.CHARGEBACK_OPENED = opened
    subscription = shop.buy(user)
    dispute = shop.dispute(the_charge())
    lost = START + 10 * DAY
    shop.at(lost)

    shop.dispute_ends(dispute, "lost")

    row = fresh(subscription)
    assert (row.status, row.end_date, row.disputed_at, row.next_action_at) == ("cancelled", lost, None, None)
    assert steps(row)[-1] == ("cancelled", "chargeback_lost")
    assert not has_access(row, lost)
    assert periods(row) == [(START, lost)]
    assert ledger() == {"chargebacks": 10, "revenue": -10}
    with nothing_changes():
        shop.run(END + DAY)


@pytest.mark.parametrize("opened", ["stop_charging", "suspend", "nothing"])
def test_a_lost_dispute_that_is_to_change_nothing_lets_it_go_on(shop, user, settings, opened):
    settings.CHARGEBACK_OPENED, settings.CHARGEBACK_LOST = opened, "nothing"
    subscription = shop.buy(user)
    dispute = shop.dispute(the_charge())

    shop.dispute_ends(dispute, "lost")

    row = fresh(subscription)
    assert (row.status, row.disputed_at, row.end_date) == ("active", None, END)
    shop.run(END)
    assert (fresh(row).end_date, charges(row)) == (NEXT, [PAID, PAID])
    assert ledger() == {"chargebacks": 10, "provider_clearing": 10, "revenue": -20}


def test_a_lost_dispute_of_an_earlier_period_ends_the_present_one(shop, user):
    """Who took one payment back takes the next one back too."""
    subscription = shop.buy(user)
    first = the_charge()
    shop.run(END)

    shop.dispute_ends(shop.dispute(first), "lost")

    assert (fresh(subscription).status, fresh(first).status) == ("cancelled", "completed")


# --- which subscription, which dispute -------------------------------------------------------------------------------


def test_while_one_of_two_disputes_is_open_nothing_is_charged(shop, user, settings):
    settings.CHARGEBACK_OPENED = "suspend"
    subscription = shop.buy(user)
    first = the_charge()
    shop.run(END)
    one = shop.dispute(first)
    shop.at(END + DAY)
    two = shop.dispute(the_charge())
    assert fresh(subscription).disputed_at == END  # since the first

    shop.dispute_ends(one, "won")

    row = fresh(subscription)
    assert (row.status, row.disputed_at) == ("suspended", END)
    shop.dispute_ends(two, "won")
    row = fresh(subscription)
    assert (row.status, row.disputed_at, row.end_date) == ("active", None, NEXT)


def test_a_dispute_of_money_that_was_never_applied_is_no_matter_of_the_subscription(shop, user, settings):
    settings.CHARGEBACK_OPENED = "suspend"
    subscription = shop.buy(user)
    order = subscription.checkouts.get().order_ref
    shop.sandbox_event("payment.succeeded", payment_id="pay_2", order_ref=order, amount="10.00", currency="USD")

    for type_ in ("payment.disputed", "payment.dispute_lost"):
        shop.sandbox_event(type_, payment_id="pay_2", dispute_id="dp_2", amount="10.00", currency="USD")

    assert fresh(subscription) == subscription
    assert (fresh(subscription).status, fresh(subscription).disputed_at) == ("active", None)
    assert ledger() == {"provider_clearing": 10, "revenue": -10}


@pytest.mark.parametrize("outcome", ["won", "lost"])
def test_the_mark_of_a_dispute_goes_with_it_from_what_has_ended_too(shop, user, outcome):
    subscription = shop.buy(user)
    dispute = shop.dispute(the_charge())
    assert Api().as_user(user).delete(f"/api/v1/subscriptions/{subscription.pk}?when=now").status_code == 200
    assert fresh(subscription).disputed_at is not None

    shop.dispute_ends(dispute, outcome)

    row = fresh(subscription)
    assert (row.status, row.disputed_at) == ("cancelled", None)
    assert steps(row)[-1] == ("cancelled", "cancelled")


def test_whoever_comes_back_after_a_lost_dispute_buys_anew(shop, user):
    old = shop.buy(user)
    shop.dispute_ends(shop.dispute(the_charge()), "lost")

    new = shop.buy(user)

    assert (fresh(old).status, new.status, new.disputed_at) == ("cancelled", "active", None)


# --- refunds ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("full", ["cancel", "nothing"])
@pytest.mark.parametrize("partial", ["cancel", "nothing"])
def test_what_a_refund_does_to_access_is_set(shop, user, settings, full, partial):
    settings.FULL_REFUND, settings.PARTIAL_REFUND = full, partial
    subscription = shop.buy(user)
    shop.at(START + 10 * DAY)

    shop.refund(the_charge(), amount="4.00")

    ended = ("cancelled", START + 10 * DAY)
    expected = ended if partial == "cancel" else ("active", END)
    assert (fresh(subscription).status, fresh(subscription).end_date) == expected
    shop.refund(the_charge(), amount="6.00")
    if "cancel" in (full, partial):
        expected = ended
    assert (fresh(subscription).status, fresh(subscription).end_date) == expected
    assert ledger() == {"refunds": 10, "revenue": -10}
    if expected != ended:
        assert has_access(fresh(subscription), END - HOUR)
        shop.run(END)
        assert fresh(subscription).end_date == NEXT
