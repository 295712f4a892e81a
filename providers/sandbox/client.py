"""Calling the sandbox's API: its key, its JSON, and its errors as the contract's."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from functools import cached_property
from typing import Any
from urllib.parse import urlencode

from payflow.core.http import ANSWER_SECONDS, Answer, HttpClient, dump_json
from providers.base import Unavailable
from providers.wire.answers import call, raise_for, read_answer

#: Pages of news in one reading: far more than a demo has.
MAX_PAGES = 1000


class SandboxApi:
    """`name` is the provider's, `config` its settings."""

    def __init__(self, name: str, config: Mapping[str, Any]) -> None:
        self.name = name
        self._config = config

    def call(
        self, method: str, path: str, *, key: str = "", body: Mapping[str, Any] | None = None, idempotent: bool
    ) -> Answer:
        """The answer, of whatever status. Raises Unavailable, ProviderError."""
        headers = {"Authorization": f"Bearer {self._config['api_key']}", "Accept": "application/json"}
        if key:
            headers["Idempotency-Key"] = key
        if body is not None:
            headers["Content-Type"] = "application/json"
        content = dump_json(body) if body is not None else None
        return call(self._http, method, path, headers=headers, content=content, idempotent=idempotent)

    def read(
        self, method: str, path: str, *, key: str = "", body: Mapping[str, Any] | None = None, idempotent: bool = True
    ) -> dict[str, Any]:
        """The object of a 2xx; any other status is raised as the contract's error (C04)."""
        answer = self.call(method, path, key=key, body=body, idempotent=idempotent)
        raise_for(answer, who=self.name)
        return read_answer(answer, who=self.name)

    def pages(self, path: str, **query: str) -> Iterator[bytes]:
        """The bodies of a list of news, as their deliveries had them. Raises as `read`."""
        for _ in range(MAX_PAGES):
            page = self.read("GET", f"{path}?{urlencode(query)}")
            events = page.get("events")
            if not isinstance(events, list):
                raise Unavailable(f"{self.name} answered something else than a list")
            yield from (dump_json(event) for event in events)
            if not page.get("more") or not events:
                return
            query["after"] = str(events[-1].get("id")) if isinstance(events[-1], dict) else ""
        raise Unavailable(f"{self.name} has more news than can be read at once")

    @cached_property
    def _http(self) -> HttpClient:
        """Made when first needed, in the process that needs it: a worker must not share a parent's connections."""
        return HttpClient(
            self.name, str(self._config["base_url"]), answer_seconds=self.answer_seconds() or ANSWER_SECONDS
        )

    def answer_seconds(self) -> float | None:
        """How long an answer may take; None where the setting is no such number."""
        try:
            seconds = float(self._config.get("answer_seconds", ANSWER_SECONDS))
        except (TypeError, ValueError):
            return None
        return seconds if 0 < seconds < float("inf") else None


def code_of(answer: Answer) -> object:
    """The sandbox's own word for what is wrong."""
    try:
        body = json.loads(answer.body)
    except (ValueError, RecursionError):
        return None
    return body.get("code") if isinstance(body, dict) else None
