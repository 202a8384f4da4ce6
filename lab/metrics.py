"""What a rank of the one true item is worth."""

from __future__ import annotations

import math


def effect_d(rank: int) -> float:
    return 1 / math.log2(rank + 1)


def ndcg(rank: int, cutoff: int) -> float:
    return effect_d(rank) if rank <= cutoff else 0.0


def recall(rank: int, cutoff: int) -> float:
    return float(rank <= cutoff)


def random_ndcg(candidates: int, cutoff: int) -> float:
    """What a random order of the candidates is worth on average."""
    return sum(ndcg(rank, cutoff) for rank in range(1, candidates + 1)) / candidates
