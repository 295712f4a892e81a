"""The simulated provider keeps the contract, and its faults are what they say."""

from __future__ import annotations

import json
from datetime import timedelta
from decimal import Decimal

import pytest

from portal.simulator.agenda import Agenda
from portal.simulator.bank import CLOSED, NO_FUNDS, Bank, Card, Spell
from portal.simulator.faults import Luck, Slip, WorkerKilled
from portal.simulator.provider import SimulatorProvider, delivery_headers
from portal.simulator.run import START
from providers.base import (
    ChargeRequest,
    EventType,
    LinkRequest,
    MalformedError,
    Outcome,
    RequestRefused,
    SignatureError,
    Unavailable,
    UnknownReference,
)

DAY = timedelta(days=1)


class Fate(Luck):
    """Luck that is told what happens next."""

    def __init__(self, *slips):
        super().__init__(1, "told", faults=False)
        self.slips = list(slips)

    def slip(self):
        return self.slips.pop(0) if self.slips else None


@pytest.fixture
def bank():
    return Bank("simulator", Agenda(START, START + 30 * DAY))


def card_of(bank, *slips, **behaviour):
    card = Card("card_1", "customer_1", Fate(*slips), **behaviour)
    bank.cards[card.ref] = card
    bank.lucks["user_1"] = card.luck
    return card


def charge(bank, key="key_1", amount="10.00"):
    provider = SimulatorProvider("simulator", {"bank": bank})
    return provider.charge(ChargeRequest("card_1", "customer_1", Decimal(amount), "USD", key))


def link(bank, order_ref="order_1"):
    request = LinkRequest("user_1", "plan", order_ref, Decimal("10.00"), "USD", "", "", "", "", "", f"key_{order_ref}")
    return SimulatorProvider("simulator", {"bank": bank}).create_payment_link(request)


def news(bank):
    """Everything that the bank sends, in the order of its arrival."""
    bodies = []
    bank.post = bodies.append
    while (moment := bank.agenda.next()) is not None:
        bank.agenda.now = moment
        bank.agenda.pop_due()()
    return [json.loads(body) for body in bodies]


def test_a_charge_happens_once_per_key(bank):
    card_of(bank)
    assert charge(bank) == charge(bank)
    assert charge(bank, "key_2") != charge(bank)
    assert bank.balances() == {"USD": Decimal("20.00")}
    assert [each["type"] for each in news(bank)] == [EventType.PAYMENT_SUCCEEDED] * 2


@pytest.mark.parametrize("slip", list(Slip))
def test_a_call_that_goes_wrong_is_found_out_about_by_asking(bank, slip):
    card_of(bank, slip)
    with pytest.raises(Unavailable if slip in (Slip.LOST_BEFORE, Slip.LOST_AFTER) else WorkerKilled):
        charge(bank)
    happened = slip in (Slip.LOST_AFTER, Slip.KILLED_AFTER)
    found = SimulatorProvider("simulator", {"bank": bank}).find_payment("key_1", START)
    assert (found is not None and found.outcome == Outcome.SUCCEEDED) == happened
    assert charge(bank).outcome == Outcome.SUCCEEDED
    assert len(bank.books) == 1


@pytest.mark.parametrize("decline", [NO_FUNDS, CLOSED])
def test_a_declined_charge_moves_nothing_and_stays_declined_under_its_key(bank, decline):
    card_of(bank, spells=(Spell(START, START + DAY, Outcome.DECLINED, decline),))
    assert charge(bank).decline == decline
    bank.agenda.now += 2 * DAY
    assert charge(bank).decline == decline
    assert charge(bank, "key_2").outcome == Outcome.SUCCEEDED
    assert len(bank.books) == 1


def test_a_slow_charge_settles_later(bank):
    card_of(bank, spells=(Spell(START, None, Outcome.PENDING),))
    assert (charge(bank).outcome, bank.books) == (Outcome.PENDING, [])
    assert [each["type"] for each in news(bank)] == [EventType.PAYMENT_SUCCEEDED]
    assert bank.find("key_1").provider_txn_id == bank.books[0].ref


def test_a_page_is_opened_once_and_paid_as_often_as_somebody_pays(bank):
    card = card_of(bank)
    assert link(bank).checkout_url == link(bank).checkout_url
    assert bank.page_pay("order_1", card) and bank.page_pay("order_1", card)
    assert len({movement.ref for movement in bank.books}) == 2
    assert {each["data"]["order_ref"] for each in news(bank)} == {"order_1"}


def test_refunds_give_back_what_is_left_and_no_more(bank):
    card_of(bank)
    ref, provider = charge(bank).provider_txn_id, SimulatorProvider("simulator", {"bank": bank})

    def refund(amount, key):
        wish = Decimal(amount) if amount else None
        return provider.refund(provider_txn_id=ref, amount=wish, currency="USD", reason="", idempotency_key=key)

    assert refund("4.00", "a") == refund("4.00", "a")
    assert not bank.refund_by_hand(ref, Decimal("6.01"))
    assert bank.refund_by_hand(ref, Decimal("1.00"))
    with pytest.raises(RequestRefused):
        refund("5.01", "b")
    assert refund(None, "c").amount == Decimal("5.00")
    with pytest.raises(RequestRefused):
        refund(None, "d")
    assert bank.balances() == {"USD": Decimal(0)}


def test_what_it_never_saw_it_does_not_know(bank):
    card_of(bank)
    assert bank.find("never sent") is None
    with pytest.raises(UnknownReference):
        bank.refund(ref="never charged", amount=None, key="a")
    with pytest.raises(UnknownReference):
        bank.charge(method_ref="never stored", amount=Decimal(1), currency="USD", key="a")


def test_deliveries_are_signed_and_read_back(bank):
    card = card_of(bank)
    provider = SimulatorProvider("simulator", {"bank": bank})
    link(bank)
    bank.page_pay("order_1", card)
    [event] = news(bank)
    body = json.dumps(event).encode()
    headers = delivery_headers(body, at=START)
    provider.verify_webhook(headers, body, START)
    for forged in (delivery_headers(body, at=START, genuine=False), {}):
        with pytest.raises(SignatureError):
            provider.verify_webhook(forged, body, START)
    [parsed] = provider.parse_webhook(headers, body)
    assert provider.delivery_key(headers, body) == event["id"]
    assert (parsed.order_ref, parsed.provider_payment_id) == ("order_1", bank.books[0].ref)
    assert (parsed.amount, parsed.currency, parsed.method.method_ref) == (Decimal("10.00"), "USD", "card_1")
    with pytest.raises(MalformedError):
        provider.delivery_key({}, b"no json")


def test_news_comes_late_twice_and_out_of_order():
    luck = Luck(1, "somebody", faults=True)
    arrivals = [luck.arrivals() for _ in range(500)]
    assert {len(each) for each in arrivals} == {1, 2, 3}
    firsts = [each[0] for each in arrivals]
    assert min(firsts) < timedelta(minutes=1) and max(firsts) > DAY
    calm = Luck(1, "somebody", faults=False)
    assert {tuple(calm.arrivals()) for _ in range(50)} == {(timedelta(seconds=2),)}
