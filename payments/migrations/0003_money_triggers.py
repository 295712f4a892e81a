"""What the database refuses about money: unknown transitions, unbalanced postings, changes to what was issued."""

from django.db import migrations

from payflow.core import sql

INVOICES = {
    "draft": ["open", "void"],
    "open": ["paid", "void", "uncollectible"],
    "uncollectible": ["paid"],
}
TRANSACTIONS = {
    "pending": ["completed", "failed"],
    "failed": ["completed"],
    "completed": ["refunded"],
}

BALANCE = """
CREATE FUNCTION refuse_unbalanced_posting() RETURNS TRIGGER AS $$
DECLARE
    posting uuid;
BEGIN
    IF TG_TABLE_NAME = 'ledger_postings' THEN posting := NEW.id; ELSE posting := NEW.posting_id; END IF;
    IF (SELECT count(*) FROM ledger_entries WHERE posting_id = posting) < 2
       OR EXISTS (SELECT 1 FROM ledger_entries WHERE posting_id = posting GROUP BY currency HAVING sum(amount) <> 0) THEN
        RAISE EXCEPTION 'posting % does not balance', posting
            USING ERRCODE = 'check_violation', CONSTRAINT = 'ledger_entries_balance';
    END IF;
    RETURN NULL;
END;
$$ LANGUAGE plpgsql;
CREATE CONSTRAINT TRIGGER ledger_entries_balance AFTER INSERT ON ledger_entries
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION refuse_unbalanced_posting();
CREATE CONSTRAINT TRIGGER ledger_postings_balance AFTER INSERT ON ledger_postings
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION refuse_unbalanced_posting();
"""
BALANCE_BACK = """
DROP TRIGGER ledger_entries_balance ON ledger_entries;
DROP TRIGGER ledger_postings_balance ON ledger_postings;
DROP FUNCTION refuse_unbalanced_posting();
"""

ISSUED = """
CREATE FUNCTION refuse_change_of_issued_invoice() RETURNS TRIGGER AS $$
BEGIN
    IF TG_OP = 'DELETE' THEN
        IF OLD.status <> 'draft' THEN
            RAISE EXCEPTION 'an issued invoice cannot be deleted'
                USING ERRCODE = 'check_violation', CONSTRAINT = 'invoices_issued_unchanged';
        END IF;
        RETURN OLD;
    END IF;
    IF OLD.status <> 'draft' AND (
        (NEW.number, NEW.user_id, NEW.subscription_id, NEW.reason, NEW.currency, NEW.subtotal, NEW.discount, NEW.tax,
         NEW.credit, NEW.total, NEW.merchant_of_record, NEW.period_start, NEW.period_end, NEW.issued_at, NEW.due_at,
         NEW.created_at)
        IS DISTINCT FROM
        (OLD.number, OLD.user_id, OLD.subscription_id, OLD.reason, OLD.currency, OLD.subtotal, OLD.discount, OLD.tax,
         OLD.credit, OLD.total, OLD.merchant_of_record, OLD.period_start, OLD.period_end, OLD.issued_at, OLD.due_at,
         OLD.created_at)) THEN
        RAISE EXCEPTION 'an issued invoice cannot change'
            USING ERRCODE = 'check_violation', CONSTRAINT = 'invoices_issued_unchanged';
    END IF;
    RETURN NEW;
END;
$$ LANGUAGE plpgsql;
CREATE TRIGGER invoices_issued_unchanged BEFORE UPDATE OR DELETE ON invoices
    FOR EACH ROW EXECUTE FUNCTION refuse_change_of_issued_invoice();

CREATE FUNCTION refuse_change_of_issued_lines() RETURNS TRIGGER AS $$
BEGIN
    -- Both, so that a line can't leave an issued invoice for a draft. The one that is NULL matches nothing.
    IF EXISTS (SELECT 1 FROM invoices WHERE id IN (OLD.invoice_id, NEW.invoice_id) AND status <> 'draft') THEN
        RAISE EXCEPTION 'the lines of an issued invoice cannot change'
            USING ERRCODE = 'check_violation', CONSTRAINT = 'invoice_lines_issued_unchanged';
    END IF;
    RETURN coalesce(NEW, OLD);
END;
$$ LANGUAGE plpgsql;
CREATE TRIGGER invoice_lines_issued_unchanged BEFORE INSERT OR UPDATE OR DELETE ON invoice_lines
    FOR EACH ROW EXECUTE FUNCTION refuse_change_of_issued_lines();
"""
ISSUED_BACK = """
DROP TRIGGER invoices_issued_unchanged ON invoices;
DROP TRIGGER invoice_lines_issued_unchanged ON invoice_lines;
DROP FUNCTION refuse_change_of_issued_invoice();
DROP FUNCTION refuse_change_of_issued_lines();
"""


class Migration(migrations.Migration):
    dependencies = [("payments", "0002_money_references"), ("core", "0001_core_tables")]

    operations = [
        *(
            migrations.RunSQL(sql.updated_at_trigger(table), sql.drop_trigger(table, f"update_{table}_updated_at"))
            for table in ["payment_methods", "invoices", "payment_transactions"]
        ),
        migrations.RunSQL(
            sql.transition_trigger("invoices", INVOICES), sql.drop_trigger("invoices", "invoices_transition")
        ),
        migrations.RunSQL(
            sql.transition_trigger("payment_transactions", TRANSACTIONS),
            sql.drop_trigger("payment_transactions", "payment_transactions_transition"),
        ),
        migrations.RunSQL(
            sql.append_only_trigger("ledger_postings"),
            sql.drop_trigger("ledger_postings", "ledger_postings_append_only"),
        ),
        migrations.RunSQL(
            sql.append_only_trigger("ledger_entries"), sql.drop_trigger("ledger_entries", "ledger_entries_append_only")
        ),
        migrations.RunSQL(BALANCE, BALANCE_BACK),
        migrations.RunSQL(ISSUED, ISSUED_BACK),
        migrations.RunSQL(
            "CREATE INDEX idx_payment_transactions_user_id ON payment_transactions (user_id, created_at DESC)",
            "DROP INDEX idx_payment_transactions_user_id",
        ),
        migrations.RunSQL(
            "CREATE INDEX idx_payment_transactions_status ON payment_transactions (status)",
            "DROP INDEX idx_payment_transactions_status",
        ),
    ]
