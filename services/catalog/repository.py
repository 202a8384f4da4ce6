"""All SQL of the catalog."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from functools import cache
from typing import Any, TypeVar

from sqlalchemy import (
    ColumnElement,
    CursorResult,
    Delete,
    Insert,
    Select,
    Subquery,
    cast,
    delete,
    exists,
    func,
    select,
    true,
    tuple_,
)
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import InstrumentedAttribute

from services.catalog.inputs import NewEvent, NewItem, NewUser
from services.catalog.models import Event, Import, Item, User
from services.storage.base import Base, as_text
from services.storage.bulk import POSITION, ROWS, as_json, columns_of, coming_rows, json_rows

Row = TypeVar("Row", bound=Base)


class CatalogRepository:
    def __init__(self, session: AsyncSession) -> None:
        self.session = session
        self.dialect = session.get_bind().dialect.name

    # --- items and users -------------------------------------------------------------------

    async def upsert_items(self, items: Collection[NewItem], now: datetime) -> None:
        await self._upsert(
            Item,
            Item.item_id,
            [
                {
                    "item_id": item.item_id,
                    "title": item.title,
                    "categories": item.categories,
                    "attributes": item.attributes,
                    "hidden": item.hidden,
                    "updated_at": as_text(now),
                }
                for item in items
            ],
        )

    async def upsert_users(self, users: Collection[NewUser], now: datetime) -> None:
        await self._upsert(
            User,
            User.user_id,
            [
                {
                    "user_id": user.user_id,
                    "attributes": user.attributes,
                    "updated_at": as_text(now),
                }
                for user in users
            ],
        )

    async def _upsert(
        self, model: type[Base], key: InstrumentedAttribute[str], rows: list[dict[str, Any]]
    ) -> None:
        if rows:
            statement = _upsert(self.dialect, model, key.key, tuple(rows[0]))
            await self.session.execute(statement, {ROWS: as_json(rows)})

    async def ensure_users(self, user_ids: Collection[str], now: datetime) -> None:
        await self._ensure(User, "user_id", user_ids, now)

    async def ensure_items(self, item_ids: Collection[str], now: datetime) -> None:
        await self._ensure(Item, "item_id", item_ids, now)

    async def _ensure(
        self, model: type[Base], key: str, ids: Collection[str], now: datetime
    ) -> None:
        rows = [{key: each, "updated_at": as_text(now)} for each in sorted(ids)]
        await self.session.execute(_ensure(self.dialect, model, key), {ROWS: as_json(rows)})

    async def known_users(self, user_ids: Collection[str]) -> set[str]:
        return await self._known(User.user_id, user_ids)

    async def known_items(self, item_ids: Collection[str]) -> set[str]:
        return await self._known(Item.item_id, item_ids)

    async def _known(self, key: InstrumentedAttribute[str], ids: Collection[str]) -> set[str]:
        source = json_rows(
            self.dialect,
            [{"id": each} for each in ids],
            {"id": key.type},
        )
        return set(await self.session.scalars(select(key).where(key.in_(select(source.c.id)))))

    async def item(self, item_id: str) -> Item | None:
        return await self.session.get(Item, item_id)

    async def items_by_id(self, item_ids: Collection[str]) -> dict[str, Item]:
        found = await self.session.scalars(select(Item).where(Item.item_id.in_(item_ids)))
        return {item.item_id: item for item in found}

    async def user(self, user_id: str) -> User | None:
        return await self.session.get(User, user_id)

    async def items_after(
        self,
        item_id: str | None,
        limit: int,
        *,
        hidden: bool | None = None,
        category: str | None = None,
    ) -> Sequence[Item]:
        query = _page(select(Item), Item.item_id, item_id, limit)
        if hidden is not None:
            query = query.where(Item.hidden == hidden)
        if category is not None:
            query = query.where(self._has_category(category))
        return (await self.session.scalars(query)).all()

    async def users_after(self, user_id: str | None, limit: int) -> Sequence[User]:
        query = _page(select(User), User.user_id, user_id, limit)
        return (await self.session.scalars(query)).all()

    async def delete_item(self, item_id: str) -> bool:
        return await self._delete(delete(Item).where(Item.item_id == item_id))

    async def delete_user(self, user_id: str) -> bool:
        return await self._delete(delete(User).where(User.user_id == user_id))

    async def is_empty(self) -> bool:
        return not await self.session.scalar(select(exists(select(Item.item_id))))

    # --- events ----------------------------------------------------------------------------

    async def insert_events(self, events: Sequence[NewEvent], now: datetime) -> dict[str, int]:
        """Insert what is new, in the order given; the event ids that landed, with their `seq`."""
        received = as_text(now)
        rows = [
            {
                "event_id": event.event_id,
                "user_id": event.user_id,
                "item_id": event.item_id,
                "type": event.type,
                "value": event.value,
                "occurred_at": as_text(event.occurred_at or now),
                "received_at": received,
                "recommendation_id": event.recommendation_id,
            }
            for event in events
        ]
        if not rows:
            return {}
        statement = _insert_events(self.dialect, tuple(rows[0]))
        landed = await self.session.execute(statement, {ROWS: as_json(rows)})
        return dict(landed.all())

    async def events_of(
        self, user_id: str, limit: int, before: tuple[datetime, int] | None = None
    ) -> Sequence[Event]:
        """A user's events, newest first."""
        query = (
            select(Event)
            .where(Event.user_id == user_id)
            .order_by(Event.occurred_at.desc(), Event.seq.desc())
            .limit(limit)
        )
        if before is not None:
            query = query.where(tuple_(Event.occurred_at, Event.seq) < before)
        return (await self.session.scalars(query)).all()

    async def events_after(self, seq: int, limit: int) -> Sequence[Event]:
        """Events as they were received: the order of an export."""
        query = select(Event).where(Event.seq > seq).order_by(Event.seq).limit(limit)
        return (await self.session.scalars(query)).all()

    async def delete_event(self, event_id: str) -> bool:
        return await self._delete(delete(Event).where(Event.event_id == event_id))

    # --- imports ---------------------------------------------------------------------------

    async def import_state(self, import_id: str) -> Import | None:
        return await self.session.get(Import, import_id)

    async def save_import(self, state: Mapping[str, Any], *, after: int) -> bool:
        """False if the import has not come just as far as line `after`."""
        insert = _insert(self.dialect, Import).values(**state)
        changed = {name: insert.excluded[name] for name in state if name != "import_id"}
        saved = await self.session.scalar(
            insert.on_conflict_do_update(
                index_elements=["import_id"], set_=changed, where=Import.lines == after
            ).returning(Import.import_id)
        )
        return saved is not None

    # --- shared ----------------------------------------------------------------------------

    async def _delete(self, statement: Delete) -> bool:
        result: CursorResult[Any] = await self.session.execute(statement)  # type: ignore[assignment]
        return result.rowcount > 0

    def _has_category(self, category: str) -> ColumnElement[bool]:
        if self.dialect == "postgresql":
            return cast(Item.categories, postgresql.JSONB).contains([category])
        each = func.json_each(Item.categories).table_valued("value", name="category")
        return exists(select(each.c.value).where(each.c.value == category))


# --- statements over many rows, each made once -------------------------------------------------


@cache
def _insert_events(dialect: str, names: tuple[str, ...]) -> Insert:
    """In the order given; the ids of those that landed come back, with their `seq`."""
    source = _rows_of(dialect, Event, names)
    rows = select(*(source.c[name] for name in names)).where(true()).order_by(source.c[POSITION])
    insert = _insert(dialect, Event).from_select(names, rows)
    statement: Insert = insert.on_conflict_do_nothing(index_elements=["event_id"]).returning(
        Event.__table__.c.event_id, Event.__table__.c.seq
    )
    return statement


@cache
def _upsert(dialect: str, model: type[Base], key: str, names: tuple[str, ...]) -> Insert:
    """Insert or replace whole rows. In the order of their keys: two batches that share rows then
    wait for each other instead of deadlocking."""
    source = _rows_of(dialect, model, names)
    rows = select(*(source.c[name] for name in names)).where(true()).order_by(source.c[key])
    insert = _insert(dialect, model).from_select(names, rows)
    replaced = {name: insert.excluded[name] for name in names if name != key}
    statement: Insert = insert.on_conflict_do_update(index_elements=[key], set_=replaced)
    return statement


@cache
def _ensure(dialect: str, model: type[Base], key: str) -> Insert:
    """In the order given, which should be that of the keys: see `_upsert`."""
    names = (key, "updated_at")
    source = _rows_of(dialect, model, names)
    rows = select(*(source.c[name] for name in names)).where(true()).order_by(source.c[POSITION])
    insert = _insert(dialect, model).from_select(names, rows)
    statement: Insert = insert.on_conflict_do_nothing(index_elements=[key])
    return statement


def _rows_of(dialect: str, model: type[Base], names: tuple[str, ...]) -> Subquery:
    return coming_rows(dialect, columns_of(*(model.__table__.c[name] for name in names)))


def _insert(dialect: str, model: type[Base]) -> Any:
    """Of the table, not the entity: that one would take our parameter for a row."""
    return (postgresql if dialect == "postgresql" else sqlite).insert(model.__table__)


def _page(
    query: Select[Row], key: InstrumentedAttribute[str], after: str | None, limit: int
) -> Select[Row]:
    query = query.order_by(key).limit(limit)
    return query if after is None else query.where(key > after)
