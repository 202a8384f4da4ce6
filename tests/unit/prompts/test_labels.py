"""What labels and orders promise to those who read probabilities at them."""

from __future__ import annotations

import re
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.prompts import LABELS, MOST_CANDIDATES, in_candidate_order, labels_for, permutation

sizes = st.integers(min_value=0, max_value=MOST_CANDIDATES)
seeds = st.integers(min_value=-(2**63), max_value=2**63)


def test_there_are_128_different_labels_of_two_capitals() -> None:
    assert len(set(LABELS)) == MOST_CANDIDATES == 128
    assert all(re.fullmatch("[A-Z]{2}", label) for label in LABELS)


def test_no_label_is_an_everyday_word() -> None:
    words = "AM AN AS AT BE BY DO GO HE HI IF IN IS IT ME MY NO OF OK ON OR SO TO UP US WE TV PC UK"
    assert not set(words.split()) & set(LABELS)


def test_neighboring_labels_do_not_look_alike() -> None:
    fifty = labels_for(50)
    assert all(one[0] != other[0] and one[1] != other[1] for one, other in pairwise(fifty))


def test_fewer_candidates_have_the_same_first_labels() -> None:
    assert labels_for(3) == labels_for(50)[:3] == LABELS[:3]
    assert labels_for(2, ("AA", "BB", "CC")) == ("AA", "BB")


def test_more_candidates_than_labels_are_refused() -> None:
    with pytest.raises(ValueError, match="129 candidates, but only 128 labels"):
        labels_for(MOST_CANDIDATES + 1)


@given(sizes, seeds, st.integers(min_value=0, max_value=100))
def test_a_permutation_shows_every_candidate_once(size: int, seed: int, number: int) -> None:
    order = permutation(size, seed=seed, number=number)
    assert sorted(order) == list(range(size))
    assert order == permutation(size, seed=seed, number=number)


def test_permutations_are_the_same_on_every_machine() -> None:
    assert permutation(8, seed=7) == (2, 4, 5, 7, 1, 6, 0, 3)
    assert permutation(8, seed=7, number=1) == (0, 1, 2, 4, 3, 5, 7, 6)
    assert permutation(8, seed=8) != permutation(8, seed=7)


@given(sizes, seeds)
def test_values_by_place_come_back_by_candidate(size: int, seed: int) -> None:
    order = permutation(size, seed=seed)
    assert in_candidate_order(order, order) == list(range(size))
