from __future__ import annotations

from collections.abc import Iterator
from itertools import islice

import numpy as np

from lab.mini.moments import (
    TAUGHT_USERS,
    WATCHED_USERS,
    Moment,
    candidates_of,
    taught_moments,
    without_favorites,
)
from lab.shop.taste import EVALUATION_USERS, SHIPPED_USERS, Shop


def test_nobody_who_is_evaluated_on_is_taught_on(moments: Iterator[Moment]) -> None:
    apart = (SHIPPED_USERS, EVALUATION_USERS, WATCHED_USERS)
    for moment in islice(moments, 300):
        assert moment.life.number in TAUGHT_USERS
        assert not any(moment.life.number in users for users in apart)


def test_candidates_are_the_chosen_item_among_items_never_taken(
    moments: Iterator[Moment], rng: np.random.Generator
) -> None:
    for moment in islice(moments, 50):
        shown = candidates_of(moment, 50, rng, hard=0.5)
        assert len(set(shown.tolist())) == 50
        assert set(shown.tolist()) & set(moment.life.items.tolist()) == {moment.chosen}


def test_hard_negatives_are_nearer_to_the_users_taste(
    moments: Iterator[Moment], rng: np.random.Generator
) -> None:
    some = list(islice(moments, 50))

    def mean(hard: float) -> float:
        return float(
            np.mean([one.utilities[candidates_of(one, 20, rng, hard)].mean() for one in some])
        )

    assert mean(0.5) > mean(0.0) + 1


def test_without_favorites_only_taste_tells_items_apart(
    shop: Shop, rng: np.random.Generator
) -> None:
    moment = next(taught_moments(without_favorites(shop), rng))
    liked = np.isin(shop.catalog.item_values, moment.life.liked_at(moment.position))
    for pattern in np.unique(liked, axis=0):
        same = moment.utilities[(liked == pattern).all(axis=1)]
        assert np.allclose(same, same[0])
