"""Means over lists and their 95 % intervals, where the lists of one user are not independent.

A mean over lists is a ratio of two sums over users. Its variance is that of the linearized ratio
(the cluster-robust one): users are what is drawn, and a user with many lists weighs as such.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist

from pydantic import BaseModel, ConfigDict, Field

_Z = NormalDist().inv_cdf(0.975)


class Estimate(BaseModel):
    model_config = ConfigDict(frozen=True)

    mean: float
    low: float | None = Field(
        description="The 95 % interval, clustered by user. null: users do not differ (yet), so "
        "nothing can be said."
    )
    high: float | None


@dataclass(frozen=True, slots=True)
class Ratio:
    mean: float
    variance: float
    clusters: int

    @classmethod
    def of(cls, totals: Sequence[float], sizes: Sequence[int]) -> Ratio | None:
        """By cluster: what its members have together, and how many they are. None: nobody."""
        size, clusters = sum(sizes), len(sizes)
        if not size:
            return None
        mean = math.fsum(totals) / size
        if clusters < 2:
            return cls(mean, 0.0, clusters)
        squares = math.fsum((total - mean * n) ** 2 for total, n in zip(totals, sizes, strict=True))
        return cls(mean, clusters / (clusters - 1) * squares / size**2, clusters)

    def estimate(self) -> Estimate:
        return _estimate(self.mean, self.variance, self.clusters - 1, lowest=0.0)

    def over(self, other: Ratio) -> Estimate:
        """Two arms have no user in common: their variances add up. Degrees of freedom by Welch
        and Satterthwaite."""
        variance = self.variance + other.variance
        if not self.variance or not other.variance:
            return Estimate(mean=self.mean - other.mean, low=None, high=None)
        freedom = variance**2 / sum(one.variance**2 / (one.clusters - 1) for one in (self, other))
        return _estimate(self.mean - other.mean, variance, freedom, lowest=-1.0)


def _estimate(mean: float, variance: float, freedom: float, *, lowest: float) -> Estimate:
    if not variance:
        return Estimate(mean=mean, low=None, high=None)
    half = student(freedom) * math.sqrt(variance)
    return Estimate(mean=mean, low=max(lowest, mean - half), high=min(1.0, mean + half))


def student(freedom: float) -> float:
    """The 97.5 % quantile of Student's t, by Cornish and Fisher's expansion about the normal one:
    to a thousandth from five degrees of freedom on."""
    z = _Z
    return (
        z
        + (z**3 + z) / (4 * freedom)
        + (5 * z**5 + 16 * z**3 + 3 * z) / (96 * freedom**2)
        + (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / (384 * freedom**3)
    )
