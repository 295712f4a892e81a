"""Reads of money: customers see their own rows, operators and services all."""

from __future__ import annotations

import uuid
from collections.abc import Collection, Iterable
from typing import Any, TypeGuard

from django.db.models import CharField, Exists, OuterRef, Prefetch, QuerySet, Value
from django.db.models.functions import Cast, Concat

from accounts.models import User
from payflow.api.principals import is_service
from payments.credits import REVOKED, SPENDING_ORDER, payment_key
from payments.models import CreditAccount, CreditGrant, Invoice, PaymentMethod, PaymentTransaction, TaxRate
from providers import registry


def can_be_charged(method: PaymentMethod | None) -> TypeGuard[PaymentMethod]:
    """Is there a stored method that we may charge now, at a provider that is configured and lets us?"""
    return (
        method is not None
        and method.is_active
        and method.provider in registry.names()
        and registry.get(method.provider).capabilities.merchant_charge
    )


def is_disputed(charge: PaymentTransaction) -> bool:
    """Is a dispute of the charge open or lost? What was won is as if it had not been."""
    disputes = charge.children.filter(type=PaymentTransaction.Type.CHARGEBACK)
    return disputes.exclude(status=PaymentTransaction.Status.FAILED).exists()


def has_open_dispute(subscription_id: uuid.UUID) -> bool:
    """Is a payment of the subscription questioned, and nobody knows yet whose it stays?"""
    return PaymentTransaction.objects.filter(
        subscription=subscription_id,
        type=PaymentTransaction.Type.CHARGEBACK,
        status=PaymentTransaction.Status.PENDING,
        invoice__isnull=False,
    ).exists()


def tax_rates_of_users(user_ids: Collection[uuid.UUID]) -> dict[uuid.UUID, TaxRate]:
    """The rate of each user's country; who has no country, or one without a rate, is left out."""
    rates = {rate.country: rate for rate in TaxRate.objects.filter(is_active=True)}
    if not rates:
        return {}
    countries = User.objects.filter(pk__in=user_ids, country__in=rates).values_list("pk", "country")
    return {user_id: rates[country] for user_id, country in countries}


def tax_rate_of(country: str) -> TaxRate | None:
    """The rate in force for buyers of a country (its code); None where there is none, or the country is not known."""
    return tax_rates_of([country]).get(country)


def has_tax_rates() -> bool:
    return TaxRate.objects.filter(is_active=True).exists()


def tax_rates_of(countries: Iterable[str]) -> dict[str, TaxRate]:
    """The rates in force, by country; one query however many there are."""
    wanted = {country for country in countries if country}
    rows = TaxRate.objects.filter(country__in=wanted, is_active=True) if wanted else ()
    return {rate.country: rate for rate in rows}


def sees_all(principal: Any) -> bool:
    """Operators, and services whose scope the view has checked."""
    return is_service(principal) or bool(principal.is_staff)


def payments_visible(principal: Any) -> QuerySet[PaymentTransaction]:
    rows = PaymentTransaction.objects.all()
    return rows if sees_all(principal) else rows.filter(user_id=principal.pk)


def invoices_visible(principal: Any) -> QuerySet[Invoice]:
    rows = Invoice.objects.prefetch_related("lines")
    return rows if sees_all(principal) else rows.filter(user_id=principal.pk)


def payment_methods_visible(principal: Any) -> QuerySet[PaymentMethod]:
    rows = PaymentMethod.objects.filter(is_active=True)
    return rows if sees_all(principal) else rows.filter(user_id=principal.pk)


def credit_accounts_visible(principal: Any) -> QuerySet[CreditAccount]:
    """With their grants, those that are spent first first."""
    grants = Prefetch("grants", queryset=CreditGrant.objects.order_by(*SPENDING_ORDER))
    rows = CreditAccount.objects.prefetch_related(grants)
    return rows if sees_all(principal) else rows.filter(user_id=principal.pk)


def payments_unapplied() -> QuerySet[PaymentTransaction]:
    """Money that came in, settles nothing and is nobody's credit: it waits."""
    rows = PaymentTransaction.objects.filter(
        type=PaymentTransaction.Type.CHARGE, status=PaymentTransaction.Status.COMPLETED, invoice=None
    )
    return rows.exclude(Exists(credit_of_payments().exclude(explanation__has_key=REVOKED)))


def credit_of_payments() -> QuerySet[CreditGrant]:
    """To be asked of each payment in a query of payments (`Exists`): the grant that it became."""
    key = Concat(Value(payment_key("")), Cast(OuterRef("pk"), CharField()))
    return CreditGrant.objects.filter(key=key)
