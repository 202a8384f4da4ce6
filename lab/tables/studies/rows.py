"""The rows that a study has so far, and the file that keeps them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lab.lines import keep_line, read_lines


class Rows:
    """Those of an earlier call are there at once: this one goes on behind them."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self.known: list[dict[str, Any]] = list(read_lines(file))

    def add(self, row: Mapping[str, Any]) -> None:
        keep_line(self._file, row)
        self.known.append(dict(row))
