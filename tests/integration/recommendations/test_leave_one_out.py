"""`explain: "leave_one_out"`: what each past item did for the first item of the list."""

from __future__ import annotations

import httpx2
import pytest

from services.llm.wire import BATCH, CHAT
from tests.integration.recommendations.conftest import Llm


async def explained(shop: httpx2.AsyncClient, explain: object) -> dict[str, object]:
    answer = await shop.post(
        "/recommend", json={"user_id": "camper", "explain": explain, "deadline_ms": 20_000}
    )
    assert answer.status_code == 200, answer.text
    reply: dict[str, object] = answer.json()
    return reply


async def test_each_past_item_is_left_out_once(shop: httpx2.AsyncClient, llm: Llm) -> None:
    await explained(shop, False)
    llm.server.received.clear()
    reply = await explained(shop, "leave_one_out")
    assert reply["stored"] is False  # a stored list has no ranking to explain
    found = reply["explanation"]["leave_one_out"]  # type: ignore[index]
    assert found["item_id"] == reply["items"][0]["item_id"]  # type: ignore[index]
    segments = {one["name"]: one["text"] for one in reply["explanation"]["prompt"]}  # type: ignore[index]
    shown = [line[2:] for line in segments["history"].splitlines()[1:]]
    assert [one["text"] for one in found["effects"]] == shown[::-1]
    assert {one["kind"] for one in found["effects"]} == {"item"}
    assert max(one["effect"] for one in found["effects"]) > 0
    assert found["not_asked"] == 0
    asked = [one for one in llm.server.received if one.path in (CHAT, BATCH)]
    assert 1 <= len(asked) <= 1 + len(shown)


async def test_a_plain_explanation_asks_for_nothing_more(shop: httpx2.AsyncClient) -> None:
    reply = await explained(shop, True)
    assert reply["explanation"]["leave_one_out"] is None  # type: ignore[index]


@pytest.mark.parametrize("wrong", ["gradients", 7, ["leave_one_out"]])
async def test_another_way_to_explain_is_refused(shop: httpx2.AsyncClient, wrong: object) -> None:
    answer = await shop.post("/recommend", json={"user_id": "camper", "explain": wrong})
    assert answer.status_code == 422
