"""Every error is a problem that a program can tell by its code and a person can act on."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import httpx2
import pytest
from fastapi import FastAPI

from api.app import create_app
from services.ports import free_port
from tests.conftest import ClientFactory, SettingsFactory
from tests.integration.conftest import GatewayFactory, Logged

on_sqlite = pytest.mark.parametrize("dialect", ["sqlite"], indirect=True)


def problem_of(answer: httpx2.Response, status: int, code: str) -> dict[str, Any]:
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    problem: dict[str, Any] = answer.json()
    assert problem["status"] == status
    assert problem["code"] == code
    assert problem["title"]
    assert problem["detail"]
    assert problem["request_id"] == answer.headers["x-request-id"]
    return problem


@on_sqlite
@pytest.mark.parametrize(
    ("call", "sent", "status", "code"),
    [
        ("GET /nothing-here", {}, 404, "not_found"),
        ("GET /items/nothing-here", {}, 404, "not_found"),
        ("GET /users/nobody", {}, 404, "not_found"),
        ("DELETE /items/nothing-here", {}, 404, "not_found"),
        ("DELETE /users/nobody", {}, 404, "not_found"),
        ("DELETE /events/nothing-here", {}, 404, "not_found"),
        ("GET /imports/progress/nothing-here", {}, 404, "not_found"),
        ("PUT /items", {}, 405, "method_not_allowed"),
        ("DELETE /recommend", {}, 405, "method_not_allowed"),
        ("GET /items?limit=0", {}, 422, "invalid_request"),
        ("GET /items?limit=1001", {}, 422, "invalid_request"),
        ("GET /items?category=%00", {}, 422, "invalid_request"),
        (f"GET /items/{'x' * 129}", {}, 422, "invalid_request"),
        ("GET /items/a%00b", {}, 422, "invalid_request"),
        ("GET /items?cursor=mine", {}, 422, "malformed_cursor"),
        ("GET /users?cursor=WzFd", {}, 422, "malformed_cursor"),
        ("GET /users/u/events?cursor=WyJhIl0", {}, 422, "malformed_cursor"),
        ("GET /exports/secrets", {}, 422, "invalid_request"),
        ("POST /events", {"json": {"user_id": "u"}}, 422, "invalid_request"),
        ("POST /events", {"json": "text"}, 422, "invalid_request"),
        ("POST /items", {"json": 7}, 422, "invalid_request"),
        ("POST /recommend", {"json": {"k": 0}}, 422, "invalid_request"),
        ("POST /recommend", {"json": {"candidates": ["a"]}}, 422, "invalid_request"),
        ("POST /recommend", {"json": {"candidates": ["a", "a"]}}, 422, "invalid_request"),
        ("POST /recommend", {"json": {"colour": "red"}}, 422, "invalid_request"),
        ("POST /imports/items", {"json": {}}, 415, "unsupported_media_type"),
        ("POST /imports/items", {"content": b"{}"}, 415, "unsupported_media_type"),
        (
            "POST /events",
            {"content": b"{}", "headers": {"content-type": "text/plain"}},
            415,
            "unsupported_media_type",
        ),
        ("POST /items", {"content": b"{}"}, 415, "unsupported_media_type"),
    ],
)
async def test_what_is_refused_has_a_status_and_a_stable_code(
    client: httpx2.AsyncClient,
    call: str,
    sent: dict[str, Any],
    status: int,
    code: str,
) -> None:
    problem_of(await client.request(*call.split(), **sent), status, code)


@on_sqlite
@pytest.mark.parametrize("path", ["/items", "/users", "/events", "/recommend"])
@pytest.mark.parametrize(
    "body",
    [b"", b"{", b"[{]", b"\xff\xfe", b"nul\x00", b'{"a": NaN', b"[" * 5000, b"\xef\xbb\xbf{"],
)
async def test_a_body_that_is_no_json_is_refused(
    client: httpx2.AsyncClient, path: str, body: bytes
) -> None:
    answer = await client.post(path, content=body, headers={"content-type": "application/json"})
    problem = problem_of(answer, 422, "invalid_request")
    assert problem["errors"]


@on_sqlite
async def test_wrong_fields_are_named_by_their_place_but_not_repeated(
    client: httpx2.AsyncClient,
) -> None:
    answer = await client.post(
        "/events", json={"user_id": "", "type": "x", "item_id": "secret" * 99}
    )
    problem = problem_of(answer, 422, "invalid_request")
    assert [error["pointer"] for error in problem["errors"]] == ["/user_id", "/item_id"]
    assert "secret" not in answer.text


@on_sqlite
async def test_a_wrong_method_says_which_are_right(client: httpx2.AsyncClient) -> None:
    for path, methods in (("/recommend", "POST"), ("/items/a", "DELETE, GET"), ("/healthz", "GET")):
        assert (await client.put(path)).headers["allow"] == methods


@on_sqlite
@pytest.mark.parametrize(
    ("given", "kept"),
    [("trace-17/ü".encode(), False), (b"trace-17", True), (b"x" * 129, False), (b"a b", False)],
)
async def test_the_request_id_of_the_caller_is_kept_if_it_is_a_printable_one(
    client: httpx2.AsyncClient, given: bytes, kept: bool
) -> None:
    answer = await client.get("/nothing", headers={b"x-request-id": given})
    assert (answer.headers["x-request-id"].encode() == given) == kept
    assert answer.json()["request_id"] == answer.headers["x-request-id"]


@on_sqlite
@pytest.mark.parametrize("path", ["/events", "/recommend", "/items", "/nothing-here"])
@pytest.mark.parametrize("announced", [True, False], ids=["announced", "chunked"])
async def test_a_body_that_is_too_large_is_refused(
    opened_client: ClientFactory, path: str, announced: bool
) -> None:
    async def chunks() -> AsyncIterator[bytes]:
        for _ in range(40):
            yield b" " * 1024

    async with opened_client(max_body_bytes=2048) as client:
        answer = await client.post(
            path,
            content=b" " * 40 * 1024 if announced else chunks(),
            headers={"content-type": "application/json"},
        )
        if path == "/nothing-here" and not announced:  # nobody reads it
            problem_of(answer, 404, "not_found")
            return
        assert "LRGD_MAX_BODY_BYTES" in problem_of(answer, 413, "too_large")["detail"]


@on_sqlite
async def test_a_server_refuses_a_body_that_grows_too_large_while_it_comes(
    opened_gateway: GatewayFactory,
) -> None:
    async with opened_gateway(max_body_bytes=2048) as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(
            b"POST /events HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n"
            b"transfer-encoding: chunked\r\n\r\n"
        )
        chunk = b"400\r\n" + b" " * 1024 + b"\r\n"
        writer.write(3 * chunk)  # and no end
        async with asyncio.timeout(10):
            head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
            assert head.startswith("http/1.1 413")
            assert "application/problem+json" in head
        writer.close()


@on_sqlite
async def test_a_batch_of_too_many_rows_is_refused(opened_client: ClientFactory) -> None:
    rows = [{"item_id": str(n)} for n in range(4)]
    async with opened_client(max_batch_rows=3) as client:
        problem = problem_of(await client.post("/items", json=rows), 413, "too_large")
        assert "LRGD_MAX_BATCH_ROWS" in problem["detail"]
        assert (await client.get("/items")).json()["items"] == []
        assert (await client.post("/items", json=rows[:3])).status_code == 200


@on_sqlite
async def test_what_nobody_foresaw_is_our_fault_and_tells_nothing(
    make_settings: SettingsFactory, logged: Logged
) -> None:
    app: FastAPI = create_app(make_settings())

    async def broken() -> None:
        raise RuntimeError("password=hunter2")

    app.add_api_route("/broken", broken)
    transport = httpx2.ASGITransport(app=app)  # raises what the app raises: nothing
    async with (
        app.router.lifespan_context(app),
        httpx2.AsyncClient(transport=transport, base_url="http://gateway") as client,
    ):
        answer = await client.get("/broken", headers={"x-request-id": "trace-17"})
    problem = problem_of(answer, 500, "internal_error")
    assert problem["request_id"] == "trace-17"
    assert "hunter2" not in answer.text
    told = [line for line in logged() if line["level"] == "error"]
    assert [line["request_id"] for line in told] == ["trace-17"]
    assert "hunter2" in told[0]["exception"], "the log is where it is told"


CALLS: list[tuple[str, dict[str, Any]]] = [
    ("GET /items", {}),
    ("GET /items/i", {}),
    ("DELETE /items/i", {}),
    ("POST /items", {"json": {"item_id": "i"}}),
    ("GET /users", {}),
    ("GET /users/u/events", {}),
    ("POST /events", {"json": {"user_id": "u", "item_id": "i", "type": "purchase"}}),
    ("GET /exports/events", {}),
    ("GET /imports/progress/x", {}),
    (
        "POST /imports/items",
        {"content": b'{"item_id": "i"}\n', "headers": {"content-type": "application/x-ndjson"}},
    ),
]


@pytest.mark.parametrize("dialect", ["sqlite"], indirect=True)
@pytest.mark.parametrize("auth", ["off", "required"])
@pytest.mark.parametrize(("call", "sent"), CALLS)
async def test_without_a_database_every_call_says_when_to_come_back(
    make_settings: SettingsFactory, auth: str, call: str, sent: dict[str, Any]
) -> None:
    url = f"postgresql://lrgd:hunter2@127.0.0.1:{free_port()}/lrgd"  # pragma: allowlist secret
    app = create_app(make_settings(database_url=url, auth=auth))
    async with (
        app.router.lifespan_context(app),
        httpx2.AsyncClient(
            transport=httpx2.ASGITransport(app=app),
            base_url="http://gateway",
            headers={"authorization": "Bearer lrgd_0123456789ab_secret"},
        ) as client,
    ):
        answer = await client.request(*call.split(), **sent)
    problem_of(answer, 503, "unavailable")
    assert int(answer.headers["retry-after"]) >= 1
    assert "hunter2" not in answer.text


@on_sqlite
async def test_a_client_that_hangs_up_in_mid_body_is_no_error_of_ours(
    opened_gateway: GatewayFactory, logged: Logged
) -> None:
    async with opened_gateway() as port:
        for path in (b"/events", b"/imports/items", b"/recommend"):
            _, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(
                b"POST " + path + b" HTTP/1.1\r\nhost: x\r\ncontent-length: 100\r\n"
                b"content-type: application/"
                + (b"x-ndjson" if b"imports" in path else b"json")
                + b"\r\n\r\n{"
            )
            await writer.drain()
            writer.close()
            await writer.wait_closed()
        async with httpx2.AsyncClient(base_url=f"http://127.0.0.1:{port}") as client:
            async with asyncio.timeout(10):
                while (metrics := (await client.get("/metrics")).text).count('method="POST"') < 3:
                    await asyncio.sleep(0.02)
    assert 'status="500"' not in metrics
    assert all(line["level"] in ("debug", "info") for line in logged())
