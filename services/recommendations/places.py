"""How many lists may be under way at once, and who finds a place when there are more to make."""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import AsyncIterator

from services.errors import Overloaded
from services.llm.deadline import Deadline
from services.observability.metrics import Metrics, NoLabels
from services.recommendations.live_traffic import LiveTraffic


class Places:
    """One who waits for a single list is refused at once: the caller can go elsewhere, and a queue
    would only make everybody late. A row of a batch waits its turn, and leaves every fourth place
    to single lists. `live` is told that somebody waits: rounds give way to people."""

    def __init__(self, most: int, metrics: Metrics, live: LiveTraffic) -> None:
        self._live = live
        self._most = most
        self._most_by_rows = max(1, most * 3 // 4)
        self._metrics = metrics
        self._taken = 0
        self._waiting: deque[asyncio.Future[None]] = deque()

    @contextlib.asynccontextmanager
    async def one(self) -> AsyncIterator[None]:
        """Raises Overloaded at once where no place is free."""
        if self._taken >= self._most:
            raise self._refusal()
        self._live.came()
        self._taken += 1
        try:
            yield
        finally:
            self._leave()

    @contextlib.asynccontextmanager
    async def one_by(self, deadline: Deadline) -> AsyncIterator[None]:
        """Waits in line for a place. Raises Overloaded where none is free by the deadline."""
        if self._waiting or self._taken >= self._most_by_rows:
            await self._turn(deadline)
        else:
            self._taken += 1
        self._live.came()
        try:
            yield
        finally:
            self._leave()

    async def _turn(self, deadline: Deadline) -> None:
        """Returns with the place taken."""
        turn = asyncio.get_running_loop().create_future()
        self._waiting.append(turn)
        try:
            async with asyncio.timeout(deadline.remaining()):
                await turn
        except (TimeoutError, asyncio.CancelledError) as error:
            if turn.done() and not turn.cancelled():  # its turn came in the same moment
                self._leave()
            else:
                with contextlib.suppress(ValueError):
                    self._waiting.remove(turn)
            if isinstance(error, TimeoutError):
                raise self._refusal() from None
            raise

    def _leave(self) -> None:
        self._taken -= 1
        while self._waiting and self._taken < self._most_by_rows:
            turn = self._waiting.popleft()
            if not turn.done():
                self._taken += 1
                turn.set_result(None)

    def _refusal(self) -> Overloaded:
        self._metrics.recommendations_refused.add(NoLabels())
        return Overloaded(
            f"{self._taken} recommendations are under way: try again in a moment",
            headers={"Retry-After": "1"},
        )
