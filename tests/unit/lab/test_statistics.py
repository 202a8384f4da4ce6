from __future__ import annotations

import numpy as np
import pytest

from lab.metrics import ndcg, random_ndcg, recall
from lab.statistics import estimate, paired_bootstrap, spearman


def test_an_interval_holds_the_mean_and_narrows_with_users() -> None:
    rng = np.random.default_rng(0)
    few, many = (estimate(rng.normal(1, 1, size)) for size in (50, 5000))
    for one in (few, many):
        assert one.low < one.mean < one.high
    assert many.high - many.low < (few.high - few.low) / 5


def test_a_difference_is_told_from_none() -> None:
    rng = np.random.default_rng(1)
    base = rng.normal(0, 1, 400)
    assert paired_bootstrap(base + rng.normal(0.3, 1, 400), base).p < 0.01
    assert paired_bootstrap(base + rng.normal(0.0, 1, 400), base).p > 0.05
    assert paired_bootstrap(base, base).p == pytest.approx(1)


def test_under_no_difference_p_is_spread_evenly() -> None:
    rng = np.random.default_rng(2)
    small = [
        paired_bootstrap(rng.normal(0, 1, 200), rng.normal(0, 1, 200), draws=400).p < 0.1
        for _ in range(200)
    ]
    assert 0.04 < np.mean(small) < 0.17


def test_spearman_ranks_and_minds_ties() -> None:
    assert spearman([1, 2, 3, 4], [10, 20, 25, 90]) == pytest.approx(1)
    assert spearman([1, 2, 3, 4], [4, 3, 2, 1]) == pytest.approx(-1)
    assert spearman([1, 2, 2, 3], [1, 2, 2, 3]) == pytest.approx(1)
    assert spearman([1, 1, 1], [1, 2, 3]) == 0


def test_what_a_rank_is_worth() -> None:
    assert [ndcg(rank, 10) for rank in (1, 3, 11)] == [1, 0.5, 0]
    assert [recall(rank, 10) for rank in (10, 11)] == [1, 0]
    assert random_ndcg(50, 10) == pytest.approx(0.0909, abs=1e-4)
