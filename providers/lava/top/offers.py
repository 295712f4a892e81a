"""What is bought at lava.top: an offer of its cabinet, and how often it is paid.

The plan's provider reference is the offer's id, or `<offer id>:<periodicity>` where an offer has several, each of which is
a plan of its own. The periodicity must be the plan's interval to the day.
"""

from __future__ import annotations

from dataclasses import dataclass

from providers.base import RequestRefused

#: The intervals of plans that lava.top renews in. 90 days are not three months: its charges and our periods would part.
PERIODICITIES = {
    (1, "monthly"): "MONTHLY",
    (90, "daily"): "PERIOD_90_DAYS",
    (180, "daily"): "PERIOD_180_DAYS",
    (1, "yearly"): "PERIOD_YEAR",
    (12, "monthly"): "PERIOD_YEAR",
}


@dataclass(frozen=True, slots=True)
class Offer:
    id: str
    periodicity: str


def offer_of(provider_plan_ref: str | None, interval: tuple[int, str]) -> Offer:
    """Raises RequestRefused where the plan has no offer, or one that is paid at other times."""
    offer, _, named = (provider_plan_ref or "").partition(":")
    if not offer:
        raise RequestRefused("the plan has no offer of lava.top (its provider reference)")
    periodicity = PERIODICITIES.get(interval)
    if periodicity is None:
        raise RequestRefused("lava.top does not renew in this interval")
    if named and named != periodicity:
        raise RequestRefused("the offer's periodicity is not the plan's interval")
    return Offer(offer, periodicity)
