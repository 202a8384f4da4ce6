"""Readers that turn files of our own and of other systems into rows of the catalog, as a stream."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from services.catalog.inputs import Kind, NewEvent
from services.catalog.loaders import amazon, gorse, jsonl, recbole
from services.catalog.loaders.core import Core
from services.catalog.loaders.detection import Format, detect
from services.catalog.loaders.lines import (
    BEGINNING,
    BadLine,
    Line,
    Position,
    Row,
    UnreadableFile,
)
from services.catalog.loaders.stream import lines_of_stream

__all__ = [
    "BEGINNING",
    "BadLine",
    "Format",
    "Line",
    "Position",
    "Row",
    "UnreadableFile",
    "detect",
    "lines_of_stream",
    "read",
]


def read(
    path: Path,
    format: Format,
    kind: Kind | None = None,
    *,
    start: Position = BEGINNING,
    event_type: str = "purchase",
    min_core: int | None = None,
) -> Iterator[Line]:
    """Every line after `start`, good or bad, in the order of the file.

    `kind` says what every line must be; without it each line says so by its fields. `event_type` is
    what a RecBole interaction without a rating was. With `min_core`, events outside the k-core of
    users and items are left out; items, users and bad lines pass. That reads the file twice, and
    the first pass holds all pairs of user and item in compact arrays (see `Core`).

    UnreadableFile is raised when reading begins, or where the file breaks off.
    """
    lines = _lines(path, format, kind, start, event_type)
    if min_core is None:
        return lines
    return _within_core(lines, _lines(path, format, kind, BEGINNING, event_type), min_core)


def _lines(
    path: Path, format: Format, kind: Kind | None, start: Position, event_type: str
) -> Iterator[Line]:
    match format:
        case Format.JSONL:
            return jsonl.read(path, kind, start)
        case Format.RECBOLE:
            return recbole.read(path, kind, start, event_type=event_type)
        case Format.AMAZON:
            return amazon.read(path, kind, start)
        case Format.GORSE:
            return gorse.read(path, kind, start)


def _within_core(lines: Iterator[Line], all_lines: Iterator[Line], k: int) -> Iterator[Line]:
    rows = (line.row for line in all_lines)
    core = Core(((row.user_id, row.item_id) for row in rows if isinstance(row, NewEvent)), k)
    for line in lines:
        row = line.row
        if not isinstance(row, NewEvent) or (row.user_id, row.item_id) in core:
            yield line
