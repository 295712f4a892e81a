"""Up to 5,000 events of many users in one call: `service` is the use case, the rest its parts.

`events` reads what came, `counts` finds the counters that it raises, `tables` writes all of it as sets.
"""
