"""What came of an experiment, by arm. `docs/experiments.md` defines every figure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from datetime import datetime

from pydantic import BaseModel, ConfigDict, Field

from services.ranking.effect import effect_d
from services.recommendations.arms import Arm, ExperimentState
from services.recommendations.experiments_repository import Answered, Served
from services.recommendations.intervals import Estimate, Ratio

DEFAULT_K = 10


class OverFirst(BaseModel):
    """This arm minus the first one."""

    model_config = ConfigDict(frozen=True)

    hit_rate: Estimate
    effect_d: Estimate


class ArmReport(BaseModel):
    model_config = ConfigDict(frozen=True)

    arm: Arm
    users: int = Field(description="Users served, of those in the catalog.")
    replies: int = Field(description="Lists they were served.")
    answered: int = Field(description="Lists that a positive event named.")
    hits: int = Field(description="Lists whose first such event was of one of their first k items.")
    hit_rate: Estimate | None = Field(description="hits / replies. null: no list was served.")
    effect_d: Estimate | None = Field(
        description="Mean over lists of 1 / log2(rank + 1) of the first answer's item; 0 for a "
        "list that was not answered, or by another item."
    )
    over_first: OverFirst | None = Field(description="null in the first arm.")


class ExperimentReport(BaseModel):
    experiment_id: str
    state: ExperimentState
    made_at: datetime
    stopped_at: datetime | None
    k: int
    forgotten: bool = Field(
        description="true: the lists are forgotten, and these figures were made before that."
    )
    arms: tuple[ArmReport, ...]


def report_of(
    arms: Sequence[Arm], served: Iterable[Served], answered: Iterable[Answered], *, k: int
) -> tuple[ArmReport, ...]:
    tallies = {arm.name: _Tally() for arm in arms}
    for one in served:
        if one.arm in tallies:
            tallies[one.arm].lists[one.user_id] += one.lists
    for answer in answered:
        if answer.arm in tallies:
            tallies[answer.arm].add(answer, k)
    first = tallies[arms[0].name]
    return tuple(tallies[arm.name].report(arm, None if arm is arms[0] else first) for arm in arms)


class _Tally:
    """Of one arm, by user."""

    def __init__(self) -> None:
        self.lists: dict[str, int] = defaultdict(int)
        self._hits: dict[str, int] = defaultdict(int)
        self._effects: dict[str, float] = defaultdict(float)
        self._answered = 0

    def add(self, answer: Answered, k: int) -> None:
        self._answered += answer.lists
        if answer.rank is not None:
            self._effects[answer.user_id] += answer.lists * effect_d(answer.rank)
            self._hits[answer.user_id] += answer.lists * (answer.rank <= k)

    def report(self, arm: Arm, first: _Tally | None) -> ArmReport:
        hit_rate, effect = self.hit_rate(), self.effect()
        over_first = None
        if first is not None and hit_rate and effect:
            base_rate, base_effect = first.hit_rate(), first.effect()
            if base_rate and base_effect:
                over_first = OverFirst(
                    hit_rate=hit_rate.over(base_rate), effect_d=effect.over(base_effect)
                )
        return ArmReport(
            arm=arm,
            users=len(self.lists),
            replies=sum(self.lists.values()),
            answered=self._answered,
            hits=sum(self._hits.values()),
            hit_rate=hit_rate and hit_rate.estimate(),
            effect_d=effect and effect.estimate(),
            over_first=over_first,
        )

    def hit_rate(self) -> Ratio | None:
        return self._ratio(self._hits)

    def effect(self) -> Ratio | None:
        return self._ratio(self._effects)

    def _ratio(self, totals: dict[str, int] | dict[str, float]) -> Ratio | None:
        return Ratio.of([totals.get(user, 0) for user in self.lists], list(self.lists.values()))
