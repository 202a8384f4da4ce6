"""What is promised is counted where it is kept or broken, and the figures are settings."""

from __future__ import annotations

import re

import httpx2
import pytest

from tests.conftest import ClientFactory

pytestmark = pytest.mark.parametrize("dialect", ["sqlite"], indirect=True)

ITEMS = [{"item_id": f"i{place}", "title": f"Camping Lamp {place}"} for place in range(5)]
SHOWN = {"candidates": [one["item_id"] for one in ITEMS], "deadline_ms": 30_000}


async def counted(client: httpx2.AsyncClient, name: str) -> dict[str, float]:
    text = (await client.get("/metrics")).text
    return {
        labels: float(value)
        for labels, value in re.findall(rf"^{name}\{{(.*)\}} (.*)$", text, re.M)
    }


async def of(client: httpx2.AsyncClient, slo: str) -> tuple[float, float]:
    """What the objective is about, and what of it was missed."""
    labels = f'slo="{slo}"'
    requests, misses = [
        (await counted(client, f"lrgd_slo_{name}_total"))[labels] for name in ("requests", "misses")
    ]
    return requests, misses


async def test_objectives_are_told_before_anything_happens(opened_client: ClientFactory) -> None:
    async with opened_client(slo_latency=0.9, slo_by_model=0.5) as client:
        assert await counted(client, "lrgd_slo_objective") == {
            'slo="availability"': 0.999,
            'slo="latency"': 0.9,
            'slo="by_model"': 0.5,
        }
        for slo in ("availability", "latency", "by_model"):
            assert await of(client, slo) == (0, 0)


async def test_a_list_that_is_made_in_time_by_the_model_keeps_all_of_them(
    opened_client: ClientFactory,
) -> None:
    async with opened_client(slo_latency_ms=60_000) as client:
        await client.post("/items", json=ITEMS)
        assert (await client.post("/recommend", json=SHOWN)).json()["source"] == "model"
        assert await of(client, "availability") == (2, 0)
        assert await of(client, "latency") == (1, 0)
        assert await of(client, "by_model") == (1, 0)


async def test_a_list_without_the_model_and_a_late_one_are_misses(
    opened_client: ClientFactory,
) -> None:
    async with opened_client(
        slo_latency_ms=0.001, llm_url="http://127.0.0.1:9/v1", llm_model="none"
    ) as client:
        await client.post("/items", json=ITEMS)
        assert (await client.post("/recommend", json=SHOWN)).json()["degraded"]
        reranked = {"query": "Lamp", "documents": ["Tent", "Lantern"]}
        assert (await client.post("/rerank", json=reranked)).json()["degraded"]
        assert await of(client, "availability") == (3, 0)
        assert await of(client, "latency") == (2, 2)
        assert await of(client, "by_model") == (2, 2)


async def test_where_there_is_nothing_to_rank_the_model_is_not_blamed(
    client: httpx2.AsyncClient,
) -> None:
    await client.post("/items", json=ITEMS[:1])
    assert (await client.post("/recommend", json={})).json()["reason"] == "nothing_to_rank"
    assert await of(client, "by_model") == (0, 0)


async def test_only_5xx_count_against_availability_and_probes_not_at_all(
    opened_client: ClientFactory,
) -> None:
    async with opened_client(database_url="postgresql://127.0.0.1:9/none") as client:
        for path in ("/healthz", "/readyz", "/metrics", "/nothing"):
            await client.get(path)
        assert await of(client, "availability") == (1, 0)
        assert (await client.get("/items")).status_code == 503
        assert await of(client, "availability") == (2, 1)


async def test_the_mode_of_a_ranking_is_told_with_who_chose_it(
    opened_client: ClientFactory,
) -> None:
    async with opened_client() as client:
        await client.post("/items", json=ITEMS)
        await client.post("/recommend", json=SHOWN)
        await client.post("/recommend", json={**SHOWN, "mode": "generate"})
        assert await counted(client, "lrgd_ranking_mode_configured") == {'mode="first_token"': 1}
        assert await counted(client, "lrgd_rankings_total") == {
            'chosen_by="settings",mode="first_token"': 1,
            'chosen_by="caller",mode="generate"': 1,
        }
        assert sum((await counted(client, "lrgd_written_lists_total")).values()) == 1
