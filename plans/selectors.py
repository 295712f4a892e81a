"""Reading plans."""

from __future__ import annotations

import uuid
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.contrib.postgres.expressions import ArraySubquery
from django.db.models import OuterRef, Prefetch, Q, QuerySet

from payflow.core.errors import NotFound, ValidationFailed
from payflow.core.ids import parse_uuid
from plans import cache
from plans.models import ActionPrice, Coupon, Plan, PlanPrice, PlanProviderRef
from plans.permissions import sees_all
from plans.serializers import PlanSerializer

#: How many plans one comparison takes.
COMPARED = range(2, 11)


@dataclass(frozen=True, slots=True)
class Comparison:
    """Plans side by side: for each feature that one of them has, its value in every plan, by code (None: lacking)."""

    plans: list[Plan]
    features: list[dict[str, Any]]


def plans_all() -> QuerySet[Plan]:
    """Every plan with its prices and references: four queries, however many plans."""
    refs = Prefetch("provider_refs", PlanProviderRef.objects.order_by("provider", "ref"))
    return _with_prices().prefetch_related(refs)


def plans_visible(principal: Any) -> QuerySet[Plan]:
    """What `principal` may see: operators all plans, everybody else the active ones and those they subscribed to."""
    if sees_all(principal):
        return plans_all()
    visible = Q(is_active=True)
    if getattr(principal, "is_authenticated", False) and not getattr(principal, "is_service", False):
        visible |= Q(pk__in=Plan.objects.filter(subscriptions__user_id=principal.pk).values("pk"))
    return _with_prices().filter(visible)


def plans_on_sale() -> QuerySet[Plan]:
    """The active plans in the order of the shop window, with their prices, those of actions too: three queries."""
    return _with_prices().filter(is_active=True)


def plan_get(id_or_code: str | uuid.UUID, *, among: QuerySet[Plan] | None = None) -> Plan:
    """A plan by its id or its code, active or not, of `among` (all). Raises NotFound."""
    plans = Plan.objects.all() if among is None else among
    found = plans.filter(_named([str(id_or_code)])).first()
    if found is None:
        raise NotFound("No such plan")
    return found


def plans_active() -> list[dict[str, Any]]:
    """What can be bought, in the order of the shop window, as the API gives it to anyone. From Redis where it is there."""
    key = cache.present_key()
    rows = cache.load(key)
    if rows is None:
        serializer = PlanSerializer(plans_on_sale(), many=True)
        rows = [dict(row) for row in serializer.data]
        cache.store(key, rows)
    return rows


def plan_compare(ids: Sequence[str], *, among: QuerySet[Plan]) -> Comparison:
    """The plans of `ids` (ids or codes) in the order asked for; one that is named twice stands once.

    Raises ValidationFailed unless there are 2 to 10; NotFound where one is not in `among`.
    """
    if len(ids) > COMPARED.stop * 2:
        raise _not_comparable()
    found = list(among.filter(_named(ids)))
    by_name = {name: plan for plan in found for name in (str(plan.pk), plan.code)}
    plans: dict[uuid.UUID, Plan] = {}
    for name in ids:
        plan = by_name.get(str(parse_uuid(name) or name))
        if plan is None:
            raise NotFound("No such plan", details={"ids": [name]})
        plans[plan.pk] = plan
    if len(plans) not in COMPARED:
        raise _not_comparable()
    chosen = list(plans.values())
    keys = dict.fromkeys(key for plan in chosen for key in plan.features)
    features = [{"key": key, "values": {plan.code: plan.features.get(key) for plan in chosen}} for key in keys]
    return Comparison(plans=chosen, features=features)


def coupons_all() -> QuerySet[Coupon]:
    """Every coupon; `plan_ids` are the plans that it is limited to, none where it is for all. One query."""
    return Coupon.objects.annotate(plan_ids=coupon_plan_ids("pk"))


def coupon_plan_ids(coupon: str) -> ArraySubquery:
    """The plans of the coupon whose key is the outer query's `coupon`, to annotate batches with."""
    through = Coupon.plans.through.objects.filter(coupon_id=OuterRef(coupon))
    return ArraySubquery(through.order_by("plan_id").values("plan_id"))


#: Plan, currency, action → every price there ever was, newest first.
PricesEver = Mapping[tuple[uuid.UUID, str, str], Sequence[ActionPrice]]


def action_prices_ever(plan_ids: Collection[uuid.UUID], actions: Collection[str]) -> PricesEver:
    """What the plans have asked for these actions, from the first day on. One query."""
    found: dict[tuple[uuid.UUID, str, str], list[ActionPrice]] = {}
    for row in ActionPrice.objects.filter(plan__in=plan_ids, action__in=actions).order_by("-starts_at"):
        found.setdefault((row.plan_id, row.currency, row.action), []).append(row)
    return found


def action_price_at(
    prices: PricesEver, plan_id: uuid.UUID, *, currency: str, action: str, at: datetime
) -> ActionPrice | None:
    """What the plan asked for the action at `at`, the moment of a sale; the newest where two were written at one moment."""
    for row in prices.get((plan_id, currency, action), ()):
        if row.starts_at <= at and (row.retired_at is None or row.retired_at > at):
            return row
    return None


def _with_prices() -> QuerySet[Plan]:
    """Of the prices of actions those that a buyer is sold now."""
    actions = ActionPrice.objects.filter(retired_at=None).order_by("action", "currency")
    return Plan.objects.prefetch_related(
        Prefetch("prices", PlanPrice.objects.order_by("currency")), Prefetch("action_prices", actions)
    )


def _named(names: Sequence[str]) -> Q:
    ids = [parsed for name in names if (parsed := parse_uuid(name)) is not None]
    return Q(pk__in=ids) | Q(code__in=names)


def _not_comparable() -> ValidationFailed:
    return ValidationFailed.field("ids", f"Name {COMPARED.start} to {COMPARED.stop - 1} different plans")
