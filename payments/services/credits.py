"""Customer credit as its users know it: granted by an operator, spent as you go, expired, taken back."""

from __future__ import annotations

import logging
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from django.conf import settings
from django.db import IntegrityError, transaction
from django.db.models import Exists, F, Min, OuterRef

from accounts.models import User
from payflow.core import audit, outbox
from payflow.core.errors import InvalidTransition, NotFound, ValidationFailed
from payflow.core.ids import uuid7
from payflow.core.locks import claim_rows, lock_rows
from payflow.core.money import Money, currency_digits, has_currency_scale
from payments import ledger
from payments.credits import Taken, expire, grant_write, is_revoked, purses_open, revoke
from payments.errors import InsufficientCredit
from payments.models import CreditAccount, CreditGrant, CreditSource, CreditUse
from payments.support_limits import check_credit_limit

#: With what goes before it, a key of a use still fits its column.
MAX_KEY_LENGTH = 150
MAX_REASON_LENGTH = 255

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Spent:
    """Credit that was spent as you go. The same key again answers the same."""

    key: str
    user_id: uuid.UUID
    amount: Decimal
    currency: str
    created_at: datetime


# --- given and taken back ---------------------------------------------------------------------------------------------


def credit_grant(
    *,
    user_id: uuid.UUID,
    amount: Decimal,
    currency: str,
    reason: str,
    expires_at: datetime | None,
    actor: str,
    at: datetime,
    request_id: uuid.UUID | None = None,
) -> CreditGrant:
    """Gives goodwill credit, spendable until `expires_at` (None: for ever). The same `request_id` is the same grant.

    Raises UnsupportedCurrency, ValidationFailed with the faults by field, and Forbidden beyond what support may grant.
    """
    faults = _faults(amount, currency, reason)
    if expires_at is not None and expires_at <= at:
        faults["expires_at"] = ["It lies in the past"]
    if not User.objects.filter(pk=user_id).exists():
        faults["user_id"] = ["There is no such user"]
    if faults:
        raise ValidationFailed(details=faults)
    key = f"goodwill:{request_id or uuid7()}"
    with transaction.atomic():
        if known := CreditGrant.objects.filter(key=key).first():
            return known
        try:
            grant = grant_write(
                user_id=user_id,
                money=Money(amount, currency),
                source=CreditSource.GOODWILL,
                reason=reason,
                key=key,
                expires_at=expires_at,
                explanation={"actor": actor},
                at=at,
            )
        except ValueError as error:
            raise ValidationFailed.field("amount", "The account cannot hold so much") from error
        check_credit_limit(grant, actor=actor, at=at)
        granted(grant, user_id, actor=actor, at=at)
    return grant


def granted(grant: CreditGrant, user_id: uuid.UUID, *, actor: str, at: datetime) -> None:
    """Tells of a grant that the caller's transaction has made: in the audit and as `credit.granted`."""
    told = {"amount": str(_plain(grant.amount, grant.currency)), "currency": grant.currency}
    audit.record(
        actor=actor,
        action="credit.grant",
        subject_type="credit_grant",
        subject_id=grant.pk,
        data={**told, "user": str(user_id), "reason": grant.reason},
    )
    expiry = grant.expires_at.isoformat() if grant.expires_at else None
    outbox.emit(
        type="credit.granted",
        subject_type="credit_grant",
        subject_id=grant.pk,
        payload={**told, "user": str(user_id), "source": grant.source, "expires_at": expiry},
        at=at,
    )


def credit_revoke(*, grant_id: uuid.UUID, reason: str, actor: str, at: datetime) -> CreditGrant:
    """Takes back what is left of a grant made by mistake, and whatever an invoice gives back to it later.

    Done already, it answers the grant as it is. Of an unapplied payment that became credit, what is taken back is
    unapplied again and can be refunded. Raises NotFound; InvalidTransition for credit that is owed (unused time) and for
    what expired.
    """
    with transaction.atomic():
        found = CreditGrant.objects.filter(pk=grant_id).values_list("account_id", flat=True).first()
        if found is None:
            raise NotFound("There is no such grant of credit")
        [account] = lock_rows(CreditAccount.objects.filter(pk=found))
        grant = CreditGrant.objects.get(pk=grant_id)  # read under the lock
        if is_revoked(grant):
            return grant
        if grant.source == CreditSource.UNUSED_TIME:
            raise InvalidTransition("Credit for unused time is owed: it is not taken back")
        if grant.expires_at is not None and grant.expires_at <= at:
            raise InvalidTransition("This credit has expired")
        taken = revoke(grant, account, reason=reason, actor=actor, at=at)
        audit.record(
            actor=actor,
            action="credit.revoke",
            subject_type="credit_grant",
            subject_id=grant.pk,
            data={"amount": str(taken.money.amount), "currency": grant.currency, "reason": reason},
        )
        outbox.emit_all([_taken(taken, account.user_id)], at=at)
    return grant


# --- spent ------------------------------------------------------------------------------------------------------------


def credit_spend(
    *, user_id: uuid.UUID, amount: Decimal, currency: str, key: str, reason: str, actor: str, at: datetime
) -> Spent:
    """Takes exactly `amount` from the grants that expire first, once per user and `key`.

    The same key with the same amount answers what happened. Raises InsufficientCredit, which leaves nothing behind and
    may be tried again under the same key; UnsupportedCurrency; ValidationFailed with the faults by field, also for a key
    that was used for another amount.
    """
    faults = _faults(amount, currency, reason)
    if not 0 < len(key) <= MAX_KEY_LENGTH or not key.isprintable():
        faults["key"] = [f"1 to {MAX_KEY_LENGTH} printable characters"]
    if faults:
        raise ValidationFailed(details=faults)
    money = Money(amount, currency)
    try:
        with transaction.atomic():
            return _spend(user_id, money, key=key, reason=reason, actor=actor, at=at)
    except IntegrityError as error:
        # The key was spent in another currency at the same moment: accounts are locked one by one, the ledger's key is one.
        spent = _spent(user_id, key)
        if spent is None:
            raise
        raise _other_amount(spent) from error


def _spend(user_id: uuid.UUID, money: Money, *, key: str, reason: str, actor: str, at: datetime) -> Spent:
    holder = (user_id, money.currency)
    # Also where it is empty: the same key at the same moment may just have emptied it.
    accounts = lock_rows(CreditAccount.objects.filter(user_id=user_id, currency=money.currency))
    if (spent := _spent(user_id, key)) is not None:
        if Money(spent.amount, spent.currency) != money:
            raise _other_amount(spent)
        return spent
    purses = purses_open([holder], at=at)
    available = purses.available(holder)
    if not accounts or money > available:
        raise InsufficientCredit(details={"available": str(available.amount), "currency": available.currency})
    purses.spend(holder, money, key=_key(key), invoice_id=None, at=at)
    purses.close()
    ledger.post([ledger.credit_spent(key, money, user_id)], at=at)
    audit.record(
        actor=actor,
        action="credit.spend",
        subject_type="credit_account",
        subject_id=accounts[0].pk,
        data={"key": key, "amount": str(money.amount), "currency": money.currency, "reason": reason},
    )
    return Spent(key, user_id, money.amount, money.currency, at)


def _spent(user_id: uuid.UUID, key: str) -> Spent | None:
    uses = list(CreditUse.objects.filter(key=_key(key), grant__account__user_id=user_id))
    if not uses:
        return None
    currency = uses[0].currency
    amount = sum((use.amount for use in uses), start=Decimal(0))
    return Spent(key, user_id, _plain(amount, currency), currency, uses[0].created_at)


def _key(key: str) -> str:
    # Beside `invoice:<id>`: no key of a caller's is that of an invoice.
    return f"spent:{key}"


def _other_amount(spent: Spent) -> ValidationFailed:
    return ValidationFailed.field("key", f"It was used to spend {spent.amount} {spent.currency}")


# --- expired ----------------------------------------------------------------------------------------------------------


def credits_expire(*, now: datetime, wall: datetime) -> int:
    """Expires one batch of accounts, as a set; where that fails, one by one. Returns how many accounts it took."""
    del wall
    over = CreditGrant.objects.filter(account=OuterRef("pk"), remaining__gt=0, expires_at__lte=now)
    with transaction.atomic():
        # Who cannot be handled is touched and comes last from then on.
        due = CreditAccount.objects.filter(Exists(over)).order_by("updated_at")
        batch = claim_rows(due, limit=settings.SWEEP_BATCH)
        if _expired(batch, now):
            return len(batch)
        return sum(_expired([account], now) for account in batch)


def next_expiry(after: datetime) -> datetime | None:
    """The first moment later than `after` at which credit expires."""
    waiting = CreditGrant.objects.filter(remaining__gt=0, expires_at__gt=after)
    moment: datetime | None = waiting.aggregate(first=Min("expires_at"))["first"]
    return moment


def _expired(accounts: Sequence[CreditAccount], now: datetime) -> bool:
    users = {account.pk: account.user_id for account in accounts}
    try:
        with transaction.atomic():
            # Read again: what a failed set had changed in memory does not count.
            fresh = list(CreditAccount.objects.filter(pk__in=users))
            taken = expire(fresh, at=now)
            outbox.emit_all([_taken(each, users[each.grant.account_id]) for each in taken], at=now)
    except Exception:
        log.exception("credit of %s cannot expire", ", ".join(map(str, users)))
        if len(accounts) == 1:
            CreditAccount.objects.filter(pk__in=users).update(balance=F("balance"))
        return False
    return True


def _taken(taken: Taken, user_id: uuid.UUID) -> outbox.Fact:
    grant, money = taken
    return outbox.Fact(
        type="credit.revoked" if is_revoked(grant) else "credit.expired",
        subject_type="credit_grant",
        subject_id=grant.pk,
        payload={"user": str(user_id), "amount": str(money.amount), "currency": money.currency},
    )


def _faults(amount: Decimal, currency: str, reason: str) -> dict[str, list[str]]:
    currency_digits(currency)  # raises UnsupportedCurrency
    faults = {}
    if not has_currency_scale(amount, currency) or amount <= 0:
        faults["amount"] = [f"A positive amount of {currency}"]
    if not 0 < len(reason.strip()) <= MAX_REASON_LENGTH or "\0" in reason:
        faults["reason"] = [f"1 to {MAX_REASON_LENGTH} characters"]
    return faults


def _plain(amount: Decimal, currency: str) -> Decimal:
    """With the currency's own digits: a column has four."""
    return Money(amount, currency).amount
