"""subscriptions/…: thin edges over the services."""

from __future__ import annotations

import uuid
from typing import Any

from django.conf import settings
from django.db.models import QuerySet
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework.decorators import action
from rest_framework.permissions import AllowAny
from rest_framework.request import Request
from rest_framework.response import Response

from accounts.models import User
from accounts.permissions import OwnOrInRole, may_act_for, may_refund
from payflow.api.fields import select
from payflow.api.json import answer
from payflow.api.permissions import IsPerson, ServicesInScope
from payflow.api.principals import is_service, principal_key
from payflow.api.router import UUID_PATTERN
from payflow.api.strict import NoFields, body, check_parameters
from payflow.api.views import ReadViewSet
from payflow.core import clock
from payflow.core.errors import Forbidden, NotFound, ValidationFailed
from payments.serializers import PaymentSerializer
from plans.selectors import plans_active
from plans.serializers import ActivePlansSerializer
from subscriptions.models import Subscription
from subscriptions.plan_change_views import PlanChangeActions, plan_named
from subscriptions.selectors import (
    subscription_current,
    subscription_pending,
    subscription_read,
    subscriptions_with_plan,
)
from subscriptions.serializers import (
    CurrentSubscriptionSerializer,
    RetriedSerializer,
    SubscribedSerializer,
    SubscribeSerializer,
    SubscriptionChangeSerializer,
    SubscriptionSerializer,
)
from subscriptions.services.attach import purchase_attach
from subscriptions.services.cancel import subscription_cancel
from subscriptions.services.preferences import preferences_update
from subscriptions.services.retry import payment_retry
from subscriptions.services.subscribe import subscription_create

CANCEL = [
    OpenApiParameter("when", str, enum=["period_end", "now"], description="period_end unless given"),
    OpenApiParameter("refund", bool, description="with when=now: give the unused paid time back"),
]


class SubscriptionViewSet(PlanChangeActions, ReadViewSet):
    """Subscriptions: one's own; all for operators and services. Somebody else's is 404."""

    queryset = Subscription.objects.none()
    serializer_class = SubscriptionSerializer
    permission_classes = [ServicesInScope, OwnOrInRole]
    required_scope = "subscriptions"
    filterset_fields = ["status", "plan", "provider", "family"]
    lookup_value_regex = UUID_PATTERN

    def get_queryset(self) -> QuerySet[Subscription]:
        rows = subscriptions_with_plan()
        if is_service(self.request.user) or self.request.user.is_staff:
            return rows
        return rows.filter(user_id=_person(self.request))

    @extend_schema(request=SubscribeSerializer, responses={201: SubscribedSerializer})
    def create(self, request: Request) -> Response:
        """Subscribes: a free plan at once, a paid one by the page at `checkout_url`, a store purchase by its token."""
        data = body(SubscribeSerializer, request)
        if "purchase_token" in data:
            return self._attached(request, data)
        result = subscription_create(
            user_id=_subscriber(request, data.get("user_id")),
            plan=plan_named(data["plan_id"]),
            provider=data.get("provider"),
            currency=data.get("currency"),
            coupon=data.get("coupon"),
            country=data.get("country"),
            success_url=data.get("success_url", ""),
            cancel_url=data.get("cancel_url", ""),
            actor=principal_key(request.user) or "",
            now=clock.now(),
        )
        return answer(
            SubscribedSerializer(
                {
                    "subscription": subscription_read(result.subscription.pk),
                    "checkout_url": result.checkout.url if result.checkout else None,
                    "checkout": result.checkout,
                }
            ).data,
            message="Subscribed" if result.checkout is None else "Waiting for payment",
            status=201 if result.created else 200,
        )

    def _attached(self, request: Request, data: dict[str, Any]) -> Response:
        row, new = purchase_attach(
            user_id=_subscriber(request, data.get("user_id")),
            provider=data["provider"],
            token=data["purchase_token"],
            now=clock.now(),
        )
        attached = {"subscription": subscription_read(row.pk), "checkout_url": None, "checkout": None}
        return answer(
            SubscribedSerializer(attached).data,
            message="Purchase attached" if new else "Purchase restored",
            status=201 if new else 200,
        )

    @extend_schema(request=SubscriptionChangeSerializer, responses={200: SubscriptionSerializer})
    def update(self, request: Request, pk: str) -> Response:
        """Changes auto_renew, payment_method_id, timezone. `auto_renew: true` takes a cancellation back."""
        changes = body(SubscriptionChangeSerializer, request)
        row = preferences_update(
            subscription_id=self.get_object().pk,
            changes=changes,
            actor=principal_key(request.user) or "",
            now=clock.now(),
        )
        return answer(SubscriptionSerializer(subscription_read(row.pk)).data, message="Updated")

    @extend_schema(parameters=CANCEL, responses={200: SubscriptionSerializer})
    def destroy(self, request: Request, pk: str) -> Response:
        """Cancels: at the end of the paid time, or `?when=now`, with `&refund=true` giving the unused time back."""
        return self._cancelled(request, self.get_object().pk)

    @extend_schema(request=None, responses={200: RetriedSerializer})
    @action(detail=True, methods=["post"], url_path="retry-payment")
    def retry_payment(self, request: Request, pk: str) -> Response:
        """Pays what is due now: with the stored method, or on the page at `checkout_url`."""
        body(NoFields, request)
        result = payment_retry(
            subscription_id=self.get_object().pk, actor=principal_key(request.user) or "", now=clock.now()
        )
        payment = PaymentSerializer(result.payment).data if result.payment else None
        url = result.checkout.url if result.checkout else None
        return answer({"payment": payment, "checkout_url": url}, message="Paid" if payment else "Waiting for payment")

    @extend_schema(responses={200: ActivePlansSerializer}, filters=False)
    @action(detail=False, permission_classes=[AllowAny], pagination_class=None, filterset_fields=None)
    def plans(self, request: Request) -> Response:
        """What can be subscribed to."""
        check_parameters(request.query_params, ())
        rows = [select(row, request.query_params) for row in plans_active()]
        return answer({"results": rows, "next": None, "previous": None, "count": len(rows)})

    @extend_schema(methods=["GET"], responses={200: CurrentSubscriptionSerializer}, filters=False)
    @extend_schema(methods=["DELETE"], parameters=CANCEL, responses={200: SubscriptionSerializer})
    @action(detail=False, methods=["get", "delete"], permission_classes=[IsPerson], pagination_class=None)
    def me(self, request: Request) -> Response:
        """The caller's subscription: the live one, else the pending one. DELETE cancels it."""
        row = subscription_current(_person(request))
        if row is None:
            raise NotFound("You have no subscription")
        if request.method == "DELETE":
            return self._cancelled(request, row.pk)
        pending = subscription_pending(row.user_id, row.family) if row.is_live else None
        context = {**self.get_serializer_context(), "pending": pending}
        return answer(CurrentSubscriptionSerializer(row, context=context).data)

    @extend_schema(responses={200: SubscriptionSerializer(many=True)})
    @action(detail=False, url_path=f"user/(?P<user_id>{UUID_PATTERN})")
    def user(self, request: Request, user_id: str) -> Response:
        """The subscriptions of one user, newest first."""
        if not (is_service(request.user) or request.user.is_staff or str(request.user.pk) == user_id.lower()):
            raise NotFound
        page = self.paginate_queryset(self.filter_queryset(subscriptions_with_plan().filter(user_id=user_id)))
        return self.get_paginated_response(self.get_serializer(page, many=True).data)

    def _cancelled(self, request: Request, subscription_id: uuid.UUID) -> Response:
        body(NoFields, request)
        check_parameters(request.query_params, ("when", "refund"))
        when = request.query_params.get("when", "period_end")
        if when not in ("period_end", "now"):
            raise ValidationFailed.field("when", "period_end or now")
        refund = request.query_params.get("refund", "false")
        if refund not in ("true", "false"):
            raise ValidationFailed.field("refund", "true or false")
        customers = settings.CUSTOMER_REFUNDS and not is_service(request.user)
        if refund == "true" and not (customers or may_refund(request.user)):
            raise Forbidden("Who handles money refunds; ask support")
        row = subscription_cancel(
            subscription_id=subscription_id,
            at_once=when == "now",
            refund=refund == "true",
            actor=principal_key(request.user) or "",
            now=clock.now(),
        )
        return answer(SubscriptionSerializer(subscription_read(row.pk)).data, message="Cancelled")


def _subscriber(request: Request, user_id: uuid.UUID | None) -> uuid.UUID:
    """For whom: a person subscribes himself, a service or an operator names the user."""
    if user_id is None:
        if is_service(request.user):
            raise ValidationFailed.field("user_id", "A service says for whom")
        return _person(request)
    if not may_act_for(request.user, user_id):
        raise Forbidden("You subscribe yourself only")
    if not User.objects.filter(pk=user_id, is_active=True).exists():
        raise ValidationFailed.field("user_id", "There is no such user")
    return user_id


def _person(request: Request) -> uuid.UUID:
    """The key of the signed-in user; permissions have seen to it that there is one."""
    assert request.user.pk is not None
    return request.user.pk
