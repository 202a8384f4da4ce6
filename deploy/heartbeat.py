"""Health check of beat: a heartbeat that it sent has lately gone through the broker into a worker.

python deploy/heartbeat.py
"""

from __future__ import annotations

import sys
import time

from redis import Redis
from redis.exceptions import RedisError

from services.settings import load_settings
from services.storage.redis import HEARTBEAT


def main() -> str | None:
    """What is wrong with the heartbeat, or None."""
    settings = load_settings()
    if settings.redis_url is None:
        return "LRGD_REDIS_URL is not set"
    timeout = settings.redis_timeout_seconds
    try:
        with Redis.from_url(
            settings.redis_url.get_secret_value(),
            socket_timeout=timeout,
            socket_connect_timeout=timeout,
            decode_responses=True,
        ) as redis:
            beaten_at = redis.get(HEARTBEAT)
    except (RedisError, OSError) as error:
        return f"Redis does not answer: {error}"
    if beaten_at is None:
        return "no heartbeat has been seen yet"
    age = time.time() - float(str(beaten_at))
    if age > settings.heartbeat_stale_seconds:
        return f"the last heartbeat was {age:.0f} s ago"
    return None


if __name__ == "__main__":
    sys.exit(main())
