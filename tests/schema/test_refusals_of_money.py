"""What must never happen to invoices and transactions is refused by the database. One rule, one test, raw SQL."""

from __future__ import annotations

import pytest

from tests.schema.world import insert, refused, update

pytestmark = pytest.mark.django_db


def test_a_total_that_does_not_add_up():
    with refused("invoices_total_adds_up"):
        insert("invoices", subtotal="10.00", discount="1.00", tax="2.00", credit="0.50", total="10.51")
    insert("invoices", subtotal="10.00", discount="1.00", tax="2.00", credit="0.50", total="10.50")


def test_a_claim_below_nothing():
    with refused("invoices_total_not_negative"):
        insert("invoices", subtotal="-1.00", total="-1.00")


@pytest.mark.parametrize("status", ["open", "paid", "uncollectible"])
def test_an_issued_invoice_without_a_number(status):
    with refused("invoices_issued_has_number"):
        insert("invoices", status=status)


def test_a_number_twice():
    insert("invoices", number="INV-2026-000001")
    with refused("invoices_number_key"):
        insert("invoices", number="INV-2026-000001")


def test_a_line_in_another_scale():
    with refused("invoice_lines_amount_fits_currency"):
        insert("invoice_lines", amount="1.001")


def test_a_place_in_an_invoice_twice():
    invoice = insert("invoices")
    insert("invoice_lines", invoice_id=invoice)
    with refused("uniq_invoice_lines_position"):
        insert("invoice_lines", invoice_id=invoice)


def test_one_movement_of_money_twice():
    money = {"provider": "sandbox", "provider_txn_id": "txn_1"}
    charge = insert("payment_transactions", **money)
    with refused("uniq_payment_transactions_money_key"):
        insert("payment_transactions", **money)
    # The refund of a charge may carry the charge's id, another provider's may be the same by chance.
    insert("payment_transactions", type="refund", parent_id=charge, **money)
    insert("payment_transactions", **(money | {"provider": "other"}))
    with refused("uniq_payment_transactions_money_key"):
        insert("payment_transactions", type="refund", parent_id=charge, **money)


def test_a_key_of_a_charge_twice():
    insert("payment_transactions", idempotency_key="charge:1")
    with refused("payment_transactions_idempotency_key_key"):
        insert("payment_transactions", idempotency_key="charge:1")


@pytest.mark.parametrize("first", ["pending", "completed", "refunded"])
@pytest.mark.parametrize("second", ["pending", "completed"])
def test_a_second_charge_of_an_invoice(first, second):
    invoice = insert("invoices")
    insert("payment_transactions", invoice_id=invoice, status=first)
    with refused("uniq_payment_transactions_charge_per_invoice"):
        insert("payment_transactions", invoice_id=invoice, status=second)


def test_after_a_failed_charge_another_is_fine_and_the_failed_one_then_stays_failed():
    invoice = insert("invoices")
    failed = insert("payment_transactions", invoice_id=invoice, status="failed")
    charge = insert("payment_transactions", invoice_id=invoice, status="completed")
    insert("payment_transactions", invoice_id=invoice, type="refund", parent_id=charge)
    with refused("uniq_payment_transactions_charge_per_invoice"):
        update("payment_transactions", failed, status="completed")


@pytest.mark.parametrize("refunded", ["10.01", "-0.01", "NaN"])
def test_more_refunded_than_paid(refunded):
    charge = insert("payment_transactions", status="completed")
    with refused("payment_transactions_refunded_at_most_amount"):
        update("payment_transactions", charge, refunded_amount=refunded)
    update("payment_transactions", charge, refunded_amount="10.00")


@pytest.mark.parametrize("amount", ["0", "-1"])
def test_a_movement_of_nothing(amount):
    with refused("payment_transactions_amount_positive"):
        insert("payment_transactions", amount=amount)


@pytest.mark.parametrize(("amount", "currency"), [("1.001", "USD"), ("1.5", "JPY"), ("NaN", "USD"), ("1", "XXX")])
def test_a_movement_that_does_not_fit_its_currency(amount, currency):
    with refused("payment_transactions_amount_fits_currency"):
        insert("payment_transactions", amount=amount, currency=currency)


@pytest.mark.parametrize("type", ["refund", "chargeback"])
def test_money_back_of_nothing(type):
    with refused("payment_transactions_reversal_has_parent"):
        insert("payment_transactions", type=type)


def test_a_kind_of_money_that_does_not_exist():
    with refused("payment_transactions_type"):
        insert("payment_transactions", type="gift", parent_id=insert("payment_transactions"))
