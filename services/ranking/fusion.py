"""z(log p of the model) + lambda * z(prior of retrieval). With lambda 0 it is the model alone."""

from __future__ import annotations

import math
from collections.abc import Sequence


def fused(scores: Sequence[float], priors: Sequence[float], weight: float) -> tuple[float, ...]:
    """Both by candidate; `weight` is lambda."""
    if weight < 0:
        raise ValueError(f"the weight of the prior is negative: {weight}")
    pairs = zip(standardized(scores), standardized(priors), strict=True)
    return tuple(score + weight * prior for score, prior in pairs)


def standardized(values: Sequence[float]) -> list[float]:
    """z-scores; all zero where the values are alike and so tell nothing apart."""
    mean = math.fsum(values) / len(values)
    spread = math.sqrt(math.fsum((value - mean) ** 2 for value in values) / len(values))
    if spread <= 1e-12 * max(1.0, abs(mean)):
        return [0.0] * len(values)
    return [(value - mean) / spread for value in values]
