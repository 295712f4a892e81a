"""Google Play and PayFlow together: purchases, renewals, failures, exchanges and refunds, told in any way or not at all."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from payments.models import PaymentTransaction
from plans.models import Plan, PlanProviderRef
from subscriptions.access import has_access
from subscriptions.models import Subscription
from subscriptions.services.reconciliation import feeds_sweep, subscription_reconcile
from tests.conftest import Api
from tests.emulators.google import GoogleEmulator, Product
from tests.factories import PlanFactory
from tests.flows import DAY, START, Shop, charges, fresh, ledger, nothing_changes, refused
from webhooks.models import InboundEvent

PRO = Product("pro", "monthly", "19.99")


@dataclass
class Play:
    """The store and PayFlow at one time."""

    shop: Shop
    google: GoogleEmulator
    user: Any

    def at(self, moment: datetime) -> None:
        self.google.advance(moment - self.google.now)
        self.shop.at(moment)
        self.shop.drain()
        self.shop.sweep("provider_commands")

    def buy(self, *products: Product, **options: Any) -> str:
        token = self.google.purchase(*products, user=str(self.user.pk), **options).token
        self.shop.drain()
        self.shop.sweep("provider_commands")
        return token

    @property
    def row(self) -> Subscription:
        return Subscription.objects.get(user=self.user, provider="google")

    def stands(self) -> tuple[Any, ...]:
        row = self.row
        return (row.status, row.end_date, row.auto_renew, row.provider_sub_id, row.plan.code, sorted(charges(row)))


@pytest.fixture
def play(shop: Shop, user: Any) -> Iterator[Play]:
    with GoogleEmulator(hook_url=f"{shop.url}/webhooks/google") as google:
        shop.settings.PAYFLOW_PROVIDERS = {
            **shop.settings.PAYFLOW_PROVIDERS,
            "google": {"adapter": "google", **google.settings(), "answer_seconds": 2},
        }
        google.advance(START - google.now)
        for code, ref in (("basic", "premium:monthly"), ("pro", "pro:monthly")):
            PlanProviderRef.objects.create(plan=PlanFactory(code=code), provider="google", ref=ref)
        yield Play(shop, google, user)


def test_a_purchase_is_booked_and_acknowledged_once(play: Play) -> None:
    token = play.buy()
    [order] = play.google.purchases[token].orders
    row = play.row

    assert (row.status, row.provider_sub_id, row.plan.code) == ("active", token, "basic")
    assert (row.amount, row.currency, row.end_date) == (Decimal("9.99"), "USD", order.ends_at)
    assert ledger() == {"provider_clearing": Decimal("9.99"), "revenue": Decimal("-9.99")}
    assert play.google.acknowledgements == [token]
    with nothing_changes():
        play.google.pushes.repeat()
        play.shop.drain()
    play.shop.sweep("provider_commands", later=timedelta(hours=1))
    assert play.google.acknowledgements == [token]
    assert set(InboundEvent.objects.values_list("status", flat=True)) == {"processed"}


def test_a_token_of_any_length_is_attached_matched_and_acknowledged(play: Play) -> None:
    """Google promises no length: what our indexes take is the limit."""
    play.google.token_length = 2000
    token = play.google.purchase().token
    answer = Api().as_user(play.user).post("/api/v1/subscriptions/", {"provider": "google", "purchase_token": token})
    assert answer.status_code == 201, answer.content
    play.shop.sweep("provider_commands")
    play.at(play.google.purchases[token].expires_at + timedelta(hours=1))

    assert (play.row.provider_sub_id, play.row.end_date) == (token, play.google.purchases[token].expires_at)
    assert charges(play.row) == [("completed", 1, "")] * 2
    assert play.google.acknowledgements == [token]
    assert set(InboundEvent.objects.values_list("status", flat=True)) == {"processed"}


def test_renewal_grace_hold_and_recovery(play: Play) -> None:
    token = play.buy()
    bought = play.google.purchases[token]
    play.at(bought.expires_at + timedelta(hours=1))
    assert (play.row.status, play.row.end_date) == ("active", bought.expires_at)
    assert charges(play.row) == [("completed", 1, "")] * 2

    play.google.fail(token)
    play.at(bought.expires_at + timedelta(hours=1))
    assert (play.row.status, play.row.grace_until) == ("past_due", bought.expires_at)
    assert has_access(play.row, play.shop.now)

    play.at(bought.expires_at + timedelta(hours=1))
    assert play.row.status == "suspended"
    assert not has_access(play.row, play.shop.now)

    play.google.recover(token)
    play.shop.drain()
    assert (play.row.status, play.row.end_date) == ("active", bought.expires_at)
    assert has_access(play.row, play.shop.now)


def test_cancelled_keeps_access_to_the_end(play: Play) -> None:
    token = play.buy()
    play.google.cancel(token)
    play.shop.drain()
    end = play.google.purchases[token].expires_at
    assert (play.row.auto_renew, play.row.end_date, has_access(play.row, end - DAY)) == (False, end, True)

    play.at(end + DAY)
    assert play.row.status in ("expired", "cancelled")
    assert not has_access(play.row, play.shop.now)


def test_another_plan_is_chosen_on_the_page_of_the_subscription(play: Play) -> None:
    play.buy()
    with nothing_changes():
        answer = play.shop.change(play.row, Plan.objects.get(code="pro"))
    page = "https://play.google.com/store/account/subscriptions?sku=premium&package=com.example.app"
    assert refused(answer, 409, "PROVIDER_MANAGED") == {"manage_url": page}


def test_a_trial_becomes_a_paid_subscription(play: Play) -> None:
    token = play.buy(trial_days=7)
    assert (play.row.status, play.row.trial_ends_at) == ("trial", play.google.purchases[token].expires_at)
    assert ledger() == {}

    play.at(START + 8 * DAY)
    assert (play.row.status, charges(play.row)) == ("active", [("completed", 1, "")])
    assert play.google.acknowledgements == [token]


def test_an_exchange_goes_on_under_the_new_token(play: Play) -> None:
    a = play.buy()
    b = play.buy(PRO, replaces=a)
    assert (play.row.provider_sub_id, play.row.plan.code, play.row.status) == (b, "pro", "active")
    c = play.buy(replaces=b)
    assert (play.row.provider_sub_id, play.row.plan.code, play.row.status) == (c, "basic", "active")
    assert len(charges(play.row)) == 3


@pytest.mark.parametrize("reverse", [False, True])
def test_exchanges_told_at_once_come_to_the_newest(play: Play, reverse: bool) -> None:
    a = play.buy()
    play.google.advance(timedelta(minutes=1))
    play.google.pushes.hold()
    b = play.google.purchase(PRO, user=str(play.user.pk), replaces=a).token
    play.google.advance(timedelta(minutes=1))
    c = play.google.purchase(user=str(play.user.pk), replaces=b).token
    play.google.pushes.release(reverse=reverse)
    play.shop.drain()

    assert (play.row.provider_sub_id, play.row.plan.code, play.row.status) == (c, "basic", "active")
    assert len(charges(play.row)) == 3


def test_a_refund_here_and_its_news(play: Play) -> None:
    play.buy()
    [charge] = PaymentTransaction.objects.filter(type="charge")
    play.google.refund(play.google.order(str(charge.provider_txn_id)).order_id)
    play.shop.drain()
    [refund] = PaymentTransaction.objects.filter(type="refund")

    assert (refund.status, refund.amount, refund.provider_txn_id) == (
        "completed",
        charge.amount,
        charge.provider_txn_id,
    )
    assert fresh(charge).status == "refunded"
    with nothing_changes():
        feeds_sweep(now=play.shop.now, wall=play.google.now)


def test_refunds_that_nobody_was_told_of_are_found(play: Play) -> None:
    token = play.buy()
    play.google.pushes.hold()
    play.google.revoke(token)
    play.google.pushes.drop()
    feeds_sweep(now=play.shop.now, wall=play.google.now)

    assert PaymentTransaction.objects.get(type="refund").amount == Decimal("9.99")


def test_what_nobody_was_told_of_is_found(play: Play) -> None:
    """The same end as with every notification delivered: see the renewals above."""
    token = play.buy()
    bought = play.google.purchases[token]
    play.google.pushes.hold()
    for moment in range(2):
        play.google.advance(bought.expires_at + timedelta(hours=1 + moment) - play.google.now)
    play.google.cancel(token)
    play.google.pushes.drop()
    play.shop.at(play.google.now)
    drift = subscription_reconcile(subscription_id=play.row.pk, now=play.shop.now)

    assert drift is None
    assert play.stands() == ("active", bought.expires_at, False, token, "basic", [("completed", 1, "")] * 3)


def test_google_does_not_answer_and_nothing_changes(play: Play) -> None:
    play.buy()
    play.google.fault("api", "500", times=6)
    play.google.cancel(play.row.provider_sub_id or "")
    before = play.stands()
    play.shop.drain()

    assert play.stands() == before
    assert InboundEvent.objects.latest("pk").status == "failed"
    play.google.fault("api", None)
    play.shop.sweep("webhooks_inbound", later=timedelta(hours=1))
    assert play.row.auto_renew is False


def test_a_test_purchase_changes_nothing_beside_real_money(play: Play) -> None:
    play.buy(test=True)

    assert not Subscription.objects.filter(user=play.user).exists()
    assert not PaymentTransaction.objects.exists()
