"""Many rows in one statement: the rows travel as one JSON parameter and the database unpacks them.

One INSERT … SELECT per batch is the fastest way that SQLite and PostgreSQL share, keeps the order
of the rows, and can say through RETURNING which of them landed.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from pydantic_core import to_json
from sqlalchemy import (
    JSON,
    ColumnElement,
    FromClause,
    Integer,
    Subquery,
    Text,
    bindparam,
    cast,
    column,
    func,
    literal,
    select,
)
from sqlalchemy.types import TypeEngine

ROWS, POSITION = "rows", "position"


def json_rows(
    dialect: str, rows: Iterable[Mapping[str, Any]], columns: Mapping[str, TypeEngine[Any]]
) -> Subquery:
    """The rows as a table `rows` with the given columns and their place, `position`."""
    return _unpacked(dialect, literal(as_json(rows), Text), columns)


def coming_rows(dialect: str, columns: Mapping[str, TypeEngine[Any]]) -> Subquery:
    """The same for a statement that is made once: its rows come with each execution, as the
    parameter `ROWS`. Making a statement takes longer than storing a row."""
    return _unpacked(dialect, bindparam(ROWS, type_=Text), columns)


def as_json(rows: Iterable[Mapping[str, Any]]) -> str:
    # A generator: thousands of dicts at once would set off the garbage collector.
    return to_json({POSITION: at, **row} for at, row in enumerate(rows)).decode()


def _unpacked(
    dialect: str, payload: ColumnElement[str], columns: Mapping[str, TypeEngine[Any]]
) -> Subquery:
    types = {POSITION: Integer(), **columns}
    if dialect == "sqlite":
        return _unpacked_by_sqlite(payload, types)
    return _unpacked_by_postgresql(payload, types)


def _unpacked_by_sqlite(
    payload: ColumnElement[str], types: Mapping[str, TypeEngine[Any]]
) -> Subquery:
    each: FromClause = func.json_each(payload).table_valued("value", name="each")

    def field(name: str, kind: TypeEngine[Any]) -> ColumnElement[Any]:
        # json_extract gives text for JSON values: the very form in which SQLite stores them.
        return func.json_extract(each.c.value, f"$.{name}", type_=kind).label(name)

    return select(*(field(name, kind) for name, kind in types.items())).subquery("rows")


def _unpacked_by_postgresql(
    payload: ColumnElement[str], types: Mapping[str, TypeEngine[Any]]
) -> Subquery:
    unpacked = (
        func.json_to_recordset(cast(payload, JSON))
        .table_valued(*(column(name, kind) for name, kind in types.items()), name="unpacked")
        .render_derived(with_types=True)
    )
    return select(unpacked).subquery("rows")


def columns_of(*columns: ColumnElement[Any]) -> dict[str, TypeEngine[Any]]:
    return {str(each.key): each.type for each in columns}
