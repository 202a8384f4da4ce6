"""A deployment to look at: gateway and worker as they are, vLLM as it was recorded, and people."""

from __future__ import annotations

import asyncio
import contextlib
import http.server
import itertools
import random
import threading
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2

from lab.observability.vllm_recording import Recording
from lab.servers.processes import PrivateGateway, PrivateWorker
from lab.servers.valkey import PrivateValkey
from services.bootstrap import make_catalog
from services.catalog.catalog import NothingFollows
from services.catalog.sample import load_sample_shop
from services.ports import LOOPBACK
from services.schema import upgrade
from services.settings import Settings
from services.storage.database import open_database

USERS = tuple(f"user-{number:04d}" for number in range(1, 13))
LEARNERS = USERS[:4]
ITEMS = 800
SMALL = {"paths": 2, "draws": 1, "seed": 3}
ARMS = [
    {"name": "as-is", "share": 0.5},
    {"name": "zero-shot", "share": 0.5, "demonstrations": False},
]
ANSWER_SECONDS = 30.0
REST_SECONDS = 0.3  # rounds give way to people


@dataclass(frozen=True, slots=True)
class Deployment:
    """Addresses to scrape, by Prometheus' job."""

    gateway: str
    worker: str
    vllm: str


@contextlib.contextmanager
def deployed(folder: Path) -> Iterator[Deployment]:
    with PrivateValkey() as valkey:
        settings = {
            "data_dir": folder / "data",
            "redis_url": valkey.address.state_url,
            "broker_url": valkey.address.broker_url,
            "recommend_at_once": 3,
            "heartbeat_seconds": 0.5,
            # One may be in a round for long, where others work on this machine, too.
            "worker_processes": 2,
            "popularity_debounce_seconds": 1,
            "learning_debounce_seconds": 1,
            "learning_new_positives": 1,
        }
        given = Settings(**settings)  # type: ignore[arg-type]
        asyncio.run(_prepared(given))
        with (
            PrivateGateway(settings, folder) as gateway,
            PrivateWorker(settings, folder) as worker,
            _played(Recording.read()) as vllm,
        ):
            yield Deployment(
                f"{LOOPBACK}:{gateway.port}", f"{LOOPBACK}:{worker.metrics_port}", vllm
            )


async def _prepared(settings: Settings) -> None:
    settings.data_dir.mkdir(parents=True)
    async with contextlib.aclosing(open_database(settings)) as database:
        await upgrade(database)
        await load_sample_shop(make_catalog(settings, database, NothingFollows()))


@contextlib.contextmanager
def _played(recording: Recording) -> Iterator[str]:
    began = time.monotonic()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = recording.played(time.monotonic() - began).encode()
            self.send_response(200)
            self.send_header("content-type", "text/plain; version=0.0.4")
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None: ...

    with http.server.ThreadingHTTPServer((LOOPBACK, 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"{LOOPBACK}:{server.server_port}"
        server.shutdown()


@contextlib.asynccontextmanager
async def peopled(gateway: str) -> AsyncIterator[None]:
    """Traffic of every kind, and learning, until the end of the block."""
    async with httpx2.AsyncClient(base_url=f"http://{gateway}", timeout=ANSWER_SECONDS) as client:
        await _learn(client)
        tasks = [asyncio.create_task(work(client)) for work in (_shop, _hurry, _look)]
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
            ended = await asyncio.gather(*tasks, return_exceptions=True)
    for one in ended:
        if isinstance(one, Exception):
            raise one


async def _learn(client: httpx2.AsyncClient) -> None:
    answer = await client.put("/admin/experiments/demonstrations", json={"arms": ARMS})
    assert answer.status_code == 200, answer.text
    asked = [
        {"id": f"run-{number}", "users": [user], "rounds": 3, "settings": SMALL}
        for number, user in enumerate(LEARNERS)
    ]
    poor = {"id": "poor", "users": [USERS[5]], "rounds": 1, "budget": {"tokens": 10}}
    for run in (*asked, poor):
        answer = await client.post("/admin/runs", json=run)
        assert answer.status_code == 202, answer.text


async def _shop(client: httpx2.AsyncClient) -> None:
    """People who look at lists and take something: what is on top, or something else."""
    draws = random.Random(1)
    for turn in itertools.count():
        user = USERS[turn % len(USERS)]
        asked: dict[str, Any] = {"user_id": user, "k": 10, "deadline_ms": 20_000}
        if turn % 4 == 3:
            asked["mode"] = "generate"
        answer = await client.post("/recommend", json=asked)
        if answer.status_code == 200:
            told = answer.json()
            taken = told["items"][draws.randrange(3)]["item_id"]
            if turn % 3 == 2:
                taken = f"item-{draws.randrange(1, ITEMS):04d}"
            event = {"user_id": user, "item_id": taken, "type": "purchase"}
            event["recommendation_id"] = told["recommendation_id"]
            await client.post("/events", json=[event, {"user_id": user}])
        if turn == len(USERS):
            await client.post(f"/admin/users/{LEARNERS[0]}/rollback", json={"to": "zero_shot"})
        await asyncio.sleep(REST_SECONDS)


async def _hurry(client: httpx2.AsyncClient) -> None:
    """More at once than there are places, and no time for the model."""
    while True:
        asked = [{"user_id": user, "deadline_ms": 20} for user in USERS[6:]]
        await asyncio.gather(*(client.post("/recommend", json=one) for one in asked))
        await asyncio.sleep(10 * REST_SECONDS)


async def _look(client: httpx2.AsyncClient) -> None:
    while True:
        for path in ("/readyz", "/items/no-such-item", "/items?limit=3"):
            await client.get(path)
        await asyncio.sleep(10 * REST_SECONDS)
