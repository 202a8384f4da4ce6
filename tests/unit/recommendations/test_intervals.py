"""Intervals clustered by user: as a bootstrap over users finds them, and as wide as they claim."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from services.recommendations.intervals import Ratio, student

Figures = tuple[NDArray[np.float64], NDArray[np.int64]]


def users(count: int, rng: np.random.Generator, *, rate: float = 0.3) -> Figures:
    """Each with lists of their own number, and a taste for answering that all of them share."""
    sizes = rng.geometric(0.2, count)
    tastes = rng.beta(2 * rate, 2 * (1 - rate), count)
    return rng.binomial(sizes, tastes).astype(np.float64), sizes


def ratio(figures: Figures) -> Ratio:
    found = Ratio.of(figures[0].tolist(), figures[1].tolist())
    assert found is not None
    return found


def resampled(figures: Figures, rng: np.random.Generator, draws: int = 4000) -> NDArray[np.float64]:
    """By brute force: whole users are drawn, with all their lists."""
    totals, sizes = figures
    drawn = rng.integers(0, len(sizes), (draws, len(sizes)))
    means: NDArray[np.float64] = totals[drawn].sum(axis=1) / sizes[drawn].sum(axis=1)
    return means


@pytest.mark.parametrize("count", [60, 400])
@pytest.mark.parametrize("seed", range(3))
def test_an_interval_is_what_a_bootstrap_over_users_finds(count: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    figures = users(count, rng)
    found = ratio(figures).estimate()
    low, high = np.quantile(resampled(figures, rng), (0.025, 0.975))
    assert found.low is not None
    assert found.high is not None
    width = high - low
    assert found.low == pytest.approx(low, abs=0.1 * width)
    assert found.high == pytest.approx(high, abs=0.1 * width)


def test_a_difference_is_what_a_bootstrap_over_the_users_of_both_arms_finds() -> None:
    rng = np.random.default_rng(7)
    one, other = users(300, rng, rate=0.35), users(150, rng)
    found = ratio(one).over(ratio(other))
    differences = resampled(one, rng) - resampled(other, rng)
    low, high = np.quantile(differences, (0.025, 0.975))
    assert found.mean == pytest.approx(ratio(one).mean - ratio(other).mean)
    assert found.low == pytest.approx(low, abs=0.1 * (high - low))
    assert found.high == pytest.approx(high, abs=0.1 * (high - low))


@pytest.mark.parametrize("count", [50, 200])
def test_nineteen_of_twenty_intervals_hold_the_truth(count: int) -> None:
    rng = np.random.default_rng(3)
    held = 0
    for _ in range(1000):
        found = ratio(users(count, rng)).estimate()
        assert found.low is not None
        assert found.high is not None
        held += found.low <= 0.3 <= found.high
    assert 925 <= held <= 970


def test_lists_of_one_user_are_not_taken_for_lists_of_many() -> None:
    """As if every list were somebody else's, the interval would be far too narrow."""
    one_each = Ratio.of([1.0, 0.0] * 50, [1] * 100)
    all_of_ten = Ratio.of([10.0, 0.0] * 5, [10] * 10)
    assert one_each is not None
    assert all_of_ten is not None
    assert all_of_ten.variance > 5 * one_each.variance


def test_where_nothing_can_be_said_nothing_is() -> None:
    assert Ratio.of([], []) is None
    alone = Ratio.of([1.0], [2])
    alike = Ratio.of([0.0] * 9, [3] * 9)
    differing = Ratio.of([1.0, 0.0, 0.0], [1, 1, 1])
    assert alone is not None
    assert alike is not None
    assert differing is not None
    assert (alone.estimate().mean, alone.estimate().low) == (0.5, None)
    assert (alike.estimate().mean, alike.estimate().high) == (0.0, None)
    assert differing.over(alike).low is None


def test_no_interval_leaves_what_a_rate_can_be() -> None:
    found = Ratio.of([1.0, 0.0], [1, 1])
    assert found is not None
    assert (found.estimate().low, found.estimate().high) == (0.0, 1.0)


@pytest.mark.parametrize(
    ("freedom", "quantile"), [(5, 2.5706), (10, 2.2281), (30, 2.0423), (120, 1.9799), (1e9, 1.96)]
)
def test_students_quantile_is_that_of_the_tables(freedom: float, quantile: float) -> None:
    assert student(freedom) == pytest.approx(quantile, rel=1.5e-3)
