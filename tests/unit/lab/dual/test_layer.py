from __future__ import annotations

import numpy as np
import pytest

from lab.dual.head import Array, Which
from lab.dual.layer import (
    Frozen,
    Weights,
    dual_output,
    dual_stack,
    forward,
    normed,
    split,
    stack,
    without_demonstration,
)
from lab.dual.problems import draw_layer

TOKENS = 24
MARKS = (np.arange(TOKENS) >= 8) & (np.arange(TOKENS) < 18)


def distance(one: Array, other: Array) -> float:
    return float(np.linalg.norm(one - other) / np.linalg.norm(other))


@pytest.fixture(params=[1, 2, 4], ids="{} kv heads".format)
def weights(request: pytest.FixtureRequest) -> Weights:
    return draw_layer(np.random.default_rng(0), kv_heads=request.param)


@pytest.fixture
def tokens() -> Array:
    return np.random.default_rng(1).standard_normal((TOKENS, 32))


def test_the_parts_of_all_heads_make_the_layer(weights: Weights, tokens: Array) -> None:
    assert distance(dual_output(weights, tokens, MARKS), forward(weights, tokens)[-1]) < 1e-13


@pytest.mark.parametrize("layers", [1, 2, 8, 16])
def test_the_error_does_not_grow_with_depth(layers: int, tokens: Array) -> None:
    drawn = [draw_layer(np.random.default_rng(n)) for n in range(layers)]
    assert distance(dual_stack(drawn, tokens, MARKS), stack(drawn, tokens)) < 1e-11


def test_a_query_head_reads_the_key_head_of_its_group(tokens: Array) -> None:
    """Grouped queries are full ones whose key and value heads repeat."""
    grouped = draw_layer(np.random.default_rng(0), heads=4, kv_heads=2)
    assert [grouped.group_of(head) for head in range(4)] == [0, 0, 1, 1]
    repeated = Weights(
        **{
            **vars(grouped),
            "key": np.repeat(grouped.key, 2, axis=0),
            "value": np.repeat(grouped.value, 2, axis=0),
        }
    )
    one, other = split(grouped, tokens, MARKS), split(repeated, tokens, MARKS)
    assert np.array_equal(one.instruction, other.instruction)
    assert np.array_equal(one.demonstration, other.demonstration)


def test_the_frozen_matrix_is_the_layer_at_its_point(weights: Weights, tokens: Array) -> None:
    parts = split(weights, tokens, MARKS)
    frozen = Frozen.at(weights, tokens[-1] + parts.attended)
    shares = frozen(tokens[-1]) + frozen(parts.instruction.sum(axis=0))
    shares = shares + frozen(parts.demonstration.sum(axis=0))
    assert distance(shares, forward(weights, tokens)[-1]) < 1e-13


def test_the_frozen_matrix_is_no_model_of_leaving_the_demonstration_out(
    weights: Weights, tokens: Array
) -> None:
    parts = split(weights, tokens, MARKS)
    frozen = Frozen.at(weights, tokens[-1] + parts.attended)
    claimed = frozen(tokens[-1] + parts.instruction.sum(axis=0))
    true = without_demonstration(weights, tokens, MARKS)
    change = np.linalg.norm(forward(weights, tokens)[-1] - true)
    assert np.linalg.norm(claimed - true) > 0.2 * change


def test_masking_is_what_a_prompt_of_the_other_keys_gives(weights: Weights, tokens: Array) -> None:
    """With no demonstration at all, nothing is left out."""
    nothing: Which = np.zeros(TOKENS, dtype=np.bool_)
    found = without_demonstration(weights, tokens, nothing)
    assert distance(found, forward(weights, tokens)[-1]) < 1e-13


def test_norms_make_rows_of_unit_size(tokens: Array) -> None:
    rows = normed(1e3 * tokens, np.ones(32))
    assert (rows**2).mean(axis=1) == pytest.approx(np.ones(TOKENS), rel=1e-6)
