"""The emulator of Stripe: its objects have the shapes of Stripe's own fixtures, its keys, faults and deliveries work."""

from __future__ import annotations

import http.client
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlencode

import pytest

from providers.base import EventType
from tests.emulators.stripe import Refusal, StripeEmulator, read_form
from tests.providers.stripe_support import (
    ROOT,
    SECRET_KEY,
    VECTORS,
    WEBHOOK_SECRET,
    Receiver,
    World,
    charge_request,
    sub_request,
    world,
)


@pytest.fixture
def shop() -> Iterator[World]:
    with world() as found:
        yield found


def call(origin: str, method: str, path: str, body: str = "", **headers: str) -> tuple[int, dict[str, str], Any]:
    connection = http.client.HTTPConnection(origin.removeprefix("http://"), timeout=5)
    try:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        connection.request(method, path, body, {"Authorization": f"Bearer {SECRET_KEY}", **named})
        response = connection.getresponse()
        return response.status, {k.lower(): v for k, v in response.getheaders()}, json.loads(response.read())
    finally:
        connection.close()


def control(shop: World, address: str, /, **wish: object) -> Any:
    status, _, answer = call(shop.stripe.origin, "POST", f"/control/{address}", json.dumps(wish))
    assert status == 200, answer
    return answer


@pytest.mark.skipif(not VECTORS.exists(), reason="the shared vectors are not here")
def test_objects_have_fields_of_stripes_own_fixtures_only() -> None:
    fixtures = json.loads((VECTORS / "fixtures3_subset.json").read_text())
    with world() as shop, world(mode="billing") as billing:
        [paid] = shop.buy()
        shop.stripe.do(shop.stripe.payments.refund, {"payment_intent": paid.provider_payment_id, "amount": "100"})
        shop.stripe.do(shop.stripe.payments.dispute, paid.provider_payment_id)
        shop.buy(trial_days=3, idempotency_key="trial")
        billing.buy(provider_plan_ref=billing.price())
        kept = [*shop.stripe.shown()["objects"], *billing.stripe.shown()["objects"]]
        events = shop.stripe.shown()["events"]

    for value in [*kept, *events]:
        fixture = fixtures[value["object"]]
        # The fixtures are made from the API's description, where a field that is mostly absent may be left out.
        known = {*fixture, "metadata", "next_action", "last_payment_error", "failure_reason", "livemode"}
        known |= {"amount_remaining", "event_types", "url"}
        assert {name for name in value if not name.startswith("_")} - known == set(), value["object"]
    assert {value["object"] for value in kept} >= {
        "customer",
        "payment_method",
        "payment_intent",
        "charge",
        "refund",
        "dispute",
        "setup_intent",
        "checkout.session",
        "price",
        "subscription",
        "invoice",
        "invoice_payment",
    }


def test_a_key_has_one_outcome(shop: World) -> None:
    origin, fields = shop.stripe.origin, urlencode({"payment_intent": "pi_none"})

    first = call(origin, "POST", "/v1/refunds", fields, Idempotency_Key="k")
    again = call(origin, "POST", "/v1/refunds", fields, Idempotency_Key="k")
    other = call(origin, "POST", "/v1/refunds", urlencode({"payment_intent": "pi_2"}), Idempotency_Key="k")

    assert (first[0], first[2]["error"]["code"]) == (404, "resource_missing")
    assert (again[0], again[2]) == (first[0], first[2])
    assert "idempotent-replayed" not in first[1] and again[1]["idempotent-replayed"] == "true"
    assert (other[0], other[2]["error"]["type"]) == (400, "idempotency_error")


def test_another_key_is_not_let_in_and_unknown_parameters_are_refused(shop: World) -> None:
    assert call(shop.stripe.origin, "GET", "/v1/events", Authorization="Bearer sk_other")[0] == 401
    for path, fields in (("/v1/refunds", "payment_intnet=pi_1"), ("/v1/checkout/sessions", "mode=payment&modee=x")):
        status, _, answer = call(shop.stripe.origin, "POST", path, fields)
        assert (status, answer["error"]["code"]) == (400, "parameter_unknown")
    assert call(shop.stripe.origin, "GET", "/v1/of_tomorrow")[0] == 404


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("a=1&b[c]=2&b[d][e]=3", {"a": "1", "b": {"c": "2", "d": {"e": "3"}}}),
        ("a[0][b]=1&a[1][b]=2", {"a": [{"b": "1"}, {"b": "2"}]}),
        ("a[]=1&a[]=2", {"a": ["1", "2"]}),
        ("a=%C3%A9&b=", {"a": "é", "b": ""}),
        ("", {}),
    ],
)
def test_forms_with_brackets(text: str, value: object) -> None:
    assert read_form(text) == value


@pytest.mark.parametrize("text", ["a[=1", "a=1&a[b]=2", "[]=1"])
def test_forms_that_are_none_are_refused(text: str) -> None:
    with pytest.raises(Refusal):
        read_form(text)


def test_the_operator_works_by_http(shop: World) -> None:
    [paid] = shop.buy()
    assert paid.method is not None

    dispute = control(shop, f"payments/{paid.provider_payment_id}/dispute")
    control(shop, f"disputes/{dispute['id']}/close", status="won")
    refund = control(shop, f"payments/{paid.provider_payment_id}/refund", amount=100)
    control(shop, f"refunds/{refund['id']}/fail")
    control(shop, f"payment_methods/{paid.method.method_ref}", behaviour="stolen_card")
    types = [event.type for event in shop.events()]
    control(shop, "faults", fault="500", path="/v1/refunds")

    assert types[:4] == [
        EventType.PAYMENT_DISPUTED,
        EventType.PAYMENT_DISPUTED,
        EventType.PAYMENT_DISPUTE_WON,
        EventType.PAYMENT_DISPUTE_WON,
    ]
    assert types[4] is EventType.PAYMENT_REFUNDED
    assert EventType.PAYMENT_REFUND_REVERSED in types
    assert shop.provider.charge(charge_request(paid.method)).decline is not None
    assert call(shop.stripe.origin, "GET", "/v1/refunds")[0] == 500
    assert call(shop.stripe.origin, "GET", "/v1/refunds")[0] == 200
    text = json.dumps(call(shop.stripe.origin, "GET", "/control/state")[2])
    assert SECRET_KEY not in text and WEBHOOK_SECRET not in text


def test_deliveries_are_held_sent_backwards_and_repeated(shop: World) -> None:
    control(shop, "deliveries", order="hold")
    shop.pay(shop.provider.create_subscription(sub_request()).checkout_url)
    assert shop.receiver.taken() == []
    sent = control(shop, "deliveries", order="reverse")
    shop.stripe.deliveries.drain()
    bodies = [body for _, body in shop.receiver.taken()]
    control(shop, "repeat", event=sent[0]["event"])
    shop.stripe.deliveries.drain()
    [(_, again)] = shop.receiver.taken()

    assert [json.loads(body)["type"] for body in bodies] == [
        "checkout.session.completed",
        "payment_intent.succeeded",
        "charge.succeeded",
        "payment_intent.created",
        "payment_method.attached",
        "customer.created",
    ]
    assert again == bodies[-1]


def test_a_failed_delivery_is_tried_again_and_signed_by_every_secret() -> None:
    receiver = Receiver()
    receiver.answers = [500, 302, 200]
    with StripeEmulator(
        secret_key=SECRET_KEY, webhook_secret=WEBHOOK_SECRET, hook_url=receiver.hook_url, retry_pauses=(0.01,) * 3
    ) as stripe:
        shop = World(stripe, receiver)
        stripe.deliveries.secrets = ["whsec_new", WEBHOOK_SECRET]
        stripe.do(stripe.payments.customer, email=None)
        stripe.deliveries.drain()
        [delivery] = stripe.deliveries.sent
        received = receiver.taken()

    receiver.stop()
    assert (delivery.attempts, delivery.state) == ([500, 302, 200], "delivered")
    assert len({body for _, body in received}) == 1
    for headers, body in received:
        assert headers["stripe-signature"].count("v1=") == 2
        shop.provider.verify_webhook(headers, body, datetime.now(UTC))


def test_time_passes_in_steps() -> None:
    """A month's end: the periods come from the anchor, not from the period before."""
    with world(mode="billing") as shop:
        ahead = int(datetime(2027, 1, 31, 12, tzinfo=UTC).timestamp()) - shop.stripe.store.now()
        shop.advance(ahead / 86400)
        told = shop.buy(provider_plan_ref=shop.price())
        shop.advance(125)
        told += shop.events()

    ends = {event.period_end for event in told if event.type is EventType.PAYMENT_SUCCEEDED and event.period_end}
    assert sorted((end.month, end.day) for end in ends) == [(2, 28), (3, 31), (4, 30), (5, 31), (6, 30)]


def test_it_runs_as_a_program() -> None:
    keys = {"STRIPE_SECRET_KEY": SECRET_KEY, "STRIPE_WEBHOOK_SECRET": WEBHOOK_SECRET}
    command = [sys.executable, "-m", "tests.emulators.stripe"]
    process = subprocess.Popen(command, cwd=ROOT, env={**os.environ, **keys}, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        origin = process.stdout.readline().split()[-1]
        assert call(origin, "GET", "/v1/events")[2]["data"] == []
    finally:
        process.send_signal(signal.SIGTERM)
    assert process.wait(10) == 0


def test_it_shares_no_code_with_the_adapter() -> None:
    for path in (ROOT / "tests" / "emulators" / "stripe").glob("*.py"):
        text = path.read_text()
        assert not [
            word for word in ("from providers", "import providers", "payflow", "import stripe\n") if word in text
        ]
