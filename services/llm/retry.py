"""When to try again: with jitter, not often, and never past the deadline."""

from __future__ import annotations

import random
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    attempts: int = 3
    first_pause_seconds: float = 0.1
    longest_pause_seconds: float = 2.0

    def pause(self, attempt: int, retry_after: float | None, draws: random.Random) -> float | None:
        """Seconds to wait after so many attempts; None: give up. A server's wish is a lower
        bound, and spread a little, so that not everyone comes back in the same moment."""
        if attempt >= self.attempts:
            return None
        ceiling = min(self.first_pause_seconds * 2.0 ** (attempt - 1), self.longest_pause_seconds)
        jittered = draws.uniform(0, ceiling)
        return jittered if retry_after is None else retry_after + 0.1 * jittered


def parse_retry_after(value: str | None) -> float | None:
    """Seconds, from either of the two forms HTTP knows; None if it is neither."""
    if value is None:
        return None
    try:
        return max(0.0, float(value))
    except ValueError:
        pass
    try:
        moment = parsedate_to_datetime(value)
    except ValueError:
        return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return max(0.0, (moment - datetime.now(UTC)).total_seconds())
