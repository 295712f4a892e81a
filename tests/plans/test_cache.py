"""The list of active plans in Redis: never older than the last change, and never needed."""

from __future__ import annotations

from decimal import Decimal

import pytest

from payflow.core import clock
from payflow.core.models import OutboxHandling
from payflow.core.outbox import outbox_drain
from plans import cache
from plans.models import Plan
from plans.selectors import plans_active
from plans.services import plan_create, plan_delete, plan_update
from tests.factories import PlanFactory
from tests.plans.conftest import START

pytestmark = pytest.mark.django_db

ACTIVE = "/api/v1/plans/active"
SMALL = {"name": "Small", "price": Decimal(5), "currency": "USD", "billing_cycle": "yearly"}
WHO = {"actor": "system", "at": START}


def listed(api):
    return {row["code"]: row["price"] for row in api.get(ACTIVE).json()["data"]["results"]}


@pytest.fixture
def committed(django_capture_on_commit_callbacks):
    """Runs what is inside, and then what waits for its commit."""
    return lambda: django_capture_on_commit_callbacks(execute=True)


@pytest.fixture
def without_redis(settings):
    settings.CACHES = {
        "default": {
            **settings.CACHES["default"],
            "LOCATION": "redis://127.0.0.1:9/0",  # nobody listens
        }
    }


def test_a_copy_is_the_same_to_the_digit(api, django_assert_num_queries):
    plan = PlanFactory(code="pro", price=Decimal("6.90"), features={"rate": 0.1, "books": -1})
    plan.prices.create(currency="JPY", amount=900)
    first = api.get(ACTIVE)
    with django_assert_num_queries(0):
        assert api.get(ACTIVE).content == first.content
    assert b'"price":6.90' in first.content


def test_every_change_is_seen_at_once(api, committed):
    assert listed(api) == {}
    with committed():
        plan = plan_create(**SMALL, **WHO)
    assert listed(api) == {"small": 5}
    with committed():
        plan_update(plan_id=plan.pk, price=Decimal(6), **WHO)
    assert listed(api) == {"small": 6}
    with committed():
        plan_update(plan_id=plan.pk, prices=[{"currency": "EUR", "amount": Decimal(4)}], **WHO)
    assert api.get(ACTIVE).json()["data"]["results"][0]["prices"] == [{"currency": "EUR", "amount": 4.0}]
    with committed():
        plan_update(plan_id=plan.pk, is_active=False, **WHO)
    assert listed(api) == {}
    with committed():
        plan_update(plan_id=plan.pk, is_active=True, **WHO)
    assert listed(api) == {"small": 6}
    with committed():
        plan_delete(plan_id=plan.pk, **WHO)
    assert listed(api) == {}


def test_the_api_and_the_admin_change_it_too(api, admin, client, committed):
    PlanFactory(code="pro", price=10)
    assert listed(api) == {"pro": 10}
    with committed():
        api.as_user(admin).patch("/api/v1/plans/pro", {"price": 11})
    assert listed(api) == {"pro": 11}
    client.force_login(admin)
    with committed():
        client.post(
            "/admin/plans/plan/", {"action": "deactivate", "_selected_action": [str(Plan.objects.get(code="pro").pk)]}
        )
    assert listed(api) == {}


def test_a_slow_reader_cannot_bring_back_the_old_list(api, committed):
    plan = PlanFactory(code="pro", price=10)
    key = cache.present_key()
    old = plans_active()
    with committed():
        plan_update(plan_id=plan.pk, price=Decimal(11), **WHO)
    cache.store(key, old)
    assert listed(api) == {"pro": 11}


def test_a_change_that_is_rolled_back_is_never_shown(api, admin, committed):
    PlanFactory(code="pro", price=10)
    with committed() as callbacks:
        api.as_user(admin).patch("/api/v1/plans/pro", {"price": -1})
    assert callbacks == []
    assert listed(api) == {"pro": 10}


def test_the_outbox_invalidates_what_the_commit_could_not(api):
    plan = PlanFactory(code="pro", price=10)
    assert listed(api) == {"pro": 10}
    # No commit happens in this test, as if the process had died right after it.
    plan_update(plan_id=plan.pk, price=Decimal(11), **WHO)
    assert listed(api) == {"pro": 10}
    outbox_drain(now=clock.now(), wall=clock.wall())
    assert listed(api) == {"pro": 11}
    assert set(OutboxHandling.objects.filter(handler="plans.cache").values_list("status")) == {("done",)}


@pytest.mark.usefixtures("without_redis")
def test_without_redis_postgresql_answers(api, committed):
    with committed():
        plan = plan_create(**SMALL, **WHO)
    assert listed(api) == {"small": 5}
    with committed():
        plan_update(plan_id=plan.pk, price=Decimal(6), **WHO)
    assert listed(api) == {"small": 6}


@pytest.mark.usefixtures("without_redis")
def test_without_redis_the_outbox_tries_again(api):
    plan_create(**SMALL, **WHO)
    outbox_drain(now=clock.now(), wall=clock.wall())
    handling = OutboxHandling.objects.get(handler="plans.cache")
    assert (handling.status, handling.attempts) == ("pending", 1)
    assert "Redis is away" in handling.error
