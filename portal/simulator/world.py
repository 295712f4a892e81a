"""The simulated world: business time goes from due moment to due moment, people act, news arrives, workers die.

The work is done by the registered sweeps and the services that the real edges call, on the real database.
"""

from __future__ import annotations

import logging
import uuid
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from random import Random

from django.db import connection

from payflow.core import clock
from payflow.core.errors import DomainError
from payflow.core.registry import Sweep, registered
from portal.simulator.agenda import Agenda
from portal.simulator.bank import Bank
from portal.simulator.faults import Killer, WorkerKilled
from portal.simulator.provider import delivery_headers
from webhooks.services import Delivery, inbound_accept

#: The sandbox is no part of this world.
ABSENT = frozenset({"sandbox_deliveries"})
#: Beat calls these every minute or oftener. Here they are called where `_DUE` says that they have something to do: thousands
#: of calls that find nothing would be most of a run.
GATED = (
    "payments_charges",
    "payments_refunds",
    "webhooks_inbound",
    "subscriptions_due",
    "payments_unapplied",
    "outbox",
)
#: Their lease is kept in real time, which does not travel: once at a moment is all that a moment can bear.
ONCE = frozenset({"payments_charges", "payments_refunds"})
#: What else beat calls so often runs at every moment, the rest when its time has come.
PROMPT = timedelta(minutes=1)
ROUNDS = 20
#: A charge or refund that has had no answer for so long is asked about.
UNANSWERED = timedelta(minutes=2)
MINUTE = timedelta(minutes=1)
#: After the last act: until late news has come and what it began is finished.
SETTLING = timedelta(days=6)

_RETRIES = """
    SELECT min(moment) FROM (
        SELECT min(next_attempt_at) AS moment FROM webhook_events WHERE status IN ('received', 'failed')
        UNION ALL SELECT min(created_at) + (%(now)s - %(before)s) FROM payment_transactions
            WHERE status = 'pending' AND created_at > %(before)s
    ) AS waiting WHERE moment > %(now)s
"""
_DUE = """
    SELECT EXISTS (SELECT 1 FROM payment_transactions
                   WHERE type = 'charge' AND status = 'pending' AND created_at <= %(unanswered)s),
           EXISTS (SELECT 1 FROM payment_transactions
                   WHERE type = 'refund' AND status = 'pending' AND created_at <= %(unanswered)s),
           EXISTS (SELECT 1 FROM webhook_events
                   WHERE status IN ('received', 'failed') AND next_attempt_at <= %(now)s),
           EXISTS (SELECT 1 FROM subscriptions WHERE next_action_at <= %(now)s),
           EXISTS (SELECT 1 FROM payment_transactions t
                   WHERE type = 'charge' AND status = 'completed' AND invoice_id IS NULL
                   AND NOT EXISTS (SELECT 1 FROM payment_transactions r WHERE r.parent_id = t.id)
                   AND NOT EXISTS (SELECT 1 FROM credit_grants g WHERE g.key = 'payment:' || t.id)),
           EXISTS (SELECT 1 FROM outbox_handlings WHERE status = 'pending' AND next_attempt_at <= %(now)s)
"""
_CHANGED = """
    SELECT id, status, end_date, updated_at FROM subscriptions
    WHERE updated_at > %s AND provider = %s ORDER BY updated_at
"""


@dataclass(frozen=True, slots=True)
class Seen:
    """What a subscription was from a moment on, as the world saw it."""

    at: datetime
    status: str
    end_date: datetime | None


@dataclass
class World:
    seed: int
    faults: bool
    agenda: Agenda
    bank: Bank
    refused: Counter[str] = field(default_factory=Counter)
    killed: int = 0
    #: The history of each subscription of the run, which its rows do not keep.
    seen: dict[uuid.UUID, list[Seen]] = field(default_factory=dict)
    #: What was logged as an error that no fault explains.
    complaints: list[str] = field(default_factory=list)
    _ran: dict[str, datetime] = field(default_factory=dict)
    _last_change: datetime = field(default_factory=clock.wall)
    _down_until: datetime | None = None

    def __post_init__(self) -> None:
        self._random = Random(f"{self.seed}/world")
        self._killer = Killer()
        self.bank.post = self._deliver

    @property
    def now(self) -> datetime:
        return self.agenda.now

    def run(self, until: datetime, progress: Callable[[datetime], None]) -> None:
        """Lives through everything that happens until then."""
        while (moment := self._next()) is not None and moment <= until:
            self._live(moment)
            progress(moment)
        self._live(until)

    def settle(self) -> None:
        """Workers are up and nothing fails any more, until what was begun is finished."""
        self.faults, self._down_until = False, None
        self.bank.calm()
        end = self.now + SETTLING
        while self.now < end:
            self._live(min(filter(None, [self._next(), self.now + SETTLING / 10, end])))

    def _next(self) -> datetime | None:
        if self._down_until is not None:
            return min(filter(None, [self.agenda.next(), self._down_until]))
        moments = [sweep.next_due(self.now) for sweep in registered.sweeps.values() if sweep.next_due]
        with connection.cursor() as cursor:
            cursor.execute(_RETRIES, {"now": self.now, "before": self.now - UNANSWERED})
            (retry,) = cursor.fetchone()
        return min(filter(None, [*moments, retry, self.agenda.next()]), default=None)

    def _live(self, moment: datetime) -> None:
        self.agenda.now = clock.move_to(moment)
        happening = self.agenda.pop_due()
        while happening is not None:
            self._act(happening)
            happening = self.agenda.pop_due()
            if happening is not None:
                self._beat()  # one after another, so that nobody's order depends on a key
        self._beat()
        self._watch()

    def _act(self, happening: Callable[[], object]) -> None:
        try:
            with self._killer.after(self._doomed()):
                happening()
        except DomainError as error:
            self.refused[error.code] += 1
        except WorkerKilled:
            self.killed += 1

    # --- workers

    def _beat(self) -> None:
        """What beat and its workers do at this moment, unless they are down."""
        if self._is_down():
            return
        doomed = self._doomed()
        try:
            with self._killer.after(doomed):
                for sweep in list(registered.sweeps.values()):
                    if self._is_time(sweep):
                        self._ran[sweep.name] = self.now
                        sweep.run(now=self.now, wall=self.now)
                self._work()
        except WorkerKilled:
            self.killed += 1
            self.agenda.later(MINUTE, lambda: None)  # beat comes again; by then the dead worker's leases still run

    def _work(self) -> None:
        """Calls the sweeps that have something to do, until none has."""
        for number in range(ROUNDS):
            due = [name for name in self._due() if not (number and name in ONCE)]
            if not due:
                return
            for name in due:
                registered.sweeps[name].run(now=self.now, wall=self.now)
        self.complaints.append(f"{', '.join(due)} still have work at {self.now} after {ROUNDS} rounds")

    def _due(self) -> list[str]:
        with connection.cursor() as cursor:
            cursor.execute(_DUE, {"now": self.now, "unanswered": self.now - UNANSWERED})
            return [name for name, is_due in zip(GATED, cursor.fetchone(), strict=True) if is_due]

    def _is_time(self, sweep: Sweep) -> bool:
        if sweep.name in ABSENT or sweep.name in GATED:
            return False
        last = self._ran.get(sweep.name)
        return sweep.every <= PROMPT or last is None or self.now - last >= sweep.every

    def _is_down(self) -> bool:
        """No worker for some hours, now and then, so that much is due at once when one comes back."""
        if self._down_until is not None and self.now < self._down_until:
            return True
        self._down_until = None
        if self.faults and self._random.random() < 0.002:
            self._down_until = self.now + timedelta(minutes=self._random.choice([20, 120, 600, 1800, 4000]))
            return True
        return False

    def _doomed(self) -> int:
        """At which SQL statement this request or this worker dies; never, where it is 0."""
        draw, statement = self._random.random(), self._random.randint(1, 90)
        return statement if self.faults and draw < 0.03 else 0

    # --- news

    def _deliver(self, body: bytes) -> None:
        """The provider posts it, until it is taken."""
        if self.faults and self._random.random() < 0.02:
            self._forge(body)
        delivery = Delivery(self.bank.name, delivery_headers(body, at=self.now), body)
        try:
            inbound_accept(delivery=delivery, wall=self.now)
        except (DomainError, WorkerKilled):
            self.agenda.later(MINUTE, lambda: self._deliver(body))
            raise
        if self.faults and self._random.random() < 0.02:  # our answer is lost: the provider does it again
            self.agenda.later(7 * MINUTE, lambda: self._deliver(body))

    def _forge(self, body: bytes) -> None:
        """Somebody who does not know the secret claims that money came."""
        forged = body.replace(b"_evt_", b"_forged_").replace(b"_pay_", b"_stolen_")
        headers = delivery_headers(forged, at=self.now, genuine=False)
        try:
            inbound_accept(delivery=Delivery(self.bank.name, headers, forged), wall=self.now)
            self.complaints.append("a forged delivery was accepted")
        except DomainError as error:
            self.refused[error.code] += 1

    # --- looking

    def _watch(self) -> None:
        with connection.cursor() as cursor:
            cursor.execute(_CHANGED, [self._last_change, self.bank.name])
            for subscription_id, status, end_date, updated_at in cursor.fetchall():
                self.seen.setdefault(subscription_id, []).append(Seen(self.now, status, end_date))
                self._last_change = updated_at


class Complaints(logging.Handler):
    """Keeps what is logged as an error, but for what faults explain."""

    def __init__(self, into: list[str]) -> None:
        super().__init__(logging.ERROR)
        self._into = into

    def emit(self, record: logging.LogRecord) -> None:
        error = record.exc_info[1] if record.exc_info else None
        if type(error).__name__ in EXPECTED or (error is None and record.name in SPEAKS_OF_THE_PROVIDER):
            return
        cause = f": {type(error).__name__}: {error}" if error else ""
        self._into.append(f"{record.name} logged: {record.getMessage()}{cause}")


#: A provider that did not answer; events before the money that they speak of, or while a charge of the same invoice is
#: unknown. All are tried again.
EXPECTED = frozenset({"ProviderUnavailable", "PaymentNotKnownYet", "PaymentInProgress"})
#: They log a provider that does not answer.
SPEAKS_OF_THE_PROVIDER = frozenset({"subscriptions.services.checkouts"})
