"""The store in memory: subscriptions with their transactions, what happens to them, and what is told of it."""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from tests.emulators.apple.chain import Chain
from tests.emulators.apple.deliveries import Deliveries, Delivery
from tests.emulators.apple.wire import TRANSACTION_NOT_FOUND, App, Refusal

DAY = 86_400_000
ACTIVE, EXPIRED, RETRY, GRACE, REVOKED = 1, 2, 3, 4, 5
INTENTS = {"VOLUNTARY": 1, "BILLING_RETRY": 2, "PRICE_INCREASE": 3, "PRODUCT_NOT_FOR_SALE": 4}
GROUP = "21500001"


@dataclass
class Subscription:
    """`price` and `days` are those of the next period; transactions and renewal have Apple's own field names."""

    original_id: str
    customer: str
    price: int
    days: int
    status: int = ACTIVE
    transactions: list[dict[str, Any]] = field(default_factory=list)
    renewal: dict[str, Any] = field(default_factory=dict)

    @property
    def last(self) -> dict[str, Any]:
        return self.transactions[-1]


class AppleState:
    """What the store knows. Every public method may be called from any thread."""

    def __init__(
        self,
        app: App,
        *,
        environment: str,
        hook_url: str | None,
        retry_pauses: tuple[float, ...],
        chain: Chain | None = None,
    ) -> None:
        self.app = app
        self.environment = environment
        self.chain = chain or Chain()
        self.deliveries = Deliveries(hook_url, retry_pauses)
        self.subscriptions: dict[str, Subscription] = {}
        self._lock = threading.RLock()
        self._ahead = 0
        self._stands_at: int | None = None
        self._told = 0
        self._number = 2_000_000_900_000_000

    # --- time

    def now(self) -> int:
        """Milliseconds since 1970. Never the same twice: what is signed later says so."""
        with self._lock:
            running = int(time.time() * 1000) + self._ahead if self._stands_at is None else self._stands_at
            self._told = max(self._told + 1, running)
            return self._told

    def today(self) -> int:
        """When that happens which happens now. It stands where `stand_at` put it, also while more and more is signed."""
        with self._lock:
            return self.now() if self._stands_at is None else self._stands_at

    def set_clock(self, ahead_seconds: float) -> None:
        with self._lock:
            self._ahead = max(self._ahead, int(ahead_seconds * 1000))

    def stand_at(self, moment: int) -> None:
        """From now on the calendar stands still, there or later: what happens twice in the same way has the same dates."""
        with self._lock:
            self._stands_at = max(self._stands_at or 0, moment)

    def _reach(self, moment: int) -> None:
        if self._stands_at is None:
            self._ahead = max(self._ahead, moment - int(time.time() * 1000) + 1)
        else:
            self._stands_at = max(self._stands_at, moment)

    # --- what the customer and the operator do

    def purchase(
        self,
        product_id: str,
        price: int,
        *,
        currency: str = "USD",
        days: int = 30,
        app_account_token: str | None = None,
        free: bool = False,
        family_shared: bool = False,
    ) -> Subscription:
        """The app buys; SUBSCRIBED / INITIAL_BUY follows. `free`: the first period is an introductory offer."""
        with self._lock:
            original_id = self._next_id()
            bought = Subscription(original_id, app_account_token or original_id, price, days)
            bought.renewal = {"autoRenewProductId": product_id, "autoRenewStatus": 1, "currency": currency}
            first = {"transactionId": original_id, "currency": currency, "transactionReason": "PURCHASE"}
            if app_account_token and not family_shared:
                first["appAccountToken"] = app_account_token
            if family_shared:
                first["inAppOwnershipType"] = "FAMILY_SHARED"
            if free:
                first |= {"price": 0, "offerType": 1, "offerDiscountType": "FREE_TRIAL"}
            self.subscriptions[original_id] = bought
            self._add(bought, product_id, self.today(), **first)
        self.notify("SUBSCRIBED", "INITIAL_BUY", original_id)
        return bought

    def deed(self, original_id: str, deed: str, wish: Mapping[str, Any] | None = None) -> Delivery:
        """What happens to a subscription, see the package; the notification of it."""
        happens = getattr(self, f"_do_{deed}", None)
        if happens is None:
            raise Refusal(404, 4040000, "no such deed")
        with self._lock:
            kind, subtype = happens(self.subscription(original_id), wish or {})
        return self.notify(kind, subtype, original_id)

    def _do_renew(self, of: Subscription, wish: Mapping[str, Any]) -> tuple[str, str | None]:
        if of.status != ACTIVE or not of.renewal["autoRenewStatus"]:
            raise Refusal(409, 4090000, "it does not renew")
        self._reach(of.last["expiresDate"])
        self._add(of, of.renewal["autoRenewProductId"], of.last["expiresDate"], transactionReason="RENEWAL")
        return "DID_RENEW", None

    def _do_fail(self, of: Subscription, wish: Mapping[str, Any]) -> tuple[str, str | None]:
        self._reach(of.last["expiresDate"])
        days = int(wish.get("graceDays", 0))
        of.status = GRACE if days else RETRY
        of.renewal |= {"isInBillingRetryPeriod": True, "expirationIntent": 2}
        if days:
            of.renewal["gracePeriodExpiresDate"] = of.last["expiresDate"] + days * DAY
        return "DID_FAIL_TO_RENEW", "GRACE_PERIOD" if days else None

    def _do_grace_end(self, of: Subscription, wish: Mapping[str, Any]) -> tuple[str, str | None]:
        self._reach(of.renewal.pop("gracePeriodExpiresDate"))
        of.status = RETRY
        return "GRACE_PERIOD_EXPIRED", None

    def _do_recover(self, of: Subscription, wish: Mapping[str, Any]) -> tuple[str, str | None]:
        """In grace the days that were used are paid for; after it a new period begins now."""
        if of.status not in (RETRY, GRACE):
            raise Refusal(409, 4090000, "it is not in billing retry")
        begin = of.last["expiresDate"] if of.status == GRACE else self.today()
        of.status = ACTIVE
        self._add(of, of.renewal["autoRenewProductId"], begin, transactionReason="RENEWAL")
        return "DID_RENEW", "BILLING_RECOVERY"

    def _do_expire(self, of: Subscription, wish: Mapping[str, Any]) -> tuple[str, str | None]:
        subtype = str(wish.get("subtype", "VOLUNTARY"))
        self._reach(of.last["expiresDate"])
        of.status = EXPIRED
        of.renewal |= {"autoRenewStatus": 0, "expirationIntent": INTENTS.get(subtype, 5)}
        return "EXPIRED", subtype

    def _do_cancel(self, of: Subscription, wish: Mapping[str, Any]) -> tuple[str, str | None]:
        of.renewal["autoRenewStatus"] = 0
        return "DID_CHANGE_RENEWAL_STATUS", "AUTO_RENEW_DISABLED"

    def _do_resume(self, of: Subscription, wish: Mapping[str, Any]) -> tuple[str, str | None]:
        of.renewal["autoRenewStatus"] = 1
        return "DID_CHANGE_RENEWAL_STATUS", "AUTO_RENEW_ENABLED"

    def _do_upgrade(self, of: Subscription, wish: Mapping[str, Any]) -> tuple[str, str | None]:
        of.last["isUpgraded"] = True
        of.price = int(wish["price"])
        of.renewal["autoRenewProductId"] = str(wish["productId"])
        self._add(of, str(wish["productId"]), self.today(), transactionReason="PURCHASE")
        return "DID_CHANGE_RENEWAL_PREF", "UPGRADE"

    def _do_redeem(self, of: Subscription, wish: Mapping[str, Any]) -> tuple[str, str | None]:
        """An offer code of a higher product: as an upgrade, at the offer's price, told by a name of its own."""
        self._do_upgrade(of, wish)
        of.last["offerType"] = 3
        return "OFFER_REDEEMED", "UPGRADE"

    def _do_downgrade(self, of: Subscription, wish: Mapping[str, Any]) -> tuple[str, str | None]:
        of.renewal |= {"autoRenewProductId": str(wish["productId"]), "renewalPrice": int(wish["price"])}
        return "DID_CHANGE_RENEWAL_PREF", "DOWNGRADE"

    def _do_withdraw(self, of: Subscription, wish: Mapping[str, Any]) -> tuple[str, str | None]:
        of.renewal["autoRenewProductId"] = of.last["productId"]
        of.renewal["renewalPrice"] = of.price
        return "DID_CHANGE_RENEWAL_PREF", None

    def _do_refund(self, of: Subscription, wish: Mapping[str, Any]) -> tuple[str, str | None]:
        """`percentage` in milli-percent makes it prorated; a refund of an earlier period leaves the present one."""
        wanted = str(wish.get("transactionId", of.last["transactionId"]))
        row = next((each for each in of.transactions if each["transactionId"] == wanted), None)
        if row is None or "revocationDate" in row:
            raise Refusal(409, 4090000, "there is nothing to give back")
        share = wish.get("percentage")
        row |= {"revocationDate": self.today(), "revocationReason": 0, "revocationType": "REFUND_FULL"}
        if share is not None:
            row |= {"revocationType": "REFUND_PRORATED", "revocationPercentage": int(share)}
        if row is of.last:
            of.status = REVOKED
        of.renewal["refunded"] = wanted
        return "REFUND", None

    def _do_reverse_refund(self, of: Subscription, wish: Mapping[str, Any]) -> tuple[str, str | None]:
        row = self._shown_transaction(of, "REFUND_REVERSED")
        for name in ("revocationDate", "revocationReason", "revocationType", "revocationPercentage"):
            row.pop(name, None)
        if row is of.last:
            of.status = ACTIVE if of.last["expiresDate"] > self.today() else EXPIRED
        return "REFUND_REVERSED", None

    def _do_revoke(self, of: Subscription, wish: Mapping[str, Any]) -> tuple[str, str | None]:
        of.last.update(revocationDate=self.today(), revocationReason=0, revocationType="FAMILY_REVOKE")
        of.status = REVOKED
        return "REVOKE", None

    def _do_extend(self, of: Subscription, wish: Mapping[str, Any]) -> tuple[str, str | None]:
        of.last["expiresDate"] += int(wish.get("days", 7)) * DAY
        return "RENEWAL_EXTENDED", None

    def _do_resubscribe(self, of: Subscription, wish: Mapping[str, Any]) -> tuple[str, str | None]:
        if of.status not in (EXPIRED, REVOKED):
            raise Refusal(409, 4090000, "it has not ended")
        of.status = ACTIVE
        of.renewal["autoRenewStatus"] = 1
        self._add(of, of.renewal["autoRenewProductId"], self.today(), transactionReason="PURCHASE")
        return "SUBSCRIBED", "RESUBSCRIBE"

    # --- what is told

    def notify(self, kind: str, subtype: str | None = None, original_id: str | None = None) -> Delivery:
        """Any notification: of a subscription, or of none."""
        with self._lock:
            signed_at, app = self.now(), self.app
            data: dict[str, Any] = {"appAppleId": app.app_id, "bundleId": app.bundle_id, "bundleVersion": "1.0"}
            data["environment"] = self.environment
            if original_id is not None:
                of = self.subscription(original_id)
                data["signedTransactionInfo"] = self.signed_transaction(self._shown_transaction(of, kind))
                data["signedRenewalInfo"] = self.signed_renewal(of)
                data["status"] = of.status
            body = {"notificationType": kind, "notificationUUID": str(uuid.uuid4()), "version": "2.0"}
            body |= {"signedDate": signed_at, "data": data}
            if subtype:
                body["subtype"] = subtype
            delivery = Delivery(body["notificationUUID"], kind, subtype, signed_at, original_id, self.chain.sign(body))
        return self.deliveries.post(delivery)

    def signed_transaction(self, row: Mapping[str, Any], chain: Chain | None = None) -> str:
        return (chain or self.chain).sign({**row, "signedDate": self.now()})

    def signed_renewal(self, of: Subscription, chain: Chain | None = None) -> str:
        told = {name: value for name, value in of.renewal.items() if name != "refunded"}
        told = {"originalTransactionId": of.original_id, "productId": of.last["productId"], **told}
        told |= {"environment": self.environment, "renewalDate": of.last["expiresDate"], "signedDate": self.now()}
        return (chain or self.chain).sign({"renewalPrice": of.price, **told})

    # --- what is asked

    def subscription(self, original_id: str) -> Subscription:
        with self._lock:
            if original_id not in self.subscriptions:
                raise Refusal(*TRANSACTION_NOT_FOUND)
            return self.subscriptions[original_id]

    def of_customer(self, transaction_id: str) -> list[Subscription]:
        """All of the customer who has this transaction. Raises Refusal(404)."""
        with self._lock:
            for of in self.subscriptions.values():
                if any(row["transactionId"] == transaction_id for row in of.transactions):
                    return [each for each in self.subscriptions.values() if each.customer == of.customer]
        raise Refusal(*TRANSACTION_NOT_FOUND)

    def shown(self) -> dict[str, Any]:
        with self._lock:
            rows = [vars(each) for each in self.subscriptions.values()]
            return {"subscriptions": rows, "deliveries": [each.shown() for each in self.deliveries.sent]}

    # ---

    def _next_id(self) -> str:
        self._number += 1
        return str(self._number)

    def _shown_transaction(self, of: Subscription, kind: str) -> dict[str, Any]:
        """The one that a notification speaks of: the refunded one for news of a refund, else the last."""
        wanted = of.renewal.get("refunded") if kind.startswith("REFUND") else None
        return next((row for row in of.transactions if row["transactionId"] == wanted), of.last)

    def _add(self, of: Subscription, product_id: str, begin: int, **fields: Any) -> None:
        """A transaction that pays from `begin` on; what a failed renewal had left is gone."""
        first = of.transactions[0] if of.transactions else {}
        if "renewalPrice" in of.renewal:
            of.price = of.renewal.pop("renewalPrice")
        for name in ("isInBillingRetryPeriod", "expirationIntent", "gracePeriodExpiresDate"):
            of.renewal.pop(name, None)
        row = {
            "transactionId": fields.get("transactionId") or self._next_id(),
            "originalTransactionId": of.original_id,
            "webOrderLineItemId": str(self._number + 500_000),
            "bundleId": self.app.bundle_id,
            "productId": product_id,
            "subscriptionGroupIdentifier": GROUP,
            "purchaseDate": begin,
            "originalPurchaseDate": first.get("purchaseDate", begin),
            "expiresDate": begin + of.days * DAY,
            "quantity": 1,
            "type": "Auto-Renewable Subscription",
            "inAppOwnershipType": first.get("inAppOwnershipType", "PURCHASED"),
            "environment": self.environment,
            "storefront": "USA",
            "storefrontId": "143441",
            "price": of.price,
            "currency": first.get("currency", "USD"),
        }
        if "appAccountToken" in first:
            row["appAccountToken"] = first["appAccountToken"]
        of.transactions.append({**row, **fields})
