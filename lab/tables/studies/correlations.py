"""Rank correlations of rows that belong to users: what may be concluded from them, and what chance
alone would give."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lab.statistics import Estimate, estimate, mean_ranks, spearman

SHUFFLES, DRAWS = 2_000, 1_000
LEAST_PAIRS = 3

Pairs = Sequence[tuple[float, float]]


@dataclass(frozen=True, slots=True)
class WithinUsers:
    """The mean over users of each one's rank correlation. `null` is the same with one side shuffled
    within each user, over many shuffles; `null_error` the standard error of the mean if ranks were
    chance, which needs no shuffle: 1 / (n - 1) is the variance of n ranks, tied or not."""

    found: Estimate
    null: Estimate
    null_error: float
    p: float
    users: int


def within_users(by_user: Mapping[str, Pairs], *, seed: int = 0) -> WithinUsers | None:
    """Of users with pairs enough; one whose values do not differ counts as 0. None: of nobody."""
    known = [
        np.asarray(pairs, dtype=np.float64)
        for pairs in by_user.values()
        if len(pairs) >= LEAST_PAIRS
    ]
    if not known:
        return None
    found = [spearman(*pairs.T) for pairs in known]
    rng = np.random.default_rng(seed)
    telling = [one for one in known if np.ptp(one[:, 0]) > 0 and np.ptp(one[:, 1]) > 0]
    shuffled = sum((_shuffled(one, rng) for one in telling), np.zeros(SHUFFLES)) / len(known)
    # Ranks of a few texts give few values: equal ones must count as equal.
    beyond = int((np.abs(shuffled) >= abs(float(np.mean(found))) - 1e-9).sum())
    low, high = np.quantile(shuffled, (0.025, 0.975))
    return WithinUsers(
        estimate(found),
        Estimate(float(shuffled.mean()), float(low), float(high)),
        math.sqrt(sum(1 / (len(one) - 1) for one in telling)) / len(known),
        (beyond + 1) / (SHUFFLES + 1),
        len(known),
    )


def _shuffled(pairs: NDArray[np.float64], rng: np.random.Generator) -> NDArray[np.float64]:
    """Of one user: the rank correlation with one side in random order, again and again."""
    one, other = (_standardized(values) for values in pairs.T)
    found: NDArray[np.float64] = rng.permuted(np.tile(one, (SHUFFLES, 1)), axis=1) @ other
    return found


def _standardized(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Ranks, so that the product of two is their correlation."""
    ranks = mean_ranks(values) - (len(values) + 1) / 2
    standardized: NDArray[np.float64] = ranks / np.linalg.norm(ranks)
    return standardized


def across_users(by_user: Mapping[str, Pairs], *, seed: int = 0) -> Estimate | None:
    """One rank correlation of all pairs; the interval by bootstrap over users, whose pairs stay
    together. None where one side is the same everywhere, or users are too few."""
    groups = [np.asarray(pairs, dtype=np.float64) for pairs in by_user.values() if len(pairs)]
    if len(groups) < LEAST_PAIRS:
        return None
    whole = np.concatenate(groups)
    if np.ptp(whole[:, 0]) == 0 or np.ptp(whole[:, 1]) == 0:
        return None
    rng = np.random.default_rng(seed)
    drawn = []
    for _ in range(DRAWS):
        chosen = rng.integers(0, len(groups), len(groups))
        drawn.append(spearman(*np.concatenate([groups[one] for one in chosen]).T))
    low, high = np.quantile(drawn, (0.025, 0.975))
    return Estimate(spearman(*whole.T), float(low), float(high))
