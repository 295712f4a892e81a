"""Plan changes, pauses and resumes: actions of the subscription viewset."""

from __future__ import annotations

from typing import Any

from drf_spectacular.utils import extend_schema
from rest_framework.decorators import action
from rest_framework.request import Request
from rest_framework.response import Response

from payflow.api.idempotency import idempotency_id
from payflow.api.json import answer
from payflow.api.principals import principal_key
from payflow.api.strict import NoFields, body
from payflow.core import clock
from payflow.core.errors import NotFound, ValidationFailed
from plans.models import Plan
from plans.selectors import plan_get
from subscriptions.change_serializers import (
    ChangedSerializer,
    PauseSerializer,
    PlanChangeSerializer,
    PlanPreviewSerializer,
    PreviewSerializer,
    preview_data,
)
from subscriptions.models import Status
from subscriptions.selectors import subscription_read
from subscriptions.serializers import SubscriptionSerializer
from subscriptions.services.cancel import subscription_uncancel
from subscriptions.services.pauses import subscription_pause, subscription_resume
from subscriptions.services.plan_change import plan_change, plan_change_preview


class PlanChangeActions:
    """Mixed into the viewset, whose `get_object` has checked who asks."""

    get_object: Any

    @extend_schema(request=PlanPreviewSerializer, responses={200: PreviewSerializer})
    @action(detail=True, methods=["post"], url_path="preview-change")
    def preview_change(self, request: Request, pk: str) -> Response:
        """What a change would cost, line by line. `change-plan` with its `quoted_at` and `total` does exactly that."""
        data = body(PlanPreviewSerializer, request)
        now = clock.now()
        subscription = self.get_object()
        preview = plan_change_preview(
            subscription_id=subscription.pk,
            plan=plan_named(data["plan_id"]),
            when=data.get("when"),
            currency=data.get("currency"),
            now=now,
        )
        return answer(PreviewSerializer(preview_data(preview)).data)

    @extend_schema(request=PlanChangeSerializer, responses={200: ChangedSerializer})
    @action(detail=True, methods=["post"], url_path="change-plan")
    def change_plan(self, request: Request, pk: str) -> Response:
        """Changes the plan: now where it costs more, at the end of the period where it costs less, or as `when` says.

        Where the provider can't charge a stored method the change waits for the payment at `checkout_url`. The present plan
        takes a planned change back.
        """
        data = body(PlanChangeSerializer, request)
        changed = plan_change(
            subscription_id=self.get_object().pk,
            plan=plan_named(data["plan_id"]),
            when=data.get("when"),
            currency=data.get("currency"),
            quoted_at=data.get("quoted_at"),
            total=data.get("total"),
            next_amount=data.get("next_amount"),
            actor=principal_key(request.user) or "",
            now=clock.now(),
            request_id=idempotency_id(request),
        )
        data = {
            "subscription": subscription_read(changed.subscription.pk),
            "change": changed.change,
            "checkout_url": changed.checkout.url if changed.checkout else None,
        }
        return answer(ChangedSerializer(data).data, message="Changed")

    @extend_schema(request=PauseSerializer, responses={200: SubscriptionSerializer})
    @action(detail=True, methods=["post"])
    def pause(self, request: Request, pk: str) -> Response:
        """No access and no billing, until `resumes_at` or until it is resumed. Unused paid time becomes credit."""
        data = body(PauseSerializer, request)
        row = subscription_pause(
            subscription_id=self.get_object().pk,
            resumes_at=data.get("resumes_at"),
            actor=principal_key(request.user) or "",
            now=clock.now(),
        )
        return answer(SubscriptionSerializer(subscription_read(row.pk)).data, message="Paused")

    @extend_schema(request=None, responses={200: SubscriptionSerializer})
    @action(detail=True, methods=["post"])
    def resume(self, request: Request, pk: str) -> Response:
        """Ends a pause, billing the rest of the period; or takes a cancellation back while the paid time lasts."""
        body(NoFields, request)
        subscription = self.get_object()
        resume = subscription_resume if subscription.status == Status.PAUSED else subscription_uncancel
        row = resume(subscription_id=subscription.pk, actor=principal_key(request.user) or "", now=clock.now())
        return answer(SubscriptionSerializer(subscription_read(row.pk)).data, message="Resumed")


def plan_named(id_or_code: str) -> Plan:
    """The plan that a request's body names. Raises ValidationFailed."""
    try:
        return plan_get(id_or_code)
    except NotFound as error:
        raise ValidationFailed.field("plan_id", "There is no such plan") from error
