"""POST /recommend as it is today: popular items, and honest about it."""

from __future__ import annotations

from typing import Any

import httpx2
import pytest

from services.bootstrap import Services
from services.storage.redis import POPULAR


@pytest.fixture
async def shop(client: httpx2.AsyncClient, services: Services) -> httpx2.AsyncClient:
    """i0 is liked by five users, i1 by four, … i4 by one; the users are u0 to u4."""
    await client.post("/items", json=[{"item_id": f"i{n}", "title": f"Lamp {n}"} for n in range(7)])
    await client.post(
        "/events",
        json=[
            {"user_id": f"u{user}", "item_id": f"i{item}", "type": "purchase"}
            for item in range(5)
            for user in range(5 - item)
        ],
    )
    await services.popularity.refresh()
    return client


async def recommended(client: httpx2.AsyncClient, **wanted: Any) -> list[str]:
    answer = await client.post("/recommend", json=wanted)
    assert answer.status_code == 200, answer.text
    items = answer.json()["items"]
    assert [item["rank"] for item in items] == list(range(1, len(items) + 1))
    scores = [item["score"] for item in items]
    assert scores == sorted(scores, reverse=True)
    return [item["item_id"] for item in items]


async def test_the_most_liked_come_first_with_title_score_and_rank(
    shop: httpx2.AsyncClient,
) -> None:
    assert await recommended(shop) == ["i0", "i1", "i2", "i3", "i4"]
    answer = (await shop.post("/recommend", json={"k": 1})).json()
    assert answer["items"] == [{"item_id": "i0", "title": "Lamp 0", "score": 5.0, "rank": 1}]


async def test_a_reply_says_where_its_order_comes_from(shop: httpx2.AsyncClient) -> None:
    answers = [(await shop.post("/recommend", json={"k": 1})).json() for _ in range(2)]
    assert all(answer["source"] == "popularity" for answer in answers)
    assert all(answer["degraded"] is True for answer in answers)
    assert answers[0]["recommendation_id"] != answers[1]["recommendation_id"]
    text = (await shop.get("/metrics")).text
    assert 'lrgd_recommendations_total{source="popularity"} 2.0' in text


async def test_k_is_the_most_that_is_given(shop: httpx2.AsyncClient) -> None:
    assert await recommended(shop, k=2) == ["i0", "i1"]
    assert len(await recommended(shop, k=100)) == 5


async def test_what_a_user_has_taken_is_left_out_unless_asked_for(
    shop: httpx2.AsyncClient,
) -> None:
    assert await recommended(shop, user_id="u3") == ["i2", "i3", "i4"]
    assert await recommended(shop, user_id="u3", k=1) == ["i2"]
    assert len(await recommended(shop, user_id="u3", exclude_seen=False)) == 5


async def test_a_mere_look_does_not_take_an_item_off_the_list(shop: httpx2.AsyncClient) -> None:
    await shop.post("/events", json={"user_id": "new", "item_id": "i0", "type": "view"})
    assert (await recommended(shop, user_id="new"))[0] == "i0"


async def test_the_history_of_someone_without_an_account_is_left_out_too(
    shop: httpx2.AsyncClient,
) -> None:
    assert await recommended(shop, history=["i0", "i2"]) == ["i1", "i3", "i4"]
    assert await recommended(shop, user_id="u3", history=["i2"]) == ["i3", "i4"]


async def test_a_user_nobody_knows_gets_a_list_and_no_account(shop: httpx2.AsyncClient) -> None:
    assert len(await recommended(shop, user_id="nobody")) == 5
    assert (await shop.get("/users/nobody")).status_code == 404


async def test_candidates_are_ranked_and_no_others(shop: httpx2.AsyncClient) -> None:
    assert await recommended(shop, candidates=["i6", "i3", "i5", "i1"]) == ["i1", "i3", "i6", "i5"]
    assert await recommended(shop, candidates=["i6", "i3", "i5", "i1"], k=1) == ["i1"]
    assert await recommended(shop, user_id="u4", candidates=["i0", "i4"]) == ["i4"]


@pytest.mark.parametrize("wanted", [{}, {"candidates": ["i0", "i1", "i6"]}])
async def test_an_item_hidden_or_deleted_since_the_count_is_never_recommended(
    shop: httpx2.AsyncClient, wanted: dict[str, Any]
) -> None:
    assert "i0" in await recommended(shop, **wanted)
    await shop.post("/items", json={"item_id": "i0", "title": "Lamp 0", "hidden": True})
    assert "i0" not in await recommended(shop, **wanted)
    assert (await recommended(shop, k=1, **wanted)) == ["i1"]
    await shop.delete("/items/i1")
    assert not {"i0", "i1"} & set(await recommended(shop, **wanted))


async def test_a_purchase_changes_the_list_once_the_worker_has_counted(
    shop: httpx2.AsyncClient, services: Services
) -> None:
    await shop.post(
        "/events",
        json=[{"user_id": f"new{n}", "item_id": "i6", "type": "purchase"} for n in range(6)],
    )
    await services.popularity.refresh()
    assert (await recommended(shop))[0] == "i6"


async def test_without_a_published_list_a_gateway_counts_itself(
    shop: httpx2.AsyncClient, services: Services
) -> None:
    await services.redis.delete(POPULAR)
    assert await recommended(shop) == ["i0", "i1", "i2", "i3", "i4"]


async def test_an_empty_shop_recommends_nothing(client: httpx2.AsyncClient) -> None:
    assert await recommended(client) == []
    assert await recommended(client, candidates=["a", "b"]) == []
