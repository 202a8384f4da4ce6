"""The next token."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from services.llm.onnx.network import Floats
from services.llm.port import Sampling

Allowed = NDArray[np.bool_]


def draw(
    logits: Floats, sampling: Sampling, random: np.random.Generator, allowed: Allowed | None
) -> int:
    """As vLLM does it: what is allowed, then temperature, then top_k, then top_p."""
    scores = logits.astype(np.float64)
    if allowed is not None:
        scores[~allowed] = -np.inf
    if sampling.temperature <= 0:
        return int(scores.argmax())
    scores /= sampling.temperature
    if 0 < sampling.top_k < len(scores):
        least = np.partition(scores, -sampling.top_k)[-sampling.top_k]
        scores[scores < least] = -np.inf
    weights = np.exp(scores - scores.max())
    weights /= weights.sum()
    if sampling.top_p < 1:
        order = np.argsort(-weights, kind="stable")
        before = np.cumsum(weights[order]) - weights[order]
        weights[order[1:][before[1:] >= sampling.top_p]] = 0
    bounds = np.cumsum(weights)
    return int(np.searchsorted(bounds, random.random() * bounds[-1], side="right"))
