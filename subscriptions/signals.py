"""What this app announces to the floors above it, inside the transaction that makes it true."""

from __future__ import annotations

from django.dispatch import Signal

#: Subscriptions of `user_ids` (a collection) are written: what `subscriptions.access` says of them may be another thing.
access_changed = Signal()
