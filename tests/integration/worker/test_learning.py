"""The whole story through a real worker and a real Valkey: a run is asked for over HTTP, rounds are
made by the embedded model, and the next list is made with what they have found."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest

from lab.servers.processes import PrivateWorker
from lab.servers.valkey import PrivateValkey
from services.bootstrap import Services
from services.catalog.inputs import NewEvent
from tests.conftest import ClientFactory
from tests.integration.api.test_runs import services_of, stock

pytestmark = pytest.mark.parametrize("dialect", ["sqlite"], indirect=True)
SECONDS = 60.0
USERS = [f"user-{number:04d}" for number in range(1, 5)]


@pytest.fixture
def worker(database_url: str, own_valkey: PrivateValkey, tmp_path: Path) -> Iterator[PrivateWorker]:
    settings = {
        "database_url": database_url,
        **own_valkey.settings,
        "data_dir": str(tmp_path),
        "heartbeat_seconds": "0.5",
        "learning_new_positives": "2",
    }
    with PrivateWorker(settings, tmp_path) as worker:
        yield worker


async def test_a_run_over_http_reaches_the_next_list_and_events_bring_another_round(
    opened_client: ClientFactory, own_valkey: PrivateValkey, worker: PrivateWorker
) -> None:
    async with opened_client(
        **own_valkey.settings,
        popularity_debounce_seconds=0.1,
        learning_debounce_seconds=0.1,
    ) as client:
        services = services_of(client)
        await stock(services, users=len(USERS))
        for user in USERS:
            assert (await served(client, user))["variant"] is None
        settings = {"paths": 2, "draws": 2, "seed": 5}
        wanted = {"id": "r", "users": USERS, "rounds": 1, "settings": settings}
        assert (await client.post("/admin/runs", json=wanted)).status_code == 202

        told = await until_done(client, "r")
        assert told["run"]["users"] == {"done": len(USERS)}
        (first,) = told["per_round"]
        assert first["effect_d"] >= first["zero_shot_effect_d"]
        active = {user: await active_of(client, user) for user in USERS}
        learned = [user for user, variant in active.items() if variant is not None]
        assert learned, "four users, two paths: nothing was accepted"
        for user in learned:
            await until_served(client, user, active[user])

        # And back, by the next list.
        user = learned[0]
        await client.post(f"/admin/users/{user}/rollback")
        await until_served(client, user, None)

        # What was taken since is an occasion for a round of its own.
        await services.catalog.record(
            [
                NewEvent(user_id=user, item_id=f"item-{number:04d}", type="purchase")
                for number in (700, 701, 702)
            ]
        )
        await until_started_by_itself(services)


async def served(client: httpx2.AsyncClient, user: str) -> dict[str, Any]:
    asked = {"user_id": user, "deadline_ms": 30_000}
    reply: dict[str, Any] = (await client.post("/recommend", json=asked)).json()
    assert reply["source"] == "model"
    return reply


async def active_of(client: httpx2.AsyncClient, user: str) -> str | None:
    told = (await client.get(f"/admin/users/{user}/demonstrations")).json()
    active: str | None = told["active"]
    return active


async def until_served(client: httpx2.AsyncClient, user: str, variant: str | None) -> None:
    """Within a second of the switch, which is committed by now. A list that the model makes on this
    busy machine may take longer than that itself: what counts is when it was begun."""
    switched = time.monotonic()
    while True:
        began = time.monotonic()
        shown = (await served(client, user))["variant"]
        if (None if shown is None else shown["id"]) == variant:
            return
        assert began - switched < 1, f"{shown} is served, and not {variant}"
        await asyncio.sleep(0.05)


async def until_done(client: httpx2.AsyncClient, run_id: str) -> dict[str, Any]:
    async with asyncio.timeout(SECONDS):
        while True:
            told: dict[str, Any] = (await client.get(f"/admin/runs/{run_id}")).json()
            if told["run"]["state"] != "running":
                return told
            await asyncio.sleep(0.1)


async def until_started_by_itself(services: Services) -> None:
    async with asyncio.timeout(SECONDS):
        while not any(
            run.run_id.startswith("online-") for run in await services.ledger.runs(None, 9)
        ):
            await asyncio.sleep(0.1)
