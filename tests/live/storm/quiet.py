"""The same news on a quiet day: each delivery once, in order, processed before the next one comes.

python -m tests.live.storm.inside quiet < stories.json
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence

from payflow.core import clock
from providers import registry
from providers.sandbox.signature import HEADER, sign
from webhooks.services import Delivery, inbound_accept, inbound_sweep


def main(arguments: Sequence[str]) -> None:
    del arguments
    secret = str(registry.get("sandbox").config["webhook_secret"])
    for story in json.load(sys.stdin):
        for text in story:
            body, wall = text.encode(), clock.wall()
            headers = {HEADER.lower(): sign(secret, body, wall)}
            inbound_accept(delivery=Delivery("sandbox", headers, body), wall=wall)
            assert inbound_sweep(now=clock.now(), wall=clock.wall()) == 1
