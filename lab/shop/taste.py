"""Taste: what a user likes, what that is worth, and the latent truth of a life for evaluation.

A user likes a few values on each axis. A liked value multiplies an item's odds of being taken, and
item popularity scales them; the user takes the next item with a probability proportional to these
odds, never the same item twice. Now and then one liked value is replaced by a new one: that begins
the next stage of the life.
"""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from lab.shop.catalog import Catalog, build_catalog
from lab.shop.vocabulary import AXES

SHOP_SEED = 0

# Who is who, under any one seed. The shipped users and all evaluation users are numbers that
# training never uses: training starts at a million, and takes no number below it.
SHIPPED_USERS = range(1, 301)
EVALUATION_USERS = range(1_000, 1_000_000)
TRAINING_USERS = range(1_000_000, 2**31)


@dataclass(frozen=True)
class TasteRules:
    """How many values a user likes per axis (kind, brand, style), what liking one is worth, and
    the chance, before each positive, that one of them is replaced.

    Tuned on `lab.shop.figures.describe`: knowing the taste must decide most of a ranking, while a
    window of a few recent items must not reveal all of it, so that older behavior keeps its worth.
    """

    liked: tuple[int, int, int] = (4, 3, 3)
    odds: tuple[float, float, float] = (250.0, 200.0, 150.0)
    drift: float = 0.03


@dataclass(frozen=True)
class Shop:
    """A catalog, the rules of taste, and the seed of all its users."""

    seed: int = SHOP_SEED
    catalog: Catalog = field(default_factory=build_catalog)
    rules: TasteRules = field(default_factory=TasteRules)


@dataclass(frozen=True)
class Life:
    """The positives of one user, oldest first, and the taste behind them.

    `stage_starts[s]` is the position in `items` at which stage s of the taste begins, and
    `liked[s]` the values liked in it (numbered as in the catalog).
    """

    number: int
    items: NDArray[np.int64]
    stage_starts: NDArray[np.int64]
    liked: NDArray[np.int64]

    def liked_at(self, position: int) -> NDArray[np.int64]:
        """The values liked when the positive at `position` was chosen; `len(items)`: now."""
        stage = int(np.searchsorted(self.stage_starts, position, side="right")) - 1
        liked: NDArray[np.int64] = self.liked[stage]
        return liked


def liked_values(catalog: Catalog, life: Life, position: int) -> dict[str, list[str]]:
    """The words of the taste as of a moment, by axis."""
    words: dict[str, list[str]] = {axis: [] for axis in AXES}
    for value in life.liked_at(position):
        words[catalog.axis_of(int(value))].append(catalog.values[value])
    return words


def utilities(shop: Shop, life: Life, position: int) -> NDArray[np.float64]:
    """The oracle: log-odds of every item when the positive at `position` was chosen.

    These are exact: their softmax over the items not yet taken is the distribution that the
    positive was drawn from.
    """
    log_odds: NDArray[np.float64] = np.log(item_odds(shop, life.liked_at(position)[np.newaxis])[0])
    return log_odds


def item_odds(shop: Shop, liked: NDArray[np.int64]) -> NDArray[np.float64]:
    """Odds of all items (columns) under the liked values of each row.

    Products, not exponentials of sums: these round alike on every machine, and so the shipped
    files come out the same everywhere.
    """
    catalog, rules = shop.catalog, shop.rules
    worth = np.ones((len(liked), len(catalog.values)))
    np.put_along_axis(worth, liked, np.repeat(rules.odds, rules.liked)[np.newaxis], axis=1)
    odds = np.tile(catalog.popularity, (len(liked), 1))
    for values_of_axis in catalog.item_values.T:
        odds *= worth[:, values_of_axis]
    return odds
