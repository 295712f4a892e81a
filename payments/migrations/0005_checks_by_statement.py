"""Balance and unchanged lines are checked once a statement instead of once a row: a batch of renewals writes thousands.

The entries of a posting come in one statement, which must balance by itself; a posting without entries is refused at the
commit. What an invoice that was issued may not change now includes the tax contained in its price.
"""

from importlib import import_module

from django.contrib.postgres.operations import ValidateConstraint
from django.db import migrations

from payflow.core import sql

before = import_module("payments.migrations.0003_money_triggers")

BALANCE = """
CREATE FUNCTION refuse_unbalanced_entries() RETURNS TRIGGER AS $$
DECLARE
    posting uuid;
BEGIN
    SELECT posting_id INTO posting FROM added GROUP BY posting_id, currency HAVING sum(amount) <> 0 LIMIT 1;
    IF FOUND THEN
        RAISE EXCEPTION 'posting % does not balance', posting
            USING ERRCODE = 'check_violation', CONSTRAINT = 'ledger_entries_balance';
    END IF;
    RETURN NULL;
END;
$$ LANGUAGE plpgsql;
CREATE TRIGGER ledger_entries_balance AFTER INSERT ON ledger_entries
    REFERENCING NEW TABLE AS added FOR EACH STATEMENT EXECUTE FUNCTION refuse_unbalanced_entries();

CREATE FUNCTION refuse_empty_posting() RETURNS TRIGGER AS $$
BEGIN
    IF NOT EXISTS (SELECT 1 FROM ledger_entries WHERE posting_id = NEW.id) THEN
        RAISE EXCEPTION 'posting % has no entries', NEW.id
            USING ERRCODE = 'check_violation', CONSTRAINT = 'ledger_postings_balance';
    END IF;
    RETURN NULL;
END;
$$ LANGUAGE plpgsql;
CREATE CONSTRAINT TRIGGER ledger_postings_balance AFTER INSERT ON ledger_postings
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION refuse_empty_posting();
"""
BALANCE_BACK = """
DROP TRIGGER ledger_entries_balance ON ledger_entries;
DROP TRIGGER ledger_postings_balance ON ledger_postings;
DROP FUNCTION refuse_unbalanced_entries();
DROP FUNCTION refuse_empty_posting();
"""

LINES = """
DROP TRIGGER invoice_lines_issued_unchanged ON invoice_lines;
CREATE TRIGGER invoice_lines_issued_unchanged BEFORE UPDATE OR DELETE ON invoice_lines
    FOR EACH ROW EXECUTE FUNCTION refuse_change_of_issued_lines();
CREATE FUNCTION refuse_lines_of_issued_invoice() RETURNS TRIGGER AS $$
BEGIN
    IF EXISTS (SELECT 1 FROM added JOIN invoices ON invoices.id = added.invoice_id WHERE status <> 'draft') THEN
        RAISE EXCEPTION 'the lines of an issued invoice cannot change'
            USING ERRCODE = 'check_violation', CONSTRAINT = 'invoice_lines_issued_unchanged';
    END IF;
    RETURN NULL;
END;
$$ LANGUAGE plpgsql;
CREATE TRIGGER invoice_lines_issued_added AFTER INSERT ON invoice_lines
    REFERENCING NEW TABLE AS added FOR EACH STATEMENT EXECUTE FUNCTION refuse_lines_of_issued_invoice();
"""
LINES_BACK = """
DROP TRIGGER invoice_lines_issued_added ON invoice_lines;
DROP FUNCTION refuse_lines_of_issued_invoice();
DROP TRIGGER invoice_lines_issued_unchanged ON invoice_lines;
CREATE TRIGGER invoice_lines_issued_unchanged BEFORE INSERT OR UPDATE OR DELETE ON invoice_lines
    FOR EACH ROW EXECUTE FUNCTION refuse_change_of_issued_lines();
"""

ISSUED_BACK = before.ISSUED[: before.ISSUED.index("CREATE TRIGGER invoices_issued_unchanged")].replace(
    "CREATE FUNCTION", "CREATE OR REPLACE FUNCTION"
)
ISSUED = ISSUED_BACK.replace("NEW.credit,", "NEW.credit, NEW.tax_included,").replace(
    "OLD.credit,", "OLD.credit, OLD.tax_included,"
)


class Migration(migrations.Migration):
    dependencies = [("payments", "0004_credits_taxes_ledger_checks")]

    operations = [
        ValidateConstraint("invoice", "invoices_tax_included_in_price"),
        *(
            migrations.RunSQL(sql.updated_at_trigger(table), sql.drop_trigger(table, f"update_{table}_updated_at"))
            for table in ["credit_accounts", "tax_rates"]
        ),
        migrations.RunSQL(before.BALANCE_BACK, before.BALANCE),
        migrations.RunSQL(BALANCE, BALANCE_BACK),
        migrations.RunSQL(LINES, LINES_BACK),
        migrations.RunSQL(ISSUED, ISSUED_BACK),
    ]
