"""Where a provider's state and ours disagree, and how far its list of news has been read."""

from __future__ import annotations

from django.db import models

from payflow.core.models import Keyed, Timestamped
from subscriptions.models.subscriptions import Subscription


class DriftResolution(models.TextChoices):
    AGREES = "agrees", "they agree again"
    THEIRS = "theirs", "the provider's state was adopted"
    OURS = "ours", "the provider was told"


class ProviderDrift(Timestamped):
    """One disagreement about one subscription, open until they agree again or an operator has adopted a side.

    `ours` and `theirs` hold what differs: status, auto_renew, period_end.
    """

    Resolution = DriftResolution

    subscription = models.ForeignKey(Subscription, on_delete=models.RESTRICT, related_name="drifts", db_index=False)
    provider = models.CharField(max_length=50)
    ours = models.JSONField()
    theirs = models.JSONField()
    seen_at = models.DateTimeField(help_text="when it was last found")
    resolved_at = models.DateTimeField(null=True, blank=True)
    resolution = models.CharField(max_length=20, choices=DriftResolution.choices, blank=True, default="")
    actor = models.CharField(max_length=120, blank=True, default="")

    class Meta:
        db_table = "provider_drifts"
        constraints = [
            models.CheckConstraint(
                condition=models.Q(resolution__in=["", *DriftResolution.values]), name="provider_drifts_resolution"
            ),
            models.UniqueConstraint(
                fields=["subscription"], condition=models.Q(resolved_at=None), name="uniq_provider_drifts_open"
            ),
        ]
        indexes = [models.Index(fields=["subscription", "-created_at"], name="idx_provider_drifts_sub")]

    def __str__(self) -> str:
        return f"{self.provider} disagrees about {self.subscription_id}"


class ProviderFeed(Keyed):
    """Up to which moment (real time) a provider's own list of what it told has been read."""

    provider = models.CharField(max_length=50, unique=True)
    read_until = models.DateTimeField()

    class Meta:
        db_table = "provider_feeds"

    def __str__(self) -> str:
        return f"{self.provider} until {self.read_until:%Y-%m-%d %H:%M}"
