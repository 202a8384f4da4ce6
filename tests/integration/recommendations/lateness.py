"""Whether answers came in time, judged on a machine that has other things to do."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass
from types import TracebackType
from typing import Self

GRACE_MS = 50
AT_ONCE = 4
_BEAT_SECONDS = 0.005


@dataclass(frozen=True, slots=True)
class Taken:
    """By `time.monotonic()`."""

    began: float
    ended: float

    @property
    def ms(self) -> float:
        return 1000 * (self.ended - self.began)


class Pauses:
    """How long this process was kept from running, as a thread sees it that only sleeps. It tells
    nothing of what the event loop waits for: a blocked loop lets the thread run."""

    def __init__(self) -> None:
        self._seen: list[tuple[float, float]] = []
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="pauses", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._over.set()
        self._thread.join()

    def ms_within(self, taken: Taken) -> float:
        return 1000 * sum(
            seconds
            for at, seconds in self._seen
            if taken.began <= at <= taken.ended + _BEAT_SECONDS
        )

    def _watch(self) -> None:
        before = time.monotonic()
        while not self._over.is_set():
            time.sleep(_BEAT_SECONDS)
            now = time.monotonic()
            self._seen.append((now, now - before - _BEAT_SECONDS))
            before = now


def late_ms(taken: Taken, deadline_ms: float, pauses: Pauses) -> float:
    """Beyond the deadline, without the time in which nothing of this process ran."""
    late = taken.ms - deadline_ms
    return late if late <= GRACE_MS else late - pauses.ms_within(taken)


def judge_in_time(all_taken: list[Taken], deadline_ms: float, pauses: Pauses) -> None:
    """Within the deadline and 50 ms, but for one in a hundred, or of few requests as many as are
    under way at once: an idle machine has its moments, too. A wait for a part that is down is none
    of these: it would be as long as a timeout, and befall them all."""
    late = sorted(late_ms(taken, deadline_ms, pauses) for taken in all_taken)
    misses = sum(one > GRACE_MS for one in late)
    assert misses <= max(AT_ONCE, len(late) // 100), f"{misses} of {len(late)} late: {late[-5:]}"
    assert late[-1] <= 10 * GRACE_MS, late[-5:]
