"""Runs and the parts of users in them: how they begin, are closed and are opened again.

A part counts the user's rounds from the one it joined on: the round that waited when the part was
opened, else the next one. So whoever asks while a round runs gets one that begins after that.
"""

from __future__ import annotations

import hashlib
import json
import uuid
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from datetime import UTC, datetime

from sqlalchemy import event
from sqlalchemy.ext.asyncio import AsyncSession

from services.errors import Conflict, InvalidRequest, NotFound
from services.observability.metrics import Metrics, NoLabels, OutcomeLabels
from services.optimizer.expectation import expected_now
from services.optimizer.models import PartState, RoundState, Run, RunState
from services.optimizer.plan import Plan
from services.optimizer.progress import Progress, RunView, progress_of, run_views
from services.optimizer.repository import Front, LedgerRepository
from services.optimizer.rules import Budget
from services.storage.database import Database

USERS_A_STEP = 500
USERS_NAMED = 10


def utc_now() -> datetime:
    return datetime.now(UTC)


class Runs:
    def __init__(
        self, database: Database, metrics: Metrics, *, now: Callable[[], datetime] = utc_now
    ) -> None:
        self._database = database
        self._metrics = metrics
        self._now = now

    async def start(
        self,
        run_id: str | None,
        user_ids: Collection[str],
        rounds: int,
        plan: Plan,
        budget: Budget,
        *,
        cohort: str | None = None,
        asked: Plan | None = None,
    ) -> str:
        """Ask for rounds of these users. The same call with the same id changes nothing, and goes
        on with a start that was broken off. Its first users' rounds may run before the last of them
        are entered. Where the users are a cohort, its name is what was asked for: who belongs to it
        may have changed before the call is made again. So may the settings that `asked` did not
        name, from which `plan` was made."""
        run_id = run_id or f"run-{uuid.uuid4().hex}"
        users = sorted(set(user_ids))
        content = _digest(users if cohort is None else cohort, rounds, asked or plan, budget)
        async with self._database.reading() as session:
            run = await LedgerRepository(session).run(run_id)
        if run is None:
            if rounds < 1:
                raise InvalidRequest("a run has one round at least")
            await self._expect_known(users)
            run = await self._add(run_id, content, plan, budget)
        if run.content != content:
            raise Conflict(f"run {run_id!r} was asked for otherwise: choose another id")
        if not run.entered:
            for some in _batches(users):
                await self._enter(run_id, some, rounds)
            await self._entered(run_id)
        return run_id

    async def cancel(self, run_id: str) -> None:
        """Rounds under way end at their next call of the model. A run that is over stays as it
        is."""
        await self._close(run_id, RunState.CANCELLED)

    async def retry(self, run_id: str) -> None:
        """Open the parts again that failed."""

        async def step(session: AsyncSession) -> bool:
            repository, now = LedgerRepository(session), self._now()
            run = await repository.run(run_id)
            if run is None:
                raise NotFound(f"there is no run {run_id!r}")
            failed = await repository.users_with_part(run_id, PartState.FAILED, USERS_A_STEP)
            users = await repository.lock_users(failed)
            fronts = await repository.fronts(users)
            for user_id in users:
                front = fronts.get(user_id, Front())
                await repository.reopen(run_id, user_id, front.joined)
            # Locked after the users, as everywhere; what its state was before does not matter.
            for locked in await repository.locked_runs([run_id]):
                if locked.state not in {RunState.RUNNING, RunState.DONE}:
                    raise Conflict(f"run {run_id!r} is over ({locked.state}): start another one")
                if users:
                    locked.state, locked.finished_at = RunState.RUNNING, None
            await session.flush()
            await next_rounds(repository, users, now)
            return bool(users)

        while await self._database.write(step):
            pass

    async def progress(self, run_id: str) -> Progress:
        async with self._database.reading() as session:
            progress = await progress_of(session, run_id)
        if progress is None:
            raise NotFound(f"there is no run {run_id!r}")
        return progress

    async def runs(self, after: tuple[datetime, str] | None, limit: int) -> Sequence[RunView]:
        """The newest first. `after` is the key of the last one seen: its `made_at` and id."""
        async with self._database.reading() as session:
            return await run_views(session, after, limit)

    # --- starting --------------------------------------------------------------------------------

    async def _expect_known(self, users: Sequence[str]) -> None:
        unknown: list[str] = []
        async with self._database.reading() as session:
            repository = LedgerRepository(session)
            for some in _batches(users):
                known = await repository.known_users(some)
                unknown += [user_id for user_id in some if user_id not in known]
        if unknown:
            named = ", ".join(map(repr, unknown[:USERS_NAMED]))
            more = len(unknown) - USERS_NAMED
            raise NotFound(
                f"{len(unknown)} of the users are not known: {named}"
                + (f" and {more} more" if more > 0 else "")
            )

    async def _add(self, run_id: str, content: str, plan: Plan, budget: Budget) -> Run:
        async def work(session: AsyncSession) -> Run:
            repository = LedgerRepository(session)
            # Once, for all of the run's rounds: they must not depend on which came first.
            expected = plan.expected or await expected_now(session, plan)
            await repository.add_run(
                {
                    "run_id": run_id,
                    "state": RunState.RUNNING,
                    "settings": plan.model_copy(update={"expected": expected}).as_row(),
                    "content": content,
                    "budget_tokens": budget.tokens,
                    "budget_calls": budget.calls,
                    "made_at": self._now(),
                }
            )
            run = await repository.run(run_id)
            assert run is not None, "nobody deletes runs"
            return run

        return await self._database.write(work)

    async def _enter(self, run_id: str, user_ids: Collection[str], rounds: int) -> None:
        async def work(session: AsyncSession) -> None:
            repository, now = LedgerRepository(session), self._now()
            users = await repository.lock_users(user_ids)
            # Locked, so that no part comes to a run after it was cancelled.
            (run,) = await repository.locked_runs([run_id])
            if run.state != RunState.RUNNING:
                return
            fronts = await repository.fronts(users)
            new = await repository.add_parts(
                [
                    {
                        "run_id": run_id,
                        "user_id": user_id,
                        "state": PartState.OPEN,
                        "from_round": fronts.get(user_id, Front()).joined,
                        "wanted": rounds,
                    }
                    for user_id in users
                ]
            )
            await next_rounds(repository, new, now)

        await self._database.write(work)

    async def _entered(self, run_id: str) -> None:
        async def work(session: AsyncSession) -> None:
            repository = LedgerRepository(session)
            (run,) = await repository.locked_runs([run_id])
            run.entered = True
            ended = await close_finished(repository, [run], self._now())
            self._count_ended(session, ended)

        await self._database.write(work)

    # --- closing ---------------------------------------------------------------------------------

    async def _close(self, run_id: str, state: RunState) -> None:
        async def work(session: AsyncSession) -> bool:
            run = await LedgerRepository(session).locked_run(run_id)
            if run is None:
                raise NotFound(f"there is no run {run_id!r}")
            if run.state == RunState.RUNNING:
                run.state, run.finished_at = state, self._now()
                self._count_ended(session, [run])
            return run.state == state

        if await self._database.write(work):
            await self._close_parts(run_id)

    async def _close_parts(self, run_id: str) -> None:
        """All parts of a run that is over, and the rounds that wait in its name. The users' other
        runs get rounds of their own."""

        async def step(session: AsyncSession) -> bool:
            repository, now = LedgerRepository(session), self._now()
            run = await repository.run(run_id)
            users = await repository.users_with_part(run_id, PartState.OPEN, USERS_A_STEP)
            if run is None or not users:
                return False
            state = RoundState(run.state)
            users = await repository.lock_users(users)
            await repository.close_parts(run_id, users, PartState(run.state))
            ended = await repository.end_waiting(run_id, users, state, now)
            await next_rounds(repository, users, now)
            after_commit(session, lambda: self._metrics.rounds.add(OutcomeLabels(state), ended))
            return True

        while await self._database.write(step):
            pass

    def _count_ended(self, session: AsyncSession, runs: Iterable[Run]) -> None:
        ended = [(str(run.state), run.spent_tokens) for run in runs]

        def count() -> None:
            for state, tokens in ended:
                self._metrics.runs.add(OutcomeLabels(state))
                self._metrics.run_tokens.observe(NoLabels(), tokens)

        after_commit(session, count)


async def next_rounds(repository: LedgerRepository, users: Collection[str], now: datetime) -> None:
    """A waiting round for each of these locked users who has open parts that no round is there for:
    of the oldest of their runs."""
    fronts = await repository.fronts(users)
    rows = []
    for user_id, wanting in (await repository.wanting(users)).items():
        front = fronts.get(user_id, Front())
        if front.waiting is not None:
            continue
        # The running round is there for those who asked before it began.
        left = (run for run, from_round in wanting if from_round > (front.running or 0))
        if (run_id := next(left, None)) is not None:
            rows.append(
                {
                    "round_id": f"round-{uuid.uuid4().hex}",
                    "user_id": user_id,
                    "number": front.newest + 1,
                    "run_id": run_id,
                    "state": RoundState.WAITING,
                    "not_before": now,
                    "made_at": now,
                }
            )
    await repository.add_rounds(rows)


async def close_finished(
    repository: LedgerRepository, runs: Iterable[Run], now: datetime
) -> list[Run]:
    """Of these locked runs, those whose parts are all closed: they are done. The lock comes first:
    of two who close the last two parts at once, the second sees what the first did."""
    ended = []
    for run in runs:
        if (
            run.state == RunState.RUNNING
            and run.entered
            and not await repository.has_open_parts(run.run_id)
        ):
            run.state, run.finished_at = RunState.DONE, now
            ended.append(run)
    return ended


def after_commit(session: AsyncSession, count: Callable[[], None]) -> None:
    """What a transaction did is counted when it is done: it may be rolled back and run again."""
    event.listen(session.sync_session, "after_commit", lambda _: count(), once=True)


def _batches(users: Sequence[str]) -> Iterator[Sequence[str]]:
    for begin in range(0, len(users), USERS_A_STEP):
        yield users[begin : begin + USERS_A_STEP]


def _digest(users: Sequence[str] | str, rounds: int, plan: Plan, budget: Budget) -> str:
    asked = [users, rounds, plan.as_row(), budget.calls, budget.tokens]
    return hashlib.sha256(json.dumps(asked, sort_keys=True).encode()).hexdigest()
