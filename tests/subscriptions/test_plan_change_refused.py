"""Changes of plan that are refused: each with its code, and nothing is left behind."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal

import pytest
from django.contrib.auth.models import Group

from plans.models import PlanPrice
from subscriptions.models import Subscription
from tests.conftest import Api
from tests.factories import PlanFactory
from tests.flows import DAY, START, fresh, give_credit, nothing_changes, paid, periods, refused
from tests.subscriptions.february import END, TENTH, plan


def both_refused(shop, subscription, target, status, code, **body):
    """The preview and the change refuse it alike, and leave nothing behind; answers the details."""
    with nothing_changes():
        details = refused(shop.post(subscription, "preview-change", plan_id=target.code, **body), status, code)
        assert refused(shop.change(subscription, target, **body), status, code) == details
    return details


@pytest.mark.parametrize(
    ("target", "field"),
    [
        ({"is_active": False}, "plan_id"),
        ({"family": "extras"}, "plan_id"),
        ({"price": Decimal(0), "when": "now"}, "when"),
    ],
    ids=["inactive", "another family", "free now"],
)
def test_plans_that_cannot_be_had(shop, user, basic, target, field):
    subscription = shop.buy(user, basic)
    wish = {"when": target.pop("when")} if "when" in target else {}

    assert list(both_refused(shop, subscription, PlanFactory(**target), 400, "VALIDATION_ERROR", **wish)) == [field]


def test_the_plan_one_has_and_a_plan_that_nobody_knows(shop, user, basic):
    subscription = shop.buy(user, basic)

    assert list(both_refused(shop, subscription, basic, 400, "VALIDATION_ERROR")) == ["plan_id"]
    with nothing_changes():
        for unknown in ("no-such-plan", "00000000-0000-4000-8000-000000000000", ""):
            details = refused(shop.post(subscription, "change-plan", plan_id=unknown), 400, "VALIDATION_ERROR")
            assert list(details) == ["plan_id"]


def test_currencies_that_do_not_fit(shop, user, pro):
    basic = plan("29.00")
    PlanPrice.objects.create(plan=basic, currency="EUR", amount=Decimal("26.10"))
    subscription = shop.buy(user, basic, currency="EUR")

    # Pro has no price in euros, and a subscription in euros takes no dollars
    assert both_refused(shop, subscription, pro, 400, "UNSUPPORTED_CURRENCY") == {"currency": ["EUR"]}
    assert both_refused(shop, subscription, pro, 400, "UNSUPPORTED_CURRENCY", currency="USD") == {"currency": ["USD"]}


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"when": "tomorrow"}, "when"),
        ({"currency": "dollars"}, "currency"),
        ({"quoted_at": "yesterday"}, "quoted_at"),
        ({"total": -1}, "total"),
        ({"total": "much"}, "total"),
        ({"total": 19.001}, "total"),
        ({"total": 18}, "total"),
        ({"plan_code": "pro"}, "plan_code"),
        ({"price": 1}, "price"),
    ],
    ids=str,
)
def test_wishes_that_make_no_sense(shop, user, basic, pro, body, field):
    subscription = shop.buy(user, basic)
    shop.at(TENTH)
    with nothing_changes():
        assert list(refused(shop.change(subscription, pro, **body), 400, "VALIDATION_ERROR")) == [field]


@pytest.mark.parametrize("ago", [timedelta(minutes=31), timedelta(minutes=-1)], ids=["old", "of the future"])
def test_a_preview_of_another_time(shop, user, basic, pro, ago):
    subscription = shop.buy(user, basic)
    shop.at(TENTH)
    with nothing_changes():
        answer = shop.change(subscription, pro, quoted_at=(TENTH - ago).isoformat(), total=19)
        assert list(refused(answer, 400, "VALIDATION_ERROR")) == ["quoted_at"]


def test_a_preview_from_before_another_change_or_before_the_renewal(shop, user, basic, pro):
    subscription = shop.buy(user, basic)
    best = plan("87.00")
    shop.at(END - timedelta(minutes=10))
    old = shop.preview(subscription, best)["quoted_at"]
    assert shop.change(subscription, pro).status_code == 200

    with nothing_changes():
        refused(shop.change(subscription, best, quoted_at=old, total=1), 400, "VALIDATION_ERROR")

    old = shop.preview(subscription, best)["quoted_at"]
    shop.run(END)
    with nothing_changes():
        refused(shop.change(subscription, best, quoted_at=old, total=1), 400, "VALIDATION_ERROR")
    spans = periods(subscription)
    assert [end for _, end in spans[:-1]] == [start for start, _ in spans[1:]]


def test_a_total_that_credit_has_changed_meanwhile(shop, user, basic, pro):
    subscription = shop.buy(user, basic)
    shop.at(TENTH)
    preview = shop.preview(subscription, pro)
    give_credit(user, "5.00")

    with nothing_changes():
        answer = shop.change(subscription, pro, quoted_at=preview["quoted_at"], total=preview["total"])
        assert refused(answer, 400, "VALIDATION_ERROR") == {"total": ["It is 14.00 now"]}


# --- states ----------------------------------------------------------------------------------------------------------


def test_only_trial_and_active_change_plans(shop, user, basic, pro):
    subscription = shop.buy(user, basic, card="stolen")
    shop.run(END)
    assert fresh(subscription).status == "past_due"
    both_refused(shop, subscription, pro, 409, "INVALID_TRANSITION")
    shop.run(END + 7 * DAY)
    assert fresh(subscription).status == "suspended"
    both_refused(shop, subscription, pro, 409, "INVALID_TRANSITION")
    shop.run(END + 37 * DAY)
    assert fresh(subscription).status == "cancelled"
    both_refused(shop, subscription, pro, 409, "INVALID_TRANSITION")


def test_what_waits_for_its_payment_expired_or_pauses(shop, user, basic, pro):
    pending = shop.checkout(user, basic).subscription
    both_refused(shop, pending, pro, 409, "INVALID_TRANSITION")
    shop.run(START + 2 * DAY)
    assert fresh(pending).status == "expired"
    both_refused(shop, pending, pro, 409, "INVALID_TRANSITION")
    paused = shop.buy(user, basic)
    assert shop.post(paused, "pause").status_code == 200
    both_refused(shop, paused, pro, 409, "INVALID_TRANSITION")


def test_what_is_free_is_replaced_instead(shop, user, pro):
    shop.subscribe(user, plan("0.00"))
    both_refused(shop, Subscription.objects.get(), pro, 409, "INVALID_TRANSITION")


@pytest.mark.parametrize("how", ["cancelled", "not renewed"])
def test_what_will_end_and_still_runs(shop, user, basic, pro, how):
    subscription = shop.buy(user, basic)
    url = f"/api/v1/subscriptions/{subscription.pk}"
    client = Api().as_user(user)
    gone = client.delete(url) if how == "cancelled" else client.put(url, {"auto_renew": False})
    assert gone.status_code == 200
    shop.at(TENTH)

    both_refused(shop, subscription, pro, 409, "INVALID_TRANSITION")


def test_a_trial_that_would_become_free(shop, user, basic):
    checkout = shop.checkout(user, plan("29.00", trial_days=7))
    shop.pay(checkout)
    assert list(both_refused(shop, checkout.subscription, plan("0.00"), 400, "VALIDATION_ERROR")) == ["plan_id"]


def test_what_is_due(shop, user, basic, pro):
    subscription = shop.buy(user, basic)
    shop.at(END)
    both_refused(shop, subscription, pro, 409, "INVALID_TRANSITION")


def test_what_is_disputed(shop, user, basic, pro):
    subscription = shop.buy(user, basic)
    Subscription.objects.filter(pk=subscription.pk).update(disputed_at=START)
    shop.at(TENTH)
    both_refused(shop, subscription, pro, 409, "INVALID_TRANSITION")


def test_what_the_provider_renews_is_changed_there(shop, user, pro):
    checkout = shop.checkout(user, plan("29.00"), provider="lava")
    shop.pay(checkout)
    assert list(both_refused(shop, checkout.subscription, pro, 409, "PROVIDER_MANAGED")) == ["manage_url"]


# --- who asks --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("what", ["change-plan", "preview-change", "pause", "resume"])
def test_who_asks(api, user, other_user, staff, what):
    subscription, _ = paid(user, plan("29.00"))
    url = f"/api/v1/subscriptions/{subscription.pk}/{what}"
    body = {"plan_id": plan("58.00").code} if "change" in what else {}
    viewer = type(staff).objects.create_user("viewer@example.com", is_staff=True)
    viewer.groups.add(Group.objects.get(name="viewer"))
    with nothing_changes():
        refused(api.post(url, body), 401, "UNAUTHENTICATED")
        refused(api.as_user(other_user).post(url, body), 404, "NOT_FOUND")
        refused(api.as_user(staff).post(url, body), 403, "FORBIDDEN")
        refused(api.as_user(viewer).post(url, body), 403, "FORBIDDEN")
        refused(api.as_user(user).put(url, body), 405, "METHOD_NOT_ALLOWED")
