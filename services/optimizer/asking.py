"""Rounds asked for by an operator: of users by name, or of a cohort."""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from services.catalog.inputs import Id
from services.catalog.positives import PositiveEvents
from services.demonstrations.likeness import NO_EMBEDDINGS, SimilarityBy
from services.errors import InvalidRequest
from services.optimizer.cohorts import Cohort, CohortsRepository
from services.optimizer.ledger import Ledger
from services.optimizer.plan import Plan
from services.optimizer.progress import Progress
from services.optimizer.rules import Budget
from services.prompts import Mode
from services.queue import Job, Queue
from services.recommendations.policy import RankingPolicy
from services.storage.database import Database

# Of runs that start by themselves: what they cost counts against the day's budget.
OWN_PREFIXES = ("online-", "nightly-")


class NewBudget(BaseModel):
    """What all rounds of the run may cost together. Left out: without a limit."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    calls: int | None = Field(None, ge=1, description="Calls of the model.")
    tokens: int | None = Field(None, ge=1, description="Of prompts and completions together.")


class NewRun(BaseModel):
    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        json_schema_extra={"example": {"users": ["user-0001"], "rounds": 2}},
    )

    id: Id | None = Field(
        None, description="Makes a retry safe: the same call with the same id starts one run."
    )
    users: Annotated[tuple[Id, ...], Field(min_length=1, max_length=100_000)] | None = None
    cohort: Cohort | None = Field(
        None,
        description="Instead of `users`, those with 3 positive events or more: all; stale: judged "
        "under conditions that are not in force any more; never: without a round that was done.",
    )
    rounds: int = Field(1, ge=1, le=1000, description="Of each user.")
    budget: NewBudget = NewBudget()
    settings: Plan = Plan()

    @model_validator(mode="after")
    def _whose(self) -> Self:
        if (self.users is None) == (self.cohort is None):
            raise ValueError("name either `users` or a `cohort`")
        if self.id is not None and self.id.startswith(OWN_PREFIXES):
            raise ValueError(
                f"ids that begin with {' or '.join(OWN_PREFIXES)} are for runs that start by "
                "themselves: choose another one"
            )
        return self


def judging_as_lists(settings: Plan, policy: RankingPolicy) -> Plan:
    """How a run judges is how lists are made, but for what its settings name: what was judged in
    another way would be stale at once."""
    mode = policy.mode
    if mode is None or "mode" in settings.model_fields_set or settings.calibrated:
        mode = settings.mode
    as_lists = {
        "mode": mode,
        "permutations": policy.permutations,
        "calibrated": policy.calibrated and mode is Mode.FIRST_TOKEN,
        "step_size": policy.step_size,
    }
    unnamed = as_lists.keys() - settings.model_fields_set
    return settings.model_copy(update={name: as_lists[name] for name in unnamed})


class Asking:
    """Each call wakes the workers, after its commit. `policy` is how lists are made; `embeds`:
    there is a server of embeddings."""

    def __init__(
        self,
        database: Database,
        ledger: Ledger,
        positives: PositiveEvents,
        queue: Queue,
        policy: RankingPolicy,
        *,
        embeds: bool = False,
    ) -> None:
        self._database = database
        self._ledger = ledger
        self._positives = positives
        self._queue = queue
        self._policy = policy
        self._embeds = embeds

    async def start(self, wanted: NewRun) -> Progress:
        """Who belongs to a cohort is looked up once: the same call again does not add to it those
        who came since, unless it was broken off."""
        if wanted.settings.similarity_by is SimilarityBy.EMBEDDINGS and not self._embeds:
            raise InvalidRequest(NO_EMBEDDINGS)
        users = wanted.users
        if users is None:
            users = await self._of(wanted.cohort)
        cohort = None if wanted.cohort is None else wanted.cohort.value
        budget = Budget(wanted.budget.calls, wanted.budget.tokens)
        plan = judging_as_lists(wanted.settings, self._policy)
        run_id = await self._ledger.start(
            wanted.id, users, wanted.rounds, plan, budget, cohort=cohort, asked=wanted.settings
        )
        await self._queue.put(Job.ADVANCE_ROUNDS)
        return await self._ledger.progress(run_id)

    async def cancel(self, run_id: str) -> Progress:
        await self._ledger.cancel(run_id)
        return await self._ledger.progress(run_id)

    async def retry(self, run_id: str) -> Progress:
        await self._ledger.retry(run_id)
        await self._queue.put(Job.ADVANCE_ROUNDS)
        return await self._ledger.progress(run_id)

    async def _of(self, cohort: Cohort | None) -> tuple[str, ...]:
        if cohort is None:
            raise InvalidRequest("name either `users` or a `cohort`")
        async with self._database.reading() as session:
            return tuple(await CohortsRepository(session, self._positives).users(cohort))
