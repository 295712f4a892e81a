"""What is bought in the app: attached by its token, acknowledged, renewed, changed on the store's own page only."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest

from payflow.core import clock
from payments.models import PaymentTransaction
from providers import registry
from subscriptions.models import ProviderCommand, Status, Subscription
from subscriptions.services.reconciliation import feeds_sweep
from tests.conftest import Api
from tests.factories import UserFactory
from tests.flows import charges, fresh, nothing_changes, refused, steps
from tests.providers.sandbox_sold import DAY, HOUR, MONTHS, STORE, Sold
from tests.providers.sandbox_sold import shop as shop
from tests.providers.sandbox_sold import sold as sold
from tests.providers.sandbox_support import press

pytestmark = pytest.mark.django_db(transaction=True)


def test_a_purchase_is_attached_and_acknowledged(sold: Sold, user: Any) -> None:
    token = sold.purchase()  # the app named nobody

    answer = sold.attach(user, token)

    assert answer.status_code == 201, answer.content
    bought = Subscription.objects.get()
    assert (bought.status, bought.provider, bought.user) == (Status.ACTIVE, STORE, user)
    assert bought.end_date.date() == MONTHS[1].date()
    assert sold.state(bought).unacknowledged
    sold.work()
    assert ProviderCommand.objects.get().status == "confirmed"
    assert not sold.state(bought).unacknowledged
    [invoice] = bought.invoices.all()
    assert (invoice.total, invoice.number) == (Decimal("5.49"), None), "the store is the seller"


def test_the_store_tells_of_a_purchase_whose_buyer_the_app_named(sold: Sold, user: Any) -> None:
    token = sold.purchase(user)
    sold.work()

    bought = Subscription.objects.get()
    assert (bought.status, bought.user) == (Status.ACTIVE, user)
    assert sold.attach(user, token).status_code == 200
    assert len(charges(bought)) == 1


def test_a_purchase_is_attached_once(sold: Sold, user: Any) -> None:
    token, somebody = sold.purchase(), UserFactory()
    sold.attach(user, token)

    assert sold.attach(user, token).status_code == 200
    with nothing_changes():
        assert sold.attach(somebody, token).status_code == 409

    [bought] = Subscription.objects.all()
    assert (bought.user, len(charges(bought)), len(steps(bought))) == (user, 1, 1)


@pytest.mark.parametrize("token", ["nothing-of-the-stores", "a/b c", "\u00e4"])
def test_a_token_that_the_store_does_not_know(sold: Sold, user: Any, token: str) -> None:
    with nothing_changes():
        details = refused(sold.attach(user, token), 400, "VALIDATION_ERROR")
    assert list(details) == ["purchase_token"]


def test_a_test_purchase_counts_where_the_settings_say_so(sold: Sold, user: Any, settings: Any) -> None:
    token = sold.purchase(test=True)
    with nothing_changes():
        refused(sold.attach(user, token), 400, "VALIDATION_ERROR")

    store = {**settings.PAYFLOW_PROVIDERS[STORE], "test_mode": True}
    settings.PAYFLOW_PROVIDERS = {**settings.PAYFLOW_PROVIDERS, STORE: store}
    assert sold.attach(user, token).status_code == 201


def test_it_is_cancelled_on_the_stores_page_only(sold: Sold, user: Any) -> None:
    bought = sold.attached(user)
    with nothing_changes():
        answer = Api().as_user(user).delete(f"/api/v1/subscriptions/{bought.pk}")
        url = refused(answer, 409, "PROVIDER_MANAGED")["manage_url"]
    assert url == registry.get(STORE).manage_url(bought.provider_sub_id)

    assert press(url, wish="cancel").status == 200
    sold.work()

    assert fresh(bought).auto_renew is False
    sold.until(bought.end_date + HOUR)
    assert fresh(bought).status == Status.EXPIRED


def test_it_is_not_bought_on_a_page(sold: Sold, user: Any) -> None:
    with nothing_changes():
        answer = sold.shop.subscribe(user, sold.plans["basic"], provider=STORE)
        assert list(refused(answer, 400, "VALIDATION_ERROR")) == ["provider"]


def test_it_renews(sold: Sold, user: Any) -> None:
    bought = sold.attached(user)
    sold.until(bought.end_date + HOUR)
    assert (fresh(bought).status, fresh(bought).end_date.date()) == (Status.ACTIVE, MONTHS[2].date())


def test_what_nobody_acknowledges_is_refunded_and_revoked_after_three_days(sold: Sold, user: Any) -> None:
    sold.purchase(user)
    sold.shop.drain()
    bought = Subscription.objects.get()
    sold.shop.at(MONTHS[0] + 3 * DAY + HOUR)

    sold.shop.sweep("sandbox_subscriptions")
    sold.shop.drain()

    assert fresh(bought).status == Status.CANCELLED
    refund = PaymentTransaction.objects.get(type="refund")
    assert (refund.status, refund.amount) == ("completed", Decimal("5.49"))


def test_the_store_takes_a_purchase_back(sold: Sold, user: Any, admin: Any) -> None:
    bought = sold.attached(user)
    charge = PaymentTransaction.objects.get(subscription=bought, type="charge")
    with nothing_changes():
        answer = Api().as_user(admin).post(f"/api/v1/payments/{charge.pk}/refund", {"reason": "asked"})
        refused(answer, 409, "REFUND_NOT_SUPPORTED")

    sold.told(bought, "take-back")

    assert fresh(bought).status == Status.CANCELLED
    assert PaymentTransaction.objects.get(type="refund").amount == charge.amount


def test_the_store_gives_time(sold: Sold, user: Any) -> None:
    bought = sold.attached(user)

    sold.told(bought, "extend", days=5)

    assert fresh(bought).end_date == bought.end_date + 5 * DAY
    sold.until(bought.end_date + 5 * DAY + HOUR)
    assert fresh(bought).status == Status.ACTIVE
    assert len(charges(bought)) == 2


def test_an_upgrade_in_the_app_takes_over(sold: Sold, user: Any) -> None:
    token = sold.purchase(user)
    sold.attach(user, token)
    sold.work()
    sold.until(MONTHS[0] + 10 * DAY)

    sold.attach(user, sold.purchase(user, "gold", replaces=token))
    sold.work()

    [bought] = Subscription.objects.all()
    assert (bought.status, bought.plan) == (Status.ACTIVE, sold.plans["gold"])
    sold.until(bought.end_date + HOUR)
    assert fresh(bought).status == Status.ACTIVE
    assert [row[0] for row in charges(bought)] == ["completed"] * 3


def test_a_declined_purchase_leaves_nothing(sold: Sold) -> None:
    wish = {"product_ref": "basic_monthly", "behaviour": "decline"}
    status, answer = sold.api(STORE, "POST", "purchases", wish, key="declined")
    assert (status, answer["code"]) == (402, "declined")
    assert list(registry.get(STORE).missed_events(since=clock.wall() - DAY, until=clock.wall() + DAY)) == []


def test_what_the_app_bought_while_all_news_were_lost_is_in_the_feed(sold: Sold, user: Any) -> None:
    sold.fault(STORE, "lose")
    sold.purchase(user)
    sold.work()
    assert not Subscription.objects.exists()

    feeds_sweep(now=sold.shop.now, wall=clock.wall() + timedelta(hours=1))

    assert Subscription.objects.get().status == Status.ACTIVE
