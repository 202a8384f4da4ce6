"""What is told of a user's learning: memory, variants, and how the paths stand."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import select, tuple_
from sqlalchemy.ext.asyncio import AsyncSession

from services.catalog.models import User
from services.demonstrations.models import StoredDemonstration, StoredVariant
from services.demonstrations.repository import DemonstrationsRepository, variants_with_texts
from services.errors import NotFound
from services.optimizer.models import Path
from services.optimizer.rules import Step, order_of_memory


@dataclass(frozen=True, slots=True)
class VariantView:
    """`accepted` None: not judged yet. The figures are of the newest judgment; `stale`: of one
    whose conditions are not in force any more."""

    variant_id: str
    path: int
    round: int
    demonstration: str
    perturbation: str | None
    active: bool
    accepted: bool | None
    incumbent: bool
    effective: bool
    stale: bool
    effect_d: float | None
    log_score: float | None
    tokens: int
    fingerprint: str | None
    made_at: datetime


@dataclass(frozen=True, slots=True)
class MemoryView:
    """`effective` best first, `variants` newest first."""

    active: str | None
    switches: int
    effective: Sequence[VariantView]
    variants: Sequence[VariantView]


@dataclass(frozen=True, slots=True)
class PathView:
    """`incumbent` is the best of the path, `latest` the text it wrote last, whatever became of it;
    `steps` of the newest rounds, oldest first."""

    path: int
    rounds: int
    collapsed: bool
    steps: Sequence[Step]
    incumbent: VariantView | None
    latest: str | None


async def memory_of(
    session: AsyncSession, user_id: str, after: tuple[int, int] | None, limit: int
) -> MemoryView:
    """`after` is the round and the path of the last variant seen. Raises NotFound."""
    await expect_user(session, user_id)
    newest = await DemonstrationsRepository(session).newest_switch(user_id)
    active = None if newest is None else newest.variant_id
    place = (StoredVariant.round_number, StoredVariant.path)
    page = tuple_(*place) < after if after is not None else None
    effective = await _variants(session, user_id, active, only_effective=True)
    query = variants_with_texts(user_id).order_by(*(column.desc() for column in place)).limit(limit)
    rows = await session.execute(query if page is None else query.where(page))
    return MemoryView(
        active=active,
        switches=0 if newest is None else newest.number,
        effective=sorted(
            effective, key=lambda one: order_of_memory(one.effect_d, one.log_score, one.variant_id)
        ),
        variants=[_view(variant, text, other, active) for variant, text, other in rows],
    )


async def paths_of(session: AsyncSession, user_id: str) -> list[PathView]:
    """Raises NotFound."""
    await expect_user(session, user_id)
    newest = await DemonstrationsRepository(session).newest_switch(user_id)
    active = None if newest is None else newest.variant_id
    best = {
        one.path: one for one in await _variants(session, user_id, active, only_effective=False)
    }
    rows = await session.execute(
        select(Path, StoredDemonstration.text)
        .outerjoin(StoredDemonstration, StoredDemonstration.demonstration_id == Path.last_id)
        .where(Path.user_id == user_id)
        .order_by(Path.path)
    )
    return [
        PathView(
            path=row.path,
            rounds=row.rounds,
            collapsed=row.collapsed,
            steps=[Step(**step) for step in row.steps],
            incumbent=best.get(row.path),
            latest=latest,
        )
        for row, latest in rows
    ]


async def _variants(
    session: AsyncSession, user_id: str, active: str | None, *, only_effective: bool
) -> list[VariantView]:
    """Those in memory, or the best of each path."""
    wanted = StoredVariant.effective if only_effective else StoredVariant.incumbent
    rows = await session.execute(variants_with_texts(user_id).where(wanted))
    return [_view(variant, text, other, active) for variant, text, other in rows]


def _view(
    row: StoredVariant, current: str, perturbation: str | None, active: str | None
) -> VariantView:
    return VariantView(
        variant_id=row.variant_id,
        path=row.path,
        round=row.round_number,
        demonstration=current,
        perturbation=perturbation,
        active=row.variant_id == active,
        accepted=row.accepted,
        incumbent=row.incumbent,
        effective=row.effective,
        stale=row.stale,
        effect_d=row.effect_d,
        log_score=row.log_score,
        tokens=row.tokens,
        fingerprint=row.fingerprint,
        made_at=row.made_at,
    )


async def expect_user(session: AsyncSession, user_id: str) -> None:
    if await session.get(User, user_id) is None:
        raise NotFound("there is no user of this id")
