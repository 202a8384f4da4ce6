"""Items, users and events over HTTP."""

from __future__ import annotations

import asyncio
from typing import Any
from urllib.parse import quote

import httpx2
import pytest

from lab.servers.fault_proxy import FaultProxy
from services.bootstrap import Services
from services.catalog.inputs import NewItem
from tests.integration.conftest import GatewayFactory

on_sqlite = pytest.mark.parametrize("dialect", ["sqlite"], indirect=True)


def event(event_id: str, **changes: Any) -> dict[str, Any]:
    moment = "2026-01-02T03:04:05Z"
    return {
        "event_id": event_id,
        "user_id": "u",
        "item_id": "i",
        "type": "view",
        "occurred_at": moment,
        **changes,
    }


async def pages(client: httpx2.AsyncClient, path: str, **query: Any) -> list[dict[str, Any]]:
    """All entries of a list, page by page."""
    entries: list[dict[str, Any]] = []
    cursor: str | None = None
    while True:
        params = {**query, **({"cursor": cursor} if cursor else {})}
        answer = await client.get(path, params=params)
        assert answer.status_code == 200, answer.text
        page = answer.json()
        assert len(page["items"]) <= query["limit"]
        entries += page["items"]
        cursor = page["next_cursor"]
        if cursor is None:
            return entries


async def test_one_bad_row_does_not_spoil_a_batch(client: httpx2.AsyncClient) -> None:
    answer = await client.post(
        "/events",
        json=[event("a"), {"user_id": "u"}, event("a"), event("b", occurred_at="never"), 7],
    )
    assert answer.status_code == 200
    report = answer.json()
    assert (report["accepted"], report["duplicates"], report["refused"]) == (1, 1, 3)
    results = report["results"]
    assert [row["index"] for row in results] == [0, 1, 2, 3, 4]
    assert [row["status"] for row in results] == [
        "accepted",
        "refused",
        "duplicate",
        "refused",
        "refused",
    ]
    assert [row["code"] for row in results if row["status"] == "refused"] == ["invalid_row"] * 3
    assert "/item_id: Field required" in results[1]["detail"]
    assert "/occurred_at" in results[3]["detail"]


async def test_a_batch_of_nothing_is_answered_with_nothing(client: httpx2.AsyncClient) -> None:
    for path in ("/items", "/users", "/events"):
        answer = await client.post(path, json=[])
        assert answer.json() == {"accepted": 0, "duplicates": 0, "refused": 0, "results": []}


async def test_an_item_is_stored_looked_up_hidden_and_deleted(client: httpx2.AsyncClient) -> None:
    item = {"item_id": "i", "title": "Lamp", "categories": ["home"], "attributes": {"brand": "L"}}
    assert (await client.post("/items", json=item)).json()["accepted"] == 1
    stored = (await client.get("/items/i")).json()
    assert stored.pop("updated_at")
    assert stored == {**item, "hidden": False}
    await client.post("/items", json={**item, "hidden": True})
    assert (await client.get("/items", params={"hidden": False})).json()["items"] == []
    assert (await client.delete("/items/i")).status_code == 204
    assert (await client.get("/items/i")).status_code == 404


async def test_deleting_a_user_over_http_leaves_no_trace(client: httpx2.AsyncClient) -> None:
    await client.post("/events", json=[event("a"), event("b", user_id="stays")])
    assert (await client.delete("/users/u")).status_code == 204
    assert (await client.get("/users/u")).status_code == 404
    assert (await client.get("/users/u/events")).json()["items"] == []
    assert (await client.post("/events", json=event("a"))).json()["accepted"] == 1
    assert len((await client.get("/users/stays/events")).json()["items"]) == 1


async def test_a_deleted_event_is_gone(client: httpx2.AsyncClient) -> None:
    await client.post("/events", json=[event("a"), event("b")])
    assert (await client.delete("/events/a")).status_code == 204
    assert [e["event_id"] for e in await pages(client, "/users/u/events", limit=9)] == ["b"]


IDS = [
    "a/b",
    "/",
    "a/events",
    "../x",
    "a%2Fb",
    "%",
    "?q=1",
    "#",
    "ü 🛒",
    "a+b",
    "a;b",
    ".hidden",
    '"',
]


@on_sqlite
@pytest.mark.parametrize("id_", IDS)
async def test_whatever_its_id_a_thing_that_was_stored_is_found_and_deleted(
    client: httpx2.AsyncClient, id_: str
) -> None:
    await client.post("/items", json={"item_id": id_})
    await client.post("/events", json=event(id_, user_id=id_, item_id=id_))
    path = quote(id_, safe="")
    item = await client.get(f"/items/{path}")
    assert item.json().get("item_id") == id_
    assert (await client.get(f"/users/{path}")).json().get("user_id") == id_
    events = (await client.get(f"/users/{path}/events")).json()["items"]
    assert [found["event_id"] for found in events] == [id_]
    for kind in ("events", "items", "users"):
        assert (await client.delete(f"/{kind}/{path}")).status_code == 204
        assert (await client.delete(f"/{kind}/{path}")).status_code == 404


@on_sqlite
async def test_ids_with_slashes_survive_a_real_server(opened_gateway: GatewayFactory) -> None:
    async with (
        opened_gateway() as port,
        httpx2.AsyncClient(base_url=f"http://127.0.0.1:{port}") as client,
    ):
        await client.post("/events", json=event("e", user_id="a/events"))
        answer = await client.get("/users/a%2fevents/events")
        assert [found["event_id"] for found in answer.json()["items"]] == ["e"]
        assert (await client.get("/users/a%2Fevents")).json()["user_id"] == "a/events"
        assert (await client.get("/no/such%2Froute")).json()["code"] == "not_found"


@pytest.mark.parametrize("limit", [1, 7, 10, 50])
async def test_pages_make_a_list_that_is_complete_and_without_repeats(
    client: httpx2.AsyncClient, limit: int
) -> None:
    ids = sorted(f"i{n:02}" for n in range(50))
    await client.post("/items", json=[{"item_id": id_} for id_ in ids])
    await client.post("/users", json=[{"user_id": id_} for id_ in ids])
    assert [item["item_id"] for item in await pages(client, "/items", limit=limit)] == ids
    assert [user["user_id"] for user in await pages(client, "/users", limit=limit)] == ids


async def test_a_list_of_events_turns_its_pages_through_ties(client: httpx2.AsyncClient) -> None:
    moments = ["2026-01-02T03:04:05.000001Z", "2026-01-02T03:04:05Z", "2026-01-02T03:04:04Z"]
    sent = [event(f"{m}-{n}", occurred_at=m) for m in moments for n in range(5)]
    await client.post("/events", json=sent)
    expected = [f"{m}-{n}" for m in moments for n in reversed(range(5))]
    for limit in (1, 2, 5, 14):
        found = await pages(client, "/users/u/events", limit=limit)
        assert [e["event_id"] for e in found] == expected


async def test_what_was_there_before_is_listed_once_while_others_insert(
    client: httpx2.AsyncClient, services: Services
) -> None:
    before = [f"i{n:03}" for n in range(0, 200, 2)]
    await client.post("/items", json=[{"item_id": id_} for id_ in before])
    await client.post("/events", json=[event(f"e{n}") for n in range(100)])
    listing = asyncio.Event()

    async def insert() -> None:
        await listing.wait()
        for n in range(1, 200, 2):
            await services.catalog.upsert_items([NewItem(item_id=f"i{n:03}")])
            await client.post("/events", json=event(f"new-{n}"))

    async def listed(path: str, key: str, limit: int) -> list[str]:
        listing.set()
        return [entry[key] for entry in await pages(client, path, limit=limit)]

    items, events, _ = await asyncio.gather(
        listed("/items", "item_id", 5), listed("/users/u/events", "event_id", 5), insert()
    )
    assert len(set(items)) == len(items)
    assert set(before) <= set(items)
    assert len(set(events)) == len(events)
    assert {f"e{n}" for n in range(100)} <= set(events)


async def test_a_cursor_outlives_the_entry_it_was_made_of(client: httpx2.AsyncClient) -> None:
    await client.post("/items", json=[{"item_id": id_} for id_ in "abcd"])
    first = (await client.get("/items", params={"limit": 2})).json()
    await client.delete("/items/b")
    rest = await client.get("/items", params={"limit": 2, "cursor": first["next_cursor"]})
    assert [item["item_id"] for item in rest.json()["items"]] == ["c", "d"]


async def test_ids_at_the_limits_turn_pages_too(client: httpx2.AsyncClient) -> None:
    ids = ["\x01" * 128, "x" * 128, "ü" * 128, "🛒" * 128]
    answer = await client.post("/items", json=[{"item_id": id_} for id_ in ids])
    assert answer.json()["accepted"] == 4
    assert [item["item_id"] for item in await pages(client, "/items", limit=1)] == ids


async def test_a_batch_whose_reply_was_lost_is_sent_again_and_counts_once(
    opened_gateway: GatewayFactory, services: Services
) -> None:
    batch = [event(f"e{n}") for n in range(50)]
    async with opened_gateway() as port:
        with FaultProxy("127.0.0.1", port) as proxy:
            proxy.cut_after(0)
            async with httpx2.AsyncClient(base_url=f"http://127.0.0.1:{proxy.port}") as cut_off:
                with pytest.raises(httpx2.TransportError):
                    await cut_off.post("/events", json=batch)
            proxy.recover()
            async with httpx2.AsyncClient(base_url=f"http://127.0.0.1:{proxy.port}") as client:
                again = (await client.post("/events", json=batch)).json()
                assert (again["accepted"], again["duplicates"]) == (0, 50)
                assert len(await pages(client, "/users/u/events", limit=100)) == 50


async def test_many_clients_with_one_batch_are_told_accepted_once(
    client: httpx2.AsyncClient,
) -> None:
    batch = [event(f"e{n}") for n in range(20)]
    answers = await asyncio.gather(*(client.post("/events", json=batch) for _ in range(8)))
    assert sum(answer.json()["accepted"] for answer in answers) == 20
    assert sum(answer.json()["duplicates"] for answer in answers) == 140
