"""Everything that changes plans. Each is checked, written, audited and told in one transaction."""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any, Unpack

from django.db import transaction
from django.db.models import ProtectedError, RestrictedError
from django.utils.text import slugify

from payflow.core import audit, outbox
from payflow.core.errors import NotFound, ValidationFailed
from payflow.core.locks import advisory_lock, lock_rows
from plans import cache, pricing_rules, rules
from plans.errors import LoweringNotConfirmed, PlanInUse
from plans.features import lowered
from plans.metrics import counted
from plans.models import ActionPrice, Plan, PlanPrice, PlanProviderRef
from plans.pricing_rules import ActionPriceFields
from plans.rules import OptionalFields, PlanFields, PriceFields, ProviderRefFields

#: What subscriptions copied when they began, and could not follow.
FIXED_IN_USE = ("billing_cycle", "billing_interval", "currency", "family")
#: A subscription in any other state has something to lose. The states are the subscriptions' own, a floor above.
NOT_LIVE = ("pending", "cancelled", "expired")
USAGE_TOTALS = ("max_usage_per_day", "max_usage_per_month")
#: What tables of their own hold.
SETS = ("prices", "provider_refs", "action_prices")
#: What the prices of actions have to fit.
_BESIDE_ACTION_PRICES = frozenset({"price", "currency", "prices", "action_prices"})
_TERMS = ("action", "currency", "settlement", "model", "included", "unit_amount", "package_size", "tiers")


def plan_create(
    *,
    name: str,
    price: Decimal,
    currency: str,
    billing_cycle: str,
    actor: str,
    at: datetime,
    **optional: Unpack[OptionalFields],
) -> Plan:
    """A new plan; without a `code` it gets one from its name. `at` is business time.

    Raises ValidationFailed (also for a code or a provider's reference that is taken), UnsupportedCurrency.
    """
    values = {"name": name, "price": price, "currency": currency, "billing_cycle": billing_cycle, **optional}
    with counted("create"), transaction.atomic():
        clean = rules.checked(values)
        pricing_rules.check_action_prices({"prices": [], "action_prices": [], **clean})
        prices, refs = clean.pop("prices", []), clean.pop("provider_refs", [])
        action_prices = clean.pop("action_prices", [])
        _lock_names()
        if clean.get("code") is None:
            clean["code"] = _free_code(clean["name"])
        _check_code(clean["code"])
        plan = Plan.objects.create(**clean)
        _replace_prices(plan, prices)
        _replace_refs(plan, refs)
        _replace_action_prices(plan, action_prices, at)
        sets = {"prices": prices, "provider_refs": refs, "action_prices": action_prices}
        _record(plan, "plan.created", _plain({**clean, **sets}), actor)
        _tell(plan, "plan.created", sorted(clean), at)
        plan.refresh_from_db()
    return plan


def plan_update(
    *, plan_id: uuid.UUID, actor: str, at: datetime, confirm: bool = False, **changes: Unpack[PlanFields]
) -> Plan:
    """Changes the given fields; `prices`, `provider_refs` and `action_prices` replace their whole set. Nobody's price changes.

    Raises NotFound, ValidationFailed, UnsupportedCurrency; PlanInUse where a change would not fit the subscriptions
    there are; LoweringNotConfirmed unless `confirm`, where live subscriptions would have less.
    """
    with counted("update"), transaction.atomic():
        plan = _locked(plan_id)
        changed = changes_of(plan, changes, confirm=confirm)
        if changed:
            before = _present(plan)
            _write(plan, changed, at)
            _record(plan, "plan.updated", {name: _plain([before[name], changed[name]]) for name in changed}, actor)
            _tell(plan, "plan.updated", sorted(changed), at)
        plan.refresh_from_db()
    return plan


def plan_activate(*, plan_id: uuid.UUID, actor: str, at: datetime) -> Plan:
    """Sells the plan (again). Raises NotFound."""
    return plan_update(plan_id=plan_id, actor=actor, at=at, is_active=True)


def plan_deactivate(*, plan_id: uuid.UUID, actor: str, at: datetime) -> Plan:
    """Stops selling the plan; who has it keeps it. Raises NotFound."""
    return plan_update(plan_id=plan_id, actor=actor, at=at, is_active=False)


def plan_clone(*, plan_id: uuid.UUID, actor: str, at: datetime) -> Plan:
    """A copy that is not sold yet, to be changed where the original cannot. Without the providers' references.

    Raises NotFound.
    """
    with transaction.atomic():
        values = _present(_locked(plan_id))
        return plan_create(**{**values, "code": None, "is_active": False, "provider_refs": []}, actor=actor, at=at)


def plan_delete(*, plan_id: uuid.UUID, actor: str, at: datetime) -> None:
    """Removes a plan that nobody ever had. Raises NotFound; PlanInUse where anything refers to it."""
    with counted("delete"), transaction.atomic():
        plan = _locked(plan_id)
        _refuse_in_use(plan)
        # Without its last plan a coupon would be one for all plans.
        if coupons := sorted(plan.coupons.values_list("code", flat=True)):
            raise PlanInUse("There are coupons for this plan", details={"coupons": coupons})
        _record(plan, "plan.deleted", {"code": plan.code, "name": plan.name}, actor)
        _tell(plan, "plan.deleted", [], at)
        try:
            plan.delete()
        except (ProtectedError, RestrictedError) as error:
            raise PlanInUse("Something still refers to this plan") from error


def changes_of(plan: Plan, changes: Mapping[str, Any], *, confirm: bool) -> dict[str, Any]:
    """What `changes` would alter, checked. Raises what `plan_update` raises; the plan should be locked to rely on it."""
    clean = rules.checked(changes, currency=plan.currency, price=plan.price)
    if clean.get("code", "") is None:
        del clean["code"]
    present = _present(plan)
    changed = {name: value for name, value in clean.items() if _differ(value, present[name])}
    if "currency" in changed and any(row["currency"] == changed["currency"] for row in {**present, **clean}["prices"]):
        raise ValidationFailed.field("currency", "The plan has a price of its own in this currency: remove it first")
    if not _BESIDE_ACTION_PRICES.isdisjoint(changed):
        pricing_rules.check_action_prices({**present, **clean})
    if "code" in changed or "provider_refs" in changed:
        _lock_names()
    if "code" in changed:
        _check_code(changed["code"])
    if "provider_refs" in changed:
        _check_refs(changed["provider_refs"], plan)
    if fixed := [name for name in FIXED_IN_USE if name in changed]:
        _refuse_in_use(plan, fixed)
    if not confirm and (less := _lowered(present, changed)):
        affected = plan.subscriptions.exclude(status__in=NOT_LIVE).count()
        if affected:
            raise LoweringNotConfirmed(lowered=less, affected=affected)
    return changed


def _locked(plan_id: uuid.UUID) -> Plan:
    rows = lock_rows(Plan.objects.filter(pk=plan_id))
    if not rows:
        raise NotFound("No such plan")
    return rows[0]


def _lock_names() -> None:
    """Codes and references are given out one at a time, so that a collision is a good message."""
    advisory_lock("plans.names")


def _present(plan: Plan) -> dict[str, Any]:
    return {
        "code": plan.code,
        "name": plan.name,
        "description": plan.description,
        "price": plan.price,
        "currency": plan.currency,
        "billing_cycle": plan.billing_cycle,
        "billing_interval": plan.billing_interval,
        "trial_days": plan.trial_days,
        "trial_needs_method": plan.trial_needs_method,
        "proration_unit": plan.proration_unit,
        "features": plan.features,
        "max_usage_per_day": plan.max_usage_per_day,
        "max_usage_per_month": plan.max_usage_per_month,
        "family": plan.family,
        "is_active": plan.is_active,
        "sort_order": plan.sort_order,
        "prices": [
            PriceFields(currency=row.currency, amount=row.amount)
            for row in PlanPrice.objects.filter(plan=plan).order_by("currency")
        ],
        "provider_refs": [
            ProviderRefFields(provider=row.provider, ref=row.ref, currency=row.currency)
            for row in PlanProviderRef.objects.filter(plan=plan).order_by("provider", "ref")
        ],
        "action_prices": [
            _terms(row) for row in ActionPrice.objects.filter(plan=plan, retired_at=None).order_by("action", "currency")
        ],
    }


def _write(plan: Plan, changed: Mapping[str, Any], at: datetime) -> None:
    columns = [name for name in changed if name not in SETS]
    for name in columns:
        setattr(plan, name, changed[name])
    if columns:
        plan.save(update_fields=columns)
    if "prices" in changed:
        _replace_prices(plan, changed["prices"])
    if "provider_refs" in changed:
        _replace_refs(plan, changed["provider_refs"])
    if "action_prices" in changed:
        _replace_action_prices(plan, changed["action_prices"], at)


def _replace_prices(plan: Plan, rows: Sequence[PriceFields]) -> None:
    PlanPrice.objects.filter(plan=plan).delete()
    PlanPrice.objects.bulk_create(PlanPrice(plan=plan, **row) for row in rows)


def _replace_refs(plan: Plan, rows: Sequence[ProviderRefFields]) -> None:
    _check_refs(rows, plan)
    PlanProviderRef.objects.filter(plan=plan).delete()
    PlanProviderRef.objects.bulk_create(PlanProviderRef(plan=plan, **row) for row in rows)


def _replace_action_prices(plan: Plan, rows: Sequence[ActionPriceFields], at: datetime) -> None:
    """What has changed is another row: who was sold the one before goes on with it, and finds it by its time."""
    present = {(row.action, row.currency): row for row in ActionPrice.objects.filter(plan=plan, retired_at=None)}
    wanted = {(row["action"], row["currency"]): row for row in rows}
    for key, row in present.items():
        if key in wanted and not _differ(wanted[key], _terms(row)):
            del wanted[key]
            continue
        row.retired_at = max(at, row.starts_at)  # clocks of two machines differ
        row.save(update_fields=["retired_at"])
    ActionPrice.objects.bulk_create(ActionPrice(plan=plan, starts_at=at, **row) for row in wanted.values())
    names = sorted({*plan.priced_actions, *(row["action"] for row in rows)})
    if names != plan.priced_actions:
        plan.priced_actions = names
        plan.save(update_fields=["priced_actions"])


def _terms(row: ActionPrice) -> dict[str, Any]:
    return {name: getattr(row, name) for name in _TERMS}


def _free_code(name: str) -> str:
    base = slugify(name)[:40].strip("-_") or "plan"
    taken = set(Plan.objects.filter(code__startswith=base).values_list("code", flat=True))
    code, number = base, 2
    while code in taken or rules.is_reserved(code):
        code, number = f"{base}-{number}", number + 1
    return code


def _check_code(code: str) -> None:
    if Plan.objects.filter(code=code).exists():
        raise ValidationFailed.field("code", f"A plan with the code {code!r} exists")


def _check_refs(rows: Sequence[ProviderRefFields], plan: Plan) -> None:
    theirs = set(
        PlanProviderRef.objects.filter(ref__in=[row["ref"] for row in rows])
        .exclude(plan=plan)
        .values_list("provider", "ref")
    )
    if taken := [f"{row['provider']}:{row['ref']}" for row in rows if (row["provider"], row["ref"]) in theirs]:
        raise ValidationFailed.field("provider_refs", f"Another plan has {', '.join(taken)}")


def _refuse_in_use(plan: Plan, fields: Sequence[str] = ()) -> None:
    # Ended ones count: a late payment can bring them back.
    if subscriptions := plan.subscriptions.count():
        raise PlanInUse(details={"subscriptions": subscriptions, "fields": list(fields)})


def _lowered(present: Mapping[str, Any], changed: Mapping[str, Any]) -> list[str]:
    less = [name for name in USAGE_TOTALS if name in changed and _total(changed[name]) < _total(present[name])]
    if "features" in changed:
        less += [f"features.{key}" for key in lowered(present["features"], changed["features"])]
    return less


def _total(limit: int | None) -> float:
    return float("inf") if limit is None else limit


def _record(plan: Plan, action: str, data: dict[str, Any], actor: str) -> None:
    audit.record(actor=actor, action=action, subject_type="plan", subject_id=plan.pk, data=data)


def _tell(plan: Plan, type: str, changed: list[str], at: datetime) -> None:
    payload = {"plan_id": str(plan.pk), "code": plan.code, "changed": changed}
    outbox.emit(type=type, subject_type="plan", subject_id=plan.pk, payload=payload, at=at)
    transaction.on_commit(cache.invalidate, robust=True)


def _differ(new: Any, old: Any) -> bool:
    # To Python 1 and True are equal; to a plan one is a limit and the other a switch.
    return bool(new != old) or json.dumps(_plain(new), sort_keys=True) != json.dumps(_plain(old), sort_keys=True)


def _plain(value: Any) -> Any:
    """As the audit keeps it: amounts as text."""
    if isinstance(value, Decimal):
        return format(value.normalize(), "f")
    if isinstance(value, Mapping):
        return {name: _plain(item) for name, item in value.items()}
    if isinstance(value, list):
        return [_plain(item) for item in value]
    return value
