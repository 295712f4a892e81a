"""The subscribers: who signs up when, for what, with which card. All of it drawn from the seed before time begins."""

from __future__ import annotations

import uuid
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from random import Random

from accounts.models import User
from plans.models import Plan
from portal.simulator.bank import CLOSED, NO_FUNDS, Bank, Card, Spell
from portal.simulator.catalogue import CATALOGUE, COUNTRIES, COUPONS, CURRENCIES, ZONES
from portal.simulator.faults import Luck
from providers.base import Outcome
from subscriptions.errors import CouponNotApplicable
from subscriptions.models import Subscription
from subscriptions.services.subscribe import subscription_create

DAY = timedelta(days=1)

#: What people do with the page to pay on.
PAYS = {"at once": 78, "late": 10, "twice": 6, "never": 6}
WAITS = {"at once": timedelta(seconds=40), "twice": timedelta(seconds=25), "late": timedelta(hours=31)}


@dataclass(slots=True)
class Person:
    """One subscriber. `random` is his own stream: what he does depends on nobody else."""

    index: int
    user_id: uuid.UUID
    plan: str
    currency: str
    random: Random
    luck: Luck
    faults: bool
    bank: Bank
    country: str = ""
    #: What he enters when he subscribes, until it is refused.
    coupon: str = ""
    cards: list[Card] = field(default_factory=list)

    @property
    def actor(self) -> str:
        return f"user:{self.user_id}"

    @property
    def now(self) -> datetime:
        return self.bank.agenda.now

    def subscription(self) -> Subscription | None:
        """The one he means: his newest."""
        return Subscription.objects.filter(user_id=self.user_id).order_by("-created_at").first()

    def buy(self, *, tries: int = 3) -> None:
        """Subscribes, and pays as is his way. Where the provider does not answer he tries the same again."""
        self.bank.agenda.later(timedelta(minutes=6), lambda: self._buy_again(tries - 1))
        plan = Plan.objects.get(code=self.plan)
        try:
            bought = subscription_create(
                user_id=self.user_id,
                plan=plan,
                provider=self.bank.name,
                currency=self.currency,
                success_url="",
                cancel_url="",
                actor=self.actor,
                now=self.now,
                coupon=self.coupon or None,
                country=self.country or None,
            )
        except CouponNotApplicable:
            self.coupon = ""  # he tries again without it
            raise
        if bought.checkout is not None and bought.checkout.url:
            self.pay(bought.checkout.order_ref)

    def pay(self, order_ref: str) -> None:
        """Goes to a page and does there what he does."""
        how = self.random.choices(list(PAYS), list(PAYS.values()))[0]
        if how == "never":
            return
        press = self.bank.page_pay
        self.bank.agenda.later(WAITS[how], lambda: press(order_ref, self._card()))
        if how == "twice":
            self.bank.agenda.later(WAITS[how] + timedelta(seconds=1), lambda: press(order_ref, self._card()))

    def _buy_again(self, tries: int) -> None:
        """The page never came: the attempt is resumed."""
        subscription = self.subscription()
        unanswered = subscription is None or subscription.checkouts.filter(status="unknown").exists()
        if tries and unanswered:
            self.buy(tries=tries)

    def coupon_draw(self) -> None:
        """Another code in his hand; mostly none."""
        codes = [str(values["code"]) for values, _ in COUPONS]
        weights = [weight for _, weight in COUPONS]
        self.coupon = self.random.choices([*codes, ""], [*weights, 100 - sum(weights)])[0]

    def _card(self) -> Card:
        """The card in his hand; another one where the bank has closed it."""
        if not self.cards or (self.cards[-1].is_closed and self.cards[-1].spells[0].since <= self.now):
            self.cards.append(self._new_card())
        return self.cards[-1]

    def _new_card(self) -> Card:
        number = len(self.cards) + 1
        ref = f"{self.bank.name}_card_{self.index}_{number}"
        kind = self.random.random()
        begins = self.now + self.random.randint(5, 120) * DAY
        card = Card(ref, f"{self.bank.name}_customer_{self.index}", self.luck)
        if not self.faults or kind < 0.5 or number > 2:
            return card
        if kind < 0.65:
            card.flaky = 0.3
        elif kind < 0.8:
            ends = begins + self.random.randint(1, 45) * DAY
            card.spells = (Spell(begins, ends, Outcome.DECLINED, NO_FUNDS),)
        elif kind < 0.87:
            card.spells = (Spell(begins, None, Outcome.DECLINED, CLOSED),)
        elif kind < 0.94:
            card.spells = (Spell(begins, begins + 70 * DAY, Outcome.REQUIRES_ACTION),)
        else:
            card.spells = (Spell(begins, begins + 70 * DAY, Outcome.PENDING),)
        return card


def people_make(bank: Bank, *, count: int, seed: int, faults: bool, days: int) -> list[Person]:
    """`count` people; two thirds of them come within the first half of the days. Their first act is on the agenda.

    Nobody's moments are anybody else's: the microsecond is his own, and all that he waits is whole seconds.
    """
    people = []
    for index in range(count):
        random = Random(f"{seed}/person/{index}")
        zone = random.choice(ZONES)
        user = User.objects.create_user(f"person-{index}@{bank.name}.invalid", None, timezone=zone)
        luck = Luck(seed, f"person/{index}", faults=faults)
        bank.lucks[str(user.pk)] = luck
        plan = random.choices([row[0] for row in CATALOGUE], [row[-1] for row in CATALOGUE])[0]
        currency = random.choices(list(CURRENCIES), list(CURRENCIES.values()))[0]
        country = random.choices(list(COUNTRIES), list(COUNTRIES.values()))[0]
        person = Person(index, user.pk, plan, currency, random, luck, faults, bank, country)
        person.coupon_draw()
        day = int(days * min(random.random(), random.random()) * 0.9)
        comes = timedelta(days=day, seconds=random.randrange(86400), microseconds=index % 1_000_000)
        bank.agenda.at(bank.agenda.now + comes, person.buy)
        people.append(person)
    return people
