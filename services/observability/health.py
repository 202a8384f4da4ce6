"""What is up and what is down, by name."""

from __future__ import annotations

import asyncio
import contextlib
import math
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass

from redis.asyncio import Redis

from services.errors import LrgdError, PublicError
from services.observability.logging import get_logger
from services.observability.metrics import Metrics, NoLabels, PartLabels
from services.settings import Settings
from services.storage.database import Database
from services.storage.redis import HEARTBEAT, OUTAGE, expect_redis

CHECK_SECONDS = 2.0

# What it returns is a detail worth telling of a part that works.
Check = Callable[[], Awaitable[str | None]]

log = get_logger(__name__)


class NotReady(LrgdError):
    """Why a part cannot do its work, in words fit for an open endpoint."""


class Impaired(LrgdError):
    """The same of a part without which we serve, though worse."""


@dataclass(frozen=True, slots=True)
class PartHealth:
    """Without a part that is `needed`, nothing can be served."""

    part: str
    ready: bool
    detail: str | None = None
    needed: bool = True


class Health:
    """`more` are checks of parts that not every deployment has; each raises NotReady, or
    Impaired."""

    def __init__(
        self,
        settings: Settings,
        database: Database,
        redis: Redis,
        metrics: Metrics,
        more: Mapping[str, Check],
    ) -> None:
        self._stale_seconds = settings.heartbeat_stale_seconds
        self._redis = redis
        self._metrics = metrics
        self._checks: dict[str, Check] = {
            "database": database.expect_schema,
            "redis": self._ping_redis,
            "worker": self._expect_heartbeat,
            **more,
        }

    async def check(self) -> list[PartHealth]:
        parts = await asyncio.gather(
            *(self._run(part, check) for part, check in self._checks.items())
        )
        for part in parts:
            self._metrics.ready.set(PartLabels(part.part), float(part.ready))
        return list(parts)

    async def measure_heartbeat(self) -> float | None:
        """Seconds since a heartbeat went from beat through the broker into a worker; without one,
        or without Redis, the age grows with no end."""
        beaten_at = None
        with contextlib.suppress(*OUTAGE):
            beaten_at = await self._redis.get(HEARTBEAT)
        age = None if beaten_at is None else max(0.0, time.time() - float(beaten_at))
        self._metrics.heartbeat_age.set(NoLabels(), math.inf if age is None else age)
        return age

    async def _run(self, part: str, check: Check) -> PartHealth:
        try:
            async with asyncio.timeout(CHECK_SECONDS):
                return PartHealth(part, True, await check())
        except TimeoutError:
            return PartHealth(part, False, f"no answer within {CHECK_SECONDS:g} s")
        except (NotReady, PublicError) as error:
            return PartHealth(part, False, str(error))
        except Impaired as error:
            return PartHealth(part, False, str(error), needed=False)
        except Exception as error:  # a check reports whatever is wrong with its part
            log.warning("part_not_ready", part=part, exc_info=True)
            return PartHealth(part, False, f"{type(error).__name__} (the log says more)")

    async def _ping_redis(self) -> None:
        await expect_redis(self._redis)

    async def _expect_heartbeat(self) -> None:
        age = await self.measure_heartbeat()
        if age is None:
            raise NotReady("no heartbeat has been seen yet")
        if age > self._stale_seconds:
            raise NotReady(f"the last heartbeat was {age:.0f} s ago")
