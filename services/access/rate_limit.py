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
        used = count + int(before or 0) * (1 - elapsed / WINDOW)
        reset = math.ceil(WINDOW - elapsed)
        allowance = Allowance(self._limit, max(0, math.floor(self._limit - used)), reset)
        if used > self._limit:
            self._metrics.rate_limited.add(NoLabels())
            raise RateLimited(
                f"more than {self._limit} requests a minute: try again in {reset} s",
                headers={"Retry-After": str(reset), **allowance.headers()},
            )
        return allowance
