"""What is expected of a demonstration: what others have gained."""

from __future__ import annotations

from typing import Any

import pytest

from services.optimizer.expectation import FEWEST, NEWEST_TEXTS, expected_of
from services.optimizer.rules import Kind

Told = tuple[Kind, float, float]  # with Effect_D and log-score


def outcome(*paths: Told) -> dict[str, Any]:
    written = [
        {"written": True, "kind": kind, "effect_d": effect_d, "log_score": log_score}
        for kind, effect_d, log_score in paths
    ]
    return {
        "zero_shot": {"effect_d": 0.2, "log_score": -3.0},
        "paths": [*written, {"written": False}],
    }


def test_the_mean_gain_over_zero_shot_of_each_kind_is_expected() -> None:
    told = [outcome((Kind.SINGLE, 0.3, -2.0), (Kind.PAIR, 0.6, -1.0))] * FEWEST
    expected = expected_of([*told, outcome(*[(Kind.SINGLE, 0.2, -3.0)] * FEWEST)])
    assert expected is not None
    assert expected.single.effect_d == pytest.approx(0.05)
    assert expected.single.log_score == pytest.approx(0.5)
    assert expected.pair.effect_d == pytest.approx(0.4)
    assert expected.pair.log_score == pytest.approx(2.0)


def test_less_may_be_expected_of_what_was_written_under_a_perturbation() -> None:
    told = outcome((Kind.PAIR, 0.6, -1.0), (Kind.PERTURBED, 0.3, -2.5))
    expected = expected_of([told] * FEWEST)
    assert expected is not None
    assert expected.of(Kind.PERTURBED).log_score == pytest.approx(0.5)
    assert expected.of(Kind.PAIR).log_score == pytest.approx(2.0)


def test_of_a_kind_that_hardly_anybody_has_as_much_is_expected_as_of_the_other() -> None:
    few = outcome((Kind.PAIR, 0.9, -0.1))
    expected = expected_of([few, *[outcome((Kind.SINGLE, 0.3, -2.0))] * FEWEST])
    assert expected is not None
    assert expected.pair == expected.perturbed == expected.single
    assert expected.single.log_score == pytest.approx(1.0)


def test_single_texts_are_not_expected_to_gain_what_pairs_of_winners_do() -> None:
    told = outcome((Kind.PAIR, 0.6, -1.0), (Kind.PERTURBED, 0.1, -3.5))
    expected = expected_of([told] * FEWEST)
    assert expected is not None
    assert expected.single == expected.perturbed
    assert expected.single.log_score == pytest.approx(-0.5)


def test_a_kind_that_newer_rounds_do_not_write_is_remembered() -> None:
    newer = [outcome(*[(Kind.PAIR, 0.6, -1.0)] * 3)] * NEWEST_TEXTS
    older = [outcome((Kind.SINGLE, 0.2, -3.2), (Kind.PAIR, 0.2, -9.0))] * FEWEST
    expected = expected_of([*newer, *older])
    assert expected is not None
    assert expected.single.log_score == pytest.approx(-0.2)
    assert expected.pair.log_score == pytest.approx(2.0)  # the newest are many enough


def test_from_a_few_texts_nothing_is_expected() -> None:
    assert expected_of([outcome((Kind.SINGLE, 0.9, -0.1))] * (FEWEST - 1)) is None
    assert expected_of([]) is None
