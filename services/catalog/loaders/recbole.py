"""RecBole's atomic files: tab-separated, with a typed header such as `user_id:token`.

`.inter` gives events, `.item` items and `.user` users. An interaction with a rating is an event
`rating` with that value; one without is an event of the type the caller names.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from services.catalog.inputs import Kind, NewEvent, NewItem, NewUser
from services.catalog.loaders import foreign
from services.catalog.loaders.lines import (
    BEGINNING,
    BadLine,
    Line,
    Parse,
    Position,
    Row,
    UnreadableFile,
    parsed_lines,
    raw_lines,
)

KINDS = {".inter": Kind.EVENTS, ".item": Kind.ITEMS, ".user": Kind.USERS}
TYPES = frozenset({"token", "token_seq", "float", "float_seq"})
REQUIRED = {
    Kind.EVENTS: ("user_id", "item_id"),
    Kind.ITEMS: ("item_id",),
    Kind.USERS: ("user_id",),
}
# RecBole's own conversions name these columns differently from data set to data set.
TITLES = ("title", "name", "item_name", "movie_title", "book_title", "product_title")
CATEGORIES = ("categories", "category", "genres", "genre", "class")

_QUOTED = re.compile(r"'([^']*)'|\"([^\"]*)\"")


@dataclass(frozen=True, slots=True)
class Header:
    names: tuple[str, ...]
    types: tuple[str, ...]
    end: Position

    @property
    def kind(self) -> Kind | None:
        for kind in (Kind.EVENTS, Kind.ITEMS, Kind.USERS):
            if all(name in self.names for name in REQUIRED[kind]):
                return kind
        return None


def read(
    path: Path, kind: Kind | None, start: Position = BEGINNING, *, event_type: str
) -> Iterator[Line]:
    header = header_of(path)
    kind = kind or kind_by_name(path) or header.kind
    missing = [name for name in REQUIRED.get(kind, ()) if name not in header.names] if kind else []
    if kind is None or missing:
        raise UnreadableFile(
            f"{path} has no column {' and '.join(missing) or 'user_id or item_id'}; its columns "
            f"are {', '.join(header.names)}. Rename the column in the first line."
        )
    parse = {
        Kind.EVENTS: lambda: _interactions(header, event_type),
        Kind.ITEMS: lambda: _items(header),
        Kind.USERS: lambda: _users(header),
    }[kind]()
    yield from parsed_lines(path, parse, start if start.line else header.end)


def kind_by_name(path: Path) -> Kind | None:
    return KINDS.get(Path(path.name.removesuffix(".gz")).suffix)


def header_of(path: Path) -> Header:
    """The typed columns of the first line; UnreadableFile where there are none."""
    for number, end, raw in raw_lines(path, BEGINNING):
        columns = (raw or b"").decode(errors="replace").rstrip("\r\n").split("\t")
        pairs = [column.rpartition(":") for column in columns]
        if not all(name and type_ in TYPES for name, _, type_ in pairs):
            break
        names, types = (tuple(pair[part].strip() for pair in pairs) for part in (0, 2))
        return Header(names, types, Position(number, end))
    raise UnreadableFile(
        f"{path} does not begin with a RecBole header: columns such as user_id:token, separated "
        "by tabs."
    )


def _cells(raw: bytes, header: Header) -> dict[str, str] | BadLine:
    try:
        cells = raw.decode().rstrip("\r\n").split("\t")
    except UnicodeDecodeError as error:
        return BadLine(f"is not valid UTF-8 (byte {error.start + 1} of the line)")
    if len(cells) != len(header.names):
        return BadLine(f"has {len(cells)} columns where the header has {len(header.names)}")
    return dict(zip(header.names, cells, strict=True))


def _interactions(header: Header, event_type: str) -> Parse:
    def parse(raw: bytes) -> Row | BadLine:
        cells = _cells(raw, header)
        if isinstance(cells, BadLine):
            return cells
        values: dict[str, Any] = {
            "user_id": cells["user_id"],
            "item_id": cells["item_id"],
            "type": event_type,
        }
        if rating := cells.get("rating"):
            values |= {"type": "rating", "value": rating}
        try:
            values["occurred_at"] = foreign.moment(cells.get("timestamp"))
        except ValueError as error:
            return BadLine(f"timestamp: {error}")
        return foreign.build(NewEvent, values, {"value": "rating", "occurred_at": "timestamp"})

    return parse


def _items(header: Header) -> Parse:
    title = _first(TITLES, header)
    categories = _first(CATEGORIES, header)
    others = _attribute_columns(header, {"item_id", title, categories})

    def parse(raw: bytes) -> Row | BadLine:
        cells = _cells(raw, header)
        if isinstance(cells, BadLine):
            return cells
        values = {
            "item_id": cells["item_id"],
            "title": foreign.title(cells.get(title)) if title else None,
            "categories": foreign.categories(_sequence(cells[categories])) if categories else (),
            "attributes": foreign.attributes((name, cells[name]) for name in others),
        }
        return foreign.build(NewItem, values, {})

    return parse


def _users(header: Header) -> Parse:
    others = _attribute_columns(header, {"user_id"})

    def parse(raw: bytes) -> Row | BadLine:
        cells = _cells(raw, header)
        if isinstance(cells, BadLine):
            return cells
        attributes = foreign.attributes((name, cells[name]) for name in others)
        return foreign.build(NewUser, {"user_id": cells["user_id"], "attributes": attributes}, {})

    return parse


def _first(wanted: tuple[str, ...], header: Header) -> str | None:
    return next((name for name in wanted if name in header.names), None)


def _attribute_columns(header: Header, others: set[str | None]) -> list[str]:
    return [
        name
        for name, type_ in zip(header.names, header.types, strict=True)
        if type_ != "float_seq" and name not in others
    ]


def _sequence(cell: str) -> list[str]:
    """The default separator is a space, but many files hold `'A & B', 'C'` or `A|B` or `A, B`."""
    if cell.startswith(("'", '"', "[")):
        return [single or double for single, double in _QUOTED.findall(cell)]
    separator = next((mark for mark in ",|" if mark in cell), " ")
    return cell.split(separator)
