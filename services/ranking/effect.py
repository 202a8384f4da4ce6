"""What a ranking is worth where one candidate is known to be the user's choice."""

from __future__ import annotations

import math
from collections.abc import Sequence


def effect_d(rank: int) -> float:
    """Effect_D = 1 / log2(rank + 1): 1 at the top, .5 at the third place. Of one true item, it is
    untruncated nDCG."""
    if rank < 1:
        raise ValueError(f"ranks count from 1: {rank}")
    return 1 / math.log2(rank + 1)


def log_score(scores: Sequence[float], truth: int) -> float:
    """The log of the softmax over the candidates at the truth: the continuous companion of
    Effect_D. `scores` are log-probs, calibrated or not, known up to a constant."""
    most = max(scores)
    total = most + math.log(math.fsum(math.exp(score - most) for score in scores))
    return scores[truth] - total
