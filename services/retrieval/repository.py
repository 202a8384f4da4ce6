"""All SQL of retrieval over events and items. `liked` says which events count: positive ones, and
for a look at the past those before a moment without some named ones."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import (
    ColumnElement,
    SQLColumnExpression,
    and_,
    cast,
    distinct,
    exists,
    func,
    or_,
    select,
    tuple_,
)
from sqlalchemy.dialects import postgresql
from sqlalchemy.ext.asyncio import AsyncSession

from services.catalog.models import Event, Item
from services.catalog.positives import PositiveEvents
from services.retrieval.covisitation import Moment, distinct_newest
from services.storage.bulk import json_rows

Liked = ColumnElement[bool]
UsersOfItem = SQLColumnExpression[Any]


@dataclass(frozen=True, slots=True)
class ShownItem:
    """An item that may be shown unless it is hidden, and how many users took it."""

    item_id: str
    title: str | None
    users: int
    hidden: bool = False


def before(moment: Moment) -> ColumnElement[bool]:
    """Spelled out beside the tuple, for the sake of the index on the first column."""
    return and_(
        Event.occurred_at <= moment.occurred_at,
        tuple_(Event.occurred_at, Event.seq) < (moment.occurred_at, moment.seq),
    )


def none_of(event_ids: Collection[str]) -> ColumnElement[bool]:
    return Event.event_id.not_in(sorted(event_ids))


def users_who_took(liked: Liked) -> UsersOfItem:
    """For each item of a query over items: how many users took it."""
    return (
        select(func.count(distinct(Event.user_id)))
        .where(Event.item_id == Item.item_id, liked)
        .correlate(Item)
        .scalar_subquery()
    )


class RetrievalRepository:
    def __init__(self, session: AsyncSession) -> None:
        self.session = session
        self._dialect = session.get_bind().dialect.name

    # --- what users took -------------------------------------------------------------------

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

    async def most_taken(self, liked: Liked, limit: int) -> dict[str, int]:
        """Items by the number of users who took them, the most popular first."""
        users = func.count(distinct(Event.user_id)).label("users")
        found = await self.session.execute(
            select(Event.item_id, users)
            .where(liked)
            .group_by(Event.item_id)
            .order_by(users.desc(), Event.item_id)
            .limit(limit)
        )
        return dict(found.all())

    async def takings(self, liked: Liked) -> int:
        """Pairs of a user and an item that the user took."""
        pairs = select(Event.user_id, Event.item_id).where(liked).distinct().subquery()
        return await self.session.scalar(select(func.count()).select_from(pairs)) or 0

    async def items_taken_by(self, user_id: str, positives: PositiveEvents) -> set[str]:
        """What the user likes or has already: a mere look does not take an item off the list."""
        return set(await self.taken_by(user_id, positives.clause()))

    async def taken_by(self, user_id: str, liked: Liked) -> list[str]:
        """What a user took, the newest first, every item once."""
        found = await self.session.scalars(
            select(Event.item_id)
            .where(Event.user_id == user_id, liked)
            .order_by(Event.occurred_at.desc(), Event.seq.desc())
        )
        return list(dict.fromkeys(found))

    async def takers(
        self, item_ids: Collection[str], liked: Liked, limit: int
    ) -> dict[str, list[str]]:
        """Who took each item, newest first, at most so many users of each."""
        newest = (
            select(
                Event.item_id,
                Event.user_id,
                func.max(Event.occurred_at).label("last"),
            )
            .where(Event.item_id.in_(sorted(item_ids)), liked)
            .group_by(Event.item_id, Event.user_id)
            .subquery()
        )
        place = func.row_number().over(
            partition_by=newest.c.item_id, order_by=(newest.c.last.desc(), newest.c.user_id)
        )
        placed = select(newest.c.item_id, newest.c.user_id, place.label("place")).subquery()
        found = await self.session.execute(
            select(placed.c.item_id, placed.c.user_id).where(placed.c.place <= limit)
        )
        takers: dict[str, list[str]] = {}
        for item_id, user_id in found:
            takers.setdefault(item_id, []).append(user_id)
        return takers

    async def histories(self, user_ids: Collection[str], liked: Liked) -> dict[str, list[str]]:
        """The items of each user as they are counted, oldest first; none of users who took
        nothing."""
        wanted = json_rows(
            self._dialect, [{"id": each} for each in user_ids], {"id": Event.user_id.type}
        )
        found = await self.session.execute(
            select(Event.user_id, Event.item_id)
            .where(Event.user_id.in_(select(wanted.c.id)), liked)
            .order_by(Event.user_id, Event.occurred_at, Event.seq)
        )
        items: dict[str, list[str]] = {}
        for user_id, item_id in found:
            items.setdefault(user_id, []).append(item_id)
        return {user_id: distinct_newest(taken) for user_id, taken in items.items()}

    async def users_by_item(self, item_ids: Collection[str], liked: Liked) -> dict[str, int]:
        found = await self.session.execute(
            select(Event.item_id, func.count(distinct(Event.user_id)))
            .where(Event.item_id.in_(sorted(item_ids)), liked)
            .group_by(Event.item_id)
        )
        return dict(found.all())

    async def items_of_events(self, event_ids: Collection[str], liked: Liked) -> Sequence[str]:
        found = await self.session.scalars(
            select(Event.item_id).where(Event.event_id.in_(sorted(event_ids)), liked)
        )
        return found.all()

    # --- which items may be shown ------------------------------------------------------------

    async def shown(
        self,
        item_ids: Collection[str],
        categories: Collection[str],
        users: UsersOfItem,
    ) -> Mapping[str, ShownItem]:
        """Those of the items that are visible and, if categories are given, in one of them."""
        found = await self.session.execute(
            select(Item.item_id, Item.title, users).where(
                Item.item_id.in_(item_ids), Item.hidden.is_(False), *self._in_any(categories)
            )
        )
        return {row[0]: ShownItem(row[0], row[1], row[2] or 0) for row in found}

    async def known(self, item_ids: Collection[str], users: UsersOfItem) -> Mapping[str, ShownItem]:
        """Hidden ones, too."""
        found = await self.session.execute(
            select(Item.item_id, Item.title, users, Item.hidden).where(Item.item_id.in_(item_ids))
        )
        return {row[0]: ShownItem(row[0], row[1], row[2] or 0, row[3]) for row in found}

    async def users_of(self, item_ids: Collection[str], users: UsersOfItem) -> dict[str, int]:
        """Of items known to the catalog, hidden ones too."""
        found = await self.session.execute(
            select(Item.item_id, users).where(Item.item_id.in_(item_ids))
        )
        return {item_id: count or 0 for item_id, count in found}

    async def more_shown(
        self,
        item_ids: Collection[str],
        categories: Collection[str],
        users: UsersOfItem,
        limit: int,
    ) -> Sequence[ShownItem]:
        """Visible items other than these, the most popular first: what a category or a new shop has
        beside what everybody takes."""
        left_out = json_rows(
            self._dialect, [{"id": each} for each in item_ids], {"id": Item.item_id.type}
        )
        count = func.coalesce(users, 0)
        found = await self.session.execute(
            select(Item.item_id, Item.title, count)
            .where(
                Item.item_id.not_in(select(left_out.c.id)),
                Item.hidden.is_(False),
                *self._in_any(categories),
            )
            .order_by(count.desc(), Item.item_id)
            .limit(limit)
        )
        return [ShownItem(*row) for row in found]

    def _in_any(self, categories: Collection[str]) -> list[ColumnElement[bool]]:
        if not categories:
            return []
        if self._dialect == "postgresql":
            held = cast(Item.categories, postgresql.JSONB)
            return [or_(*(held.contains([category]) for category in sorted(categories)))]
        each = func.json_each(Item.categories).table_valued("value", name="category")
        return [exists(select(each.c.value).where(each.c.value.in_(sorted(categories))))]
