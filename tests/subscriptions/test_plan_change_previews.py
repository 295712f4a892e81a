"""What a preview has shown is what happens, or nothing does."""

from __future__ import annotations

from decimal import Decimal

import pytest

from tests.flows import fresh, nothing_changes, refused
from tests.subscriptions.february import END, newest, plan


def dearer(target, price: str) -> None:
    type(target).objects.filter(pk=target.pk).update(price=Decimal(price))


def test_the_moment_of_a_preview_comes_with_what_it_had_shown(shop, bought, pro):
    """The moment alone would be computed anew: with another price it would come to something else, silently."""
    subscription = bought()
    preview = shop.preview(subscription, pro)
    dearer(pro, "87.00")

    with nothing_changes():
        answer = shop.change(subscription, pro, quoted_at=preview["quoted_at"])
        assert list(refused(answer, 400, "VALIDATION_ERROR")) == ["total"]
        answer = shop.change(subscription, pro, quoted_at=preview["quoted_at"], total=preview["total"])
        assert refused(answer, 400, "VALIDATION_ERROR") == {"total": ["It is 38.00 now"]}


def test_what_follows_at_the_end_has_its_price_checked_too(shop, bought):
    subscription, least = bought(), plan("5.00")
    preview = shop.preview(subscription, least)
    shown = {name: preview[name] for name in ("quoted_at", "total", "next_amount")}
    dearer(least, "6.00")

    with nothing_changes():
        answer = shop.change(subscription, least, **shown)
        assert refused(answer, 400, "VALIDATION_ERROR") == {"next_amount": ["It is 6.00 now"]}

    assert shop.change(subscription, least, **shown | {"next_amount": 6}).status_code == 200
    shop.run(END)
    assert (fresh(subscription).plan, newest(subscription).total) == (least, 6)


@pytest.mark.parametrize("field", ["quoted_at", "total", "next_amount"])
def test_a_preview_takes_nothing_of_another(shop, bought, pro, field):
    subscription = bought()
    preview = shop.preview(subscription, pro)
    with nothing_changes():
        answer = shop.post(subscription, "preview-change", plan_id=pro.code, **{field: preview[field]})
        assert list(refused(answer, 400, "VALIDATION_ERROR")) == [field]
