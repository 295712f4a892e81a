"""Stripe in billing mode over real HTTP: a subscription's life as the webhooks tell it, its calls, its records."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest

from providers import base
from providers.base import ChangeRequest, EventType, ProviderEvent, SubStatus
from providers.stripe.state import state_of
from tests.providers.stripe_support import MONTH_END, World, sub_request, subscription, world

EPOCH = datetime(2020, 1, 1, tzinfo=UTC)
DAY = timedelta(days=1)


@pytest.fixture(params=["2026-10-28.endive", "2017-08-15"])
def shop(request: pytest.FixtureRequest) -> Iterator[World]:
    with world(mode="billing", api_version=request.param) as found:
        yield found


@pytest.fixture
def now_shop() -> Iterator[World]:
    with world(mode="billing") as found:
        yield found


def started(shop: World, **changes: object) -> str:
    """A subscription that was bought; its deliveries are taken."""
    told = shop.buy(provider_plan_ref=shop.price(), **changes)
    return next(event.provider_sub_id for event in told if event.provider_sub_id) or ""


def behave(shop: World, behaviour: str) -> None:
    for method in shop.stripe.store.of("payment_method"):
        shop.stripe.do(shop.stripe.payments.set_behaviour, method["id"], behaviour)


def money(events: list[ProviderEvent]) -> set[tuple[object, ...]]:
    """What moved, once however often it was told."""
    kinds = (EventType.PAYMENT_SUCCEEDED, EventType.PAYMENT_REFUNDED, EventType.PAYMENT_DISPUTED)
    return {
        (e.type, e.provider_payment_id, e.parent_payment_id, e.amount, e.period_start, e.period_end)
        for e in events
        if e.type in kinds
    }


def last_state(events: list[ProviderEvent]) -> EventType:
    return [event for event in events if event.type.startswith("subscription.")][-1].type


def change(provider_sub_id: str, price: str, *, now: bool, key: str = "change_1") -> ChangeRequest:
    return ChangeRequest(provider_sub_id, "pro", price, Decimal("14.99"), "USD", (1, "monthly"), now, key)


# --- a life ------------------------------------------------------------------------------------------------------------


def test_a_plan_without_a_price_at_stripe_is_refused_before_any_call(now_shop: World) -> None:
    with pytest.raises(base.RequestRefused, match="provider reference"):
        now_shop.provider.create_subscription(sub_request())

    assert not now_shop.stripe.requests


def test_a_purchase_says_whose_it_is_and_what_it_cost(shop: World) -> None:
    price = shop.price()

    told = shop.buy(provider_plan_ref=price)

    assert {event.order_ref for event in told} == {"order_1"}
    assert {event.user_ref for event in told} == {"user_123"}
    assert len({event.provider_sub_id for event in told}) == 1
    [(type_, invoice, _, amount, start, end)] = money(told)
    assert (type_, amount) == (EventType.PAYMENT_SUCCEEDED, Decimal("6.99"))
    assert str(invoice).startswith("in_")
    assert isinstance(start, datetime) and isinstance(end, datetime) and 28 * DAY <= end - start <= 31 * DAY
    assert {e.provider_plan_ref for e in told if e.type is EventType.PAYMENT_SUCCEEDED} == {price}
    assert EventType.SUBSCRIPTION_ACTIVATED in {event.type for event in told}


def test_renewals_follow_each_other_without_gap(shop: World) -> None:
    told = shop.buy(provider_plan_ref=shop.price())
    shop.advance(93)

    periods = sorted((start, end) for *_, start, end in money([*told, *shop.events()]))

    assert len(periods) == 4
    assert [end for _, end in periods[:-1]] == [start for start, _ in periods[1:]]


def test_a_trial_takes_no_money_until_it_ends(shop: World) -> None:
    told = shop.buy(provider_plan_ref=shop.price(), trial_days=7)

    assert money(told) == set()
    [active] = [event for event in told if event.type is EventType.SUBSCRIPTION_ACTIVATED]
    assert active.is_trial and active.period_end is not None
    assert shop.provider.get_subscription(active.provider_sub_id or "").status is SubStatus.TRIAL
    shop.advance(8)
    told = shop.events()
    [(_, _, _, amount, start, _)] = money(told)
    assert (amount, start) == (Decimal("6.99"), active.period_end)
    assert last_state(told) in (EventType.SUBSCRIPTION_ACTIVATED, EventType.SUBSCRIPTION_RENEWED)


def test_a_failed_renewal_is_grace_and_its_recovery_is_told(shop: World) -> None:
    sub = started(shop)
    behave(shop, "insufficient_funds")
    shop.advance(32)
    failed = shop.events()
    state = shop.provider.get_subscription(sub)
    behave(shop, "ok")
    shop.advance(4)
    recovered = shop.events()

    assert {event.type for event in failed} == {EventType.PAYMENT_FAILED, EventType.SUBSCRIPTION_GRACE}
    assert (state.status, state.period_end) == (SubStatus.PAST_DUE, None)
    assert len(money(recovered)) == 1
    assert last_state(recovered) is EventType.SUBSCRIPTION_ACTIVATED
    assert shop.provider.get_subscription(sub).status is SubStatus.ACTIVE


@pytest.mark.parametrize(
    ("ends", "last", "status"),
    [
        ("canceled", EventType.SUBSCRIPTION_EXPIRED, SubStatus.EXPIRED),
        ("unpaid", EventType.SUBSCRIPTION_ON_HOLD, SubStatus.ON_HOLD),
    ],
)
def test_dunning_ends_as_the_account_says(shop: World, ends: str, last: EventType, status: SubStatus) -> None:
    sub = started(shop)
    shop.stripe.billing.gives_up_with = ends
    behave(shop, "stolen_card")
    shop.advance(50)

    told = shop.events()

    assert len([event for event in told if event.type is EventType.PAYMENT_FAILED]) == 4
    assert last_state(told) is last
    assert shop.provider.get_subscription(sub).status is status
    assert money(told) == set()


def test_a_renewal_that_asks_for_the_payer_is_a_failed_payment(now_shop: World) -> None:
    started(now_shop)
    behave(now_shop, "authentication_required")
    now_shop.advance(32)

    [failed] = [event for event in now_shop.events() if event.type is EventType.PAYMENT_FAILED]
    assert (failed.reason, failed.recoverable) == ("requires_action", True)


@pytest.mark.parametrize(("currency", "minor", "major"), [("jpy", 700, "700"), ("kwd", 1230, "1.230")])
def test_other_currencies(shop: World, currency: str, minor: int, major: str) -> None:
    told = shop.buy(provider_plan_ref=shop.price(minor, currency))

    assert {(event.amount, event.currency) for event in told if event.amount} == {(Decimal(major), currency.upper())}


# --- calls -------------------------------------------------------------------------------------------------------------


def test_a_cancellation_at_the_periods_end_can_be_taken_back(shop: World) -> None:
    sub = started(shop)

    canceled = shop.provider.cancel_subscription(sub, idempotency_key="c1")
    again = shop.provider.cancel_subscription(sub, idempotency_key="c2")
    resumed = shop.provider.resume_subscription(sub, idempotency_key="r1")

    assert canceled.status is again.status is SubStatus.CANCELED
    assert canceled.auto_renew is False
    assert canceled.period_end is not None and canceled.period_end == resumed.period_end
    assert (resumed.status, resumed.auto_renew) == (SubStatus.ACTIVE, True)
    assert [event.type for event in shop.events()] == [EventType.SUBSCRIPTION_CANCELED, EventType.SUBSCRIPTION_RESUMED]


def test_a_cancelled_subscription_ends_with_its_period(shop: World) -> None:
    sub = started(shop)
    end = shop.provider.cancel_subscription(sub, idempotency_key="c1").period_end
    shop.events()
    shop.advance(40)

    [ended] = shop.events()
    assert (ended.type, ended.period_end) == (EventType.SUBSCRIPTION_EXPIRED, end)
    assert shop.provider.cancel_subscription(sub, idempotency_key="c2").status is SubStatus.CANCELED
    with pytest.raises(base.RequestRefused):
        shop.provider.resume_subscription(sub, idempotency_key="r1")


def test_what_stripe_does_not_know_is_cancelled_but_not_shown(now_shop: World) -> None:
    assert now_shop.provider.cancel_subscription("sub_none", idempotency_key="c").status is SubStatus.CANCELED
    assert now_shop.provider.cancel_subscription("sub_none", at_period_end=False).status is SubStatus.CANCELED
    for call in (now_shop.provider.get_subscription, now_shop.provider.resume_subscription):
        with pytest.raises(base.UnknownReference):
            call("sub_none")


def test_a_cancellation_that_nobody_answered_is_unknown(now_shop: World) -> None:
    sub = started(now_shop)
    now_shop.stripe.fail("500_after", path="/v1/subscriptions")

    with pytest.raises(base.Unavailable):
        now_shop.provider.cancel_subscription(sub, idempotency_key="c")

    assert now_shop.provider.cancel_subscription(sub, idempotency_key="c").status is SubStatus.CANCELED


def test_a_pause_takes_no_money(shop: World) -> None:
    sub = started(shop)

    paused = shop.provider.pause_subscription(sub, idempotency_key="p1")
    shop.advance(32)
    told = shop.events()
    resumed = shop.provider.resume_subscription(sub, idempotency_key="r1")

    assert (paused.status, resumed.status) == (SubStatus.PAUSED, SubStatus.ACTIVE)
    assert last_state(told) is EventType.SUBSCRIPTION_PAUSED
    assert money(told) == set()
    assert last_state(shop.events()) is EventType.SUBSCRIPTION_RESUMED


def test_a_change_now_is_settled_at_once(shop: World) -> None:
    sub, dear = started(shop), shop.price(1499)

    state = shop.provider.change_subscription(change(sub, dear, now=True))

    assert state.provider_plan_ref == dear
    told = shop.events()
    [(_, _, _, amount, _, _)] = money(told)
    assert isinstance(amount, Decimal) and Decimal("7.90") < amount <= Decimal("8.00")
    [changed] = [event for event in told if event.type is EventType.SUBSCRIPTION_PLAN_CHANGED]
    assert changed.provider_plan_ref == dear
    calls = len(shop.stripe.requests)
    again = shop.provider.change_subscription(change(sub, dear, now=True))
    assert replace(again, as_of=state.as_of) == state
    assert {r.method for r in list(shop.stripe.requests)[calls:]} == {"GET"}


def test_a_change_whose_payment_is_declined_changes_nothing(now_shop: World) -> None:
    sub, dear = started(now_shop), now_shop.price(1499)
    before = now_shop.provider.get_subscription(sub).provider_plan_ref
    behave(now_shop, "insufficient_funds")

    with pytest.raises(base.RequestRefused):
        now_shop.provider.change_subscription(change(sub, dear, now=True))

    assert now_shop.provider.get_subscription(sub).provider_plan_ref == before
    assert now_shop.events() == []


def test_a_change_from_the_next_renewal_costs_nothing_now(shop: World) -> None:
    sub, cheap, yearly = started(shop), shop.price(299), shop.price(5999, interval="year")

    shop.provider.change_subscription(change(sub, cheap, now=False))
    assert money(shop.events()) == set()
    shop.advance(32)
    assert {amount for _, _, _, amount, _, _ in money(shop.events())} == {Decimal("2.99")}

    with pytest.raises(base.RequestRefused, match="cycle"):
        shop.provider.change_subscription(change(sub, yearly, now=False, key="change_2"))


def test_an_invoice_is_refunded_by_what_paid_it(shop: World) -> None:
    told = shop.buy(provider_plan_ref=shop.price())
    [(_, invoice, *_)] = money(told)

    def refund(amount: str | None, key: str) -> base.RefundResult:
        return shop.provider.refund(
            provider_txn_id=str(invoice),
            amount=Decimal(amount) if amount else None,
            currency="USD",
            reason="duplicate",
            idempotency_key=key,
        )

    part = refund("2", "part")
    assert refund("2", "part") == part
    rest = refund(None, "rest")
    with pytest.raises(base.RequestRefused):
        refund("0.01", "more")
    assert {(payment, parent, amount) for _, payment, parent, amount, _, _ in money(shop.events())} == {
        (part.provider_refund_id, invoice, Decimal("2.00")),
        (rest.provider_refund_id, invoice, Decimal("4.99")),
    }


# --- records -----------------------------------------------------------------------------------------------------------


def test_records_give_what_the_deliveries_gave(shop: World) -> None:
    told = shop.buy(provider_plan_ref=shop.price())
    sub = told[0].provider_sub_id or ""
    shop.advance(32)
    [payment] = {e.provider_payment_id for e in told if e.type is EventType.PAYMENT_SUCCEEDED}
    shop.provider.refund(
        provider_txn_id=str(payment), amount=Decimal(1), currency="USD", reason="", idempotency_key="r"
    )
    for intent in [p["payment"]["payment_intent"] for p in shop.stripe.store.of("invoice_payment")][-1:]:
        shop.stripe.do(shop.stripe.payments.dispute, intent)
    shop.provider.cancel_subscription(sub, idempotency_key="c")
    told += shop.events()

    fetched = shop.provider.fetch_events(sub, since=EPOCH)
    missed = list(shop.provider.missed_events(since=EPOCH, until=datetime.now(UTC) + 90 * DAY))

    assert money(fetched) == money(missed) == money(told)
    assert len(money(told)) == 4
    assert fetched[-1].type is last_state(told) is EventType.SUBSCRIPTION_CANCELED
    assert fetched[-1].period_end == shop.provider.get_subscription(sub).period_end
    times = [event.occurred_at for event in fetched]
    assert times == sorted(times)
    assert {event.event_id for event in missed} <= {event.event_id for event in told}
    assert money(shop.provider.fetch_events(sub, since=fetched[-1].occurred_at)) == set()


def test_what_moved_without_webhooks_is_found(shop: World) -> None:
    sub = started(shop)
    since = datetime.now(UTC)
    shop.stripe.deliveries.hold()
    behave(shop, "insufficient_funds")
    shop.advance(32)
    shop.stripe.deliveries.drop()

    fetched = shop.provider.fetch_events(sub, since=since)

    assert [event.type for event in fetched] == [
        EventType.PAYMENT_FAILED,
        EventType.SUBSCRIPTION_GRACE,
        EventType.SUBSCRIPTION_GRACE,
    ]
    assert shop.events() == []


def test_the_records_of_an_unknown_subscription_are_unknown(now_shop: World) -> None:
    with pytest.raises(base.UnknownReference):
        now_shop.provider.fetch_events("sub_none", since=EPOCH)


def test_an_active_one_that_is_paused_or_ending_is_that() -> None:
    assert state_of(subscription(pause_collection={"behavior": "void"})).status is SubStatus.PAUSED
    assert state_of(subscription(cancel_at_period_end=True)).status is SubStatus.CANCELED
    assert state_of(subscription(cancel_at=int((MONTH_END + DAY).timestamp()))).status is SubStatus.ACTIVE
