"""What a deletion in the catalog takes out of the ledger, in the same transaction."""

from __future__ import annotations

from datetime import UTC, datetime

from sqlalchemy.ext.asyncio import AsyncSession

from services.optimizer.repository import LedgerRepository
from services.optimizer.runs import close_finished
from services.optimizer.spending import lose_calls


class LedgerDeletions:
    async def before_user_goes(self, session: AsyncSession, user_id: str) -> None:
        """The rows would go with the user's; but the calls in flight are to be paid, and a run may
        have waited for nobody else. Whoever holds the round finds its lease lost."""
        repository = LedgerRepository(session)
        running = await repository.running_of(user_id)
        await repository.lock_users([user_id])
        runs = await repository.locked_runs(await repository.runs_of(user_id))
        if running is not None:
            lose_calls(running, runs)
            await session.flush()
        await repository.forget_user(user_id)
        await close_finished(repository, runs, datetime.now(UTC))

    async def before_item_goes(self, session: AsyncSession, item_id: str) -> None: ...

    async def before_event_goes(self, session: AsyncSession, event_id: str) -> None: ...
