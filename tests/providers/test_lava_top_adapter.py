"""lava.top's adapter against its emulator: buying, lost answers, renewals, cancelling, what was missed."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from providers import base
from providers.base import EventType, ProviderEvent, SubStatus
from providers.lava.top.adapter import LavaTopProvider
from tests.emulators.lava import LavaTopEmulator
from tests.providers.lava_flavours import (
    BUYER,
    OFFER,
    RU_ORDER,
    TOP_PAID,
    lava_top,
    offer_request,
    top_emulator,
    top_sent,
)
from tests.providers.lava_support import API_KEY, Peer, Shop, click, control

E = EventType
NOW = datetime(2026, 11, 8, tzinfo=UTC)
LONG_AGO = datetime(2020, 1, 1, tzinfo=UTC)
CREATE = "/api/v3/invoice"


@pytest.fixture
def shop() -> Iterator[Shop]:
    shop = Shop()
    yield shop
    shop.stop()


@pytest.fixture
def lava(shop: Shop) -> Iterator[LavaTopEmulator]:
    with top_emulator(shop.hook_url) as running:
        yield running


@pytest.fixture
def adapter(lava: LavaTopEmulator) -> LavaTopProvider:
    return lava_top(lava.base_url)


def told(adapter: LavaTopProvider, shop: Shop) -> list[ProviderEvent]:
    """What came by webhook since the last time, proven and confirmed as the core does it."""
    found: list[ProviderEvent] = []
    while not shop.received.empty():
        headers, raw = shop.received.get()
        adapter.verify_webhook(headers, raw, NOW)
        found += adapter.confirm_events(adapter.parse_webhook(headers, raw))
    return found


def types(events: list[ProviderEvent]) -> list[EventType]:
    return [event.type for event in events]


def money(events: list[ProviderEvent]) -> set[tuple[str, str | None, Decimal | None]]:
    return {(e.type.value, e.provider_payment_id, e.amount) for e in events if e.type.value.startswith("payment.")}


def bought(lava: LavaTopEmulator, adapter: LavaTopProvider, **changes: Any) -> str:
    result = adapter.create_subscription(offer_request(**changes))
    assert result.provider_sub_id is not None
    click(lava, result.checkout_url or "", outcome="pay")
    return result.provider_sub_id


# --- buying ----------------------------------------------------------------------------------------------------------


def test_request_is_the_documents_with_our_order_in_its_utm(lava: LavaTopEmulator, adapter: LavaTopProvider) -> None:
    result = adapter.create_subscription(offer_request())

    looked_up, created = lava.requests
    assert (looked_up.method, looked_up.path) == (
        "GET",
        "/api/v2/invoices?page=1&size=50&invoiceStatuses=NEW&invoiceStatuses=IN_PROGRESS"
        "&invoiceStatuses=COMPLETED&invoiceStatuses=FAILED",
    )
    assert (created.method, created.path, created.headers["x-api-key"]) == ("POST", CREATE, API_KEY)
    assert "authorization" not in created.headers
    assert json.loads(created.body) == {
        "email": BUYER,
        "offerId": OFFER,
        "currency": "RUB",
        "periodicity": "MONTHLY",
        "clientUtm": {"utm_source": "payflow", "utm_content": RU_ORDER},
        "successful_return_url": "https://audiolearn.com/success",
        "failure_return_url": "https://audiolearn.com/cancel",
        "cancel_return_url": "https://audiolearn.com/never-used",
    }
    [contract] = lava.contracts
    assert (result.provider_sub_id, result.status) == (contract, "pending")
    assert result.checkout_url == f"{lava.origin}/pay/{contract}"


@pytest.mark.parametrize(
    ("ref", "interval", "periodicity"),
    [
        (OFFER, (1, "monthly"), "MONTHLY"),
        (f"{OFFER}:MONTHLY", (1, "monthly"), "MONTHLY"),
        (f"{OFFER}:PERIOD_90_DAYS", (90, "daily"), "PERIOD_90_DAYS"),
        (OFFER, (180, "daily"), "PERIOD_180_DAYS"),
        (OFFER, (1, "yearly"), "PERIOD_YEAR"),
        (f"{OFFER}:PERIOD_YEAR", (12, "monthly"), "PERIOD_YEAR"),
    ],
)
def test_periodicity_is_the_plans(
    lava: LavaTopEmulator, adapter: LavaTopProvider, ref: str, interval: tuple[int, str], periodicity: str
) -> None:
    adapter.create_subscription(offer_request(provider_plan_ref=ref, interval=interval))

    body = json.loads(lava.requests[-1].body)
    assert (body["offerId"], body["periodicity"]) == (OFFER, periodicity)


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"provider_plan_ref": None}, base.RequestRefused),
        ({"provider_plan_ref": f"{OFFER}:PERIOD_YEAR"}, base.RequestRefused),
        ({"provider_plan_ref": f"{OFFER}:WEEKLY"}, base.RequestRefused),
        ({"provider_plan_ref": f"{OFFER}:PERIOD_90_DAYS", "interval": (3, "monthly")}, base.RequestRefused),
        ({"interval": (1, "weekly")}, base.RequestRefused),
        ({"amount": Decimal(0)}, base.RequestRefused),
        ({"currency": "GBP"}, base.CurrencyRefused),
    ],
)
def test_what_cannot_be_sold_is_refused_before_any_call(
    lava: LavaTopEmulator, adapter: LavaTopProvider, changes: dict[str, Any], error: type[Exception]
) -> None:
    with pytest.raises(error):
        adapter.create_subscription(offer_request(**changes))

    assert not lava.requests


@pytest.mark.parametrize("changes", [{"amount": Decimal("989.99")}, {"amount": Decimal(990), "currency": "USD"}])
def test_offer_of_another_price_is_not_sold(adapter: LavaTopProvider, changes: dict[str, Any]) -> None:
    with pytest.raises(base.RequestRefused):
        adapter.create_subscription(offer_request(**changes))


def test_unknown_offer(adapter: LavaTopProvider) -> None:
    with pytest.raises(base.UnknownReference):
        adapter.create_subscription(offer_request(provider_plan_ref="unknown"))


# --- lost answers ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("fault", "made"), [("timeout", 0), ("timeout_after", 1), ("500", 0)])
def test_lost_page_is_opened_anew_and_nothing_by_itself(lava: LavaTopEmulator, fault: str, made: int) -> None:
    adapter = lava_top(lava.base_url, answer_seconds=0.3)
    lava.fail(fault, path=CREATE, seconds=1)
    with pytest.raises(base.Unavailable):
        adapter.create_subscription(offer_request())
    assert [request.method for request in lava.requests].count("POST") == 1
    assert len(lava.contracts) == made

    result = adapter.create_subscription(offer_request())

    assert result.checkout_url is not None
    assert {each.utm["utm_content"] for each in lava.subscriptions.values()} == {RU_ORDER}


def test_order_that_is_paid_is_not_opened_again(lava: LavaTopEmulator, adapter: LavaTopProvider) -> None:
    subscription = bought(lava, adapter)

    result = adapter.create_subscription(offer_request())

    assert (result.provider_sub_id, result.checkout_url, result.status) == (subscription, None, "active")
    assert len(lava.contracts) == 1
    assert adapter.create_subscription(offer_request(order_ref="another")).status == "pending"


def test_account_that_lists_nothing_sells_all_the_same(lava: LavaTopEmulator) -> None:
    peer = Peer()
    peer.answers(400, {"error": "no such filter", "details": {}})
    adapter = lava_top(peer.origin)
    with pytest.raises(base.RequestRefused):
        adapter.create_subscription(offer_request())
    peer.stop()

    assert [data.split(b" ", 2)[0] for data in peer.received] == [b"GET", b"POST"]


# --- its life --------------------------------------------------------------------------------------------------------


def lived(lava: LavaTopEmulator, adapter: LavaTopProvider) -> str:
    """Bought, renewed, a charge that failed and went through later, cancelled."""
    subscription = bought(lava, adapter)
    for outcomes in (["success"], ["failed", "success"]):
        lava.advance(timedelta(days=30))
        for outcome in outcomes:
            lava.renew(subscription, outcome)
            lava.advance(timedelta(hours=8))
    lava.cancel(subscription)
    return subscription


def test_purchase_finds_its_order_though_the_webhook_does_not_name_it(
    lava: LavaTopEmulator, adapter: LavaTopProvider, shop: Shop
) -> None:
    subscription = bought(lava, adapter)

    paid, activated = told(adapter, shop)

    assert (paid.type, activated.type) == (E.PAYMENT_SUCCEEDED, E.SUBSCRIPTION_ACTIVATED)
    assert (paid.order_ref, paid.amount, paid.currency) == (RU_ORDER, Decimal(990), "RUB")
    assert (paid.provider_payment_id, paid.provider_sub_id) == (subscription, subscription)
    assert activated.period_end is not None
    assert activated.occurred_at >= paid.occurred_at


def test_renewals_failures_and_the_end_are_told(lava: LavaTopEmulator, adapter: LavaTopProvider, shop: Shop) -> None:
    subscription = bought(lava, adapter)
    told(adapter, shop)
    lava.advance(timedelta(days=30))

    lava.renew(subscription)
    paid, renewed = told(adapter, shop)
    assert types([paid, renewed]) == [E.PAYMENT_SUCCEEDED, E.SUBSCRIPTION_RENEWED]
    assert paid.provider_payment_id not in (None, subscription)
    assert paid.provider_sub_id == subscription

    lava.advance(timedelta(days=30))
    lava.renew(subscription, "failed")
    failed, grace = told(adapter, shop)
    assert types([failed, grace]) == [E.PAYMENT_FAILED, E.SUBSCRIPTION_GRACE]
    assert failed.reason == "Not sufficient funds"

    lava.renew(subscription)  # the same contract, tried again
    assert told(adapter, shop)[0].provider_payment_id == failed.provider_payment_id

    lava.cancel(subscription)
    [canceled] = told(adapter, shop)
    assert (canceled.type, canceled.provider_sub_id) == (E.SUBSCRIPTION_CANCELED, subscription)
    end = lava.subscriptions[subscription].expires_at
    assert end is not None
    assert canceled.period_end == end.replace(microsecond=end.microsecond // 10 * 10)


def test_first_payment_that_fails_leaves_it_pending(
    lava: LavaTopEmulator, adapter: LavaTopProvider, shop: Shop
) -> None:
    result = adapter.create_subscription(offer_request())
    click(lava, result.checkout_url or "", outcome="decline")

    [failed] = told(adapter, shop)
    assert (failed.type, failed.order_ref) == (E.PAYMENT_FAILED, RU_ORDER)
    assert adapter.get_subscription(result.provider_sub_id or "").status is SubStatus.PENDING
    assert adapter.fetch_events(result.provider_sub_id or "", since=LONG_AGO) == []


def test_failure_that_went_through_meanwhile_is_a_payment(
    lava: LavaTopEmulator, adapter: LavaTopProvider, shop: Shop
) -> None:
    lava.hold()
    result = adapter.create_subscription(offer_request())
    lava.decline(result.provider_sub_id or "")
    lava.pay(result.provider_sub_id or "")
    lava.release()

    assert types(told(adapter, shop)) == [E.PAYMENT_SUCCEEDED, E.SUBSCRIPTION_ACTIVATED] * 2


def test_a_delivery_that_the_records_do_not_bear_out_is_not_believed(
    lava: LavaTopEmulator, adapter: LavaTopProvider
) -> None:
    """Who knows the key can send any body: money is believed as the API shows it."""
    result = adapter.create_subscription(offer_request())
    unpaid = {**TOP_PAID, "contractId": result.provider_sub_id}
    unknown = TOP_PAID
    uncancelled = {
        "eventType": "subscription.cancelled",
        "contractId": bought(lava, adapter, order_ref="other"),
        "cancelledAt": "2026-11-05T08:44:49Z",
        "willExpireAt": "2026-12-05T08:44:49Z",
    }

    for body in (unpaid, unknown, uncancelled):
        with pytest.raises(base.Unavailable):
            adapter.confirm_events(adapter.parse_webhook(*top_sent(body)))
    lava.pay(result.provider_sub_id or "")
    paid, _ = adapter.confirm_events(adapter.parse_webhook(*top_sent({**unpaid, "amount": 1})))
    assert paid.amount == 990


def test_any_order_and_no_delivery_come_to_the_same(
    lava: LavaTopEmulator, adapter: LavaTopProvider, shop: Shop
) -> None:
    subscription = lived(lava, adapter)
    by_webhook = []
    while not shop.received.empty():
        by_webhook.append(adapter.confirm_events(adapter.parse_webhook(*shop.received.get())))

    missed = adapter.fetch_events(subscription, since=LONG_AGO)

    assert types(missed) == [*[E.PAYMENT_SUCCEEDED] * 3, E.SUBSCRIPTION_CANCELED]
    for order in itertools.islice(itertools.permutations(by_webhook), 24):
        events = [event for delivery in order for event in delivery]
        assert money(events) == money(missed)
        states = [event for event in events if not event.type.value.startswith("payment.")]
        assert (states[-1].type, states[-1].period_end) == (missed[-1].type, missed[-1].period_end)
    assert [event.occurred_at for event in missed] == sorted(event.occurred_at for event in missed)
    assert {event.order_ref for event in missed[:-1]} == {RU_ORDER}
    assert len({event.event_id for event in missed}) == len(missed)
    assert types(adapter.fetch_events(subscription, since=lava.now() + timedelta(days=1))) == [E.SUBSCRIPTION_CANCELED]


def test_state_is_lavas(lava: LavaTopEmulator, adapter: LavaTopProvider) -> None:
    subscription = bought(lava, adapter)
    kept = lava.subscriptions[subscription]
    words = {"ACTIVE": SubStatus.ACTIVE, "CANCELLED": SubStatus.CANCELED, "FAILED": SubStatus.PAST_DUE}
    for word, status in {**words, "BEWITCHED": SubStatus.UNKNOWN}.items():
        kept.status = word
        state = adapter.get_subscription(subscription)
        assert state.status is status
        assert state.auto_renew is {"ACTIVE": True, "CANCELLED": False}.get(word)
    lava.end(subscription)
    assert adapter.get_subscription(subscription).status is SubStatus.EXPIRED
    with pytest.raises(base.UnknownReference):
        adapter.get_subscription("unknown")


def test_cancelling_uses_the_buyers_address_and_is_idempotent(lava: LavaTopEmulator, adapter: LavaTopProvider) -> None:
    subscription = bought(lava, adapter)

    for _ in range(2):
        state = adapter.cancel_subscription(subscription, email="moved@example.com")
        assert (state.status, state.auto_renew) == (SubStatus.CANCELED, False)
        assert state.period_end is not None

    assert [request.method for request in lava.requests].count("DELETE") == 1
    assert adapter.cancel_subscription("gone", email=BUYER).status is SubStatus.CANCELED
    with pytest.raises(base.NotSupported):
        adapter.cancel_subscription(subscription, at_period_end=False)


# --- deliveries ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "state"), [(200, "delivered"), (204, "delivered"), (301, "delivered"), (302, "delivered")]
)
def test_redirect_counts_as_delivered(
    lava: LavaTopEmulator, adapter: LavaTopProvider, shop: Shop, status: int, state: str
) -> None:
    shop.answers = [status]
    bought(lava, adapter)

    assert (lava.last().state, lava.last().attempts) == (state, [status])


@pytest.mark.parametrize("status", [400, 404, 500, 503])
def test_failed_delivery_is_tried_again_byte_for_byte(shop: Shop, status: int) -> None:
    shop.answers = [status, status]
    with top_emulator(shop.hook_url, retry_pauses=(0.01, 0.01)) as lava:
        bought(lava, lava_top(lava.base_url))
        bodies = [shop.take()[1] for _ in range(3)]

    assert len(set(bodies)) == 1


def test_controls_work_over_http(lava: LavaTopEmulator, adapter: LavaTopProvider, shop: Shop) -> None:
    subscription = bought(lava, adapter)
    told(adapter, shop)
    for act in ("renew", "repeat", "refund", "chargeback"):
        assert control(lava, f"{act}/{subscription}")[0] == 200

    assert types(told(adapter, shop)) == [
        *[E.PAYMENT_SUCCEEDED, E.SUBSCRIPTION_RENEWED] * 2,
        E.PAYMENT_REFUNDED,
        E.PAYMENT_DISPUTED,
    ]
    control(lava, "deliveries", {"order": "hold"})
    control(lava, f"cancel/{subscription}")
    control(lava, "deliveries", {"order": "drop"})
    assert shop.received.empty()
    assert types(adapter.fetch_events(subscription, since=LONG_AGO))[-1] is E.SUBSCRIPTION_CANCELED
