"""Apple's records through the adapter: the state of a subscription, what its transactions tell, the list of news."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from providers.base import (
    EventType,
    ProviderError,
    ProviderEvent,
    SubStatus,
    Unavailable,
)
from tests.emulators.apple import AppleEmulator, Chain
from tests.providers.apple_support import (
    USER,
    connected,
    store,
)

LONG_AGO = datetime(2020, 1, 1, tzinfo=UTC)


@pytest.fixture
def apple() -> Iterator[AppleEmulator]:
    with store() as apple:
        yield apple


def buy(apple: AppleEmulator, **changes: Any) -> str:
    fields: dict[str, Any] = {"app_account_token": USER, **changes}
    return apple.purchase("premium.monthly", 10990, **fields).original_id


def at(milliseconds: int) -> datetime:
    return datetime.fromtimestamp(milliseconds // 1000, UTC).replace(microsecond=milliseconds % 1000 * 1000)


def moneys(events: list[ProviderEvent]) -> list[tuple[str, str | None, Decimal | None]]:
    return [(each.type.value, each.provider_payment_id, each.amount) for each in events if each.amount is not None]


# --- the state ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("deeds", "status", "renews"),
    [
        ([], SubStatus.ACTIVE, True),
        ([("renew", {})], SubStatus.ACTIVE, True),
        ([("cancel", {})], SubStatus.CANCELED, False),
        ([("cancel", {}), ("resume", {})], SubStatus.ACTIVE, True),
        ([("fail", {})], SubStatus.ON_HOLD, True),
        ([("fail", {"graceDays": 16})], SubStatus.PAST_DUE, True),
        ([("fail", {"graceDays": 16}), ("grace_end", {})], SubStatus.ON_HOLD, True),
        ([("fail", {"graceDays": 16}), ("recover", {})], SubStatus.ACTIVE, True),
        ([("fail", {}), ("recover", {})], SubStatus.ACTIVE, True),
        ([("expire", {})], SubStatus.EXPIRED, False),
        ([("expire", {}), ("resubscribe", {})], SubStatus.ACTIVE, True),
        ([("refund", {})], SubStatus.REVOKED, True),
        ([("refund", {"percentage": 5000})], SubStatus.REVOKED, True),
        ([("refund", {}), ("reverse_refund", {})], SubStatus.ACTIVE, True),
        ([("revoke", {})], SubStatus.REVOKED, True),
        ([("upgrade", {"productId": "ultra.monthly", "price": 19990})], SubStatus.ACTIVE, True),
    ],
    ids=str,
)
def test_each_state_of_apples_is_one_of_ours(
    apple: AppleEmulator, deeds: list[tuple[str, dict[str, Any]]], status: SubStatus, renews: bool
) -> None:
    original = buy(apple)
    for deed, wish in deeds:
        apple.deed(original, deed, wish)
    state = connected(apple).get_subscription(original)
    assert (state.status, state.auto_renew) == (status, renews)


def test_a_free_offer_is_a_trial_until_it_is_paid(apple: AppleEmulator) -> None:
    original, provider = buy(apple, free=True), connected(apple)
    assert provider.get_subscription(original).status == SubStatus.TRIAL
    apple.deed(original, "renew")
    assert provider.get_subscription(original).status == SubStatus.ACTIVE


def test_grace_ends_when_apple_says(apple: AppleEmulator) -> None:
    original = buy(apple)
    expires = apple.subscription(original).last["expiresDate"]
    apple.deed(original, "fail", {"graceDays": 16})
    state = connected(apple).get_subscription(original)
    assert state.period_end == at(expires) + timedelta(days=16)
    assert state.as_of is not None and state.as_of > at(expires)


def test_a_status_that_nobody_documents_is_unknown_and_no_event(
    apple: AppleEmulator, caplog: pytest.LogCaptureFixture
) -> None:
    original = buy(apple)
    apple.subscription(original).status = 6
    assert connected(apple).get_subscription(original).status == SubStatus.UNKNOWN
    assert "the status 6 is not known" in caplog.text
    events = connected(apple).fetch_events(original, since=LONG_AGO)
    assert events[-1].type == EventType.PAYMENT_SUCCEEDED


def test_the_customers_other_subscription_is_another(apple: AppleEmulator) -> None:
    first, second = buy(apple), buy(apple)
    apple.deed(first, "expire")
    provider = connected(apple)
    assert provider.get_subscription(first).status == SubStatus.EXPIRED
    assert provider.get_subscription(second).status == SubStatus.ACTIVE
    assert {each.provider_sub_id for each in provider.fetch_events(second, since=LONG_AGO)} == {second}


# --- records -----------------------------------------------------------------------------------------------------------


def test_records_tell_the_same_money_as_the_notifications(apple: AppleEmulator) -> None:
    original, provider = buy(apple), connected(apple)
    for deed, wish in [
        ("renew", {}),
        ("fail", {"graceDays": 16}),
        ("recover", {}),
        ("upgrade", {"productId": "ultra.monthly", "price": 19990}),
        ("renew", {}),
        ("refund", {"percentage": 50000}),
    ]:
        apple.deed(original, deed, wish)
    told = [
        event
        for delivery in apple.deliveries.sent
        for event in provider.parse_webhook({}, delivery.body)
        if event.type in (EventType.PAYMENT_SUCCEEDED, EventType.PAYMENT_REFUNDED)
    ]
    events = provider.fetch_events(original, since=LONG_AGO)
    assert moneys(events) == moneys(told)
    assert len(told) == 6
    for mine, theirs in zip([each for each in events if each.amount is not None], told, strict=True):
        assert (mine.period_start, mine.period_end, mine.provider_plan_ref, mine.user_ref, mine.parent_payment_id) == (
            theirs.period_start,
            theirs.period_end,
            theirs.provider_plan_ref,
            theirs.user_ref,
            theirs.parent_payment_id,
        )
    assert [each.type for each in events] == [
        EventType.SUBSCRIPTION_CREATED,
        EventType.SUBSCRIPTION_ACTIVATED,
        EventType.PAYMENT_SUCCEEDED,
        EventType.SUBSCRIPTION_RENEWED,
        EventType.PAYMENT_SUCCEEDED,
        EventType.SUBSCRIPTION_RENEWED,
        EventType.PAYMENT_SUCCEEDED,
        EventType.SUBSCRIPTION_PLAN_CHANGED,
        EventType.PAYMENT_SUCCEEDED,
        EventType.SUBSCRIPTION_RENEWED,
        EventType.PAYMENT_SUCCEEDED,
        EventType.PAYMENT_REFUNDED,
        EventType.SUBSCRIPTION_REVOKED,
    ]
    assert len({each.event_id for each in events}) == len(events)
    assert [each.occurred_at for each in events] == sorted(each.occurred_at for each in events)


@pytest.mark.parametrize(
    ("deeds", "last"),
    [
        ([], EventType.SUBSCRIPTION_RESUMED),
        ([("cancel", {})], EventType.SUBSCRIPTION_CANCELED),
        ([("fail", {})], EventType.SUBSCRIPTION_ON_HOLD),
        ([("fail", {"graceDays": 6})], EventType.SUBSCRIPTION_GRACE),
        ([("expire", {"subtype": "PRICE_INCREASE"})], EventType.SUBSCRIPTION_EXPIRED),
        ([("revoke", {})], EventType.SUBSCRIPTION_REVOKED),
    ],
    ids=str,
)
def test_the_state_now_is_the_last_event(
    apple: AppleEmulator, deeds: list[tuple[str, dict[str, Any]]], last: EventType
) -> None:
    original = buy(apple)
    for deed, wish in deeds:
        apple.deed(original, deed, wish)
    provider = connected(apple)
    event = provider.fetch_events(original, since=LONG_AGO)[-1]
    state = provider.get_subscription(original)
    assert (event.type, event.provider_sub_id, event.period_end) == (last, original, state.period_end)
    if last == EventType.SUBSCRIPTION_EXPIRED:
        assert event.reason == "price_increase"
    newest = max(delivery.signed_at for delivery in apple.deliveries.sent)
    assert event.occurred_at > at(newest)


def test_a_family_share_that_ended_is_no_refund(apple: AppleEmulator) -> None:
    original = buy(apple, family_shared=True)
    apple.deed(original, "revoke")
    assert [each.type for each in connected(apple).fetch_events(original, since=LONG_AGO)] == [
        EventType.SUBSCRIPTION_CREATED,
        EventType.SUBSCRIPTION_ACTIVATED,
        EventType.SUBSCRIPTION_REVOKED,
    ]


def test_only_what_happened_since_is_told_but_a_late_refund_of_old_money_is(apple: AppleEmulator) -> None:
    original = buy(apple)
    first = apple.subscription(original).last["transactionId"]
    for _ in range(3):
        apple.deed(original, "renew")
    since = at(apple.subscription(original).last["purchaseDate"])
    apple.deed(original, "refund", {"transactionId": first})
    events = connected(apple).fetch_events(original, since=since)
    assert [each.type for each in events] == [
        EventType.SUBSCRIPTION_RENEWED,
        EventType.PAYMENT_SUCCEEDED,
        EventType.PAYMENT_REFUNDED,
        EventType.SUBSCRIPTION_RESUMED,
    ]
    assert events[2].parent_payment_id == first


def test_a_resubscription_is_activated_again(apple: AppleEmulator) -> None:
    original = buy(apple)
    apple.deed(original, "expire")
    apple.deed(original, "resubscribe")
    events = connected(apple).fetch_events(original, since=LONG_AGO)
    assert [each.type for each in events[3:]] == [
        EventType.SUBSCRIPTION_ACTIVATED,
        EventType.PAYMENT_SUCCEEDED,
        EventType.SUBSCRIPTION_RESUMED,
    ]


def test_all_pages_are_read(apple: AppleEmulator) -> None:
    original = buy(apple)
    for _ in range(44):
        apple.deed(original, "renew")
    provider = connected(apple)
    assert len(moneys(provider.fetch_events(original, since=LONG_AGO))) == 45
    assert [path for _, path, _, _ in apple.requests if "/history/" in path][1].startswith(
        f"/inApps/v2/history/{original}?revision="
    )
    assert len([path for _, path, _, _ in apple.requests if "/history/" in path]) == 3


def test_half_a_list_is_not_taken_for_all_of_it(apple: AppleEmulator) -> None:
    original = buy(apple)
    for _ in range(30):
        apple.deed(original, "renew")
    provider = connected(apple)
    assert provider.get_subscription(original)
    apple.page_size = 0  # every page is empty, says that there is more, and names itself
    with pytest.raises(Unavailable):
        provider.fetch_events(original, since=LONG_AGO)


# --- the list of news --------------------------------------------------------------------------------------------------


def feed(apple: AppleEmulator, **changes: Any) -> list[ProviderEvent]:
    until = at(apple.now()) + timedelta(seconds=1)
    return list(connected(apple, **changes).missed_events(since=until - timedelta(days=60), until=until))


def test_the_list_has_what_was_never_delivered_with_the_same_keys(apple: AppleEmulator) -> None:
    original, provider = buy(apple), connected(apple)
    apple.deed(original, "cancel")
    apple.notify("TEST")
    told = [event for delivery in apple.deliveries.sent for event in provider.parse_webhook({}, delivery.body)]
    assert feed(apple) == told
    assert len({each.event_id for each in told}) == 5


def test_the_list_is_read_to_its_end(apple: AppleEmulator) -> None:
    original = buy(apple)
    for _ in range(45):
        apple.deed(original, "cancel")
    assert len(feed(apple)) == 48
    assert [path.partition("=")[0] for _, path, _, _ in apple.requests] == [
        "/inApps/v1/notifications/history",
        "/inApps/v1/notifications/history?paginationToken",
        "/inApps/v1/notifications/history?paginationToken",
    ]


def test_the_list_goes_back_no_further_than_apple_keeps_it(apple: AppleEmulator) -> None:
    until = datetime.fromtimestamp(apple.now() // 1000, UTC)
    assert list(connected(apple).missed_events(since=until - timedelta(days=700), until=until)) == []
    assert (
        json.loads(apple.requests[0][3])["startDate"] == int((until - timedelta(days=180, hours=-1)).timestamp()) * 1000
    )


def test_news_that_cannot_be_proven_is_left_out_and_told(
    apple: AppleEmulator, caplog: pytest.LogCaptureFixture
) -> None:
    original = buy(apple)
    apple.deed(original, "cancel")
    apple.deliveries.sent[0].payload = Chain().sign({"data": {"environment": "Production"}})
    assert [each.type for each in feed(apple)] == [EventType.SUBSCRIPTION_CANCELED]
    assert "is of no use" in caplog.text


def test_news_whose_certificates_cannot_be_checked_is_read_again_later(apple: AppleEmulator) -> None:
    buy(apple)
    with pytest.raises(Unavailable):
        feed(apple, online_checks=True)


@pytest.mark.parametrize("fault", ["500", "garbage", "429", "401"])
def test_a_list_that_cannot_be_read_says_so(apple: AppleEmulator, fault: str) -> None:
    apple.fail("notifications", fault, times=9)
    with pytest.raises(ProviderError):
        feed(apple)
