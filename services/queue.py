"""The queue: a wake-up for the workers and nothing more. What is to be done stands in the database,
so a lost job costs freshness, never data, and beat repeats every one of them sooner or later."""

from __future__ import annotations

import asyncio
from enum import StrEnum

import structlog
from celery import Celery
from kombu.exceptions import OperationalError
from redis.asyncio import Redis

from services.observability.logging import get_logger
from services.observability.metrics import JobLabels, Metrics
from services.observability.tracing import SpanKind, headers_of_span, span
from services.storage.redis import OUTAGE, debounce_key

# In the headers of a job: who put it there, for the log and the trace, and never for the work.
ORIGIN = "lrgd_origin"

log = get_logger(__name__)


class Job(StrEnum):
    HEARTBEAT = "heartbeat"
    REFRESH_POPULARITY = "refresh_popularity"
    REFRESH_COVISITATION = "refresh_covisitation"
    FORGET_REPLIES = "forget_replies"
    ADVANCE_ROUNDS = "advance_rounds"
    SWEEP_LEDGER = "sweep_ledger"
    CONSIDER_ROUNDS = "consider_rounds"
    NIGHTLY_ROUNDS = "nightly_rounds"
    MARK_STALE = "mark_stale"
    COMPARE_REGULARIZATIONS = "compare_regularizations"


def make_celery(broker_url: str, *, timeout_seconds: float) -> Celery:
    """Configured alike for those who put jobs on the queue and those who take them off."""
    celery = Celery("lrgd", broker=broker_url, set_as_current=False)
    celery.conf.update(
        task_serializer="json",
        accept_content=["json"],
        task_ignore_result=True,
        # A job that dies with its worker comes back: every job may be run twice.
        task_acks_late=True,
        task_reject_on_worker_lost=True,
        worker_prefetch_multiplier=1,
        broker_connection_retry_on_startup=True,
        broker_transport_options={
            "visibility_timeout": 600,
            "socket_timeout": timeout_seconds,
            "socket_connect_timeout": timeout_seconds,
            "socket_keepalive": True,
        },
    )
    return celery


class Queue:
    def __init__(
        self, celery: Celery, redis: Redis, metrics: Metrics, *, timeout_seconds: float
    ) -> None:
        self._celery = celery
        # Celery makes its pool at the first message; two threads that send at once would make two
        # of them and lose the connections of one.
        celery.producer_pool  # noqa: B018
        self._redis = redis
        self._metrics = metrics
        self._timeout = timeout_seconds

    async def put(self, job: Job, *, debounce_seconds: float = 0) -> None:
        """Call this after the commit. With a debounce, the first caller of a period puts the job
        at its end, so that what the others commit meanwhile is seen by it too."""
        try:
            async with asyncio.timeout(2 * self._timeout):
                if debounce_seconds and not await self._redis.set(
                    debounce_key(job), 1, nx=True, px=int(debounce_seconds * 1000)
                ):
                    return
                with span(f"queue {job.value}", kind=SpanKind.PRODUCER):
                    await asyncio.to_thread(
                        self._celery.send_task,
                        job.value,
                        countdown=debounce_seconds,
                        retry=False,
                        ignore_result=True,
                        headers={ORIGIN: _origin()},
                    )
        except (*OUTAGE, OperationalError):
            self._metrics.jobs_lost.add(JobLabels(job))
            log.warning("job_lost", job=job.value, exc_info=True)


def _origin() -> dict[str, str]:
    request_id = structlog.contextvars.get_contextvars().get("request_id")
    return headers_of_span() | ({} if request_id is None else {"request_id": str(request_id)})
