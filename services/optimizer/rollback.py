"""What is served to a user is put back to what was served before: in one call, and for good."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import select, update
from sqlalchemy.ext.asyncio import AsyncSession

from services.demonstrations.models import StoredVariant, Switch
from services.errors import Conflict, NotFound
from services.observability.metrics import Metrics, SwitchLabels
from services.optimizer.learning_repository import LearningRepository
from services.optimizer.repository import LedgerRepository
from services.optimizer.runs import utc_now
from services.recommendations.user_states import UserStates
from services.storage.database import Database

ZERO_SHOT = "zero_shot"
REASON = "rollback"


@dataclass(frozen=True, slots=True)
class Served:
    """One that was switched on: a variant, or None for zero-shot. `reason` as of `Switch`."""

    variant_id: str | None
    reason: str


@dataclass(frozen=True, slots=True)
class RolledBack:
    """From what to what; None is zero-shot. `switched` counts the switches of the user."""

    before: str | None
    now: str | None
    switched: int


def served_before(switches: Sequence[Served]) -> str | None:
    """What the last of these switches, oldest first, took the place of. What was rolled back does
    not count as having been served. Raises Conflict where there is nothing."""
    standing: list[str | None] = [None]  # everybody begins with zero-shot
    for one in switches:
        if one.reason == REASON and one.variant_id in standing:
            while standing[-1] != one.variant_id:
                standing.pop()
        elif one.variant_id != standing[-1]:
            standing.append(one.variant_id)
    if len(standing) < 2:
        raise Conflict(
            "nothing was served before: the user is served zero-shot, as from the beginning"
        )
    return standing[-2]


class Rollbacks:
    def __init__(
        self,
        database: Database,
        states: UserStates,
        metrics: Metrics,
        *,
        now: Callable[[], datetime] = utc_now,
    ) -> None:
        self._database = database
        self._states = states
        self._metrics = metrics
        self._now = now

    async def roll_back(self, user_id: str, to: str | None = None) -> RolledBack:
        """To what was served before, to the variant `to`, or to zero-shot. What was served until
        now is not the best of its path any more and leaves the memory, so the next round does not
        bring it back; a round under way begins its decision anew. The next list is made with what
        is served now. Raises NotFound and Conflict."""
        done = await self._database.write(lambda session: self._write(session, user_id, to))
        await self._states.raise_switches({user_id: done.switched})
        self._metrics.switches.add(SwitchLabels(REASON))
        return done

    async def _write(self, session: AsyncSession, user_id: str, to: str | None) -> RolledBack:
        # The lock of those who decide what is served.
        if not await LedgerRepository(session).lock_users([user_id]):
            raise NotFound("there is no user of this id")
        switches = await _switches(session, user_id)
        before = switches[-1].variant_id if switches else None
        if to is None:
            target = served_before(switches)
        else:
            target = None if to == ZERO_SHOT else to
            if target == before:
                raise Conflict(f"{to} is what is served already")
        if target is not None:
            await _restore(session, user_id, target)
        if before is not None:
            await session.execute(
                update(StoredVariant)
                .where(StoredVariant.variant_id == before)
                .values(incumbent=False, effective=False)
            )
        switched = await LearningRepository(session).switch(user_id, target, REASON, self._now())
        assert switched is not None, "it differs from what was served"
        return RolledBack(before, target, switched)


async def _switches(session: AsyncSession, user_id: str) -> list[Served]:
    """Oldest first."""
    rows = await session.execute(
        select(Switch.variant_id, Switch.reason)
        .where(Switch.user_id == user_id)
        .order_by(Switch.number)
    )
    return [Served(*row) for row in rows]


async def _restore(session: AsyncSession, user_id: str, variant_id: str) -> None:
    """Make it the best of its path again: the next round compares with it."""
    variant = await session.get(StoredVariant, variant_id)
    if variant is None or variant.user_id != user_id or variant.current_id is None:
        raise NotFound(
            f"the user has no variant {variant_id!r}: GET /admin/users/{{id}}/demonstrations lists "
            f"them, and `{ZERO_SHOT}` stands for none"
        )
    if not variant.accepted:
        raise Conflict(
            f"the variant {variant_id!r} was never accepted, and only what was can be served"
        )
    await session.execute(
        update(StoredVariant)
        .where(StoredVariant.user_id == user_id, StoredVariant.path == variant.path)
        .values(incumbent=StoredVariant.variant_id == variant_id)
    )
