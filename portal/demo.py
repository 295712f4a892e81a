"""The demo's accounts: an operator for the admin and a customer with a free plan. Never in production."""

from __future__ import annotations

from django.core.management import call_command

from accounts.models import User
from accounts.selectors import user_by_email
from payflow.core import clock
from plans.models import Plan, PlanProviderRef
from plans.seeds import PREMIUM, PRO
from plans.selectors import plan_get
from providers import registry
from subscriptions.models import Subscription
from subscriptions.services.subscribe import subscription_create

#: The sandboxes that sell products of their own.
SELLERS = ("sandbox-billing", "sandbox-store")
CUSTOMER_EMAIL = "customer@payflow.local"
CUSTOMER_PASSWORD = "payflow-demo"  # noqa: S105 - printed at every start


def demo_seed(*, operator_email: str, operator_password: str) -> list[str]:
    """Makes what is missing and returns a line for each login. An existing account keeps its password."""
    _products_seed()
    if user_by_email(operator_email) is None:
        User.objects.create_superuser(operator_email, operator_password, name="Operator")
    customer = user_by_email(CUSTOMER_EMAIL)
    if customer is None:
        customer = User.objects.create_user(CUSTOMER_EMAIL, CUSTOMER_PASSWORD, name="Demo customer")
    if not Subscription.objects.filter(user=customer).exists():
        subscription_create(
            user_id=customer.pk,
            plan=plan_get("free"),
            provider=None,
            currency=None,
            success_url="",
            cancel_url="",
            actor="system",
            now=clock.now(),
        )
    return [f"operator: {operator_email}", f"customer: {CUSTOMER_EMAIL} / {CUSTOMER_PASSWORD}"]


def _products_seed() -> None:
    """A product for each plan that costs something, at each sandbox that sells by itself. What is known is left alone."""
    sellers = [name for name in SELLERS if name in registry.names()]
    for plan in Plan.objects.filter(code__in=(PREMIUM, PRO)):
        for name in sellers:
            ref = f"{plan.code}_{plan.billing_cycle}"
            if PlanProviderRef.objects.filter(provider=name, ref=ref).exists():
                continue
            # By command: the sandbox is a foreign system, and production does not have it.
            price = (str(plan.price), plan.currency, plan.billing_cycle)
            call_command("sandbox_product", name, ref, plan.name, *price, every=plan.billing_interval)
            PlanProviderRef.objects.create(plan=plan, provider=name, ref=ref)
