"""What is wanted of POST /recommend, and what is given."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final, Literal

from services.demonstrations.variant import ServedVariant
from services.prompts import Mode, Prompt
from services.ranking import Ranking
from services.recommendations.leave_one_out import LeaveOneOut

LEAVE_ONE_OUT: Final = "leave_one_out"
# With `leave_one_out` the model is also asked what each part of the prompt did: that takes longer.
Explain = bool | Literal["leave_one_out"]


class Source(StrEnum):
    """Where an order comes from, best first."""

    MODEL = "model"
    LAST_RANKING = "last_ranking"
    RETRIEVAL = "retrieval"
    POPULARITY = "popularity"
    GIVEN = "given"  # the order in which the caller sent the candidates
    NOTHING = "nothing"


@dataclass(frozen=True, slots=True)
class GivenItem:
    """An item by its id; with a title, it need not be in the catalog."""

    item_id: str
    title: str | None = None


@dataclass(frozen=True, slots=True)
class Wanted:
    """`history`: what someone without an account has taken, or a user besides, oldest first.
    `mode` is that of the settings where it is None, and never another than the one asked for."""

    user_id: str | None = None
    history: tuple[GivenItem, ...] = ()
    candidates: tuple[GivenItem, ...] | None = None
    k: int = 10
    exclude_seen: bool = True
    category: str | None = None
    deadline_seconds: float | None = None
    mode: Mode | None = None
    explain: Explain = False


@dataclass(frozen=True, slots=True)
class Recommended:
    item_id: str
    title: str | None
    score: float
    rank: int


@dataclass(frozen=True, slots=True)
class Explanation:
    """How the list came to be. Without a ranking by the model, `fallbacks` say why."""

    ranking: Ranking | None
    segment_tokens: Mapping[str, int]
    priors: Mapping[str, float]
    prior_weight: float
    fallbacks: Sequence[str]
    unknown_items: Sequence[str]
    leave_one_out: LeaveOneOut | None = None

    @property
    def prompt(self) -> Prompt | None:
        return None if self.ranking is None else self.ranking.prompts[0]


@dataclass(frozen=True)
class Recommendation:
    """`stored` says that the ranking was made before, from the very same question.
    `degraded` is true where the model had no part in this order, or not in one made now."""

    recommendation_id: str
    items: Sequence[Recommended]
    source: Source
    scoring_mode: Mode | None
    model: str | None
    variant: ServedVariant | None = None
    stored: bool = False
    reason: str | None = None
    experiment: str | None = None
    arm: str | None = None
    timings: Mapping[str, float] = field(default_factory=dict)
    explanation: Explanation | None = None

    @property
    def degraded(self) -> bool:
        return self.source is not Source.MODEL

    def item_rows(self) -> list[dict[str, Any]]:
        return [{"item_id": item.item_id, "score": item.score} for item in self.items]
