"""A ledger with users, a clock moved by hand, and what must hold of its tables at any time."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import delete, func, select
from sqlalchemy.ext.asyncio import AsyncSession

from services.catalog.models import User
from services.catalog.repository import CatalogRepository
from services.llm.port import Usage
from services.observability.metrics import Metrics
from services.optimizer.deletions import LedgerDeletions
from services.optimizer.ledger import Claimed, Ledger
from services.optimizer.models import (
    PartState,
    Round,
    RoundState,
    Run,
    RunRound,
    RunState,
    RunUser,
)
from services.storage.database import Database

LEASE, PARK, ATTEMPTS = 60.0, 15.0, 3
WAITING = {RoundState.WAITING, RoundState.PARKED}
GOING = {*WAITING, RoundState.RUNNING}


@dataclass
class Clock:
    now: datetime = datetime(2026, 1, 1, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.now

    def forward(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)


@dataclass
class Shop:
    """Users, and a ledger over them."""

    database: Database
    clock: Clock = field(default_factory=Clock)
    metrics: Metrics = field(default_factory=Metrics)

    @property
    def ledger(self) -> Ledger:
        """One of another process: they share nothing but the tables."""
        return Ledger(
            self.database, self.metrics,
            lease_seconds=LEASE, park_seconds=PARK, attempts=ATTEMPTS, now=self.clock,
        )  # fmt: skip

    async def come(self, *user_ids: str) -> None:
        async def work(session: AsyncSession) -> None:
            await CatalogRepository(session).ensure_users(user_ids, self.clock())

        await self.database.write(work)

    async def go(self, user_id: str) -> None:
        async def work(session: AsyncSession) -> None:
            await LedgerDeletions().before_user_goes(session, user_id)
            await session.execute(delete(User).where(User.user_id == user_id))

        await self.database.write(work)

    async def settle(self, claimed: Claimed, usage: Usage, calls: int = 1) -> None:
        await self.database.write(
            lambda session: self.ledger.settle(session, claimed, usage, calls)
        )

    async def finish(self, claimed: Claimed, outcome: dict[str, Any] | None = None) -> None:
        await self.database.write(
            lambda session: self.ledger.finish(session, claimed, outcome or {"paths": []})
        )

    def counted(self, name: str) -> dict[str, float]:
        """A metric by its label; "" where it has none."""
        found = {}
        for line in self.metrics.render().decode().splitlines():
            if line.startswith((f"{name} ", f"{name}{{")):
                labels, value = line.rsplit(" ", 1)
                found[labels.split('"')[1] if '"' in labels else ""] = float(value)
        return found

    async def read(self) -> Books:
        async with self.database.reading() as session:
            return Books(
                {run.run_id: run for run in await session.scalars(select(Run))},
                (await session.scalars(select(RunUser))).all(),
                (await session.scalars(select(Round).order_by(Round.user_id, Round.number))).all(),
                Counter(
                    {
                        (run_id, user_id): count
                        for run_id, user_id, count in await session.execute(
                            select(RunRound.run_id, Round.user_id, func.count())
                            .join(Round, Round.round_id == RunRound.round_id)
                            .group_by(RunRound.run_id, Round.user_id)
                        )
                    }
                ),
            )

    async def expect_in_order(self, *, nobody_left: bool = True) -> Books:
        books = await self.read()
        books.expect_in_order(nobody_left=nobody_left)
        return books


@dataclass
class Books:
    runs: dict[str, Run]
    parts: Sequence[RunUser]
    rounds: Sequence[Round]
    counted: Counter[tuple[str, str]]

    def part(self, run_id: str, user_id: str) -> RunUser:
        return next(one for one in self.parts if (one.run_id, one.user_id) == (run_id, user_id))

    def states(self, user_id: str) -> list[tuple[int, str, str]]:
        """Of the user's rounds: number, the run each was made for, and state."""
        return [
            (one.number, one.run_id, one.state) for one in self.rounds if one.user_id == user_id
        ]

    def expect_in_order(self, *, nobody_left: bool = True) -> None:
        """What `docs/learning.md` promises. Of users who left, only the cost is known."""
        going: dict[str, dict[bool, Round]] = defaultdict(dict)
        for one in self.rounds:
            self._expect_round(one)
            if one.state in GOING:
                waiting = one.state in WAITING
                assert waiting not in going[one.user_id], "two that wait, or two that run"
                going[one.user_id][waiting] = one
        for part in self.parts:
            self._expect_part(part, going[part.user_id])
        for both in going.values():
            if len(both) == 2:
                assert both[False].number < both[True].number
        for run in self.runs.values():
            self._expect_run(run, nobody_left)

    def _expect_round(self, one: Round) -> None:
        running = one.state == RoundState.RUNNING
        assert running == (one.lease is not None) == (one.lease_until is not None)
        assert running or (one.reserved_calls, one.reserved_tokens) == (0, 0)
        assert (one.finished_at is None) == (one.state in GOING)
        assert one.attempts <= ATTEMPTS
        assert one.attempts < ATTEMPTS or one.state not in GOING
        assert (one.state == RoundState.DONE) == (one.outcome is not None)
        if one.state in WAITING:
            assert self.runs[one.run_id].state == RunState.RUNNING
            part = self.part(one.run_id, one.user_id)
            assert part.state == PartState.OPEN
            assert part.from_round <= one.number

    def _expect_part(self, part: RunUser, going: dict[bool, Round]) -> None:
        assert part.done == self.counted[part.run_id, part.user_id]
        assert part.done <= part.wanted
        assert (part.done == part.wanted) == (part.state == PartState.DONE)
        if part.state == PartState.OPEN:
            assert any(part.from_round <= one.number for one in going.values()), "forgotten"

    def _expect_run(self, run: Run, nobody_left: bool) -> None:
        is_open = any(
            part.state == PartState.OPEN for part in self.parts if part.run_id == run.run_id
        )
        assert run.entered
        assert (run.state == RunState.RUNNING) == is_open
        assert (run.finished_at is None) == is_open
        mine = [one for one in self.rounds if one.run_id == run.run_id]
        calls = sum(one.calls + one.lost_calls for one in mine)
        tokens = sum(one.prompt_tokens + one.completion_tokens + one.lost_tokens for one in mine)
        assert (run.spent_calls, run.spent_tokens) >= (calls, tokens)
        if nobody_left:
            assert (run.spent_calls, run.spent_tokens) == (calls, tokens)
        assert run.reserved_calls == sum(one.reserved_calls for one in mine)
        assert run.reserved_tokens == sum(one.reserved_tokens for one in mine)
        if run.budget_calls is not None:
            assert run.spent_calls + run.reserved_calls <= run.budget_calls
        if run.budget_tokens is not None:
            assert run.spent_tokens + run.reserved_tokens <= run.budget_tokens
