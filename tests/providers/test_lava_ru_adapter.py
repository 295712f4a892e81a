"""lava.ru's adapter against its emulator: buying, lost answers, renewals, cancelling, what was missed."""

from __future__ import annotations

import hashlib
import hmac
import json
import logging
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from providers import base
from providers.base import EventType, ProviderEvent, SubStatus
from providers.lava.ru.adapter import LavaRuProvider
from tests.emulators.lava import LavaRuEmulator
from tests.providers.lava_flavours import (
    PRODUCT,
    RU_ORDER,
    RU_STATE,
    SHOP_ID,
    SHOP_KEY,
    lava_ru,
    rouble_request,
    ru_emulator,
    ru_signed,
)
from tests.providers.lava_support import Peer, Shop, click, control, link_request

E = EventType
NOW = datetime(2026, 11, 8, tzinfo=UTC)
LONG_AGO = datetime(2020, 1, 1, tzinfo=UTC)
SUBSCRIBE = "/business/recurrent/subscription/subscribe"
UNSUBSCRIBE = "/business/recurrent/subscription/unsubscribe"
CREATE = "/business/invoice/create"


@pytest.fixture
def shop() -> Iterator[Shop]:
    shop = Shop()
    yield shop
    shop.stop()


@pytest.fixture
def lava(shop: Shop) -> Iterator[LavaRuEmulator]:
    with ru_emulator(shop.hook_url) as running:
        yield running


@pytest.fixture
def adapter(lava: LavaRuEmulator) -> LavaRuProvider:
    return lava_ru(lava.base_url)


def calls(lava: LavaRuEmulator) -> list[tuple[str, dict[str, Any]]]:
    return [(request.path, json.loads(request.body)) for request in lava.requests]


def told(adapter: LavaRuProvider, shop: Shop) -> list[ProviderEvent]:
    """What came by webhook since the last time, proven and confirmed as the core does it."""
    found: list[ProviderEvent] = []
    while not shop.received.empty():
        headers, raw = shop.received.get()
        adapter.verify_webhook(headers, raw, NOW)
        found += adapter.confirm_events(adapter.parse_webhook(headers, raw))
    return found


def money(events: list[ProviderEvent]) -> list[tuple[str, str | None, Decimal | None]]:
    return [(e.type.value, e.provider_payment_id, e.amount) for e in events if e.type.value.startswith("payment.")]


def bought(lava: LavaRuEmulator, adapter: LavaRuProvider) -> str:
    result = adapter.create_subscription(rouble_request())
    assert result.provider_sub_id is not None
    assert result.checkout_url is not None
    click(lava, result.checkout_url, outcome="pay")
    return result.provider_sub_id


# --- buying ----------------------------------------------------------------------------------------------------------


def test_subscribing_makes_consumer_and_subscription(lava: LavaRuEmulator, adapter: LavaRuProvider) -> None:
    result = adapter.create_subscription(rouble_request())

    [subscription] = lava.subscriptions.values()
    assert (result.provider_sub_id, result.status) == (subscription.id, "pending")
    assert result.checkout_url is not None
    assert result.checkout_url.startswith(f"{lava.origin}/pay/")
    assert calls(lava) == [
        ("/business/recurrent/subscription/status", {"orderId": RU_ORDER, "shopId": SHOP_ID}),
        (
            "/business/recurrent/consumer/create",
            {"consumerId": "user_123", "email": "anna@example.com", "shopId": SHOP_ID},
        ),
        (SUBSCRIBE, {"productId": PRODUCT, "consumerId": "user_123", "orderId": RU_ORDER, "shopId": SHOP_ID}),
    ]


@pytest.mark.parametrize("kind", ["plan without a product", "link"])
def test_invoice_is_signed_over_its_exact_bytes(lava: LavaRuEmulator, adapter: LavaRuProvider, kind: str) -> None:
    if kind == "link":
        adapter.create_payment_link(link_request(amount=Decimal(990), currency="RUB", order_ref=RU_ORDER))
    else:
        adapter.create_subscription(rouble_request(provider_plan_ref=None, amount=Decimal(990)))

    request = lava.requests[-1]
    assert request.path == CREATE
    assert request.body == (
        b'{"sum":990.00,"orderId":"0192f0c1","hookUrl":"https://audiolearn.com/webhooks/lava",'
        b'"successUrl":"https://audiolearn.com/success","failUrl":"https://audiolearn.com/cancel","expire":300,'
        b'"customFields":"{\\"user_id\\":\\"user_123\\",\\"plan_id\\":\\"premium\\"}",'
        b'"shopId":"00000000-0000-4000-8000-000000000001"}'
    )
    assert request.headers["signature"] == hmac.new(SHOP_KEY.encode(), request.body, hashlib.sha256).hexdigest()


def test_queries_of_urls_are_left_out(lava: LavaRuEmulator, adapter: LavaRuProvider) -> None:
    adapter.create_payment_link(link_request(currency="RUB", success_url="https://a.example/ok?x=1"))

    assert calls(lava)[-1][1]["successUrl"] == "https://a.example/ok"


def test_known_consumer_subscribes_again(adapter: LavaRuProvider, lava: LavaRuEmulator) -> None:
    adapter.create_subscription(rouble_request())
    adapter.create_subscription(rouble_request(order_ref="another"))

    assert len(lava.subscriptions) == 2
    assert len(lava.consumers) == 1


def test_product_of_another_price_is_not_sold(lava: LavaRuEmulator, adapter: LavaRuProvider) -> None:
    with pytest.raises(base.RequestRefused):
        adapter.create_subscription(rouble_request(amount=Decimal("989.99")))

    [subscription] = lava.subscriptions.values()
    assert subscription.status == "deactivated"


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"currency": "USD"}, base.CurrencyRefused),
        ({"amount": Decimal(0)}, base.RequestRefused),
        ({"amount": Decimal("990.001")}, ValueError),
        ({"provider_plan_ref": None, "user_ref": "u" * 500}, base.RequestRefused),
    ],
)
def test_what_cannot_be_sold_is_refused_before_any_call(
    lava: LavaRuEmulator, adapter: LavaRuProvider, changes: dict[str, Any], error: type[Exception]
) -> None:
    with pytest.raises(error):
        adapter.create_subscription(rouble_request(**changes))

    assert not lava.requests


@pytest.mark.parametrize("refuses_with_200", [False, True])
def test_refusal_is_read_from_the_envelope(
    lava: LavaRuEmulator, adapter: LavaRuProvider, refuses_with_200: bool
) -> None:
    lava.refuses_with_200 = refuses_with_200

    with pytest.raises(base.UnknownReference):
        adapter.get_subscription("nobody")
    with pytest.raises(base.UnknownReference):
        adapter.create_subscription(rouble_request(provider_plan_ref="no-product"))


# --- lost answers ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("fault", ["timeout", "timeout_after", "500"])
def test_lost_subscription_is_ended_and_another_opened(lava: LavaRuEmulator, fault: str) -> None:
    adapter = lava_ru(lava.base_url, answer_seconds=0.3)
    lava.fail(fault, path=SUBSCRIBE, seconds=1)
    with pytest.raises(base.Unavailable):
        adapter.create_subscription(rouble_request())
    assert [path for path, _ in calls(lava)].count(SUBSCRIBE) == 1, "it must not be sent again by itself"

    result = adapter.create_subscription(rouble_request())

    open_ones = [each for each in lava.subscriptions.values() if each.status == "created"]
    assert [each.id for each in open_ones] == [result.provider_sub_id]
    assert [each.order_id for each in lava.subscriptions.values()] == (
        [RU_ORDER, f"{RU_ORDER}-r2"] if fault == "timeout_after" else [RU_ORDER]
    )


def test_lost_invoice_gives_way_to_another_of_the_same_order(lava: LavaRuEmulator, shop: Shop) -> None:
    adapter, wish = lava_ru(lava.base_url, answer_seconds=0.3), {"provider_plan_ref": None, "hook_url": shop.hook_url}
    lava.fail("timeout_after", path=CREATE, seconds=1)
    with pytest.raises(base.Unavailable):
        adapter.create_subscription(rouble_request(**wish))

    result = adapter.create_subscription(rouble_request(**wish))

    click(lava, result.checkout_url or "", outcome="pay")
    [paid] = told(adapter, shop)
    assert (paid.order_ref, paid.user_ref, paid.plan_ref) == (RU_ORDER, "user_123", "premium")


def test_paid_order_is_not_opened_again(lava: LavaRuEmulator, adapter: LavaRuProvider) -> None:
    subscription = bought(lava, adapter)

    result = adapter.create_subscription(rouble_request())

    assert (result.provider_sub_id, result.checkout_url, result.status) == (subscription, None, "active")
    assert len(lava.subscriptions) == 1


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (400, base.RequestRefused),
        (401, base.AuthError),
        (403, base.AuthError),
        (404, base.UnknownReference),
        (409, base.RequestRefused),
        (422, base.RequestRefused),
        (429, base.RateLimited),
        (500, base.Unavailable),
        (302, base.Unavailable),
    ],
)
def test_errors_are_mapped_and_say_nothing_of_lavas_text(
    status: int, error: type[Exception], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    peer = Peer()
    peer.answers(status, {"data": None, "error": f"leaked {SHOP_KEY}", "status": status, "status_check": False})

    with pytest.raises(base.ProviderError) as raised:
        lava_ru(peer.origin).refund(
            provider_txn_id="i", amount=None, currency="RUB", reason="r", idempotency_key=f"k{status}"
        )

    peer.stop()
    assert type(raised.value) is error
    assert len(peer.received) == 1
    for text in (str(raised.value), repr(raised.value.__cause__), caplog.text):
        assert "leaked" not in text
        assert SHOP_KEY not in text


@pytest.mark.parametrize("answer", [b"", b"[]", b"<html>", b'{"status": 200}', b'{"data": [], "status": 200}'])
def test_answer_that_cannot_be_read_is_unknown(answer: bytes) -> None:
    peer = Peer()
    peer.answers(200, answer)

    with pytest.raises(base.Unavailable):
        lava_ru(peer.origin).get_subscription("s")
    peer.stop()


# --- its life --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("signs_raw", [False, True])
def test_purchase_renewal_failure_and_end_are_told(
    lava: LavaRuEmulator, adapter: LavaRuProvider, shop: Shop, signs_raw: bool
) -> None:
    lava.signs_raw = signs_raw
    subscription = bought(lava, adapter)
    paid, activated = told(adapter, shop)
    assert (paid.type, paid.amount, paid.currency, paid.order_ref) == (E.PAYMENT_SUCCEEDED, 990, "RUB", RU_ORDER)
    assert (activated.type, activated.provider_sub_id) == (E.SUBSCRIPTION_ACTIVATED, subscription)
    end = activated.period_end
    assert end is not None

    lava.advance(timedelta(days=30))
    lava.renew(RU_ORDER)
    again, renewed = told(adapter, shop)
    assert (again.type, again.order_ref) == (E.PAYMENT_SUCCEEDED, RU_ORDER)
    assert again.provider_payment_id != paid.provider_payment_id
    assert renewed.period_end is not None
    assert renewed.period_end > end
    assert renewed.event_id != activated.event_id

    lava.advance(timedelta(days=30))
    lava.renew(RU_ORDER, "failed")
    lava.suspend(RU_ORDER)
    assert [event.type for event in told(adapter, shop)] == [E.PAYMENT_FAILED, E.SUBSCRIPTION_ON_HOLD]

    lava.cancel(RU_ORDER)
    [canceled] = told(adapter, shop)
    assert (canceled.type, canceled.period_end) == (E.SUBSCRIPTION_CANCELED, renewed.period_end)


def test_what_was_missed_is_found_under_the_same_keys(
    lava: LavaRuEmulator, adapter: LavaRuProvider, shop: Shop
) -> None:
    lava.hold()
    subscription = bought(lava, adapter)
    first = adapter.fetch_events(subscription, since=LONG_AGO)
    lava.advance(timedelta(days=30))
    lava.renew(RU_ORDER)

    second = adapter.fetch_events(subscription, since=LONG_AGO)
    lava.release()

    webhooks = told(adapter, shop)
    assert money(first) + money(second) == money(webhooks)
    assert (first[-1].type, second[-1].type) == (E.SUBSCRIPTION_ACTIVATED, E.SUBSCRIPTION_ACTIVATED)
    assert second[-1].period_end == webhooks[-1].period_end
    assert {event.order_ref for event in [*first, *second]} == {RU_ORDER}
    later = adapter.fetch_events(subscription, since=lava.now() + timedelta(days=1))
    assert [event.type for event in later] == [E.SUBSCRIPTION_ACTIVATED]


def test_state_is_lavas(lava: LavaRuEmulator, adapter: LavaRuProvider) -> None:
    subscription = bought(lava, adapter)
    words = {
        "created": SubStatus.PENDING,
        "activated": SubStatus.ACTIVE,
        "deactivated": SubStatus.CANCELED,
        "suspended": SubStatus.ON_HOLD,
        "bewitched": SubStatus.UNKNOWN,
    }
    for word, status in words.items():
        lava.subscriptions[subscription].status = word
        assert adapter.get_subscription(subscription).status is status

    lava.subscriptions[subscription].status = "activated"
    state = adapter.get_subscription(subscription)
    assert (state.auto_renew, state.user_ref, state.provider_plan_ref) == (True, "user_123", PRODUCT)
    assert state.period_start is not None
    assert state.period_end == state.period_start + timedelta(days=30)


@pytest.mark.parametrize("at_period_end", [True, False])
def test_cancelling_is_one_call_and_idempotent(
    lava: LavaRuEmulator, adapter: LavaRuProvider, at_period_end: bool
) -> None:
    subscription = bought(lava, adapter)

    for _ in range(2):
        state = adapter.cancel_subscription(subscription, at_period_end=at_period_end)
        assert (state.status, state.auto_renew) == (SubStatus.CANCELED, False)
        assert state.period_end is not None

    assert [path for path, _ in calls(lava)].count(UNSUBSCRIBE) == 1
    assert adapter.cancel_subscription("gone").status is SubStatus.CANCELED


def test_state_that_is_not_shown_yet_is_asked_again(lava: LavaRuEmulator, adapter: LavaRuProvider) -> None:
    headers, raw = ru_signed(RU_STATE)

    with pytest.raises(base.Unavailable):
        adapter.confirm_events(adapter.parse_webhook(headers, raw))


def test_state_without_its_id_is_found_by_the_order(lava: LavaRuEmulator, adapter: LavaRuProvider) -> None:
    subscription = bought(lava, adapter)
    body = {key: value for key, value in RU_STATE.items() if key != "subscription_id"}

    [event] = adapter.confirm_events(adapter.parse_webhook(*ru_signed(body)))

    assert event.provider_sub_id == subscription


# --- the emulator's controls -----------------------------------------------------------------------------------------


def test_controls_work_over_http(lava: LavaRuEmulator, adapter: LavaRuProvider, shop: Shop) -> None:
    bought(lava, adapter)
    told(adapter, shop)
    assert control(lava, "clock", {"ahead_seconds": 2592000})[0] == 200
    control(lava, f"renew/{RU_ORDER}")
    control(lava, f"repeat/{RU_ORDER}")
    control(lava, f"cancel/{RU_ORDER}")

    types = [event.type for event in told(adapter, shop)]
    # Whatever was said, the state is as it is when it is read: cancelled.
    assert types == [E.PAYMENT_SUCCEEDED, *[E.SUBSCRIPTION_CANCELED] * 3]
    assert control(lava, "faults", {"fault": "429", "path": "status"})[0] == 200
    with pytest.raises(base.RateLimited) as raised:
        adapter.get_subscription("s")
    assert raised.value.retry_after == 7
