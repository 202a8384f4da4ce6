"""Tasks: thin shells round what the services do."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta

from celery import Celery

from services.bootstrap import Services
from services.queue import Job
from services.storage.redis import HEARTBEAT
from worker.process import run

# Less than it takes a missing heartbeat to look like a stopped worker.
COVISITATION_SLICE_SECONDS = 2.0


async def beat_heart(services: Services) -> None:
    """A heartbeat that came this far proves broker, beat and worker alive together."""
    await services.redis.set(HEARTBEAT, time.time())


async def refresh_popularity(services: Services) -> None:
    await services.popularity.refresh()


async def refresh_covisitation(services: Services) -> None:
    """A slice of the work, so that other jobs get their turn; then another if some is left."""
    if not await services.covisit_index.refresh(seconds=COVISITATION_SLICE_SECONDS):
        await services.queue.put(Job.REFRESH_COVISITATION)


async def forget_replies(services: Services) -> None:
    """Lists are kept for a while only."""
    days = timedelta(days=services.settings.replies_days)
    await services.replies.forget_before(datetime.now(UTC) - days)


WORK: dict[Job, Callable[[Services], Awaitable[None]]] = {
    Job.HEARTBEAT: beat_heart,
    Job.REFRESH_POPULARITY: refresh_popularity,
    Job.REFRESH_COVISITATION: refresh_covisitation,
    Job.FORGET_REPLIES: forget_replies,
}


def register(celery: Celery) -> None:
    for job, work in WORK.items():
        _register(celery, job, work)


def _register(celery: Celery, job: Job, work: Callable[[Services], Awaitable[None]]) -> None:
    @celery.task(name=job.value)  # type: ignore[untyped-decorator]
    def task() -> None:
        run(job, work)
