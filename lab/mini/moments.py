"""Moments in the lives of generated users: what was chosen before, what next, and by which taste.

Training sees only users whose numbers neither the sample shop nor any evaluation uses.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from lab.shop.lives import sample_lives
from lab.shop.taste import TRAINING_USERS, Life, Shop, utilities

# Set apart from training, to watch it: fresh users, but none that a published figure is made on.
WATCHED_USERS = TRAINING_USERS[-10_000:]
TAUGHT_USERS = TRAINING_USERS[:-10_000]

_LIVES_AT_ONCE = 128
_LEAST_PAST = 3
_EVEN_POPULARITY = 1 / 40  # about the median, so that log-odds stay what they are

# How strongly hard negatives follow the user's taste: 1 is as strongly as choices do.
HARD_TEMPERATURE = 0.5


@dataclass(frozen=True)
class Moment:
    """Before the positive at `position`: `past` oldest first, `chosen` next.

    `utilities` are the true log-odds of all items, as of this moment.
    """

    life: Life
    position: int
    utilities: NDArray[np.float64]

    @property
    def past(self) -> NDArray[np.int64]:
        return self.life.items[: self.position]

    @property
    def chosen(self) -> int:
        return int(self.life.items[self.position])


def without_favorites(shop: Shop) -> Shop:
    """The same shop with all items and values equally popular: only the past tells what is next.

    With favorites, a model first learns these, and long knows nothing else.
    """
    catalog = replace(
        shop.catalog,
        popularity=np.full_like(shop.catalog.popularity, _EVEN_POPULARITY),
        appeal=np.ones_like(shop.catalog.appeal),
    )
    return replace(shop, catalog=catalog)


def taught_moments(shop: Shop, rng: np.random.Generator) -> Iterator[Moment]:
    """Endless moments of users drawn at random, each user once in a long time."""
    while True:
        numbers = rng.integers(TAUGHT_USERS.start, TAUGHT_USERS.stop, _LIVES_AT_ONCE)
        for life in sample_lives(shop, numbers.tolist()):
            # Late positions more often: there the past is long enough for a demonstration.
            least, last = _LEAST_PAST, len(life.items) - 1
            position = int(least + (last - least) * np.sqrt(rng.random()) + 0.5)
            yield Moment(life, position, utilities(shop, life, position))


def watched_moments(shop: Shop, users: int) -> list[Moment]:
    """The newest choice of each of the first watched users."""
    lives = sample_lives(shop, WATCHED_USERS[:users])
    return [
        Moment(life, len(life.items) - 1, utilities(shop, life, len(life.items) - 1))
        for life in lives
    ]


def candidates_of(
    moment: Moment, size: int, rng: np.random.Generator, hard: float = 0.0
) -> NDArray[np.int64]:
    """The chosen item among negatives that the user never took, shuffled.

    Each negative is uniform, or with chance `hard` drawn to the user's taste.
    """
    free = np.ones(len(moment.utilities), dtype=bool)
    free[moment.life.items] = False
    # Gumbel noise: the largest are a sample without repetition, in proportion to the odds.
    keys = rng.gumbel(size=len(free))
    keys[~free] = -np.inf
    tempting = int(rng.binomial(size - 1, hard)) if hard else 0
    negatives: list[int] = []
    if tempting:
        tempted = keys + HARD_TEMPERATURE * moment.utilities
        negatives = np.argpartition(-tempted, tempting)[:tempting].tolist()
        keys = rng.gumbel(size=len(free))
        keys[~free] = -np.inf
        keys[negatives] = -np.inf
    rest = size - 1 - tempting
    negatives += np.argpartition(-keys, rest)[:rest].tolist()
    shown = np.array([moment.chosen, *negatives], dtype=np.int64)
    rng.shuffle(shown)
    return shown
