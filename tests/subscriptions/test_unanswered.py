"""What the provider can't answer stays pending, is asked about, and after a day of real time waits for review too."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from django.db.models import F

from payments.models import PaymentTransaction
from subscriptions.services.due import LEASE
from tests.flows import charges, fresh, ledger

END = datetime(2040, 2, 29, 10, 0, tzinfo=UTC)


def test_a_charge_without_an_answer_for_a_day_goes_to_review_and_is_never_sent_twice(shop, user):
    subscription = shop.buy(user)
    shop.unreachable()
    shop.run(END)
    key = PaymentTransaction.objects.get(status="pending").idempotency_key

    shop.run(END + LEASE)
    assert fresh(subscription).review_reason == ""

    # a day later by real time
    PaymentTransaction.objects.update(recorded_at=F("recorded_at") - timedelta(days=1, minutes=1))
    shop.run(END + 2 * LEASE)
    row = fresh(subscription)
    assert row.review_reason == "a payment has had no answer for a day"
    assert charges(row)[1:] == [("pending", 1, "")]

    # and it is settled under its own key once somebody answers
    shop.reachable()
    shop.run(END + 3 * LEASE)
    assert PaymentTransaction.objects.latest("pk").idempotency_key == key
    assert charges(row)[1:] == [("completed", 1, "")]
    assert ledger() == {"provider_clearing": 20, "revenue": -20}
