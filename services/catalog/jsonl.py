"""How rows of the catalog are written as JSONL; `loaders.jsonl` reads them back unchanged."""

from __future__ import annotations

from pydantic_core import to_json

from services.catalog.inputs import NewEvent, NewItem, NewUser


def to_line(row: NewItem | NewUser | NewEvent) -> bytes:
    """One line with its newline. A field without a value is left out: absent and null are one."""
    return to_json(row, exclude_none=True) + b"\n"
