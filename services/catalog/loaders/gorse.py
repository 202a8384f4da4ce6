"""Gorse's bulk JSONL: users, items and feedback as its dashboard exports them.

Gorse keeps the readable name of an item in its Comment, so that is the title. The time at which an
item was added and the time at which feedback was updated have no place in our catalog.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from services.catalog.inputs import Kind, NewEvent, NewItem, NewUser
from services.catalog.loaders import foreign
from services.catalog.loaders.lines import BEGINNING, BadLine, Line, Position, Row, parsed_lines
from services.catalog.loaders.records import Record, record_parser

USER, ITEM, TYPE = "UserId", "ItemId", "FeedbackType"


def read(path: Path, kind: Kind | None, start: Position = BEGINNING) -> Iterator[Line]:
    def understand(record: Record) -> Row | BadLine:
        fields = _Fields(record)
        meant = kind or _kind(fields)
        if meant is None:
            return BadLine("has neither UserId, ItemId nor FeedbackType")
        return _UNDERSTAND[meant](fields)

    return parsed_lines(path, record_parser(understand), start)


def kind_of(record: Record) -> Kind | None:
    return _kind(_Fields(record))


class _Fields:
    """An object whose field names are found in any case, as Gorse finds them."""

    def __init__(self, record: Mapping[str, Any]) -> None:
        self._values = {name.lower(): value for name, value in record.items()}

    def get(self, name: str) -> Any:
        return self._values.get(name.lower())

    def given(self, **names: str) -> dict[str, Any]:
        """The values there are, under our names for them."""
        found = {ours: self.get(theirs) for ours, theirs in names.items()}
        return {ours: value for ours, value in found.items() if value is not None}


def _kind(fields: _Fields) -> Kind | None:
    if fields.get(TYPE) is not None:
        return Kind.EVENTS
    if fields.get(ITEM) is not None:
        return Kind.ITEMS
    return Kind.USERS if fields.get(USER) is not None else None


def _user(fields: _Fields) -> Row | BadLine:
    comment = ("comment", fields.get("Comment"))
    values = fields.given(user_id=USER)
    values["attributes"] = foreign.attributes([comment, *_labels(fields)])
    return foreign.build(NewUser, values, {"user_id": USER})


def _item(fields: _Fields) -> Row | BadLine:
    values = fields.given(item_id=ITEM, hidden="IsHidden")
    values["title"] = foreign.title(fields.get("Comment"))
    values["categories"] = foreign.categories(fields.get("Categories"))
    values["attributes"] = foreign.attributes(_labels(fields))
    return foreign.build(NewItem, values, {"item_id": ITEM, "hidden": "IsHidden"})


def _feedback(fields: _Fields) -> Row | BadLine:
    values = fields.given(user_id=USER, item_id=ITEM, type=TYPE)
    # Gorse writes 0 where no value was given.
    values["value"] = fields.get("Value") or None
    try:
        values["occurred_at"] = foreign.moment(fields.get("Timestamp"))
    except ValueError as error:
        return BadLine(f"Timestamp: {error}")
    names = {"user_id": USER, "item_id": ITEM, "type": TYPE, "value": "Value"}
    return foreign.build(NewEvent, values, names | {"occurred_at": "Timestamp"})


def _labels(fields: _Fields) -> list[tuple[object, object]]:
    labels = fields.get("Labels")
    return list(labels.items()) if isinstance(labels, Mapping) else [("labels", labels)]


_UNDERSTAND = {Kind.ITEMS: _item, Kind.USERS: _user, Kind.EVENTS: _feedback}
