"""Texts that baselines show the model without having it write any: worked examples, of the user or
of others, and a reminder. They stand where a demonstration stands, and under the same limit.

Examples of others are from the training part: what anybody took last is not in it.
"""

from __future__ import annotations

import math
import random
from collections import defaultdict
from collections.abc import Callable, Sequence
from functools import cached_property

from lab.evaluation.questions import Question, Training
from services.prompts import Demonstrated

Shown = Callable[[Question], Demonstrated | None]

# Of an example: so many items before the one that was chosen. Of a merged one, so many users.
BEFORE, MERGED = 3, 3
_TAKEN_BY_TOO_MANY = 2_000  # their takers are nobody's neighbors in particular


class WorkedExamples:
    """In-context learning from behavior: after these, the user chose that."""

    def __init__(self, training: Training) -> None:
        self._training = training

    def recent(self, question: Question) -> Demonstrated | None:
        """The user's own newest choice (LLMRank's in-context form)."""
        return self._example(question.history, len(question.history) - 1)

    def random(self, question: Question) -> Demonstrated | None:
        """Somebody's, drawn for this user."""
        others = self._long_enough
        if not others:
            return None
        rng = random.Random(f"example {question.user_id}")
        items = self._training.sequences[rng.choice(others)]
        return self._example(items, rng.randrange(1, len(items)))

    def nearest(self, question: Question) -> Demonstrated | None:
        """Of the user whose items are most like theirs, what followed what they share."""
        found = self._nearest(question, 1)
        return self._example(*found[0]) if found else None

    def merged(self, question: Question) -> Demonstrated | None:
        """LLMSRec-Syn: the examples of several like users made into one, all that came before and
        all that was chosen."""
        found = self._nearest(question, MERGED)
        if not found:
            return None
        before = [item for items, place in found for item in items[max(0, place - 2) : place]]
        chosen = [items[place] for items, place in found]
        return self._said(before[-2 * MERGED :], chosen)

    def latest(self, question: Question) -> Demonstrated | None:
        """LLMRank's recency focus: the newest item once more."""
        if not question.history:
            return None
        return Demonstrated(f"Most recently chosen: {self._title(question.history[-1])}.")

    def _example(self, items: Sequence[str], place: int) -> Demonstrated | None:
        if not 1 <= place < len(items):
            return None
        return self._said(items[max(0, place - BEFORE) : place], [items[place]])

    def _said(self, before: Sequence[str], chosen: Sequence[str]) -> Demonstrated:
        after, then = ("; ".join(map(self._title, dict.fromkeys(one))) for one in (before, chosen))
        return Demonstrated(f"Example: after {after} the user chose {then}.")

    def _title(self, item: str) -> str:
        return self._training.titles[item] or "untitled"

    @cached_property
    def _long_enough(self) -> list[str]:
        return [user for user, items in self._training.sequences.items() if len(items) > 1]

    @cached_property
    def _takers(self) -> dict[str, list[str]]:
        takers: defaultdict[str, list[str]] = defaultdict(list)
        for user in self._long_enough:
            for item in set(self._training.sequences[user]):
                takers[item].append(user)
        return takers

    def _nearest(self, question: Question, size: int) -> list[tuple[Sequence[str], int]]:
        """Their items, and the place of one that followed a shared one and is not shared."""
        known = set(question.history)
        likeness: defaultdict[str, float] = defaultdict(float)
        for item in known:
            takers = self._takers.get(item, [])
            if len(takers) <= _TAKEN_BY_TOO_MANY:
                for user in takers:
                    likeness[user] += 1 / math.log(2 + len(takers))
        likeness.pop(question.user_id, None)
        found: list[tuple[Sequence[str], int]] = []
        # By name among equals, so that it is the same everywhere.
        for user, _ in sorted(likeness.items(), key=lambda one: (-one[1], one[0]))[: 10 * size]:
            items = self._training.sequences[user]
            places = [
                place
                for place in range(1, len(items))
                if items[place - 1] in known and items[place] not in known
            ]
            if places:
                found.append((items, places[-1]))
            if len(found) == size:
                break
        return found
