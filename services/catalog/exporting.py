"""Exports: every row of a kind as our own JSONL, page by page, so that memory stays flat."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import Any

from services.catalog.inputs import Kind, NewEvent, NewItem, NewUser
from services.catalog.jsonl import to_line
from services.catalog.models import Event, Item, User
from services.catalog.repository import CatalogRepository
from services.storage.database import Database

PAGE_ROWS = 1000


async def exported(database: Database, kind: Kind) -> AsyncIterator[bytes]:
    """Pages of lines. Items and users come by id, events in the order in which they came in."""
    after: Any = None
    while True:
        async with database.reading() as session:
            rows = await _page(CatalogRepository(session), kind, after)
        if rows:
            yield b"".join(to_line(_as_sent(row)) for row in rows)
        if len(rows) < PAGE_ROWS:
            return
        after = _key(rows[-1])


async def _page(
    catalog: CatalogRepository, kind: Kind, after: Any
) -> Sequence[Item] | Sequence[User] | Sequence[Event]:
    match kind:
        case Kind.ITEMS:
            return await catalog.items_after(after, PAGE_ROWS)
        case Kind.USERS:
            return await catalog.users_after(after, PAGE_ROWS)
        case Kind.EVENTS:
            return await catalog.events_after(after or 0, PAGE_ROWS)


def _key(row: Item | User | Event) -> str | int:
    if isinstance(row, Event):
        return row.seq
    return row.item_id if isinstance(row, Item) else row.user_id


def _as_sent(row: Item | User | Event) -> NewItem | NewUser | NewEvent:
    """Stored rows were checked when they came in."""
    if isinstance(row, Item):
        return NewItem.model_construct(
            item_id=row.item_id,
            title=row.title,
            categories=tuple(row.categories),
            attributes=row.attributes,
            hidden=row.hidden,
        )
    if isinstance(row, User):
        return NewUser.model_construct(user_id=row.user_id, attributes=row.attributes)
    return NewEvent.model_construct(
        event_id=row.event_id,
        user_id=row.user_id,
        item_id=row.item_id,
        type=row.type,
        value=row.value,
        occurred_at=row.occurred_at,
        recommendation_id=row.recommendation_id,
    )
