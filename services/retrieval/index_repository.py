"""All SQL of the co-visitation index."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from functools import cache
from typing import Any

from sqlalchemy import (
    bindparam,
    delete,
    func,
    literal,
    or_,
    select,
    text,
    true,
    update,
)
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.asyncio import AsyncSession

from services.catalog.models import Event, Item, User
from services.catalog.positives import PositiveEvents
from services.retrieval.covisitation import NEIGHBORS, Neighborhood, Pair
from services.retrieval.models import CountedHistory, Covisit, CovisitIndexState
from services.retrieval.repository import UsersOfItem
from services.storage.base import Base
from services.storage.bulk import ROWS, as_json, columns_of, coming_rows, json_rows

SERVING = (
    select(func.max(CovisitIndexState.index_id)).where(CovisitIndexState.complete).scalar_subquery()
)


@cache
def users_counted() -> UsersOfItem:
    """For each item of a query over items: how many users the serving index has counted."""
    return (
        select(Covisit.weight)
        .where(
            Covisit.index_id == SERVING,
            Covisit.item_id == Item.item_id,
            Covisit.other_id == Item.item_id,
        )
        .correlate(Item)
        .scalar_subquery()
    )


class IndexRepository:
    def __init__(self, session: AsyncSession) -> None:
        self.session = session
        self._dialect = session.get_bind().dialect.name

    # --- the indexes -------------------------------------------------------------------------

    async def indexes(self) -> Sequence[CovisitIndexState]:
        """The newest first."""
        query = select(CovisitIndexState).order_by(CovisitIndexState.index_id.desc())
        return (await self.session.scalars(query)).all()

    async def serving(self) -> CovisitIndexState | None:
        query = select(CovisitIndexState).where(CovisitIndexState.index_id == SERVING)
        return await self.session.scalar(query)

    async def lock(self, index_id: int) -> CovisitIndexState | None:
        query = select(CovisitIndexState).where(CovisitIndexState.index_id == index_id)
        return await self.session.scalar(query.with_for_update())

    async def lock_all(self) -> Sequence[CovisitIndexState]:
        query = select(CovisitIndexState).order_by(CovisitIndexState.index_id)
        return (await self.session.scalars(query.with_for_update())).all()

    async def begin(self, rule: str, *, seq: int, now: datetime) -> int:
        """Two that begin at once begin the same one."""
        newest = await self.session.scalar(select(func.max(CovisitIndexState.index_id)))
        index_id = (newest or 0) + 1
        await self.session.execute(
            self._insert(CovisitIndexState)
            .values(index_id=index_id, rule=rule, seq=seq, settled_seq=seq, refreshed_at=now)
            .on_conflict_do_nothing()
        )
        return index_id

    async def drop_part(self, index_id: int, items: int) -> bool:
        """Delete the pairs of some items; False when the whole index is gone."""
        some = (
            select(Covisit.item_id)
            .where(Covisit.index_id == index_id)
            .distinct()
            .order_by(Covisit.item_id)
            .limit(items)
            .subquery()
        )
        last = await self.session.scalar(select(func.max(some.c.item_id)))
        if last is not None:
            await self.session.execute(
                delete(Covisit).where(Covisit.index_id == index_id, Covisit.item_id <= last)
            )
            return True
        await self.session.execute(
            delete(CovisitIndexState).where(CovisitIndexState.index_id == index_id)
        )
        return False

    # --- who is to be counted ------------------------------------------------------------------

    async def newest_seq(self, *, after: int = 0, received_before: datetime | None = None) -> int:
        query = select(func.max(Event.seq)).where(Event.seq > after)
        if received_before is not None:
            query = query.where(Event.received_at < received_before)
        return await self.session.scalar(query) or after

    async def takers_since(
        self, after: int, up_to: int, positives: PositiveEvents, limit: int
    ) -> Sequence[tuple[int, str]]:
        """Positive events in the order they were received: (seq, user_id)."""
        found = await self.session.execute(
            select(Event.seq, Event.user_id)
            .where(Event.seq > after, Event.seq <= up_to, positives.clause())
            .order_by(Event.seq)
            .limit(limit)
        )
        return [(seq, user_id) for seq, user_id in found]

    async def users_after(self, user_id: str, limit: int) -> Sequence[str]:
        query = select(User.user_id).where(User.user_id > user_id)
        return (await self.session.scalars(query.order_by(User.user_id).limit(limit))).all()

    async def number_of_users(self) -> int:
        return await self.session.scalar(select(func.count()).select_from(User)) or 0

    async def stale_users(self, index_id: int, limit: int) -> Sequence[str]:
        query = select(CountedHistory.user_id).where(
            CountedHistory.index_id == index_id, text("covisit_histories.stale")
        )
        return (await self.session.scalars(query.limit(limit))).all()

    async def mark_stale(self, *, item_id: str | None = None, event_id: str | None = None) -> None:
        """The histories in which something is about to be deleted."""
        of = Event.item_id == item_id if item_id is not None else Event.event_id == event_id
        await self.session.execute(
            update(CountedHistory)
            .where(CountedHistory.user_id.in_(select(Event.user_id).where(of)))
            .values(stale=True)
        )

    # --- what is counted -----------------------------------------------------------------------

    async def counted(self, index_id: int, user_ids: Collection[str]) -> dict[str, list[str]]:
        wanted = json_rows(
            self._dialect, [{"id": each} for each in user_ids], {"id": User.user_id.type}
        )
        found = await self.session.execute(
            select(CountedHistory.user_id, CountedHistory.items).where(
                CountedHistory.index_id == index_id,
                CountedHistory.user_id.in_(select(wanted.c.id)),
            )
        )
        return dict(found.all())

    async def save_histories(self, index_id: int, histories: Mapping[str, Sequence[str]]) -> None:
        """Replaces them, and none of them is stale any more."""
        gone = [user_id for user_id, items in histories.items() if not items]
        if gone:
            await self.session.execute(
                delete(CountedHistory).where(
                    CountedHistory.index_id == index_id, CountedHistory.user_id.in_(gone)
                )
            )
        rows = [
            {"user_id": user_id, "items": list(items)}
            for user_id, items in sorted(histories.items())
            if items
        ]
        if not rows:
            return
        table = CountedHistory.__table__
        source = json_rows(self._dialect, rows, columns_of(table.c.user_id, table.c["items"]))
        adding = self._insert(CountedHistory).from_select(
            ["index_id", "user_id", "items"],
            select(literal(index_id), source.c.user_id, source.c["items"]).where(true()),
        )
        await self.session.execute(
            adding.on_conflict_do_update(
                index_elements=["index_id", "user_id"],
                set_={"items": adding.excluded["items"], "stale": False},
            )
        )

    async def forget_history(self, index_id: int, user_id: str) -> None:
        await self.session.execute(
            delete(CountedHistory).where(
                CountedHistory.index_id == index_id, CountedHistory.user_id == user_id
            )
        )

    async def add(self, index_id: int, changes: Mapping[Pair, int]) -> int:
        """Add to the weights; by how many the pairs of the index have become more."""
        if not changes:
            return 0
        table = Covisit.__table__
        payload = {
            ROWS: as_json(
                {"item_id": item_id, "other_id": other_id, "weight": weight}
                for (item_id, other_id), weight in sorted(changes.items())
            )
        }
        source = coming_rows(
            self._dialect, columns_of(table.c.item_id, table.c.other_id, table.c.weight)
        )
        adding = self._insert(Covisit).from_select(
            ["index_id", "item_id", "other_id", "weight"],
            select(literal(index_id), source.c.item_id, source.c.other_id, source.c.weight).where(
                true()
            ),
        )
        found = await self.session.execute(
            adding.on_conflict_do_update(
                index_elements=["index_id", "item_id", "other_id"],
                set_={"weight": table.c.weight + adding.excluded.weight},
            ).returning(table.c.item_id, table.c.other_id, table.c.weight),
            payload,
        )
        weights: dict[Pair, int] = {
            (item_id, other_id): weight for item_id, other_id, weight in found
        }
        gone = [pair for pair, weight in weights.items() if not weight]
        if gone:
            await self._remove(index_id, gone)
        # No pair is stored without a weight, so one that weighs what was added is a new one.
        new = sum(weights[pair] == weight for pair, weight in changes.items())
        return new - len(gone)

    async def _remove(self, index_id: int, pairs: Sequence[Pair]) -> None:
        table = Covisit.__table__
        connection = await self.session.connection()
        await connection.execute(
            delete(Covisit).where(
                table.c.index_id == index_id,
                table.c.item_id == bindparam("item"),
                table.c.other_id == bindparam("other"),
            ),
            [{"item": item_id, "other": other_id} for item_id, other_id in pairs],
        )

    # --- what serves ---------------------------------------------------------------------------

    async def neighborhoods(self, item_ids: Collection[str]) -> dict[str, Neighborhood]:
        """Of the serving index; an item that nobody took is left out."""
        place = func.row_number().over(
            partition_by=Covisit.item_id, order_by=(Covisit.weight.desc(), Covisit.other_id)
        )
        placed = (
            select(Covisit.item_id, Covisit.other_id, Covisit.weight, place.label("place"))
            .where(Covisit.index_id == SERVING, Covisit.item_id.in_(sorted(item_ids)))
            .subquery()
        )
        found = await self.session.execute(
            select(placed.c.item_id, placed.c.other_id, placed.c.weight)
            .where(or_(placed.c.place <= NEIGHBORS + 1, placed.c.other_id == placed.c.item_id))
            .order_by(placed.c.item_id, placed.c.place)
        )
        users: dict[str, int] = {}
        others: dict[str, list[tuple[str, float]]] = {}
        for item_id, other_id, weight in found:
            if other_id == item_id:
                users[item_id] = weight
            else:
                others.setdefault(item_id, []).append((other_id, weight))
        return {
            item_id: Neighborhood(count, others.get(item_id, [])[:NEIGHBORS])
            for item_id, count in users.items()
        }

    def _insert(self, model: type[Base]) -> Any:
        """Of the table, not the entity: that one would take our parameter for a row."""
        return (postgresql if self._dialect == "postgresql" else sqlite).insert(model.__table__)
