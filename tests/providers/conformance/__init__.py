"""One conformance suite for every payment provider: the cases C01 to C26 of docs/write-a-provider.md.

A provider brings a fixture pack, `packs/NAME.py`, and nothing else. `pack` says what is in one, `cases` which cases there
are and whom they are for, `wire` and `stage` are the network and the shop that every pack is tested in.
"""
