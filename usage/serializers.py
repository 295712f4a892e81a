"""What goes in and out, for the OpenAPI document; the hot paths write their answers without serializers."""

from __future__ import annotations

from typing import Any

from rest_framework import serializers

from payflow.api.fields import MoneyAmountField
from payflow.api.pagination import COUNTED_TO
from plans.models import PriceModel, Settlement
from usage.content import MAX_CONTENT_ID, MAX_EVENT_ID, MAX_QUANTITY
from usage.models import Window


class LimitSerializer(serializers.Serializer[Any]):
    limit = serializers.CharField(help_text="the feature's key, max_usage_per_day or max_usage_per_month")
    action = serializers.CharField(help_text="* is all actions together")
    window = serializers.ChoiceField(
        choices=Window.values, help_text="period: what a priced action includes, where nothing beyond it is sold"
    )
    max = serializers.IntegerField(allow_null=True, help_text="null: no limit")
    used = serializers.IntegerField()
    remaining = serializers.IntegerField(allow_null=True)
    resets_at = serializers.DateTimeField(allow_null=True, help_text="null: never")


class UsageLogSerializer(serializers.Serializer[Any]):
    user_id = serializers.UUIDField(required=False, help_text="by services; a user logs for himself")
    action = serializers.RegexField(r"^[a-z0-9_.:-]{1,50}$")
    quantity = serializers.IntegerField(min_value=1, max_value=MAX_QUANTITY, default=1)
    content_id = serializers.CharField(required=False, allow_null=True, max_length=MAX_CONTENT_ID)
    metadata = serializers.JSONField(required=False, allow_null=True, help_text="an object of at most 8 kB")
    event_id = serializers.CharField(
        required=False, allow_null=True, max_length=MAX_EVENT_ID, help_text="counts once for ever, per user"
    )
    dry_run = serializers.BooleanField(default=False, help_text="ask without taking; answers 200")


class ChargeSerializer(serializers.Serializer[Any]):
    amount = MoneyAmountField()
    currency = serializers.CharField()


class LoggedUsageSerializer(serializers.Serializer[Any]):
    id = serializers.UUIDField(allow_null=True, help_text="null after a dry run")
    action = serializers.CharField()
    quantity = serializers.IntegerField()
    occurred_at = serializers.DateTimeField()
    limits = LimitSerializer(many=True)
    remaining = serializers.IntegerField(allow_null=True, help_text="the least of the limits; null: no limit")
    replayed = serializers.BooleanField(help_text="the event was counted before, this is its first answer")
    charge = ChargeSerializer(allow_null=True, help_text="drawn from credit; null where nothing is for this action")


class UsageEventSerializer(serializers.Serializer[Any]):
    user_id = serializers.UUIDField()
    action = serializers.RegexField(r"^[a-z0-9_.:-]{1,50}$")
    quantity = serializers.IntegerField(min_value=1, max_value=MAX_QUANTITY, default=1)
    content_id = serializers.CharField(required=False, allow_null=True, max_length=MAX_CONTENT_ID)
    metadata = serializers.JSONField(required=False, allow_null=True, help_text="an object of at most 8 kB")
    event_id = serializers.CharField(max_length=MAX_EVENT_ID, help_text="counts once for ever, per user")
    occurred_at = serializers.DateTimeField(
        required=False, allow_null=True, help_text="now unless given; at most USAGE_LATE_DAYS ago"
    )


class UsageBatchSerializer(serializers.Serializer[Any]):
    events = UsageEventSerializer(many=True, help_text="at most 5,000")


class UsageVerdictSerializer(serializers.Serializer[Any]):
    position = serializers.IntegerField(help_text="of the event in the batch, from 0")
    event_id = serializers.CharField(allow_null=True)
    verdict = serializers.ChoiceField(
        choices=["duplicate", "refused", "over_limit"],
        help_text="duplicate: counted before; refused: not counted; over_limit: counted, beyond `details.limits`",
    )
    code = serializers.CharField(allow_null=True, help_text="why it is refused: a code of docs/errors.md")
    details = serializers.JSONField(allow_null=True)


class BatchedUsageSerializer(serializers.Serializer[Any]):
    accepted = serializers.IntegerField(help_text="events that were counted now, those over a limit too")
    duplicates = serializers.IntegerField()
    refused = serializers.IntegerField()
    over_limit = serializers.IntegerField()
    verdicts = UsageVerdictSerializer(many=True, help_text="of every event that was not simply counted, by position")


class EntitledPlanSerializer(serializers.Serializer[Any]):
    id = serializers.UUIDField()
    code = serializers.CharField()
    name = serializers.CharField()


class PricedActionSerializer(serializers.Serializer[Any]):
    action = serializers.CharField()
    settlement = serializers.ChoiceField(choices=Settlement.choices)
    model = serializers.ChoiceField(choices=PriceModel.choices)
    included = serializers.IntegerField(help_text="units of each period that cost nothing")
    included_remaining = serializers.IntegerField()
    used = serializers.IntegerField(help_text="in this period")
    max = serializers.IntegerField(allow_null=True, help_text="what may be used at all; null: anything, for its price")
    cost = MoneyAmountField(help_text="of what is used so far, before tax")
    currency = serializers.CharField()
    period_start = serializers.DateTimeField()
    period_end = serializers.DateTimeField()


class EntitlementSerializer(serializers.Serializer[Any]):
    entitled = serializers.BooleanField()
    plan = EntitledPlanSerializer(allow_null=True)
    status = serializers.CharField(allow_null=True, help_text="trial, active, past_due; default: the plan of everybody")
    access_until = serializers.DateTimeField(allow_null=True, help_text="null: no end")
    features = serializers.DictField(help_text='{key: {"type": switch, limit or text, "value"}}')
    limits = LimitSerializer(many=True)
    priced_actions = PricedActionSerializer(many=True)
    subscription_id = serializers.UUIDField(allow_null=True)


class ActionUsageSerializer(serializers.Serializer[Any]):
    action = serializers.CharField()
    used = serializers.IntegerField()


class DayUsageSerializer(serializers.Serializer[Any]):
    date = serializers.DateField()
    used = serializers.IntegerField()


class MonthUsageSerializer(serializers.Serializer[Any]):
    month = serializers.DateField(help_text="its first day; the month is whole whatever the range")
    used = serializers.IntegerField()


class StatisticsSerializer(serializers.Serializer[Any]):
    user_id = serializers.UUIDField()
    since = serializers.DateField(help_text="a date of the user's zone, as all dates here")
    until = serializers.DateField(help_text="included")
    total = serializers.IntegerField(help_text="of the whole range, whichever page this is; as actions and months")
    actions = ActionUsageSerializer(many=True)
    months = MonthUsageSerializer(many=True)
    results = DayUsageSerializer(many=True, help_text="a page of the days on which anything was used, newest first")
    next = serializers.URLField(allow_null=True)
    previous = serializers.URLField(allow_null=True)
    count = serializers.IntegerField(allow_null=True, help_text=f"of days; exact to {COUNTED_TO}, else null")
