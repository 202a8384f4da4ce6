"""Optima of landscapes that are known."""

from __future__ import annotations

import pytest

from lab.tables.studies.collapse.landscape import Landscape, Place
from services.optimizer.rules import Judged
from tests.unit.lab.tables.studies.collapse.planted import planted


def height(place: Place, tops: dict[Place, float]) -> float:
    """Each step away from a top costs one."""
    return max(
        top - sum(mine != other for mine, other in zip(place, at, strict=True))
        for at, top in tops.items()
    )


def test_a_lower_top_is_an_optimum_only_if_the_slope_of_the_higher_one_ends_before_it() -> None:
    near: dict[Place, float] = {(0, 0, 0): 2.5, (1, 1, 1): 5.0}
    assert planted((2, 2, 2), lambda place: height(place, near)).optima == {(1, 1, 1)}
    far: dict[Place, float] = {(0, 0, 0): 3.5, (1, 1, 1): 5.0}
    land = planted((2, 2, 2), lambda place: height(place, far))
    assert land.optima == set(far)
    assert land.best == (1, 1, 1)


def test_a_trap_is_a_local_optimum_and_not_the_best() -> None:
    tops: dict[Place, float] = {(0, 0, 0): 3.0, (1, 1, 1): 5.0}
    land = planted((2, 2, 2), lambda place: tops.get(place, 0.0))
    assert land.optima == {(0, 0, 0), (1, 1, 1)}
    assert land.best == (1, 1, 1)
    assert land.is_stuck((0, 0, 0))
    assert not land.is_stuck((1, 1, 1))
    assert land.regret((0, 0, 0)) == pytest.approx(2.0)
    assert land.regret(land.best) == 0


def test_neighbors_differ_in_one_element() -> None:
    land = planted((2, 3), lambda _: 0.0)
    assert sorted(land.neighbors((0, 1))) == [(0, 0), (0, 2), (1, 1)]


def test_on_a_plain_every_place_is_a_local_optimum() -> None:
    land = planted((2, 2), lambda _: 1.0)
    assert land.optima == set(land.places)


def test_a_gain_within_the_noise_or_at_a_cost_in_rank_takes_no_place() -> None:
    flat = {(0,): [(5, -2.0), (5, -2.0)]}
    noisy = {(1,): [(5, -1.0), (5, -2.9)]}  # .05 better, of which the noise is .95
    costly = {(2,): [(6, -1.0), (5, -1.0)]}
    better = {(3,): [(5, -1.9), (5, -1.9)]}
    judged: dict[Place, list[Judged]] = {
        place: [Judged(event, 0, *found) for event, found in zip("ab", both, strict=True)]
        for place, both in (flat | noisy | costly | better).items()
    }
    texts = {place: str(place) for place in judged}
    land = Landscape("ada", texts, judged, judged[0,], "a", z=0.5)
    assert [place for place in land.places if land.takes(place, (0,))] == [(3,)]


def test_effective_places_are_those_of_the_products_memory() -> None:
    judged: dict[Place, list[Judged]] = {
        (0,): [Judged("new", 0, 2, -1.0), Judged("old", 0, 40, -4.0)],
        (1,): [Judged("new", 0, 9, -1.0), Judged("old", 0, 1, -0.1)],
    }
    bare = [Judged("new", 0, 3, -2.0), Judged("old", 0, 3, -2.0)]
    land = Landscape("ada", {(0,): "a", (1,): "b"}, judged, bare, "new", z=0.5)
    assert land.effective == {(0,)}
