"""Items are kept by a process, and never longer than they stay as they are."""

from __future__ import annotations

import pytest
from sqlalchemy import event

from services.bootstrap import Services
from services.catalog.inputs import NewEvent, NewItem
from tests.conftest import ServicesFactory


async def shop(services: Services) -> None:
    await services.catalog.upsert_items(
        [NewItem(item_id=f"item-{n}", title=f"Thing {n}") for n in range(5)]
    )
    await services.catalog.record(
        [
            NewEvent(user_id=f"user-{n}", item_id=f"item-{m}", type="purchase")
            for n in range(4)
            for m in range(n, 5)
        ]
    )
    await services.popularity.refresh()


async def names(services: Services) -> dict[str, str | None]:
    found = await services.retrieval.candidates(history=[], limit=5)
    return {one.item_id: one.title for one in found}


async def test_what_is_kept_is_not_asked_for_again(opened_services: ServicesFactory) -> None:
    async with opened_services() as services:
        await shop(services)
        await names(services)
        asked: list[str] = []
        engine = services.database.engine.sync_engine
        event.listen(engine, "before_cursor_execute", lambda *args: asked.append(args[2]))
        assert len(await names(services)) == 5
        assert not [statement for statement in asked if "items" in statement]


@pytest.mark.parametrize("kept_by", ["the one who changes it", "another process"])
async def test_a_change_of_an_item_is_seen_at_once(
    opened_services: ServicesFactory, kept_by: str
) -> None:
    async with opened_services() as services, opened_services() as other:
        await shop(services)
        reader = services if kept_by == "the one who changes it" else other
        await names(reader)
        await services.catalog.upsert_items([NewItem(item_id="item-0", title="Another thing")])
        assert (await names(reader))["item-0"] == "Another thing"
        await services.catalog.upsert_items([NewItem(item_id="item-1", hidden=True)])
        assert "item-1" not in await names(reader)
        await services.catalog.delete_item("item-2")
        assert "item-2" not in await names(reader)


async def test_a_title_of_history_is_known_though_the_item_is_hidden(
    opened_services: ServicesFactory,
) -> None:
    async with opened_services() as services:
        await services.catalog.upsert_items(
            [NewItem(item_id="gone", title="Not sold any more", hidden=True)]
        )
        assert await services.retrieval.titles(["gone", "never was"]) == {
            "gone": "Not sold any more"
        }
