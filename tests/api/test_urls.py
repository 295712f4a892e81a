"""The address plan and the OpenAPI document."""

from __future__ import annotations

import pytest
from django.core.management import call_command
from drf_spectacular.generators import SchemaGenerator


@pytest.mark.parametrize("path", ["/api/v1/nothing", "/api/nothing/", "/webhooks/", "/api", "/api/v1/a%0Ab"])
def test_unknown_paths_of_the_api_are_json_in_debug_too(client, settings, db, path):
    for debug in (False, True):
        settings.DEBUG = debug
        response = client.get(path)
        assert response["Content-Type"] == "application/json"
        assert (response.status_code, response.json()["code"]) == (404, "NOT_FOUND")


def test_a_format_that_the_schema_is_not_had_in_is_refused(client, db):
    response = client.get("/api/schema/", headers={"Accept": "text/html"})
    assert response.status_code == 400
    assert "code: VALIDATION_ERROR" in response.text


def test_other_unknown_paths_are_pages(client, db):
    response = client.get("/no-such-page")
    assert response.status_code == 404
    assert response["Content-Type"].startswith("text/html")


def test_the_schema_is_valid_and_has_clean_paths(tmp_path, client):
    call_command("spectacular", "--validate", "--fail-on-warn", "--file", str(tmp_path / "schema.yml"))
    schema = client.get("/api/schema/", headers={"Accept": "application/json"}).json()
    assert "/api/v1/auth/token" in schema["paths"]
    assert all(path.startswith("/api/v1/") and not path.endswith(("/", "?")) for path in schema["paths"])
    created = schema["paths"]["/api/v1/auth/register"]["post"]["responses"]["201"]
    body = created["content"]["application/json"]["schema"]
    assert set(body["properties"]) == {"message", "data", "error", "code", "details"}
    assert "401" in schema["paths"]["/api/v1/auth/token"]["post"]["responses"]
    assert body["properties"]["data"] == {"$ref": "#/components/schemas/User"}


def test_lean_views_keys_and_selection_are_in_the_schema():
    paths = SchemaGenerator(urlconf="tests.api.urls").get_schema(public=True)["paths"]
    assert set(paths["/api/v1/lean"]) == {"get", "post"}
    lean = paths["/api/v1/lean"]["get"]
    assert (lean["summary"], "401" in lean["responses"]) == ("Echo", True)
    data = lean["responses"]["200"]["content"]["application/json"]["schema"]["properties"]["data"]
    assert data == {"$ref": "#/components/schemas/Price"}
    assert lean["responses"]["401"]["content"]["application/json"]["schema"] == {"$ref": "#/components/schemas/Error"}
    lean_open = paths["/api/v1/lean-open"]["get"]
    assert (lean_open["summary"], "401" in lean_open["responses"]) == ("Open", False)
    listing = [parameter["name"] for parameter in paths["/api/v1/keys"]["get"]["parameters"]]
    assert listing == ["count", "cursor", "page_size", "fields"]


def test_every_post_but_auth_takes_an_idempotency_key(client):
    paths = client.get("/api/schema/", headers={"Accept": "application/json"}).json()["paths"]
    with_key = {
        path
        for path, methods in paths.items()
        if any(parameter["name"] == "Idempotency-Key" for parameter in methods.get("post", {}).get("parameters", []))
    }
    assert {"/api/v1/auth/api-keys", "/api/v1/auth/api-keys/{id}/rotate"} <= with_key
    assert not with_key & {"/api/v1/auth/register", "/api/v1/auth/token", "/api/v1/auth/logout"}


def test_the_docs_page_answers(client):
    assert client.get("/api/docs").status_code == 200


def test_admin_without_slash_leads_to_the_admin(client):
    response = client.get("/admin")
    assert (response.status_code, response["Location"]) == (302, "/admin/")
