"""docs/spec.md tells the truth: what it names exists, and it names everything that the two documents have."""

from __future__ import annotations

import importlib
import re
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.db import connection
from django.urls import resolve

from payflow.api.errors import no_such_path
from tests.docs import spec_page

SPECIFICATIONS = spec_page.ROOT.parent / "shared" / "spec"
LOW_LEVEL = SPECIFICATIONS / "payflow-low-level-design.md"
ARCHITECTURE = SPECIFICATIONS / "payment-system-architecture.md"

ROWS = spec_page.rows()


# --- what is named exists --------------------------------------------------------------------------------------------


def found_in_database(query: str) -> set[str]:
    with connection.cursor() as cursor:
        cursor.execute(query)
        return {name for (name,) in cursor.fetchall()}


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("kind", "query"),
    [
        ("table", "SELECT table_name FROM information_schema.tables WHERE table_schema = 'public'"),
        ("column", "SELECT table_name || '.' || column_name FROM information_schema.columns"),
        ("index", "SELECT indexname FROM pg_indexes WHERE schemaname = 'public'"),
        ("trigger", "SELECT tgname FROM pg_trigger WHERE NOT tgisinternal"),
        ("constraint", "SELECT conname FROM pg_constraint"),
        ("function", "SELECT proname FROM pg_proc"),
    ],
)
def test_what_is_named_is_in_the_database(kind: str, query: str) -> None:
    names = spec_page.named(kind)
    assert names
    assert sorted(set(names) - found_in_database(query)) == []


@pytest.mark.parametrize("path", spec_page.named("code"))
def test_what_is_named_is_in_the_code(path: str) -> None:
    parts = path.split(".")
    for cut in range(len(parts), 0, -1):
        try:
            found: Any = importlib.import_module(".".join(parts[:cut]))
        except ModuleNotFoundError:
            continue
        for part in parts[cut:]:
            found = getattr(found, part)
        return
    pytest.fail(f"{path} cannot be imported")


def test_what_is_named_is_a_variable() -> None:
    example = (spec_page.ROOT / ".env.example").read_text(encoding="utf-8")
    described = set(re.findall(r"^#? ?([A-Z][A-Z0-9_]+)=", example, re.MULTILINE))
    assert sorted(set(spec_page.named("env")) - described) == []


@pytest.mark.parametrize("slash", ["", "/"], ids=["bare", "slash"])
@pytest.mark.parametrize(("method", "path"), spec_page.endpoints(), ids=lambda value: str(value))
def test_an_address_answers_its_method(method: str, path: str, slash: str) -> None:
    where = re.sub(r"\{\w+\}", str(uuid.uuid4()), path).rstrip("/") + slash

    view = resolve(where).func

    assert view is not no_such_path
    assert method in methods_of(view)


def methods_of(view: Any) -> set[str]:
    """What a view answers, however it was written: viewset, lean view, class, or a function with methods of its own."""
    if actions := getattr(view, "actions", None):
        return {method.upper() for method in actions}
    if lean := getattr(view, "lean_methods", None):
        return set(lean)
    if cls := getattr(view, "view_class", None) or getattr(view, "cls", None):
        return {name.upper() for name in ("get", "post", "put", "patch", "delete") if hasattr(cls, name)}
    return {"GET", "POST"} if view.__module__ == "webhooks.views" else {"GET"}


def test_no_line_is_left_open() -> None:
    """Every line has a place, or says that there is none."""
    marks = ("**not yet**", "**not here**")
    empty = [row for row in ROWS if "`" not in row.place and not row.place.startswith(marks)]
    assert empty == []


# --- everything that the documents have is named ---------------------------------------------------------------------


def named_in(document: int, section: str) -> set[str]:
    return {name for row in ROWS if row.document == document and section in row.section for name in row.names}


def code_blocks(text: str, language: str) -> Iterator[str]:
    yield from re.findall(rf"```{language}\n(.*?)```", text, re.DOTALL)


def created_tables(text: str) -> dict[str, list[str]]:
    """Table name to its columns, and the indexes that stand inside it."""
    tables = {}
    for block in code_blocks(text, "sql"):
        for name, body in re.findall(r"CREATE TABLE (\w+) \(\n(.*?)\n\);", block, re.DOTALL):
            columns = re.findall(r"^    (?!INDEX)(\w+) [A-Z]", body, re.MULTILINE)
            tables[name] = columns + re.findall(r"INDEX (\w+) ", body)
    return tables


def read(path: Path) -> str:
    if not path.exists():
        pytest.skip(f"{path} is not beside this checkout")
    return path.read_text(encoding="utf-8")


@pytest.mark.parametrize(("document", "path"), [(1, LOW_LEVEL), (2, ARCHITECTURE)], ids=["first", "second"])
def test_every_table_and_column_of_the_documents_is_named(document: int, path: Path) -> None:
    tables = created_tables(read(path))
    assert len(tables) == {1: 4, 2: 3}[document]
    missing = {
        name: lacking
        for name, columns in tables.items()
        if (lacking := sorted(set(columns) - named_in(document, f"`{name}` table")))
    }
    assert missing == {}


def test_every_index_function_and_trigger_of_the_first_document_is_named() -> None:
    text = read(LOW_LEVEL)
    indexes = set(re.findall(r"CREATE INDEX (\w+) ON", text))
    triggers = set(re.findall(r"CREATE TRIGGER (\w+) ", text))
    functions = set(re.findall(r"FUNCTION (\w+)\(\)\nRETURNS", text))
    assert (len(indexes), len(triggers), len(functions)) == (8, 3, 1)
    assert sorted(indexes - named_in(1, "Database Indexes")) == []
    assert sorted((triggers | functions) - named_in(1, "Triggers")) == []


@pytest.mark.parametrize(
    ("document", "path", "section", "count"),
    [(1, LOW_LEVEL, "Core Endpoints", 21), (2, ARCHITECTURE, "API Endpoints", 9)],
    ids=["first", "second"],
)
def test_every_endpoint_of_the_documents_is_named(document: int, path: Path, section: str, count: int) -> None:
    text = read(path).partition("\n## Lava Integration Details")[0]
    lines = re.findall(r"^(GET|POST|PUT|DELETE) +(/\S*)", text, re.MULTILINE)
    assert len(lines) == count
    assert sorted({f"{method} {where}" for method, where in lines} - named_in(document, section)) == []


def test_every_variable_of_the_second_document_is_named() -> None:
    variables = set(re.findall(r'`env:"(\w+)', read(ARCHITECTURE)))
    assert len(variables) == 9
    assert sorted(variables - named_in(2, "Configuration")) == []


@pytest.mark.parametrize(
    ("struct", "count"),
    [
        ("Subscription", 12),
        ("SubscriptionPlan", 6),
        ("Transaction", 11),
        ("CreateSubscriptionRequest", 6),
        ("CreateSubscriptionResponse", 3),
        ("WebhookEvent", 7),
    ],
)
def test_every_field_of_the_second_documents_structs_is_named(struct: str, count: int) -> None:
    body = re.search(rf"type {struct} struct \{{\n(.*?)\n\}}", read(ARCHITECTURE), re.DOTALL)
    assert body is not None
    fields = set(re.findall(r"^    (\w+) ", body[1], re.MULTILINE))
    assert len(fields) == count
    assert sorted(fields - named_in(2, f"`{struct}` struct")) == []


def test_every_value_of_the_second_documents_enums_is_named() -> None:
    text = read(ARCHITECTURE)
    names = set(re.findall(r"^    (\w+) +(?:SubscriptionStatus|PaymentProvider|TransactionStatus) += ", text, re.M))
    events = set(re.findall(r' +WebhookEventType = "([\w.]+)"', text))
    assert (len(names), len(events)) == (13, 6)
    assert sorted((names | events) - named_in(2, "Core Components")) == []


@pytest.mark.parametrize(
    ("path", "document", "pattern", "section", "count"),
    [
        (LOW_LEVEL, 1, r"^func \(s \*Service\) (\w+)\(c", "Plan Service", 8),
        (ARCHITECTURE, 2, r"^    ([A-Z]\w*)\(", "PaymentProvider Interface", 6),
        (ARCHITECTURE, 2, r"^    ([A-Z]\w*)\(", "Repository Interface", 8),
        (ARCHITECTURE, 2, r"^func \(s \*SubscriptionService\) (\w+)\(", "4. SubscriptionService", 4),
    ],
)
def test_every_method_of_the_documents_is_named(
    path: Path, document: int, pattern: str, section: str, count: int
) -> None:
    text = read(path)
    heading = section if section != "Plan Service" else "Core Components"
    _, _, rest = text.partition(f"{heading}\n")
    block = next(code_blocks(rest[rest.index("```go") :], "go"))
    methods = set(re.findall(pattern, block, re.MULTILINE))
    assert len(methods) == count, sorted(methods)
    assert sorted(methods - named_in(document, section)) == []
