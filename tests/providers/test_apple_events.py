"""What Apple's notifications become, type by type (providers.md 3.3)."""

from __future__ import annotations

import json
import logging
from decimal import Decimal
from typing import Any

import pytest

from providers.base import EventType, MalformedError, ProviderEvent
from tests.providers.apple_golden import GOLDEN, Golden, bare
from tests.providers.apple_support import (
    BEGIN,
    CURRENT,
    END,
    REVOKED,
    USER,
    UUID,
    ms,
    notification,
    provider,
    renewal,
    subscription_news,
    transaction,
)

#: All of Apple's types, as of app-store-server-library 3.1.
TYPES = (
    "SUBSCRIBED DID_CHANGE_RENEWAL_PREF DID_CHANGE_RENEWAL_STATUS OFFER_REDEEMED DID_RENEW EXPIRED DID_FAIL_TO_RENEW "
    "GRACE_PERIOD_EXPIRED PRICE_INCREASE REFUND REFUND_DECLINED CONSUMPTION_REQUEST RENEWAL_EXTENDED REVOKE TEST "
    "RENEWAL_EXTENSION REFUND_REVERSED EXTERNAL_PURCHASE_TOKEN ONE_TIME_CHARGE METADATA_UPDATE MIGRATION PRICE_CHANGE "
    "RESCIND_CONSENT"
).split()


def parsed(raw: bytes) -> list[ProviderEvent]:
    return provider().parse_webhook({}, raw)


@pytest.mark.parametrize("golden", GOLDEN, ids=lambda golden: golden.name)
def test_each_notification_becomes_what_the_table_says(golden: Golden) -> None:
    provider().verify_webhook({}, golden.raw, END)
    assert bare(parsed(golden.raw)) == golden.events
    assert provider().delivery_key({}, golden.raw) == f"apple:{UUID}"


def test_the_table_has_every_type() -> None:
    from appstoreserverlibrary.models.NotificationTypeV2 import NotificationTypeV2

    assert {each.value for each in NotificationTypeV2} == set(TYPES)
    assert len(TYPES) == 23
    assert set(TYPES) <= {golden.name.partition(".")[0] for golden in GOLDEN}


def test_a_word_that_nobody_documents_is_told_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
    assert parsed(subscription_news("BRAND_NEW")) == []
    assert "'BRAND_NEW' is not known" in caplog.text


@pytest.mark.parametrize("kind", ["DID_CHANGE_RENEWAL_STATUS", "DID_CHANGE_RENEWAL_PREF"])
def test_an_unknown_subtype_of_a_wish_changes_nothing(kind: str) -> None:
    assert parsed(subscription_news(kind, "SIDEWAYS")) == []


def test_an_unknown_failure_is_no_grace() -> None:
    events = parsed(subscription_news("DID_FAIL_TO_RENEW", "SIDEWAYS", status=3))
    assert [each.type for each in events] == [EventType.PAYMENT_FAILED, EventType.SUBSCRIPTION_ON_HOLD]


@pytest.mark.parametrize(
    ("price", "currency", "amount"),
    [
        (10990, "USD", "10.99"),
        (1200000, "JPY", "1200"),
        (4995, "KWD", "4.995"),
        (1, "KWD", "0.001"),
        (9990000000, "IDR", "9990000.00"),
    ],
)
def test_a_price_is_in_milliunits(price: int, currency: str, amount: str) -> None:
    paid = parsed(subscription_news("DID_RENEW", transaction=transaction(price=price, currency=currency)))[1]
    assert (str(paid.amount), paid.currency) == (amount, currency)
    assert isinstance(paid.amount, Decimal)


FREE = {"price": 0, "offerType": 1, "offerDiscountType": "FREE_TRIAL"}


@pytest.mark.parametrize(
    ("subtype", "types"),
    [
        ("INITIAL_BUY", [EventType.SUBSCRIPTION_CREATED, EventType.SUBSCRIPTION_ACTIVATED]),
        ("RESUBSCRIBE", [EventType.SUBSCRIPTION_ACTIVATED]),
    ],
)
def test_a_free_offer_is_a_trial_without_money(subtype: str, types: list[EventType]) -> None:
    events = parsed(subscription_news("SUBSCRIBED", subtype, transaction=transaction(**FREE)))
    assert [each.type for each in events] == types
    assert all(each.is_trial and each.amount is None for each in events)
    assert {(each.period_start, each.period_end, each.user_ref) for each in events} == {(BEGIN, END, USER)}


def test_a_free_renewal_gives_time_and_takes_no_money() -> None:
    events = parsed(subscription_news("DID_RENEW", transaction=transaction(**FREE, transactionReason="RENEWAL")))
    assert [(each.type, each.is_trial, each.period_end) for each in events] == [
        (EventType.SUBSCRIPTION_RENEWED, True, END),
        (EventType.SUBSCRIPTION_EXTENDED, False, END),
    ]


def test_a_price_that_is_not_told_leaves_the_amount_open() -> None:
    """Never zero: an operator looks at it."""
    paid = parsed(subscription_news("DID_RENEW", transaction=transaction(price=..., currency=...)))[1]
    assert (paid.type, paid.amount, paid.currency) == (EventType.PAYMENT_SUCCEEDED, None, None)


def test_what_a_family_member_is_given_moves_no_money_and_names_nobody() -> None:
    shared = transaction(inAppOwnershipType="FAMILY_SHARED", appAccountToken=...)
    events = parsed(subscription_news("SUBSCRIBED", "INITIAL_BUY", transaction=shared))
    assert [(each.type, each.user_ref, each.is_trial) for each in events] == [
        (EventType.SUBSCRIPTION_CREATED, None, False),
        (EventType.SUBSCRIPTION_ACTIVATED, None, False),
    ]


def test_a_family_members_period_is_no_trial_even_at_no_price() -> None:
    shared = transaction(inAppOwnershipType="FAMILY_SHARED", appAccountToken=..., price=0)
    for kind, subtype in (("SUBSCRIBED", "INITIAL_BUY"), ("DID_RENEW", None)):
        events = parsed(subscription_news(kind, subtype, transaction=shared))
        assert events and not any(each.is_trial or each.amount is not None for each in events)
        assert EventType.SUBSCRIPTION_EXTENDED not in {each.type for each in events}


def test_what_cannot_be_read_has_its_key_all_the_same() -> None:
    """It can be kept and looked at."""
    raw = subscription_news("DID_RENEW", transaction=transaction(price=-1))
    assert provider().delivery_key({}, raw) == f"apple:{UUID}"


@pytest.mark.parametrize("status", [1, 3, 4])
def test_a_refund_of_an_earlier_period_does_not_end_the_present_one(status: int) -> None:
    old = transaction(revocationDate=ms(REVOKED), revocationType="REFUND_FULL")
    events = parsed(subscription_news("REFUND", transaction=old, status=status))
    assert [each.type for each in events] == [EventType.PAYMENT_REFUNDED]


@pytest.mark.parametrize(
    ("share", "currency", "price", "amount"),
    [
        (50000, "USD", 10990, "5.50"),  # 5.495 is rounded half up
        (100000, "USD", 10990, "10.99"),
        (0, "USD", 10990, "0.00"),
        (33333, "JPY", 1000000, "333"),
        (12345, "KWD", 4995, "0.617"),
    ],
)
def test_a_prorated_refund_is_its_share(share: int, currency: str, price: int, amount: str) -> None:
    part = {"revocationType": "REFUND_PRORATED", "revocationPercentage": share, "revocationDate": ms(REVOKED)}
    told = transaction(price=price, currency=currency, **part)
    assert str(parsed(subscription_news("REFUND", transaction=told, status=5))[0].amount) == amount


def test_a_prorated_refund_without_its_share_has_no_amount() -> None:
    told = transaction(revocationType="REFUND_PRORATED", revocationDate=ms(REVOKED))
    assert parsed(subscription_news("REFUND", transaction=told, status=5))[0].amount is None


def test_a_refund_of_what_is_no_subscription_ends_none() -> None:
    told = transaction(expiresDate=..., type="Consumable", revocationDate=ms(REVOKED))
    events = parsed(subscription_news("REFUND", transaction=told, renewal=None, status=None))
    assert [(each.type, each.provider_sub_id) for each in events] == [(EventType.PAYMENT_REFUNDED, None)]


def test_a_refund_taken_back_after_the_end_activates_nothing() -> None:
    late = subscription_news("REFUND_REVERSED", signedDate=ms(END) + 1)
    assert [each.type for each in parsed(late)] == [EventType.PAYMENT_REFUND_REVERSED]


def test_what_comes_from_the_sandbox_is_a_test() -> None:
    raw = subscription_news(
        "SUBSCRIBED",
        "INITIAL_BUY",
        transaction=transaction(environment="Sandbox"),
        renewal=renewal(environment="Sandbox"),
        data={"environment": "Sandbox"},
    )
    provider().verify_webhook({}, raw, END)
    events = parsed(raw)
    assert len(events) == 3
    assert all(each.is_test for each in events)
    assert not any(each.is_test for each in parsed(subscription_news("SUBSCRIBED", "INITIAL_BUY")))
    assert not provider().believes_tests


def test_every_renewal_has_a_key_of_its_own() -> None:
    rows = [transaction(transactionId=f"20000007000001{n}") for n in range(3)]
    keys = {parsed(subscription_news("DID_RENEW", transaction=row))[1].provider_payment_id for row in rows}
    assert len(keys) == 3


def test_the_raw_event_has_no_jws() -> None:
    """A JWS proves a purchase to whoever shows it."""
    (event, _) = parsed(subscription_news("DID_RENEW"))
    assert event.raw["transaction"]["transactionId"] == CURRENT
    assert "eyJ" not in json.dumps(event.raw, default=str)
    assert "eyJ" not in repr(event)


@pytest.mark.parametrize(
    "changes",
    [
        {"transactionId": ...},
        {"transactionId": 7.5},
        {"originalTransactionId": ""},
        {"productId": "x" * 300},
        {"purchaseDate": ...},
        {"purchaseDate": "soon"},
        {"expiresDate": 10**30},
        {"price": -1},
        {"price": 10**25},
        {"price": 1.5},
        {"price": True},
        {"currency": "DOGE"},
        {"revocationPercentage": 100001},
        {"appAccountToken": ["a"]},
    ],
    ids=str,
)
def test_a_transaction_that_is_not_the_documented_one_is_malformed(changes: dict[str, Any]) -> None:
    with pytest.raises(MalformedError):
        parsed(subscription_news("DID_RENEW", transaction=transaction(**changes)))


@pytest.mark.parametrize(
    "raw",
    [
        notification("DID_RENEW"),
        subscription_news("DID_RENEW", notificationUUID=...),
        subscription_news("DID_RENEW", notificationUUID="u" * 101),
        subscription_news("DID_RENEW", notificationType=...),
        subscription_news("DID_RENEW", signedDate=...),
        subscription_news("DID_RENEW", renewal=renewal(signedDate=...)),
        subscription_news("DID_RENEW", data={"signedTransactionInfo": "a.b"}),
        subscription_news("DID_RENEW", data={"signedTransactionInfo": 7}),
        subscription_news("DID_RENEW", data={"status": "1"}),
        b'{"signedPayload": "a.\xc3\xa4.c"}',
        b'{"signedPayload": null}',
        b"[]",
        b"\xff",
    ],
    ids=range(13),
)
def test_a_notification_that_is_not_the_documented_one_is_malformed(raw: bytes) -> None:
    with pytest.raises(MalformedError):
        parsed(raw)


def test_fields_that_are_new_and_fields_that_are_missing_do_no_harm() -> None:
    bare_one = transaction(
        webOrderLineItemId=...,
        type=...,
        storefront=...,
        inAppOwnershipType=...,
        transactionReason=...,
        extra={"a": [1]},
    )
    assert len(parsed(subscription_news("DID_RENEW", transaction=bare_one, renewal=None, extra=1))) == 2
