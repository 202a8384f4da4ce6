"""Paths on planted landscapes."""

from __future__ import annotations

import random

from hypothesis import given
from hypothesis import strategies as st

from lab.tables.studies.collapse.landscape import Landscape, Place
from lab.tables.studies.collapse.trials import (
    PDO1,
    RANDOM,
    as_many,
    perturbed_arm,
    trials,
    unperturbed_arm,
)
from lab.tables.studies.collapse.walks import Walk, Walked, combined, random_search, walk
from services.optimizer.plan import Plan
from tests.unit.lab.tables.studies.collapse.planted import planted

COLLAPSE = Plan().collapse
SEEDS = range(20)


def halves(place: Place) -> float:
    """Each half is good as a whole only, and both together are best: from one good half no single
    step leads on."""
    left, right = place[:2] == (1, 1), place[2:] == (1, 1)
    return 1.0 * left + 1.0 * right - 0.1 * sum(place) * (not (left and right))


TRAP = planted((2, 2, 2, 2), halves)
STARTS = [(1, 1, 0, 0), (0, 0, 1, 1)]


def walked(seed: int, *, perturbed: bool, land: Landscape = TRAP) -> Walked:
    return walk(land, Walk(2, 20, perturbed, COLLAPSE, seed), STARTS)


def test_both_starts_are_traps_and_their_combination_is_the_best() -> None:
    assert all(TRAP.is_stuck(place) for place in STARTS)
    assert TRAP.best == (1, 1, 1, 1)


def test_out_of_a_planted_trap_only_perturbation_leads() -> None:
    for seed in SEEDS:
        alone = walked(seed, perturbed=False)
        assert alone.ends == tuple(STARTS)
        assert alone.perturbed.written == 0
    freed = [
        one
        for one in (walked(seed, perturbed=True) for seed in SEEDS)
        if one.served[-1] == TRAP.best
    ]
    # A combination is drawn: not every walk meets the one that leads out.
    assert len(freed) > len(SEEDS) / 2
    assert all(one.perturbed_when_stuck.accepted for one in freed)


def test_what_is_served_is_the_best_path_and_never_gets_worse() -> None:
    land = planted((3, 3, 3), lambda place: float(hash(place) % 17))
    for seed in SEEDS:
        found = walk(land, Walk(3, 15, True, COLLAPSE, seed))
        worth = [land.qualities[place].log_score for place in found.served]
        assert worth == sorted(worth)
        assert worth[-1] == max(land.qualities[place].log_score for place in found.ends)
        written = found.perturbed.written + found.others.written
        assert written == 3 * 14


def test_a_walk_is_the_same_again_and_both_arms_begin_alike() -> None:
    land = planted((3, 3, 3), lambda place: float(hash(place) % 17))
    one, again, other = (
        walk(land, Walk(3, 10, perturbed, COLLAPSE, 7)) for perturbed in (True, True, False)
    )
    assert one == again
    assert one.served[0] == other.served[0]


def test_one_path_has_nobody_to_be_perturbed_by() -> None:
    found = walk(TRAP, Walk(1, 20, True, COLLAPSE))
    assert found.perturbed.written == 0


def test_on_a_slope_paths_climb_to_the_top() -> None:
    land = planted((3, 3, 3), lambda place: float(sum(place)))
    assert land.optima == {(2, 2, 2)}
    ends = [walk(land, Walk(1, 80, False, COLLAPSE, seed)).served[-1] for seed in SEEDS]
    assert set(ends) == {(2, 2, 2)}


def test_random_search_finds_everything_when_it_has_seen_everything() -> None:
    found = random_search(TRAP, 20, seed=3)
    assert len(found) == 20
    assert found[15] == found[-1] == TRAP.best
    assert len({random_search(TRAP, 1, seed)[0] for seed in SEEDS}) > 1


@given(st.lists(st.integers(0, 3), min_size=4, max_size=4), st.integers(0, 999))
def test_a_combination_is_made_of_both_and_is_not_what_the_path_had(
    lent: list[int], seed: int
) -> None:
    own, other = (0, 1, 2, 3), tuple(lent)
    if own == other:
        return
    found = combined(own, other, random.Random(seed))
    assert found != own
    assert all(one in pair for one, pair in zip(found, zip(own, other, strict=True), strict=True))


def test_arms_are_compared_at_equal_numbers_of_texts() -> None:
    found = trials(TRAP, rounds=5, walks=4, collapses=[COLLAPSE])
    for paths in (2, 3, 4):
        texts = {
            name: found[name].paths * len(found[name].curve)
            for name in (
                perturbed_arm(paths, COLLAPSE.window), unperturbed_arm(paths),
                as_many(PDO1, paths), as_many(RANDOM, paths),
            )
        }  # fmt: skip
        assert set(texts.values()) == {5 * paths}, texts
    one = found[PDO1]
    assert one.curve == found[as_many(PDO1, 4)].curve[:5]
    assert 0 <= one.at_optimum <= 1
    assert one.regret >= 0
    assert found[as_many(RANDOM, 4)].at_optimum == 1  # 20 texts of 16
