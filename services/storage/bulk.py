"""Many rows in one statement: the rows travel as one JSON parameter and the database unpacks them.

One INSERT … SELECT per batch is the fastest way that SQLite and PostgreSQL share, keeps the order
of the rows, and can say through RETURNING which of them landed.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import (
    JSON,
    ColumnElement,
    FromClause,
    Integer,
    Subquery,
    Text,
    cast,
    column,
    func,
    literal,
    select,
)
from sqlalchemy.types import TypeEngine

POSITION = "position"


def json_rows(
    dialect: str, rows: Sequence[Mapping[str, Any]], columns: Mapping[str, TypeEngine[Any]]
) -> Subquery:
    """The rows as a table `rows` with the given columns and their place, `position`."""
    payload = json.dumps([{POSITION: at, **row} for at, row in enumerate(rows)])
    types = {POSITION: Integer(), **columns}
    if dialect == "sqlite":
        return _unpacked_by_sqlite(payload, types)
    return _unpacked_by_postgresql(payload, types)


def _unpacked_by_sqlite(payload: str, types: Mapping[str, TypeEngine[Any]]) -> Subquery:
    each: FromClause = func.json_each(payload).table_valued("value", name="each")

    def field(name: str, kind: TypeEngine[Any]) -> ColumnElement[Any]:
        # json_extract gives text for JSON values: the very form in which SQLite stores them.
        return func.json_extract(each.c.value, f"$.{name}", type_=kind).label(name)

    return select(*(field(name, kind) for name, kind in types.items())).subquery("rows")


def _unpacked_by_postgresql(payload: str, types: Mapping[str, TypeEngine[Any]]) -> Subquery:
    unpacked = (
        func.json_to_recordset(cast(literal(payload, Text), JSON))
        .table_valued(*(column(name, kind) for name, kind in types.items()), name="unpacked")
        .render_derived(with_types=True)
    )
    return select(unpacked).subquery("rows")


def columns_of(*columns: ColumnElement[Any]) -> dict[str, TypeEngine[Any]]:
    return {str(each.key): each.type for each in columns}
