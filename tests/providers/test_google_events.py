"""What Google's notifications come to once they are read again at it: the table of providers.md 4.2, in time and out of it."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from decimal import Decimal
from itertools import pairwise

import pytest

from providers.base import EventType, SubStatus, Unavailable
from providers.google.adapter import GoogleProvider
from tests.emulators.google import GoogleEmulator, Product
from tests.providers.google_support import USER, last, money, only, provider, told, types

DAY = timedelta(days=1)
MONTH = timedelta(days=32)
E = EventType


@pytest.fixture
def google() -> Iterator[GoogleEmulator]:
    with GoogleEmulator() as emulator:
        yield emulator


@pytest.fixture
def adapter(google: GoogleEmulator) -> GoogleProvider:
    return provider(google)


def bought(google: GoogleEmulator, *products: Product, **options: object) -> str:
    """A purchase of our user, acknowledged so that it lasts."""
    token = google.purchase(*products, user=USER, **options).token  # type: ignore[arg-type]
    google.purchases[token].acknowledged = True
    return token


# --- the table -------------------------------------------------------------------------------------------------------


def test_a_purchase_is_its_order(google: GoogleEmulator, adapter: GoogleProvider) -> None:
    purchase = google.purchase(Product(price="9.99", currency="USD"), user=USER)
    events = last(google, adapter)
    [order] = purchase.orders
    paid = only(events, E.PAYMENT_SUCCEEDED)

    assert types(events) == ["subscription.created", "subscription.activated", "payment.succeeded"]
    assert (paid.amount, paid.currency, paid.provider_payment_id) == (Decimal("9.99"), "USD", order.order_id)
    assert (paid.period_start, paid.period_end) == (order.starts_at, order.ends_at)
    assert paid.occurred_at == order.processed_at
    for event in events:
        assert (event.provider_sub_id, event.user_ref, event.provider_plan_ref) == (
            purchase.token,
            USER,
            "premium:monthly",
        )
        assert event.unacknowledged
        assert not event.is_trial
        assert not event.is_test
    key = adapter.delivery_key({}, google.pushes.deliveries[-1].body.encode())
    assert [event.event_id for event in events] == [f"{key}#{n}" for n in range(3)]


def test_three_renewals_are_three_payments_and_a_redelivery_is_none(
    google: GoogleEmulator, adapter: GoogleProvider
) -> None:
    token = bought(google)
    first = google.purchases[token].first_order
    keys, ends = [], []
    for _ in range(3):
        google.advance(MONTH)
        events = last(google, adapter)
        assert types(events) == ["payment.succeeded", "subscription.renewed"]
        assert last(google, adapter) == events
        paid = only(events, E.PAYMENT_SUCCEEDED)
        keys.append(paid.provider_payment_id)
        ends.append((paid.period_start, paid.period_end))

    assert keys == [f"{first}..0", f"{first}..1", f"{first}..2"]
    assert ends == [(order.starts_at, order.ends_at) for order in google.purchases[token].orders[1:]]
    assert all(end == start for (_, end), (start, _) in pairwise(ends))


def test_a_late_notice_of_a_renewal_brings_its_order_and_the_newer(
    google: GoogleEmulator, adapter: GoogleProvider
) -> None:
    token = bought(google)
    google.advance(MONTH)
    notice = google.pushes.deliveries[-1]
    google.advance(MONTH)

    first = google.purchases[token].first_order
    assert [key for _, key, _ in money(told(google, adapter, notice))] == [f"{first}..0", f"{first}..1"]


def test_a_trial_is_time_without_money(google: GoogleEmulator, adapter: GoogleProvider) -> None:
    token = bought(google, trial_days=7)
    events = last(google, adapter)
    [order] = google.purchases[token].orders

    assert types(events) == ["subscription.created", "subscription.activated"]
    assert all(
        event.is_trial and (event.period_start, event.period_end) == (order.starts_at, order.ends_at)
        for event in events
    )
    assert adapter.get_subscription(token).status == SubStatus.TRIAL

    google.advance(8 * DAY)
    assert money(last(google, adapter)) == [("payment.succeeded", f"{order.order_id}..0", "9.99")]
    assert adapter.get_subscription(token).status == SubStatus.ACTIVE


def test_cancelled_then_restarted_then_expired(google: GoogleEmulator, adapter: GoogleProvider) -> None:
    token = bought(google)
    end = google.purchases[token].expires_at
    google.cancel(token)
    [event] = last(google, adapter)
    assert (event.type, event.period_end) == (E.SUBSCRIPTION_CANCELED, end)
    assert adapter.get_subscription(token).status == SubStatus.CANCELED
    google.restart(token)
    assert types(last(google, adapter)) == ["subscription.resumed"]
    google.cancel(token)
    google.advance(MONTH)
    [event] = last(google, adapter)
    assert (event.type, event.occurred_at, event.period_end) == (E.SUBSCRIPTION_EXPIRED, end, end)


def test_cancelled_on_hold_is_expired_at_once(google: GoogleEmulator, adapter: GoogleProvider) -> None:
    token = bought(google)
    google.fail(token)
    google.advance(MONTH + 5 * DAY)
    google.cancel(token)
    cancelled, expired = google.pushes.deliveries[-2:]

    assert types(told(google, adapter, cancelled)) == ["subscription.expired"]
    assert types(told(google, adapter, expired)) == ["subscription.expired"]


def test_grace_hold_and_recovery(google: GoogleEmulator, adapter: GoogleProvider) -> None:
    token = bought(google)
    google.fail(token)
    google.advance(MONTH)
    events = last(google, adapter)
    assert types(events) == ["payment.failed", "subscription.grace"]
    assert events[0].provider_payment_id == f"{google.purchases[token].first_order}..0"
    assert (events[0].recoverable, events[0].amount) == (True, None)
    assert events[1].period_end == google.purchases[token].expires_at
    assert adapter.get_subscription(token).status == SubStatus.PAST_DUE

    google.advance(3 * DAY)
    events = last(google, adapter)
    assert types(events) == ["payment.failed", "subscription.on_hold"]
    assert adapter.get_subscription(token).status == SubStatus.ON_HOLD

    google.recover(token)
    events = last(google, adapter)
    assert types(events) == ["payment.succeeded", "subscription.resumed", "subscription.renewed"]
    paid = events[0]
    assert (paid.period_start, paid.period_end) == (
        google.purchases[token].orders[-1].starts_at,
        google.purchases[token].expires_at,
    )


def test_hold_ends(google: GoogleEmulator, adapter: GoogleProvider) -> None:
    token = bought(google)
    google.fail(token)
    google.advance(MONTH + 40 * DAY)

    assert types(last(google, adapter)) == ["subscription.expired"]
    assert adapter.get_subscription(token).status == SubStatus.EXPIRED


def test_pause_and_its_end(google: GoogleEmulator, adapter: GoogleProvider) -> None:
    token = bought(google)
    google.pause(token, days=40)
    assert last(google, adapter) == []
    google.advance(MONTH)
    assert types(last(google, adapter)) == ["subscription.paused"]
    assert adapter.get_subscription(token).status == SubStatus.PAUSED
    google.advance(40 * DAY)
    assert types(last(google, adapter)) == ["payment.succeeded", "subscription.resumed", "subscription.renewed"]


def test_deferred_items_changed_and_instalments(google: GoogleEmulator, adapter: GoogleProvider) -> None:
    token = bought(google)
    google.defer(token, days=10)
    [event] = last(google, adapter)
    assert (event.type, event.period_end) == (E.SUBSCRIPTION_EXTENDED, google.purchases[token].expires_at)
    google.change_items(token, Product("premium", "yearly"))
    [event] = last(google, adapter)
    assert (event.type, event.provider_plan_ref) == (E.SUBSCRIPTION_PLAN_CHANGED, "premium:yearly")
    google.cancel_instalments(token)
    assert types(last(google, adapter)) == ["subscription.canceled"]
    assert adapter.get_subscription(token).auto_renew is False


def test_a_pending_purchase_is_paid_or_given_up(google: GoogleEmulator, adapter: GoogleProvider) -> None:
    paid, given_up = (google.purchase(user=USER, pending=True).token for _ in range(2))
    assert adapter.get_subscription(paid).status == SubStatus.PENDING
    google.settle_pending(paid, paid=True)
    assert types(last(google, adapter)) == ["subscription.created", "subscription.activated", "payment.succeeded"]
    google.settle_pending(given_up, paid=False)
    [event] = last(google, adapter)
    assert (event.type, event.reason, event.recoverable) == (E.PAYMENT_FAILED, "pending_purchase_canceled", False)
    assert adapter.get_subscription(given_up).status == SubStatus.EXPIRED


def test_revoked_and_refunded(google: GoogleEmulator, adapter: GoogleProvider) -> None:
    token = bought(google)
    google.revoke(token)
    revoked, voided = google.pushes.deliveries[-2:]
    [event] = told(google, adapter, voided)
    order = google.purchases[token].orders[-1]

    assert types(told(google, adapter, revoked)) == ["subscription.revoked"]
    assert (event.type, event.amount, event.currency) == (E.PAYMENT_REFUNDED, Decimal("9.99"), "USD")
    assert (event.provider_payment_id, event.parent_payment_id) == (order.order_id, order.order_id)
    assert (event.provider_sub_id, event.user_ref, event.occurred_at) == (token, USER, order.refunded_at)


def test_nobody_acknowledged(google: GoogleEmulator, adapter: GoogleProvider) -> None:
    token = google.purchase(user=USER).token
    google.advance(4 * DAY)

    assert types([e for d in google.pushes.deliveries[-2:] for e in told(google, adapter, d)]) == [
        "subscription.revoked",
        "payment.refunded",
    ]
    assert adapter.get_subscription(token).status == SubStatus.EXPIRED


def test_parts_and_the_rest_are_the_whole(google: GoogleEmulator, adapter: GoogleProvider) -> None:
    token = bought(google)
    order_id = google.purchases[token].orders[-1].order_id
    google.refund_part(order_id, Decimal("3.33"))
    [first] = last(google, adapter)
    google.advance(timedelta(minutes=1))
    google.refund_part(order_id, Decimal("1.11"))
    google.refund(order_id)
    events = last(google, adapter)

    assert events[0].provider_payment_id == first.provider_payment_id
    assert [amount for _, _, amount in money(events)] == ["3.33", "1.11", "5.55"]
    assert len({event.provider_payment_id for event in events}) == 3
    assert {event.parent_payment_id for event in events} == {order_id}


def test_a_review_opens_a_dispute_and_a_chargeback_loses_it(google: GoogleEmulator, adapter: GoogleProvider) -> None:
    token = bought(google)
    order_id = google.purchases[token].orders[-1].order_id
    google.review(order_id)
    [opened] = last(google, adapter)
    google.refund(order_id, chargeback=True)
    [lost] = last(google, adapter)

    assert (opened.type, lost.type) == (E.PAYMENT_DISPUTED, E.PAYMENT_DISPUTE_LOST)
    for event in (opened, lost):
        assert (event.provider_payment_id, event.parent_payment_id) == (f"{order_id}:dispute", order_id)
        assert (event.amount, event.currency, event.provider_sub_id) == (Decimal("9.99"), "USD", token)


@pytest.mark.parametrize(
    ("price", "currency", "amount"),
    [
        ("990", "JPY", "990"),
        ("1.234", "KWD", "1.234"),
        ("0.5", "USD", "0.5"),
        ("100", "USD", "100"),
        ("12345678.99", "IDR", "12345678.99"),
    ],
)
def test_money_is_exact(
    google: GoogleEmulator, adapter: GoogleProvider, price: str, currency: str, amount: str
) -> None:
    bought(google, Product(price=price, currency=currency))
    paid = only(last(google, adapter), E.PAYMENT_SUCCEEDED)

    assert (str(paid.amount), paid.currency) == (amount, currency)


def test_products_bought_together_are_one_plan(google: GoogleEmulator, adapter: GoogleProvider) -> None:
    token = bought(google, Product("premium", "monthly", "9.99"), Product("extra", None, "2.01"))
    paid = only(last(google, adapter), E.PAYMENT_SUCCEEDED)

    assert (paid.amount, paid.provider_plan_ref) == (Decimal(12), "extra+premium:monthly")
    assert adapter.get_subscription(token).provider_plan_ref == "extra+premium:monthly"


def test_a_test_purchase_says_so(google: GoogleEmulator, adapter: GoogleProvider) -> None:
    token = bought(google, test=True)

    assert all(event.is_test for event in last(google, adapter))
    google.revoke(token)
    assert all(event.is_test for d in google.pushes.deliveries[-2:] for event in told(google, adapter, d))
    assert adapter.get_subscription(token).is_test


# --- exchanges -------------------------------------------------------------------------------------------------------


def test_the_newest_of_a_chain_takes_over(google: GoogleEmulator, adapter: GoogleProvider) -> None:
    a = bought(google)
    b = bought(google, Product("premium", "yearly", "99", months=12), replaces=a)
    bought_b, ended_a = google.pushes.deliveries[-2:]
    events = told(google, adapter, bought_b)

    assert {event.replaces for event in events} == {a}
    assert [key for _, key, _ in money(events)] == [google.purchases[b].first_order]
    assert told(google, adapter, ended_a) == []  # b tells it
    c = bought(google, Product("pro"), replaces=b)
    events = told(google, adapter, google.pushes.deliveries[-2])
    # The money of b comes first: its own news may be late.
    assert [(event.provider_sub_id, event.replaces) for event in events] == [(b, a), (c, b), (c, b), (c, b)]
    assert [key for _, key, _ in money(events)] == [google.purchases[b].first_order, google.purchases[c].first_order]


# --- overtaken -------------------------------------------------------------------------------------------------------


def test_a_notice_that_was_overtaken_tells_what_is(google: GoogleEmulator, adapter: GoogleProvider) -> None:
    token = bought(google)
    google.fail(token)
    google.advance(MONTH)
    grace = google.pushes.deliveries[-1]
    google.recover(token)
    events = told(google, adapter, grace)

    assert types(events) == ["payment.succeeded", "payment.succeeded", "subscription.resumed"]
    assert events[1].provider_payment_id == f"{google.purchases[token].first_order}..0"
    assert events[2].occurred_at < google.purchases[token].orders[-1].created_at


def test_a_cancellation_heard_of_after_the_end_does_not_bring_the_end_forward(
    google: GoogleEmulator, adapter: GoogleProvider
) -> None:
    token = bought(google)
    end = google.purchases[token].expires_at
    google.cancel(token)
    notice = google.pushes.deliveries[-1]
    google.advance(MONTH)

    [event] = told(google, adapter, notice)
    assert (event.type, event.occurred_at) == (E.SUBSCRIPTION_EXPIRED, end)


def test_a_purchase_heard_of_after_its_cancellation_is_both(google: GoogleEmulator, adapter: GoogleProvider) -> None:
    token = bought(google)
    notice = google.pushes.deliveries[-1]
    google.cancel(token)

    assert types(told(google, adapter, notice)) == [
        "subscription.created",
        "subscription.activated",
        "payment.succeeded",
        "subscription.canceled",
    ]


def test_an_unknown_state_is_nothing(google: GoogleEmulator, adapter: GoogleProvider) -> None:
    token = bought(google)
    google.advance(MONTH)
    google.purchases[token].state = "SOMETHING_NEW"

    assert adapter.get_subscription(token).status == SubStatus.UNKNOWN
    assert types(last(google, adapter)) == ["payment.succeeded"]


# --- no answer -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("fault", ["500", "429", "timeout", "garbage"])
def test_without_an_answer_nothing_is_known(google: GoogleEmulator, fault: str) -> None:
    adapter = provider(google, answer_seconds=0.3)
    bought(google)
    google.fault("api", fault, times=3, seconds=1)

    with pytest.raises(Unavailable):
        last(google, adapter)
    google.fault("api", None)
    assert len(last(google, adapter)) == 3


def test_an_order_that_is_not_there_yet_is_waited_for(google: GoogleEmulator, adapter: GoogleProvider) -> None:
    token = bought(google)
    order = google.orders.pop(google.purchases[token].first_order)

    with pytest.raises(Unavailable):
        last(google, adapter)
    google.orders[order.order_id] = order
    order.state = "PENDING"
    with pytest.raises(Unavailable):
        last(google, adapter)
