"""What a deletion in the catalog takes out of the index, in the same transaction."""

from __future__ import annotations

from sqlalchemy.ext.asyncio import AsyncSession

from services.retrieval.index import forget_user
from services.retrieval.index_repository import IndexRepository


class CovisitDeletions:
    async def before_user_goes(self, session: AsyncSession, user_id: str) -> None:
        for index in await IndexRepository(session).lock_all():
            await forget_user(session, index, user_id)

    async def before_item_goes(self, session: AsyncSession, item_id: str) -> None:
        """Whoever took it is counted anew by the next refresh: there may be many."""
        repository = IndexRepository(session)
        if await repository.lock_all():
            await repository.mark_stale(item_id=item_id)

    async def before_event_goes(self, session: AsyncSession, event_id: str) -> None:
        repository = IndexRepository(session)
        if await repository.lock_all():
            await repository.mark_stale(event_id=event_id)
