"""Runs of the learning loop: asked for, watched, cancelled and tried again by an operator."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from fastapi import APIRouter, Depends, status
from pydantic import AwareDatetime, BaseModel, Field, TypeAdapter

from api.dependencies import ACCESS_ERRORS, PathId, Provided, caller_with
from api.pages import Cursor, Limit, Page, decode_cursor, encode_cursor
from api.problems import documented
from api.schemas import Stored
from services.access.keys import Scope
from services.catalog.inputs import Id
from services.errors import (
    Conflict,
    InvalidRequest,
    MalformedCursor,
    NotFound,
    TooLarge,
    Unavailable,
)
from services.optimizer.asking import NewRun
from services.optimizer.models import PartState, RoundState, RunState
from services.optimizer.progress import Progress, RunView

router = APIRouter(
    prefix="/admin/runs",
    tags=["learning"],
    dependencies=[Depends(caller_with(Scope.ADMIN))],
    responses=documented(InvalidRequest, Unavailable, *ACCESS_ERRORS),
)

RunKey: TypeAdapter[tuple[datetime, str]] = TypeAdapter(tuple[AwareDatetime, Id])


class CostOut(Stored):
    calls: int
    tokens: int


class BudgetOut(Stored):
    calls: int | None
    tokens: int | None


class RunOut(Stored):
    run_id: str
    state: RunState
    settings: Mapping[str, Any] = Field(description="All of them, those left out as well.")
    budget: BudgetOut = Field(description="null: without a limit.")
    spent: CostOut
    reserved: CostOut = Field(description="What calls in flight may cost at most.")
    users: Mapping[PartState, int] = Field(description="How many, by the state of their part.")
    made_at: datetime
    finished_at: datetime | None


class PathProgressOut(Stored):
    path: int
    effect_d: float | None = Field(description="Of what the path wrote; mean over users.")
    log_score: float | None
    similarity: float | None = Field(description="To what the path had written before.")
    written: int
    accepted: int
    collapsed: int
    perturbed: int


class RoundProgressOut(Stored):
    ordinal: int = Field(description="The users' first, second, ... round of this run.")
    users: int
    effect_d: float | None = Field(description="Of what is served after it; mean over users.")
    log_score: float | None
    zero_shot_effect_d: float | None = Field(description="On the same held-out events.")
    zero_shot_log_score: float | None
    paths: list[PathProgressOut]


class TokensOut(Stored):
    calls: int
    lost_calls: int = Field(description="Paid for, and broken off before the answer was kept.")
    prompt: int
    cached: int
    completion: int
    seconds: float = Field(description="Of rounds, added up: they run at the same time.")


class ProgressOut(Stored):
    run: RunOut
    wanted: int = Field(description="Rounds, over all users.")
    done: int
    rounds: Mapping[RoundState, int]
    tokens: TokensOut
    per_round: list[RoundProgressOut]
    reasons: Mapping[str, int] = Field(description="Why parts ended early, and how often.")


class Accepted(BaseModel):
    """Rounds are made by workers: `GET /admin/runs/{id}` tells how far they have got."""

    run: RunOut


@router.post(
    "",
    status_code=status.HTTP_202_ACCEPTED,
    responses=documented(NotFound, Conflict, TooLarge),
)
async def start_run(wanted: NewRun, services: Provided) -> Accepted:
    """Ask for rounds of m-PDO. A user has one round at a time: where one waits already, it counts
    for this run, too."""
    return Accepted(run=_run(await services.asking.start(wanted)))


@router.get("", responses=documented(MalformedCursor))
async def list_runs(services: Provided, limit: Limit = 100, cursor: Cursor = None) -> Page[RunOut]:
    """Runs, the newest first; those that started by themselves are called `online-…` and
    `nightly-…`."""
    runs = await services.ledger.runs(decode_cursor(cursor, RunKey), limit)
    last = runs[-1] if len(runs) == limit else None
    return Page(
        items=[_out(run) for run in runs],
        next_cursor=encode_cursor(last.made_at, last.run_id) if last else None,
    )


@router.get("/{run_id}", responses=documented(NotFound))
async def get_run(run_id: PathId, services: Provided) -> ProgressOut:
    """How far a run has got, what it has cost, and what came of it by round and path."""
    return ProgressOut.model_validate(await services.ledger.progress(run_id))


@router.post("/{run_id}/cancel", responses=documented(NotFound))
async def cancel_run(run_id: PathId, services: Provided) -> Accepted:
    """End a run: rounds under way stop at their next call of the model. What was decided before
    stays. A run that is over stays as it is."""
    return Accepted(run=_run(await services.asking.cancel(run_id)))


@router.post(
    "/{run_id}/retry",
    status_code=status.HTTP_202_ACCEPTED,
    responses=documented(NotFound, Conflict),
)
async def retry_run(run_id: PathId, services: Provided) -> Accepted:
    """Try again what failed. A run that was cancelled or ran out of budget is started anew."""
    return Accepted(run=_run(await services.asking.retry(run_id)))


def _run(progress: Progress) -> RunOut:
    return _out(progress.run)


def _out(run: RunView) -> RunOut:
    return RunOut.model_validate(run)
