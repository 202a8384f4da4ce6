"""Which format a file has, from its name and its first line."""

from __future__ import annotations

from enum import StrEnum
from itertools import islice
from pathlib import Path

from services.catalog.inputs import Kind
from services.catalog.loaders import amazon, gorse, jsonl, recbole
from services.catalog.loaders.lines import BEGINNING, UnreadableFile, raw_lines
from services.catalog.loaders.records import Record, record_of

# A bad line at the top is reported like any other; it should not hide what the file is.
LINES_TO_TRY = 20


class Format(StrEnum):
    JSONL = "jsonl"
    RECBOLE = "recbole"
    AMAZON = "amazon"
    GORSE = "gorse"


def detect(path: Path) -> tuple[Format, Kind | None]:
    """The format, and the kind if all lines have it; our own JSONL may mix kinds.

    Our own files are taken to be of one kind when their name says so: `events.jsonl`.
    """
    if recbole.kind_by_name(path):
        recbole.header_of(path)
        return Format.RECBOLE, recbole.kind_by_name(path)
    sample = [raw for _, _, raw in islice(raw_lines(path, BEGINNING), LINES_TO_TRY) if raw]
    filled = [raw for raw in sample if not raw.isspace()]
    if not filled:
        if path.name.removesuffix(".gz").endswith(".jsonl"):
            return Format.JSONL, None
        raise UnreadableFile(f"{path} is empty.")
    if filled[0].lstrip().startswith(b"["):
        raise UnreadableFile(
            f"{path} is a JSON array. One object a line is needed: jq -c '.[]' converts it."
        )
    for raw in filled:
        record = record_of(raw, loose=True)
        if isinstance(record, dict):
            return _by_fields(record, path)
    return _by_header(path)


def _by_fields(record: Record, path: Path) -> tuple[Format, Kind | None]:
    if kind := amazon.kind_of(record):
        return Format.AMAZON, kind
    if record.keys() & {"item_id", "user_id"}:
        kind = jsonl.kind_of(record.keys())
        named = Kind.__members__.get(path.name.partition(".")[0].upper())
        return Format.JSONL, kind if kind is named else None
    if kind := gorse.kind_of(record):
        return Format.GORSE, kind
    fields = ", ".join(sorted(record))[:200] or "none"
    raise UnreadableFile(
        f"{path} is of no known format: its first line has the fields {fields}. Known are our own "
        "(item_id, user_id, …), Amazon's (asin, …), Gorse's (UserId, ItemId, …) and RecBole's."
    )


def _by_header(path: Path) -> tuple[Format, Kind | None]:
    try:
        header = recbole.header_of(path)
    except UnreadableFile:
        raise UnreadableFile(
            f"{path} is of no known format: its first line is neither a JSON object nor a RecBole "
            "header. Name the format if it is one of " + ", ".join(Format) + "."
        ) from None
    return Format.RECBOLE, header.kind
