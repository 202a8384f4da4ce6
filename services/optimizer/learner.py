"""Rounds driven to their ends, many users at once in one event loop."""

from __future__ import annotations

import asyncio
import contextlib
import time

from services.errors import LrgdError, PublicError
from services.llm.affinity import about
from services.llm.errors import MalformedAnswer, ModelError, ModelTimeout
from services.observability.logging import get_logger
from services.observability.metrics import Metrics, SwitchLabels
from services.observability.tracing import span
from services.optimizer.ledger import Claimed, LeaseLost, Ledger
from services.optimizer.material import TooFewPositives
from services.optimizer.observed import observe
from services.optimizer.runner import Decided, RoundRunner
from services.optimizer.spending import BudgetInUse, OutOfBudget, RunCancelled
from services.recommendations.user_states import UserStates

# In the time of a lease: one that comes late, or is lost, does not cost it.
SIGNS_OF_LIFE = 4

log = get_logger(__name__)


class Learner:
    """Without `states` nobody is served from here."""

    def __init__(
        self,
        ledger: Ledger,
        runner: RoundRunner,
        states: UserStates | None = None,
        metrics: Metrics | None = None,
    ) -> None:
        self._ledger = ledger
        self._runner = runner
        self._states = states
        self._metrics = metrics

    async def advance(self, *, limit: int, seconds: float) -> bool:
        """Take up ready rounds for so many seconds, drive up to `limit` at once, and end all that
        were taken up. False: nothing is left that is ready."""
        until = time.monotonic() + seconds
        going: set[asyncio.Task[None]] = set()
        try:
            while True:
                if len(going) < limit and time.monotonic() < until:
                    try:
                        claimed = await self._ledger.claim(limit - len(going))
                    except PublicError:
                        if not going:
                            raise
                        # The database is down. Who waits for the model may find it up again.
                        claimed, until = [], time.monotonic()
                    going |= {asyncio.create_task(self.drive(one)) for one in claimed}
                if not going:
                    return time.monotonic() >= until and await self._ledger.backlog() > 0
                done, going = await asyncio.wait(going, return_when=asyncio.FIRST_COMPLETED)
                for one in done:
                    one.result()
        finally:
            for one in going:
                one.cancel()
            await asyncio.gather(*going, return_exceptions=True)

    async def drive(self, claimed: Claimed) -> None:
        """One round to its end, whatever that is. Never raises: others are driven beside it."""
        try:
            with about(claimed.user_id), span("round", attributes={"lrgd.round": claimed.number}):
                await self._drive(claimed)
        except LeaseLost:
            log.warning("lease_lost", round=claimed.round_id)
        except PublicError as error:
            # The database is down: nothing can be written, and the lease will end.
            log.warning("round_broken_off", round=claimed.round_id, error=str(error))

    async def _drive(self, claimed: Claimed) -> None:
        try:
            decided = await self._alive(claimed)
        except (LeaseLost, RunCancelled, OutOfBudget, BudgetInUse) as stopped:
            await self._stopped(claimed, stopped)
        except TooFewPositives:
            await self._ledger.skip(claimed, "too few positive events to hold one out")
        except ModelError as error:
            await self._without_model(claimed, error)
        except PublicError:
            raise
        except asyncio.CancelledError:
            with contextlib.suppress(LeaseLost, PublicError):
                await self._ledger.park(claimed, "the worker was stopped", asked=True)
            raise
        except Exception as error:
            log.exception("round_failed", round=claimed.round_id)
            await self._ledger.fail(claimed, f"{type(error).__name__}: {error}")
        else:
            await self._told(claimed, decided)

    async def _told(self, claimed: Claimed, decided: Decided) -> None:
        switched = decided.switched
        if switched is not None and self._states is not None:
            await self._states.raise_switches({claimed.user_id: switched})
        if self._metrics is not None:
            observe(self._metrics, decided.decision.outcome, claimed.number)
            if switched is not None:
                self._metrics.switches.add(SwitchLabels("round"))

    async def _stopped(self, claimed: Claimed, by: LrgdError) -> None:
        """By the ledger."""
        match by:
            case RunCancelled():
                await self._ledger.cancelled(claimed)
            case OutOfBudget():
                await self._ledger.out_of_budget(claimed)
            case BudgetInUse():
                await self._ledger.park(claimed, "what is left of the budget is in use")
            case _:
                raise by

    async def _without_model(self, claimed: Claimed, error: ModelError) -> None:
        reason = f"{error.outcome}: {error}"
        if error.passing:
            asked = isinstance(error, ModelTimeout)
            await self._ledger.park(claimed, reason, asked=asked)
        else:
            # Garbage may be another answer next time; a refusal stays one.
            final = not isinstance(error, MalformedAnswer)
            await self._ledger.fail(claimed, reason, final=final)

    async def _alive(self, claimed: Claimed) -> Decided:
        """The round, and beside it a sign of life now and then: a call may take long."""
        running = asyncio.create_task(self._runner.run(claimed))
        living = asyncio.create_task(self._show_life(claimed))
        try:
            await asyncio.wait((running, living), return_when=asyncio.FIRST_COMPLETED)
            if not running.done():
                await living  # raises: the lease is lost
            return await running
        finally:
            for task in (running, living):
                task.cancel()
            await asyncio.gather(running, living, return_exceptions=True)

    async def _show_life(self, claimed: Claimed) -> None:
        while True:
            await asyncio.sleep(self._ledger.lease_seconds / SIGNS_OF_LIFE)
            await self._ledger.extend(claimed)
