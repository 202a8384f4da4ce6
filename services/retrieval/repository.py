"""All SQL of retrieval."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncSession

from services.catalog.models import Event, Item
from services.catalog.positives import PositiveEvents


class RetrievalRepository:
    def __init__(self, session: AsyncSession) -> None:
        self.session = session

    async def most_popular(
        self, positives: PositiveEvents, limit: int
    ) -> Sequence[tuple[str, str | None, int]]:
        """Visible items by the number of users who liked them: (item_id, title, users)."""
        users = func.count(Event.user_id.distinct()).label("users")
        found = await self.session.execute(
            select(Item.item_id, Item.title, users)
            .join(Event, Event.item_id == Item.item_id)
            .where(positives.clause(), Item.hidden.is_(False))
            .group_by(Item.item_id, Item.title)
            .order_by(users.desc(), Item.item_id)
            .limit(limit)
        )
        return [(item_id, title, count) for item_id, title, count in found]

    async def items_taken_by(self, user_id: str, positives: PositiveEvents) -> set[str]:
        """What the user likes or has already: a mere look does not take an item off the list."""
        found = await self.session.scalars(
            select(Event.item_id).where(Event.user_id == user_id, positives.clause()).distinct()
        )
        return set(found)
