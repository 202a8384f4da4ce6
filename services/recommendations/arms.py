"""An experiment: which users are served by which settings. Who is in which arm is nowhere stored:
it is a hash of the experiment and the user, the same in every process and at every time."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from typing import Annotated, Any, Self

from pydantic import ConfigDict, Field, StringConstraints, model_validator

from services.catalog.inputs import Input
from services.prompts import Mode
from services.recommendations.policy import RankingPolicy

# As label of a metric: what belongs to no experiment. Hence no experiment may be called so.
NO_ARM = "none"
# Both are labels of metrics, so they are short and few.
MOST_ARMS = 8
ExperimentId = Annotated[
    str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$", max_length=64)
]
ArmName = Annotated[
    str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,39}$", max_length=40)
]
SHARES_TOLERANCE = 1e-6


class Arm(Input):
    """What it does not name is as the settings of the deployment say."""

    name: ArmName
    share: float = Field(
        gt=0, lt=1, allow_inf_nan=False, description="Of the users; all shares add up to 1."
    )
    mode: Mode | None = Field(None, description="How the model ranks.")
    demonstrations: bool = Field(True, description="false: zero-shot.")
    prior_weight: float | None = Field(
        None,
        ge=0,
        le=1000,
        allow_inf_nan=False,
        description="Weight of retrieval's prior beside the model's scores (lambda).",
    )
    paths: int | None = Field(
        None,
        ge=1,
        le=64,
        description="Serve the best demonstration of the first so many paths (m), whatever the "
        "other paths have found.",
    )

    @model_validator(mode="after")
    def _of_one_mind(self) -> Self:
        if self.paths is not None and not self.demonstrations:
            raise ValueError("an arm without demonstrations has no paths: leave `paths` out")
        return self

    def over(self, policy: RankingPolicy) -> RankingPolicy:
        return replace(
            policy,
            mode=self.mode or policy.mode,
            demonstrations=self.demonstrations,
            paths=self.paths,
            prior_weight=policy.prior_weight if self.prior_weight is None else self.prior_weight,
        )


Arms = Annotated[tuple[Arm, ...], Field(min_length=2, max_length=MOST_ARMS)]


class NewExperiment(Input):
    """The first arm is the one that the others are compared with."""

    model_config = ConfigDict(
        json_schema_extra={
            "example": {
                "arms": [
                    {"name": "zero-shot", "share": 0.5, "demonstrations": False},
                    {"name": "learned", "share": 0.5},
                ]
            }
        }
    )

    arms: Arms

    @model_validator(mode="after")
    def _whole(self) -> Self:
        names = [arm.name for arm in self.arms]
        if len(set(names)) < len(names):
            raise ValueError("two arms have the same name: give each a name of its own")
        total = math.fsum(arm.share for arm in self.arms)
        if abs(total - 1) > SHARES_TOLERANCE:
            raise ValueError(
                f"the shares add up to {total:.6g} and must add up to 1: for a small trial, give "
                "the rest to the first arm"
            )
        return self


class NamedExperiment(NewExperiment):
    """As a file of `lrgd experiments start` has it."""

    experiment_id: ExperimentId


class ExperimentState(StrEnum):
    RUNNING = "running"
    STOPPED = "stopped"


@dataclass(frozen=True, slots=True)
class Experiment:
    experiment_id: str
    arms: tuple[Arm, ...]
    state: ExperimentState
    made_at: datetime
    stopped_at: datetime | None = None

    @classmethod
    def of(cls, row: Any) -> Experiment:
        return cls(
            row.experiment_id,
            tuple(Arm.model_validate(arm) for arm in row.arms),
            ExperimentState(row.state),
            row.made_at,
            row.stopped_at,
        )

    def arm_of(self, user_id: str) -> Arm:
        return arm_at(self.arms, place_of(self.experiment_id, user_id))


@dataclass(frozen=True, slots=True)
class Assigned:
    """The arm that a list is served by."""

    experiment_id: str
    arm: Arm


def place_of(experiment_id: str, user_id: str) -> float:
    """From 0 to 1, without 1. Of another experiment it says nothing about the place in this one.

    No id holds a null character, so no two pairs are hashed alike; 53 bits are what a float holds.
    """
    digest = hashlib.sha256(f"{experiment_id}\x00{user_id}".encode()).digest()
    return (int.from_bytes(digest[:8], "big") >> 11) / 2**53


def arm_at(arms: Sequence[Arm], place: float) -> Arm:
    """The arms lie side by side in their order, each as wide as its share."""
    end = 0.0
    for arm in arms[:-1]:
        end += arm.share
        if place < end:
            return arm
    return arms[-1]
