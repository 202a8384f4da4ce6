"""POST /recommend: ranked by the model, explained, kept; and what a user does changes it."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx2
import pytest

from services.llm.wire import BATCH, CHAT
from tests.conftest import ClientFactory
from tests.integration.recommendations.conftest import (
    Llm,
    bought_by,
    ids,
    recommended,
    services_of,
    stock,
)


async def test_the_model_ranks_and_the_reply_says_so(shop: httpx2.AsyncClient) -> None:
    reply = await recommended(shop, user_id="camper", k=4)
    assert set(ids(reply)) == {"camp-table", "camp-box", "camp-rug", "camp-clock"}
    assert (reply["source"], reply["degraded"], reply["stored"]) == ("model", False, False)
    assert (reply["scoring_mode"], reply["model"]) == ("first_token", "scripted")
    assert reply["items"][0]["title"].startswith("Camp ")
    assert reply["timings"]["total_ms"] > 0
    text = (await shop.get("/metrics")).text
    assert 'lrgd_recommendations_total{source="model"} 1.0' in text
    assert 'lrgd_rankings_total{chosen_by="settings",mode="first_token"} 1.0' in text


async def test_a_posted_event_changes_the_next_list(shop: httpx2.AsyncClient) -> None:
    before = await recommended(shop, user_id="camper", k=3)
    assert all(item.startswith("camp-") for item in ids(before))
    await bought_by(shop, "camper", *(f"garden-{thing}" for thing in ("lamp", "chair", "box")))
    after = await recommended(shop, user_id="camper", k=3)
    assert after["stored"] is False
    assert any(item.startswith("garden-") for item in ids(after))
    assert not {"garden-lamp", "garden-chair", "garden-box"} & set(ids(after))


async def test_someone_without_an_account_is_ranked_for_by_history(
    shop: httpx2.AsyncClient,
) -> None:
    by_id = await recommended(shop, history=["kitchen-lamp", "kitchen-rug"], k=2)
    assert all(item.startswith("kitchen-") for item in ids(by_id))
    titles = [{"item_id": "x", "title": "Garden Hose"}, {"item_id": "y", "title": "Garden Gnome"}]
    by_title = await recommended(shop, history=titles, k=2)
    assert all(item.startswith("garden-") for item in ids(by_title))


async def test_candidates_may_be_ids_or_items_that_no_catalog_knows(
    shop: httpx2.AsyncClient,
) -> None:
    candidates = [
        "desk-rug",
        {"item_id": "new", "title": "Camp Hammock"},
        "no-such-item",
        {"item_id": "other", "title": "Silk Scarf"},
    ]
    reply = await recommended(shop, user_id="camper", candidates=candidates, explain=True)
    assert ids(reply)[0] == "new"
    assert set(ids(reply)) == {"desk-rug", "new", "other"}
    assert reply["explanation"]["unknown_items"] == ["no-such-item"]


async def test_k_category_and_seen_items(shop: httpx2.AsyncClient) -> None:
    only = await recommended(shop, user_id="camper", category="Desk", k=100)
    assert set(ids(only)) == {
        f"desk-{n}" for n in ("lamp", "chair", "table", "box", "rug", "clock")
    }
    assert "camp-lamp" not in ids(await recommended(shop, user_id="camper", k=100))
    with_seen = await recommended(shop, user_id="camper", k=100, exclude_seen=False)
    assert "camp-lamp" in ids(with_seen)
    assert len(ids(await recommended(shop, k=3))) == 3


async def test_a_user_nobody_knows_gets_a_list_and_no_account(shop: httpx2.AsyncClient) -> None:
    assert (await recommended(shop, user_id="nobody"))["source"] == "model"
    assert (await shop.get("/users/nobody")).status_code == 404


@pytest.mark.parametrize("wanted", [{}, {"candidates": ["desk-lamp", "desk-box", "camp-rug"]}])
async def test_an_item_hidden_or_deleted_is_never_recommended(
    shop: httpx2.AsyncClient, wanted: dict[str, Any]
) -> None:
    assert "desk-lamp" in ids(await recommended(shop, **wanted, k=100))
    hidden = {"item_id": "desk-lamp", "title": "Desk Lamp", "hidden": True}
    await shop.post("/items", json=hidden)
    await shop.delete("/items/desk-box")
    assert not {"desk-lamp", "desk-box"} & set(ids(await recommended(shop, **wanted, k=100)))


async def test_the_same_question_is_answered_from_what_is_kept(
    shop: httpx2.AsyncClient, llm: Llm
) -> None:
    first = await recommended(shop, user_id="camper")
    asked = len(llm.server.received)
    again = await recommended(shop, user_id="camper")
    assert again["stored"] is True
    assert ids(again) == ids(first)
    assert again["recommendation_id"] != first["recommendation_id"]
    assert len(llm.server.received) == asked
    other = await recommended(shop, user_id="camper", mode="generate")
    assert other["stored"] is False


async def test_one_token_is_generated_and_one_request_sent(
    shop: httpx2.AsyncClient, llm: Llm
) -> None:
    await recommended(shop, user_id="camper")
    llm.server.received.clear()
    await recommended(shop, user_id="clerk")
    scoring = [one for one in llm.server.received if one.path in (CHAT, BATCH)]
    assert len(scoring) == 1
    assert scoring[0].body["max_tokens"] == 1


async def test_an_explanation_shows_the_prompt_and_what_the_model_said(
    shop: httpx2.AsyncClient,
) -> None:
    reply = await recommended(shop, user_id="camper", explain=True)
    explained = reply["explanation"]
    names = [segment["name"] for segment in explained["prompt"]]
    assert names == ["instruction", "regularization", "history", "candidates", "lead"]
    assert all(explained["segment_tokens"][name] > 0 for name in names)
    by_id = {one["item_id"]: one for one in explained["candidates"]}
    assert {"label", "raw", "prior"} <= by_id["camp-rug"].keys()
    best = max(by_id.values(), key=lambda one: one["raw"][0])
    assert best["item_id"] == ids(reply)[0]
    assert "explanation" in reply
    assert (await recommended(shop, user_id="clerk"))["explanation"] is None


async def test_a_list_is_kept_with_its_prompt_until_its_user_goes(
    shop: httpx2.AsyncClient,
) -> None:
    reply = await recommended(shop, user_id="camper", explain=True)
    kept = await until_kept(shop, reply["recommendation_id"])
    assert [item["item_id"] for item in kept["items"]] == ids(reply)
    assert kept["prompt"] == reply["explanation"]["prompt"]
    assert kept["user_id"] == "camper"
    await shop.delete("/users/camper")
    gone = await shop.get(f"/recommendations/{reply['recommendation_id']}")
    assert gone.status_code == 404
    assert await services_of(shop).redis.exists("lrgd:user:camper") == 0


async def until_kept(client: httpx2.AsyncClient, recommendation_id: str) -> dict[str, Any]:
    for _ in range(200):
        answer = await client.get(f"/recommendations/{recommendation_id}")
        if answer.status_code == 200:
            kept: dict[str, Any] = answer.json()
            return kept
        await asyncio.sleep(0.02)
    raise AssertionError("the reply was not kept")


async def test_a_mode_that_the_model_lacks_is_refused_and_not_replaced(
    shop: httpx2.AsyncClient,
) -> None:
    answer = await shop.post("/recommend", json={"user_id": "camper", "mode": "likelihood"})
    assert answer.status_code == 422
    assert "likelihood" in answer.json()["detail"]


async def test_the_prior_has_a_say_where_it_is_given_weight(
    llm: Llm, opened_client: ClientFactory
) -> None:
    async with opened_client(**llm.settings, ranking_prior_weight=50) as client:
        await stock(client)
        assert ids(await recommended(client, user_id="camper"))[0] == "desk-lamp"


async def test_over_capacity_is_said_at_once(llm: Llm, opened_client: ClientFactory) -> None:
    async with opened_client(**llm.settings, recommend_at_once=1) as client:
        await stock(client)
        answers = await asyncio.gather(
            *(client.post("/recommend", json={"user_id": f"u{n}"}) for n in range(6))
        )
        statuses = sorted(answer.status_code for answer in answers)
        assert statuses[0] == 200
        assert statuses[-1] == 429
        refused = next(answer for answer in answers if answer.status_code == 429)
        assert refused.headers["retry-after"] == "1"
        assert refused.json()["code"] == "over_capacity"
