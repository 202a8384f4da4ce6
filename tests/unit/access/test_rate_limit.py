"""The sliding minute, and that whoever waits as told is let in."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from services.access.rate_limit import WINDOW, seconds_to_wait, used

limits = st.integers(min_value=1, max_value=10_000)
elapsed_seconds = st.floats(min_value=0, max_value=59.999)


def test_the_last_minute_counts_by_how_much_of_it_is_within_sixty_seconds() -> None:
    assert used(count=3, before=8, elapsed=0) == 11
    assert used(count=3, before=8, elapsed=15) == 9
    assert used(count=3, before=8, elapsed=60) == 3


@given(limits, elapsed_seconds, st.integers(0, 20_000), st.integers(0, 20_000))
def test_one_more_request_after_the_wait_is_within_the_limit(
    limit: int, elapsed: float, count: int, before: int
) -> None:
    wait = seconds_to_wait(count=count, before=before, elapsed=elapsed, limit=limit)
    later = elapsed + wait
    if later < WINDOW:
        assert used(count=count + 1, before=before, elapsed=later) <= limit + 1e-6
    elif later < 2 * WINDOW:
        assert used(count=1, before=count, elapsed=later - WINDOW) <= limit + 1e-6
    assert later <= 2 * WINDOW + 1


@given(limits, elapsed_seconds, st.integers(0, 20_000), st.integers(0, 20_000))
def test_the_wait_is_no_longer_than_it_must_be(
    limit: int, elapsed: float, count: int, before: int
) -> None:
    wait = seconds_to_wait(count=count, before=before, elapsed=elapsed, limit=limit)
    if used(count=count + 1, before=before, elapsed=elapsed) <= limit:
        assert wait == 0
    sooner = elapsed + wait - 1.001  # waits are whole seconds
    if wait > 1 and sooner < WINDOW:
        assert used(count=count + 1, before=before, elapsed=sooner) > limit
    elif wait > 1 and sooner < 2 * WINDOW:
        assert used(count=1, before=count, elapsed=sooner - WINDOW) > limit
