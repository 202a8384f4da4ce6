"""Retrieval's prior, by the rules that the product serves with, over sequences in memory."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence

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
    def __init__(self, sequences: Iterable[Sequence[str]]) -> None:
        users: Counter[str] = Counter()
        weights: defaultdict[str, Counter[str]] = defaultdict(Counter)
        for sequence in sequences:
            for (item, other), weight in pairs_of(distinct_newest(sequence)):
                if item == other:
                    users[item] += weight
                else:
                    weights[item][other] += weight
        self._users, self._takings = users, users.total()
        self._near = {
            item: Neighborhood(users[item], strongest(others)) for item, others in weights.items()
        }

    def scores(self, question: Question) -> tuple[float, ...]:
        near = covisit_scores(question.history[::-1], self._near)
        return tuple(
            prior(near.get(item, 0.0), self._users[item], self._takings)
            for item in question.candidates
        )
