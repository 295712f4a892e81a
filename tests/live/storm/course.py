"""The course of a storm, from its seed alone: what is sent, in which order, and what of it is forged."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

DUPLICATES = 0.20
OUT_OF_ORDER = 0.20
FORGED = 0.02


class Forgery(StrEnum):
    ALTERED = "its body was changed after it was signed"
    GUESSED = "signed with another secret"
    STALE = "signed too long ago"
    UNSIGNED = "without a signature"


@dataclass(frozen=True, slots=True)
class Sending:
    """One delivery as it goes over the wire; it is signed when it is sent. `signed` is what a forger has signed."""

    body: bytes
    signed: bytes
    repeated: bool = False
    forgery: Forgery | None = None


@dataclass(frozen=True)
class Course:
    sendings: Sequence[Sending]
    out_of_order: int

    @property
    def forged(self) -> int:
        return sum(sending.forgery is not None for sending in self.sendings)

    @property
    def repeated(self) -> int:
        return sum(sending.repeated for sending in self.sendings)


def genuine_of(deliveries: int) -> int:
    """How many different pieces of news a storm of so many deliveries has."""
    return deliveries - round(deliveries * DUPLICATES) - round(deliveries * FORGED)


def course_of(stories: Sequence[Sequence[str]], *, deliveries: int, chance: random.Random) -> Course:
    """All of the news, a fifth of the deliveries ahead of what they follow upon; copies and forgeries among them."""
    ordered, out_of_order = _places(stories, round(deliveries * OUT_OF_ORDER), chance)
    placed = [(place, Sending(body, body)) for place, body in ordered]
    for place, body in chance.sample(ordered, round(deliveries * DUPLICATES)):
        # Half of the copies come at once after the first, as from a provider that runs twice; the others later.
        later = place + (0.0 if chance.random() < 0.5 else chance.random())
        placed.append((later, Sending(body, body, repeated=True)))
    for number in range(round(deliveries * FORGED)):
        _, body = chance.choice(ordered)
        placed.append((chance.random(), _forged(body, list(Forgery)[number % len(Forgery)], number)))
    # By place alone: what has the same place stays in the order in which it was put there.
    return Course([sending for _, sending in sorted(placed, key=lambda each: each[0])], out_of_order)


def _places(
    stories: Sequence[Sequence[str]], early: int, chance: random.Random
) -> tuple[list[tuple[float, bytes]], int]:
    """Each delivery with its moment between 0 and 1, and how many come before one that they follow upon."""
    moments = [sorted(chance.random() for _ in story) for story in stories]
    longer = [number for number, story in enumerate(stories) if len(story) > 1]
    chance.shuffle(longer)
    out_of_order = 0
    for number in longer:
        if out_of_order >= early:
            break
        # Turned by one: the first news comes last, and each of the others before it.
        moments[number] = [moments[number][-1], *moments[number][:-1]]
        out_of_order += len(moments[number]) - 1
    placed = [
        (moment, body.encode())
        for story, places in zip(stories, moments, strict=True)
        for body, moment in zip(story, places, strict=True)
    ]
    return sorted(placed), out_of_order


def _forged(body: bytes, forgery: Forgery, number: int) -> Sending:
    """Under the id of genuine news, of money that nobody has moved."""
    event = json.loads(body)
    event["data"] |= {"payment_id": f"pay_forged_{number}", "refund_id": f"ref_forged_{number}", "amount": "999.00"}
    made = json.dumps(event).encode()
    return Sending(made, body if forgery == Forgery.ALTERED else made, forgery=forgery)
