"""The paper's Figure 8: the dual model against attention, token after token of the demonstration.

One head, d_i = 11, d_o = 1, N_T = 15, k = 2 lead tokens. Panel a has N_D = 15, panel c N_D = 20;
panel b has N_D = 10 and three rounds of generation, each with its own query, c, and start: what was
said so far belongs to the instruction. The figure is about functions: that its last points agree
says nothing on Effect_D, which counts places in a list.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from lab.dual.drawing import panels
from lab.dual.exact import (
    ExactKernel,
    c_free_outputs,
    dual_of,
    fixed_c_outputs,
    prefix_outputs,
)
from lab.dual.features import (
    FeatureKernel,
    Positive,
    Trigonometric,
    normal_frequencies,
    orthogonal_frequencies,
)
from lab.dual.head import Array, Reading
from lab.dual.problems import Sizes, draw_head, draw_tokens, without_demonstration
from lab.dual.steps import next_start, next_start_as_printed

FEATURES = 100
MAPS_DRAWN = 200
ESTIMATED = f"fixed c, {FEATURES} random features (median)"
PRINTED_BOUND = 0.2  # the squared error that the paper calls small


@dataclass(frozen=True)
class Panel:
    sizes: Sizes
    rounds: int = 1


PANELS = {"a": Panel(Sizes(15)), "b": Panel(Sizes(10), rounds=3), "c": Panel(Sizes(20))}

Maps = dict[str, Callable[[np.random.Generator, int], FeatureKernel]]
MAPS: Maps = {
    "rff": lambda rng, d: FeatureKernel(Trigonometric(normal_frequencies(rng, FEATURES // 2, d))),
    "positive": lambda rng, d: FeatureKernel(Positive(normal_frequencies(rng, FEATURES, d))),
    "orthogonal": lambda rng, d: FeatureKernel(Positive(orthogonal_frequencies(rng, FEATURES, d))),
}


def measure(draws: int, seed: int) -> tuple[dict[str, float], dict[str, Any]]:
    figures: dict[str, float] = {}
    curves: dict[str, list[dict[str, list[float]]]] = {}
    for number, (name, panel) in enumerate(PANELS.items()):
        rng = np.random.default_rng((seed, number))
        drawn = [_rounds(rng, panel) for _ in range(draws)]
        every = [reading for rounds in drawn for reading in rounds]
        measured = {
            "exact_se": max(_squared_error(_step(one), one) for one in every),
            "form_a_se": max(_squared_error(c_free_outputs(one)[-1], one) for one in every),
            "form_b_se": max(_squared_error(prefix_outputs(one)[-1], one) for one in every),
            **_baseline("zero", [(np.zeros(1), one) for one in every]),
            **_baseline("no_demo", [(without_demonstration(one).attended, one) for one in every]),
            "form_b.effective_share": _mean_share(every),
        }
        for map_name, build in MAPS.items():
            measured |= _by_features(rng, every, f"{map_name}{FEATURES}", build)
        if panel.rounds > 1:
            measured |= _of_starts(drawn)
        figures |= {f"{name}.{key}": value for key, value in measured.items()}
        curves[name] = [_curves(reading, rng) for reading in drawn[0]]
    return figures, {"draws": draws, "printed_bound": PRINTED_BOUND, "curves": curves}


def _rounds(rng: np.random.Generator, panel: Panel) -> list[Reading]:
    """The same head and prompt, with one token more in every round, which asks the next."""
    sizes = panel.sizes
    head, tokens, marks = draw_head(rng, sizes), draw_tokens(rng, sizes), sizes.marks
    readings = [head.read(tokens, marks)]
    for _ in range(1, panel.rounds):
        tokens = np.concatenate((tokens, rng.standard_normal((1, sizes.input_width))))
        marks = np.append(marks, [False])
        readings.append(head.read(tokens, marks))
    return readings


def _step(reading: Reading, kernel: FeatureKernel | None = None) -> Array:
    """f_1(q), after one step over the demonstration."""
    output: Array = dual_of(reading, kernel=kernel).trained.at(reading.query[np.newaxis])[0]
    return output


def _squared_error(output: Array, reading: Reading) -> float:
    return float(np.sum((output - reading.attended) ** 2))


def _baseline(name: str, said: Sequence[tuple[Array, Reading]]) -> dict[str, float]:
    errors = np.array([_squared_error(output, reading) for output, reading in said])
    return {
        f"{name}_baseline.pass_rate": float((errors < PRINTED_BOUND).mean()),
        f"{name}_baseline.median_se": float(np.median(errors)),
    }


def _by_features(
    rng: np.random.Generator,
    readings: Sequence[Reading],
    name: str,
    build: Callable[[np.random.Generator, int], FeatureKernel],
) -> dict[str, float]:
    """Fresh frequencies for each reading; c is 1/Z of the same map."""
    errors, relative, nonpositive = [], [], []
    for reading in readings:
        kernel = build(rng, len(reading.query))
        errors.append(_squared_error(_step(reading, kernel), reading))
        relative.append(np.sqrt(errors[-1]) / np.linalg.norm(reading.attended))
        nonpositive.append(kernel(reading.query[np.newaxis], reading.keys).sum() <= 0)
    return {
        f"{name}.median_se": float(np.median(errors)),
        f"{name}.p95_se": float(np.quantile(errors, 0.95)),
        f"{name}.median_relative": float(np.median(relative)),
        f"{name}.nonpositive_rate": float(np.mean(nonpositive)),
        f"{name}.pass_rate": float((np.array(errors) < PRINTED_BOUND).mean()),
    }


def _of_starts(drawn: Sequence[Sequence[Reading]]) -> dict[str, float]:
    """Sequential generation: each round's start made from the last one's, as printed and
    corrected."""
    printed_errors, corrected_errors, ratios = [], [], []
    for rounds in drawn:
        kernel = ExactKernel(max(float(one.logits.max()) for one in rounds))
        printed = corrected = dual_of(rounds[0], kernel=kernel)
        for reading in rounds[1:]:
            key, value = reading.keys[-1], reading.values[-1]
            query = reading.query[np.newaxis]
            c = 1 / float(kernel(query, reading.keys).sum())
            ratios.append(c / corrected.loss.c)
            printed = next_start_as_printed(printed, key, value)
            corrected = next_start(corrected, key, value, c)
            printed_errors.append(_squared_error(printed.trained.at(query)[0], reading))
            corrected_errors.append(_squared_error(corrected.trained.at(query)[0], reading))
    return {
        "printed_start.median_se": float(np.median(printed_errors)),
        "corrected_start.exact_se": max(corrected_errors),
        "c_ratio.p5": float(np.quantile(ratios, 0.05)),
        "c_ratio.p95": float(np.quantile(ratios, 0.95)),
    }


def _mean_share(readings: Sequence[Reading]) -> float:
    """Of the demonstration in Z: how much is there to be learned."""
    shares = []
    for reading in readings:
        whole = reading.instruction_part + reading.demonstration_part
        ones = replace(reading, values=np.ones((len(reading.keys), 1)))
        shares.append(float(ones.demonstration_part.within(whole)[0]))
    return float(np.mean(shares))


def _curves(reading: Reading, rng: np.random.Generator) -> dict[str, list[float]]:
    """Squared error to h before the first token of the demonstration and after each."""
    estimated = [
        _squared_errors(fixed_c_outputs(reading, MAPS["rff"](rng, len(reading.query))), reading)
        for _ in range(MAPS_DRAWN)
    ]
    outputs = {
        "fixed c (paper)": fixed_c_outputs(reading),
        "c-free (A)": c_free_outputs(reading),
        "prefix-normalized (B)": prefix_outputs(reading),
    }
    return {
        **{name: _squared_errors(one, reading).tolist() for name, one in outputs.items()},
        ESTIMATED: np.median(estimated, axis=0).tolist(),
    }


def _squared_errors(outputs: Array, reading: Reading) -> Array:
    errors: Array = ((outputs - reading.attended) ** 2).sum(axis=1)
    return errors


def draw(detail: dict[str, Any]) -> Any:
    figure, (axes,) = panels(len(PANELS))
    for axis, (name, rounds) in zip(axes, detail["curves"].items(), strict=True):
        for number, curves in enumerate(rounds):
            for color, (label, errors) in enumerate(curves.items()):
                axis.plot(
                    np.maximum(errors, 1e-34),
                    ":" if label.startswith("prefix") else "-",
                    color=f"C{color}",
                    alpha=1 - 0.3 * number,
                    linewidth=2.5 if label.startswith("prefix") else 1.2,
                    label=label if number == 0 else None,
                )
        axis.axhline(detail["printed_bound"], color="gray", linewidth=0.8)
        demonstration, count = PANELS[name].sizes.demonstration, len(rounds)
        several = f", {count} rounds" if count > 1 else ""
        axis.set(
            title=f"{name}: N_D = {demonstration}{several}",
            xlabel="demonstration tokens processed",
            yscale="log",
        )
    axes[0].set(ylabel="squared error to the attention's output")
    axes[0].legend()
    return figure
