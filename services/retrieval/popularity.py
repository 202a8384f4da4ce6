"""What most users like: the last rung of every fallback, and the first list of a new shop.

A worker counts, Redis holds the list, and a process that finds no list there counts for itself.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Sequence
from dataclasses import dataclass

from redis.asyncio import Redis

from services.catalog.positives import PositiveEvents
from services.retrieval.repository import RetrievalRepository
from services.storage.database import Database
from services.storage.redis import OUTAGE, POPULAR

LENGTH = 1000
OWN_COUNT_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class PopularItem:
    item_id: str
    title: str | None
    users: int


class Popularity:
    def __init__(self, database: Database, redis: Redis, positives: PositiveEvents) -> None:
        self._database = database
        self._redis = redis
        self._positives = positives
        self._own: tuple[float, Sequence[PopularItem]] = (0.0, ())
        self._counting = asyncio.Lock()

    async def top(self) -> Sequence[PopularItem]:
        try:
            stored = await self._redis.get(POPULAR)
        except OUTAGE:
            stored = None
        if stored is not None:
            return [PopularItem(*row) for row in json.loads(stored)]
        return await self._own_count()

    async def refresh(self) -> int:
        """Count anew and publish; the number of items in the list."""
        items = await self._count()
        rows = [(item.item_id, item.title, item.users) for item in items]
        await self._redis.set(POPULAR, json.dumps(rows))
        return len(rows)

    async def _own_count(self) -> Sequence[PopularItem]:
        """Without Redis: one count for all who ask at the same time, kept for a few seconds."""
        async with self._counting:
            until, items = self._own
            if time.monotonic() >= until:
                items = await self._count()
                self._own = (time.monotonic() + OWN_COUNT_SECONDS, items)
            return items

    async def _count(self) -> Sequence[PopularItem]:
        async with self._database.reading() as session:
            rows = await RetrievalRepository(session).most_popular(self._positives, LENGTH)
        return [PopularItem(*row) for row in rows]
