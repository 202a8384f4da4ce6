"""The co-visitation index: whatever happens, a refresh leaves what a new build would make."""

from __future__ import annotations

import asyncio
import random

import pytest
from sqlalchemy import func, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from services.bootstrap import Services
from services.catalog.models import Event
from services.retrieval import index as index_module
from services.retrieval.index_repository import IndexRepository
from services.retrieval.models import CountedHistory, Covisit, CovisitIndexState
from tests.conftest import ClientFactory, ServicesFactory
from tests.integration.retrieval.shops import (
    SECONDS,
    at,
    expect_exact,
    positives,
    refresh,
    take,
)

on_sqlite = pytest.mark.parametrize("dialect", ["sqlite"], indirect=True)


async def test_a_shop_without_events_has_an_empty_index(services: Services) -> None:
    await refresh(services)
    await expect_exact(services)


async def test_what_users_took_is_counted_and_looks_are_not(services: Services) -> None:
    await take(services, "ada", "a", "b", "c")
    await take(services, "bob", "b", "a")
    await take(services, "bob", "c", type_="view")
    await refresh(services)
    await expect_exact(services)
    async with services.database.reading() as session:
        around = await IndexRepository(session).neighborhoods(["a", "nothing"])
    assert around.keys() == {"a"}
    assert around["a"].users == 2
    assert around["a"].others == [("b", 1500), ("c", 800)]


async def test_a_second_refresh_counts_nothing_twice(services: Services) -> None:
    await take(services, "ada", "a", "b")
    for _ in range(3):
        await refresh(services)
    await expect_exact(services)


async def test_a_late_event_takes_its_place_in_the_history(services: Services) -> None:
    await take(services, "ada", "a", "c", day=1)
    await take(services, "ada", "b", day=3)
    await refresh(services)
    await take(services, "ada", "late", day=2)
    await refresh(services)
    await expect_exact(services)


async def test_an_event_committed_behind_a_counted_one_is_not_missed(services: Services) -> None:
    """Of two transactions, the one with the higher seq may commit first."""
    await take(services, "ada", "a", "b")
    await refresh(services)

    async def commit_behind(session: AsyncSession) -> None:
        index = await session.get_one(CovisitIndexState, 1)
        index.seq += 1

    await services.database.write(commit_behind)
    await take(services, "ada", "late", day=1)
    await refresh(services)
    with pytest.raises(AssertionError):
        await expect_exact(services)

    async def settle(session: AsyncSession) -> None:
        await session.execute(update(Event).values(received_at=at(-1)))

    await services.database.write(settle)
    await refresh(services)
    await expect_exact(services)


async def test_a_deleted_user_leaves_no_trace_at_once(services: Services) -> None:
    await take(services, "ada", "a", "b", "c")
    await take(services, "bob", "b", "c")
    await refresh(services)
    assert await services.catalog.delete_user("ada")
    await expect_exact(services)
    assert await services.catalog.delete_user("bob")
    async with services.database.reading() as session:
        assert not await session.scalar(select(func.count()).select_from(Covisit))
        assert not await session.scalar(select(func.count()).select_from(CountedHistory))


async def test_deletions_through_the_api_reach_the_index(
    opened_services: ServicesFactory, opened_client: ClientFactory
) -> None:
    async with opened_services() as services, opened_client() as client:
        for user in ("ada", "bob", "eve"):
            await take(services, user, "a", "b", "c")
        await refresh(services)
        assert (await client.delete("/users/ada")).status_code == 204
        await expect_exact(services)
        assert (await client.delete("/items/c")).status_code == 204
        assert (await client.delete("/events/bob%2Fa%2F0")).status_code == 204
        await refresh(services)
        await expect_exact(services)


async def test_a_deleted_item_or_event_is_forgotten_by_the_next_refresh(
    services: Services,
) -> None:
    for user in ("ada", "bob", "eve"):
        await take(services, user, "a", "b", "c")
    await take(services, "joe", "b")
    await refresh(services)
    assert await services.catalog.delete_item("b")
    assert await services.catalog.delete_event("ada/a/0")
    await refresh(services)
    await expect_exact(services)


@pytest.mark.parametrize("seed", range(4))
async def test_whatever_happens_in_whatever_order_equals_a_new_build(
    services: Services, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(index_module, "USERS_A_STEP", 3)
    monkeypatch.setattr(index_module, "EVENTS_A_STEP", 4)
    rng = random.Random(seed)
    for turn in range(60):
        match rng.randrange(12):
            case 0 if events := await positives(services):
                await services.catalog.delete_event(rng.choice(events).event_id)
            case 1:
                await services.catalog.delete_user(f"user-{rng.randrange(8)}")
            case 2:
                await services.catalog.delete_item(f"item-{rng.randrange(15)}")
            case 3 | 4:
                await services.covisit_index.refresh(seconds=0)
            case 5 if turn > 40:
                await services.covisit_index.rebuild(lambda _done, _of: None)
            case _:
                items = [f"item-{rng.randrange(15)}" for _ in range(rng.randrange(1, 6))]
                day = turn if rng.random() < 0.7 else rng.randrange(60)
                await take(services, f"user-{rng.randrange(8)}", *dict.fromkeys(items), day=day)
    while not await services.covisit_index.refresh(seconds=0):
        pass
    await expect_exact(services)
    await services.covisit_index.rebuild(lambda _done, _of: None)
    await expect_exact(services)


async def test_jobs_that_run_at_once_count_nothing_twice(
    opened_services: ServicesFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(index_module, "USERS_A_STEP", 5)
    async with opened_services() as one, opened_services() as other:
        for number in range(30):
            await take(one, f"user-{number}", "a", f"item-{number % 7}", "b")
        await asyncio.gather(
            *(services.covisit_index.refresh(seconds=SECONDS) for services in (one, other)),
            one.catalog.delete_user("user-3"),
            take(other, "user-4", "late", day=-1),
            one.catalog.delete_item("item-5"),
        )
        await refresh(one)
        await expect_exact(one)


async def test_a_refresh_that_runs_out_of_time_goes_on_later(
    services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(index_module, "USERS_A_STEP", 2)
    for number in range(7):
        await take(services, f"user-{number}", "a", "b")
    calls = 1
    while not await services.covisit_index.refresh(seconds=0):
        calls += 1
    assert calls >= 4
    await expect_exact(services)


async def test_a_rebuild_replaces_a_wrong_index_and_tells_how_far_it_is(
    services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(index_module, "USERS_A_STEP", 2)
    for number in range(5):
        await take(services, f"user-{number}", "a", "b")
    await refresh(services)

    async def spoil(session: AsyncSession) -> None:
        await session.execute(update(Covisit).values(weight=7))

    await services.database.write(spoil)
    told: list[tuple[int, int]] = []
    rebuilt = await services.covisit_index.rebuild(lambda done, of: told.append((done, of)))
    assert told == [(2, 5), (4, 5), (5, 5)]
    assert (rebuilt.users, rebuilt.takings, rebuilt.pairs) == (5, 10, 4)
    await expect_exact(services)


async def test_an_index_serves_until_the_next_one_is_complete(
    services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(index_module, "USERS_A_STEP", 2)
    for number in range(5):
        await take(services, f"user-{number}", "a", "b")
    await refresh(services)

    class Interrupted(Exception):
        pass

    def stop(_done: int, _of: int) -> None:
        raise Interrupted

    with pytest.raises(Interrupted):
        await services.covisit_index.rebuild(stop)
    await take(services, "user-9", "a", "c")
    await services.catalog.delete_user("user-0")
    async with services.database.reading() as session:
        newest, serving = await IndexRepository(session).indexes()
        assert (newest.complete, serving.complete) == (False, True)
        around = await IndexRepository(session).neighborhoods(["a"])
        assert around["a"].users == 4
    await services.covisit_index.rebuild(lambda _done, _of: None)
    await expect_exact(services)
    async with services.database.reading() as session:
        (index,) = await IndexRepository(session).indexes()
    assert index.index_id == newest.index_id, "it went on where it stopped"


async def test_another_idea_of_a_positive_event_builds_another_index(
    opened_services: ServicesFactory,
) -> None:
    async with opened_services() as services:
        await take(services, "ada", "a", "b")
        await take(services, "ada", "c", type_="view")
        await refresh(services)
    async with opened_services(positive_events=("view",)) as services:
        await refresh(services)
        await expect_exact(services)


@on_sqlite
async def test_a_refresh_tells_its_time_size_and_moment(services: Services) -> None:
    await take(services, "ada", "a", "b")
    await refresh(services)
    text = services.metrics.render().decode()
    assert "lrgd_covisit_refresh_seconds_count 1.0" in text
    assert "lrgd_covisit_pairs 4.0" in text
    assert "lrgd_covisit_refreshed_timestamp_seconds 1." in text
    async with services.database.reading() as session:
        assert len((await session.scalars(select(CovisitIndexState))).all()) == 1
