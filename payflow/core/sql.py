"""SQL that several migrations share: triggers and functions which the ORM cannot express.

Migrations call these with literals, so that a migration never changes when a state table in code does.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from payflow.core.money import CURRENCIES, THREE_DIGITS, ZERO_DIGITS


def _quoted(words: Iterable[str]) -> str:
    return ", ".join(f"'{word}'" for word in sorted(words))


#: The document's own trigger function, under its name.
UPDATED_AT_FUNCTION = """
CREATE OR REPLACE FUNCTION update_updated_at_column() RETURNS TRIGGER AS $$
BEGIN
    NEW.updated_at = NOW();
    RETURN NEW;
END;
$$ LANGUAGE plpgsql;
"""

#: The database's half of `payflow.core.money`: never NULL, so that a CHECK cannot pass on an unknown currency. The bound
#: keeps NaN out, which equals itself and is larger than any number here.
FITS_CURRENCY_FUNCTION = f"""
CREATE OR REPLACE FUNCTION fits_currency(amount numeric, currency text) RETURNS boolean AS $$
    SELECT coalesce(
        currency IN ({_quoted(CURRENCIES)})
        AND abs(amount) < 1e15
        AND amount = round(amount, CASE
            WHEN currency IN ({_quoted(ZERO_DIGITS)}) THEN 0
            WHEN currency IN ({_quoted(THREE_DIGITS)}) THEN 3
            ELSE 2 END),
        amount IS NULL)
$$ LANGUAGE sql IMMUTABLE PARALLEL SAFE;
"""

#: Refuses an UPDATE of `status` that the row's table of transitions (a JSON argument) lacks.
TRANSITION_FUNCTION = """
CREATE OR REPLACE FUNCTION refuse_unknown_transition() RETURNS TRIGGER AS $$
BEGIN
    IF NEW.status IS DISTINCT FROM OLD.status
       AND NOT coalesce(TG_ARGV[0]::jsonb -> OLD.status ? NEW.status, false) THEN
        RAISE EXCEPTION '% cannot go from % to %', TG_TABLE_NAME, OLD.status, NEW.status
            USING ERRCODE = 'check_violation', CONSTRAINT = TG_NAME;
    END IF;
    RETURN NEW;
END;
$$ LANGUAGE plpgsql;
"""

APPEND_ONLY_FUNCTION = """
CREATE OR REPLACE FUNCTION refuse_change() RETURNS TRIGGER AS $$
BEGIN
    RAISE EXCEPTION '% is append-only', TG_TABLE_NAME USING ERRCODE = 'check_violation', CONSTRAINT = TG_NAME;
END;
$$ LANGUAGE plpgsql;
"""

#: `payflow.core.outbox.emit` for a statement that decides by itself whether there is anything to tell. Its keys are UUIDv7
#: as everywhere (PostgreSQL has a function for them from 18 on); `handlers` is `outbox.handlers_of(type)`.
OUTBOX_EMIT_FUNCTION = """
CREATE OR REPLACE FUNCTION uuid7() RETURNS uuid AS $$
    SELECT encode(set_bit(set_bit(overlay(
        uuid_send(gen_random_uuid())
        PLACING substring(int8send(floor(extract(epoch FROM clock_timestamp()) * 1000)::bigint) FROM 3) FROM 1 FOR 6
    ), 52, 1), 53, 1), 'hex')::uuid
$$ LANGUAGE sql VOLATILE PARALLEL SAFE;
CREATE OR REPLACE FUNCTION outbox_emit(
    type text, subject_type text, subject_id uuid, payload jsonb, occurred_at timestamptz, handlers text[]
) RETURNS void AS $$
DECLARE
    event uuid := uuid7();
BEGIN
    INSERT INTO outbox_events (id, type, subject_type, subject_id, payload, occurred_at)
    VALUES (event, $1, $2, $3, $4, $5);
    INSERT INTO outbox_handlings (id, event_id, handler, status, attempts, next_attempt_at, error)
    SELECT uuid7(), event, handler, 'pending', 0, clock_timestamp(), '' FROM unnest($6) AS handler;
END;
$$ LANGUAGE plpgsql VOLATILE;
"""
DROP_OUTBOX_EMIT_FUNCTION = (
    "DROP FUNCTION outbox_emit(text, text, uuid, jsonb, timestamptz, text[]); DROP FUNCTION uuid7();"
)


def updated_at_trigger(table: str) -> str:
    return (
        f"CREATE TRIGGER update_{table}_updated_at BEFORE UPDATE ON {table}"
        " FOR EACH ROW EXECUTE FUNCTION update_updated_at_column();"
    )


def transition_trigger(table: str, transitions: Mapping[str, Iterable[str]]) -> str:
    """A trigger that lets `status` take the listed steps only."""
    body = ", ".join(
        f'"{source}": [' + ", ".join(f'"{target}"' for target in sorted(targets)) + "]"
        for source, targets in sorted(transitions.items())
    )
    return (
        f"CREATE TRIGGER {table}_transition BEFORE UPDATE OF status ON {table}"
        f" FOR EACH ROW EXECUTE FUNCTION refuse_unknown_transition('{{{body}}}');"
    )


def append_only_trigger(table: str) -> str:
    return (
        f"CREATE TRIGGER {table}_append_only BEFORE UPDATE OR DELETE ON {table}"
        " FOR EACH ROW EXECUTE FUNCTION refuse_change();"
    )


def drop_trigger(table: str, name: str) -> str:
    return f"DROP TRIGGER IF EXISTS {name} ON {table};"
