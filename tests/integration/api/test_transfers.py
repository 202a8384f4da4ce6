"""JSONL over HTTP: what is exported is imported again, and a broken upload goes on."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterable
from typing import Any

import httpx2
import pytest

from api.routes.transfers import MOST_REFUSALS_TOLD
from services.bootstrap import Services
from services.catalog.importing import BATCH_LINES, import_file
from services.catalog.inputs import Kind
from tests.conftest import ClientFactory
from tests.integration.conftest import GatewayFactory

JSONL = {"content-type": "application/x-ndjson"}
on_sqlite = pytest.mark.parametrize("dialect", ["sqlite"], indirect=True)
COUNTS = ("lines", "accepted", "duplicates", "refused", "finished")


def line(row: dict[str, Any]) -> bytes:
    return json.dumps(row).encode() + b"\n"


def events(numbers: Iterable[int], prefix: str = "e") -> bytes:
    return b"".join(
        line(
            {
                "event_id": f"{prefix}{n}",
                "user_id": f"u{n % 7}",
                "item_id": f"i{n % 5}",
                "type": "rating",
                "value": n / 4,
                "occurred_at": "2026-01-02T03:04:05Z",
            }
        )
        for n in numbers
    )


def counts(report: dict[str, Any]) -> tuple[Any, ...]:
    return tuple(report[name] for name in COUNTS)


async def test_what_one_gateway_exports_another_exports_after_its_import(
    client: httpx2.AsyncClient, services: Services
) -> None:
    awkward: list[dict[str, Any]] = [
        {"item_id": "ü/🛒", "title": '"q" \\ \'\u2028', "categories": ["a,b"], "hidden": True},
        {"item_id": "plain", "attributes": {"k'": 'v"', "empty": ""}},
        *({"item_id": f"i{n}", "title": f"Lamp {n}"} for n in range(2500)),
    ]
    users: list[dict[str, Any]] = [
        {"user_id": "u0", "attributes": {"country": "NO"}},
        {"user_id": "ü"},
    ]
    await client.post("/items", json=awkward)
    await client.post("/users", json=users)
    await client.post("/imports/events", content=events(range(2500)), headers=JSONL)
    late = {
        "event_id": "late",
        "user_id": "ü",
        "item_id": "ü/🛒",
        "type": "add to cart",
        "value": 1e-300,
        "occurred_at": "0999-12-31T23:59:59.999999+14:00",
        "recommendation_id": "rec-1",
    }
    await client.post("/events", json=late)
    exported = {kind: (await client.get(f"/exports/{kind}")).content for kind in Kind}
    assert [exported[kind].count(b"\n") for kind in Kind] == [2502, 8, 2501]
    told = {kind: [json.loads(row) for row in exported[kind].splitlines()] for kind in Kind}
    assert told[Kind.EVENTS][-1] == {**late, "occurred_at": "0999-12-31T09:59:59.999999Z"}
    for kind, sent in ((Kind.ITEMS, awkward), (Kind.USERS, users)):
        for row in sent:
            assert any(row.items() <= found.items() for found in told[kind]), row

    async with services.database.engine.begin() as connection:
        for table in ("events", "items", "users", "imports"):
            await connection.exec_driver_sql(f"DELETE FROM {table}")
    for kind in Kind:
        answer = await client.post(f"/imports/{kind}", content=exported[kind], headers=JSONL)
        assert answer.json()["refused"] == 0
        assert answer.json()["accepted"] == exported[kind].count(b"\n")
    for kind in Kind:
        assert (await client.get(f"/exports/{kind}")).content == exported[kind]


async def test_bad_lines_are_told_by_number_and_reason_while_good_ones_land(
    client: httpx2.AsyncClient,
) -> None:
    lines = [
        line({"item_id": "a"}),
        b"not json\n",
        b"\n",
        line({"item_id": ""}),
        line({"item_id": "b", "colour": "red"}),
        b"\xff\xfe\n",
        line({"item_id": "c"}).rstrip(),
    ]
    answer = await client.post("/imports/items", content=b"".join(lines), headers=JSONL)
    report = answer.json()
    assert counts(report) == (7, 2, 0, 4, True)
    assert [refusal["number"] for refusal in report["refusals"]] == [2, 4, 5, 6]
    reasons = [refusal["reason"] for refusal in report["refusals"]]
    assert "not valid JSON" in reasons[0]
    assert "item_id: must not be empty" in reasons[1]
    assert "colour: is not a known field" in reasons[2]
    assert "not valid UTF-8" in reasons[3]
    items = (await client.get("/items")).json()["items"]
    assert [item["item_id"] for item in items] == ["a", "c"]


async def test_no_more_refusals_are_told_than_an_answer_should_hold(
    client: httpx2.AsyncClient,
) -> None:
    answer = await client.post("/imports/items", content=b"bad\n" * 1500, headers=JSONL)
    assert answer.json()["refused"] == 1500
    assert len(answer.json()["refusals"]) == MOST_REFUSALS_TOLD


async def test_a_stream_counts_as_the_same_file_does(
    client: httpx2.AsyncClient, services: Services, tmp_path: Any
) -> None:

    def content(prefix: str) -> bytes:
        many, some = events(range(BATCH_LINES + 10), prefix), events(range(5), prefix)
        return many + b"bad\n" + some + b"\n"

    path = tmp_path / "events.jsonl"
    path.write_bytes(content("f"))
    from_file = await import_file(services.catalog, path, import_id="file", kind=Kind.EVENTS)
    assert from_file.accepted == BATCH_LINES + 10
    streamed = await client.post("/imports/events", content=content("s"), headers=JSONL)
    assert counts(streamed.json()) == tuple(getattr(from_file, name) for name in COUNTS)


@pytest.mark.parametrize("size", [1, 3, 64, 1000])
@on_sqlite
async def test_it_does_not_matter_how_a_stream_is_cut_into_chunks(
    client: httpx2.AsyncClient, size: int
) -> None:
    content = "\ufeff".encode() + line({"item_id": "ü🛒"}) + b"\r\n" + line({"item_id": "b"})[:-1]

    async def chunks() -> AsyncIterator[bytes]:
        for start in range(0, len(content), size):
            yield content[start : start + size]

    answer = await client.post("/imports/items", content=chunks(), headers=JSONL)
    assert counts(answer.json()) == (3, 2, 0, 0, True)


@on_sqlite
async def test_an_import_may_be_larger_than_any_other_body(opened_client: ClientFactory) -> None:
    content = events(range(100))
    async with opened_client(max_body_bytes=1024) as client:
        assert len(content) > 1024
        answer = await client.post("/imports/events", content=content, headers=JSONL)
        assert answer.json()["accepted"] == 100


async def test_a_finished_import_sent_again_changes_nothing(client: httpx2.AsyncClient) -> None:
    params = {"import_id": "nightly"}
    first = await client.post(
        "/imports/events", content=events(range(3)), headers=JSONL, params=params
    )
    again = await client.post(
        "/imports/events", content=events(range(9)), headers=JSONL, params=params
    )
    assert again.json() == first.json()
    progress = (await client.get("/imports/progress/nightly")).json()
    assert counts(progress) == (3, 3, 0, 0, True)


async def test_two_imports_without_a_name_are_two_whatever_their_request_id(
    client: httpx2.AsyncClient,
) -> None:
    headers = {**JSONL, "x-request-id": "t" * 128}
    for numbers in (range(3), range(3, 6)):
        answer = await client.post("/imports/events", content=events(numbers), headers=headers)
        assert answer.json()["accepted"] == 3


async def test_an_upload_that_broke_goes_on_under_its_name(
    opened_gateway: GatewayFactory,
) -> None:
    whole = events(range(2 * BATCH_LINES + 100))
    async with (
        opened_gateway() as port,
        httpx2.AsyncClient(base_url=f"http://127.0.0.1:{port}") as client,
    ):
        _, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(
            b"POST /imports/events?import_id=big HTTP/1.1\r\nhost: x\r\n"
            b"content-type: application/x-ndjson\r\ncontent-length: %d\r\n\r\n" % len(whole)
        )
        writer.write(whole[: len(whole) * 2 // 3])
        await writer.drain()
        async with asyncio.timeout(20):
            while (progress := await client.get("/imports/progress/big")).status_code == 404:
                await asyncio.sleep(0.02)
        assert counts(progress.json()) == (BATCH_LINES, BATCH_LINES, 0, 0, False)
        writer.transport.abort()

        answer = await client.post("/imports/events?import_id=big", content=whole, headers=JSONL)
        total = 2 * BATCH_LINES + 100
        assert counts(answer.json()) == (total, total, 0, 0, True)
        exported = (await client.get("/exports/events")).content
        assert exported.count(b"\n") == total


async def test_two_uploads_of_one_name_at_once_never_spoil_the_counts(
    client: httpx2.AsyncClient,
) -> None:
    """As when a client that lost its connection comes back before the server has noticed."""
    content = events(range(BATCH_LINES + 10))
    answers = await asyncio.gather(
        *(
            client.post("/imports/events?import_id=twice", content=content, headers=JSONL)
            for _ in range(3)
        )
    )
    for answer in answers:
        if answer.status_code == 409:
            assert answer.json()["code"] == "conflict"
        else:
            assert answer.status_code == 200
            assert answer.json()["duplicates"] == 0
    await client.post("/imports/events?import_id=twice", content=content, headers=JSONL)
    progress = (await client.get("/imports/progress/twice")).json()
    assert counts(progress) == (BATCH_LINES + 10, BATCH_LINES + 10, 0, 0, True)


async def test_an_empty_catalog_exports_nothing(client: httpx2.AsyncClient) -> None:
    for kind in Kind:
        answer = await client.get(f"/exports/{kind}")
        assert answer.status_code == 200
        assert answer.headers["content-type"].startswith("application/x-ndjson")
        assert answer.content == b""


async def test_events_are_exported_in_the_order_in_which_they_came(
    client: httpx2.AsyncClient,
) -> None:
    for n in (3, 1, 2):
        await client.post(
            "/imports/events",
            content=events([n]).replace(b"T03", b"T0%d" % n),
            headers=JSONL,
        )
    rows = [json.loads(row) for row in (await client.get("/exports/events")).content.splitlines()]
    assert [row["event_id"] for row in rows] == ["e3", "e1", "e2"]
