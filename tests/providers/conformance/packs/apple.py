"""Apple: purchases made in the app, signed notifications that are their own proof, and an API that only reads."""

from __future__ import annotations

import base64
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

from providers.base import EventType, ProviderEvent, SubStatus
from tests.emulators.apple import AppleEmulator
from tests.providers import apple_support
from tests.providers.apple_golden import GOLDEN, event, money
from tests.providers.apple_support import (
    CHAIN,
    FOREIGN,
    FORGED,
    PRIVATE_KEY,
    body,
    ms,
    notification,
    renewal,
    subscription_news,
    token,
    transaction,
)
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

#: Of Apple's numbers for a subscription's state; 1 is more than one of our words.
STATUSES = {"1": 1, "1, not renewing": 1, "2": 2, "3": 3, "4": 4, "5": 5}
UNKNOWN_STATUS = 99
DEEDS: Mapping[Step, tuple[str, dict[str, Any]]] = {
    Step.RENEWED: ("renew", {}),
    Step.RENEWAL_FAILED: ("fail", {"graceDays": 16}),
    Step.GRACE: ("fail", {"graceDays": 16}),
    Step.ON_HOLD: ("fail", {}),
    Step.RECOVERED: ("recover", {}),
    Step.CANCELED: ("cancel", {}),
    Step.RESUMED: ("resume", {}),
    Step.EXPIRED: ("expire", {}),
    Step.REVOKED: ("revoke", {}),
    Step.REFUNDED: ("refund", {}),
}
SANDBOX = {"environment": "Sandbox"}
JSON = {"content-type": "application/json"}


def content(raw: bytes) -> bytes:
    """What is signed of a delivery: the payload of its JWS."""
    payload = token(raw).split(".")[1]
    return base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4))


def milliunits(amount: Decimal) -> int:
    return int(amount * 1000)


class ApplePeer(Peer):
    """The emulator, whose calendar stands at the story's moments."""

    def __init__(self, apple: AppleEmulator) -> None:
        self.apple = apple
        self.api = apple.origin

    def at(self, moment: datetime) -> None:
        self.apple.stand_at(ms(moment))

    def buy(self, order: Order, step: Step = Step.PAID) -> Purchase:
        bought = self.apple.purchase(
            ApplePack.product,
            milliunits(order.amount),
            currency=order.currency,
            app_account_token=order.user_ref,
        )
        return Purchase(
            order,
            payment_id=bought.last["transactionId"],
            sub_id=bought.original_id,
            token=self.apple.signed_transaction(bought.last),
        )

    def play(self, step: Step, purchase: Purchase, stage: Stage) -> None:
        deed, wish = DEEDS[step]
        self.apple.deed(purchase.sub_id, deed, wish)
        purchase.payment_id = self.apple.subscription(purchase.sub_id).last["transactionId"]

    def call_it(self, purchase: Purchase, word: str) -> None:
        subscription = self.apple.subscription(purchase.sub_id)
        subscription.status = STATUSES.get(word, UNKNOWN_STATUS)
        subscription.renewal["autoRenewStatus"] = 0 if word == "1, not renewing" else 1


class ApplePack(Pack):
    name = "apple"
    proof = Proof.VALUES
    keyed = False
    rotates = False
    secrets = (PRIVATE_KEY,)
    product = "premium.monthly"
    states = {
        "1": SubStatus.ACTIVE,
        "1, not renewing": SubStatus.CANCELED,
        "2": SubStatus.EXPIRED,
        "3": SubStatus.ON_HOLD,
        "4": SubStatus.PAST_DUE,
        "5": SubStatus.REVOKED,
    }
    steps = frozenset({Step.PAID, *DEEDS})
    unknown_refs = ("2000000404000000", "2000000404000001", "2000000404000002")

    @property
    def unknown_token(self) -> str:
        """Well signed, so that Apple is asked about it."""
        original, first, _ = self.unknown_refs
        return CHAIN.sign(transaction(originalTransactionId=original, transactionId=first))

    def config(self, api: str, **changes: Any) -> dict[str, Any]:
        calls = {"base_url": api, "sandbox_base_url": api, "answer_seconds": 5}
        return {"adapter": "apple", **apple_support.config(**calls), **changes}

    @contextmanager
    def peer(self, *, shop_url: str, hook_url: str) -> Iterator[ApplePeer]:
        with apple_support.store(hook_url=hook_url, chain=CHAIN) as apple:
            yield ApplePeer(apple)

    # --- the webhook

    def signed(self, content: bytes, *, at: datetime, secret: Secret = Secret.CURRENT) -> Delivery:
        """The inner parts are in `content`, signed by the right chain: the outermost signature alone is another's."""
        chain = FOREIGN if secret is Secret.FOREIGN else CHAIN
        return Delivery(JSON, body(chain.sign(content)))

    def vectors(self) -> Sequence[Vector]:
        documented = [
            Vector(each.name, content(each.raw), each.events) for each in GOLDEN if each.name != "BRAND_NEW.NEVER_SEEN"
        ]
        # A payment comes first: others are forged from it.
        documented.sort(key=lambda vector: vector.name != "DID_RENEW.None")
        more = {"ofTomorrow": {"deep": [1.5, None]}}
        extra = subscription_news(
            "DID_RENEW", transaction=transaction(**more), renewal=renewal(**more), data=more, **more
        )
        renewed = (event(EventType.SUBSCRIPTION_RENEWED), money(1))
        return [
            *documented,
            Vector("more fields", content(extra), renewed, "extra"),
            Vector("the fewest fields", content(self._sparse()), self._of_sparse(), "sparse"),
        ]

    def _sparse(self) -> bytes:
        """An old transaction: Apple tells prices and reasons since 2023, and whose it is only where the app said."""
        dropped = (
            "appAccountToken",
            "price",
            "currency",
            "storefront",
            "storefrontId",
            "transactionReason",
            "quantity",
        )
        bare = transaction(**dict.fromkeys(dropped, ...))
        return notification("DID_RENEW", transaction=bare, status=None, version=...)

    def _of_sparse(self) -> tuple[ProviderEvent, ...]:
        paid = money(1, amount=None, currency=None)
        return tuple(replace(each, user_ref=None) for each in (event(EventType.SUBSCRIPTION_RENEWED), paid))

    def payment(self, amount: Decimal, currency: str, *, number: int = 1, at: datetime | None = None) -> Priced:
        changes = {} if at is None else {"signedDate": ms(at)}
        paid = transaction(
            transactionId=str(2000000700000100 + number), price=milliunits(amount), currency=currency, **changes
        )
        return Priced(content(self._renewed(paid, number, **changes)))

    def period(self, start: datetime, end: datetime) -> bytes:
        return content(self._renewed(transaction(purchaseDate=ms(start), expiresDate=ms(end)), 1))

    def _renewed(self, paid: dict[str, Any], number: int, **changes: Any) -> bytes:
        return subscription_news("DID_RENEW", transaction=paid, notificationUUID=str(UUID(int=number)), **changes)

    def malformed(self) -> Sequence[bytes]:
        """Nothing that is no JSON of Apple's: that is signed by nobody."""
        of_notification: list[dict[str, Any]] = [
            {"notificationUUID": ...},
            {"notificationUUID": ""},
            {"notificationUUID": "x" * 101},
            {"notificationType": ...},
        ]
        of_transaction: list[dict[str, Any]] = [
            {"transactionId": ...},
            {"originalTransactionId": ""},
            {"productId": ...},
            {"purchaseDate": ...},
            {"price": -1},
            {"price": 10**18},
            {"currency": "DOLLARS"},
            {"revocationPercentage": 100_001},
        ]
        return [
            *(content(subscription_news("DID_RENEW", **fields)) for fields in of_notification),
            *(content(subscription_news("DID_RENEW", transaction=transaction(**fields))) for fields in of_transaction),
            content(subscription_news("DID_RENEW", renewal=renewal(signedDate=...))),
            content(notification("DID_RENEW")),
        ]

    def unknown(self) -> Sequence[bytes]:
        return [content(subscription_news("BRAND_NEW", "NEVER_SEEN")), content(notification("BRAND_NEW"))]

    def tests(self) -> Sequence[bytes]:
        """Of the sandbox, which reports to the same address."""
        parts = {"transaction": transaction(**SANDBOX), "renewal": renewal(**SANDBOX), "data": SANDBOX}
        words = (("DID_RENEW", None), ("SUBSCRIBED", "INITIAL_BUY"), ("EXPIRED", "VOLUNTARY"))
        return [
            *(content(subscription_news(*word, **parts)) for word in words),
            content(notification("TEST", status=None, data=SANDBOX)),
        ]

    def forgeries(self, content: bytes, *, at: datetime) -> Mapping[str, Delivery]:
        """One that is too large is not even read by the view; the suite makes its own."""
        return {name: Delivery(JSON, raw) for name, raw in FORGED.items() if name != "too large"}

    def stranger(self, *, user_ref: str, email: str) -> bytes:
        """Of a product that no plan is; of the buyer Apple tells no e-mail address."""
        number = 900 + len(user_ref)
        of_nobody = transaction(
            transactionId=str(2000000700000000 + number),
            originalTransactionId=str(2000000700000000 + number),
            productId="of.nobody",
            appAccountToken=user_ref or ...,
        )
        return content(self._renewed(of_nobody, number))

    # --- the calls

    def goldens(self) -> Sequence[Golden]:
        """It opens nothing; what it reads is in test_apple_api.py."""
        return ()


PACK = ApplePack()
