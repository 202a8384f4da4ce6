"""Candidates drawn evenly from what the user has not taken."""

from __future__ import annotations

from collections.abc import Collection

from sqlalchemy import select

from lab.loop.population import POSITIVES
from services.catalog.models import Event, Item
from services.optimizer.material import CandidatePool, Positive
from services.optimizer.rules import chance
from services.storage.database import Database


class UniformCandidates:
    def __init__(self, database: Database) -> None:
        self._database = database

    async def pool(
        self, user_id: str, held_out: Positive, limit: int, without: Collection[str]
    ) -> CandidatePool:
        """What was taken before, and what is held out, is none of them."""
        async with self._database.reading() as session:
            rows = await session.execute(
                select(Event.event_id, Event.item_id, Event.occurred_at, Event.seq).where(
                    Event.user_id == user_id, POSITIVES.clause()
                )
            )
            taken = {
                row.item_id
                for row in rows
                if row.event_id in without or Positive(*row).moment <= held_out.moment
            }
            items = list(await session.scalars(select(Item.item_id).order_by(Item.item_id)))
        free = [one for one in items if one not in taken and one != held_out.item_id]
        rng = chance(0, user_id, 0, 0, f"uniform {held_out.item_id}")
        chosen = rng.sample(free, min(limit, len(free)))
        return CandidatePool(tuple(chosen), (0.0,) * len(chosen))
