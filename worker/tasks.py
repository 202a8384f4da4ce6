"""Tasks: thin shells round what the services do."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime, timedelta

from celery import Celery, Task

from services.bootstrap import Services
from services.queue import ORIGIN, Job
from services.storage.redis import HEARTBEAT, OUTAGE
from services.storage.unbroken import Unbroken
from worker.process import run

# Less than it takes a missing heartbeat to look like a stopped worker.
COVISITATION_SLICE_SECONDS = 2.0
ROUNDS_SLICE_SECONDS = 2.0
COMPARING_SLICE_SECONDS = 2.0


async def beat_heart(services: Services) -> None:
    """A heartbeat that came this far proves broker, beat and worker alive together."""
    await services.redis.set(HEARTBEAT, time.time())


@contextlib.asynccontextmanager
async def _beating(services: Services) -> AsyncIterator[None]:
    """A child in long work is alive, although no heartbeat of the broker reaches it: rounds are
    ended once they are taken up, and a slow model may take minutes for that."""

    beats = Unbroken()

    async def beat_on() -> None:
        while True:
            with contextlib.suppress(*OUTAGE):
                await beats.run(beat_heart(services))
            await asyncio.sleep(services.settings.heartbeat_seconds)

    beating = asyncio.create_task(beat_on(), name="heartbeat")
    try:
        yield
    finally:
        beating.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await beating
        await beats.aclose()


async def refresh_popularity(services: Services) -> None:
    await services.popularity.refresh()


async def refresh_covisitation(services: Services) -> None:
    """A slice of the work, so that other jobs get their turn; then another if some is left."""
    if not await services.covisit_index.refresh(seconds=COVISITATION_SLICE_SECONDS):
        await services.queue.put(Job.REFRESH_COVISITATION)


async def forget_replies(services: Services) -> None:
    """Lists are kept for a while only; those of an experiment until it has been over so long."""
    before = datetime.now(UTC) - timedelta(days=services.settings.replies_days)
    await services.replies.forget_before(before)
    await services.experiments.forget_before(before)


async def advance_rounds(services: Services) -> None:
    """Rounds for a while, so that other jobs get their turn; then again if some are left."""
    settings = services.settings
    at_once = settings.learning_at_once or (1 if settings.llm_url is None else 8)
    async with _beating(services):
        left = await services.learner.advance(limit=at_once, seconds=ROUNDS_SLICE_SECONDS)
    if left:
        await services.queue.put(Job.ADVANCE_ROUNDS)


async def sweep_ledger(services: Services) -> None:
    """What a worker that died, or a command that was broken off, has left undone."""
    if await services.ledger.sweep():
        await services.queue.put(Job.ADVANCE_ROUNDS)
    await services.ledger.backlog()
    await services.automatic.measure()


async def consider_rounds(services: Services) -> None:
    await services.automatic.consider()


async def nightly_rounds(services: Services) -> None:
    await services.automatic.nightly()


async def mark_stale(services: Services) -> None:
    await services.automatic.mark_stale()


async def compare_regularizations(services: Services) -> None:
    """A slice of the work, so that other jobs get their turn; then another if some is left."""
    if await services.comparisons.go_on(seconds=COMPARING_SLICE_SECONDS):
        await services.queue.put(Job.COMPARE_REGULARIZATIONS)


WORK: dict[Job, Callable[[Services], Awaitable[None]]] = {
    Job.HEARTBEAT: beat_heart,
    Job.REFRESH_POPULARITY: refresh_popularity,
    Job.REFRESH_COVISITATION: refresh_covisitation,
    Job.FORGET_REPLIES: forget_replies,
    Job.ADVANCE_ROUNDS: advance_rounds,
    Job.SWEEP_LEDGER: sweep_ledger,
    Job.CONSIDER_ROUNDS: consider_rounds,
    Job.NIGHTLY_ROUNDS: nightly_rounds,
    Job.MARK_STALE: mark_stale,
    Job.COMPARE_REGULARIZATIONS: compare_regularizations,
}


def register(celery: Celery) -> None:
    for job, work in WORK.items():
        _register(celery, job, work)


def _register(celery: Celery, job: Job, work: Callable[[Services], Awaitable[None]]) -> None:
    @celery.task(name=job.value, bind=True)  # type: ignore[untyped-decorator]
    def task(self: Task) -> None:
        run(job, work, (self.request.headers or {}).get(ORIGIN, {}))
