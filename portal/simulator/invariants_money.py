"""What must hold of money: books, invoices, credit, coupons, and what people paid for what they had. Pure reads."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

from django.conf import settings

from payments.services.ledger_check import MAX_FAULTS, STATEMENT
from portal.simulator.bank import Movement
from portal.simulator.catalogue import list_prices
from portal.simulator.reading import rows
from portal.simulator.world import World


def period_has_one_invoice(world: World) -> list[str]:
    """Every period with an amount has an invoice of its own subscription, issued and not taken back."""
    return rows(
        """
        SELECT 'period ' || p.id || ' of ' || p.amount || ' ' || p.currency || CASE
            WHEN i.id IS NULL THEN ' has no invoice' ELSE ' has the ' || i.status || ' invoice ' || i.id END
        FROM billing_periods p JOIN subscriptions s ON s.id = p.subscription_id
        LEFT JOIN invoices i ON i.id = p.invoice_id
        WHERE s.provider = %(provider)s AND p.superseded_at IS NULL AND p.amount > 0 AND (
            i.id IS NULL OR i.status NOT IN ('open', 'paid') OR i.subscription_id <> p.subscription_id
            OR i.currency <> p.currency)
        """,
        {"provider": world.bank.name},
    )


def invoice_has_one_charge(world: World) -> list[str]:
    """No two charges for one invoice; a paid invoice with a total has the charge that paid it, and of its amount."""
    return rows(
        """
        SELECT 'invoice ' || i.id || ' (' || i.status || ', ' || i.total || ' ' || i.currency || ') has '
               || count(t.id) || ' charges of ' || coalesce(sum(t.amount), 0)
        FROM invoices i JOIN subscriptions s ON s.id = i.subscription_id AND s.provider = %(provider)s
        LEFT JOIN payment_transactions t ON t.invoice_id = i.id AND t.type = 'charge'
            AND t.status IN ('completed', 'refunded')
        GROUP BY i.id HAVING count(t.id) <> CASE WHEN i.status = 'paid' AND i.total > 0 THEN 1 ELSE 0 END
            OR (i.status = 'paid' AND coalesce(sum(t.amount), 0) <> i.total) ORDER BY i.id
        """,
        {"provider": world.bank.name},
    )


def books_agree(world: World) -> list[str]:
    """Each movement in the provider's books, and each open dispute, is one of ours, to the cent, and the other way round."""
    columns = _columns(world)
    return rows(
        """
        WITH theirs AS (
            SELECT * FROM unnest(%(types)s::text[], %(refs)s::text[], %(amounts)s::numeric[], %(currencies)s::text[],
                                 %(parents)s::text[]) AS t(type, ref, amount, currency, parent)
        ), ours AS (
            SELECT t.type::text, t.provider_txn_id::text AS ref, t.amount, t.currency::text,
                   coalesce(parent.provider_txn_id, '')::text AS parent
            FROM payment_transactions t LEFT JOIN payment_transactions parent ON parent.id = t.parent_id
            WHERE t.provider = %(provider)s AND t.status IN ('completed', 'refunded')
            UNION ALL
            SELECT 'dispute', t.provider_txn_id, t.amount, t.currency, parent.provider_txn_id
            FROM payment_transactions t JOIN payment_transactions parent ON parent.id = t.parent_id
            WHERE t.provider = %(provider)s AND t.type = 'chargeback' AND t.status = 'pending'
        )
        SELECT 'the provider has, we do not: ' || x FROM (SELECT * FROM theirs EXCEPT ALL SELECT * FROM ours) AS x
        UNION ALL
        SELECT 'we have, the provider does not: ' || x FROM (SELECT * FROM ours EXCEPT ALL SELECT * FROM theirs) AS x
        """,
        {**columns, "provider": world.bank.name},
    )


def ledger_balances(world: World) -> list[str]:
    """Postings sum to zero; clearing is what the provider holds, receivables are what open invoices ask for."""
    held = world.bank.balances()
    return rows(
        """
        SELECT 'posting ' || posting_id || ' is off by ' || sum(amount) || ' ' || currency
        FROM ledger_entries GROUP BY posting_id, currency HAVING sum(amount) <> 0
        UNION ALL
        SELECT 'clearing is ' || coalesce(ours.amount, 0) || ', the provider holds ' || theirs.amount || ' ' || currency
        FROM unnest(%(currencies)s::text[], %(amounts)s::numeric[]) AS theirs(currency, amount)
        FULL JOIN (
            SELECT currency::text, sum(amount) AS amount FROM ledger_entries
            WHERE account = 'provider_clearing' AND provider = %(provider)s GROUP BY currency
        ) AS ours USING (currency) WHERE coalesce(ours.amount, 0) <> coalesce(theirs.amount, 0)
        UNION ALL
        SELECT 'receivable is ' || coalesce(r.amount, 0) || ', open invoices ask for ' || coalesce(o.amount, 0) || ' '
               || currency
        FROM (SELECT currency, sum(amount) AS amount FROM ledger_entries WHERE account = 'receivable' GROUP BY 1) AS r
        FULL JOIN (SELECT currency, sum(total) AS amount FROM invoices WHERE status = 'open' GROUP BY 1) AS o
            USING (currency) WHERE coalesce(r.amount, 0) <> coalesce(o.amount, 0)
        """,
        {"currencies": list(held), "amounts": list(held.values()), "provider": world.bank.name},
    )


def numbers_have_no_gap(world: World) -> list[str]:
    """The invoices of a year are numbered from 1 without a gap."""
    return rows(
        """
        SELECT 'year ' || year || ': ' || count(*) || ' numbers up to ' || max(last) FROM (
            SELECT substr(number, 5, 4) AS year, substr(number, 10)::int AS last FROM invoices WHERE number IS NOT NULL
        ) AS numbered GROUP BY year HAVING count(*) <> max(last) OR count(*) <> count(DISTINCT last)
        """,
        {},
    )


def books_are_proved(world: World) -> list[str]:
    """What operators run every night finds nothing either."""
    return rows(
        f"SELECT proof || ': ' || what || ' of ' || id || ' is ' || found || ', not ' || expected || ' ' || currency"  # noqa: S608
        f" FROM ({STATEMENT}) AS faults",
        [MAX_FAULTS],
    )


def credit_adds_up(world: World) -> list[str]:
    """A balance is never below zero and is what is left of its grants; a grant's uses are what it lacks."""
    return rows(
        """
        SELECT 'the balance of ' || a.id || ' is ' || a.balance || ', its grants have ' || coalesce(sum(g.remaining), 0)
        FROM credit_accounts a LEFT JOIN credit_grants g ON g.account_id = a.id
        GROUP BY a.id HAVING a.balance < 0 OR a.balance <> coalesce(sum(g.remaining), 0)
        UNION ALL
        SELECT 'grant ' || g.id || ' of ' || g.amount || ' has ' || g.remaining || ', spent were ' || coalesce(sum(u.amount), 0)
        FROM credit_grants g LEFT JOIN credit_uses u ON u.grant_id = g.id AND u.returned_at IS NULL
        WHERE g.expired_at IS NULL AND NOT g.explanation ? 'taken_back'
        GROUP BY g.id HAVING g.remaining <> g.amount - coalesce(sum(u.amount), 0)
        UNION ALL
        SELECT 'invoice ' || i.id || ' has credit of ' || i.credit || ', spent were ' || coalesce(sum(u.amount), 0)
        FROM invoices i LEFT JOIN credit_uses u ON u.invoice_id = i.id AND u.returned_at IS NULL
        GROUP BY i.id HAVING coalesce(sum(u.amount), 0) <> CASE i.status WHEN 'void' THEN 0 ELSE i.credit END
        """,
        {},
    )


def coupons_keep_their_limits(world: World) -> list[str]:
    """No coupon is taken more often than it may be, nor lowers more invoices than it promised.

    A page that is paid after it expired keeps its discount, and counts only where there is room: those are left out.
    """
    return rows(
        """
        WITH taken AS (
            SELECT r.coupon_id, count(*) AS all_of_them, count(*) FILTER (WHERE NOT EXISTS (
                SELECT 1 FROM subscription_events e WHERE e.subscription_id = r.subscription_id
                AND e.from_status IN ('cancelled', 'expired') AND e.to_status = 'active')) AS in_time
            FROM coupon_redemptions r WHERE r.status <> 'released' GROUP BY r.coupon_id
        )
        SELECT 'coupon ' || c.code || ' counts ' || c.redemptions || ' of ' || coalesce(c.max_redemptions::text, 'any')
               || ', taken were ' || coalesce(t.all_of_them, 0)
        FROM coupons c LEFT JOIN taken t ON t.coupon_id = c.id
        WHERE coalesce(t.in_time, 0) > c.max_redemptions
            OR c.redemptions NOT BETWEEN coalesce(t.in_time, 0) AND coalesce(t.all_of_them, 0)
        UNION ALL
        SELECT 'coupon ' || c.code || ' lowered ' || count(*) || ' invoices of subscription ' || r.subscription_id
        FROM coupon_redemptions r JOIN coupons c ON c.id = r.coupon_id
        JOIN invoices i ON i.subscription_id = r.subscription_id AND i.status = 'paid' AND i.discount > 0
        WHERE c.duration <> 'forever' AND NOT EXISTS (
            SELECT 1 FROM subscription_changes x WHERE x.invoice_id = i.id AND NOT (x.quote->>'new_anchor')::boolean)
        GROUP BY c.code, c.cycles, r.subscription_id HAVING count(*) > coalesce(c.cycles, 1)
        """,
        {},
    )


def nobody_paid_too_much(world: World) -> list[str]:
    """What somebody paid, less what went back and what he still has as credit, is no more than list prices of his time.

    His time is each period that was paid for and stands, and the grace of what was never paid; what he gave up without a
    refund counts as had. A part of a cycle costs its share; what an open invoice holds of his credit is not spent. List
    prices are the world's own, the highest of the run, with the tax that is added in his country. A cent for each rounding:
    an invoice's three, a grant's two.
    """
    prices = list_prices()
    return rows(
        """
        WITH listed AS (
            SELECT * FROM unnest(%(codes)s::text[], %(currencies)s::text[], %(prices)s::numeric[]) AS t(code, currency, price)
        ), spans AS (
            SELECT p.*, extract(epoch FROM least(p."end", grace.until) - p.start) AS had,
                   extract(epoch FROM max(p."end") OVER (PARTITION BY p.invoice_id, p.start) - p.start) AS bought
            FROM billing_periods p JOIN invoices given_up ON given_up.id = p.invoice_id LEFT JOIN LATERAL (
                SELECT min(CASE e.to_status WHEN 'suspended' THEN e.at ELSE e.at + %(grace)s END) AS until
                FROM subscription_events e WHERE given_up.status = 'uncollectible' AND e.at >= p.start
                AND e.subscription_id = p.subscription_id AND e.to_status IN ('suspended', 'past_due')
            ) grace ON true
        ), value AS (
            SELECT s.user_id, p.currency, sum(listed.price * (1 + coalesce(rate.percent, 0) / 100)
                * CASE WHEN gone.id IS NULL THEN p.had / p.bought ELSE 1 END
                * CASE WHEN l.kind = 'plan' THEN 1 ELSE least(1, p.bought / extract(epoch FROM
                      (l.explanation->'cycle'->>1)::timestamptz - (l.explanation->'cycle'->>0)::timestamptz)) END) AS amount
            FROM spans p JOIN subscriptions s ON s.id = p.subscription_id AND s.provider = %(provider)s
            JOIN users u ON u.id = s.user_id JOIN plans plan ON plan.id = p.plan_id
            JOIN listed ON listed.code = plan.code AND listed.currency = p.currency
            JOIN invoices i ON i.id = p.invoice_id
            JOIN invoice_lines l ON l.invoice_id = i.id AND l.kind IN ('plan', 'proration_charge')
            LEFT JOIN tax_rates rate ON rate.country = u.country AND NOT rate.inclusive
            LEFT JOIN subscription_events gone ON gone.subscription_id = s.id AND gone.to_status = 'cancelled'
                AND gone.at = p."end" AND p.had < p.bought
            WHERE (p.superseded_at IS NULL AND i.status = 'paid') OR i.status = 'uncollectible' GROUP BY 1, 2
        ), paid AS (
            SELECT user_id, currency, sum(CASE type WHEN 'charge' THEN amount ELSE - amount END) AS amount
            FROM payment_transactions WHERE provider = %(provider)s AND status IN ('completed', 'refunded') GROUP BY 1, 2
        ), held AS (
            SELECT u.grant_id, sum(u.amount) AS amount FROM credit_uses u JOIN invoices i ON i.id = u.invoice_id
            WHERE u.returned_at IS NULL AND i.status IN ('draft', 'open') GROUP BY 1
        ), credit AS (
            SELECT a.user_id, a.currency, count(*) AS grants,
                   sum(g.remaining + coalesce(held.amount, 0)) FILTER (WHERE g.source <> 'goodwill') AS amount
            FROM credit_accounts a JOIN credit_grants g ON g.account_id = a.id LEFT JOIN held ON held.grant_id = g.id
            GROUP BY 1, 2
        ), bills AS (
            SELECT user_id, currency, count(*) AS invoices FROM invoices WHERE status = 'paid' GROUP BY 1, 2
        )
        SELECT 'user ' || user_id || ' paid ' || paid.amount || ' ' || currency || ', has credit of '
               || coalesce(credit.amount, 0) || ', and had what costs ' || round(coalesce(value.amount, 0), 4)
        FROM paid LEFT JOIN credit USING (user_id, currency) LEFT JOIN value USING (user_id, currency)
        LEFT JOIN bills USING (user_id, currency)
        WHERE paid.amount - coalesce(credit.amount, 0) > coalesce(value.amount, 0)
            + CASE currency WHEN 'JPY' THEN 1 ELSE 0.01 END * (3 * coalesce(invoices, 0) + 2 * coalesce(grants, 0))
        """,
        {
            "codes": [code for code, _ in prices],
            "currencies": [currency for _, currency in prices],
            "prices": list(prices.values()),
            "provider": world.bank.name,
            "grace": timedelta(days=settings.GRACE_DAYS),
        },
    )


def _columns(world: World) -> dict[str, Any]:
    books: list[tuple[Movement, str]] = [(each, each.type) for each in world.bank.books]
    books += [(each, "dispute") for each in world.bank.disputes.values()]
    return {
        "types": [type_ for _, type_ in books],
        "refs": [movement.ref for movement, _ in books],
        "amounts": [movement.amount for movement, _ in books],
        "currencies": [movement.currency for movement, _ in books],
        "parents": [movement.parent for movement, _ in books],
    }


MONEY: tuple[Callable[[World], list[str]], ...] = (
    period_has_one_invoice,
    invoice_has_one_charge,
    books_agree,
    ledger_balances,
    books_are_proved,
    numbers_have_no_gap,
    credit_adds_up,
    coupons_keep_their_limits,
    nobody_paid_too_much,
)
