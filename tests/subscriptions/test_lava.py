"""Lava renews by itself and tells: what comes before, at and after the end, and what is done when nothing comes."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from payflow.core import clock
from payments.models import PaymentTransaction
from subscriptions.access import has_access
from subscriptions.models import Checkout
from tests.conftest import Api
from tests.factories import PlanFactory
from tests.flows import DAY, START, charges, fresh, invoices, ledger, nothing_changes, periods, refused, steps
from webhooks.models import InboundEvent
from webhooks.services import RETRY_AFTER, inbound_sweep

END = datetime(2040, 2, 29, 10, 0, tzinfo=UTC)
NEXT = datetime(2040, 3, 31, 10, 0, tzinfo=UTC)
HOUR = timedelta(hours=1)


def last_verdict() -> tuple[str, str]:
    event = InboundEvent.objects.latest("pk")
    return event.status, event.error


def test_renewals_that_come_before_at_and_after_the_end_extend_by_one_period_each(shop, user):
    subscription = shop.buy(user, provider="lava")
    april, may = datetime(2040, 4, 30, 10, 0, tzinfo=UTC), datetime(2040, 5, 31, 10, 0, tzinfo=UTC)
    assert fresh(subscription).next_action_at == END + 24 * HOUR

    for moment, end in ((END - DAY, NEXT), (NEXT, april), (april + 23 * HOUR, may)):
        shop.at(moment)
        assert shop.due() == 0  # we charge nobody here
        assert has_access(fresh(subscription), moment)
        shop.lava_renews(subscription)
        assert fresh(subscription).end_date == end

    assert periods(subscription) == [(START, END), (END, NEXT), (NEXT, april), (april, may)]
    row = fresh(subscription)
    assert (row.status, row.anchor, row.next_action_at) == ("active", START, may + DAY)
    assert steps(row) == [("pending", "subscribed"), ("active", "paid")]
    assert charges(row) == [("completed", 1, "")] * 4
    assert ledger() == {"provider_clearing": 40, "revenue": -40}


def test_a_payment_too_early_to_be_a_renewal_is_unapplied(shop, user):
    subscription = shop.buy(user, provider="lava")
    shop.at(START + 14 * DAY)

    shop.lava_renews(subscription)

    assert fresh(subscription).end_date == END
    assert last_verdict() == ("review", "unapplied: too early for a renewal")
    assert ledger() == {"provider_clearing": 20, "revenue": -10, "unapplied_payments": -10}
    # nor does another amount renew
    shop.at(END)
    shop.lava_renews(subscription, amount="9.00")
    assert last_verdict() == ("review", "unapplied: not the amount of the renewal")
    assert (fresh(subscription).end_date, invoices(subscription)) == (END, ["paid"])
    # the right one does
    shop.lava_renews(subscription)
    assert fresh(subscription).end_date == NEXT
    assert ledger() == {"provider_clearing": 39, "revenue": -20, "unapplied_payments": -19}


def test_when_nothing_comes_the_subscriber_is_sent_a_link_and_paying_it_recovers(shop, user):
    subscription = shop.buy(user, provider="lava")
    shop.at(END + 24 * HOUR - timedelta(seconds=1))
    with nothing_changes():
        assert shop.due() == 0

    shop.run(END + 24 * HOUR)

    row = fresh(subscription)
    assert (row.status, row.grace_until, row.end_date) == ("past_due", END + 7 * DAY, END)
    assert steps(row)[-1] == ("past_due", "renewal_not_seen")
    link = Checkout.objects.get(purpose="invoice")
    assert (link.status, link.provider, link.amount) == ("open", "lava", 10)
    assert link.url.startswith(shop.lava.origin)
    assert ledger() == {"provider_clearing": 10, "receivable": 10, "revenue": -20}
    # when it is paid
    shop.at(END + 2 * DAY)
    shop.pay(link)
    row = fresh(row)
    assert (row.status, row.end_date, row.anchor, row.grace_until) == ("active", NEXT, START, None)
    assert (fresh(link).status, invoices(row)) == ("paid", ["paid", "paid"])
    assert ledger() == {"provider_clearing": 20, "revenue": -20}


def test_a_link_paid_with_another_amount_stays_open_for_the_right_one(shop, user):
    subscription = shop.buy(user, provider="lava")
    shop.run(END + 24 * HOUR)
    link = Checkout.objects.get(purpose="invoice")

    shop.lava_invoice(link, amount="4.00")
    shop.drain()

    assert (fresh(link).status, fresh(link).paid_at, fresh(subscription).status) == ("open", None, "past_due")
    assert ledger()["unapplied_payments"] == -4


def test_a_renewal_after_our_fallback_settles_the_open_invoice_month_after_month(shop, user):
    subscription = shop.buy(user, provider="lava")

    for number in (2, 3, 4):
        end = fresh(subscription).end_date
        shop.run(end + DAY)
        assert fresh(subscription).status == "past_due"
        assert Checkout.objects.filter(purpose="invoice", status="open").count() == 1
        shop.at(end + DAY + HOUR)
        shop.lava_renews(subscription)
        row = fresh(subscription)
        assert (row.status, row.current_period_start) == ("active", end)
        assert invoices(row) == ["paid"] * number

    # and the links that nobody needed are open no more
    assert set(Checkout.objects.filter(purpose="invoice").values_list("status", flat=True)) == {"superseded"}
    assert Api().as_user(user).get("/api/v1/subscriptions/me").json()["data"]["checkout"] is None
    assert ledger() == {"provider_clearing": 40, "revenue": -40}
    assert fresh(subscription).anchor == START


def test_a_link_that_expired_is_made_anew_at_the_next_retry(shop, user):
    subscription = shop.buy(user, provider="lava")
    shop.run(END + DAY)
    first = Checkout.objects.get(purpose="invoice")
    assert fresh(subscription).next_action_at == END + 2 * DAY

    shop.run(END + 7 * DAY)
    shop.run(END + 7 * DAY)

    second = Checkout.objects.filter(purpose="invoice").latest("pk")
    assert second.pk != first.pk
    assert (fresh(first).status, second.status, second.invoice) == ("expired", "open", first.invoice)
    # the old one still pays: its money is the invoice's
    shop.pay(first)
    assert (fresh(subscription).status, fresh(first).status, fresh(second).status) == ("active", "paid", "superseded")
    assert ledger() == {"provider_clearing": 20, "revenue": -20}


def test_a_renewal_after_suspension_begins_a_new_period(shop, user):
    subscription = shop.buy(user, provider="lava")
    shop.run(END + DAY)
    for day in (2, 7, 14, 21, 21):
        shop.run(END + day * DAY)
    assert fresh(subscription).status == "suspended"

    back = END + 25 * DAY
    shop.at(back)
    shop.lava_renews(subscription)

    row = fresh(subscription)
    assert (row.status, row.anchor, row.current_period_start) == ("active", back, back)
    assert periods(row)[0] == (START, END)
    assert ledger() == {"provider_clearing": 20, "revenue": -20}


def test_a_renewal_that_failed_at_the_end_asks_at_once_and_survives_lavas_silence(shop, user):
    subscription = shop.buy(user, provider="lava")
    # before the end a failure changes nothing: Lava will try again
    shop.at(END - DAY)
    with nothing_changes():
        shop.lava_renews(subscription, outcome="failed")

    shop.at(END + HOUR)
    shop.lava.fail_creates("500")
    order = f"sub_{subscription.checkouts.get().order_ref}"
    shop.lava.renew(order, outcome="failed")
    assert inbound_sweep(now=shop.now, wall=clock.wall()) == 1

    # then grace has begun, and only the page is missing, as Lava did not answer
    row = fresh(subscription)
    assert (row.status, steps(row)[-1]) == ("past_due", ("past_due", "payment_failed"))
    event, link = InboundEvent.objects.latest("pk"), Checkout.objects.get(purpose="invoice")
    assert (event.status, event.attempts, link.status, link.url) == ("failed", 1, "unknown", "")
    assert event.error.startswith("ProviderUnavailable")
    # when the event's turn comes again
    assert inbound_sweep(now=shop.now, wall=event.next_attempt_at - timedelta(seconds=1)) == 0
    assert inbound_sweep(now=shop.now, wall=event.next_attempt_at) == 1
    event, link = fresh(event), fresh(link)
    assert (event.status, event.attempts, event.error) == ("processed", 2, "")
    assert link.url.startswith(shop.lava.origin)
    assert invoices(subscription) == ["paid", "open"]
    assert RETRY_AFTER[0] == timedelta(seconds=5)
    # and another failure makes no second page
    shop.lava_renews(subscription, outcome="failed")
    assert Checkout.objects.filter(purpose="invoice").count() == 1


def test_cancelling_is_ours_alone_and_a_charge_after_it_is_unapplied(shop, user):
    subscription = shop.buy(user, provider="lava")
    requests = len(shop.lava.requests)

    answer = Api().as_user(user).delete("/api/v1/subscriptions/me")

    assert answer.json()["data"]["cancelled_at"] is not None
    assert len(shop.lava.requests) == requests
    shop.at(END - DAY)
    shop.lava_renews(subscription)
    assert last_verdict() == ("review", "unapplied: the subscription does not renew")
    shop.run(END)
    row = fresh(subscription)
    assert (row.status, row.end_date, invoices(row)) == ("cancelled", END, ["paid"])
    shop.lava_renews(subscription)
    assert last_verdict() == ("review", "unapplied: the subscription is cancelled")
    assert ledger() == {"provider_clearing": 30, "revenue": -10, "unapplied_payments": -20}
    assert fresh(row).status == "cancelled"


def test_lava_has_no_refunds(shop, user, admin):
    subscription = shop.buy(user, provider="lava")
    charge = PaymentTransaction.objects.get()
    client = Api().as_user(admin)

    with nothing_changes():
        answer = client.post(f"/api/v1/payments/{charge.pk}/refund", {"reason": "asked"})
        assert refused(answer, 409, "REFUND_NOT_SUPPORTED") == {"provider": "lava"}
    assert fresh(subscription).status == "active"


def test_cancelling_now_after_an_early_renewal_takes_back_what_lies_ahead(shop, user):
    subscription = shop.buy(user, provider="lava")
    shop.at(END - DAY)
    shop.lava_renews(subscription)
    assert periods(subscription) == [(START, END), (END, NEXT)]

    assert Api().as_user(user).delete("/api/v1/subscriptions/me?when=now").status_code == 200

    row = fresh(subscription)
    assert (row.status, periods(row)) == ("cancelled", [(START, row.end_date)])
    assert ledger() == {"provider_clearing": 20, "revenue": -20}


def test_a_daily_plan_at_lava_is_suspended_when_its_unpaid_day_is_over(shop, user):
    subscription = shop.buy(user, PlanFactory(billing_cycle="daily"), provider="lava")
    end = START + DAY
    shop.at(end + 23 * HOUR)
    assert shop.due() == 0
    assert has_access(fresh(subscription), shop.now)

    # the slack of a day ends where the unpaid day ends
    shop.run(end + DAY)
    assert (fresh(subscription).status, fresh(subscription).grace_until) == ("past_due", end + DAY)
    assert not has_access(fresh(subscription), shop.now)
    shop.run(end + DAY)
    assert fresh(subscription).status == "suspended"
    # and paying the link begins anew
    shop.at(end + 3 * DAY)
    shop.pay(Checkout.objects.get(purpose="invoice"))
    assert periods(subscription) == [(START, end), (end + 3 * DAY, end + 4 * DAY)]
    assert ledger() == {"provider_clearing": 20, "revenue": -20}


def test_webhooks_in_any_order_come_to_the_same_end(shop, user):
    checkout = shop.checkout(user, PlanFactory(), provider="lava")
    shop.lava.hold()
    # given a declined try, a payment, and the renewal's failure after it
    [invoice] = shop.lava.invoices.values()
    shop.lava.decline(invoice.invoice_id)
    shop.lava.pay(invoice.invoice_id)
    shop.lava.renew(invoice.order_id, outcome="failed")

    shop.lava.release(reverse=True)
    shop.drain()

    assert fresh(checkout.subscription).status == "active"
    assert sorted(InboundEvent.objects.values_list("status", flat=True)) == ["processed"] * 3
    # and byte for byte again
    before = InboundEvent.objects.count()
    with nothing_changes():
        shop.lava.repeat(invoice.order_id)
        shop.drain()
    assert InboundEvent.objects.count() == before
    assert ledger() == {"provider_clearing": 10, "revenue": -10}
