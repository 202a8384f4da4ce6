"""What demonstrations would have gained at other step sizes: from the raw log-probabilities that
rounds keep, so that no model is asked."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import select
from sqlalchemy.orm import aliased

from lab.statistics import Estimate, estimate
from services.catalog.models import Event
from services.demonstrations.models import StoredVariant
from services.errors import ConfigurationError
from services.optimizer.models import CandidateSet, Evaluation
from services.ranking import in_order
from services.ranking.effect import effect_d, log_score
from services.storage.database import Database

SIZES = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)

_Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Told:
    """A text and nothing, on one held-out event: log-probabilities by candidate, mean of the orders
    shown."""

    user_id: str
    item_ids: Sequence[str]
    truth: str
    bare: _Floats
    whole: _Floats

    def gains(self, size: float) -> tuple[float, float]:
        """Over zero-shot, in log-score and in Effect_D."""
        reached = self._judged(self.bare + size * (self.whole - self.bare))
        return reached[0] - self._start[0], reached[1] - self._start[1]

    @cached_property
    def _start(self) -> tuple[float, float]:
        return self._judged(self.bare)

    def _judged(self, scores: _Floats) -> tuple[float, float]:
        place = self.item_ids.index(self.truth)
        rank = 1 + in_order(self.item_ids, scores.tolist()).index(place)
        return log_score(scores.tolist(), place), effect_d(rank)


@dataclass(frozen=True)
class Gained:
    """Means over users."""

    log_score: Estimate
    effect_d: Estimate


async def read_told(database: Database) -> list[Told]:
    """Of every text that was judged alone: one that is shown beside another was chosen by what the
    other had found."""
    zero, variant = aliased(StoredVariant), aliased(StoredVariant)
    bare, whole = aliased(Evaluation), aliased(Evaluation)
    same = (
        (bare.event_id == whole.event_id)
        & (bare.question == whole.question)
        & (bare.fingerprint == whole.fingerprint)
        & (bare.permutation_seed == whole.permutation_seed)
    )
    wanted = (
        select(variant.user_id, CandidateSet.item_ids, Event.item_id, bare.raw, whole.raw)
        .join(whole, whole.variant_id == variant.variant_id)
        .join(zero, (zero.user_id == variant.user_id) & zero.current_id.is_(None))
        .join(bare, (bare.variant_id == zero.variant_id) & same)
        .join(Event, Event.event_id == whole.event_id)
        .join(
            CandidateSet,
            (CandidateSet.event_id == whole.event_id) & (CandidateSet.draw == whole.draw),
        )
        .where(variant.current_id.is_not(None), variant.perturbation_id.is_(None))
        .order_by(variant.user_id, variant.variant_id)
    )
    async with database.reading() as session:
        rows = (await session.execute(wanted)).all()
    if not rows:
        raise ConfigurationError("no text was judged in this database: run some rounds on it first")
    return [
        # Below a whole step, the orders shown without the demonstration come last.
        Told(user, items, truth, _mean(without), _mean(shown[: len(without)]))
        for user, items, truth, without, shown in rows
    ]


def gained(told: Sequence[Told], sizes: Sequence[float] = SIZES) -> Mapping[float, Gained]:
    return {size: _gained(told, size) for size in sizes}


def _gained(told: Sequence[Told], size: float) -> Gained:
    by_user: defaultdict[str, list[tuple[float, float]]] = defaultdict(list)
    for one in told:
        by_user[one.user_id].append(one.gains(size))
    means = np.array([np.mean(gains, axis=0) for gains in by_user.values()])
    return Gained(estimate(means[:, 0]), estimate(means[:, 1]))


def _mean(orders: Sequence[Sequence[float]]) -> _Floats:
    mean: _Floats = np.asarray(orders, dtype=np.float64).mean(axis=0)
    return mean
