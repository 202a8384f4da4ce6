"""Co-visitation: which items users take near each other, and what that says about the next one.

Everything here is a rule without storage. Weights are whole numbers, so that what was added can be
taken away again to the last bit, and an index kept up event by event equals one built anew.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple

# A user's newest items that count at all: a machine that buys everything must not drown the rest.
HISTORY = 200
# Of two items so many places apart or fewer, the older one leads to the newer with this weight, and
# the newer one back to the older with half of it.
WINDOW = 10
UNIT = 1000
CLOSENESS = 0.8
FORWARD = tuple(round(UNIT * CLOSENESS**distance) for distance in range(WINDOW))
BACKWARD = tuple(weight // 2 for weight in FORWARD)

# At query time: so many of the user's newest items are asked for their neighbors, each counting
# less than the one after it; of each item the strongest neighbors are enough.
SEEDS = 10
FRESHNESS = 0.8
NEIGHBORS = 200
# What an item's share of all that was ever taken weighs beside one co-visit of a rare item.
POPULARITY = 1.0

Pair = tuple[str, str]


class Moment(NamedTuple):
    """A place in the order of events. Without a seq: before every event of that time."""

    occurred_at: datetime
    seq: int = 0


@dataclass(frozen=True, slots=True)
class Neighborhood:
    """How many users took an item, and what they took near it: the strongest neighbors first."""

    users: float
    others: Sequence[tuple[str, float]]


def distinct_newest(items_oldest_first: Sequence[str]) -> list[str]:
    """A history as it is counted: every item once, where it was taken last."""
    newest_first = dict.fromkeys(reversed(items_oldest_first))
    return list(newest_first)[:HISTORY][::-1]


def pairs_of(history: Sequence[str]) -> Iterator[tuple[Pair, int]]:
    """What one user's history adds to the index. The pair of an item with itself counts its users,
    so that one table knows both."""
    for place, item in enumerate(history):
        yield (item, item), 1
        for distance, newer in enumerate(history[place + 1 : place + 1 + WINDOW]):
            yield (item, newer), FORWARD[distance]
            yield (newer, item), BACKWARD[distance]


def neighbors_in(history: Sequence[str], place: int) -> Iterator[tuple[str, int]]:
    """Of what `pairs_of` gives, the pairs that start at one place of the history."""
    for distance, newer in enumerate(history[place + 1 : place + 1 + WINDOW]):
        yield newer, FORWARD[distance]
    for distance, older in enumerate(reversed(history[max(0, place - WINDOW) : place])):
        yield older, BACKWARD[distance]


def strongest(others: Mapping[str, float]) -> list[tuple[str, float]]:
    """The neighbors that a neighborhood keeps, equal weights by id."""
    return sorted(others.items(), key=lambda other: (-other[1], other[0]))[:NEIGHBORS]


def covisit_scores(
    seeds_newest_first: Sequence[str], neighborhoods: Mapping[str, Neighborhood]
) -> dict[str, float]:
    """The neighbors of a user's newest items, each weight over the root of the seed's users: a
    rare item says more about its neighbors than one that everybody has."""
    scores: dict[str, float] = {}
    known = scores.get
    for place, seed in enumerate(seeds_newest_first[:SEEDS]):
        found = neighborhoods.get(seed)
        if found is None or found.users <= 0:
            continue
        strength = FRESHNESS**place / (UNIT * math.sqrt(found.users))
        for other, weight in found.others:
            scores[other] = known(other, 0.0) + strength * weight
    return scores


def popularity(users: float, takings: float) -> float:
    """What an item's share of all that was taken says."""
    return POPULARITY * (users + 0.5) / (takings + 1)


def prior(covisit_score: float, users: float, takings: float) -> float:
    """The log of what co-visits and popularity say together: comparable among the candidates of
    one list, wherever they come from, and finite for an item that nobody took."""
    return math.log(covisit_score + popularity(users, takings))
