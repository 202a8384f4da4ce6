"""Replies are kept under their id, so that events can be joined to them and prompts shown again.

They are written behind the answers, some at a time: a database that is slow or down costs replies,
which are counted, and no list.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from sqlalchemy.ext.asyncio import AsyncSession

from services.errors import PublicError
from services.observability.logging import get_logger
from services.observability.metrics import Metrics, OutcomeLabels
from services.prompts import Prompt
from services.recommendations.models import StoredReply
from services.recommendations.repository import RecommendationsRepository
from services.recommendations.wanted import Recommendation
from services.storage.database import Database
from services.storage.unbroken import Unbroken

MOST_WAITING = 2000
MOST_AT_ONCE = 200
# A transaction costs as much as a request: what comes within this time shares one.
GATHERED_SECONDS = 0.5
AT_THE_END_SECONDS = 5.0

log = get_logger(__name__)


class Replies:
    """Made inside the event loop that uses it; `aclose` writes what waits."""

    def __init__(self, database: Database, metrics: Metrics, *, share: float) -> None:
        self._database = database
        self._metrics = metrics
        self._share = share
        self._waiting: list[dict[str, Any]] = []
        self._wake = asyncio.Event()
        self._writer: asyncio.Task[None] | None = None
        self._unbroken = Unbroken()

    def keep(self, user_id: str | None, given: Recommendation, prompt: Prompt | None) -> None:
        """Of an experiment every list is kept, or its figures would be of a sample; the prompt only
        in the share that would be kept anyhow."""
        sampled = random.random() < self._share
        if not sampled and given.experiment is None:
            return
        if len(self._waiting) >= MOST_WAITING:
            self._count("dropped", 1)
            return
        self._waiting.append(
            {
                "recommendation_id": given.recommendation_id,
                "user_id": user_id,
                "made_at": datetime.now(UTC),
                "source": given.source.value,
                "scoring_mode": None if given.scoring_mode is None else given.scoring_mode.value,
                "items": given.item_rows(),
                "question": segments_of(prompt) if prompt is not None and sampled else [],
                "experiment_id": given.experiment,
                "arm": given.arm,
            }
        )
        self._wake.set()
        if self._writer is None:
            self._writer = asyncio.create_task(self._write_on(), name="replies")

    async def reply(self, recommendation_id: str) -> StoredReply | None:
        async with self._database.reading() as session:
            return await RecommendationsRepository(session).reply(recommendation_id)

    async def forget_before(self, moment: datetime) -> int:
        return await self._database.write(
            lambda session: RecommendationsRepository(session).delete_before(moment)
        )

    async def aclose(self) -> None:
        if self._writer is not None:
            self._writer.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._writer
        await self._unbroken.aclose()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(AT_THE_END_SECONDS):
                while self._waiting:
                    await self._write_some()

    async def _write_on(self) -> None:
        while True:
            await self._wake.wait()
            await asyncio.sleep(GATHERED_SECONDS)
            self._wake.clear()
            while self._waiting:
                await self._unbroken.run(self._write_some())

    async def _write_some(self) -> None:
        some, self._waiting = self._waiting[:MOST_AT_ONCE], self._waiting[MOST_AT_ONCE:]
        try:
            await self._database.write(lambda session: _store(session, some))
        except PublicError as error:
            self._count("lost", len(some))
            log.warning("replies_lost", replies=len(some), error=str(error))
        else:
            self._count("kept", len(some))

    def _count(self, outcome: str, replies: int) -> None:
        self._metrics.replies.add(OutcomeLabels(outcome), replies)


def segments_of(prompt: Prompt) -> list[dict[str, Any]]:
    """The prompt exactly as it was sent."""
    return [
        {"name": one.name.value, "part": one.name.part.value, "text": one.text}
        for one in prompt.segments
    ]


async def _store(session: AsyncSession, rows: Sequence[dict[str, Any]]) -> None:
    """A reply to somebody who is not in the catalog, or not any more, is nobody's."""
    repository = RecommendationsRepository(session)
    known = await repository.known_users([row["user_id"] for row in rows if row["user_id"]])
    await repository.store(
        [{**row, "user_id": row["user_id"] if row["user_id"] in known else None} for row in rows]
    )
