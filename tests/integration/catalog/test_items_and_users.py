"""Items and users: whole rows replaced, lists that are complete, deletions that leave nothing."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import Any

import pytest
from sqlalchemy import (
    Boolean,
    Column,
    DateTime,
    Double,
    Integer,
    LargeBinary,
    Table,
    func,
    insert,
    select,
)
from sqlalchemy.ext.asyncio import AsyncSession

from services.bootstrap import Services
from services.catalog.inputs import NewEvent, NewItem, NewUser
from services.catalog.models import Event
from services.catalog.repository import CatalogRepository
from services.schema import metadata
from services.storage.base import UtcMoment

NOW = datetime(2026, 1, 2, tzinfo=UTC)
TABLES_OF_USERS = sorted(t.name for t in metadata().sorted_tables if "user_id" in t.c)


async def item_ids(services: Services, **filters: Any) -> list[str]:
    async with services.database.reading() as session:
        items = await CatalogRepository(session).items_after(None, 1000, **filters)
    return [item.item_id for item in items]


async def item(services: Services, item_id: str) -> dict[str, Any]:
    async with services.database.reading() as session:
        found = await CatalogRepository(session).item(item_id)
    assert found is not None
    return {name: getattr(found, name) for name in NewItem.model_fields}


async def test_an_upsert_replaces_the_whole_row(services: Services) -> None:
    full = NewItem(
        item_id="i", title="Lamp", categories=("home",), attributes={"brand": "Lux"}, hidden=True
    )
    await services.catalog.upsert_items([full])
    assert await item(services, "i") == {**full.model_dump(), "categories": ["home"]}
    await services.catalog.upsert_items([NewItem(item_id="i")])
    assert await item(services, "i") == {
        "item_id": "i",
        "title": None,
        "categories": [],
        "attributes": {},
        "hidden": False,
    }


async def test_the_last_of_several_rows_with_one_id_stays(services: Services) -> None:
    results = await services.catalog.upsert_items(
        [NewItem(item_id="i", title="first"), NewItem(item_id="j"), NewItem(item_id="i", title="l")]
    )
    assert [result.status for result in results] == ["accepted"] * 3
    assert (await item(services, "i"))["title"] == "l"
    users = [NewUser(user_id="u", attributes={"n": str(n)}) for n in range(3)]
    await services.catalog.upsert_users(users)
    async with services.database.reading() as session:
        user = await CatalogRepository(session).user("u")
    assert user is not None
    assert user.attributes == {"n": "2"}


async def test_an_upsert_keeps_the_events(services: Services) -> None:
    await services.catalog.record([NewEvent(user_id="u", item_id="i", type="view")])
    await services.catalog.upsert_items([NewItem(item_id="i", title="Lamp")])
    await services.catalog.upsert_users([NewUser(user_id="u", attributes={"a": "b"})])
    async with services.database.reading() as session:
        assert len(await CatalogRepository(session).events_of("u", 10)) == 1


async def test_upserts_of_the_same_rows_in_any_order_at_once_all_succeed(
    services: Services,
) -> None:
    rows = [NewItem(item_id=f"i{n}", title=f"t{n}") for n in range(50)]
    await asyncio.gather(
        *(
            services.catalog.upsert_items(rows if turn % 2 else list(reversed(rows)))
            for turn in range(10)
        )
    )
    assert len(await item_ids(services)) == 50


async def test_any_text_is_kept_as_it_was(services: Services) -> None:
    rows = [
        NewItem(
            item_id=f"'{n};--",
            title=f"Ünïcode 🛒 \"quoted\" 'single' \\ {chr(n)}",
            categories=("a,b", "[", '"', "🛒"),
            attributes={"k'": 'v"', "$.a": "", "{}": "\\u0041"},
        )
        for n in (1, 9, 10, 34, 39, 92, 127, 0x2028, 0xFFFF, 0x1F6D2)
    ]
    await services.catalog.upsert_items(rows)
    for row in rows:
        kept = await item(services, row.item_id)
        assert kept == {**row.model_dump(), "categories": list(row.categories)}


async def test_lists_are_filtered_by_category_and_by_hidden(services: Services) -> None:
    await services.catalog.upsert_items(
        [
            NewItem(item_id="a", categories=("shoes", "outdoor")),
            NewItem(item_id="b", categories=("outdoor",), hidden=True),
            NewItem(item_id="c", categories=('out"door',)),
            NewItem(item_id="d"),
        ]
    )
    assert await item_ids(services) == ["a", "b", "c", "d"]
    assert await item_ids(services, category="outdoor") == ["a", "b"]
    assert await item_ids(services, category="out") == []
    assert await item_ids(services, category='out"door') == ["c"]
    assert await item_ids(services, hidden=True) == ["b"]
    assert await item_ids(services, hidden=False) == ["a", "c", "d"]
    assert await item_ids(services, hidden=False, category="outdoor") == ["a"]


async def test_ids_are_listed_by_code_point_on_every_database(services: Services) -> None:
    ids = ["A", "B", "Z", "_", "a", "a b", "a-b", "ab", "b", "ä", "\uff5a", "🛒"]
    await services.catalog.upsert_items([NewItem(item_id=id_) for id_ in reversed(ids)])
    assert await item_ids(services) == sorted(ids) == ids


async def test_deleting_an_item_deletes_its_events_and_no_others(services: Services) -> None:
    await services.catalog.record(
        [NewEvent(user_id="u", item_id=item_id, type="view") for item_id in ("i", "j")]
    )
    assert await services.database.write(lambda s: CatalogRepository(s).delete_item("i"))
    assert not await services.database.write(lambda s: CatalogRepository(s).delete_item("i"))
    async with services.database.reading() as session:
        left = await CatalogRepository(session).events_of("u", 10)
    assert [event.item_id for event in left] == ["j"]


async def test_a_seq_is_never_given_again(services: Services) -> None:
    async def newest() -> Event:
        async with services.database.reading() as session:
            return (await CatalogRepository(session).events_of("u", 1))[0]

    await services.catalog.record([NewEvent(event_id="a", user_id="u", item_id="i", type="view")])
    first = await newest()
    assert await services.database.write(lambda s: CatalogRepository(s).delete_event("a"))
    assert not await services.database.write(lambda s: CatalogRepository(s).delete_event("a"))
    await services.catalog.record([NewEvent(event_id="b", user_id="u", item_id="i", type="view")])
    assert (await newest()).seq > first.seq


def test_there_are_tables_that_belong_to_users() -> None:
    assert {"users", "events"} <= set(TABLES_OF_USERS)


@pytest.mark.parametrize("table_name", TABLES_OF_USERS)
async def test_deleting_a_user_leaves_no_row_of_the_user_in_any_table(
    services: Services, table_name: str
) -> None:
    """Whatever tables come: a row of every one of them is made from its columns alone."""
    table = metadata().tables[table_name]

    async def fill(session: AsyncSession) -> None:
        for user_id in ("gone", "stays"):
            await add_row(session, table, user_id)

    async def rows_of(user_id: str) -> int:
        async with services.database.reading() as session:
            counted = select(func.count()).select_from(table).where(table.c.user_id == user_id)
            return await session.scalar(counted) or 0

    await services.database.write(fill)
    assert await rows_of("gone") == await rows_of("stays") == 1
    assert await services.database.write(lambda s: CatalogRepository(s).delete_user("gone"))
    assert await rows_of("gone") == 0
    assert await rows_of("stays") == 1
    assert not await services.database.write(lambda s: CatalogRepository(s).delete_user("gone"))


async def add_row(session: AsyncSession, table: Table, user_id: str) -> None:
    """A row of the table for this user, after the rows that it refers to."""
    key = [column for column in table.primary_key if column is not table.autoincrement_column]
    matches = [column == any_value(column, user_id) for column in key]
    if matches and await session.scalar(select(func.count()).select_from(table).where(*matches)):
        return
    for foreign_key in table.foreign_keys:
        await add_row(session, foreign_key.column.table, user_id)
    values = {
        column.name: any_value(column, user_id)
        for column in table.columns
        if column is not table.autoincrement_column
    }
    await session.execute(insert(table).values(values))


def any_value(column: Column[Any], user_id: str) -> Any:
    kinds: dict[type[Any], Any] = {
        UtcMoment: NOW,
        DateTime: NOW,
        Boolean: False,
        Integer: 1,
        Double: 1.0,
        LargeBinary: b"x",
    }
    for kind, value in kinds.items():
        if isinstance(column.type, kind):
            return value
    if column.type.python_type in (dict, list):
        return {}
    return user_id
