"""When a user gets a round that nobody asked for."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.errors import Conflict
from services.optimizer.occasions import Occasion, Standing, fell, occasion
from services.optimizer.rollback import Served, served_before

effects = st.lists(st.floats(0, 1), max_size=8)


def test_the_most_urgent_occasion_is_named() -> None:
    falling = {"before": [1.0, 0.9, 1.0], "since": [0.1, 0.2, 0.1]}
    assert occasion(Standing("u", True, 9, **falling), 3) is Occasion.STALE
    assert occasion(Standing("u", False, 9, **falling), 3) is Occasion.FELL
    assert occasion(Standing("u", False, 3), 3) is Occasion.OUTGROWN
    assert occasion(Standing("u", False, 2), 3) is None
    assert occasion(Standing("u", False, 99), 0) is None


@given(effects, effects)
def test_of_a_rise_and_a_fall_at_most_one_is_seen(one: list[float], other: list[float]) -> None:
    assert not (fell(one, other) and fell(other, one))
    assert not fell(one, one)


@given(effects, st.lists(st.floats(0, 1), max_size=2))
def test_of_few_answers_nothing_is_said(many: list[float], few: list[float]) -> None:
    assert not fell(many, few)
    assert not fell(few, many)


def by_round(*names: str | None) -> list[Served]:
    return [Served(name, "round") for name in names]


def test_what_was_rolled_back_does_not_count_as_served_before() -> None:
    assert served_before(by_round("a")) is None
    assert served_before(by_round("a", "b")) == "a"
    back = [*by_round("a", "b"), Served("a", "rollback")]
    assert served_before(back) is None
    assert served_before([*back, Served("c", "round")]) == "a"
    assert served_before(by_round("a", None)) == "a"  # zero-shot had become the best
    aside = [*by_round("a"), Served("never-served", "rollback")]
    assert served_before(aside) == "a"


@pytest.mark.parametrize("served", [[], [*by_round("a"), Served(None, "rollback")]])
def test_from_zero_shot_as_at_the_beginning_no_way_leads_back(served: list[Served]) -> None:
    with pytest.raises(Conflict, match="zero-shot"):
        served_before(served)
