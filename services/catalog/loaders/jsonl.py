"""Our own JSONL: one object a line, with exactly the fields of an item, a user or an event.

Items, users and events may share a file: the fields tell them apart, since an event has both ids
and the other two have one each.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Set
from pathlib import Path

from pydantic import ValidationError
from pydantic_core import from_json

from services.catalog.inputs import Kind, NewEvent, NewItem, NewUser
from services.catalog.loaders import reasons
from services.catalog.loaders.lines import (
    BEGINNING,
    BadLine,
    Line,
    Parse,
    Position,
    Row,
    parsed_lines,
)

Validate = Callable[[bytes], Row]

# The bare validators: `model_validate_json` and type adapters cost a tenth of the speed.
_VALIDATE: dict[Kind, Validate] = {
    Kind.ITEMS: NewItem.__pydantic_validator__.validate_json,
    Kind.USERS: NewUser.__pydantic_validator__.validate_json,
    Kind.EVENTS: NewEvent.__pydantic_validator__.validate_json,
}
ONLY_OF_AN_EVENT = frozenset(NewEvent.model_fields) - {"item_id", "user_id"}
ONLY_OF_AN_ITEM = frozenset(NewItem.model_fields) - {"item_id", "attributes"}


def read(path: Path, kind: Kind | None, start: Position = BEGINNING) -> Iterator[Line]:
    return parsed_lines(path, line_parser(kind), start)


def line_parser(kind: Kind | None) -> Parse:
    """Turns the bytes of a line into a row of this kind, or of the kind its fields say."""
    return _strict(kind) if kind else _recognizing()


def kind_of(fields: Set[str]) -> Kind | None:
    """The kind that an object with these fields is, or was meant to be."""
    if {"user_id", "item_id"} <= fields:
        return Kind.EVENTS
    if "item_id" in fields:
        return Kind.EVENTS if fields & ONLY_OF_AN_EVENT else Kind.ITEMS
    if "user_id" in fields:
        return Kind.EVENTS if fields & ONLY_OF_AN_EVENT else Kind.USERS
    if fields & ONLY_OF_AN_ITEM:
        return Kind.ITEMS
    return Kind.EVENTS if fields & ONLY_OF_AN_EVENT else None


def _strict(kind: Kind) -> Parse:
    validate = _VALIDATE[kind]

    def parse(raw: bytes) -> Row | BadLine:
        try:
            return validate(raw)
        except ValidationError as error:
            return _bad(raw, error)

    return parse


def _recognizing() -> Parse:
    # Lines of a kind come in runs, and no line is valid as two kinds: try the last kind first.
    latest = _VALIDATE[Kind.EVENTS]

    def parse(raw: bytes) -> Row | BadLine:
        nonlocal latest
        try:
            return latest(raw)
        except ValidationError as error:
            if reasons.parser_complaint(error) is not None:
                return _bad(raw, error)
        # A valid object; only its kind is open.
        record = from_json(raw)
        if not isinstance(record, dict):
            return BadLine("the line: must be an object")
        kind = kind_of(record.keys())
        if kind is None:
            return BadLine("has neither item_id nor user_id: not an item, a user or an event")
        try:
            row = _VALIDATE[kind](raw)
        except ValidationError as error:
            return _bad(raw, error)
        latest = _VALIDATE[kind]
        return row

    return parse


def _bad(raw: bytes, error: ValidationError) -> BadLine:
    complaint = reasons.parser_complaint(error)
    return BadLine(
        reasons.invalid(error) if complaint is None else reasons.not_json(raw, complaint)
    )
