"""lava.top's public API: offers, renewals of its own, and webhooks that only hint, under a key that signs nothing."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

from providers.base import EventType, ProviderEvent, SubRequest, SubStatus
from tests.emulators.lava import LavaTopEmulator
from tests.emulators.lava.top import TopContract, TopSubscription
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
from tests.providers.lava_flavours import FIRST, OFFER, SECOND, TOP_CANCELLED, TOP_PAID, TOP_REFUND

API_KEY = "lava-top-api-key-of-the-suite"
SECRETS = {
    Secret.CURRENT: "lava-top-webhook-key-of-the-suite",
    Secret.PREVIOUS: "lava-top-webhook-key-of-before",
    Secret.FOREIGN: "lava-top-webhook-key-of-another",
    Secret.EMPTY: "",
}
HEADER = "x-api-key"
RECURRING = "subscription.recurring.payment"
AGAIN = {**TOP_PAID, "contractId": SECOND, "parentContractId": FIRST}
AT = datetime(2026, 11, 5, 8, 44, 32, 421760, tzinfo=UTC)
CANCELED_AT = datetime(2026, 11, 5, 8, 44, 49, 123932, tzinfo=UTC)
REFUNDED_AT = datetime(2026, 11, 6, 8, 44, 49, tzinfo=UTC)
#: A subscription's word and date of its end, by how we call the state.
WORDS = {"ACTIVE": "ACTIVE", "CANCELLED": "CANCELLED", "FAILED": "FAILED", "TERMINATED": "CANCELLED"}
REQUEST: dict[str, Any] = {
    "user_ref": "user_123",
    "plan_ref": "premium",
    "order_ref": "order-1",
    "amount": PRICE,
    "currency": "RUB",
    "email": "anna@example.com",
    "success_url": "https://audiolearn.com/success",
    "fail_url": "https://audiolearn.com/failed",
    "cancel_url": "https://audiolearn.com/left",
    "hook_url": "https://audiolearn.com/webhooks/lava",
    "idempotency_key": "checkout:1",
}


def _content(body: Any = TOP_PAID, **changes: Any) -> bytes:
    fields = {name: value for name, value in {**body, **changes}.items() if value is not ...}
    return json.dumps(fields, ensure_ascii=False).encode()


def _hint(key: str, number: int, type_: EventType, **changes: Any) -> ProviderEvent:
    """What a delivery speaks of; money has its contract and amount, a state has neither."""
    values: dict[str, Any] = {
        "provider": "lava_top",
        "event_id": f"lavatop:{key}#{number}",
        "type": type_,
        "occurred_at": AT,
        "provider_sub_id": FIRST,
    }
    if type_.startswith("payment."):
        values |= {"provider_payment_id": FIRST, "amount": Decimal("990.5"), "currency": "RUB"}
    return ProviderEvent(**{**values, **changes})


class LavaTopPeer(Peer):
    def __init__(self, lava: LavaTopEmulator) -> None:
        self.lava = lava
        self.api = lava.base_url

    def at(self, moment: datetime) -> None:
        self.lava.stands_at = moment

    def buy(self, order: Order, step: Step = Step.PAID) -> Purchase:
        contract = (order.checkout_url or "").rpartition("/")[2]
        (self.lava.decline if step is Step.DECLINED else self.lava.pay)(contract)
        return Purchase(order, payment_id=contract, sub_id=contract)

    def play(self, step: Step, purchase: Purchase, stage: Stage) -> None:
        match step:
            case Step.RENEWED | Step.RECOVERED:
                purchase.payment_id = self.lava.renew(purchase.sub_id).invoice_id
            case Step.RENEWAL_FAILED:
                self.lava.renew(purchase.sub_id, "failed")
            case Step.CANCELED:
                self.lava.cancel(purchase.sub_id)
            case _:
                super().play(step, purchase, stage)

    def make_true(self, content: bytes) -> None:
        told = json.loads(content, parse_float=Decimal)
        contract = told["contractId"]
        bought = TopSubscription(
            id=contract,
            email=told["buyer"]["email"],
            offer=OFFER,
            periodicity="MONTHLY",
            utm=told.get("clientUtm") or {},
            success_url="",
            fail_url="",
            contracts=[contract],
            status="ACTIVE",
            expires_at=self.lava.now() + timedelta(days=30),
        )
        paid = TopContract(contract, contract, str(told["amount"]), told["currency"], self.lava.now(), "COMPLETED")
        self.lava.subscriptions[contract], self.lava.contracts[contract] = bought, paid

    def made(self, order: Order) -> int:
        return sum(one.utm.get("utm_content") == order.order_ref for one in self.lava.subscriptions.values())

    def call_it(self, purchase: Purchase, word: str) -> None:
        theirs = self.lava.subscriptions[purchase.sub_id]
        theirs.status = WORDS.get(word, word)
        theirs.terminated_at = theirs.expires_at if word == "TERMINATED" else None


class LavaTopPack(Pack):
    name = "lava_top"
    proof = Proof.SENDER
    proof_headers = (HEADER,)
    secrets = (API_KEY, *filter(None, SECRETS.values()))
    currency = "RUB"
    currencies = frozenset({"RUB", "USD", "EUR"})
    product = OFFER
    states = {
        "ACTIVE": SubStatus.ACTIVE,
        "CANCELLED": SubStatus.CANCELED,
        "FAILED": SubStatus.PAST_DUE,
        "TERMINATED": SubStatus.EXPIRED,
    }
    steps = frozenset({Step.PAID, Step.DECLINED, Step.RENEWED, Step.RENEWAL_FAILED, Step.RECOVERED, Step.CANCELED})
    creates_again = "no keys, and of contracts that nobody has paid the look-up shows no page: two of one order"
    unknown_refs = ("c5a0cacc-0000-4000-8000-000000000404", "d41db415-0000-4000-8000-000000000404", "none")

    def config(self, api: str, **changes: Any) -> dict[str, Any]:
        config = {
            "adapter": "lava_top",
            "base_url": api,
            "api_key": API_KEY,
            "secret_key": SECRETS[Secret.CURRENT],
            "previous_secret_key": SECRETS[Secret.PREVIOUS],
            "answer_seconds": 5,
        }
        return {**config, **changes}

    @contextmanager
    def peer(self, *, shop_url: str, hook_url: str) -> Iterator[LavaTopPeer]:
        with LavaTopEmulator(
            api_key=API_KEY, webhook_key=SECRETS[Secret.CURRENT], hook_url=hook_url, retry_pauses=()
        ) as lava:
            lava.offer(OFFER, RUB=str(PRICE))
            yield LavaTopPeer(lava)

    # --- the webhook

    def signed(self, content: bytes, *, at: datetime, secret: Secret = Secret.CURRENT) -> Delivery:
        return Delivery({HEADER: SECRETS[secret], "content-type": "application/json"}, content)

    def vectors(self) -> Sequence[Vector]:
        paid, failed = EventType.PAYMENT_SUCCEEDED, EventType.PAYMENT_FAILED
        success, failure = f"payment.success:{FIRST}", f"payment.failed:{FIRST}"
        activated = (_hint(success, 0, paid), _hint(success, 1, EventType.SUBSCRIPTION_ACTIVATED))
        refusal = {"eventType": "payment.failed", "errorMessage": "Not sufficient funds"}
        declined = {"reason": "Not sufficient funds"}
        again, refused = f"{RECURRING}.success:{SECOND}", f"{RECURRING}.failed:{SECOND}"
        canceled = _hint(
            f"subscription.cancelled:{SECOND}",
            0,
            EventType.SUBSCRIPTION_CANCELED,
            provider_sub_id=SECOND,
            occurred_at=CANCELED_AT,
            period_end=CANCELED_AT + timedelta(days=30),
        )
        utm = {"utm_source": "payflow", "utm_content": "order-1", "utm_medium": "x"}
        return [
            Vector("paid", _content(), activated),
            Vector("paid once", _content(status="completed"), (_hint(success, 0, paid, provider_sub_id=None),)),
            Vector(
                "declined",
                _content(status="subscription-failed", **refusal),
                (_hint(failure, 0, failed, **declined),),
            ),
            Vector(
                "declined, to be paid once",
                _content(status="failed", **refusal),
                (_hint(failure, 0, failed, provider_sub_id=None, **declined),),
            ),
            Vector(
                "renewed",
                _content(AGAIN, eventType=f"{RECURRING}.success"),
                (
                    _hint(again, 0, paid, provider_payment_id=SECOND),
                    _hint(again, 1, EventType.SUBSCRIPTION_RENEWED),
                ),
            ),
            Vector(
                "renewal declined",
                _content(AGAIN, **{**refusal, "eventType": f"{RECURRING}.failed"}, status="subscription-failed"),
                (
                    _hint(refused, 0, failed, provider_payment_id=SECOND, **declined),
                    _hint(refused, 1, EventType.SUBSCRIPTION_GRACE),
                ),
            ),
            Vector("cancelled", _content(TOP_CANCELLED), (canceled,)),
            _reversal("refund.success", EventType.PAYMENT_REFUNDED),
            _reversal("chargeback.initiated", EventType.PAYMENT_DISPUTED),
            Vector(
                "more fields",
                _content(clientUtm=utm, of_tomorrow={"deep": [1.5, None]}),
                tuple(_hint(success, n, one.type, order_ref="order-1") for n, one in enumerate(activated)),
                "extra",
            ),
            Vector("the fewest fields", _content(product=..., buyer=..., errorMessage=...), activated, "sparse"),
        ]

    def payment(self, amount: Decimal, currency: str, *, number: int = 1, at: datetime | None = None) -> Priced:
        stamp = (at or AT).strftime("%Y-%m-%dT%H:%M:%SZ")
        # Amounts are numbers on the wire; a text is read as exactly.
        fields = {"amount": str(amount), "currency": currency, "timestamp": stamp}
        return Priced(_content(AGAIN, eventType=f"{RECURRING}.success", contractId=f"contract-{number}", **fields))

    def malformed(self) -> Sequence[bytes]:
        broken = [b"", b'{"eventType":', b"[]", b"null", b"\xff\xfe{}", b'{"amount": NaN}', b"[" * 5000, b"{}"]
        fields: list[dict[str, Any]] = [
            {"contractId": ...},
            {"contractId": "x" * 200},
            {"eventType": None},
            {"timestamp": "yesterday"},
            {"amount": "a lot"},
            {"currency": "XXX"},
        ]
        return [*broken, *(_content(**one) for one in fields), _content(TOP_REFUND, data=7)]

    def unknown(self) -> Sequence[bytes]:
        return [
            _content(eventType="payment.pondered"),
            _content(status="bewitched"),
            _content(TOP_REFUND, event_type="chargeback.won"),
        ]

    def stranger(self, *, user_ref: str, email: str) -> bytes:
        """The wire has no user: whoever he is, the order is nobody's."""
        utm = {"utm_source": "payflow", "utm_content": "of-nobody"}
        contract = f"contract-of-{user_ref or 'nobody'}"
        return _content(contractId=contract, clientUtm=utm, buyer={"email": email}, amount=str(PRICE))

    # --- the calls

    def goldens(self) -> Sequence[Golden]:
        request = SubRequest(**REQUEST, provider_plan_ref=OFFER, interval=(1, "monthly"), trial_days=0)
        body = (
            f'{{"email":"anna@example.com","offerId":"{OFFER}","currency":"RUB","periodicity":"MONTHLY",'
            '"clientUtm":{"utm_source":"payflow","utm_content":"order-1"},'
            '"successful_return_url":"https://audiolearn.com/success",'
            '"failure_return_url":"https://audiolearn.com/failed","cancel_return_url":"https://audiolearn.com/left"}'
        ).encode()
        headers = {"content-type": "application/json", "x-api-key": API_KEY}
        return [
            Golden(
                "subscription",
                lambda provider: provider.create_subscription(request),
                "POST",
                "/api/v3/invoice",
                body,
                headers,
            )
        ]


def _reversal(kind: str, type_: EventType) -> Vector:
    """It names no contract: an operator finds out whose it is."""
    event = ProviderEvent(
        provider="lava_top",
        event_id=f"lavatop:{TOP_REFUND['event_id']}#0",
        type=type_,
        occurred_at=REFUNDED_AT,
        provider_payment_id="rf-1",
        amount=Decimal(990),
        currency="RUB",
        reason="full",
    )
    return Vector(kind, _content(TOP_REFUND, event_type=kind), (event,))


PACK = LavaTopPack()
