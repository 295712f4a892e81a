"""A storm of webhooks on a whole PayFlow: duplicates, news out of order, forgeries, workers that are killed.

`run.storm` is its one entry; `./benchmarks/storm` runs it on servers of its own, `tests/live/test_storm.py` a small one.
"""
