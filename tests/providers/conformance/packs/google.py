"""Google Play: purchases made in the app, pushes that prove their sender alone, and records that are read for each."""

from __future__ import annotations

import base64
import json
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from functools import cache
from typing import Any

from providers.base import EventType, ProviderEvent, SubStatus
from tests.emulators.google import GoogleEmulator, Keys, Product, envelope
from tests.emulators.google.keys import jwt
from tests.emulators.google.records import Order as TheirOrder
from tests.emulators.google.records import Purchase as TheirPurchase
from tests.emulators.google.records import milliseconds
from tests.emulators.google.server import ACCESS_TOKEN
from tests.providers.conformance.calls import USER
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
from tests.providers.conformance.stage import Stage
from tests.providers.google_support import NOW, ORDER, TABLE, TOKEN

PURCHASED, RENEWED, CANCELED, EXPIRED = 4, 2, 3, 13
#: How long a push's token is good, and the difference between clocks that is put up with.
TOKEN_LASTS = timedelta(hours=1, seconds=10)
STATE = "SUBSCRIPTION_STATE_"
#: Its tokens say what is true of them, so that the peer can make it so: to everybody else they are opaque.
TELLING = "of-the-suite."


@cache
def accounts() -> GoogleEmulator:
    """Google's accounts are another service than Google Play: they are there, whatever befalls the calls of that."""
    return GoogleEmulator().start()


@cache
def foreign_keys() -> Keys:
    """Somebody else's, under the name of Google's."""
    keys = Keys("the key of another")
    keys.kid = accounts().keys.kid
    return keys


def told(part: str, body: Any, **changes: Any) -> bytes:
    """The data of a push; a change to `...` leaves a field out."""
    data = {"version": "1.0", "packageName": "com.example.app", "eventTimeMillis": str(milliseconds(NOW)), part: body}
    return json.dumps({key: value for key, value in {**data, **changes}.items() if value is not ...}).encode()


def of_purchase(kind: Any, token: Any = TOKEN, **changes: Any) -> bytes:
    return told(
        "subscriptionNotification", {"version": "1.0", "notificationType": kind, "purchaseToken": token}, **changes
    )


def message_id(content: bytes) -> str:
    """Pub/Sub's number of a message: the same whenever it is delivered."""
    return str(zlib.crc32(content))


def telling(**truth: Any) -> str:
    packed = base64.urlsafe_b64encode(json.dumps(truth, separators=(",", ":")).encode()).decode()
    return f"{TELLING}{packed.rstrip('=')}"


def hints(content: bytes, *types: str, **fields: Any) -> tuple[ProviderEvent, ...]:
    return tuple(
        ProviderEvent(
            provider="google",
            event_id=f"google:{message_id(content)}#{number}",
            type=EventType(type_),
            occurred_at=NOW,
            **fields,
        )
        for number, type_ in enumerate(types)
    )


class GooglePeer(Peer):
    """The emulator, whose time stands at the story's moments: what a period's end brings, the story says."""

    def __init__(self, google: GoogleEmulator) -> None:
        self.google = google
        self.api = google.origin

    def at(self, moment: datetime) -> None:
        self.google.stand_at(moment)

    def buy(self, order: Order, step: Step = Step.PAID) -> Purchase:
        product, base = GooglePack.product.split(":")
        bought = self.google.purchase(Product(product, base, str(order.amount), order.currency), user=order.user_ref)
        return Purchase(order, payment_id=bought.first_order, sub_id=bought.token, token=bought.token)

    def play(self, step: Step, purchase: Purchase, stage: Stage) -> None:
        google, token = self.google, purchase.token
        bought = google.bought(token)
        # By the app, where PayFlow has not heard of it yet: three days without, and Google takes it back.
        bought.acknowledged = True
        match step:
            case Step.RENEWED:
                google.happen(token)
            case Step.RENEWAL_FAILED | Step.GRACE:
                google.fail(token)
                google.happen(token)
            case Step.ON_HOLD:
                google.grace = timedelta(0)
                google.fail(token)
                google.happen(token)
            case Step.RECOVERED:
                google.recover(token)
            case Step.CANCELED:
                google.cancel(token)
            case Step.PAUSED:
                google.pause(token, days=30)
                google.happen(token)
            case Step.RESUMED if bought.state == "PAUSED":
                google.recover(token)
            case Step.RESUMED:
                google.restart(token)
            case Step.EXPIRED if bought.state == "CANCELED":
                google.happen(token)
            case Step.EXPIRED:
                google.cancel(token)
            case Step.REVOKED:
                google.revoke(token)
            case Step.REFUNDED:
                google.refund(purchase.payment_id)
            case Step.REFUNDED_IN_PART:
                google.refund_part(purchase.payment_id, Decimal("4.00"))
            case _:
                super().play(step, purchase, stage)
        purchase.payment_id = bought.orders[-1].order_id

    def make_true(self, content: bytes) -> None:
        token = json.loads(content).get("subscriptionNotification", {}).get("purchaseToken", "")
        if not token.startswith(TELLING):
            return  # of no purchase
        packed = token.removeprefix(TELLING)
        truth = json.loads(base64.urlsafe_b64decode(packed + "=" * (-len(packed) % 4)))
        start, end = (datetime.fromtimestamp(truth[name], UTC) for name in ("start", "end"))
        sold = Product(truth["product"], "monthly", truth["price"], truth["currency"])
        order_id = f"GPA.0000-0000-0000-{truth['number']:05}"
        order = TheirOrder(order_id, token, (sold,), start, start, end, processed_at=start)
        self.google.orders[order_id] = order
        self.google.purchases[token] = TheirPurchase(
            token,
            (sold,),
            truth["user"],
            "ACTIVE",
            started_at=start,
            expires_at=end,
            first_order=order_id,
            orders=[order],
            test=truth["test"],
        )

    def refunded(self, purchase: Purchase) -> Decimal:
        order = self.google.order(purchase.payment_id)
        return order.total if order.refunded_at else order.total - order.rest

    def call_it(self, purchase: Purchase, word: str) -> None:
        self.google.bought(purchase.token).state = word.removeprefix(STATE)


class GooglePack(Pack):
    name = "google"
    proof = Proof.SENDER
    proof_headers = ("authorization",)
    tolerance = TOKEN_LASTS
    keyed = False
    rotates = False
    product = "premium:monthly"
    states = {
        f"{STATE}PENDING": SubStatus.PENDING,
        f"{STATE}ACTIVE": SubStatus.ACTIVE,
        f"{STATE}IN_GRACE_PERIOD": SubStatus.PAST_DUE,
        f"{STATE}ON_HOLD": SubStatus.ON_HOLD,
        f"{STATE}PAUSED": SubStatus.PAUSED,
        f"{STATE}CANCELED": SubStatus.CANCELED,
        f"{STATE}EXPIRED": SubStatus.EXPIRED,
        f"{STATE}PENDING_PURCHASE_CANCELED": SubStatus.EXPIRED,
    }
    steps = frozenset(Step) - {Step.DECLINED, Step.TRIAL_STARTED}
    at_renewal = Pack.at_renewal | {Step.PAUSED}
    refunds_once = "Google knows no keys, and gives an order back whole and once: asked again, it is that refund"
    lists_deliveries = False
    unknown_refs = ("of-nobody.AO-J1Ofnobody", "GPA.0000-0000-0000-00404", "")

    @property
    def secrets(self) -> tuple[str, ...]:  # type: ignore[override]  # the account's key is made when it is asked for
        account = accounts().settings()["service_account"]
        return account, json.loads(account)["private_key"], ACCESS_TOKEN

    def config(self, api: str, **changes: Any) -> dict[str, Any]:
        """The accounts' addresses are their own; `api` is Google Play's."""
        config = {"adapter": "google", **accounts().settings(), "base_url": api, "answer_seconds": 5}
        return {**config, **changes}

    @contextmanager
    def peer(self, *, shop_url: str, hook_url: str) -> Iterator[GooglePeer]:
        with GoogleEmulator(hook_url=hook_url) as google:
            yield GooglePeer(google)

    # --- the webhook

    def signed(self, content: bytes, *, at: datetime, secret: Secret = Secret.CURRENT) -> Delivery:
        keys = foreign_keys() if secret is Secret.FOREIGN else accounts().keys
        return self._delivery(content, keys.oidc(**self._claims(at)), at=at)

    def _claims(self, at: datetime) -> dict[str, Any]:
        seconds = int(at.timestamp())
        pushes = accounts().pushes
        return {"audience": pushes.audience, "email": pushes.account, "iat": seconds, "exp": seconds + 3600}

    def _delivery(self, content: bytes, token: str, *, at: datetime, subscription: str | None = None) -> Delivery:
        subscription = subscription or accounts().pushes.subscription
        raw = envelope(content, message_id=message_id(content), subscription=subscription, published=at)
        return Delivery({"authorization": f"Bearer {token}", "content-type": "application/json"}, raw)

    def vectors(self) -> Sequence[Vector]:
        # A payment comes first: others are forged from it.
        of_purchases = [
            Vector(str(kind), of_purchase(kind), hints(of_purchase(kind), *TABLE[kind], provider_sub_id=TOKEN))
            for kind in sorted(TABLE, key=lambda kind: (kind != RENEWED, kind))
        ]
        voided = told("voidedPurchaseNotification", {"purchaseToken": TOKEN, "orderId": ORDER, "productType": 1})
        back = {"provider_sub_id": TOKEN, "provider_payment_id": ORDER, "parent_payment_id": ORDER}
        review = told(
            "pendingRefundReviewNotification", {"orderId": ORDER, "refundReason": 7, "obfuscatedAccountId": USER}
        )
        asked = {
            "provider_payment_id": f"{ORDER}:dispute",
            "parent_payment_id": ORDER,
            "user_ref": USER,
            "reason": "refund_reason_7",
        }
        ping = told("testNotification", {"version": "1.0"})
        more = of_purchase(RENEWED, of_tomorrow={"deep": [1.5, None]})
        few = told(
            "subscriptionNotification",
            {"notificationType": CANCELED, "purchaseToken": TOKEN},
            version=...,
            eventTimeMillis=milliseconds(NOW),
        )
        return [
            *of_purchases,
            Vector("voided", voided, hints(voided, "payment.refunded", **back)),
            Vector("review", review, hints(review, "payment.disputed", **asked)),
            Vector("test", ping, hints(ping, "test.ping", is_test=True)),
            Vector("more fields", more, hints(more, *TABLE[RENEWED], provider_sub_id=TOKEN), "extra"),
            Vector("the fewest fields", few, hints(few, *TABLE[CANCELED], provider_sub_id=TOKEN), "sparse"),
        ]

    def _bought(self, kind: int = RENEWED, *, at: datetime | None = None, **changes: Any) -> bytes:
        """News of a purchase that the peer can make true."""
        start = int(NOW.timestamp())
        truth = {
            "number": 1,
            "price": "9.90",
            "currency": "USD",
            "product": "premium",
            "user": USER,
            "start": start,
            "end": start + 30 * 86400,
            "test": False,
        }
        return of_purchase(kind, telling(**{**truth, **changes}), eventTimeMillis=str(milliseconds(at or NOW)))

    def payment(self, amount: Decimal, currency: str, *, number: int = 1, at: datetime | None = None) -> Priced:
        return Priced(self._bought(at=at, number=number, price=str(amount), currency=currency))

    def period(self, start: datetime, end: datetime) -> bytes:
        return self._bought(start=int(start.timestamp()), end=int(end.timestamp()))

    def malformed(self) -> Sequence[bytes]:
        broken = [b"", b'{"version": ', b"[]", b"null", b"\xff\xfe{}", b"[" * 5000, b'{"eventTimeMillis": NaN}', b"{}"]
        of_order: list[dict[str, Any]] = [
            {"purchaseToken": TOKEN, "orderId": "x" * 300, "productType": 1},
            {"productType": 1},
        ]
        return [
            *broken,
            *(of_purchase(kind) for kind in (None, "2", True, [2])),
            *(of_purchase(RENEWED, token) for token in (None, "", "a\x00b")),
            *(of_purchase(RENEWED, eventTimeMillis=moment) for moment in (..., "soon", "9" * 40)),
            of_purchase(RENEWED, packageName=...),
            told("subscriptionNotification", "renewed"),
            *(told("voidedPurchaseNotification", body) for body in of_order),
        ]

    def unknown(self) -> Sequence[bytes]:
        once = {"version": "1.0", "notificationType": 1, "purchaseToken": TOKEN, "sku": "coins"}
        return [
            of_purchase(99),
            of_purchase(RENEWED, packageName="com.example.other"),
            told("somethingNewNotification", {"version": "1.0"}),
            told("oneTimeProductNotification", once),
            told("voidedPurchaseNotification", {"purchaseToken": TOKEN, "orderId": ORDER, "productType": 2}),
        ]

    def tests(self) -> Sequence[bytes]:
        """A licence tester's purchases, and the Play Console's test."""
        renewed, bought = self._bought(test=True), self._bought(PURCHASED, test=True, number=2)
        return [renewed, bought, told("testNotification", {"version": "1.0"})]

    def forgeries(self, content: bytes, *, at: datetime) -> Mapping[str, Delivery]:
        keys, claims = accounts().keys, self._claims(at)
        good = keys.oidc(**claims)
        payload = json.loads(base64.urlsafe_b64decode(good.split(".")[1] + "=="))
        unsigned = jwt(keys._google, payload, {"alg": "none", "kid": keys.kid}).rpartition(".")[0]
        tokens = {
            "another audience": keys.oidc(**{**claims, "audience": "https://other.example.com/webhooks/google"}),
            "another account": keys.oidc(**{**claims, "email": "other@my-project.iam.gserviceaccount.com"}),
            "an e-mail that is not verified": keys.oidc(**claims, email_verified=False),
            "another issuer": keys.oidc(**claims, iss="https://accounts.google.com.evil.example"),
            "expired": keys.oidc(**{**claims, "iat": claims["iat"] - 7200, "exp": claims["exp"] - 7200}),
            "an unknown key": keys.token(payload, kid="unknown"),
            "alg none": f"{unsigned}.",
            "HS256": keys.token(payload, alg="HS256"),
        }
        return {
            **{name: self._delivery(content, token, at=at) for name, token in tokens.items()},
            "another subscription": self._delivery(
                content, good, at=at, subscription="projects/other/subscriptions/play"
            ),
        }

    def stranger(self, *, user_ref: str, email: str) -> bytes:
        """Of a product that no plan is; of the buyer Google tells no e-mail address."""
        return self._bought(number=900 + len(user_ref), product="of.nobody", user=user_ref or None)

    # --- the calls

    def goldens(self) -> Sequence[Golden]:
        """It opens nothing; what it calls is in test_google_adapter.py."""
        return ()


PACK = GooglePack()
