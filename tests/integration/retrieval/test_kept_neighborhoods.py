"""What a process keeps of neighborhoods gives the scores that the rule gives, to the last bit."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence

import pytest

from services.bootstrap import Services
from services.retrieval import kept_neighborhoods as kept_module
from services.retrieval.covisitation import SEEDS, covisit_scores
from services.retrieval.index_repository import IndexRepository
from services.retrieval.kept_neighborhoods import KeptNeighborhoods
from tests.integration.retrieval.shops import refresh, take

ITEMS = [f"item-{number}" for number in range(30)]

pytestmark = pytest.mark.parametrize("dialect", ["sqlite"], indirect=True)


@pytest.fixture
async def shop(services: Services) -> Services:
    draws = random.Random(7)
    for user in range(12):
        await take(services, f"user-{user}", *draws.sample(ITEMS, 9))
    await refresh(services)
    return services


async def by_the_rule(shop: Services, seeds: Sequence[str]) -> dict[str, float]:
    async with shop.database.reading() as session:
        return covisit_scores(seeds, await IndexRepository(session).neighborhoods(seeds[:SEEDS]))


async def as_kept(
    shop: Services, kept: KeptNeighborhoods, seeds: Sequence[str]
) -> dict[str, float]:
    async with shop.database.reading() as session:
        return dict(await kept.scores(session, seeds))


async def test_scores_are_those_of_the_rule(shop: Services) -> None:
    kept, draws = KeptNeighborhoods(), random.Random(1)
    for _ in range(20):
        seeds = draws.sample([*ITEMS, "nobody-took-it"], draws.randint(1, SEEDS + 3))
        assert await as_kept(shop, kept, seeds) == await by_the_rule(shop, seeds)
    assert await as_kept(shop, kept, ["nobody-took-it"]) == {}
    assert await as_kept(shop, kept, []) == {}


@pytest.mark.parametrize(("ids", "items"), [(3, 5_000), (1_000_000, 2)])
async def test_room_is_made_and_nothing_is_mixed_up(
    shop: Services, monkeypatch: pytest.MonkeyPatch, ids: int, items: int
) -> None:
    monkeypatch.setattr(kept_module, "IDS_KEPT", ids)
    monkeypatch.setattr(kept_module, "ITEMS_KEPT", items)
    kept, draws = KeptNeighborhoods(), random.Random(2)
    asked = [draws.sample(ITEMS, SEEDS) for _ in range(12)]
    expected = [await by_the_rule(shop, seeds) for seeds in asked]
    assert await asyncio.gather(*(as_kept(shop, kept, seeds) for seeds in asked)) == expected
