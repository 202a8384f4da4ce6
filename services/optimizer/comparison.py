"""A draft of X_T_reg against the text in force: the held-out events of a cohort, each ranked under
both, with the demonstration that is served."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Any

from services.catalog.positives import PositiveEvents
from services.demonstrations.repository import DemonstrationsRepository
from services.demonstrations.variant import served_of
from services.llm.errors import ModelError
from services.llm.port import LanguageModel, Priority, Terms
from services.observability.logging import get_logger
from services.optimizer.cohorts import Cohort, CohortsRepository
from services.optimizer.estimates import most_cost
from services.optimizer.material import Materials, TooFewPositives
from services.optimizer.models import RegularizationText
from services.optimizer.plan import Plan
from services.optimizer.regularizations import summary, text_of
from services.optimizer.regularizations_repository import RegularizationsRepository
from services.prompts import DEFAULT_REGULARIZATION, Regularization
from services.ranking import Ranker
from services.ranking.effect import effect_d, log_score
from services.recommendations.policy import RankingPolicy
from services.storage.database import Database

STEP_SECONDS = 300.0

log = get_logger(__name__)


class Comparisons:
    def __init__(  # noqa: PLR0917 - the parts it is composed of
        self,
        database: Database,
        materials: Materials,
        positives: PositiveEvents,
        model: LanguageModel,
        policy: RankingPolicy,
        courtesy: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        self._database = database
        self._materials = materials
        self._positives = positives
        self._model = model
        self._ranker = Ranker(model)
        self._policy = policy
        self._courtesy = courtesy

    async def go_on(self, *, seconds: float) -> bool:
        """With the comparison that was asked for first, for so long; each user's figures are kept
        at once. False: nothing is left to be compared."""
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            if not await self._one_user():
                return False
        return True

    async def _one_user(self) -> bool:
        async with self._database.reading() as session:
            repository = RegularizationsRepository(session)
            row, active = await repository.to_be_compared(), await repository.active()
            if row is None or row.comparison is None:
                return False
            comparison: dict[str, Any] = dict(row.comparison)
            if "cohort" not in comparison:
                users = await CohortsRepository(session, self._positives).users(Cohort.ALL)
                comparison["cohort"] = _chosen(users, row.version, comparison["users"])
        known = len(comparison["rows"]) + len(comparison["skipped"])
        in_force = DEFAULT_REGULARIZATION if active is None else text_of(active)
        if in_force.version != comparison["against"]:
            comparison |= _failed("another text was put in force meanwhile")
        elif known < len(comparison["cohort"]):
            user_id = comparison["cohort"][known]
            try:
                figures = await self._figures(user_id, text_of(row), in_force, _left(comparison))
            except _OutOfBudget:
                comparison |= _ended(comparison) | {"out_of_budget": True}
                return await self._keep(row, known, comparison)
            except ModelError as error:  # beat brings us here again
                log.warning("comparison_without_model", error=str(error))
                return False
            comparison["state"] = "running"
            if figures is None:
                comparison["skipped"] = [*comparison["skipped"], user_id]
            else:
                comparison["rows"] = {**comparison["rows"], user_id: figures}
        else:
            comparison |= _ended(comparison)
        return await self._keep(row, known, comparison)

    async def _keep(self, row: RegularizationText, known: int, comparison: dict[str, Any]) -> bool:
        await self._database.write(
            lambda session: RegularizationsRepository(session).keep(
                row.version, comparison["asked_at"], known, comparison
            )
        )
        return True

    async def _figures(
        self, user_id: str, draft: Regularization, in_force: Regularization, left: int | None
    ) -> list[float] | None:
        """Means over the user's held-out events: Effect_D under both, then log-score; and tokens.
        None: too few positive events. Raises _OutOfBudget where that may cost more than `left`."""
        terms = Terms.within(STEP_SECONDS, Priority.ROUND)
        engine = await self._model.describe(terms)
        labels = engine.capabilities.labels
        try:
            material = await self._materials.of(user_id, Plan(paths=1, draws=1))
        except TooFewPositives:
            return None
        async with self._database.reading() as session:
            _, variants = await DemonstrationsRepository(session).served(user_id)
        served = served_of(variants)
        texts = None if served is None else served.texts()
        requests = [question.under(texts) for question in material.questions]
        methods = [self._policy.method(None, labels, text) for text in (draft, in_force)]
        if left is not None:
            count = await self._model.counter(terms)
            if left < sum(most_cost(requests, method, count).tokens for method in methods):
                raise _OutOfBudget
        figures, tokens = [], 0
        for method in methods:
            if self._courtesy is not None:
                await self._courtesy()
            ranked = await self._ranker.rank_all(requests, method, terms)
            tokens += ranked.usage.prompt + ranked.usage.completion
            pairs = list(zip(ranked.rankings, material.questions, strict=True))
            figures.append(
                (
                    sum(effect_d(one.rank_of(asked.truth)) for one, asked in pairs) / len(pairs),
                    sum(
                        log_score(one.scores, one.item_ids.index(asked.truth))
                        for one, asked in pairs
                    )
                    / len(pairs),
                )
            )
        (draft_effect, draft_score), (effect, score) = figures
        return [draft_effect, effect, draft_score, score, float(tokens)]


class _OutOfBudget(Exception):
    """The next user may cost more than is left."""


def _left(comparison: dict[str, Any]) -> int | None:
    """Of the comparison's tokens; None: there is no limit."""
    budget = comparison.get("budget_tokens")
    return None if budget is None else budget - int(_spent(comparison["rows"].values()))


def _spent(rows: Iterable[Sequence[float]]) -> float:
    return sum(row[4] for row in rows)


def _chosen(users: Sequence[str], version: str, most: int) -> list[str]:
    """By a hash: the same for the same draft, and owed to nothing that an id may mean."""

    def place(user_id: str) -> bytes:
        return hashlib.sha256(f"{version}\n{user_id}".encode()).digest()

    return sorted(users, key=place)[:most]


def _ended(comparison: dict[str, Any]) -> dict[str, Any]:
    rows = list(comparison["rows"].values())
    if not rows:
        return _failed(
            "nobody was compared: the cohort has too few positive events, or the budget was less "
            "than one user may cost"
        )
    told = {"state": "done", "compared": len(rows), "tokens": _spent(rows), **summary(rows)}
    return told | _NOBODY


def _failed(reason: str) -> dict[str, Any]:
    return {"state": "failed", "reason": reason, **_NOBODY}


# Who was asked about is forgotten at the end: a user's deletion must find every trace.
_NOBODY: dict[str, Any] = {"rows": {}, "skipped": [], "cohort": []}
