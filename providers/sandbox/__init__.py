"""The sandbox: a payment provider that we ship, built as the foreign system it plays.

`adapter.py` is our side. The rest is *their* side: its tables (`sandbox_*`) are read by nobody else, it knows nothing of
plans or subscriptions, it is asked by HTTP and tells by signed webhooks. Refused in production.
"""
