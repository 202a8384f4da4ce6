"""Redis as we use it: every call has a deadline, and none of them is needed for correctness."""

from __future__ import annotations

import asyncio
import contextlib
import math
import time
from typing import Any

from redis.asyncio import ConnectionPool, Redis
from redis.asyncio.connection import AbstractConnection
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError as ConnectionLost
from redis.exceptions import RedisError

# What a caller catches when it has an answer without Redis.
OUTAGE = (RedisError, OSError)  # a deadline's TimeoutError is an OSError

ASKED_AGAIN_SECONDS = 0.25
PATIENCE_SECONDS = 0.05  # by when a Redis that is well has answered

POPULAR = "lrgd:popular"
POPULAR_VERSION = "lrgd:popular:version"
# Raised where items changed: what a process keeps of them is then old.
ITEMS_EPOCH = "lrgd:items:epoch"
HEARTBEAT = "lrgd:heartbeat"
LIVE = "lrgd:live"
CONSIDERED = "lrgd:considered"  # the newest event that was looked at for rounds


# Raised where more users changed than are worth naming: what is kept of any of them is then old.
USERS_EPOCH = "lrgd:users:epoch"


def user_key(user_id: str) -> str:
    return f"lrgd:user:{user_id}"


def debounce_key(job: str) -> str:
    return f"lrgd:debounce:{job}"


def rate_key(caller: str, window: int) -> str:
    return f"lrgd:rate:{caller}:{window}"


class SparingPool(ConnectionPool):
    """Connections to a Redis that is left alone while it does not answer.

    A Redis that hangs would cost every call its timeout, several in a row for one request. So after
    the first such call the others fail at once, until Redis has answered a ping in the background.
    """

    _asking: asyncio.Task[None] | None = None
    _closed = False

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._taken: dict[AbstractConnection, float] = {}

    @property
    def left_alone(self) -> bool:
        return self._asking is not None

    async def get_connection(self, *_command: Any, **_options: Any) -> AbstractConnection:
        if self._asking is not None:
            raise ConnectionLost("Redis did not answer, and is left alone until it does")
        inherited: Any = super()  # redis-py has no types here
        connection: AbstractConnection = await inherited.get_connection()
        return connection

    async def ensure_connection(self, connection: AbstractConnection) -> None:
        self._taken[connection] = time.monotonic()
        inherited: Any = super()
        await inherited.ensure_connection(connection)

    async def release(self, connection: AbstractConnection) -> None:
        taken = self._taken.pop(connection, -math.inf)
        await super().release(connection)
        # The client hangs up on whom it has waited for in vain; or it never came through. And it
        # hangs up where nobody waits any more, which soon after the question is no fault of Redis.
        at_once = time.monotonic() - taken < PATIENCE_SECONDS
        if not connection.is_connected and not (at_once and _is_cancelled()):
            self._leave_alone()

    async def aclose(self) -> None:
        # Who is cut off by this did not wait in vain.
        self._closed = True
        if self._asking is not None:
            self._asking.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._asking
        await super().aclose()

    async def ping(self) -> None:
        """Asks Redis even while it is left alone; once it answers, it is not any more."""
        connection: Any = self.make_connection()  # type: ignore[no-untyped-call]
        try:
            await connection.connect()
            await connection.send_command("PING")
            await connection.read_response()
        finally:
            await connection.disconnect()
        if self._asking is not None and self._asking is not asyncio.current_task():
            self._asking.cancel()
        self._asking = None

    def _leave_alone(self) -> None:
        if self._asking is None and not self._closed:
            self._asking = asyncio.create_task(self._ask_until_it_answers(), name="redis")

    async def _ask_until_it_answers(self) -> None:
        while True:
            try:
                return await self.ping()
            except OUTAGE:
                await asyncio.sleep(ASKED_AGAIN_SECONDS)


def _is_cancelled() -> bool:
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


async def ask_again(redis: Redis) -> None:
    """A ping, if Redis is left alone: where the event loop stands still between calls, nothing in
    the background finds out that it is back."""
    pool = redis.connection_pool
    if isinstance(pool, SparingPool) and pool.left_alone:
        with contextlib.suppress(*OUTAGE):
            await pool.ping()


def connect(url: str, *, timeout_seconds: float) -> Redis:
    """A client that gives up fast: one immediate retry for a connection that went stale, none for
    an answer that did not come."""
    return Redis.from_pool(
        SparingPool.from_url(
            url,
            socket_timeout=timeout_seconds,
            socket_connect_timeout=timeout_seconds,
            retry=Retry(NoBackoff(), 1, supported_errors=(ConnectionLost,)),
            decode_responses=True,
        )
    )


async def expect_redis(redis: Redis) -> None:
    """Raises one of OUTAGE if it does not answer now."""
    assert isinstance(redis.connection_pool, SparingPool)
    await redis.connection_pool.ping()
