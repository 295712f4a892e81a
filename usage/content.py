"""What one use of an action may say, and the fingerprint by which a repeated event is known. Pure."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from json.encoder import encode_basestring
from typing import Any

MAX_QUANTITY = 1_000_000
MAX_EVENT_ID = 255
MAX_CONTENT_ID = 255
#: Of the metadata as compact JSON.
MAX_METADATA_BYTES = 8192

_is_action = re.compile(r"[a-z0-9_.:-]{1,50}").fullmatch


def content_faults(
    action: Any, quantity: Any, content_id: Any, metadata: Any, event_id: Any
) -> dict[str, list[str]] | None:
    """What is wrong with it, by field; None where it is right."""
    faults: dict[str, list[str]] = {}
    if not isinstance(action, str) or not _is_action(action):
        faults["action"] = ["1 to 50 of a-z, 0-9 and _ . : -"]
    if isinstance(quantity, bool) or not isinstance(quantity, int) or not 1 <= quantity <= MAX_QUANTITY:
        faults["quantity"] = [f"A whole number from 1 to {MAX_QUANTITY}"]
    if content_id is not None and not _is_text(content_id, MAX_CONTENT_ID):
        faults["content_id"] = [f"1 to {MAX_CONTENT_ID} characters"]
    if event_id is not None and not _is_text(event_id, MAX_EVENT_ID):
        faults["event_id"] = [f"1 to {MAX_EVENT_ID} characters"]
    if metadata is not None and (
        not isinstance(metadata, Mapping) or len(metadata_json(metadata).encode()) > MAX_METADATA_BYTES
    ):
        faults["metadata"] = [f"An object of at most {MAX_METADATA_BYTES} bytes"]
    return faults or None


def metadata_json(value: Mapping[str, Any]) -> str:
    """Sorted: the same event may be written by two versions of a client."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def content_hash(action: str, quantity: int, content_id: str | None, metadata: str | None) -> str:
    """Of the content as compact JSON with sorted names; `metadata` is `metadata_json`. When it occurred is no part of it."""
    content = "null" if content_id is None else encode_basestring(content_id)
    text = f'{{"action":"{action}","content_id":{content},"metadata":{metadata or "null"},"quantity":{quantity}}}'
    return hashlib.sha256(text.encode()).hexdigest()


def _is_text(value: object, longest: int) -> bool:
    return isinstance(value, str) and 0 < len(value) <= longest and "\0" not in value
