"""The worker as a process: jobs that were put on the queue are done, whatever ends a child."""

from __future__ import annotations

import asyncio
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import psutil
import pytest
from sqlalchemy import text

from lab.servers.processes import PrivateWorker
from lab.servers.valkey import PrivateValkey
from services.bootstrap import Services
from services.catalog.catalog import Catalog, NothingFollows
from services.catalog.inputs import NewEvent
from services.catalog.positives import PositiveEvents
from services.catalog.repository import CatalogRepository
from services.queue import Job
from services.retrieval.covisitation import Neighborhood
from services.retrieval.index_repository import IndexRepository
from services.settings import UnknownIds
from services.storage.redis import POPULAR
from tests.conftest import ServicesFactory

SECONDS = 30.0
PURCHASE = NewEvent(user_id="ada", item_id="lamp", type="purchase")


@pytest.fixture
def worker_settings(database_url: str, own_valkey: PrivateValkey, tmp_path: Path) -> dict[str, str]:
    return {
        "database_url": database_url,
        **own_valkey.settings,
        "data_dir": str(tmp_path),
        "heartbeat_seconds": "0.5",
    }


@pytest.fixture
def worker(worker_settings: dict[str, str], tmp_path: Path) -> Iterator[PrivateWorker]:
    with PrivateWorker(worker_settings, tmp_path) as worker:
        yield worker


async def test_a_positive_event_reaches_the_popularity_list_through_the_queue(
    opened_services: ServicesFactory, own_valkey: PrivateValkey, worker: PrivateWorker
) -> None:
    async with opened_services(
        **own_valkey.settings,
        popularity_debounce_seconds=0.1,
    ) as services:
        await services.catalog.record([PURCHASE])
        await _until(lambda: b"lamp" in _raw(own_valkey, POPULAR))
    metrics = _metrics(worker)
    assert 'lrgd_jobs_total{outcome="done",task="refresh_popularity"}' in metrics
    assert 'lrgd_jobs_total{outcome="done",task="heartbeat"}' in metrics
    assert 'lrgd_job_seconds_count{task="heartbeat"}' in metrics


@pytest.mark.parametrize("dialect", ["sqlite"], indirect=True)
async def test_a_positive_event_reaches_the_co_visitation_index_through_the_queue(
    opened_services: ServicesFactory, own_valkey: PrivateValkey, worker: PrivateWorker
) -> None:
    async with opened_services(
        **own_valkey.settings,
        popularity_debounce_seconds=0.1,
    ) as services:
        await services.catalog.record(
            [PURCHASE, PURCHASE.model_copy(update={"event_id": "another", "item_id": "bulb"})]
        )
        async with asyncio.timeout(SECONDS):
            while not await _neighbors_of(services, "lamp"):
                await asyncio.sleep(0.05)
    await _until(lambda: "lrgd_covisit_pairs 4.0" in _metrics(worker))
    await _until(
        lambda: 'lrgd_jobs_total{outcome="done",task="refresh_covisitation"}' in _metrics(worker)
    )


@pytest.mark.parametrize("dialect", ["postgresql"], indirect=True)
async def test_a_job_whose_child_is_killed_is_done_by_another(
    opened_services: ServicesFactory, own_valkey: PrivateValkey, worker: PrivateWorker
) -> None:
    async with opened_services(**own_valkey.settings) as services:
        await services.database.write(
            lambda session: services.catalog.record_in(CatalogRepository(session), [PURCHASE])
        )
        async with services.database.engine.begin() as holding:
            await holding.execute(text("LOCK TABLE events IN ACCESS EXCLUSIVE MODE"))
            await services.queue.put(Job.REFRESH_POPULARITY)
            await _until_waiting_for_a_lock(services)
            for child in psutil.Process(worker.pid).children():
                child.kill()  # beat is one of them, so nobody but the broker repeats the job
        await _until(lambda: b"lamp" in _raw(own_valkey, POPULAR))


@pytest.mark.parametrize("dialect", ["sqlite"], indirect=True)
async def test_the_worker_goes_on_after_the_broker_was_lost(
    own_valkey: PrivateValkey, worker: PrivateWorker
) -> None:
    own_valkey.kill()
    await asyncio.sleep(1)
    own_valkey.start()
    back = time.time()
    await _until(lambda: worker.works(since=back))


@pytest.mark.parametrize("dialect", ["sqlite"], indirect=True)
def test_the_worker_stops_cleanly_when_told(worker: PrivateWorker) -> None:
    family = psutil.Process(worker.pid).children(recursive=True)
    assert worker.stop() == 0
    _, alive = psutil.wait_procs(family, timeout=5)
    assert not alive


async def test_what_follows_an_event_sees_it_committed(services: Services) -> None:
    seen: list[bool] = []

    class Following(NothingFollows):
        async def positives_came(self, newest: Mapping[str, int] | None) -> None:
            assert newest is not None
            async with services.database.reading() as session:
                (event,) = await CatalogRepository(session).events_of("ada", 1)
            seen.append(newest == {"ada": event.seq})

    catalog = Catalog(
        services.database,
        positives=PositiveEvents.parse(["purchase"]),
        unknown_users=UnknownIds.CREATE,
        unknown_items=UnknownIds.CREATE,
        after=Following(),
    )
    await catalog.record([PURCHASE])
    assert seen == [True]
    await catalog.record([PURCHASE.model_copy(update={"event_id": "view-1", "type": "view"})])
    assert seen == [True]  # a look changes no popularity


async def _until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(SECONDS):
        while True:
            if await asyncio.to_thread(holds):
                return
            await asyncio.sleep(0.05)


async def _until_waiting_for_a_lock(services: Services) -> None:
    waiting = text("SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'")
    async with asyncio.timeout(SECONDS):
        while True:
            async with services.database.reading() as session:  # a transaction sees one snapshot
                if await session.scalar(waiting):
                    return
            await asyncio.sleep(0.05)


async def _neighbors_of(services: Services, item_id: str) -> dict[str, Neighborhood]:
    async with services.database.reading() as session:
        return await IndexRepository(session).neighborhoods([item_id])


def _raw(valkey: PrivateValkey, key: str) -> bytes:
    with valkey.client as client:
        return str(client.get(key) or "").encode()


def _metrics(worker: PrivateWorker) -> str:
    with urllib.request.urlopen(f"http://127.0.0.1:{worker.metrics_port}/metrics") as answer:
        body: bytes = answer.read()
    return body.decode()
