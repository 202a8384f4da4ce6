"""A small space of one user's demonstrations, every one of them judged: its optima are known.

A demonstration is a place in the space: one choice for each of its elements. Its neighbors differ
from it in one element. Whether one takes the place of another is the product's own rule, so a local
optimum is a place that the rule never leaves for a neighbor.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import product

from services.demonstrations.similarity import Profile, profile, similarity
from services.optimizer.rules import Judged, Quality, accepts, gain, is_effective, quality

Place = tuple[int, ...]


def places(choices: Sequence[int]) -> list[Place]:
    """All of a space with so many choices for each element."""
    return list(product(*map(range, choices)))


@dataclass(frozen=True)
class Landscape:
    """`judged` by place, every one on the same held-out events and draws; `z` as a plan has it."""

    user: str
    texts: Mapping[Place, str]
    judged: Mapping[Place, Sequence[Judged]]
    zero_shot: Sequence[Judged]
    newest_event: str
    z: float
    _taken: dict[tuple[Place, Place], bool] = field(default_factory=dict, repr=False)
    _alike: dict[tuple[Place, Place], float] = field(default_factory=dict, repr=False)

    @cached_property
    def places(self) -> list[Place]:
        return sorted(self.judged)

    @cached_property
    def qualities(self) -> dict[Place, Quality]:
        return {place: quality(judged) for place, judged in self.judged.items()}

    @cached_property
    def best(self) -> Place:
        """The global optimum: by log-score, as rounds choose what is served."""
        return max(
            self.places,
            key=lambda one: (self.qualities[one].log_score, self.qualities[one].effect_d),
        )

    @cached_property
    def best_effect_d(self) -> float:
        return max(one.effect_d for one in self.qualities.values())

    @cached_property
    def optima(self) -> frozenset[Place]:
        """Local ones: no neighbor takes their place. The global optimum is one of them, for a gain
        of what takes a place is above zero."""
        return frozenset(
            one
            for one in self.places
            if not any(self.takes(other, one) for other in self.neighbors(one))
        )

    @cached_property
    def effective(self) -> frozenset[Place]:
        """Fit for the user's memory."""
        return frozenset(
            one
            for one, judged in self.judged.items()
            if is_effective(judged, self.zero_shot, self.newest_event)
        )

    def neighbors(self, place: Place) -> list[Place]:
        return self._neighbors[place]

    def is_stuck(self, place: Place) -> bool:
        """At a local optimum that is not the global one."""
        return place in self.optima and place != self.best

    def takes(self, new: Place, old: Place) -> bool:
        """Whether `new` is accepted over `old`."""
        if (new, old) not in self._taken:
            found = gain(self.judged[new], self.judged[old])
            self._taken[new, old] = accepts(found, self.z)
        return self._taken[new, old]

    def improvement(self, new: Place, old: Place) -> float:
        return self.qualities[new].log_score - self.qualities[old].log_score

    def alike(self, one: Place, other: Place) -> float:
        key = (one, other) if one < other else (other, one)
        if key not in self._alike:
            self._alike[key] = similarity(self._profiles[one], self._profiles[other])
        return self._alike[key]

    def regret(self, place: Place) -> float:
        """In log-score, to the global optimum."""
        return self.qualities[self.best].log_score - self.qualities[place].log_score

    def regret_effect_d(self, place: Place) -> float:
        """To the most that any demonstration of the space reaches."""
        return self.best_effect_d - self.qualities[place].effect_d

    @cached_property
    def _neighbors(self) -> dict[Place, list[Place]]:
        choices = [sorted(set(element)) for element in zip(*self.judged, strict=True)]
        return {
            place: [
                (*place[:element], choice, *place[element + 1 :])
                for element, of_element in enumerate(choices)
                for choice in of_element
                if choice != place[element]
            ]
            for place in self.judged
        }

    @cached_property
    def _profiles(self) -> dict[Place, Profile]:
        return {place: profile(text) for place, text in self.texts.items()}
