"""What most users like: the last rung of every fallback, and the first list of a new shop.

A worker counts, Redis holds the list, and a process that finds no list there counts for itself.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from redis.asyncio import Redis

from services.catalog.positives import PositiveEvents
from services.retrieval.repository import RetrievalRepository
from services.storage.database import Database
from services.storage.redis import ITEMS_EPOCH, OUTAGE, POPULAR, POPULAR_VERSION

LENGTH = 1000
OWN_COUNT_SECONDS = 5.0
NO_EPOCH = "0"  # no item was changed since Redis was started


@dataclass(frozen=True, slots=True)
class PopularItem:
    item_id: str
    title: str | None
    users: int


@dataclass(frozen=True, slots=True)
class Now:
    """Users by item, the most popular first. `items_epoch` None: nobody can say whether items
    have changed."""

    users: Mapping[str, int]
    items_epoch: str | None


class Popularity:
    def __init__(self, database: Database, redis: Redis, positives: PositiveEvents) -> None:
        self._database = database
        self._redis = redis
        self._positives = positives
        self._own: tuple[float, Sequence[PopularItem]] = (0.0, ())
        self._counting = asyncio.Lock()
        self._read: tuple[str | None, Sequence[PopularItem]] = (None, ())
        self._users: tuple[Sequence[PopularItem], Mapping[str, int]] = ((), {})
        self.at_hand: Sequence[PopularItem] = ()
        """What this process saw last, however long ago: for those who can ask nobody."""

    async def top(self) -> Sequence[PopularItem]:
        stored, _ = await self._stored()
        self.at_hand = await self._own_count() if stored is None else stored
        return self.at_hand

    async def now(self) -> Now:
        """The list, and the epoch of the items: one look at Redis for both."""
        stored, epoch = await self._stored()
        self.at_hand = await self._own_count() if stored is None else stored
        if self._users[0] is not self.at_hand:
            self._users = (self.at_hand, {item.item_id: item.users for item in self.at_hand})
        return Now(self._users[1], epoch)

    async def kept(self) -> Sequence[PopularItem]:
        """Without the database: the list of Redis, or what is at hand."""
        stored, _ = await self._stored()
        if stored is not None:
            self.at_hand = stored
        return self.at_hand

    async def refresh(self) -> int:
        """Count anew and publish; the number of items in the list."""
        items = await self._count()
        rows = [(item.item_id, item.title, item.users) for item in items]
        content = json.dumps(rows)
        version = hashlib.sha256(content.encode()).hexdigest()[:16]
        await self._redis.mset({POPULAR: content, POPULAR_VERSION: version})
        return len(rows)

    async def _stored(self) -> tuple[Sequence[PopularItem] | None, str | None]:
        """The list is sent when it has become another: every request asks, and it is long."""
        try:
            version, epoch = map(_text, await self._redis.mget(POPULAR_VERSION, ITEMS_EPOCH))
            if version is not None and version == self._read[0]:
                return self._read[1], epoch or NO_EPOCH
            stored = _text(await self._redis.get(POPULAR))
        except OUTAGE:
            return None, None
        if stored is None:
            return None, epoch or NO_EPOCH
        items = [PopularItem(*row) for row in json.loads(stored)]
        self._read = (version, items)
        return items, epoch or NO_EPOCH

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


def _text(answer: str | bytes | None) -> str | None:
    return answer.decode() if isinstance(answer, bytes) else answer
