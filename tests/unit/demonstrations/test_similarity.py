from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.demonstrations.similarity import mean_pairwise, profile, similarity


@given(st.text(min_size=1), st.text(min_size=1))
def test_it_is_a_symmetric_share(one: str, other: str) -> None:
    forth = similarity(profile(one), profile(other))
    assert 0 <= forth <= 1
    assert forth == pytest.approx(similarity(profile(other), profile(one)))


def test_more_in_common_is_more_alike() -> None:
    text = profile("Likes tents by Nordvik, in rustic style.")
    assert similarity(text, profile("likes  TENTS by Nordvik, in rustic style.")) == pytest.approx(
        1
    )
    near = similarity(text, profile("Likes tents by Nordvik, in modern style."))
    far = similarity(text, profile("Buys silk scarves of Ravello."))
    assert 0.6 < near < 1
    assert far < 0.3
    assert mean_pairwise(["a b c", "a b c", "x y z"]) == pytest.approx(1 / 3)
