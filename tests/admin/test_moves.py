"""Operators start moves between providers and act on them; and they settle where a provider and we disagree."""

from __future__ import annotations

from datetime import timedelta

import pytest

from payflow.core import clock
from payflow.core.models import AuditEntry
from providers.base import SubStatus
from subscriptions.models import ProviderCommand, ProviderDrift, ProviderMove, ProviderMoveMember, Subscription
from subscriptions.services.moves import move_end, move_pause, move_start
from subscriptions.services.reconciliation import subscription_reconcile
from tests.admin.test_actions import SUBSCRIPTIONS, confirmed, form, said
from tests.admin.world import customer
from tests.factories import UserFactory
from tests.flows import NOBODY_LISTENS
from tests.providers.sandbox_support import config
from tests.subscriptions.store_world import HOUR, MONTHS, T0, apply, books, paid, plans, state

__all__ = ["books", "plans"]

MOVES = "/admin/subscriptions/providermove/"
MEMBERS = "/admin/subscriptions/providermovemember/"
DRIFTS = "/admin/subscriptions/providerdrift/"
TERMS = {"from_provider": "sandbox", "to_provider": "second", "percent": "20", "days_before": "3"}
ADMINS = {"superuser", "billing-admin"}
ROLES = ["superuser", "billing-admin", "support", "finance", "viewer"]

pytestmark = pytest.mark.django_db


@pytest.fixture
def two_accounts(settings):
    """Two accounts of the sandbox, configured; nobody asks them here."""
    settings.PAYFLOW_PROVIDERS = {
        "sandbox": config(NOBODY_LISTENS),
        "second": config(NOBODY_LISTENS, api_key="another", webhook_secret="another"),
    }
    settings.PAYFLOW_DEFAULT_PROVIDER = "sandbox"


@pytest.fixture
def move(two_accounts) -> ProviderMove:
    return move_start(
        from_provider="sandbox", to_provider="second", percent=20, days_before=3, actor="test", now=clock.now()
    )


def moves_audited() -> list[tuple[str, str]]:
    rows = AuditEntry.objects.filter(action__startswith="provider_move.", actor__startswith="user:")
    return list(rows.order_by("pk").values_list("action", "actor"))


# --- moves -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("role", ROLES)
def test_who_may_start_a_move(signed_in, two_accounts, role):
    operator, may = signed_in(role), role in ADMINS

    page = operator.get(f"{MOVES}add/")
    answer = operator.post(f"{MOVES}add/", TERMS)

    assert (page.status_code, answer.status_code) == ((200, 302) if may else (403, 403))
    assert ("Saving starts it" in page.content.decode()) is may
    started = list(ProviderMove.objects.values_list(*TERMS, "status", "actor"))
    assert started == ([("sandbox", "second", 20, 3, "active", f"user:{operator.user.pk}")] if may else [])
    assert moves_audited() == ([("provider_move.start", f"user:{operator.user.pk}")] if may else [])


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"to_provider": "sandbox"}, "the provider that they have"),
        ({"to_provider": "nowhere"}, "Select a valid choice"),
        ({"percent": "101"}, "from 1 to 100"),
        ({"days_before": "0"}, "from 1 to 30"),
    ],
)
def test_terms_that_move_nobody_are_told_on_the_form(signed_in, two_accounts, wrong, told):
    page = signed_in("billing-admin").post(f"{MOVES}add/", {**TERMS, **wrong})

    assert page.status_code == 200
    assert told in page.content.decode()
    assert not ProviderMove.objects.exists()


def test_a_second_move_away_is_told_on_the_form(signed_in, move):
    page = signed_in("billing-admin").post(f"{MOVES}add/", TERMS)

    assert page.status_code == 200
    assert "There is a move away from" in page.content.decode()
    assert ProviderMove.objects.get() == move


@pytest.mark.parametrize(
    ("act", "from_status", "will", "fields", "after"),
    [
        ("pause_move", "active", "Links that were sent stay good", {}, ("paused", 20)),
        ("resume_move", "paused", "are sent again", {}, ("active", 20)),
        ("widen_move", "active", "20 % move now", {"percent": "60", "reason": "it works"}, ("active", 60)),
        ("widen_move", "paused", "20 % move now", {"percent": "60", "reason": "it works"}, ("paused", 60)),
        ("end_move", "active", "good no more (0)", {}, ("ended", 20)),
        ("end_move", "paused", "begins at sandbox", {}, ("ended", 20)),
    ],
)
def test_each_act_asks_first_and_is_audited(signed_in, move, act, from_status, will, fields, after):
    if from_status == "paused":
        move_pause(move_id=move.pk, actor="test")
    admin = signed_in("billing-admin")

    page = admin.get(f"{MOVES}{move.pk}/{act}_this/").content.decode()

    assert will in page
    move.refresh_from_db()
    assert (move.status, move.percent) == (from_status, 20)
    answer = admin.post(MOVES, confirmed(act, move, from_page="yes", **fields))
    assert answer.url == f"{MOVES}{move.pk}/change/"
    move.refresh_from_db()
    assert (move.status, move.percent) == after
    assert (move.ended_at is not None) is (after[0] == "ended")
    assert moves_audited() == [(f"provider_move.{act.removesuffix('_move')}", f"user:{admin.user.pk}")]
    if fields:
        assert AuditEntry.objects.get(action="provider_move.widen").data == {"percent": 60, "reason": "it works"}


def test_a_share_is_never_made_smaller(signed_in, move):
    answer = signed_in("billing-admin").post(MOVES, confirmed("widen_move", move, percent="10", reason="less"))

    assert said(answer) == ["sandbox → second (20 %): More than 20, and 100 at most"]
    move.refresh_from_db()
    assert move.percent == 20


def test_only_what_makes_sense_is_offered(signed_in, move):
    admin = signed_in("billing-admin")
    offered = {
        "active": {"pause_move", "widen_move", "end_move"},
        "paused": {"resume_move", "widen_move", "end_move"},
        "ended": set(),
    }
    steps = {"active": None, "paused": move_pause, "ended": None}
    for status, acts in offered.items():
        if steps[status]:
            steps[status](move_id=move.pk, actor="test")
        if status == "ended":
            move_end(move_id=move.pk, actor="test", now=clock.now())
        page = admin.get(f"{MOVES}{move.pk}/change/").content.decode()
        assert {act for act in offered["active"] | offered["paused"] if f"{act}_this" in page} == acts, status
    refused = admin.post(MOVES, confirmed("pause_move", move))
    assert "ended cannot become paused" in said(refused)[0]


@pytest.mark.parametrize("role", [role for role in ROLES if role not in ADMINS])
def test_others_look_and_do_nothing(signed_in, move, role):
    operator = signed_in(role)

    assert operator.get(f"{MOVES}{move.pk}/change/").status_code == 200
    assert operator.get(f"{MOVES}{move.pk}/end_move_this/").status_code == 403
    operator.post(MOVES, confirmed("end_move", move))

    move.refresh_from_db()
    assert (move.status, moves_audited()) == ("active", [])


def test_a_count_is_a_link_to_those_whom_it_counts(signed_in, move):
    for number, status in enumerate(["moved", "left", "left"]):
        subscription = customer(number).subscription
        ProviderMoveMember.objects.create(
            move=move,
            subscription=subscription,
            status=status,
            period_start=subscription.end_date,
            price=10,
            currency="USD",
            moved_at=clock.now() if status == "moved" else None,
        )
    viewer = signed_in("viewer")

    for path in (MOVES, f"{MOVES}{move.pk}/change/"):
        assert f"{MEMBERS}?move__id__exact={move.pk}&amp;status__in=left" in viewer.get(path).content.decode(), path
    rows = viewer.get(f"{MEMBERS}?move__id__exact={move.pk}&status__in=left").context["cl"].result_list
    assert [row.status for row in rows] == ["left", "left"]


def test_the_history_of_a_move_is_its_audit(signed_in, move):
    assert signed_in("viewer").get(f"{MOVES}{move.pk}/history/").url == f"/admin/core/auditentry/?q={move.pk}"


# --- drifts ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def drift(plans, books) -> ProviderDrift:
    """The store says that it renews no more; here it does."""
    user = UserFactory()
    books.events["sub-1"] = [paid(user, *MONTHS[0:2])]
    apply(books.events["sub-1"][0])
    books.states["sub-1"] = state(auto_renew=False)
    found = subscription_reconcile(subscription_id=Subscription.objects.get().pk, now=T0 + HOUR)
    assert found is not None
    return found


def resolved(drift: ProviderDrift) -> tuple[str, str]:
    drift.refresh_from_db()
    return drift.resolution, drift.actor


def test_the_providers_side_is_adopted(signed_in, drift):
    support = signed_in("support")
    page = support.post(DRIFTS, form("adopt_theirs", drift)).content.decode()
    assert "becomes what store says: active, does not renew. No" in page
    assert "No money is booked for it" in page
    assert resolved(drift) == ("", "")

    support.post(DRIFTS, confirmed("adopt_theirs", drift))

    assert Subscription.objects.get().auto_renew is False
    assert resolved(drift) == ("theirs", f"user:{support.user.pk}")
    assert AuditEntry.objects.get(action="provider_drift.resolve").data["resolution"] == "theirs"
    assert not ProviderCommand.objects.exists()


def test_the_provider_is_told_ours(signed_in, drift):
    support = signed_in("support")
    assert "is told to make it what it is here" in support.post(DRIFTS, form("adopt_ours", drift)).content.decode()
    assert not ProviderCommand.objects.exists()

    support.post(DRIFTS, confirmed("adopt_ours", drift))

    assert Subscription.objects.get().auto_renew is True
    command = ProviderCommand.objects.get()
    assert (command.kind, command.status, command.actor) == ("resume", "pending", f"user:{support.user.pk}")
    assert resolved(drift) == ("ours", f"user:{support.user.pk}")
    # once is enough
    again = support.post(DRIFTS, confirmed("adopt_theirs", drift))
    assert "resolved before" in said(again)[-1]
    assert Subscription.objects.get().auto_renew is True


def test_an_end_that_differs_cannot_be_told(signed_in, drift, books):
    """No command moves a provider's period: adopting ours would say something else, and change nothing there."""
    books.states["sub-1"] = state(period_end=MONTHS[1] + timedelta(days=3))
    subscription_reconcile(subscription_id=drift.subscription_id, now=T0 + 2 * HOUR)
    drift.refresh_from_db()
    assert set(drift.theirs) == {"status", "period_end"}

    support = signed_in("support")
    assert "active, until 2031-03-03 09:00 UTC" in support.get(DRIFTS).content.decode()

    answer = support.post(DRIFTS, confirmed("adopt_ours", drift))

    assert "cannot be told" in said(answer)[0]
    assert resolved(drift) == ("", "")
    assert not ProviderCommand.objects.exists()


@pytest.mark.django_db(transaction=True)  # the provider is asked outside any transaction
@pytest.mark.parametrize(
    ("there", "told", "resolution"),
    [(state(), "they agree", "agrees"), (state(SubStatus.PAUSED), "they still disagree", "")],
)
def test_asked_again(signed_in, drift, books, there, told, resolution):
    books.states["sub-1"] = there
    support = signed_in("support")

    answer = support.post(DRIFTS, confirmed("ask_again", drift))

    assert said(answer) == [f"{drift.subscription} at store: {told}"]
    assert resolved(drift) == (resolution, "")


@pytest.mark.django_db(transaction=True)
def test_the_provider_is_asked_about_a_subscription(signed_in, drift, books):
    subscription, support = drift.subscription, signed_in("support")
    assert (
        "nothing is changed there" in support.post(SUBSCRIPTIONS, form("ask_provider", subscription)).content.decode()
    )
    books.states["sub-1"] = state()

    answer = support.post(SUBSCRIPTIONS, confirmed("ask_provider", subscription))

    assert said(answer)[0].endswith("the provider agrees")
    assert resolved(drift) == ("agrees", "")
    books.states["sub-1"] = state(SubStatus.PAUSED)
    again = support.post(SUBSCRIPTIONS, confirmed("ask_provider", subscription))
    assert said(again)[-1].endswith("see Provider drifts")
    assert ProviderDrift.objects.filter(resolved_at=None).count() == 1
    assert "ask_provider_this" in support.get(f"{SUBSCRIPTIONS}{subscription.pk}/change/").content.decode()
    ours = customer().subscription
    assert "ask_provider_this" not in support.get(f"{SUBSCRIPTIONS}{ours.pk}/change/").content.decode()


@pytest.mark.parametrize("act", ["ask_again", "adopt_theirs", "adopt_ours"])
@pytest.mark.parametrize("role", ["finance", "viewer"])
def test_who_may_not_settle_it(signed_in, drift, books, act, role):
    operator, asked = signed_in(role), len(books.calls)

    assert operator.get(f"{DRIFTS}{drift.pk}/{act}_this/").status_code == 403
    operator.post(DRIFTS, confirmed(act, drift))

    assert resolved(drift) == ("", "")
    assert (Subscription.objects.get().auto_renew, len(books.calls)) == (True, asked)
