"""Cursor lists: a cursor is opaque to the caller and says after which key to go on."""

from __future__ import annotations

import base64
from datetime import datetime
from typing import Annotated, Generic, TypeVar

from fastapi import Query
from pydantic import AwareDatetime, BaseModel, Field, TypeAdapter
from pydantic_core import to_json

from services.catalog.inputs import Id
from services.errors import MalformedCursor

Entry = TypeVar("Entry")
Key = TypeVar("Key")
ADVICE = "pass `next_cursor` of an earlier page as it was"
LONGEST_CURSOR = 2048

Limit = Annotated[int, Query(ge=1, le=1000, description="Most entries of one page.")]
Cursor = Annotated[
    str | None, Query(max_length=LONGEST_CURSOR, description="`next_cursor` of the page before.")
]

IdKey: TypeAdapter[tuple[str]] = TypeAdapter(tuple[Id])
EventKey: TypeAdapter[tuple[datetime, int]] = TypeAdapter(
    tuple[AwareDatetime, Annotated[int, Field(ge=0, lt=2**63)]]
)


class Page(BaseModel, Generic[Entry]):
    items: list[Entry]
    next_cursor: str | None = Field(description="null on the last page.")


def encode_cursor(*key: str | int | datetime) -> str:
    return base64.urlsafe_b64encode(to_json(key)).decode().rstrip("=")


def decode_cursor(cursor: str | None, kind: TypeAdapter[Key]) -> Key | None:
    """The key in a cursor: a caller may have made it up, so it is checked like any input."""
    if cursor is None:
        return None
    try:
        return kind.validate_json(
            base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)), strict=True
        )
    except ValueError:
        raise MalformedCursor(ADVICE) from None
