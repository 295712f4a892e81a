"""After a move: what the old provider was paid goes back there, and what it takes all the same goes back too."""

from __future__ import annotations

from decimal import Decimal

import pytest

from payflow.core.models import OutboxEvent
from payments.models import PaymentTransaction
from providers.sandbox.models import SandboxPayment
from subscriptions.models import ProviderCommand, Status
from tests.conftest import Api
from tests.factories import ApiKeyFactory
from tests.flows import DAY, NOBODY_LISTENS, charges, credit, fresh, ledger, periods
from tests.providers.sandbox_sold import BILLING, HOUR, KEYS
from tests.providers.sandbox_sold import sold as sold
from tests.providers.sandbox_support import config
from tests.subscriptions.moves_world import AFTER, END, NEXT, invited, member_of, plan, refunds, second, start, sweep

__all__ = ["plan", "second"]

pytestmark = pytest.mark.django_db(transaction=True)


def refund(shop, charge: PaymentTransaction, **body) -> None:
    answer = Api().as_service(ApiKeyFactory()).post(f"/api/v1/payments/{charge.pk}/refund", {"reason": "asked", **body})
    assert answer.status_code in (200, 201), answer.content
    shop.drain()


def given_back() -> list[tuple[Decimal, Decimal]]:
    """Amount and refund of what the sandbox's own books have taken."""
    return list(SandboxPayment.objects.order_by("pk").values_list("amount", "refunded"))


def test_the_old_providers_charge_is_refunded_there_and_the_new_period_runs_on(shop, user, plan):
    subscription, link = invited(shop, user, plan)
    shop.pay(link)
    shop.run(END)
    old = subscription.transactions.get(provider="sandbox")

    refund(shop, old, amount="9.00")
    refund(shop, fresh(old))

    assert refunds() == [("sandbox", "completed", 9), ("sandbox", "completed", 20)]
    assert given_back() == [(29, 29), (29, 0)]
    row = fresh(subscription)
    assert (row.status, row.provider, row.end_date) == (Status.ACTIVE, "second", NEXT)
    shop.run(NEXT)
    assert (fresh(row).status, fresh(row).end_date) == (Status.ACTIVE, AFTER)
    assert ledger() == {"provider_clearing": 58, "refunds": 29, "revenue": -87}


def test_refunded_before_the_old_period_is_over_all_ends_and_the_new_money_is_credit(shop, user, plan):
    """A full refund of the running period ends access now; what was paid ahead at the new provider is not lost."""
    subscription, link = invited(shop, user, plan)
    shop.pay(link)

    refund(shop, subscription.transactions.get(provider="sandbox"))

    assert refunds() == [("sandbox", "completed", 29)]
    assert (fresh(subscription).status, credit(user)) == (Status.CANCELLED, 29)
    shop.run(END)
    shop.run(NEXT)
    assert [status for status, _, _ in charges(subscription)] == ["refunded", "completed"]


def test_what_the_old_provider_takes_before_it_hears_of_the_cancel_goes_back(shop, sold, user, settings):
    """It renews by itself and cannot be reached until it has: its charge is unapplied and refunded, the cancel is heard."""
    bought = sold.buy(user)
    end = bought.end_date
    move = start(shop, source=BILLING)
    shop.at(end - 3 * DAY)
    sweep(shop)
    reachable = settings.PAYFLOW_PROVIDERS
    deaf = config(NOBODY_LISTENS, mode="billing", api_key=KEYS[BILLING], webhook_secret="secret_of_billing")
    settings.PAYFLOW_PROVIDERS = {**reachable, BILLING: deaf}
    shop.pay(member_of(bought).checkout)
    row = fresh(bought)
    assert (row.provider, row.provider_sub_id, periods(row)[0]) == ("second", None, (bought.start_date, end))
    next_end = row.end_date
    command = ProviderCommand.objects.get()
    assert (command.kind, command.provider, command.provider_sub_id) == ("cancel", BILLING, bought.provider_sub_id)
    shop.sweep("provider_commands")
    assert (fresh(command).status, fresh(command).alarmed_at) == ("pending", None)
    shop.at(end - DAY / 2)
    shop.sweep("provider_commands", later=DAY)
    assert fresh(command).alarmed_at == end - DAY / 2
    assert OutboxEvent.objects.filter(type="provider_command.late", subject_id=row.pk).count() == 1

    # the old one renews, and its webhook arrives
    sold.until(end + HOUR)
    extra = PaymentTransaction.objects.get(provider=BILLING, invoice=None)
    assert (extra.amount, extra.status) == (Decimal("5.49"), "completed")
    assert extra.reason == "the subscription is at another provider"
    assert ledger()["unapplied_payments"] == Decimal("-5.49")

    settings.PAYFLOW_PROVIDERS = reachable
    shop.sweep("provider_commands", later=2 * DAY)
    shop.sweep("payments_unapplied")
    sold.until(end + 2 * DAY)

    assert refunds() == [(BILLING, "completed", Decimal("5.49"))]
    assert (fresh(command).status, fresh(extra).refunded_amount) == ("confirmed", Decimal("5.49"))
    row = fresh(row)
    assert (row.status, row.provider, row.end_date) == (Status.ACTIVE, "second", next_end)
    assert periods(row) == [(bought.start_date, end), (end, next_end)]
    assert credit(user) == 0

    # from then on the new one is charged, once a period, and the old one takes nothing more
    sold.until(next_end)
    by_provider = PaymentTransaction.objects.filter(type="charge").order_by("pk").values_list("provider", flat=True)
    assert list(by_provider) == [BILLING, "second", BILLING, "second"]
    assert fresh(row).status == Status.ACTIVE
    assert fresh(row).end_date > next_end
    assert fresh(move).status == "active"
    assert ledger() == {"provider_clearing": Decimal("16.47"), "revenue": Decimal("-16.47")}
