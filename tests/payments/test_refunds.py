"""Giving money back: once, never more than there is, whoever asks and whatever the provider says or doesn't."""

from __future__ import annotations

import json
import uuid
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from django.contrib.auth.models import Group

from accounts.roles import BILLING_ADMIN, FINANCE, SUPPORT, VIEWER
from payflow.core.models import AuditEntry
from payments.models import PaymentTransaction
from payments.services.refunds import refund_create
from providers.sandbox.models import SandboxDelivery, SandboxPayment, SandboxRefund
from subscriptions.access import has_access
from tests.conftest import Api
from tests.factories import ApiKeyFactory, PlanFactory, StaffFactory
from tests.flows import DAY, START, fresh, invoices, ledger, nothing_changes, paid, periods, refused, steps
from tests.gateway import while_asked
from tests.providers.sandbox_support import at_once
from webhooks.models import InboundEvent

END = datetime(2040, 2, 29, 10, 0, tzinfo=UTC)


def url(payment: PaymentTransaction) -> str:
    return f"/api/v1/payments/{payment.pk}/refund"


def the_charge() -> PaymentTransaction:
    return PaymentTransaction.objects.filter(type="charge").latest("pk")


def refunds() -> list[tuple[str, Decimal]]:
    return list(PaymentTransaction.objects.filter(type="refund").order_by("pk").values_list("status", "amount"))


def with_role(role: str | None):
    staff = StaffFactory()
    if role:
        staff.groups.add(Group.objects.get_or_create(name=role)[0])
    return staff


def test_a_full_refund_ends_access_now_and_all_books_agree(shop, user, admin):
    subscription = shop.buy(user)
    charge = the_charge()
    moment = START + 10 * DAY
    shop.at(moment)

    answer = Api().as_user(admin).post(url(charge), {"reason": "asked"})

    assert answer.status_code == 201
    refund = answer.json()["data"]
    assert (refund["type"], refund["status"], refund["parent_id"]) == ("refund", "completed", str(charge.pk))
    theirs = SandboxRefund.objects.get()
    assert (theirs.ref, theirs.amount, theirs.reason) == (refund["provider_txn_id"], 10, "asked")
    assert SandboxPayment.objects.get().refunded == 10
    charge = fresh(charge)
    assert (charge.status, charge.refunded_amount) == ("refunded", 10)
    row = fresh(subscription)
    assert (row.status, row.next_action_at) == ("cancelled", None)
    assert moment <= row.end_date == row.cancelled_at < moment + timedelta(minutes=1)
    assert not has_access(row, row.end_date)
    assert periods(row) == [(START, row.end_date)]
    assert steps(row)[-1] == ("cancelled", "refunded")
    assert invoices(row) == ["paid"]  # what was issued never changes
    assert ledger() == {"revenue": -10, "refunds": 10}
    # when the provider's news of it arrives, it is ours that it finds
    shop.drain()
    assert refunds() == [("completed", 10)]
    assert ledger() == {"revenue": -10, "refunds": 10}
    # and there is nothing left to refund, nor to do
    with nothing_changes():
        refused(Api().as_user(admin).post(url(charge), {"reason": "again"}), 422, "REFUND_EXCEEDS_PAYMENT")
        body = PaymentTransaction.objects.get(type="refund")
        refused(Api().as_user(admin).post(url(body), {"reason": "of a refund"}), 409, "INVALID_TRANSITION")
        shop.run(END + DAY)


def test_partial_refunds_leave_access_until_they_add_up(shop, user, admin):
    subscription, client = shop.buy(user), Api().as_user(admin)
    charge = the_charge()

    assert client.post(url(charge), {"amount": 4, "reason": "sorry"}).status_code == 201

    assert (fresh(charge).status, fresh(charge).refunded_amount) == ("completed", 4)
    assert (fresh(subscription).status, has_access(fresh(subscription), END - DAY)) == ("active", True)
    assert ledger() == {"provider_clearing": 6, "revenue": -10, "refunds": 4}
    with nothing_changes():
        details = refused(client.post(url(charge), {"amount": "6.01", "reason": "x"}), 422, "REFUND_EXCEEDS_PAYMENT")
        assert details == {"refundable": "6.00"}
        for bad in (0, -1, "1.001", "NaN", True, "1e2", [], 10**15):
            answer = client.post(url(charge), {"amount": bad, "reason": "x"})
            refused(answer, 400, "VALIDATION_ERROR")
        refused(client.post(url(charge), {"amount": 1}), 400, "VALIDATION_ERROR")
    # the rest of it ends it
    assert client.post(url(charge), {"reason": "rest"}).json()["data"]["amount"] == 6
    assert (fresh(charge).status, fresh(subscription).status) == ("refunded", "cancelled")
    assert ledger() == {"revenue": -10, "refunds": 10}
    assert refunds() == [("completed", 4), ("completed", 6)]


def test_a_refund_of_an_earlier_period_leaves_the_present_one(shop, user, admin):
    subscription = shop.buy(user)
    first = the_charge()
    shop.run(END)
    row = fresh(subscription)

    assert Api().as_user(admin).post(url(first), {"reason": "goodwill"}).status_code == 201

    assert (fresh(row).status, fresh(row).end_date, fresh(first).status) == ("active", row.end_date, "refunded")
    assert ledger() == {"provider_clearing": 10, "revenue": -20, "refunds": 10}


def test_one_key_is_one_refund_and_another_body_under_it_is_refused(shop, user, admin):
    shop.buy(user)
    client, charge, key = Api().as_user(admin), the_charge(), {"Idempotency-Key": "refund-1"}

    first = client.post(url(charge), {"amount": 3, "reason": "asked"}, headers=key)
    again = client.post(url(charge), {"amount": 3, "reason": "asked"}, headers=key)

    assert (first.status_code, again.status_code, again.headers["Idempotency-Replayed"]) == (201, 201, "true")
    assert first.json() == again.json()
    with nothing_changes():
        refused(client.post(url(charge), {"amount": 4, "reason": "x"}, headers=key), 422, "IDEMPOTENCY_MISMATCH")
    assert refunds() == [("completed", 3)]
    assert SandboxRefund.objects.count() == 1


def test_two_full_refunds_at_once_are_one(shop, user, admin):
    shop.buy(user)
    charge = the_charge()

    answers = at_once(lambda: Api().as_user(admin).post(url(charge), {"reason": "both"}), 2)

    assert sorted(answer.status_code for answer in answers) == [201, 422]
    assert (refunds(), SandboxRefund.objects.count()) == ([("completed", 10)], 1)
    assert fresh(charge).refunded_amount == 10
    assert ledger() == {"revenue": -10, "refunds": 10}


def test_a_refund_without_an_answer_waits_with_its_reservation_and_the_sweep_ends_it(shop, user, admin):
    subscription = shop.buy(user)
    client, charge, key = Api().as_user(admin), the_charge(), {"Idempotency-Key": "refund-1"}
    shop.unreachable()

    details = refused(client.post(url(charge), {"reason": "asked"}, headers=key), 503, "PROVIDER_UNAVAILABLE")

    pending = PaymentTransaction.objects.get(type="refund")
    assert (details, pending.status) == ({"id": str(pending.pk)}, "pending")
    assert (fresh(charge).status, fresh(charge).refunded_amount) == ("completed", 10)
    assert fresh(subscription).status == "active"
    assert ledger() == {"provider_clearing": 10, "revenue": -10}
    # what is reserved cannot be refunded twice
    with nothing_changes():
        refused(client.post(url(charge), {"amount": 1, "reason": "x"}), 422, "REFUND_EXCEEDS_PAYMENT")
        assert shop.sweep("payments_refunds") == 0  # not yet
    # nor is it given up while there is no answer
    shop.sweep("payments_refunds", later=timedelta(minutes=3))
    assert refunds() == [("pending", 10)]
    # when the provider is back
    shop.reachable()
    assert shop.sweep("payments_refunds", later=timedelta(minutes=3)) == 1
    assert (refunds(), SandboxRefund.objects.count()) == ([("completed", 10)], 1)
    assert (fresh(charge).status, fresh(subscription).status) == ("refunded", "cancelled")
    # and the client that asks again under its key gets that refund
    again = client.post(url(charge), {"reason": "asked"}, headers=key)
    assert (again.status_code, again.json()["data"]["id"]) == (201, str(pending.pk))
    assert ledger() == {"revenue": -10, "refunds": 10}


def test_news_of_our_refund_may_be_quicker_than_its_answer(shop, user, admin):
    shop.buy(user)
    charge = the_charge()
    shop.unreachable()
    refused(Api().as_user(admin).post(url(charge), {"amount": 4, "reason": "asked"}), 503, "PROVIDER_UNAVAILABLE")
    pending = PaymentTransaction.objects.get(type="refund")
    shop.reachable()

    # given the provider took it, though its answer was lost
    made = shop.sandbox(
        "POST",
        f"payments/{charge.provider_txn_id}/refunds",
        {"amount": "4.00", "reason": "asked"},
        key=pending.idempotency_key,
    )
    shop.drain()

    pending = fresh(pending)
    assert (pending.status, pending.provider_txn_id) == ("completed", made["id"])
    assert shop.sweep("payments_refunds", later=timedelta(minutes=3)) == 0
    assert fresh(charge).refunded_amount == 4
    assert ledger() == {"provider_clearing": 6, "revenue": -10, "refunds": 4}


def test_a_refund_made_at_the_provider_is_recorded_once(shop, user):
    subscription = shop.buy(user)
    charge = the_charge()
    path = f"payments/{charge.provider_txn_id}/refunds"

    shop.sandbox("POST", path, {"amount": "2.50", "reason": "goodwill"}, key="by-hand-1")
    shop.drain()
    body = SandboxDelivery.objects.latest("pk").body.encode()
    data = json.loads(body)["data"]
    with nothing_changes():
        shop.sandbox_event("payment.refunded", **data)

    refund = PaymentTransaction.objects.get(type="refund")
    assert (refund.status, refund.amount, refund.parent, refund.reason) == (
        "completed",
        Decimal("2.50"),
        charge,
        "made at the provider",
    )
    assert fresh(subscription).status == "active"
    shop.sandbox("POST", path, {"amount": "7.50"}, key="by-hand-2")
    shop.drain()
    assert (fresh(charge).status, fresh(subscription).status) == ("refunded", "cancelled")
    assert ledger() == {"revenue": -10, "refunds": 10}
    # more than there is, or of a payment that nobody knows, is for an operator
    with nothing_changes():
        shop.sandbox_event("payment.refunded", **{**data, "refund_id": "re_more"})
        shop.sandbox_event("payment.refunded", **{**data, "refund_id": "re_lost", "payment_id": "pay_lost"})


def test_a_refund_reported_in_another_currency_is_for_an_operator(shop, user):
    shop.buy(user)
    shop.sandbox("POST", f"payments/{the_charge().provider_txn_id}/refunds", {"amount": "2.00"}, key="by-hand")
    data = json.loads(SandboxDelivery.objects.latest("pk").body)["data"]
    shop.drain()
    for currency, amount in (("EUR", "2.00"), ("XXX", "2.00"), ("USD", "0.00")):
        other = {"refund_id": f"re_{currency}", "currency": currency, "amount": amount}
        with nothing_changes():
            shop.sandbox_event("payment.refunded", **{**data, **other})
        assert InboundEvent.objects.latest("pk").status == "review"
    assert refunds() == [("completed", 2)]


def test_a_refund_that_the_provider_refuses_frees_its_reservation(shop, user, admin):
    subscription = shop.buy(user)
    charge = the_charge()
    # given the sandbox has given it back already, and its news has not arrived
    shop.sandbox("POST", f"payments/{charge.provider_txn_id}/refunds", {}, key="by-hand")

    details = refused(Api().as_user(admin).post(url(charge), {"reason": "asked"}), 409, "INVALID_TRANSITION")

    assert details == {"reason": "refused"}
    assert (refunds(), fresh(charge).refunded_amount) == ([("failed", 10)], 0)
    assert (fresh(subscription).status, ledger()) == ("active", {"provider_clearing": 10, "revenue": -10})
    shop.drain()
    assert refunds() == [("failed", 10), ("completed", 10)]
    assert ledger() == {"revenue": -10, "refunds": 10}


def test_an_unapplied_payment_goes_back_out_of_what_was_unapplied(shop, user, admin):
    checkout = shop.checkout(user, PlanFactory())
    shop.pay(checkout)
    first = SandboxPayment.objects.get()
    again = SandboxPayment.objects.create(
        account=first.account, kind="checkout", status="succeeded", amount=7, currency="USD", idempotency_key="twice"
    )
    shop.sandbox_event(
        "payment.succeeded", payment_id=again.ref, order_ref=checkout.order_ref, amount="7.00", currency="USD"
    )
    unapplied = PaymentTransaction.objects.get(invoice=None)
    assert ledger() == {"provider_clearing": 17, "revenue": -10, "unapplied_payments": -7}

    assert Api().as_user(admin).post(url(unapplied), {"reason": "not ours"}).status_code == 201

    assert fresh(unapplied).status == "refunded"
    assert fresh(checkout.subscription).status == "active"
    assert ledger() == {"provider_clearing": 10, "revenue": -10}


@pytest.mark.parametrize(
    ("role", "status"), [(BILLING_ADMIN, 201), (FINANCE, 201), (SUPPORT, 201), (VIEWER, 403), (None, 403)]
)
def test_operators_refund_by_their_role(shop, user, role, status):
    shop.buy(user)
    client, charge = Api().as_user(with_role(role)), the_charge()

    if status == 201:
        assert client.post(url(charge), {"reason": "asked"}).status_code == 201
        assert ledger() == {"revenue": -10, "refunds": 10}
    else:
        with nothing_changes():
            refused(client.post(url(charge), {"reason": "asked"}), 403, "FORBIDDEN")


def test_services_refund_in_scope_and_customers_never(shop, user, other_user):
    shop.buy(user)
    charge, api = the_charge(), Api()
    outside = api.as_service(ApiKeyFactory(scopes=["read", "subscriptions", "usage"]))

    with nothing_changes():
        refused(api.post(url(charge), {"reason": "x"}), 401, "UNAUTHENTICATED")
        for client in (api.as_user(user), api.as_user(other_user), outside):
            refused(client.post(url(charge), {"reason": "x"}), 403, "FORBIDDEN")
    assert SandboxRefund.objects.count() == 0
    inside = api.as_service(ApiKeyFactory(scopes=["refunds"]))
    assert inside.post(url(charge), {"reason": "asked"}).status_code == 201


def test_a_payment_of_a_provider_that_is_gone_cannot_be_refunded(api, user, admin):
    _, charge = paid(user, provider="closed-down")
    with nothing_changes():
        refused(api.as_user(admin).post(url(charge), {"reason": "x"}), 409, "REFUND_NOT_SUPPORTED")


def test_a_payment_that_is_not_there_cannot_be_refunded(api, user, admin):
    _, charge = paid(user)
    with nothing_changes():
        nobody = url(charge).replace(str(charge.pk), "00000000-0000-4000-8000-000000000000")
        refused(api.as_user(admin).post(nobody, {"reason": "x"}), 404, "NOT_FOUND")
        refused(api.as_user(admin).get(url(charge)), 405, "METHOD_NOT_ALLOWED")


# --- races -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("amount", [None, Decimal("4.00")])
def test_a_double_click_is_one_refund(shop, user, amount):
    """One confirmation page, sent twice at once: the same refund both times."""
    shop.buy(user)
    charge, request_id = the_charge(), uuid.uuid4()

    def click() -> PaymentTransaction:
        return refund_create(
            charge_id=charge.pk, amount=amount, reason="asked", actor="system", at=START, request_id=request_id
        )

    first, second = at_once(click, 2)

    assert first.pk == second.pk
    assert refunds() == [("completed", amount or 10)]
    assert SandboxRefund.objects.count() == 1
    assert fresh(charge).refunded_amount == (amount or 10)
    assert ledger()["refunds"] == (amount or 10)


def test_a_double_click_under_one_idempotency_key_is_one_refund(shop, user, admin):
    shop.buy(user)
    client, charge, key = Api().as_user(admin), the_charge(), {"Idempotency-Key": "click"}

    answers = at_once(lambda: client.post(url(charge), {"amount": 4, "reason": "x"}, headers=key), 2)

    assert {answer.status_code for answer in answers} <= {201, 409}
    assert 201 in {answer.status_code for answer in answers}
    assert (refunds(), SandboxRefund.objects.count()) == ([("completed", 4)], 1)
    assert fresh(charge).refunded_amount == 4


@pytest.mark.parametrize("amount", [None, 4])
def test_the_news_of_a_refund_may_arrive_before_its_answer(shop, user, admin, amount):
    subscription = shop.buy(user)
    charge, body = the_charge(), {"reason": "asked"} | ({"amount": amount} if amount else {})

    with while_asked(shop, "/refunds", after=shop.drain):
        answer = Api().as_user(admin).post(url(charge), body)

    assert answer.status_code == 201
    assert SandboxDelivery.objects.filter(status="delivered", body__contains="payment.refunded").count() == 1
    assert refunds() == [("completed", amount or 10)]
    assert fresh(charge).refunded_amount == (amount or 10)
    assert ledger()["refunds"] == (amount or 10)
    assert fresh(subscription).status == ("active" if amount else "cancelled")


def test_two_partial_refunds_at_once_never_exceed_the_payment(shop, user, admin):
    subscription = shop.buy(user)
    charge = the_charge()

    answers = at_once(lambda: Api().as_user(admin).post(url(charge), {"amount": 6, "reason": "both"}), 2)

    assert sorted(answer.status_code for answer in answers) == [201, 422]
    [exceeds] = [answer for answer in answers if answer.status_code == 422]
    assert refused(exceeds, 422, "REFUND_EXCEEDS_PAYMENT") == {"refundable": "4.00"}
    assert (refunds(), SandboxRefund.objects.count()) == ([("completed", 6)], 1)
    assert (fresh(charge).status, fresh(charge).refunded_amount) == ("completed", 6)
    assert AuditEntry.objects.filter(action="payment.refund").count() == 1  # the refused left nothing
    assert fresh(subscription).status == "active"
    assert ledger() == {"provider_clearing": 4, "refunds": 6, "revenue": -10}


def test_a_misspelt_amount_does_not_refund_everything(shop, user, admin):
    shop.buy(user)
    for body in ({"amout": 1, "reason": "asked"}, {"amount": 1, "currency": "EUR", "reason": "asked"}):
        with nothing_changes():
            answer = Api().as_user(admin).post(url(the_charge()), body)
            assert list(refused(answer, 400, "VALIDATION_ERROR").values()) == [["There is no such field"]]
