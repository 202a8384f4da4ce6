"""The rules of co-visitation."""

from __future__ import annotations

import math
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.retrieval.covisitation import (
    BACKWARD,
    FORWARD,
    HISTORY,
    NEIGHBORS,
    SEEDS,
    UNIT,
    WINDOW,
    Neighborhood,
    covisit_scores,
    distinct_newest,
    neighbors_in,
    pairs_of,
    prior,
    strongest,
)

items = st.integers(0, 30).map(str)
histories = st.lists(items, max_size=40).map(distinct_newest)


def test_an_older_item_leads_to_a_newer_one_twice_as_strongly_as_back() -> None:
    assert dict(pairs_of(["a", "b"])) == {
        ("a", "a"): 1,
        ("b", "b"): 1,
        ("a", "b"): UNIT,
        ("b", "a"): UNIT // 2,
    }


def test_closer_items_weigh_more_and_distant_ones_nothing() -> None:
    weights = dict(pairs_of([str(place) for place in range(WINDOW + 2)]))
    assert [weights["0", str(place)] for place in range(1, WINDOW + 1)] == list(FORWARD)
    assert list(FORWARD) == sorted(FORWARD, reverse=True)
    assert [2 * weight for weight in BACKWARD] == list(FORWARD), "halves of whole numbers"
    assert ("0", str(WINDOW + 1)) not in weights


def test_an_item_stands_where_it_was_taken_last() -> None:
    assert distinct_newest(["a", "b", "a", "c", "b"]) == ["a", "c", "b"]


def test_only_the_newest_items_of_a_long_history_count() -> None:
    history = [str(number) for number in range(HISTORY + 5)]
    assert distinct_newest(history) == history[5:]


@given(histories)
def test_the_neighbors_of_every_item_are_all_the_pairs(history: list[str]) -> None:
    pairs = {pair: weight for pair, weight in pairs_of(history) if pair[0] != pair[1]}
    found = {
        (item, other): weight
        for place, item in enumerate(history)
        for other, weight in neighbors_in(history, place)
    }
    assert found == pairs


@given(histories, histories)
def test_what_was_counted_can_be_taken_away_to_the_last_bit(
    before: list[str], after: list[str]
) -> None:
    counted: Counter[tuple[str, str]] = Counter()
    for history, sign in ((before, 1), (after, 1), (before, -1)):
        for pair, weight in pairs_of(history):
            counted[pair] += sign * weight
    assert {pair: weight for pair, weight in counted.items() if weight} == dict(pairs_of(after))


def test_the_newest_item_counts_most_and_a_rare_one_more_than_a_common_one() -> None:
    around = {
        "a": Neighborhood(1, [("x", UNIT)]),
        "b": Neighborhood(1, [("y", UNIT)]),
        "c": Neighborhood(4, [("z", UNIT)]),
    }
    assert covisit_scores(["a", "b"], around) == pytest.approx({"x": 1.0, "y": 0.8})
    assert covisit_scores(["a", "c"], around)["z"] == pytest.approx(0.8 / 2)
    assert covisit_scores([str(number) for number in range(SEEDS)] + ["a"], around) == {}


def test_neighborhoods_keep_the_strongest_equal_ones_by_id() -> None:
    many = {f"{number:04}": 1.0 for number in range(NEIGHBORS + 5)} | {"z": 2.0}
    kept = strongest(many)
    assert len(kept) == NEIGHBORS
    assert [item for item, _ in kept[:3]] == ["z", "0000", "0001"]


@given(st.floats(0, 100), st.integers(0, 1000), st.integers(0, 10**6))
def test_every_item_has_a_finite_prior(score: float, users: int, more: int) -> None:
    assert math.isfinite(prior(score, users, users + more))


def test_a_prior_grows_with_co_visits_and_with_popularity() -> None:
    assert prior(0.1, 0, 100) > prior(0.0, 0, 100)
    assert prior(0.0, 5, 100) > prior(0.0, 4, 100)
