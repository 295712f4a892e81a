"""Reads of money: customers see their own rows, operators and services all."""

from __future__ import annotations

import uuid
from collections.abc import Collection, Iterable
from typing import Any, TypeGuard

from django.db.models import QuerySet

from accounts.models import User
from payflow.api.principals import is_service
from payments.models import Invoice, PaymentMethod, PaymentTransaction, TaxRate
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
