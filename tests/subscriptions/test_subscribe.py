"""POST /subscriptions/: what is started, what is resumed, and what a refused one leaves behind: nothing."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal

import pytest
from django.db import transaction

from payments.models import Invoice, TaxRate
from plans.models import PlanPrice
from providers.sandbox.models import SandboxCheckout
from subscriptions.locks import subscription_lock
from subscriptions.models import Checkout, Status, Subscription
from subscriptions.services.subscribe import subscription_create
from subscriptions.state import subscription_update
from tests.conftest import Api
from tests.factories import ApiKeyFactory, PlanFactory, UserFactory
from tests.flows import START, fresh, invoices, ledger, nothing_changes, paid, refused, steps
from tests.races import Race

URL = "/api/v1/subscriptions/"


@pytest.fixture
def plan(db):
    return PlanFactory(code="basic")


@pytest.fixture
def free(db):
    return PlanFactory(code="free", price=Decimal(0))


def test_a_free_plan_is_active_at_once_and_the_same_again_changes_nothing(api, user, free):
    client = api.as_user(user)

    first = client.post(URL, {"plan_id": "free"})

    assert (first.status_code, first.json()["data"]["checkout_url"]) == (201, None)
    body = first.json()["data"]["subscription"]
    assert (body["status"], body["end_date"], body["amount"]) == ("active", None, 0)
    with nothing_changes():
        again = client.post(URL, {"plan_id": str(free.pk)})
    assert (again.status_code, again.json()["data"]["subscription"]["id"]) == (200, body["id"])
    assert Invoice.objects.count() == 0
    assert ledger() == {}


def test_another_free_plan_replaces_the_free_one(api, user, free):
    client, other = api.as_user(user), PlanFactory(price=Decimal(0))
    old = client.post(URL, {"plan_id": "free"}).json()["data"]["subscription"]["id"]

    new = client.post(URL, {"plan_id": other.code}).json()["data"]["subscription"]

    assert (new["plan_code"], new["status"]) == (other.code, "active")
    assert steps(Subscription.objects.get(pk=old)) == [("active", "subscribed"), ("expired", "replaced")]


def test_a_paid_live_subscription_refuses_another(api, user, plan, free):
    subscription, _ = paid(user, plan)
    client = api.as_user(user)

    for code in ("basic", "free"):
        with nothing_changes():
            details = refused(client.post(URL, {"plan_id": code}), 409, "ALREADY_SUBSCRIBED")
        assert details == {"subscription_id": str(subscription.pk), "plan_id": str(plan.pk)}


@pytest.mark.parametrize(
    ("body", "code", "field"),
    [
        ({"plan_id": "nosuch"}, "VALIDATION_ERROR", "plan_id"),
        ({"plan_id": "00000000-0000-4000-8000-000000000000"}, "VALIDATION_ERROR", "plan_id"),
        ({"plan_id": "inactive"}, "VALIDATION_ERROR", "plan_id"),
        ({"plan_id": None}, "VALIDATION_ERROR", "plan_id"),
        ({"plan_id": ["basic"]}, "VALIDATION_ERROR", "plan_id"),
        ({}, "VALIDATION_ERROR", "plan_id"),
        ({"provider": "nosuch"}, "VALIDATION_ERROR", "provider"),
        ({"provider": ""}, "VALIDATION_ERROR", "provider"),
        ({"currency": "usd"}, "VALIDATION_ERROR", "currency"),
        ({"currency": "EUR"}, "UNSUPPORTED_CURRENCY", "currency"),
        ({"currency": "ZZZ"}, "UNSUPPORTED_CURRENCY", None),
        ({"currency": "CHF", "provider": "lava"}, "UNSUPPORTED_CURRENCY", "currency"),
        ({"success_url": "javascript:alert(1)"}, "VALIDATION_ERROR", "success_url"),
        ({"success_url": "//evil.example/"}, "VALIDATION_ERROR", "success_url"),
        ({"success_url": "http://"}, "VALIDATION_ERROR", "success_url"),
        ({"success_url": "http://[half"}, "VALIDATION_ERROR", "success_url"),
        ({"success_url": "https://shop.example/a\nb"}, "VALIDATION_ERROR", "success_url"),
        ({"success_url": "https://shop.example\\@evil.example/"}, "VALIDATION_ERROR", "success_url"),
        ({"cancel_url": "ftp://shop.example/"}, "VALIDATION_ERROR", "cancel_url"),
        ({"cancel_url": "https://shop.example/" + "x" * 2000}, "VALIDATION_ERROR", "cancel_url"),
        ({"user_id": "me"}, "VALIDATION_ERROR", "user_id"),
    ],
    ids=str,
)
def test_a_bad_request_is_refused_and_leaves_nothing(api, user, plan, body, code, field):
    PlanFactory(code="inactive", is_active=False)
    PlanPrice.objects.create(plan=plan, currency="CHF", amount=Decimal(9))  # which Lava's account doesn't sell in
    body = {"plan_id": "basic", **body} if body else body

    with nothing_changes():
        details = refused(api.as_user(user).post(URL, body), 400, code)
    if field:
        assert list(details) == [field]


@pytest.mark.parametrize(
    "raw", ['{"plan_id": NaN}', '{"plan_id": "basic"', "[]", '"basic"', "\x00", '{"plan_id": 1e999}']
)
def test_what_is_no_json_object_is_refused(api, user, plan, raw):
    with nothing_changes():
        answer = api.as_user(user).generic("POST", URL, raw, content_type="application/json")
        refused(answer, 400, "VALIDATION_ERROR")


def test_a_customer_names_nobody_else_and_a_service_names_somebody(api, user, other_user, service_key, free):
    service, reader = api.as_service(service_key), api.as_service(ApiKeyFactory(scopes=["read", "usage", "refunds"]))
    closed = UserFactory(is_active=False)

    with nothing_changes():
        refused(api.post(URL, {"plan_id": "free"}), 401, "UNAUTHENTICATED")
        refused(api.as_user(user).post(URL, {"plan_id": "free", "user_id": str(other_user.pk)}), 403, "FORBIDDEN")
        refused(reader.post(URL, {"plan_id": "free", "user_id": str(user.pk)}), 403, "FORBIDDEN")
        for whom in ({}, {"user_id": "00000000-0000-4000-8000-000000000000"}, {"user_id": str(closed.pk)}):
            assert list(refused(service.post(URL, {"plan_id": "free", **whom}), 400, "VALIDATION_ERROR")) == ["user_id"]

    made = service.post(URL, {"plan_id": "free", "user_id": str(user.pk)})

    assert (made.status_code, made.json()["data"]["subscription"]["user_id"]) == (201, str(user.pk))
    assert api.as_user(user).get(f"{URL}me").json()["data"]["id"] == made.json()["data"]["subscription"]["id"]


def test_a_pending_purchase_is_resumed_and_another_plan_supersedes_it(shop, user):
    basic, better = PlanFactory(), PlanFactory(price=Decimal("20.00"))

    # when the same plan is asked for twice
    first, again = shop.subscribe(user, basic), shop.subscribe(user, basic)

    # then it is one subscription, one checkout, one page
    assert (first.status_code, again.status_code) == (201, 200)
    assert first.json()["data"]["checkout"] == again.json()["data"]["checkout"]
    assert SandboxCheckout.objects.count() == 1
    old = Subscription.objects.get()
    assert (old.status, old.end_date, invoices(old)) == ("pending", old.start_date, ["draft"])
    me = Api().as_user(user).get(f"{URL}me").json()["data"]
    assert (me["status"], me["checkout"]["url"]) == ("pending", first.json()["data"]["checkout_url"])

    # when another plan is asked for
    checkout = shop.checkout(user, better)

    # then the first one is gone, with nothing owed
    assert (fresh(old).status, invoices(old), fresh(old).next_action_at) == ("cancelled", ["void"], None)
    assert old.checkouts.get().status == "superseded"
    assert (checkout.subscription.status, checkout.amount) == ("pending", 20)
    # and an expired one isn't resumed
    shop.at(START + timedelta(hours=25))
    third = shop.checkout(user, better)
    assert third.pk != checkout.pk
    assert ledger() == {}


def test_a_free_subscription_lasts_until_the_paid_one_is_active(shop, user):
    free = PlanFactory(price=Decimal(0))
    shop.subscribe(user, free)
    old = Subscription.objects.get()
    checkout = shop.checkout(user, PlanFactory())
    me = Api().as_user(user).get(f"{URL}me").json()["data"]
    assert (me["id"], me["pending"]["id"]) == (str(old.pk), str(checkout.subscription_id))

    shop.pay(checkout)

    assert steps(old) == [("active", "subscribed"), ("expired", "replaced")]
    assert (fresh(old).is_live, fresh(checkout.subscription).status) == (False, "active")
    assert Api().as_user(user).get(f"{URL}me").json()["data"]["id"] == str(checkout.subscription_id)


def test_a_free_subscription_makes_way_for_a_trial(shop, user):
    shop.subscribe(user, PlanFactory(price=Decimal(0)))
    old = Subscription.objects.get()

    checkout = shop.checkout(user, PlanFactory(trial_days=7))
    shop.pay(checkout)

    assert fresh(checkout.subscription).status == "trial"
    assert steps(old) == [("active", "subscribed"), ("expired", "replaced")]


def test_no_answer_keeps_the_attempt_and_the_next_one_resumes_it(shop, user):
    plan, key = PlanFactory(), {"Idempotency-Key": "buy-1"}
    client = Api().as_user(user)
    shop.unreachable()

    details = refused(client.post(URL, {"plan_id": plan.code}, headers=key), 503, "PROVIDER_UNAVAILABLE")

    checkout = Checkout.objects.get()
    assert (details, checkout.status, checkout.url) == ({"checkout_id": str(checkout.pk)}, "unknown", "")
    assert (Subscription.objects.get().status, Invoice.objects.get().status) == ("pending", "draft")
    shop.reachable()
    resumed = client.post(URL, {"plan_id": plan.code}, headers=key)
    assert resumed.status_code == 200
    assert resumed.json()["data"]["checkout"]["id"] == str(checkout.pk)
    assert (Checkout.objects.get().status, SandboxCheckout.objects.count()) == ("open", 1)


@pytest.mark.parametrize("fault", ["timeout", "timeout_after", "500"])
def test_lava_without_an_answer_is_asked_again_for_the_same_order(shop, user, fault):
    plan = PlanFactory()
    shop.lava.fail_creates(fault, seconds=2)

    refused(shop.subscribe(user, plan, provider="lava"), 503, "PROVIDER_UNAVAILABLE")
    checkout = shop.checkout(user, plan, provider="lava")

    assert (Checkout.objects.count(), Subscription.objects.count(), checkout.status) == (1, 1, "open")
    made = [each.order_id for each in shop.lava.invoices.values()]
    assert made == [f"sub_{checkout.order_ref}"] * (2 if fault == "timeout_after" else 1)
    # whichever of Lava's invoices is paid, it activates; a second one is kept and grants nothing
    for invoice_id in list(shop.lava.invoices):
        shop.lava.pay(invoice_id)
    shop.drain()
    assert fresh(checkout.subscription).status == Status.ACTIVE
    unapplied = {"unapplied_payments": Decimal(-10)} if fault == "timeout_after" else {}
    assert ledger() == {"provider_clearing": 10 * len(made), "revenue": -10, **unapplied}


@pytest.mark.parametrize(("currency", "amount"), [("JPY", "690"), ("KWD", "3.125"), ("EUR", "9.50")])
def test_a_price_in_another_currency_keeps_its_digits(shop, user, currency, amount):
    plan = PlanFactory()
    PlanPrice.objects.create(plan=plan, currency=currency, amount=Decimal(amount))

    answer = shop.subscribe(user, plan, currency=currency)

    assert f'"amount":{amount},"currency":"{currency}"' in answer.content.decode().replace(": ", ":").replace(", ", ",")
    checkout = Checkout.objects.get()
    assert SandboxCheckout.objects.get().amount == Decimal(amount)
    shop.pay(checkout)
    assert ledger(currency) == {"provider_clearing": Decimal(amount), "revenue": -Decimal(amount)}
    assert ledger() == {}


def test_a_country_told_later_is_taxed_by_a_checkout_of_its_own(shop, user):
    """The same POST resumes the checkout, unless the buyer's tax is another: the first page's invoice has none."""
    TaxRate.objects.create(country="DE", name="VAT", percent=Decimal(19))
    plan = PlanFactory(price=Decimal("29.00"))
    untaxed = shop.checkout(user, plan)

    taxed = shop.checkout(user, plan, country="de")

    assert (untaxed.amount, taxed.amount) == (29, Decimal("34.51"))
    assert fresh(untaxed).status == "superseded"
    assert shop.checkout(user, plan, country="DE").pk == taxed.pk
    shop.pay(taxed)
    assert ledger() == {"provider_clearing": Decimal("34.51"), "revenue": -29, "tax": Decimal("-5.51")}


def test_a_trial_that_gets_a_method_at_the_same_moment_is_not_replaced(shop, user):
    plan = PlanFactory(trial_days=7, trial_needs_method=False)
    other = PlanFactory()
    assert shop.subscribe(user, plan).status_code == 201
    trial = Subscription.objects.get(user=user)
    race, method = Race(), shop.second_card(user)

    with transaction.atomic():
        held = subscription_lock(trial.pk)
        race.start(subscribe, user, other, shop.now)
        race.everybody_waits()
        subscription_update(held, payment_method=method)

    assert race.finish() == {"AlreadySubscribed": 1}
    assert (fresh(trial).status, fresh(trial).payment_method) == ("trial", method)


def subscribe(user, plan, now):
    return subscription_create(
        user_id=user.pk,
        plan=plan,
        provider=None,
        currency=None,
        success_url="",
        cancel_url="",
        actor="test",
        now=now,
    )
