"""What must hold when a run is over. Pure reads, set-based; each answers one line for each thing that is wrong."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.conf import settings
from django.db import connection

from portal.simulator.bank import Bank
from portal.simulator.world import Seen, World
from subscriptions.access import has_access
from subscriptions.models import Subscription

#: At most so many lines for one invariant.
SHOWN = 10


@dataclass(frozen=True, slots=True)
class Violation:
    invariant: str
    what: str
    seed: int

    def __str__(self) -> str:
        return f"{self.invariant} (seed {self.seed}): {self.what}"


def invariants_check(world: World) -> list[Violation]:
    """Everything that is wrong; empty where all is well. To be asked once the world has settled."""
    found = []
    for name, check in INVARIANTS.items():
        found += [Violation(name, line, world.seed) for line in check(world)[:SHOWN]]
    return found


# --- access


def access_has_one_period(world: World) -> list[str]:
    """Every instant of paid access lies in exactly one billing period."""
    ids, since, until = _lived(world, {"trial", "active"})
    return _rows(
        f"""
        WITH {_SPANS}
        SELECT 'subscription ' || id || ' had access in no period: ' || (lived.spans - periods.spans)
        FROM lived JOIN periods USING (id) WHERE NOT lived.spans <@ periods.spans
        UNION ALL
        SELECT 'periods ' || a.id || ' and ' || b.id || ' overlap' FROM billing_periods a
        JOIN billing_periods b ON b.subscription_id = a.subscription_id AND b.id > a.id
            AND tstzrange(a.start, a."end") && tstzrange(b.start, b."end")
        JOIN subscriptions s ON s.id = a.subscription_id AND s.provider = %(provider)s
        WHERE a.superseded_at IS NULL AND b.superseded_at IS NULL
        """,  # noqa: S608 - made of this module's own text
        {"ids": ids, "since": since, "until": until, "provider": world.bank.name},
    )


def access_was_paid_for(world: World) -> list[str]:
    """Nobody was active, on any day of the run, in a period whose invoice was not paid, or after all of it went back."""
    ids, since, until = _lived(world, {"active"})
    return _rows(
        f"""
        WITH {_SPANS}
        SELECT 'subscription ' || id || ' was active in a period that nobody paid: '
               || (lived.spans * periods.spans - periods.paid)
        FROM lived JOIN periods USING (id) WHERE NOT (lived.spans * periods.spans) <@ periods.paid
        """,  # noqa: S608 - made of this module's own text
        {"ids": ids, "since": since, "until": until},
    )


def access_is_deserved(world: World) -> list[str]:
    """Who has access at the end has paid for it, or is in a trial of his own, or in the grace of an open invoice."""
    rows = Subscription.objects.filter(provider=world.bank.name).select_related("plan")
    granted = [row.pk for row in rows if has_access(row, world.now)]
    return _rows(
        """
        SELECT 'subscription ' || s.id || ' (' || s.status || ') has access' FROM subscriptions s
        WHERE s.id = ANY(%(granted)s) AND NOT CASE s.status
            WHEN 'trial' THEN EXISTS (SELECT 1 FROM trial_redemptions t WHERE t.subscription_id = s.id)
                AND EXISTS (SELECT 1 FROM billing_periods p WHERE p.subscription_id = s.id AND p.source = 'trial'
                    AND p.superseded_at IS NULL AND %(now)s >= p.start AND %(now)s < p."end")
            WHEN 'active' THEN EXISTS (
                SELECT 1 FROM billing_periods p LEFT JOIN invoices i ON i.id = p.invoice_id
                WHERE p.subscription_id = s.id AND p.superseded_at IS NULL AND (p.amount = 0 OR i.status = 'paid')
                AND NOT EXISTS (SELECT 1 FROM payment_transactions t WHERE t.invoice_id = i.id AND t.status = 'refunded')
                AND %(now)s >= p.start AND %(now)s < p."end" + %(slack)s)
            WHEN 'past_due' THEN %(now)s < coalesce(s.dunning_from, s.end_date) + %(grace)s
                AND EXISTS (SELECT 1 FROM invoices i WHERE i.subscription_id = s.id AND i.status = 'open')
            ELSE false END
        """,
        {
            "granted": granted,
            "now": world.now,
            "slack": settings.RENEWAL_SLACK_MERCHANT,
            "grace": timedelta(days=settings.GRACE_DAYS),
        },
    )


def paid_time_is_granted(world: World) -> list[str]:
    """Who has paid for now, and was not given it back, has access now."""
    rows = Subscription.objects.filter(provider=world.bank.name).select_related("plan")
    granted = [row.pk for row in rows if has_access(row, world.now)]
    return _rows(
        """
        SELECT 'subscription ' || s.id || ' (' || s.status || ') has paid for now, in period ' || p.id
        FROM subscriptions s JOIN billing_periods p ON p.subscription_id = s.id AND p.superseded_at IS NULL
        JOIN invoices i ON i.id = p.invoice_id AND i.status = 'paid'
        WHERE s.provider = %(provider)s AND NOT s.id = ANY(%(granted)s) AND s.status <> 'paused'
        AND p.amount > 0 AND %(now)s >= p.start AND %(now)s < p."end"
        """,
        {"granted": granted, "now": world.now, "provider": world.bank.name},
    )


# --- money


def period_has_one_invoice(world: World) -> list[str]:
    """Every period with an amount has an invoice of its own subscription, issued and not taken back."""
    return _rows(
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
    return _rows(
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
    """Each movement in the provider's books is one of ours, to the cent, and the other way round."""
    columns = _columns(world.bank)
    return _rows(
        """
        WITH theirs AS (
            SELECT * FROM unnest(%(types)s::text[], %(refs)s::text[], %(amounts)s::numeric[], %(currencies)s::text[],
                                 %(parents)s::text[]) AS t(type, ref, amount, currency, parent)
        ), ours AS (
            SELECT t.type::text, t.provider_txn_id::text AS ref, t.amount, t.currency::text,
                   coalesce(parent.provider_txn_id, '')::text AS parent
            FROM payment_transactions t LEFT JOIN payment_transactions parent ON parent.id = t.parent_id
            WHERE t.provider = %(provider)s AND t.type IN ('charge', 'refund') AND t.status IN ('completed', 'refunded')
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
    return _rows(
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
    return _rows(
        """
        SELECT 'year ' || year || ': ' || count(*) || ' numbers up to ' || max(last) FROM (
            SELECT substr(number, 5, 4) AS year, substr(number, 10)::int AS last FROM invoices WHERE number IS NOT NULL
        ) AS numbered GROUP BY year HAVING count(*) <> max(last) OR count(*) <> count(DISTINCT last)
        """,
        {},
    )


# --- work


def nothing_is_left_undone(world: World) -> list[str]:
    """No charge or refund without an answer, no news unread, nothing overdue by more than an hour."""
    return _rows(
        """
        SELECT type || ' ' || id || ' is pending' FROM payment_transactions
        WHERE provider = %(provider)s AND status = 'pending'
        UNION ALL
        SELECT 'delivery ' || event_id || ' is ' || status || ': ' || error FROM webhook_events
        WHERE provider = %(provider)s AND status IN ('received', 'failed')
        UNION ALL
        SELECT 'subscription ' || id || ' (' || status || ') was due at ' || next_action_at FROM subscriptions
        WHERE provider = %(provider)s AND next_action_at < %(now)s - interval '1 hour'
        UNION ALL
        SELECT 'handler ' || handler || ' is ' || status || ': ' || error FROM outbox_handlings WHERE status <> 'done'
        """,
        {"provider": world.bank.name, "now": world.now},
    )


def nothing_broke(world: World) -> list[str]:
    """Nothing was logged as an error that no fault explains."""
    return list(dict.fromkeys(world.complaints))


INVARIANTS: dict[str, Callable[[World], list[str]]] = {
    check.__name__: check
    for check in (
        access_has_one_period,
        access_was_paid_for,
        access_is_deserved,
        paid_time_is_granted,
        period_has_one_invoice,
        invoice_has_one_charge,
        books_agree,
        ledger_balances,
        numbers_have_no_gap,
        nothing_is_left_undone,
        nothing_broke,
    )
}

#: When a subscription gave access, as the world saw it, and what its periods cover.
_SPANS = """
    lived AS (
        SELECT id, range_agg(tstzrange(since, until)) AS spans
        FROM unnest(%(ids)s::uuid[], %(since)s::timestamptz[], %(until)s::timestamptz[]) AS t(id, since, until) GROUP BY id
    ), given_back AS (
        SELECT t.invoice_id, max(r.completed_at) AS at FROM payment_transactions t
        JOIN payment_transactions r ON r.parent_id = t.id AND r.type = 'refund' AND r.status = 'completed'
        WHERE t.status = 'refunded' AND t.invoice_id IS NOT NULL GROUP BY t.invoice_id
    ), periods AS (
        SELECT lived.id, coalesce(range_agg(tstzrange(p.start, p."end")) FILTER (WHERE p.id IS NOT NULL), '{}') AS spans,
               coalesce(range_agg(tstzrange(p.start, greatest(p.start, least(p."end", given_back.at))))
                        FILTER (WHERE p.amount = 0 OR i.status = 'paid'), '{}') AS paid
        FROM lived LEFT JOIN billing_periods p ON p.subscription_id = lived.id AND p.superseded_at IS NULL
        LEFT JOIN invoices i ON i.id = p.invoice_id LEFT JOIN given_back ON given_back.invoice_id = i.id
        GROUP BY lived.id
    )
"""


def _lived(world: World, statuses: set[str]) -> tuple[list[uuid.UUID], list[datetime], list[datetime]]:
    """The stretches of time in which a subscription was of one of the statuses and its paid time had not ended."""
    ids, since, until = [], [], []
    for subscription_id, history in world.seen.items():
        ends = [each.at for each in history[1:]] + [world.now]
        for seen, end in zip(history, ends, strict=True):
            last = _end(seen, end)
            if seen.status in statuses and seen.at < last:
                ids.append(subscription_id)
                since.append(seen.at)
                until.append(last)
    return ids, since, until


def _end(seen: Seen, end: datetime) -> datetime:
    return end if seen.end_date is None else min(end, seen.end_date)


def _columns(bank: Bank) -> dict[str, Any]:
    return {
        "types": [movement.type for movement in bank.books],
        "refs": [movement.ref for movement in bank.books],
        "amounts": [movement.amount for movement in bank.books],
        "currencies": [movement.currency for movement in bank.books],
        "parents": [movement.parent for movement in bank.books],
    }


def _rows(sql: str, params: dict[str, Any]) -> list[str]:
    with connection.cursor() as cursor:
        cursor.execute(sql, params)
        return [line for (line,) in cursor.fetchall()]
