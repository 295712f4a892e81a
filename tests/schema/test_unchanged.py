"""What is written stays: append-only tables, issued invoices, the ledger's balance, the table of transitions."""

from __future__ import annotations

import pytest

from payflow.core.ids import uuid7
from tests.schema.world import committed_at_once, execute, insert, refused, update, value

pytestmark = pytest.mark.usefixtures("undone")


@pytest.mark.parametrize("table", ["audit_entries", "outbox_events", "subscription_events", "ledger_postings"])
def test_append_only(table):
    row = insert(table)
    column = "actor" if table in ("audit_entries", "subscription_events") else "kind" if "ledger" in table else "type"
    with refused(f"{table}_append_only"):
        update(table, row, **{column: "other"})
    with refused(f"{table}_append_only"):
        execute(f"DELETE FROM {table} WHERE id = %s", row)


def test_ledger_entries_are_append_only():
    posting = insert("ledger_postings")
    add_entries(posting, ("10.00", "USD"), ("-10.00", "USD"))
    [(entry, _)] = execute("SELECT id, 1 FROM ledger_entries WHERE posting_id = %s AND amount > 0", posting)
    with refused("ledger_entries_append_only"):
        update("ledger_entries", entry, amount="9.00")
    with refused("ledger_entries_append_only"):
        execute("DELETE FROM ledger_entries WHERE id = %s", entry)


# --- the ledger ------------------------------------------------------------------------------------------------------


def add_entries(posting, *entries):
    """The sides of a posting come in one statement."""
    rows = ", ".join(["(%s, %s, 'revenue', '', %s, %s)"] * len(entries))
    execute(
        f"INSERT INTO ledger_entries (id, posting_id, account, provider, amount, currency) VALUES {rows}",
        *(value for amount, currency in entries for value in (uuid7(), posting, amount, currency)),
    )


def _posting(*entries):
    with committed_at_once():
        posting = insert("ledger_postings")
        if entries:
            add_entries(posting, *entries)


def test_a_balanced_posting():
    _posting(("10.00", "USD"), ("-10.00", "USD"))
    _posting(("10.00", "USD"), ("-7.00", "USD"), ("-3.00", "USD"))
    _posting(("10.00", "USD"), ("-10.00", "USD"), ("500", "JPY"), ("-500", "JPY"))


@pytest.mark.parametrize(
    "entries",
    [
        [("10.00", "USD"), ("-9.99", "USD")],
        [("10.00", "USD"), ("-10.00", "EUR")],
        [("10.00", "USD"), ("-10.00", "USD"), ("1", "JPY")],
        [("10.00", "USD"), ("10.00", "USD")],
    ],
)
def test_an_unbalanced_posting_does_not_commit(entries):
    with refused("ledger_entries_balance"):
        _posting(*entries)


def test_nor_does_one_with_a_single_side():
    with refused("ledger_entries_balance"):
        _posting(("10.00", "USD"))


def test_nor_does_one_without_any():
    with refused("ledger_postings_balance"):
        _posting()


def test_nor_sides_that_balance_only_together_with_a_later_statement():
    posting = insert("ledger_postings")
    with refused("ledger_entries_balance"):
        add_entries(posting, ("10.00", "USD"))
        add_entries(posting, ("-10.00", "USD"))


def test_nor_two_postings_that_balance_only_together():
    first, second = insert("ledger_postings"), insert("ledger_postings")
    with refused("ledger_entries_balance"):
        execute(
            "INSERT INTO ledger_entries (id, posting_id, account, provider, amount, currency)"
            " VALUES (%s, %s, 'revenue', '', 10, 'USD'), (%s, %s, 'revenue', '', -10, 'USD')",
            *(uuid7(), first, uuid7(), second),
        )


def test_nor_a_lone_entry_added_to_an_old_posting():
    with committed_at_once():
        posting = insert("ledger_postings")
        add_entries(posting, ("10.00", "USD"), ("-10.00", "USD"))
    with refused("ledger_entries_balance"), committed_at_once():
        insert("ledger_entries", posting_id=posting, amount="1.00")


@pytest.mark.parametrize(("amount", "rule"), [("0", "not_zero"), ("1.001", "fits_currency"), ("NaN", "fits_currency")])
def test_a_side_of_nothing_or_of_no_currency(amount, rule):
    with refused(f"ledger_entries_amount_{rule}"):
        insert("ledger_entries", amount=amount)


def test_an_account_that_does_not_exist():
    with refused("ledger_entries_account"):
        insert("ledger_entries", account="petty_cash")


def test_a_fact_is_posted_once():
    insert("ledger_postings", key="invoice:1:issued")
    with refused("ledger_postings_key_key"):
        insert("ledger_postings", key="invoice:1:issued")


# --- issued invoices -------------------------------------------------------------------------------------------------

CHANGES = {
    "number": "INV-2026-999999",
    "user_id": None,
    "reason": "cycle",
    "currency": "EUR",
    "period_start": "2026-01-01T00:00Z",
    "period_end": "2026-02-01T00:00Z",
    "issued_at": "2026-01-01T00:00Z",
}


@pytest.fixture
def issued():
    invoice = insert("invoices")
    insert("invoice_lines", invoice_id=invoice)
    update("invoices", invoice, status="open", number="INV-2026-000001", issued_at="2026-01-31T10:00Z")
    return invoice


@pytest.mark.parametrize("column", CHANGES)
def test_an_issued_invoice_does_not_change(issued, column):
    changed = insert("users") if column == "user_id" else CHANGES[column]
    with refused("invoices_issued_unchanged"):
        update("invoices", issued, **{column: changed})


@pytest.mark.parametrize(
    "amounts",
    [
        {"subtotal": "11.00", "total": "11.00"},
        {"subtotal": "11.00", "discount": "1.00"},
        {"subtotal": "9.00", "tax": "1.00"},
        {"subtotal": "11.00", "credit": "1.00"},
    ],
)
def test_nor_do_its_amounts(issued, amounts):
    with refused("invoices_issued_unchanged"):
        update("invoices", issued, **amounts)


@pytest.mark.parametrize("status", ["open", "paid", "void", "uncollectible"])
def test_what_was_issued_stays_whatever_becomes_of_it(issued, status):
    if status != "open":
        update("invoices", issued, status=status)
    with refused("invoices_issued_unchanged"):
        update("invoices", issued, subtotal="11.00", total="11.00")
    execute("DELETE FROM invoice_lines WHERE false")
    with refused("invoices_issued_unchanged"):
        execute("DELETE FROM invoices WHERE id = %s", issued)


def test_its_lines_neither_change_nor_go_nor_come(issued):
    [(line,)] = execute("SELECT id FROM invoice_lines WHERE invoice_id = %s", issued)
    with refused("invoice_lines_issued_unchanged"):
        update("invoice_lines", line, amount="9.00")
    with refused("invoice_lines_issued_unchanged"):
        execute("DELETE FROM invoice_lines WHERE id = %s", line)
    with refused("invoice_lines_issued_unchanged"):
        insert("invoice_lines", invoice_id=issued, position=2)


def test_a_line_does_not_leave_an_issued_invoice_for_a_draft(issued):
    [(line,)] = execute("SELECT id FROM invoice_lines WHERE invoice_id = %s", issued)
    draft = insert("invoices")
    with refused("invoice_lines_issued_unchanged"):
        update("invoice_lines", line, invoice_id=draft)


def test_nor_does_one_come_from_a_draft(issued):
    line = insert("invoice_lines", position=2)
    with refused("invoice_lines_issued_unchanged"):
        update("invoice_lines", line, invoice_id=issued)


@pytest.mark.parametrize("column", ["subscription_id", "merchant_of_record", "due_at", "created_at"])
def test_nor_what_says_whose_and_when_it_is(issued, column):
    changed = {
        "subscription_id": lambda: insert("subscriptions"),
        "merchant_of_record": lambda: True,
        "due_at": lambda: "2027-01-01T00:00Z",
        "created_at": lambda: "2020-01-01T00:00Z",
    }[column]()
    with refused("invoices_issued_unchanged"):
        update("invoices", issued, **{column: changed})


def test_a_draft_may_change_and_go():
    invoice = insert("invoices")
    line = insert("invoice_lines", invoice_id=invoice)
    update("invoices", invoice, subtotal="11.00", total="11.00")
    update("invoice_lines", line, amount="11.00")
    execute("DELETE FROM invoice_lines WHERE id = %s", line)
    execute("DELETE FROM invoices WHERE id = %s", invoice)


# --- updated_at ------------------------------------------------------------------------------------------------------

TIMESTAMPED = {
    "users": {"name": "Ann"},
    "api_keys": {"name": "other"},
    "plans": {"name": "Other"},
    "plan_prices": {"amount": "8.00"},
    "plan_provider_refs": {"currency": "EUR"},
    "subscriptions": {"auto_renew": False},
    "checkouts": {"url": "x"},
    "payment_methods": {"brand": "visa"},
    "invoices": {"due_at": "2026-02-01T00:00Z"},
    "payment_transactions": {"reason": "x"},
    "webhook_events": {"attempts": 1},
}


@pytest.mark.parametrize("table", TIMESTAMPED)
def test_whoever_changes_a_row_its_updated_at_follows(table):
    row = insert(table, updated_at="2020-01-01T00:00Z", created_at="2020-01-01T00:00Z")
    assert value(table, row, "updated_at").year == 2020
    update(table, row, **TIMESTAMPED[table])
    assert execute(f"SELECT updated_at = now(), created_at < updated_at FROM {table} WHERE id = %s", row) == [
        (True, True)
    ]


def test_every_table_with_updated_at_has_the_trigger():
    tables = execute(
        "SELECT table_name FROM information_schema.columns WHERE table_schema = 'public' AND column_name = 'updated_at'"
    )
    triggers = execute(
        "SELECT event_object_table, trigger_name FROM information_schema.triggers WHERE trigger_name LIKE 'update_%%_updated_at'"
    )
    assert sorted(triggers) == sorted((table, f"update_{table}_updated_at") for (table,) in tables)


# --- the partitions of usage -----------------------------------------------------------------------------------------


def _partition(row):
    return execute("SELECT tableoid::regclass::text FROM usage_logs WHERE id = %s", row)[0][0]


def test_a_use_lies_in_its_month():
    [(month,)] = execute("SELECT to_char(now() AT TIME ZONE 'UTC', 'YYYY_MM')")
    assert _partition(insert("usage_logs")) == f"usage_logs_{month}"
    [(last,)] = execute("SELECT date_trunc('month', now() AT TIME ZONE 'UTC') AT TIME ZONE 'UTC' + interval '1 month'")
    [(following,)] = execute("SELECT to_char(now() AT TIME ZONE 'UTC' + interval '1 month', 'YYYY_MM')")
    assert _partition(insert("usage_logs", created_at=last)) == f"usage_logs_{following}"


@pytest.mark.parametrize("moment", ["2019-12-31T23:59:59Z", "2999-01-01T00:00Z"])
def test_a_use_without_a_partition_is_not_lost(moment):
    assert _partition(insert("usage_logs", created_at=moment)) == "usage_logs_default"


def test_the_log_is_partitioned_and_keyed_by_its_moment():
    assert execute("SELECT pg_get_partkeydef('usage_logs'::regclass)") == [("RANGE (created_at)",)]
    assert execute(
        "SELECT pg_get_constraintdef(oid) FROM pg_constraint WHERE conrelid = 'usage_logs'::regclass AND contype = 'p'"
    ) == [("PRIMARY KEY (id, created_at)",)]
