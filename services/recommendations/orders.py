"""Candidates in an order, and where it is from: the model, or what there is without it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from services.demonstrations.variant import ServedVariant
from services.prompts import Mode
from services.ranking import Ranking
from services.recommendations.meeting import Met
from services.recommendations.wanted import Source, Wanted
from services.retrieval.retrieval import Candidate
from services.retrieval.retrieval import Source as RetrievedBy


@dataclass(frozen=True, slots=True)
class Order:
    """Candidates with scores, best first, and where the order is from."""

    source: Source
    item_ids: Sequence[str]
    scores: Sequence[float]
    ranking: Ranking | None = None
    mode: Mode | None = None
    model: str | None = None
    variant: ServedVariant | None = None
    stored: bool = False
    reason: str | None = None


def without_model(wanted: Wanted, met: Met, reason: str) -> Order:
    """The last good ranking, where it has any of these candidates; else retrieval's order."""
    last = met.state.last
    if last is None or wanted.candidates is not None:
        return by_retrieval(met.pool, reason)
    allowed = {item.item_id for item in met.pool}
    ranked = [item_id for item_id in last.item_ids if item_id in allowed]
    if not ranked:
        return by_retrieval(met.pool, reason)
    rest = [item.item_id for item in met.pool if item.item_id not in set(ranked)]
    ids = [*ranked, *rest]
    # Scores of two origins have no common scale: only the order is told.
    return Order(Source.LAST_RANKING, ids, _descending(len(ids)), reason=reason)


def at_hand(met: Met) -> Order:
    """What was met without the catalog, in its order: nobody could rank or even look it up."""
    assert met.instead is not None
    ids = [item.item_id for item in met.pool]
    return Order(met.instead, ids, _descending(len(ids)), reason=met.reason)


def by_retrieval(pool: Sequence[Candidate], reason: str) -> Order:
    from_retrieval = any(item.source is RetrievedBy.COVISIT for item in pool)
    return Order(
        Source.RETRIEVAL if from_retrieval else Source.POPULARITY,
        [item.item_id for item in pool],
        [item.prior for item in pool],
        reason=reason,
    )


def _descending(size: int) -> list[float]:
    return [float(-place) for place in range(1, size + 1)]
