"""What the sandbox sells by itself, as its owner enters it."""

from __future__ import annotations

from providers.sandbox.models import SandboxProduct
from providers.sandbox.subscription_inputs import ProductInput


def product_keep(*, account: str, wanted: ProductInput) -> SandboxProduct:
    """The product of this reference, as it is wanted now. What was bought keeps its price until it renews."""
    product, _ = SandboxProduct.objects.update_or_create(
        account=account,
        product_ref=wanted.product_ref,
        defaults={
            "name": wanted.name,
            "price": wanted.price,
            "currency": wanted.currency,
            "cycle": wanted.cycle,
            "every": wanted.every,
            "trial_days": wanted.trial_days,
        },
    )
    return product
