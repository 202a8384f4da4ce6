"""Truthful demonstrations from titles alone: which terms come up again in what a user chose."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from services.demonstrations.demonstration import Demonstration, Example

PREFERENCES = (
    "Likes {terms}.",
    "Mostly {terms}.",
    "Keeps coming back to {terms}.",
    "Often chooses {terms}.",
    "Interested in {terms}.",
    "The choices show {terms}.",
)
SUGGESTIONS = (
    "Look for more of {terms}.",
    "Something with {terms} is likely.",
    "Next may well be {terms}.",
    "Expect {terms}.",
)
# With titles that others chose beside these.
NAMING = (
    "Next may well be {titles}.",
    "{titles} would fit, or more of {terms}.",
    "Look for {terms}, such as {titles}.",
)
REASONS = (
    "it is {terms}, as before",
    "{terms} came up before",
    "the user likes {terms}",
    "it goes with {terms}",
)
MOST_TERMS, MOST_EVIDENCE, MOST_NAMED = 6, 4, 4
NAMES_LENGTH = 160  # characters of a sentence, for its other words have room beside them


@dataclass(frozen=True)
class Chosen:
    """An item as a prompt shows it, and what its title says."""

    title: str
    terms: tuple[str, ...]


def describe(
    chosen: Sequence[Chosen], rng: np.random.Generator, beside: Sequence[Chosen] = ()
) -> Demonstration:
    """Of at least two choices, oldest first. Words are drawn; what they say is true. `beside`: what
    others chose with these, the best first."""
    liked = _liked(chosen, rng)
    worth = np.array([len(set(one.terms) & set(liked)) for one in chosen], dtype=float)
    size = min(int(rng.integers(1, MOST_EVIDENCE + 1)), len(chosen))
    shown = np.sort(np.argsort(-(worth + 0.8 * rng.random(len(chosen))))[:size])
    few = liked[: int(rng.integers(1, 4))]
    return Demonstration(
        preference=_said(PREFERENCES, liked, rng),
        evidence=tuple(dict.fromkeys(chosen[int(place)].title for place in shown)),
        suggestion=_naming(beside, rng) if beside else _said(SUGGESTIONS, few, rng),
        example=_example(chosen, worth, liked, rng),
    )


def _liked(chosen: Sequence[Chosen], rng: np.random.Generator) -> list[str]:
    """Those of several choices first; among equals the newer ones, with some luck."""
    weights: defaultdict[str, float] = defaultdict(float)
    for age, one in enumerate(reversed(chosen)):
        for term in one.terms:
            # Two words say more than one.
            weights[term] += 1 + 0.3 * (" " in term) + 0.5 / (1 + age) + 0.3 * rng.random()
    found: list[str] = []
    for term in sorted(weights, key=weights.__getitem__, reverse=True):
        # "Mario Kart" says "Mario" as well.
        if not any(term in other or other in term for other in found):
            found.append(term)
        if len(found) == MOST_TERMS:
            break
    return found or ["things like these"]


def _example(
    chosen: Sequence[Chosen],
    worth: NDArray[np.float64],
    liked: Sequence[str],
    rng: np.random.Generator,
) -> Example:
    places = [
        place
        for place in range(1, len(chosen))
        if chosen[place].title not in {one.title for one in chosen[max(0, place - 3) : place]}
    ]
    if not places:
        raise ValueError("a demonstration needs two choices that differ")
    place = max(places, key=lambda at: worth[at] + 1.2 * rng.random())
    size = min(int(rng.integers(1, 4)), place)
    shared = [term for term in chosen[place].terms if term in liked] or list(chosen[place].terms)
    return Example(
        after=tuple(one.title for one in chosen[place - size : place]),
        chose=chosen[place].title,
        because=_said(REASONS, shared[:2] or ["what came before"], rng),
    )


def _naming(beside: Sequence[Chosen], rng: np.random.Generator) -> str:
    """What these have in common, and mostly the first of them by name."""
    terms = _liked(beside, rng)[: int(rng.integers(1, 4))]
    if rng.random() < 0.15:
        return _said(SUGGESTIONS, terms, rng)
    titles = list(dict.fromkeys(one.title for one in beside))
    titles = titles[: int(rng.integers(2, MOST_NAMED + 1))]
    while len(titles) > 1 and sum(map(len, titles)) > NAMES_LENGTH:
        titles.pop()
    phrase = NAMING[int(rng.integers(len(NAMING)))]
    return phrase.format(titles=_listed(titles), terms=_listed(terms))


def _said(phrases: Sequence[str], terms: Sequence[str], rng: np.random.Generator) -> str:
    return phrases[int(rng.integers(len(phrases)))].format(terms=_listed(terms))


def _listed(words: Sequence[str]) -> str:
    return " and ".join((", ".join(words[:-1]), words[-1])) if len(words) > 1 else words[0]
