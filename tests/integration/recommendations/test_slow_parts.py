"""A database or a Redis that is down, or hangs: a list comes all the same, in time, and says so."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx2
import pytest

from lab.servers.fault_proxy import FaultProxy
from lab.servers.postgres import PrivatePostgres
from lab.servers.valkey import PrivateValkey
from services.ports import free_port
from services.recommendations.user_states import UserState, UserStates
from tests.conftest import ClientFactory
from tests.integration.recommendations.conftest import (
    THINGS,
    Llm,
    ids,
    recommended,
    stock,
)
from tests.integration.recommendations.lateness import AT_ONCE, Pauses, Taken, judge_in_time

DEADLINE_MS = 400
on_sqlite = pytest.mark.parametrize("dialect", ["sqlite"], indirect=True)
on_postgresql = pytest.mark.parametrize("dialect", ["postgresql"], indirect=True)


async def asked(
    client: httpx2.AsyncClient, requests: int = 24, **wanted: Any
) -> list[dict[str, Any]]:
    """Some at a time, each in time."""
    replies: list[dict[str, Any]] = []
    taken: list[Taken] = []

    async def one(number: int) -> None:
        body = {"user_id": f"u{number % 8}", "deadline_ms": DEADLINE_MS, **wanted}
        began = time.monotonic()
        answer = await client.post("/recommend", json=body)
        taken.append(Taken(began, time.monotonic()))
        assert answer.status_code == 200, answer.text
        replies.append(answer.json())

    with Pauses() as pauses:
        for batch in range(0, requests, AT_ONCE):
            await asyncio.gather(*(one(batch + n) for n in range(AT_ONCE)))
    judge_in_time(taken, DEADLINE_MS, pauses)
    return replies


@pytest.mark.parametrize("fault", ["hangs", "is_down"])
@on_sqlite
async def test_whatever_befalls_redis_the_model_ranks_in_time(
    llm: Llm, opened_client: ClientFactory, valkey: PrivateValkey, fault: str
) -> None:
    with FaultProxy("127.0.0.1", valkey.address.port) as proxy:
        redis = {"redis_url": proxy.through(valkey.address.state_url)}
        async with opened_client(**llm.settings, **redis) as client:
            await stock(client)
            await asked(client, 4)
            if fault == "hangs":
                proxy.hang()
            else:
                proxy.refuse()
                proxy.reset()
            replies = await asked(client)
            # Those under way when it began to hang may have waited too long for the model.
            assert {reply["source"] for reply in replies[4:]} == {"model"}
            proxy.recover()


@asynccontextmanager
async def behind_a_proxy(
    llm: Llm, opened_client: ClientFactory, postgres: PrivatePostgres, database_url: str
) -> AsyncIterator[tuple[httpx2.AsyncClient, FaultProxy]]:
    with FaultProxy("127.0.0.1", postgres.port) as proxy:
        url = {"database_url": proxy.through(database_url), "database_timeout_seconds": 3}
        async with opened_client(**llm.settings, **url) as client:
            await stock(client)
            yield client, proxy
            proxy.recover()


@pytest.mark.parametrize("fault", ["hangs", "is_down"])
@on_postgresql
async def test_without_the_database_lists_come_from_what_is_at_hand(
    llm: Llm,
    opened_client: ClientFactory,
    postgres: PrivatePostgres,
    database_url: str,
    fault: str,
) -> None:
    async with behind_a_proxy(llm, opened_client, postgres, database_url) as (client, proxy):
        good = await recommended(client, user_id="camper", k=4)
        if fault == "hangs":
            proxy.hang()
            reason = "database_slow"
        else:
            proxy.refuse()
            proxy.reset()
            reason = "database_unavailable"

        last = (await asked(client, 4, user_id="camper", k=4))[0]
        assert (last["source"], last["degraded"]) == ("last_ranking", True)
        assert last["reason"] == reason
        assert ids(last) == ids(good)

        popular = (await asked(client, 4, user_id="stranger", k=3))[0]
        assert (popular["source"], popular["reason"]) == ("popularity", reason)
        assert ids(popular)[0] == "desk-lamp"
        assert popular["items"][0]["title"] == "Desk Lamp"

        candidates = ["garden-rug", "desk-rug", "camp-rug"]
        given = (await asked(client, 4, user_id="camper", candidates=candidates))[0]
        assert (given["source"], ids(given)) == ("given", candidates)

        nothing = (await asked(client, 4, category="Camp"))[0]
        assert (nothing["source"], nothing["items"]) == ("nothing", [])
        assert nothing["reason"] == reason


@on_postgresql
async def test_a_request_that_needs_no_catalog_is_ranked_without_the_database(
    llm: Llm, opened_client: ClientFactory, postgres: PrivatePostgres, database_url: str
) -> None:
    async with behind_a_proxy(llm, opened_client, postgres, database_url) as (client, proxy):
        proxy.refuse()
        proxy.reset()
        history = [{"item_id": f"h{n}", "title": f"Camp {thing}"} for n, thing in enumerate(THINGS)]
        candidates = [
            {"item_id": "a", "title": "Silk Scarf"},
            {"item_id": "b", "title": "Camp Rug"},
        ]
        reply = await recommended(client, history=history, candidates=candidates)
        assert (reply["source"], ids(reply)) == ("model", ["b", "a"])


async def test_what_nobody_waits_for_any_more_ends_before_the_services_are_closed(
    llm: Llm, opened_client: ClientFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    ended: list[str] = []

    async def slow(states: UserStates, user_id: str) -> UserState:
        await asyncio.sleep(2 * DEADLINE_MS / 1000)
        state = await read(states, user_id)
        ended.append(user_id)
        return state

    async with opened_client(**llm.settings) as client:
        await stock(client)
        read = UserStates._read
        monkeypatch.setattr(UserStates, "_read", slow)
        reply = await recommended(client, user_id="camper", deadline_ms=DEADLINE_MS)
        assert (reply["reason"], ended) == ("database_slow", [])
    assert ended == ["camper"]


@on_sqlite
async def test_with_nobody_to_ask_the_list_is_empty_and_says_so(
    llm: Llm, opened_client: ClientFactory
) -> None:
    nobody = f"127.0.0.1:{free_port()}"
    dead = {
        "database_url": f"postgresql://{nobody}/x",
        "redis_url": f"redis://{nobody}/0",
        "broker_url": f"redis://{nobody}/1",
    }
    async with opened_client(**llm.settings, **dead) as client:
        for reply in await asked(client):
            assert (reply["source"], reply["items"]) == ("nothing", [])
            assert (reply["degraded"], reply["reason"]) == (True, "database_unavailable")
