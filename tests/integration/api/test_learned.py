"""What is told of a user's learning, and how it is taken back."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx2
import pytest

from services.bootstrap import Services
from tests.integration.optimizer.written import Learned

ADA = "/admin/users/ada"


def services_of(client: httpx2.AsyncClient) -> Services:
    services: Services = client._transport.app.state.services  # type: ignore[attr-defined]
    return services


@pytest.fixture
async def ada(client: httpx2.AsyncClient) -> Learned:
    ada = Learned(services_of(client).database, "ada")
    await ada.variants("0.1", "1.1", "0.2", "0.3", served=("0.1", "1.1", "0.3"))
    return ada


async def memory(client: httpx2.AsyncClient, **query: Any) -> dict[str, Any]:
    answer = await client.get(f"{ADA}/demonstrations", params=query)
    assert answer.status_code == 200, answer.text
    told: dict[str, Any] = answer.json()
    return told


async def test_memory_is_told_best_first_and_variants_in_pages(
    client: httpx2.AsyncClient, ada: Learned
) -> None:
    told = await memory(client)
    assert (told["active"], told["switches"]) == (ada.id("0.3"), 3)
    assert told["effective"][0]["variant_id"] == ada.id("1.1")
    assert told["effective"][0]["demonstration"] == "Preference: what path 1 wrote in round 1."
    newest_first = [ada.id(name) for name in ("0.3", "0.2", "1.1", "0.1")]
    assert [one["variant_id"] for one in told["variants"]["items"]] == newest_first
    assert [one["active"] for one in told["variants"]["items"]] == [True, False, False, False]

    found, cursor = [], None
    while True:
        page = (await memory(client, limit=3, **({"cursor": cursor} if cursor else {})))["variants"]
        found += [one["variant_id"] for one in page["items"]]
        cursor = page["next_cursor"]
        if cursor is None:
            break
    assert found == newest_first


async def test_paths_are_told_with_their_best_and_their_last(
    client: httpx2.AsyncClient, ada: Learned
) -> None:
    first, second = (await client.get(f"{ADA}/paths")).json()
    assert (first["path"], first["rounds"], first["collapsed"]) == (0, 3, False)
    assert first["incumbent"]["variant_id"] == ada.id("0.3")
    assert first["latest"] == "Preference: what path 0 wrote in round 3."
    assert first["steps"] == [{"similarity": None, "improvement": 0.25}]
    assert second["incumbent"]["variant_id"] == ada.id("1.1")


async def test_a_rollback_serves_what_was_served_before_and_further_back_again(
    client: httpx2.AsyncClient, ada: Learned
) -> None:
    states = services_of(client).recommender._states
    expected = [(ada.id("0.3"), ada.id("1.1")), (ada.id("1.1"), ada.id("0.1")),
                (ada.id("0.1"), None)]  # fmt: skip
    for number, (before, now) in enumerate(expected, start=4):
        await states.of("ada")  # so that Redis has what was served
        answer = await client.post(f"{ADA}/rollback")
        assert answer.json() == {"before": before, "now": now, "switched": number}
        state = await states.of("ada")
        assert state.switched == number
        assert [one.variant_id for one in state.variants if one.active] == ([now] if now else [])
        gone = next(
            one
            for one in (await memory(client))["variants"]["items"]
            if one["variant_id"] == before
        )
        assert (gone["incumbent"], gone["effective"], gone["active"]) == (False, False, False)
    nothing = await client.post(f"{ADA}/rollback")
    assert nothing.status_code == 409
    assert "zero-shot" in nothing.json()["detail"]


async def test_a_rollback_to_a_variant_makes_it_the_best_of_its_path(
    client: httpx2.AsyncClient, ada: Learned
) -> None:
    answer = await client.post(f"{ADA}/rollback", json={"to": ada.id("0.1")})
    assert answer.json()["now"] == ada.id("0.1")
    by_id = {one["variant_id"]: one for one in (await memory(client))["variants"]["items"]}
    assert [by_id[ada.id(name)]["incumbent"] for name in ("0.1", "0.2", "0.3", "1.1")] == [
        True, False, False, True,
    ]  # fmt: skip
    zero_shot = await client.post(f"{ADA}/rollback", json={"to": "zero_shot"})
    assert zero_shot.json()["now"] is None
    assert (await memory(client))["active"] is None


async def test_what_cannot_be_served_is_no_way_back(
    client: httpx2.AsyncClient, ada: Learned
) -> None:
    await Learned(ada.database, "bob").variants("0.1", accepted=False)

    async def refused(user: str, to: str | None) -> tuple[int, str]:
        answer = await client.post(f"/admin/users/{user}/rollback", json={"to": to})
        return answer.status_code, answer.json()["detail"]

    assert (await refused("ada", "var-bob-0.1"))[0] == 404
    status, told = await refused("ada", "no-such")
    assert (status, "demonstrations lists" in told) == (404, True)
    assert (await refused("ada", ada.id("0.3")))[0] == 409
    assert (await refused("bob", "var-bob-0.1"))[0] == 409
    assert (await refused("nobody", None))[0] == 404
    assert (await memory(client))["switches"] == 3


async def test_rollbacks_at_the_same_time_are_one_after_the_other(
    client: httpx2.AsyncClient, ada: Learned
) -> None:
    answers = await asyncio.gather(*(client.post(f"{ADA}/rollback") for _ in range(4)))
    assert sorted(answer.status_code for answer in answers) == [200, 200, 200, 409]
    assert (await memory(client))["switches"] == 6


@pytest.mark.parametrize("path", ["demonstrations", "paths", "prompt"])
async def test_nobody_is_told_of_a_user_who_is_not_there(
    client: httpx2.AsyncClient, path: str
) -> None:
    answer = await client.get(f"/admin/users/nobody/{path}")
    assert (answer.status_code, answer.json()["code"]) == (404, "not_found")


async def test_a_cursor_that_is_made_up_is_refused(
    client: httpx2.AsyncClient, ada: Learned
) -> None:
    answer = await client.get(f"{ADA}/demonstrations", params={"cursor": "bm9uc2Vuc2U"})
    assert (answer.status_code, answer.json()["code"]) == (422, "malformed_cursor")


async def test_the_prompt_is_shown_by_segment_as_the_next_list_is_made_and_nothing_is_kept(
    client: httpx2.AsyncClient, ada: Learned
) -> None:
    alone = await client.get(f"{ADA}/prompt")
    assert alone.status_code == 409
    assert "candidates" in alone.json()["detail"]
    items = [{"item_id": f"i{n}", "title": f"Lamp of kind {n}"} for n in range(5)]
    await client.post("/items", json=items)
    events = [{"user_id": "ada", "item_id": f"i{n}", "type": "purchase"} for n in range(2)]
    await client.post("/events", json=events)

    shown = (await client.get(f"{ADA}/prompt")).json()
    assert shown["variant"] == ada.id("0.3")
    parts = {one["name"]: one["part"] for one in shown["segments"]}
    assert parts["demonstration"] == "X_D"
    assert parts["history"] == parts["instruction"] == parts["candidates"] == "X_T"
    assert all(one["tokens"] > 0 for one in shown["segments"])
    assert shown["tokens"] == sum(one["tokens"] for one in shown["segments"])
    reply = (
        await client.post(
            "/recommend", json={"user_id": "ada", "explain": True, "deadline_ms": 60_000}
        )
    ).json()
    as_sent = [one["text"] for one in reply["explanation"]["prompt"]]
    assert [one["text"] for one in shown["segments"]] == as_sent
    assert reply["variant"]["id"] == ada.id("0.3")

    await client.post(f"{ADA}/rollback", json={"to": "zero_shot"})
    after = (await client.post("/recommend", json={"user_id": "ada", "deadline_ms": 60_000})).json()
    assert after["variant"] is None
    bare = (await client.get(f"{ADA}/prompt")).json()
    assert bare["variant"] is None
    assert "demonstration" not in {one["name"] for one in bare["segments"]}
