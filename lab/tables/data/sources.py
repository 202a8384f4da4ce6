"""Who took what, when, and what it is called: read from files as others publish them."""

from __future__ import annotations

import csv
import gzip
import io
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

from services.catalog.inputs import Kind, NewEvent, NewItem
from services.catalog.loaders import BadLine, Format, Line
from services.catalog.loaders import read as read_lines
from services.errors import ConfigurationError


class Source(StrEnum):
    AMAZON = "amazon"
    RECBOLE = "recbole"
    MOVIELENS = "movielens"


@dataclass(frozen=True, slots=True)
class Interaction:
    """`at` in seconds; equal ones are in the order of the file."""

    user_id: str
    item_id: str
    at: float
    rating: float | None = None


@dataclass
class Raw:
    """What files hold, before anything is left out. `bad_lines` could not be read."""

    interactions: list[Interaction] = field(default_factory=list)
    titles: dict[str, str] = field(default_factory=dict)
    bad_lines: int = 0


def read_source(source: Source, interactions: Path, items: Path) -> Raw:
    for file in (interactions, items):
        if not file.is_file():
            raise ConfigurationError(f"there is no file {file}")
    if source is Source.MOVIELENS:
        return _movielens(interactions, items)
    shape = Format.AMAZON if source is Source.AMAZON else Format.RECBOLE
    raw = Raw()
    for row in _rows(read_lines(items, shape, Kind.ITEMS), raw):
        if isinstance(row, NewItem) and row.title:
            raw.titles[row.item_id] = " ".join(row.title.split())
    for row in _rows(read_lines(interactions, shape, Kind.EVENTS), raw):
        if isinstance(row, NewEvent):
            assert row.occurred_at is not None, "every event leaves validation with a time"
            raw.interactions.append(
                Interaction(row.user_id, row.item_id, row.occurred_at.timestamp(), row.value)
            )
    return raw


def _rows(lines: Iterator[Line], raw: Raw) -> Iterator[object]:
    for line in lines:
        if isinstance(line.row, BadLine):
            raw.bad_lines += 1
        else:
            yield line.row


# --- MovieLens ------------------------------------------------------------------------------------


def _movielens(ratings: Path, movies: Path) -> Raw:
    """`ratings.csv` and `movies.csv`, `ratings.dat` and `movies.dat` (1M, 10M), `u.data` and
    `u.item` (100k)."""
    raw = Raw()
    for cells in _cells(movies, raw):
        raw.titles[cells[0]] = " ".join(cells[1].split())
    for cells in _cells(ratings, raw):
        try:
            user, item, rating, at = cells[0], cells[1], float(cells[2]), float(cells[3])
        except (IndexError, ValueError):
            raw.bad_lines += 1
            continue
        raw.interactions.append(Interaction(user, item, at, rating))
    return raw


def _cells(file: Path, raw: Raw) -> Iterator[list[str]]:
    name = file.name.removesuffix(".gz")
    with _text(file) as lines:
        if name.endswith(".csv"):
            rows: Iterator[list[str]] = iter(csv.reader(lines))
            next(rows, None)  # the names of the columns
        else:
            mark = {"u.item": "|", "u.data": "\t"}.get(name, "::")
            rows = (line.rstrip("\r\n").split(mark) for line in lines)
        for cells in rows:
            if len(cells) > 1 and cells[0]:
                yield cells
            elif any(cells):
                raw.bad_lines += 1


@contextmanager
def _text(file: Path) -> Iterator[io.TextIOBase]:
    """The older MovieLens files are in Latin-1."""
    with file.open("rb") as raw_bytes:
        compressed = raw_bytes.read(2) == b"\x1f\x8b"
    encoding = "utf-8" if file.name.removesuffix(".gz").endswith(".csv") else "latin-1"
    with file.open("rb") as stored, gzip.GzipFile(fileobj=stored) as inner:
        content = inner if compressed else stored
        with io.TextIOWrapper(content, encoding=encoding, newline="") as lines:
            yield lines
