"""Counting as a function of the database, whose plans are kept by each connection; and the mark of how a user stands.

Planning the long statement that it takes the place of cost more than running it.
"""

from django.db import migrations

#: Another text as soon as one of these rows is another version. Of the subscriptions all, whatever their status: which of
#: them count is decided elsewhere. NULL where there is no such user. Not in the language SQL: it would be planned each time.
STANDING = """
CREATE FUNCTION usage_standing(p_user uuid, p_default_plan text) RETURNS text AS $$
DECLARE
    mark text;
BEGIN
    SELECT u.xmin::text
        || coalesce((
            SELECT string_agg(' ' || s.id || ' ' || s.xmin || ' ' || p.xmin, '' ORDER BY s.id)
            FROM subscriptions s JOIN plans p ON p.id = s.plan_id WHERE s.user_id = p_user
        ), '')
    INTO mark FROM users u WHERE u.id = p_user;
    IF p_default_plan <> '' THEN
        mark := mark || coalesce(
            (SELECT ' default ' || p.id || ' ' || p.xmin FROM plans p WHERE p.code = p_default_plan), ''
        );
    END IF;
    RETURN mark;
END;
$$ LANGUAGE plpgsql STABLE;
"""

#: `use` is what `usage.statement` writes; its slots are in key order, so that two callers never wait for each other in a
#: circle. Then come the meter, the event's key and the log row. No counter is read first: ON CONFLICT DO UPDATE locks the
#: row and adds to its newest version. An error takes all of it back.
TAKE = """
CREATE FUNCTION usage_take(use jsonb, OUT used bigint[], OUT alerts integer) AS $$
DECLARE
    user_key CONSTANT uuid := use ->> 'user_id';
    subscription_key CONSTANT uuid := use ->> 'subscription_id';
    units CONSTANT integer := use ->> 'quantity';
    event CONSTANT text := use ->> 'event_id';
    at CONSTANT timestamptz := use ->> 'now';
    happened_at CONSTANT timestamptz := use ->> 'occurred_at';
    least CONSTANT integer := use ->> 'least';
    slot record;
    counted bigint;
    shown jsonb[] := '{}';
    refused_action text;
    refused_window text;
    refused_used bigint;
    refused_cap bigint;
    refused_until timestamptz;
BEGIN
    IF use ->> 'standing' IS NOT NULL THEN
        IF use ->> 'standing' IS DISTINCT FROM usage_standing(user_key, use ->> 'default_plan') THEN
            RETURN;
        END IF;
    END IF;
    used := '{}';
    alerts := 0;
    FOR slot IN SELECT * FROM jsonb_to_recordset(use -> 'slots') AS s (
        family text, action text, usage_window text, local_date date, name text, cap bigint, resets_at timestamptz, place integer
    ) LOOP
        INSERT INTO usage_counters AS c (user_id, family, action, "window", local_date, used)
        VALUES (user_key, slot.family, slot.action, slot.usage_window, slot.local_date, units)
        ON CONFLICT (user_id, family, action, "window", local_date) DO UPDATE SET used = c.used + EXCLUDED.used
        RETURNING c.used INTO counted;
        used := used || counted;
        IF counted > slot.cap AND (
            refused_used IS NULL OR slot.resets_at IS NULL OR slot.resets_at > refused_until
        ) THEN
            refused_action := slot.action;
            refused_window := slot.usage_window;
            refused_used := counted;
            refused_cap := slot.cap;
            refused_until := slot.resets_at;
        END IF;
        IF counted * 100 >= slot.cap * least THEN
            alerts := alerts + usage_thresholds_reached(
                user_key, subscription_key, slot.name, slot.action, slot.usage_window, slot.local_date, slot.resets_at,
                counted, units, slot.cap,
                ARRAY(SELECT percent::integer FROM jsonb_array_elements_text(use -> 'thresholds') AS percent), at,
                ARRAY(SELECT handler FROM jsonb_array_elements_text(use -> 'handlers') AS handler)
            );
        END IF;
        IF event IS NOT NULL AND slot.place IS NOT NULL THEN
            shown[slot.place] := jsonb_build_object(
                'limit', slot.name, 'action', slot.action, 'window', slot.usage_window, 'max', slot.cap,
                'used', counted, 'remaining', slot.cap - counted, 'resets_at', slot.resets_at
            );
        END IF;
    END LOOP;
    IF refused_used IS NOT NULL THEN
        PERFORM usage_limit_exceeded(refused_action, refused_window, refused_used, refused_cap);
    END IF;
    IF use ->> 'meter' IS NOT NULL THEN
        UPDATE usage_meters m
        SET used = m.used + units,
            billed = m.billed + (use ->> 'drawn')::bigint,
            charged = m.charged + (use ->> 'charge')::numeric
        WHERE m.id = (use ->> 'meter')::uuid RETURNING m.used INTO counted;
        IF counted > (use ->> 'meter_cap')::bigint THEN
            PERFORM usage_limit_exceeded(use ->> 'action', 'period', counted, (use ->> 'meter_cap')::bigint);
        END IF;
    END IF;
    IF event IS NOT NULL THEN
        INSERT INTO usage_events (user_id, event_id, request_hash, answer, created_at)
        VALUES (
            user_key, event, use ->> 'request_hash',
            jsonb_build_object('id', use -> 'id', 'occurred_at', happened_at, 'limits', to_jsonb(shown)) || (use -> 'told'),
            at
        );
    END IF;
    INSERT INTO usage_logs (
        id, user_id, subscription_id, action, content_id, quantity, event_id, metadata, occurred_at, created_at
    )
    VALUES (
        (use ->> 'id')::uuid, user_key, subscription_key, use ->> 'action', use ->> 'content_id', units, event,
        nullif(use -> 'metadata', 'null'), happened_at, at
    );
END;
$$ LANGUAGE plpgsql VOLATILE;
"""


class Migration(migrations.Migration):
    dependencies = [
        ("usage", "0003_usage_meters"),
        ("plans", "0005_action_prices"),
        ("subscriptions", "0012_had_priced_actions"),
    ]

    operations = [
        # Since meters have a table of their own nobody writes it.
        migrations.RemoveField(model_name="usagecounter", name="billed"),
        migrations.RunSQL(STANDING, "DROP FUNCTION usage_standing(uuid, text)"),
        migrations.RunSQL(TAKE, "DROP FUNCTION usage_take(jsonb)"),
    ]
