"""What becomes of the step: under the same demonstration again, perturbation, regularization; and
of a whole layer, frozen at one point, when the demonstration is taken away.

A path has collapsed when its texts stop changing. Then its gradient is the same again, whatever the
round: the cosine between steps is one. A perturbation (Eq. 16) is a second gradient beside it, and
turns the step as far as its text is another one. Regularization (Eq. 17-18) turns nothing: it makes
the instruction smaller.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from lab.dual.drawing import panels
from lab.dual.exact import Dual, ExactKernel, Function, dual_of
from lab.dual.head import Array, Head, Reading
from lab.dual.layer import Frozen, forward, split, without_demonstration
from lab.dual.problems import Sizes, draw_head, draw_layer, draw_tokens
from lab.dual.steps import (
    passes,
    perturbed,
    perturbed_as_printed,
    regularized_attention,
    regularized_step,
    regularized_token_by_token,
    squared_loss_step,
)

SIZES = Sizes(demonstration=15, width=8)
# How alike the borrowed text is: 1 repeats the path's own demonstration.
LIKENESS = (0.0, 0.25, 0.5, 0.75, 0.9, 1.0)
COPIES = (1, 2, 4, 8, 16)
ALPHAS = (0.05, 0.1, 0.3, 0.6)
SCALES = (0.5, 1.0, 3.0)  # of the logits of a layer
TOKENS, WIDTH = 24, 32


@dataclass(frozen=True)
class Borrowed:
    """A head and its prompt; the keys and values of X_D_per; and the prompt with both."""

    reading: Reading
    keys: Array
    values: Array

    @property
    def longer(self) -> Reading:
        reading = self.reading
        return Reading(
            reading.query,
            np.concatenate((reading.keys, self.keys)),
            np.concatenate((reading.values, self.values)),
            np.append(reading.demonstration, np.ones(len(self.keys), dtype=np.bool_)),
        )


def measure(draws: int, seed: int) -> tuple[dict[str, float], dict[str, Any]]:
    figures = {
        **_over(draws, seed, "perturbation", LIKENESS, _perturbed),
        **_over(draws, seed, "repetition", COPIES, _repeated),
        **_over(draws, seed, "regularization", ALPHAS, _regularized),
        **_over(draws, seed, "frozen_layer", SCALES, _frozen),
    }
    return figures, {"draws": draws, "figures": figures}


def _over(
    draws: int,
    seed: int,
    name: str,
    values: tuple[float, ...],
    experiment: Callable[[np.random.Generator, float], dict[str, float]],
) -> dict[str, float]:
    """Medians over the same draws for each value; of errors that should be none, the largest."""
    figures = {}
    for value in values:
        rows = [experiment(np.random.default_rng((seed, draw)), value) for draw in range(draws)]
        for key in rows[0]:
            pick = np.max if key.startswith("exact") else np.median
            figures[f"{name}.{value:g}.{key}"] = float(pick([row[key] for row in rows]))
    return figures


# --- Eq. 16 ---------------------------------------------------------------------------------------


def _perturbed(rng: np.random.Generator, likeness: float) -> dict[str, float]:
    given = _borrowed(rng, likeness)
    longer = given.longer
    query = longer.query[np.newaxis]
    kernel = ExactKernel.of(longer)
    dual = dual_of(given.reading, kernel=kernel)
    added = Function(kernel, given.keys, given.values)
    with_it = perturbed(dual, added, longer.query)
    printed = perturbed_as_printed(dual, added)
    return {
        "exact_se": float(np.sum((with_it.at(query)[0] - longer.attended) ** 2)),
        "printed.relative_error": _apart(printed.at(query)[0], longer.attended),
        "cosine_to_own_step": _cosine(dual.loss.demonstration, dual.loss.demonstration + added),
        "output_changes_by": _apart(longer.attended, given.reading.attended),
    }


def _borrowed(rng: np.random.Generator, likeness: float) -> Borrowed:
    head, tokens = draw_head(rng, SIZES), draw_tokens(rng, SIZES)
    reading = head.read(tokens, SIZES.marks)
    own = tokens[SIZES.marks]
    other = likeness * own + np.sqrt(1 - likeness**2) * rng.standard_normal(own.shape)
    keys, values = _read(head, other)
    return Borrowed(reading, keys, values)


def _read(head: Head, tokens: Array) -> tuple[Array, Array]:
    """At the places of the demonstration: with likeness 1 it is this demonstration once more."""
    padded = np.zeros((SIZES.instruction + len(tokens), tokens.shape[1]))
    padded[SIZES.instruction :] = tokens
    reading = head.read(padded, np.arange(len(padded)) >= SIZES.instruction)
    return reading.keys[reading.demonstration], reading.values[reading.demonstration]


# --- the same again -------------------------------------------------------------------------------


def _repeated(rng: np.random.Generator, copies: float) -> dict[str, float]:
    """The demonstration so many times in one prompt: the step has the same direction, and the
    instruction's share is Z_T / (Z_T + n Z_D)."""
    reading = draw_head(rng, SIZES).read(draw_tokens(rng, SIZES), SIZES.marks)
    part, whole = reading.demonstration_part, reading.instruction_part
    for _ in range(int(copies)):
        whole += part
    instruction = reading.instruction_part.within(whole)
    kept = reading.instruction_part.mass * np.exp(reading.instruction_part.shift - whole.shift)
    once = dual_of(reading).loss.demonstration
    return {
        "instruction_share": float(kept / whole.mass),
        "distance_to_demonstration_alone": _apart(whole.output, part.output),
        "cosine_to_own_step": _cosine(once, once.times(copies)),
        "instruction_norm": float(np.linalg.norm(instruction)),
    }


# --- Eq. 17-18 ------------------------------------------------------------------------------------


def _regularized(rng: np.random.Generator, alpha: float) -> dict[str, float]:
    reading = draw_head(rng, SIZES).read(draw_tokens(rng, SIZES), SIZES.marks)
    dual, query = dual_of(reading), reading.query[np.newaxis]
    wanted = regularized_attention(dual, alpha).at(query)[0]
    tokens = SIZES.demonstration
    plain = dual.trained.at(query)[0]
    return {
        "exact_one_step": _apart(regularized_step(dual, alpha).at(query)[0], wanted),
        "exact_first_token_only": _apart(
            regularized_token_by_token(dual, [alpha] + [0.0] * (tokens - 1)).at(query)[0], wanted
        ),
        "every_token.relative_error": _apart(
            regularized_token_by_token(dual, [alpha] * tokens).at(query)[0], wanted
        ),
        "two_steps.relative_error": _apart(passes(dual, 2, alpha).at(query)[0], wanted),
        "output_changes_by": _apart(wanted, plain),
        "instruction_kept_by_every_token": (1 - alpha) ** tokens,
        "cosine_of_update": _cosine_of_update(dual, alpha),
        "squared_loss.relative_error": _apart(
            squared_loss_step(dual).at(query)[0], reading.attended
        ),
    }


def _cosine_of_update(dual: Dual, alpha: float) -> float:
    """Between f_1 - f_0 with the decay and without: the decay adds -alpha f_0 to the update."""
    plain = dual.loss.demonstration.times(dual.loss.c)
    return _cosine(plain, dual.start.times(-alpha) + plain)


# --- a layer, frozen ------------------------------------------------------------------------------


def _frozen(rng: np.random.Generator, scale: float) -> dict[str, float]:
    """A whole layer as one matrix at one point: exact there, and no model of removing D. Its error
    is told as a share of what removing D truly changes."""
    weights = draw_layer(rng, logit_scale=scale)
    tokens = rng.standard_normal((TOKENS, WIDTH))
    places = np.arange(TOKENS)
    marks = (places >= 8) & (places < 18)
    parts, whole = split(weights, tokens, marks), forward(weights, tokens)[-1]
    frozen = Frozen.at(weights, tokens[-1] + parts.attended)
    claimed = frozen(tokens[-1] + parts.instruction.sum(axis=0))
    true = without_demonstration(weights, tokens, marks)
    change = np.linalg.norm(whole - true)
    return {
        "exact_at_its_point": _apart(frozen(tokens[-1] + parts.attended), whole),
        "removal.relative_error": float(np.linalg.norm(claimed - true) / change),
    }


def _cosine(one: Function, other: Function) -> float:
    return one.inner(other) / math.sqrt(one.squared_norm() * other.squared_norm())


def _apart(one: Array, other: Array) -> float:
    return float(np.linalg.norm(one - other) / np.linalg.norm(other))


def draw(detail: dict[str, Any]) -> Any:
    figures = detail["figures"]
    figure, (axes,) = panels(3)

    def line(axis: Any, name: str, values: tuple[float, ...], key: str, label: str) -> None:
        points = [figures[f"{name}.{value:g}.{key}"] for value in values]
        axis.plot(values, points, marker="o", markersize=3, label=label)

    line(axes[0], "perturbation", LIKENESS, "cosine_to_own_step", "cosine to the path's own step")
    line(axes[0], "perturbation", LIKENESS, "output_changes_by", "relative change of the output")
    line(axes[0], "perturbation", LIKENESS, "printed.relative_error", "error of Eq. 16 as printed")
    axes[0].set(title="perturbation", xlabel="likeness of the borrowed text", ylim=(0, None))
    line(axes[1], "repetition", COPIES, "instruction_share", "the instruction's share of Z")
    line(axes[1], "repetition", COPIES, "cosine_to_own_step", "cosine to the path's own step")
    axes[1].set(title="the same demonstration again", xlabel="copies", xscale="log", ylim=(0, 1.05))
    axes[1].set_xticks(COPIES, COPIES, minor=False)
    for key, label in (
        ("exact_one_step", "one step (Eq. 17)"),
        ("exact_first_token_only", "tokens, alpha at the first"),
        ("every_token.relative_error", "tokens, alpha at each"),
        ("two_steps.relative_error", "two steps"),
    ):
        line(axes[2], "regularization", ALPHAS, key, label)
    axes[2].set(title="regularization: error to Eq. 18", xlabel="alpha", yscale="log")
    for axis in axes:
        axis.legend()
    return figure
