"""Landscapes whose values are given."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from lab.tables.studies.collapse.landscape import Landscape, Place, places
from services.optimizer.rules import Judged


def planted(choices: Sequence[int], worth: Callable[[Place], float]) -> Landscape:
    """Two held-out events that agree, so that nothing is noise; zero-shot is far behind. What is
    worth 1 or more is effective."""
    all_places = places(choices)
    return Landscape(
        user="ada",
        texts={
            place: " ".join(f"item{at}x{n}" for at, n in enumerate(place)) for place in all_places
        },
        judged={place: _judged(worth(place)) for place in all_places},
        zero_shot=_judged(-100.0),
        newest_event="newest",
        z=0.5,
    )


def _judged(log_score: float) -> list[Judged]:
    rank = 2 if log_score >= 1 else 9
    return [Judged(event, 0, rank, log_score) for event in ("newest", "older")]
