"""The demo's accounts: an operator for the admin and a customer with a free plan. Never in production."""

from __future__ import annotations

from accounts.models import User
from accounts.selectors import user_by_email
from payflow.core import clock
from plans.selectors import plan_get
from subscriptions.models import Subscription
from subscriptions.services.subscribe import subscription_create

CUSTOMER_EMAIL = "customer@payflow.local"
CUSTOMER_PASSWORD = "payflow-demo"  # noqa: S105 - printed at every start


def demo_seed(*, operator_email: str, operator_password: str) -> list[str]:
    """Makes what is missing and returns a line for each login. An existing account keeps its password."""
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
