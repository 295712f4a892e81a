"""What must hold when a run is over. Pure reads, set-based; each answers one line for each thing that is wrong."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.conf import settings

from portal.simulator.invariants_money import MONEY
from portal.simulator.reading import rows
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
    return rows(
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
    """Nobody was active, on any day of the run, in a period whose invoice was not paid, or after all of it went back.

    A lost dispute takes all of it, whatever part of it the payer's bank questioned.
    """
    ids, since, until = _lived(world, {"active"})
    return rows(
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
    granted = _granted(world)
    return rows(
        """
        SELECT 'subscription ' || s.id || ' (' || s.status || ') has access' FROM subscriptions s
        WHERE s.id = ANY(%(granted)s) AND NOT CASE s.status
            WHEN 'trial' THEN EXISTS (SELECT 1 FROM trial_redemptions t WHERE t.subscription_id = s.id)
                AND EXISTS (SELECT 1 FROM billing_periods p WHERE p.subscription_id = s.id AND p.source = 'trial'
                    AND p.superseded_at IS NULL AND %(now)s >= p.start AND %(now)s < p."end")
            WHEN 'active' THEN EXISTS (
                SELECT 1 FROM billing_periods p LEFT JOIN invoices i ON i.id = p.invoice_id
                WHERE p.subscription_id = s.id AND p.superseded_at IS NULL AND (p.amount = 0 OR i.status = 'paid')
                AND NOT EXISTS (SELECT 1 FROM payment_transactions t WHERE t.invoice_id = i.id
                    AND (t.status = 'refunded' OR t.type = 'chargeback' AND t.status = 'completed'))
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
    """Who has paid for now, and was not given it back, has access now, unless a dispute of his keeps him out."""
    granted = _granted(world)
    return rows(
        """
        SELECT 'subscription ' || s.id || ' (' || s.status || ') has paid for now, in period ' || p.id
        FROM subscriptions s JOIN billing_periods p ON p.subscription_id = s.id AND p.superseded_at IS NULL
        JOIN invoices i ON i.id = p.invoice_id AND i.status = 'paid'
        WHERE s.provider = %(provider)s AND NOT s.id = ANY(%(granted)s) AND s.disputed_at IS NULL
        AND p.amount > 0 AND %(now)s >= p.start AND %(now)s < p."end"
        """,
        {"granted": granted, "now": world.now, "provider": world.bank.name},
    )


# --- work


def nothing_is_left_undone(world: World) -> list[str]:
    """No charge or refund without an answer, no news unread, nothing overdue by more than an hour, nothing planned in vain.

    A dispute that the payer's bank has not decided stays open; a draft waits with its page, and holds no credit without one.
    """
    return rows(
        """
        SELECT type || ' ' || id || ' is pending' FROM payment_transactions
        WHERE provider = %(provider)s AND status = 'pending'
        AND (type <> 'chargeback' OR NOT coalesce(provider_txn_id, '') = ANY(%(disputes)s))
        UNION ALL
        SELECT 'delivery ' || event_id || ' is ' || status || ': ' || error FROM webhook_events
        WHERE provider = %(provider)s AND status IN ('received', 'failed')
        UNION ALL
        SELECT 'subscription ' || id || ' (' || status || ') was due at ' || next_action_at FROM subscriptions
        WHERE provider = %(provider)s AND next_action_at < %(now)s - interval '1 hour'
        UNION ALL
        SELECT 'handler ' || handler || ' is ' || status || ': ' || error FROM outbox_handlings WHERE status <> 'done'
        UNION ALL
        SELECT 'change ' || c.id || ' waits though its subscription is ' || s.status FROM subscription_changes c
        JOIN subscriptions s ON s.id = c.subscription_id AND s.provider = %(provider)s
        WHERE c.status = 'open' AND s.status IN ('pending', 'paused', 'cancelled', 'expired')
        UNION ALL
        SELECT 'draft ' || i.id || ' is nobody''s' FROM invoices i
        JOIN subscriptions s ON s.id = i.subscription_id AND s.provider = %(provider)s
        WHERE i.status = 'draft' AND NOT EXISTS (
            SELECT 1 FROM checkouts c WHERE c.invoice_id = i.id AND c.status IN ('open', 'unknown'))
        UNION ALL
        SELECT 'credit ' || id || ' expired at ' || expires_at || ' and is still there' FROM credit_grants
        WHERE remaining > 0 AND expires_at < %(now)s - interval '1 hour'
        """,
        {"provider": world.bank.name, "now": world.now, "disputes": list(world.bank.disputes)},
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
        *MONEY,
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
        JOIN payment_transactions r ON r.parent_id = t.id AND r.type IN ('refund', 'chargeback')
            AND r.status = 'completed'
        WHERE t.invoice_id IS NOT NULL AND (t.status = 'refunded' OR r.type = 'chargeback') GROUP BY t.invoice_id
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


def _granted(world: World) -> list[uuid.UUID]:
    """Who is let in at the end."""
    found = Subscription.objects.filter(provider=world.bank.name).select_related("plan")
    return [row.pk for row in found if has_access(row, world.now)]


def _end(seen: Seen, end: datetime) -> datetime:
    return end if seen.end_date is None else min(end, seen.end_date)
