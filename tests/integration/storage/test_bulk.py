"""Rows that travel as JSON: what goes in comes out, on both databases."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from sqlalchemy import JSON, Boolean, Double, Integer, String, select
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.types import TypeEngine

from services.settings import Settings
from services.storage.base import Id, UtcMoment, as_text
from services.storage.bulk import POSITION, json_rows
from services.storage.database import Database, open_database

COLUMNS: dict[str, TypeEngine[Any]] = {
    "id": Id,
    "text": String(),
    "number": Double(),
    "count": Integer(),
    "flag": Boolean(),
    "moment": UtcMoment(),
    "nested": JSON().with_variant(JSONB(), "postgresql"),
}

texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00"), max_size=40)
nested = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=8,
).filter(lambda value: isinstance(value, list | dict))
rows = st.fixed_dictionaries(
    {
        "id": texts.filter(bool),
        "text": st.none() | texts,
        "number": st.none() | st.floats(allow_nan=False, allow_infinity=False),
        "count": st.none() | st.integers(-(2**31), 2**31 - 1),
        "flag": st.none() | st.booleans(),
        "moment": st.none() | st.datetimes(timezones=st.just(UTC)),
        "nested": nested,
    }
)


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    database = open_database(Settings.model_validate({"database_url": database_url}))
    yield database
    await database.aclose()


def sent(row: dict[str, Any]) -> dict[str, Any]:
    return {**row, "moment": row["moment"] and as_text(row["moment"])}


async def round_trip(database: Database, given: list[dict[str, Any]]) -> list[dict[str, Any]]:
    source = json_rows(database.dialect, [sent(row) for row in given], COLUMNS)
    async with database.reading() as session:
        found = await session.execute(select(source).order_by(source.c[POSITION]))
        return [dict(row) for row in found.mappings()]


EMPTY = dict.fromkeys(COLUMNS)
HARD = {
    "id": "'; DROP TABLE users; --",
    "text": "\"quoted\" \\ 'single' \u2028 \t\r\n \x01 🛒 ü {}[]:,",
    "number": 5e-324,
    "count": -(2**31),
    "flag": True,
    "moment": datetime(1, 1, 1, tzinfo=UTC),
    "nested": {"a": [None, True, 1, "x", {"b": []}], "": {"$.a": 'q"'}},
}


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.lists(rows, max_size=6))
@example([])
@example([{**HARD}, {**HARD, "number": 1.7976931348623157e308, "flag": False}])
@example([{**EMPTY, "id": "n", "nested": []}, {**HARD, "number": -0.1, "text": ""}])
async def test_what_goes_in_comes_out_in_its_order(
    database: Database, given_rows: list[dict[str, Any]]
) -> None:
    found = await round_trip(database, given_rows)
    assert found == [{POSITION: at, **row} for at, row in enumerate(given_rows)]
    for row, back in zip(given_rows, found, strict=True):
        assert type(back["flag"]) is type(row["flag"])
        assert type(back["number"]) is type(row["number"])


async def test_thousands_of_rows_are_one_statement(database: Database) -> None:
    many = [{**HARD, "id": f"row-{number}", "count": number} for number in range(10_000)]
    found = await round_trip(database, many)
    assert [row["count"] for row in found] == list(range(10_000))
