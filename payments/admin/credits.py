"""Operators' pages of customer credit: to look at; granted and taken back by confirmed actions.

Whoever has no account yet is given credit on his own page: `UserWithCredit` adds the action to the users' admin, which
lies a floor below and knows nothing of money.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable
from typing import Any

from django import forms
from django.contrib import admin
from django.http import HttpRequest
from unfold.widgets import (
    UnfoldAdminDecimalFieldWidget,
    UnfoldAdminSplitDateTimeWidget,
    UnfoldAdminTextInputWidget,
)

from accounts.admin import UserAdmin
from accounts.models import User
from accounts.roles import BILLING_ADMIN, FINANCE, has_role
from payflow.core import clock
from payflow.core.admin_actions import Act, Confirmed, ConfirmedActions, ReasonForm
from payflow.core.admin_base import CREATED, ReadOnlyAdmin, ReadOnlyInline, amount_text, page_link
from payments.credits import is_revoked
from payments.models import CreditAccount, CreditGrant, CreditSource, CreditUse
from payments.services.credits import credit_grant, credit_revoke
from payments.support_limits import may_grant_credit


class GrantForm(ReasonForm):
    amount = forms.DecimalField(min_value=0, widget=UnfoldAdminDecimalFieldWidget())
    expires_at = forms.SplitDateTimeField(
        required=False, widget=UnfoldAdminSplitDateTimeWidget(), help_text="UTC; empty: it does not expire"
    )
    field_order = ("amount", "currency", "expires_at", "reason")


class GrantToUserForm(GrantForm):
    currency = forms.CharField(max_length=3, widget=UnfoldAdminTextInputWidget(), help_text="ISO 4217, as USD")


def _grant(user_id: uuid.UUID, currency: str, row: Any, confirmed: Confirmed) -> str:
    grant = credit_grant(
        user_id=user_id,
        amount=confirmed.data["amount"],
        currency=currency,
        reason=confirmed.reason,
        expires_at=confirmed.data["expires_at"],
        actor=confirmed.actor,
        at=clock.now(),
        request_id=confirmed.request_id_of(row),
    )
    return f"{amount_text(grant.amount, grant.currency)} granted"


def _grant_act(form: type[ReasonForm], will: Callable[[Any], str], run: Callable[[Any, Confirmed], str]) -> Act:
    return Act(
        name="grant_credit",
        title="Grant credit",
        question="Give the customer credit? What is not spent can be taken back.",
        permission="grant_credit",
        will=will,
        run=run,
        applies=lambda _row: True,
        icon="redeem",
        asks_reason=True,
        form=form,
    )


class MayCredit:
    """Support grants, up to its limit; it takes nothing back."""

    def has_grant_credit_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return may_grant_credit(request.user)

    def has_credit_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return has_role(request.user, BILLING_ADMIN, FINANCE)


class GrantInline(ReadOnlyInline):
    model = CreditGrant
    fields = ("created_at", "source", "reason", "amount", "remaining", "expires_at", "expired_at")
    verbose_name_plural = "grants"
    tab = False


class UseInline(ReadOnlyInline):
    model = CreditUse
    fields = ("created_at", "amount", "invoice", "key", "returned_at")
    related = ("invoice",)
    verbose_name_plural = "uses"
    has_page = False
    tab = False


@admin.register(CreditAccount)
class CreditAccountAdmin(MayCredit, ConfirmedActions, ReadOnlyAdmin):
    acts = (
        _grant_act(
            GrantForm,
            lambda account: f"{account.user} has {amount_text(account.balance, account.currency)} now.",
            lambda account, confirmed: _grant(account.user_id, account.currency, account, confirmed),
        ),
    )
    list_display = ("user", "balance", "currency", "created_at", "updated_at")
    list_filter = (CREATED,)
    list_select_related = ("user",)
    search_fields = ("user__email__icontains",)
    search_ids = ("pk", "user_id")
    fields = ("user", "balance", "currency", "id", "created_at", "updated_at")
    inlines = (GrantInline,)

    def named(self, row: CreditAccount) -> str:
        return f"{amount_text(row.balance, row.currency)}, {row.user}"


def _takes_back(grant: CreditGrant) -> bool:
    expired = grant.expires_at is not None and grant.expires_at <= clock.now()
    return grant.source != CreditSource.UNUSED_TIME and not expired and not is_revoked(grant)


def _take_back_will(grant: CreditGrant) -> str:
    if not _takes_back(grant):
        return "Cannot be taken back: it is owed, has expired or was taken back already."
    rest = amount_text(grant.remaining, grant.currency)
    return f"{grant.account.user} loses {rest}, and whatever a void invoice would give back to this grant."


def _take_back(grant: CreditGrant, confirmed: Confirmed) -> str:
    credit_revoke(grant_id=grant.pk, reason=confirmed.reason, actor=confirmed.actor, at=clock.now())
    return "what was left of it is taken back"


@admin.register(CreditGrant)
class CreditGrantAdmin(MayCredit, ConfirmedActions, ReadOnlyAdmin):
    acts = (
        Act(
            name="take_back",
            title="Take back",
            question="Take back what is left of this credit? This cannot be undone.",
            permission="credit",
            will=_take_back_will,
            run=_take_back,
            applies=_takes_back,
            icon="undo",
            asks_reason=True,
            dangerous=True,
        ),
    )
    list_display = ("created_at", "holder", "source", "amount", "remaining", "expires_at", "reason")
    list_filter = ("source", CREATED)
    list_select_related = ("account__user",)
    list_defer = ("explanation",)
    search_fields = ("account__user__email__icontains", "key__exact")
    search_ids = ("pk", "account_id", "account__user_id")
    inlines = (UseInline,)

    @admin.display(description="user")
    def holder(self, grant: CreditGrant) -> Any:
        return page_link(grant.account, str(grant.account.user))

    def named(self, row: CreditGrant) -> str:
        return f"{amount_text(row.amount, row.currency)}, {row.account.user}"


class UserWithCredit(MayCredit, ConfirmedActions, UserAdmin):  # type: ignore[misc]
    acts = (
        _grant_act(
            GrantToUserForm,
            lambda user: f"{user} gets it at once.",
            lambda user, confirmed: _grant(user.pk, confirmed.data["currency"].strip().upper(), user, confirmed),
        ),
    )


admin.site.unregister(User)
admin.site.register(User, UserWithCredit)
