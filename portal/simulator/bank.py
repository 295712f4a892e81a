"""The provider's own side: cards, payment pages, and books that none of our services can write.

Every movement of money is written once, whatever is asked how often. News of it goes out as signed deliveries, with the
payer's luck: late, twice, out of order.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any, Literal, TypeVar

from portal.simulator.agenda import Agenda
from portal.simulator.faults import Luck, Slip, WorkerKilled
from providers.base import (
    Decline,
    EventType,
    LinkRequest,
    Outcome,
    PaymentResult,
    RefundResult,
    RequestRefused,
    SubRequest,
    Unavailable,
    UnknownReference,
)

NO_FUNDS = Decline("insufficient_funds", recoverable=True)
CLOSED = Decline("card_closed", recoverable=False)
SUCCESS = Outcome.SUCCEEDED

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Movement:
    """One line of the provider's books. `parent` is the charge that a refund gives back, or a lost dispute takes."""

    type: Literal["charge", "refund", "chargeback"]
    ref: str
    amount: Decimal
    currency: str
    at: datetime
    parent: str = ""


@dataclass(frozen=True, slots=True)
class Spell:
    """While it lasts, charges of a card end like this."""

    since: datetime
    until: datetime | None
    outcome: Outcome
    decline: Decline | None = None


@dataclass(slots=True)
class Card:
    """A stored method and how it behaves."""

    ref: str
    customer: str
    luck: Luck
    spells: tuple[Spell, ...] = ()
    #: The share of charges that fail for want of money, whenever they come.
    flaky: float = 0.0

    def answer(self, at: datetime) -> tuple[Outcome, Decline | None]:
        unlucky = self.luck.strikes(self.flaky)
        for spell in self.spells:
            if spell.since <= at and (spell.until is None or at < spell.until):
                return spell.outcome, spell.decline
        return (Outcome.DECLINED, NO_FUNDS) if unlucky else (SUCCESS, None)

    @property
    def is_closed(self) -> bool:
        return any(spell.decline == CLOSED for spell in self.spells)


@dataclass(slots=True)
class Page:
    """A hosted checkout or a payment link."""

    request: SubRequest | LinkRequest
    url: str

    @property
    def is_trial(self) -> bool:
        return isinstance(self.request, SubRequest) and self.request.trial_days > 0


@dataclass(slots=True)
class _Asked:
    """A charge of ours, as the provider knows it by its key."""

    card: Card
    amount: Decimal
    currency: str
    result: PaymentResult


@dataclass
class Bank:
    """The state of one simulated provider, shared by everything in the process that speaks to it."""

    name: str
    agenda: Agenda
    #: By the user's reference, and by that of each charge.
    lucks: dict[str, Luck] = field(default_factory=dict)
    #: Called with the bytes of a delivery when it arrives.
    post: Callable[[bytes], None] = field(default=lambda body: None)
    books: list[Movement] = field(default_factory=list)
    #: Disputes that nobody has decided: each a movement that may come.
    disputes: dict[str, Movement] = field(default_factory=dict)
    pages: dict[str, Page] = field(default_factory=dict)
    cards: dict[str, Card] = field(default_factory=dict)
    slips: dict[str, int] = field(default_factory=dict)
    _charges: dict[str, _Asked] = field(default_factory=dict)
    _refunds: dict[str, RefundResult] = field(default_factory=dict)
    _counted: int = 0

    # --- what the payer does

    def page_pay(self, order_ref: str, card: Card) -> bool:
        """The payer presses the button, as often as he likes: each time is a payment. False where it is declined."""
        page = self.pages[order_ref]
        self.cards[card.ref] = card
        about = {"order_ref": order_ref, "user_ref": page.request.user_ref, "method": _method(card)}
        if page.is_trial:
            self._tell(card.luck, EventType.SUBSCRIPTION_ACTIVATED, about)
            return True
        outcome, decline = card.answer(self.agenda.now)
        if outcome == Outcome.DECLINED:
            self._tell(card.luck, EventType.PAYMENT_FAILED, {**about, **_reason(decline)})
            return False
        self._charged(card, page.request.amount, page.request.currency, about)
        return True

    def refund_by_hand(self, ref: str, amount: Decimal) -> bool:
        """Somebody refunds in the provider's own panel. False where less is left."""
        charge = self._charge(ref)
        if amount > self._left(charge):
            return False
        self._refunded(charge, amount, key=None)
        return True

    def dispute_open(self, ref: str) -> Movement | None:
        """The payer's bank questions what is left of a charge; None where nothing is left, or it is asked already."""
        charge = self._charge(ref)
        left = self._left(charge)
        if left <= 0:
            return None
        dispute = Movement("chargeback", self._ref("dis"), left, charge.currency, self.agenda.now, charge.ref)
        self.disputes[dispute.ref] = dispute
        self._tell_dispute(EventType.PAYMENT_DISPUTED, dispute)
        return dispute

    def dispute_decide(self, dispute: Movement, *, lost: bool) -> None:
        """It ends. One that was won may come back, and be lost for good, while nothing has been refunded meanwhile."""
        if self.disputes.pop(dispute.ref, None) is None and dispute.amount > self._left(self._charge(dispute.parent)):
            return
        if lost:
            self.books.append(replace(dispute, at=self.agenda.now))
        self._tell_dispute(EventType.PAYMENT_DISPUTE_LOST if lost else EventType.PAYMENT_DISPUTE_WON, dispute)

    # --- what we ask, each through the payer's luck

    def page_open(self, request: SubRequest | LinkRequest) -> Page:
        luck = self.lucks[request.user_ref]
        return self._answered(luck, lambda: self._page(request))

    def charge(self, *, method_ref: str, amount: Decimal, currency: str, key: str) -> PaymentResult:
        """Once per key. The first answer stands, until a slow or confirmed payment makes it a success."""
        card = self.cards.get(method_ref)
        if card is None:
            raise UnknownReference(method_ref)
        return self._answered(card.luck, lambda: self._charge_once(card, amount, currency, key))

    def find(self, key: str) -> PaymentResult | None:
        asked = self._charges.get(key)
        if asked is not None and asked.card.luck.strikes(0.1):
            raise Unavailable("nobody answers")
        return asked.result if asked else None

    def refund(self, *, ref: str, amount: Decimal | None, key: str) -> RefundResult:
        charge = self._charge(ref)
        luck = self._luck_of(charge)
        return self._answered(luck, lambda: self._refund_once(charge, amount, key))

    def calm(self) -> None:
        """From now on every call is answered and all news is prompt; what is on its way still comes late."""
        for luck in self.lucks.values():
            luck.turn()

    def balances(self) -> dict[str, Decimal]:
        """What the provider holds for us, by currency."""
        held: dict[str, Decimal] = {}
        for movement in self.books:
            sign = 1 if movement.type == "charge" else -1
            held[movement.currency] = held.get(movement.currency, Decimal(0)) + sign * movement.amount
        return held

    # --- how it is done

    def _answered(self, luck: Luck, do: Callable[[], T]) -> T:
        slip = luck.slip()
        if slip is not None:
            self.slips[slip] = self.slips.get(slip, 0) + 1
        if slip == Slip.KILLED_BEFORE:
            raise WorkerKilled
        if slip == Slip.LOST_BEFORE:
            raise Unavailable("nobody answers")
        answer = do()
        if slip == Slip.KILLED_AFTER:
            raise WorkerKilled
        if slip == Slip.LOST_AFTER:
            raise Unavailable("the answer is lost")
        return answer

    def _page(self, request: SubRequest | LinkRequest) -> Page:
        url = f"https://{self.name}.invalid/pay/{request.order_ref}"
        return self.pages.setdefault(request.order_ref, Page(request, url))

    def _charge_once(self, card: Card, amount: Decimal, currency: str, key: str) -> PaymentResult:
        if key in self._charges:
            return self._charges[key].result
        outcome, decline = card.answer(self.agenda.now)
        asked = self._charges[key] = _Asked(card, amount, currency, PaymentResult(outcome, None, decline))
        if outcome == SUCCESS:
            self._settle(key, is_answered=True)
        elif outcome == Outcome.DECLINED:
            about = {"idempotency_key": key, **_reason(decline)}
            self._tell(card.luck, EventType.PAYMENT_FAILED, about, is_answered=True)
        elif outcome == Outcome.PENDING:
            self.agenda.later(timedelta(minutes=17), lambda: self._settle(key, is_answered=True))
        elif card.luck.strikes(0.7):  # the payer confirms it some hours later, when nobody waits any more
            self.agenda.later(timedelta(hours=5), lambda: self._settle(key, is_answered=False))
        return asked.result

    def _settle(self, key: str, *, is_answered: bool) -> None:
        asked = self._charges[key]
        about = {"idempotency_key": key}
        movement = self._charged(asked.card, asked.amount, asked.currency, about, is_answered=is_answered)
        asked.result = PaymentResult(SUCCESS, movement.ref)

    def _charged(
        self, card: Card, amount: Decimal, currency: str, about: dict[str, Any], *, is_answered: bool = False
    ) -> Movement:
        movement = Movement("charge", self._ref("pay"), amount, currency, self.agenda.now)
        self.books.append(movement)
        self.lucks[movement.ref] = card.luck
        money = {"payment": movement.ref, "amount": str(amount), "currency": currency}
        self._tell(card.luck, EventType.PAYMENT_SUCCEEDED, {**about, **money}, is_answered=is_answered)
        return movement

    def _refund_once(self, charge: Movement, amount: Decimal | None, key: str) -> RefundResult:
        if key in self._refunds:
            return self._refunds[key]
        wanted = self._left(charge) if amount is None else amount
        if not 0 < wanted <= self._left(charge):
            raise RequestRefused("more than is left")
        self._refunds[key] = self._refunded(charge, wanted, key=key)
        return self._refunds[key]

    def _refunded(self, charge: Movement, amount: Decimal, *, key: str | None) -> RefundResult:
        movement = Movement("refund", self._ref("ref"), amount, charge.currency, self.agenda.now, charge.ref)
        self.books.append(movement)
        told = {"payment": movement.ref, "parent": charge.ref, "idempotency_key": key}
        money = {"amount": str(amount), "currency": charge.currency}
        self._tell(self._luck_of(charge), EventType.PAYMENT_REFUNDED, {**told, **money}, is_answered=key is not None)
        return RefundResult("succeeded", movement.ref, amount)

    def _charge(self, ref: str) -> Movement:
        for movement in self.books:
            if movement.ref == ref and movement.type == "charge":
                return movement
        raise UnknownReference(ref)

    def _left(self, charge: Movement) -> Decimal:
        gone = [each.amount for each in (*self.books, *self.disputes.values()) if each.parent == charge.ref]
        return charge.amount - sum(gone, Decimal(0))

    def _luck_of(self, charge: Movement) -> Luck:
        return self.lucks[charge.ref]

    def _ref(self, kind: str) -> str:
        self._counted += 1
        return f"{self.name}_{kind}_{self._counted}"

    def _tell_dispute(self, type_: EventType, dispute: Movement) -> None:
        about = {"payment": dispute.ref, "parent": dispute.parent}
        money = {"amount": str(dispute.amount), "currency": dispute.currency}
        self._tell(self.lucks[dispute.parent], type_, {**about, **money})

    def _tell(self, luck: Luck, type_: EventType, data: dict[str, Any], *, is_answered: bool = False) -> None:
        """`is_answered`: we can learn it by asking, so the news may be lost for good."""
        if is_answered and luck.strikes(0.15):
            return
        event = {"id": self._ref("evt"), "type": type_, "at": self.agenda.now.isoformat(), "data": data}
        body = json.dumps(event).encode()
        for delay in luck.arrivals():
            self.agenda.later(delay, lambda: self.post(body))


def _method(card: Card) -> dict[str, str]:
    return {"ref": card.ref, "customer": card.customer}


def _reason(decline: Decline | None) -> dict[str, Any]:
    return {"code": decline.code, "recoverable": decline.recoverable} if decline else {}
