"""The gates of docs/paywall.md stand before real views and ask a real PayFlow over HTTP, as they are printed there."""

from __future__ import annotations

import asyncio
import json
import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import fastapi
import httpx
import pytest
from django.http import HttpResponse, JsonResponse
from django.test import RequestFactory

from payflow.core import clock
from tests.factories import ApiKeyFactory
from tests.usage.factories import subscribed

PAGE = Path(__file__).resolve().parent.parent.parent / "docs" / "paywall.md"
pytestmark = pytest.mark.django_db(transaction=True)


def code(title: str) -> str:
    """The first block under the heading, which is to have at most ten lines."""
    section = PAGE.read_text(encoding="utf-8").split(f"\n## {title}\n")[1]
    [block] = re.findall(r"```\w+\n(.*?)```", section, re.DOTALL)[:1]
    assert len([line for line in block.splitlines() if line.strip()]) <= 10
    return block


@dataclass
class Reader:
    payflow_id: str


@pytest.fixture
def reader(user, live_server, monkeypatch):
    """May translate twice a day; and the product's key is in the environment."""
    subscribed(user, now=clock.now(), features={"translations_per_day": 2})
    monkeypatch.setenv("PAYFLOW_URL", live_server.url)
    monkeypatch.setenv("PAYFLOW_API_KEY", ApiKeyFactory(scopes=["usage"]).key)
    return Reader(str(user.pk))


def check(answers) -> None:
    """Two are served; the third is told PayFlow's own refusal and when to come back."""
    assert [status for status, _, _ in answers] == [200, 200, 429]
    _, headers, body = answers[2]
    assert "USAGE_LIMIT_EXCEEDED" in body
    assert int(headers["Retry-After"]) > 0


def test_django(reader):
    names = {"httpx": httpx, "os": os, "HttpResponse": HttpResponse}
    exec(code("Django"), names)

    translate = names["paid"]("translations", lambda request: JsonResponse({"text": "Bonjour"}))

    def ask():
        request = RequestFactory().post("/translate")
        request.user = reader
        response = translate(request)
        return response.status_code, response.headers, response.content.decode()

    check([ask() for _ in range(3)])
    names["payflow"].close()


def test_fastapi(reader):
    async def current_user() -> Reader:
        return reader

    names = {"httpx": httpx, "os": os, "User": Reader, "current_user": current_user}
    names |= {"Depends": fastapi.Depends, "HTTPException": fastapi.HTTPException}
    exec(code("FastAPI"), names)
    app = fastapi.FastAPI()

    @app.post("/translate", dependencies=[names["paid"]("translations")])
    async def translate() -> dict[str, str]:
        return {"text": "Bonjour"}

    async def ask():
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://product") as client:
            answers = [await client.post("/translate") for _ in range(3)]
        await names["payflow"].aclose()
        return [(answer.status_code, answer.headers, answer.text) for answer in answers]

    check(asyncio.run(ask()))


EXPRESS = """
const express = require("express");
%s
const app = express();
app.use((request, response, next) => { request.user = { payflowId: process.env.READER }; next(); });
app.post("/translate", paid("translations"), (request, response) => response.json({ text: "Bonjour" }));
const server = app.listen(0, "127.0.0.1", async () => {
  const answers = [];
  for (let n = 0; n < 3; n += 1) {
    const answer = await fetch(`http://127.0.0.1:${server.address().port}/translate`, { method: "POST" });
    answers.push([answer.status, { "Retry-After": answer.headers.get("retry-after") }, await answer.text()]);
  }
  console.log(JSON.stringify(answers));
  process.exit(0);
});
"""


def express_is_there() -> bool:
    node = shutil.which("node")
    return bool(node) and subprocess.run([node, "-e", 'require("express")'], capture_output=True).returncode == 0


@pytest.mark.skipif(not express_is_there(), reason="needs Node.js and express (NODE_PATH)")
def test_express(reader, tmp_path):
    program = tmp_path / "product.js"
    program.write_text(EXPRESS % code("Express"))
    environment = os.environ | {"READER": reader.payflow_id}
    done = subprocess.run(
        ["node", str(program)], env=environment, capture_output=True, text=True, timeout=30, check=False
    )
    assert done.returncode == 0, done.stderr
    check(json.loads(done.stdout))
