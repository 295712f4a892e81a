"""Whatever is done with credit, in whatever order: the balance is what is left is what the ledger says, never negative."""

from __future__ import annotations

from contextlib import suppress
from datetime import timedelta
from decimal import Decimal

import pytest
from django.db import transaction
from hypothesis import given, settings
from hypothesis import strategies as st

from payflow.core.errors import DomainError, InvalidTransition
from payflow.core.money import Money
from payments.composition import LineDraft, with_credit
from payments.credits import purses_open
from payments.invoices import claim, claims_draft, claims_issue, invoice_issue, invoice_void, invoices_settle
from payments.models import CreditGrant, Invoice, LineKind
from payments.services.credits import credit_revoke, credits_expire
from tests.factories import UserFactory
from tests.flows import START
from tests.payments.credit_support import books_agree, give, spend

HOUR = timedelta(hours=1)
AMOUNTS = st.integers(1, 3000).map(lambda cents: Decimal(cents) / 100)
PLACES = st.integers(0, 9)
STEPS = st.one_of(
    st.tuples(st.just("give"), AMOUNTS, st.none() | st.integers(1, 12)),
    st.tuples(st.just("spend"), AMOUNTS, PLACES),
    st.tuples(st.just("draft"), AMOUNTS, st.just(0)),
    st.tuples(st.just("bill"), AMOUNTS, st.just(0)),
    st.tuples(st.sampled_from(["issue", "void", "settle", "revoke"]), st.none(), PLACES),
    st.tuples(st.just("expire"), st.none(), st.just(0)),
    st.tuples(st.just("wait"), st.none(), st.integers(1, 5)),
)


class History:
    def __init__(self) -> None:
        self.user, self.at, self.spent = UserFactory(), START, {}

    def give(self, amount, hours) -> None:
        give(self.user, amount, expires=self.at + hours * HOUR if hours else None, at=self.at)

    def spend(self, amount, place) -> None:
        key = f"k{place}"
        spent = spend(self.user, amount, key, at=self.at)
        assert spent.amount == amount == self.spent.setdefault(key, amount)

    def draft(self, amount, _) -> None:
        claims_draft([self._claim(amount)])

    def bill(self, amount, _) -> None:
        claims_issue([self._claim(amount)], at=self.at)

    def issue(self, _, place) -> None:
        if invoice := self._one(Invoice, place):
            invoice_issue(invoice, at=self.at)

    def void(self, _, place) -> None:
        if invoice := self._one(Invoice, place):
            invoice_void(invoice, at=self.at)

    def settle(self, _, place) -> None:
        if invoice := self._one(Invoice, place):
            invoices_settle([invoice], at=self.at)

    def revoke(self, _, place) -> None:
        if grant := self._one(CreditGrant, place):
            credit_revoke(grant_id=grant.pk, reason="x", actor="test", at=self.at)

    def expire(self, *_) -> None:
        credits_expire(now=self.at, wall=self.at)

    def wait(self, _, hours) -> None:
        self.at += hours * HOUR

    def _claim(self, amount):
        """An invoice that takes what credit there is, as a renewal does."""
        holder = (self.user.pk, "USD")
        purses = purses_open([holder], at=self.at)
        lines = with_credit([LineDraft(LineKind.PLAN, "Basic", Money(amount, "USD"))], purses.available(holder))
        made = claim(
            user_id=self.user.pk,
            subscription_id=None,
            reason=Invoice.Reason.MANUAL,
            lines=lines,
            period_start=None,
            period_end=None,
            at=self.at,
        )
        if used := Money(made.invoice.credit, "USD"):
            purses.spend(holder, used, key=f"invoice:{made.invoice.pk}", invoice_id=made.invoice.pk, at=self.at)
        purses.close()
        return made

    def _one(self, model, place):
        rows = model.objects.filter(**({"user": self.user} if model is Invoice else {"account__user": self.user}))
        return rows.order_by("pk")[place : place + 1].first()


@pytest.mark.django_db
@settings(max_examples=60, deadline=None)
@given(steps=st.lists(STEPS, min_size=3, max_size=14))
def test_the_books_agree_after_every_history(steps):
    with transaction.atomic():
        history = History()
        for step, amount, choice in steps:
            with suppress(DomainError, InvalidTransition), transaction.atomic():
                getattr(history, step)(amount, choice)
            books_agree()
        history.at += 30 * HOUR
        history.expire()
        books_agree()
        over = CreditGrant.objects.filter(account__user=history.user, expires_at__lte=history.at, remaining__gt=0)
        assert not over.exists()
        transaction.set_rollback(True)
