"""What a request leaves behind: one line in the log and a few numbers, none of them personal."""

from __future__ import annotations

import re
import uuid

import httpx2
import pytest

from services.access.keys import Scope
from services.bootstrap import Services
from tests.conftest import ClientFactory
from tests.integration.conftest import Logged

pytestmark = pytest.mark.parametrize("dialect", ["sqlite"], indirect=True)


def lines_of_requests(logged: Logged) -> list[dict[str, object]]:
    return [line for line in logged() if line["event"] == "request"]


async def test_every_request_is_one_line_with_its_id(
    client: httpx2.AsyncClient, logged: Logged
) -> None:
    await client.get("/items", headers={"x-request-id": "trace-1"})
    made_up = (await client.get("/items/nothing")).headers["x-request-id"]
    first, second = lines_of_requests(logged)
    assert first["request_id"] == "trace-1"
    assert (first["method"], first["route"], first["status"]) == ("GET", "/items", 200)
    assert first["level"] == "info"
    assert first["process"] == "gateway"
    assert isinstance(first["ms"], float)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT[\d:.]+Z", str(first["timestamp"]))
    assert second["request_id"] == made_up == uuid.UUID(made_up).hex
    assert (second["route"], second["status"]) == ("/items/{item_id}", 404)


async def test_probes_and_scrapes_leave_no_line(client: httpx2.AsyncClient, logged: Logged) -> None:
    for path in ("/healthz", "/readyz", "/metrics"):
        await client.get(path)
    assert lines_of_requests(logged) == []


async def test_neither_keys_nor_people_are_in_the_log(
    opened_client: ClientFactory, services: Services, logged: Logged
) -> None:
    key = await services.keys.create("all", list(Scope))
    secret = key.split("_", 2)[2]
    headers = {"authorization": f"Bearer {key}"}
    async with opened_client(auth="required", log_level="debug") as client:
        event = {"user_id": "ada-lovelace", "item_id": "i", "type": "purchase"}
        await client.post("/events", json=[event, {**event, "type": ""}], headers=headers)
        await client.post("/recommend", json={"user_id": "ada-lovelace"}, headers=headers)
        await client.get("/users/ada-lovelace/events", headers=headers)
        await client.get("/users/ada-lovelace", headers={"authorization": f"Bearer {key}x"})
        await client.delete("/users/ada-lovelace", headers=headers)
        await client.get("/no/such/ada-lovelace", headers=headers)
    told = str([line for line in logged() if line["logger"] != "httpx2"])  # the client's own
    assert len(lines_of_requests(logged)) == 6
    assert secret not in told
    assert "ada-lovelace" not in told


async def test_requests_are_counted_by_route_and_never_by_what_was_asked(
    client: httpx2.AsyncClient,
) -> None:
    for path in ("/items/a", "/items/b", "/nothing", "/nothing/else", "/users/x%2Fy", "/items/"):
        await client.get(path)
    await client.request("BREW", "/items")
    await client.request("PROPFIND", "/nothing")
    text = (await client.get("/metrics")).text
    counted = dict(re.findall(r"^lrgd_http_requests_total\{(.*)\} (.*)$", text, re.M))
    assert counted['method="GET",route="/items/{item_id}",status="404"'] == "2.0"
    assert counted['method="GET",route="none",status="404"'] == "2.0"
    assert counted['method="other",route="none",status="404"'] == "1.0"
    labels = set(re.findall(r'(\w+)="([^"]*)"', text))
    known = {"none", "/items/{item_id}", "/users/{user_id}", "/items", "/metrics"}
    assert {value for name, value in labels if name == "route"} <= known
    assert {value for name, value in labels if name == "method"} <= {"GET", "other"}


async def test_what_is_in_flight_is_counted_and_comes_to_rest(client: httpx2.AsyncClient) -> None:
    await client.get("/nothing")
    text = (await client.get("/metrics")).text
    assert "lrgd_http_requests_in_flight 1.0" in text, "the scrape itself"
    assert 'lrgd_http_request_seconds_count{method="GET",route="none"} 1.0' in text


async def test_rows_are_counted_by_what_became_of_them(client: httpx2.AsyncClient) -> None:
    event = {"event_id": "e", "user_id": "u", "item_id": "i", "type": "view"}
    await client.post("/events", json=[event, event, {}])
    await client.post(
        "/imports/events",
        content=b'{"event_id": "f", "user_id": "u", "item_id": "i", "type": "view"}\nbad\n',
        headers={"content-type": "application/x-ndjson"},
    )
    text = (await client.get("/metrics")).text
    for status, count in (("accepted", 2), ("duplicate", 1), ("refused", 2)):
        assert f'lrgd_catalog_rows_total{{kind="events",status="{status}"}} {count}.0' in text


async def test_cors_is_off_unless_an_origin_is_named(opened_client: ClientFactory) -> None:
    asked = {"origin": "https://shop.example", "access-control-request-method": "POST"}
    async with opened_client() as client:
        answer = await client.options("/recommend", headers=asked)
        assert answer.status_code == 405
        assert "access-control-allow-origin" not in answer.headers
    async with opened_client(cors_origins="https://shop.example") as client:
        answer = await client.options("/recommend", headers=asked)
        assert answer.status_code == 200
        assert answer.headers["access-control-allow-origin"] == "https://shop.example"
        other = await client.options("/recommend", headers={**asked, "origin": "https://evil.test"})
        assert "access-control-allow-origin" not in other.headers
