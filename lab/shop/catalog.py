"""The catalog: about 800 items, each a believable combination of a kind, a brand and a style."""

from dataclasses import dataclass
from itertools import accumulate

import numpy as np
from numpy.typing import NDArray

from lab.shop.vocabulary import AXES, BRANDS, COLORS, KINDS, STYLES, Brand, Kind, Style

ITEMS = 800
CATALOG_SEED = 2026

# A long tail: item popularity falls off as 1 / (1 + rank / POPULARITY_HEAD).
POPULARITY_HEAD = 8

# The most liked value of an axis is liked at first about so many times as often as the least.
APPEAL_SPREAD = 10.0

BUDGET_PRICE, PREMIUM_PRICE = 45.0, 110.0


@dataclass(frozen=True)
class Item:
    item_id: str
    title: str
    categories: tuple[str, ...]
    attributes: dict[str, str]


@dataclass(frozen=True)
class Catalog:
    """Items, and beside them what sampling needs as arrays.

    The values of all axes share one numbering, kinds first, then brands, then styles; `values`
    names them, `axis_starts` says where each axis begins (and the last one ends), and
    `item_values[i]` holds the kind, brand and style of item i in that numbering. `popularity` and
    `appeal` are the relative odds of items to be taken and of values to be liked.
    """

    items: tuple[Item, ...]
    values: tuple[str, ...]
    axis_starts: tuple[int, ...]
    item_values: NDArray[np.int64]
    popularity: NDArray[np.float64]
    appeal: NDArray[np.float64]

    def axis_of(self, value: int) -> str:
        return AXES[int(np.searchsorted(self.axis_starts, value, side="right")) - 1]


def build_catalog(seed: int = CATALOG_SEED) -> Catalog:
    rng = np.random.default_rng(np.random.SeedSequence(seed))
    combinations = _choose_combinations(rng)
    items = tuple(
        _make_item(number, *combination, rng)
        for number, combination in enumerate(combinations, start=1)
    )
    axis_words = (
        [kind.name for kind in KINDS],
        [brand.name for brand in BRANDS],
        [style.name for style in STYLES],
    )
    values = tuple(word for words in axis_words for word in words)
    number_of = {value: number for number, value in enumerate(values)}
    return Catalog(
        items=items,
        values=values,
        axis_starts=tuple(accumulate((len(words) for words in axis_words), initial=0)),
        item_values=np.array(
            [[number_of[item.attributes[axis]] for axis in AXES] for item in items], dtype=np.int64
        ),
        popularity=1 / (1 + rng.permutation(len(items)) / POPULARITY_HEAD),
        appeal=np.concatenate(
            [rng.permutation(np.linspace(1, APPEAL_SPREAD, len(words))) for words in axis_words]
        ),
    )


def _choose_combinations(rng: np.random.Generator) -> list[tuple[Kind, Brand, Style]]:
    """Equally many items of each kind, over the brands and styles that go with its department."""
    chosen: list[tuple[Kind, Brand, Style]] = []
    for number, kind in enumerate(KINDS):
        fitting = [
            (kind, brand, style)
            for brand in BRANDS
            if kind.department in brand.departments
            for style in STYLES
            if kind.department in style.departments
        ]
        wanted = ITEMS * (number + 1) // len(KINDS) - len(chosen)
        chosen.extend(fitting[pick] for pick in rng.permutation(len(fitting))[:wanted])
    # Shuffled, so that an item's id tells nothing about it.
    return [chosen[place] for place in rng.permutation(len(chosen))]


def _make_item(
    number: int, kind: Kind, brand: Brand, style: Style, rng: np.random.Generator
) -> Item:
    price = kind.base_price * brand.price_level
    if price < BUDGET_PRICE:
        price_band = "budget"
    elif price < PREMIUM_PRICE:
        price_band = "mid-range"
    else:
        price_band = "premium"
    return Item(
        item_id=f"item-{number:04d}",
        title=f"{brand.name} {style.name} {kind.name}",
        categories=(kind.department, kind.aisle),
        attributes={
            "brand": brand.name,
            "kind": kind.name,
            "style": style.name,
            "material": kind.materials[int(rng.integers(len(kind.materials)))],
            "color": COLORS[int(rng.integers(len(COLORS)))],
            "price_band": price_band,
        },
    )
