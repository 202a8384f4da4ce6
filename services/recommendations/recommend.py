"""What POST /recommend does: candidates, a ranking by the model, and what there is without one.

All of it is done within the deadline. Where the model does not answer in time, or answers garbage,
the list comes from the last good ranking of the user, from retrieval's order, or from popularity,
in this turn; where the database does not answer, from what is at hand without it. The reply says
which and why.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import time
import uuid
from collections.abc import Sequence
from dataclasses import astuple, replace

from services.errors import InvalidRequest
from services.llm.affinity import about
from services.llm.deadline import Deadline
from services.llm.errors import AbilityMissing, ModelError
from services.llm.port import Terms
from services.observability.logging import get_logger
from services.observability.metrics import (
    ArmLabels,
    DegradedLabels,
    Metrics,
    RankingLabels,
    ReadingLabels,
    SourceLabels,
)
from services.observability.slo import Slo, count
from services.observability.tracing import span
from services.prompts import PromptTooLong
from services.ranking import (
    EvaluationFingerprint,
    Ranker,
    Ranking,
    RankingRequest,
    fused,
    in_order,
)
from services.recommendations.arms import NO_ARM
from services.recommendations.experiments import Experiments
from services.recommendations.leave_one_out import LeaveOneOut, leave_one_out
from services.recommendations.meeting import Meeting, Met, early, ranking_request
from services.recommendations.orders import Order, at_hand, by_retrieval, without_model
from services.recommendations.places import Places
from services.recommendations.policy import (
    RankingPolicy,
    Regularizing,
    default_regularization,
    method_in_force,
)
from services.recommendations.replies import Replies
from services.recommendations.user_states import LAST_KEPT, LastRanking, UserState, UserStates
from services.recommendations.wanted import (
    LEAVE_ONE_OUT,
    Explanation,
    Recommendation,
    Recommended,
    Source,
    Wanted,
)
from services.retrieval.retrieval import Candidate as Retrieved

PREPARING_SECONDS = 60.0
# Reasons that are no fault of the model: with candidates, and without any.
NOTHING_TO_TELL_APART = ("nothing_to_rank", "no_candidates")

log = get_logger(__name__)


class Recommender:
    def __init__(  # noqa: PLR0917 - the parts it is composed of, once, in the composition root
        self,
        meeting: Meeting,
        states: UserStates,
        ranker: Ranker,
        replies: Replies,
        experiments: Experiments,
        places: Places,
        metrics: Metrics,
        policy: RankingPolicy,
        regularization: Regularizing = default_regularization,
    ) -> None:
        self._meeting = meeting
        self._states = states
        self._ranker = ranker
        self._model = ranker.model
        self._replies = replies
        self._experiments = experiments
        self._metrics = metrics
        self._policy = policy
        self._places = places
        self._regularization = regularization

    async def prepare(self) -> None:
        """Lets the model be loaded, or met, before the first request waits for it."""
        try:
            terms = Terms.within(PREPARING_SECONDS)
            now = await method_in_force(self._model, self._policy, self._regularization, terms)
            await self._ranker.prepare(now.method, terms)
        except ModelError as error:
            log.warning("model_not_prepared", error=str(error))

    async def recommend(self, wanted: Wanted, *, since: float | None = None) -> Recommendation:
        """Raises Overloaded at once where too many are under way, and InvalidRequest where the
        mode asked for is none of the engine's. The deadline counts `since` that moment of the
        monotonic clock: a caller began to wait when the request came, not when it was read."""
        deadline = self._deadline(wanted, since)
        async with self._places.one():
            return await self._recommended(wanted, deadline)

    async def recommend_row(self, wanted: Wanted) -> Recommendation:
        """A row of a batch: it waits for a place, within its deadline."""
        deadline = self._deadline(wanted, None)
        async with self._places.one_by(deadline):
            return await self._recommended(wanted, deadline)

    def _deadline(self, wanted: Wanted, since: float | None) -> Deadline:
        seconds = wanted.deadline_seconds or self._policy.deadline_seconds
        return Deadline.after(seconds) if since is None else Deadline(since + seconds)

    async def _recommended(self, wanted: Wanted, deadline: Deadline) -> Recommendation:
        clock = _Clock()
        assigned = self._experiments.assigned(wanted)
        policy = self._policy if assigned is None else assigned.arm.over(self._policy)
        with span("candidates"):
            met = await self._meeting.meet(wanted, deadline)
        clock.lap("candidates")
        if met.instead is not None:
            order = at_hand(met)
        else:
            with about(wanted.user_id), span("rank"):
                order = await self._ordered(wanted, met, deadline, policy)
        clock.lap("ranking")
        given = self._reply(wanted, met, order)
        if assigned is not None:
            given = replace(given, experiment=assigned.experiment_id, arm=assigned.arm.name)
        if wanted.explain:
            explanation = await self._explained(met, order, deadline, policy)
            if wanted.explain == LEAVE_ONE_OUT:
                left_out = await self._left_out(met, order, deadline)
                explanation = replace(explanation, leave_one_out=left_out)
            given = replace(given, explanation=explanation)
        clock.lap("reply")
        given = replace(given, timings=clock.milliseconds())
        self._metrics.recommendations.add(SourceLabels(given.source))
        self._metrics.recommendation_seconds.observe(SourceLabels(given.source), clock.seconds)
        if given.reason not in NOTHING_TO_TELL_APART:
            count(self._metrics, Slo.BY_MODEL, met=given.reason is None)
        if given.reason is not None:
            self._metrics.recommendations_degraded.add(DegradedLabels(given.source, given.reason))
        if wanted.user_id is not None:
            labels = ArmLabels(given.experiment or NO_ARM, given.arm or NO_ARM)
            self._metrics.recommendations_by_arm.add(labels)
        prompt = None if order.ranking is None else order.ranking.prompts[0]
        self._replies.keep(wanted.user_id, given, prompt)
        return given

    # --- in which order -----------------------------------------------------------------------

    async def _ordered(
        self, wanted: Wanted, met: Met, deadline: Deadline, policy: RankingPolicy
    ) -> Order:
        pool = met.pool
        if met.nothing_to_tell_apart:
            return by_retrieval(pool, NOTHING_TO_TELL_APART[0 if pool else 1])
        terms = Terms(early(deadline))
        variant = policy.variant(met.state.variants)
        request = ranking_request(met, variant)
        try:
            now = await method_in_force(
                self._model, policy, self._regularization, terms, wanted.mode
            )
            question = _digest(now.fingerprint, request, policy.prior_weight)
            if wanted.explain != LEAVE_ONE_OUT and (stored := self._stored(met.state, question)):
                return replace(
                    stored, mode=now.method.mode, model=now.engine.model, variant=variant
                )
            ranking = await self._ranker.rank(request, now.method, terms)
        except AbilityMissing as error:
            if wanted.mode is not None:
                raise InvalidRequest(
                    f"the model cannot rank by {wanted.mode}: {error}. Leave `mode` out"
                ) from None
            return self._unranked(wanted, met, error.outcome)
        except ModelError as error:
            return self._unranked(wanted, met, error.outcome)
        except PromptTooLong:
            return self._unranked(wanted, met, "prompt_too_long")
        self._count_ranking(ranking, wanted, policy)
        refused = ranking.prompts[0].shortened.demonstration_refused
        order = replace(
            _fused(ranking, pool, policy.prior_weight), mode=now.method.mode,
            model=now.engine.model, variant=None if refused else variant,
        )  # fmt: skip
        if wanted.user_id is not None and wanted.candidates is None:
            last = LastRanking(
                question, time.time(), tuple(order.item_ids[:LAST_KEPT]),
                tuple(order.scores[:LAST_KEPT]),
            )  # fmt: skip
            self._states.remember(wanted.user_id, last)
        return order

    def _count_ranking(self, ranking: Ranking, wanted: Wanted, policy: RankingPolicy) -> None:
        by = policy.chosen_by(wanted.mode, self._policy)
        self._metrics.rankings.add(RankingLabels(ranking.method.mode, by))
        if ranking.written is not None:
            self._metrics.written_lists.add(ReadingLabels(ranking.written.reading))

    def _stored(self, state: UserState, question: str) -> Order | None:
        """The same question was answered a moment ago."""
        last = state.last
        if last is None or last.question != question:
            return None
        if time.time() - last.at > self._policy.stored_seconds:
            return None
        return Order(Source.MODEL, last.item_ids, last.scores, stored=True)

    def _unranked(self, wanted: Wanted, met: Met, reason: str) -> Order:
        log.warning("recommended_without_model", reason=reason)
        return without_model(wanted, met, reason)

    # --- what is answered ---------------------------------------------------------------------

    def _reply(self, wanted: Wanted, met: Met, order: Order) -> Recommendation:
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
            variant=order.variant,
            stored=order.stored,
            reason=order.reason,
        )

    async def _explained(
        self, met: Met, order: Order, deadline: Deadline, policy: RankingPolicy
    ) -> Explanation:
        tokens: dict[str, int] = {}
        if order.ranking is not None:
            with contextlib.suppress(ModelError):  # the deadline may pass here, too
                count = await self._model.counter(Terms(deadline))
                segments = order.ranking.prompts[0].segments
                tokens = {one.name.value: count(one.text) for one in segments}
        return Explanation(
            ranking=order.ranking,
            segment_tokens=tokens,
            priors={item.item_id: item.prior for item in met.pool},
            prior_weight=policy.prior_weight,
            fallbacks=[order.reason] if order.reason else [],
            unknown_items=met.unknown,
        )

    async def _left_out(self, met: Met, order: Order, deadline: Deadline) -> LeaveOneOut:
        if order.ranking is None:
            return LeaveOneOut(reason=order.reason)
        request = ranking_request(met, order.variant)
        terms = Terms(early(deadline))
        return await leave_one_out(self._ranker, order.ranking, request, order.item_ids[0], terms)


class _Clock:
    def __init__(self) -> None:
        self._began = self._last = time.perf_counter()
        self._laps: dict[str, float] = {}

    def lap(self, name: str) -> None:
        now = time.perf_counter()
        self._laps[name] = now - self._last
        self._last = now

    @property
    def seconds(self) -> float:
        return self._last - self._began

    def milliseconds(self) -> dict[str, float]:
        laps = {**self._laps, "total": self.seconds}
        return {f"{name}_ms": round(1000 * seconds, 2) for name, seconds in laps.items()}


def _fused(ranking: Ranking, pool: Sequence[Retrieved], prior_weight: float) -> Order:
    scores = ranking.scores
    if prior_weight:
        scores = fused(scores, [item.prior for item in pool[: len(scores)]], prior_weight)
    order = in_order(ranking.item_ids, scores)
    return Order(
        Source.MODEL,
        [ranking.item_ids[place] for place in order],
        [scores[place] for place in order],
        ranking,
    )


def _digest(
    fingerprint: EvaluationFingerprint, request: RankingRequest, prior_weight: float
) -> str:
    """Of all that an order is made from: what was ordered for one arm is none of another's."""
    asked = [
        fingerprint.digest,
        prior_weight,
        request.history,
        [(candidate.item_id, candidate.title) for candidate in request.candidates],
        None if request.demonstrated is None else astuple(request.demonstrated),
    ]
    return hashlib.sha256(json.dumps(asked).encode()).hexdigest()[:24]
