"""Stripe in payments mode over real HTTP: Checkout, for a payment, for a method alone, for one invoice."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from providers import base
from providers.base import EventType, Outcome
from tests.emulators.stripe import read_form
from tests.providers.stripe_support import (
    World,
    charge_request,
    link_request,
    sub_request,
    world,
)


@pytest.fixture(scope="module")
def running() -> Iterator[World]:
    with world() as found:
        yield found


@pytest.fixture
def shop(running: World) -> World:
    return running.cleared()


def today() -> datetime:
    return datetime.now(UTC)


def test_a_page_is_open_for_a_day(shop: World) -> None:
    result = shop.provider.create_subscription(sub_request())

    assert str(result.checkout_url).startswith(f"{shop.stripe.origin}/pay/cs_test_")
    assert result.expires_at is not None and timedelta(hours=23) < result.expires_at - today() < timedelta(hours=25)


def test_a_paid_checkout_tells_its_money_once_and_the_method_that_it_kept(shop: World) -> None:
    url = shop.provider.create_subscription(sub_request(idempotency_key="once", order_ref="once")).checkout_url

    assert shop.pay(url) == "https://audiolearn.com/success"
    [paid] = shop.events()
    assert shop.pay(url) == "https://audiolearn.com/success"  # a second click
    assert shop.events() == []
    assert (paid.type, paid.amount, paid.currency) == (EventType.PAYMENT_SUCCEEDED, Decimal("6.99"), "USD")
    assert (paid.order_ref, paid.user_ref, paid.plan_ref) == ("once", "user_123", "premium")
    assert paid.idempotency_key is None
    assert paid.method is not None and (paid.method.brand, paid.method.last4) == ("visa", "4242")


def test_a_stored_method_is_kept_where_its_card_cannot_be_asked_for(shop: World) -> None:
    shop.pay(shop.provider.create_subscription(sub_request(idempotency_key="nocard")).checkout_url)
    shop.stripe.fail("500", path="/v1/payment_methods", times=9)

    [paid] = shop.events()

    assert paid.method is not None and paid.method.method_ref.startswith("pm_") and paid.method.last4 == ""


def test_a_declined_checkout_may_be_paid_all_the_same(shop: World) -> None:
    url = shop.provider.create_subscription(sub_request(idempotency_key="twice", order_ref="twice")).checkout_url

    shop.pay(url, "decline")
    shop.pay(url)

    failed, paid = shop.events()
    assert (failed.type, failed.reason, failed.recoverable) == (EventType.PAYMENT_FAILED, "insufficient_funds", True)
    assert failed.provider_payment_id == paid.provider_payment_id
    assert paid.type is EventType.PAYMENT_SUCCEEDED


@pytest.mark.parametrize(("changes", "is_trial"), [({"trial_days": 7}, True), ({"amount": Decimal(0)}, False)])
def test_what_costs_nothing_yet_keeps_a_method_and_takes_no_money(
    shop: World, changes: dict[str, Any], is_trial: bool
) -> None:
    [started] = shop.buy(idempotency_key=f"setup{is_trial}", **changes)

    assert shop.stripe.requests[0].headers["idempotency-key"] == f"setup{is_trial}"
    sent = read_form(shop.stripe.requests[0].body.decode())
    assert (sent["mode"], sent["currency"], sent["customer_creation"]) == ("setup", "usd", "always")
    assert "line_items" not in sent
    assert (started.type, started.is_trial, started.amount) == (EventType.SUBSCRIPTION_ACTIVATED, is_trial, None)
    assert started.order_ref == "order_1"
    assert started.method is not None
    charged = shop.provider.charge(charge_request(started.method, idempotency_key=f"after{is_trial}"))
    assert charged.outcome is Outcome.SUCCEEDED


def test_a_trial_waits_until_its_method_is_known(shop: World) -> None:
    shop.pay(shop.provider.create_subscription(sub_request(idempotency_key="wait", trial_days=7)).checkout_url)
    shop.stripe.deliveries.drain()
    [started] = shop.events(confirm=False)
    shop.stripe.fail("500", path="/v1/setup_intents", times=9)

    with pytest.raises(base.Unavailable):
        shop.provider.confirm_events([started])
    shop.stripe.fail(None)
    [again] = shop.provider.confirm_events(shop.provider.confirm_events([started]))

    assert again.method is not None


def test_an_invoice_is_paid_by_link(shop: World) -> None:
    shop.pay(shop.provider.create_payment_link(link_request()).checkout_url)

    [paid] = shop.events()
    assert (paid.order_ref, paid.amount) == ("order_2", Decimal("6.99"))
    assert paid.method is not None


@pytest.mark.parametrize(
    ("amount", "currency", "wire"),
    [
        ("6.9", "USD", "690"),
        ("1200", "JPY", "1200"),
        ("1.23", "KWD", "1230"),
        ("500", "ISK", "50000"),
        ("50", "MGA", "50"),
    ],
)
def test_amounts_are_sent_in_stripes_minor_units_and_come_back(
    shop: World, amount: str, currency: str, wire: str
) -> None:
    changes: dict[str, Any] = {"amount": Decimal(amount), "currency": currency, "idempotency_key": f"units {currency}"}

    [paid] = shop.buy(**changes)

    sent = read_form(shop.stripe.requests[0].body.decode())
    assert sent["line_items"][0]["price_data"]["unit_amount"] == wire
    assert (paid.amount, paid.currency) == (Decimal(amount), currency)


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"currency": "IQD"}, base.CurrencyRefused),
        ({"amount": Decimal("1.234"), "currency": "KWD"}, base.RequestRefused),
        ({"amount": Decimal("6.999")}, base.RequestRefused),
        ({"amount": Decimal("0.5"), "currency": "MGA"}, base.RequestRefused),
        ({"amount": Decimal("-6.99")}, base.RequestRefused),
    ],
)
def test_what_cannot_be_sold_is_refused_before_any_call(
    shop: World, changes: dict[str, Any], error: type[Exception]
) -> None:
    with pytest.raises(error):
        shop.provider.create_subscription(sub_request(**changes))

    assert not shop.stripe.requests


@pytest.mark.parametrize("fault", ["timeout_after", "500_after", "timeout"])
def test_a_checkout_whose_answer_was_lost_is_made_once(shop: World, fault: str) -> None:
    before = len(list(shop.stripe.store.of("checkout.session")))
    shop.stripe.fail(fault, times=1, seconds=3)

    request = sub_request(idempotency_key=f"lost {fault}")
    if fault == "500_after":  # an answer, and not one that the client repeats
        with pytest.raises(base.Unavailable):
            shop.provider.create_subscription(request)
    first, second = shop.provider.create_subscription(request), shop.provider.create_subscription(request)

    assert first == second
    assert len(list(shop.stripe.store.of("checkout.session"))) == before + 1
