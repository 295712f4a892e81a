"""The shared world of tests about a store's purchases: plans with products, the store's books, and what it reports."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from plans.models import PlanProviderRef
from providers.base import EventType, ProviderEvent, SubState, SubStatus
from subscriptions.services.provider_events import provider_event_apply
from tests import store
from tests.factories import PlanFactory

T0 = datetime(2031, 1, 31, 9, 0, tzinfo=UTC)
MONTHS = [
    T0,
    datetime(2031, 2, 28, 9, tzinfo=UTC),
    datetime(2031, 3, 31, 9, tzinfo=UTC),
    datetime(2031, 4, 30, 9, tzinfo=UTC),
]
HOUR = timedelta(hours=1)


@pytest.fixture
def books(settings: Any) -> Iterator[store.Books]:
    """The store, configured and empty."""
    settings.PAYFLOW_PROVIDERS = {**settings.PAYFLOW_PROVIDERS, "store": {"adapter": store.ADAPTER}}
    store.BOOKS.clear()
    yield store.BOOKS
    store.BOOKS.clear()


@pytest.fixture
def plans(books: store.Books) -> dict[str, Any]:
    made = {code: PlanFactory(code=code, price=Decimal(price)) for code, price in [("basic", "5.00"), ("gold", "9.00")]}
    for code, plan in made.items():
        PlanProviderRef.objects.create(plan=plan, provider="store", ref=f"product.{code}")
    return made


def news(user: Any, type_: EventType, at: datetime, **fields: Any) -> ProviderEvent:
    return ProviderEvent(
        provider="store",
        event_id=f"{type_}:{at.isoformat()}",
        type=type_,
        occurred_at=at,
        **{"provider_sub_id": "sub-1", "user_ref": str(user.pk), **fields},
    )


def paid(user: Any, start: datetime, end: datetime, *, plan: str = "basic", **fields: Any) -> ProviderEvent:
    return news(
        user,
        EventType.PAYMENT_SUCCEEDED,
        start,
        **{
            "provider_payment_id": f"pay-{start.isoformat()}",
            "provider_plan_ref": f"product.{plan}",
            "amount": Decimal("4.99") if plan == "basic" else Decimal("8.99"),
            "currency": "USD",
            "period_start": start,
            "period_end": end,
            **fields,
        },
    )


def apply(event: ProviderEvent, now: datetime | None = None) -> Any:
    return provider_event_apply(event=event, now=now or event.occurred_at)


def state(status: SubStatus = SubStatus.ACTIVE, **fields: Any) -> SubState:
    """What the store says of sub-1."""
    return SubState("sub-1", status, **{"auto_renew": True, "period_end": MONTHS[1], **fields})
