"""A shop as it is deployed: the sample shop in SQLite, a Valkey, and what a worker derives."""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import aclosing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lab.bench.commands import BenchFailed
from lab.bench.load import Connection
from lab.servers.valkey import PrivateValkey
from services.bootstrap import open_services
from services.catalog.repository import CatalogRepository
from services.catalog.sample import load_sample_shop
from services.observability.metrics import Metrics
from services.schema import upgrade
from services.settings import Settings
from services.storage.database import open_database

# Longer than any answer takes here: what is measured is no race against a deadline.
DEADLINE_MS = 20_000
INDEX_SECONDS = 60.0
MOST_USERS = 10_000


@dataclass(frozen=True, slots=True)
class DeployedShop:
    """`settings` are a gateway's; `users` are those of the catalog."""

    folder: Path
    settings: Mapping[str, Any]
    users: tuple[str, ...]


async def deploy_shop(folder: Path, valkey: PrivateValkey) -> DeployedShop:
    settings: dict[str, Any] = {
        "data_dir": str(folder),
        "database_url": f"sqlite:///{folder / 'shop.sqlite3'}",
        **valkey.settings,
        "rate_limit_per_minute": "0",
        # The same question again is ranked again.
        "ranking_stored_seconds": "0",
        "recommend_deadline_ms": str(DEADLINE_MS),
    }
    return DeployedShop(folder, settings, await stock(Settings(**settings)))


async def stock(settings: Settings) -> tuple[str, ...]:
    """An empty database gets the sample shop and what a worker derives from it; its users."""
    async with aclosing(open_database(settings)) as database:
        await upgrade(database)
    async with open_services(settings, Metrics()) as services:
        await load_sample_shop(services.catalog)
        await services.popularity.refresh()
        await services.covisit_index.refresh(seconds=INDEX_SECONDS)
        async with services.database.reading() as session:
            users = await CatalogRepository(session).users_after(None, MOST_USERS)
    return tuple(user.user_id for user in users)


async def recommended(connection: Connection, user_id: str, **wanted: object) -> dict[str, Any]:
    body = {"user_id": user_id, **wanted}
    return await connection.post("/recommend", json.dumps(body).encode())


def expect_source(reply: Mapping[str, Any], *, degraded: bool) -> None:
    """A figure of other answers than those meant would be none."""
    if reply["degraded"] is not degraded or reply["stored"]:
        raise BenchFailed(
            f"a list by {reply['source']} (reason: {reply['reason']}, stored: {reply['stored']}) "
            f"where one {'without' if degraded else 'by'} the model was to be measured"
        )
