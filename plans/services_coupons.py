"""Everything that changes coupons. Each is checked, written and audited in one transaction.

How often a coupon was redeemed is counted by the subscriptions, where redemptions are; nothing here writes it.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any, Unpack

from django.db import transaction
from django.db.models import ProtectedError, Q, RestrictedError

from payflow.core import audit
from payflow.core.errors import NotFound, ValidationFailed
from payflow.core.ids import parse_uuid
from payflow.core.locks import advisory_lock, lock_rows
from plans import coupon_rules
from plans.coupon_rules import CouponFields, OptionalCouponFields
from plans.models import Coupon, Plan

#: What was promised to those who redeemed it.
FIXED_ONCE_REDEEMED = ("kind", "percent", "amount", "currency", "duration", "cycles")


def coupon_create(*, code: str, kind: str, actor: str, **optional: Unpack[OptionalCouponFields]) -> Coupon:
    """A new coupon; its code is kept in capitals. Raises ValidationFailed, also for a code that is taken."""
    with transaction.atomic():
        values = {"code": code, "kind": kind, **optional}
        clean = {**coupon_rules.DEFAULTS, **coupon_rules.checked(values, present=coupon_rules.DEFAULTS)}
        plans = _plans(clean.pop("plans"))
        _check_code(clean["code"])
        coupon = Coupon.objects.create(**clean)
        coupon.plans.set(plans)
        _record(coupon, "coupon.created", {**_plain(clean), "plans": _codes(plans)}, actor)
        coupon.refresh_from_db()
    return coupon


def coupon_update(*, coupon_id: uuid.UUID, actor: str, **changes: Unpack[CouponFields]) -> Coupon:
    """Changes the given fields; `plans` replaces the whole set. Who has redeemed it keeps what he was promised.

    Raises NotFound; ValidationFailed, also for what may not change once somebody has redeemed it, for fewer plans than
    he was promised, and for fewer redemptions than there are.
    """
    with transaction.atomic():
        coupon = _locked(coupon_id)
        changed = changes_of(coupon, changes)
        if changed:
            before = present_of(coupon)
            _write(coupon, changed)
            after = present_of(coupon)
            _record(coupon, "coupon.updated", {name: _plain([before[name], after[name]]) for name in changed}, actor)
        coupon.refresh_from_db()
    return coupon


def coupon_deactivate(*, coupon_id: uuid.UUID, actor: str) -> Coupon:
    """Nobody can redeem it from now on; who has, keeps it. Raises NotFound."""
    return coupon_update(coupon_id=coupon_id, actor=actor, is_active=False)


def coupon_delete(*, coupon_id: uuid.UUID, actor: str) -> Coupon | None:
    """Removes a coupon that nobody ever took and answers None; one that somebody did is deactivated and answered.

    Raises NotFound.
    """
    with transaction.atomic():
        coupon = _locked(coupon_id)
        if coupon.taken.exists():
            return coupon_deactivate(coupon_id=coupon_id, actor=actor)
        data = {"code": coupon.code}
        try:
            with transaction.atomic():
                coupon.delete()
        except (ProtectedError, RestrictedError):
            return coupon_deactivate(coupon_id=coupon_id, actor=actor)
        audit.record(actor=actor, action="coupon.deleted", subject_type="coupon", subject_id=coupon_id, data=data)
    return None


def changes_of(coupon: Coupon, changes: Mapping[str, Any]) -> dict[str, Any]:
    """What `changes` would alter, checked. Raises what `coupon_update` raises; lock the coupon to rely on it."""
    present = present_of(coupon)
    clean = coupon_rules.checked(changes, present=present)
    if "plans" in clean:
        clean["plans"] = sorted(plan.code for plan in _plans(clean["plans"]))
    changed = {name: value for name, value in clean.items() if value != present[name]}
    faults = {
        name: ["It has been redeemed: this cannot change any more"] for name in changed if name in FIXED_ONCE_REDEEMED
    }
    if "plans" in changed and _is_narrower(changed["plans"], than=present["plans"]):
        faults["plans"] = ["It has been redeemed: it can be for more plans, not for fewer"]
    # One that was released counts: a late payment takes it again, at what was promised.
    if faults and not coupon.taken.exists():
        faults = {}
    maximum = changed.get("max_redemptions")
    if maximum is not None and maximum < coupon.redemptions:
        faults["max_redemptions"] = [f"It has been redeemed {coupon.redemptions} times"]
    if faults:
        raise ValidationFailed(details=faults)
    if "code" in changed:
        _check_code(changed["code"])
    return changed


def present_of(coupon: Coupon) -> dict[str, Any]:
    """The coupon as `coupon_update` takes it, its plans by code."""
    names = [name for name in CouponFields.__annotations__ if name != "plans"]
    plans = list(coupon.plans.order_by("code").values_list("code", flat=True))
    return {**{name: getattr(coupon, name) for name in names}, "plans": plans}


def _locked(coupon_id: uuid.UUID) -> Coupon:
    rows = lock_rows(Coupon.objects.filter(pk=coupon_id))
    if not rows:
        raise NotFound("No such coupon")
    return rows[0]


def _write(coupon: Coupon, changed: Mapping[str, Any]) -> None:
    columns = [name for name in changed if name != "plans"]
    for name in columns:
        setattr(coupon, name, changed[name])
    if columns:
        coupon.save(update_fields=columns)
    if "plans" in changed:
        coupon.plans.set(_plans(changed["plans"]))


def _plans(names: Sequence[str]) -> list[Plan]:
    """The plans of these ids or codes, locked: none of them is deleted meanwhile, which would widen the coupon."""
    ids = [parsed for name in names if (parsed := parse_uuid(name)) is not None]
    plans = lock_rows(Plan.objects.filter(Q(pk__in=ids) | Q(code__in=names)))
    known = {key for plan in plans for key in (str(plan.pk), plan.code)}
    if unknown := [name for name in names if str(parse_uuid(name) or name) not in known]:
        raise ValidationFailed(details={"plans": [f"There is no plan {name!r}" for name in unknown]})
    return plans


def _is_narrower(plans: Sequence[str], *, than: Sequence[str]) -> bool:
    """None is every plan."""
    return bool(plans) and (not than or not set(than) <= set(plans))


def _check_code(code: str) -> None:
    # Codes are given out one at a time, so that a collision is a good message.
    advisory_lock("plans.coupon_codes")
    if Coupon.objects.filter(code=code).exists():
        raise ValidationFailed.field("code", f"There is a coupon {code} already")


def _codes(plans: Sequence[Plan]) -> list[str]:
    return sorted(plan.code for plan in plans)


def _record(coupon: Coupon, action: str, data: dict[str, Any], actor: str) -> None:
    audit.record(actor=actor, action=action, subject_type="coupon", subject_id=coupon.pk, data=data)


def _plain(value: Any) -> Any:
    """As the audit keeps it: numbers and moments as text."""
    if isinstance(value, Decimal):
        return format(value.normalize(), "f")
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, Mapping):
        return {name: _plain(item) for name, item in value.items()}
    if isinstance(value, list):
        return [_plain(item) for item in value]
    return value
