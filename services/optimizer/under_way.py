"""A round under way: what it has found out of its user so far."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection
from dataclasses import dataclass, field

from services.demonstrations.models import StoredDemonstration
from services.llm.port import Count
from services.optimizer.decision import Found
from services.optimizer.learning_repository import KnownVariant
from services.optimizer.ledger import Claimed
from services.optimizer.material import Material, Question
from services.optimizer.models import Path
from services.optimizer.rules import Expected, Judged, PathState, Step
from services.ranking import Method

ZERO_SHOT_PATH = -1


@dataclass
class UnderWay:
    """`fingerprint` is of the evaluations, `judged` by variant and under this fingerprint alone: of
    what this round judges as far as it has come, of all else what is known on every question.
    `switched` is how often what is served to the user had changed when it was read."""

    claimed: Claimed
    material: Material
    method: Method
    fingerprint: str
    count: Count
    variants: dict[str, KnownVariant] = field(default_factory=dict)
    judged: dict[str, list[Judged]] = field(default_factory=dict)
    paths: dict[int, Path] = field(default_factory=dict)
    switched: int = 0

    @property
    def zero_shot(self) -> KnownVariant:
        return next(one for one in self.variants.values() if one.row.path == ZERO_SHOT_PATH)

    @property
    def incumbents(self) -> dict[int, KnownVariant]:
        return {one.row.path: one for one in self.variants.values() if one.row.incumbent}

    @property
    def new(self) -> dict[int, KnownVariant]:
        """Of this round, by path."""
        number = self.claimed.number
        return {
            one.row.path: one
            for one in self.variants.values()
            if one.row.round_number == number and one.row.path != ZERO_SHOT_PATH
        }

    @property
    def found(self) -> Found:
        texts = self.texts
        return Found(
            self.zero_shot,
            self.incumbents,
            self.new,
            [one for one in self.variants.values() if one.row.effective],
            self.judged,
            self.material.newest_event,
            {path: _state(row) for path, row in self.paths.items()},
            {
                row.path: texts[row.last_id].text
                for row in self.paths.values()
                if row.last_id in texts
            },
            self.claimed.plan.expected or Expected(),
            self.claimed.plan.prior_events,
            self.claimed.plan.z,
            self._turned_down if self.claimed.plan.heard_again else {},
        )

    @property
    def _turned_down(self) -> dict[int, list[KnownVariant]]:
        """What a rollback has taken back was accepted once: it is not among these."""
        found: defaultdict[int, list[KnownVariant]] = defaultdict(list)
        for one in self.variants.values():
            is_earlier = 0 < one.row.round_number < self.claimed.number
            if is_earlier and one.variant_id in self.judged and not one.row.accepted:
                found[one.row.path].append(one)
        return found

    @property
    def texts(self) -> dict[str | None, StoredDemonstration]:
        known = (one.current for one in self.variants.values())
        return {one.demonstration_id: one for one in known if one is not None}

    def missing(self, variant: KnownVariant, draws: Collection[int]) -> list[Question]:
        known = {(one.event_id, one.draw) for one in self.judged.get(variant.variant_id, ())}
        return [
            question
            for question in self.material.questions
            if question.draw in draws and (question.event_id, question.draw) not in known
        ]


def _state(row: Path) -> PathState:
    return PathState(row.rounds, row.collapsed, tuple(Step(**step) for step in row.steps))
