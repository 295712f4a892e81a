"""What renews by itself at a provider that only the subscriber can tell: nothing changes here, he is sent there."""

from __future__ import annotations

import pytest

from providers.lava.adapter import LavaProvider
from tests.conftest import Api
from tests.flows import fresh, nothing_changes, paid, refused

MANAGE = "https://store.example/subscriptions"


class Store(LavaProvider):
    """Renews by itself, has a page for its subscribers, and takes no wish of ours."""

    def manage_url(self, provider_sub_id: str, *, provider_plan_ref: str | None = None) -> str | None:
        return MANAGE


@pytest.fixture
def sold(shop, user, settings):
    providers = settings.PAYFLOW_PROVIDERS
    store = {**providers["lava"], "adapter": f"{__name__}:Store"}
    settings.PAYFLOW_PROVIDERS = {**providers, "store": store}
    return paid(user, provider="store")[0]


def put(subscription, **body):
    return Api().as_user(subscription.user).put(f"/api/v1/subscriptions/{subscription.pk}", body)


@pytest.mark.parametrize("wish", [{}, {"timezone": "Asia/Tokyo"}], ids=["alone", "with another"])
def test_renewal_is_turned_off_there(sold, wish):
    with nothing_changes():
        details = refused(put(sold, auto_renew=False, **wish), 409, "PROVIDER_MANAGED")
    assert details == {"manage_url": MANAGE}


def test_renewal_is_turned_on_there_too(sold):
    type(sold).objects.filter(pk=sold.pk).update(auto_renew=False)  # as the store reports it
    with nothing_changes():
        refused(put(sold, auto_renew=True), 409, "PROVIDER_MANAGED")


def test_it_is_cancelled_there(sold):
    with nothing_changes():
        answer = Api().as_user(sold.user).delete("/api/v1/subscriptions/me")
        assert refused(answer, 409, "PROVIDER_MANAGED") == {"manage_url": MANAGE}


def test_what_does_not_concern_the_provider_changes_here(sold):
    assert put(sold, auto_renew=True, timezone="Asia/Tokyo").status_code == 200
    assert fresh(sold).timezone == "Asia/Tokyo"
