"""What a provider brings to the suite: how its deliveries look, and a peer that plays it over real HTTP.

Write `packs/NAME.py` with one subclass of `Pack` and one of `Peer`, and end it with `PACK = NamePack()`. What has a default
is needed only by providers that have the thing; the suite says so where it is missing.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal
from enum import StrEnum
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from providers.base import Provider, ProviderEvent, SubStatus, WebhookAnswer

if TYPE_CHECKING:
    from tests.providers.conformance.stage import Stage

# --- deliveries --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Delivery:
    """A webhook as it comes over the wire; header names in lower case."""

    headers: Mapping[str, str]
    raw: bytes


class Secret(StrEnum):
    """Whose secret (key, certificate) makes a delivery's proof."""

    CURRENT = "current"
    #: The one before, in force during a rotation. Packs whose scheme has none say so in `Pack.rotates`.
    PREVIOUS = "previous"
    #: Somebody else's, made in the same way: another merchant's, another root's.
    FOREIGN = "foreign"
    #: The empty key, which anybody has; only for proofs made with a shared secret (`Pack.keyed`).
    EMPTY = "empty"


class Proof(StrEnum):
    """What a valid signature covers; it decides what may not survive a mutation (C07, C25)."""

    #: The very bytes of the body: any change is noticed (an HMAC over the raw body).
    BYTES = "bytes"
    #: The values that are read: what wraps them may differ (a JWS in a JSON object, an HMAC over form values).
    VALUES = "values"
    #: The sender alone: the body is a hint, and `confirm_events` reads the truth at the provider (Google's push token).
    SENDER = "sender"


@dataclass(frozen=True)
class Vector:
    """Unsigned content (see `Pack.signed`) and exactly the events that it must be read as; `raw` is not compared.

    `kind`: documented; extra, with fields that nobody knows; sparse, without what is optional.
    """

    name: str
    content: bytes
    events: tuple[ProviderEvent, ...]
    kind: Literal["documented", "extra", "sparse"] = "documented"


@dataclass(frozen=True)
class Priced:
    """A delivery of a successful payment, and the settings under which its currency is sold."""

    content: bytes
    settings: Mapping[str, Any] = field(default_factory=dict)


# --- calls -------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Sent:
    """A request of the adapter as it came over the wire; header names in lower case, the query in `path`."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes


@dataclass(frozen=True)
class Golden:
    """A call and the one request that it must make: the last of the call, after tokens and look-ups.

    `path` is below the peer's address. `headers` are those that must be there, word for word; leave secrets out.
    """

    name: str
    call: Callable[[Provider], object]
    method: str
    path: str
    body: bytes
    headers: Mapping[str, str] = field(default_factory=dict)


# --- the peer ----------------------------------------------------------------------------------------------------------


class Step(StrEnum):
    """What can happen to a purchase at the provider. A step may produce no delivery, one or several."""

    PAID = "paid"
    DECLINED = "declined"
    TRIAL_STARTED = "trial_started"
    RENEWED = "renewed"
    RENEWAL_FAILED = "renewal_failed"
    RECOVERED = "recovered"
    CANCELED = "canceled"
    RESUMED = "resumed"
    PAUSED = "paused"
    GRACE = "grace"
    ON_HOLD = "on_hold"
    EXPIRED = "expired"
    REVOKED = "revoked"
    REFUNDED = "refunded"
    REFUNDED_IN_PART = "refunded_in_part"


class Card(StrEnum):
    """What later charges of a stored method come to."""

    OK = "ok"
    DECLINES = "declines"
    NEEDS_ACTION = "needs_action"


@dataclass(frozen=True)
class Order:
    """What is bought: a page that the adapter opened (`checkout_url`), or in the app (`checkout_url` None)."""

    user_ref: str
    order_ref: str
    amount: Decimal
    currency: str
    checkout_url: str | None = None
    trial_days: int = 0


@dataclass
class Purchase:
    """A purchase as the peer knows it. Packs fill in what their provider has."""

    order: Order
    payment_id: str = ""
    sub_id: str = ""
    method_ref: str = ""
    customer_ref: str = ""
    #: What the app would send us of a store purchase.
    token: str = ""


class Peer(ABC):
    """The provider, played over real HTTP by `tests/emulators/NAME` (or by whatever plays it).

    Failures of the network are not its business: the suite puts a wire in between that answers 500 or 429, repeats, or
    passes a request on and loses the answer.
    """

    #: The address under which `Pack.config` reaches it, with the path that its settings have.
    api: str

    def at(self, moment: datetime) -> None:  # noqa: B027 - most peers need none
        """Its calendar: facts and periods are stamped with `moment` from now on. Signatures keep real time."""

    @abstractmethod
    def buy(self, order: Order, step: Step = Step.PAID) -> Purchase:
        """The payer does what he does on the page or in the app. `step`: PAID, DECLINED or TRIAL_STARTED."""

    def play(self, step: Step, purchase: Purchase, stage: Stage) -> None:
        """Lets `step` happen now. A merchant-driven provider's renewals happen by `stage.bill()`.

        A story is played of many purchases at one moment, one after the other: what needs time takes it from the purchase's
        own dates, not from now. Of those that are billed the suite sets the cards with `set_card` and bills once.

        RECOVERED is a renewal that succeeds after it had failed, REFUNDED the rest of what was paid last.
        """
        raise NotImplementedError(f"the pack does not play {step}")

    def flush(self) -> None:  # noqa: B027 - most peers tell at once
        """Sends what was told and not sent yet. Nothing, where it is sent at once."""

    def make_true(self, content: bytes) -> None:
        """Where deliveries are only hints: its records say from now on what `content` tells of."""
        raise NotImplementedError

    def made(self, order: Order) -> int:
        """How many checkouts, invoices or subscriptions it has for this order."""
        raise NotImplementedError

    def refunded(self, purchase: Purchase) -> Decimal:
        """What has gone back of the purchase's payment."""
        raise NotImplementedError

    def let_refunds_wait(self, waiting: bool) -> None:
        """Where refunds have no key: whether they are under way, for as long as anybody asks."""
        raise NotImplementedError

    def set_card(self, purchase: Purchase, card: Card) -> None:
        raise NotImplementedError

    def charged(self, purchase: Purchase) -> int:
        """How many charges of the stored method took money."""
        raise NotImplementedError

    def call_it(self, purchase: Purchase, word: str) -> None:
        """From now on its state of the subscription is `word`, one of `Pack.states` or a word that nobody knows."""
        raise NotImplementedError


# --- the pack ----------------------------------------------------------------------------------------------------------


class Pack(ABC):
    """One provider in the suite. `name` is the configured provider's name, as in `/webhooks/{name}`."""

    name: ClassVar[str]
    proof: ClassVar[Proof] = Proof.BYTES
    #: Lower-case names of the headers that carry the proof; () where the body carries it.
    proof_headers: ClassVar[tuple[str, ...]] = ()
    #: How old a genuine delivery may be, where the scheme has a time in it.
    tolerance: ClassVar[timedelta | None] = None
    #: True where the proof is made with a secret that both sides share (an HMAC), False for certificates and tokens.
    keyed: ClassVar[bool] = True
    #: False where two secrets cannot be in force at once (certificates are not ours to rotate).
    rotates: ClassVar[bool] = True
    #: Texts that must never be logged or shown: API keys, webhook secrets, private keys.
    secrets: ClassVar[tuple[str, ...]]
    #: Every documented word for a subscription's state, and ours for it.
    states: ClassVar[Mapping[str, SubStatus]] = {}
    #: What the peer can play.
    steps: ClassVar[frozenset[Step]] = frozenset({Step.PAID, Step.DECLINED})
    #: What happens only where a renewal is due.
    at_renewal: ClassVar[frozenset[Step]] = frozenset({Step.GRACE, Step.ON_HOLD, Step.EXPIRED})
    #: Why a refund under another key is answered with the one that there is, where the provider knows no keys.
    refunds_once: ClassVar[str] = ""
    #: False where its list of what it told has the money alone, under names of its own (Google's voided purchases).
    lists_deliveries: ClassVar[bool] = True
    #: Why the same create twice is two objects there, where the provider has neither keys nor a look-up.
    creates_again: ClassVar[str] = ""
    #: Why the same create twice is another page, where the look-up shows none: what was opened first is withdrawn then.
    opens_another: ClassVar[str] = ""
    #: Why nobody tells of a refund that was asked for by API.
    silent_refunds: ClassVar[str] = ""
    #: Why its records show the newest payment of a subscription only.
    shows_newest: ClassVar[str] = ""
    #: What happens to a purchase whose news nobody believes without asking; None is the purchase itself.
    asked_about: ClassVar[Step | None] = None
    #: The currency in which the suite buys.
    currency: ClassVar[str] = "USD"
    #: All in which it sells, where those are few.
    currencies: ClassVar[frozenset[str] | None] = None
    #: The provider's product, where it knows plans (`PlanProviderRef`).
    product: ClassVar[str | None] = None
    #: Another one, to which a purchase of `product` can be changed.
    other_product: ClassVar[str | None] = None
    #: References that have the provider's form, of nothing that exists: subscription, payment, method.
    unknown_refs: ClassVar[tuple[str, str, str]] = ("sub_unknown", "pay_unknown", "pm_unknown")

    @property
    def unknown_token(self) -> str:
        """What an app would send us of a purchase that the store does not know; the subscription's reference by default."""
        return self.unknown_refs[0]

    @abstractmethod
    def config(self, api: str, **changes: Any) -> dict[str, Any]:
        """The settings of a provider all of whose calls go to `api`, with both secrets in force."""

    @abstractmethod
    def peer(self, *, shop_url: str, hook_url: str) -> AbstractContextManager[Peer]:
        """A running peer. It delivers to `hook_url`, or to the address that a request names. `shop_url` is PayFlow's."""

    # the webhook

    @abstractmethod
    def signed(self, content: bytes, *, at: datetime, secret: Secret = Secret.CURRENT) -> Delivery:
        """`content` as the provider would deliver it at `at` (real time). `content` is what the scheme wraps: a body
        without its signature, the payload of a JWS, the data of a push message."""

    @abstractmethod
    def vectors(self) -> Sequence[Vector]:
        """One for each documented type at least, and one `extra` and one `sparse`."""

    @abstractmethod
    def payment(self, amount: Decimal, currency: str, *, number: int = 1, at: datetime | None = None) -> Priced:
        """A successful payment. Each `number` is another charge of the same subscription; `at` is when it was taken."""

    def period(self, start: datetime, end: datetime) -> bytes:
        """A payment for [start, end), of a provider that sets periods."""
        raise NotImplementedError("a provider that sets the price sets the periods too")

    @abstractmethod
    def malformed(self) -> Sequence[bytes]:
        """Contents that are not what is documented, each of which must be MalformedError where it is authentic."""

    @abstractmethod
    def unknown(self) -> Sequence[bytes]:
        """Contents of types that nobody documents: no events."""

    def tests(self) -> Sequence[bytes]:
        """Contents of test mode, one of a successful payment among them."""
        return ()

    def forgeries(self, content: bytes, *, at: datetime) -> Mapping[str, Delivery]:
        """What else the scheme must refuse, by name: alg=none, a chain of another root, another audience."""
        return {}

    @abstractmethod
    def stranger(self, *, user_ref: str, email: str) -> bytes:
        """A payment of no order of ours, by a payer of that e-mail. `user_ref` "" is none."""

    def answer_is_right(self, delivery: Delivery, answer: WebhookAnswer, *, now: datetime) -> bool:
        """Is this the answer that the provider takes as received?"""
        return answer == WebhookAnswer()

    # the calls

    def is_read(self, method: str, path: str) -> bool:
        """Does this request make and move nothing that is bought?"""
        return method == "GET"

    @abstractmethod
    def goldens(self) -> Sequence[Golden]:
        """The create call at least (or the attach call); made against a running peer."""
