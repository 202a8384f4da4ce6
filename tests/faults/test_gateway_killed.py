"""A 2xx is a promise: the event it accepted is there, once, whatever happens to the gateway."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections import Counter
from pathlib import Path

import httpx2
import pytest
from sqlalchemy import select

from lab.servers.processes import PrivateGateway
from lab.servers.valkey import PrivateValkey
from services.catalog.models import Event
from services.settings import Settings
from services.storage.database import open_database

CLIENTS = 4
BATCH = 50


class Shop:
    """Clients that send batches, each again and again until it is acknowledged."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._stopping = asyncio.Event()
        self.acknowledged: list[str] = []
        self.told = Counter[str]()
        self.resent = 0

    async def send_until_stopped(self, client: int) -> None:
        async with httpx2.AsyncClient(base_url=self._url, timeout=20) as http:
            batch = 0
            while not self._stopping.is_set():
                await self._send(http, f"client-{client}-batch-{batch}")
                batch += 1

    async def _send(self, http: httpx2.AsyncClient, name: str) -> None:
        rows = [
            {
                "event_id": f"{name}-event-{number}",
                "user_id": f"user-{number % 7}",
                "item_id": f"item-{number % 11}",
                "type": "purchase",
            }
            for number in range(BATCH)
        ]
        while True:
            with contextlib.suppress(httpx2.TransportError):
                answer = await http.post("/events", json=rows)
                if answer.is_success:
                    break
            self.resent += 1
            await asyncio.sleep(0.02)
        report = answer.json()
        assert report["refused"] == 0
        self.told["accepted"] += report["accepted"]
        self.told["duplicates"] += report["duplicates"]
        self.acknowledged += [row["event_id"] for row in rows]

    def stop(self) -> None:
        self._stopping.set()


@pytest.mark.parametrize(
    "kills", [10, pytest.param(100, marks=[pytest.mark.long, pytest.mark.timeout(1800)])]
)
async def test_an_accepted_event_survives_sigkill_of_the_gateway_and_counts_once(
    kills: int, database_url: str, valkey: PrivateValkey, tmp_path: Path
) -> None:
    settings = {
        "database_url": database_url,
        **valkey.settings,
        "data_dir": str(tmp_path),
        "rate_limit_per_minute": "0",
    }
    moments = random.Random(kills)
    with PrivateGateway(settings, tmp_path) as gateway:
        shop = Shop(gateway.url)
        clients = [asyncio.create_task(shop.send_until_stopped(n)) for n in range(CLIENTS)]
        for _ in range(kills):
            await asyncio.sleep(moments.uniform(0.05, 0.5))
            gateway.kill()
            await asyncio.to_thread(gateway.start)
        shop.stop()
        await asyncio.gather(*clients)

    stored = await _stored_events(database_url)
    assert len(shop.acknowledged) == len(set(shop.acknowledged)) > 0
    assert sorted(stored) == sorted(shop.acknowledged)  # all of them, each once, and no others
    assert shop.told.total() == len(shop.acknowledged)
    assert shop.resent > 0, "no kill met a request: the test has shown nothing"


async def _stored_events(database_url: str) -> list[str]:
    async with (
        contextlib.aclosing(open_database(Settings(database_url=database_url))) as database,
        database.reading() as session,
    ):
        return list(await session.scalars(select(Event.event_id)))
