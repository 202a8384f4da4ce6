from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lab.evaluation.files import read_data, read_split
from lab.evaluation.questions import Split

ITEMS = [f"i{n}" for n in range(12)]
SEQUENCES = {
    "ada": ["i0", "i1", "i2", "i3", "i4"],
    "bob": ["i1", "i2", "i3", "i5"],
    "cem": ["i0", "i1", "i2", "i6", "i7"],
}
ROWS = [
    {"user_id": "ada", "history_length": 4, "target": "i4", "candidates": ["i8", "i4", "i9", "i7"]},
    {"user_id": "bob", "history_length": 3, "target": "i5", "candidates": ["i10", "i5", "i9"]},
]

WriteData = Callable[..., Path]


@pytest.fixture
def write_data(tmp_path: Path) -> WriteData:
    """The folder, with the file of questions `test-few.jsonl`; keywords override its files."""

    def write(
        rows: list[Any] | None = None,
        items: str | None = None,
        sequences: str | None = None,
        name: str = "test-few.jsonl",
    ) -> Path:
        titled = "".join(f"{item}\tTitle {item}\n" for item in ITEMS)
        taken = "".join(f"{user}\t{' '.join(each)}\n" for user, each in SEQUENCES.items())
        (tmp_path / "items.tsv").write_text(items or f"item_id\ttitle\n{titled}")
        (tmp_path / "sequences.tsv").write_text(sequences or f"user_id\titems\n{taken}")
        lines = [
            row if isinstance(row, str) else json.dumps(row)
            for row in (ROWS if rows is None else rows)
        ]
        (tmp_path / name).write_text("".join(f"{line}\n" for line in lines))
        return tmp_path

    return write


@pytest.fixture
def split(write_data: WriteData) -> Split:
    folder = write_data()
    return read_split(folder / "test-few.jsonl", read_data(folder))
