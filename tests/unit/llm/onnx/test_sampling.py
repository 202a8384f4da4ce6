"""The next token, drawn as the sampling says."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from services.llm.onnx.network import logprobs, picked_logprobs
from services.llm.onnx.sampling import draw
from services.llm.port import Sampling

SHARES = np.array([0.05, 0.5, 0.3, 0.15])
LOGITS = (np.log(SHARES) + 7).astype(np.float32)


def shares_of(sampling: Sampling, allowed: list[bool] | None = None) -> list[float]:
    random = np.random.default_rng(1)
    mask = None if allowed is None else np.array(allowed)
    drawn = Counter(draw(LOGITS, sampling, random, mask) for _ in range(4000))
    return [drawn[token] / 4000 for token in range(4)]


@pytest.mark.parametrize(
    ("sampling", "expected"),
    [
        (Sampling(1), [0, 1, 0, 0]),
        (Sampling(1, temperature=1), [0.05, 0.5, 0.3, 0.15]),
        (Sampling(1, temperature=1, top_k=2), [0, 0.625, 0.375, 0]),
        (Sampling(1, temperature=1, top_k=9), [0.05, 0.5, 0.3, 0.15]),
        (Sampling(1, temperature=1, top_p=0.79), [0, 0.625, 0.375, 0]),
        (Sampling(1, temperature=1, top_p=0.81), [0, 0.526, 0.316, 0.158]),
        (Sampling(1, temperature=1, top_p=0.0), [0, 1, 0, 0]),
        (Sampling(1, temperature=0.5), [0.0068, 0.685, 0.247, 0.0616]),
    ],
)
def test_shares_are_those_of_the_sampling(sampling: Sampling, expected: list[float]) -> None:
    assert shares_of(sampling) == pytest.approx(expected, abs=0.03)


def test_what_is_not_allowed_is_never_drawn() -> None:
    allowed = [True, False, False, True]
    assert shares_of(Sampling(1), allowed) == [0, 0, 0, 1]
    shares = shares_of(Sampling(1, temperature=1, top_k=2, top_p=0.9), allowed)
    assert shares == pytest.approx([0.25, 0, 0, 0.75], abs=0.03)


def test_a_seed_repeats_its_draws() -> None:
    def drawn(seed: int) -> list[int]:
        random = np.random.default_rng(seed)
        return [draw(LOGITS, Sampling(1, temperature=1), random, None) for _ in range(50)]

    assert drawn(1) == drawn(1) != drawn(2)


def test_logprobs_of_large_logits_are_exact() -> None:
    logits = np.stack([LOGITS, LOGITS + 1000, LOGITS - 1000])
    np.testing.assert_allclose(logprobs(logits)[0], np.log(SHARES), atol=1e-6)
    np.testing.assert_allclose(logprobs(logits), np.log([SHARES] * 3), atol=1e-4)
    picked = picked_logprobs(logits, np.array([1, 2, 3]))
    np.testing.assert_allclose(picked, np.log(SHARES[1:]), atol=1e-4)
