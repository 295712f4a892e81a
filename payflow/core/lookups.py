"""`__any`: a column is one of many keys, given as one array.

`__in` makes an expression and a literal of each value: with some hundred keys that costs more than the query.
"""

from __future__ import annotations

from typing import Any

from django.db.models import ForeignKey, Lookup, UUIDField


@UUIDField.register_lookup
@ForeignKey.register_lookup
class AnyOf(Lookup):
    """`filter(pk__any=keys)`; the same rows as `pk__in`, none for no keys. For UUID keys and references to them."""

    lookup_name = "any"
    prepare_rhs = False

    def as_sql(self, compiler: Any, connection: Any) -> tuple[str, tuple[Any, ...]]:
        column, parameters = self.process_lhs(compiler, connection)
        return f"{column} = ANY(%s::uuid[])", (*parameters, list(self.rhs))
