"""2Checkout's orders and subscriptions, and how its API and its notices show them."""

from __future__ import annotations

import calendar
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta, tzinfo
from decimal import Decimal
from typing import Any

UNITS = ("DAY", "WEEK", "MONTH", "YEAR")
#: The API's status of an order, as an IPN calls it.
IPN_STATUS = {"AUTHRECEIVED": "PAYMENT_AUTHORIZED"}


@dataclass
class Order:
    ref: str
    status: str
    external_reference: str
    total: Decimal
    currency: str
    product: str
    customer_ref: str
    email: str
    ordered_at: datetime
    finished_at: datetime | None = None
    subscription: str | None = None
    kind: str = "SALE"
    period: tuple[datetime, datetime] | None = None
    original_reference: str = ""
    test: bool = False
    chargeback: str = "NONE"
    refunds: list[dict[str, Any]] = field(default_factory=list)
    errors: dict[str, str] | None = None
    action_url: str | None = None

    @property
    def refunded(self) -> Decimal:
        return sum((Decimal(refund["Amount"]) for refund in self.refunds), Decimal(0))


@dataclass
class Subscription:
    ref: str
    product: str
    customer_ref: str
    email: str
    every: int
    unit: str
    anchor: datetime
    expires_at: datetime
    price: Decimal
    currency: str
    test: bool = False
    enabled: bool = True
    recurring: bool = True
    periods: int = 1
    renewal_price: Decimal | None = None
    card_declines: bool = False
    reported: str = "ACTIVE"

    def next_end(self, zone: tzinfo) -> datetime:
        """The end of the period after the present one, by the last-day-of-month principle, in the account's zone."""
        return step(self.anchor, self.every * (self.periods + 1), self.unit, zone)


def step(moment: datetime, count: int, unit: str, zone: tzinfo) -> datetime:
    """`count` units after `moment`, by the calendar of `zone`."""
    local = moment.astimezone(zone).replace(tzinfo=None)
    if unit in ("DAY", "WEEK"):
        local += timedelta(days=count * (7 if unit == "WEEK" else 1))
    else:
        months = local.month - 1 + count * (12 if unit == "YEAR" else 1)
        year, month = local.year + months // 12, months % 12 + 1
        local = local.replace(year=year, month=month, day=min(local.day, calendar.monthrange(year, month)[1]))
    return local.replace(tzinfo=zone).astimezone(UTC)


def shown_at(moment: datetime | None, zone: tzinfo) -> str | None:
    return None if moment is None else f"{moment.astimezone(zone):%Y-%m-%d %H:%M:%S}"


def order_json(order: Order, subscription: Subscription | None, zone: tzinfo, vendor: str) -> dict[str, Any]:
    """As GET /orders/{RefNo}/ answers."""
    total = float(order.total)
    price = {"Currency": order.currency.lower(), "GrossPrice": total, "GrossDiscountedPrice": total, "VAT": 0}
    subscriptions = None
    if subscription is not None:
        subscriptions = [
            {
                "SubscriptionReference": subscription.ref,
                "SubscriptionStartDate": shown_at(subscription.anchor, zone),
                "ExpirationDate": shown_at(subscription.expires_at, zone),
                "Lifetime": False,
                "Trial": False,
                "Enabled": subscription.enabled,
                "RecurringEnabled": subscription.recurring,
            }
        ]
    return {
        "RefNo": order.ref,
        "OrderNo": 0,
        "ExternalReference": order.external_reference or None,
        "Status": order.status,
        "ApproveStatus": "OK",
        "VendorApproveStatus": "OK",
        "MerchantCode": vendor,
        "Language": "en",
        "OrderDate": shown_at(order.ordered_at, zone),
        "FinishDate": shown_at(order.finished_at, zone),
        "BillingDetails": {
            "FirstName": "Anna",
            "LastName": "Ünal",
            "Company": None,
            "Email": order.email,
            "CountryCode": "us",
        },
        "PaymentDetails": {
            "Type": "TEST" if order.test else "CC",
            "Currency": order.currency.lower(),
            "PaymentMethod": {
                "LastDigits": "1111",
                "CardType": "visa",
                "RecurringEnabled": subscription is not None,
                "Authorize3DS": {"Href": order.action_url} if order.action_url else None,
            },
            "CustomerIP": "127.0.0.1",
        },
        "CustomerDetails": {"CustomerReference": 756227060, "ExternalCustomerReference": order.customer_ref or None},
        "TestOrder": order.test,
        "Errors": order.errors,
        "Items": [
            {
                "ProductDetails": {"Name": order.product, "IsDynamic": True, "Subscriptions": subscriptions},
                "Price": price,
                "LineItemReference": f"line{order.ref}",
                "PurchaseType": "PRODUCT",
                "Quantity": 1,
            }
        ],
        "Currency": order.currency.lower(),
        "GrossPrice": total,
        "GrossDiscountedPrice": total,
        "VAT": 0,
        "ChargebackResolution": order.chargeback,
        "ChargebackReasonCode": "" if order.chargeback == "NONE" else "SERVICE_NOT_PROVIDED",
        "Refunds": order.refunds or None,
    }


def subscription_json(subscription: Subscription, zone: tzinfo) -> dict[str, Any]:
    """As GET /subscriptions/{ref}/ answers."""
    return {
        "SubscriptionReference": subscription.ref,
        "StartDate": shown_at(subscription.anchor, zone),
        "ExpirationDate": shown_at(subscription.expires_at, zone),
        "RecurringEnabled": subscription.recurring,
        "SubscriptionEnabled": subscription.enabled,
        "Product": {"ProductCode": "", "ProductId": "40898000", "ProductName": subscription.product},
        "EndUser": {"FirstName": "Anna", "LastName": "Ünal", "Email": subscription.email},
        "Lifetime": False,
        "AvangateCustomerReference": "756227060",
        "ExternalCustomerReference": subscription.customer_ref or None,
        "TestSubscription": subscription.test,
        "IsTrial": False,
    }


def history_json(orders: list[Order], subscription: Subscription, zone: tzinfo) -> list[dict[str, Any]]:
    """As GET /subscriptions/{ref}/history/ answers: every purchase that was finished."""
    return [
        {
            "ReferenceNo": order.ref,
            "Type": order.kind,
            "SubscriptionReference": subscription.ref,
            "StartDate": shown_at(subscription.anchor, zone),
            "ExpirationDate": shown_at(order.period[1], zone),
            "Lifetime": False,
        }
        for order in orders
        if order.period is not None and order.finished_at is not None
    ]


def ipn_fields(
    order: Order,
    subscription: Subscription | None,
    zone: tzinfo,
    *,
    vendor: str,
    message_id: str,
    now: datetime,
    status: str | None = None,
    amount: Decimal | None = None,
) -> list[tuple[str, str]]:
    """An IPN's fields in 2Checkout's order. `amount` is negative where it goes back."""
    general = f"{order.total if amount is None else amount}"
    offset = now.astimezone(zone).strftime("%z")
    status = status or IPN_STATUS.get(order.status, order.status)
    fields = [
        ("GIFT_ORDER", "0"),
        ("SALEDATE", shown_at(order.ordered_at, zone)),
        ("PAYMENTDATE", shown_at(order.finished_at, zone)),
        ("REFNO", order.ref),
        ("REFNOEXT", order.external_reference),
        *([("ORIGINAL_REFNOEXT[]", order.original_reference)] if order.kind == "RENEWAL" else []),
        ("SHOPPER_REFERENCE_NUMBER", ""),
        ("ORDERNO", "25430"),
        ("ORDERSTATUS", status),
        ("PAYMETHOD", "Visa/MasterCard"),
        ("PAYMETHOD_CODE", "CCVISAMC"),
        ("FIRSTNAME", "Anna"),
        ("LASTNAME", "Ünal"),
        ("COMPANY", ""),
        ("ADDRESS1", "Test Address"),
        ("ADDRESS2", ""),
        ("CUSTOMEREMAIL", order.email),
        ("IPADDRESS", "127.0.0.1"),
        ("COMPLETE_DATE", shown_at(order.finished_at, zone)),
        ("TIMEZONE_OFFSET", f"GMT{offset[:3]}:{offset[3:]}"),
        ("CURRENCY", order.currency),
        ("LANGUAGE", "en"),
        ("ORDERFLOW", "REGULAR"),
        ("IPN_PID[]", "40898000"),
        ("IPN_PNAME[]", order.product),
        ("IPN_PCODE[]", ""),
        ("IPN_INFO[]", ""),
        ("IPN_QTY[]", "1"),
        ("IPN_PRICE[]", general),
        ("MESSAGE_ID", message_id),
        ("MESSAGE_TYPE", status),
        ("IPN_LICENSE_PROD[]", "40898000" if subscription else ""),
        ("IPN_LICENSE_TYPE[]", "REGULAR" if subscription else ""),
        ("IPN_LICENSE_REF[]", subscription.ref if subscription else ""),
        ("IPN_LICENSE_EXP[]", shown_at(subscription.expires_at, zone) if subscription else ""),
        ("IPN_LICENSE_START[]", shown_at(subscription.anchor, zone) if subscription else ""),
        ("IPN_LICENSE_LIFETIME[]", "NO" if subscription else ""),
        ("IPN_DELIVEREDCODES[]", ""),
        ("IPN_TOTAL[]", general),
        ("IPN_TOTALGENERAL", general),
        ("AVANGATE_CUSTOMER_REFERENCE", "756227060"),
        ("EXTERNAL_CUSTOMER_REFERENCE", order.customer_ref),
        ("REFUND_TYPE", "" if amount is None else "TOTAL" if -amount == order.total else "PARTIAL"),
        ("CHARGEBACK_RESOLUTION", order.chargeback),
        ("CHARGEBACK_REASON_CODE", "" if order.chargeback == "NONE" else "SERVICE_NOT_PROVIDED"),
        ("TEST_ORDER", str(int(order.test))),
        ("FRAUD_STATUS", "APPROVED"),
        ("CARD_LAST_DIGITS", "1111"),
        ("IPN_DATE", f"{now.astimezone(zone):%Y%m%d%H%M%S}"),
        ("VENDOR_CODE", vendor),
    ]
    return [(name, value or "") for name, value in fields]


def lcn_fields(
    subscription: Subscription, zone: tzinfo, *, reason: str, changed_by: str, now: datetime
) -> list[tuple[str, str]]:
    status = "DISABLED" if not subscription.enabled else subscription.reported
    return [
        ("FIRST_NAME", "Anna"),
        ("LAST_NAME", "Ünal"),
        ("COMPANY", ""),
        ("EMAIL", subscription.email),
        ("LICENSE_CODE", subscription.ref),
        ("EXPIRATION_DATE", shown_at(subscription.expires_at, zone) or ""),
        ("DATE_UPDATED", shown_at(now, zone) or ""),
        ("AVANGATE_CUSTOMER_REFERENCE", "756227060"),
        ("EXTERNAL_CUSTOMER_REFERENCE", subscription.customer_ref),
        ("TEST", str(int(subscription.test))),
        ("CHANGED_BY", changed_by),
        ("LICENSE_TYPE", "REGULAR"),
        ("DISABLED", str(int(not subscription.enabled))),
        ("RECURRING", str(int(subscription.recurring))),
        ("LICENSE_PRODUCT", "40898000"),
        ("STATUS", status),
        ("DISPATCH_REASON", reason),
    ]
