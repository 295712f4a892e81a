"""What Stripe's own records say: of one subscription (`fetch_events`), and of everything (`missed_events`).

Both give what the deliveries gave, or would have given, under the same money keys.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from providers.base import MalformedError, ProviderEvent
from providers.stripe import money_events, webhooks
from providers.stripe.billing import Billing
from providers.stripe.client import Json, StripeApi
from providers.stripe.config import StripeConfig
from providers.stripe.confirm import Confirmer
from providers.stripe.notice import Notice, Reader, extract
from providers.stripe.state import state_event
from providers.stripe.wire import Object, id_of, payment_intents_of, required_id, section

#: A dispute may be closed this long after it was opened, and is then told by its closing.
DISPUTE_LASTS = timedelta(days=120)
#: The list of events takes no more types at once.
MAX_TYPES = 20


class Records:
    def __init__(self, name: str, settings: StripeConfig, api: StripeApi, billing: Billing, confirm: Confirmer) -> None:
        self._name = name
        self._settings = settings
        self._api = api
        self._billing = billing
        self._confirm = confirm

    def of_subscription(self, provider_sub_id: str, *, since: datetime) -> list[ProviderEvent]:
        """Payments, failures, refunds and disputes after `since`, oldest first, and the state now."""
        subscription, as_of = self._billing.read(provider_sub_id)
        told: list[ProviderEvent] = []
        intents: dict[str, str | None] = {}
        for invoice in self._invoices(provider_sub_id):
            intents |= dict.fromkeys(payment_intents_of(invoice), id_of(invoice.get("id")))
            told += [event for event in self._of_invoice(invoice, as_of) if event.occurred_at > since]
        if intents:
            reversals = (*self._refunds(intents, since), *self._disputes(intents, since, as_of))
            told += [event for event in reversals if event.occurred_at > since]
        told.sort(key=lambda event: event.occurred_at)
        is_test = self._settings.is_live and subscription.get("livemode") is not True
        now = state_event(subscription, provider=self._name, as_of=as_of, is_test=is_test, raw=extract(subscription))
        return [*told, now] if now else told

    def missed(self, *, since: datetime, until: datetime) -> Iterator[ProviderEvent]:
        """Every event of [since, until) that says something here, confirmed, oldest first. Stripe keeps 30 days."""
        created = {"gte": _ceiling(since), "lt": _ceiling(until)}
        types = sorted(set(webhooks.readers(self._settings)) - {"invoice.payment_succeeded"})
        found: dict[str, Json] = {}
        for first in range(0, len(types), MAX_TYPES):
            listed = self._api.pages(
                lambda client, params: client.v1.events.list(params),
                created=created,
                types=types[first : first + MAX_TYPES],
            )
            found |= {event["id"]: event for event in listed}
        # Lists are newest first. A sort is stable: of one second it keeps Stripe's own order, backwards.
        oldest_first = list(found.values())[::-1]
        for event in sorted(oldest_first, key=lambda event: event["created"]):
            notice = webhooks.notice_of(event, provider=self._name, settings=self._settings)
            yield from self._confirm.confirm(webhooks.events(notice, self._settings))

    # one subscription's

    def _invoices(self, provider_sub_id: str) -> Iterator[Json]:
        params: Json = {} if self._settings.legacy_plans else {"expand": ["data.payments"]}
        return self._api.pages(
            lambda client, given: client.v1.invoices.list(given), subscription=provider_sub_id, **params
        )

    def _of_invoice(self, invoice: Json, as_of: datetime) -> list[ProviderEvent]:
        """The last thing that an invoice was told to have come to."""
        marks = section(invoice, "status_transitions")
        status = invoice.get("status")
        if status == "paid":
            return self._told(money_events.invoice_paid, "invoice.paid", invoice, marks.get("paid_at"))
        if status == "uncollectible":
            at = marks.get("marked_uncollectible_at")
            return self._told(money_events.invoice_failed, "invoice.marked_uncollectible", invoice, at)
        if status == "open" and invoice.get("attempted") is True:
            # When it last failed Stripe does not say on the invoice: it has by now.
            at = int(as_of.timestamp())
            return self._told(money_events.invoice_failed, "invoice.payment_failed", invoice, at)
        return []

    def _refunds(self, intents: Mapping[str, str | None], since: datetime) -> Iterator[ProviderEvent]:
        listed = self._api.pages(lambda client, given: client.v1.refunds.list(given), created={"gte": _ceiling(since)})
        for refund, invoice in _paid_by(listed, intents):
            for event in self._told(money_events.refund, "refund.updated", refund, refund.get("created")):
                yield replace(event, parent_payment_id=invoice)

    def _disputes(self, intents: Mapping[str, str | None], since: datetime, as_of: datetime) -> Iterator[ProviderEvent]:
        """When a dispute was closed Stripe does not say on it: it has been by now."""
        listed = self._api.pages(
            lambda client, given: client.v1.disputes.list(given), created={"gte": _ceiling(since - DISPUTE_LASTS)}
        )
        for dispute, invoice in _paid_by(listed, intents):
            is_over = dispute.get("status") in money_events.DISPUTE_ENDS
            type_ = "charge.dispute.closed" if is_over else "charge.dispute.created"
            at = int(as_of.timestamp()) if is_over else dispute.get("created")
            for event in self._told(money_events.dispute, type_, dispute, at):
                yield replace(event, parent_payment_id=invoice)

    def _told(self, reader: Reader, type_: str, item: Object, at: object) -> list[ProviderEvent]:
        """What the delivery of this object would have told."""
        seconds = at if isinstance(at, int) else item.get("created")
        notice = Notice(
            provider=self._name,
            event_id=f"{required_id(item.get('id'), 'id')}:{type_.rpartition('.')[2]}",
            type=type_,
            created=_moment({"created": seconds}),
            object=item,
            previous={},
            is_test=self._settings.is_live and item.get("livemode", True) is not True,
        )
        return [notice.numbered(event, n) for n, event in enumerate(reader(notice))]


def _paid_by(reversals: Iterable[Json], intents: Mapping[str, str | None]) -> Iterator[tuple[Json, str]]:
    """Those of the reversals whose payment is among `intents`, each with the invoice that it had paid."""
    for item in reversals:
        invoice = intents.get(id_of(item.get("payment_intent")) or "")
        if invoice is not None:
            yield item, invoice


def _moment(item: Object) -> datetime:
    seconds = item.get("created")
    if not isinstance(seconds, int):
        raise MalformedError("created is not a time")
    return datetime.fromtimestamp(seconds, UTC)


def _ceiling(moment: datetime) -> int:
    """The first whole second that is not before `moment`: Stripe's times are whole, so [a, b) stays [a, b)."""
    return -int(-moment.timestamp() // 1)
