"""2Checkout's deliveries, read: IPN tells of orders, LCN of subscriptions. Pure, but for the log.

What comes out are hints: the names of the fields are not signed, so that the adapter asks the API before anybody believes
them. Source: providers.md 2.2; ORIGINAL_REFNOEXT marks renewals (2Checkout, IPN parameters).
"""

from __future__ import annotations

import hashlib
import logging
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, tzinfo
from decimal import Decimal
from typing import Any

from payflow.core import clock
from providers.base import EventType, MalformedError, ProviderEvent
from providers.twocheckout import naming
from providers.twocheckout.signature import Form, delivery_source
from providers.twocheckout.times import end_of_period, is_empty, moment_in
from providers.wire.fields import amount_of, currency_of, optional_text, required_text

PENDING = frozenset({"PENDING", "PURCHASE_PENDING", "PENDING_APPROVAL", "PENDING_ORDER_APPROVAL"})
AUTHORIZED = frozenset({"PAYMENT_AUTHORIZED", "PAYMENT_RECEIVED"})
COMPLETE = "COMPLETE"
FAILED = frozenset({"CANCELED", "INVALID"})
RETURNED = frozenset({"REFUND", "REVERSED"})
ORDER_STATUSES = PENDING | AUTHORIZED | FAILED | RETURNED | {COMPLETE}

DISPUTES = {
    "OPEN": EventType.PAYMENT_DISPUTED,
    "WON": EventType.PAYMENT_DISPUTE_WON,
    "LOST": EventType.PAYMENT_DISPUTE_LOST,
    "ACCEPT": EventType.PAYMENT_DISPUTE_LOST,
    "ACCEPTED": EventType.PAYMENT_DISPUTE_LOST,
}
CHANGES = frozenset({"", "LICENCE_CHANGE", "LICENCE_GP_CHANGE", "LICENCE_PENDING_ACTIVATION"})
#: The field of `ProviderEvent.raw` that names what the API is asked for.
ORDER_FIELD, SUBSCRIPTION_FIELD = "REFNO", "LICENSE_CODE"

_REFNO = re.compile(r"[0-9]{1,20}", re.ASCII)
_CODE = re.compile(r"[A-Za-z0-9_-]{1,50}", re.ASCII)
_WORD = re.compile(r"[A-Z_ ]{1,60}", re.ASCII)
_MESSAGE = re.compile(r"[A-Za-z0-9-]{1,40}", re.ASCII)

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Notice:
    """The fields that every delivery has. `word` is ORDERSTATUS of an IPN, DISPATCH_REASON of an LCN (empty if not sent)."""

    kind: str
    reference: str
    word: str
    key: str
    fields: Mapping[str, str]


def read(form: Form) -> Notice:
    """Raises MalformedError where the delivery is neither an IPN nor an LCN, or names no order or subscription."""
    fields = _texts(form)
    if SUBSCRIPTION_FIELD in fields:
        code = _matching(_CODE, fields, SUBSCRIPTION_FIELD)
        required_text(fields, "EXPIRATION_DATE", 40)
        reason = _matching(_WORD, fields, "DISPATCH_REASON") if fields.get("DISPATCH_REASON") else ""
        updated = optional_text(fields, "DATE_UPDATED", 40) or _digest(form)
        return Notice("lcn", code, reason, f"2co:lcn:{code}:{reason}:{updated}", fields)
    order = _matching(_REFNO, fields, ORDER_FIELD)
    status = _matching(_WORD, fields, "ORDERSTATUS")
    if fields.get("MESSAGE_ID"):
        key = f"2co:ipn:{_matching(_MESSAGE, fields, 'MESSAGE_ID')}"
    else:  # IPN_DATE is another at each try
        key = f"2co:ipn:{order}:{status}:{_digest({name: v for name, v in form.items() if name != b'IPN_DATE'})}"
    return Notice("ipn", order, status, key, fields)


def hints(notice: Notice, *, provider: str, zone: tzinfo, activate_on_auth: bool) -> list[ProviderEvent]:
    """What the delivery seems to tell; [] for a word that nobody documents. Raises MalformedError."""
    if notice.kind == "lcn":
        found = _subscription_hints(notice, provider, zone)
    else:
        found = _order_hints(notice, provider, zone, activate_on_auth=activate_on_auth)
    return naming.numbered(found, notice.key)


# --- orders ------------------------------------------------------------------------------------------------------------


def _order_hints(notice: Notice, provider: str, zone: tzinfo, *, activate_on_auth: bool) -> list[ProviderEvent]:
    fields, status = notice.fields, notice.word
    resolution = fields.get("CHARGEBACK_RESOLUTION", "").strip().upper() or "NONE"
    if status not in ORDER_STATUSES or (resolution != "NONE" and resolution not in DISPUTES):
        log.warning(
            "2checkout: order %s is %r, chargeback %r: not known, ignored", notice.reference, status, resolution
        )
        return []
    _compare_zone(fields, zone)
    order = _OrderFields(notice, provider, zone)
    if resolution != "NONE":
        return [order.reversal(DISPUTES[resolution], naming.dispute_id(notice.reference))]
    if status in PENDING:
        return [order.state(EventType.SUBSCRIPTION_CREATED)] if order.subscription else []
    if status == COMPLETE or (status in AUTHORIZED and activate_on_auth):
        return order.paid()
    if status in FAILED:
        return [order.money(EventType.PAYMENT_FAILED, reason=status.lower())]
    if status in RETURNED:
        return [order.refunded()]
    return []


class _OrderFields:
    """An IPN's own values, typed. Raises MalformedError, when made or asked, for one that is not what it should be."""

    def __init__(self, notice: Notice, provider: str, zone: tzinfo) -> None:
        fields = notice.fields
        ours, charge_key = naming.references(optional_text(fields, "REFNOEXT"))
        original = optional_text(fields, "ORIGINAL_REFNOEXT")
        self.notice, self.zone = notice, zone
        self.renewal = original is not None
        self.subscription = _matching(_CODE, fields, "IPN_LICENSE_REF") if fields.get("IPN_LICENSE_REF") else None
        # The account chooses which fields are sent; the API knows them all.
        self.currency = currency_of(fields["CURRENCY"]) if fields.get("CURRENCY") else None
        self.amount = _signed_amount(fields["IPN_TOTALGENERAL"]) if fields.get("IPN_TOTALGENERAL") else None
        self.sent_at = self._date("IPN_DATE")
        self._common: dict[str, Any] = {
            "provider": provider,
            "event_id": "",
            "provider_sub_id": self.subscription,
            "order_ref": ours or naming.references(original)[0],
            "idempotency_key": charge_key,
            "user_ref": optional_text(fields, "EXTERNAL_CUSTOMER_REFERENCE"),
            "is_test": fields.get("TEST_ORDER", "0").strip() not in ("", "0"),
            "raw": {ORDER_FIELD: notice.reference, "ORDERSTATUS": notice.word},
        }

    def paid(self) -> list[ProviderEvent]:
        start, end = self._date("IPN_LICENSE_START"), self._end()
        trial = self.notice.fields.get("IPN_LICENSE_TYPE", "").strip().upper() == "TRIAL"
        period = {"period_start": None if self.renewal else start, "period_end": end}
        found = []
        if not (trial and self.amount == 0):
            found.append(self.money(EventType.PAYMENT_SUCCEEDED, **period))
        if self.subscription:
            kind = EventType.SUBSCRIPTION_RENEWED if self.renewal else EventType.SUBSCRIPTION_ACTIVATED
            found.append(self.state(kind, is_trial=trial, **period))
        return found

    def money(self, kind: EventType, **more: Any) -> ProviderEvent:
        if self.amount is not None and self.amount < 0:
            raise MalformedError("IPN_TOTALGENERAL of a payment is negative")
        return ProviderEvent(
            type=kind,
            occurred_at=self._paid_at(),
            provider_payment_id=self.notice.reference,
            amount=self.amount,
            currency=self.currency,
            **self._common,
            **more,
        )

    def refunded(self) -> ProviderEvent:
        """As if it were the first refund of its order: the delivery knows of no other."""
        amount = abs(self.amount or Decimal(0))
        return self.reversal(EventType.PAYMENT_REFUNDED, naming.refund_id(self.notice.reference, amount))

    def reversal(self, kind: EventType, own_id: str) -> ProviderEvent:
        return ProviderEvent(
            type=kind,
            occurred_at=self.sent_at or clock.wall(),
            provider_payment_id=own_id,
            parent_payment_id=self.notice.reference,
            amount=None if self.amount is None else abs(self.amount),
            currency=self.currency,
            reason=optional_text(self.notice.fields, "CHARGEBACK_REASON_CODE"),
            **self._common,
        )

    def state(self, kind: EventType, **more: Any) -> ProviderEvent:
        more.setdefault("period_end", self._end())
        return ProviderEvent(type=kind, occurred_at=self._paid_at(), **self._common, **more)

    def _paid_at(self) -> datetime:
        names = ("COMPLETE_DATE", "PAYMENTDATE", "SALEDATE")
        return next((at for name in names if (at := self._date(name))), None) or self.sent_at or clock.wall()

    def _date(self, name: str) -> datetime | None:
        value = self.notice.fields.get(name)
        return None if is_empty(value) else moment_in(value, self.zone, name)

    def _end(self) -> datetime | None:
        return end_of_period(self.notice.fields.get("IPN_LICENSE_EXP"), self.zone, "IPN_LICENSE_EXP")


def _compare_zone(fields: Mapping[str, str], zone: tzinfo) -> None:
    """Says so where the account's dates are in another zone than the settings name: each period would end wrongly."""
    theirs, sent = fields.get("TIMEZONE_OFFSET", ""), fields.get("IPN_DATE")
    if not theirs or is_empty(sent):
        return
    offset = moment_in(sent, zone, "IPN_DATE").astimezone(zone).strftime("%z")
    if theirs.strip().replace("GMT", "").replace(":", "") != offset:
        log.warning("2checkout: the account's zone is %r, not what TWOCHECKOUT_TIMEZONE says", theirs[:20])


# --- subscriptions -----------------------------------------------------------------------------------------------------


def _subscription_hints(notice: Notice, provider: str, zone: tzinfo) -> list[ProviderEvent]:
    fields, code, reason = notice.fields, notice.reference, notice.word
    kind = _state_kind(fields, reason)
    if kind is None:
        log.warning("2checkout: subscription %s, reason %r: not known, ignored", code, reason)
        return []
    end = end_of_period(fields.get("EXPIRATION_DATE"), zone, "EXPIRATION_DATE")
    updated = fields.get("DATE_UPDATED")
    state = ProviderEvent(
        provider=provider,
        event_id="",
        type=kind,
        occurred_at=clock.wall() if is_empty(updated) else moment_in(updated, zone, "DATE_UPDATED"),
        provider_sub_id=code,
        user_ref=optional_text(fields, "EXTERNAL_CUSTOMER_REFERENCE"),
        provider_plan_ref=optional_text(fields, "LICENSE_PRODUCT"),
        period_end=end,
        is_trial=fields.get("LICENSE_TYPE", "").strip().upper() == "TRIAL",
        is_test=fields.get("TEST", "0").strip() not in ("", "0"),
        raw={SUBSCRIPTION_FIELD: code, "DISPATCH_REASON": reason},
    )
    if kind == EventType.SUBSCRIPTION_GRACE and end is not None:
        return [naming.renewal_failed(state, due=end), state]
    return [state]


def _state_kind(fields: Mapping[str, str], reason: str) -> EventType | None:
    match reason:
        case "LICENCE_EXPIRATION":
            return EventType.SUBSCRIPTION_EXPIRED
        case "LICENCE_PASTDUE":
            return EventType.SUBSCRIPTION_GRACE
        case "SCHEDULED_FOR_CANCELATION_ON_DEMAND":
            return EventType.SUBSCRIPTION_CANCELED
        case "REVERT_CANCELATION_ON_DEMAND":
            return EventType.SUBSCRIPTION_RESUMED
        case "LICENCE_CPC_ACCEPTED":
            return EventType.SUBSCRIPTION_PLAN_CHANGED
        case _ if reason in CHANGES:
            if fields.get("DISABLED", "0").strip() == "1":
                return EventType.SUBSCRIPTION_REVOKED
            if fields.get("RECURRING", "1").strip() == "0":
                return EventType.SUBSCRIPTION_CANCELED
            return EventType.SUBSCRIPTION_RESUMED
        case _:
            return None


# --- reading -----------------------------------------------------------------------------------------------------------


def _texts(form: Form) -> dict[str, str]:
    """The fields as text, a list by its first item: our orders have one product. Raises MalformedError."""
    try:
        return {
            name.decode(): (value[0] if isinstance(value, list) else value).decode() for name, value in form.items()
        }
    except UnicodeDecodeError as error:
        raise MalformedError("the delivery is not UTF-8") from error


def _matching(pattern: re.Pattern[str], fields: Mapping[str, str], name: str) -> str:
    value = fields.get(name, "").strip()
    if not pattern.fullmatch(value):
        raise MalformedError(f"{name} is missing or not what it should be")
    return value


def _signed_amount(value: str) -> Decimal:
    """What 2Checkout gives back it reports with a minus."""
    text = value.strip()
    amount = amount_of(text.removeprefix("-"), "IPN_TOTALGENERAL")
    return -amount if text.startswith("-") else amount


def _digest(form: Form) -> str:
    return hashlib.sha256(delivery_source(form)).hexdigest()[:16]
