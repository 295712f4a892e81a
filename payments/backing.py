"""What stands behind credit: the money that it came from, followed through the invoices that credit has paid.

Credit for unused time stands on the payments of the invoice that the time was bought with, and on the credit that was spent
on that invoice, which stands on other payments again, and so on. Invoices between which a change of plan carried unused time
over share what they have, and so do those that paid each other's in a circle.
"""

from __future__ import annotations

import uuid
from collections import defaultdict
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from decimal import Decimal
from graphlib import CycleError, TopologicalSorter

from django.db.models import F, Max, Sum

from payments.models import (
    CreditGrant,
    CreditSource,
    CreditUse,
    Invoice,
    InvoiceLine,
    LineKind,
    PaymentTransaction,
)

Type = PaymentTransaction.Type
Status = PaymentTransaction.Status
#: What is gone for certain, and what may be gone: an open dispute may be lost.
LOST = frozenset({Status.COMPLETED})
LOST_OR_DISPUTED = frozenset({Status.COMPLETED, Status.PENDING})
_ZERO = Decimal(0)


@dataclass(frozen=True, slots=True)
class _Spent:
    """What of a grant one invoice holds; as-you-go where there is none."""

    invoice_id: uuid.UUID | None
    amount: Decimal


@dataclass
class Backing:
    """The credit of one user in one currency that came from money, and what of it nothing stands behind any more.

    `unbacked` has the part of each grant, `remaining` first, and of what is spent the latest first; `room` how much more
    credit the money behind an invoice could carry. A pool is a set of invoices that share; an unapplied payment is one too.
    """

    grants: list[CreditGrant]
    unbacked: dict[uuid.UUID, Decimal] = field(default_factory=dict)
    _root: dict[uuid.UUID, uuid.UUID] = field(default_factory=dict)
    _origins: dict[uuid.UUID, uuid.UUID] = field(default_factory=dict)
    _spent: dict[uuid.UUID, list[_Spent]] = field(default_factory=lambda: defaultdict(list))
    _money: dict[uuid.UUID, Decimal] = field(default_factory=lambda: defaultdict(Decimal))
    _rooms: dict[uuid.UUID, Decimal] = field(default_factory=dict)
    _lost: dict[uuid.UUID, Decimal] = field(default_factory=lambda: defaultdict(Decimal))

    def room(self, invoice_id: uuid.UUID) -> Decimal:
        pool = self._pool(invoice_id)
        return self._rooms[pool] if pool in self._rooms else max(self._money[pool] - self._lost[pool], _ZERO)

    def has_lost_credit(self, invoice_id: uuid.UUID) -> bool:
        """Is what stood behind credit that has paid for the invoice, or those it shares with, gone?"""
        return self._lost[self._pool(invoice_id)] > 0

    def after(self, source: uuid.UUID) -> list[CreditGrant]:
        """The grants that came from an invoice or an unapplied payment, directly or through what their credit paid."""
        reached, pools = set(), [self._pool(source)]
        while pools:
            pool = pools.pop()
            if pool not in reached:
                reached.add(pool)
                pools += [self._pool(each) for each in self._paid_from(pool)]
        return [grant for grant in self.grants if self._pool_of(grant) in reached]

    def is_after(self, invoice_id: uuid.UUID, source: uuid.UUID) -> bool:
        """Did credit that came from `source`, directly or not, pay for the invoice, or those it shares with?"""
        spent = [each for grant in self.after(source) for each in self._spent[grant.pk]]
        return self._pool(invoice_id) in {self._pool(each.invoice_id) for each in spent if each.invoice_id is not None}

    def _pool(self, member: uuid.UUID) -> uuid.UUID:
        while (above := self._root.get(member, member)) != member:
            member = above
        return member

    def _pool_of(self, grant: CreditGrant) -> uuid.UUID | None:
        return self._pool(self._origins[grant.pk]) if grant.pk in self._origins else None

    def _join(self, members: Iterable[uuid.UUID]) -> None:
        pools = [self._pool(each) for each in members]
        for pool in pools[1:]:
            self._root[self._pool(pool)] = self._pool(pools[0])

    def _paid_from(self, pool: uuid.UUID) -> set[uuid.UUID]:
        """The invoices that credit from the pool has paid."""
        grants = [grant for grant in self.grants if self._pool_of(grant) == pool]
        return {each.invoice_id for grant in grants for each in self._spent[grant.pk] if each.invoice_id is not None}

    def _ordered(self) -> list[uuid.UUID]:
        """The pools, each after those whose credit has paid for it; what paid each other in a circle is one."""
        while True:
            pools = {self._pool(origin) for origin in self._origins.values()}
            after = {pool: {self._pool(each) for each in self._paid_from(pool)} - {pool} for pool in pools}
            try:
                return list(reversed(list(TopologicalSorter(after).static_order())))
            except CycleError as error:
                self._join(error.args[1])

    def settle(self, members: Collection[uuid.UUID], money: dict[uuid.UUID, Decimal]) -> None:
        """Computes what is unbacked, from the pools that money paid to those that their credit paid."""
        ordered = self._ordered()
        for member in members:
            self._money[self._pool(member)] += money.get(member, _ZERO)
        for grant in self.grants:
            for each in self._spent[grant.pk]:
                if each.invoice_id is not None and self._pool(each.invoice_id) != self._pool_of(grant):
                    self._money[self._pool(each.invoice_id)] += each.amount
        for pool in ordered:
            made = [grant for grant in self.grants if self._pool_of(grant) == pool]
            backing = self._money[pool] - self._lost[pool]
            standing = {grant.pk: grant.remaining + sum(e.amount for e in self._outside(grant, pool)) for grant in made}
            rest = sum(standing.values(), start=_ZERO) - backing
            self._rooms[pool] = max(-rest, _ZERO)
            for grant in reversed(made):  # the newest first
                part = max(min(rest, standing[grant.pk]), _ZERO)
                rest -= part
                if part:
                    self.unbacked[grant.pk] = part
                    self._pass_on(grant, part - min(part, grant.remaining), pool)

    def _outside(self, grant: CreditGrant, pool: uuid.UUID) -> list[_Spent]:
        """What of a grant was spent elsewhere than in its own pool, where it stands no more: the newest first."""
        return [e for e in self._spent[grant.pk] if e.invoice_id is None or self._pool(e.invoice_id) != pool]

    def _pass_on(self, grant: CreditGrant, rest: Decimal, pool: uuid.UUID) -> None:
        """Spent credit that has nothing behind it is nothing behind what it has paid for."""
        for each in self._outside(grant, pool):
            if each.invoice_id is not None:
                part = min(rest, each.amount)
                self._lost[self._pool(each.invoice_id)] += part
                rest -= part


def backing_of(
    user_id: uuid.UUID, currency: str, *, gone: Collection[str], but: PaymentTransaction | None = None
) -> Backing:
    """As the rows are now; disputes of the statuses `gone` count as lost, and the refund `but` as if it had not been made.

    Who writes by it holds the account's lock.
    """
    of_user = CreditGrant.objects.filter(account__user_id=user_id, account__currency=currency)
    grants = list(of_user.exclude(source=CreditSource.GOODWILL).order_by("created_at", "pk"))
    # Goodwill is a gift: it stands on nothing, and what it paid has it behind it.
    gifts = list(of_user.filter(source=CreditSource.GOODWILL, uses__invoice__isnull=False).distinct())
    found = Backing([*gifts, *grants])
    uses = CreditUse.objects.filter(grant__in=[grant.pk for grant in found.grants], returned_at=None)
    spent = uses.values("grant_id", "invoice_id").annotate(sum=Sum("amount"), last=Max("created_at"))
    for row in spent.order_by("-last", "-invoice_id"):
        found._spent[row["grant_id"]].append(_Spent(row["invoice_id"], row["sum"]))
    carried = InvoiceLine.objects.filter(
        kind=LineKind.PRORATION_CREDIT,
        currency=currency,
        invoice__user_id=user_id,
        invoice__status=Invoice.Status.PAID,
    ).values_list("invoice_id", "explanation__invoice")
    ids = _ids([number for _, number in carried] + [number for grant in grants for number in _numbers(grant)])
    members: set[uuid.UUID] = {invoice_id for invoice_id, _ in carried} | set(ids.values())
    members |= {each.invoice_id for row in found._spent.values() for each in row if each.invoice_id is not None}
    for invoice_id, number in carried:
        if number in ids:
            found._join([invoice_id, ids[number]])
    for grant in grants:
        sources: list[uuid.UUID] = [ids[number] for number in _numbers(grant) if number in ids]
        if grant.source == CreditSource.PAYMENT and (payment := grant.explanation.get("payment")):
            sources = [uuid.UUID(payment)]
        if sources:
            found._join(sources)
            found._origins[grant.pk] = sources[0]
            members.update(sources)
    money = _money_left(members, user_id, gone=gone)
    if but is not None:
        money[but.invoice_id or but.pk] += but.amount
    found.settle(members, money)
    return found


def _ids(numbers: Collection[str]) -> dict[str, uuid.UUID]:
    found = Invoice.objects.filter(number__in=set(numbers))
    return {str(invoice.number): invoice.pk for invoice in found.only("number")}


def _numbers(grant: CreditGrant) -> list[str]:
    """The invoices of the time that became the grant: one, or those of the periods that were paid ahead."""
    told = [grant.explanation, *grant.explanation.get("parts", [])]
    return [number for each in told if (number := each.get("invoice"))]


def _money_left(
    members: Collection[uuid.UUID], user_id: uuid.UUID, *, gone: Collection[str]
) -> dict[uuid.UUID, Decimal]:
    """Of invoices and unapplied payments, what was paid, less what was refunded and what disputes took."""
    rows = PaymentTransaction.objects.filter(user_id=user_id)
    paid = rows.filter(type=Type.CHARGE, status__in=[Status.COMPLETED, Status.REFUNDED])
    money: dict[uuid.UUID, Decimal] = defaultdict(Decimal)
    by_invoice = paid.filter(invoice__in=members).values_list("invoice_id", F("amount") - F("refunded_amount"))
    unapplied = paid.filter(invoice=None, pk__in=members).values_list("pk", F("amount") - F("refunded_amount"))
    taken = rows.filter(type=Type.CHARGEBACK, status__in=gone)
    lost = [
        *taken.filter(invoice__in=members).values_list("invoice_id", -F("amount")),
        *taken.filter(invoice=None, parent__in=members).values_list("parent_id", -F("amount")),
    ]
    for member, amount in [*by_invoice, *unapplied, *lost]:
        money[member] += amount
    return money
