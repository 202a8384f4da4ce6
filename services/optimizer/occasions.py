"""When a user gets a round that nobody asked for. Pure rules."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

LEAST_ANSWERS = 3  # on either side: of fewer, nothing can be said
MOST_ANSWERS = 20
ERRORS = 1.0


class Occasion(StrEnum):
    STALE = "stale"  # judged under conditions that are not in force any more
    FELL = "fell"  # online Effect_D since the last round, against before it
    OUTGROWN = "outgrown"  # so many new positive events since the last round


@dataclass(frozen=True, slots=True)
class Standing:
    """Of a user who has learned before. `before` and `since` are online Effect_D of lists served
    before and since the last round that was done, newest first."""

    user_id: str
    stale: bool
    new_positives: int
    before: Sequence[float] = ()
    since: Sequence[float] = ()


def occasion(standing: Standing, enough_positives: int) -> Occasion | None:
    """`enough_positives` 0: their number alone is no occasion."""
    if standing.stale:
        return Occasion.STALE
    if fell(standing.before, standing.since):
        return Occasion.FELL
    if enough_positives and standing.new_positives >= enough_positives:
        return Occasion.OUTGROWN
    return None


def fell(before: Sequence[float], since: Sequence[float]) -> bool:
    """The newest of each are lower by more than the standard error of the difference."""
    older, newer = before[:MOST_ANSWERS], since[:MOST_ANSWERS]
    if min(len(older), len(newer)) < LEAST_ANSWERS:
        return False
    error = math.sqrt(
        statistics.variance(older) / len(older) + statistics.variance(newer) / len(newer)
    )
    return statistics.fmean(newer) < statistics.fmean(older) - ERRORS * error
