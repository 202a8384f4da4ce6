"""A circuit breaker: a server that keeps failing is left alone for a while.

closed ──(failures in a row)──> open ──(a while)──> half-open ──(one trial works)──> closed
                                 ^                      │
                                 └──────(it fails)──────┘
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from enum import IntEnum

from services.llm.errors import CircuitOpen


class BreakerState(IntEnum):
    CLOSED = 0
    HALF_OPEN = 1
    OPEN = 2


@dataclass(frozen=True, slots=True)
class BreakerPolicy:
    """The open time doubles with every failed trial. A call that ran out of time counts as a
    failure only if the server had `slow_seconds` for it: short deadlines are the caller's."""

    failures: int = 5
    open_seconds: float = 1.0
    longest_open_seconds: float = 30.0
    slow_seconds: float = 2.0


class CircuitBreaker:
    def __init__(
        self,
        policy: BreakerPolicy,
        *,
        on_change: Callable[[BreakerState], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._policy = policy
        self._on_change = on_change
        self._clock = clock
        self._state = BreakerState.CLOSED
        self._failures = 0
        self._open_seconds = policy.open_seconds
        self._open_until = 0.0
        self._trial: object | None = None

    @property
    def state(self) -> BreakerState:
        return self._state

    def refuse_if_open(self) -> None:
        """Raises CircuitOpen without taking anything: for those who would have to wait first."""
        if self._state is BreakerState.OPEN and self._clock() < self._open_until:
            raise self._refusal(self._open_until - self._clock())

    def begin(self) -> object:
        """Raises CircuitOpen, or returns a token for exactly one of the methods below."""
        self.refuse_if_open()
        token = object()
        if self._state is BreakerState.CLOSED:
            return token
        if self._trial is not None:
            raise self._refusal(self._open_seconds)
        self._trial = token
        self._change(BreakerState.HALF_OPEN)
        return token

    def succeeded(self, token: object) -> None:
        self._end(token)
        self._failures = 0
        self._open_seconds = self._policy.open_seconds
        self._change(BreakerState.CLOSED)

    def failed(self, token: object) -> None:
        was_trial = self._end(token)
        self._failures += 1
        if was_trial:
            self._open_seconds = min(2 * self._open_seconds, self._policy.longest_open_seconds)
        elif self._state is not BreakerState.CLOSED or self._failures < self._policy.failures:
            return
        self._open_until = self._clock() + self._open_seconds
        self._change(BreakerState.OPEN)

    def abandoned(self, token: object) -> None:
        """The call ended without saying anything about the server."""
        if self._end(token):
            self._change(BreakerState.OPEN)

    def _end(self, token: object) -> bool:
        was_trial = self._trial is token
        if was_trial:
            self._trial = None
        return was_trial

    def _change(self, state: BreakerState) -> None:
        if state is not self._state:
            self._state = state
            self._on_change(state)

    def _refusal(self, seconds: float) -> CircuitOpen:
        return CircuitOpen(
            f"the model server keeps failing: it is asked again in {max(0.0, seconds):.1f} s",
            retry_after=max(0.0, seconds),
        )
