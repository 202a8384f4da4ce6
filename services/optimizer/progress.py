"""What is told of runs: counts, cost, and how much better their rounds have made what is served."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Row, case, func, select, tuple_
from sqlalchemy.ext.asyncio import AsyncSession

from services.optimizer.models import PartState, Round, RoundState, Run, RunRound, RunState, RunUser
from services.optimizer.plan import Plan
from services.optimizer.rules import Budget, Cost

MOST_REASONS = 20


@dataclass(frozen=True, slots=True)
class RunView:
    run_id: str
    state: RunState
    settings: Mapping[str, Any]
    budget: Budget
    spent: Cost
    reserved: Cost
    users: Mapping[PartState, int]
    made_at: datetime
    finished_at: datetime | None


@dataclass(frozen=True, slots=True)
class PathProgress:
    """Of one path, over the users. Means are None where nothing was written."""

    path: int
    effect_d: float | None
    log_score: float | None
    similarity: float | None
    written: int
    accepted: int
    collapsed: int
    perturbed: int


@dataclass(frozen=True, slots=True)
class RoundProgress:
    """Of the users' first, second, ... round in the run. Effect_D and log-score are means over
    users of what is served after it."""

    ordinal: int
    users: int
    effect_d: float | None
    log_score: float | None
    zero_shot_effect_d: float | None
    zero_shot_log_score: float | None
    paths: Sequence[PathProgress]


@dataclass(frozen=True, slots=True)
class Tokens:
    """Of the rounds made for the run."""

    calls: int
    lost_calls: int
    prompt: int
    cached: int
    completion: int
    seconds: float


@dataclass(frozen=True, slots=True)
class Progress:
    """`wanted` and `done` count rounds over users."""

    run: RunView
    wanted: int
    done: int
    rounds: Mapping[RoundState, int]
    tokens: Tokens
    per_round: Sequence[RoundProgress]
    reasons: Mapping[str, int]


async def run_views(
    session: AsyncSession, after: tuple[datetime, str] | None, limit: int
) -> list[RunView]:
    query = select(Run).order_by(Run.made_at.desc(), Run.run_id.desc()).limit(limit)
    if after is not None:
        query = query.where(tuple_(Run.made_at, Run.run_id) < after)
    runs = (await session.scalars(query)).all()
    counts = await _users(session, [run.run_id for run in runs])
    return [_view(run, counts.get(run.run_id, {})) for run in runs]


async def progress_of(session: AsyncSession, run_id: str) -> Progress | None:
    run = await session.get(Run, run_id)
    if run is None:
        return None
    counts = await _users(session, [run_id])
    wanted, done = (
        await session.execute(
            select(
                func.coalesce(func.sum(RunUser.wanted), 0), func.coalesce(func.sum(RunUser.done), 0)
            ).where(RunUser.run_id == run_id)
        )
    ).one()
    rounds = await session.execute(
        select(Round.state, func.count()).where(Round.run_id == run_id).group_by(Round.state)
    )
    reasons = await session.execute(
        select(RunUser.reason, func.count())
        .where(RunUser.run_id == run_id, RunUser.reason.is_not(None))
        .group_by(RunUser.reason)
        .order_by(func.count().desc(), RunUser.reason)
        .limit(MOST_REASONS)
    )
    return Progress(
        run=_view(run, counts.get(run_id, {})),
        wanted=int(wanted),
        done=int(done),
        rounds={RoundState(state): count for state, count in rounds},
        tokens=await _tokens(session, run_id),
        per_round=await _per_round(session, run_id, Plan.of_row(run.settings).paths),
        reasons={reason: count for reason, count in reasons if reason is not None},
    )


async def _users(session: AsyncSession, run_ids: Sequence[str]) -> dict[str, dict[PartState, int]]:
    found = await session.execute(
        select(RunUser.run_id, RunUser.state, func.count())
        .where(RunUser.run_id.in_(run_ids))
        .group_by(RunUser.run_id, RunUser.state)
    )
    counts: dict[str, dict[PartState, int]] = {}
    for run_id, state, count in found:
        counts.setdefault(run_id, {})[PartState(state)] = count
    return counts


async def _tokens(session: AsyncSession, run_id: str) -> Tokens:
    columns = (
        Round.calls, Round.lost_calls, Round.prompt_tokens, Round.cached_tokens,
        Round.completion_tokens, Round.seconds,
    )  # fmt: skip
    query = select(*(func.coalesce(func.sum(column), 0) for column in columns))
    row = (await session.execute(query.where(Round.run_id == run_id))).one()
    calls, lost, prompt, cached, completion = (int(count) for count in row[:5])
    return Tokens(calls, lost, prompt, cached, completion, float(row[5]))


async def _per_round(session: AsyncSession, run_id: str, paths: int) -> list[RoundProgress]:
    """Counted by the database, out of `Round.outcome` as `services.optimizer.decision` tells it."""
    served = [
        func.avg(func.coalesce(_number("active", key), _number("zero_shot", key)))
        for key in ("effect_d", "log_score")
    ]
    zero_shot = [func.avg(_number("zero_shot", key)) for key in ("effect_d", "log_score")]
    figures = [figure for path in range(paths) for figure in _of_path(path)]
    found = await session.execute(
        select(RunRound.ordinal, func.count(), *served, *zero_shot, *figures)
        .join(Round, Round.round_id == RunRound.round_id)
        .where(RunRound.run_id == run_id)
        .group_by(RunRound.ordinal)
        .order_by(RunRound.ordinal)
    )
    return [_round_progress(row, paths) for row in found]


def _of_path(path: int) -> list[Any]:
    means = [
        func.avg(_number("paths", path, key)) for key in ("effect_d", "log_score", "similarity")
    ]
    counts = [
        func.sum(case((_truth("paths", path, key), 1), else_=0))
        for key in ("written", "accepted", "collapsed", "perturbed")
    ]
    return [*means, *counts]


def _round_progress(row: Row[Any], paths: int) -> RoundProgress:
    figures = tuple(row)
    width = len(_of_path(0))
    told = [
        PathProgress(path, *figures[6 + path * width : 6 + (path + 1) * width])
        for path in range(paths)
    ]
    ordinal, users, effect, score, bare_effect, bare_score = figures[:6]
    return RoundProgress(ordinal, users, effect, score, bare_effect, bare_score, told)


def _number(*place: str | int) -> Any:
    return Round.outcome[place].as_float()


def _truth(*place: str | int) -> Any:
    return Round.outcome[place].as_boolean()


def _view(run: Run, users: Mapping[PartState, int]) -> RunView:
    return RunView(
        run_id=run.run_id,
        state=RunState(run.state),
        settings=run.settings,
        budget=Budget(run.budget_calls, run.budget_tokens),
        spent=Cost(run.spent_calls, run.spent_tokens),
        reserved=Cost(run.reserved_calls, run.reserved_tokens),
        users=users,
        made_at=run.made_at,
        finished_at=run.finished_at,
    )
