"""A contextual bandit over few arms: LinUCB (arXiv 1003.0146), on rewards that are known already.

It is shown one user at a time, pulls one arm, and learns from that arm's reward alone, as it would
in life; what the other arms would have given is kept from it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

Context = NDArray[np.float64]

EXPLORATION, RIDGE, PASSES = 0.5, 1.0, 3


class LinUcb:
    def __init__(self, arms: int, width: int) -> None:
        self._seen = np.stack([RIDGE * np.eye(width)] * arms)
        self._rewarded = np.zeros((arms, width))

    def learn(
        self, contexts: Mapping[str, Context], rewards: Mapping[str, Sequence[float]], seed: int = 0
    ) -> None:
        """`rewards` by user, then by arm."""
        rng = np.random.default_rng(seed)
        users = sorted(rewards)
        for _ in range(PASSES):
            for place in rng.permutation(len(users)).tolist():
                context = contexts[users[place]]
                arm = self._pulled(context, EXPLORATION)
                self._seen[arm] += np.outer(context, context)
                self._rewarded[arm] += rewards[users[place]][arm] * context

    def best(self, context: Context) -> int:
        return self._pulled(context, 0.0)

    def _pulled(self, context: Context, exploration: float) -> int:
        inverses = np.linalg.inv(self._seen)
        expected = np.einsum("aij,aj,i->a", inverses, self._rewarded, context)
        spread = np.sqrt(np.einsum("i,aij,j->a", context, inverses, context))
        return int(np.argmax(expected + exploration * spread))
