"""One run from the seed to the verdict: make the people, live the months, let everything settle, check."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime

from django.conf import settings
from django.test.utils import override_settings

from accounts.models import User
from payflow.core import clock
from payflow.core.errors import InvalidTransition, ValidationFailed
from payflow.core.registry import registered
from portal.simulator.acts import acts_plan
from portal.simulator.agenda import Agenda
from portal.simulator.bank import Bank
from portal.simulator.catalogue import catalogue_make, operators_plan
from portal.simulator.invariants import Violation, invariants_check
from portal.simulator.people import people_make
from portal.simulator.provider import ADAPTER
from portal.simulator.report import Report, month_after, report_make
from portal.simulator.world import SETTLING, Complaints, World

#: A fixed moment ahead of any real clock: what a run does depends on the calendar.
START = datetime(2041, 1, 1, tzinfo=UTC)
NAME = "simulator"
#: What a shop may decide, by seed: every run keeps the same invariants.
POLICIES = (
    {"UNAPPLIED_PAYMENT": "refund", "CHARGEBACK_OPENED": "suspend"},
    {"UNAPPLIED_PAYMENT": "refund", "CHARGEBACK_OPENED": "stop_charging"},
    {"UNAPPLIED_PAYMENT": "credit", "CHARGEBACK_OPENED": "stop_charging"},
)


@dataclass(frozen=True, slots=True)
class Outcome:
    report: Report
    violations: list[Violation]
    world: World


def simulation_run(
    *,
    subscribers: int,
    months: int,
    seed: int,
    faults: bool,
    progress: Callable[[float], None] = lambda share: None,
) -> Outcome:
    """Runs the services for `months` of business time and checks the invariants. `progress` gets a share of 1.

    Raises InvalidTransition where time travel is off, or business time is past the beginning already; ValidationFailed for
    nothing to do.
    """
    if subscribers < 1 or months < 1:
        raise ValidationFailed(details={"months": ["At least one subscriber and one month"]})
    if clock.now() > START:
        raise InvalidTransition(f"Business time is past {START:%Y-%m-%d} here, and never goes back")
    began = clock.wall()
    clock.move_to(START)
    end = month_after(START, months)
    for prepare in registered.preparations.values():
        prepare(end + SETTLING)
    agenda = Agenda(START, end)
    bank = Bank(_free_name(), agenda)
    world = World(seed, faults, agenda, bank)
    with _providers(bank, seed), _listening(world.complaints):
        catalogue_make(START)
        operators_plan(agenda)
        for person in people_make(bank, count=subscribers, seed=seed, faults=faults, days=(end - START).days):
            acts_plan(person, days=(end - START).days)
        world.run(end, lambda moment: progress((moment - START) / (end - START)))
        world.settle()
        violations = invariants_check(world)
    report = report_make(
        provider=bank.name,
        subscribers=subscribers,
        start=START,
        months=months,
        mishaps={**world.refused, **bank.slips, "processes killed": world.killed},
        seconds=(clock.wall() - began).total_seconds(),
    )
    return Outcome(report, violations, world)


def _free_name() -> str:
    """The provider's name of this run: its books are compared with what stands under it."""
    number = 1
    while User.objects.filter(email__endswith=f"@{_numbered(number)}.invalid").exists():
        number += 1
    return _numbered(number)


def _numbered(number: int) -> str:
    return NAME if number == 1 else f"{NAME}-{number}"


@contextmanager
def _providers(bank: Bank, seed: int) -> Iterator[None]:
    """Only for the run: nobody can be sent to a provider that exists in this process alone.

    Without DEBUG, under which Django keeps the text of each query.
    """
    providers = {**settings.PAYFLOW_PROVIDERS, bank.name: {"adapter": ADAPTER, "bank": bank}}
    with override_settings(DEBUG=False, PAYFLOW_PROVIDERS=providers, **POLICIES[seed % len(POLICIES)]):
        yield


@contextmanager
def _listening(complaints: list[str]) -> Iterator[None]:
    """The log goes to the list of complaints: thousands of declines and timeouts are the purpose, not news."""
    root = logging.getLogger()
    before = root.handlers[:]
    root.handlers[:] = [Complaints(complaints)]
    try:
        yield
    finally:
        root.handlers[:] = before
