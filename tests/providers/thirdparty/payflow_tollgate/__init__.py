"""Tollgate, a provider that does not exist: the worked example of docs/write-a-provider.md, as a package of its own."""
