"""What may be concluded from figures of users: intervals and paired tests, clustered by user."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

DRAWS = 10_000
_AT_ONCE = 500


@dataclass(frozen=True, slots=True)
class Estimate:
    """A mean with its 95 % interval, by bootstrap."""

    mean: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Comparison:
    """The mean difference of pairs with its 95 % interval; `p` is two-sided."""

    difference: float
    low: float
    high: float
    p: float


def estimate(values: ArrayLike, *, draws: int = DRAWS, seed: int = 0) -> Estimate:
    given = np.asarray(values, dtype=np.float64)
    means = _resampled_means(given, draws, seed)
    low, high = np.quantile(means, (0.025, 0.975))
    return Estimate(float(given.mean()), float(low), float(high))


def paired_bootstrap(
    one: ArrayLike, other: ArrayLike, *, draws: int = DRAWS, seed: int = 0
) -> Comparison:
    """Of `one` over `other`, each by user and in the same order.

    p is that of the percentile interval: twice the share of draws beyond zero, and never less than
    so many draws can tell.
    """
    differences = np.asarray(one, dtype=np.float64) - np.asarray(other, dtype=np.float64)
    means = _resampled_means(differences, draws, seed)
    low, high = np.quantile(means, (0.025, 0.975))
    beyond = min(int((means <= 0).sum()), int((means >= 0).sum()))
    return Comparison(
        float(differences.mean()), float(low), float(high), min(1.0, 2 * (beyond + 1) / (draws + 1))
    )


def spearman(one: ArrayLike, other: ArrayLike) -> float:
    """Rank correlation, ties at their mean rank; 0 where one side tells nothing apart."""
    mine, theirs = (mean_ranks(np.asarray(values, dtype=np.float64)) for values in (one, other))
    if np.ptp(mine) == 0 or np.ptp(theirs) == 0:
        return 0.0
    return float(np.corrcoef(mine, theirs)[0, 1])


def mean_ranks(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """From 1, the least first; ties share the mean of their ranks."""
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    ranks: NDArray[np.float64] = (last - (counts - 1) / 2)[inverse]
    return ranks


def _resampled_means(values: NDArray[np.float64], draws: int, seed: int) -> NDArray[np.float64]:
    rng = np.random.default_rng(seed)
    size = len(values)
    means = np.empty(draws)
    for begin in range(0, draws, _AT_ONCE):
        end = min(draws, begin + _AT_ONCE)
        means[begin:end] = values[rng.integers(0, size, (end - begin, size))].mean(axis=1)
    return means
