"""lava.ru's Business API: recurrent products, refunds, payments that prove themselves and states that are read again.

The delivery of a subscription's state (type 4) is published nowhere: the stories have it as the emulator makes it up, the
vectors don't.
"""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

from providers.base import EventType, LinkRequest, ProviderEvent, SubRequest, SubStatus
from tests.emulators.lava import LavaRuEmulator
from tests.emulators.lava.ru import RuSubscription, canonical, signature
from tests.providers.conformance.pack import (
    Delivery,
    Golden,
    Order,
    Pack,
    Peer,
    Priced,
    Proof,
    Purchase,
    Secret,
    Step,
    Vector,
)
from tests.providers.conformance.stage import PRICE, Stage
from tests.providers.lava_flavours import PRODUCT, RU_ORDER, RU_PAYMENT, RU_STATE, SHOP_ID

SHOP_KEY = "lava-ru-shop-key-of-the-suite"
SECRETS = {
    Secret.CURRENT: "lava-ru-additional-key-of-the-suite",
    Secret.PREVIOUS: "lava-ru-additional-key-of-before",
    Secret.FOREIGN: "lava-ru-additional-key-of-another-shop",
    Secret.EMPTY: "",
}
HEADER = "authorization"
MOSCOW = ZoneInfo("Europe/Moscow")
PAID_AT = datetime(2026, 11, 8, 8, 26, 46, tzinfo=UTC)
INVOICE = str(RU_PAYMENT["invoice_id"])
#: Calls that make nothing which is bought.
READS = ("/status", "/get-refund-status", "/consumer/create")
REQUEST: dict[str, Any] = {
    "user_ref": "user_123",
    "plan_ref": "premium",
    "order_ref": RU_ORDER,
    "amount": PRICE,
    "currency": "RUB",
    "email": "anna@example.com",
    "success_url": "https://audiolearn.com/success?from=lava",
    "fail_url": "https://audiolearn.com/cancel",
    "cancel_url": "https://audiolearn.com/never-used",
    "hook_url": "https://audiolearn.com/webhooks/lava",
    "idempotency_key": "checkout:1",
}


def _content(**changes: Any) -> bytes:
    """The delivery of a payment with other fields; `...` takes one away."""
    fields = {name: value for name, value in {**RU_PAYMENT, **changes}.items() if value is not ...}
    return json.dumps(fields, ensure_ascii=False).encode()


def _event(status: str = "success", **changes: Any) -> ProviderEvent:
    values: dict[str, Any] = {
        "provider": "lava_ru",
        "event_id": f"lavaru:{INVOICE}:{status}#0",
        "type": EventType.PAYMENT_SUCCEEDED if status == "success" else EventType.PAYMENT_FAILED,
        "occurred_at": PAID_AT,
        "provider_payment_id": INVOICE,
        "order_ref": RU_ORDER,
        "user_ref": "user_123",
        "plan_ref": "про/1",
        "amount": Decimal("990.00"),
        "currency": "RUB",
        "reason": None if status == "success" else status,
    }
    return ProviderEvent(**{**values, **changes})


class LavaRuPeer(Peer):
    def __init__(self, lava: LavaRuEmulator) -> None:
        self.lava = lava
        self.api = lava.base_url

    def at(self, moment: datetime) -> None:
        self.lava.stands_at = moment

    def buy(self, order: Order, step: Step = Step.PAID) -> Purchase:
        invoice_id = (order.checkout_url or "").rpartition("/")[2]
        (self.lava.decline if step is Step.DECLINED else self.lava.pay)(invoice_id)
        [theirs] = self._open(order)
        return Purchase(order, payment_id=invoice_id, sub_id=theirs.id)

    def play(self, step: Step, purchase: Purchase, stage: Stage) -> None:
        order_id = self.lava.subscriptions[purchase.sub_id].order_id
        match step:
            case Step.RENEWED | Step.RECOVERED:
                purchase.payment_id = self.lava.renew(order_id).invoice_id
            case Step.RENEWAL_FAILED:
                self.lava.renew(order_id, "failed")
            case Step.ON_HOLD:
                self.lava.suspend(order_id)
            case Step.CANCELED:
                self.lava.cancel(order_id)
            case Step.REFUNDED | Step.REFUNDED_IN_PART:
                stage.provider.refund(
                    provider_txn_id=purchase.payment_id,
                    amount=Decimal("4.00") if step is Step.REFUNDED_IN_PART else None,
                    currency=purchase.order.currency,
                    reason="asked for",
                    idempotency_key=f"{step}:{purchase.payment_id}",
                )
            case _:
                super().play(step, purchase, stage)

    def make_true(self, content: bytes) -> None:
        """A payment's delivery is its proof."""

    def made(self, order: Order) -> int:
        return len(self._open(order))

    def refunded(self, purchase: Purchase) -> Decimal:
        return sum((Decimal(one) for one in self.lava.invoices[purchase.payment_id].refunds.values()), Decimal(0))

    def let_refunds_wait(self, waiting: bool) -> None:
        self.lava.refunds_take_time = self.lava.refunds_stay = waiting

    def call_it(self, purchase: Purchase, word: str) -> None:
        self.lava.subscriptions[purchase.sub_id].status = word

    def _open(self, order: Order) -> list[RuSubscription]:
        """Those of the order that were not withdrawn."""
        mine = (order.order_ref, f"{order.order_ref}-r2")
        return [one for one in self.lava.subscriptions.values() if one.order_id in mine and one.status != "deactivated"]


class LavaRuPack(Pack):
    name = "lava_ru"
    #: Lava's SDK signs the values, in a form of their own.
    proof = Proof.VALUES
    proof_headers = (HEADER,)
    secrets = (SHOP_KEY, *filter(None, SECRETS.values()))
    currency = "RUB"
    currencies = frozenset({"RUB"})
    product = PRODUCT
    states = {
        "created": SubStatus.PENDING,
        "activated": SubStatus.ACTIVE,
        "deactivated": SubStatus.CANCELED,
        "suspended": SubStatus.ON_HOLD,
    }
    steps = frozenset(
        {
            Step.PAID,
            Step.DECLINED,
            Step.RENEWED,
            Step.RENEWAL_FAILED,
            Step.RECOVERED,
            Step.CANCELED,
            Step.ON_HOLD,
            Step.REFUNDED,
            Step.REFUNDED_IN_PART,
        }
    )
    opens_another = (
        "no keys, and the look-up shows no page: the subscription whose page was lost is ended, another opened"
    )
    silent_refunds = "Lava answers the call and documents no delivery about it"
    shows_newest = "Lava lists no payments: the newest invoice of the order is all there is"
    asked_about = Step.CANCELED
    unknown_refs = ("22222222-0000-4000-8000-000000000404", "18cf0c0b-0000-4000-8000-000000000404", "none")

    def config(self, api: str, **changes: Any) -> dict[str, Any]:
        config = {
            "adapter": "lava_ru",
            "base_url": api,
            "shop_id": SHOP_ID,
            "secret_key": SHOP_KEY,
            "additional_key": SECRETS[Secret.CURRENT],
            "previous_additional_key": SECRETS[Secret.PREVIOUS],
            "answer_seconds": 5,
        }
        return {**config, **changes}

    @contextmanager
    def peer(self, *, shop_url: str, hook_url: str) -> Iterator[LavaRuPeer]:
        with LavaRuEmulator(
            shop_id=SHOP_ID,
            secret_key=SHOP_KEY,
            additional_key=SECRETS[Secret.CURRENT],
            hook_url=hook_url,
            retry_pauses=(),
        ) as lava:
            lava.offer(PRODUCT, str(PRICE))
            yield LavaRuPeer(lava)

    def is_read(self, method: str, path: str) -> bool:
        return path.endswith(READS)

    # --- the webhook

    def signed(self, content: bytes, *, at: datetime, secret: Secret = Secret.CURRENT) -> Delivery:
        proof = signature(SECRETS[secret], _signed_form(content))
        return Delivery({HEADER: proof, "content-type": "application/json"}, content)

    def vectors(self) -> Sequence[Vector]:
        failed = [
            Vector(status, _content(status=status), (_event(status),)) for status in ("error", "expired", "cancel")
        ]
        least = dict.fromkeys(("pay_service", "payer_details", "custom_fields", "type", "credited"), ...)
        return [
            Vector("a payment", _content(), (_event(),)),
            *failed,
            Vector("more fields", _content(of_tomorrow={"deep": [1, None]}), (_event(),), "extra"),
            Vector("the fewest fields", _content(**least), (_event(user_ref=None, plan_ref=None),), "sparse"),
        ]

    def payment(self, amount: Decimal, currency: str, *, number: int = 1, at: datetime | None = None) -> Priced:
        paid_at = (at or PAID_AT).astimezone(MOSCOW)
        return Priced(_content(invoice_id=f"inv-{number}", amount=str(amount), pay_time=f"{paid_at:%Y-%m-%d %H:%M:%S}"))

    def malformed(self) -> Sequence[bytes]:
        broken = [b"", b'{"invoice_id": ', b"[]", b"null", b"\xff\xfe{}", b'{"amount": NaN}', b"[" * 5000]
        of_money: list[dict[str, Any]] = [
            {"invoice_id": ...},
            {"invoice_id": "x" * 200},
            {"status": None},
            {"amount": "a lot"},
            {"amount": ...},
            {"pay_time": "yesterday"},
            {"pay_time": ...},
        ]
        of_state = [{"status": ""}, {"next_pay_time": "soon"}, {"subscription_id": None, "order_id": None}]
        return [
            *broken,
            *(_content(**one) for one in of_money),
            *(json.dumps({**RU_STATE, **one}).encode() for one in of_state),
        ]

    def unknown(self) -> Sequence[bytes]:
        return [_content(status="created"), _content(type=2), json.dumps({**RU_STATE, "status": "bewitched"}).encode()]

    def stranger(self, *, user_ref: str, email: str) -> bytes:
        custom = json.dumps({"user_id": user_ref, "plan_id": "premium", "email": email})
        return _content(invoice_id=f"inv-of-{user_ref or 'nobody'}", order_id="of-nobody", custom_fields=custom)

    # --- the calls

    def goldens(self) -> Sequence[Golden]:
        subscribed = (
            f'{{"productId":"{PRODUCT}","consumerId":"user_123","orderId":"{RU_ORDER}","shopId":"{SHOP_ID}"}}'
        ).encode()
        invoiced = (
            f'{{"sum":{PRICE},"orderId":"order-of-a-link","hookUrl":"https://audiolearn.com/webhooks/lava",'
            '"successUrl":"https://audiolearn.com/success","failUrl":"https://audiolearn.com/cancel","expire":300,'
            '"customFields":"{\\"user_id\\":\\"user_123\\",\\"plan_id\\":\\"premium\\"}",'
            f'"shopId":"{SHOP_ID}"}}'
        ).encode()
        subscription = SubRequest(**REQUEST, provider_plan_ref=PRODUCT, interval=(1, "monthly"), trial_days=0)
        link = LinkRequest(**{**REQUEST, "order_ref": "order-of-a-link"})
        return [
            _golden(
                "subscription",
                lambda provider: provider.create_subscription(subscription),
                "/business/recurrent/subscription/subscribe",
                subscribed,
            ),
            _golden(
                "link",
                lambda provider: provider.create_payment_link(link),
                "/business/invoice/create",
                invoiced,
            ),
        ]


def _golden(name: str, call: Any, path: str, body: bytes) -> Golden:
    proof = hmac.new(SHOP_KEY.encode(), body, hashlib.sha256).hexdigest()
    return Golden(name, call, "POST", path, body, {"content-type": "application/json", "signature": proof})


def _signed_form(content: bytes) -> bytes:
    """As Lava's SDK signs values; of what holds none, the bytes."""
    try:
        values = json.loads(content)
    except (ValueError, RecursionError):
        return content
    return canonical(values) if isinstance(values, dict) else content


PACK = LavaRuPack()
