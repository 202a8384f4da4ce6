"""What POST /recommend does: candidates, a ranking by the model, and what there is without one.

The model is asked within the deadline. Where it does not answer in time, or answers garbage, the
list comes from the last good ranking of the user, from retrieval's order, or from popularity, in
this turn; the reply says which and why.
"""

from __future__ import annotations

import hashlib
import json
import time
import uuid
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace

from services.catalog.models import Item
from services.catalog.repository import CatalogRepository
from services.errors import InvalidRequest, Overloaded
from services.llm.deadline import Deadline
from services.llm.errors import AbilityMissing, ModelError
from services.llm.port import LabelSource, LanguageModel, Terms
from services.observability.logging import get_logger
from services.observability.metrics import (
    DegradedLabels,
    Metrics,
    NoLabels,
    RankingLabels,
    SourceLabels,
)
from services.prompts import Limits, Mode, PromptTooLong
from services.ranking import (
    Candidate,
    EvaluationFingerprint,
    Method,
    Ranker,
    Ranking,
    RankingRequest,
    fused,
    in_order,
)
from services.recommendations.replies import Replies
from services.recommendations.user_states import LAST_KEPT, LastRanking, UserState, UserStates
from services.recommendations.wanted import (
    Explanation,
    GivenItem,
    Recommendation,
    Recommended,
    Source,
    Wanted,
)
from services.retrieval.retrieval import Candidate as Retrieved
from services.retrieval.retrieval import Retrieval
from services.retrieval.retrieval import Source as RetrievedBy
from services.storage.database import Database

# Of a deadline, left for the answer that does without the model.
RESERVED_SECONDS = 0.03
MOST_RANKED = 128
PREPARING_SECONDS = 60.0

log = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class RankingPolicy:
    """How lists are ranked where the request does not say."""

    mode: Mode | None = None  # None: the best the engine can do
    permutations: int = 1
    calibrated: bool = False
    prior_weight: float = 0.0
    candidates: int = 50
    deadline_seconds: float = 1.0
    stored_seconds: float = 300.0
    at_once: int = 64


@dataclass(frozen=True, slots=True)
class _Met:
    """Whom and what a request is about. Titles of `history` are of what a prompt may show."""

    state: UserState
    history: tuple[str | None, ...]
    pool: tuple[Retrieved, ...]  # in the order of retrieval, visible ones with their titles
    unknown: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Order:
    """Candidates with scores, best first, and where the order is from."""

    source: Source
    item_ids: Sequence[str]
    scores: Sequence[float]
    ranking: Ranking | None = None
    mode: Mode | None = None
    model: str | None = None
    stored: bool = False
    reason: str | None = None


class Recommender:
    def __init__(  # noqa: PLR0917 - the parts it is composed of, once, in the composition root
        self,
        database: Database,
        states: UserStates,
        retrieval: Retrieval,
        model: LanguageModel,
        replies: Replies,
        metrics: Metrics,
        policy: RankingPolicy,
    ) -> None:
        self._database = database
        self._states = states
        self._retrieval = retrieval
        self._model = model
        self._ranker = Ranker(model)
        self._replies = replies
        self._metrics = metrics
        self._policy = policy
        self._under_way = 0

    async def prepare(self) -> None:
        """Lets the model be loaded, or met, before the first request waits for it."""
        try:
            terms = Terms.within(PREPARING_SECONDS)
            engine = await self._model.describe(terms)
            method = self._method(Wanted(), engine.capabilities.labels)
            await self._ranker.prepare(method, terms)
        except ModelError as error:
            log.warning("model_not_prepared", error=str(error))

    async def recommend(self, wanted: Wanted) -> Recommendation:
        """Raises Overloaded at once where too many are under way, and InvalidRequest where the
        mode asked for is none of the engine's."""
        if self._under_way >= self._policy.at_once:
            self._metrics.recommendations_refused.add(NoLabels())
            raise Overloaded(
                f"{self._under_way} recommendations are under way: try again in a moment",
                headers={"Retry-After": "1"},
            )
        self._under_way += 1
        try:
            return await self._recommended(wanted)
        finally:
            self._under_way -= 1

    async def _recommended(self, wanted: Wanted) -> Recommendation:
        clock = _Clock()
        seconds = wanted.deadline_seconds or self._policy.deadline_seconds
        deadline = Deadline.after(seconds)
        met = await self._meet(wanted)
        clock.lap("candidates")
        order = await self._ordered(wanted, met, deadline)
        clock.lap("ranking")
        given = self._reply(wanted, met, order)
        if wanted.explain:
            given = replace(given, explanation=await self._explained(met, order, deadline))
        clock.lap("reply")
        given = replace(given, timings=clock.milliseconds())
        self._metrics.recommendations.add(SourceLabels(given.source))
        if given.reason is not None:
            self._metrics.recommendations_degraded.add(DegradedLabels(given.source, given.reason))
        prompt = None if order.ranking is None else order.ranking.prompts[0]
        self._replies.keep(wanted.user_id, given, prompt)
        return given

    # --- whom and what it is about ----------------------------------------------------------

    async def _meet(self, wanted: Wanted) -> _Met:
        state = UserState()
        if wanted.user_id is not None:
            state = await self._states.of(wanted.user_id)
        named = {item.item_id: item.title for item in wanted.history if item.title is not None}
        history = (*state.history, *(item.item_id for item in wanted.history))
        if wanted.candidates is None:
            pool = await self._retrieval.candidates(
                # Who has taken more than is at hand: retrieval looks it up.
                user_id=None if state.complete else wanted.user_id,
                history=history,
                limit=max(self._policy.candidates, min(wanted.k, MOST_RANKED)),
                exclude_seen=wanted.exclude_seen,
                categories=() if wanted.category is None else (wanted.category,),
            )
            shown, unknown = tuple(pool), tuple[str, ...]()
        else:
            seen = frozenset(history) if wanted.exclude_seen else frozenset[str]()
            shown, unknown = await self._given(wanted.candidates, history, seen)
        newest = history[-(Limits().history_items + Limits().extra_history_tokens) :]
        titles = await self._titles([item for item in newest if item not in named]) | named
        return _Met(state, tuple(titles.get(item) for item in newest), shown, unknown)

    async def _given(
        self, candidates: Sequence[GivenItem], history: Sequence[str], seen: Collection[str]
    ) -> tuple[tuple[Retrieved, ...], tuple[str, ...]]:
        """The caller's candidates in the order of retrieval, and which of them nobody knows."""
        by_id = [item.item_id for item in candidates if item.title is None]
        known = await self._items(by_id)
        titles = {item.item_id: item.title for item in candidates}
        titles |= {item_id: item.title for item_id, item in known.items()}
        unknown = [item_id for item_id in by_id if item_id not in known]
        hidden = {item_id for item_id, item in known.items() if item.hidden}
        left_out = {*unknown, *hidden, *seen}
        wanted = [item.item_id for item in candidates if item.item_id not in left_out]
        priors = await self._retrieval.priors(wanted, history=history)
        shown = [
            Retrieved(item_id, titles[item_id], priors[item_id], RetrievedBy.POPULARITY)
            for item_id in sorted(wanted, key=lambda item_id: -priors[item_id])
        ]
        return tuple(shown), tuple(unknown)

    async def _titles(self, item_ids: Sequence[str]) -> dict[str, str | None]:
        return {item_id: item.title for item_id, item in (await self._items(item_ids)).items()}

    async def _items(self, item_ids: Sequence[str]) -> Mapping[str, Item]:
        if not item_ids:
            return {}
        async with self._database.reading() as session:
            return await CatalogRepository(session).items_by_id(item_ids)

    # --- in which order -----------------------------------------------------------------------

    async def _ordered(self, wanted: Wanted, met: _Met, deadline: Deadline) -> _Order:
        pool = met.pool
        if len(pool) < 2 or not any(item.title for item in pool):
            # There is nothing to tell apart.
            return _by_retrieval(pool, "nothing_to_rank" if pool else "no_candidates")
        reserved = Deadline(deadline.at - RESERVED_SECONDS)
        terms = Terms(reserved)
        request = RankingRequest(
            met.history, tuple(Candidate(item.item_id, item.title) for item in pool[:MOST_RANKED])
        )
        try:
            engine = await self._model.describe(terms)
            method = self._method(wanted, engine.capabilities.labels)
            question = _digest(EvaluationFingerprint.of(engine.fingerprint, method), request)
            if stored := self._stored(met.state, question):
                return replace(stored, mode=method.mode, model=engine.fingerprint.model)
            ranking = await self._ranker.rank(request, method, terms)
        except AbilityMissing as error:
            if wanted.mode is not None:
                raise InvalidRequest(
                    f"the model cannot rank by {wanted.mode}: {error}. Leave `mode` out"
                ) from None
            return self._without_model(wanted, met, error.outcome)
        except ModelError as error:
            return self._without_model(wanted, met, error.outcome)
        except PromptTooLong:
            return self._without_model(wanted, met, "prompt_too_long")
        self._metrics.rankings.add(RankingLabels(method.mode))
        order = replace(
            self._fused(ranking, pool), mode=method.mode, model=engine.fingerprint.model
        )
        if wanted.user_id is not None and wanted.candidates is None:
            last = LastRanking(
                question, time.time(), tuple(order.item_ids[:LAST_KEPT]),
                tuple(order.scores[:LAST_KEPT]),
            )  # fmt: skip
            await self._states.keep_last(wanted.user_id, last)
        return order

    def _method(self, wanted: Wanted, labels: LabelSource) -> Method:
        policy = self._policy
        best = Mode.GENERATE if labels is LabelSource.NONE else Mode.FIRST_TOKEN
        method = Method(permutations=policy.permutations, calibrated=policy.calibrated)
        return method.in_mode(wanted.mode or policy.mode or best)

    def _stored(self, state: UserState, question: str) -> _Order | None:
        """The same question was answered a moment ago."""
        last = state.last
        if last is None or last.question != question:
            return None
        if time.time() - last.at > self._policy.stored_seconds:
            return None
        return _Order(Source.MODEL, last.item_ids, last.scores, stored=True)

    def _fused(self, ranking: Ranking, pool: Sequence[Retrieved]) -> _Order:
        scores = ranking.scores
        if self._policy.prior_weight:
            priors = [item.prior for item in pool[: len(scores)]]
            scores = fused(scores, priors, self._policy.prior_weight)
        order = in_order(ranking.item_ids, scores)
        return _Order(
            Source.MODEL,
            [ranking.item_ids[place] for place in order],
            [scores[place] for place in order],
            ranking,
        )

    def _without_model(self, wanted: Wanted, met: _Met, reason: str) -> _Order:
        log.warning("recommended_without_model", reason=reason)
        last = met.state.last
        if last is None or wanted.candidates is not None:
            return _by_retrieval(met.pool, reason)
        allowed = {item.item_id for item in met.pool}
        ranked = [item_id for item_id in last.item_ids if item_id in allowed]
        if not ranked:
            return _by_retrieval(met.pool, reason)
        rest = [item.item_id for item in met.pool if item.item_id not in set(ranked)]
        ids = [*ranked, *rest]
        # Scores of two origins have no common scale: only the order is told.
        return _Order(Source.LAST_RANKING, ids, _descending(len(ids)), reason=reason)

    # --- what is answered ---------------------------------------------------------------------

    def _reply(self, wanted: Wanted, met: _Met, order: _Order) -> Recommendation:
        titles = {item.item_id: item.title for item in met.pool}
        pairs = zip(order.item_ids, order.scores, strict=True)
        shown = [(item_id, score) for item_id, score in pairs if item_id in titles][: wanted.k]
        return Recommendation(
            recommendation_id=f"rec-{uuid.uuid4().hex}",
            items=[
                Recommended(item_id, titles[item_id], score, rank)
                for rank, (item_id, score) in enumerate(shown, start=1)
            ],
            source=order.source,
            scoring_mode=order.mode,
            model=order.model,
            stored=order.stored,
            reason=order.reason,
        )

    async def _explained(self, met: _Met, order: _Order, deadline: Deadline) -> Explanation:
        tokens: dict[str, int] = {}
        if order.ranking is not None:
            count = await self._model.counter(Terms(deadline))
            tokens = {one.name.value: count(one.text) for one in order.ranking.prompts[0].segments}
        return Explanation(
            ranking=order.ranking,
            segment_tokens=tokens,
            priors={item.item_id: item.prior for item in met.pool},
            prior_weight=self._policy.prior_weight,
            fallbacks=[order.reason] if order.reason else [],
            unknown_items=met.unknown,
        )


class _Clock:
    def __init__(self) -> None:
        self._began = self._last = time.perf_counter()
        self._laps: dict[str, float] = {}

    def lap(self, name: str) -> None:
        now = time.perf_counter()
        self._laps[name] = now - self._last
        self._last = now

    def milliseconds(self) -> dict[str, float]:
        laps = {**self._laps, "total": self._last - self._began}
        return {f"{name}_ms": round(1000 * seconds, 2) for name, seconds in laps.items()}


def _by_retrieval(pool: Sequence[Retrieved], reason: str) -> _Order:
    from_retrieval = any(item.source is RetrievedBy.COVISIT for item in pool)
    return _Order(
        Source.RETRIEVAL if from_retrieval else Source.POPULARITY,
        [item.item_id for item in pool],
        [item.prior for item in pool],
        reason=reason,
    )


def _descending(size: int) -> list[float]:
    return [float(-place) for place in range(1, size + 1)]


def _digest(fingerprint: EvaluationFingerprint, request: RankingRequest) -> str:
    asked = [
        fingerprint.digest,
        request.history,
        [(candidate.item_id, candidate.title) for candidate in request.candidates],
    ]
    return hashlib.sha256(json.dumps(asked).encode()).hexdigest()[:24]
