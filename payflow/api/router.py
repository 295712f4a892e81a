"""A router whose paths answer with and without the trailing slash, and never redirect."""

from __future__ import annotations

from rest_framework.routers import SimpleRouter


class Router(SimpleRouter):
    def __init__(self) -> None:
        super().__init__()
        # As an attribute: the constructor turns any true value into "/".
        self.trailing_slash = "/?"
