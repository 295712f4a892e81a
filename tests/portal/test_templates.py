"""The frame: no inline script or style (the CSP forbids them), error pages in the same look, the demo's bar."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
from django.conf import settings as project
from django.template.loader import render_to_string

TEMPLATES = [path for path in sorted((project.BASE_DIR / "templates").rglob("*.html")) if "admin" not in path.parts]
INLINE = re.compile(r"<script|<style|\sstyle\s*=|\son[a-z]+\s*=|javascript:|https?://", re.IGNORECASE)


@pytest.mark.parametrize("path", TEMPLATES, ids=lambda path: path.name)
def test_no_template_has_inline_code_or_a_foreign_address(path: Path):
    assert INLINE.search(path.read_text()) is None


def test_the_style_sheet_loads_nothing_from_elsewhere():
    css = (project.BASE_DIR / "portal/assets/portal/portal.css").read_text()

    assert "@import" not in css and "http" not in css


@pytest.mark.django_db
def test_pages_are_answered_under_the_strict_policy(client):
    response = client.get("/pricing")

    assert "default-src 'self'" in response["Content-Security-Policy"]
    assert "unsafe" not in response["Content-Security-Policy"]


@pytest.mark.parametrize("name", ["400", "403", "403_csrf", "404", "500"])
def test_error_pages_need_nothing_but_themselves(name):
    html = render_to_string(f"{name}.html")

    assert "portal/portal.css" in html and "<h1>" in html and 'lang="en"' in html


@pytest.mark.django_db
def test_an_unknown_page_is_our_404(client):
    response = client.get("/no-such-page")

    assert response.status_code == 404
    assert "There is no such page" in response.text


@pytest.mark.django_db
@pytest.mark.parametrize("debug", [True, False])
def test_the_demo_bar_is_there_in_debug_only(client, settings, debug):
    settings.DEBUG = debug

    page = client.get("/pricing").text

    assert ("sandbox money, test clock" in page) is debug
    assert ('href="/admin/"' in page) is debug


class _Labels(HTMLParser):
    def __init__(self):
        super().__init__()
        self.inputs, self.labels = set(), set()

    def handle_starttag(self, tag, attrs):
        found = dict(attrs)
        if tag == "input" and found.get("type") != "hidden":
            self.inputs.add(found["id"])
        if tag == "label":
            self.labels.add(found["for"])


@pytest.mark.django_db
@pytest.mark.parametrize("path", ["/login", "/signup"])
def test_every_input_has_a_label(client, path):
    seen = _Labels()
    seen.feed(client.get(path).text)

    assert seen.inputs and seen.inputs <= seen.labels


@pytest.mark.django_db
def test_the_icon_is_found_where_browsers_look_for_it(client):
    assert client.get("/favicon.ico")["Location"] == "/static/portal/logo.svg"
