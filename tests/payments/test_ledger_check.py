"""The proofs of the books: a sound world passes, and each way to break it is found and named, and nothing else."""

from __future__ import annotations

import pytest
from django.db import connection, transaction

from payments.ledger_proofs import PROOFS
from payments.models import LedgerCheck
from payments.services.ledger_check import ledger_check_run
from tests.payments.books import AT, behind, posted, sound

# Deferred triggers see what was broken at the end of a test that is rolled back.
pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def world():
    return sound()


def check() -> LedgerCheck:
    return ledger_check_run(actor="system", wall=AT)


def faults() -> list[tuple[str, str, str, str]]:
    """(proof, id, expected, found), in a fixed order."""
    found = check()
    assert found.is_sound == (not found.faults)
    assert found.fault_count == len(found.faults)
    return sorted((fault["check"], fault["id"], fault["expected"], fault["found"]) for fault in found.faults)


def test_a_world_of_every_fact_is_sound(world):
    found = check()

    assert found.faults == []
    assert found.is_sound
    assert set(found.checked) == {proof.name for proof in PROOFS}
    assert found.checked["invoice_is_posted"] == {"rows": 10, "faults": 0}
    assert found.checked["credit_grant_remaining"] == {"rows": 3, "faults": 0}
    assert str(found) == "sound"


def test_an_empty_world_is_sound():
    assert faults() == []


def test_what_was_given_up_and_paid_after_all_is_sound(world):
    invoice = str(world.lost.pk)
    behind("UPDATE invoices SET status = 'paid' WHERE id = %s", invoice)
    behind("UPDATE payment_transactions SET invoice_id = %s WHERE id = %s", invoice, world.charge.pk)
    assert ("invoice_is_posted", invoice, "write_off: 0.00 USD", "write_off: 10.00 USD") in faults()

    posted("write_off_reversed", world.ann, world.lost, receivable="10.00", write_off="-10.00")
    posted("charge", world.ann, world.lost, unapplied_payments="10.00", receivable="-10.00")
    assert [fault for fault in faults() if fault[1] == invoice] == []


# --- (1) postings


def test_a_posting_that_does_not_balance(world):
    behind("UPDATE ledger_entries SET amount = 3 WHERE account = 'refunds'")
    posting = world.refund.postings.get()

    assert faults() == [
        ("posting_balances", str(posting.pk), "sum of entries: 0.00 USD", "sum of entries: -1.00 USD"),
    ]


def test_a_posting_without_entries_and_entries_without_a_posting(world):
    empty = posted("nothing", world.ann)
    gone = posted("gone", world.ann, refunds="5.00", chargebacks="-5.00")
    behind("DELETE FROM ledger_postings WHERE id = %s", gone.pk)

    assert faults() == sorted(
        [
            ("posting_balances", str(empty.pk), "sum of entries: 0", "sum of entries: no entries"),
            ("posting_balances", str(gone.pk), "sum of entries: 0", "sum of entries: entries without a posting"),
        ]
    )


def test_a_posting_that_balances_only_across_currencies(world):
    mixed = posted("mixed", world.ann, refunds="5.00", chargebacks="-5.00")
    behind("UPDATE ledger_entries SET currency = 'EUR' WHERE posting_id = %s AND account = 'refunds'", mixed.pk)

    assert faults() == [
        ("posting_balances", str(mixed.pk), "sum of entries: 0.00 EUR", "sum of entries: 5.00 EUR"),
        ("posting_balances", str(mixed.pk), "sum of entries: 0.00 USD", "sum of entries: -5.00 USD"),
    ]


# --- (2) invoices


@pytest.mark.parametrize(
    ("which", "status", "wrong"),
    [
        ("opened", "uncollectible", {"receivable": ("0.00", "10.00"), "write_off": ("10.00", "0.00")}),
        ("opened", "paid", {"receivable": ("0.00", "10.00"), "completed charge": ("10.00", "0.00")}),
        ("opened", "void", {"receivable": ("0.00", "10.00"), "revenue": ("0.00", "-10.00")}),
        ("opened", "draft", {"receivable": ("0.00", "10.00"), "revenue": ("0.00", "-10.00")}),
        ("paid", "open", {"receivable": ("10.00", "0.00"), "completed charge": ("0.00", "10.00")}),
        ("paid", "void", {"revenue": ("0.00", "-10.00"), "completed charge": ("0.00", "10.00")}),
        ("voided", "open", {"receivable": ("10.00", "0.00"), "revenue": ("-10.00", "0.00")}),
        ("lost", "open", {"receivable": ("10.00", "0.00"), "write_off": ("0.00", "10.00")}),
    ],
)
def test_an_invoice_whose_status_is_not_what_was_posted(world, which, status, wrong):
    invoice = getattr(world, which)
    behind("UPDATE invoices SET status = %s WHERE id = %s", status, invoice.pk)

    assert faults() == sorted(
        ("invoice_is_posted", str(invoice.pk), f"{what}: {expected} USD", f"{what}: {found} USD")
        for what, (expected, found) in wrong.items()
    )


@pytest.mark.parametrize(
    ("column", "change", "what", "expected"),
    [
        ("tax_included", "tax_included = 1", {"revenue": "-11.00", "tax": "-1.50"}, ("-10.00", "-2.50")),
        ("tax", "tax = 1.5, credit = 1", {"tax": "-3.50", "customer_credit": "1.00"}, ("-2.50", "0.00")),
        ("discount", "discount = 3, tax = 2.5", {"discounts": "3.00", "tax": "-4.50"}, ("1.00", "-2.50")),
    ],
)
def test_an_invoice_whose_parts_are_not_what_was_posted(world, column, change, what, expected):
    behind(f"UPDATE invoices SET {change} WHERE id = %s", world.taxed.pk)

    wanted = zip(what.items(), expected, strict=True)
    assert faults() == sorted(
        ("invoice_is_posted", str(world.taxed.pk), f"{name}: {amount} EUR", f"{name}: {found} EUR")
        for (name, amount), found in wanted
    )


def test_an_entry_in_the_wrong_account(world):
    behind(
        "UPDATE ledger_entries SET account = 'tax' WHERE account = 'revenue'"
        " AND posting_id IN (SELECT id FROM ledger_postings WHERE invoice_id = %s)",
        world.opened.pk,
    )

    assert faults() == [
        ("invoice_is_posted", str(world.opened.pk), "revenue: -10.00 USD", "revenue: 0.00 USD"),
        ("invoice_is_posted", str(world.opened.pk), "tax: 0.00 USD", "tax: -10.00 USD"),
    ]


def test_an_invoice_posted_in_another_currency(world):
    behind(
        "UPDATE ledger_entries SET currency = 'EUR'"
        " WHERE posting_id IN (SELECT id FROM ledger_postings WHERE invoice_id = %s)",
        world.opened.pk,
    )
    key = str(world.opened.pk)

    assert faults() == [
        ("invoice_is_posted", key, "receivable: 0.00 EUR", "receivable: 10.00 EUR"),
        ("invoice_is_posted", key, "receivable: 10.00 USD", "receivable: 0.00 USD"),
        ("invoice_is_posted", key, "revenue: -10.00 USD", "revenue: 0.00 USD"),
        ("invoice_is_posted", key, "revenue: 0.00 EUR", "revenue: -10.00 EUR"),
    ]


def test_a_charge_that_belongs_to_another_invoice(world):
    behind("UPDATE payment_transactions SET invoice_id = %s WHERE id = %s", world.opened.pk, world.charge.pk)

    assert faults() == sorted(
        [
            ("invoice_is_posted", str(world.paid.pk), "completed charge: 10.00 USD", "completed charge: 0.00 USD"),
            ("invoice_is_posted", str(world.opened.pk), "completed charge: 0.00 USD", "completed charge: 10.00 USD"),
        ]
    )


# --- (3) what lies at the providers


def test_money_posted_to_the_wrong_provider(world):
    behind(
        "UPDATE ledger_entries SET provider = 'lava' WHERE account = 'provider_clearing'"
        " AND posting_id IN (SELECT id FROM ledger_postings WHERE transaction_id = %s)",
        world.charge.pk,
    )

    assert faults() == [
        ("provider_clearing", "lava USD", "provider_clearing: 0.00 USD", "provider_clearing: 10.00 USD"),
        ("provider_clearing", "sandbox USD", "provider_clearing: 25.00 USD", "provider_clearing: 15.00 USD"),
    ]


@pytest.mark.parametrize(("status", "is_wrong"), [("pending", False), ("failed", False), ("completed", True)])
def test_only_a_dispute_that_is_lost_takes_money(world, status, is_wrong):
    behind(
        "INSERT INTO payment_transactions (id, user_id, provider, type, status, amount, currency, parent_id,"
        " idempotency_key, refunded_amount, attempt, failure_code, recoverable, reason, metadata)"
        " SELECT gen_random_uuid(), user_id, provider, 'chargeback', %s, 10, currency, id,"
        " 'dispute', 0, 1, '', true, '', '{}' FROM payment_transactions WHERE id = %s",
        status,
        world.charge.pk,
    )
    lost = ("provider_clearing", "sandbox USD", "provider_clearing: 15.00 USD", "provider_clearing: 25.00 USD")
    assert faults() == ([lost] if is_wrong else [])

    # And once it is posted, the books agree again.
    if is_wrong:
        posting = posted("chargeback", world.ann, chargebacks="10.00", provider_clearing="-10.00")
        behind("UPDATE ledger_entries SET provider = 'sandbox' WHERE posting_id = %s AND amount < 0", posting.pk)
        assert faults() == []


# --- (4) unapplied payments


def test_unapplied_money_that_left_its_account(world):
    behind(
        "UPDATE ledger_entries SET account = 'refunds' WHERE account = 'unapplied_payments' AND currency = 'JPY'",
    )

    key = f"{world.bob.pk} JPY"
    assert faults() == [("unapplied_payments", key, "unapplied_payments: -500 JPY", "unapplied_payments: 0 JPY")]


def test_a_grant_that_was_not_taken_from_unapplied_payments(world):
    behind("UPDATE credit_grants SET source = 'payment' WHERE id = %s", world.credit.unused.pk)

    key = f"{world.ann.pk} USD"
    assert faults() == [("unapplied_payments", key, "unapplied_payments: 6.00 USD", "unapplied_payments: 0.00 USD")]


# --- (5) credit


def test_credit_that_was_never_posted(world):
    behind(
        "UPDATE ledger_entries SET account = 'refunds' WHERE account = 'customer_credit' AND amount = -6",
    )

    key = f"{world.ann.pk} USD"
    assert faults() == [("customer_credit", key, "customer_credit: -12.00 USD", "customer_credit: -6.00 USD")]


def test_a_balance_that_is_more_than_its_grants(world):
    behind("UPDATE credit_accounts SET balance = balance + 1")

    assert faults() == [
        ("credit_account_balance", str(world.credit.account.pk), "balance: 11.00 USD", "balance: 12.00 USD"),
        ("customer_credit", f"{world.ann.pk} USD", "customer_credit: -13.00 USD", "customer_credit: -12.00 USD"),
    ]


def test_a_use_of_another_grant(world):
    behind("UPDATE credit_uses SET grant_id = %s WHERE id = %s", world.credit.unused.pk, world.credit.spent.pk)

    assert faults() == sorted(
        [
            ("credit_grant_remaining", str(world.credit.goodwill.pk), "remaining: 6.00 USD", "remaining: 5.00 USD"),
            ("credit_grant_remaining", str(world.credit.unused.pk), "remaining: 5.00 USD", "remaining: 6.00 USD"),
        ]
    )


def test_an_expired_grant_has_no_more_left_than_was_not_used(world):
    expired = str(world.credit.expired.pk)
    behind("UPDATE credit_grants SET remaining = 4, amount = 3 + 1 WHERE id = %s", expired)
    behind(
        "INSERT INTO credit_uses (id, grant_id, key, amount, currency) VALUES (gen_random_uuid(), %s, 'x', 1, 'USD')",
        expired,
    )

    found = [fault for fault in faults() if fault[0] == "credit_grant_remaining"]
    assert found == [
        ("credit_grant_remaining", expired, "remaining, at most: 3.00 USD", "remaining, at most: 4.00 USD")
    ]


def test_a_draft_that_is_issued_without_its_credit(world):
    behind("UPDATE credit_uses SET invoice_id = %s WHERE key = 'of 1.00'", world.opened.pk)

    key = f"{world.ann.pk} USD"
    assert faults() == [("customer_credit", key, "customer_credit: -11.00 USD", "customer_credit: -12.00 USD")]


# --- (6) numbers


def test_a_gap_in_the_numbers(world):
    behind("UPDATE invoices SET number = 'INV-2040-000042' WHERE id = %s", world.opened.pk)

    after = world.opened.number[:-1] + str(int(world.opened.number[-1]) + 1)
    assert faults() == sorted(
        [
            ("invoice_numbers", str(world.voided.pk), f"number: {world.opened.number}", f"number: {after}"),
            ("invoice_numbers", str(world.opened.pk), "number: INV-2040-000009", "number: INV-2040-000042"),
            ("invoice_numbers", "invoice 2040", "last number: 42", "last number: 8"),
        ]
    )


def test_a_counter_that_is_ahead_and_one_that_is_missing(world):
    behind("UPDATE number_counters SET last = last + 1")
    assert faults() == [("invoice_numbers", "invoice 2040", "last number: 8", "last number: 9")]
    behind("DELETE FROM number_counters")
    assert faults() == [("invoice_numbers", "invoice 2040", "last number: 8", "last number: 0")]


@pytest.mark.parametrize("number", ["2040/7", "INV-2040-07", "INV-2040-0000007", "INV-40-000007", "inv-2040-000007"])
def test_a_number_of_another_form(world, number):
    behind("UPDATE invoices SET number = %s WHERE id = %s", number, world.taxed.pk)

    form = "number: INV-<year>-<6 digits or more>"
    assert faults() == sorted(
        [
            ("invoice_numbers", str(world.taxed.pk), form, f"number: {number}"),
            ("invoice_numbers", "invoice 2040", "last number: 7", "last number: 8"),
        ]
    )


def test_more_than_a_million_invoices_a_year_and_every_year_anew(world):
    behind(
        "INSERT INTO number_counters (series, year, last) VALUES ('invoice', 2041, 1000001), ('credit_note', 2042, 5)"
    )
    behind(
        "INSERT INTO invoices (id, user_id, status, reason, currency, subtotal, discount, tax, credit, total,"
        " merchant_of_record, number)"
        " SELECT gen_random_uuid(), %s, 'void', 'manual', 'USD', 0, 0, 0, 0, 0, false,"
        " 'INV-2041-' || lpad(n::text, greatest(6, length(n::text)), '0')"
        " FROM unnest(ARRAY[1, 2, 999999, 1000000, 1000001]) n",
        world.ann.pk,
    )

    (gap,) = faults()
    assert (gap[0], *gap[2:]) == ("invoice_numbers", "number: INV-2041-000003", "number: INV-2041-999999")


# --- (7) charges


def test_a_payment_that_forgets_its_refund(world):
    behind("UPDATE payment_transactions SET refunded_amount = 1 WHERE id = %s", world.refunded.pk)

    key = str(world.refunded.pk)
    assert faults() == [("refunded_amount", key, "refunded_amount: 4.00 USD", "refunded_amount: 1.00 USD")]


def test_a_pending_refund_is_reserved_and_a_failed_one_is_not(world):
    # Pending again, it is not posted any more: the reservation alone agrees.
    behind("UPDATE payment_transactions SET status = 'pending' WHERE id = %s", world.refund.pk)
    assert {fault[0] for fault in faults()} == {"provider_clearing"}
    behind("UPDATE payment_transactions SET status = 'failed' WHERE id = %s", world.refund.pk)
    assert {fault[0] for fault in faults()} == {"provider_clearing", "refunded_amount"}


def test_two_charges_of_one_invoice(world):
    with transaction.atomic():
        with connection.cursor() as cursor:
            cursor.execute("DROP INDEX uniq_payment_transactions_charge_per_invoice")
        behind(
            "INSERT INTO payment_transactions (id, user_id, invoice_id, provider, type, status, amount, currency,"
            " idempotency_key, refunded_amount, attempt, failure_code, recoverable, reason, metadata)"
            " SELECT gen_random_uuid(), user_id, invoice_id, provider, type, 'pending', amount, currency,"
            " 'second', 0, 2, '', true, '', '{}' FROM payment_transactions WHERE id = %s",
            world.charge.pk,
        )
        found = faults()
        transaction.set_rollback(True)

    what = "charges that have not failed"
    assert found == [("one_charge_per_invoice", str(world.paid.pk), f"{what}: 1", f"{what}: 2")]
