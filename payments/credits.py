"""Customer credit: granted, consumed oldest-expiring first, given back, expired. The account's lock guards its balance.

Everything here runs inside the caller's transaction. The account's balance is the sum of what is left of its grants; the
database refuses one below zero.
"""

from __future__ import annotations

import uuid
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from typing import Any, NamedTuple

from django.db.models import F, Q, Sum

from payflow.core.locks import lock_rows
from payflow.core.money import Money
from payflow.core.sets import rows_insert, rows_update
from payments import ledger
from payments.backing import LOST, LOST_OR_DISPUTED, Backing, backing_of
from payments.models import CreditAccount, CreditGrant, CreditSource, CreditUse, Invoice, PaymentTransaction

#: A user and a currency: what names an account.
Holder = tuple[uuid.UUID, str]
Status = PaymentTransaction.Status
_ZERO = Decimal(0)
#: The order in which grants are spent.
SPENDING_ORDER = (F("expires_at").asc(nulls_last=True), "created_at", "pk")
#: In a grant's `explanation`: who took it back, when and why, and when it would have expired.
REVOKED = "revoked"
#: Before the keys of what is drawn as part of another fact; those of callers of `credit_spend` have another.
DRAWN = "drawn:"
#: And here how much of a grant that goes on its provider has paid out instead.
TAKEN_BACK = "taken_back"
#: And here the payment whose refund had come back: its payer has the grant instead of that.
INSTEAD = "instead_of_refund_of"


class Taken(NamedTuple):
    """What was left of a grant when it expired or was taken back."""

    grant: CreditGrant
    money: Money


@dataclass
class Purses:
    """The credit of some users, locked; spent in memory and written at once by `close`."""

    accounts: dict[Holder, CreditAccount]
    grants: dict[uuid.UUID, list[CreditGrant]]
    held: dict[uuid.UUID, Decimal] = field(default_factory=dict)
    _uses: list[CreditUse] = field(default_factory=list)
    _touched: dict[uuid.UUID, CreditGrant] = field(default_factory=dict)

    def available(self, holder: Holder, *, at: datetime | None = None) -> Money:
        """What may be spent now, or later, `at`: not what has expired, though the sweep may not have been yet, nor what a
        dispute holds."""
        account = self.accounts.get(holder)
        grants = self._usable(account, at) if account else []
        return Money(sum(map(self._free, grants), start=_ZERO), holder[1])

    def spend(self, holder: Holder, money: Money, *, key: str, invoice_id: uuid.UUID | None, at: datetime) -> None:
        """Takes exactly `money`, from the grants that expire first. Raises ValueError for more than there is."""
        if money > self.available(holder, at=at):
            raise ValueError("more credit than there is")
        account, rest = self.accounts[holder], money.amount
        for grant in self._usable(account, at):
            part = min(rest, self._free(grant))
            if not part:
                continue
            grant.remaining -= part
            account.balance -= part
            rest -= part
            self._touched[grant.pk] = grant
            self._uses.append(
                CreditUse(grant=grant, invoice_id=invoice_id, key=key, amount=part, currency=holder[1], created_at=at)
            )

    def _usable(self, account: CreditAccount, at: datetime | None) -> list[CreditGrant]:
        grants = self.grants.get(account.pk, [])
        return [grant for grant in grants if at is None or grant.expires_at is None or grant.expires_at > at]

    def _free(self, grant: CreditGrant) -> Decimal:
        free: Decimal = grant.remaining - self.held.get(grant.pk, _ZERO)
        return max(free, _ZERO)

    def close(self) -> None:
        """Writes what was spent."""
        if not self._uses:
            return
        touched = list(self._touched.values())
        rows_update(touched, ["remaining"])
        spent_from = {grant.account_id for grant in touched}
        rows_update([row for row in self.accounts.values() if row.pk in spent_from], ["balance"])
        # The uses of an invoice come before the invoice: its reference is checked at the commit.
        rows_insert(self._uses)


def purses_open(holders: Collection[Holder], *, at: datetime) -> Purses:
    """Locks the accounts of `holders` that have a balance and reads what is left of their grants, in spending order."""
    users, currencies = {user for user, _ in holders}, {currency for _, currency in holders}
    filled = CreditAccount.objects.filter(user__any=users, currency__in=currencies, balance__gt=0)
    # Looked at first without a lock: most have none, and a batch locks no index range for nothing.
    locked = lock_rows(CreditAccount.objects.filter(pk__in=list(filled.values_list("pk", flat=True))))
    accounts = {(row.user_id, row.currency): row for row in locked}
    accounts = {holder: row for holder, row in accounts.items() if holder in set(holders)}
    grants: dict[uuid.UUID, list[CreditGrant]] = {row.pk: [] for row in accounts.values()}
    if grants:
        usable = CreditGrant.objects.filter(
            Q(expires_at=None) | Q(expires_at__gt=at), account__in=grants, remaining__gt=0
        )
        for grant in usable.order_by(*SPENDING_ORDER):
            grants[grant.account_id].append(grant)
    paid = {row.user_id for row in accounts.values() for each in grants[row.pk] if each.source != CreditSource.GOODWILL}
    return Purses(accounts, grants, _held(paid) if paid else {})


def credit_draw(*, user_id: uuid.UUID, money: Money, key: str, at: datetime) -> Money:
    """Takes exactly `money` for something without an invoice, as a part of the caller's transaction, and posts it.

    Returns what is left. Once per user and `key`, which is the caller's own fact's. Raises ShortOfCredit, with nothing
    taken, for more than there is, and where nothing is left at all: who has no credit isn't given what rounds to nothing.
    """
    holder = (user_id, money.currency)
    purses = purses_open([holder], at=at)
    available = purses.available(holder, at=at)
    if money > available or not available:
        raise ShortOfCredit(available)
    if money:
        purses.spend(holder, money, key=f"{DRAWN}{key}", invoice_id=None, at=at)
        purses.close()
        ledger.post([ledger.credit_spent(f"{DRAWN}{key}", money, user_id)], at=at)
    return available - money


def credit_available(*, user_id: uuid.UUID, currency: str, at: datetime) -> Money:
    """What the user could draw now. Inside the caller's transaction; takes the account's lock."""
    return purses_open([(user_id, currency)], at=at).available((user_id, currency), at=at)


class ShortOfCredit(Exception):
    """There is less credit than is to be drawn. Nothing was."""

    def __init__(self, available: Money) -> None:
        super().__init__(str(available))
        self.available = available


def grant_write(
    *,
    user_id: uuid.UUID,
    money: Money,
    source: CreditSource,
    reason: str,
    key: str,
    at: datetime,
    tax: Money | None = None,
    expires_at: datetime | None = None,
    explanation: dict[str, Any] | None = None,
) -> CreditGrant:
    """Adds credit, once per `key`: the same key again answers the grant there is. Posts it.

    Raises ValueError where the account could not hold so much.
    """
    CreditAccount.objects.bulk_create(
        [CreditAccount(user_id=user_id, currency=money.currency, created_at=at)], ignore_conflicts=True
    )
    [account] = lock_rows(CreditAccount.objects.filter(user_id=user_id, currency=money.currency))
    known = CreditGrant.objects.filter(key=key).first()
    if known is not None:
        return known
    balance = Money(account.balance + money.amount, money.currency)
    grant = CreditGrant.objects.create(
        account=account,
        key=key,
        source=source,
        reason=reason,
        amount=money.amount,
        remaining=money.amount,
        currency=money.currency,
        tax=tax.amount if tax else _ZERO,
        expires_at=expires_at,
        explanation=explanation or {},
        created_at=at,
    )
    account.balance = balance.amount
    rows_update([account], ["balance"])
    ledger.post([ledger.credit_granted(grant, user_id)], at=at)
    return grant


def credit_return(invoice: Invoice, *, at: datetime) -> None:
    """Gives back what a void invoice had consumed, each part to the grant it came from."""
    used = CreditUse.objects.filter(invoice=invoice, returned_at=None)
    holders = set(used.values_list("grant__account_id", flat=True))
    accounts = {row.pk: row for row in lock_rows(CreditAccount.objects.filter(pk__in=holders))}
    uses = list(used.select_related("grant"))  # read under the lock
    for use in uses:
        use.grant.remaining += use.amount
        accounts[use.grant.account_id].balance += use.amount
        use.returned_at = at
    rows_update([use.grant for use in uses], ["remaining"])
    rows_update(list(accounts.values()), ["balance"])
    rows_update(uses, ["returned_at"])
    for account in accounts.values():
        returned = {use.grant_id for use in uses if use.grant.account_id == account.pk and _is_money(use.grant)}
        if returned:  # what stood behind a part of it may have gone back meanwhile
            backing = backing_of(account.user_id, account.currency, gone=LOST)
            _reclaim(backing, [grant for grant in backing.grants if grant.pk in returned], account, at=at)


def _is_money(grant: CreditGrant) -> bool:
    """Not a gift: a payment, or the time of one, has become it."""
    return bool(grant.source != CreditSource.GOODWILL)


def expire(accounts: Iterable[CreditAccount], *, at: datetime) -> list[Taken]:
    """Takes what is left of expired grants out of their accounts, which the caller has locked.

    What an invoice gives back to a grant that was taken back meanwhile goes the same way as the rest of it did.
    """
    rows = {account.pk: account for account in accounts}
    grants = CreditGrant.objects.filter(account__in=rows, remaining__gt=0, expires_at__lte=at).order_by("pk")
    return _empty(list(grants), rows, at=at)


def revoke(grant: CreditGrant, account: CreditAccount, *, reason: str, actor: str, at: datetime) -> Taken:
    """Takes back what is left of a grant and whatever is yet to return to it; the caller has locked its account."""
    if not is_revoked(grant):
        expiry = grant.expires_at.isoformat() if grant.expires_at else None
        told = {"at": at.isoformat(), "actor": actor, "reason": reason, "expires_at": expiry}
        grant.explanation = {**grant.explanation, REVOKED: told}
        grant.expires_at = at  # nobody spends it from now on
        grant.save(update_fields=["explanation", "expires_at"])
    [taken] = _empty([grant], {account.pk: account}, at=at)
    return taken


def is_revoked(grant: CreditGrant) -> bool:
    return REVOKED in grant.explanation


def _empty(grants: list[CreditGrant], accounts: dict[uuid.UUID, CreditAccount], *, at: datetime) -> list[Taken]:
    taken = [Taken(grant, Money(grant.remaining, grant.currency)) for grant in grants]
    ledger.post((_lost(each, accounts[each.grant.account_id].user_id) for each in taken), at=at)
    for grant in grants:
        accounts[grant.account_id].balance -= grant.remaining
        grant.remaining, grant.expired_at = _ZERO, at
    rows_update(grants, ["remaining", "expired_at"])
    rows_update(list({grant.account_id: accounts[grant.account_id] for grant in grants}.values()), ["balance"])
    return taken


def _lost(taken: Taken, user_id: uuid.UUID) -> ledger.Posting:
    fact = ledger.credit_revoked if is_revoked(taken.grant) else ledger.credit_expired
    return fact(taken.grant, taken.money, user_id)


# --- unapplied payments that became credit ----------------------------------------------------------------------------


def payment_key(charge_id: uuid.UUID | str) -> str:
    """The key of the one grant that an unapplied payment can become: it is what marks the payment."""
    return f"payment:{charge_id}"


def payment_standing(charge: PaymentTransaction) -> Money:
    """How much of the payment is customer credit, spent or not: so much of it is not to be paid out as well.

    What was taken back from the grant no longer counts. The caller holds the payment's lock; the account's is taken here.
    """
    found = _locked_grant(charge)
    return _standing(found[0]) if found else Money.zero(charge.currency)


def _take_back(grant: CreditGrant, account: CreditAccount, twice: Money, *, at: datetime) -> Money:
    """Takes `twice` out of what is left of a grant whose account is locked. Returns how much there was to take."""
    if twice.amount > grant.remaining and twice == _standing(grant):
        # All of it: what an invoice gives back later is not the customer's either.
        return revoke(grant, account, reason="paid out by the provider", actor="system", at=at).money
    taken = min(twice, Money(grant.remaining, grant.currency))
    if taken:
        ledger.post([ledger.credit_revoked(grant, taken, account.user_id)], at=at)
        grant.remaining -= taken.amount
        account.balance -= taken.amount
        before = Decimal(grant.explanation.get(TAKEN_BACK, 0))
        grant.explanation = {**grant.explanation, TAKEN_BACK: str(before + taken.amount)}
        rows_update([grant], ["remaining", "explanation"])
        rows_update([account], ["balance"])
    return taken


def _locked_grant(charge: PaymentTransaction) -> tuple[CreditGrant, CreditAccount] | None:
    grants = CreditGrant.objects.filter(key=payment_key(charge.pk))
    accounts = lock_rows(CreditAccount.objects.filter(pk__in=list(grants.values_list("account_id", flat=True))))
    return (grants.get(), accounts[0]) if accounts else None


def _standing(grant: CreditGrant) -> Money:
    spent = grant.uses.filter(returned_at=None).aggregate(sum=Sum("amount"))["sum"] or _ZERO
    return Money(grant.remaining + spent, grant.currency)


# --- credit whose money goes back -------------------------------------------------------------------------------------


def credit_reclaim(charge: PaymentTransaction, *, at: datetime) -> list[Taken]:
    """Money of the charge has gone back: credit that nothing stands behind any more is taken back, and answered.

    That is what the payment, or its unused time, had become, and where this is spent what came of the time that it bought.
    What was bought with other credit comes back as credit; beyond that no more credit stands than money is left of what it
    came from. The caller holds the charge's lock and has written what went back.
    """
    taken: list[Taken] = []
    for account in lock_rows(CreditAccount.objects.filter(user=charge.user_id, currency=charge.currency)):
        backing = backing_of(charge.user_id, charge.currency, gone=LOST)  # read under the lock
        taken += _reclaim(backing, backing.after(charge.invoice_id or charge.pk), account, at=at)
    return taken


def owed_reclaim(charge: PaymentTransaction, money: Money, *, at: datetime) -> list[Taken]:
    """A refund of `money` is made where one had come back: credit that its payer had instead is taken back, so much of it.

    Not only what nothing stands behind any more: he would have the same twice. The caller holds the charge's lock.
    """
    taken: list[Taken] = []
    for account in lock_rows(CreditAccount.objects.filter(user=charge.user_id, currency=charge.currency)):
        grants = account.grants.filter(**{f"explanation__{INSTEAD}": str(charge.pk)}, remaining__gt=0)
        for grant in grants.order_by("created_at", "pk"):
            part = min(money, Money(grant.remaining, grant.currency))
            money -= part
            taken.append(Taken(grant, _take_back(grant, account, part, at=at)))
    return [each for each in taken if each.money]


def _reclaim(backing: Backing, grants: Iterable[CreditGrant], account: CreditAccount, *, at: datetime) -> list[Taken]:
    taken = []
    for grant in grants:
        part = Money(backing.unbacked.get(grant.pk, _ZERO), grant.currency)
        if part:
            taken.append(Taken(grant, _take_back(grant, account, part, at=at)))
    return [each for each in taken if each.money]


def _held(user_ids: Collection[uuid.UUID]) -> dict[uuid.UUID, Decimal]:
    """By grant, the credit that would be taken back if the disputes that are open were lost: nobody spends it meanwhile."""
    disputed = PaymentTransaction.objects.filter(
        user__any=user_ids, children__type=PaymentTransaction.Type.CHARGEBACK, children__status=Status.PENDING
    )
    held: dict[uuid.UUID, Decimal] = {}
    webs: dict[Holder, Backing] = {}
    for charge in disputed.distinct():
        holder = (charge.user_id, charge.currency)
        if holder not in webs:
            webs[holder] = backing_of(*holder, gone=LOST_OR_DISPUTED)
        unbacked = webs[holder].unbacked
        after = webs[holder].after(charge.invoice_id or charge.pk)
        held |= {grant.pk: unbacked[grant.pk] for grant in after if grant.pk in unbacked}
    return held
