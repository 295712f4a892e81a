"""Chargebacks: recorded once whatever the order of their reports, and booked where they are lost."""

from __future__ import annotations

import itertools
import json
from decimal import Decimal

import pytest

from payflow.core.models import OutboxEvent
from payflow.core.money import Money
from payments.models import PaymentTransaction
from payments.services.disputes import DisputeOutcome, dispute_report
from providers.sandbox.models import SandboxDelivery, SandboxPayment
from subscriptions.access import has_access
from tests.conftest import Api
from tests.factories import PlanFactory
from tests.flows import DAY, START, deliver_sandbox, fresh, ledger, nothing_changes, paid, steps
from tests.providers.sandbox_support import at_once, press
from webhooks.models import InboundEvent

EVENTS = {"opened": "payment.disputed", "lost": "payment.dispute_lost", "won": "payment.dispute_won"}


def url(payment: PaymentTransaction) -> str:
    return f"/api/v1/payments/{payment.pk}/refund"


def the_charge() -> PaymentTransaction:
    return PaymentTransaction.objects.filter(type="charge").latest("pk")


def chargebacks() -> list[tuple[str, Decimal]]:
    rows = PaymentTransaction.objects.filter(type="chargeback").order_by("pk")
    return list(rows.values_list("status", "amount"))


def facts() -> list[str]:
    """The events of disputes, as everybody else hears of them."""
    return list(OutboxEvent.objects.filter(type__contains="disput").order_by("pk").values_list("type", flat=True))


def verdict() -> tuple[str, str]:
    return InboundEvent.objects.order_by("-pk").values_list("status", "error")[0]


def report(shop, charge: PaymentTransaction, outcome: str, *, dispute: str = "dp_1", amount: str = "10.00") -> None:
    shop.sandbox_event(
        EVENTS[outcome], payment_id=charge.provider_txn_id, dispute_id=dispute, amount=amount, currency="USD"
    )


# --- one dispute -----------------------------------------------------------------------------------------------------


def test_a_dispute_is_one_row_from_its_opening_to_its_loss(shop, user):
    shop.buy(user)
    charge = the_charge()
    shop.at(START + DAY)

    theirs = shop.dispute(charge)

    row = PaymentTransaction.objects.get(type="chargeback")
    assert (row.status, row.amount, row.currency, row.provider_txn_id) == ("pending", 10, "USD", theirs)
    assert (row.parent, row.invoice, row.subscription, row.user) == (charge, charge.invoice, charge.subscription, user)
    assert (row.created_at, row.completed_at) == (START + DAY, None)
    assert ledger() == {"provider_clearing": 10, "revenue": -10}  # nothing has moved
    assert facts() == ["payment.disputed"]
    shop.at(START + 9 * DAY)

    shop.dispute_ends(theirs, "lost")

    row = fresh(row)
    assert (row.status, row.completed_at) == ("completed", START + 9 * DAY)
    assert chargebacks() == [("completed", 10)]
    assert ledger() == {"chargebacks": 10, "revenue": -10}
    assert facts() == ["payment.disputed", "payment.dispute_lost"]
    event = OutboxEvent.objects.filter(type="payment.dispute_lost").get()
    assert (event.subject_id, event.payload) == (
        charge.pk,
        {"dispute": str(row.pk), "amount": "10.00", "currency": "USD"},
    )
    assert (fresh(charge).status, fresh(charge).refunded_amount) == ("completed", 0)
    # and its customer sees it
    seen = Api().as_user(user).get("/api/v1/payments/?type=chargeback").json()["data"]["results"]
    assert [(each["id"], each["status"], each["amount"]) for each in seen] == [(str(row.pk), "completed", 10)]


def test_a_dispute_that_is_won_has_moved_nothing(shop, user):
    shop.buy(user)
    charge = the_charge()

    shop.dispute_ends(shop.dispute(charge), "won")

    assert chargebacks() == [("failed", 10)]
    assert ledger() == {"provider_clearing": 10, "revenue": -10}
    assert facts() == ["payment.disputed", "payment.dispute_won"]
    # and what is won is as if it had not been: it can be refunded, and disputed again
    again = shop.dispute(charge)
    shop.dispute_ends(again, "won")
    assert chargebacks() == [("failed", 10), ("failed", 10)]
    shop.refund(charge)
    assert ledger() == {"refunds": 10, "revenue": -10}


def _orders(*outcomes: str) -> list[tuple[str, ...]]:
    """Each order of these, all, some, and one of them twice at any place."""
    some = [order for size in range(1, len(outcomes) + 1) for order in itertools.permutations(outcomes, size)]
    return sorted(
        {order for order in some if outcomes[-1] in order}
        | {(*order, each) for order in some for each in order if outcomes[-1] in order}
    )


@pytest.mark.parametrize("opened", ["stop_charging", "suspend"])
@pytest.mark.parametrize("order", _orders("opened", "lost"), ids="-".join)
def test_a_loss_is_the_same_in_any_order(shop, user, settings, order, opened):
    settings.CHARGEBACK_OPENED = opened
    subscription = shop.buy(user)
    charge = the_charge()

    for outcome in order:
        report(shop, charge, outcome)
        assert verdict() == ("processed", "")

    assert chargebacks() == [("completed", 10)]
    assert ledger() == {"chargebacks": 10, "revenue": -10}
    row = fresh(subscription)
    assert (row.status, row.disputed_at, steps(row)[-1][1]) == ("cancelled", None, "chargeback_lost")
    assert not has_access(row, START)
    assert facts().count("payment.dispute_lost") == 1


@pytest.mark.parametrize("opened", ["stop_charging", "suspend"])
@pytest.mark.parametrize("order", _orders("opened", "won"), ids="-".join)
def test_a_win_is_the_same_in_any_order(shop, user, settings, order, opened):
    settings.CHARGEBACK_OPENED = opened
    subscription = shop.buy(user)
    charge = the_charge()

    for outcome in order:
        report(shop, charge, outcome)
        assert verdict() == ("processed", "")

    assert chargebacks() == [("failed", 10)]
    assert ledger() == {"provider_clearing": 10, "revenue": -10}
    row = fresh(subscription)
    assert (row.status, row.disputed_at, row.next_action_at) == ("active", None, subscription.end_date)
    assert facts().count("payment.dispute_won") == 1


@pytest.mark.parametrize("order", [("won", "lost"), ("lost", "won")], ids="-".join)
def test_lost_and_won_is_lost(shop, user, order):
    shop.buy(user)
    charge = the_charge()

    for outcome in order:
        report(shop, charge, outcome)

    assert chargebacks() == [("completed", 10)]
    assert ledger() == {"chargebacks": 10, "revenue": -10}
    expected = ("review", "a dispute that was lost is reported as won") if order[-1] == "won" else ("processed", "")
    assert verdict() == expected


def test_what_was_processed_changes_nothing_when_it_comes_again(shop, user):
    shop.buy(user)
    shop.dispute_ends(shop.dispute(the_charge()), "lost")
    bodies = [bytes(body) for body in InboundEvent.objects.order_by("pk").values_list("body", flat=True)]

    with nothing_changes():
        for body in reversed(bodies):
            deliver_sandbox(body)  # the same delivery
            event = json.loads(body)
            shop.sandbox_event(event["type"], **event["data"])  # another delivery of the same news
        shop.drain()


# --- amounts ---------------------------------------------------------------------------------------------------------


def test_a_part_is_disputed_and_what_is_lost_is_what_the_loss_says(shop, user):
    shop.buy(user)
    charge = the_charge()
    theirs = shop.dispute(charge, amount="6.00")
    assert chargebacks() == [("pending", 6)]

    report(shop, charge, "lost", dispute=theirs, amount="5.50")

    assert chargebacks() == [("completed", Decimal("5.50"))]
    assert ledger() == {"chargebacks": Decimal("5.50"), "provider_clearing": Decimal("4.50"), "revenue": -10}


@pytest.mark.parametrize("known", [True, False])
def test_without_an_amount_it_is_the_whole_charge_or_what_was_said_before(db, user, known):
    _, charge = paid(user, at=START)

    def tell(outcome: DisputeOutcome, money: Money | None) -> PaymentTransaction | None:
        return dispute_report(
            provider="sandbox",
            charge_txn_id=charge.provider_txn_id,
            dispute_txn_id="dp_1",
            money=money,
            outcome=outcome,
            at=START,
        )

    if known:
        tell(DisputeOutcome.OPENED, Money(Decimal("6.00"), "USD"))
    row = tell(DisputeOutcome.LOST, None)

    assert row is not None
    assert row.amount == (6 if known else 10)
    assert ledger()["chargebacks"] == row.amount


@pytest.mark.parametrize(
    ("change", "note"),
    [
        ({"currency": "EUR"}, "a dispute in EUR of a payment in USD"),
        ({"amount": "1.0001"}, ""),
    ],
)
def test_money_that_cannot_be_the_charges_is_for_an_operator(shop, user, change, note):
    shop.buy(user)
    body = {"payment_id": the_charge().provider_txn_id, "dispute_id": "dp_1", "amount": "10.00", "currency": "USD"}
    for type_ in EVENTS.values():
        with nothing_changes():
            shop.sandbox_event(type_, **body | change)
        status, error = verdict()
        assert (status, error.startswith(note)) == ("review", True)


def test_the_dispute_of_one_payment_is_not_another_ones(shop, user, other_user):
    shop.buy(user)
    mine = the_charge()
    shop.buy(other_user)
    report(shop, mine, "opened")

    with nothing_changes():
        report(shop, the_charge(), "lost")

    assert verdict() == ("review", "the dispute is another payment's")


# --- money that is not there, or not applied -------------------------------------------------------------------------


def test_a_dispute_that_comes_before_its_payment_waits_for_it(shop, user):
    checkout = shop.checkout(user, PlanFactory())
    assert press(checkout.url, outcome="pay").status == 303
    payment = SandboxPayment.objects.get()

    with nothing_changes():
        event = {"payment_id": payment.ref, "dispute_id": "dp_1", "amount": "10.00", "currency": "USD"}
        body = {"id": "evt_1", "type": "payment.disputed", "created_at": START.isoformat(), "data": event}
        deliver_sandbox(json.dumps(body).encode())
        shop.sweep("webhooks_inbound")
    assert verdict()[0] == "failed"
    shop.drain()  # the payment
    assert fresh(checkout.subscription).disputed_at is None
    shop.sweep("webhooks_inbound", later=10 * DAY)

    assert chargebacks() == [("pending", 10)]
    assert fresh(checkout.subscription).disputed_at == START


def test_a_dispute_of_a_payment_that_was_declined_is_not_believed(shop, user):
    shop.buy(user, card="decline")
    shop.run(START + 29 * DAY)
    declined = PaymentTransaction.objects.get(status="failed")
    assert declined.provider_txn_id

    with nothing_changes():
        report(shop, declined, "opened")

    assert verdict()[0] == "failed"


def test_unapplied_money_goes_out_of_what_was_unapplied_as_far_as_it_is_there(shop, user):
    order = shop.buy(user).checkouts.get().order_ref
    shop.sandbox_event("payment.succeeded", payment_id="pay_2", order_ref=order, amount="7.00", currency="USD")
    shop.sandbox_event(
        "payment.refunded", payment_id="pay_2", refund_id="re_2", amount="3.00", currency="USD", order_ref=order
    )
    unapplied = PaymentTransaction.objects.get(invoice=None, type="charge")
    assert ledger() == {"provider_clearing": 14, "revenue": -10, "unapplied_payments": -4}

    report(shop, unapplied, "lost", amount="7.00")

    assert ledger() == {"chargebacks": 3, "provider_clearing": 7, "revenue": -10}
    # and the sweep has nothing to give back
    with nothing_changes():
        assert shop.sweep("payments_unapplied") == 0


def test_what_became_credit_is_taken_back_when_it_is_charged_back(shop, user, settings):
    settings.UNAPPLIED_PAYMENT = "credit"
    order = shop.buy(user).checkouts.get().order_ref
    shop.sandbox_event("payment.succeeded", payment_id="pay_2", order_ref=order, amount="7.00", currency="USD")
    assert shop.sweep("payments_unapplied") == 1
    assert ledger() == {"customer_credit": -7, "provider_clearing": 17, "revenue": -10}

    report(shop, PaymentTransaction.objects.get(invoice=None), "lost", amount="7.00")

    assert ledger() == {"provider_clearing": 10, "revenue": -10}


def test_unapplied_money_that_is_disputed_goes_back_by_itself_only_after_the_dispute_is_won(shop, user):
    subscription = shop.buy(user)
    first = SandboxPayment.objects.get()
    twice = SandboxPayment.objects.create(
        account=first.account,
        kind="checkout",
        status="succeeded",
        amount=7,
        currency="USD",
        idempotency_key="twice",
        hook_url=first.hook_url,
    )
    order = subscription.checkouts.get().order_ref
    shop.sandbox_event("payment.succeeded", payment_id=twice.ref, order_ref=order, amount="7.00", currency="USD")
    unapplied = PaymentTransaction.objects.get(invoice=None)
    dispute = shop.dispute(unapplied)
    with nothing_changes():
        assert shop.sweep("payments_unapplied") == 0

    shop.dispute_ends(dispute, "won")

    assert shop.sweep("payments_unapplied") == 1
    assert fresh(unapplied).status == "refunded"
    assert ledger() == {"provider_clearing": 10, "revenue": -10}
    assert fresh(subscription).status == "active"


# --- at once ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("outcomes", [("opened", "opened"), ("lost", "lost"), ("opened", "lost")], ids="-".join)
def test_two_reports_at_once_are_one_dispute(shop, user, outcomes):
    shop.buy(user)
    charge, left = the_charge(), iter(outcomes)

    def tell() -> None:
        dispute_report(
            provider="sandbox",
            charge_txn_id=charge.provider_txn_id,
            dispute_txn_id="dp_1",
            money=None,
            outcome=DisputeOutcome(next(left)),
            at=START,
        )

    at_once(tell, 2)

    lost = "lost" in outcomes
    assert chargebacks() == [("completed" if lost else "pending", 10)]
    assert len(facts()) == len(set(facts()))
    assert ledger().get("chargebacks", 0) == (10 if lost else 0)


def test_the_sandbox_tells_each_step_once(shop, user):
    shop.buy(user)
    charge = the_charge()
    path = f"payments/{charge.provider_txn_id}/disputes"
    told = SandboxDelivery.objects.count()

    first = shop.sandbox("POST", path, {}, key="d-1")
    assert shop.sandbox("POST", path, {}, key="d-1") == first
    for _ in range(2):
        shop.sandbox("POST", f"disputes/{first['id']}", {"outcome": "lost"})

    assert SandboxDelivery.objects.count() == told + 2
