"""Experiments: started, looked at and stopped by an operator."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

from fastapi import APIRouter, Depends, Path, Query
from pydantic import BaseModel, Field

from api.dependencies import ACCESS_ERRORS, Provided, caller_with
from api.problems import documented
from services.access.keys import Scope
from services.errors import Conflict, InvalidRequest, NotFound, TooLarge, Unavailable
from services.recommendations.arms import (
    Arm,
    Experiment,
    ExperimentId,
    ExperimentState,
    NewExperiment,
)
from services.recommendations.experiment_report import DEFAULT_K, ExperimentReport

router = APIRouter(
    prefix="/admin/experiments",
    tags=["experiments"],
    dependencies=[Depends(caller_with(Scope.ADMIN))],
    responses=documented(InvalidRequest, Unavailable, *ACCESS_ERRORS),
)

OwnId = Annotated[ExperimentId, Path()]


class ExperimentOut(BaseModel):
    experiment_id: str
    state: ExperimentState
    made_at: datetime
    stopped_at: datetime | None
    arms: tuple[Arm, ...] = Field(description="The others are compared with the first.")


@router.put("/{experiment_id}", responses=documented(Conflict, TooLarge))
async def start_experiment(
    experiment_id: OwnId, wanted: NewExperiment, services: Provided
) -> ExperimentOut:
    """Start an experiment. Again with the same arms, it changes nothing; with others it is refused,
    and so is a second one while one runs. Other gateways follow within seconds."""
    return _shown(await services.experiments.start(experiment_id, wanted.arms))


@router.get("")
async def list_experiments(services: Provided) -> list[ExperimentOut]:
    """All experiments, the newest first."""
    return [_shown(one) for one in await services.experiments.all()]


@router.get("/{experiment_id}", responses=documented(NotFound))
async def get_experiment(
    experiment_id: OwnId,
    services: Provided,
    k: Annotated[int, Query(ge=1, le=100, description="For the hit rate.")] = DEFAULT_K,
) -> ExperimentReport:
    """What came of it so far, by arm: hit rate and online Effect_D with 95 % intervals."""
    return await services.experiments.report(experiment_id, k=k)


@router.post("/{experiment_id}/stop", responses=documented(NotFound))
async def stop_experiment(experiment_id: OwnId, services: Provided) -> ExperimentOut:
    """Everybody is served by the deployment's settings again. It cannot be started again."""
    return _shown(await services.experiments.stop(experiment_id))


def _shown(experiment: Experiment) -> ExperimentOut:
    return ExperimentOut.model_validate(experiment, from_attributes=True)
