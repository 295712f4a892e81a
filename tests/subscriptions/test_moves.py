"""From one provider to another: the next period is paid at the new one, on the same subscription. Two sandboxes, real HTTP."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from decimal import Decimal

import pytest
from django.core import mail

from payflow.core import clock
from payflow.core.errors import InvalidTransition, ValidationFailed
from payflow.core.models import AuditEntry, OutboxEvent
from payments.models import Invoice, PaymentTransaction
from plans.models import Coupon
from providers.base import EventType
from subscriptions.billing import Source
from subscriptions.models import Checkout, ProviderCommand, ProviderMove, ProviderMoveMember, Status, Subscription
from subscriptions.services.move_rules import candidates, provider_default, slot
from subscriptions.services.moves import (
    Progress,
    move_end,
    move_pause,
    move_progress,
    move_resume,
    move_start,
    move_widen,
)
from subscriptions.services.provider_events import provider_event_apply
from tests.conftest import Api
from tests.factories import PlanFactory, UserFactory
from tests.flows import DAY, START, charges, credit, deliver_sandbox, fresh, give_credit, ledger, periods
from tests.providers.sandbox_support import OTHER_KEY, OTHER_SECRET, at_once, config
from tests.subscriptions.store_world import news, paid, state

pytestmark = pytest.mark.django_db(transaction=True)

END = datetime(2040, 2, 29, 10, 0, tzinfo=UTC)
NEXT = datetime(2040, 3, 31, 10, 0, tzinfo=UTC)
AFTER = datetime(2040, 4, 30, 10, 0, tzinfo=UTC)


@pytest.fixture
def plan(shop):
    return PlanFactory(price=Decimal("29.00"))


@pytest.fixture(autouse=True)
def second(shop, settings):
    """Another account of the sandbox, side by side with the first."""
    other = config(f"{shop.url}/sandbox", api_key=OTHER_KEY, webhook_secret=OTHER_SECRET)
    settings.PAYFLOW_PROVIDERS = {**settings.PAYFLOW_PROVIDERS, "second": other}


def start(shop, *, source="sandbox", target="second", percent=100, days_before=3) -> ProviderMove:
    return move_start(
        from_provider=source,
        to_provider=target,
        percent=percent,
        days_before=days_before,
        actor="test",
        now=shop.now,
    )


def sweep(shop) -> None:
    """All that there is to do, as beat would until there is nothing left; and the mail."""
    while shop.sweep("provider_moves"):
        pass
    shop.drain()


def invited(shop, user, plan, **how) -> tuple[Subscription, Checkout]:
    """Bought for 29.00 at the first provider, and standing with a link three days before the period ends."""
    subscription = shop.buy(user, plan, **how.pop("buy", {}))
    start(shop, **how)
    shop.at(END - 3 * DAY)
    sweep(shop)
    return fresh(subscription), member_of(subscription).checkout


def member_of(subscription) -> ProviderMoveMember:
    return ProviderMoveMember.objects.select_related("checkout").get(subscription=subscription)


def refunds() -> list[tuple[str, str, Decimal]]:
    rows = PaymentTransaction.objects.filter(type="refund").order_by("pk")
    return list(rows.values_list("provider", "status", "amount"))


# --- paid ------------------------------------------------------------------------------------------------------------


def test_what_is_paid_is_the_next_period_of_the_same_subscription(shop, user, plan):
    subscription, link = invited(shop, user, plan)
    old_method = subscription.payment_method
    assert (link.provider, link.purpose, link.status, link.amount) == ("second", "move", "open", 29)
    assert (subscription.provider, subscription.end_date) == ("sandbox", END)

    shop.pay(link)

    row = fresh(subscription)
    assert (row.status, row.provider, row.end_date) == (Status.ACTIVE, "second", NEXT)
    assert periods(row) == [(START, END), (END, NEXT)]
    assert row.periods.order_by("-start").first().source == Source.CHECKOUT
    assert row.payment_method.provider == "second"
    assert row.payment_method != old_method
    newest = row.invoices.order_by("-pk").first()
    assert (newest.status, newest.reason, newest.period_start, newest.period_end) == ("paid", "cycle", END, NEXT)
    member = member_of(row)
    assert (member.status, member.moved_at, fresh(link).status) == ("moved", shop.now, "paid")
    assert AuditEntry.objects.get(action="subscription.move_provider").subject_id == row.pk
    assert OutboxEvent.objects.filter(type="subscription.moved", subject_id=row.pk).count() == 1
    # the old provider is not asked for the period that was paid, and the new one is for the one after it
    shop.run(END)
    assert charges(row) == [("completed", 1, ""), ("completed", 1, "")]
    shop.run(NEXT)
    assert (fresh(row).end_date, fresh(row).status) == (AFTER, Status.ACTIVE)
    by_provider = PaymentTransaction.objects.filter(type="charge").order_by("pk").values_list("provider", flat=True)
    assert list(by_provider) == ["sandbox", "second", "second"]
    assert ledger() == {"provider_clearing": 87, "revenue": -87}


def test_the_subscriber_is_told_once_and_sees_the_link(shop, user, plan):
    _, link = invited(shop, user, plan)

    letters = [letter for letter in mail.outbox if "Second" in letter.subject]
    assert len(letters) == 1
    assert link.url in letters[0].body
    sweep(shop)
    assert len([letter for letter in mail.outbox if "Second" in letter.subject]) == 1
    shown = Api().as_user(user).get("/api/v1/subscriptions/me").json()["data"]
    assert (shown["move_checkout"]["url"], shown["checkout"]) == (link.url, None)
    client = Api()
    client.force_login(user)
    page = client.get("/account").content.decode()
    assert link.url in page
    assert "Pay the next period" in page
    shop.pay(link)
    assert Api().as_user(user).get("/api/v1/subscriptions/me").json()["data"]["move_checkout"] is None


def test_the_same_link_paid_twice_is_given_back_once(shop, user, plan):
    subscription, link = invited(shop, user, plan)
    shop.pay(link)
    paid_again = {
        "id": "evt_again",
        "type": "payment.succeeded",
        "created_at": clock.wall().isoformat(),
        "data": {"payment_id": "pay_again", "order_ref": link.order_ref, "amount": "29.00", "currency": "USD"},
    }

    assert deliver_sandbox(json.dumps(paid_again).encode(), secret=OTHER_SECRET, path="second").status_code == 200
    shop.drain()

    assert periods(fresh(subscription)) == [(START, END), (END, NEXT)]
    again = PaymentTransaction.objects.get(provider_txn_id="pay_again")
    assert (again.invoice, again.reason) == (None, "the order is already paid")
    assert ledger() == {"provider_clearing": 87, "revenue": -58, "unapplied_payments": -29}


def test_a_coupon_tax_and_credit_are_those_of_a_renewal(shop, user, plan):
    Coupon.objects.create(code="HALF", kind="percent", percent=Decimal(50), duration="forever")
    subscription = shop.buy(user, plan, coupon="HALF")
    give_credit(user, "4.00")
    start(shop)
    shop.at(END - 3 * DAY)
    sweep(shop)
    link = member_of(subscription).checkout
    assert (link.amount, credit(user)) == (Decimal("10.50"), 0)

    shop.pay(link)

    lines = fresh(subscription).invoices.order_by("-pk").first().lines.order_by("position")
    assert [(line.kind, line.amount) for line in lines] == [
        ("plan", Decimal("29.00")),
        ("discount", Decimal("-14.50")),
        ("credit", Decimal("-4.00")),
    ]


# --- not paid --------------------------------------------------------------------------------------------------------


def test_who_does_not_pay_renews_where_he_was_and_gets_another_link(shop, user, plan):
    subscription, link = invited(shop, user, plan)

    shop.run(END)
    sweep(shop)

    row = fresh(subscription)
    assert (row.provider, row.status, row.end_date) == ("sandbox", Status.ACTIVE, NEXT)
    assert (fresh(link).status, fresh(link.invoice).status) == ("expired", "void")
    assert member_of(row).status == "left"
    shop.at(NEXT - 3 * DAY)
    sweep(shop)
    again = member_of(row)
    assert (again.status, again.period_start) == ("invited", NEXT)
    assert again.checkout.pk != link.pk
    shop.pay(again.checkout)
    assert (fresh(row).provider, fresh(row).end_date) == ("second", AFTER)


def test_credit_that_a_link_held_pays_the_old_renewal(shop, user, plan):
    subscription = shop.buy(user, plan)
    give_credit(user, "9.00")
    start(shop)
    shop.at(END - 3 * DAY)
    sweep(shop)
    assert credit(user) == 0

    shop.run(END)

    row = fresh(subscription)
    assert (row.provider, row.end_date, credit(user)) == ("sandbox", NEXT, 0)
    assert row.invoices.order_by("-pk").first().total == 20


def test_paid_late_is_unapplied_and_refunded(shop, user, plan):
    subscription, link = invited(shop, user, plan)
    shop.run(END)
    assert fresh(subscription).end_date == NEXT

    shop.pay(link)
    shop.sweep("payments_unapplied")
    shop.drain()

    row = fresh(subscription)
    assert (row.provider, row.end_date, row.status) == ("sandbox", NEXT, Status.ACTIVE)
    assert refunds() == [("second", "completed", 29)]
    assert ledger() == {"provider_clearing": 58, "revenue": -58}


@pytest.mark.parametrize("what", ["cancel", "change", "pause"])
def test_what_becomes_something_else_does_not_move(shop, user, plan, what):
    subscription, link = invited(shop, user, plan)
    bigger = PlanFactory(price=Decimal("58.00"))
    match what:
        case "cancel":
            assert Api().as_user(user).delete(f"/api/v1/subscriptions/{subscription.pk}").status_code == 200
        case "change":
            assert shop.change(subscription, bigger, when="period_end").status_code == 200
        case "pause":
            assert shop.post(subscription, "pause").status_code == 200
    assert (fresh(link).status, fresh(link.invoice).status) == ("expired", "void")

    shop.pay(link)
    shop.sweep("payments_unapplied")
    shop.drain()

    assert fresh(subscription).provider == "sandbox"
    assert refunds() == [("second", "completed", 29)]
    assert member_of(subscription).status == "left"


# --- the old provider charges all the same ---------------------------------------------------------------------------


def test_from_lava_a_charge_after_the_move_becomes_unapplied(shop, user, plan):
    """Lava renews by itself and has no call to stop it, nor one to refund: what it takes is credit."""
    subscription = shop.buy(user, plan, provider="lava")
    start(shop, source="lava", target="sandbox")
    shop.at(END - 3 * DAY)
    sweep(shop)
    shop.pay(member_of(subscription).checkout)
    row = fresh(subscription)
    assert (row.provider, row.end_date, row.payment_method.provider) == ("sandbox", NEXT, "sandbox")

    shop.at(END)
    shop.lava_renews(subscription)
    shop.sweep("payments_unapplied")

    assert periods(fresh(subscription)) == [(START, END), (END, NEXT)]
    extra = PaymentTransaction.objects.get(provider="lava", invoice=None)
    assert extra.reason == "the subscription is at another provider"
    assert credit(user) == 29


def test_a_failed_charge_of_the_old_provider_changes_nothing(shop, user, plan):
    """Not even where the new one could not charge either: it does not ask again for that."""
    subscription = shop.buy(user, plan, provider="lava")
    start(shop, source="lava", target="sandbox")
    shop.at(END - 3 * DAY)
    sweep(shop)
    shop.pay(member_of(subscription).checkout)
    shop.card(subscription, "decline")
    shop.run(NEXT)
    assert fresh(subscription).status == Status.PAST_DUE

    shop.lava_renews(subscription, outcome="failed")

    assert fresh(subscription).provider == "sandbox"
    assert not Checkout.objects.filter(purpose=Checkout.Purpose.INVOICE).exists()


def test_the_old_provider_is_told_and_what_it_charges_all_the_same_is_credit(shop, user, books, plans):
    """It sets prices and periods: money for the time before the move is booked, for the time after it is unapplied."""
    begins = [START, END, NEXT]
    first = paid(user, begins[0], begins[1])
    provider_event_apply(event=first, now=shop.now)
    subscription = Subscription.objects.get(user=user)
    start(shop, source="store")
    shop.at(END - 3 * DAY)
    sweep(shop)
    shop.pay(member_of(subscription).checkout)
    row = fresh(subscription)
    assert (row.provider, row.provider_sub_id, row.end_date) == ("second", None, NEXT)
    command = ProviderCommand.objects.get(kind="cancel")
    assert (command.provider, command.provider_sub_id, command.deadline) == ("store", "sub-1", END)

    # the subscriber stops and goes on at the new provider: the old one hears what it has to hear all the same
    assert Api().as_user(user).delete(f"/api/v1/subscriptions/{row.pk}").status_code == 200
    books.states["sub-1"] = state()
    shop.sweep("provider_commands")
    assert (books.calls, fresh(command).status) == ([("cancel", "sub-1")], "confirmed")

    provider_event_apply(event=paid(user, begins[1], begins[2]), now=END)
    shop.sweep("payments_unapplied")
    assert periods(fresh(row)) == [(START, END), (END, NEXT)]
    assert PaymentTransaction.objects.get(provider="store", invoice=None).amount == Decimal("4.99")
    assert credit(user) == Decimal("4.99")
    # news of the purchase that was left changes nothing
    provider_event_apply(event=news(user, EventType.SUBSCRIPTION_EXPIRED, END), now=END)
    assert fresh(row).status == Status.ACTIVE


def test_a_charge_at_the_old_provider_without_an_answer_comes_first(shop, user, plan):
    subscription, link = invited(shop, user, plan)
    shop.card(subscription, "timeout")
    shop.at(END)
    shop.due()
    assert charges(subscription)[-1][0] == "pending"

    shop.pay(link)
    shop.sweep("payments_charges", later=DAY)
    shop.sweep("payments_unapplied")
    shop.drain()

    row = fresh(subscription)
    assert (row.provider, row.end_date) == ("sandbox", NEXT)
    assert [status for status, _, _ in charges(row)].count("completed") == 2
    assert refunds() == [("second", "completed", 29)]


def test_to_a_provider_that_renews_by_itself(shop, user, plan):
    """What it charges a month after the payment, three days before the period ends, is the next renewal."""
    subscription = shop.buy(user, plan)
    start(shop, target="lava")
    shop.at(END - 3 * DAY)
    sweep(shop)
    link = member_of(subscription).checkout
    shop.pay(link)
    row = fresh(subscription)
    assert (row.provider, row.end_date, row.payment_method) == ("lava", NEXT, None)
    shop.run(END)
    assert charges(row) == [("completed", 1, ""), ("completed", 1, "")]

    shop.at(NEXT - 3 * DAY)
    shop.lava.renew(f"sub_{link.order_ref}")
    shop.drain()

    assert periods(fresh(row)) == [(START, END), (END, NEXT), (NEXT, AFTER)]
    assert PaymentTransaction.objects.filter(type="charge", provider="sandbox").count() == 1


# --- the operator ----------------------------------------------------------------------------------------------------


def test_paused_nobody_else_is_invited_and_links_stay_good(shop, user, plan):
    invited(shop, user, plan)
    other = shop.buy(UserFactory(), plan, provider="sandbox")
    move = ProviderMove.objects.get()
    move_pause(move_id=move.pk, actor="test")

    shop.at(fresh(other).end_date - 3 * DAY - DAY)
    sweep(shop)
    assert ProviderMoveMember.objects.count() == 1
    assert provider_default(user.pk, "USD") == "sandbox"
    move_resume(move_id=move.pk, actor="test")
    shop.at(fresh(other).end_date - 3 * DAY)
    sweep(shop)
    assert member_of(other).status == "invited"


def test_a_link_of_a_paused_move_is_paid_and_one_of_an_ended_is_given_back(shop, plan):
    ann, bob = UserFactory(), UserFactory()
    first, last = shop.buy(ann, plan), shop.buy(bob, plan)
    move = start(shop)
    shop.at(END - 3 * DAY)
    sweep(shop)
    move_pause(move_id=move.pk, actor="test")
    shop.pay(member_of(first).checkout)
    assert fresh(first).provider == "second"
    link = member_of(last).checkout

    move_end(move_id=move.pk, actor="test", now=shop.now)
    sweep(shop)
    shop.pay(link)
    shop.sweep("payments_unapplied")
    shop.drain()

    assert (fresh(last).provider, member_of(last).status, member_of(last).reason) == (
        "sandbox",
        "left",
        "the move was ended",
    )
    assert refunds() == [("second", "completed", 29)]
    assert move_progress(fresh(move), now=shop.now) == Progress(0, 0, 1, 1, 0)


def test_a_share_is_the_same_in_python_and_in_the_database(shop, plan):
    rows = [shop.buy(UserFactory(), plan) for _ in range(6)]
    move = start(shop, percent=1)

    for percent in range(2, 101, 7):
        move_widen(move_id=move.pk, percent=percent, actor="test")
        found = set(candidates(fresh(move), now=shop.now).values_list("pk", flat=True))
        assert found == {row.pk for row in rows if slot(row.pk) < percent}


def test_new_subscribers_of_the_share_begin_at_the_new_provider(shop, plan):
    users = [UserFactory() for _ in range(4)]
    move = start(shop, percent=max(1, slot(users[0].pk)))

    for user in users:
        expected = "second" if slot(user.pk) < move.percent else "sandbox"
        assert shop.checkout(user, plan).provider == expected
        assert shop.checkout(user, plan).subscription.checkouts.count() == 1  # resumed, not begun again
    named = UserFactory()
    assert shop.checkout(named, plan, provider="sandbox").provider == "sandbox"


def test_two_sweeps_at_once_make_one_link(shop, user, plan):
    subscription = shop.buy(user, plan)
    start(shop)
    shop.at(END - 3 * DAY)

    at_once(lambda: shop.sweep("provider_moves"), 2)
    sweep(shop)

    assert Checkout.objects.filter(purpose="move").count() == 1
    assert OutboxEvent.objects.filter(type="subscription.move_offered").count() == 1
    assert Invoice.objects.filter(subscription=subscription, status="draft").count() == 1


def test_a_provider_without_an_answer_is_asked_again_under_the_same_key(shop, user, plan, settings):
    subscription = shop.buy(user, plan)
    start(shop)
    shop.at(END - 3 * DAY)
    reachable = settings.PAYFLOW_PROVIDERS
    settings.PAYFLOW_PROVIDERS = {
        **reachable,
        "second": config("http://127.0.0.1:9/sandbox", api_key=OTHER_KEY, webhook_secret=OTHER_SECRET),
    }
    sweep(shop)
    waiting = member_of(subscription)
    assert (waiting.status, waiting.checkout.url, waiting.reason) == (
        "preparing",
        "",
        "the new provider made no page",
    )

    settings.PAYFLOW_PROVIDERS = reachable
    shop.sweep("provider_moves", later=DAY / 24)

    done = member_of(subscription)
    assert (done.status, done.checkout_id, done.reason) == ("invited", waiting.checkout_id, "")
    assert done.checkout.url


def test_a_page_that_was_never_made_has_failed_when_the_period_ends(shop, user, plan, settings):
    subscription = shop.buy(user, plan)
    move = start(shop)
    settings.PAYFLOW_PROVIDERS = {
        **settings.PAYFLOW_PROVIDERS,
        "second": config("http://127.0.0.1:9/sandbox", api_key=OTHER_KEY, webhook_secret=OTHER_SECRET),
    }
    shop.at(END - 3 * DAY)
    sweep(shop)

    shop.run(END)
    sweep(shop)

    assert (fresh(subscription).end_date, member_of(subscription).status) == (NEXT, "failed")
    assert move_progress(move, now=shop.now) == Progress(0, 0, 0, 0, 1)


def test_a_page_is_made_anew_before_it_closes_and_nobody_is_told_twice(shop, user, plan):
    subscription, link = invited(shop, user, plan)

    shop.sweep("provider_moves", later=DAY)
    shop.drain()

    fresh_page = member_of(subscription).checkout
    assert fresh_page.pk != link.pk
    assert fresh_page.url not in ("", link.url)
    assert (fresh(link).status, fresh_page.invoice_id) == ("superseded", link.invoice_id)
    assert OutboxEvent.objects.filter(type="subscription.move_offered").count() == 1
    # who still pays on the page before has paid all the same
    shop.pay(fresh(link))
    assert fresh(subscription).provider == "second"
    assert (fresh(link).status, fresh(fresh_page).status) == ("paid", "superseded")
    shop.pay(fresh_page)
    shop.sweep("payments_unapplied")
    shop.drain()
    assert refunds() == [("second", "completed", 29)]
    assert fresh(subscription).end_date == NEXT


@pytest.mark.parametrize("state", ["cancelled", "no renewal", "past_due"])
def test_who_does_not_run_on_is_not_invited(shop, user, plan, state):
    subscription = shop.buy(user, plan)
    start(shop)
    url = f"/api/v1/subscriptions/{subscription.pk}"
    match state:
        case "cancelled":
            assert Api().as_user(user).delete(url).status_code == 200
        case "no renewal":
            assert Api().as_user(user).put(url, {"auto_renew": False}).status_code == 200
        case "past_due":
            shop.card(subscription, "decline")
            shop.run(END)
            assert fresh(subscription).status == Status.PAST_DUE
    if state != "past_due":
        shop.at(END - 3 * DAY)

    sweep(shop)

    assert not ProviderMoveMember.objects.exists()


def test_a_planned_change_is_left_to_the_old_provider_first(shop, user, plan):
    subscription = shop.buy(user, plan)
    start(shop)
    assert shop.change(subscription, PlanFactory(price=Decimal("58.00")), when="period_end").status_code == 200
    shop.at(END - 3 * DAY)

    sweep(shop)

    left = member_of(subscription)
    assert (left.status, left.reason, left.checkout) == ("left", "a change of it is planned", None)
    shop.run(END)
    shop.at(NEXT - 3 * DAY)
    sweep(shop)
    assert (member_of(subscription).status, member_of(subscription).checkout.amount) == ("invited", 58)


# --- what cannot be --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("terms", "field"),
    [
        ({"target": "nowhere"}, "to_provider"),
        ({"target": "sandbox"}, "to_provider"),
        ({"target": "store"}, "to_provider"),
        ({"percent": 0}, "percent"),
        ({"percent": 101}, "percent"),
        ({"days_before": 0}, "days_before"),
        ({"days_before": 31}, "days_before"),
    ],
)
def test_terms_that_move_nobody_are_refused(shop, books, terms, field):
    with pytest.raises(ValidationFailed) as refusal:
        start(shop, **terms)
    assert set(refusal.value.details) == {field}
    assert not ProviderMove.objects.exists()


def test_one_move_away_from_a_provider_and_none_that_goes_round(shop):
    start(shop)
    for terms in (
        {},
        {"target": "lava"},
        {"source": "second", "target": "sandbox"},
        {"source": "lava", "target": "sandbox"},
    ):
        with pytest.raises(ValidationFailed):
            start(shop, **terms)


def test_an_ended_move_stays_ended(shop):
    move = start(shop)
    move_end(move_id=move.pk, actor="test", now=shop.now)

    for act in (
        lambda: move_resume(move_id=move.pk, actor="test"),
        lambda: move_pause(move_id=move.pk, actor="test"),
        lambda: move_widen(move_id=move.pk, percent=100, actor="test"),
    ):
        with pytest.raises(InvalidTransition):
            act()
    actions = AuditEntry.objects.order_by("pk").values_list("action", flat=True)
    assert list(actions) == ["provider_move.start", "provider_move.end"]
