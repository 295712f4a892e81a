"""Rows with fixed, readable defaults. Each app's factories are here, so that any test can build any world."""

from __future__ import annotations

from decimal import Decimal

import factory

from accounts.keys import PREFIX_LENGTH, digest_of, new_key
from accounts.models import ApiKey, User
from plans.models import Coupon, Plan

PASSWORD = "correct horse battery staple"


class UserFactory(factory.django.DjangoModelFactory):
    class Meta:
        model = User
        skip_postgeneration_save = True

    email = factory.Sequence(lambda n: f"user{n}@example.com")
    name = "Ann Example"

    @classmethod
    def _create(cls, model_class, *args, **kwargs):
        return model_class.objects.create_user(kwargs.pop("email"), kwargs.pop("password", PASSWORD), **kwargs)


class StaffFactory(UserFactory):
    email = factory.Sequence(lambda n: f"staff{n}@example.com")
    is_staff = True


class AdminFactory(StaffFactory):
    email = factory.Sequence(lambda n: f"admin{n}@example.com")
    is_superuser = True


class ApiKeyFactory(factory.django.DjangoModelFactory):
    """The row; the key itself is its attribute `key`."""

    class Meta:
        model = ApiKey

    name = "backend"
    scopes = ["read", "subscriptions", "usage", "refunds"]

    @classmethod
    def _create(cls, model_class, *args, **kwargs):
        key = new_key()
        row = model_class.objects.create(prefix=key[:PREFIX_LENGTH], digest=digest_of(key), **kwargs)
        row.key = key
        return row


class PlanFactory(factory.django.DjangoModelFactory):
    """A monthly plan of 10 USD."""

    class Meta:
        model = Plan

    code = factory.Sequence(lambda n: f"plan-{n}")
    name = "Basic"
    price = Decimal("10.00")
    currency = "USD"
    billing_cycle = "monthly"

    @classmethod
    def _create(cls, model_class, *args, **kwargs):
        plan = super()._create(model_class, *args, **kwargs)
        plan.refresh_from_db()
        return plan


class CouponFactory(factory.django.DjangoModelFactory):
    """10 percent off the first invoice, for everybody."""

    class Meta:
        model = Coupon

    code = factory.Sequence(lambda n: f"SAVE-{n}")
    kind = "percent"
    percent = factory.LazyAttribute(lambda coupon: Decimal(10) if coupon.kind == "percent" else None)

    @classmethod
    def _create(cls, model_class, *args, **kwargs):
        plans = kwargs.pop("plans", [])
        coupon = super()._create(model_class, *args, **kwargs)
        coupon.plans.set(plans)
        coupon.refresh_from_db()
        return coupon
