"""POST /recommend/batch: many lists in one call, each row with a result of its own."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx2
import pytest

from services.llm.scripted import Fault
from tests.conftest import ClientFactory
from tests.integration.recommendations.conftest import Llm, ids, recommended, stock

pytestmark = pytest.mark.parametrize("dialect", ["sqlite"])


async def batch(client: httpx2.AsyncClient, rows: list[dict[str, Any]]) -> dict[str, Any]:
    answer = await client.post("/recommend/batch", json=rows)
    assert answer.status_code == 200, answer.text
    told: dict[str, Any] = answer.json()
    assert [result["index"] for result in told["results"]] == list(range(len(rows)))
    assert told["ok"] + told["problems"] == len(rows)
    return told


async def test_each_row_has_the_list_that_it_would_have_had_alone(shop: httpx2.AsyncClient) -> None:
    rows = [{"user_id": f"u{n}", "k": 3 + n} for n in range(8)]
    told = await batch(shop, rows)
    assert (told["ok"], told["problems"]) == (8, 0)
    for row, result in zip(rows, told["results"], strict=True):
        assert result["status"] == "ok"
        assert result["problem"] is None
        assert ids(result["reply"]) == ids(await recommended(shop, **row))


async def test_what_befalls_one_row_is_told_in_that_row(shop: httpx2.AsyncClient) -> None:
    told = await batch(shop, [{"k": 3}, {"user_id": "camper", "mode": "likelihood"}, {"k": 2}])
    assert [result["status"] for result in told["results"]] == ["ok", "problem", "ok"]
    problem = told["results"][1]["problem"]
    assert (problem["status"], problem["code"]) == (422, "invalid_request")
    assert "likelihood" in problem["detail"]
    assert told["results"][1]["reply"] is None


@pytest.mark.parametrize(
    ("rows", "pointer"),
    [
        ([{"k": 3}, {"k": 0}], "/body/1/k"),
        ([{"k": 3}, {"k": 3}, {"who": "me"}], "/body/2/who"),
        ([{"candidates": ["a", "a"]}], "/body/0"),
        ([], "/body"),
        ([{}] * 101, "/body"),
        ({"k": 3}, "/body"),
    ],
)
async def test_a_row_that_does_not_fit_refuses_the_batch_and_is_named(
    client: httpx2.AsyncClient, rows: Any, pointer: str
) -> None:
    answer = await client.post("/recommend/batch", json=rows)
    assert answer.status_code == 422
    assert [error["pointer"] for error in answer.json()["errors"]] == [pointer]


async def test_rows_wait_for_a_place_and_all_find_one(
    llm: Llm, opened_client: ClientFactory
) -> None:
    async with opened_client(
        **llm.settings, recommend_at_once=2, recommend_deadline_ms=5000
    ) as client:
        await stock(client)
        told = await batch(client, [{"user_id": f"u{n % 8}"} for n in range(40)])
        assert told["ok"] == 40


async def test_a_row_without_a_place_in_time_has_a_429_of_its_own(
    llm: Llm, opened_client: ClientFactory
) -> None:
    async with opened_client(**llm.settings, recommend_at_once=1) as client:
        await stock(client)
        llm.server.faults.slow_seconds = 0.6
        llm.server.faults.begin(Fault.SLOW)
        rows = [{"user_id": f"u{n}", "deadline_ms": 300} for n in range(6)]
        told = await batch(client, rows)
        refused = [r["problem"] for r in told["results"] if r["status"] == "problem"]
        assert told["ok"] >= 1
        assert refused
        assert {(one["status"], one["code"]) for one in refused} == {(429, "over_capacity")}


async def test_a_batch_leaves_places_to_those_who_wait_for_one_list(
    llm: Llm, opened_client: ClientFactory
) -> None:
    async with opened_client(**llm.settings, recommend_at_once=4) as client:
        await stock(client)
        llm.server.faults.slow_seconds = 0.1
        llm.server.faults.begin(Fault.SLOW)
        running = asyncio.create_task(batch(client, [{"user_id": f"u{n % 8}"} for n in range(40)]))
        await asyncio.sleep(0.2)
        for _ in range(5):
            assert not running.done()
            await recommended(client, user_id="camper")
        assert (await running)["ok"] == 40


async def test_without_the_model_every_row_has_a_list_that_says_so(
    shop: httpx2.AsyncClient, llm: Llm
) -> None:
    llm.server.faults.begin(Fault.FAILED)
    told = await batch(shop, [{"user_id": f"u{n}"} for n in range(8)])
    assert told["ok"] == 8
    assert all(result["reply"]["degraded"] for result in told["results"])
