"""When an answer is of no more use."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Self


@dataclass(frozen=True, slots=True)
class Deadline:
    """A moment of the monotonic clock, so that it can be handed on from call to call."""

    at: float

    @classmethod
    def after(cls, seconds: float) -> Self:
        return cls(time.monotonic() + seconds)

    def remaining(self) -> float:
        return max(0.0, self.at - time.monotonic())

    def no_later_than(self, seconds: float) -> Deadline:
        return min(self, Deadline.after(seconds), key=lambda deadline: deadline.at)
