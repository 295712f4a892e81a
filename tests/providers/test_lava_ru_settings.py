"""What lava.ru's adapter can and cannot, the faults of its settings, its refunds, and that it shows no secret."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest

from providers import base
from providers.base import Caps, RefundResult
from providers.lava.ru.adapter import LavaRuProvider
from providers.registry import adapter_class
from tests.emulators.lava import LavaRuEmulator
from tests.providers.lava_flavours import (
    ADDITIONAL_KEY,
    RU_PAYMENT,
    SHOP_KEY,
    lava_ru,
    rouble_request,
    ru_emulator,
    ru_signed,
)

NOW = datetime(2026, 11, 8, tzinfo=UTC)
REFUND = "/business/invoice/refund"


@pytest.fixture
def lava() -> Iterator[LavaRuEmulator]:
    with ru_emulator() as running:
        yield running


@pytest.fixture
def adapter(lava: LavaRuEmulator) -> LavaRuProvider:
    return lava_ru(lava.base_url)


def test_capabilities() -> None:
    assert lava_ru().capabilities == Caps(
        create=True,
        hosted_checkout=True,
        cancel_now=True,
        cancel_at_period_end=True,
        refund_full=True,
        refund_partial=True,
        payment_link=True,
        renewal_driver="provider",
        price_set_by="payflow",
        webhooks_signed=True,
        fetch_state=True,
        unkeyed_refunds=True,
    )


def test_the_registry_knows_the_adapter() -> None:
    assert adapter_class("lava_ru") is LavaRuProvider


# --- refunds ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def paid(lava: LavaRuEmulator, adapter: LavaRuProvider) -> str:
    """A paid invoice of 990 roubles, whose webhook went nowhere."""
    adapter.create_subscription(rouble_request())
    [invoice] = lava.invoices
    lava.hold()
    lava.pay(invoice)
    return invoice


def refund(adapter: LavaRuProvider, invoice: str, amount: str | None, key: str, **changes: Any) -> RefundResult:
    wish: dict[str, Any] = {"currency": "RUB", "reason": "asked", **changes}
    sum_ = None if amount is None else Decimal(amount)
    return adapter.refund(provider_txn_id=invoice, amount=sum_, idempotency_key=key, **wish)


def refunds(lava: LavaRuEmulator, invoice: str) -> list[str]:
    return list(lava.invoices[invoice].refunds.values())


@pytest.mark.parametrize("amounts", [["990.00"], [None], ["10.50", "979.50"], ["10.50", None]])
def test_a_part_and_the_rest_are_the_whole(
    lava: LavaRuEmulator, adapter: LavaRuProvider, paid: str, amounts: list[str | None]
) -> None:
    results = [refund(adapter, paid, amount, f"key-{n}") for n, amount in enumerate(amounts)]

    assert [result.status for result in results] == ["succeeded"] * len(amounts)
    assert sum(result.amount or 0 for result in results) == 990
    assert [result.provider_refund_id for result in results] == list(lava.invoices[paid].refunds)
    with pytest.raises(base.RequestRefused):
        refund(adapter, paid, "0.01", "one-more")


def test_the_same_key_is_one_refund(lava: LavaRuEmulator, adapter: LavaRuProvider, paid: str) -> None:
    assert refund(adapter, paid, "10.00", "key") == refund(adapter, paid, "10.00", "key")
    refund(adapter, paid, "10.00", "another key")

    assert refunds(lava, paid) == ["10.00", "10.00"]


@pytest.mark.parametrize("times", [1, 2])
def test_refund_under_way_is_asked_about(lava: LavaRuEmulator, adapter: LavaRuProvider, paid: str, times: int) -> None:
    lava.refunds_take_time = True
    results = [refund(adapter, paid, "10.00", "key") for _ in range(times)]

    assert results[-1].status == "succeeded"
    assert refunds(lava, paid) == ["10.00"]
    assert lava.requests[-1].path == "/business/invoice/get-refund-status"


def test_lost_refund_is_not_made_again(lava: LavaRuEmulator, paid: str) -> None:
    adapter = lava_ru(lava.base_url, answer_seconds=0.3)
    lava.fail("timeout_after", path=REFUND, seconds=1)

    for _ in range(2):
        with pytest.raises(base.Unavailable):
            refund(adapter, paid, "10.00", "key")

    assert refunds(lava, paid) == ["10.00"]


def test_refused_refund_may_be_asked_again(lava: LavaRuEmulator, adapter: LavaRuProvider, paid: str) -> None:
    for _ in range(2):
        with pytest.raises(base.RequestRefused):
            refund(adapter, paid, "990.01", "key")

    assert refund(adapter, paid, "990.00", "key").status == "succeeded"


def test_refund_of_nothing_of_ours(adapter: LavaRuProvider) -> None:
    with pytest.raises(base.UnknownReference):
        refund(adapter, "unknown", "1.00", "key")
    with pytest.raises(base.RequestRefused):
        refund(adapter, "unknown", "1.00", "key", currency="USD")


# --- settings and secrets --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("key", "variable"),
    [("shop_id", "LAVA_SHOP_ID"), ("secret_key", "LAVA_SECRET_KEY"), ("additional_key", "LAVA_ADDITIONAL_KEY")],
)
def test_missing_setting_is_an_error_that_names_its_variable(key: str, variable: str) -> None:
    [fault] = lava_ru(**{key: " "}).config_faults(debug=False)

    assert fault.level == "error"
    assert variable in fault.hint


def test_other_faults() -> None:
    assert lava_ru().config_faults(debug=False) == []
    assert [f.level for f in lava_ru(additional_key=SHOP_KEY).config_faults(debug=False)] == ["warning"]
    assert [f.level for f in lava_ru("http://127.0.0.1:1").config_faults(debug=False)] == ["error"]


@pytest.mark.parametrize("missing", ["shop_id", "secret_key"])
def test_without_its_keys_nothing_is_called(lava: LavaRuEmulator, missing: str) -> None:
    with pytest.raises(base.AuthError):
        lava_ru(lava.base_url, **{missing: ""}).create_subscription(rouble_request())

    assert not lava.requests


def test_no_secret_and_no_person_is_shown(
    lava: LavaRuEmulator, adapter: LavaRuProvider, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    adapter.create_subscription(rouble_request())
    adapter.verify_webhook(*ru_signed(RU_PAYMENT), NOW)
    events = adapter.parse_webhook(*ru_signed(RU_PAYMENT))
    shown = [repr(adapter._settings), repr(adapter), caplog.text, repr(events)]

    for text in shown:
        for secret in (SHOP_KEY, ADDITIONAL_KEY, "anna@example.com", "553691"):
            assert secret not in text


@pytest.mark.parametrize(
    ("method", "arguments"),
    [
        ("attach_purchase", {"user_ref": "u", "token": "t"}),
        ("charge", {"request": base.ChargeRequest("pm", "cus", Decimal(1), "RUB", "key")}),
        ("find_payment", {"idempotency_key": "key", "created_at": NOW}),
        ("resume_subscription", {"provider_sub_id": "s"}),
        ("pause_subscription", {"provider_sub_id": "s"}),
        (
            "change_subscription",
            {"request": base.ChangeRequest("s", "pro", None, Decimal(1), "RUB", (1, "monthly"), True, "key")},
        ),
        ("missed_events", {"since": NOW, "until": NOW}),
        ("acknowledge_purchase", {"provider_sub_id": "s"}),
    ],
)
def test_what_lava_cannot_is_refused_without_a_call(
    lava: LavaRuEmulator, adapter: LavaRuProvider, method: str, arguments: dict[str, Any]
) -> None:
    with pytest.raises(base.NotSupported):
        getattr(adapter, method)(**arguments)

    assert not lava.requests
