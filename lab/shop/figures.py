"""How learnable the shop is: what rankings of the next positive item are worth, by what they know.

Each user's newest positive is ranked among 49 uniform negatives. The bounds that the shop is tuned
to: the oracle at .75-.85, popularity at .15-.25, and a summary of older behavior beside a window of
6 to 8 recent items worth at least 1.25 times the window alone.
"""

import time
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from lab.shop.events import sample_users
from lab.shop.lives import sample_lives
from lab.shop.taste import EVALUATION_USERS, SHOP_SEED, Life, Shop, utilities

CANDIDATES = 50
CUTOFF = 10
WINDOWS = (6, 8)

# Popularity is counted over users of their own, so it knows nothing of the users it ranks for.
CROWD = EVALUATION_USERS[-1_000:]

# Recorded in full, to time that path and to count events.
RECORDED = 100

# A value that the summary names counts as much as so many occurrences in the window.
SUMMARY_WORTH = 2.0


def describe(users: int = 1_000, seed: int = SHOP_SEED) -> dict[str, float]:
    """Figures of the shop over fresh evaluation users, by dotted name."""
    shop = Shop(seed)
    rng = np.random.default_rng(np.random.SeedSequence(seed))
    began = time.perf_counter()
    crowd = list(sample_lives(shop, CROWD))
    seconds = time.perf_counter() - began
    sold = np.bincount(
        np.concatenate([life.items for life in crowd]), minlength=len(shop.catalog.items)
    ).astype(np.float64)

    gains: dict[str, list[float]] = {}
    lives = list(sample_lives(shop, EVALUATION_USERS[:users]))
    for life in lives:
        candidates = _candidates(shop, life, rng)
        for name, scores in _rankings(shop, life, sold):
            gains.setdefault(name, []).append(_ndcg(scores[candidates]))
    figures = {f"{name}.ndcg@{CUTOFF}": float(np.mean(values)) for name, values in gains.items()}
    for window in WINDOWS:
        alone, both = f"counts.window{window}", f"counts.window{window}_summary"
        figures[f"headroom.window{window}"] = float(np.sum(gains[both]) / np.sum(gains[alone]))

    figures["positives.mean"] = float(np.mean([len(life.items) for life in lives]))
    figures["taste_changes.mean"] = float(np.mean([len(life.liked) - 1 for life in lives]))
    figures["users_per_s"] = len(crowd) / seconds
    began = time.perf_counter()
    recorded = list(sample_users(shop, EVALUATION_USERS[:RECORDED]))
    figures["recorded_users_per_s"] = len(recorded) / (time.perf_counter() - began)
    figures["events.mean"] = float(np.mean([len(user.events) for user in recorded]))
    return figures


@dataclass(frozen=True)
class _Counts:
    """How often each value occurred in some of a user's positives."""

    shop: Shop
    values: NDArray[np.float64]

    @classmethod
    def of(cls, shop: Shop, items: NDArray[np.int64]) -> "_Counts":
        values = shop.catalog.item_values[items].ravel()
        counts = np.bincount(values, minlength=len(shop.catalog.values)).astype(np.float64)
        return cls(shop, counts)

    def summary(self) -> "_Counts":
        """The most frequent values of each axis, as many as a user likes: named or not."""
        named = np.zeros_like(self.values)
        axes = pairwise(self.shop.catalog.axis_starts)
        for (begin, end), liked in zip(axes, self.shop.rules.liked, strict=True):
            named[begin + np.argsort(-self.values[begin:end], kind="stable")[:liked]] = 1.0
        return _Counts(self.shop, named * (self.values > 0))

    def scores(self) -> NDArray[np.float64]:
        scores: NDArray[np.float64] = self.values[self.shop.catalog.item_values].sum(axis=1)
        return scores


def _rankings(
    shop: Shop, life: Life, sold: NDArray[np.float64]
) -> Iterator[tuple[str, NDArray[np.float64]]]:
    """Scores of all items for the user's newest positive, from those who know more or less."""
    newest = len(life.items) - 1
    history = life.items[:newest]
    yield "random", np.zeros_like(sold)
    yield "popularity", sold
    yield "oracle", utilities(shop, life, newest)
    yield "counts.all", _Counts.of(shop, history).scores()
    for window in WINDOWS:
        recent = _Counts.of(shop, history[-window:]).scores()
        older = _Counts.of(shop, history[:-window])
        summary = older.summary().scores()
        yield f"counts.window{window}", recent
        yield f"counts.older_than_window{window}", older.scores()
        yield f"counts.window{window}_summary", recent + SUMMARY_WORTH * summary


def _candidates(shop: Shop, life: Life, rng: np.random.Generator) -> NDArray[np.int64]:
    """The newest positive, then negatives that the user never took."""
    free = np.ones(len(shop.catalog.items), dtype=bool)
    free[life.items] = False
    negatives = rng.permutation(np.flatnonzero(free))[: CANDIDATES - 1]
    return np.concatenate([life.items[-1:], negatives])


def _ndcg(scores: NDArray[np.float64]) -> float:
    """Of the first candidate, the one true item, averaged over the orders of what ties with it."""
    ahead = int((scores[1:] > scores[0]).sum())
    tied = int((scores[1:] == scores[0]).sum())
    ranks = np.arange(ahead + 1, ahead + tied + 2)
    return float(np.where(ranks <= CUTOFF, 1 / np.log2(ranks + 1), 0.0).mean())
