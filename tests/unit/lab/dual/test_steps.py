from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from lab.dual.exact import Dual, ExactKernel, Function, dual_of
from lab.dual.head import Reading
from lab.dual.problems import Sizes, draw_head, draw_reading, draw_tokens
from lab.dual.steps import (
    next_start,
    next_start_as_printed,
    passes,
    perturbed,
    perturbed_as_printed,
    regularized_attention,
    regularized_step,
    regularized_token_by_token,
    squared_loss_step,
)

ALPHA = 0.3


def error(function: Function, reading: Reading) -> float:
    return float(np.sum((function.at(reading.query[np.newaxis])[0] - reading.attended) ** 2))


def apart(one: Function, other: Function, reading: Reading) -> float:
    query = reading.query[np.newaxis]
    return float(np.linalg.norm(one.at(query) - other.at(query)) / np.linalg.norm(one.at(query)))


# --- perturbation ---------------------------------------------------------------------------------


@pytest.fixture
def perturbation(reading: Reading, width: int) -> tuple[Dual, Function, Reading]:
    """The dual without X_D_per, what X_D_per adds, and the prompt with both."""
    other = draw_reading(np.random.default_rng(100 + width), Sizes(width=width, logit_scale=2.0))
    keys, values = other.keys[other.demonstration], other.values[other.demonstration]
    longer = Reading(
        reading.query,
        np.concatenate((reading.keys, keys)),
        np.concatenate((reading.values, values)),
        np.concatenate((reading.demonstration, np.ones(len(keys), dtype=np.bool_))),
    )
    kernel = ExactKernel.of(longer)
    return dual_of(reading, kernel=kernel), Function(kernel, keys, values), longer


def test_a_perturbation_is_a_second_gradient_under_the_c_of_the_longer_prompt(
    perturbation: tuple[Dual, Function, Reading],
) -> None:
    dual, added, longer = perturbation
    assert error(perturbed(dual, added, longer.query), longer) < 1e-24


def test_eq_16_with_the_old_c_is_not_the_attention(
    perturbation: tuple[Dual, Function, Reading],
) -> None:
    dual, added, longer = perturbation
    relative = error(perturbed_as_printed(dual, added), longer) / np.sum(longer.attended**2)
    assert np.sqrt(relative) > 0.05


# --- regularization -------------------------------------------------------------------------------


def test_eq_17_is_eq_18_for_one_step_over_the_whole_demonstration(reading: Reading) -> None:
    dual = dual_of(reading)
    assert apart(regularized_attention(dual, ALPHA), regularized_step(dual, ALPHA), reading) < 1e-14


def test_it_shrinks_the_instruction_and_leaves_the_demonstration(reading: Reading) -> None:
    whole = reading.instruction_part + reading.demonstration_part
    expected = (1 - ALPHA) * reading.instruction_part.within(whole)
    expected = expected + reading.demonstration_part.within(whole)
    found = regularized_step(dual_of(reading), ALPHA).at(reading.query[np.newaxis])[0]
    assert found == pytest.approx(expected, rel=1e-11)


def test_token_by_token_it_is_something_else_unless_alpha_acts_once(reading: Reading) -> None:
    dual = dual_of(reading)
    tokens = int(reading.demonstration.sum())
    right = regularized_attention(dual, ALPHA)
    assert apart(right, regularized_token_by_token(dual, [ALPHA] * tokens), reading) > 0.1
    assert apart(right, passes(dual, 2, ALPHA), reading) > 0.1
    once = [ALPHA] + [0.0] * (tokens - 1)
    assert apart(right, regularized_token_by_token(dual, once), reading) < 1e-13
    assert apart(dual.trained, regularized_token_by_token(dual, [0.0] * tokens), reading) < 1e-13


def test_a_squared_loss_is_not_the_papers(reading: Reading) -> None:
    """But where nothing is known before: then both store the values alone."""
    dual = dual_of(reading)
    relative = error(squared_loss_step(dual), reading) / np.sum(reading.attended**2)
    assert np.sqrt(relative) > 0.05
    nothing = replace(reading, demonstration=np.ones(len(reading.keys), dtype=np.bool_))
    assert error(squared_loss_step(dual_of(nothing)), nothing) < 1e-24


# --- sequential generation ------------------------------------------------------------------------


@pytest.fixture
def said(width: int) -> tuple[Reading, Reading]:
    """Before and after a token is generated: it joins the instruction, and asks next."""
    rng = np.random.default_rng(50 + width)
    sizes = Sizes(10, width, logit_scale=2.0)
    head, tokens = draw_head(rng, sizes), draw_tokens(rng, sizes)
    longer = np.concatenate((tokens, rng.standard_normal((1, sizes.input_width))))
    marks = np.append(sizes.marks, [False])
    return head.read(tokens, sizes.marks), head.read(longer, marks)


def test_the_next_token_rescales_what_was_learned(said: tuple[Reading, Reading]) -> None:
    before, after = said
    dual = dual_of(before)
    c = 1 / float(dual.start.kernel(after.query[np.newaxis], after.keys).sum())
    following = next_start(dual, after.keys[-1], after.values[-1], c)
    assert error(following.trained, after) < 1e-24


def test_the_printed_start_of_the_next_token_is_not_the_attention(
    said: tuple[Reading, Reading],
) -> None:
    before, after = said
    printed = next_start_as_printed(dual_of(before), after.keys[-1], after.values[-1])
    relative = np.sqrt(error(printed.trained, after) / np.sum(after.attended**2))
    assert relative > 0.05


def test_c_changes_severalfold_from_token_to_token() -> None:
    ratios = []
    for seed in range(300):
        rng = np.random.default_rng(seed)
        sizes = Sizes(10, 8, logit_scale=1.0)
        head, tokens = draw_head(rng, sizes), draw_tokens(rng, sizes)
        longer = np.concatenate((tokens, rng.standard_normal((1, sizes.input_width))))
        before = head.read(tokens, sizes.marks)
        after = head.read(longer, np.append(sizes.marks, [False]))
        ratios.append(np.exp(before.logits).sum() / np.exp(after.logits).sum())
    assert min(ratios) < 0.5
    assert max(ratios) > 2


def test_form_a_has_nothing_to_correct(said: tuple[Reading, Reading]) -> None:
    """Keys and values carry over as they are; a new query reads them, and one token more."""
    before, after = said
    moved = replace(before, query=after.query)
    carried = moved.instruction_part + moved.demonstration_part
    newest = after.part(np.arange(len(after.keys)) == len(after.keys) - 1)
    assert np.sum(((carried + newest).output - after.attended) ** 2) < 1e-26
