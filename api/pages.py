"""Cursor lists: a cursor is opaque to the caller and says after which key to go on."""

from __future__ import annotations

import base64
import json
from typing import Annotated, Any, Generic, TypeVar

from fastapi import Query
from pydantic import BaseModel, Field

from services.errors import MalformedCursor

Entry = TypeVar("Entry")
ADVICE = "pass `next_cursor` of an earlier page as it was"

Limit = Annotated[int, Query(ge=1, le=1000, description="Most entries of one page.")]
Cursor = Annotated[
    str | None, Query(max_length=1024, description="`next_cursor` of the page before.")
]


class Page(BaseModel, Generic[Entry]):
    items: list[Entry]
    next_cursor: str | None = Field(description="null on the last page.")


def encode_cursor(*key: str | int) -> str:
    return base64.urlsafe_b64encode(json.dumps(key).encode()).decode().rstrip("=")


def decode_cursor(cursor: str | None, *kinds: type[Any]) -> tuple[Any, ...] | None:
    """The key in a cursor, checked against the kinds of its parts."""
    if cursor is None:
        return None
    try:
        key = json.loads(base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)))
    except (ValueError, RecursionError):
        key = None
    if not isinstance(key, list) or [type(part) for part in key] != list(kinds):
        raise MalformedCursor(ADVICE)
    return tuple(key)
