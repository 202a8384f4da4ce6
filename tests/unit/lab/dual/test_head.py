from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from lab.dual.head import Head, Part, Reading, rotated


def test_the_parts_of_instruction_and_demonstration_are_the_output(reading: Reading) -> None:
    whole = reading.instruction_part + reading.demonstration_part
    parts = [part.within(whole) for part in (reading.instruction_part, reading.demonstration_part)]
    assert np.sum((parts[0] + parts[1] - reading.attended) ** 2) < 1e-28
    assert np.linalg.norm(parts[1]) > 1e-3


def test_parts_add_up_in_any_order(reading: Reading) -> None:
    tokens = [reading.part(np.arange(len(reading.keys)) == n) for n in range(len(reading.keys))]
    rng = np.random.default_rng(0)
    for _ in range(5):
        carried = Part(-np.inf, np.zeros(reading.values.shape[1]), 0.0)
        for token in rng.permutation(len(tokens)):
            carried += tokens[token]
        assert carried.output == pytest.approx(reading.attended, rel=1e-12, abs=1e-14)


def test_logits_beyond_what_an_exponential_can_hold_do_no_harm(reading: Reading) -> None:
    loud = replace(reading, query=2_000 * reading.query)
    assert np.ptp(loud.logits) > 750
    whole = loud.instruction_part + loud.demonstration_part
    assert whole.output == pytest.approx(loud.attended, rel=1e-12)


def test_rotated_keys_and_queries_know_only_how_far_apart_they_are() -> None:
    rng = np.random.default_rng(0)
    key, query = rng.standard_normal((2, 1, 8))
    near, far = (
        float((rotated(query, np.array([t + 3])) @ rotated(key, np.array([t])).T).item())
        for t in (0, 500)
    )
    assert near == pytest.approx(far, rel=1e-10)
    assert near != pytest.approx(float((query @ key.T).item()), rel=1e-3)


def test_at_one_dimension_there_is_nothing_to_turn() -> None:
    rng = np.random.default_rng(0)
    head = Head(*rng.standard_normal((3, 1, 11)))
    tokens = rng.standard_normal((9, 11))
    marks = np.arange(9) > 5
    with_places, without = (
        head.read(tokens, marks),
        replace(head, rope_base=None).read(tokens, marks),
    )
    assert np.array_equal(with_places.logits, without.logits)
