"""How many calls may be under way at once, and who goes first when they have to wait."""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import AsyncIterator
from dataclasses import dataclass

from services.llm.errors import ModelTimeout, QueueFull
from services.llm.port import Priority, Terms
from services.observability.metrics import LlmPriorityLabels, Metrics, NoLabels


@dataclass(frozen=True, slots=True)
class GateLimits:
    """`rounds` keeps learning rounds from taking every place: a live call then finds one."""

    in_flight: int = 64
    rounds: int = 48
    waiting: int = 256


class Gate:
    def __init__(self, limits: GateLimits, metrics: Metrics) -> None:
        self._limits = limits
        self._metrics = metrics
        self._in_flight = dict.fromkeys(Priority, 0)
        self._waiting: dict[Priority, deque[asyncio.Future[None]]] = {
            priority: deque() for priority in Priority
        }

    @contextlib.asynccontextmanager
    async def place(self, terms: Terms) -> AsyncIterator[None]:
        """A place among those under way. QueueFull at once where too many wait for one."""
        await self._enter(terms)
        self._metrics.llm_in_flight.add(NoLabels(), 1)
        try:
            yield
        finally:
            self._metrics.llm_in_flight.add(NoLabels(), -1)
            self._leave(terms.priority)

    async def _enter(self, terms: Terms) -> None:
        priority, queue = terms.priority, self._waiting[terms.priority]
        if self._has_room(priority) and not queue:
            self._in_flight[priority] += 1
            return
        if len(queue) >= self._limits.waiting:
            self._metrics.llm_queue_refused.add(LlmPriorityLabels(priority.name.lower()))
            raise QueueFull(
                f"{len(queue)} calls wait for the model already: try again later, or allow more at "
                "once"
            )
        turn = asyncio.get_running_loop().create_future()
        queue.append(turn)
        try:
            async with asyncio.timeout(terms.deadline.remaining()):
                await turn
        except TimeoutError:
            self._give_up(turn, priority)
            raise ModelTimeout("the deadline passed while the call waited for its turn") from None
        except asyncio.CancelledError:
            self._give_up(turn, priority)
            raise

    def _leave(self, priority: Priority) -> None:
        self._in_flight[priority] -= 1
        self._let_in()

    def _give_up(self, turn: asyncio.Future[None], priority: Priority) -> None:
        if turn.done() and not turn.cancelled():  # its turn came in the same moment
            self._leave(priority)
            return
        with contextlib.suppress(ValueError):
            self._waiting[priority].remove(turn)

    def _let_in(self) -> None:
        for priority in Priority:  # live ones first
            queue = self._waiting[priority]
            while queue and self._has_room(priority):
                turn = queue.popleft()
                if not turn.done():
                    self._in_flight[priority] += 1
                    turn.set_result(None)

    def _has_room(self, priority: Priority) -> bool:
        if sum(self._in_flight.values()) >= self._limits.in_flight:
            return False
        return priority is Priority.LIVE or self._in_flight[priority] < self._limits.rounds
