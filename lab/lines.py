"""Lines of JSON that a long run keeps: whatever ends it, what it has paid for is there."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any


def keep_line(file: Path, row: Mapping[str, Any]) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    # Behind a torn line, so that this one is not lost with it.
    begin = "" if _is_whole(file) else "\n"
    with file.open("a", encoding="utf-8") as lines:
        lines.write(f"{begin}{json.dumps(row)}\n")


def read_lines(file: Path) -> Iterator[dict[str, Any]]:
    """Torn lines are left out."""
    if not file.exists():
        return
    for line in file.read_text(encoding="utf-8").splitlines():
        try:
            row = json.loads(line)
        except ValueError:
            continue
        if isinstance(row, dict):
            yield row


def _is_whole(file: Path) -> bool:
    if not file.exists() or not file.stat().st_size:
        return True
    with file.open("rb") as lines:
        lines.seek(-1, 2)
        return lines.read(1) == b"\n"
