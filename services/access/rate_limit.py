"""The rate limit: a sliding minute per caller, counted in Redis; without Redis everyone passes."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass

from redis.asyncio import Redis

from services.errors import RateLimited
from services.observability.metrics import Metrics, NoLabels
from services.storage.redis import OUTAGE, rate_key

WINDOW = 60


@dataclass(frozen=True, slots=True)
class Allowance:
    limit: int
    remaining: int
    reset_seconds: int

    def headers(self) -> dict[str, str]:
        return {
            "RateLimit-Limit": str(self.limit),
            "RateLimit-Remaining": str(self.remaining),
            "RateLimit-Reset": str(self.reset_seconds),
        }


class RateLimiter:
    """Counts of this minute and the last, the last weighed by how much of it still lies within
    sixty seconds: smooth at the edge of a minute, and two small keys per caller."""

    def __init__(self, redis: Redis, metrics: Metrics, *, per_minute: int) -> None:
        self._redis = redis
        self._metrics = metrics
        self._limit = per_minute

    async def admit(self, caller: str) -> Allowance | None:
        """Count one request; RateLimited if it is one too many, None if nothing was checked."""
        if self._limit == 0:
            return None
        now = time.time()
        window, elapsed = int(now // WINDOW), now % WINDOW
        try:
            async with self._redis.pipeline(transaction=False) as pipe:
                pipe.incr(rate_key(caller, window))
                pipe.expire(rate_key(caller, window), 2 * WINDOW)
                pipe.get(rate_key(caller, window - 1))
                count, _, before = await pipe.execute()
        except OUTAGE:
            self._metrics.rate_limit_unchecked.add(NoLabels())
            return None
        before = int(before or 0)
        taken = used(count=count, before=before, elapsed=elapsed)
        reset = math.ceil(WINDOW - elapsed)
        allowance = Allowance(self._limit, max(0, math.floor(self._limit - taken)), reset)
        if taken > self._limit:
            self._metrics.rate_limited.add(NoLabels())
            wait = seconds_to_wait(count=count, before=before, elapsed=elapsed, limit=self._limit)
            raise RateLimited(
                f"more than {self._limit} requests a minute: try again in {wait} s",
                headers={"Retry-After": str(wait), **allowance.headers()},
            )
        return allowance


def used(*, count: int, before: int, elapsed: float) -> float:
    """Requests of the last sixty seconds, so many seconds into a minute."""
    return count + before * (1 - elapsed / WINDOW)


def seconds_to_wait(*, count: int, before: int, elapsed: float, limit: int) -> int:
    """How long until one more request is within the limit, if none comes in between."""
    if used(count=count + 1, before=before, elapsed=elapsed) <= limit:
        return 0
    if count < limit:  # this minute has room as soon as the last one weighs less
        when = WINDOW * (1 - (limit - count - 1) / before)
    else:
        when = WINDOW + WINDOW * (1 - (limit - 1) / count)
    return math.ceil(when - elapsed)
