"""The Lava emulator: renewals and repeats, webhooks that are held, fail or are given up, faults on demand."""

from __future__ import annotations

import http.client
import json
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime

import pytest

from tests.emulators.lava import LavaEmulator
from tests.providers.lava_support import API_KEY, SECRET_KEY, Shop, call, click, control, create


@pytest.fixture
def shop() -> Iterator[Shop]:
    shop = Shop()
    yield shop
    shop.stop()


@pytest.fixture
def lava() -> Iterator[LavaEmulator]:
    with LavaEmulator(api_key=API_KEY, secret_key=SECRET_KEY, retry_pauses=(0.02, 0.02)) as emulator:
        yield emulator


# --- charging again --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("outcome", ["success", "failed"])
def test_renewal_is_a_new_invoice_of_the_same_order(lava: LavaEmulator, shop: Shop, outcome: str) -> None:
    first = create(lava, shop)
    click(lava, first["url"], outcome="pay")

    status, answer = control(lava, "orders/sub_1/renew", {"outcome": outcome})

    paid, renewed = shop.bodies()
    assert (status, answer["http_status"], answer["state"]) == (200, 200, "delivered")
    assert renewed["order_id"] == paid["order_id"]
    assert renewed["invoice_id"] == answer["invoice_id"] != paid["invoice_id"]
    assert renewed["status"] == outcome


def test_only_a_paid_order_is_charged_again(lava: LavaEmulator, shop: Shop) -> None:
    create(lava, shop)

    assert control(lava, "orders/sub_1/renew")[0] == 409
    assert control(lava, "orders/sub_1/renew", {"outcome": "maybe"})[0] == 400


def test_repeat_sends_the_very_same_bytes(lava: LavaEmulator, shop: Shop) -> None:
    click(lava, create(lava, shop)["url"], outcome="pay")
    first = shop.take()

    assert control(lava, "orders/sub_1/repeat")[1]["http_status"] == 200

    again = shop.take()
    assert (again[1], again[0]["x-lava-signature"]) == (first[1], first[0]["x-lava-signature"])


def test_clock_runs_ahead(lava: LavaEmulator, shop: Shop) -> None:
    control(lava, "clock", {"ahead_seconds": 30 * 86400})
    click(lava, create(lava, shop)["url"], outcome="pay")

    pay_time = datetime.fromisoformat(shop.bodies()[0]["pay_time"])
    assert 29.9 < (pay_time - datetime.now(UTC)).total_seconds() / 86400 < 30.1


# --- deliveries and faults -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("order", "expected"), [("release", [1, 2, 3]), ("reverse", [3, 2, 1])])
def test_held_webhooks_are_released_in_any_order(
    lava: LavaEmulator, shop: Shop, order: str, expected: list[int]
) -> None:
    click(lava, create(lava, shop, sum=1)["url"], outcome="abandon")
    control(lava, "deliveries", {"order": "hold"})
    for n in (1, 2, 3):
        click(lava, create(lava, shop, sum=n)["url"], outcome="pay")
    assert shop.bodies() == []
    assert [delivery.state for delivery in lava.deliveries] == ["held"] * 3

    status, answer = control(lava, "deliveries", {"order": order})

    assert status == 200
    assert [delivery["http_status"] for delivery in answer["deliveries"]] == [200] * 3
    assert [body["amount"] for body in shop.bodies()] == expected
    click(lava, create(lava, shop, sum=4)["url"], outcome="pay")
    assert len(shop.bodies()) == 1
    assert control(lava, "deliveries", {"order": "shuffle"})[0] == 400


def wait_for(state: str, lava: LavaEmulator) -> None:
    deadline = time.monotonic() + 5
    while lava.deliveries[-1].state != state:
        assert time.monotonic() < deadline, lava.deliveries[-1]
        time.sleep(0.005)


def test_failing_webhook_is_tried_again(lava: LavaEmulator, shop: Shop) -> None:
    shop.answers = [503, 302]

    delivery = lava.pay(create(lava, shop)["invoice_id"])

    assert delivery.attempts[0] == 503
    wait_for("delivered", lava)
    assert delivery.attempts == [503, 302, 200]
    assert len({json.dumps(body) for body in shop.bodies()}) == 1


def test_webhook_that_always_fails_is_given_up(lava: LavaEmulator, shop: Shop) -> None:
    shop.answers = [500] * 9

    delivery = lava.pay(create(lava, shop)["invoice_id"])

    wait_for("gave_up", lava)
    assert delivery.attempts == [500, 500, 500]


def test_webhook_never_leaves_loopback(lava: LavaEmulator, shop: Shop) -> None:
    delivery = lava.pay(create(lava, shop, hook_url="https://shop.example/webhooks/lava")["invoice_id"])

    assert (delivery.state, delivery.attempts) == ("gave_up", ["hook_url is not on loopback"])


@pytest.mark.parametrize(("fault", "made"), [("500", 0), ("timeout", 0), ("timeout_after", 1)])
def test_creates_fail_as_often_as_asked(lava: LavaEmulator, shop: Shop, fault: str, made: int) -> None:
    assert control(lava, "faults", {"create": fault, "times": 2, "seconds": 0.01})[0] == 200
    for _ in range(2):
        if fault == "500":
            assert create(lava, shop)["http_status"] == 500
        else:
            with pytest.raises((http.client.HTTPException, ConnectionError)):
                create(lava, shop)

    assert len(lava.invoices) == 2 * made
    assert create(lava, shop)["http_status"] == 200


def test_faults_can_be_taken_back(lava: LavaEmulator, shop: Shop) -> None:
    control(lava, "faults", {"create": "500", "times": 9})
    control(lava, "faults", {"create": None})

    assert create(lava, shop)["http_status"] == 200
    assert control(lava, "faults", {"create": "fire"})[0] == 400


def test_everything_is_listed_but_the_secrets(lava: LavaEmulator, shop: Shop) -> None:
    invoice_id = create(lava, shop)["invoice_id"]
    lava.pay(invoice_id)

    _, _, answer = call(lava.origin, "GET", "/control/invoices")

    state = json.loads(answer)
    assert state["invoices"][0]["invoice_id"] == invoice_id
    assert state["invoices"][0]["status"] == "success"
    assert state["deliveries"][0]["attempts"] == [200]
    assert API_KEY.encode() not in answer
    assert SECRET_KEY.encode() not in answer
    assert API_KEY not in repr(lava)


def test_many_at_once(lava: LavaEmulator, shop: Shop) -> None:
    def buy(n: int) -> None:
        click(lava, create(lava, shop, order_id=f"sub_{n}")["url"], outcome="pay")

    threads = [threading.Thread(target=buy, args=(n,)) for n in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)

    assert sorted(body["order_id"] for body in shop.bodies()) == sorted(f"sub_{n}" for n in range(20))
