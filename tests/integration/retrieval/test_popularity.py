"""Popularity: how many users like an item, published to Redis or counted at home."""

from __future__ import annotations

from typing import Any

import pytest

from lab.servers.valkey import PrivateValkey
from services.bootstrap import Services
from services.catalog.inputs import NewEvent, NewItem
from services.catalog.repository import CatalogRepository
from services.retrieval.popularity import Popularity
from services.storage.redis import POPULAR, connect
from tests.conftest import ServicesFactory

on_sqlite = pytest.mark.parametrize("dialect", ["sqlite"], indirect=True)


async def liked(services: Services, *pairs: tuple[str, str], **changes: Any) -> None:
    await services.catalog.record(
        [
            NewEvent(**{"user_id": user, "item_id": item, "type": "purchase", **changes})
            for user, item in pairs
        ]
    )


async def order(services: Services) -> list[tuple[str, int]]:
    await services.popularity.refresh()
    return [(item.item_id, item.users) for item in await services.popularity.top()]


async def test_items_are_ordered_by_how_many_users_like_them_ties_by_id(
    services: Services,
) -> None:
    await liked(services, ("a", "z"), ("b", "z"), ("a", "y"), ("a", "x"), ("b", "B"))
    assert await order(services) == [("z", 2), ("B", 1), ("x", 1), ("y", 1)]


async def test_one_enthusiast_counts_once(services: Services) -> None:
    await liked(services, ("a", "x"), ("a", "x"), ("a", "x"), ("a", "y"), ("b", "y"))
    assert await order(services) == [("y", 2), ("x", 1)]


async def test_only_positive_events_count(services: Services) -> None:
    await liked(services, ("a", "seen"), type="view")
    await liked(services, ("a", "bad"), type="rating", value=3.5)
    await liked(services, ("a", "good"), type="rating", value=4.0)
    await liked(services, ("a", "silent"), type="rating")
    assert await order(services) == [("good", 1)]


async def test_hidden_and_deleted_items_are_not_popular(services: Services) -> None:
    await liked(services, ("a", "x"), ("a", "hidden"), ("a", "gone"))
    await services.catalog.upsert_items([NewItem(item_id="hidden", hidden=True)])
    await services.database.write(lambda session: CatalogRepository(session).delete_item("gone"))
    assert await order(services) == [("x", 1)]


@on_sqlite
async def test_what_was_published_is_what_is_served_until_the_next_count(
    services: Services,
) -> None:
    await liked(services, ("a", "x"))
    assert await services.popularity.refresh() == 1
    await liked(services, ("a", "y"), ("b", "y"))
    assert [item.item_id for item in await services.popularity.top()] == ["x"]
    assert await services.popularity.refresh() == 2
    assert [item.item_id for item in await services.popularity.top()] == ["y", "x"]


@on_sqlite
async def test_a_process_that_finds_no_list_counts_for_itself(
    services: Services,
) -> None:
    await liked(services, ("a", "x"))
    assert [item.item_id for item in await services.popularity.top()] == ["x"]
    assert await services.redis.get(POPULAR) is None, "only the worker publishes"


@on_sqlite
async def test_without_redis_the_list_is_counted_once_for_all_who_ask(
    opened_services: ServicesFactory,
) -> None:
    async with opened_services() as services:
        await liked(services, ("a", "x"))
        with PrivateValkey() as own:
            redis = connect(own.address.state_url, timeout_seconds=1)
            own.kill()
            alone = Popularity(services.database, redis, services.catalog.positives)
            first = await alone.top()
            await liked(services, ("b", "y"))
            assert await alone.top() is first
            assert [item.item_id for item in first] == ["x"]
            await redis.aclose()
