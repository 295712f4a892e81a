"""The simulator: months of subscribers in minutes, on the real services and the real database.

`run.simulation_run` is its one entry; `docs/simulator.md` says what it shows and how an act or a fault is added.
"""
