"""What a method is told, and what it is not: the targets stay apart from the questions."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Self

# The newest item of every user is the target of a test, the one before it of a validation.
HELD_OUT = 2


@dataclass(frozen=True, slots=True)
class Question:
    """Item ids: `history` oldest first. Which candidate was chosen is not part of it."""

    user_id: str
    history: tuple[str, ...]
    candidates: tuple[str, ...]


@dataclass(frozen=True)
class Split:
    """`targets` by user. `digest` is of all that was read: two splits alike are the same."""

    name: str
    questions: tuple[Question, ...]
    targets: Mapping[str, str]
    digest: str

    def first(self, users: int | None) -> Self:
        return self if users is None else replace(self, questions=self.questions[:users])

    def of(self, users: set[str]) -> Self:
        kept = tuple(question for question in self.questions if question.user_id in users)
        return replace(self, questions=kept)


@dataclass(frozen=True, eq=False)
class Training:
    """What may be learned from: titles of all items, and each user's sequence, oldest first."""

    titles: Mapping[str, str]
    sequences: Mapping[str, tuple[str, ...]]

    @cached_property
    def digest(self) -> str:
        """What was trained on the same is the same."""
        content = hashlib.sha256()
        for item, title in self.titles.items():
            content.update(f"{item}\t{title}\n".encode())
        for user, items in self.sequences.items():
            content.update(f"{user}\t{' '.join(items)}\n".encode())
        return content.hexdigest()[:16]


def training_part(
    titles: Mapping[str, str], sequences: Mapping[str, tuple[str, ...]], split: Split
) -> Training:
    """Without the newest items of every user, for any of them may be asked about, and without
    what comes after a question's history."""
    known = {question.user_id: len(question.history) for question in split.questions}
    return Training(
        titles,
        {
            user: items[: max(0, min(len(items) - HELD_OUT, known.get(user, len(items))))]
            for user, items in sequences.items()
        },
    )
