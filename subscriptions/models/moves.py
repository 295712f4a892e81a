"""Moving subscribers from one payment provider to another, one period at a time."""

from __future__ import annotations

from django.db import models

from payflow.core.fields import AmountField, fits_currency, not_negative, one_of
from payflow.core.models import Timestamped
from subscriptions.models.checkouts import Checkout
from subscriptions.models.subscriptions import Subscription


class MoveStatus(models.TextChoices):
    ACTIVE = "active"
    PAUSED = "paused"
    ENDED = "ended"


class ProviderMove(Timestamped):
    """An operator's wish that `percent` of those who are at one provider go on at another.

    Who is in the share follows from the id of the subscription alone (`services.move_rules.slot`). A link is sent
    `days_before` the end of the paid period, to be paid until then.
    """

    Status = MoveStatus

    from_provider = models.CharField(max_length=50)
    to_provider = models.CharField(max_length=50)
    percent = models.PositiveSmallIntegerField(default=100, help_text="the share of the subscribers who move, 1 to 100")
    days_before = models.PositiveSmallIntegerField(
        default=3, help_text="the link is sent so many days before the paid period ends, 1 to 30"
    )
    status = models.CharField(max_length=20, choices=MoveStatus.choices, default=MoveStatus.ACTIVE)
    actor = models.CharField(max_length=120)
    ended_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        db_table = "provider_moves"
        constraints = [
            one_of("status", MoveStatus, "provider_moves_status"),
            models.CheckConstraint(
                condition=models.Q(percent__gte=1, percent__lte=100), name="provider_moves_percent_is_a_share"
            ),
            models.CheckConstraint(
                condition=models.Q(days_before__gte=1, days_before__lte=30), name="provider_moves_days_before"
            ),
            models.CheckConstraint(
                condition=~models.Q(from_provider=models.F("to_provider")), name="provider_moves_elsewhere"
            ),
            models.UniqueConstraint(
                fields=["from_provider"],
                condition=models.Q(status__in=["active", "paused"]),
                name="uniq_provider_moves_open",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.from_provider} → {self.to_provider} ({self.percent} %)"


class MemberStatus(models.TextChoices):
    PREPARING = "preparing", "link being made"
    INVITED = "invited"
    MOVED = "moved"
    LEFT = "left", "left alone"
    FAILED = "failed"


class ProviderMoveMember(Timestamped):
    """How far one subscription is: one row for each move, for the newest period that was to be the first elsewhere.

    `period_start` is the end of the period that the old provider was paid for; `price` what a cycle cost when the link was
    made; `reason` why it was left alone or failed. `next_attempt_at` is real time: when the page is asked for (again).
    """

    Status = MemberStatus

    move = models.ForeignKey(ProviderMove, on_delete=models.RESTRICT, related_name="members", db_index=False)
    subscription = models.ForeignKey(Subscription, on_delete=models.RESTRICT, related_name="moves", db_index=False)
    status = models.CharField(max_length=20, choices=MemberStatus.choices)
    period_start = models.DateTimeField()
    price = AmountField()
    currency = models.CharField(max_length=3)
    checkout = models.ForeignKey(Checkout, null=True, blank=True, on_delete=models.RESTRICT, related_name="+")
    reason = models.CharField(max_length=200, blank=True, default="")
    next_attempt_at = models.DateTimeField(null=True, blank=True)
    moved_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        db_table = "provider_move_members"
        constraints = [
            one_of("status", MemberStatus, "provider_move_members_status"),
            not_negative("price", "provider_move_members_price_not_negative"),
            fits_currency("price", "provider_move_members_price_fits_currency"),
            models.UniqueConstraint(fields=["subscription", "move"], name="uniq_provider_move_members"),
            models.UniqueConstraint(
                fields=["subscription"],
                condition=models.Q(status__in=["preparing", "invited"]),
                name="uniq_provider_move_members_open",
            ),
            models.CheckConstraint(
                condition=~models.Q(status__in=["preparing", "invited"])
                | models.Q(checkout__isnull=False, next_attempt_at__isnull=False),
                name="provider_move_members_open_has_page",
            ),
            models.CheckConstraint(
                condition=~models.Q(status="moved") | models.Q(moved_at__isnull=False),
                name="provider_move_members_moved_at",
            ),
        ]
        indexes = [
            models.Index(fields=["move", "status"], name="idx_provider_move_members"),
            models.Index(
                fields=["next_attempt_at"],
                name="idx_provider_move_members_due",
                condition=models.Q(status__in=["preparing", "invited"]),
            ),
        ]

    def __str__(self) -> str:
        return f"{self.subscription_id} {self.status}"
