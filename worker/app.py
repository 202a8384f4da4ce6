"""The Celery app of the worker: the shared queue configuration, what beat sends, and tasks."""

from __future__ import annotations

from typing import Any

from celery import Celery
from celery.schedules import crontab

from services.bootstrap import redis_urls
from services.queue import Job, make_celery
from services.settings import Settings
from worker import tasks

EVERY_SECONDS = {
    Job.REFRESH_POPULARITY: 60.0,
    Job.REFRESH_COVISITATION: 60.0,
    Job.FORGET_REPLIES: 3600.0,
    # Also what a lost message would have woken up.
    Job.ADVANCE_ROUNDS: 10.0,
    Job.SWEEP_LEDGER: 30.0,
    Job.CONSIDER_ROUNDS: 600.0,
    # A comparison that was just asked for is put on the queue itself.
    Job.COMPARE_REGULARIZATIONS: 60.0,
}
# A worker that was down at the hour does it when it is back, unless the night is over.
NIGHT_SECONDS = 6 * 3600.0


def make_worker_app(settings: Settings) -> Celery:
    celery = make_celery(
        redis_urls(settings).broker, timeout_seconds=settings.broker_timeout_seconds
    )
    celery.conf.update(
        # In memory: every entry is safe to repeat, and a file could be left half-written.
        beat_scheduler="celery.beat:Scheduler",
        beat_max_loop_interval=1,
        beat_schedule={
            **{job.value: _every(job, seconds) for job, seconds in EVERY_SECONDS.items()},
            Job.HEARTBEAT: _every(
                Job.HEARTBEAT,
                settings.heartbeat_seconds,
                expires=settings.heartbeat_stale_seconds,
            ),
            Job.NIGHTLY_ROUNDS: {
                "task": Job.NIGHTLY_ROUNDS,
                "schedule": crontab(minute="0", hour=str(settings.learning_nightly_hour)),
                "options": {"expires": NIGHT_SECONDS},
            },
        },
        worker_hijack_root_logger=False,
        worker_redirect_stdouts=False,
        worker_cancel_long_running_tasks_on_connection_loss=True,
    )
    tasks.register(celery)
    return celery


def _every(job: Job, seconds: float, expires: float | None = None) -> dict[str, Any]:
    """With an expiry, so that a stopped worker does not come back to a pile of old entries."""
    return {"task": job.value, "schedule": seconds, "options": {"expires": expires or seconds}}
