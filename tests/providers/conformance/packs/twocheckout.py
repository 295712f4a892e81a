"""2Checkout: buy links, renewals of its own, IPN and LCN whose values are signed and whose meaning the API confirms."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from urllib.parse import parse_qsl, unquote_to_bytes, urlsplit
from zoneinfo import ZoneInfo

from payflow.core import clock
from providers.base import EventType, LinkRequest, Provider, ProviderEvent, SubRequest, SubStatus, WebhookAnswer
from tests.emulators.twocheckout import Order as TheirOrder
from tests.emulators.twocheckout import Subscription, TwoCheckoutEmulator
from tests.emulators.twocheckout.messages import receipt_is_right
from tests.providers.conformance.pack import (
    Card,
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
from tests.providers.conformance.stage import Stage
from tests.providers.twocheckout_cases import (
    PAID_AT,
    SENT_AT,
    order_vectors,
    subscription_vectors,
    unsigned_ipn,
    unsigned_lcn,
)
from tests.providers.twocheckout_support import IPN, VENDOR, click, form

SECRETS = {
    Secret.CURRENT: "2co-secret-of-the-suite",
    Secret.PREVIOUS: "2co-secret-of-before",
    Secret.FOREIGN: "2co-secret-of-another-shop",
    Secret.EMPTY: "",
}
BUY_LINK_SECRET = "2co-buy-link-word-of-the-suite"
ZONE = ZoneInfo("Europe/Bucharest")
FORM = "application/x-www-form-urlencoded"
#: What an account sends that has chosen as little as can be.
FEWEST = {"REFNO", "ORDERSTATUS", "IPN_PID[]", "IPN_PNAME[]", "IPN_DATE"}
#: A subscription's switches, and how far from now its period ends: (enabled, recurring, start, end).
SWITCHES: Mapping[str, tuple[bool, bool, int, int]] = {
    "ACTIVE": (True, True, -1, 29),
    "FUTURE": (True, True, 1, 29),
    "CANCELED": (True, False, -1, 29),
    "PAST DUE": (True, True, -31, -1),
    "EXPIRED": (True, True, -61, -30),
    "DISABLED": (False, False, -1, 29),
}
REQUEST: dict[str, Any] = {
    "user_ref": "user-1",
    "plan_ref": "pro",
    "order_ref": "order-1",
    "amount": Decimal("9.90"),
    "currency": "USD",
    "email": "ann@example.com",
    "success_url": "https://shop.example/paid",
    "fail_url": "https://shop.example/failed",
    "cancel_url": "https://shop.example/left",
    "hook_url": "https://pay.example/webhooks/2checkout",
    "idempotency_key": "checkout-1",
}


class TwoCheckoutPeer(Peer):
    def __init__(self, tco: TwoCheckoutEmulator) -> None:
        self.tco = tco
        self.api = tco.base_url

    def at(self, moment: datetime) -> None:
        self.tco.stand_at(moment)

    def buy(self, order: Order, step: Step = Step.PAID) -> Purchase:
        link = urlsplit(order.checkout_url or "")
        status, _ = click(f"{self.tco.origin}{link.path}?{link.query}", "decline" if step is Step.DECLINED else "pay")
        assert status == 303
        return self._bought(order, list(self.tco.orders.values())[-1])

    def _bought(self, order: Order, theirs: TheirOrder) -> Purchase:
        return Purchase(
            order,
            payment_id=theirs.ref,
            sub_id=theirs.subscription or "",
            method_ref=theirs.ref,
            customer_ref="756227060",
        )

    def play(self, step: Step, purchase: Purchase, stage: Stage) -> None:
        sub_id = purchase.sub_id
        match step:
            case Step.RENEWED | Step.RECOVERED:
                self.tco.change(sub_id, card_declines=False)
                self.tco.renew(sub_id)
                purchase.payment_id = list(self.tco.orders)[-1]
            case Step.RENEWAL_FAILED | Step.GRACE:
                self.tco.renew(sub_id, "failed")
            case Step.CANCELED | Step.RESUMED:
                self.tco.change(sub_id, recurring=step is Step.RESUMED)
            case Step.EXPIRED:
                self.tco.change(sub_id, recurring=False)
                self.tco.expire(sub_id)
            case Step.REVOKED:
                self.tco.change(sub_id, enabled=False)
            case Step.REFUNDED:
                self.tco.refund(purchase.payment_id)
            case Step.REFUNDED_IN_PART:
                self.tco.refund(purchase.payment_id, Decimal("4.00"))
            case _:
                super().play(step, purchase, stage)

    def make_true(self, content: bytes) -> None:
        told = dict(parse_qsl(content.decode(), keep_blank_values=True))
        buyer, now = told["EXTERNAL_CUSTOMER_REFERENCE"], self.tco.now()
        if code := told.get("LICENSE_CODE"):
            self.tco.subscriptions[code] = Subscription(
                ref=code,
                product="Premium",
                customer_ref=buyer,
                email=told["EMAIL"],
                every=1,
                unit="MONTH",
                anchor=now,
                expires_at=now + timedelta(days=30),
                price=Decimal("9.99"),
                currency="USD",
                test=told["TEST"] == "1",
            )
            return
        self.tco.orders[told["REFNO"]] = TheirOrder(
            ref=told["REFNO"],
            status=told["ORDERSTATUS"],
            external_reference=told["REFNOEXT"],
            total=Decimal(told["IPN_TOTALGENERAL"]),
            currency=told["CURRENCY"],
            product="Premium",
            customer_ref=buyer,
            email=told["CUSTOMEREMAIL"],
            ordered_at=now,
            finished_at=now,
            test=told["TEST_ORDER"] == "1",
        )

    def made(self, order: Order) -> int:
        """Different links: one that nobody pays at is nothing at 2Checkout."""
        asked = {one.body for one in self.tco.requests if one.path.endswith("/generate/signature")}
        return sum(f'"order-ext-ref":"{order.order_ref}"'.encode() in body for body in asked)

    def refunded(self, purchase: Purchase) -> Decimal:
        return self.tco.order(purchase.payment_id).refunded

    def set_card(self, purchase: Purchase, card: Card) -> None:
        self.tco.next_charge = {Card.OK: "pay", Card.DECLINES: "decline", Card.NEEDS_ACTION: "action"}[card]

    def charged(self, purchase: Purchase) -> int:
        charges = [one for one in self.tco.orders.values() if one.external_reference.startswith("charge:")]
        return sum(one.status == "COMPLETE" for one in charges)

    def call_it(self, purchase: Purchase, word: str) -> None:
        """It has switches and dates rather than words; what is no switch is the unknown word."""
        subscription = self.tco.subscription(purchase.sub_id)
        enabled, recurring, start, end = SWITCHES.get(word, (word, True, -1, 29))
        now = self.tco.now()
        subscription.enabled, subscription.recurring = enabled, recurring  # type: ignore[assignment]
        subscription.anchor, subscription.expires_at = now + timedelta(days=start), now + timedelta(days=end)


class TwoCheckoutPack(Pack):
    name = "2checkout"
    proof = Proof.VALUES
    secrets = (BUY_LINK_SECRET, *filter(None, SECRETS.values()))
    states = {
        "ACTIVE": SubStatus.ACTIVE,
        "FUTURE": SubStatus.PENDING,
        "CANCELED": SubStatus.CANCELED,
        "PAST DUE": SubStatus.PAST_DUE,
        "EXPIRED": SubStatus.EXPIRED,
        "DISABLED": SubStatus.REVOKED,
    }
    steps = frozenset(Step) - {Step.TRIAL_STARTED, Step.PAUSED, Step.ON_HOLD}
    unknown_refs = ("S404", "404", "405")

    def config(self, api: str, **changes: Any) -> dict[str, Any]:
        parts = urlsplit(api)
        config = {
            "adapter": "twocheckout",
            "base_url": api,
            "link_url": f"{parts.scheme}://{parts.netloc}",
            "merchant_code": VENDOR,
            "secret_key": SECRETS[Secret.CURRENT],
            "previous_secret_key": SECRETS[Secret.PREVIOUS],
            "buy_link_secret": BUY_LINK_SECRET,
            "timezone": ZONE.key,
            "one_click": True,
            "answer_seconds": 5,
        }
        return {**config, **changes}

    @contextmanager
    def peer(self, *, shop_url: str, hook_url: str) -> Iterator[TwoCheckoutPeer]:
        with TwoCheckoutEmulator(
            vendor=VENDOR,
            secret_key=SECRETS[Secret.CURRENT],
            buy_link_secret=BUY_LINK_SECRET,
            hook_url=hook_url,
            zone=ZONE,
            retry_pauses=(),
        ) as tco:
            yield TwoCheckoutPeer(tco)

    # --- the webhook

    def signed(self, content: bytes, *, at: datetime, secret: Secret = Secret.CURRENT) -> Delivery:
        pairs = [pair.partition(b"=")[2] for pair in content.split(b"&") if pair]
        values = [unquote_to_bytes(value.replace(b"+", b" ")) for value in pairs]
        source = b"".join(b"%d%b" % (len(value), value) for value in values)
        proofs = [
            f"{name}={hmac.new(SECRETS[secret].encode(), source, method).hexdigest()}".encode()
            for name, method in (("SIGNATURE_SHA2_256", hashlib.sha256), ("SIGNATURE_SHA3_256", hashlib.sha3_256))
        ]
        return Delivery({"content-type": FORM}, b"&".join([*filter(None, [content]), *proofs]))

    def vectors(self) -> Sequence[Vector]:
        fewest = {name.removesuffix("[]"): ... for name in IPN if name not in FEWEST}
        key = hashlib.sha256(b"92111533898COMPLETE8408980007Premium").hexdigest()[:16]
        bare = ProviderEvent(
            provider="2checkout",
            event_id=f"2co:ipn:211153389:COMPLETE:{key}#0",
            type=EventType.PAYMENT_SUCCEEDED,
            occurred_at=SENT_AT,
            provider_payment_id="211153389",
        )
        return [
            *order_vectors(),
            *subscription_vectors(),
            Vector("the fewest fields", unsigned_ipn(**fewest), (bare,), "sparse"),
        ]

    def payment(self, amount: Decimal, currency: str, *, number: int = 1, at: datetime | None = None) -> Priced:
        paid_at = (at or PAID_AT).astimezone(ZONE)
        return Priced(
            unsigned_ipn(
                REFNO=f"{211153388 + number}",
                MESSAGE_ID=f"{254498854201 + number}",
                IPN_TOTALGENERAL=str(amount),
                CURRENCY=currency,
                COMPLETE_DATE=f"{paid_at:%Y-%m-%d %H:%M:%S}",
            )
        )

    def malformed(self) -> Sequence[bytes]:
        of_order: list[dict[str, Any]] = [
            {"REFNO": ...},
            {"REFNO": ""},
            {"REFNO": "12a"},
            {"REFNO": "-1"},
            {"ORDERSTATUS": ...},
            {"ORDERSTATUS": "complete me"},
            {"MESSAGE_ID": "a b"},
            {"CURRENCY": "DOLLARS"},
            {"IPN_TOTALGENERAL": "a lot"},
            {"IPN_TOTALGENERAL": "-9.99"},
            {"IPN_TOTALGENERAL": "1e5"},
            {"COMPLETE_DATE": "yesterday"},
            {"IPN_LICENSE_EXP": "2026-02-30 00:00:00"},
            {"IPN_LICENSE_REF": "a b"},
            {"IPN_DATE": "20261301000000"},
            {"REFNOEXT": "a\x00b"},
        ]
        of_subscription: list[dict[str, Any]] = [
            {"LICENSE_CODE": ""},
            {"LICENSE_CODE": "../orders/1"},
            {"EXPIRATION_DATE": ...},
            {"EXPIRATION_DATE": "soon"},
            {"DATE_UPDATED": "soon"},
        ]
        broken = [b"", b"HELLO=world", b'{"REFNO": "1"}', unsigned_ipn(FIRSTNAME="Anna").replace(b"Anna", b"%FF")]
        return [*broken, *(unsigned_ipn(**one) for one in of_order), *(unsigned_lcn(**one) for one in of_subscription)]

    def unknown(self) -> Sequence[bytes]:
        words: list[dict[str, Any]] = [{"ORDERSTATUS": "SOMETHING_NEW"}, {"CHARGEBACK_RESOLUTION": "SOMETHING_NEW"}]
        return [*(unsigned_ipn(**word) for word in words), unsigned_lcn(DISPATCH_REASON="SOMETHING_NEW")]

    def tests(self) -> Sequence[bytes]:
        return [unsigned_ipn(TEST_ORDER="1"), unsigned_lcn(TEST="1")]

    def forgeries(self, content: bytes, *, at: datetime) -> Mapping[str, Delivery]:
        genuine = self.signed(content, at=at).raw
        weak = form(parse_qsl(content.decode(), keep_blank_values=True), SECRETS[Secret.CURRENT], ["md5"])
        bodies = {
            "not signed": content,
            "an empty signature": content + b"&SIGNATURE_SHA3_256=",
            "a list of signatures": content + b"&SIGNATURE_SHA3_256[]=a",
            "MD5 alone": weak,
            "a strong signature that is wrong beside a right one": weak + b"&SIGNATURE_SHA3_256=" + b"0" * 64,
            "another amount": genuine.replace(b"9.99", b"0.99"),
            "another status": genuine.replace(b"COMPLETE&", b"REFUNDED&", 1),
            "a blank item dropped": genuine.replace(b"&IPN_PCODE%5B%5D=", b""),
            "a field more": genuine + b"&MORE=1",
            "one byte less": genuine[:-1],
            "one byte more": genuine + b"0",
        }
        return {name: Delivery({"content-type": FORM}, body) for name, body in bodies.items()}

    def stranger(self, *, user_ref: str, email: str) -> bytes:
        number = f"{900 + len(user_ref)}"
        return unsigned_ipn(
            REFNO=number,
            MESSAGE_ID=number,
            REFNOEXT="of-nobody",
            EXTERNAL_CUSTOMER_REFERENCE=user_ref,
            CUSTOMEREMAIL=email,
            IPN_LICENSE_REF="",
        )

    def answer_is_right(self, delivery: Delivery, answer: WebhookAnswer, *, now: datetime) -> bool:
        """The read receipt; a status alone counts as nothing."""
        fields = parse_qsl(delivery.raw.decode(), keep_blank_values=True)
        text = answer.body.decode()
        fresh = abs(datetime.strptime(text.split('"')[3], "%Y%m%d%H%M%S").replace(tzinfo=UTC) - now) < timedelta(
            minutes=1
        )
        return answer.status == 200 and fresh and receipt_is_right(fields, SECRETS[Secret.CURRENT], text)

    # --- the calls

    def goldens(self) -> Sequence[Golden]:
        subscription = SubRequest(
            **REQUEST,
            provider_plan_ref=None,
            interval=(1, "monthly"),
            trial_days=0,
            metadata={"plan_name": "Pro; für alle"},
            renewal_amount=Decimal("19.9"),
        )

        def golden(name: str, call: Any, parameters: str) -> Golden:
            body = (f'{{"merchant":"{VENDOR}","dynamic":"1",{parameters}"email":"ann@example.com"}}').encode()
            path = "/checkout/api/encrypt/generate/signature"
            return Golden(name, call, "POST", path, body, {"content-type": "application/json"})

        def common(product: str, expires_at: int) -> str:
            return (
                f'"prod":"{product}","price":"9.90","qty":"1","type":"PRODUCT","tangible":"0","currency":"usd",'
                '"order-ext-ref":"order-1","customer-ext-ref":"user-1","item-ext-ref":"pro",'
                f'"return-url":"https://shop.example/paid","return-type":"redirect","expiration":"{expires_at}",'
            )

        # A link lives for a day, and to the end of that hour.
        expires_at = (int(clock.wall().timestamp()) // 3600 + 25) * 3600
        recurrence = '"recurrence":"1:MONTH","duration":"1:FOREVER","renewal-price":"19.90",'

        def subscribe(provider: Provider) -> object:
            return provider.create_subscription(subscription)

        def link(provider: Provider) -> object:
            return provider.create_payment_link(LinkRequest(**REQUEST))

        return [
            golden("subscription", subscribe, common("Pro, für alle", expires_at) + recurrence),
            golden("link", link, common("pro", expires_at)),
        ]


PACK = TwoCheckoutPack()
