"""A whole subscription of PayFlow's at a Stripe played by others: localstripe's own webhooks come to our web server by HTTP.

It goes through Stripe Billing, as accounts without Checkout do. localstripe cannot play the rest:

- Checkout Sessions, so that there is no page: the app's own form has made the PaymentMethod before it subscribes;
- `setup_future_usage`, without which a payment keeps no method: the mode in which PayFlow charges has no renewals there;
- time: each subscription stays in its first period, until its operator moves it on and bills it;
- webhooks of refunds and of changed subscriptions: the answers to our calls tell of those. Events have the shape of 2017.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest

from payflow.core import clock
from payflow.core.registry import registered
from payments.models import PaymentTransaction
from payments.services.ledger_check import ledger_check_run
from plans.models import PlanProviderRef
from providers import registry
from providers.base import SubStatus
from subscriptions.models import Checkout, ProviderCommand, Status, Subscription
from tests.conftest import Api
from tests.factories import ApiKeyFactory, PlanFactory
from tests.flows import charges, fresh, invoices, ledger, periods
from tests.live.stack import eventually
from tests.providers.localstripe_support import Localstripe, needs_localstripe
from tests.providers.stripe_support import settings as stripe_settings
from webhooks.models import InboundEvent

pytestmark = [needs_localstripe, pytest.mark.django_db(transaction=True)]

ADAPTER = "tests.providers.localstripe_support:StripeWithForm"
HOUR = timedelta(hours=1)


@pytest.fixture
def stripe(live_server: Any, settings: Any) -> Iterator[Localstripe]:
    """localstripe, configured as the provider `stripe`; its webhooks go to the live server."""
    running = Localstripe()
    running.delivers_to(f"{live_server.url}/webhooks/stripe")
    found = stripe_settings(running.origin, mode="billing", legacy_plans=True, answer_seconds=10)
    settings.PAYFLOW_BASE_URL = live_server.url
    settings.PAYFLOW_PROVIDERS = {**settings.PAYFLOW_PROVIDERS, "stripe": {"adapter": ADAPTER, **found}}
    yield running
    running.stop()


@pytest.fixture
def plan(stripe: Localstripe) -> Any:
    made = PlanFactory(code="premium", price=Decimal("6.99"))
    PlanProviderRef.objects.create(plan=made, provider="stripe", ref=stripe.plan(cents=699))
    return made


def sweep(*names: str) -> None:
    for name in names:
        registered.sweeps[name].run(now=clock.now(), wall=clock.wall())


def told(subscription: Subscription, is_so: Callable[[Subscription], bool], what: str) -> Subscription:
    """The row once the webhooks that have come by now make it so."""

    def look() -> bool:
        # News that overtook what it is about wait for minutes: by real time, as a worker would find them later.
        registered.sweeps["webhooks_inbound"].run(now=clock.now(), wall=clock.wall() + HOUR)
        return is_so(fresh(subscription))

    eventually(look, what, seconds=15)
    row: Subscription = fresh(subscription)
    return row


def is_handled(type_: str) -> bool:
    handled = InboundEvent.objects.filter(status="processed")
    return type_ in {json.loads(bytes(event.body))["type"] for event in handled}


def test_it_is_bought_renewed_refunded_and_cancelled(stripe: Localstripe, user: Any, plan: Any) -> None:
    api = Api().as_user(user)

    # create: the attempt is committed, then made at Stripe; nothing is granted before its money is heard of
    answer = api.post("/api/v1/subscriptions/", {"plan_id": plan.code, "provider": "stripe"})
    assert answer.status_code == 201, answer.content
    checkout = Checkout.objects.select_related("subscription").get()
    subscription = checkout.subscription
    assert (subscription.status, checkout.status, answer.json()["data"]["checkout_url"]) == ("pending", "open", "")

    # pay: its webhooks activate what was begun
    sub = subscription.provider_sub_id
    row = told(subscription, lambda row: row.status == Status.ACTIVE, "the first payment's webhook")
    assert (row.provider, row.provider_sub_id, fresh(checkout).status) == ("stripe", sub, "paid")
    start, end = row.start_date, row.end_date
    assert timedelta(days=27) < end - start < timedelta(days=32)
    assert api.get("/api/v1/subscriptions/me").json()["data"]["status"] == "active"
    [first] = PaymentTransaction.objects.all()
    assert (first.amount, first.currency, first.provider_txn_id[:3]) == (Decimal("6.99"), "USD", "in_")

    # renew: Stripe bills, we hear of it
    clock.move_to(end + HOUR)
    sweep("subscriptions_due")
    assert fresh(row).status == Status.ACTIVE, "a day is given to the provider"
    stripe.bills_next_period(sub)
    row = told(row, lambda row: row.end_date > end, "the renewal's webhook")
    assert (row.status, periods(row)) == (Status.ACTIVE, [(start, end), (end, row.end_date)])
    assert charges(row) == [("completed", 1, "")] * 2
    assert [status for status in invoices(row) if status != "void"] == ["paid", "paid"]

    # refund: in two parts, of the renewal
    renewal = row.transactions.exclude(pk=first.pk).get()
    service = Api().as_service(ApiKeyFactory())
    for part in ({"amount": "2.00"}, {}):
        answer = service.post(f"/api/v1/payments/{renewal.pk}/refund", {"reason": "asked for", **part})
        assert answer.status_code in (200, 201), answer.content
    rows = row.transactions.filter(type="refund").order_by("pk").values_list("status", "amount")
    assert list(rows) == [("completed", Decimal("2.00")), ("completed", Decimal("4.99"))]
    assert (fresh(renewal).status, fresh(row).status) == ("refunded", Status.ACTIVE)
    assert ledger() == {
        "provider_clearing": Decimal("6.99"),
        "refunds": Decimal("6.99"),
        "revenue": Decimal("-13.98"),
    }

    # cancel: at the period's end, as a command; then at once, which Stripe tells by its webhook
    assert api.delete(f"/api/v1/subscriptions/{row.pk}").status_code == 200
    sweep("provider_commands")
    assert registry.get("stripe").get_subscription(sub).auto_renew is False
    assert api.delete(f"/api/v1/subscriptions/{row.pk}?when=now").status_code == 200
    sweep("provider_commands")
    assert registry.get("stripe").get_subscription(sub).status is SubStatus.EXPIRED
    kinds = ProviderCommand.objects.order_by("pk").values_list("kind", "status")
    assert list(kinds) == [("cancel", "confirmed"), ("cancel_now", "confirmed")]
    row = told(row, lambda _: is_handled("customer.subscription.deleted"), "the end's webhook")
    assert row.status == Status.CANCELLED
    assert api.get("/api/v1/subscriptions/me").status_code == 404
    assert not InboundEvent.objects.exclude(status__in=["processed", "ignored"]).exists()
    assert ledger_check_run(actor="system", wall=clock.wall()).faults == []
