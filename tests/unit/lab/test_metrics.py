from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lab.metrics import auc, gauc_parts, ndcg, random_ndcg, recall
from services.ranking.effect import effect_d


def counted_auc(scores: list[float], relevant: list[bool]) -> float:
    pairs = [
        (good, bad)
        for good, wanted in zip(scores, relevant, strict=True)
        for bad, unwanted in zip(scores, relevant, strict=True)
        if wanted and not unwanted
    ]
    return sum(1.0 if good > bad else 0.5 if good == bad else 0.0 for good, bad in pairs) / len(
        pairs
    )


SHOWN = st.lists(st.tuples(st.integers(-3, 3), st.booleans()), min_size=2, max_size=40).filter(
    lambda shown: len({relevant for _, relevant in shown}) == 2
)


@given(SHOWN)
def test_auc_is_the_share_of_pairs_in_order_ties_counting_half(
    shown: list[tuple[int, bool]],
) -> None:
    scores, relevant = [float(score) for score, _ in shown], [wanted for _, wanted in shown]
    assert auc(scores, relevant) == pytest.approx(counted_auc(scores, relevant))


@given(st.lists(SHOWN, min_size=1, max_size=8))
def test_gauc_weights_users_by_the_candidates_they_were_shown(
    users: list[list[tuple[int, bool]]],
) -> None:
    aucs = [
        counted_auc([float(score) for score, _ in shown], [wanted for _, wanted in shown])
        for shown in users
    ]
    sizes = [len(shown) for shown in users]
    by_hand = sum(a * n for a, n in zip(aucs, sizes, strict=True)) / sum(sizes)
    assert math.fsum(gauc_parts(aucs, sizes)) / len(users) == pytest.approx(by_hand)


@pytest.mark.parametrize("relevant", [[True, True], [False, False]])
def test_auc_needs_both_kinds(relevant: list[bool]) -> None:
    with pytest.raises(ValueError, match="AUC needs"):
        auc([1.0, 2.0], relevant)


def test_only_effect_d_looks_beyond_the_cutoff() -> None:
    assert (effect_d(1), effect_d(3)) == (1.0, 0.5)
    assert ndcg(10, 10) == effect_d(10)
    assert (ndcg(11, 10), recall(11, 10), recall(10, 10)) == (0.0, 0.0, 1.0)
    assert effect_d(11) > 0
    assert random_ndcg(50, 10) == pytest.approx(0.0909, abs=1e-4)
