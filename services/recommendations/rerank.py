"""What POST /rerank does: documents by their relevance to a query, in the contract of rerankers.

The query is what somebody has taken, a title on each line; nothing of it is the catalog's.
"""

from __future__ import annotations

import math
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field

from services.llm.deadline import Deadline
from services.llm.errors import ModelError
from services.llm.port import Terms, Usage
from services.observability.logging import get_logger
from services.observability.metrics import DegradedLabels, Metrics, RankingLabels
from services.observability.slo import Slo, count
from services.prompts import Mode, PromptTooLong
from services.ranking import Candidate, Ranker, Ranking, RankingRequest, in_order
from services.recommendations.meeting import early
from services.recommendations.places import Places
from services.recommendations.policy import (
    ChosenBy,
    RankingPolicy,
    Regularizing,
    default_regularization,
    method_in_force,
)
from services.recommendations.wanted import Source

log = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Relevance:
    """`index` is the document's place in the request."""

    index: int
    score: float


@dataclass(frozen=True)
class Reranked:
    """Most relevant first. The scores are probabilities: they add up to 1 over all documents."""

    rerank_id: str
    relevances: Sequence[Relevance]
    source: Source
    model: str | None = None
    reason: str | None = None
    usage: Usage = field(default_factory=Usage)

    @property
    def degraded(self) -> bool:
        return self.source is not Source.MODEL


class Reranker:
    def __init__(
        self,
        ranker: Ranker,
        places: Places,
        metrics: Metrics,
        policy: RankingPolicy,
        regularization: Regularizing = default_regularization,
    ) -> None:
        self._ranker = ranker
        self._places = places
        self._metrics = metrics
        self._policy = policy
        self._regularization = regularization

    async def rerank(
        self,
        query: str,
        documents: Sequence[str],
        *,
        deadline_seconds: float | None = None,
        since: float | None = None,
    ) -> Reranked:
        """Raises Overloaded at once where too many are under way."""
        seconds = deadline_seconds or self._policy.deadline_seconds
        deadline = Deadline.after(seconds) if since is None else Deadline(since + seconds)
        history = tuple(line for line in map(str.strip, query.splitlines()) if line)
        candidates = tuple(Candidate(str(place), text) for place, text in enumerate(documents))
        async with self._places.one():
            try:
                return await self._ranked(RankingRequest(history, candidates), deadline)
            except ModelError as error:
                reason = error.outcome
            except PromptTooLong:
                reason = "prompt_too_long"
        log.warning("reranked_without_model", reason=reason)
        self._metrics.recommendations_degraded.add(DegradedLabels(Source.GIVEN, reason))
        count(self._metrics, Slo.BY_MODEL, met=False)
        alike = [Relevance(place, 1 / len(documents)) for place in range(len(documents))]
        return Reranked(_new_id(), alike, Source.GIVEN, reason=reason)

    async def _ranked(self, request: RankingRequest, deadline: Deadline) -> Reranked:
        terms = Terms(early(deadline))
        now = await method_in_force(self._ranker.model, self._policy, self._regularization, terms)
        ranked = await self._ranker.rank_all([request], now.method, terms)
        self._metrics.rankings.add(RankingLabels(now.method.mode, ChosenBy.SETTINGS))
        count(self._metrics, Slo.BY_MODEL, met=True)
        (ranking,) = ranked.rankings
        shares = _shares(ranking)
        order = in_order(ranking.item_ids, shares)
        return Reranked(
            _new_id(),
            [Relevance(place, shares[place]) for place in order],
            Source.MODEL,
            now.engine.model,
            usage=ranked.usage,
        )


def _shares(ranking: Ranking) -> list[float]:
    """Of log-probs, the probabilities. A written list has none: there the shares of 1/place."""
    if ranking.method.mode is Mode.GENERATE:
        weights = [-1 / score for score in ranking.scores]
    else:
        weights = [math.exp(score) for score in ranking.scores]
    total = math.fsum(weights)
    return [weight / total for weight in weights]


def _new_id() -> str:
    return f"rerank-{uuid.uuid4().hex}"
