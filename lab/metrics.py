"""What a rank of the one true item is worth, and how well scores part the true from the others."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from lab.statistics import mean_ranks
from services.ranking.effect import effect_d


def ndcg(rank: int, cutoff: int) -> float:
    return effect_d(rank) if rank <= cutoff else 0.0


def recall(rank: int, cutoff: int) -> float:
    return float(rank <= cutoff)


def random_ndcg(candidates: int, cutoff: int) -> float:
    """What a random order of the candidates is worth on average."""
    return sum(ndcg(rank, cutoff) for rank in range(1, candidates + 1)) / candidates


def auc(scores: Sequence[float], relevant: Sequence[bool]) -> float:
    """The chance that a relevant candidate scores above another one; equal scores count half."""
    chosen = np.asarray(relevant, dtype=np.bool_)
    good, bad = int(chosen.sum()), int((~chosen).sum())
    if not good or not bad:
        raise ValueError("AUC needs relevant candidates and others")
    above = mean_ranks(np.asarray(scores, dtype=np.float64))[chosen].sum() - good * (good + 1) / 2
    return float(above / (good * bad))


def gauc_parts(aucs: Sequence[float], sizes: Sequence[int]) -> list[float]:
    """Of each user, so that their mean is GAUC: the mean of the users' AUC, each weighted by the
    number of candidates that the user was shown."""
    mean_size = math.fsum(sizes) / len(sizes)
    return [value * size / mean_size for value, size in zip(aucs, sizes, strict=True)]
