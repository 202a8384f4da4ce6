"""API keys: what is stored of them, whom they let in and for how long."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

import httpx2
import pytest
from sqlalchemy import text

from services.access.keys import ApiKeys, Caller, Scope
from services.bootstrap import Services
from services.errors import InvalidRequest, NotFound, Unauthenticated
from tests.conftest import ClientFactory, ServicesFactory

on_sqlite = pytest.mark.parametrize("dialect", ["sqlite"], indirect=True)


@pytest.fixture
def keys(services: Services) -> ApiKeys:
    return ApiKeys(services.database, trusted_seconds=0)


def id_of(key: str) -> str:
    return key.split("_")[1]


async def test_a_key_opens_what_its_scopes_say(keys: ApiKeys) -> None:
    key = await keys.create("shop", [Scope.INGEST, Scope.RECOMMEND])
    caller = await keys.caller_of(key)
    assert caller == Caller(id_of(key), frozenset({Scope.INGEST, Scope.RECOMMEND}))
    assert [caller.may(scope) for scope in Scope] == [True, True, False]


async def test_an_admin_may_do_everything(keys: ApiKeys) -> None:
    caller = await keys.caller_of(await keys.create("ops", [Scope.ADMIN]))
    assert all(caller.may(scope) for scope in Scope)


async def test_nothing_in_the_database_opens_anything(keys: ApiKeys, services: Services) -> None:
    key = await keys.create("shop", [Scope.INGEST])
    secret = key.split("_", 2)[2]
    async with services.database.engine.connect() as connection:
        (row,) = (await connection.execute(text("SELECT * FROM api_keys"))).mappings()
    stored = [value for value in row.values() if value is not None]
    assert all(secret.encode() not in bytes(str(value), "utf-8") for value in stored)
    assert len(row["digest"]) == 32
    for forged in (
        bytes(row["digest"]).hex(),
        f"lrgd_{row['key_id']}_{bytes(row['digest']).hex()}",
    ):
        with pytest.raises(Unauthenticated):
            await keys.caller_of(forged)


async def test_two_keys_are_never_alike(keys: ApiKeys) -> None:
    made = [await keys.create("same", [Scope.INGEST]) for _ in range(20)]
    assert len(set(made)) == len({id_of(key) for key in made}) == 20


def garbled(key: str) -> Iterable[str]:
    mark, key_id, secret = key.split("_", 2)
    yield ""
    yield " "
    yield "lrgd"
    yield "lrgd__"
    yield f"{mark}_{key_id}"
    yield f"{mark}_{key_id}_"
    yield f"{mark}_{key_id}_{secret}x"
    yield f"{mark}_{key_id}_{secret[:-1]}"
    yield f"{mark}_{key_id}_{secret.swapcase()}"
    yield f"{mark}_{key_id.swapcase()}x_{secret}"
    yield f"LRGD_{key_id}_{secret}"
    yield f"other_{key_id}_{secret}"
    yield secret
    yield f"{mark}_\x00_{secret}"
    yield f"{mark}_\ud800_{secret}"
    yield f"{mark}_{'x' * 5000}_{secret}"
    yield f"{mark}_' OR 1=1 --_{secret}"


async def test_a_key_that_is_wrong_in_any_way_opens_nothing(keys: ApiKeys) -> None:
    key = await keys.create("shop", [Scope.INGEST])
    for wrong in garbled(key):
        with pytest.raises(Unauthenticated, match="not known"):
            await keys.caller_of(wrong)
    assert (await keys.caller_of(key)).may(Scope.INGEST)


async def test_a_revoked_key_stays_in_the_list_and_opens_nothing(keys: ApiKeys) -> None:
    first, second = await keys.create("a", [Scope.INGEST]), await keys.create("b", [Scope.ADMIN])
    await keys.revoke(id_of(first))
    with pytest.raises(Unauthenticated, match="revoked"):
        await keys.caller_of(first)
    assert (await keys.caller_of(second)).id == id_of(second)
    assert [(key.name, key.revoked_at is not None) for key in await keys.all()] == [
        ("a", True),
        ("b", False),
    ]


async def test_only_a_key_in_force_can_be_revoked(keys: ApiKeys) -> None:
    key = await keys.create("a", [Scope.INGEST])
    await keys.revoke(id_of(key))
    for unknown in (id_of(key), "nobody", key):
        with pytest.raises(NotFound, match="lrgd keys list"):
            await keys.revoke(unknown)


@pytest.mark.parametrize("name", ["", "x" * 201, "nul\x00"])
async def test_a_name_that_cannot_be_stored_is_refused_in_plain_words(
    keys: ApiKeys, name: str
) -> None:
    with pytest.raises(InvalidRequest, match="name"):
        await keys.create(name, [Scope.INGEST])
    assert await keys.all() == []


async def test_a_revocation_holds_at_the_latest_when_trust_ends(services: Services) -> None:
    trusting = ApiKeys(services.database, trusted_seconds=0.2)
    key = await trusting.create("a", [Scope.INGEST])
    await trusting.caller_of(key)
    await trusting.revoke(id_of(key))
    refused = False
    async with asyncio.timeout(5):
        while not refused:
            try:
                await trusting.caller_of(key)
                await asyncio.sleep(0.02)
            except Unauthenticated:
                refused = True


async def test_a_key_that_was_just_checked_is_trusted_without_the_database(
    services: Services,
) -> None:
    trusting = ApiKeys(services.database, trusted_seconds=60)
    key = await trusting.create("a", [Scope.INGEST])
    caller = await trusting.caller_of(key)
    await services.database.write(lambda session: session.execute(text("DELETE FROM api_keys")))
    assert await trusting.caller_of(key) == caller
    with pytest.raises(Unauthenticated):
        await ApiKeys(services.database, trusted_seconds=60).caller_of(key)


async def test_a_wrong_key_is_not_remembered_as_right(services: Services) -> None:
    trusting = ApiKeys(services.database, trusted_seconds=60)
    key = await trusting.create("a", [Scope.INGEST])
    for _ in range(2):
        with pytest.raises(Unauthenticated):
            await trusting.caller_of(key + "x")


INGEST = [
    ("POST", "/items"), ("GET", "/items"), ("GET", "/items/i"), ("DELETE", "/items/i"),
    ("POST", "/users"), ("GET", "/users"), ("GET", "/users/u"), ("DELETE", "/users/u"),
    ("POST", "/events"), ("GET", "/users/u/events"), ("DELETE", "/events/e"),
    ("POST", "/imports/items"), ("GET", "/imports/progress/x"), ("GET", "/exports/items"),
]  # fmt: skip
RECOMMEND = [("POST", "/recommend"), ("POST", "/recommend/batch"), ("POST", "/rerank")]
ADMIN = [
    ("GET", "/recommendations/x"),
    ("PUT", "/admin/experiments/x"), ("GET", "/admin/experiments"),
    ("GET", "/admin/experiments/x"), ("POST", "/admin/experiments/x/stop"),
    ("POST", "/admin/runs"), ("GET", "/admin/runs"), ("GET", "/admin/runs/x"),
    ("POST", "/admin/runs/x/cancel"), ("POST", "/admin/runs/x/retry"),
    ("GET", "/admin/users/u/demonstrations"), ("GET", "/admin/users/u/paths"),
    ("GET", "/admin/users/u/prompt"), ("POST", "/admin/users/u/rollback"),
    ("GET", "/admin/regularization"), ("PUT", "/admin/regularization"),
    ("POST", "/admin/regularization/x/compare"), ("POST", "/admin/regularization/x/activate"),
]  # fmt: skip
OPEN = [("GET", "/healthz"), ("GET", "/readyz"), ("GET", "/metrics")]


@on_sqlite
async def test_every_call_needs_its_scope_and_only_probes_need_no_key(
    opened_client: ClientFactory, opened_services: ServicesFactory
) -> None:
    async with opened_client(auth="required") as client, opened_services() as services:
        made = {scope: await services.keys.create(scope, [scope]) for scope in Scope}

        async def codes(call: tuple[str, str]) -> dict[str, str | None]:
            found: dict[str, str | None] = {}
            for name, key in (("none", None), *made.items()):
                headers = {"authorization": f"Bearer {key}"} if key else {}
                answer = await client.request(*call, headers=headers)
                is_problem = answer.headers.get("content-type") == "application/problem+json"
                code = answer.json()["code"] if is_problem else None
                found[name] = code if answer.status_code in (401, 403) else None
            return found

        for call in INGEST:
            assert await codes(call) == {
                "none": "unauthenticated",
                Scope.RECOMMEND: "forbidden",
                Scope.INGEST: None,
                Scope.ADMIN: None,
            }, call
        for call in RECOMMEND:
            assert await codes(call) == {
                "none": "unauthenticated",
                Scope.RECOMMEND: None,
                Scope.INGEST: "forbidden",
                Scope.ADMIN: None,
            }, call
        for call in ADMIN:
            assert await codes(call) == {
                "none": "unauthenticated",
                Scope.RECOMMEND: "forbidden",
                Scope.INGEST: "forbidden",
                Scope.ADMIN: None,
            }, call
        for call in OPEN:
            assert set((await codes(call)).values()) == {None}, call


@on_sqlite
async def test_no_route_was_forgotten_in_the_test_of_scopes(client: httpx2.AsyncClient) -> None:
    document = (await client.get("/openapi.json")).json()
    routes = {
        (method.upper(), len(path.split("/")), path.split("/")[1])
        for path, methods in document["paths"].items()
        for method in methods
    }
    called = (*INGEST, *RECOMMEND, *ADMIN, *OPEN)
    tested = {(m, len(p.split("/")), p.split("/")[1]) for m, p in called}
    assert routes == tested


@on_sqlite
@pytest.mark.parametrize(
    "header",
    ["Bearer", "Bearer ", "Bearer x y", "Basic abc", "lrgd_x_y", "Bearer lrgd_x_y", "bearer \xff"],
)
async def test_a_garbled_header_is_answered_with_how_to_say_it(
    opened_client: ClientFactory, header: str
) -> None:
    async with opened_client(auth="required") as client:
        answer = await client.get("/items", headers={b"authorization": header.encode("latin-1")})
    assert answer.status_code == 401
    assert answer.headers["www-authenticate"].startswith("Bearer")
    assert answer.json()["code"] == "unauthenticated"
    assert "lrgd keys create" in answer.json()["detail"]


@on_sqlite
async def test_a_body_is_not_even_read_for_those_who_may_not_send_it(
    opened_client: ClientFactory,
) -> None:
    async with opened_client(auth="required") as client:
        answer = await client.post(
            "/events", content=b"{", headers={"content-type": "application/json"}
        )
    assert answer.status_code == 401
