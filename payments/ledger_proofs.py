"""What must be true of the books: each proof is one query over whole tables, and answers what contradicts it.

A query answers rows of (id, what, expected, found, currency): texts, the two values being amounts where there is a currency.
`payments.services.ledger_check` runs them all in one statement. They repeat nothing of `payments.ledger`: they say from the
rows alone what the accounts have to be, so that a fault there shows here.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Proof:
    """`table` holds what is looked at, for the count."""

    name: str
    table: str
    sql: str


#: A posting balances in each currency, it has entries, and no entry is without a posting.
POSTINGS = """
    SELECT coalesce(p.id, e.posting_id)::text,
        'sum of entries',
        '0',
        CASE WHEN p.id IS NULL THEN 'entries without a posting' ELSE coalesce(e.net::text, 'no entries') END,
        CASE WHEN p.id IS NULL OR e.net IS NULL THEN '' ELSE e.currency END
    FROM ledger_postings p
    FULL JOIN (SELECT posting_id, currency, sum(amount) AS net FROM ledger_entries GROUP BY posting_id, currency) e
        ON e.posting_id = p.id
    WHERE p.id IS NULL OR e.net IS DISTINCT FROM 0
"""

#: What an invoice says is what was posted for it. A draft, and a void one, left nothing; what is posted in another currency
#: than the invoice's finds no partner in the full join, and so should be nothing either.
INVOICES = """
    SELECT coalesce(i.id, n.invoice_id)::text,
        v.what,
        v.expected::text,
        coalesce(v.found, 0)::text,
        coalesce(i.currency, n.currency)
    FROM (SELECT *, status IN ('open', 'paid', 'uncollectible') AS stands FROM invoices) i
    FULL JOIN (
        SELECT p.invoice_id,
            e.currency,
            sum(e.amount) FILTER (WHERE e.account = 'receivable') AS receivable,
            sum(e.amount) FILTER (WHERE e.account = 'write_off') AS write_off,
            sum(e.amount) FILTER (WHERE e.account = 'revenue') AS revenue,
            sum(e.amount) FILTER (WHERE e.account = 'tax') AS tax,
            sum(e.amount) FILTER (WHERE e.account = 'discounts') AS discounts,
            sum(e.amount) FILTER (WHERE e.account = 'customer_credit') AS customer_credit
        FROM ledger_postings p
        JOIN ledger_entries e ON e.posting_id = p.id
        WHERE p.invoice_id IS NOT NULL
        GROUP BY p.invoice_id, e.currency
    ) n ON n.invoice_id = i.id AND n.currency = i.currency
    LEFT JOIN (
        SELECT invoice_id, currency, sum(amount) AS amount
        FROM payment_transactions
        WHERE type = 'charge' AND status IN ('completed', 'refunded') AND invoice_id IS NOT NULL
        GROUP BY invoice_id, currency
    ) c ON c.invoice_id = i.id AND c.currency = i.currency
    CROSS JOIN LATERAL (VALUES
        ('receivable', CASE WHEN i.status = 'open' THEN i.total ELSE 0 END, n.receivable),
        ('write_off', CASE WHEN i.status = 'uncollectible' THEN i.total ELSE 0 END, n.write_off),
        ('revenue', CASE WHEN i.stands THEN i.tax_included - i.subtotal ELSE 0 END, n.revenue),
        ('tax', CASE WHEN i.stands THEN - i.tax - i.tax_included ELSE 0 END, n.tax),
        ('discounts', CASE WHEN i.stands THEN i.discount ELSE 0 END, n.discounts),
        ('customer_credit', CASE WHEN i.stands THEN i.credit ELSE 0 END, n.customer_credit),
        ('completed charge', CASE WHEN i.status = 'paid' THEN i.total ELSE 0 END, c.amount)
    ) v (what, expected, found)
    WHERE v.expected <> coalesce(v.found, 0)
"""

#: What lies at a provider: all that came in, less what went back and what was lost in disputes.
CLEARING = """
    SELECT concat_ws(' ', provider, currency),
        'provider_clearing',
        coalesce(t.amount, 0)::text,
        coalesce(e.amount, 0)::text,
        currency
    FROM (
        SELECT provider, currency, sum(CASE type WHEN 'charge' THEN amount ELSE - amount END) AS amount
        FROM payment_transactions
        WHERE status = 'completed' OR (type = 'charge' AND status = 'refunded')
        GROUP BY provider, currency
    ) t
    FULL JOIN (
        SELECT provider, currency, sum(amount) AS amount
        FROM ledger_entries
        WHERE account = 'provider_clearing'
        GROUP BY provider, currency
    ) e USING (provider, currency)
    WHERE coalesce(t.amount, 0) <> coalesce(e.amount, 0)
"""

#: Money that settles nothing waits until it is given back or turned into credit. By user, to name whose it is.
UNAPPLIED = """
    SELECT concat_ws(' ', user_id, currency),
        'unapplied_payments',
        coalesce(t.amount, 0)::text,
        coalesce(e.amount, 0)::text,
        currency
    FROM (
        SELECT user_id, currency, sum(amount) AS amount
        FROM (
            SELECT user_id, currency, - amount AS amount
            FROM payment_transactions
            WHERE type = 'charge' AND status IN ('completed', 'refunded') AND invoice_id IS NULL
            UNION ALL
            SELECT refund.user_id, refund.currency,
                refund.amount - coalesce((refund.metadata ->> 'over')::numeric, 0)
            FROM payment_transactions refund
            JOIN payment_transactions charge ON charge.id = refund.parent_id
            WHERE refund.type = 'refund' AND refund.status = 'completed' AND charge.invoice_id IS NULL
            UNION ALL
            SELECT user_id, currency, (metadata ->> 'unapplied')::numeric
            FROM payment_transactions
            WHERE type = 'chargeback' AND status = 'completed' AND metadata ? 'unapplied'
            UNION ALL
            SELECT account.user_id, g.currency,
                CASE WHEN g.expired_at IS NOT NULL AND NOT g.explanation ? 'revoked' THEN g.amount
                ELSE g.remaining + coalesce(used.amount, 0) END
            FROM credit_grants g
            JOIN credit_accounts account ON account.id = g.account_id
            LEFT JOIN (
                SELECT grant_id, sum(amount) AS amount FROM credit_uses WHERE returned_at IS NULL GROUP BY grant_id
            ) used ON used.grant_id = g.id
            WHERE g.source = 'payment'
        ) movement
        GROUP BY user_id, currency
    ) t
    FULL JOIN (
        SELECT p.user_id, e.currency, sum(e.amount) AS amount
        FROM ledger_entries e
        JOIN ledger_postings p ON p.id = e.posting_id
        WHERE e.account = 'unapplied_payments'
        GROUP BY p.user_id, e.currency
    ) e USING (user_id, currency)
    WHERE coalesce(t.amount, 0) <> coalesce(e.amount, 0)
"""

#: What the books owe a customer is what his account holds, and what drafts have taken from it: those are not posted yet.
CUSTOMER_CREDIT = """
    SELECT concat_ws(' ', user_id, currency),
        'customer_credit',
        coalesce(t.amount, 0)::text,
        coalesce(e.amount, 0)::text,
        currency
    FROM (
        SELECT user_id, currency, - sum(amount) AS amount
        FROM (
            SELECT user_id, currency, balance AS amount FROM credit_accounts
            UNION ALL
            SELECT account.user_id, used.currency, used.amount
            FROM credit_uses used
            JOIN invoices i ON i.id = used.invoice_id
            JOIN credit_grants g ON g.id = used.grant_id
            JOIN credit_accounts account ON account.id = g.account_id
            WHERE i.status = 'draft' AND used.returned_at IS NULL
        ) held
        GROUP BY user_id, currency
    ) t
    FULL JOIN (
        SELECT p.user_id, e.currency, sum(e.amount) AS amount
        FROM ledger_entries e
        JOIN ledger_postings p ON p.id = e.posting_id
        WHERE e.account = 'customer_credit'
        GROUP BY p.user_id, e.currency
    ) e USING (user_id, currency)
    WHERE coalesce(t.amount, 0) <> coalesce(e.amount, 0)
"""

CREDIT_ACCOUNTS = """
    SELECT account.id::text, 'balance', coalesce(g.remaining, 0)::text, account.balance::text, account.currency
    FROM credit_accounts account
    LEFT JOIN (SELECT account_id, sum(remaining) AS remaining FROM credit_grants GROUP BY account_id) g
        ON g.account_id = account.id
    WHERE account.balance <> coalesce(g.remaining, 0)
"""

#: Of a grant that has expired any part may be gone (what a void invoice gives back comes after); never is there more left.
#: A part that its provider paid out is written down as taken back.
CREDIT_GRANTS = """
    SELECT g.id::text,
        CASE WHEN g.expired_at IS NULL THEN 'remaining' ELSE 'remaining, at most' END,
        (g.amount - coalesce(used.amount, 0) - g.taken_back)::text,
        g.remaining::text,
        g.currency
    FROM (SELECT *, coalesce((explanation ->> 'taken_back')::numeric, 0) AS taken_back FROM credit_grants) g
    LEFT JOIN (
        SELECT grant_id, sum(amount) AS amount FROM credit_uses WHERE returned_at IS NULL GROUP BY grant_id
    ) used ON used.grant_id = g.id
    WHERE g.remaining > g.amount - coalesce(used.amount, 0) - g.taken_back
        OR (g.expired_at IS NULL AND g.remaining <> g.amount - coalesce(used.amount, 0) - g.taken_back)
"""

#: The numbers of a year are 1, 2, 3, … up to the counter. numeric: 23 digits fit the column and no integer.
NUMBERS = r"""
    SELECT id::text, 'number', 'INV-<year>-<6 digits or more>', number, ''
    FROM invoices
    WHERE number !~ '^INV-\d{4}-(\d{6}|[1-9]\d{6,})$'
    UNION ALL
    SELECT id::text, 'number', concat('INV-', year, '-', lpad(due::text, greatest(6, length(due::text)), '0')), number, ''
    FROM (
        SELECT id, number, year, n, 1 + coalesce(lag(n) OVER (PARTITION BY year ORDER BY n), 0) AS due
        FROM (
            SELECT id, number, substr(number, 5, 4) AS year, substr(number, 10)::numeric AS n
            FROM invoices
            WHERE number ~ '^INV-\d{4}-(\d{6}|[1-9]\d{6,})$'
        ) numbered
    ) ordered
    WHERE n <> due
    UNION ALL
    SELECT concat('invoice ', year), 'last number', coalesce(numbered.last, 0)::text, coalesce(counter.last, 0)::text, ''
    FROM (
        SELECT substr(number, 5, 4)::int AS year, max(substr(number, 10)::numeric) AS last
        FROM invoices
        WHERE number ~ '^INV-\d{4}-(\d{6}|[1-9]\d{6,})$'
        GROUP BY substr(number, 5, 4)::int
    ) numbered
    FULL JOIN (SELECT year, last FROM number_counters WHERE series = 'invoice') counter USING (year)
    WHERE coalesce(numbered.last, 0) <> coalesce(counter.last, 0)
"""

#: What a refund moved beyond what was left of its charge is written down as over.
REFUNDED = """
    SELECT charge.id::text,
        'refunded_amount',
        coalesce(refund.amount, 0)::text,
        charge.refunded_amount::text,
        charge.currency
    FROM payment_transactions charge
    LEFT JOIN (
        SELECT parent_id, sum(amount - coalesce((metadata ->> 'over')::numeric, 0)) AS amount
        FROM payment_transactions
        WHERE type = 'refund' AND status IN ('pending', 'completed')
        GROUP BY parent_id
    ) refund ON refund.parent_id = charge.id
    WHERE charge.refunded_amount <> coalesce(refund.amount, 0)
"""

CHARGES = """
    SELECT invoice_id::text, 'charges that have not failed', '1', count(*)::text, ''
    FROM payment_transactions
    WHERE type = 'charge' AND status <> 'failed' AND invoice_id IS NOT NULL
    GROUP BY invoice_id
    HAVING count(*) > 1
"""

PROOFS = (
    Proof("posting_balances", "ledger_postings", POSTINGS),
    Proof("invoice_is_posted", "invoices", INVOICES),
    Proof("provider_clearing", "payment_transactions", CLEARING),
    Proof("unapplied_payments", "payment_transactions", UNAPPLIED),
    Proof("customer_credit", "credit_accounts", CUSTOMER_CREDIT),
    Proof("credit_account_balance", "credit_accounts", CREDIT_ACCOUNTS),
    Proof("credit_grant_remaining", "credit_grants", CREDIT_GRANTS),
    Proof("invoice_numbers", "invoices", NUMBERS),
    Proof("refunded_amount", "payment_transactions", REFUNDED),
    Proof("one_charge_per_invoice", "payment_transactions", CHARGES),
)
