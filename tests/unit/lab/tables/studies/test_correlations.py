"""Correlations that were planted are found, and chance is told from them."""

from __future__ import annotations

import numpy as np
import pytest

from lab.tables.studies.correlations import across_users, within_users

USERS, TEXTS = 60, 6


def planted(weight: float, seed: int = 0) -> dict[str, list[tuple[float, float]]]:
    """The test is so much of what was found on validation, the rest chance."""
    rng = np.random.default_rng(seed)
    found = {}
    for number in range(USERS):
        level = rng.normal() * 5  # users differ much more than their texts
        mine = rng.normal(size=TEXTS)
        theirs = weight * mine + (1 - weight) * rng.normal(size=TEXTS)
        found[f"u{number}"] = [
            (level + a, level + b) for a, b in zip(mine.tolist(), theirs.tolist(), strict=True)
        ]
    return found


def test_what_foretells_is_found_and_the_shuffled_null_is_near_zero() -> None:
    found = within_users(planted(0.8))
    assert found is not None
    assert found.found.low > 0.5
    assert abs(found.null.mean) < 0.03
    assert found.null.low < 0 < found.null.high
    assert found.null.high < found.found.low
    assert found.p < 0.01


def test_what_does_not_foretell_is_within_the_null_though_users_differ() -> None:
    """Pooled, users of different levels would correlate almost perfectly."""
    pairs = planted(0.0)
    found = within_users(pairs)
    assert found is not None
    assert found.null.low < found.found.mean < found.null.high
    assert found.p > 0.05
    pooled = across_users(pairs)
    assert pooled is not None
    assert pooled.mean > 0.8


def test_the_error_of_chance_is_what_shuffles_show() -> None:
    found = within_users(planted(0.5))
    assert found is not None
    width = (found.null.high - found.null.low) / 3.92
    assert found.null_error == pytest.approx(width, rel=0.25)


def test_users_with_too_few_texts_say_nothing() -> None:
    assert within_users({"a": [(1.0, 1.0), (2.0, 2.0)]}) is None


def test_where_nothing_differs_there_is_no_correlation_to_speak_of() -> None:
    assert across_users({name: [(0.0, float(value))] for value, name in enumerate("abcde")}) is None
