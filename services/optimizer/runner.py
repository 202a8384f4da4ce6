"""One round of a user: all paths together, in short steps that are each committed with what they
cost. Every step asks the database what is missing, so a round that was broken off goes on there.

1. zero-shot and the incumbents are judged, where the user's newest events ask for it;
2. each path writes a demonstration, a collapsed one with a perturbation from another path;
3. the new variants are judged; those behind on the first draw of candidates get no others;
4. what is accepted, remembered, collapsed and served is decided, in one transaction.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from sqlalchemy.ext.asyncio import AsyncSession

from services.demonstrations.generator import Generator, Outcome
from services.demonstrations.likeness import Likeness
from services.llm.port import LanguageModel, Priority, Terms, Usage
from services.observability.logging import get_logger
from services.observability.metrics import Metrics, StepLabels
from services.observability.tracing import span
from services.optimizer.decision import Decision, decide
from services.optimizer.estimates import most_cost
from services.optimizer.learning_repository import KnownVariant, LearningRepository
from services.optimizer.ledger import Claimed, Ledger
from services.optimizer.material import Materials, Question
from services.optimizer.rules import Cost, Judged, promising
from services.optimizer.under_way import UnderWay
from services.optimizer.writing import (
    Asked,
    demonstration_row,
    path_row,
    variant_row,
    what_is_asked,
    zero_shot_row,
)
from services.ranking import EvaluationFingerprint, Ranker, Ranking
from services.ranking.effect import effect_d, log_score
from services.recommendations.policy import Regularizing, default_regularization
from services.storage.database import Database

# For the calls of one step. Rounds wait for people, so there is no hurry.
STEP_SECONDS = 300.0
PROMPTS_AT_ONCE = 64

log = get_logger(__name__)

Checkpoint = Callable[[str], Awaitable[None]]


async def no_checkpoint(_: str) -> None:
    """Between the steps nothing else happens."""


class RoundRunner:
    """`checkpoint` is told where in a step the round is, so that a test can end it there;
    `courtesy` is awaited before each call of the model, and gives way to live traffic;
    `regularization` is asked at the beginning of each round for the text in force."""

    def __init__(  # noqa: PLR0917 - the parts it is composed of
        self,
        database: Database,
        ledger: Ledger,
        materials: Materials,
        model: LanguageModel,
        is_item: Callable[[str], bool] | None = None,
        checkpoint: Checkpoint = no_checkpoint,
        courtesy: Callable[[], Awaitable[None]] | None = None,
        regularization: Regularizing = default_regularization,
        likeness: Likeness | None = None,
        metrics: Metrics | None = None,
    ) -> None:
        self._database = database
        self._ledger = ledger
        self._metrics = metrics
        self._materials = materials
        self._model = model
        self._ranker = Ranker(model)
        self._generator = Generator(model, is_item=is_item)
        self._likeness = likeness or Likeness()
        self._checkpoint = checkpoint
        self._courtesy = courtesy
        self._regularization = regularization

    async def run(self, claimed: Claimed) -> Decided:
        """To its end. Raises what kept it from there: ModelError, LeaseLost, OutOfBudget,
        RunCancelled, TooFewPositives, and Unavailable for the database."""
        material = await self._materials.of(claimed.user_id, claimed.plan)
        terms = self._terms()
        engine = await self._model.describe(terms)
        method = claimed.plan.method_under(await self._regularization())
        fingerprint = EvaluationFingerprint.of(engine.fingerprint, method).digest
        count = await self._model.counter(terms)
        await self._keep_zero_shot(claimed)
        going = UnderWay(claimed, material, method, fingerprint, count)
        while True:
            try:
                return await self._run(going)
            except _RolledBack:
                log.info("round_decides_anew", round=claimed.round_id)

    async def _run(self, going: UnderWay) -> Decided:
        going.switched = await self._read(going)
        every = range(going.claimed.plan.draws)
        with self._step("judge_incumbents"):
            known = (going.zero_shot, *going.incumbents.values())
            await self._judge(going, [(one, every) for one in known])
        with self._step("write"):
            await self._write(going)
        with self._step("judge_new"):
            await self._judge(going, [(one, (0,)) for one in going.new.values()])
            await self._judge(going, [(one, every) for one in _promising(going)])
        with self._step("decide"):
            return await self._decide(going)

    @contextmanager
    def _step(self, step: str) -> Iterator[None]:
        began = time.perf_counter()
        try:
            with span(step):
                yield
        finally:
            if self._metrics is not None:
                seconds = time.perf_counter() - began
                self._metrics.round_step_seconds.observe(StepLabels(step), seconds)

    # --- 1 and 3: judging ------------------------------------------------------------------------

    async def _judge(
        self, going: UnderWay, wanted: Sequence[tuple[KnownVariant, Collection[int]]]
    ) -> None:
        """Each variant on these draws of every held-out event, as far as it is not known."""
        asked = [
            (variant, question)
            for variant, draws in wanted
            for question in going.missing(variant, draws)
        ]
        for begin in range(0, len(asked), PROMPTS_AT_ONCE):
            await self._judge_some(going, asked[begin : begin + PROMPTS_AT_ONCE])

    async def _judge_some(
        self, going: UnderWay, asked: Sequence[tuple[KnownVariant, Question]]
    ) -> None:
        claimed, method = going.claimed, going.method
        requests = [question.under(variant.demonstrated) for variant, question in asked]
        await self._before_calls(claimed, most_cost(requests, method, going.count))
        ranked = await self._ranker.rank_all(requests, method, self._terms())
        await self._checkpoint("after the answer, before the commit")
        now = datetime.now(UTC)
        rows = [
            _evaluation(variant, question, ranking, going.fingerprint, now)
            for (variant, question), ranking in zip(asked, ranked.rankings, strict=True)
        ]

        async def keep(session: AsyncSession) -> None:
            await self._ledger.settle(session, claimed, ranked.usage, ranked.asked)
            await LearningRepository(session).store_evaluations(rows)

        await self._database.write(keep)
        await self._checkpoint("after the commit")
        for (variant, question), row in zip(asked, rows, strict=True):
            found = Judged(question.event_id, question.draw, row["rank"], row["log_score"])
            going.judged.setdefault(variant.variant_id, []).append(found)

    # --- 2: writing ------------------------------------------------------------------------------

    async def _write(self, going: UnderWay) -> None:
        """A demonstration for each path that has none of this round, all paths together. An attempt
        that was unfit is noted with what it cost, and not made again."""
        claimed, plan = going.claimed, going.claimed.plan
        writing = plan.writing
        asked = what_is_asked(going)
        notes = await self._notes(claimed)
        refused: dict[int, list[str]] = {
            int(path): list(texts) for path, texts in notes.get("refusals", {}).items()
        }
        while open_paths := [
            path
            for path in range(plan.paths)
            if path not in going.new and len(refused.get(path, ())) < writing.attempts
        ]:
            tasks = [
                asked[path].task(claimed, path, attempt=len(refused.get(path, ())))
                for path in open_paths
            ]
            tokens = sum(
                going.count(task.prompt.chat.messages[0].content) + writing.max_tokens
                for task in tasks
            )
            await self._before_calls(claimed, Cost(len(tasks), tokens))
            outcomes = await self._generator.write(
                tasks, self._terms(), replace(writing, attempts=1)
            )
            await self._checkpoint("after the answer, before the commit")
            for path, outcome in zip(open_paths, outcomes, strict=True):
                if outcome.demonstration is None:
                    refused.setdefault(path, []).extend(outcome.refusals)
            await self._keep_written(
                going, asked, dict(zip(open_paths, outcomes, strict=True)), refused
            )
            await self._checkpoint("after the commit")
            if await self._read(going) != going.switched:
                raise _RolledBack

    async def _keep_written(
        self,
        going: UnderWay,
        asked: Mapping[int, Asked],
        outcomes: Mapping[int, Outcome],
        refused: Mapping[int, Sequence[str]],
    ) -> None:
        claimed, now = going.claimed, datetime.now(UTC)
        demonstrations, variants = [], []
        for path, outcome in outcomes.items():
            if outcome.demonstration is None:
                continue
            written = outcome.demonstration
            beside = asked[path].beside_id
            tokens = going.count(written.as_text())
            if beside is not None:
                tokens += going.count(going.texts[beside].text)
            demonstrations.append(demonstration_row(claimed, path, written, now))
            variants.append(variant_row(claimed, path, asked[path], tokens, now))
        usage = sum((outcome.usage for outcome in outcomes.values()), Usage())
        notes = {
            "refusals": {str(path): list(texts) for path, texts in refused.items()},
            "perturbed": {str(path): one.perturbed for path, one in asked.items() if one.collapsed},
        }

        async def keep(session: AsyncSession) -> None:
            await self._ledger.settle(session, claimed, usage, len(outcomes))
            repository = LearningRepository(session)
            await repository.note(claimed.round_id, notes)
            await repository.store_demonstrations(demonstrations)
            await repository.store_variants(variants)

        await self._database.write(keep)

    # --- 4: deciding -----------------------------------------------------------------------------

    async def _decide(self, going: UnderWay) -> Decided:
        claimed = going.claimed
        found = going.found
        repeated = found.repetitions()
        alike = await self._likeness.of(claimed.plan.similarity_by, list(repeated.values()))
        similar = dict(zip(repeated, alike, strict=True))
        decision = decide(claimed.plan, found, await self._notes(claimed), similar)
        written = {one.row.path: one.row.current_id for one in going.new.values()}
        now = datetime.now(UTC)

        async def work(session: AsyncSession) -> int | None:
            # First, because it locks the user, as those who roll back do.
            await self._ledger.finish(session, claimed, dict(decision.outcome))
            repository = LearningRepository(session)
            if await repository.switched(claimed.user_id) != going.switched:
                raise _RolledBack
            for judgment in decision.judgments:
                judged = judgment.variant_id in going.judged
                await repository.judge(judgment, going.fingerprint if judged else None)
            await repository.save_paths(
                [
                    path_row(claimed.user_id, path, state, written.get(path), going.paths)
                    for path, state in decision.paths.items()
                ]
            )
            return await repository.switch(claimed.user_id, decision.active_id, "round", now)

        await self._checkpoint("before the decision")
        switched = await self._database.write(work)
        await self._checkpoint("after the decision")
        return Decided(decision, switched)

    # --- beneath ---------------------------------------------------------------------------------

    async def _before_calls(self, claimed: Claimed, cost: Cost) -> None:
        if self._courtesy is not None:
            await self._courtesy()
        await self._ledger.reserve(claimed, cost)
        await self._checkpoint("before the call")

    async def _keep_zero_shot(self, claimed: Claimed) -> None:
        row = zero_shot_row(claimed.user_id, datetime.now(UTC))

        async def keep(session: AsyncSession) -> None:
            await LearningRepository(session).store_variants([row])

        await self._database.write(keep)

    async def _read(self, going: UnderWay) -> int:
        """How often what is served had changed by then."""
        claimed = going.claimed
        questions = [question.digest for question in going.material.questions]
        async with self._database.reading() as session:
            repository = LearningRepository(session)
            known = await repository.variants(claimed.user_id)
            going.variants = {one.variant_id: one for one in known}
            judging = (going.zero_shot, *going.incumbents.values(), *going.new.values())
            mine = {one.variant_id for one in judging}
            heard = set(going.variants) if claimed.plan.heard_again else mine
            found = await repository.judged(heard, going.fingerprint, questions)
            going.judged = {
                variant_id: judged
                for variant_id, judged in found.items()
                # Means over fewer questions than others were asked would be of other events.
                if variant_id in mine or len(judged) == len(questions)
            }
            going.paths = await repository.paths(claimed.user_id)
            return await repository.switched(claimed.user_id)

    async def _notes(self, claimed: Claimed) -> dict[str, Any]:
        async with self._database.reading() as session:
            return await LearningRepository(session).notes(claimed.round_id)

    def _terms(self) -> Terms:
        return Terms.within(STEP_SECONDS, Priority.ROUND)


def _promising(going: UnderWay) -> list[KnownVariant]:
    """The new variants that get the other draws of candidates."""
    if not going.claimed.plan.screened:
        return list(going.new.values())
    found = going.found.on_first_draw()
    return [one for path, one in going.new.items() if promising(found.believed_gain(path))]


class _RolledBack(Exception):
    """What is served was changed by somebody else since it was read."""


@dataclass(frozen=True, slots=True)
class Decided:
    """`switched` is the number of the switch, where another variant is served from now on."""

    decision: Decision
    switched: int | None


def _evaluation(
    variant: KnownVariant, question: Question, ranking: Ranking, fingerprint: str, now: datetime
) -> dict[str, Any]:
    rank = ranking.rank_of(question.truth)
    return {
        "variant_id": variant.variant_id,
        "event_id": question.event_id,
        "question": question.digest,
        "fingerprint": fingerprint,
        "permutation_seed": ranking.method.seed,
        "draw": question.draw,
        "rank": rank,
        "effect_d": effect_d(rank),
        "log_score": log_score(ranking.scores, ranking.item_ids.index(question.truth)),
        "raw": [[round(value, 5) for value in said] for said in ranking.raw],
        "made_at": now,
    }
