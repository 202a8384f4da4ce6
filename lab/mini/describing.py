"""Truthful demonstrations: what a list of past choices shows, said in one of many ways."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from lab.shop.catalog import Catalog
from services.demonstrations.demonstration import Demonstration, Example

# {k}, {b}, {s}: lists of kinds, brands, styles. A brand, a style and a kind never stand in a row,
# in this order: that would read as the title of an item which may not exist.
PREFERENCES = (
    "Likes {k}; brands {b}; {s} style.",
    "Mostly {k}, by {b}, in {s} style.",
    "Often chooses {k}. Favors {b} and the styles {s}.",
    "Prefers {s} things by {b}, above all {k}.",
    "Keeps coming back to {k}, to {b}, and to {s} designs.",
    "Drawn to {s} designs; brands {b}; buys {k}.",
    "Fond of {b}; chooses {s} over other styles; kinds {k}.",
    "The choices show {k}, made by {b}, and a taste for {s}.",
    "Brands {b} come first, then {s} looks; usual kinds are {k}.",
    "Interested in {k}. Usual brands: {b}. Usual styles: {s}.",
)
SUGGESTIONS = (
    "Look for {k} by {b} in {s} style.",
    "Another of {k}, or anything {s} by {b}, would fit.",
    "Next may well be {k}, or {s} items by {b}.",
    "Try {b} first, then {s} designs of {k}.",
    "Something {s} by {b} is likely; so are {k}.",
    "Expect more of {k}, with {s} style and {b} preferred.",
    "Put {s} items by {b} ahead, {k} most of all.",
)
REASONS = (
    "it is {words}, as before",
    "the user likes {words}",
    "{words} come up again and again",
    "{words} are what this user looks for",
    "it shows {words}",
    "of a taste for {words}",
)
MOST_NAMED = (4, 3, 3)  # kinds, brands, styles


def describe(
    catalog: Catalog, items: Sequence[int] | NDArray[np.int64], rng: np.random.Generator
) -> Demonstration:
    """A demonstration of these choices, oldest first, of which there are at least two.

    What is named, in which words and by which evidence is drawn; all of it is true.
    """
    chosen = np.asarray(items, dtype=np.int64)
    liked = _most_frequent(catalog, chosen, rng)
    worth = np.isin(catalog.item_values[chosen], np.concatenate(liked)).sum(axis=1)
    titles = [catalog.items[int(item)].title for item in chosen]
    size = min(int(rng.integers(2, 5)), len(chosen))
    # The items that show most of it, with some luck; named oldest first.
    best = np.sort(np.argsort(-(worth + 0.8 * rng.random(len(chosen))))[:size])
    words = [[catalog.values[int(value)] for value in axis] for axis in liked]
    few = [axis[: int(rng.integers(1, 3))] for axis in words]
    return Demonstration(
        preference=_filled(PREFERENCES, words, rng),
        evidence=tuple(dict.fromkeys(titles[int(place)] for place in best)),
        suggestion=_filled(SUGGESTIONS, few, rng),
        example=_example(catalog, chosen, worth, np.concatenate(liked), rng),
    )


def _most_frequent(
    catalog: Catalog, chosen: NDArray[np.int64], rng: np.random.Generator
) -> list[NDArray[np.int64]]:
    counts = np.bincount(catalog.item_values[chosen].ravel(), minlength=len(catalog.values))
    liked = []
    for (begin, end), most in zip(pairwise(catalog.axis_starts), MOST_NAMED, strict=True):
        axis = counts[begin:end]
        order = np.argsort(-(axis + 0.5 * rng.random(len(axis))))
        size = most if rng.random() < 0.6 else int(rng.integers(max(1, most - 2), most + 1))
        named = order[: min(size, int((axis > 0).sum()))]
        # Once is chance, unless nothing came twice.
        often = named[axis[named] > 1]
        liked.append(begin + (often if len(often) else named[:1]))
    return liked


def _example(
    catalog: Catalog,
    chosen: NDArray[np.int64],
    worth: NDArray[np.int64],
    liked: NDArray[np.int64],
    rng: np.random.Generator,
) -> Example:
    titles = [catalog.items[int(item)].title for item in chosen]
    place = 1 + int(np.argmax(worth[1:] + 1.2 * rng.random(len(chosen) - 1)))
    size = min(int(rng.integers(1, 4)), place)
    values = catalog.item_values[chosen[place]]
    shared = [catalog.values[int(value)] for value in values if value in liked]
    if not shared:
        shared = [catalog.values[int(values[int(rng.integers(3))])]]
    return Example(
        after=tuple(titles[place - size : place]),
        chose=titles[place],
        because=REASONS[int(rng.integers(len(REASONS)))].format(words=_listed(shared)),
    )


def _filled(phrases: Sequence[str], words: list[list[str]], rng: np.random.Generator) -> str:
    phrase = phrases[int(rng.integers(len(phrases)))]
    return phrase.format(**{key: _listed(axis) for key, axis in zip("kbs", words, strict=True)})


def _listed(words: Sequence[str]) -> str:
    return " and ".join((", ".join(words[:-1]), words[-1])) if len(words) > 1 else words[0]
