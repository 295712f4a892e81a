"""What each mode of the sandbox's adapter can do, and what it reads: no network where a capability is missing."""

from __future__ import annotations

import json
import random
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest

from plans.models import PlanProviderRef
from plans.seeds import plans_seed
from portal.demo import demo_seed
from providers.base import (
    ChangeRequest,
    ChargeRequest,
    EventType,
    LinkRequest,
    MalformedError,
    NotSupported,
    RequestRefused,
    SubRequest,
    SubStatus,
)
from providers.sandbox.accounts import fingerprint
from providers.sandbox.adapter import MODES, SandboxProvider
from providers.sandbox.models import SandboxProduct
from providers.sandbox.subscription_wire import STATE_EVENTS, state_event, state_of
from tests.providers.sandbox_support import KEY, config

AT = datetime(2031, 1, 31, 9, tzinfo=UTC)
SHOWN = {
    "id": "sub_1",
    "status": "active",
    "auto_renew": True,
    "product_ref": "basic_monthly",
    "period_start": "2031-01-31T09:00:00+00:00",
    "period_end": "2031-02-28T09:00:00+00:00",
    "grace_until": None,
    "as_of": "2031-01-31T09:00:00+00:00",
    "user_ref": "user-1",
    "plan_ref": "basic",
    "order_ref": "order-1",
    "replaces": "",
    "unacknowledged": False,
    "test": False,
}
#: What a capability promises, and a call of it.
CALLS: dict[str, Any] = {
    "create": lambda it: it.create_subscription(
        SubRequest("u", "p", "ref", "o", Decimal(1), "USD", (1, "monthly"), 0, "", "", "", "", "", "key")
    ),
    "payment_link": lambda it: it.create_payment_link(
        LinkRequest("u", "p", "o", Decimal(1), "USD", "", "", "", "", "", "key")
    ),
    "attach": lambda it: it.attach_purchase(user_ref="u", token="t"),
    "merchant_charge": lambda it: it.charge(ChargeRequest("m", "c", Decimal(1), "USD", "key")),
    "refund_full": lambda it: it.refund(
        provider_txn_id="p", amount=None, currency="USD", reason="", idempotency_key="key"
    ),
    "fetch_state": lambda it: it.fetch_events("sub_1", since=AT),
    "feed": lambda it: list(it.missed_events(since=AT, until=AT)),
    "find_purchase": lambda it: it.find_purchase("order-1", since=AT),
    "cancel_at_period_end": lambda it: it.cancel_subscription("sub_1"),
    "cancel_now": lambda it: it.cancel_subscription("sub_1", at_period_end=False),
    "resume": lambda it: it.resume_subscription("sub_1"),
    "pause": lambda it: it.pause_subscription("sub_1"),
    "change": lambda it: it.change_subscription(
        ChangeRequest(
            "sub_1", "gold", "gold_monthly", Decimal(9), "USD", (1, "monthly"), now=False, idempotency_key="k"
        )
    ),
    "acknowledge": lambda it: it.acknowledge_purchase("sub_1"),
}


def provider(mode: str, **changes: Any) -> SandboxProvider:
    """Nobody listens there: whoever asks fails otherwise than by NotSupported."""
    return SandboxProvider(f"sandbox-{mode}", config("http://127.0.0.1:9/sandbox", mode=mode, **changes))


@pytest.mark.parametrize(
    ("mode", "capability"),
    [(mode, capability) for mode, caps in MODES.items() for capability in CALLS if not getattr(caps, capability)],
)
def test_what_a_mode_cannot_do_it_says_without_asking(mode: str, capability: str) -> None:
    with pytest.raises(NotSupported):
        CALLS[capability](provider(mode))


def test_every_capability_is_some_modes() -> None:
    names = [name for name in MODES["billing"].__slots__ if isinstance(getattr(MODES["billing"], name), bool)]
    lacking = [name for name in names if not any(getattr(caps, name) for caps in MODES.values())]
    # A lack rather than a capability: the sandbox knows a refund by its key.
    assert lacking == ["unkeyed_refunds"]


def test_a_plan_without_a_product_is_not_even_asked_for() -> None:
    wish = SubRequest("u", "p", None, "o", Decimal(1), "USD", (1, "monthly"), 0, "", "", "", "", "", "key")
    with pytest.raises(RequestRefused):
        provider("billing").create_subscription(wish)


def test_a_mode_that_is_none_is_named() -> None:
    [fault] = provider("bank").config_faults(debug=True)
    assert (fault.level, "mode" in fault.message) == ("error", True)
    [missing] = provider("store", api_key="").config_faults(debug=True)
    assert "SANDBOX_STORE_API_KEY" in missing.message


def test_only_who_renews_by_itself_has_a_page_for_it() -> None:
    assert provider("payments").manage_url("sub_1") is None
    assert provider("billing").manage_url("") is None
    url = provider("store").manage_url("sub_1")
    assert url is not None and url.startswith("http://127.0.0.1:9/sandbox/manage/sub_1/")
    assert KEY not in url


@pytest.mark.parametrize(
    ("shown", "status", "until"),
    [
        ({}, SubStatus.ACTIVE, "2031-02-28"),
        ({"auto_renew": False}, SubStatus.CANCELED, "2031-02-28"),
        ({"status": "trial"}, SubStatus.TRIAL, "2031-02-28"),
        ({"status": "past_due", "grace_until": "2031-03-07T09:00:00+00:00"}, SubStatus.PAST_DUE, "2031-03-07"),
        ({"status": "on_hold"}, SubStatus.ON_HOLD, "2031-02-28"),
        ({"status": "paused"}, SubStatus.PAUSED, "2031-02-28"),
        ({"status": "expired", "auto_renew": False}, SubStatus.EXPIRED, "2031-02-28"),
        ({"status": "revoked", "auto_renew": False}, SubStatus.REVOKED, "2031-02-28"),
        ({"status": "sleeping"}, SubStatus.UNKNOWN, "2031-02-28"),
    ],
)
def test_a_state_is_read(shown: dict[str, Any], status: SubStatus, until: str) -> None:
    state = state_of({**SHOWN, **shown})
    assert (state.status, state.period_end.date().isoformat()) == (status, until)
    told = state_event("sandbox", {**SHOWN, **shown})
    assert (told is None) == (status is SubStatus.UNKNOWN)


def delivery(type_: str, **data: Any) -> bytes:
    return json.dumps({"id": "evt_1", "type": type_, "created_at": AT.isoformat(), "data": data}).encode()


@pytest.mark.parametrize(("word", "type_"), STATE_EVENTS.items())
def test_a_delivery_about_state_is_read(word: str, type_: EventType) -> None:
    [event] = provider("billing").parse_webhook({}, delivery(word, subscription=SHOWN))

    assert (event.type, event.occurred_at, event.event_id) == (type_, AT, "evt_1#0")
    assert (event.provider_sub_id, event.provider_plan_ref, event.order_ref) == ("sub_1", "basic_monthly", "order-1")
    assert event.period_end == datetime(2031, 2, 28, 9, tzinfo=UTC)
    assert event.is_trial == (word == "subscription.trial_started")


def test_garbage_is_malformed_and_nothing_else() -> None:
    whole = delivery("subscription.renewed", subscription=SHOWN)
    chance = random.Random(7)
    for _ in range(500):
        body = bytearray(whole)
        for _ in range(chance.randint(1, 6)):
            place = chance.randrange(len(body))
            body[place : place + chance.randint(0, 3)] = chance.randbytes(chance.randint(0, 3))
        try:
            provider("billing").parse_webhook({}, bytes(body))
        except MalformedError:
            continue


@pytest.mark.django_db
def test_the_demos_plans_have_products_at_the_sandboxes_that_sell(settings: Any) -> None:
    settings.PAYFLOW_PROVIDERS = {
        **settings.PAYFLOW_PROVIDERS,
        "sandbox-billing": config("http://127.0.0.1:9/sandbox", mode="billing"),
        "sandbox-store": config("http://127.0.0.1:9/sandbox", mode="store", api_key="another"),
    }
    plans_seed()
    for _ in range(2):
        demo_seed(operator_email="operator@example.com", operator_password="demo")

    refs = PlanProviderRef.objects.order_by("provider", "ref").values_list("provider", "ref")
    assert list(refs) == [
        (name, ref) for name in ("sandbox-billing", "sandbox-store") for ref in ("premium_monthly", "pro_monthly")
    ]
    sold = SandboxProduct.objects.get(account=fingerprint(KEY), product_ref="premium_monthly")
    assert (sold.price, sold.currency, sold.cycle) == (Decimal("6.99"), "USD", "monthly")
