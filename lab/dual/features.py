"""Random features, appendix A.2: finite maps whose products estimate kappa(x, y) = exp(x.y/sqrt d).

Rows in, rows out. What the paper prints is kept beside what it should have printed.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from lab.dual.head import Array


class FeatureMap(Protocol):
    def __call__(self, vectors: Array) -> Array: ...


@dataclass(frozen=True)
class FeatureKernel:
    """A finite map is the kernel of its own products."""

    features: FeatureMap

    def __call__(self, one: Array, other: Array) -> Array:
        return self.features(one) @ self.features(other).T


@dataclass(frozen=True)
class Trigonometric:
    """Corrected: sqrt(2/D) exp(|x|^2/2) [cos wx, sin wx] with D/2 frequencies w, x scaled by
    d^(-1/4). Unbiased, but an estimate of kappa may be negative, and so may Z."""

    frequencies: Array  # D/2 x d

    def __call__(self, vectors: Array) -> Array:
        scaled = vectors / vectors.shape[1] ** 0.25
        waves: Array = _trigonometric(scaled, self.frequencies)
        return waves / math.sqrt(len(self.frequencies))


@dataclass(frozen=True)
class PrintedTrigonometric:
    """As printed: 1/sqrt D, which gives half the kernel, of vectors that are not scaled, which
    gives that of exp(x . y) and not of exp(x . y / sqrt d)."""

    frequencies: Array

    def __call__(self, vectors: Array) -> Array:
        waves: Array = _trigonometric(vectors, self.frequencies)
        return waves / math.sqrt(2 * len(self.frequencies))


@dataclass(frozen=True)
class Positive:
    """Performers' map, which the paper cites and does not print: exp(wx - |x|^2/2) / sqrt D with D
    frequencies. Every estimate is positive, and so is Z."""

    frequencies: Array  # D x d

    def __call__(self, vectors: Array) -> Array:
        scaled = vectors / vectors.shape[1] ** 0.25
        exponents = scaled @ self.frequencies.T - _half_square(scaled)
        values: Array = np.exp(exponents) / np.sqrt(len(self.frequencies))
        return values


def normal_frequencies(rng: np.random.Generator, count: int, width: int) -> Array:
    return rng.standard_normal((count, width))


def orthogonal_frequencies(
    rng: np.random.Generator, count: int, width: int, *, fix_signs: bool = True
) -> Array:
    """Blocks of orthogonal frequencies, with the lengths of normal ones.

    QR decides the signs of R's diagonal by its own rule, which leaves Q not uniform; multiplied by
    those signs it is. Without that (`fix_signs=False`) positive features are biased.
    """
    blocks = []
    for _ in range(-(-count // width)):
        turn, triangle = np.linalg.qr(rng.standard_normal((width, width)))
        blocks.append((turn * np.sign(np.diag(triangle)) if fix_signs else turn).T)
    lengths = np.sqrt(rng.chisquare(width, count))
    frequencies: Array = np.concatenate(blocks)[:count] * lengths[:, np.newaxis]
    return frequencies


def trigonometric_variance(distance: Array, features: int) -> Array:
    """Of an estimate over the kernel, `distance` being |k - q|^2 / sqrt d."""
    variance: Array = 2 / (features / 2) * np.sinh(distance / 2) ** 2
    return variance


def positive_variance(sums: Array, features: int) -> Array:
    """Of an estimate over the kernel, `sums` being |k + q|^2 / sqrt d."""
    variance: Array = np.expm1(sums) / features
    return variance


def _trigonometric(vectors: Array, frequencies: Array) -> Array:
    angles = vectors @ frequencies.T
    waves = np.concatenate((np.cos(angles), np.sin(angles)), axis=1)
    values: Array = np.exp(_half_square(vectors)) * waves
    return values


def _half_square(vectors: Array) -> Array:
    halves: Array = (vectors**2).sum(axis=1, keepdims=True) / 2
    return halves
