"""What `benchmarks.workloads.renewals` is made of: the baseline in SQL, and what must be true after a renewal."""
