"""What a demonstration is expected to gain, before it is judged: what the newest ones of its kind,
of whichever users, have gained over zero-shot."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from pydantic import ValidationError
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from services.optimizer.models import Round, RoundState, Run
from services.optimizer.plan import Plan
from services.optimizer.rules import Expected, Kind, Quality, quality
from services.ranking import Method

NEWEST_RUNS = 20
MOST_RUNS = 200  # to look for these among
NEWEST_ROUNDS = 5_000
# Of a kind. First rounds write single texts and later ones hardly any: each kind is looked for as
# far back as it takes, or what singles are worth would be forgotten as soon as pairs are written.
NEWEST_TEXTS = 2_000
FEWEST = 20  # of a kind: the mean of fewer says too little of others


async def expected_now(session: AsyncSession, plan: Plan) -> Expected | None:
    """Of runs that judged as this plan does: a text gains another amount in another mode or
    template, or at another step size."""
    newest = await session.execute(
        select(Run.run_id, Run.settings).order_by(Run.made_at.desc()).limit(MOST_RUNS)
    )
    runs = [run for run, settings in newest if _method_of(settings) == plan.method][:NEWEST_RUNS]
    outcomes = await session.scalars(
        select(Round.outcome)
        .where(Round.run_id.in_(runs), Round.state == RoundState.DONE)
        .order_by(Round.finished_at.desc(), Round.round_id)
        .limit(NEWEST_ROUNDS)
    )
    return expected_of(one for one in outcomes if one and _tells(one))


def _method_of(settings: dict[str, Any]) -> Method | None:
    """None: the settings are of a newer version than ours, while one replaces the other."""
    try:
        return Plan.of_row(settings).method
    except ValidationError:
        return None


def expected_of(outcomes: Iterable[Mapping[str, Any]]) -> Expected | None:
    """Of what rounds told (`services.optimizer.decision`), the newest first. A text that was
    dropped after the first draw counts with that: without these, the mean would be of those that
    were lucky. Of a kind that too few are known of, as much is expected as of single texts; of
    those, as of the kind that gains least: pairs are made of texts that have won. None: too few of
    any."""
    gains: dict[Kind, list[Quality]] = {kind: [] for kind in Kind}
    for outcome in outcomes:
        bare = _quality(outcome["zero_shot"])
        for path in outcome["paths"]:
            if path["written"] and len(of_kind := gains[Kind(path["kind"])]) < NEWEST_TEXTS:
                of_kind.append(_quality(path) - bare)
    means = {kind: quality(found) for kind, found in gains.items() if len(found) >= FEWEST}
    if not means:
        return None
    another = means.get(Kind.SINGLE) or min(means.values(), key=lambda one: one.log_score)
    return Expected(**{kind.value: means.get(kind, another) for kind in Kind})


def _tells(outcome: Mapping[str, Any]) -> bool:
    """Rounds that an earlier version made have not told of kinds."""
    return "zero_shot" in outcome and all(
        "kind" in path for path in outcome["paths"] if path["written"]
    )


def _quality(told: Mapping[str, Any]) -> Quality:
    return Quality(told["effect_d"], told["log_score"])
