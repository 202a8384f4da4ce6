"""What demonstrations would have gained at other step sizes: from the raw log-probabilities that
rounds keep, so that no model is asked."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Select, select
from sqlalchemy.orm import aliased

from lab.statistics import Estimate, estimate
from services.catalog.models import Event
from services.demonstrations.models import StoredVariant
from services.errors import ConfigurationError
from services.optimizer.models import CandidateSet, Evaluation, Round, RoundState, Run
from services.optimizer.plan import Plan
from services.prompts import Mode
from services.ranking import Method, in_order
from services.ranking.effect import effect_d, log_score
from services.storage.database import Database

SIZES = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)

_Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Told:
    """A text and nothing, on one held-out event: log-probabilities by candidate, mean of the orders
    shown."""

    user_id: str
    variant_id: str
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
    other had found. Of those, what was judged as the newest round judged: under another model or in
    another template, texts gain another amount."""
    async with database.reading() as session:
        newest = (await session.execute(_NEWEST)).first()
        if newest is None:
            raise ConfigurationError("no text was judged in this database: run some rounds on it")
        fingerprint, settings = newest
        _expect_log_probabilities(Plan.of_row(settings).method)
        rows = (await session.execute(_judged_under(fingerprint))).all()
    if not rows:
        raise ConfigurationError(
            "no text was judged alone as the newest round judged: run some rounds with paired=false"
        )
    return [
        # Below a whole step, the orders shown without the demonstration come last.
        Told(user, variant, items, truth, _mean(without), _mean(shown[: len(without)]))
        for user, variant, items, truth, without, shown in rows
    ]


# Of the texts that a round wrote, as it judged them.
_NEWEST = (
    select(Evaluation.fingerprint, Run.settings)
    .join(StoredVariant, StoredVariant.variant_id == Evaluation.variant_id)
    .join(
        Round,
        (Round.user_id == StoredVariant.user_id) & (Round.number == StoredVariant.round_number),
    )
    .join(Run, Run.run_id == Round.run_id)
    .where(Round.state == RoundState.DONE)
    .order_by(Round.finished_at.desc(), Evaluation.made_at.desc())
    .limit(1)
)


def _expect_log_probabilities(method: Method) -> None:
    if method.mode is Mode.GENERATE or method.calibrated:
        how = "wrote lists" if method.mode is Mode.GENERATE else "were calibrated"
        raise ConfigurationError(
            f"the newest rounds {how}, and step sizes are told from raw log-probabilities: run "
            "some in the mode first_token or likelihood, uncalibrated"
        )


def _judged_under(
    fingerprint: str,
) -> Select[str, str, list[str], str, list[list[float]], list[list[float]]]:
    zero, variant = aliased(StoredVariant), aliased(StoredVariant)
    bare, whole = aliased(Evaluation), aliased(Evaluation)
    same = (
        (bare.event_id == whole.event_id)
        & (bare.question == whole.question)
        & (bare.fingerprint == whole.fingerprint)
        & (bare.permutation_seed == whole.permutation_seed)
    )
    return (
        select(
            variant.user_id,
            variant.variant_id,
            CandidateSet.item_ids,
            Event.item_id,
            bare.raw,
            whole.raw,
        )
        .join(whole, whole.variant_id == variant.variant_id)
        .join(zero, (zero.user_id == variant.user_id) & zero.current_id.is_(None))
        .join(bare, (bare.variant_id == zero.variant_id) & same)
        .join(Event, Event.event_id == whole.event_id)
        .join(
            CandidateSet,
            (CandidateSet.event_id == whole.event_id) & (CandidateSet.draw == whole.draw),
        )
        .where(
            variant.current_id.is_not(None),
            variant.perturbation_id.is_(None),
            whole.fingerprint == fingerprint,
        )
        .order_by(variant.user_id, variant.variant_id)
    )


def gained(told: Sequence[Told], sizes: Sequence[float] = SIZES) -> Mapping[float, Gained]:
    return {size: _gained(told, size) for size in sizes}


def _gained(told: Sequence[Told], size: float) -> Gained:
    """By text first: one that was ahead on the first draw of candidates was judged on others, too,
    and would count as often."""
    by_text: defaultdict[tuple[str, str], list[tuple[float, float]]] = defaultdict(list)
    for one in told:
        by_text[one.user_id, one.variant_id].append(one.gains(size))
    by_user: defaultdict[str, list[_Floats]] = defaultdict(list)
    for (user_id, _), gains in by_text.items():
        by_user[user_id].append(np.mean(gains, axis=0))
    means = np.array([np.mean(texts, axis=0) for texts in by_user.values()])
    return Gained(estimate(means[:, 0]), estimate(means[:, 1]))


def _mean(orders: Sequence[Sequence[float]]) -> _Floats:
    mean: _Floats = np.asarray(orders, dtype=np.float64).mean(axis=0)
    return mean
