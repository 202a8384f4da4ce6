"""What counting alone knows: popularity, and co-visitation as a baseline.

The constants are matched to the rows that are published with the games data: with these, and with
the training part of `questions`, those rows come out again (test files, within .02). So `covisit`
is a known yardstick, not the best that counting can do, and not what is added to a model's scores:
that is retrieval's own prior.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Mapping, Sequence
from functools import cached_property

from lab.evaluation.questions import Question

# Items of a sequence are near each other up to so many places apart.
NEAR = 5
# Of a history, the newest; each counts so much less than the one after it.
RECENT, FADING = 10, 0.8
# Popular items are near to many: counts are divided by this power of both items' popularity.
DAMPING = 0.3
# Popularity decides only where there is no evidence.
_BESIDE_NOTHING = 1e-6


class Counted:
    """Counts when it is first asked."""

    def __init__(self, sequences: Collection[Sequence[str]]) -> None:
        self._sequences = sequences

    @cached_property
    def _users(self) -> Counter[str]:
        users: Counter[str] = Counter()
        for sequence in self._sequences:
            users.update(set(sequence))
        return users

    @cached_property
    def _near(self) -> Mapping[str, Counter[str]]:
        near: defaultdict[str, Counter[str]] = defaultdict(Counter)
        for sequence in self._sequences:
            for place, item in enumerate(sequence):
                for other in sequence[place + 1 : place + 1 + NEAR]:
                    near[item][other] += 1
                    near[other][item] += 1
        return near

    def users_of(self, items: Sequence[str]) -> list[int]:
        return [self._users[item] for item in items]

    def popularity(self, question: Question) -> tuple[float, ...]:
        return tuple(map(float, self.users_of(question.candidates)))

    def covisit(self, question: Question) -> tuple[float, ...]:
        scores = [_BESIDE_NOTHING * self._users[item] for item in question.candidates]
        for age, past in enumerate(reversed(question.history[-RECENT:])):
            near = self._near.get(past, Counter())
            weight = FADING**age / self._damped(past)
            for place, item in enumerate(question.candidates):
                if item in near:
                    scores[place] += weight * near[item] / self._damped(item)
        return tuple(scores)

    def _damped(self, item: str) -> float:
        return float(max(1, self._users[item]) ** DAMPING)
