"""What rounds were worth on the test, kept line by line: by arm, round and user."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lab.lines import keep_line, read_lines


@dataclass(frozen=True)
class Put:
    """A text, by its digest, put to the test: the rank of the truth in each draw."""

    text: str
    ranks: tuple[int, ...]


@dataclass(frozen=True)
class RoundTested:
    """`written`: all that the paths wrote in this round, unselected."""

    arm: str
    round: int
    user: str
    served: Put
    written: tuple[Put, ...] = ()


class Results:
    def __init__(self, file: Path) -> None:
        self._file = file
        self.rows: dict[tuple[str, int, str], RoundTested] = {}
        self._put: dict[tuple[str, str], Put] = {}
        for line in read_lines(file):
            with contextlib.suppress(KeyError, TypeError, ValueError):
                self._note(_row_of(line))

    def has(self, arm: str, number: int, users: Sequence[str]) -> bool:
        return all((arm, number, user) in self.rows for user in users)

    def found(self, user: str, text: str) -> Put | None:
        return self._put.get((user, text))

    def keep(self, row: RoundTested) -> None:
        keep_line(self._file, _line_of(row))
        self._note(row)

    def _note(self, row: RoundTested) -> None:
        self.rows[row.arm, row.round, row.user] = row
        for put in (row.served, *row.written):
            self._put[row.user, put.text] = put


def _line_of(row: RoundTested) -> dict[str, Any]:
    return {
        "arm": row.arm, "round": row.round, "user": row.user,
        "served": [row.served.text, list(row.served.ranks)],
        "written": [[put.text, list(put.ranks)] for put in row.written],
    }  # fmt: skip


def _row_of(line: Mapping[str, Any]) -> RoundTested:
    served, *written = (
        Put(text, tuple(ranks)) for text, ranks in (line["served"], *line["written"])
    )
    return RoundTested(line["arm"], line["round"], line["user"], served, tuple(written))
