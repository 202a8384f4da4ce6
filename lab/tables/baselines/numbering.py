"""Users and items as numbers, for what is trained. 0 is nobody, and nothing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from lab.evaluation.questions import Question, Training

Numbers = NDArray[np.int64]


@dataclass(frozen=True)
class Numbering:
    training: Training

    @cached_property
    def items(self) -> dict[str, int]:
        return {item: number for number, item in enumerate(self.training.titles, start=1)}

    @cached_property
    def users(self) -> dict[str, int]:
        return {user: number for number, user in enumerate(self.training.sequences, start=1)}

    @cached_property
    def sequences(self) -> list[Numbers]:
        """By user, in the order of their numbers."""
        return [self.of(sequence) for sequence in self.training.sequences.values()]

    def of(self, items: Sequence[str]) -> Numbers:
        return np.array([self.items[item] for item in items], dtype=np.int64)

    def user(self, question: Question) -> int:
        return self.users.get(question.user_id, 0)


def padded(sequences: Sequence[Numbers], longest: int) -> Numbers:
    """The newest of each, from the left; zeros behind them."""
    kept = [one[-longest:] for one in sequences]
    rows = np.zeros((len(kept), max(1, *map(len, kept)) if kept else 1), dtype=np.int64)
    for row, one in zip(rows, kept, strict=True):
        row[: len(one)] = one
    return rows
