"""What Apple's news do to a subscription of ours, and that asking Apple comes to the same end where the news never came."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from payflow.core import clock
from payments.models import PaymentTransaction
from payments.services.ledger_check import ledger_check_run
from plans.models import PlanProviderRef
from providers import registry
from subscriptions.models import BillingPeriod, ProviderDrift, Subscription
from subscriptions.services.provider_events import NotKnownYet, provider_event_apply
from subscriptions.services.reconciliation import events_apply, subscription_reconcile
from tests.emulators.apple import AppleEmulator
from tests.factories import PlanFactory, UserFactory
from tests.providers.apple_support import STORIES, config, store

pytestmark = pytest.mark.django_db(transaction=True)

PRODUCTS = {"premium.monthly": "10.99", "ultra.monthly": "19.99"}


@pytest.fixture
def apple(settings: Any) -> Iterator[AppleEmulator]:
    with store() as apple:
        settings.PAYFLOW_PROVIDERS = {
            "apple": {
                "adapter": "apple",
                **config(base_url=apple.origin, root_certificates=apple.chain.root_base64),
            }
        }
        for product, price in PRODUCTS.items():
            plan = PlanFactory(code=product, price=Decimal(price))
            PlanProviderRef.objects.create(plan=plan, provider="apple", ref=product)
        yield apple
        assert ledger_check_run(actor="system", wall=clock.wall()).faults == []


def moment(apple: AppleEmulator) -> datetime:
    return datetime.fromtimestamp(apple.now() / 1000, UTC)


def told(apple: AppleEmulator, original: str) -> list[Any]:
    """Every notification of a subscription, applied as it came; what became of each fact."""
    provider, verdicts = registry.get("apple"), []
    for delivery in apple.deliveries.sent:
        if delivery.original_id == original:
            provider.verify_webhook({}, delivery.body, clock.wall())
            for event in provider.parse_webhook({}, delivery.body):
                verdicts.append(provider_event_apply(event=event, now=event.occurred_at))
    return verdicts


def bought(apple: AppleEmulator) -> tuple[Any, str]:
    user = UserFactory()
    return user, apple.purchase("premium.monthly", 10990, app_account_token=str(user.pk)).original_id


def picture(user: Any, original: str) -> dict[str, Any]:
    """How it stands, with ids and moments relative to its own purchase."""
    subscription = Subscription.objects.get(user=user)
    begin = subscription.start_date
    assert begin is not None and subscription.provider_sub_id == original

    def after(when: datetime | None) -> int | None:
        return None if when is None else round((when - begin).total_seconds() / 60)

    rows = BillingPeriod.objects.filter(subscription=subscription, superseded_at=None).order_by("start")
    money = PaymentTransaction.objects.filter(user=user).order_by("created_at", "pk")
    return {
        "status": subscription.status,
        "auto_renew": subscription.auto_renew,
        "plan": subscription.plan.code,
        "end": after(subscription.end_date),
        "grace": after(subscription.grace_until),
        "periods": [(after(row.start), after(row.end), row.amount) for row in rows],
        "money": sorted((row.type, row.status, row.amount, row.currency) for row in money),
    }


@pytest.mark.parametrize("story", STORIES.values(), ids=STORIES)
def test_asking_comes_to_the_same_end_as_being_told(apple: AppleEmulator, story: list[tuple[str, Any]]) -> None:
    heard_user, heard = bought(apple)
    asked_user, asked = bought(apple)
    told(apple, heard)
    told(apple, asked)
    for deed, wish in story:
        for original in (heard, asked):
            apple.deed(original, deed, wish)

    told(apple, heard)
    subscription = Subscription.objects.get(user=asked_user)
    drift = subscription_reconcile(subscription_id=subscription.pk, now=moment(apple))

    assert drift is None
    assert picture(asked_user, asked) == picture(heard_user, heard)
    before = picture(asked_user, asked)
    told(apple, asked)  # the news arrive after all
    assert subscription_reconcile(subscription_id=subscription.pk, now=moment(apple)) is None
    assert picture(asked_user, asked) == before
    assert not ProviderDrift.objects.exists()


def test_time_given_in_a_period_that_nobody_heard_of_is_there_too(apple: AppleEmulator) -> None:
    """The renewal's transaction shows the later end already: one period instead of two."""
    user, original = bought(apple)
    told(apple, original)
    for deed, wish in [("renew", {}), ("extend", {"days": 9}), ("cancel", {})]:
        apple.deed(original, deed, wish)
    subscription = Subscription.objects.get(user=user)
    assert subscription_reconcile(subscription_id=subscription.pk, now=moment(apple)) is None
    days = 24 * 60
    assert picture(user, original)["periods"] == [
        (0, 30 * days, Decimal("10.9900")),
        (30 * days, 69 * days, Decimal("10.9900")),
    ]
    told(apple, original)
    assert picture(user, original)["end"] == 69 * days
    assert PaymentTransaction.objects.count() == 2


def test_a_free_offer_is_a_trial_and_its_renewal_is_paid(apple: AppleEmulator) -> None:
    user = UserFactory()
    original = apple.purchase("premium.monthly", 10990, app_account_token=str(user.pk), free=True).original_id
    told(apple, original)
    subscription = Subscription.objects.get(user=user)
    assert (subscription.status, PaymentTransaction.objects.count()) == ("trial", 0)
    apple.deed(original, "renew")
    told(apple, original)
    assert picture(user, original)["status"] == "active"
    assert [row.amount for row in PaymentTransaction.objects.all()] == [Decimal("10.99")]


def test_the_list_of_news_alone_is_enough(apple: AppleEmulator) -> None:
    user, original = bought(apple)
    apple.deed(original, "renew")
    apple.deed(original, "cancel")
    until = moment(apple) + timedelta(seconds=1)
    provider = registry.get("apple")
    assert events_apply(provider.missed_events(since=until - timedelta(days=60), until=until), now=until) == 6
    before = picture(user, original)
    assert (before["status"], before["auto_renew"], len(before["periods"])) == ("active", False, 2)
    told(apple, original)
    assert picture(user, original) == before


def test_a_purchase_of_nobody_waits(apple: AppleEmulator) -> None:
    original = apple.purchase("premium.monthly", 10990).original_id
    with pytest.raises(NotKnownYet):
        told(apple, original)
    assert not Subscription.objects.exists()


def test_the_sandbox_grants_nothing_in_a_live_service(apple: AppleEmulator) -> None:
    user = UserFactory()
    with store(environment="Sandbox") as sandbox:
        sandbox.chain = apple.chain
        sandbox.purchase("premium.monthly", 10990, app_account_token=str(user.pk))
        verdicts = told(sandbox, sandbox.deliveries.sent[0].original_id or "")
    assert {verdict.verdict.value for verdict in verdicts} == {"ignored"}
    assert not Subscription.objects.exists()


def test_what_is_kept_of_a_payment_is_json_without_a_jws(apple: AppleEmulator) -> None:
    _, original = bought(apple)
    told(apple, original)
    (charge,) = PaymentTransaction.objects.all()
    kept = json.dumps({name: value for name, value in vars(charge).items() if not name.startswith("_")}, default=str)
    assert "eyJ" not in kept
