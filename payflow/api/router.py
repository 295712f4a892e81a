"""A router whose paths answer with and without the trailing slash, and never redirect."""

from __future__ import annotations

from rest_framework.routers import SimpleRouter

#: A key in a path: what is not one is a path that does not exist.
UUID_PATTERN = "[0-9a-fA-F]{8}-(?:[0-9a-fA-F]{4}-){3}[0-9a-fA-F]{12}"


class Router(SimpleRouter):
    def __init__(self) -> None:
        super().__init__()
        # As an attribute: the constructor turns any true value into "/".
        self.trailing_slash = "/?"
