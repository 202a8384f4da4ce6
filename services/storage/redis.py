"""Redis as we use it: every call has a deadline, and none of them is needed for correctness."""

from __future__ import annotations

from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError as ConnectionLost
from redis.exceptions import RedisError

# What a caller catches when it has an answer without Redis.
OUTAGE = (RedisError, OSError)  # a deadline's TimeoutError is an OSError

POPULAR = "lrgd:popular"
HEARTBEAT = "lrgd:heartbeat"


# Raised where more users changed than are worth naming: what is kept of any of them is then old.
USERS_EPOCH = "lrgd:users:epoch"


def user_key(user_id: str) -> str:
    return f"lrgd:user:{user_id}"


def debounce_key(job: str) -> str:
    return f"lrgd:debounce:{job}"


def rate_key(caller: str, window: int) -> str:
    return f"lrgd:rate:{caller}:{window}"


def connect(url: str, *, timeout_seconds: float) -> Redis:
    """A pool that gives up fast: one immediate retry, for a connection that went stale."""
    return Redis.from_url(
        url,
        socket_timeout=timeout_seconds,
        socket_connect_timeout=timeout_seconds,
        retry=Retry(NoBackoff(), 1),
        retry_on_error=[ConnectionLost],
        decode_responses=True,
    )
