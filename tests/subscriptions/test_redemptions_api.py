"""POST coupons/validate: what a code is worth to whoever asks; nothing is taken."""

from __future__ import annotations

from decimal import Decimal

import pytest

from plans.models import Coupon, PlanPrice
from subscriptions.models import CouponRedemption
from tests.factories import CouponFactory, PlanFactory
from tests.flows import nothing_changes, paid, refused
from tests.subscriptions.redemptions_world import pending, reserve

pytestmark = pytest.mark.django_db

URL = "/api/v1/coupons/validate"


@pytest.fixture
def plan(db):
    return PlanFactory(code="basic", price=Decimal("19.99"))


@pytest.fixture
def coupon(db):
    return CouponFactory(code="SPRING", name="Spring", duration="cycles", cycles=3, max_redemptions=9)


@pytest.fixture(autouse=True)
def _takes_nothing(db):
    yield
    assert [row.redemptions for row in Coupon.objects.all()] == [row.taken.count() for row in Coupon.objects.all()]


@pytest.mark.parametrize("slash", ["", "/"])
@pytest.mark.parametrize("by", ["code", "id"])
def test_it_says_what_the_first_invoice_would_cost(api, user, plan, coupon, slash, by):
    plan_id = plan.code if by == "code" else str(plan.pk)
    with nothing_changes():
        response = api.as_user(user).post(f"{URL}{slash}", {"code": "spring", "plan_id": plan_id})
    assert (response.status_code, response.json()["message"]) == (200, "This coupon can be used")
    assert response.json()["data"] == {
        "coupon": {
            "code": "SPRING",
            "name": "Spring",
            "kind": "percent",
            "percent": 10,
            "amount": None,
            "currency": "",
            "duration": "cycles",
            "cycles": 3,
        },
        "currency": "USD",
        "price": 19.99,
        "discount": 2.0,
        "total": 17.99,
    }
    assert b'"discount":2.00,"total":17.99' in response.content
    assert not CouponRedemption.objects.exists()


def test_in_another_currency_of_the_plan(api, user, plan):
    PlanPrice.objects.create(plan=plan, currency="JPY", amount=900)
    CouponFactory(code="YEN", kind="fixed", amount=Decimal(1000), currency="JPY")
    client = api.as_user(user)
    response = client.post(URL, {"code": "YEN", "plan_id": "basic", "currency": "JPY"})
    assert b'"currency":"JPY","price":900,"discount":900,"total":0' in response.content
    with nothing_changes():
        details = refused(client.post(URL, {"code": "YEN", "plan_id": "basic"}), 400, "VALIDATION_ERROR")
    assert details == {"coupon": ["This coupon is for prices in JPY"]}


def test_a_discount_of_nothing_is_nothing_off(api, user, plan):
    CouponFactory(code="TINY", percent=Decimal("0.001"))
    data = api.as_user(user).post(URL, {"code": "TINY", "plan_id": "basic"}).json()["data"]
    assert (data["discount"], data["total"]) == (0, 19.99)


@pytest.mark.parametrize("caller", ["anonymous", "service"])
def test_only_a_person_asks(api, plan, coupon, service_key, caller):
    client = api if caller == "anonymous" else api.as_service(service_key)
    expected = (401, "UNAUTHENTICATED") if caller == "anonymous" else (403, "FORBIDDEN")
    with nothing_changes():
        refused(client.post(URL, {"code": "SPRING", "plan_id": "basic"}), *expected)


def test_staff_may_ask_for_themselves(api, staff, plan, coupon):
    assert api.as_user(staff).post(URL, {"code": "SPRING", "plan_id": "basic"}).status_code == 200


@pytest.mark.parametrize("method", ["get", "put", "patch", "delete"])
def test_other_methods_are_405(api, admin, coupon, method):
    refused(getattr(api.as_user(admin), method)(URL), 405, "METHOD_NOT_ALLOWED")


GOOD = {"code": "SPRING", "plan_id": "basic"}


@pytest.mark.parametrize(
    ("body", "code", "field"),
    [
        ({}, "VALIDATION_ERROR", "code"),
        ({**GOOD, "code": ""}, "VALIDATION_ERROR", "code"),
        ({**GOOD, "code": "x" * 51}, "VALIDATION_ERROR", "code"),
        ({**GOOD, "code": None}, "VALIDATION_ERROR", "code"),
        ({**GOOD, "code": "NONE"}, "VALIDATION_ERROR", "coupon"),
        ({**GOOD, "plan_id": "nowhere"}, "VALIDATION_ERROR", "plan_id"),
        ({**GOOD, "plan_id": "retired"}, "VALIDATION_ERROR", "plan_id"),
        ({**GOOD, "plan_id": []}, "VALIDATION_ERROR", "plan_id"),
        ({**GOOD, "currency": "usd"}, "VALIDATION_ERROR", "currency"),
        ({**GOOD, "currency": "EUR"}, "UNSUPPORTED_CURRENCY", "currency"),
        ({**GOOD, "currency": "ZZZ"}, "UNSUPPORTED_CURRENCY", "currency"),
    ],
)
def test_bad_input(api, user, plan, coupon, body, code, field):
    PlanFactory(code="retired", is_active=False)
    with nothing_changes():
        details = refused(api.as_user(user).post(URL, body), 400, code)
    assert field in details


def test_his_history_decides(api, user, other_user, plan):
    CouponFactory(code="FIRST", first_time_only=True)
    last = CouponFactory(code="LAST", max_redemptions=1)
    paid(user, plan)
    reserve(pending(other_user, plan), last)
    told = {
        (caller, code): api.as_user(caller).post(URL, {"code": code, "plan_id": "basic"}).json()["details"]
        for caller in (user, other_user)
        for code in ("FIRST", "LAST")
    }
    assert told == {
        (user, "FIRST"): {"coupon": ["This coupon is for first-time customers"]},
        (user, "LAST"): {"coupon": ["This coupon is used up"]},
        (other_user, "FIRST"): None,
        (other_user, "LAST"): None,  # it is he who holds it
    }


def test_it_is_counted_against_the_rate_limit(api, user, plan, coupon, settings):
    settings.RATE_LIMIT_API = 2
    client = api.as_user(user)
    statuses = [client.post(URL, GOOD).status_code for _ in range(3)]
    assert statuses == [200, 200, 429]
