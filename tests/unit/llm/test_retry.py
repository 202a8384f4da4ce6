from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest

from services.llm.retry import RetryPolicy, parse_retry_after

POLICY = RetryPolicy(attempts=4, first_pause_seconds=0.1, longest_pause_seconds=0.3)


def pauses(attempt: int, retry_after: float | None = None) -> list[float]:
    found = [POLICY.pause(attempt, retry_after, random.Random(seed)) for seed in range(200)]
    return [pause for pause in found if pause is not None]


@pytest.mark.parametrize(("attempt", "ceiling"), [(1, 0.1), (2, 0.2), (3, 0.3)])
def test_pauses_are_spread_below_a_ceiling_that_doubles(attempt: int, ceiling: float) -> None:
    found = pauses(attempt)
    assert max(found) <= ceiling
    assert max(found) > 0.9 * ceiling
    assert min(found) < 0.1 * ceiling


def test_after_the_last_attempt_there_is_no_pause() -> None:
    assert POLICY.pause(4, None, random.Random(0)) is None


def test_what_the_server_wishes_is_the_least() -> None:
    found = pauses(1, retry_after=2.0)
    assert min(found) >= 2.0
    assert len(set(found)) > 100


def test_retry_after_comes_in_seconds_or_as_a_date() -> None:
    assert parse_retry_after("1.5") == 1.5
    assert parse_retry_after("-3") == 0
    in_a_minute = format_datetime(datetime.now(UTC) + timedelta(minutes=1), usegmt=True)
    assert parse_retry_after(in_a_minute) == pytest.approx(60, abs=2)
    assert parse_retry_after("soon") is None
    assert parse_retry_after(None) is None
