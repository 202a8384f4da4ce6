"""Amazon reviews and product metadata, in the shapes of 2014, 2018 and 2023.

A review is an event `rating` (its title and text are not kept); metadata gives items. The product
of 2023 is its parent, to which the metadata belongs; earlier files have no parents.
"""

from __future__ import annotations

import html
import math
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from services.catalog.inputs import Kind, NewEvent, NewItem
from services.catalog.loaders import foreign
from services.catalog.loaders.lines import (
    BEGINNING,
    BadLine,
    Line,
    Position,
    Row,
    UnreadableFile,
    parsed_lines,
)
from services.catalog.loaders.records import Record, record_parser

USER = ("reviewerID", "user_id")
PRODUCT = ("parent_asin", "asin")
RATING = ("overall", "rating")
TIME = ("unixReviewTime", "timestamp", "sort_timestamp")
BRAND = ("brand", "store")
CATEGORIES = ("category", "categories")
MAIN_CATEGORY = ("main_cat", "main_category")

# Descriptions that slipped into a title or category run to megabytes; cleaning is not free.
LONGEST_RAW = 8000
_SCRIPT = re.compile(r"<(script|style)\b.*?(?:</\1\s*>|$)", re.DOTALL | re.IGNORECASE)
_TAG = re.compile(r"</?[a-zA-Z][^<>]*>|<!--.*?(?:-->|$)", re.DOTALL)
# What is left of a page's scripts and style sheets where the crawler mistook them for a text.
_CODE = re.compile(r"getTime\(|function\s*\(|\bvar \w+ ?=|\{[^{}:]*:[^{};]*;|document\.\w+\(")
_PRICE = re.compile(r"\$?\d[\d,]*(?:\.\d+)?(?: ?- ?\$?\d[\d,]*(?:\.\d+)?)?")


def read(path: Path, kind: Kind | None, start: Position = BEGINNING) -> Iterator[Line]:
    if kind is Kind.USERS:
        raise UnreadableFile(f"{path}: Amazon's files list no users; their reviews create them.")
    understand = {None: _either, Kind.EVENTS: _review, Kind.ITEMS: _product}[kind]
    return parsed_lines(path, record_parser(understand, loose=True), start)


def kind_of(record: Record) -> Kind | None:
    if not any(name in record for name in PRODUCT):
        return None
    return Kind.EVENTS if any(name in record for name in USER) else Kind.ITEMS


def _either(record: Record) -> Row | BadLine:
    return _product(record) if kind_of(record) is Kind.ITEMS else _review(record)


def _review(record: Record) -> Row | BadLine:
    named = {
        "user_id": _first(record, USER),
        "item_id": _first(record, PRODUCT),
        "value": _first(record, RATING),
        "occurred_at": _first(record, TIME),
    }
    names = {field: name for field, (name, _) in named.items()}
    values: dict[str, Any] = {field: value for field, (_, value) in named.items()}
    for field, value in values.items():
        if value is None:
            return BadLine(f"{names[field]}: is missing")
    try:
        values["occurred_at"] = foreign.moment(values["occurred_at"])
    except ValueError as error:
        return BadLine(f"{names['occurred_at']}: {error}")
    return foreign.build(NewEvent, values | {"type": "rating"}, names)


def _product(record: Record) -> Row | BadLine:
    name, item_id = _first(record, PRODUCT)
    if item_id is None:
        return BadLine(f"{name}: is missing")
    _, found = _first(record, CATEGORIES)
    categories = _categories(found) or _categories([_first(record, MAIN_CATEGORY)[1]])
    values = {
        "item_id": item_id,
        "title": foreign.title(clean(record.get("title"))),
        "categories": categories,
        "attributes": foreign.attributes(
            [
                ("brand", clean(_first(record, BRAND)[1])),
                ("price", _price(record.get("price"))),
            ]
        ),
    }
    return foreign.build(NewItem, values, {"item_id": name})


def clean(value: object) -> str:
    """The text without HTML; nothing where it is a piece of a page's code."""
    if not isinstance(value, str):
        return ""
    # Twice, because parts of the files were escaped twice.
    unescaped = html.unescape(html.unescape(value[:LONGEST_RAW]))
    bare = _TAG.sub(" ", _SCRIPT.sub(" ", unescaped))
    return "" if _CODE.search(bare) else " ".join(bare.split())


def _categories(values: object) -> tuple[str, ...]:
    flat = foreign.categories(values)
    return foreign.categories([clean(value) for value in flat])


def _price(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.2f}" if math.isfinite(value) else ""
    written = str(value or "").strip()[:100]
    return written.replace("$", "") if _PRICE.fullmatch(written) else ""


def _first(record: Record, names: tuple[str, ...]) -> tuple[str, Any]:
    """The first of the names that has a value; where none has, the first that is there at all."""
    for name in names:
        if (value := record.get(name)) is not None:
            return name, value
    return next((name for name in names if name in record), names[-1]), None
