"""Who computes on one machine with people's requests gives way to them.

A gateway leaves a mark in Redis while it is asked; a round that is about to call the embedded model
waits until the mark has faded, though never for long: rounds are delayed by traffic, not starved.
With a model server there is no need: it takes requests by their priority.
"""

from __future__ import annotations

import asyncio
import time

from redis.asyncio import Redis

from services.storage.redis import LIVE, OUTAGE
from services.storage.unbroken import Unbroken

FADES_SECONDS = 0.5
MARKED_EVERY_SECONDS = 0.2
LOOKED_EVERY_SECONDS = 0.05
LONGEST_WAIT_SECONDS = 2.0


class LiveTraffic:
    """Made inside the event loop that uses it."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self._marked_at = -MARKED_EVERY_SECONDS
        self._marking = Unbroken()

    def came(self) -> None:
        """Somebody is waiting for an answer. Costs nobody a round trip."""
        now = time.monotonic()
        if now - self._marked_at >= MARKED_EVERY_SECONDS:
            self._marked_at = now
            self._marking.begin(self._mark())

    async def give_way(self) -> None:
        """Return when nobody was waiting a moment ago, or after a while."""
        until = time.monotonic() + LONGEST_WAIT_SECONDS
        try:
            while await self._redis.exists(LIVE) and time.monotonic() < until:
                await asyncio.sleep(LOOKED_EVERY_SECONDS)
        except OUTAGE:
            return

    async def aclose(self) -> None:
        await self._marking.aclose()

    async def _mark(self) -> None:
        try:
            await self._redis.set(LIVE, 1, px=int(1000 * FADES_SECONDS))
        except OUTAGE:
            return
