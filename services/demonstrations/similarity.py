"""How alike two texts are, by their hashed character n-grams: deterministic, and free of models."""

from __future__ import annotations

import math
import zlib
from collections import Counter
from itertools import combinations

SIZES = (3, 4, 5)
_BUCKETS = 2**18

Profile = Counter[int]


def profile(text: str) -> Profile:
    """Case and white space aside. Words are set apart, so that their beginnings and ends count."""
    line = f" {' '.join(text.casefold().split())} "
    return Counter(
        zlib.crc32(line[begin : begin + size].encode()) % _BUCKETS
        for size in SIZES
        for begin in range(len(line) - size + 1)
    )


def similarity(one: Profile, other: Profile) -> float:
    """The cosine: 1 for equal texts, 0 for texts with nothing in common."""
    product = sum(count * other[gram] for gram, count in one.items() if gram in other)
    norms = _norm(one) * _norm(other)
    return min(1.0, product / norms) if norms else 0.0


def alike(one: str, other: str) -> float:
    return similarity(profile(one), profile(other))


def mean_pairwise(texts: list[str]) -> float:
    """Of at least two texts."""
    pairs = list(combinations(map(profile, texts), 2))
    return sum(similarity(one, other) for one, other in pairs) / len(pairs)


def _norm(grams: Profile) -> float:
    return math.sqrt(sum(count * count for count in grams.values()))
