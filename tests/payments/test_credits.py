"""Customer credit by its services: given, spent oldest first, expired, taken back; the books agree after each."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal

import pytest

from payflow.core.errors import InvalidTransition, NotFound, UnsupportedCurrency, ValidationFailed
from payflow.core.models import AuditEntry, OutboxEvent
from payflow.core.money import Money
from payflow.core.registry import registered
from payments.composition import LineDraft, with_credit
from payments.credits import credit_return, expire, grant_write, purses_open
from payments.errors import InsufficientCredit
from payments.invoices import claim, claims_draft, invoice_void
from payments.models import CreditAccount, CreditGrant, CreditSource, CreditUse, Invoice, LineKind
from payments.services.credits import credit_revoke, credits_expire, next_expiry
from tests.factories import UserFactory
from tests.flows import DAY, START, fresh, ledger, nothing_changes
from tests.payments.credit_support import balance, books_agree, give, left, spend

pytestmark = pytest.mark.django_db


def sweep(at) -> int:
    return registered.sweeps["credits_expire"].run(now=at, wall=at)


def events(type_: str) -> list[dict]:
    return list(OutboxEvent.objects.filter(type=type_).order_by("pk").values_list("payload", flat=True))


def reserved(user, amount: str) -> Invoice:
    """A draft of 20 that has consumed `amount` of the user's credit."""
    money, holder = Money(Decimal(amount), "USD"), (user.pk, "USD")
    made = claim(
        user_id=user.pk,
        subscription_id=None,
        reason=Invoice.Reason.MANUAL,
        lines=with_credit([LineDraft(LineKind.PLAN, "Basic", Money(Decimal(20), "USD"))], money),
        period_start=None,
        period_end=None,
        at=START,
    )
    purses = purses_open([holder], at=START)
    purses.spend(holder, money, key=f"invoice:{made.invoice.pk}", invoice_id=made.invoice.pk, at=START)
    purses.close()
    claims_draft([made])
    return made.invoice


# --- given ------------------------------------------------------------------------------------------------------------


def test_a_grant_is_told_and_posted(user):
    grant = give(user, "12.5", expires=START + DAY, reason="a bad day")

    assert (grant.amount, grant.remaining, grant.source, grant.expires_at) == (12.5, 12.5, "goodwill", START + DAY)
    assert balance(user) == Decimal("12.50")
    assert ledger() == {"customer_credit": Decimal("-12.50"), "discounts": Decimal("12.50")}
    [told] = events("credit.granted")
    assert (told["amount"], told["currency"], told["user"]) == ("12.50", "USD", str(user.pk))
    entry = AuditEntry.objects.get(action="credit.grant")
    assert (entry.actor, entry.subject_id, entry.data["reason"]) == ("test", grant.pk, "a bad day")


def test_the_same_request_is_the_same_grant(user):
    request_id = user.pk
    first = give(user, 5, request_id=request_id)
    with nothing_changes():
        assert give(user, 5, request_id=request_id) == first
    assert (balance(user), give(user, 5) == first) == (5, False)


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"amount": "0"}, "amount"),
        ({"amount": "-1"}, "amount"),
        ({"amount": "0.001"}, "amount"),
        ({"amount": "NaN"}, "amount"),
        ({"amount": "1E+15"}, "amount"),
        ({"amount": "0.5", "currency": "JPY"}, "amount"),
        ({"expires": START}, "expires_at"),
        ({"expires": START - DAY}, "expires_at"),
        ({"reason": "  "}, "reason"),
        ({"reason": "x" * 256}, "reason"),
        ({"reason": "\0"}, "reason"),
    ],
    ids=str,
)
def test_what_makes_no_sense_is_refused_by_its_field(user, fields, field):
    with nothing_changes(), pytest.raises(ValidationFailed) as refusal:
        give(user, fields.pop("amount", "1"), **fields)
    assert set(refusal.value.details) == {field}
    assert not CreditAccount.objects.exists()


def test_all_faults_are_told_at_once():
    nobody = UserFactory.build()
    with pytest.raises(ValidationFailed) as refusal:
        give(nobody, 0, reason="", expires=START)
    assert set(refusal.value.details) == {"amount", "reason", "expires_at", "user_id"}


def test_an_unknown_currency_is_its_own_refusal(user):
    with nothing_changes():
        with pytest.raises(UnsupportedCurrency):
            give(user, 1, currency="XXX")
        with pytest.raises(UnsupportedCurrency):
            spend(user, 1, "k", currency="usd")


def test_an_account_takes_no_more_than_it_can_hold(user):
    most = "999999999999999.99"
    give(user, most)
    with nothing_changes(), pytest.raises(ValidationFailed) as refusal:
        give(user, "0.01")
    assert set(refusal.value.details) == {"amount"}
    assert balance(user) == Decimal(most)


# --- spent ------------------------------------------------------------------------------------------------------------


def test_what_expires_first_is_spent_first_and_what_never_expires_last(user):
    never, late, soon = give(user, 3), give(user, 3, expires=START + 9 * DAY), give(user, 3, expires=START + DAY)
    later_of_two = give(user, 3, expires=START + DAY, at=START + timedelta(hours=1))

    for n, expected in enumerate(([3, 3, 1, 3], [3, 3, 0, 2], [3, 3, 0, 0], [3, 1, 0, 0], [2, 0, 0, 0])):
        spend(user, 2, f"k{n}", at=START + timedelta(hours=2))
        assert left(never, late, soon, later_of_two) == expected
    assert balance(user) == 2
    assert ledger() == {"customer_credit": -2, "discounts": 12, "revenue": -10}


def test_one_use_is_split_over_several_grants(user):
    first, second = give(user, "1.10", expires=START + DAY), give(user, 5)

    spent = spend(user, "2.30", "k")

    assert (spent.amount, spent.currency, spent.created_at) == (Decimal("2.30"), "USD", START)
    assert left(first, second) == [0, Decimal("3.80")]
    assert [use.amount for use in CreditUse.objects.order_by("pk")] == [Decimal("1.10"), Decimal("1.20")]
    assert balance(user) == Decimal("3.80")
    entry = AuditEntry.objects.get(action="credit.spend")
    assert (entry.data["amount"], entry.data["reason"]) == ("2.30", "a report")


def test_currencies_and_users_do_not_mix(user):
    other = UserFactory()
    give(user, 500, currency="JPY")
    give(other, 5)
    with nothing_changes():
        for who in (user, UserFactory.build()):
            with pytest.raises(InsufficientCredit) as refusal:
                spend(who, 1, "k")
            assert refusal.value.details == {"available": "0.00", "currency": "USD"}
    assert spend(user, 300, "k", currency="JPY").amount == 300
    assert (balance(user, "JPY"), balance(user), balance(other)) == (200, 0, 5)


def test_more_than_there_is_leaves_nothing_behind(user):
    give(user, 5)
    give(user, 2, expires=START + DAY)
    with nothing_changes():
        uses = list(CreditUse.objects.values())
        with pytest.raises(InsufficientCredit) as refusal:
            spend(user, "7.01", "k")
    assert refusal.value.http_status == 402
    assert refusal.value.details == {"available": "7.00", "currency": "USD"}
    assert (balance(user), list(CreditUse.objects.values())) == (7, uses)
    # and the key is not used up
    give(user, 1)
    assert spend(user, "7.01", "k").amount == Decimal("7.01")


def test_the_same_key_answers_what_happened(user):
    give(user, 5)
    first = spend(user, 3, "k")
    with nothing_changes():
        assert spend(user, 3, "k", at=START + DAY) == first
        for other in ({"amount": 2}, {"amount": 3, "currency": "EUR"}):
            with pytest.raises(ValidationFailed) as refusal:
                spend(user, key="k", **other)
            assert refusal.value.details == {"key": ["It was used to spend 3.00 USD"]}
    # also where nothing is left, and another user has keys of his own
    spend(user, 2, "rest")
    assert spend(user, 3, "k") == first
    other = UserFactory()
    give(other, 5)
    assert spend(other, 4, "k").amount == 4
    assert (balance(user), balance(other)) == (0, 1)


def test_a_key_may_be_long_and_may_look_like_an_invoices(user):
    give(user, 10)
    invoice = reserved(user, "2")
    for key in ("x" * 149 + "1", "x" * 149 + "2", f"invoice:{invoice.pk}"):
        spend(user, 1, key)
    assert balance(user) == 5
    for key in ("", "x" * 151, "a\0b", "a\nb"):
        with pytest.raises(ValidationFailed) as refusal:
            spend(user, 1, key)
        assert set(refusal.value.details) == {"key"}


def test_expired_credit_is_not_spent_before_the_sweep_ran(user):
    give(user, 5, expires=START + DAY)
    later = give(user, 1)
    spend(user, 1, "in time", at=START + DAY - timedelta(microseconds=1))
    with pytest.raises(InsufficientCredit) as refusal:
        spend(user, 2, "too late", at=START + DAY)
    assert refusal.value.details["available"] == "1.00"
    spend(user, 1, "what is left", at=START + DAY)
    assert (left(later), balance(user)) == ([0], 4)


# --- expired ----------------------------------------------------------------------------------------------------------


def test_the_sweep_takes_out_what_is_over_and_nothing_else(user):
    other = UserFactory()
    over, gone = give(user, 5, expires=START + DAY), give(user, 4, expires=START + DAY)
    stays, for_ever = give(user, 3, expires=START + 2 * DAY), give(user, 2)
    theirs = give(other, 7, expires=START + DAY)
    spend(user, 6, "k")
    assert next_expiry(START) == START + DAY
    assert sweep(START + DAY - timedelta(microseconds=1)) == 0

    assert sweep(START + DAY) == 2
    assert sweep(START + DAY) == 0

    assert left(over, gone, stays, for_ever, theirs) == [0, 0, 3, 2, 0]
    assert (fresh(over).expired_at, fresh(gone).expired_at) == (None, START + DAY)
    assert (balance(user), balance(other)) == (5, 0)
    told = [(event["user"], event["amount"]) for event in events("credit.expired")]
    assert sorted(told) == sorted([(str(user.pk), "3.00"), (str(other.pk), "7.00")])
    assert ledger() == {"customer_credit": -5, "discounts": 21, "revenue": -16}
    assert (next_expiry(START), next_expiry(START + 2 * DAY)) == (START + 2 * DAY, None)


@pytest.mark.django_db(transaction=True)
def test_one_bad_account_stops_no_batch_and_does_not_come_first_again(user, settings, caplog):
    settings.SWEEP_BATCH = 2
    give(user, 5, expires=START + DAY)
    CreditAccount.objects.filter(user=user).update(balance=1)  # nobody's code does this
    for _ in range(3):
        give(UserFactory(), 5, expires=START + DAY)

    assert [sweep(START + DAY) for _ in range(3)] == [1, 2, 0]

    assert {account.balance for account in CreditAccount.objects.exclude(user=user)} == {0}
    assert CreditAccount.objects.get(user=user).balance == 1
    assert "cannot expire" in caplog.text
    # and once somebody has mended it
    CreditAccount.objects.filter(user=user).update(balance=5)
    assert sweep(START + DAY) == 1
    books_agree()


# --- given back by an invoice -----------------------------------------------------------------------------------------


def test_a_void_invoice_gives_each_grant_back_its_part(user):
    first, second = give(user, 3, expires=START + DAY), give(user, 10)
    invoice = reserved(user, "5")
    assert (left(first, second), balance(user)) == ([0, 8], 8)

    invoice_void(invoice, at=START)

    assert (left(first, second), balance(user)) == ([3, 10], 13)
    assert set(invoice.credit_uses.values_list("returned_at", flat=True)) == {START}
    credit_return(invoice, at=START)
    assert balance(user) == 13


def test_what_returns_to_an_expired_grant_expires_again_even_at_the_same_moment(user):
    grant = give(user, 5, expires=START + DAY)
    one, two = reserved(user, "2"), reserved(user, "1")
    end = START + DAY

    assert sweep(end) == 1
    for invoice in (one, two):
        invoice_void(invoice, at=end)
        assert balance(user) == invoice.credit
        with pytest.raises(InsufficientCredit):
            spend(user, "0.01", "k", at=end)
        assert sweep(end) == 1
    assert (balance(user), left(grant)) == (0, [0])
    assert [event["amount"] for event in events("credit.expired")] == ["2.00", "2.00", "1.00"]
    assert ledger() == {"discounts": 5, "revenue": -5}


# --- taken back -------------------------------------------------------------------------------------------------------


def revoke(grant: CreditGrant, at=START) -> CreditGrant:
    return credit_revoke(grant_id=grant.pk, reason="the wrong customer", actor="test", at=at)


def test_what_is_left_of_a_mistake_is_taken_back(user):
    grant, other = give(user, 10, expires=START + 9 * DAY), give(user, 3)
    spend(user, 4, "k")

    revoke(grant, at=START + DAY)

    assert (left(grant, other), balance(user)) == ([0, 3], 3)
    assert ledger() == {"customer_credit": -3, "discounts": 7, "revenue": -4}
    assert [event["amount"] for event in events("credit.revoked")] == ["6.00"]
    entry = AuditEntry.objects.get(action="credit.revoke")
    assert (entry.subject_id, entry.data["amount"], entry.data["reason"]) == (grant.pk, "6.00", "the wrong customer")
    told = fresh(grant).explanation["revoked"]
    assert (told["actor"], told["expires_at"]) == ("test", (START + 9 * DAY).isoformat())
    with nothing_changes():
        assert revoke(grant, at=START + 2 * DAY) == grant


def test_what_an_invoice_gives_back_to_a_grant_taken_back_goes_the_same_way(user):
    grant = give(user, 10)
    invoice = reserved(user, "4")
    revoke(grant)
    invoice_void(invoice, at=START)
    with pytest.raises(InsufficientCredit):
        spend(user, 1, "k")

    assert sweep(START) == 1

    assert (balance(user), ledger()) == (0, {})
    assert [event["amount"] for event in events("credit.revoked")] == ["6.00", "4.00"]
    assert events("credit.expired") == []


def test_what_is_owed_or_over_is_not_taken_back(user):
    owed = grant_write(
        user_id=user.pk,
        money=Money(Decimal(5), "USD"),
        source=CreditSource.UNUSED_TIME,
        reason="",
        key="unused",
        at=START,
        tax=Money(Decimal(1), "USD"),
    )
    over = give(user, 5, expires=START + DAY)
    with nothing_changes():
        for grant, at in ((owed, START), (over, START + DAY)):
            with pytest.raises(InvalidTransition):
                revoke(grant, at=at)
        with pytest.raises(NotFound):
            credit_revoke(grant_id=user.pk, reason="x", actor="test", at=START)
    assert balance(user) == 10
    assert ledger() == {"customer_credit": -10, "discounts": 5, "revenue": 4, "tax": 1}


def test_every_source_has_its_account(user):
    for source in CreditSource:
        grant_write(user_id=user.pk, money=Money(Decimal(1), "USD"), source=source, reason="", key=source, at=START)
    assert balance(user) == 3
    assert ledger() == {"customer_credit": -3, "discounts": 1, "revenue": 1, "unapplied_payments": 1}


def test_the_mechanics_refuse_to_overdraw(user):
    give(user, 5)
    purses = purses_open([(user.pk, "USD")], at=START)
    with pytest.raises(ValueError, match="more credit than there is"):
        purses.spend((user.pk, "USD"), Money(Decimal("5.01"), "USD"), key="k", invoice_id=None, at=START)
    purses.close()
    assert balance(user) == 5
    assert expire(CreditAccount.objects.all(), at=START) == []
    assert credits_expire(now=START, wall=START) == 0
