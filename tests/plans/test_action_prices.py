"""Prices of a plan's actions through the API and the admin: what they may be, and that who was sold one keeps it."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal

import pytest
from django.db import IntegrityError, transaction

from payflow.core import clock
from payflow.core.models import AuditEntry
from plans.models import ActionPrice, Plan
from plans.selectors import action_price_at, action_prices_ever
from plans.services import plan_clone, plan_update
from tests.conftest import Api
from tests.factories import PlanFactory
from tests.plans.conftest import everything

pytestmark = pytest.mark.django_db
PLANS = "/api/v1/plans/"
UNIT = {"action": "translations", "unit_amount": 0.0025, "included": 100}
TIERED = {
    "action": "words",
    "model": "graduated",
    "tiers": [{"up_to": 1000, "unit_amount": 0.01, "flat_amount": 1}, {"up_to": None, "unit_amount": 0.005}],
}


def patch(api, plan, *rows, **more):
    return api.patch(f"{PLANS}{plan.code}", {"action_prices": rows, **more}, format="json")


def test_they_are_written_and_shown_with_every_digit(api, admin):
    plan = PlanFactory()

    written = patch(api.as_user(admin), plan, UNIT, TIERED)

    assert written.status_code == 200, written.content
    assert b'"unit_amount":0.0025' in written.content.replace(b" ", b"")
    shown = Api().get(f"{PLANS}{plan.code}").json()["data"]["action_prices"]
    assert shown == [
        {
            "action": "translations",
            "currency": "USD",
            "settlement": "invoice",
            "model": "per_unit",
            "included": 100,
            "unit_amount": 0.0025,
            "package_size": None,
            "tiers": [],
        },
        {
            "action": "words",
            "currency": "USD",
            "settlement": "invoice",
            "model": "graduated",
            "included": 0,
            "unit_amount": None,
            "package_size": None,
            "tiers": [
                {"up_to": 1000, "unit_amount": 0.01, "flat_amount": 1},
                {"up_to": None, "unit_amount": 0.005, "flat_amount": 0},
            ],
        },
    ]
    assert Plan.objects.get().priced_actions == ["translations", "words"]
    assert AuditEntry.objects.filter(action="plan.updated").count() == 1
    again = patch(api.as_user(admin), plan, *shown)
    assert again.status_code == 200
    assert AuditEntry.objects.filter(action="plan.updated").count() == 1, "nothing has changed"


def test_customers_do_not_write_them(api, user):
    plan = PlanFactory()
    before = everything()
    assert patch(api.as_user(user), plan, UNIT).status_code == 403
    assert everything() == before
    assert not ActionPrice.objects.exists()


@pytest.mark.parametrize(
    ("row", "fault"),
    [
        ({"action": "Words", "unit_amount": 1}, "An action"),
        ({"action": "words"}, "words: per_unit needs a unit_amount"),
        ({"action": "words", "unit_amount": -1}, "words: an amount is not negative"),
        ({"action": "words", "unit_amount": "a lot"}, "words: an amount is a number"),
        ({"action": "words", "unit_amount": True}, "words: an amount is an exact number"),
        ({"action": "words", "unit_amount": 0.0000000001}, "words: an amount has at most 9 decimals"),
        ({"action": "words", "model": "package", "unit_amount": 1}, "words: a package_size is what package has"),
        ({"action": "words", "unit_amount": 1, "package_size": 5}, "words: a package_size is what package has"),
        ({"action": "words", "unit_amount": 1, "tiers": TIERED["tiers"]}, "words: per_unit has no tiers"),
        ({"action": "words", "model": "volume"}, "words: 1 to 50 tiers"),
        ({"action": "words", "model": "volume", "unit_amount": 1}, "words: volume is priced by its tiers alone"),
        ({**TIERED, "tiers": TIERED["tiers"][:1]}, "words: the last tier, and no other, has no up_to"),
        ({**TIERED, "tiers": [*TIERED["tiers"][:1], *TIERED["tiers"]]}, "words: A whole number from 1001"),
        ({**TIERED, "model": "volume", "settlement": "credit"}, "words: by volume a later unit changes the price"),
        ({"action": "words", "unit_amount": 1, "currency": "EUR"}, "words: it has no price in USD"),
    ],
)
def test_what_cannot_be_a_price_is_refused_by_the_name_of_its_action(api, admin, row, fault):
    plan = PlanFactory()
    before = everything()

    response = patch(api.as_user(admin), plan, row)

    assert (response.status_code, response.json()["code"]) == (400, "VALIDATION_ERROR")
    assert fault in response.json()["details"]["action_prices"][0]
    assert everything() == before


def test_twice_the_same_action_and_an_unknown_field_and_currency(api, admin):
    plan = PlanFactory()
    client = api.as_user(admin)
    assert patch(client, plan, UNIT, {**UNIT, "currency": "USD"}).status_code == 400
    assert patch(client, plan, {**UNIT, "price": 1}).status_code == 400
    assert patch(client, plan, UNIT, {**UNIT, "currency": "XXX"}).json()["code"] == "UNSUPPORTED_CURRENCY"
    assert not ActionPrice.objects.exists()


def test_an_action_is_priced_in_every_currency_in_which_the_plan_is_sold(api, admin):
    plan = PlanFactory()
    client = api.as_user(admin)
    assert patch(client, plan, UNIT).status_code == 200

    refused = client.patch(f"{PLANS}{plan.code}", {"prices": [{"currency": "EUR", "amount": 9}]}, format="json")
    euro = {**UNIT, "currency": "EUR"}
    both = patch(client, plan, UNIT, euro, prices=[{"currency": "EUR", "amount": 9}])

    assert "no price in EUR" in refused.json()["details"]["action_prices"][0]
    assert both.status_code == 200


def test_a_free_plan_settles_by_credit_alone(api, admin):
    free = PlanFactory(price=0)
    client = api.as_user(admin)
    assert "makes no invoice" in patch(client, free, UNIT).json()["details"]["action_prices"][0]
    assert patch(client, free, {**UNIT, "settlement": "credit"}).status_code == 200
    paid = PlanFactory()
    assert patch(client, paid, UNIT).status_code == 200
    assert client.patch(f"{PLANS}{paid.code}", {"price": 0}, format="json").status_code == 400


def test_another_price_is_another_row_and_the_old_one_stays_what_it_was(admin):
    plan = PlanFactory()
    first = clock.now()
    rows = [{"action": "words", "unit_amount": Decimal(1)}, {"action": "books", "unit_amount": Decimal(2)}]
    plan_update(plan_id=plan.pk, actor="test", at=first, action_prices=rows)
    books = ActionPrice.objects.get(action="books")
    then = first + timedelta(days=1)

    plan_update(plan_id=plan.pk, actor="test", at=then, action_prices=[{**rows[0], "unit_amount": Decimal(3)}, rows[1]])
    plan_update(plan_id=plan.pk, actor="test", at=then + timedelta(days=1), action_prices=rows[1:])

    def at(moment):
        row = action_price_at(
            action_prices_ever([plan.pk], ["words"]), plan.pk, currency="USD", action="words", at=moment
        )
        return row and row.unit_amount

    assert [at(first - timedelta(seconds=1)), at(first), at(then), at(then + timedelta(days=1))] == [None, 1, 3, None]
    assert ActionPrice.objects.get(action="books", retired_at=None) == books
    plan.refresh_from_db()
    assert plan.priced_actions == ["books", "words"], "somebody may still have it"


def test_the_database_changes_no_terms():
    plan = PlanFactory()
    plan_update(
        plan_id=plan.pk, actor="test", at=clock.now(), action_prices=[{"action": "a", "unit_amount": Decimal(1)}]
    )
    with pytest.raises(IntegrityError, match="not changed"), transaction.atomic():
        ActionPrice.objects.update(unit_amount=2)
    with pytest.raises(IntegrityError, match="action_prices_unit_amount"), transaction.atomic():
        ActionPrice.objects.create(plan=plan, action="b", currency="USD", starts_at=clock.now())


def test_a_clone_has_them_too():
    plan = PlanFactory()
    plan_update(
        plan_id=plan.pk, actor="test", at=clock.now(), action_prices=[{"action": "a", "unit_amount": Decimal(1)}]
    )
    clone = plan_clone(plan_id=plan.pk, actor="test", at=clock.now())
    assert [row.unit_amount for row in clone.action_prices.all()] == [1]
    assert clone.priced_actions == ["a"]
