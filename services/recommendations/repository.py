"""All SQL of recommendations."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import CursorResult, delete, func, insert, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from services.catalog.models import Event, User
from services.catalog.positives import PositiveEvents
from services.recommendations.models import StoredReply


class RecommendationsRepository:
    def __init__(self, session: AsyncSession) -> None:
        self.session = session

    async def newest_positives(
        self, user_id: str, positives: PositiveEvents, limit: int
    ) -> tuple[int, Sequence[str]]:
        """The `seq` of the newest event of any kind received of the user, and the items of the
        newest positives, newest first, each once."""
        version = await self.session.scalar(
            select(func.max(Event.seq)).where(Event.user_id == user_id)
        )
        newest = await self.session.execute(
            select(Event.item_id, func.max(Event.occurred_at), func.max(Event.seq))
            .where(Event.user_id == user_id, positives.clause())
            .group_by(Event.item_id)
            .order_by(func.max(Event.occurred_at).desc(), func.max(Event.seq).desc())
            .limit(limit)
        )
        return version or 0, [item_id for item_id, _, _ in newest]

    async def known_users(self, user_ids: Sequence[str]) -> set[str]:
        return set(
            await self.session.scalars(select(User.user_id).where(User.user_id.in_(user_ids)))
        )

    async def store(self, replies: Sequence[dict[str, Any]]) -> None:
        await self.session.execute(insert(StoredReply), list(replies))

    async def reply(self, recommendation_id: str) -> StoredReply | None:
        return await self.session.get(StoredReply, recommendation_id)

    async def delete_before(self, moment: datetime) -> int:
        """Lists of an experiment stay as long as it needs them, but without their prompts."""
        old = StoredReply.made_at < moment
        await self.session.execute(
            update(StoredReply)
            .where(old, StoredReply.experiment_id.is_not(None), StoredReply.question != [])
            .values(question=[])
        )
        result: CursorResult[Any] = await self.session.execute(  # type: ignore[assignment]
            delete(StoredReply).where(old, StoredReply.experiment_id.is_(None))
        )
        return result.rowcount
