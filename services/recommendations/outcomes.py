"""Online Effect_D as a metric: what users answer to the lists they were served.

It is counted a moment after the events are committed, because a list is written behind its answer
and may not be there yet. Best effort: the report of an experiment reads the events themselves.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterable

from services.catalog.catalog import ListAnswer
from services.catalog.positives import PositiveEvents
from services.errors import PublicError
from services.observability.logging import get_logger
from services.observability.metrics import ArmLabels, Metrics, NoLabels
from services.ranking.effect import effect_d
from services.recommendations.arms import NO_ARM
from services.recommendations.experiment_report import DEFAULT_K
from services.recommendations.experiments_repository import ExperimentsRepository
from services.storage.database import Database
from services.storage.unbroken import Unbroken

SETTLED_SECONDS = 1.0
MOST_WAITING = 10_000
MOST_AT_ONCE = 500
AT_THE_END_SECONDS = 5.0

log = get_logger(__name__)


class Outcomes:
    """Made inside the event loop that uses it; `aclose` counts what waits."""

    def __init__(self, database: Database, positives: PositiveEvents, metrics: Metrics) -> None:
        self._database = database
        self._positives = positives
        self._metrics = metrics
        self._waiting: list[ListAnswer] = []
        self._wake = asyncio.Event()
        self._counter: asyncio.Task[None] | None = None
        self._unbroken = Unbroken()

    def came(self, answers: Iterable[ListAnswer]) -> None:
        """After the commit of positive events that name lists."""
        for answer in answers:
            if len(self._waiting) >= MOST_WAITING:
                self._metrics.online_answers_lost.add(NoLabels())
            else:
                self._waiting.append(answer)
        self._wake.set()
        if self._counter is None:
            self._counter = asyncio.create_task(self._count_on(), name="outcomes")

    async def aclose(self) -> None:
        if self._counter is not None:
            self._counter.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._counter
        await self._unbroken.aclose()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(AT_THE_END_SECONDS):
                while self._waiting:
                    await self._count_some()

    async def _count_on(self) -> None:
        while True:
            await self._wake.wait()
            self._wake.clear()
            await asyncio.sleep(SETTLED_SECONDS)
            while self._waiting:
                await self._unbroken.run(self._count_some())

    async def _count_some(self) -> None:
        """An event counts if it is the first one that answers its list."""
        some, self._waiting = self._waiting[:MOST_AT_ONCE], self._waiting[MOST_AT_ONCE:]
        try:
            async with self._database.reading() as session:
                first = await ExperimentsRepository(session).first_answers(
                    {answer.recommendation_id for answer in some}, self._positives
                )
        except PublicError as error:
            self._metrics.online_answers_lost.add(NoLabels(), len(some))
            log.warning("online_answers_lost", answers=len(some), error=str(error))
            return
        came = {answer.seq for answer in some}
        for answer in first:
            if answer.seq not in came:
                continue
            labels = ArmLabels(answer.experiment_id or NO_ARM, answer.arm or NO_ARM)
            gain = 0.0 if answer.rank is None else effect_d(answer.rank)
            self._metrics.online_effect_d.observe(labels, gain)
            if answer.rank is not None and answer.rank <= DEFAULT_K:
                self._metrics.online_hits.add(labels)
