"""SQL of the ledger. Who holds a row locked may change it as an object; on SQLite a transaction
that writes has the whole database to itself.

Locks are taken in one order: the round that is held, users, parts and waiting rounds, runs.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, TypeVarTuple

from sqlalchemy import (
    ColumnElement,
    CursorResult,
    Executable,
    Select,
    and_,
    case,
    delete,
    exists,
    func,
    insert,
    literal_column,
    or_,
    select,
    update,
)
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import aliased

from services.catalog.models import User
from services.optimizer.models import (
    PartState,
    Round,
    RoundState,
    Run,
    RunRound,
    RunState,
    RunUser,
)
from services.storage.base import Base

Found = TypeVarTuple("Found")

# Written out, not as parameters, so that the partial indexes are used.
IS_WAITING = Round.state.in_([literal_column("'waiting'"), literal_column("'parked'")])
IS_RUNNING = Round.state == literal_column("'running'")


@dataclass(frozen=True, slots=True)
class Front:
    """How far a user's rounds have come, by their numbers."""

    newest: int = 0
    waiting: int | None = None
    running: int | None = None

    @property
    def joined(self) -> int:
        """The first round that counts for a part opened now: one that runs began without it."""
        return self.newest + 1 if self.waiting is None else self.waiting


class LedgerRepository:
    def __init__(self, session: AsyncSession) -> None:
        self.session = session
        self._insert = (
            sqlite.insert if session.get_bind().dialect.name == "sqlite" else postgresql.insert
        )

    # --- runs ------------------------------------------------------------------------------------

    async def add_run(self, row: Mapping[str, Any]) -> None:
        """Unless it is there already."""
        await self.session.execute(self._insert(Run).values(**row).on_conflict_do_nothing())

    async def run(self, run_id: str) -> Run | None:
        return await self.session.get(Run, run_id)

    async def locked_run(self, run_id: str) -> Run | None:
        return await self.session.scalar(_locking(select(Run).where(Run.run_id == run_id)))

    async def locked_runs(self, run_ids: Iterable[str]) -> list[Run]:
        """In one order, so that two who want the same runs do not wait for each other."""
        found = [await self.locked_run(run_id) for run_id in sorted(set(run_ids))]
        return [run for run in found if run is not None]

    async def has_open_parts(self, run_id: str) -> bool:
        query = select(exists().where(RunUser.run_id == run_id, RunUser.state == PartState.OPEN))
        return bool(await self.session.scalar(query))

    async def unclosed_runs(self) -> Sequence[str]:
        """Cancelled or out of budget, with parts that whoever closed them did not come to."""
        query = (
            select(RunUser.run_id)
            .join(Run, Run.run_id == RunUser.run_id)
            .where(RunUser.state == PartState.OPEN, Run.state != RunState.RUNNING)
            .distinct()
        )
        return (await self.session.scalars(query)).all()

    # --- users and their parts -------------------------------------------------------------------

    async def known_users(self, user_ids: Collection[str]) -> set[str]:
        return set(
            await self.session.scalars(select(User.user_id).where(User.user_id.in_(user_ids)))
        )

    async def lock_users(self, user_ids: Collection[str]) -> list[str]:
        """Those that exist. Whoever adds, ends or merges rounds of a user holds this lock; it does
        not keep events from coming in."""
        query = select(User.user_id).where(User.user_id.in_(user_ids)).order_by(User.user_id)
        return list(await self.session.scalars(_locking(query)))

    async def users_with_part(self, run_id: str, state: PartState, limit: int) -> list[str]:
        query = select(RunUser.user_id).where(RunUser.run_id == run_id, RunUser.state == state)
        return list(await self.session.scalars(query.order_by(RunUser.user_id).limit(limit)))

    async def add_parts(self, rows: Sequence[Mapping[str, Any]]) -> list[str]:
        """Unless they are there already; the users whose were not."""
        if not rows:
            return []
        adding = self._insert(RunUser).on_conflict_do_nothing().returning(RunUser.user_id)
        return list(await self.session.scalars(adding, list(rows)))

    async def reopen(self, run_id: str, user_id: str, from_round: int) -> None:
        await self.session.execute(
            update(RunUser)
            .where(RunUser.run_id == run_id, RunUser.user_id == user_id)
            .values(state=PartState.OPEN, reason=None, from_round=from_round)
        )

    async def close_parts(
        self, run_id: str, user_ids: Collection[str], state: PartState, reason: str | None = None
    ) -> bool:
        """Those that are open; whether there were any."""
        return await self._touched(
            update(RunUser)
            .where(
                RunUser.run_id == run_id,
                RunUser.user_id.in_(user_ids),
                RunUser.state == PartState.OPEN,
            )
            .values(state=state, reason=reason)
        )

    async def parts_of(self, round_: Round) -> Sequence[RunUser]:
        """The open parts for which it counts, locked."""
        query = (
            select(RunUser)
            .join(Run, Run.run_id == RunUser.run_id)
            .where(
                RunUser.user_id == round_.user_id,
                RunUser.state == PartState.OPEN,
                RunUser.from_round <= round_.number,
                Run.state == RunState.RUNNING,
            )
            .order_by(RunUser.run_id)
        )
        return (await self.session.scalars(_locking(query, of=RunUser))).all()

    async def join(self, user_id: str, number: int) -> None:
        """All the user's open parts count this round, those that had joined a later one, too."""
        await self.session.execute(
            update(RunUser)
            .where(
                RunUser.user_id == user_id,
                RunUser.state == PartState.OPEN,
                RunUser.from_round > number,
            )
            .values(from_round=number)
        )

    async def runs_of(self, user_id: str) -> set[str]:
        """Those with a part or a round of the user that is not closed."""
        parts = select(RunUser.run_id).where(
            RunUser.user_id == user_id, RunUser.state == PartState.OPEN
        )
        rounds = select(Round.run_id).where(Round.user_id == user_id, or_(IS_RUNNING, IS_WAITING))
        return set(await self.session.scalars(parts.union(rounds)))

    async def forget_user(self, user_id: str) -> None:
        await self.session.execute(delete(RunUser).where(RunUser.user_id == user_id))
        await self.session.execute(delete(Round).where(Round.user_id == user_id))

    # --- rounds ----------------------------------------------------------------------------------

    async def fronts(self, user_ids: Collection[str]) -> dict[str, Front]:
        found = await self.session.execute(
            select(
                Round.user_id,
                func.max(Round.number),
                func.max(case((IS_WAITING, Round.number))),
                func.max(case((IS_RUNNING, Round.number))),
            )
            .where(Round.user_id.in_(user_ids))
            .group_by(Round.user_id)
        )
        return {user: Front(newest, waiting, running) for user, newest, waiting, running in found}

    async def wanting(self, user_ids: Collection[str]) -> dict[str, list[tuple[str, int]]]:
        """Of each user the running runs with an open part, the oldest first, and from which round
        on they count."""
        # Two queries, for the users come first: in a table that grows fast, a database that has not
        # counted it yet would begin with the run.
        parts = await self.session.execute(
            select(RunUser.user_id, RunUser.run_id, RunUser.from_round).where(
                RunUser.user_id.in_(user_ids), RunUser.state == PartState.OPEN
            )
        )
        by_run: dict[str, list[tuple[str, int]]] = defaultdict(list)
        for user_id, run_id, from_round in parts:
            by_run[run_id].append((user_id, from_round))
        running = await self.session.scalars(
            select(Run.run_id)
            .where(Run.run_id.in_(by_run), Run.state == RunState.RUNNING)
            .order_by(Run.made_at, Run.run_id)
        )
        wanting: dict[str, list[tuple[str, int]]] = defaultdict(list)
        for run_id in running:
            for user_id, from_round in by_run[run_id]:
                wanting[user_id].append((run_id, from_round))
        return wanting

    async def add_rounds(self, rows: Sequence[Mapping[str, Any]]) -> None:
        if rows:
            await self.session.execute(insert(Round), list(rows))

    async def count_for(self, round_: Round, parts: Iterable[RunUser]) -> None:
        rows = [
            {"run_id": part.run_id, "round_id": round_.round_id, "ordinal": part.done}
            for part in parts
        ]
        if rows:
            await self.session.execute(insert(RunRound), rows)

    async def take(self, limit: int, now: datetime) -> Sequence[tuple[Round, dict[str, Any]]]:
        """Ready rounds with the settings of their runs, oldest first, locked; none that another is
        about to take."""
        query = (
            select(Round, Run.settings)
            .join(Run, Run.run_id == Round.run_id)
            .where(_ready(now))
            .order_by(Round.not_before, Round.user_id)
            .limit(limit)
        )
        found = await self.session.execute(_locking(query, of=Round, skip_locked=True))
        return [(round_, settings) for round_, settings in found]

    async def held(self, round_id: str, lease: str) -> Round | None:
        """Locked; None if the lease is not in force any more."""
        query = select(Round).where(Round.round_id == round_id, Round.lease == lease, IS_RUNNING)
        return await self.session.scalar(_locking(query))

    async def extend(self, round_id: str, lease: str, until: datetime) -> bool:
        return await self._touched(
            update(Round)
            .where(Round.round_id == round_id, Round.lease == lease, IS_RUNNING)
            .values(lease_until=until)
        )

    async def expired(self, now: datetime) -> Round | None:
        """One whose lease is over, locked; none that another is about to put back."""
        query = select(Round).where(_expired(now)).order_by(Round.lease_until).limit(1)
        return await self.session.scalar(_locking(query, skip_locked=True))

    async def expired_count(self, now: datetime) -> int:
        query = select(func.count()).select_from(Round).where(_expired(now))
        return await self.session.scalar(query) or 0

    async def ready_count(self, now: datetime) -> int:
        query = select(func.count()).select_from(Round).join(Run, Run.run_id == Round.run_id)
        return await self.session.scalar(query.where(_ready(now))) or 0

    async def drop_waiting(self, user_id: str) -> None:
        await self.session.execute(delete(Round).where(Round.user_id == user_id, IS_WAITING))

    async def end_waiting(
        self, run_id: str, user_ids: Collection[str], state: RoundState, now: datetime
    ) -> int:
        found = await self.session.scalars(
            update(Round)
            .where(Round.run_id == run_id, Round.user_id.in_(user_ids), IS_WAITING)
            .values(state=state, finished_at=now)
            .returning(Round.round_id)
            .execution_options(synchronize_session=False)
        )
        return len(found.all())

    async def running_of(self, user_id: str) -> Round | None:
        query = select(Round).where(Round.user_id == user_id, IS_RUNNING)
        return await self.session.scalar(_locking(query))

    async def _touched(self, statement: Executable) -> bool:
        result: CursorResult[Any] = await self.session.execute(statement)  # type: ignore[assignment]
        return result.rowcount > 0


def _locking(query: Select[*Found], of: type[Base] | None = None, **how: bool) -> Select[*Found]:
    """Rows as they are now that they are locked. New rows that refer to them are not kept out."""
    locking = query.with_for_update(of=of, key_share=True, **how)
    return locking.execution_options(populate_existing=True)


def _ready(now: datetime) -> ColumnElement[bool]:
    other = aliased(Round)
    running = exists().where(
        other.user_id == Round.user_id, other.state == literal_column("'running'")
    )
    return and_(IS_WAITING, Round.not_before <= now, Run.state == RunState.RUNNING, ~running)


def _expired(now: datetime) -> ColumnElement[bool]:
    return and_(IS_RUNNING, Round.lease_until <= now)
