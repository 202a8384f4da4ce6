"""Items, users and events: upsert, record, look up, list, delete."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Query, status

from api.dependencies import ACCESS_ERRORS, JsonBody, PathId, Provided, caller_with
from api.pages import Cursor, EventKey, IdKey, Limit, Page, decode_cursor, encode_cursor
from api.problems import documented
from api.rows import BatchReport, one_or_many, read_batch
from api.schemas import EventOut, ItemOut, UserOut
from services.access.keys import Scope
from services.catalog.inputs import Kind, Label, NewEvent, NewItem, NewUser
from services.catalog.repository import CatalogRepository
from services.errors import (
    InvalidRequest,
    MalformedCursor,
    NotFound,
    TooLarge,
    Unavailable,
    UnsupportedMediaType,
)

router = APIRouter(
    tags=["catalog"],
    dependencies=[Depends(caller_with(Scope.INGEST))],
    responses=documented(InvalidRequest, Unavailable, *ACCESS_ERRORS),
)

BODY_ERRORS = (TooLarge, UnsupportedMediaType)

ITEM = {
    "item_id": "item-1",
    "title": "Nordvik Waterproof Hiking Boots",
    "categories": ["outdoor"],
    "attributes": {"brand": "Nordvik"},
}
USER = {"user_id": "ada", "attributes": {"country": "NO"}}
EVENT = {
    "event_id": "order-17-line-1",
    "user_id": "ada",
    "item_id": "item-1",
    "type": "purchase",
    "occurred_at": "2026-01-02T03:04:05Z",
}

# --- items -----------------------------------------------------------------------------------


@router.post(
    "/items", responses=documented(*BODY_ERRORS), openapi_extra=one_or_many(NewItem, example=ITEM)
)
async def upsert_items(body: JsonBody, services: Provided) -> BatchReport:
    """Store one item or many. An item that exists is replaced as a whole."""
    batch = read_batch(body, NewItem, max_rows=services.settings.max_batch_rows)
    return await batch.store(Kind.ITEMS, services.metrics, services.catalog.upsert_items)


@router.get("/items", responses=documented(MalformedCursor))
async def list_items(
    services: Provided,
    limit: Limit = 100,
    cursor: Cursor = None,
    hidden: bool | None = None,
    category: Annotated[Label | None, Query()] = None,
) -> Page[ItemOut]:
    """Items by id."""
    key = decode_cursor(cursor, IdKey)
    async with services.database.reading() as session:
        items = await CatalogRepository(session).items_after(
            key[0] if key else None, limit, hidden=hidden, category=category
        )
    return Page(
        items=[ItemOut.model_validate(item) for item in items],
        next_cursor=encode_cursor(items[-1].item_id) if len(items) == limit else None,
    )


@router.get("/items/{item_id}", responses=documented(NotFound))
async def get_item(item_id: PathId, services: Provided) -> ItemOut:
    async with services.database.reading() as session:
        item = await CatalogRepository(session).item(item_id)
    if item is None:
        raise NotFound("there is no item of this id")
    return ItemOut.model_validate(item)


@router.delete(
    "/items/{item_id}", status_code=status.HTTP_204_NO_CONTENT, responses=documented(NotFound)
)
async def delete_item(item_id: PathId, services: Provided) -> None:
    """Delete an item and the events that name it. To keep them, hide the item instead."""
    if not await services.catalog.delete_item(item_id):
        raise NotFound("there is no item of this id")


# --- users -----------------------------------------------------------------------------------


@router.post(
    "/users", responses=documented(*BODY_ERRORS), openapi_extra=one_or_many(NewUser, example=USER)
)
async def upsert_users(body: JsonBody, services: Provided) -> BatchReport:
    """Store one user or many. A user who exists is replaced as a whole; events stay."""
    batch = read_batch(body, NewUser, max_rows=services.settings.max_batch_rows)
    return await batch.store(Kind.USERS, services.metrics, services.catalog.upsert_users)


@router.get("/users", responses=documented(MalformedCursor))
async def list_users(
    services: Provided, limit: Limit = 100, cursor: Cursor = None
) -> Page[UserOut]:
    """Users by id."""
    key = decode_cursor(cursor, IdKey)
    async with services.database.reading() as session:
        users = await CatalogRepository(session).users_after(key[0] if key else None, limit)
    return Page(
        items=[UserOut.model_validate(user) for user in users],
        next_cursor=encode_cursor(users[-1].user_id) if len(users) == limit else None,
    )


@router.get("/users/{user_id}", responses=documented(NotFound))
async def get_user(user_id: PathId, services: Provided) -> UserOut:
    async with services.database.reading() as session:
        user = await CatalogRepository(session).user(user_id)
    if user is None:
        raise NotFound("there is no user of this id")
    return UserOut.model_validate(user)


@router.get("/users/{user_id}/events", responses=documented(MalformedCursor))
async def list_events_of(
    user_id: PathId, services: Provided, limit: Limit = 100, cursor: Cursor = None
) -> Page[EventOut]:
    """A user's events, newest first."""
    before = decode_cursor(cursor, EventKey)
    async with services.database.reading() as session:
        events = await CatalogRepository(session).events_of(user_id, limit, before)
    last = events[-1] if len(events) == limit else None
    return Page(
        items=[EventOut.model_validate(event) for event in events],
        next_cursor=encode_cursor(last.occurred_at, last.seq) if last else None,
    )


@router.delete(
    "/users/{user_id}", status_code=status.HTTP_204_NO_CONTENT, responses=documented(NotFound)
)
async def delete_user(user_id: PathId, services: Provided) -> None:
    """Delete every trace of a user."""
    if not await services.catalog.delete_user(user_id):
        raise NotFound("there is no user of this id")


# --- events ----------------------------------------------------------------------------------


@router.post(
    "/events",
    responses=documented(*BODY_ERRORS),
    openapi_extra=one_or_many(NewEvent, example=EVENT),
)
async def record_events(body: JsonBody, services: Provided) -> BatchReport:
    """Record one event or many. The same `event_id` counts once, however often it is sent."""
    batch = read_batch(body, NewEvent, max_rows=services.settings.max_batch_rows)
    return await batch.store(Kind.EVENTS, services.metrics, services.catalog.record)


@router.delete(
    "/events/{event_id}", status_code=status.HTTP_204_NO_CONTENT, responses=documented(NotFound)
)
async def delete_event(event_id: PathId, services: Provided) -> None:
    if not await services.catalog.delete_event(event_id):
        raise NotFound("there is no event of this id")
