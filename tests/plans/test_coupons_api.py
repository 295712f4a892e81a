"""coupons/: who may, what is written, what is refused; a refusal changes nothing."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from payflow.core.models import AuditEntry
from plans.models import Coupon
from plans.services_coupons import FIXED_ONCE_REDEEMED
from subscriptions.models import CouponRedemption
from tests.factories import CouponFactory, PlanFactory, UserFactory
from tests.plans.conftest import operator, subscribe

pytestmark = pytest.mark.django_db

COUPONS = "/api/v1/coupons/"
GOOD = {"code": "SPRING", "kind": "percent", "percent": 12.5}
FIXED = {"code": "FIVE", "kind": "fixed", "amount": 5, "currency": "USD"}


def everything():
    return (
        list(Coupon.objects.order_by("pk").values()),
        list(Coupon.plans.through.objects.order_by("pk").values()),
        list(CouponRedemption.objects.order_by("pk").values()),
        AuditEntry.objects.count(),
    )


def send(client, method, address, body=None):
    return getattr(client, method)(address, body, format="json")


def redeem(coupon, status="reserved", **fields):
    """A redemption as far as the coupon can see it."""
    user = UserFactory()
    subscription = subscribe(user, PlanFactory(), "pending")
    row = CouponRedemption.objects.create(coupon=coupon, user=user, subscription=subscription, status=status, **fields)
    if status != "released":
        coupon.redemptions += 1
        coupon.save()
    return row


def refused(response, status=400, code="VALIDATION_ERROR"):
    body = response.json()
    assert (response.status_code, body["code"], body["data"]) == (status, code, None), body
    return body["details"]


@pytest.fixture
def client(api, admin):
    return api.as_user(admin)


# --- who --------------------------------------------------------------------------------------------------------------


CALLERS = ["anonymous", "customer", "viewer", "support", "finance", "staff", "service"]


@pytest.fixture
def caller(request, api, user, staff, service_key):
    match request.param:
        case "anonymous":
            return api
        case "customer":
            return api.as_user(user)
        case "staff":
            return api.as_user(staff)
        case "service":
            return api.as_service(service_key)
    return api.as_user(operator(request.param))


@pytest.mark.parametrize("caller", CALLERS, indirect=True)
@pytest.mark.parametrize("method", ["get", "post", "get one", "put", "patch", "delete"])
def test_who_is_no_admin_sees_and_changes_nothing(caller, method, request):
    coupon = CouponFactory(code="SPRING")
    before = everything()
    address = COUPONS if method in ("get", "post") else f"{COUPONS}{coupon.pk}"
    response = send(caller, method.split()[0], address, None if "get" in method else GOOD)
    anonymous = request.node.callspec.params["caller"] == "anonymous"
    refused(response, *((401, "UNAUTHENTICATED") if anonymous else (403, "FORBIDDEN")))
    assert everything() == before


@pytest.mark.parametrize("caller", ["billing-admin"], indirect=True)
def test_a_billing_admin_may(caller):
    coupon_id = caller.post(COUPONS, GOOD).json()["data"]["id"]
    assert caller.get(COUPONS).json()["data"]["count"] == 1
    assert caller.get(f"{COUPONS}{coupon_id}").json()["data"]["code"] == "SPRING"
    assert caller.put(f"{COUPONS}{coupon_id}/", {**GOOD, "percent": 20}).json()["data"]["percent"] == 20
    assert caller.patch(f"{COUPONS}{coupon_id}", {"percent": 30}).json()["data"]["percent"] == 30
    assert caller.delete(f"{COUPONS}{coupon_id}").status_code == 200
    assert not Coupon.objects.exists()


# --- what is written --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("slash", ["", "/"])
def test_a_new_coupon_has_the_defaults(client, slash):
    response = client.post(f"/api/v1/coupons{slash}", {**GOOD, "code": " sPring-25_x "})
    assert (response.status_code, response.json()["message"]) == (201, "Coupon created")
    data = response.json()["data"]
    assert b'"percent":12.5,' in response.content
    assert {name: data[name] for name in data if name not in ("id", "created_at", "updated_at")} == {
        "code": "SPRING-25_X",
        "name": "",
        "kind": "percent",
        "percent": 12.5,
        "amount": None,
        "currency": "",
        "duration": "once",
        "cycles": None,
        "starts_at": None,
        "ends_at": None,
        "max_redemptions": None,
        "redemptions": 0,
        "first_time_only": False,
        "plans": [],
        "is_active": True,
    }


def test_everything_that_a_coupon_can_have(client):
    basic, pro = PlanFactory(code="basic"), PlanFactory(code="pro")
    body = {
        **FIXED,
        "name": "Five off",
        "amount": "1.525",
        "currency": "KWD",
        "duration": "cycles",
        "cycles": 3,
        "starts_at": "2030-01-01T00:00:00Z",
        "ends_at": "2030-02-01T01:00:00+01:00",
        "max_redemptions": 100,
        "first_time_only": True,
        "plans": ["pro", str(basic.pk), "basic"],
        "is_active": False,
    }
    response = client.post(COUPONS, body)
    data = response.json()["data"]
    assert b'"amount":1.525,' in response.content
    assert data["plans"] == sorted([str(basic.pk), str(pro.pk)])
    assert (data["starts_at"], data["ends_at"]) == ("2030-01-01T00:00:00Z", "2030-02-01T00:00:00Z")
    same = ("name", "currency", "duration", "cycles", "max_redemptions", "first_time_only", "is_active")
    assert {name: data[name] for name in same} == {name: body[name] for name in same}


def test_what_was_read_can_be_put_back(client):
    coupon = CouponFactory(plans=[PlanFactory()], duration="cycles", cycles=2, max_redemptions=5)
    redeem(coupon)
    before = everything()
    read = client.get(f"{COUPONS}{coupon.pk}").json()["data"]
    assert client.put(f"{COUPONS}{coupon.pk}", read).json()["data"] == read
    # Nothing changed, so nothing was written.
    assert everything() == before


def test_put_replaces_and_patch_changes_what_it_names(client):
    coupon = CouponFactory(code="SPRING", name="Old", plans=[PlanFactory()], max_redemptions=5, is_active=False)
    assert client.patch(f"{COUPONS}{coupon.pk}", {"name": "New"}).json()["data"]["max_redemptions"] == 5
    data = client.put(f"{COUPONS}{coupon.pk}", GOOD).json()["data"]
    assert (data["name"], data["plans"], data["max_redemptions"], data["is_active"]) == ("", [], None, True)


def test_another_kind_drops_what_belonged_to_the_first(client):
    coupon = CouponFactory(duration="cycles", cycles=3)
    address = f"{COUPONS}{coupon.pk}"
    data = client.patch(address, {"kind": "fixed", "amount": 5, "currency": "USD", "duration": "forever"}).json()[
        "data"
    ]
    assert (data["percent"], data["amount"], data["currency"], data["cycles"]) == (None, 5, "USD", None)
    data = client.patch(address, {"kind": "percent", "percent": 100}).json()["data"]
    assert (data["percent"], data["amount"], data["currency"]) == (100, None, "")


def test_every_change_is_audited(client, admin):
    PlanFactory(code="pro")
    ends = datetime(2030, 1, 1, tzinfo=UTC)
    coupon_id = client.post(COUPONS, FIXED).json()["data"]["id"]
    client.patch(f"{COUPONS}{coupon_id}", {"amount": 6, "plans": ["pro"], "ends_at": ends.isoformat(), "name": ""})
    client.delete(f"{COUPONS}{coupon_id}")
    created, updated, deleted = AuditEntry.objects.order_by("pk")
    assert {(row.actor, row.subject_type, str(row.subject_id)) for row in (created, updated, deleted)} == {
        (f"user:{admin.pk}", "coupon", coupon_id)
    }
    assert (created.action, created.data["code"], created.data["amount"]) == ("coupon.created", "FIVE", "5")
    assert (updated.action, updated.data) == (
        "coupon.updated",
        {"amount": ["5", "6"], "plans": [[], ["pro"]], "ends_at": [None, "2030-01-01T00:00:00+00:00"]},
    )
    assert (deleted.action, deleted.data) == ("coupon.deleted", {"code": "FIVE"})


def test_a_key_makes_one_coupon_of_two_posts(client):
    answers = [client.post(COUPONS, GOOD, headers={"Idempotency-Key": "one"}) for _ in range(2)]
    assert [answer.status_code for answer in answers] == [201, 201]
    assert Coupon.objects.count() == 1


def test_lists_are_constant_in_queries(client):
    def asked():
        with CaptureQueriesContext(connection) as queries:
            assert client.get(COUPONS).status_code == 200
        return len(queries)

    CouponFactory(plans=[PlanFactory()])
    with_one = asked()
    for _ in range(5):
        CouponFactory(plans=[PlanFactory(), PlanFactory()])
    assert asked() == with_one


def test_a_list_is_by_code_in_pages_and_filtered(client):
    for code in ("BBB", "AAA", "CCC"):
        CouponFactory(code=code, is_active=code != "AAA")
    page = client.get(f"{COUPONS}?page_size=2").json()["data"]
    assert [row["code"] for row in page["results"]] == ["AAA", "BBB"]
    assert [row["code"] for row in client.get(page["next"]).json()["data"]["results"]] == ["CCC"]
    for query, codes in (("code=BBB", ["BBB"]), ("is_active=false", ["AAA"]), ("kind=fixed", [])):
        assert [row["code"] for row in client.get(f"{COUPONS}?{query}").json()["data"]["results"]] == codes
    assert client.get(f"{COUPONS}?fields=code").json()["data"]["results"][0] == {"code": "AAA"}


@pytest.mark.parametrize("key", ["0198c0de-0000-7000-8000-000000000000", "SPRING"])
def test_what_is_not_there_is_404(client, key):
    CouponFactory(code="SPRING")
    before = everything()
    for method in ("get", "put", "patch", "delete"):
        refused(send(client, method, f"{COUPONS}{key}", GOOD if method != "get" else None), 404, "NOT_FOUND")
    assert everything() == before


# --- what is refused --------------------------------------------------------------------------------------------------


BAD = [
    *(("code", value) for value in ("", "A", "x" * 51, "a b", "ÄÖ", "ſave", "SAVE%", "taken", None, [])),
    *(("name", value) for value in ("x" * 101, None, [])),
    *(("kind", value) for value in ("Percent", "", None, 1)),
    *(("percent", value) for value in (0, -1, 100.0001, 10.00001, "1e1", "NaN", "ten", True, None, [])),
    *(("currency", value) for value in ("usd", "ZZZ", "US", "USDX", None, [])),
    *(("duration", value) for value in ("always", "", None)),
    *(("cycles", value) for value in (0, -1, 1.5, 32768, "x", 3)),  # 3: only with duration=cycles
    *(("max_redemptions", value) for value in (0, -1, 1.5, 2**31, "x")),
    *(("starts_at", value) for value in ("yesterday", 5, "2030-13-01T00:00:00Z")),
    *(("ends_at", value) for value in ("tomorrow", "2029-12-31T23:59:59Z", "2030-01-01T00:00:00Z")),
    *(("first_time_only", value) for value in ("perhaps", None, [])),
    *(("is_active", value) for value in ("perhaps", None, [])),
    *(("plans", value) for value in ("pro", None, {}, ["nowhere"], ["0198c0de-0000-7000-8000-000000000000"], [[]])),
    ("plans", ["pro"] * 201),
    ("amount", 5),
    ("currency", "USD"),
]


@pytest.mark.parametrize(("field", "value"), BAD)
def test_a_bad_value_names_its_field(client, field, value):
    PlanFactory(code="pro")
    CouponFactory(code="TAKEN")
    coupon = CouponFactory(code="MINE", starts_at=datetime(2030, 1, 1, tzinfo=UTC))
    before = everything()
    body = {**GOOD, "starts_at": "2030-01-01T00:00:00Z", field: value}
    for response in (client.post(COUPONS, body), client.patch(f"{COUPONS}{coupon.pk}", {field: value})):
        assert list(refused(response)) == [field]
    assert everything() == before


@pytest.mark.parametrize("value", [0, -1, 5.001, 10**15, "1e3", "5 USD", True, None, []])
def test_a_bad_amount(client, value):
    coupon = CouponFactory(kind="fixed", amount=Decimal(5), currency="USD")
    before = everything()
    for response in (
        client.post(COUPONS, {**FIXED, "amount": value}),
        client.patch(f"{COUPONS}{coupon.pk}", {"amount": value}),
    ):
        assert list(refused(response)) == ["amount"]
    assert everything() == before


@pytest.mark.parametrize(
    ("body", "details"),
    [
        ({**FIXED, "currency": "JPY", "amount": 1.5}, {"amount": ["JPY has 0 decimals"]}),
        ({"code": "AB", "kind": "fixed"}, {"currency": ["An amount of which currency?"], "amount": ["How much?"]}),
        ({**FIXED, "percent": 5}, {"percent": ["A coupon of a fixed amount has none"]}),
        ({"code": "AB", "kind": "percent"}, {"percent": ["How many percent?"]}),
        ({**GOOD, "duration": "cycles"}, {"cycles": ["For how many cycles?"]}),
        ({**GOOD, "duration": "forever", "cycles": 2}, {"cycles": ["Only with the duration 'cycles'"]}),
        (
            {**GOOD, "starts_at": "2030-01-02T00:00:00Z", "ends_at": "2030-01-01T00:00:00Z"},
            {"ends_at": ["It ends after it starts"]},
        ),
        ({**GOOD, "max_redemption": 5}, {"max_redemption": ["There is no such field"]}),
        ({**GOOD, "kind": "amount"}, {"kind": ["One of: percent, fixed"]}),
        ({}, {"code": ["This field is required."], "kind": ["This field is required."]}),
    ],
)
def test_values_that_do_not_fit_together(client, body, details):
    before = everything()
    assert refused(client.post(COUPONS, body)) == details
    assert everything() == before


def test_all_faults_at_once(client):
    details = refused(client.post(COUPONS, {"code": "!", "kind": "percent", "percent": 101, "max_redemptions": 0}))
    # The last is a matter of shape, and told before the service is asked.
    assert set(details) == {"max_redemptions"}
    assert set(refused(client.post(COUPONS, {"code": "!", "kind": "percent", "percent": 101}))) == {"code", "percent"}


@pytest.mark.parametrize("status", ["reserved", "active", "ended", "released"])
def test_once_redeemed_its_terms_stay(client, status):
    coupon = CouponFactory(duration="cycles", cycles=3)
    redeem(coupon, status)
    before = everything()
    address = f"{COUPONS}{coupon.pk}"
    told = ["It has been redeemed: this cannot change any more"]
    assert refused(client.patch(address, {"percent": 11, "cycles": 4, "name": "New"})) == {
        "percent": told,
        "cycles": told,
    }
    assert refused(client.patch(address, {"duration": "once"})) == {"duration": told, "cycles": told}
    details = refused(client.patch(address, {"kind": "fixed", "amount": 5, "currency": "USD"}))
    assert set(details) == {"kind", "percent", "amount", "currency"}
    assert everything() == before
    changes = {"name": "New", "code": "NEW", "is_active": False, "ends_at": "2030-01-01T00:00:00Z", "percent": 10}
    assert client.patch(address, changes).json()["data"]["code"] == "NEW"


def test_the_terms_that_stay_are_those_of_an_invoice():
    columns = {"kind", "percent", "amount", "currency", "duration", "cycles"}
    assert set(FIXED_ONCE_REDEEMED) == columns


def test_once_redeemed_it_can_be_for_more_plans_but_not_for_fewer(client):
    basic, pro = PlanFactory(code="basic"), PlanFactory(code="pro")
    limited, general = CouponFactory(plans=[basic]), CouponFactory()
    for coupon in (limited, general):
        redeem(coupon)
    before = everything()
    told = {"plans": ["It has been redeemed: it can be for more plans, not for fewer"]}
    for coupon, plans in ((limited, ["pro"]), (general, ["basic", "pro"])):
        assert refused(client.patch(f"{COUPONS}{coupon.pk}", {"plans": plans})) == told
    assert everything() == before
    data = client.patch(f"{COUPONS}{limited.pk}", {"plans": ["basic", "pro"]}).json()["data"]
    assert data["plans"] == sorted([str(basic.pk), str(pro.pk)])
    assert client.patch(f"{COUPONS}{limited.pk}", {"plans": []}).json()["data"]["plans"] == []


def test_the_maximum_is_not_below_what_was_redeemed(client):
    coupon = CouponFactory(max_redemptions=5)
    redeem(coupon)
    redeem(coupon)
    before = everything()
    address = f"{COUPONS}{coupon.pk}"
    assert refused(client.patch(address, {"max_redemptions": 1})) == {
        "max_redemptions": ["It has been redeemed 2 times"]
    }
    assert everything() == before
    assert client.patch(address, {"max_redemptions": 2}).json()["data"]["max_redemptions"] == 2


@pytest.mark.parametrize("status", ["reserved", "active", "ended", "released"])
def test_a_redeemed_coupon_is_deactivated_instead_of_deleted(client, status):
    coupon = CouponFactory()
    row = redeem(coupon, status)
    response = client.delete(f"{COUPONS}{coupon.pk}")
    assert (response.status_code, response.json()["message"]) == (200, "Coupon deactivated: it has been redeemed")
    assert response.json()["data"]["is_active"] is False
    row.refresh_from_db()
    assert row.status == status
    assert AuditEntry.objects.get().data == {"is_active": [True, False]}


def test_a_plan_with_coupons_of_its_own_is_not_deleted(client):
    plan = PlanFactory(code="pro")
    coupon = CouponFactory(code="SPRING", plans=[plan])
    before = everything()
    assert refused(client.delete("/api/v1/plans/pro"), 409, "PLAN_IN_USE") == {"coupons": ["SPRING"]}
    assert everything() == before
    client.delete(f"{COUPONS}{coupon.pk}")
    assert client.delete("/api/v1/plans/pro").status_code == 200
