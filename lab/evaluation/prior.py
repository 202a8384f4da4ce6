"""Retrieval's prior, by the rules that the product serves with, over sequences in memory."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Mapping, Sequence
from functools import cached_property

from lab.evaluation.questions import Question
from services.retrieval.covisitation import (
    Neighborhood,
    covisit_scores,
    distinct_newest,
    pairs_of,
    prior,
    strongest,
)


class Prior:
    """Counts when it is first asked."""

    def __init__(self, sequences: Collection[Sequence[str]]) -> None:
        self._sequences = sequences

    @cached_property
    def _counted(self) -> tuple[Counter[str], int, Mapping[str, Neighborhood]]:
        users: Counter[str] = Counter()
        weights: defaultdict[str, Counter[str]] = defaultdict(Counter)
        for sequence in self._sequences:
            for (item, other), weight in pairs_of(distinct_newest(sequence)):
                if item == other:
                    users[item] += weight
                else:
                    weights[item][other] += weight
        near = {
            item: Neighborhood(users[item], strongest(others)) for item, others in weights.items()
        }
        return users, users.total(), near

    def near(self, history: Sequence[str], size: int) -> list[str]:
        """What was taken beside these, the best first, and is none of them."""
        _, _, neighborhoods = self._counted
        found = covisit_scores(history[::-1], neighborhoods)
        others = [item for item in found if item not in set(history)]
        return sorted(others, key=lambda item: (-found[item], item))[:size]

    def scores(self, question: Question) -> tuple[float, ...]:
        users, takings, neighborhoods = self._counted
        near = covisit_scores(question.history[::-1], neighborhoods)
        return tuple(
            prior(near.get(item, 0.0), users[item], takings) for item in question.candidates
        )
