"""Stories told in many orders: one is played of several buyers side by side, and each one's mail comes in an order of its own.

The clocks move and the sweeps run once for all of them; everything else each buyer does for himself. What his mail is and
what it comes to may not depend on the others: this is a shop's traffic rather than one subscriber's.
"""

from __future__ import annotations

import itertools
import math
import random
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from payflow.core.sets import batches
from tests.depth import depth
from tests.providers.conformance.pack import Card, Delivery, Step
from tests.providers.conformance.stage import DAY, Bought, Stage

#: What happens, as (days since the order, what).
Story = Sequence[tuple[int, Step]]
Order = tuple[int, ...]

#: In how many orders a sequence is told that has more.
ORDERS = depth(sample=2, full=50)
#: Of one story at once: a sweep's batch takes them all.
SIDE_BY_SIDE = 50
#: Where PayFlow renews, the stored card decides what comes of it.
CARDS = {Step.RENEWED: Card.OK, Step.RECOVERED: Card.OK, Step.RENEWAL_FAILED: Card.DECLINES}


@dataclass
class Buyer:
    """What he bought, and what was told of the story's first step and of all others."""

    bought: Bought
    first: list[Delivery]
    late: list[Delivery] = field(default_factory=list)


def as_it_happened(stage: Stage, story: Story, *, in_time: bool) -> tuple[dict[str, Any], int]:
    """How the story ends that is told in its own order, and how many deliveries come late: all, or all but the first step's."""
    start, [buyer] = _play(stage, story, in_time, 1)
    late = _late(buyer, in_time)
    return _ended(stage, start, [buyer], in_time, [tuple(range(len(late)))])[0], len(late)


def told_in(
    stage: Stage, story: Story, orders: Sequence[Order], *, in_time: bool
) -> Iterator[tuple[Order, dict[str, Any]]]:
    """How it ends in each of the orders of what comes late."""
    for some in batches(orders, SIDE_BY_SIDE):
        start, buyers = _play(stage, story, in_time, len(some))
        yield from zip(some, _ended(stage, start, buyers, in_time, some), strict=True)


def other_orders(length: int, *, most: int = ORDERS) -> list[Order]:
    """Every order but that in which it happened; where there are more than `most`, backwards and some others."""
    told = tuple(range(length))
    if math.factorial(length) <= most:
        return [order for order in itertools.permutations(told) if order != told]
    chance, chosen = random.Random(12), {told: None, told[::-1]: None}
    while len(chosen) <= most:
        chosen[tuple(chance.sample(told, length))] = None
    return list(chosen)[1:]


def _play(stage: Stage, story: Story, in_time: bool, number: int) -> tuple[datetime, list[Buyer]]:
    """When it began, and so many buyers to whom all of it happened; of whom PayFlow has heard the first step, if `in_time`."""
    start = stage.next_spring()
    buyers = []
    for _ in range(number):
        stage.stand()
        bought = stage.buy(story[0][1], attached=in_time)
        buyers.append(Buyer(bought, stage.told()))
    if in_time:
        stage.deliver_beside([buyer.first for buyer in buyers])
    for days, step in story[1:]:
        stage.at(max(stage.now, start + days * DAY))
        if stage.facts.caps.renewal_driver == "merchant" and step in CARDS:
            _bill(stage, step, buyers)
            continue
        for buyer in buyers:
            stage.stand()
            stage.play(step, buyer.bought)
            buyer.late += stage.told()
    stage.at(stage.now + timedelta(hours=1))
    return start, buyers


def _bill(stage: Stage, step: Step, buyers: Sequence[Buyer]) -> None:
    """PayFlow charges all of them at once, and whose a delivery is stands in it."""
    for buyer in buyers:
        stage.peer.set_card(buyer.bought.purchase, CARDS[step])
    stage.bill()
    for letter in stage.told():
        [owner] = [buyer for buyer in buyers if _is_of(letter, buyer.bought)]
        owner.late.append(letter)


def _is_of(letter: Delivery, bought: Bought) -> bool:
    names = (bought.purchase.order.user_ref, bought.purchase.method_ref)
    return any(re.search(rb"\b%b\b" % re.escape(name.encode()), letter.raw) for name in filter(None, names))


def _late(buyer: Buyer, in_time: bool) -> list[Delivery]:
    return buyer.late if in_time else [*buyer.first, *buyer.late]


def _ended(
    stage: Stage, start: datetime, buyers: Sequence[Buyer], in_time: bool, orders: Sequence[Order]
) -> list[dict[str, Any]]:
    """How it ends for each, told in his order, and at last once more of what came in time."""
    mails = []
    for buyer, order in zip(buyers, orders, strict=True):
        late, again = _late(buyer, in_time), buyer.first if in_time else []
        assert len(late) == len(order), f"{len(late)} deliveries, and {len(order)} when it was told as it happened"
        mails.append([*(late[place] for place in order), *again])
    stage.deliver_beside(mails)
    states = [stage.state(buyer.bought, start) for buyer in buyers]
    for buyer in buyers:
        stage.end(buyer.bought)
    return states
