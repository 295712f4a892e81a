"""Coupons in use: reserved by a checkout, active while they lower invoices, ended or released. Nothing else changes them.

A coupon's row is locked after the subscription's and before every invoice's: reserve, release and activate before the
transaction takes an invoice number. Each of them counts by one UPDATE that asks and counts at once, so that its maximum
holds however many come together; `coupons_within_maximum` and the unique indexes of redemptions stand behind it.
"""

from __future__ import annotations

import uuid
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from fractions import Fraction

from django.db import IntegrityError, transaction
from django.db.models import Case, Count, F, OuterRef, Q, QuerySet, Subquery, Value, When

from payflow.core.errors import ValidationFailed
from payflow.core.locks import lock_rows
from payflow.core.money import Money
from payments.composition import LineDraft
from payments.models import Invoice, InvoiceLine, PaymentTransaction
from plans.coupon_rules import normal_code
from plans.coupons import WHOLE, discount_of
from plans.models import Coupon, CouponDuration, CouponKind, Plan
from plans.selectors import coupon_plan_ids, coupons_all
from plans.services_coupons import FIXED_ONCE_REDEEMED
from subscriptions.errors import CouponNotApplicable
from subscriptions.models import CouponRedemption, RedemptionStatus, Status, Subscription
from subscriptions.quotes import plan_price

#: What lowers invoices, or will once the checkout is paid.
IN_USE = (RedemptionStatus.RESERVED, RedemptionStatus.ACTIVE)

_ONE_FOR_USER = "uniq_coupon_redemptions_user"
_ONE_FOR_SUBSCRIPTION = "uniq_coupon_redemptions_subscription"


@dataclass(frozen=True, slots=True)
class CouponQuote:
    """What the first invoice of a plan comes to with a coupon, before tax and customer credit."""

    coupon: Coupon
    price: Money
    discount: Money

    @property
    def total(self) -> Money:
        return self.price - self.discount


# --- before it is taken ----------------------------------------------------------------------------------------------


def coupon_check(*, code: str, user_id: uuid.UUID, plan: Plan, currency: str, now: datetime) -> Coupon:
    """The coupon of this code, if the user may subscribe to `plan` in `currency` with it now.

    What his own pending checkout of the plan's family has reserved counts as free: subscribing anew resumes or
    supersedes it. Nothing is taken: `redemption_reserve` decides. Raises CouponNotApplicable with the reason.
    """
    # A code of ours is ASCII: what becomes it only in capitals (ı, ſ) is another word.
    coupon = coupons_all().filter(code=normal_code(code)).first() if code.isascii() and "\0" not in code else None
    if coupon is None:
        raise CouponNotApplicable("There is no such coupon")
    mine = list(
        CouponRedemption.objects.filter(user_id=user_id, coupon=coupon)
        .exclude(status=RedemptionStatus.RELEASED)
        .select_related("subscription")
    )
    held = [row for row in mine if _is_free_again(row, plan)]
    if len(mine) > len(held):
        raise CouponNotApplicable("You have used this coupon already")
    if fault := _closed(coupon, now=now, held=len(held)):
        raise CouponNotApplicable(fault)
    if not _covers(coupon, plan.pk):
        raise CouponNotApplicable("This coupon is not for this plan")
    if coupon.kind == CouponKind.FIXED and coupon.currency != currency:
        raise CouponNotApplicable(f"This coupon is for prices in {coupon.currency}")
    if coupon.first_time_only and _has_paid(user_id):
        raise CouponNotApplicable("This coupon is for first-time customers")
    return coupon


def coupon_quote(*, code: str, user_id: uuid.UUID, plan: Plan, currency: str | None, now: datetime) -> CouponQuote:
    """What `code` would take off the first invoice of `plan` (None: in the plan's own currency); nothing is taken.

    Raises ValidationFailed where the plan is not sold, UnsupportedCurrency, CouponNotApplicable.
    """
    if not plan.is_active:
        raise ValidationFailed.field("plan_id", "This plan is not sold any more")
    price = plan_price(plan, currency)
    coupon = coupon_check(code=code, user_id=user_id, plan=plan, currency=price.currency, now=now)
    line = discount_line(coupon, price, plan.pk)
    return CouponQuote(coupon, price, -line.amount if line else Money.zero(price.currency))


def discount_line(
    redemption_or_coupon: CouponRedemption | Coupon, base: Money, plan_id: uuid.UUID, *, share: Fraction = WHOLE
) -> LineDraft | None:
    """The line that lowers `base`, its amount negative; `share` as in `discount_of`. Pure for rows of this module.

    A coupon is quoted as in its first cycle. None where it is for other plans or (an amount) another currency, where
    its cycles are used up or it was released, and where there is nothing to take off.
    """
    if isinstance(redemption_or_coupon, CouponRedemption):
        redemption, coupon = redemption_or_coupon, redemption_or_coupon.coupon
        if redemption.status not in IN_USE:
            return None
        used, cycles = redemption.cycles_used, redemption.cycles
    else:
        coupon = redemption_or_coupon
        used, cycles = 0, cycles_of(coupon)
    if cycles is not None and used >= cycles:
        return None
    if coupon.kind == CouponKind.FIXED and coupon.currency != base.currency:
        return None  # the subscription has changed its currency since
    if not _covers(redemption_or_coupon, plan_id):
        return None
    discount = discount_of(coupon, base, share=share)
    if not discount:
        return None
    return LineDraft(
        kind=InvoiceLine.Kind.DISCOUNT,
        description=f"Coupon {coupon.code}",
        amount=-discount,
        explanation={**_formula(coupon, base, share), "cycle": used + 1, "of": cycles},
    )


def cycles_of(coupon: Coupon) -> int | None:
    """How many invoices a redemption lowers; None: all."""
    return 1 if coupon.duration == CouponDuration.ONCE else coupon.cycles


# --- taking it -------------------------------------------------------------------------------------------------------


def redemption_reserve(subscription: Subscription, coupon: Coupon, *, now: datetime) -> CouponRedemption:
    """Takes one use of `coupon` for the subscription's checkout, in the transaction of the caller, who holds its locks.

    The coupon must still be what `coupon_check` read: else its price would not be what was quoted. Raises
    CouponNotApplicable, with nothing left behind, where it is used up, closed or changed meanwhile, or where the user or
    the subscription has one already.
    """
    unchanged = {name: getattr(coupon, name) for name in FIXED_ONCE_REDEEMED}
    try:
        with transaction.atomic():
            counted = _count(Coupon.objects.filter(_open_at(now), pk=coupon.pk, **unchanged))
            if counted:
                return CouponRedemption.objects.create(
                    coupon=coupon,
                    user_id=subscription.user_id,
                    subscription=subscription,
                    cycles=cycles_of(coupon),
                    created_at=now,
                )
    except IntegrityError as error:
        if _refused_by(error) == _ONE_FOR_USER:
            raise CouponNotApplicable("You have used this coupon already") from error
        if _refused_by(error) == _ONE_FOR_SUBSCRIPTION:
            raise CouponNotApplicable("There is a coupon on this subscription already") from error
        raise
    present = Coupon.objects.filter(pk=coupon.pk).first()
    fault = _closed(present, now=now) if present else "There is no such coupon"
    raise CouponNotApplicable(fault or "This coupon has just been changed; please look again")


def redemption_release(subscription: Subscription) -> None:
    """Gives back what the subscription's unpaid checkout has reserved. The caller holds the subscription's lock."""
    redemptions_release([subscription.pk])


def redemptions_release(subscription_ids: Collection[uuid.UUID]) -> None:
    """`redemption_release` for a batch: three queries, coupons locked in the order of their keys."""
    reserved = CouponRedemption.objects.filter(
        subscription_id__in=list(subscription_ids), status=RedemptionStatus.RESERVED
    )
    # Before the redemptions, as whoever reserves: two of one user and coupon would wait for each other.
    coupons = lock_rows(Coupon.objects.filter(pk__in=reserved.values("coupon_id")))
    if not coupons:
        return
    given_back = reserved.filter(coupon_id=OuterRef("pk")).values("coupon_id").annotate(n=Count("pk")).values("n")
    Coupon.objects.filter(pk__in=[coupon.pk for coupon in coupons]).update(
        redemptions=F("redemptions") - Subquery(given_back)
    )
    reserved.update(status=RedemptionStatus.RELEASED)


def redemption_activate(subscription: Subscription) -> CouponRedemption | None:
    """The subscription's checkout is paid: its coupon lowers invoices from now on. The caller holds the lock.

    A released one (an expired checkout that was paid late) is taken again, whatever became of the coupon: the price was
    promised. It counts where the maximum still has room and stays uncounted where it has none, so that the maximum is a
    limit of what is offered, not of what is honoured. Where the user meanwhile took the coupon for another subscription
    it stays released and this is None: the paid invoice keeps its discount, later ones have none. So release first what
    the payment supersedes. Answers the active one if it is active already; None where there is none.
    """
    rows = {row.status: row for row in _with_coupon(CouponRedemption.objects.filter(subscription=subscription))}
    row = next((rows[status] for status in (*reversed(IN_USE), RedemptionStatus.RELEASED) if status in rows), None)
    if row is None or row.status == RedemptionStatus.ACTIVE:
        return row
    try:
        with transaction.atomic():
            if row.status == RedemptionStatus.RELEASED:
                _count(Coupon.objects.filter(pk=row.coupon_id))
            row.status = RedemptionStatus.ACTIVE
            row.save(update_fields=["status"])
    except IntegrityError as error:
        if _refused_by(error) != _ONE_FOR_USER:
            raise
        return None
    return row


# --- while it lowers invoices ----------------------------------------------------------------------------------------


def redemptions_of(subscription_ids: Collection[uuid.UUID]) -> dict[uuid.UUID, CouponRedemption]:
    """What lowers the invoices of these subscriptions, with coupons and the plans that they are for: one query."""
    rows = _with_coupon(CouponRedemption.objects.filter(subscription__any=subscription_ids, status__in=IN_USE))
    return {row.subscription_id: row for row in rows}


def redemption_used(redemptions: Sequence[CouponRedemption]) -> int:
    """One invoice of each, which it lowered, is paid: a cycle is used, and it ends with its last one. One query.

    Answers how many were counted: only active ones with a cycle left are.
    """
    left = Q(cycles=None) | Q(cycles_used__lt=F("cycles"))
    return CouponRedemption.objects.filter(
        left, pk__in=[row.pk for row in redemptions], status=RedemptionStatus.ACTIVE
    ).update(
        cycles_used=F("cycles_used") + 1,
        status=Case(
            When(cycles=F("cycles_used") + 1, then=Value(RedemptionStatus.ENDED)),
            default=Value(RedemptionStatus.ACTIVE),
        ),
    )


# --- inside ----------------------------------------------------------------------------------------------------------


def _refused_by(error: IntegrityError) -> str | None:
    """The constraint's name."""
    return getattr(getattr(error.__cause__, "diag", None), "constraint_name", None)


def _count(coupons: QuerySet[Coupon]) -> bool:
    """Counts one more redemption of the one coupon, unless there are as many as there may be."""
    room = Q(max_redemptions=None) | Q(redemptions__lt=F("max_redemptions"))
    return bool(coupons.filter(room).update(redemptions=F("redemptions") + 1))


def _with_coupon(redemptions: QuerySet[CouponRedemption]) -> QuerySet[CouponRedemption]:
    """Oldest first, so that of several of one status a dictionary keeps the newest."""
    return (
        redemptions.select_related("coupon")
        .annotate(plan_ids=coupon_plan_ids("coupon_id"))
        .order_by("created_at", "pk")
    )


def _covers(row: CouponRedemption | Coupon, plan_id: uuid.UUID) -> bool:
    plan_ids: list[uuid.UUID] | None = getattr(row, "plan_ids", None)
    if plan_ids is None:
        coupon = row.coupon if isinstance(row, CouponRedemption) else row
        plan_ids = list(coupon.plans.values_list("pk", flat=True))
    return not plan_ids or plan_id in plan_ids


def _is_free_again(row: CouponRedemption, plan: Plan) -> bool:
    subscription = row.subscription
    return (
        row.status == RedemptionStatus.RESERVED
        and subscription.status == Status.PENDING
        and subscription.family == plan.family
    )


def _open_at(now: datetime) -> Q:
    started = Q(starts_at=None) | Q(starts_at__lte=now)
    return Q(is_active=True) & started & (Q(ends_at=None) | Q(ends_at__gt=now))


def _closed(coupon: Coupon, *, now: datetime, held: int = 0) -> str:
    """Why nobody can take it, or nothing. `held` are redemptions that the asker would give back."""
    if not coupon.is_active:
        return "This coupon is no longer offered"
    if coupon.starts_at is not None and now < coupon.starts_at:
        return "This coupon is not valid yet"
    if coupon.ends_at is not None and now >= coupon.ends_at:
        return "This coupon has expired"
    if coupon.max_redemptions is not None and coupon.redemptions - held >= coupon.max_redemptions:
        return "This coupon is used up"
    return ""


def _has_paid(user_id: uuid.UUID) -> bool:
    """Money settled an invoice of a subscription, or came in and settles nothing yet."""
    paid = Invoice.objects.filter(user_id=user_id, subscription__isnull=False, status=Invoice.Status.PAID, total__gt=0)
    charges = PaymentTransaction.objects.filter(
        user_id=user_id, type=PaymentTransaction.Type.CHARGE, status=PaymentTransaction.Status.COMPLETED
    )
    return paid.exists() or charges.exists()


def _formula(coupon: Coupon, base: Money, share: Fraction) -> dict[str, str]:
    inputs = {"coupon": coupon.code, "base": str(base.amount), "currency": base.currency}
    if coupon.kind == CouponKind.PERCENT:
        assert coupon.percent is not None, "coupons_percent_or_amount"
        return {"formula": "base × percent / 100", **inputs, "percent": f"{coupon.percent.normalize():f}"}
    assert coupon.amount is not None, "coupons_percent_or_amount"
    amount = Money(coupon.amount, coupon.currency).amount
    return {"formula": "amount × share, at most base", **inputs, "amount": str(amount), "share": str(share)}
