"""The gateway as a process."""

from __future__ import annotations

import asyncio
import signal
from pathlib import Path

import httpx2
import psutil
import pytest
from sqlalchemy import text

from lab.servers.processes import PrivateGateway
from lab.servers.valkey import PrivateValkey
from services.bootstrap import Services

EVENT = {"event_id": "late", "user_id": "ada", "item_id": "lamp", "type": "purchase"}


@pytest.fixture
def gateway_settings(database_url: str, valkey: PrivateValkey, tmp_path: Path) -> dict[str, str]:
    return {
        "database_url": database_url,
        **valkey.settings,
        "data_dir": str(tmp_path),
    }


@pytest.mark.parametrize("dialect", ["postgresql"], indirect=True)
@pytest.mark.parametrize("processes", ["1", "2"])
async def test_a_stopping_gateway_finishes_what_is_in_flight(
    gateway_settings: dict[str, str], services: Services, tmp_path: Path, processes: str
) -> None:
    settings = {**gateway_settings, "gateway_processes": processes}
    with PrivateGateway(settings, tmp_path) as gateway:
        async with httpx2.AsyncClient(base_url=gateway.url, timeout=20) as http:
            async with services.database.engine.begin() as holding:
                await holding.execute(text("LOCK TABLE events IN ACCESS EXCLUSIVE MODE"))
                in_flight = asyncio.create_task(http.post("/events", json=EVENT))
                await _until_waiting_for_a_lock(services)
                psutil.Process(gateway.pid).send_signal(signal.SIGTERM)
                await asyncio.sleep(0.5)
                assert not in_flight.done()
            answer = await in_flight
        assert answer.status_code == 200
        assert answer.json()["accepted"] == 1
        await asyncio.to_thread(gateway.stop)


@pytest.mark.parametrize("dialect", ["sqlite"], indirect=True)
async def test_processes_of_one_gateway_add_up_in_its_metrics(
    gateway_settings: dict[str, str], tmp_path: Path
) -> None:
    settings = {**gateway_settings, "gateway_processes": "2"}
    with PrivateGateway(settings, tmp_path) as gateway:
        for _ in range(20):
            async with httpx2.AsyncClient(base_url=gateway.url) as http:  # a new connection each
                assert (await http.get("/items")).status_code == 200
        async with httpx2.AsyncClient(base_url=gateway.url) as http:
            metrics = (await http.get("/metrics")).text
    assert 'lrgd_http_requests_total{method="GET",route="/items",status="200"} 20.0' in metrics


async def _until_waiting_for_a_lock(services: Services) -> None:
    waiting = text("SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'")
    async with asyncio.timeout(20):
        while True:
            async with services.database.reading() as session:
                if await session.scalar(waiting):
                    return
            await asyncio.sleep(0.05)
