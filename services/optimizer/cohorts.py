"""Which users a run is for, where the caller names none: SQL of cohorts."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum

from sqlalchemy import Select, exists, func, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from services.catalog.models import Event
from services.catalog.positives import PositiveEvents
from services.demonstrations.models import StoredVariant
from services.optimizer.models import Round, RoundState
from services.optimizer.rules import LEAST_POSITIVES


class Cohort(StrEnum):
    """Of the users with enough positive events to learn from."""

    ALL = "all"
    STALE = "stale"  # the best of a path was judged under another fingerprint
    NEVER = "never"  # no round of theirs was ever done


class CohortsRepository:
    def __init__(self, session: AsyncSession, positives: PositiveEvents) -> None:
        self.session = session
        self._positives = positives

    async def users(self, cohort: Cohort, limit: int | None = None) -> Sequence[str]:
        """By id."""
        able = self._able()
        match cohort:
            case Cohort.ALL:
                query = able
            case Cohort.STALE:
                stale = exists().where(
                    StoredVariant.user_id == Event.user_id,
                    StoredVariant.incumbent,
                    StoredVariant.stale,
                )
                query = able.where(stale)
            case Cohort.NEVER:
                learned = exists().where(
                    Round.user_id == Event.user_id, Round.state == RoundState.DONE
                )
                query = able.where(~learned)
        return (await self.session.scalars(query.order_by(Event.user_id).limit(limit))).all()

    async def mark_stale(self, in_force: str) -> int:
        """Variants that were judged under another fingerprint than the one in force; how many are
        marked now. They stay served."""
        found = await self.session.scalars(
            update(StoredVariant)
            .where(
                StoredVariant.fingerprint != in_force,
                ~StoredVariant.stale,
                StoredVariant.incumbent | StoredVariant.effective,
            )
            .values(stale=True)
            .returning(StoredVariant.variant_id)
            .execution_options(synchronize_session=False)
        )
        return len(found.all())

    def _able(self) -> Select[str]:
        return (
            select(Event.user_id)
            .where(self._positives.clause())
            .group_by(Event.user_id)
            .having(func.count() >= LEAST_POSITIVES)
        )
