"""What a finite map costs: the error of random features by their number, width and logit scale.

Heads and prompts are drawn anew each time, and frequencies with them. Beside every figure stand
those of two answers that use no demonstration: f = 0, and attention without it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from lab.dual.drawing import panels
from lab.dual.exact import ExactKernel, dual_of
from lab.dual.features import (
    FeatureKernel,
    Positive,
    PrintedTrigonometric,
    Trigonometric,
    normal_frequencies,
    orthogonal_frequencies,
    positive_variance,
    trigonometric_variance,
)
from lab.dual.head import Array, Reading
from lab.dual.problems import Sizes, draw_reading, without_demonstration

WIDTHS = (1, 8, 64)
FEATURES = (100, 300, 1_000, 3_000, 10_000)
SCALES = (0.25, 0.5, 1.0, 2.0, 4.0)
VARIANCE_WIDTH, VARIANCE_SCALE = 8, 0.5
PRINTED_BOUND = 0.2

Build = Callable[[np.random.Generator, int, int], FeatureKernel]
Tell = Callable[[str, int, int], None]

BUILDS: dict[str, Build] = {
    "trig": lambda rng, n, d: FeatureKernel(Trigonometric(normal_frequencies(rng, n // 2, d))),
    "positive": lambda rng, n, d: FeatureKernel(Positive(normal_frequencies(rng, n, d))),
    "orthogonal": lambda rng, n, d: FeatureKernel(Positive(orthogonal_frequencies(rng, n, d))),
    "printed": lambda rng, n, d: FeatureKernel(
        PrintedTrigonometric(normal_frequencies(rng, n // 2, d))
    ),
}
# The printed map has no scale of its own: exp(|k|^2/2) overflows where logits are large.
CORRECTED = ("trig", "positive", "orthogonal")


def measure(draws: int, seed: int, tell: Tell) -> tuple[dict[str, float], dict[str, Any]]:
    figures: dict[str, float] = {}
    rows = []
    for number, width in enumerate(WIDTHS):
        for features in FEATURES:
            rng, sizes = np.random.default_rng((seed, width)), Sizes(width=width)
            row = _row(rng, draws, sizes, features, tuple(BUILDS))
            rows.append({"d": width, "features": features, **row})
            figures |= {f"d{width}.features{features}.{name}": row[name] for name in row}
        tell("widths", number + 1, len(WIDTHS))
    scales = []
    for number, scale in enumerate(SCALES):
        rng, sizes = np.random.default_rng((seed, 1_000)), Sizes(width=64, logit_scale=scale)
        row = _row(rng, draws, sizes, FEATURES[2], CORRECTED)
        scales.append({"scale": scale, **row})
        figures |= {f"scale{scale:g}.{name}": value for name, value in row.items()}
        tell("logit scales", number + 1, len(SCALES))
    figures |= _variances(np.random.default_rng((seed, 2_000)), 20 * draws)
    return figures, {"draws": draws, "rows": rows, "scales": scales}


def _row(
    rng: np.random.Generator, draws: int, sizes: Sizes, features: int, names: Sequence[str]
) -> dict[str, float]:
    readings = [draw_reading(rng, sizes) for _ in range(draws)]
    row = {
        "zero.pass_rate": _pass_rate([np.sum(one.attended**2) for one in readings]),
        "no_demo.pass_rate": _pass_rate(
            [np.sum((without_demonstration(one).attended - one.attended) ** 2) for one in readings]
        ),
        "zero.median_se": float(np.median([np.sum(one.attended**2) for one in readings])),
    }
    for name in names:
        errors = _by_features(rng, readings, BUILDS[name], features)
        row |= {f"{name}.{key}": value for key, value in errors.items()}
    return row


def _by_features(
    rng: np.random.Generator, readings: Sequence[Reading], build: Build, features: int
) -> dict[str, float]:
    errors, relative, nonpositive = [], [], []
    for reading in readings:
        kernel = build(rng, features, len(reading.query))
        query = reading.query[np.newaxis]
        z = float(kernel(query, reading.keys).sum())
        output = dual_of(reading, kernel=kernel, c=1 / z).trained.at(query)[0]
        errors.append(float(np.sum((output - reading.attended) ** 2)))
        relative.append(np.sqrt(errors[-1]) / np.linalg.norm(reading.attended))
        nonpositive.append(z <= 0)
    return {
        "median_se": float(np.median(errors)),
        "p95_se": float(np.quantile(errors, 0.95)),
        "median_relative": float(np.median(relative)),
        "nonpositive_rate": float(np.mean(nonpositive)),
        "pass_rate": _pass_rate(errors),
    }


def _pass_rate(errors: Sequence[float]) -> float:
    return float((np.array(errors) < PRINTED_BOUND).mean())


def _variances(rng: np.random.Generator, draws: int) -> dict[str, float]:
    """Measured over predicted relative variance of one kernel entry, for one pair of vectors."""
    features = FEATURES[0]
    one, other = VARIANCE_SCALE * rng.standard_normal((2, 1, VARIANCE_WIDTH))
    exact = ExactKernel()(one, other).item()

    def measured(name: str) -> float:
        build = BUILDS[name]
        found = [
            build(rng, features, VARIANCE_WIDTH)(one, other).item() / exact for _ in range(draws)
        ]
        return float(np.var(found))

    root = np.sqrt(VARIANCE_WIDTH)
    predicted = {
        "trig": trigonometric_variance(_square(one - other) / root, features),
        "positive": positive_variance(_square(one + other) / root, features),
    }
    return {
        f"variance.{name}.measured_over_predicted": measured(name) / float(value)
        for name, value in predicted.items()
    }


def _square(row: Array) -> Array:
    square: Array = (row**2).sum()
    return square


def draw(detail: dict[str, Any]) -> Any:
    figure, (axes,) = panels(len(WIDTHS) + 1, width=3.4)
    for axis, width in zip(axes, WIDTHS, strict=False):
        rows = [row for row in detail["rows"] if row["d"] == width]
        for name in BUILDS:
            axis.plot(FEATURES, [row[f"{name}.median_se"] for row in rows], label=name)
        axis.plot(FEATURES, [row["zero.median_se"] for row in rows], "k:", label="f = 0")
        axis.set(title=f"d = {width}", xlabel="features D", xscale="log", yscale="log")
    for name in CORRECTED:
        values = [row[f"{name}.median_relative"] for row in detail["scales"]]
        axes[-1].plot(SCALES, values, label=name)
    axes[-1].axhline(1, color="k", linestyle=":")
    axes[-1].set(title="d = 64, D = 1,000", xlabel="logit scale", ylabel="median relative error")
    axes[-1].set(xscale="log", yscale="log")
    axes[-1].set_xticks(SCALES, SCALES, minor=False)
    axes[-1].set_xticks([], minor=True)
    axes[0].set(ylabel="median squared error")
    axes[0].legend()
    return figure
