"""Payments and what leads to them: checkouts, stored methods, refunds, disputes, deliveries."""

from __future__ import annotations

import secrets
import uuid

from django.db import models
from django.db.models import F, Q

from payflow.core.fields import AmountField, fits_currency, not_negative, one_of
from payflow.core.ids import parse_uuid
from payflow.core.models import Keyed

MAX_URL = 2000


class Behaviour(models.TextChoices):
    """What a stored method does when it is charged later."""

    OK = "ok", "works at later charges"
    DECLINE = "decline", "declines later charges (insufficient funds)"
    STOLEN = "stolen", "reported stolen before later charges"
    ACTION = "action", "asks for confirmation at later charges"
    TIMEOUT = "timeout", "later charges time out, then settle"
    HOLD = "hold", "later charges are answered late"


def new_token() -> str:
    """256 bits: whoever has the URL may pay, so nobody may guess it."""
    return secrets.token_urlsafe(32)


class Public(Keyed):
    """A row that the API names: `<prefix>_<hex of the key>`."""

    PREFIX = ""

    account = models.CharField(max_length=40)

    class Meta:
        abstract = True

    @property
    def ref(self) -> str:
        return f"{self.PREFIX}_{self.id.hex}"

    @classmethod
    def key_of(cls, ref: str) -> uuid.UUID:
        """The primary key that a reference names; where it names none, one that no row has."""
        prefix, _, key = ref.partition("_")
        return (parse_uuid(key) if prefix == cls.PREFIX and len(key) == 32 else None) or uuid.UUID(int=0)


class CheckoutKind(models.TextChoices):
    SUBSCRIPTION = "subscription"
    LINK = "link"


class CheckoutStatus(models.TextChoices):
    OPEN = "open"
    COMPLETED = "completed"


class SandboxCheckout(Public):
    """A page where something can be paid once. `completed` means paid, or taken without money (a trial)."""

    PREFIX = "cs"

    Kind = CheckoutKind
    Status = CheckoutStatus

    idempotency_key = models.CharField(max_length=255)
    request_hash = models.CharField(max_length=64)
    token = models.CharField(max_length=64, unique=True, default=new_token)
    kind = models.CharField(max_length=20, choices=Kind.choices)
    status = models.CharField(max_length=20, choices=Status.choices, default=Status.OPEN)
    order_ref = models.CharField(max_length=255)
    amount = AmountField()
    currency = models.CharField(max_length=3)
    user_ref = models.CharField(max_length=255)
    plan_ref = models.CharField(max_length=255, blank=True)
    #: What is bought, where the sandbox sells by itself: then the price is the product's.
    product = models.ForeignKey("sandbox.SandboxProduct", null=True, on_delete=models.PROTECT, related_name="checkouts")
    description = models.CharField(max_length=255, blank=True)
    billed = models.CharField(max_length=60, blank=True)
    email = models.CharField(max_length=320, blank=True)
    trial_days = models.PositiveIntegerField(default=0)
    success_url = models.CharField(max_length=MAX_URL)
    cancel_url = models.CharField(max_length=MAX_URL)
    fail_url = models.CharField(max_length=MAX_URL, blank=True)
    hook_url = models.CharField(max_length=MAX_URL, blank=True)
    expires_at = models.DateTimeField()

    class Meta:
        db_table = "sandbox_checkouts"
        constraints = [
            models.UniqueConstraint(fields=["account", "idempotency_key"], name="uniq_sandbox_checkout_key"),
            one_of("kind", CheckoutKind, "sandbox_checkouts_kind"),
            one_of("status", CheckoutStatus, "sandbox_checkouts_status"),
            not_negative("amount", "sandbox_checkouts_amount"),
            fits_currency("amount", "sandbox_checkouts_currency"),
        ]

    def __str__(self) -> str:
        return self.ref


class SandboxMethod(Public):
    """A card on file. No number was ever there."""

    PREFIX = "pm"

    customer_ref = models.CharField(max_length=255)
    user_ref = models.CharField(max_length=255, blank=True)
    behaviour = models.CharField(max_length=20, choices=Behaviour.choices, default=Behaviour.OK)
    brand = models.CharField(max_length=20)
    last4 = models.CharField(max_length=4)
    hook_url = models.CharField(max_length=MAX_URL, blank=True)

    class Meta:
        db_table = "sandbox_methods"
        constraints = [one_of("behaviour", Behaviour, "sandbox_methods_behaviour")]

    def __str__(self) -> str:
        return self.ref


class PaymentKind(models.TextChoices):
    CHECKOUT = "checkout"
    CHARGE = "charge"


class PaymentStatus(models.TextChoices):
    SUCCEEDED = "succeeded"
    DECLINED = "declined"
    REQUIRES_ACTION = "requires_action"


class SandboxPayment(Public):
    """Money taken or refused, on a checkout page or as a charge of a stored method."""

    PREFIX = "pay"

    Kind = PaymentKind
    Status = PaymentStatus

    kind = models.CharField(max_length=20, choices=Kind.choices)
    status = models.CharField(max_length=20, choices=Status.choices)
    idempotency_key = models.CharField(max_length=255)
    request_hash = models.CharField(max_length=64, blank=True)
    checkout = models.ForeignKey(SandboxCheckout, null=True, on_delete=models.PROTECT, related_name="payments")
    method = models.ForeignKey(SandboxMethod, null=True, on_delete=models.PROTECT, related_name="payments")
    #: Of a period of a subscription of the sandbox's own.
    subscription = models.ForeignKey(
        "sandbox.SandboxSubscription", null=True, on_delete=models.PROTECT, related_name="payments"
    )
    period_start = models.DateTimeField(null=True)
    period_end = models.DateTimeField(null=True)
    amount = AmountField()
    currency = models.CharField(max_length=3)
    refunded = AmountField(default=0)
    decline_code = models.CharField(max_length=40, blank=True)
    recoverable = models.BooleanField(default=True)
    action_token = models.CharField(max_length=64, unique=True, null=True)
    hook_url = models.CharField(max_length=MAX_URL, blank=True)

    class Meta:
        db_table = "sandbox_payments"
        constraints = [
            # A checkout may be declined often; a charge happens once per key.
            models.UniqueConstraint(
                fields=["account", "idempotency_key"], condition=Q(kind="charge"), name="uniq_sandbox_charge_key"
            ),
            models.UniqueConstraint(
                fields=["checkout"], condition=Q(status="succeeded"), name="uniq_sandbox_checkout_paid"
            ),
            one_of("kind", PaymentKind, "sandbox_payments_kind"),
            one_of("status", PaymentStatus, "sandbox_payments_status"),
            models.CheckConstraint(condition=Q(amount__gt=0), name="sandbox_payments_amount"),
            fits_currency("amount", "sandbox_payments_currency"),
            models.CheckConstraint(
                condition=Q(refunded=0) | Q(refunded__gt=0, refunded__lte=F("amount"), status="succeeded"),
                name="sandbox_payments_refunded",
            ),
        ]
        indexes = [models.Index(fields=["account", "idempotency_key"], name="idx_sandbox_payment_key")]

    def __str__(self) -> str:
        return self.ref


class SandboxRefund(Public):
    PREFIX = "re"

    idempotency_key = models.CharField(max_length=255)
    request_hash = models.CharField(max_length=64)
    payment = models.ForeignKey(SandboxPayment, on_delete=models.PROTECT, related_name="refunds")
    amount = AmountField()
    reason = models.CharField(max_length=255, blank=True)

    class Meta:
        db_table = "sandbox_refunds"
        constraints = [
            models.UniqueConstraint(fields=["account", "idempotency_key"], name="uniq_sandbox_refund_key"),
            models.CheckConstraint(condition=Q(amount__gt=0), name="sandbox_refunds_amount"),
        ]

    def __str__(self) -> str:
        return self.ref


class DisputeStatus(models.TextChoices):
    OPEN = "open"
    LOST = "lost"
    WON = "won"


class SandboxDispute(Public):
    """The payer's bank asks a payment back: `lost` is the money gone, `won` is it kept. One that is not won per payment."""

    PREFIX = "dp"

    Status = DisputeStatus

    idempotency_key = models.CharField(max_length=255)
    request_hash = models.CharField(max_length=64)
    payment = models.ForeignKey(SandboxPayment, on_delete=models.PROTECT, related_name="disputes")
    status = models.CharField(max_length=20, choices=Status.choices, default=Status.OPEN)
    amount = AmountField()
    reason = models.CharField(max_length=255, blank=True)
    hook_url = models.CharField(max_length=MAX_URL, blank=True)

    class Meta:
        db_table = "sandbox_disputes"
        constraints = [
            models.UniqueConstraint(fields=["account", "idempotency_key"], name="uniq_sandbox_dispute_key"),
            models.UniqueConstraint(
                fields=["payment"], condition=~Q(status="won"), name="uniq_sandbox_dispute_payment"
            ),
            one_of("status", DisputeStatus, "sandbox_disputes_status"),
            models.CheckConstraint(condition=Q(amount__gt=0), name="sandbox_disputes_amount"),
        ]

    def __str__(self) -> str:
        return self.ref


class DeliveryStatus(models.TextChoices):
    PENDING = "pending"
    DELIVERED = "delivered"
    GIVEN_UP = "given_up"


class SandboxDelivery(Public):
    """One webhook, written in the transaction of the fact that it tells. `body` is what is sent, byte for byte."""

    PREFIX = "dlv"

    Status = DeliveryStatus

    event_id = models.CharField(max_length=40, unique=True)
    hook_url = models.CharField(max_length=MAX_URL)
    body = models.TextField()
    status = models.CharField(max_length=20, choices=Status.choices, default=Status.PENDING)
    #: How often it is sent again though it has arrived: a fault that was asked for.
    repeats = models.PositiveSmallIntegerField(default=0, db_default=0)
    attempts = models.PositiveSmallIntegerField(default=0)
    #: When it is due; while an attempt runs, the end of that attempt's lease.
    next_attempt_at = models.DateTimeField()
    last_status = models.PositiveSmallIntegerField(null=True)

    class Meta:
        db_table = "sandbox_deliveries"
        verbose_name_plural = "sandbox deliveries"
        constraints = [one_of("status", DeliveryStatus, "sandbox_deliveries_status")]
        indexes = [
            models.Index(fields=["next_attempt_at"], name="idx_sandbox_delivery_due", condition=Q(status="pending"))
        ]

    def __str__(self) -> str:
        return f"{self.event_id} {self.status}"
