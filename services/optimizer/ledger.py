"""The ledger: every transition of rounds. `docs/learning.md` draws them; runs are in `runs`.

What is done and what it cost is committed together, by whoever holds the lease of the round. The
queue is only a wake-up: all that workers need to know stands here.
"""

from __future__ import annotations

import random
import uuid
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from pydantic import ValidationError
from sqlalchemy.ext.asyncio import AsyncSession

from services.errors import LrgdError
from services.llm.port import Usage
from services.observability.metrics import (
    Metrics,
    NoLabels,
    OutcomeLabels,
    PutBackLabels,
    TokenLabels,
)
from services.optimizer import spending
from services.optimizer.models import PartState, Round, RoundState, Run, RunState
from services.optimizer.plan import Plan
from services.optimizer.repository import LedgerRepository
from services.optimizer.rules import Cost
from services.optimizer.runs import Runs, after_commit, close_finished, next_rounds, utc_now
from services.storage.database import Database


class LeaseLost(LrgdError):
    """Somebody else has the round by now, or it is gone: stop, write nothing."""


@dataclass(frozen=True, slots=True)
class Claimed:
    """One round that this process holds. `attempt` counts from 1."""

    round_id: str
    run_id: str
    user_id: str
    number: int
    attempt: int
    lease: str
    plan: Plan
    taken_at: datetime


class Ledger(Runs):
    """Runs, and the rounds they are made of."""

    def __init__(
        self,
        database: Database,
        metrics: Metrics,
        *,
        lease_seconds: float = 60,
        attempts: int = 3,
        park_seconds: float = 15,
        now: Callable[[], datetime] = utc_now,
    ) -> None:
        super().__init__(database, metrics, now=now)
        self._lease = timedelta(seconds=lease_seconds)
        self._attempts = attempts
        self._park_seconds = park_seconds

    @property
    def lease_seconds(self) -> float:
        return self._lease.total_seconds()

    # --- taking rounds and keeping them ----------------------------------------------------------

    async def claim(self, limit: int) -> list[Claimed]:
        """Take ready rounds: the oldest first, whichever run they are of, and one of a user at
        most. Rounds whose lease is over are ready, too."""
        await self._put_back_expired(limit)
        now, claimed = self._now(), []
        for round_, settings in await self._database.write(
            lambda session: self._take(session, limit, now)
        ):
            assert round_.lease is not None, "whoever takes a round gives it a lease"
            try:
                plan = Plan.of_row(settings)
            except ValidationError as error:
                reason = f"the run's settings are not of this version: {error}"
                await self._fail(round_.round_id, round_.lease, reason, final=True)
                continue
            claimed.append(
                Claimed(
                    round_.round_id, round_.run_id, round_.user_id, round_.number,
                    round_.attempts + 1, round_.lease, plan, now,
                )
            )  # fmt: skip
        return claimed

    async def _take(
        self, session: AsyncSession, limit: int, now: datetime
    ) -> Sequence[tuple[Round, dict[str, Any]]]:
        taken = await LedgerRepository(session).take(limit, now)
        for round_, _ in taken:
            round_.state = RoundState.RUNNING
            round_.lease = uuid.uuid4().hex
            round_.lease_until = now + self._lease
        return taken

    async def extend(self, claimed: Claimed) -> None:
        async def work(session: AsyncSession) -> bool:
            until = self._now() + self._lease
            return await LedgerRepository(session).extend(claimed.round_id, claimed.lease, until)

        if not await self._database.write(work):
            raise LeaseLost(claimed.round_id)

    async def backlog(self) -> int:
        """Rounds that a worker could take now."""
        async with self._database.reading() as session:
            repository, now = LedgerRepository(session), self._now()
            ready = await repository.ready_count(now) + await repository.expired_count(now)
        self._metrics.rounds_backlog.set(NoLabels(), ready)
        return ready

    # --- what calls cost -------------------------------------------------------------------------

    async def reserve(self, claimed: Claimed, cost: Cost) -> None:
        """Before calls of the model: what they may cost at most. Raises LeaseLost, RunCancelled,
        OutOfBudget, BudgetInUse."""

        async def work(session: AsyncSession) -> None:
            round_ = await self._held(session, claimed.round_id, claimed.lease)
            run = await LedgerRepository(session).locked_run(round_.run_id)
            assert run is not None, "a round goes with its run"
            spending.reserve(run, round_, cost)
            round_.lease_until = self._now() + self._lease

        await self._database.write(work)

    async def settle(
        self, session: AsyncSession, claimed: Claimed, usage: Usage, calls: int
    ) -> None:
        """After calls, in the transaction that stores their results: what they have cost, in place
        of what was reserved."""
        round_ = await self._held(session, claimed.round_id, claimed.lease)
        round_.lease_until = self._now() + self._lease
        run = await LedgerRepository(session).locked_run(round_.run_id)
        assert run is not None, "a round goes with its run"
        spending.settle(run, round_, usage, calls)
        after_commit(session, lambda: self._count_tokens(usage))

    # --- how rounds end --------------------------------------------------------------------------

    async def finish(
        self, session: AsyncSession, claimed: Claimed, outcome: dict[str, Any]
    ) -> None:
        """In the transaction of the decision. It counts for every part that had joined the round
        before it was first taken."""
        round_ = await self._held(session, claimed.round_id, claimed.lease)
        repository = LedgerRepository(session)
        await repository.lock_users([round_.user_id])
        parts = await repository.parts_of(round_)
        for part in parts:
            part.done += 1
            if part.done >= part.wanted:
                part.state = PartState.DONE
        await repository.count_for(round_, parts)
        closed = [part.run_id for part in parts if part.state == PartState.DONE]
        round_.outcome, round_.reason = outcome, None
        self._clock(round_, claimed)
        await self._end(session, round_, RoundState.DONE, closed)

    async def skip(self, claimed: Claimed, reason: str) -> None:
        """The user cannot learn yet, under whichever run: all parts that had joined are closed."""

        async def work(session: AsyncSession) -> None:
            round_ = await self._held(session, claimed.round_id, claimed.lease)
            repository = LedgerRepository(session)
            await repository.lock_users([round_.user_id])
            parts = await repository.parts_of(round_)
            for part in parts:
                part.state, part.reason = PartState.SKIPPED, reason
            round_.reason = reason
            self._clock(round_, claimed)
            await self._end(session, round_, RoundState.SKIPPED, [part.run_id for part in parts])

        await self._database.write(work)

    async def fail(self, claimed: Claimed, reason: str, final: bool = False) -> None:
        """Final, or its attempts are used up: the part of the round's run is closed, others go on
        with a round of their own. Else it waits to be tried again."""
        await self._fail(claimed.round_id, claimed.lease, reason, final=final, claimed=claimed)

    async def park(self, claimed: Claimed, reason: str, *, asked: bool = False) -> None:
        """Nobody's fault, so the attempt is not counted; nor are the calls, which were not made.
        `asked`: they may have been, and what came of them nobody will know."""

        async def work(session: AsyncSession) -> None:
            round_ = await self._held(session, claimed.round_id, claimed.lease)
            round_.reason = reason
            repository = LedgerRepository(session)
            await repository.lock_users([round_.user_id])
            runs = await repository.locked_runs([round_.run_id])
            if asked:
                self._lose_calls(session, round_, runs)
            for run in runs:
                spending.release(run, round_)
            self._clock(round_, claimed)
            await self._put_back(session, round_, RoundState.PARKED, self._later(), "parked")

        await self._database.write(work)

    async def cancelled(self, claimed: Claimed) -> None:
        """After RunCancelled."""
        await self._stop(claimed, RoundState.CANCELLED)

    async def out_of_budget(self, claimed: Claimed) -> None:
        """After OutOfBudget: it ends the run for all its users."""
        await self._stop(claimed, RoundState.OUT_OF_BUDGET)

    async def _stop(self, claimed: Claimed, state: RoundState) -> None:
        async def work(session: AsyncSession) -> None:
            round_ = await self._held(session, claimed.round_id, claimed.lease)
            repository = LedgerRepository(session)
            await repository.lock_users([round_.user_id])
            await repository.close_parts(round_.run_id, [round_.user_id], PartState(state))
            self._clock(round_, claimed)
            await self._end(session, round_, state, [])
            (run,) = await repository.locked_runs([round_.run_id])
            if run.state == RunState.RUNNING:
                run.state, run.finished_at = RunState(state), self._now()
                self._count_ended(session, [run])

        await self._database.write(work)
        await self._close_parts(claimed.run_id)

    async def _fail(
        self,
        round_id: str,
        lease: str,
        reason: str,
        *,
        final: bool,
        claimed: Claimed | None = None,
    ) -> None:
        async def work(session: AsyncSession) -> None:
            round_ = await self._held(session, round_id, lease)
            round_.reason = reason
            self._clock(round_, claimed)
            await self._broken_off(session, round_, "failed", final=final)

        await self._database.write(work)

    # --- leases that are over --------------------------------------------------------------------

    async def sweep(self) -> int:
        """Make rounds ready again whose worker has died; how many. Also closes what is left of runs
        whose closing was broken off."""
        async with self._database.reading() as session:
            unclosed = await LedgerRepository(session).unclosed_runs()
        for run_id in unclosed:
            await self._close_parts(run_id)
        return await self._put_back_expired(None)

    async def _put_back_expired(self, limit: int | None) -> int:
        async with self._database.reading() as session:
            expired = await LedgerRepository(session).expired_count(self._now())
        most = expired if limit is None else min(limit, expired)
        done = 0
        # One at a time: each locks its user, and two who lock many would wait for each other.
        while done < most and await self._database.write(self._expire):
            done += 1
        return done

    async def _expire(self, session: AsyncSession) -> bool:
        round_ = await LedgerRepository(session).expired(self._now())
        if round_ is None:
            return False
        after_commit(session, lambda: self._metrics.lease_expiries.add(NoLabels()))
        await self._broken_off(session, round_, "expired")
        return True

    # --- beneath ---------------------------------------------------------------------------------

    async def _held(self, session: AsyncSession, round_id: str, lease: str) -> Round:
        round_ = await LedgerRepository(session).held(round_id, lease)
        if round_ is None:
            raise LeaseLost(round_id)
        return round_

    async def _broken_off(
        self, session: AsyncSession, round_: Round, why: str, *, final: bool = False
    ) -> None:
        """An attempt that ended badly. Its calls in flight may have been made: they are spent."""
        repository = LedgerRepository(session)
        await repository.lock_users([round_.user_id])
        round_.attempts += 1
        if not final and round_.attempts < self._attempts:
            self._lose_calls(session, round_, await repository.locked_runs([round_.run_id]))
            not_before = self._now() if why == "expired" else self._later()
            await self._put_back(session, round_, RoundState.WAITING, not_before, why)
            return
        if why == "expired":
            last = f"; last heard of it: {round_.reason}" if round_.reason else ""
            round_.reason = f"taken {round_.attempts} times and never finished{last}"
        closed = await repository.close_parts(
            round_.run_id, [round_.user_id], PartState.FAILED, round_.reason
        )
        await self._end(session, round_, RoundState.FAILED, [round_.run_id] if closed else [])

    async def _put_back(
        self,
        session: AsyncSession,
        round_: Round,
        state: RoundState,
        not_before: datetime,
        why: str,
    ) -> None:
        """To be taken again. A user has one waiting round at most: one that was asked for meanwhile
        is merged into this one, which has work behind it."""
        repository = LedgerRepository(session)
        (run,) = await repository.locked_runs([round_.run_id])
        if run.state != RunState.RUNNING:
            await self._end(session, round_, RoundState(run.state), [])
            return
        await repository.drop_waiting(round_.user_id)
        await repository.join(round_.user_id, round_.number)
        round_.state, round_.not_before = state, not_before
        round_.lease = round_.lease_until = None
        after_commit(session, lambda: self._metrics.rounds_put_back.add(PutBackLabels(why)))

    async def _end(
        self, session: AsyncSession, round_: Round, state: RoundState, closed: Collection[str]
    ) -> None:
        """For good. `closed` are the runs that have a part less now."""
        repository, now = LedgerRepository(session), self._now()
        round_.state, round_.finished_at = state, now
        round_.lease = round_.lease_until = None
        await session.flush()
        await next_rounds(repository, [round_.user_id], now)
        runs = await repository.locked_runs({*closed, round_.run_id})
        self._lose_calls(session, round_, runs)
        mine = [run for run in runs if run.run_id in closed]
        self._count_ended(session, await close_finished(repository, mine, now))
        after_commit(session, lambda: self._metrics.rounds.add(OutcomeLabels(state)))

    def _lose_calls(self, session: AsyncSession, round_: Round, runs: Collection[Run]) -> None:
        lost = round_.reserved_calls
        if lost or round_.reserved_tokens:
            spending.lose_calls(round_, runs)
            after_commit(session, lambda: self._metrics.lost_calls.add(NoLabels(), lost))

    def _count_tokens(self, usage: Usage) -> None:
        for part, tokens in (
            ("prompt", usage.prompt),
            ("cached", usage.cached or 0),
            ("completion", usage.completion),
        ):
            self._metrics.round_tokens.add(TokenLabels(part), tokens)

    def _clock(self, round_: Round, claimed: Claimed | None) -> None:
        if claimed is not None:
            round_.seconds += (self._now() - claimed.taken_at).total_seconds()

    def _later(self) -> datetime:
        """Spread, so that not all come back at once."""
        return self._now() + timedelta(seconds=self._park_seconds * random.uniform(0.5, 1.5))
