from __future__ import annotations

import pytest

from services.llm.breaker import BreakerPolicy, BreakerState, CircuitBreaker
from services.llm.errors import CircuitOpen

CLOSED, HALF_OPEN, OPEN = BreakerState.CLOSED, BreakerState.HALF_OPEN, BreakerState.OPEN


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def changes() -> list[BreakerState]:
    return []


@pytest.fixture
def breaker(clock: Clock, changes: list[BreakerState]) -> CircuitBreaker:
    policy = BreakerPolicy(failures=2, open_seconds=1, longest_open_seconds=3)
    return CircuitBreaker(policy, on_change=changes.append, clock=clock)


def fail(breaker: CircuitBreaker, times: int = 1) -> None:
    for _ in range(times):
        breaker.failed(breaker.begin())


def test_failures_in_a_row_open_it(breaker: CircuitBreaker) -> None:
    fail(breaker)
    breaker.succeeded(breaker.begin())
    fail(breaker)
    assert breaker.state is CLOSED
    fail(breaker)
    assert breaker.state is OPEN
    with pytest.raises(CircuitOpen) as refusal:
        breaker.begin()
    assert refusal.value.retry_after == pytest.approx(1)


def test_after_a_while_one_trial_is_let_through(breaker: CircuitBreaker, clock: Clock) -> None:
    fail(breaker, 2)
    clock.now += 1
    trial = breaker.begin()
    assert breaker.state is HALF_OPEN
    with pytest.raises(CircuitOpen):
        breaker.begin()
    breaker.succeeded(trial)
    assert breaker.state is CLOSED


def test_failed_trials_keep_it_open_longer_and_longer(
    breaker: CircuitBreaker, clock: Clock
) -> None:
    fail(breaker, 2)
    for seconds in (1, 2, 3, 3):
        clock.now += seconds - 0.01
        with pytest.raises(CircuitOpen):
            breaker.begin()
        clock.now += 0.02
        fail(breaker)
    assert breaker.state is OPEN


def test_an_abandoned_trial_makes_way_for_the_next(breaker: CircuitBreaker, clock: Clock) -> None:
    fail(breaker, 2)
    clock.now += 1
    breaker.abandoned(breaker.begin())
    breaker.succeeded(breaker.begin())
    assert breaker.state is CLOSED


def test_calls_begun_before_it_opened_do_not_disturb_the_trial(
    breaker: CircuitBreaker, clock: Clock, changes: list[BreakerState]
) -> None:
    early = [breaker.begin() for _ in range(2)]
    fail(breaker, 2)
    clock.now += 1
    trial = breaker.begin()
    for token in early:
        breaker.failed(token)
    assert breaker.state is HALF_OPEN
    breaker.succeeded(trial)
    assert changes == [OPEN, HALF_OPEN, CLOSED]
