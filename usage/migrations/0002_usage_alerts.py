"""What tells that a limit is nearly or wholly used: called by the statements that count, in their transaction."""

from django.db import migrations

from payflow.core.sql import DROP_OUTBOX_EMIT_FUNCTION, OUTBOX_EMIT_FUNCTION

#: A counter only rises, so that each threshold is passed by exactly one statement: used before < threshold <= used after.
THRESHOLDS = """
CREATE FUNCTION usage_thresholds_reached(
    user_id uuid, subscription_id uuid, limit_name text, action text, usage_window text, local_date date,
    resets_at timestamptz, used bigint, units bigint, cap bigint, thresholds integer[], at timestamptz, handlers text[]
) RETURNS integer AS $$
DECLARE
    percent integer;
    reached integer := 0;
BEGIN
    FOREACH percent IN ARRAY thresholds LOOP
        IF (used - units) * 100 < cap * percent AND used * 100 >= cap * percent THEN
            PERFORM outbox_emit('usage.threshold_reached', 'user', user_id, jsonb_build_object(
                'user_id', user_id, 'subscription_id', subscription_id, 'threshold', percent, 'limit', limit_name,
                'action', action, 'window', usage_window, 'local_date', local_date, 'max', cap, 'used', used,
                'remaining', greatest(cap - used, 0), 'resets_at', resets_at
            ), at, handlers);
            reached := reached + 1;
        END IF;
    END LOOP;
    RETURN reached;
END;
$$ LANGUAGE plpgsql VOLATILE;
"""
DROP_THRESHOLDS = (
    "DROP FUNCTION usage_thresholds_reached(uuid, uuid, text, text, text, date, timestamptz, bigint, bigint, bigint,"
    " integer[], timestamptz, text[])"
)


class Migration(migrations.Migration):
    dependencies = [("usage", "0001_usage"), ("core", "0001_core_tables")]

    operations = [
        migrations.RunSQL(OUTBOX_EMIT_FUNCTION, DROP_OUTBOX_EMIT_FUNCTION),
        migrations.RunSQL(THRESHOLDS, DROP_THRESHOLDS),
    ]
