"""Rounds that nobody asked for: after events, where what was learned may be worth less than it was,
and at night. All of them together keep within a day's tokens."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime

from redis.asyncio import Redis

from services.catalog.positives import PositiveEvents
from services.llm.errors import ModelError
from services.llm.port import LanguageModel, Priority, Terms
from services.observability.logging import get_logger
from services.observability.metrics import Metrics, NoLabels, OutcomeLabels
from services.optimizer.automatic_repository import AutomaticRepository
from services.optimizer.cohorts import Cohort, CohortsRepository
from services.optimizer.ledger import Ledger
from services.optimizer.occasions import Standing, occasion
from services.optimizer.plan import Plan
from services.optimizer.rules import Budget
from services.optimizer.runs import utc_now
from services.queue import Job, Queue
from services.recommendations.policy import RankingPolicy, Regularizing, method_in_force
from services.storage.database import Database
from services.storage.redis import CONSIDERED, OUTAGE

USERS_AT_ONCE = 500
MODEL_SECONDS = 30.0
# What a round may cost before any was done here: one of three paths, with some room.
TOKENS_OF_A_ROUND = 150_000
# Calls in flight count at their highest, and users differ.
ROOM = 1.5
# Transactions do not commit in the order of their events: those just before are looked at again.
LOOKED_AT_AGAIN = 1_000

log = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Automatic:
    """0 tokens: nothing starts by itself. 0 users: nothing at night. 0 positives: new events alone
    are no occasion."""

    tokens_per_day: int
    enough_positives: int
    nightly_users: int


@dataclass(frozen=True, slots=True)
class _InForce:
    """The conditions under which lists are made now, and the plan of a round under them."""

    fingerprint: str
    plan: Plan


class AutomaticRounds:
    def __init__(  # noqa: PLR0917 - the parts it is composed of, once, in the composition root
        self,
        database: Database,
        redis: Redis,
        ledger: Ledger,
        positives: PositiveEvents,
        model: LanguageModel,
        policy: RankingPolicy,
        regularization: Regularizing,
        queue: Queue,
        metrics: Metrics,
        wanted: Automatic,
        *,
        now: Callable[[], datetime] = utc_now,
    ) -> None:
        self._database = database
        self._redis = redis
        self._ledger = ledger
        self._positives = positives
        self._model = model
        self._policy = policy
        self._regularization = regularization
        self._queue = queue
        self._metrics = metrics
        self._wanted = wanted
        self._now = now

    async def consider(self) -> int:
        """Of the users with new positive events, those who have an occasion get a round; how many.
        How far events were looked at is kept in Redis: where it is lost, all are looked at."""
        if not self._wanted.tokens_per_day:
            return 0
        in_force = await self._in_force()
        if in_force is None:
            return 0
        begin = max(0, await self._considered() - LOOKED_AT_AGAIN)
        called: list[str] = []
        while True:
            standings, newest = await self._standings(begin, in_force)
            called += self._called(standings)
            if newest is None:
                break
            begin = newest
            await self._consider_from(newest)
        return await self._start("online", called, in_force)

    async def nightly(self) -> int:
        """Variants judged under other conditions are marked stale; then as many users as the
        settings say get a round: stale ones first, then those who never had one. All others are
        looked at again, too: yesterday there may have been no tokens left for them."""
        await self.mark_stale()
        await self._consider_from(0)
        await self._queue.put(Job.CONSIDER_ROUNDS)
        most, in_force = self._wanted.nightly_users, await self._in_force()
        if not most or not self._wanted.tokens_per_day or in_force is None:
            return 0
        async with self._database.reading() as session:
            cohorts = CohortsRepository(session, self._positives)
            stale = await cohorts.users(Cohort.STALE, most)
            never = await cohorts.users(Cohort.NEVER, most)
            users = await AutomaticRepository(session, self._positives).without_rounds_to_come(
                list(dict.fromkeys([*stale, *never]))
            )
        return await self._start("nightly", users[:most], in_force)

    async def mark_stale(self) -> int:
        in_force = await self._in_force()
        if in_force is None:
            return 0
        return await self._database.write(
            lambda session: CohortsRepository(session, self._positives).mark_stale(
                in_force.fingerprint
            )
        )

    async def measure(self) -> None:
        """How much of what learning may cost is spent."""
        async with self._database.reading() as session:
            repository = AutomaticRepository(session, self._positives)
            spent = await repository.cost_since(_midnight(self._now()))
            used = await repository.budget_used()
        self._metrics.day_tokens_spent.set(NoLabels(), spent)
        self._metrics.day_tokens_allowed.set(NoLabels(), self._wanted.tokens_per_day)
        self._metrics.run_budget_used.set(NoLabels(), used)

    # --- who is called ---------------------------------------------------------------------------

    async def _standings(self, begin: int, in_force: _InForce) -> tuple[list[Standing], int | None]:
        """And the newest event they are about; None: there are no newer ones."""
        async with self._database.reading() as session:
            repository = AutomaticRepository(session, self._positives)
            active = await repository.active_since(begin, USERS_AT_ONCE)
            users = [user_id for user_id, _ in active]
            standings = await repository.standings(users, in_force.fingerprint)
        return standings, active[-1][1] if active else None

    def _called(self, standings: Sequence[Standing]) -> list[str]:
        called = []
        for one in standings:
            why = occasion(one, self._wanted.enough_positives)
            if why is not None:
                self._metrics.automatic_users.add(OutcomeLabels(why))
                called.append(one.user_id)
        return called

    # --- starting --------------------------------------------------------------------------------

    async def _start(self, kind: str, called: Sequence[str], in_force: _InForce) -> int:
        """One round for each, as far as the day's tokens go. The same users in the same second are
        the same run, so a job that is run twice starts one."""
        users = list(dict.fromkeys(called))
        if not users:
            return 0
        now = self._now()
        async with self._database.reading() as session:
            repository = AutomaticRepository(session, self._positives)
            left = self._wanted.tokens_per_day - await repository.cost_since(_midnight(now))
            known = await repository.tokens_of_a_round()
        each = TOKENS_OF_A_ROUND if known is None else int(ROOM * known)
        paid = users[: max(0, left // each)]
        if len(paid) < len(users):
            waiting = len(users) - len(paid)
            self._metrics.automatic_refused.add(NoLabels(), waiting)
            log.warning(
                "automatic_rounds_over_budget", users=waiting,
                detail="LRGD_LEARNING_TOKENS_PER_DAY is spent: they are looked at again at night",
            )  # fmt: skip
        if not paid:
            return 0
        digest = hashlib.sha256("\n".join(paid).encode()).hexdigest()[:8]
        run_id = f"{kind}-{now:%Y%m%dT%H%M%S}-{digest}"
        budget = Budget(tokens=len(paid) * each)
        await self._ledger.start(run_id, paid, 1, in_force.plan, budget)
        await self._queue.put(Job.ADVANCE_ROUNDS)
        log.info("automatic_rounds_started", run=run_id, users=len(paid))
        return len(paid)

    async def _in_force(self) -> _InForce | None:
        try:
            terms = Terms.within(MODEL_SECONDS, Priority.ROUND)
            now = await method_in_force(self._model, self._policy, self._regularization, terms)
        except ModelError as error:
            log.warning("automatic_rounds_without_model", error=str(error))
            return None
        return _InForce(now.fingerprint.digest, Plan.ranking_as(now.method))

    # --- how far events were looked at -----------------------------------------------------------

    async def _considered(self) -> int:
        try:
            return int(await self._redis.get(CONSIDERED) or 0)
        except OUTAGE:
            return 0

    async def _consider_from(self, seq: int) -> None:
        try:
            await self._redis.set(CONSIDERED, seq)
        except OUTAGE:
            log.warning("considered_not_kept")


def _midnight(now: datetime) -> datetime:
    return now.replace(hour=0, minute=0, second=0, microsecond=0)
