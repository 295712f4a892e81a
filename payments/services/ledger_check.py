"""Proving the books: everything that the ledger must agree with is compared with it, by the database.

Nothing is repaired here. A fault is for people: it is kept, logged as an error, and shown to operators.
"""

from __future__ import annotations

import logging
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from decimal import Decimal

from django.db import connection, transaction

from payflow.core import audit, clock
from payflow.core.locks import advisory_lock
from payflow.core.money import Money, has_currency_scale
from payments.ledger_proofs import PROOFS
from payments.models import LedgerCheck

#: Faults that are kept with a check, of the first ones of every proof; all are counted.
MAX_FAULTS = 100
#: Checks that are kept.
KEPT = 90
#: How long the sweep lets a check stand.
EVERY = timedelta(hours=24)

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Fault:
    """What one proof found of one row, account or series. `id` is the row's, or says whose account it is."""

    check: str
    id: str
    expected: str
    found: str


def ledger_check_run(*, actor: str, wall: datetime) -> LedgerCheck:
    """Runs every proof and keeps the result; `LedgerCheck.checked` says by proof how many rows and how many faults.

    All proofs are one statement, and so see one moment: payments that arrive meanwhile do not look like faults.
    """
    with transaction.atomic():
        with connection.cursor() as cursor:
            # So many joins would call the JIT compiler, which takes longer than they do; and they sort in memory. With
            # 100,000 invoices (720,000 entries) the statement takes some 6 s of a slow core.
            cursor.execute("SET LOCAL jit = off; SET LOCAL work_mem = '64MB'")
        rows = _rows()
        faults, totals = _faults()
        check = LedgerCheck.objects.create(
            created_at=wall,
            finished_at=max(wall, clock.wall()),
            checked={proof.name: {"rows": rows[proof.table], "faults": totals.get(proof.name, 0)} for proof in PROOFS},
            faults=[asdict(fault) for fault in faults],
            is_sound=not faults,
        )
        kept = LedgerCheck.objects.order_by("-created_at", "-pk")[:KEPT].values("pk")
        LedgerCheck.objects.exclude(pk__in=list(kept.values_list("pk", flat=True))).delete()
        if actor != "system":
            audit.record(
                actor=actor,
                action="ledger.check",
                subject_type="ledger_check",
                subject_id=check.pk,
                data={"faults": check.fault_count},
            )
    if not check.is_sound:
        log.error("the ledger has %s faults, the first: %s", check.fault_count, faults[0])
    return check


def ledger_check_sweep(*, now: datetime, wall: datetime) -> int:
    """Checks the books where that was not done in the last 24 hours of real time. Answers 0: there is never more to do."""
    del now  # business time may run through a year in a minute
    with transaction.atomic():
        advisory_lock("ledger_check")
        if not LedgerCheck.objects.filter(created_at__gt=wall - EVERY).exists():
            ledger_check_run(actor="system", wall=wall)
    return 0


def _rows() -> dict[str, int]:
    tables = sorted({proof.table for proof in PROOFS})
    with connection.cursor() as cursor:
        cursor.execute("SELECT " + ", ".join(f"(SELECT count(*) FROM {table})" for table in tables))  # noqa: S608 - ours
        return dict(zip(tables, cursor.fetchone(), strict=True))


def _faults() -> tuple[list[Fault], dict[str, int]]:
    """At most MAX_FAULTS, taking turns between the proofs, in the order of the proofs; and the total of each."""
    with connection.cursor() as cursor:
        cursor.execute(STATEMENT, [MAX_FAULTS])
        found = cursor.fetchall()
    order = [proof.name for proof in PROOFS]
    found.sort(key=lambda row: order.index(row[0]))  # stable: within a proof the database's order stays
    faults = [
        Fault(name, key, _said(what, expected, currency), _said(what, value, currency))
        for name, key, what, expected, value, currency, _ in found
    ]
    return faults, {row[0]: row[-1] for row in found}


def _said(what: str, value: str, currency: str) -> str:
    if not currency:
        return f"{what}: {value}"
    amount = Decimal(value)
    if has_currency_scale(amount, currency):
        return f"{what}: {Money(amount, currency)}"
    return f"{what}: {amount.normalize():f} {currency}"


def _statement() -> str:
    # Column names come from the first branch; each proof gets a number, so that its name need not be quoted.
    branches = " UNION ALL ".join(
        f"SELECT '{proof.name}' AS proof, {place} AS place, f.* FROM ({proof.sql}) f (id, what, expected, found, currency)"  # noqa: S608
        for place, proof in enumerate(PROOFS)
    )
    return (
        "SELECT proof, id, what, expected, found, currency, total FROM ("  # noqa: S608
        " SELECT *, count(*) OVER (PARTITION BY place) AS total,"
        " row_number() OVER (PARTITION BY place ORDER BY id, what) AS turn"
        f" FROM ({branches}) fault"
        ") counted ORDER BY turn, place LIMIT %s"
    )


STATEMENT = _statement()
