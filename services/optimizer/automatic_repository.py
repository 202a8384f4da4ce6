"""SQL of rounds that nobody asked for: who might need one, and what they have cost today."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from datetime import datetime

from sqlalchemy import case, exists, func, or_, select
from sqlalchemy.ext.asyncio import AsyncSession

from services.catalog.models import Event
from services.catalog.positives import PositiveEvents
from services.demonstrations.models import StoredVariant
from services.optimizer.asking import OWN_PREFIXES
from services.optimizer.models import PartState, Round, RoundState, Run, RunState, RunUser
from services.optimizer.occasions import Standing
from services.optimizer.repository import IS_RUNNING, IS_WAITING
from services.ranking.effect import effect_d
from services.recommendations.experiments_repository import ExperimentsRepository

# Of done rounds, so many of the newest tell what one costs.
ROUNDS_LOOKED_AT = 100

_IS_OWN = or_(*(Run.run_id.startswith(prefix) for prefix in OWN_PREFIXES))


class AutomaticRepository:
    def __init__(self, session: AsyncSession, positives: PositiveEvents) -> None:
        self.session = session
        self._positives = positives

    async def active_since(self, seq: int, limit: int) -> Sequence[tuple[str, int]]:
        """Users with positive events behind this one, and the `seq` of their newest, in its
        order."""
        newest = func.max(Event.seq)
        rows = await self.session.execute(
            select(Event.user_id, newest)
            .where(Event.seq > seq, self._positives.clause())
            .group_by(Event.user_id)
            .order_by(newest)
            .limit(limit)
        )
        return [(user_id, last) for user_id, last in rows]

    async def standings(self, user_ids: Collection[str], in_force: str) -> list[Standing]:
        """Of those who have learned before and have no round to come."""
        learned = await self._learned(user_ids, in_force)
        counts = await self._new_positives(learned)
        answers = await ExperimentsRepository(self.session).answers_of(learned, self._positives)
        since: dict[str, list[float]] = defaultdict(list)
        before: dict[str, list[float]] = defaultdict(list)
        for user_id, made_at, rank in answers:  # newest first
            side = since if made_at > learned[user_id][0] else before
            side[user_id].append(0.0 if rank is None else effect_d(rank))
        return [
            Standing(user_id, stale, counts.get(user_id, 0), before[user_id], since[user_id])
            for user_id, (_, stale) in sorted(learned.items())
        ]

    async def without_rounds_to_come(self, user_ids: Sequence[str]) -> list[str]:
        """In the order given."""
        to_come = await self._to_come(user_ids)
        return [user_id for user_id in user_ids if user_id not in to_come]

    async def cost_since(self, moment: datetime) -> int:
        """Tokens of the runs that have started by themselves since then: what those still going may
        spend at most, and what the others have spent."""
        most = func.coalesce(Run.budget_tokens, Run.spent_tokens)
        cost = case((Run.state == RunState.RUNNING, most), else_=Run.spent_tokens)
        query = select(func.coalesce(func.sum(cost), 0)).where(Run.made_at >= moment, _IS_OWN)
        return int(await self.session.scalar(query) or 0)

    async def budget_used(self) -> float:
        """Of the tokens a run may spend, the share spent: the highest of those going on."""
        share = Run.spent_tokens * 1.0 / Run.budget_tokens
        query = select(func.max(share)).where(
            Run.state == RunState.RUNNING, Run.budget_tokens.is_not(None), Run.budget_tokens > 0
        )
        return float(await self.session.scalar(query) or 0.0)

    async def tokens_of_a_round(self) -> int | None:
        """The most that one of the newest which started by themselves has cost: those of other
        runs may have had other settings. None before the first."""
        newest = (
            select((Round.prompt_tokens + Round.completion_tokens).label("tokens"))
            .join(Run, Run.run_id == Round.run_id)
            .where(Round.state == RoundState.DONE, _IS_OWN)
            .order_by(Round.made_at.desc())
            .limit(ROUNDS_LOOKED_AT)
            .subquery()
        )
        most = await self.session.scalar(select(func.max(newest.c.tokens)))
        return None if most is None else int(most)

    async def _learned(
        self, user_ids: Collection[str], in_force: str
    ) -> dict[str, tuple[datetime, bool]]:
        """When their last round was done, and whether a path's best was judged otherwise."""
        stale = exists().where(
            StoredVariant.user_id == Round.user_id,
            StoredVariant.incumbent,
            or_(StoredVariant.stale, StoredVariant.fingerprint != in_force),
        )
        rows = await self.session.execute(
            select(Round.user_id, func.max(Round.finished_at), stale)
            .where(
                Round.user_id.in_(user_ids),
                Round.state == RoundState.DONE,
                Round.finished_at.is_not(None),
            )
            .group_by(Round.user_id)
        )
        to_come = await self._to_come(user_ids)
        return {
            user_id: (done_at, bool(is_stale))
            for user_id, done_at, is_stale in rows
            if user_id not in to_come and done_at is not None
        }

    async def _to_come(self, user_ids: Collection[str]) -> set[str]:
        rounds = select(Round.user_id).where(
            Round.user_id.in_(user_ids), or_(IS_RUNNING, IS_WAITING)
        )
        parts = select(RunUser.user_id).where(
            RunUser.user_id.in_(user_ids), RunUser.state == PartState.OPEN
        )
        return set(await self.session.scalars(rounds.union(parts)))

    async def _new_positives(self, learned: Mapping[str, tuple[datetime, bool]]) -> dict[str, int]:
        """Received since the last round was done."""
        done_at = (
            select(Round.user_id, func.max(Round.finished_at).label("at"))
            .where(Round.user_id.in_(learned), Round.state == RoundState.DONE)
            .group_by(Round.user_id)
            .subquery()
        )
        rows = await self.session.execute(
            select(Event.user_id, func.count())
            .join(done_at, done_at.c.user_id == Event.user_id)
            .where(self._positives.clause(), Event.received_at > done_at.c.at)
            .group_by(Event.user_id)
        )
        return {user_id: int(count) for user_id, count in rows}
