"""What callers may say about the catalog: items, users and events, checked row by row."""

from __future__ import annotations

import hashlib
import math
import secrets
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Annotated, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    StringConstraints,
    model_validator,
)

# A clock may be a little ahead of ours; an event of next year would stay the newest for a year.
FURTHEST_FUTURE = timedelta(days=1)


class Kind(StrEnum):
    """The three nouns of the catalog, in the order in which an import should bring them."""

    ITEMS = "items"
    USERS = "users"
    EVENTS = "events"


def _storable(text: str) -> str:
    if "\x00" in text:
        raise ValueError("must not contain a null character")
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ValueError("must be valid Unicode (it contains half a surrogate pair)") from None
    return text


def _in_utc(moment: datetime) -> datetime:
    """Times without a zone are read as UTC."""
    if moment.tzinfo is None:
        return moment.replace(tzinfo=UTC)
    try:
        return moment.astimezone(UTC)
    except OverflowError:
        raise ValueError("is outside the years 1 to 9999") from None


def _not_in_the_future(moment: datetime) -> datetime:
    if moment > datetime.now(UTC) + FURTHEST_FUTURE:
        raise ValueError("lies more than a day in the future")
    return moment


def _finite(value: float) -> float:
    if not math.isfinite(value):
        raise ValueError("must be a finite number")
    return value


# Length before content: constraints behind a function take 1.6 times as long, in worse words.
Storable = AfterValidator(_storable)
Id = Annotated[str, StringConstraints(min_length=1, max_length=128), Storable]
Title = Annotated[str, StringConstraints(min_length=1, max_length=1000), Storable]
Label = Annotated[str, StringConstraints(min_length=1, max_length=200), Storable]
AttributeValue = Annotated[str, StringConstraints(max_length=1000), Storable]
Moment = Annotated[datetime, AfterValidator(_in_utc)]
Attributes = Annotated[dict[Label, AttributeValue], Field(max_length=100)]


class Input(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class NewItem(Input):
    item_id: Id
    title: Title | None = None
    categories: Annotated[tuple[Label, ...], Field(max_length=100)] = ()
    attributes: Attributes = Field(default_factory=dict)
    hidden: bool = Field(
        False, description="Hidden items keep their history but are never recommended."
    )


class NewUser(Input):
    user_id: Id
    attributes: Attributes = Field(default_factory=dict)


class NewEvent(Input):
    event_id: Id | None = Field(
        None,
        description="Makes a retry safe: the same id counts once. Without it, an event that has "
        "`occurred_at` is identified by its content.",
    )
    user_id: Id
    item_id: Id
    type: Label
    value: Annotated[float, AfterValidator(_finite)] | None = None
    occurred_at: Annotated[Moment, AfterValidator(_not_in_the_future)] | None = None
    recommendation_id: Id | None = Field(None, description="The list this event answers to.")

    @model_validator(mode="after")
    def _identified(self) -> Self:
        """Every event leaves validation with an id and a time."""
        if self.event_id is None:
            object.__setattr__(self, "event_id", self._content_id())
        if self.occurred_at is None:
            object.__setattr__(self, "occurred_at", datetime.now(UTC))
        return self

    def _content_id(self) -> str:
        if self.occurred_at is None:
            return f"srv-{secrets.token_hex(16)}"
        content = "\x00".join(  # no field may hold one
            (self.user_id, self.item_id, self.type, repr(self.value), self.occurred_at.isoformat())
        )
        return f"sha-{hashlib.blake2b(content.encode(), digest_size=16).hexdigest()}"


type_of: dict[Kind, type[Input]] = {
    Kind.ITEMS: NewItem,
    Kind.USERS: NewUser,
    Kind.EVENTS: NewEvent,
}
